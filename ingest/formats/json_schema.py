"""JSON Schema of a registry: what it declares of the fields. The bodies are plain JSON and are read as all JSON is.

Nothing is validated, that was the producer's business; types are taken where they say more than the JSON itself, as Kafka
Connect's `connect.type` and names of types do. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Reject
from ingest.formats import json, semantic
from ingest.formats.message import ValueSchema
from ingest.model import SourceType

ANY: Final = SourceType("any")
ATTACHED: Final = "ingest.references"  # where the registry room puts the documents that a schema refers to

_CONNECT: Final = {
    "int8": SourceType("int"),
    "int16": SourceType("int"),
    "int32": SourceType("int"),
    "int64": SourceType("int"),
    "float32": SourceType("float32"),
    "float64": SourceType("float64"),
    "bytes": SourceType("bytes_base64"),
}
# A number says nothing of its precision, so it stays what it is.
_LITERALS: Final = {"boolean": SourceType("bool"), "integer": SourceType("int"), "string": SourceType("string"), "number": ANY}
_FORMATS: Final = {
    "date-time": SourceType("ts_text", zoned=True),
    "date": SourceType("date_text"),
    "time": SourceType("time_text"),
    "uuid": SourceType("uuid"),
}
# Titles are free text; only these are names of types.
_TYPE_NAMES: Final = ("io.debezium.", "org.apache.kafka.connect.")

DEEPEST = 60  # a schema nested deeper declares nothing below


class JsonSchema:
    """A JSON Schema. Raises Reject("schema.malformed") for a text that is none."""

    def __init__(self, text: str) -> None:
        try:
            root = json.decode_loosely(text.encode()) if text.strip() else True
        except Reject as error:
            raise _malformed() from error
        if not isinstance(root, dict | bool):
            raise _malformed()
        self.schema: ValueSchema | None = _Walk(root).compile() if isinstance(root, dict) else None

    def read(self, body: bytes, start: int = 0) -> tuple[Any, ValueSchema | None]:
        """The JSON value that fills body from start to its end. Raises Reject as json.decode does."""
        return json.decode(body[start:]), self.schema


def _malformed() -> Reject:
    return Reject("schema.malformed", "the text is no JSON Schema: check the registry")


class _Walk:
    """One walk over a schema, its references resolved; a type that contains itself ends as ANY."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        attached = root.get(ATTACHED)
        self._attached: Mapping[str, Any] = attached if isinstance(attached, dict) else {}
        self._open: set[str] = set()
        self._names: dict[int, str] = {}

    def compile(self) -> ValueSchema:
        declared = self.type_of(self._root, self._root, DEEPEST)
        names = {part: self._names.get(id(inner), "") for part, inner in (declared.fields or {}).items()}
        return ValueSchema.of(str(self._root.get("title") or ""), declared, names)

    def type_of(self, node: Any, document: Any, left: int) -> SourceType:
        """document: what `#` in the node means. left: how much deeper it goes."""
        if not isinstance(node, dict) or left == 0:
            return ANY
        if isinstance(node.get("$ref"), str):
            return self._referenced(node["$ref"], document, left)
        for word in ("oneOf", "anyOf", "allOf"):
            if isinstance(node.get(word), list):
                return self._combined(node[word], document, left)
        literal = self._literal(node, document, left)
        title, parameters = node.get("title"), node.get("connect.parameters")
        if isinstance(title, str) and title.startswith(_TYPE_NAMES):
            return semantic.named(title, literal, parameters if isinstance(parameters, dict) else {}, base64=True)
        if literal.kind == "int" and isinstance(parameters, dict):
            return semantic.named(None, literal, parameters, base64=True)
        if literal.kind == "struct":
            self._names[id(literal)] = str(title or "")
        return literal

    def _combined(self, branches: list[Any], document: Any, left: int) -> SourceType:
        """Kafka Connect writes what may be null as one branch beside null."""
        real = [branch for branch in branches if not (isinstance(branch, dict) and branch.get("type") == "null")]
        return self.type_of(real[0], document, left - 1) if len(real) == 1 else ANY

    def _referenced(self, place: str, document: Any, left: int) -> SourceType:
        name, _, path = place.partition("#")
        if name:
            document = self._attached.get(name)
        if place in self._open or document is None:
            return ANY
        self._open.add(place)
        found = self.type_of(_at(document, path), document, left - 1)
        self._open.discard(place)
        return found

    def _literal(self, node: Mapping[str, Any], document: Any, left: int) -> SourceType:
        declared = node.get("connect.type")
        if isinstance(declared, str) and declared in _CONNECT:
            return _CONNECT[declared]
        word = _word(node)
        if word == "object":
            return self._object(node, document, left)
        if word == "array":
            # A map whose keys are no strings is a list of objects {key, value}; it stays one.
            return SourceType("array", element=self.type_of(node.get("items"), document, left - 1))
        if word == "string":
            return _text(node)
        return _LITERALS.get(word, ANY)

    def _object(self, node: Mapping[str, Any], document: Any, left: int) -> SourceType:
        properties = node.get("properties")
        if isinstance(properties, dict) and properties:
            return SourceType(
                "struct", fields={name: self.type_of(inner, document, left - 1) for name, inner in properties.items()}
            )
        if isinstance(node.get("additionalProperties"), dict):
            return SourceType("map", element=self.type_of(node["additionalProperties"], document, left - 1))
        return ANY


def _word(node: Mapping[str, Any]) -> str:
    """The one type that is not null, "" where there is none or more than one."""
    words = node.get("type")
    if isinstance(words, list):
        real = [word for word in words if word != "null"]
        words = real[0] if len(real) == 1 else ""
    if words is None and isinstance(node.get("properties"), dict):
        return "object"
    return words if isinstance(words, str) else ""


def _text(node: Mapping[str, Any]) -> SourceType:
    if node.get("contentEncoding") == "base64":
        return SourceType("bytes_base64")
    return _FORMATS.get(str(node.get("format")), _LITERALS["string"])


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer names, None where nothing is there.

    >>> _at({"$defs": {"a/b": 5}}, "/$defs/a~1b")
    5
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document.get(name) if isinstance(document, dict) else None
    return document
