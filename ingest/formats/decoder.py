"""Bytes to envelopes: the door of this room.

Keeps per topic which format it is and what its Connect schemas are; both can be found again from any record, so a restart changes
nothing. Pure otherwise: a schema that is missing is an answer. Belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ingest.errors import Parked, Reject
from ingest.flow.ports import Express, Make, Wanted
from ingest.formats import connect, controls, detect, framing, json, several
from ingest.formats.canal import Canal
from ingest.formats.cloudevents import CloudEvents
from ingest.formats.cockroach import Cockroach
from ingest.formats.debezium import Debezium
from ingest.formats.dms import Dms
from ingest.formats.express import Expresses
from ingest.formats.flattened import Flattened
from ingest.formats.generic import Generic
from ingest.formats.goldengate import GoldenGate
from ingest.formats.keys import KeyReader, prefer_row
from ingest.formats.maxwell import Maxwell
from ingest.formats.message import NO_KEY, Format, Key, Message, ValueSchema, ambiguous_tombstone, deleted_by_key
from ingest.formats.mongodb import MongoChanges, MongoDocuments
from ingest.formats.plain import DetectedPlain, Plain
from ingest.formats.schemas import SchemaCache
from ingest.formats.ticdc_avro import TicdcAvro
from ingest.formats.ticdc_open import TicdcOpen, is_open
from ingest.formats.ticdc_simple import TicdcSimple
from ingest.formats.unavailable import DEFAULT, Placeholder
from ingest.model import Decoded, Envelope, NeedSchema, Record, Skip

AUTO: Final = "auto"
OPEN: Final = "ticdc_open"
FORMATS: Final = (
    *("debezium", "flattened", "cockroach", "cockroach:row", "cockroach:families", "plain", "generic"),
    *("maxwell", "maxwell:whole", "maxwell:minimal", "canal", OPEN, "ticdc_simple", "ticdc_avro"),
    *("dms", "dms:partial", "goldengate", "mongodb", "mongodb:documents", "cloudevents"),
)
WITH_PREFIX: Final = "flattened:"  # and another prefix than the setting's
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
        self._placeholder = Placeholder(unavailable_value)
        self._formats = _formats(flattened_prefix, self._placeholder, schemas)
        self._expresses = Expresses(self._placeholder, schemas)
        self._detected_plain = DetectedPlain()
        self._open_protocol = self._formats[OPEN]
        self._topics: dict[str, _Topic] = {}

    def decode(self, record: Record) -> Decoded:
        """The envelopes of a record, Skip for one that is no row, NeedSchema for one that must wait for its schema.

        Raises Reject for a record that can never be read, Parked for a topic whose format cannot be told.
        """
        name, _, _, _, raw_key, body, headers, _ = record
        topic = self._topics.get(name) or self._open(name)
        usual = topic.usual
        if usual is not None and body and body[0] == OPENING_BRACE and (not headers or framing.are_silent(headers)):
            key = topic.keys.quick(raw_key) if raw_key else NO_KEY
            if key is not None:
                text, schema = topic.wrapper.cut(body) if topic.wrapper.is_used else (body, None)
                decoded = usual.read_json(Message(record, key, text, None, schema))
                if decoded is not None:
                    return decoded
        return self._decode(topic, record)

    def _decode(self, topic: _Topic, record: Record) -> Decoded:
        """The long way, for what is not JSON under a simple key, on a topic whose format is known."""
        if topic.may_be_open:
            found = self._by_open_protocol(topic, record)
            if found is not None:
                return found
        key = NO_KEY if record.key is None else topic.keys.read(record)
        if isinstance(key, NeedSchema):
            return key
        body = record.value
        if not body:
            return self._tombstone(topic, Message(record, key, b""))
        if key.from_text or key.perhaps is not None:
            return prefer_row(key, self._framed_or_text(topic, record, key, body))
        if body[0] == OPENING_BRACE and not record.headers and not topic.has_schema:
            return self._text(topic, record, key, body)
        return self._framed_or_text(topic, record, key, body)

    def express(self, record: Record, envelope: Envelope, wanted: Wanted, make: Make) -> Express | None:
        """The express way of records like this one, which was decoded to this one envelope; None where there is none.

        It stays right until `forget`.
        """
        topic, body = self._topics.get(record.topic), record.value
        if topic is None or topic.usual is None or not body or (record.headers and not framing.are_silent(record.headers)):
            return None
        if body[0] == OPENING_BRACE:
            return self._expresses.of_json(topic.usual, record, envelope, wanted, make, topic.wrapper, topic.keys)
        if body[0] == 0 and body[1 : framing.ID_BYTES] > b"\0\0\0\0" and body[1] < 128:
            return self._expresses.of_avro(topic.usual, record, wanted, make, topic.keys)
        return None

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

    def _by_open_protocol(self, topic: _Topic, record: Record) -> Decoded | None:
        """What a batch of TiCDC's open protocol says, whose key is no key; None on a topic that has no such batches."""
        if topic.format is None:
            if not is_open(record):
                return None
            topic.lock(OPEN, self._open_protocol)
        elif not record.value and not is_open(record):
            return TOMBSTONE
        return self._open_protocol.read(Message(record, NO_KEY, record.value or b""))

    def _declared_format(self, topic: str, name: str) -> Format:
        found = self._formats.get(name)
        if found is None and name.startswith(WITH_PREFIX):
            found = self._formats[name] = Flattened(self._placeholder, name.removeprefix(WITH_PREFIX))
        if found is None:
            text = f"topic {topic} is declared as format '{name}', which is none of: auto, {', '.join(FORMATS)}"
            raise Parked("format.unknown_name", text, subject=f"topic:{topic}")
        return found

    def _framed_or_text(self, topic: _Topic, record: Record, key: Key, body: bytes) -> Decoded:
        framed = framing.in_headers(record.headers, framing.VALUE_HEADER) if record.headers else None
        if framed is not None:
            body = framed.lead + body
        elif topic.has_schema:
            own = self._by_topic_schema(topic, body)
            if own is not None:
                return self._value(topic, Message(record, key, body, *own))
        if framed is None:
            framed = framing.in_front(body)
        if framed is not None:
            schema = self._schemas.get(framed.schema_id)
            if schema is None:
                return NeedSchema(framed.schema_id)
            value, declared = schema.read(body, framed.start)
            return self._value(topic, Message(record, key, body, value, declared))
        if framing.is_text(body):
            return self._text(topic, record, key, body.removeprefix(framing.BYTE_ORDER_MARK))
        raise Reject(
            "format.unknown",
            "the bytes are neither JSON nor framed by a schema registry: check the value converter of the producer",
        )

    def _by_topic_schema(self, topic: _Topic, body: bytes) -> tuple[Any, ValueSchema | None] | None:
        """The value by the topic's own schema; None where a registry's prefix explains better why it does not fit."""
        schema = self._schemas.of_topic(topic.name)
        if schema is None:
            return None
        try:
            return schema.read(body)
        except Reject:
            if body[0] in (0, 1, 0xC3) and len(body) >= framing.ID_BYTES:
                return None
            raise

    def _text(self, topic: _Topic, record: Record, key: Key, body: bytes) -> Decoded:
        if topic.format is not None:
            payload, schema = topic.wrapper.cut(body) if topic.wrapper.is_used else (body, None)
            decoded = topic.format.read_json(Message(record, key, payload, None, schema))
            if decoded is not None:
                return decoded
        try:
            value = json.decode_loosely(body)
        except Reject:
            lines = several.lines(body)
            if not lines:
                raise
            return several.joined(self._text(topic, record, key, line) for line in lines)
        return self._text_looked_at(topic, Message(record, key, body, value))

    def _text_looked_at(self, topic: _Topic, message: Message) -> Decoded:
        """The long way: of the first record of a topic or schema, of control records and of all that is odd."""
        whole, value = message.body, message.value
        if connect.is_wrapped(value):
            message.body, message.schema = topic.wrapper.learn(whole, value["schema"])
            message.value = value["payload"]
        elif connect.is_payload_alone(value) and "source" in value["payload"]:
            message.value = value["payload"]
        if several.is_list(message.value):
            json.refuse_duplicates(whole, value)
            return self._list(topic, message)
        if message.value is None:
            return self._tombstone(topic, message)
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
        if several.is_list(message.value):
            return self._list(topic, message)
        return self._settle_format(topic, message) or self._read(topic, message)

    def _list(self, topic: _Topic, message: Message) -> Decoded:
        """Each object of a list as if it had come alone."""
        record, key, body, schema = message.record, message.key, message.body, message.schema
        items = None if schema is None else schema.items
        return several.joined(self._value(topic, Message(record, key, body, part, items)) for part in message.value)

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
        schema_name = "" if message.schema is None else message.schema.name
        name = detect.format_of(message.value, schema_name, self._prefix, message.record.headers)
        if name.startswith(detect.UNCLEAR):
            raise _unclear(topic.name, name.removeprefix(detect.UNCLEAR))
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
        self.may_be_open = True
        self.usual: Format | None = None  # the format, where JSON needs no more than that

    def lock(self, name: str, chosen: Format) -> None:
        self.format = chosen
        self.format_name = name
        self.may_be_open = name == OPEN
        self.usual = None if self.may_be_open or self.has_schema else chosen


def _unclear(topic: str, kind: str) -> Parked:
    text = f"topic {topic} looks like {kind} but lacks what would prove it: set format '{kind}' or 'plain' in a contract"
    return Parked("format.ambiguous", text, subject=f"topic:{topic}")


def _control(message: Message) -> Skip | None:
    value = message.value
    if value.__class__ is not dict:
        return None
    return controls.debezium(value, message.key, message.record.topic) or controls.cockroach(value)


def _formats(prefix: str, placeholder: Placeholder, schemas: SchemaCache) -> dict[str, Format]:
    debezium = Debezium(placeholder)
    return {
        "debezium": debezium,
        "cloudevents": CloudEvents(debezium, schemas),
        "flattened": Flattened(placeholder, prefix),
        "cockroach": Cockroach(),
        "cockroach:row": Cockroach(rows=True),
        "cockroach:families": Cockroach(families=True),
        "plain": Plain(),
        "generic": Generic(),
        "maxwell": Maxwell(),
        "maxwell:whole": Maxwell(whole=True),
        "maxwell:minimal": Maxwell(minimal=True),
        "canal": Canal(),
        OPEN: TicdcOpen(),
        "ticdc_simple": TicdcSimple(),
        "ticdc_avro": TicdcAvro(),
        "dms": Dms(),
        "dms:partial": Dms(partial=True),
        "goldengate": GoldenGate(),
        "mongodb": MongoChanges(),
        "mongodb:documents": MongoDocuments(),
    }


def _lookup(formats: Mapping[str, str]) -> Callable[[str], str]:
    return lambda topic: formats.get(topic, AUTO)
