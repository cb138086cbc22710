"""CloudEvents: structured (attributes around `data`) and binary (attributes in headers `ce_*`).

An event becomes a row: the fields of its data, and its attributes as `ce_id`, `ce_type`, ..., the names that they have as
headers. What Debezium's converter wrapped is read as the change that it is. Pure; used by the loop's thread.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ingest.errors import Reject
from ingest.formats import connect, controls, framing, json
from ingest.formats.debezium import Debezium
from ingest.formats.message import Message, ValueSchema
from ingest.formats.positions import Source
from ingest.formats.schemas import SchemaCache
from ingest.formats.times import text_ms
from ingest.model import Decoded, Envelope, Fields, NeedSchema, Op, RowSchema, SourceType

HEADER_PREFIX: Final = "ce_"
REQUIRED: Final = ("specversion", "id", "source", "type")
BASE64_DATA: Final = RowSchema({"data": SourceType("bytes_base64")}, "data_base64")

_DEBEZIUM: Final = "iodebezium"  # in front of names of extension attributes, which have no underscores
_SOURCE_FIELDS: Final = {name.replace("_", ""): name for name in Source.__struct_fields__}
_NUMBERS: Final = ("ts_ms", "ts_us", "ord")

Headers = Sequence[tuple[str, bytes | None]]


class _Structured(msgspec.Struct):
    data: msgspec.Raw = json.NULL


class _Data(NamedTuple):
    """The content of an event, with its type where that is known."""

    value: Any
    schema: ValueSchema | None = None
    row_schema: RowSchema | None = None


class CloudEvents:
    """schemas: for data that is Avro inside the event."""

    def __init__(self, debezium: Debezium, schemas: SchemaCache) -> None:
        self._debezium = debezium
        self._schemas = schemas
        self._wrapper = connect.Wrapper()

    def read_json(self, message: Message) -> Decoded | None:
        del message
        return None  # each event is looked at; they are rarely the bulk

    def read(self, message: Message) -> Decoded:
        value, attributes = message.value, in_headers(message.record.headers)
        if is_structured(value):
            attributes, data = self._unwrapped(message, value)
        elif "specversion" in attributes:
            data = _Data(value, message.schema, message.row_schema(""))
        else:
            skip = controls.debezium(value, message.key, message.record.topic) if value.__class__ is dict else None
            if skip is not None:
                return skip
            raise Reject("cloudevents.attributes", "the record lacks the attributes of a CloudEvent: check the topic's format")
        if isinstance(data, NeedSchema):
            return data
        if is_debezium(attributes, data.value):
            change = debezium_change(attributes, data.value)
            return self._debezium.read(Message(message.record, message.key, message.body, change, data.schema))
        return (_event(message, attributes, data),)

    def read_tombstone(self, message: Message) -> Decoded:
        return self._debezium.read_tombstone(message)

    def _unwrapped(self, message: Message, value: Fields) -> tuple[Fields, _Data | NeedSchema]:
        """Attributes and data of a structured event."""
        inner = value["attribute"] if value.keys() == {"attribute", "data"} else value
        attributes = {name: part for name, part in inner.items() if name not in ("data", "data_base64")}
        kind = str(attributes.get("datacontenttype") or "").lower()
        if value.get("data_base64") is not None:
            return attributes, self._bytes(_decoded(value["data_base64"]), kind, value["data_base64"])
        data = value.get("data")
        if data.__class__ is bytes:
            return attributes, self._bytes(data, kind, None)
        if data.__class__ is str and "avro" in kind:
            return attributes, self._bytes(_decoded(data), kind, data)
        if data.__class__ is dict and connect.is_wrapped(data) and message.schema is None:
            return attributes, self._connect(message, data)
        rows = None if message.schema is None else message.schema.rows.get("data")
        return attributes, _Data(data, None, rows)

    def _bytes(self, content: bytes, kind: str, text: Any) -> _Data | NeedSchema:
        """Content that travelled as bytes: a framed record, JSON, or nobody knows what."""
        if "avro" in kind:
            framed = framing.in_front(content) if content else None
            if framed is None:
                raise Reject("cloudevents.data", "the data is Avro without a schema id: let the producer use a registry")
            schema = self._schemas.get(framed.schema_id)
            if schema is None:
                return NeedSchema(framed.schema_id)
            value, declared = schema.read(content, framed.start)
            return _Data(value, declared, None if declared is None else declared.rows.get(""))
        if "json" in kind or (not kind and content[:1] in (b"{", b"[")):
            return _Data(json.decode(content))
        return _Data({"data": content} if text is None else {"data": text}, None, None if text is None else BASE64_DATA)

    def _connect(self, message: Message, data: Fields) -> _Data:
        """Data in Kafka Connect's wrapper; the same schema gives the same object."""
        raw = bytes(msgspec.json.decode(message.body, type=_Structured).data)
        _, schema = self._wrapper.learn(raw, data["schema"])
        return _Data(data["payload"], schema, None if schema is None else schema.rows.get(""))


def is_structured(value: Any) -> bool:
    """Whether a value is an event with its attributes."""
    if value.__class__ is not dict:
        return False
    if value.keys() == {"attribute", "data"} and value["attribute"].__class__ is dict:
        value = value["attribute"]
    return all(value.get(name).__class__ is str for name in REQUIRED)


def in_headers(headers: Headers) -> Fields:
    """The attributes in a record's headers, none where they are not those of a binary event.

    >>> in_headers([("ce_specversion", b"1.0"), ("ce_id", b"7"), ("content-type", b"application/json")])
    {'specversion': '1.0', 'id': '7', 'datacontenttype': 'application/json'}
    """
    found = {}
    for name, value in headers:
        if value is not None and name.startswith(HEADER_PREFIX):
            found[name[len(HEADER_PREFIX) :]] = value.decode(errors="replace")
        elif value is not None and name.lower() == "content-type":
            found["datacontenttype"] = value.decode(errors="replace")
    return found if "specversion" in found else {}


def is_debezium(attributes: Mapping[str, Any], data: Any) -> bool:
    """Whether the event is a change that Debezium's converter wrapped."""
    if data.__class__ is not dict or not str(attributes.get("type", "")).lower().startswith("io.debezium."):
        return False
    return "before" in data or "after" in data


def debezium_change(attributes: Mapping[str, Any], data: Fields) -> Fields:
    """The change as Debezium's own envelope has it. Where the extension attributes are switched off, the event's id tells the
    position (`name:shop;lsn:29274832;txId:565`) and its source the connector (`/debezium/postgresql/shop`)."""
    source: Fields = dict(part.split(":", 1) for part in str(attributes["id"]).split(";") if ":" in part)
    place = str(attributes["source"]).split("/")
    if len(place) > 2 and place[1] == "debezium":
        source["connector"] = place[2]
    for name, value in attributes.items():
        field = _SOURCE_FIELDS.get(name.removeprefix(_DEBEZIUM)) if name.startswith(_DEBEZIUM) else None
        if field is not None:
            source[field] = value
    for name in _NUMBERS:
        if str(source.get(name)).isdecimal():
            source[name] = int(source[name])
    op = attributes.get(f"{_DEBEZIUM}op") or _op(data)
    return {"before": data.get("before"), "after": data.get("after"), "op": op, "source": source} | _more(data)


def _op(data: Fields) -> str:
    if data.get("after") is None:
        return "d"
    return "u" if data.get("before") is not None else "c"


def _more(data: Fields) -> Fields:
    return {name: data[name] for name in ("updateDescription", "patch", "filter") if name in data}


def _event(message: Message, attributes: Mapping[str, Any], data: _Data) -> Envelope:
    content = data.value if data.value.__class__ is dict else {} if data.value is None else {"data": data.value}
    row = {f"{HEADER_PREFIX}{name}": value for name, value in attributes.items()} | content
    key = message.key
    return Envelope(
        Op.INSERT, key.value, row, source_ts_ms=text_ms(attributes.get("time")), schema=data.row_schema, key_schema=key.schema
    )


def _decoded(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, TypeError, ValueError) as error:
        raise Reject("cloudevents.data", "the data is said to be base64 and is none: check the producer") from error
