"""Events and rows without an envelope: the value is the row. Pure; used by the loop's thread."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from ingest.errors import Parked, Reject
from ingest.formats import cockroach, controls, json
from ingest.formats.message import Message, ambiguous_tombstone, deleted_by_key
from ingest.model import Decoded, Envelope, Fields, Op


class Plain:
    """Rows as they are."""

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        return (_event(message, value),) if value.__class__ is dict and len(value) > 2 else None

    def read(self, message: Message) -> Decoded:
        value = message.value
        if value.__class__ is not dict:
            raise Reject("row.not_an_object", "the value is no object, so it has no columns: let the producer send an object")
        return (_event(message, value),)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)


class DetectedPlain(Plain):
    """Rows on a topic that nobody declared plain: control records are skipped, an envelope parks the topic."""

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        # {schema, payload} and {payload} are seen to by the caller, everything suspicious by read().
        return self.read(structs.replace(message, value=value)) if value.__class__ is dict and len(value) > 2 else None

    def read(self, message: Message) -> Decoded:
        value = message.value
        if value.__class__ is not dict:
            return super().read(message)
        if not _SUSPECT.isdisjoint(value):
            skip = controls.debezium(value, message.key, message.record.topic) or controls.cockroach(value)
            if skip is not None:
                return skip
            if _is_envelope(value):
                raise _contradiction(message.record.topic)
        if message.key.like_cockroach:
            cockroach.refuse_ambiguous_delete(value, message.key)
        return super().read(message)

    def read_tombstone(self, message: Message) -> Decoded:
        if message.key.like_cockroach:
            raise ambiguous_tombstone(message.record)
        return super().read_tombstone(message)


_CONTROL_FIELDS: Final = frozenset({"status", "databaseName", "ts_ms", "aggregate_type", "resolved", "__crdb__"})
_SUSPECT: Final = _CONTROL_FIELDS | {"op", "after", "before"}


def _event(message: Message, value: Fields) -> Envelope:
    key = message.key
    return Envelope(Op.INSERT, key.value, value, schema=message.row_schema(""), key_schema=key.schema)


def _is_envelope(value: Fields) -> bool:
    """The two shapes that no row has by accident."""
    source = value.get("source")
    return cockroach.is_wrapped(value) or ("op" in value and source.__class__ is dict and "connector" in source)


def _contradiction(topic: str) -> Parked:
    return Parked(
        "format.ambiguous",
        f"topic {topic} began with plain rows and now has change envelopes: set its format in a contract, or separate the two",
        subject=f"topic:{topic}",
    )
