"""Canal's flat messages: one message holds several rows, every value is text, `mysqlType` says what the text means.

Also TiCDC's canal-json, whose `_tidb` tells the commit timestamp. Pure but for a memory of types; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, mysql_types, positions
from ingest.formats.images import key_of, only_its_key, without_key_change
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.formats.mysql_types import Convert
from ingest.formats.times import count_ms
from ingest.model import Decoded, Envelope, Fields, Op, RowSchema, SourceVersion

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
OPS: Final = {"INSERT": INSERT, "UPDATE": UPDATE, "DELETE": DELETE, "INIT": INSERT, "INIT-INSERT": INSERT}
DDL: Final = frozenset({"CREATE", "ALTER", "ERASE", "QUERY", "RENAME", "CINDEX", "DINDEX", "TRUNCATE"})
WATERMARK: Final = "TIDB_WATERMARK"
WORDS: Final = frozenset(OPS) | DDL | {WATERMARK}

_SNAPSHOTS: Final = frozenset({"INIT", "INIT-INSERT"})
_TICDC_ID = 0  # Canal counts its batches from 1
_TSO_SHIFT = 18
KNOWN_SCHEMAS = 512
KNOWN_TEXTS = 2_048  # TiCDC writes the types of one table in any order, so one schema has many texts


class _Head(msgspec.Struct, gc=False, rename="camel"):
    type: str = ""
    database: str | None = None
    table: str | None = None
    is_ddl: bool | None = None
    pk_names: list[str] | None = None
    es: Any = None
    id: Any = None
    tidb: dict[str, Any] | None = msgspec.field(name="_tidb", default=None)


class _Message(_Head, gc=False, rename="camel"):
    data: msgspec.Raw = json.NULL
    old: msgspec.Raw = json.NULL
    mysql_type: msgspec.Raw = json.NULL
    sql_type: msgspec.Raw = json.NULL


class _Types(NamedTuple):
    """The declared types of a table, and which of its columns must be turned from text."""

    schema: RowSchema | None
    conversions: Sequence[tuple[str, Convert]]


_decode = msgspec.json.Decoder(_Message).decode


class Canal:
    """Canal, TiCDC's canal-json, and writers of the same shape."""

    def __init__(self) -> None:
        self._types = _TypeCache()

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op = OPS.get(seen.type)
        if op is None or seen.is_ddl:
            return None
        rows = _rows_of_text(bytes(seen.data))
        old = _rows_of_text(bytes(seen.old))
        return self._changes(seen, op, self._types.of_text(seen), rows, old) if rows else None

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        head = _head(value)
        word = head.type.upper()
        if word == WATERMARK:
            return controls.resolved(positions.tso_number((head.tidb or {}).get("watermarkTs"))) or controls.RESOLVED
        if word == "TRUNCATE" and head.table:
            return (_truncate(head),)
        if head.is_ddl or word in DDL:
            return controls.SCHEMA_CHANGE
        op = OPS.get(word)
        if op is None:
            raise Reject("canal.type", "the record's 'type' is none of Canal's: check the topic's format")
        rows, old = _rows(value.get("data")), _rows(value.get("old"))
        if not rows:
            raise Reject("row.missing", "the change has no 'data', so there is nothing to write: check the source's settings")
        types = self._types.of_values(value.get("mysqlType"), value.get("sqlType"))
        return self._changes(head, op, types, rows, old)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)

    def _changes(self, head: _Head, op: Op, types: _Types, rows: Sequence[Fields], old: Sequence[Fields]) -> Decoded:
        if head.tidb is not None and op is not DELETE:
            _refuse_partial(head.tidb)
        for name, convert in types.conversions:
            _convert(rows, name, convert)
            _convert(old, name, convert)
        about = _About(_table(head), _version(head), count_ms(head.es), types.schema, head.pk_names, head.type)
        if op is DELETE:
            return [_envelope(about, DELETE, None, row) for row in rows]
        if op is INSERT:
            return [_envelope(about, INSERT, row, None) for row in rows]
        if old and len(old) != len(rows):
            raise Reject("canal.old", "'data' and 'old' have not the same number of rows: check the source")
        envelopes: list[Envelope] = []
        for place, row in enumerate(rows):
            before = {**row, **old[place]} if old and old[place] else None
            envelopes += without_key_change(_envelope(about, UPDATE, row, before), head.pk_names)
        return envelopes


class _About(NamedTuple):
    """What all rows of a message share."""

    table: tuple[str, ...]
    version: SourceVersion | None
    ts_ms: int | None
    schema: RowSchema | None
    key_names: list[str] | None
    word: str


def _envelope(about: _About, op: Op, after: Fields | None, before: Fields | None) -> Envelope:
    key = key_of(about.key_names, before if after is None else after)
    schema = about.schema
    key_schema, real = None if key is None else schema, before is not None
    return Envelope(op, key, after, before, about.table, about.version, about.ts_ms, real, schema, key_schema, about.word)


def _truncate(head: _Head) -> Envelope:
    version, ts_ms = _version(head), count_ms(head.es)
    return Envelope(Op.TRUNCATE, table=_table(head), version=version, source_ts_ms=ts_ms, op_name=head.type)


def _head(value: Fields) -> _Head:
    try:
        return msgspec.convert({name: part for name, part in value.items() if part is not None}, _Head)
    except msgspec.ValidationError as error:
        raise Reject("canal.type", "a field of the envelope is none of Canal's: check the topic's format") from error


def _table(head: _Head) -> tuple[str, ...]:
    if not head.table:
        return ()
    return (head.database, head.table) if head.database else (head.table,)


def _version(head: _Head) -> SourceVersion | None:
    """TiDB's commit timestamp; without the extension its milliseconds. MySQL's own time of an event does not order changes."""
    if head.tidb is not None:
        return positions.tso_number(head.tidb.get("commitTs"))
    if head.id == _TICDC_ID and head.id.__class__ is int and head.es.__class__ is int and head.es > 0:
        return positions.tso_number(head.es << _TSO_SHIFT)
    return positions.SNAPSHOT if head.type.upper() in _SNAPSHOTS else None


def _refuse_partial(extension: Mapping[str, Any]) -> None:
    if extension.get("onlyHandleKey") or extension.get("claimCheckLocation"):
        raise only_its_key("raise max-message-bytes of the changefeed, or set large-message-handle-option to none")


def _convert(rows: Sequence[Fields], name: str, convert: Convert) -> None:
    for row in rows:
        value = row.get(name)
        if value.__class__ is str:
            row[name] = convert(value)


def _rows_of_text(text: bytes) -> list[Fields]:
    """The rows of a JSON list. Raises Reject as json.decode does, and for a list of anything else."""
    if text == b"null":
        return []
    rows = json.decode_loosely(text)
    if rows.__class__ is list and len(rows) == 1 and rows[0].__class__ is dict:
        if not json.has_names(text, len(rows[0])):
            json.refuse_duplicates(text, rows)
        return rows
    json.refuse_duplicates(text, rows)
    return _rows(rows)


def _rows(value: Any) -> list[Fields]:
    """The rows of a message. A row of `old` may be null where nothing is known of it."""
    if value is None:
        return []
    if value.__class__ is not list or not all(row is None or row.__class__ is dict for row in value):
        raise Reject("row.not_an_object", "'data' or 'old' is no list of rows: check the topic's format in its contract")
    return [{} if row is None else row for row in value]


class _TypeCache:
    """Compiled types of tables. The same declarations give the same schema object, in whatever order they are written."""

    def __init__(self) -> None:
        self._by_text: dict[tuple[bytes, bytes], _Types] = {}
        self._by_content: dict[frozenset[Any], _Types] = {}

    def of_text(self, seen: _Message) -> _Types:
        known = (bytes(seen.mysql_type), bytes(seen.sql_type))
        types = self._by_text.get(known)
        if types is None:
            if len(self._by_text) >= KNOWN_TEXTS:
                self._by_text.clear()
            types = self._by_text[known] = self.of_values(*(json.decode(text) for text in known))
        return types

    def of_values(self, words: Any, codes: Any) -> _Types:
        words = words if words.__class__ is dict else {}
        codes = codes if codes.__class__ is dict else {}
        declared = [(name, _scalar(words.get(name)), _scalar(codes.get(name))) for name in {**codes, **words}]
        content = frozenset((name, *_meaning(word, code)) for name, word, code in declared)
        types = self._by_content.get(content)
        if types is None:
            if len(self._by_content) >= KNOWN_SCHEMAS:
                self._by_content.clear()
            types = self._by_content[content] = _compiled(declared)
        return types


def _scalar(value: Any) -> Any:
    return value if value.__class__ in (str, int) else None


def _meaning(word: Any, code: Any) -> tuple[Any, ...]:
    """What of a declaration counts. TiCDC's code follows the value (larger unsigned numbers have another), its word does not."""
    if word.__class__ is not str:
        return (None, code)
    is_enough = word[:3].lower() not in ("enu", "set") and mysql_types.by_word(word) is not None
    return (word, None if is_enough else code)


def _compiled(declared: Sequence[tuple[str, Any, Any]]) -> _Types:
    types = {}
    for name, word, code in declared:
        found = (mysql_types.by_word(word, code) if word.__class__ is str else None) or mysql_types.by_code(code)
        if found is not None:
            types[name] = found
    schema = RowSchema({name: found.declared for name, found in types.items()}) if types else None
    return _Types(schema, [(name, found.convert) for name, found in types.items() if found.convert is not None])
