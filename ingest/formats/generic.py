"""The generic envelope: `type`, `table`, `primary_key`, `before`, `after`, `ts`, `_offset`, as people write it by hand.

Nobody owns its definition, so words are taken in any case and with their usual aliases, and a position only where it can be
compared. Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import json, positions
from ingest.formats.images import image, without_key_change
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.formats.times import guessed_ms
from ingest.model import Decoded, Envelope, Fields, Op

INSERT, UPDATE, DELETE, TRUNCATE = Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE
OPS: Final = {
    **dict.fromkeys(("insert", "create", "c", "i", "snapshot", "read", "r", "upsert"), INSERT),
    **dict.fromkeys(("update", "u"), UPDATE),
    **dict.fromkeys(("delete", "d"), DELETE),
    **dict.fromkeys(("truncate", "t"), TRUNCATE),
}


class Head(msgspec.Struct, gc=False):
    type: str = ""
    table: str = ""
    database: str | None = None
    schema: str | None = None
    ts: Any = None
    offset: Any = msgspec.field(name="_offset", default=None)


class Parts(Head, gc=False):
    """What stands in an envelope, its images unread."""

    primary_key: msgspec.Raw = json.NULL
    before: msgspec.Raw = json.NULL
    after: msgspec.Raw = json.NULL


_decode = msgspec.json.Decoder(Parts).decode


class Generic:
    """A change with its images and its key by name."""

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op = OPS.get(seen.type.lower())
        if op is None or not seen.table:
            return None
        key, before, after = (json.decode_row(bytes(text)) for text in (seen.primary_key, seen.before, seen.after))
        return _change(message, seen, op, key, before, after)

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        head = _head(value)
        op = OPS.get(head.type.lower())
        if op is None or not head.table:
            raise Reject("generic.type", "the record's 'type' is no operation, or 'table' is missing: check the topic's format")
        key, before, after = (image(value.get(name), name) for name in ("primary_key", "before", "after"))
        return _change(message, head, op, key, before, after)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)


def _change(message: Message, head: Head, op: Op, named: Fields | None, before: Fields | None, after: Fields | None) -> Decoded:
    table = tuple(part for part in (head.database, head.schema, head.table) if part)
    version, ts_ms = positions.free(head.offset), guessed_ms(head.ts)
    if op is TRUNCATE:
        return (Envelope(TRUNCATE, table=table, version=version, source_ts_ms=ts_ms, op_name=head.type),)
    key: Any = named or message.key.value
    if op is DELETE:
        after = None
        if key is None and before is None:
            raise Reject("delete.without_key", "a delete without 'primary_key' and 'before' names no row: add one of them")
    elif after is None:
        raise Reject("row.missing", "the change has no 'after', so there is nothing to write: check the producer")
    if op is INSERT:
        before = None
    schema = message.row_schema("after") or message.row_schema("before")
    key_schema = message.row_schema("primary_key") if named else message.key.schema
    change = Envelope(op, key, after, before, table, version, ts_ms, False, schema, key_schema, head.type)
    return without_key_change(_as_keyed(change, named), list(named)) if op is UPDATE and named else (change,)


def _as_keyed(change: Envelope, named: Fields) -> Envelope:
    """primary_key is the key now, also where `after` does not repeat it."""
    if change.after is not None and not named.keys() <= change.after.keys():
        change.after = {**change.after, **named}
    return change


def _head(value: Fields) -> Head:
    try:
        return msgspec.convert({name: part for name, part in value.items() if part is not None}, Head)
    except msgspec.ValidationError as error:
        raise Reject("generic.type", "a field of the envelope is of the wrong type: check the topic's format") from error
