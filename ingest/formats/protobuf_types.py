"""What the fields of a Protobuf message mean, and how their values look: a plan per message, made once.

Messages that have a meaning of their own (Timestamp, the wrappers, Confluent's Decimal, ...) become the value that they stand
for. A field that can be told to be absent is None then; one that cannot has its default. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet

from ingest.errors import Reject
from ingest.model import SourceType

ANY: Final = SourceType("any")
NANOS: Final = 1_000_000_000
# Beyond these a decimal's digits would fill memory before any column could refuse them.
MOST_DECIMAL_BYTES, MOST_DECIMAL_SCALE = 1_000, 10_000

Convert = Callable[[Any], Any]


class Field(NamedTuple):
    """name: of the column. has_presence: an absent value can be told from a default. convert: None where the value stays."""

    name: str
    has_presence: bool
    convert: Convert | None


class Meaning(NamedTuple):
    """A type, and how its values become what the type says."""

    type: SourceType
    convert: Convert | None = None


class Planner:
    """Plans of the messages of one schema; each message is planned once, so that one that contains itself is no problem."""

    def __init__(self) -> None:
        self._fields: dict[str, list[Field]] = {}
        self._types: dict[str, SourceType] = {}
        self._open: set[str] = set()

    def message(self, descriptor: Descriptor) -> Meaning:
        """A message as the value that it stands for, else as a row."""
        known = KNOWN.get(descriptor.full_name)
        if known is not None:
            return known
        if descriptor.full_name in self._open:
            return Meaning(ANY, self._reader(descriptor))  # a type that contains itself has no end as a column type
        if descriptor.full_name not in self._types:
            self._plan(descriptor)
        return Meaning(self._types[descriptor.full_name], self._reader(descriptor))

    def _plan(self, descriptor: Descriptor) -> None:
        name = descriptor.full_name
        self._open.add(name)
        fields = self._fields.setdefault(name, [])
        types = {}
        for field in descriptor.fields:
            meaning = self._field(field)
            types[field.name] = meaning.type
            fields.append(Field(field.name, field.has_presence, meaning.convert))
        self._open.discard(name)
        self._types[name] = SourceType("struct", fields=types)

    def _field(self, field: FieldDescriptor) -> Meaning:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return _map(self._one(entry.fields_by_name["value"]))
        return _list(self._one(field)) if field.is_repeated else self._one(field)

    def _one(self, field: FieldDescriptor) -> Meaning:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return Meaning(SourceType("enum"), _enum(field.enum_type))
        return _SCALARS.get(field.type, Meaning(SourceType("int")))

    def _reader(self, descriptor: Descriptor) -> Convert:
        fields = self._fields.setdefault(descriptor.full_name, [])

        def read(message: Any) -> dict[str, Any]:
            if len(UnknownFieldSet(message)):
                raise Reject("protobuf.unknown_field", "the record has fields that its schema does not: check its schema id")
            row: dict[str, Any] = {}
            for name, has_presence, convert in fields:
                if has_presence and not message.HasField(name):
                    row[name] = None
                else:
                    value = getattr(message, name)
                    row[name] = value if convert is None else convert(value)
            return row

        return read


def _list(element: Meaning) -> Meaning:
    convert = element.convert
    return Meaning(SourceType("array", element=element.type), list if convert is None else lambda values: [*map(convert, values)])


def _map(element: Meaning) -> Meaning:
    convert = element.convert

    def read(values: Mapping[Any, Any]) -> dict[str, Any]:
        return {_key(key): values[key] if convert is None else convert(values[key]) for key in values}

    return Meaning(SourceType("map", element=element.type), read)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _enum(descriptor: EnumDescriptor) -> Convert:
    """Names; a number that the schema does not name stays, as text."""
    names = {value.number: value.name for value in descriptor.values}
    return lambda number: names.get(number) or str(number)


_SCALARS: Final[Mapping[int, Meaning]] = {
    FieldDescriptor.TYPE_BOOL: Meaning(SourceType("bool")),
    FieldDescriptor.TYPE_BYTES: Meaning(SourceType("bytes")),
    FieldDescriptor.TYPE_DOUBLE: Meaning(SourceType("float64")),
    FieldDescriptor.TYPE_FLOAT: Meaning(SourceType("float32")),
    FieldDescriptor.TYPE_STRING: Meaning(SourceType("string")),
}


def _value(message: Any) -> Any:
    return message.value


def _nanos(message: Any) -> int:
    return int(message.seconds) * NANOS + int(message.nanos)


def _time(message: Any) -> int:
    seconds = (int(message.hours) * 60 + int(message.minutes)) * 60 + int(message.seconds)
    return seconds * NANOS + int(message.nanos)


def _date(message: Any) -> str:
    return f"{message.year:04d}-{message.month:02d}-{message.day:02d}"


def _decimal(message: Any) -> Decimal:
    if len(message.value) > MOST_DECIMAL_BYTES or abs(message.scale) > MOST_DECIMAL_SCALE:
        raise Reject("protobuf.decimal", "a decimal has more digits or a larger scale than can be kept: check the producer")
    unscaled = int.from_bytes(message.value, "big", signed=True)
    return Decimal(f"{unscaled}E{-message.scale}")  # made from text, so that no context rounds it


def _json(message: Any) -> Any:
    return MessageToDict(message)


_WRAPPERS: Final = {
    "BoolValue": "bool",
    "BytesValue": "bytes",
    "DoubleValue": "float64",
    "FloatValue": "float32",
    "Int32Value": "int",
    "Int64Value": "int",
    "StringValue": "string",
    "UInt32Value": "int",
    "UInt64Value": "int",
}
KNOWN: Final[Mapping[str, Meaning]] = {
    **{f"google.protobuf.{name}": Meaning(SourceType(kind), _value) for name, kind in _WRAPPERS.items()},
    "google.protobuf.Timestamp": Meaning(SourceType("ts_ns", zoned=True), _nanos),
    "google.protobuf.Duration": Meaning(SourceType("interval_ns"), _nanos),
    "google.protobuf.Struct": Meaning(ANY, _json),
    "google.protobuf.Value": Meaning(ANY, _json),
    "google.protobuf.ListValue": Meaning(ANY, _json),
    "google.type.Date": Meaning(SourceType("date_text"), _date),
    "google.type.TimeOfDay": Meaning(SourceType("time_ns"), _time),
    "confluent.type.Decimal": Meaning(SourceType("decimal"), _decimal),
}
