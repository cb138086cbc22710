"""CockroachDB's changefeeds: wrapped, enriched, row and bare envelopes, in JSON and Avro, and batches of the webhook sink.

A delete that a feed cannot tell apart from a change is refused, never guessed; a query that selects event_op() tells it.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, positions, several
from ingest.formats.message import Key, Message, ambiguous_tombstone, deleted_by_key, need_row
from ingest.model import Decoded, Envelope, Fields, Op, RowSchema

WRAPPED: Final = frozenset({"after", "before", "key", "topic", "updated", "mvcc_timestamp", "resolved"})
_AVRO_BARE: Final = WRAPPED - {"after"} | {"record"}
_OPS: Final = {"c": Op.INSERT, "u": Op.INSERT, "d": Op.DELETE}  # enriched `u` carries the whole row too

_WORDS: Final = tuple(_OPS)  # compared, not hashed: a row may have a list in a column of that name
_ABSENT: Final = msgspec.Raw(b"")

# What encode_json_value_null_as_object writes for a null inside a JSON column, to tell it from SQL's NULL; CrateDB has but one.
_JSON_NULL: Final = {"__crdb_json_null__": True}
_JSON_NULL_TEXT: Final = b"__crdb_json_null__"

# Columns of a CDC query (CREATE CHANGEFEED ... AS SELECT), under the names that they have unless the query renames them.
EVENT_OP, PREVIOUS = "event_op", "cdc_prev"
_QUERY_OPS: Final = ("insert", "update", "upsert", "delete")


class _Wrapped(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    after: Fields | None
    before: msgspec.Raw = _ABSENT
    key: list[Any] | None = None
    topic: str | None = None
    updated: str | None = None
    mvcc_timestamp: str | None = None


_decode = msgspec.json.Decoder(_Wrapped, float_hook=Decimal).decode


class Cockroach:
    """A changefeed.

    rows: it is envelope=row, whose deletes are null values (bare and key_only cannot tell theirs).
    families: its topics are column families, each with a part of the row.
    """

    def __init__(self, *, rows: bool = False, families: bool = False) -> None:
        self._rows = rows
        self._whole = Op.UPDATE if families else Op.INSERT

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # another shape, or broken: read() knows
        before_text = bytes(seen.before)
        before = json.decode_row(before_text) if before_text else None
        if not json.has_names(message.body, _names(seen, before)):
            if _JSON_NULL_TEXT in message.body:
                return None
            json.refuse_duplicates(message.body, json.decode_loosely(message.body))
        if seen.after is not None and PREVIOUS in seen.after:
            return None
        key = message.key if seen.key is None else Key(tuple(seen.key), like_cockroach=True)
        version = positions.hlc(seen.updated or seen.mvcc_timestamp)
        table = () if seen.topic is None else _table(seen.topic, message)
        return (self._change(key, seen.after, before, version, table, bool(before_text)),)

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        skip = controls.cockroach(value)
        if skip is not None:
            return skip
        if is_batch(value):
            return self._batch(message, value["payload"])
        if is_capture(value):
            return self._captured(message, value)
        if is_avro_resolved(value):
            return controls.resolved(positions.hlc(value["resolved"])) or controls.RESOLVED
        if is_enriched(value):
            return (self._enriched(message, value),)
        if is_wrapped(value):
            return (self._wrapped(message, value),)
        return (self._row(message, value),)

    def read_tombstone(self, message: Message) -> Decoded:
        if not self._rows:
            raise ambiguous_tombstone(message.record)
        return deleted_by_key(message.key)

    def _batch(self, message: Message, parts: list[Any]) -> Decoded:
        """Changes and resolved timestamps, each with its own key."""
        if not all(_is_message(part) for part in parts):
            raise Reject("cockroach.batch", "a webhook batch holds what is no change of a feed: check the topic's format")
        return several.joined(self.read(Message(message.record, message.key, message.body, part)) for part in parts)

    def _captured(self, message: Message, value: Fields) -> Decoded:
        """What a Pub/Sub or Pulsar sink puts around a change."""
        key, inner = (value["Key"], value["Value"]) if "Key" in value else (value["key"], value["value"])
        return self.read(Message(message.record, _array_key(key) or message.key, message.body, inner))

    def _wrapped(self, message: Message, value: Fields) -> Envelope:
        after, before = _image(value, "after"), _image(value, "before")
        previous = None if after is None else _take_previous(after)
        return self._change(
            _array_key(value.get("key")) or message.key,
            after,
            before or previous,
            positions.hlc(value.get("updated") or value.get("mvcc_timestamp")),
            table=_table(value.get("topic"), message),
            before_real="before" in value or previous is not None,
            schema=message.row_schema("after"),
        )

    def _enriched(self, message: Message, value: Fields) -> Envelope:
        word = value["op"]
        source = value.get("source")
        source = source if source.__class__ is dict else {}
        named = value.get("key")
        key = message.key if named.__class__ is not dict else msgspec.structs.replace(message.key, value=named)
        after, before = _image(value, "after"), _image(value, "before")
        if (after is None) is not (_OPS[word] is Op.DELETE):
            raise Reject("cockroach.op", "'op' and 'after' contradict each other: check the topic's format")
        return self._change(
            key,
            after,
            before,
            positions.hlc(source.get("ts_hlc") or source.get("mvcc_timestamp")),
            table=tuple(source[name] for name in ("database_name", "schema_name", "table_name") if source.get(name)),
            before_real=before is not None,
            schema=message.row_schema("after"),
            word=word,
        )

    def _row(self, message: Message, value: Fields) -> Envelope:
        """envelope=row or bare: the columns themselves; in Avro inside `record`."""
        row, metadata, schema = value, value, message.row_schema("record")
        if value.get("record").__class__ is dict and value.keys() <= _AVRO_BARE:
            row = value["record"]
        else:
            metadata = value.pop("__crdb__", None)
            schema = message.row_schema("")
        metadata = metadata if metadata.__class__ is dict else {}
        key = _array_key(metadata.get("key")) or message.key
        version = positions.hlc(metadata.get("updated") or metadata.get("mvcc_timestamp"))
        table, is_new = _table(metadata.get("topic"), message), row.get(PREVIOUS, row) is None
        row = _without_json_nulls(row)
        previous, word = _take_previous(row), row.get(EVENT_OP)
        if word.__class__ is str and word in _QUERY_OPS:
            after, before = (None, previous or row) if word == "delete" else (row, previous)
            return self._change(key, after, before, version, table, previous is not None, schema, word)
        if not (self._rows or is_new):
            refuse_ambiguous_delete(row, key)
        return self._change(key, row, previous, version, table, previous is not None, schema)

    def _change(
        self,
        key: Key,
        after: Fields | None,
        before: Fields | None,
        version: Any,
        table: tuple[str, ...] = (),
        before_real: bool = False,
        schema: RowSchema | None = None,
        word: str = "",
    ) -> Envelope:
        op = self._whole if after is not None else Op.DELETE
        if after is None and key.value is None and before is None:
            raise Reject("delete.without_key", "a delete without key and 'before' names no row: let the feed add key_in_value")
        if op is Op.INSERT and not _holds_key(after, key.value):
            op = Op.UPDATE  # a column family without the primary key: the row has more columns than these
        ts_ms = positions.hlc_ms(version)
        return Envelope(op, key.value, after, before, table, version, ts_ms, before_real, schema, key.schema, word)


def _image(value: Fields, part: str) -> Fields | None:
    row = value.get(part)
    return None if row is None else _without_json_nulls(need_row(row, part))


def _without_json_nulls(row: Fields) -> Fields:
    if _JSON_NULL not in row.values():
        return row
    return {name: None if value == _JSON_NULL else value for name, value in row.items()}


def _take_previous(row: Fields) -> Fields | None:
    """The image of before that a query selected, taken out of the row; None for a row that is new."""
    previous = row.pop(PREVIOUS, None)
    if previous.__class__ is not dict or all(value is None for value in previous.values()):
        return None
    return _without_json_nulls(previous)


def is_wrapped(value: Fields) -> bool:
    """Document 001's `{"after", "segment", "last_seen"}` is a row of a view and no change: all names must be the feed's."""
    return "after" in value and value.keys() <= WRAPPED


def is_enriched(value: Fields) -> bool:
    source = value.get("source")
    if value.get("op") not in _WORDS or "ts_ms" in value or "after" not in value:
        return False
    if source.__class__ is dict:
        return source.get("origin") == "cockroachdb"
    return source is None and "ts_ns" in value


def is_batch(value: Fields) -> bool:
    return value.keys() == {"payload", "length"} and value["payload"].__class__ is list


def is_capture(value: Fields) -> bool:
    """What Pub/Sub and Pulsar sinks put around a change; older ones in small letters, which a row might have too."""
    if value.keys() == {"Key", "Value", "Topic"}:
        return value["Value"].__class__ is dict
    return value.keys() == {"key", "value", "topic"} and value["key"].__class__ is list and _is_message(value["value"])


def is_query(value: Fields) -> bool:
    """A row of a CDC query that selects what the row was before."""
    return PREVIOUS in value and (value[PREVIOUS] is None or value[PREVIOUS].__class__ is dict)


def _is_message(value: Any) -> bool:
    """Whether a value is a change or a resolved timestamp beyond doubt."""
    if value.__class__ is not dict:
        return False
    if is_wrapped(value) or is_enriched(value) or value.get("__crdb__").__class__ is dict:
        return True
    return controls.cockroach(value) is not None


def is_avro_resolved(value: Fields) -> bool:
    """Avro's resolved record shares the subject of the rows, and may have their fields, all null."""
    if positions.hlc(value.get("resolved")) is None or not value.keys() <= WRAPPED | _AVRO_BARE:
        return False
    return value.get("after") is None and value.get("record") is None and value.get("before") is None


def refuse_ambiguous_delete(row: Fields, key: Key) -> None:
    """envelope=bare says a delete as the primary key and nulls, which is also how a row of nulls looks."""
    if key.value is None or None not in row.values():
        return
    parts = key.value.values() if isinstance(key.value, dict) else key.value
    held = [value for value in row.values() if value is not None]
    if len(held) <= len(parts) and all(value in parts for value in held):
        raise Reject(
            "cockroach.ambiguous_delete",
            "all columns but the key are null, which is how envelope=bare says a delete: use envelope=wrapped or enriched, "
            "or set format to 'cockroach:row' for envelope=row",
        )


def _array_key(value: Any) -> Key | None:
    return Key(tuple(value), like_cockroach=True) if value.__class__ is list else None


def _table(topic: Any, message: Message) -> tuple[str, ...]:
    """topic_in_value names the table only where several share a Kafka topic."""
    return (topic,) if topic.__class__ is str and topic != message.record.topic else ()


def _holds_key(row: Fields | None, key: Any) -> bool:
    if row is None or key is None:
        return True
    if key.__class__ is dict:
        return key.keys() <= row.keys()
    values = row.values()
    for part in key:  # noqa: SIM110 - a generator would double the time of this
        if part not in values:
            return False
    return True


def _names(seen: _Wrapped, before: Fields | None) -> int:
    """How many names a wrapped change without nested values and duplicates has."""
    names = 1 + (seen.updated is not None) + (seen.mvcc_timestamp is not None) + (seen.key is not None) + (seen.topic is not None)
    if seen.before:
        names += 1 + len(before or ())
    return names + len(seen.after or ())
