"""Kafka Connect's JSON: `{"schema": ..., "payload": ...}`, and what its schemas declare.

A schema is ten times the size of its row and the same in every record, so it is read once: later records that begin with
the very same bytes are cut at the payload. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ingest.formats import semantic
from ingest.formats.message import ValueSchema
from ingest.model import SourceType

ANY: Final = SourceType("any")

_LITERALS: Final = {
    "int8": SourceType("int"),
    "int16": SourceType("int"),
    "int32": SourceType("int"),
    "int64": SourceType("int"),
    "float": SourceType("float32"),
    "float32": SourceType("float32"),
    "double": SourceType("float64"),
    "float64": SourceType("float64"),
    "boolean": SourceType("bool"),
    "string": SourceType("string"),
    "bytes": SourceType("bytes_base64"),
}

# Schemas of one topic that are recognised by their bytes. A topic with more tables still works, each record at the price
# of reading its schema again.
KNOWN_PREFIXES = 32
CLOSING_BRACE = ord("}")


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    schema: msgspec.Raw
    payload: msgspec.Raw


def is_wrapped(value: Any) -> bool:
    """Whether a JSON value is a payload with its schema, and not a row with columns of these names."""
    if value.__class__ is not dict or len(value) != 2 or "payload" not in value or "schema" not in value:
        return False
    schema = value["schema"]
    return schema is None or (schema.__class__ is dict and isinstance(schema.get("type"), str))


def is_payload_alone(value: Any) -> bool:
    """Whether the schema was cut away but the payload's own object stayed."""
    return value.__class__ is dict and value.keys() == {"payload"} and value["payload"].__class__ is dict


class Wrapper:
    """Cuts payloads out of the records of one topic (or of its keys)."""

    def __init__(self) -> None:
        self.is_used = False  # as long as it is not, there is nothing to cut
        self._prefixes: list[tuple[bytes, ValueSchema | None]] = []
        self._schemas: dict[bytes, ValueSchema | None] = {}

    def cut(self, text: bytes) -> tuple[bytes, ValueSchema | None]:
        """The payload's text and its schema; the whole text where its beginning was not seen before."""
        for place, (prefix, schema) in enumerate(self._prefixes):
            if text.startswith(prefix) and text[-1] == CLOSING_BRACE:
                if place:
                    self._prefixes.insert(0, self._prefixes.pop(place))
                return text[len(prefix) : -1], schema
        return text, None

    def prefix_of(self, text: bytes) -> bytes:
        """What `cut` takes off the front of a text, b"" where it takes nothing."""
        if not self.is_used:
            return b""
        payload, _ = self.cut(text)
        return b"" if payload is text else text[: len(text) - len(payload) - 1]

    def learn(self, text: bytes, declared: Any) -> tuple[bytes, ValueSchema | None]:
        """The payload's text and schema of a text that is_wrapped, so that `cut` knows it; declared: its schema, decoded."""
        wrapped = msgspec.json.decode(text, type=_Wrapped)
        schema = self._schema(bytes(wrapped.schema), declared)
        payload = bytes(wrapped.payload)
        if text.endswith(payload + b"}"):
            self.is_used = True
            self._prefixes.insert(0, (text[: -len(payload) - 1], schema))
            del self._prefixes[KNOWN_PREFIXES:]
        return payload, schema

    def _schema(self, text: bytes, declared: Any) -> ValueSchema | None:
        if text not in self._schemas:
            if len(self._schemas) >= KNOWN_PREFIXES:
                self._schemas.clear()
            self._schemas[text] = None if declared is None else value_schema(declared)
        return self._schemas[text]


def value_schema(node: Mapping[str, Any]) -> ValueSchema:
    """What a Connect schema declares."""
    names = {str(part.get("field")): str(part.get("name") or "") for part in _fields(node)}
    return ValueSchema.of(str(node.get("name") or ""), source_type(node), names)


def source_type(node: Mapping[str, Any]) -> SourceType:
    """The type of one schema node, with the types inside it."""
    parameters = node.get("parameters")
    name = node.get("name")
    return semantic.named(
        name if isinstance(name, str) else None,
        _literal(node),
        parameters if isinstance(parameters, dict) else {},
        base64=True,
    )


def _literal(node: Mapping[str, Any]) -> SourceType:
    word = str(node.get("type", "")).lower()
    if word == "struct":
        return SourceType("struct", fields={str(part["field"]): source_type(part) for part in _fields(node) if "field" in part})
    if word == "array":
        return SourceType("array", element=_inner(node, "items"))
    if word == "map":
        # A map whose keys are no strings is written as a list of pairs, whatever its schema says.
        return SourceType("map", element=_inner(node, "values")) if _inner(node, "keys").kind == "string" else ANY
    return _LITERALS.get(word, ANY)


def _inner(node: Mapping[str, Any], part: str) -> SourceType:
    inner = node.get(part)
    return source_type(inner) if isinstance(inner, dict) else ANY


def _fields(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = node.get("fields")
    return [part for part in fields if isinstance(part, dict)] if isinstance(fields, list) else []
