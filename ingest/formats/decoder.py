"""Bytes to envelopes: the door of this room.

Keeps per topic which format it is and what its Connect schemas are; both can be found again from any record, so a restart changes
nothing. Pure otherwise: a schema that is missing is an answer. Belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ingest.errors import Parked, Reject
from ingest.formats import connect, controls, detect, framing, json
from ingest.formats.cockroach import Cockroach
from ingest.formats.debezium import Debezium
from ingest.formats.flattened import Flattened
from ingest.formats.keys import KeyReader
from ingest.formats.message import NO_KEY, Format, Key, Message, ValueSchema, ambiguous_tombstone, deleted_by_key
from ingest.formats.plain import DetectedPlain, Plain
from ingest.formats.schemas import SchemaCache
from ingest.formats.unavailable import DEFAULT, Placeholder
from ingest.model import Decoded, NeedSchema, Record, Skip

AUTO: Final = "auto"
FORMATS: Final = ("debezium", "flattened", "cockroach", "cockroach:row", "cockroach:families", "plain")
TOMBSTONE: Final = Skip("tombstone")
OPENING_BRACE: Final = ord("{")


class Decoder:
    """Turns records into envelopes.

    topic_format: the format of a topic, "auto" where its records shall tell. flattened_prefix: of `add.fields.prefix`.
    unavailable_value: Debezium's `unavailable.value.placeholder`.
    """

    def __init__(
        self,
        *,
        topic_format: Callable[[str], str] | Mapping[str, str],
        schemas: SchemaCache,
        flattened_prefix: str = "__",
        unavailable_value: str = DEFAULT,
    ) -> None:
        self._declared = topic_format if callable(topic_format) else _lookup(topic_format)
        self._schemas = schemas
        self._prefix = flattened_prefix
        self._formats = _formats(flattened_prefix, Placeholder(unavailable_value))
        self._detected_plain = DetectedPlain()
        self._topics: dict[str, _Topic] = {}

    def decode(self, record: Record) -> Decoded:
        """The envelopes of a record, Skip for one that is no row, NeedSchema for one that must wait for its schema.

        Raises Reject for a record that can never be read, Parked for a topic whose format cannot be told.
        """
        topic = self._topics.get(record.topic) or self._open(record.topic)
        key = NO_KEY if record.key is None else topic.keys.read(record)
        if isinstance(key, NeedSchema):
            return key
        body = record.value
        if not body:
            return self._tombstone(topic, Message(record, key, b""))
        if body[0] == OPENING_BRACE and not record.headers and not topic.has_schema:
            return self._text(topic, record, key, body)
        return self._framed_or_text(topic, record, key, body)

    def format_of(self, topic: str) -> str | None:
        """The format that a topic is read as, None as long as no record told it."""
        state = self._topics.get(topic)
        return None if state is None or state.format is None else state.format_name

    def forget(self, topic: str) -> None:
        """Ask and detect again: a contract has changed, or somebody unparked the topic."""
        self._topics.pop(topic, None)

    def _open(self, name: str) -> _Topic:
        topic = _Topic(name, self._schemas)
        declared = self._declared(name)
        if declared != AUTO:
            topic.lock(declared, self._declared_format(name, declared))
        self._topics[name] = topic
        return topic

    def _declared_format(self, topic: str, name: str) -> Format:
        found = self._formats.get(name)
        if found is None:
            text = f"topic {topic} is declared as format '{name}', which is none of: auto, {', '.join(FORMATS)}"
            raise Parked("format.unknown_name", text, subject=f"topic:{topic}")
        return found

    def _framed_or_text(self, topic: _Topic, record: Record, key: Key, body: bytes) -> Decoded:
        framed = framing.in_headers(record.headers, framing.VALUE_HEADER) if record.headers else None
        if framed is None and topic.has_schema:
            own = self._by_topic_schema(topic, body)
            if own is not None:
                return self._value(topic, Message(record, key, body, *own))
        if framed is None:
            framed = framing.in_front(body)
        if framed is not None:
            schema = self._schemas.get(framed.schema_id)
            if schema is None:
                return NeedSchema(framed.schema_id)
            return self._value(topic, Message(record, key, body, schema.decode(body, framed.start), schema.schema))
        if framing.is_text(body):
            return self._text(topic, record, key, body)
        raise Reject("format.unknown", "the bytes are neither JSON nor framed Avro: check the value converter of the producer")

    def _by_topic_schema(self, topic: _Topic, body: bytes) -> tuple[Any, ValueSchema | None] | None:
        """The value by the topic's own schema; None where a registry's prefix explains better why it does not fit."""
        schema = self._schemas.of_topic(topic.name)
        if schema is None:
            return None
        try:
            return schema.decode(body), schema.schema
        except Reject:
            if body[0] in (0, 1) and len(body) >= framing.ID_BYTES:
                return None
            raise

    def _text(self, topic: _Topic, record: Record, key: Key, body: bytes) -> Decoded:
        if topic.format is not None:
            payload, schema = topic.wrapper.cut(body)
            decoded = topic.format.read_json(Message(record, key, payload, None, schema))
            if decoded is not None:
                return decoded
        return self._text_looked_at(topic, Message(record, key, body, json.decode_loosely(body)))

    def _text_looked_at(self, topic: _Topic, message: Message) -> Decoded:
        """The long way: of the first record of a topic or schema, of control records and of all that is odd."""
        whole, value = message.body, message.value
        if connect.is_wrapped(value):
            message.body, message.schema = topic.wrapper.learn(whole, value["schema"])
            message.value = value["payload"]
        elif connect.is_payload_alone(value) and "source" in value["payload"]:
            message.value = value["payload"]
        shape_is_new = topic.format is None or message.value is not value
        skip = self._settle_format(topic, message)
        if skip is not None:
            return skip
        decoded = topic.format.read_json(message) if shape_is_new else None  # type: ignore[union-attr]
        if decoded is not None:
            return decoded
        json.refuse_duplicates(whole, value)
        return self._read(topic, message)

    def _value(self, topic: _Topic, message: Message) -> Decoded:
        return self._settle_format(topic, message) or self._read(topic, message)

    def _read(self, topic: _Topic, message: Message) -> Decoded:
        if message.value is None:
            return self._tombstone(topic, message)
        return topic.format.read(message)  # type: ignore[union-attr]

    def _settle_format(self, topic: _Topic, message: Message) -> Skip | None:
        """Leave the topic with a format; Skip for a control record that says nothing about it."""
        if topic.format is not None or message.value is None:
            return None
        skip = _control(message)
        if skip is None:
            self._detect(topic, message)
        return skip

    def _detect(self, topic: _Topic, message: Message) -> None:
        """Lock the topic's format by its first record that is a row."""
        name = detect.format_of(message.value, "" if message.schema is None else message.schema.name, self._prefix)
        if name.startswith(detect.UNREAD):
            kind = name.removeprefix(detect.UNREAD)
            text = f"topic {topic.name} looks like {kind}, which is not read: unsubscribe it, or set format 'plain'"
            raise Parked("format.unsupported", text, subject=f"topic:{topic.name}")
        topic.lock(name, self._detected_plain if name == "plain" else self._formats[name])

    def _tombstone(self, topic: _Topic, message: Message) -> Decoded:
        if message.key.value is None:
            return TOMBSTONE
        if topic.format is not None:
            return topic.format.read_tombstone(message)
        if message.key.like_cockroach:
            raise ambiguous_tombstone(message.record)
        return deleted_by_key(message.key)


class _Topic:
    """What is known of one topic."""

    def __init__(self, name: str, schemas: SchemaCache) -> None:
        self.name = name
        self.keys = KeyReader(name, schemas)
        self.wrapper = connect.Wrapper()
        self.has_schema = schemas.of_topic(name) is not None
        self.format: Format | None = None
        self.format_name = AUTO

    def lock(self, name: str, chosen: Format) -> None:
        self.format = chosen
        self.format_name = name


def _control(message: Message) -> Skip | None:
    value = message.value
    if value.__class__ is not dict:
        return None
    return controls.debezium(value, message.key, message.record.topic) or controls.cockroach(value)


def _formats(prefix: str, placeholder: Placeholder) -> dict[str, Format]:
    return {
        "debezium": Debezium(placeholder),
        "flattened": Flattened(placeholder, prefix),
        "cockroach": Cockroach(),
        "cockroach:row": Cockroach(rows=True),
        "cockroach:families": Cockroach(families=True),
        "plain": Plain(),
    }


def _lookup(formats: Mapping[str, str]) -> Callable[[str], str]:
    return lambda topic: formats.get(topic, AUTO)
