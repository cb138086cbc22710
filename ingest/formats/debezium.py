"""Debezium's envelope: `before`, `after`, `source`, `op`; in JSON with and without schema, and in Avro.

`read_json` is the hot path: one decode of the envelope that skips what nobody needs, one of the row. Connectors whose rows look
different have files of their own. Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, debezium_mongodb, json, positions, signals, vitess
from ingest.formats.debezium_cassandra import CellReader
from ingest.formats.json import checked_row, decode_exactly
from ingest.formats.message import Echoes, Message, need_row
from ingest.formats.positions import Source, Usual, usual_binlog
from ingest.formats.unavailable import OPENING_BRACKET, Placeholder
from ingest.model import Decoded, Envelope, Fields, Op, Skip, SourceVersion

# Looking up a member of an enum costs as much as a function call.
INSERT, UPDATE, DELETE, TRUNCATE = Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE
OPS: Final = {"c": INSERT, "r": INSERT, "u": UPDATE, "d": DELETE, "t": TRUNCATE}
SIGNAL_COLUMNS: Final = len(signals.COLUMNS)

# Connectors whose rows or order need the whole record: no shortcut for them.
_SPECIAL: Final = frozenset({"cassandra", "mongodb", "vitess"})


class _UsualEnvelope(msgspec.Struct, gc=False):
    op: Literal["c", "r", "u", "d", "t"]
    source: Usual
    before: msgspec.Raw = json.NULL
    after: msgspec.Raw = json.NULL


class _Envelope(msgspec.Struct, gc=False):
    op: str = ""
    source: Source | None = None
    before: msgspec.Raw = json.NULL
    after: msgspec.Raw = json.NULL


_new = tuple.__new__  # a NamedTuple's own constructor costs twice as much
_decode_usual = msgspec.json.Decoder(_UsualEnvelope).decode
_decode = msgspec.json.Decoder(_Envelope).decode


class Debezium:
    """The envelope as the connectors send it."""

    def __init__(self, placeholder: Placeholder) -> None:
        self._placeholder = placeholder
        self._rare, self._rare_encoded = placeholder.rare_bytes
        self._echoes = Echoes()
        self._cells = CellReader()

    def read_json(self, message: Message) -> Decoded | None:
        # Written out, because each call would be a fortieth of what a record costs; whatever is odd goes the long way.
        try:
            seen = _decode_usual(message.body)
            source = seen.source
            lsn = source.lsn
            version = usual_binlog(source) if lsn is None else _new(SourceVersion, ("L", str(lsn).zfill(20)))
            if version is None:
                return self._read_unusual(message)
            word, after, before = seen.op, None, None
            op = OPS[word]
            if op is INSERT or op is UPDATE:
                text = bytes(seen.after)
                after = decode_exactly(text)
                if after.__class__ is not dict or text.count(b":") != len(after):
                    after = checked_row(text, after)
                if self._rare in text or self._rare_encoded in text or OPENING_BRACKET in text:
                    op = self._without_placeholder(op, text, after)
            if word == "u" or op is DELETE:
                before = json.decode_row(bytes(seen.before))
        except json.BAD_INPUT:
            return self._read_unusual(message)
        schema, key = source.schema, message.key
        name = (source.db, schema, source.table) if schema else (source.db, source.table)
        if after is None or message.schema is not None or len(after) == SIGNAL_COLUMNS:
            return self._change(message, op, word, after, before, name, version, source.ts_ms)
        return (Envelope(op, key.value, after, before, name, version, source.ts_ms, False, None, key.schema, word),)

    def _read_unusual(self, message: Message) -> Decoded | None:
        """As read_json, for other connectors and releases; None for what read() knows better, or will say what is wrong with."""
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None
        op, source, after, before = OPS.get(seen.op), seen.source, None, None
        if op is None or source is None or source.connector in _SPECIAL:
            return None
        if op is INSERT or op is UPDATE:
            text = bytes(seen.after)
            after = json.decode_row(text)
            op = self._without_placeholder(op, text, after)
        if seen.op == "u" or op is DELETE:
            before = json.decode_row(bytes(seen.before))
        version, ts_ms = positions.of(source), source.changed_ms()
        return self._change(message, op, seen.op, after, before, source.name_of_table(), version, ts_ms)

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        skip = controls.debezium(value, message.key, message.record.topic)
        if skip is not None:
            return skip
        word = str(value.get("op", "")).lower()
        if word == "m":
            return Skip("logical_message")
        source = source_of(value.get("source"))
        if source.connector not in ("mongodb", "cassandra"):
            return self._relational(message, word, source, value)
        if word == "d":
            self._echoes.deleted(message.record)
        if source.connector == "mongodb":
            return (debezium_mongodb.read(message.key, word, source, value),)
        return (self._cells.read(message, word, source, value),)

    def read_tombstone(self, message: Message) -> Decoded:
        message.key = debezium_mongodb.unwrapped(message.key)
        return self._echoes.read(message)

    def _without_placeholder(self, op: Op, text: bytes, row: Fields | None) -> Op:
        """UPDATE where columns were taken out, also of a created row, as after a key change: the stored values must stay."""
        is_left_out = row is not None and self._placeholder.may_be_in(text) and self._placeholder.take_out(row)
        return UPDATE if is_left_out else op

    def _relational(self, message: Message, word: str, source: Source, value: Fields) -> Decoded:
        op, after, before = OPS.get(word), None, None
        if op is None:
            raise Reject("debezium.op", "the record has none of the operations c, r, u, d, t and m: check the topic's format")
        if op is INSERT or op is UPDATE:
            after = need_row(value.get("after"), "after")
            if self._placeholder.may_be_anywhere_in(message.body) and self._placeholder.take_out(after):
                op = UPDATE
        if (word == "u" or op is DELETE) and value.get("before") is not None:
            before = need_row(value["before"], "before")
        is_vitess = source.connector == "vitess"
        version = vitess.position(source, value.get("transaction")) if is_vitess else positions.of(source)
        return self._change(message, op, word, after, before, source.name_of_table(), version, source.changed_ms())

    def _change(
        self,
        message: Message,
        op: Op,
        word: str,
        after: Fields | None,
        before: Fields | None,
        name: tuple[str, ...],
        version: SourceVersion | None,
        ts_ms: int | None,
    ) -> Decoded:
        key, schema = message.key, message.schema
        if after is None:
            if op is DELETE:
                self._echoes.deleted(message.record)
            _need_row_or_key(op, key.value, before)
        row = before if after is None else after
        if row is not None and len(row) == SIGNAL_COLUMNS and signals.is_signal(row, name):
            return signals.SIGNAL
        rows = None
        if schema is not None:
            rows = schema.rows.get("after") or schema.rows.get("before")
        return (Envelope(op, key.value, after, before, name, version, ts_ms, False, rows, key.schema, word),)


def source_of(value: Any) -> Source:
    """The `source` block of an envelope. Raises Reject("debezium.source")."""
    try:
        return msgspec.convert(value, Source) if value is not None else Source()
    except msgspec.ValidationError as error:
        raise Reject("debezium.source", "the 'source' block is none of Debezium's: check the topic's format") from error


def _need_row_or_key(op: Op, key: Any, before: Fields | None) -> None:
    if op is TRUNCATE:
        return
    if op is not DELETE:
        raise Reject("row.missing", "the change has no 'after', so there is nothing to write: check the source's settings")
    if key is None and before is None:
        raise Reject("delete.without_key", "a delete without key and 'before' names no row: give the source table a key")
