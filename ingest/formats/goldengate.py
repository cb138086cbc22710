"""Oracle GoldenGate: `before` and `after` images under `op_type`, or in its row form the columns beside `op_type`.

In JSON, inside Kafka Connect's wrapper, and in Avro. An update may have the key and the changed columns only.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import json, positions
from ingest.formats.images import image, key_of, without_key_change
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.formats.times import text_ms
from ingest.model import Decoded, Envelope, Fields, Op, RowSchema

INSERT, UPDATE, DELETE, TRUNCATE = Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE
OPS: Final = {"I": INSERT, "U": UPDATE, "D": DELETE, "T": TRUNCATE}

MISSING: Final = "_isMissing"  # Avro says so beside each column
_MISSING_TEXT: Final = MISSING.encode()
_IMAGES: Final = ("before", "after")


class _Head(msgspec.Struct, gc=False):
    """priamry_keys: a spelling that is out there."""

    table: str = ""
    op_type: str = ""
    op_ts: Any = None
    current_ts: Any = None
    pos: Any = None
    primary_keys: list[str] | None = None
    priamry_keys: list[str] | None = None
    tokens: Any = None


class _Envelope(_Head, gc=False):
    before: msgspec.Raw = json.NULL
    after: msgspec.Raw = json.NULL


_METADATA: Final = frozenset(_Head.__struct_fields__)
_decode = msgspec.json.Decoder(_Envelope).decode


class GoldenGate:
    """GoldenGate's operations and rows."""

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op = OPS.get(seen.op_type)
        if op is not None and seen.before is json.NULL and seen.after is json.NULL:
            message.value = json.decode(message.body)
            return self.read(message)
        before = None if seen.before is json.NULL else json.decode_row(bytes(seen.before))
        after = None if seen.after is json.NULL else json.decode_row(bytes(seen.after))
        if op is None or not seen.table or _MISSING_TEXT in message.body or not (before or after):
            return None
        return _change(message, seen, op, before, after, _row_schema(message))

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        head = _head(value)
        op = OPS.get(head.op_type)
        if op is None or not head.table:
            raise Reject("goldengate.op", "the record has none of the operations I, U, D and T, or no table: check its format")
        if not any(name in value for name in _IMAGES):
            return _row(message, head, op, value)
        before, after = (_without_missing(image(value.get(name), name)) for name in _IMAGES)
        return _change(message, head, op, before, after, _row_schema(message))

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)


def _row_schema(message: Message) -> RowSchema | None:
    return None if message.schema is None else message.row_schema("after") or message.row_schema("before")


def _row(message: Message, head: _Head, op: Op, value: Fields) -> Decoded:
    """The row form has one image: the row as it is now, or of a deleted row what was known of it."""
    columns = _without_missing({name: part for name, part in value.items() if name not in _METADATA})
    schema = message.row_schema("")
    if op is DELETE:
        return _change(message, head, op, columns, None, schema)
    return _change(message, head, op, None, columns, schema)


def _change(
    message: Message, head: _Head, op: Op, before: Fields | None, after: Fields | None, schema: RowSchema | None
) -> Decoded:
    table, version, ts_ms = tuple(head.table.split(".")), positions.trail(head.pos), text_ms(head.op_ts)
    if op is TRUNCATE:
        return (Envelope(TRUNCATE, table=table, version=version, source_ts_ms=ts_ms, op_name=head.op_type),)
    if op is DELETE:
        after = None
    elif op is INSERT:
        before = None
    names = head.primary_keys or head.priamry_keys
    key, key_schema = key_of(names, before if op is DELETE else after), schema
    if key is None and message.key.value.__class__ is dict:  # any other key is all of its parts in one text
        key, key_schema = message.key.value, message.key.schema
    if op is not DELETE and not after:
        raise Reject("row.missing", "the change has no 'after', so there is nothing to write: check the source's settings")
    if op is DELETE and key is None and not before:
        raise Reject("delete.without_key", "a delete without 'before' and key names no row: let the handler write primary_keys")
    change = Envelope(op, key, after, before, table, version, ts_ms, before is not None, schema, key_schema, head.op_type)
    return without_key_change(change, names) if op is UPDATE else (change,)


def _head(value: Fields) -> _Head:
    try:
        return msgspec.convert({name: part for name, part in value.items() if part is not None}, _Head)
    except msgspec.ValidationError as error:
        raise Reject("goldengate.op", "a field of the envelope is none of GoldenGate's: check the topic's format") from error


def _without_missing(row: Fields | None) -> Fields | None:
    """The columns that the trail has: Avro needs a value for each, and says beside it that there is none."""
    if row is None:
        return None
    marks = {name: value for name, value in row.items() if name.endswith(MISSING) and name.removesuffix(MISSING) in row}
    if not marks:
        return row
    absent = {name.removesuffix(MISSING) for name, value in marks.items() if value is True or value == "true"}
    return {name: value for name, value in row.items() if name not in marks and name not in absent}
