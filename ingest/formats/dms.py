"""AWS DMS: `data` is the row, `metadata` says what happened to it and where, `before-image` what was there before.

DMS leaves NULL columns out of `data`, so an absent column of an update is NULL. Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, positions
from ingest.formats.images import image, moved
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.formats.times import text_ms
from ingest.model import Decoded, Envelope, Fields, Op

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
OPS: Final = {"load": INSERT, "insert": INSERT, "update": UPDATE, "delete": DELETE}
TRUNCATES: Final = frozenset({"truncate-table", "truncate"})
OWN_TABLES: Final = "awsdms_"


class _Metadata(msgspec.Struct, gc=False, rename="kebab"):
    record_type: str | None = None
    operation: str = ""
    schema_name: str | None = None
    table_name: str | None = None
    timestamp: Any = None
    commit_timestamp: Any = None
    transaction_id: Any = None
    transaction_record_id: Any = None
    stream_position: Any = None


class _Message(msgspec.Struct, gc=False, rename="kebab"):
    metadata: _Metadata
    data: msgspec.Raw = json.NULL
    before_image: msgspec.Raw = json.NULL


_decode = msgspec.json.Decoder(_Message).decode


class Dms:
    """partial: DMS writes nulls (IncludeNullAndEmpty=true), so a column that an update lacks keeps its value."""

    def __init__(self, *, partial: bool = False) -> None:
        self._update = UPDATE if partial else INSERT

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op, about = OPS.get(seen.metadata.operation), seen.metadata
        if op is None or about.record_type != "data" or not about.table_name:
            return None
        data, before = json.decode_row(bytes(seen.data)), bytes(seen.before_image)
        if data is None:
            return None
        return self._change(about, op, data, None if before == b"null" else json.decode_row(before))

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        about = _metadata(value.get("metadata"))
        if about.record_type == "control":
            return _control(about)
        op = OPS.get(about.operation)
        if about.record_type != "data" or op is None:
            text = "the metadata's 'record-type' or 'operation' is none of DMS's: check the topic's format"
            raise Reject("dms.record_type", text)
        if not about.table_name:
            raise Reject("dms.table", "the metadata does not name the table: check the task's endpoint settings")
        data, before = image(value.get("data"), "data"), image(value.get("before-image"), "before-image")
        if data is None and op is DELETE:
            data = before
        return self._change(about, op, need_row(data, "data"), before)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)

    def _change(self, about: _Metadata, op: Op, data: Fields, before: Fields | None) -> Decoded:
        """The Kafka key is never the row's: it names a table, a transaction, or all of them in one text."""
        table = _table(about)
        if table[-1].startswith(OWN_TABLES):
            return controls.INTERNAL
        version = positions.stream_position(about.stream_position, about.transaction_id, about.transaction_record_id)
        if version is None and about.operation == "load":
            version = positions.SNAPSHOT
        ts_ms, word = text_ms(about.commit_timestamp or about.timestamp), about.operation
        if op is DELETE:  # without supplemental logging the other columns are null
            return (Envelope(DELETE, None, None, data, table, version, ts_ms, op_name=word),)
        if op is INSERT or not before:
            op = INSERT if op is INSERT else self._update
            return (Envelope(op, None, data, None, table, version, ts_ms, op_name=word),)
        change = Envelope(self._update, None, data, before, table, version, ts_ms, True, op_name=word)
        # Which columns are the key is not on the wire. Where the image holds more than the key, a delete and a write of the
        # same key come of it, and they fold into the write.
        if any(name in data and data[name] != value for name, value in before.items()):
            return moved(change, before, None)
        return (change,)


def _metadata(value: Any) -> _Metadata:
    try:
        return msgspec.convert(need_row(value, "metadata"), _Metadata)
    except msgspec.ValidationError as error:
        raise Reject("dms.record_type", "the metadata is none of DMS's: check the topic's format") from error


def _table(about: _Metadata) -> tuple[str, ...]:
    table = about.table_name or ""
    return (about.schema_name, table) if about.schema_name else (table,)


def _control(about: _Metadata) -> Decoded:
    table = _table(about)
    if about.operation not in TRUNCATES or not about.table_name:
        return controls.SCHEMA_CHANGE
    if table[-1].startswith(OWN_TABLES):
        return controls.INTERNAL
    version = positions.stream_position(about.stream_position, about.transaction_id, about.transaction_record_id)
    return (Envelope(Op.TRUNCATE, table=table, version=version, source_ts_ms=text_ms(about.timestamp), op_name=about.operation),)
