"""Debezium's envelope: `before`, `after`, `source`, `op`; in JSON with and without schema, and in Avro.

Rows of Cassandra's connector (cells) are unwrapped here too; MongoDB's, which are texts, are not read.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Parked, Reject
from ingest.formats import controls, json, positions
from ingest.formats.message import Echoes, Message, need_row
from ingest.formats.positions import Source
from ingest.formats.unavailable import Placeholder
from ingest.model import Decoded, Envelope, Fields, Op, Skip

# Looking up a member of an enum costs as much as a function call.
INSERT, UPDATE, DELETE, TRUNCATE = Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE
OPS: Final = {"c": INSERT, "r": INSERT, "u": UPDATE, "d": DELETE, "t": TRUNCATE}

# Connectors whose rows or order need the whole record: no shortcut for them.
_SPECIAL: Final = frozenset({"cassandra", "mongodb", "vitess"})


class _Envelope(msgspec.Struct, gc=False):
    op: str = ""
    before: msgspec.Raw = json.NULL
    after: msgspec.Raw = json.NULL
    source: Source | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


class Debezium:
    """The envelope as the connectors send it."""

    def __init__(self, placeholder: Placeholder) -> None:
        self._placeholder = placeholder
        self._echoes = Echoes()

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op, source = OPS.get(seen.op), seen.source
        if op is None or source is None or source.connector in _SPECIAL:
            return None
        after = before = None
        if op is INSERT or op is UPDATE:
            text = bytes(seen.after)
            after = json.decode_row(text)
            if self._placeholder.may_be_in(text) and after is not None and self._placeholder.take_out(after):
                op = UPDATE
        if op is DELETE:
            self._echoes.deleted(message.record)
        if seen.op == "u" or op is DELETE:
            text = bytes(seen.before)
            before = None if text == b"null" else json.decode_row(text)
        return (_envelope(message, op, seen.op, source, after, before),)

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        skip = controls.debezium(value, message.key, message.record.topic)
        if skip is not None:
            return skip
        word = str(value.get("op", "")).lower()
        if word == "m":
            return Skip("logical_message")
        source = _source(value.get("source"))
        _refuse_mongodb(source, message)
        if source.connector == "cassandra":
            return (_cassandra(message, word, source, value),)
        op = OPS.get(word)
        if op is None:
            raise Reject("debezium.op", "the record has none of the operations c, r, u, d, t and m: check the topic's format")
        return (self._from_values(message, op, word, source, value),)

    def read_tombstone(self, message: Message) -> Decoded:
        return self._echoes.read(message)

    def _from_values(self, message: Message, op: Op, word: str, source: Source, value: Fields) -> Envelope:
        after = before = None
        if op is DELETE:
            self._echoes.deleted(message.record)
        if op is INSERT or op is UPDATE:
            after = need_row(value.get("after"), "after")
            if self._placeholder.may_be_anywhere_in(message.body) and self._placeholder.take_out(after):
                op = UPDATE
        if (word == "u" or op is DELETE) and value.get("before") is not None:
            before = need_row(value["before"], "before")
        envelope = _envelope(message, op, word, source, after, before)
        if source.connector == "vitess":
            envelope.version = positions.transaction_order(value.get("transaction"))
        return envelope


def _envelope(message: Message, op: Op, word: str, source: Source, after: Fields | None, before: Fields | None) -> Envelope:
    """op: UPDATE also for a created row from which the placeholder was taken, as after a key change: the rest must stay."""
    key = message.key
    if after is None:
        _need_row_or_key(op, key.value, before)
    schema = message.schema
    rows = None if schema is None else schema.rows.get("after") or schema.rows.get("before")
    return Envelope(
        op, key.value, after, before, table(source), positions.of(source), source_ts_ms(source), False, rows, key.schema, word
    )


def table(source: Source) -> tuple[str, ...]:
    """The table's name as the source tells it, outermost part first."""
    if source.db and source.schema and source.table:
        return (source.db, source.schema, source.table)
    parts = (source.db, source.schema or source.keyspace, source.table)
    return tuple(part for part in parts if part) if source.table else ()


def source_ts_ms(source: Source) -> int | None:
    """When the change was made; old MySQL snapshots say 0, Cassandra's unit differs between releases."""
    value = source.ts_ms
    return value if value.__class__ is int and value > 0 and source.connector != "cassandra" else None


def _need_row_or_key(op: Op, key: Any, before: Fields | None) -> None:
    if op is TRUNCATE:
        return
    if op is not DELETE:
        raise Reject("row.missing", "the change has no 'after', so there is nothing to write: check the source's settings")
    if key is None and before is None:
        raise Reject("delete.without_key", "a delete without key and 'before' names no row: give the source table a key")


def _source(value: Any) -> Source:
    try:
        return msgspec.convert(value, Source) if value is not None else Source()
    except msgspec.ValidationError as error:
        raise Reject("debezium.source", "the 'source' block is none of Debezium's: check the topic's format") from error


def _refuse_mongodb(source: Source, message: Message) -> None:
    if source.connector == "mongodb":
        topic = message.record.topic
        text = f"topic {topic} comes from Debezium's MongoDB connector, which is not read: unsubscribe it"
        raise Parked("format.unsupported", text, subject=f"topic:{topic}")


def _cassandra(message: Message, word: str, source: Source, value: Fields) -> Envelope:
    """Cells say one by one whether they were written; the order of writes is theirs, so there is no version of the row."""
    cells = need_row(value.get("after"), "after")
    row = {name: cell["value"] for name, cell in cells.items() if cell.__class__ is dict and cell.get("set") and "value" in cell}
    op = DELETE if word == "d" else UPDATE
    key, schema = message.key.value, message.key.schema
    after, before = (None, row) if op is DELETE else (row, None)
    return Envelope(op, key, after, before, table(source), source_ts_ms=source_ts_ms(source), key_schema=schema, op_name=word)
