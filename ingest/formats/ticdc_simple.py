"""TiCDC's simple protocol, in JSON and Avro: rows name the version of their table's schema, which other messages describe.

A described table gives types and key; a row of one that was not described yet is read by the columns' own types and comes out the
same, so ENUM and SET stay what is on the wire in both cases: labels, in first releases their numbers. Used by the loop's thread.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, mysql_types, positions
from ingest.formats.images import image, key_of, only_its_key, without_key_change
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.model import Decoded, Envelope, Fields, Op, RowSchema, SourceType

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
OPS: Final = {"INSERT": INSERT, "UPDATE": UPDATE, "DELETE": DELETE}
DDL: Final = frozenset({"CREATE", "RENAME", "CINDEX", "DINDEX", "ERASE", "TRUNCATE", "ALTER", "QUERY", "DDL"})
WATERMARK, BOOTSTRAP = "WATERMARK", "BOOTSTRAP"
WORDS: Final = frozenset(OPS) | DDL | {WATERMARK, BOOTSTRAP}
WRAPPERS: Final = frozenset({WATERMARK, BOOTSTRAP, "DDL", "DML"})  # of Avro

KNOWN_TABLES = 512
_NO_ZONE: Final = frozenset({"", "System", "Local", "SYSTEM"})
_BASE64 = SourceType("bytes_base64")


class _Head(msgspec.Struct, gc=False, rename="camel"):
    type: str = ""
    database: str = ""
    table: str = ""
    commit_ts: Any = None
    schema_version: Any = None
    handle_key_only: Any = None
    claim_check_location: Any = None


class _Described(NamedTuple):
    schema: RowSchema | None
    key_names: tuple[str, ...]


_UNKNOWN: Final = _Described(None, ())


class TicdcSimple:
    """Rows, schema changes, bootstraps and watermarks."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str, Any], _Described] = {}

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        return self._read(value) if value.__class__ is dict else None

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        payload = value.get("payload")
        if payload.__class__ is dict and (value.keys() == {"payload"} or value.get("type") in WRAPPERS):
            return self._wrapped(value.get("type"), payload)
        return self._read(value)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)

    def _wrapped(self, kind: str | None, payload: Fields) -> Decoded:
        """Avro: the kind of message stands outside (in first releases nowhere), the operation of a row or a statement inside."""
        return self._read(payload if "type" in payload else {**payload, "type": kind})

    def _read(self, value: Fields) -> Decoded:
        head = _head(value)
        if head.type == WATERMARK:
            return controls.resolved(positions.tso_number(head.commit_ts)) or controls.RESOLVED
        if head.type == BOOTSTRAP or head.type in DDL:
            return self._described(head, value.get("tableSchema"))
        op = OPS.get(head.type)
        if op is None or not head.table:
            raise Reject("ticdc.type", "the record's 'type' or 'table' is none of TiCDC's: check the changefeed's protocol")
        if (head.handle_key_only or head.claim_check_location) and op is not DELETE:
            raise only_its_key("raise max-message-bytes of the changefeed, or set large-message-handle-option to none")
        return self._row(head, op, image(value.get("data"), "data"), image(value.get("old"), "old"))

    def _row(self, head: _Head, op: Op, data: Fields | None, old: Fields | None) -> Decoded:
        after = None if op is DELETE else _values(need_row(data, "data"))
        before = None if old is None or op is INSERT else _values(old)
        if op is DELETE and before is None:
            raise Reject("delete.without_key", "a delete without 'old' names no row: check the changefeed")
        known = self._tables.get((head.database, head.table, _hashable(head.schema_version)), _UNKNOWN)
        key = key_of(known.key_names, before if after is None else after)
        version = positions.tso_number(head.commit_ts)
        table, schema = (head.database, head.table) if head.database else (head.table,), known.schema
        ts_ms, key_schema = positions.tso_ms(version), schema if key else None
        change = Envelope(op, key, after, before, table, version, ts_ms, before is not None, schema, key_schema, head.type)
        return without_key_change(change, known.key_names)

    def _described(self, head: _Head, described: Any) -> Decoded:
        """Remember what a message says of a table."""
        table = described if described.__class__ is dict else {}
        name, database = table.get("table"), table.get("schema") or table.get("database") or ""
        if name.__class__ is str and database.__class__ is str:
            if len(self._tables) >= KNOWN_TABLES:
                self._tables.clear()
            self._tables[database, name, _hashable(table.get("version"))] = _description(table)
            if head.type == "TRUNCATE":
                version = positions.tso_number(head.commit_ts)
                ts_ms, path = positions.tso_ms(version), (database, name) if database else (name,)
                return (Envelope(Op.TRUNCATE, table=path, version=version, source_ts_ms=ts_ms, op_name=head.type),)
        return controls.SCHEMA_CHANGE


def _head(value: Fields) -> _Head:
    try:
        return msgspec.convert({name: part for name, part in value.items() if part is not None}, _Head)
    except msgspec.ValidationError as error:
        raise Reject("ticdc.type", "a field of the envelope is none of TiCDC's: check the changefeed's protocol") from error


def _hashable(version: Any) -> Any:
    return version if version.__class__ is int else None


def _description(table: Fields) -> _Described:
    columns, indexes = table.get("columns"), table.get("indexes")
    types = {}
    for column in columns if columns.__class__ is list else ():
        if column.__class__ is dict and column.get("name").__class__ is str and column.get("dataType").__class__ is dict:
            types[column["name"]] = _declared(column["dataType"])
    keys: tuple[str, ...] = ()
    for index in indexes if indexes.__class__ is list else ():
        names = index.get("columns") if index.__class__ is dict and index.get("primary") else None
        if names.__class__ is list and all(name in types for name in names if name.__class__ is str):
            keys = tuple(name for name in names if name.__class__ is str)
    return _Described(RowSchema({name: found for name, found in types.items() if found is not None}), keys)


def _declared(data_type: Fields) -> SourceType | None:
    """Binary values are base64 in JSON and bytes in Avro; a label may be its number, which no type says."""
    word = data_type.get("mysqlType")
    found = mysql_types.by_word(word) if word.__class__ is str else None
    if found is None:
        return None
    if found.declared.kind == "bytes":
        return _BASE64
    return None if found.declared.kind in ("enum", "enum_set") else found.declared


def _values(row: Fields) -> Fields:
    """A row without the structs that say more than a value: a zone beside a moment, a long that is unsigned."""
    for name, value in row.items():
        if value.__class__ is dict:
            row[name] = _value(value)
        elif value.__class__ is bytes:
            row[name] = mysql_types.base64_text(value)
    return row


def _value(value: Fields) -> Any:
    inner = value.get("value")
    if value.keys() == {"value"} and inner.__class__ is int:
        return inner + 2**64 if inner < 0 else inner
    if value.keys() == {"location", "value"} and inner.__class__ is str and value["location"].__class__ is str:
        return _instant(inner, value["location"])
    raise Reject("ticdc.value", "a column's value is an object that TiCDC does not write: check the changefeed's protocol")


def _instant(text: str, location: str) -> str:
    """A moment with the offset of its zone; zero dates and zones that nobody names stay as they are."""
    if location in _NO_ZONE or text.startswith("0000"):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Reject("ticdc.value", "a TIMESTAMP is no moment: check the source") from error
    return moment.replace(tzinfo=_zone(location)).isoformat()


@lru_cache(maxsize=64)
def _zone(location: str) -> ZoneInfo:
    try:
        return ZoneInfo(location)
    except (ValueError, KeyError, OSError) as error:
        text = "a TIMESTAMP names a time zone that is not known here: set the changefeed's time zone to UTC, or install tzdata"
        raise Reject("ticdc.zone", text) from error
