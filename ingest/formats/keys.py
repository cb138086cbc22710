"""Kafka keys: JSON, JSON with a Connect schema, Avro, plain text, Java's `Struct{...}` and binary integers.

Decided per record on its own bytes, because key and value converters often differ; what a registry's serializer wrote is framed
as values are. Pure; used by the loop's thread.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import connect, framing, json
from ingest.formats.message import NO_KEY, Key, ValueSchema
from ingest.formats.schemas import UNKNOWN, SchemaCache
from ingest.model import Decoded, NeedSchema, Record, Skip

# Only whole numbers are taken as numbers: "007", "12e5" and "1.50" as texts lose nothing, as numbers they would.
_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,37})\Z")
_STRUCT_FIELD: Final = re.compile(r"(?:^|,)([^,={}]+)=")
_STRUCT: Final = b"Struct{"
OPENING_BRACE: Final = ord("{")
OPENING_BRACKET: Final = ord("[")
BINARY_INTEGERS = (4, 8)  # IntegerSerializer and LongSerializer


class KeyReader:
    """Decodes the keys of one topic."""

    def __init__(self, topic: str, schemas: SchemaCache) -> None:
        self._schemas = schemas
        self._own = schemas.of_topic(topic, for_key=True)
        self._wrapper = connect.Wrapper()
        self._has_longs = False

    def read(self, record: Record) -> Key | NeedSchema:
        """The key of a record, NO_KEY where it has none. Raises Reject("key.malformed") and what schemas raise."""
        raw = record.key
        if not raw:
            return NO_KEY
        if record.headers:
            header = framing.in_headers(record.headers, framing.KEY_HEADER)
            if header is not None:
                return self._registered(header.lead + raw, header)
        if self._own is not None:
            return _key(*self._own.read(raw))
        if raw[0] == OPENING_BRACE:
            return self._object(raw)
        if not framing.is_framed_key(raw):
            return _scalar(raw)
        if len(raw) not in BINARY_INTEGERS:
            return self._registered(raw, framing.in_front(raw))
        return self._framed_or_long(raw)

    def _framed_or_long(self, raw: bytes) -> Key | NeedSchema:
        """Eight bytes are a long above 2**24, or an id and three bytes. A long where there is no registry, where it says that it
        has no such schema, and where the schema reads other bytes; and then all such keys of the topic are longs, because the
        serializer is one setting of its producer. What fits by chance is told by the row (`prefer_row`)."""
        if self._has_longs or not self._schemas.has_registry:
            return _scalar(raw)
        try:
            found = self._registered(raw, framing.in_front(raw))
        except Reject as reject:
            if reject.code != UNKNOWN and reject.code.startswith("schema."):
                raise
            self._has_longs = True
            return _scalar(raw)
        if isinstance(found, NeedSchema):
            return found
        return msgspec.structs.replace(found, perhaps=int.from_bytes(raw, "big", signed=True))

    def quick(self, raw: bytes) -> Key | None:
        """The key in the shapes that most have: a flat object, a list of scalars, a number; None for others, which `read` reads.
        For records without headers."""
        if self._own is not None:
            return None
        first, schema = raw[0], None
        if first == OPENING_BRACE:
            text, schema = self._wrapper.cut(raw) if self._wrapper.is_used else (raw, None)
            value = json.decode_flat(text)
            if value is None or (schema is None and "payload" in value):
                return None
            return Key(value, None if schema is None else schema.rows.get(""))
        if first == OPENING_BRACKET and OPENING_BRACE not in raw:
            parts = _parts(_json(raw))
            return Key(parts, None, True) if parts else None
        return Key((int(raw),)) if _INTEGER.match(raw) else None

    def prefix_of(self, raw: bytes) -> bytes | None:
        """What stands before the payload of a JSON object with its schema, b"" where there is no schema; None where keys are read
        by a schema of the topic's own."""
        return None if self._own is not None else self._wrapper.prefix_of(raw)

    def _object(self, raw: bytes) -> Key:
        text, schema = self._wrapper.cut(raw)
        value = _json(text)
        if schema is None:
            if not connect.is_wrapped(value):
                return Key(value or None)
            _, schema = self._wrapper.learn(raw, value["schema"])
            value = value["payload"]
        return Key(_parts(value), None if schema is None else schema.rows.get(""))

    def _registered(self, raw: bytes, framed: framing.Framed | None) -> Key | NeedSchema:
        if framed is None:
            raise _malformed()
        schema = self._schemas.get(framed.schema_id)
        if schema is None:
            return NeedSchema(framed.schema_id)
        value, declared = schema.read(raw, framed.start)
        return _key(value, declared)


def prefer_row(key: Key, decoded: Decoded) -> Decoded:
    """What was decoded, with the row's word on a key whose bytes may mean two things, where the row has all of the key's fields.

    `Struct{a=1,b=2}` quotes nothing, so a value that holds `,b=` cannot be told from two fields; and its values are all texts:
    the row's own fields are taken. Eight bytes that were read as a framed record are a long where the row has other values.
    """
    if isinstance(decoded, Skip | NeedSchema) or not isinstance(key.value, dict):
        return decoded
    for envelope in decoded:
        row = envelope.before if envelope.after is None else envelope.after
        if row is None or not key.value.keys() <= row.keys():
            continue
        if key.perhaps is None:
            envelope.key = None
        elif any(str(row[name]) != str(part) for name, part in key.value.items()):
            envelope.key, envelope.key_schema = (key.perhaps,), None
    return decoded


def _key(value: Any, declared: ValueSchema | None) -> Key:
    if declared is None:
        return Key(_parts(value))
    return Key(_parts(value), declared.rows.get(""), declared.by_cockroach)


def _parts(value: Any) -> dict[str, Any] | tuple[Any, ...] | None:
    if value is None or value.__class__ is dict:
        return value or None
    return tuple(value) if value.__class__ is list else (value,)


def _scalar(raw: bytes) -> Key:
    first = raw[:1]
    if first == b"[":
        return Key(_parts(_json(raw)), like_cockroach=True)
    if first == b'"':
        return Key(_parts(_json(raw)))
    if raw == b"null":
        return NO_KEY
    if _INTEGER.match(raw):
        return Key((int(raw),))
    if raw.startswith(_STRUCT) and raw.endswith(b"}"):
        return Key(_struct(raw), from_text=True)
    return Key(_text(raw))


def _text(raw: bytes) -> tuple[Any, ...]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if len(raw) in BINARY_INTEGERS:
            return (int.from_bytes(raw, "big", signed=True),)
        raise _malformed() from error
    if "\0" in text and len(raw) in BINARY_INTEGERS:
        return (int.from_bytes(raw, "big", signed=True),)
    return (text,)


def _struct(raw: bytes) -> dict[str, Any]:
    """The fields of Java's `Struct{id=1,name=x}`, all as texts.

    Raises Reject("key.malformed") for a nested one: its ends cannot be told.

    >>> _struct(b"Struct{id=1,name=x,y}")
    {'id': '1', 'name': 'x,y'}
    """
    try:
        text = raw[len(_STRUCT) : -1].decode()
    except UnicodeDecodeError as error:
        raise _malformed() from error
    places = list(_STRUCT_FIELD.finditer(text))
    ends = [place.start() for place in places[1:]] + [len(text)]
    if not places or places[0].start() != 0 or "Struct{" in text:
        raise _malformed()
    return {place[1]: text[place.end() : end] for place, end in zip(places, ends, strict=True)}


def _json(text: bytes) -> Any:
    try:
        return json.decode(text)
    except Reject as error:
        raise Reject("key.malformed", f"the key begins like JSON but is none ({error.code}): check the key converter") from error


def _malformed() -> Reject:
    return Reject("key.malformed", "the key is neither JSON, text, a framed record nor an integer: check the key converter")
