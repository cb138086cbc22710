"""Protobuf: a registry's schema compiled once, then bytes to Python values and declared types.

The packages of the extra `protobuf` are imported where the first such schema is met; without them the topic is parked, with one
sentence. Which message of the file a record is, its serializer says in front of it: Confluent's by index, Apicurio's by name.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from ingest.errors import Parked, Reject
from ingest.formats import json
from ingest.formats.framing import LONGEST_NAME_BYTES
from ingest.formats.message import ValueSchema

MOST_INDEXES = 32  # messages are nested less deep
LONGEST_VARINT_BYTES = 5


class _Message(NamedTuple):
    """One message type, ready to be read."""

    parse: Callable[[bytes], Any]
    convert: Callable[[Any], Any]
    schema: ValueSchema


class ProtobufSchema:
    """The messages of one file.

    text: what the registry room makes of a file and its imports; see registry.protobuf_files. by_index: message indexes stand in
    front of each record, as Confluent's serializers write them.
    Raises Reject("schema.malformed"), and Parked("protobuf.not_installed") where the extra is missing.
    """

    def __init__(self, text: str, *, by_index: bool = True) -> None:
        self._by_index = by_index
        self._top: dict[str, Any] = dict(_compiled(text).message_types_by_name.items())
        self._messages: dict[str, _Message] = {}

    def read(self, body: bytes, start: int = 0) -> tuple[Any, ValueSchema]:
        """The message that fills body from start to its end.

        Raises Reject("protobuf.truncated", "protobuf.malformed", "protobuf.unknown_message" or "protobuf.unknown_field").
        """
        found, start = self._message(body, start)
        try:
            return found.convert(found.parse(body[start:])), found.schema
        except Reject:
            raise
        except Exception as error:  # the package raises its own errors for bad bytes, and Unicode's for bad texts
            raise Reject("protobuf.malformed", "the bytes do not fit the schema: check the record's schema id") from error

    def _message(self, body: bytes, start: int) -> tuple[_Message, int]:
        """Which message follows, and where."""
        named = None
        while (name := _name_at(body, start)) in self._top:  # Apicurio may say it in a header and in front of the bytes
            named, start = self._top[name], start + len(name) + 3
        if named is not None:
            return self._of(named), start
        if not self._by_index:
            return self._of(self._by_place([0])), start
        places, start = _indexes(body, start)
        return self._of(self._by_place(places)), start

    def _by_place(self, places: list[int]) -> Any:
        found, messages = None, [*self._top.values()]
        for place in places:
            if not 0 <= place < len(messages):
                raise Reject("protobuf.unknown_message", "the schema has no message of the record's index: check its schema id")
            found, messages = messages[place], messages[place].nested_types
        return found

    def _of(self, descriptor: Any) -> _Message:
        found = self._messages.get(descriptor.full_name)
        if found is None:
            found = self._messages[descriptor.full_name] = _planned(descriptor)
        return found


def _indexes(body: bytes, start: int) -> tuple[list[int], int]:
    """The path to the record's message, as zigzag numbers with their count in front; [0] is written as a single zero.

    >>> _indexes(bytes([4, 2, 0, 99]), 0)
    ([1, 0], 3)
    """
    count, start = _varint(body, start)
    if not 0 <= count <= MOST_INDEXES:
        raise Reject("protobuf.malformed", "the record has no message indexes: check its schema id")
    places = []
    for _ in range(count):
        place, start = _varint(body, start)
        places.append(place)
    return places or [0], start


def _varint(body: bytes, start: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(body[start : start + LONGEST_VARINT_BYTES]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return (number >> 1) ^ -(number & 1), start + place + 1
    raise Reject("protobuf.truncated", "the record ends inside its message indexes: check the producer's serializer")


def _name_at(body: bytes, start: int) -> str:
    """The name in one of Apicurio's references to a message, "" where there is none; see framing.message_reference."""
    head = body[start : start + 3]
    if len(head) < 3 or head[1] != 0x0A or head[0] != head[2] + 2 or not 0 < head[2] <= LONGEST_NAME_BYTES:
        return ""
    name = body[start + 3 : start + 3 + head[2]]
    return name.decode(errors="replace") if len(name) == head[2] else ""


def _planned(descriptor: Any) -> _Message:
    from google.protobuf.message_factory import GetMessageClass

    from ingest.formats.protobuf_types import Planner

    meaning = Planner().message(descriptor)
    names = {field.name: field.message_type.full_name for field in descriptor.fields if field.message_type is not None}
    schema = ValueSchema.of(descriptor.full_name, meaning.type, names)
    return _Message(GetMessageClass(descriptor).FromString, meaning.convert or _unchanged, schema)


def _unchanged(message: Any) -> Any:
    return message


# ---------------------------------------------------------------- files

_INSTALL: Final = "pip install 'cratedb-ingest[protobuf]'"


def _compiled(text: str) -> Any:
    """The descriptor of the root file."""
    bundle = _bundle(text)
    try:
        from ingest.formats.protobuf_pool import file_of, is_serialized
    except ImportError as error:
        raise Parked("protobuf.not_installed", f"Protobuf records need packages that are not installed: {_INSTALL}") from error
    if not is_serialized(bundle):
        raise Parked("protobuf.not_installed", f"the registry gives this Protobuf schema as source text only: {_INSTALL}")
    try:
        return file_of(bundle["root"], _files(bundle))
    except Reject:
        raise
    except Exception as error:  # the package raises nearly anything for odd descriptors, all of it about this one schema
        raise Reject("schema.malformed", "the Protobuf schema or one it imports cannot be read: check the registry") from error


def _bundle(text: str) -> Mapping[str, Any]:
    try:
        found = json.decode(text.encode())
    except Reject:
        found = None
    if not isinstance(found, dict) or "root" not in found or not ("set" in found or "files" in found):
        raise Reject("schema.malformed", "the text is no Protobuf schema as the registry room hands it over")
    return found


def _files(bundle: Mapping[str, Any]) -> Mapping[str, bytes] | bytes:
    if "set" in bundle:
        return b64decode(bundle["set"])
    return {name: b64decode(file) for name, file in bundle["files"].items()}
