"""Events and rows without an envelope: the value is the row.

Lists of rows and rows one per line are taken apart before (`several`). Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

from ingest.errors import Parked, Reject
from ingest.formats import cockroach, controls, json
from ingest.formats.message import Message, ambiguous_tombstone, deleted_by_key
from ingest.model import Decoded, Envelope, Fields, Op

SCALAR: Final = "value"  # the column of a value that is no object


class Plain:
    """Rows as they are. A text that holds a JSON object is that object, as outbox tables are often published; any other scalar is
    a row of one column, `value`."""

    def read_json(self, message: Message) -> Decoded | None:
        try:
            value = json.decode(message.body)
        except Reject:
            return None  # perhaps several values, which the caller finds out
        return (_event(message, value),) if value.__class__ is dict and len(value) > 2 else None

    def read(self, message: Message) -> Decoded:
        value = message.value
        if value.__class__ is str:
            value = _object_in(value)
        if value.__class__ is list:
            raise Reject("row.not_an_object", "the value is a list of what are no objects: let the producer send objects")
        if value.__class__ is dict:
            return (_event(message, value),)
        row, key = {SCALAR: value}, message.key
        return (Envelope(Op.INSERT, key.value, row, schema=message.row_schema(SCALAR), key_schema=key.schema),)

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)


class DetectedPlain(Plain):
    """Rows on a topic that nobody declared plain: control records are skipped, an envelope parks the topic."""

    def read_json(self, message: Message) -> Decoded | None:
        try:
            value = json.decode(message.body)
        except Reject:
            return None
        # {schema, payload} and {payload} are seen to by the caller, everything suspicious by read().
        if value.__class__ is not dict or len(value) <= 2:
            return None
        message.value = value
        return self.read(message)

    def read(self, message: Message) -> Decoded:
        value = _object_in(message.value) if message.value.__class__ is str else message.value
        if value.__class__ is not dict:
            return super().read(message)
        message.value = value
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


def is_never_suspect(names: frozenset[str]) -> bool:
    """Whether rows of these fields, more than two and all of them scalars, are neither control records nor envelopes."""
    return _SUSPECT & names <= {"status", "ts_ms", "op"} and controls.COUNTS.isdisjoint(names)


def _object_in(text: str) -> Any:
    """The object in a text of JSON, else the text itself."""
    if text[:1] != "{":
        return text
    try:
        found = json.decode(text.encode(errors="surrogatepass"))
    except Reject:
        return text
    return found if found.__class__ is dict else text


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
