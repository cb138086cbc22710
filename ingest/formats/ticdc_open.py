"""TiCDC's open protocol: a Kafka record is a batch, events in its key and rows in its value, each behind its length.

Columns say their MySQL type by number. Pure but for a memory of types; used by the loop's thread.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, positions
from ingest.formats.images import key_of, only_its_key, without_key_change
from ingest.formats.message import Message, deleted_by_key
from ingest.model import Decoded, Envelope, Fields, Op, Record, RowSchema, Skip, SourceType

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
VERSION: Final = b"\0\0\0\0\0\0\0\1"
LENGTH_BYTES = 8
ROW, DDL, RESOLVED = 1, 2, 3  # kinds of events
TRUNCATE_TABLE = 11  # of DDL statements

BINARY, PRIMARY_KEY = 0x01, 0x08  # flags of a column
KNOWN_SHAPES = 512


class _EventKey(msgspec.Struct, gc=False):
    ts: int = 0
    scm: str = ""
    tbl: str = ""
    t: int = 0
    ohk: bool = False
    ccl: str = ""


class _Column(msgspec.Struct, gc=False):
    """f: None in old releases, which wrote every text as base64."""

    t: int = 0
    h: bool = False
    f: int | None = None
    v: Any = None


class _Row(msgspec.Struct, gc=False):
    u: dict[str, _Column] | None = None
    p: dict[str, _Column] | None = None
    d: dict[str, _Column] | None = None


class _Ddl(msgspec.Struct, gc=False):
    t: int = 0


class _Shape(NamedTuple):
    """What columns of these types are: their schema, the names of the key's parts, and what must be turned into values."""

    schema: RowSchema
    key_names: Sequence[str]
    conversions: Sequence[tuple[str, Callable[[Any], Any]]]


_decode_key = msgspec.json.Decoder(_EventKey).decode
_decode_row = msgspec.json.Decoder(_Row, float_hook=Decimal).decode
_decode_ddl = msgspec.json.Decoder(_Ddl).decode


def is_open(record: Record) -> bool:
    """Whether a record is framed so: its key has the version and then parts whose lengths add up."""
    key = record.key
    if key is None or not key.startswith(VERSION) or len(key) < 2 * LENGTH_BYTES:
        return False
    return bool(_parts(key, LENGTH_BYTES))


class TicdcOpen:
    """Batches of events. Its keys are no keys of rows, so it reads the record's own bytes."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    def read_record(self, record: Record) -> Decoded:
        """The envelopes of a batch. Raises Reject for bytes that are none."""
        events = _parts(record.key or b"", LENGTH_BYTES) if (record.key or b"").startswith(VERSION) else []
        rows = _parts(record.value or b"", 0)
        if not events or (rows and len(rows) != len(events)):
            raise _malformed()
        envelopes: list[Envelope] = []
        skip = controls.RESOLVED
        for place, event in enumerate(events):
            read = self._event(event, rows[place] if rows else b"")
            if isinstance(read, Skip):
                skip = read
            else:
                envelopes += read
        return envelopes or skip

    def read_json(self, message: Message) -> Decoded | None:
        return self.read_record(message.record)

    def read(self, message: Message) -> Decoded:
        return self.read_record(message.record)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)

    def _event(self, key: bytes, value: bytes) -> Sequence[Envelope] | Skip:
        try:
            event = _decode_key(key)
            if event.t == RESOLVED:
                return controls.resolved(positions.tso_number(event.ts)) or controls.RESOLVED
            if event.t == DDL:
                return _ddl(event, _decode_ddl(value))
            row = _decode_row(value)
        except json.BAD_INPUT as error:
            raise _malformed() from error
        if event.t != ROW or not event.tbl:
            raise _malformed()
        return self._row(event, row)

    def _row(self, event: _EventKey, row: _Row) -> Sequence[Envelope]:
        if (event.ohk or event.ccl) and not row.d:
            raise only_its_key("raise max-message-bytes of the changefeed, or set large-message-handle-option to none")
        columns = row.d or row.u
        if not columns:
            raise Reject("row.missing", "the event has neither 'u' nor 'd', so there is no row: check its format")
        shape = self._shape(columns)
        now = _values(columns, shape)
        key = key_of(shape.key_names, now)
        op, after, before, word = DELETE, None, now, "d"
        if not row.d:
            # Without the old row an insert cannot be told from an update; both bring every column.
            op, after, before, word = UPDATE if row.p else INSERT, now, None, "u"  # type: ignore[assignment]
            if row.p:
                before = {**now, **_values(row.p, self._shape(row.p))}
        version = positions.tso_number(event.ts)
        table = (event.scm, event.tbl) if event.scm else (event.tbl,)
        ts_ms, real, schema = positions.tso_ms(version), before is not None, shape.schema
        change = Envelope(op, key, after, before, table, version, ts_ms, real, schema, schema if key else None, word)
        return without_key_change(change, shape.key_names)

    def _shape(self, columns: dict[str, _Column]) -> _Shape:
        known = tuple([(name, column.t, column.h, column.f) for name, column in columns.items()])
        shape = self._shapes.get(known)
        if shape is None:
            if len(self._shapes) >= KNOWN_SHAPES:
                self._shapes.clear()
            shape = self._shapes[known] = _compiled(columns)
        return shape


def _compiled(columns: dict[str, _Column]) -> _Shape:
    found = {name: _type(column) for name, column in columns.items()}
    schema = RowSchema({name: declared for name, (declared, _) in found.items()})
    handles = [name for name, column in columns.items() if column.h]
    keys = [name for name, column in columns.items() if (column.f or 0) & PRIMARY_KEY] or handles
    return _Shape(schema, keys, [(name, convert) for name, (_, convert) in found.items() if convert is not None])


def _values(columns: dict[str, _Column], shape: _Shape) -> Fields:
    row = {name: column.v for name, column in columns.items()}
    for name, convert in shape.conversions:
        value = row.get(name)
        if value is not None:
            row[name] = convert(value)
    return row


def _ddl(event: _EventKey, ddl: _Ddl) -> Sequence[Envelope] | Skip:
    if ddl.t != TRUNCATE_TABLE or not event.tbl:
        return controls.SCHEMA_CHANGE
    version = positions.tso_number(event.ts)
    table = (event.scm, event.tbl) if event.scm else (event.tbl,)
    return (Envelope(Op.TRUNCATE, table=table, version=version, source_ts_ms=positions.tso_ms(version), op_name="truncate"),)


def _parts(raw: bytes, start: int) -> list[bytes]:
    """The parts of a batch; [] where their lengths do not add up."""
    parts, place = [], start
    while place < len(raw):
        begin = place + LENGTH_BYTES
        place = begin + int.from_bytes(raw[place:begin], "big")
        if place > len(raw):
            return []
        parts.append(raw[begin:place])
    return parts


def _malformed() -> Reject:
    return Reject("ticdc.batch", "the batch's lengths or events are none of the open protocol's: check the changefeed's protocol")


# ---------------------------------------------------------------- types

_NUMBERED: Final = {
    **dict.fromkeys((1, 2, 3, 8, 9, 16), SourceType("int")),  # BIT too is a number
    **dict.fromkeys((247, 248), SourceType("int")),  # ENUM and SET: the labels are not on the wire
    **dict.fromkeys((7, 12), SourceType("ts_text")),
    **dict.fromkeys((10, 14), SourceType("date_text")),
    **dict.fromkeys((0, 246), SourceType("decimal")),
    4: SourceType("float32"),
    5: SourceType("float64"),
    11: SourceType("time_text"),
    13: SourceType("year"),
    245: SourceType("json"),
}
_TEXTS: Final = frozenset({15, 253, 254})
_BLOBS: Final = frozenset({249, 250, 251, 252})
_STRING, _BYTES = SourceType("string"), SourceType("bytes")


def _type(column: _Column) -> tuple[SourceType, Callable[[Any], Any] | None]:
    is_binary = bool((column.f or 0) & BINARY)
    if column.t in _TEXTS:
        if is_binary:
            return _BYTES, _unquoted
        return _STRING, (None if column.f is not None else _old_text)
    if column.t in _BLOBS:
        return (_BYTES, _octets) if is_binary or column.f is None else (_STRING, _text)
    return _NUMBERED.get(column.t, SourceType("any")), None


def _octets(value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Reject("ticdc.binary", "a BLOB or TEXT is not base64: check the changefeed's protocol") from error


def _text(value: Any) -> str:
    try:
        return _octets(value).decode()
    except UnicodeDecodeError as error:
        raise Reject("ticdc.binary", "a TEXT is no UTF-8: check the column's character set") from error


def _old_text(value: Any) -> Any:
    """Releases that wrote no flags wrote texts as base64; what is none stands for itself."""
    try:
        return b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        return value


_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE: Final = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v", "\\": b"\\", '"': b'"'}


def _unquoted(value: Any) -> bytes:
    """The bytes of a text that Go has quoted."""
    if value.__class__ is not str:
        raise Reject("ticdc.binary", "a binary column is no text: check the changefeed's protocol")
    out, place = bytearray(), 0
    try:
        for found in _ESCAPE.finditer(value):
            out += value[place : found.start()].encode()
            octet, short, long, sign = found.groups()
            out += bytes((int(octet, 16),)) if octet else _SIMPLE[sign] if sign else chr(int(short or long, 16)).encode()
            place = found.end()
        return bytes(out + value[place:].encode())
    except (KeyError, ValueError, OverflowError) as error:
        raise Reject("ticdc.binary", "a binary column has an escape that Go does not write: check the changefeed") from error
