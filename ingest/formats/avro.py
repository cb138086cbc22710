"""Avro: a writer schema compiled once, then bytes to Python values and declared types.

fastavro checks the schema and resolves its names. Every logicalType is taken out before: fastavro refuses some that Kafka Connect
writes, and values must come as they were written. What they mean stands in the ValueSchema instead.
Pure; used by the loop's thread.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from ingest.errors import Reject
from ingest.formats import semantic
from ingest.formats.avro_reader import Malformed, compile_reader
from ingest.formats.message import ValueSchema
from ingest.model import SourceType

ANY: Final = SourceType("any")

_PRIMITIVES: Final = {
    "null": ANY,
    "boolean": SourceType("bool"),
    "int": SourceType("int"),
    "long": SourceType("int"),
    "float": SourceType("float32"),
    "double": SourceType("float64"),
    "bytes": SourceType("bytes"),
    "string": SourceType("string"),
}
_NAMED_KINDS: Final = ("record", "error", "enum", "fixed")


class AvroSchema:
    """A compiled writer schema. Raises Reject("schema.malformed" or "schema.unsupported") for a text that is none.

    fingerprint: CRC-64-AVRO of the canonical form, as hexadecimal digits in the order of the wire.
    """

    def __init__(self, text: str) -> None:
        try:
            node = json.loads(text)
            self.schema: ValueSchema = _Plan().compile(node)
            bare = _without_logical_types(node)
            self.parsed: Any = fastavro.parse_schema(bare)
            self._read = compile_reader(self.parsed)
            self.fingerprint: str = fingerprint(to_parsing_canonical_form(bare), "CRC-64-AVRO")
        except Reject:
            raise
        except Exception as error:  # fastavro and odd schemas raise nearly anything, all of it about this one text
            raise Reject("schema.malformed", "the text is no Avro schema that can be read: check the registry") from error

    def decode(self, body: bytes, start: int = 0) -> Any:
        """The value alone; see `read`."""
        return self.read(body, start)[0]

    def read(self, body: bytes, start: int = 0) -> tuple[Any, ValueSchema]:
        """The value that fills body from start to its very end, and its declared type.

        Raises Reject("avro.truncated", "avro.trailing_bytes" or "avro.malformed").
        """
        try:
            value, end = self._read(body, start)
        except (IndexError, struct.error) as error:
            raise Reject("avro.truncated", "the record ends before its schema does: check its schema id") from error
        except (Malformed, UnicodeDecodeError, RecursionError) as error:
            raise Reject("avro.malformed", "the bytes do not fit the schema: check the record's schema id") from error
        if end != len(body):
            raise Reject("avro.trailing_bytes", "bytes are left after the record: check its schema id")
        return value, self.schema


class _Plan:
    """One walk over a schema that resolves names as Avro does: a second use of a named type is its bare name."""

    def __init__(self) -> None:
        self._types: dict[str, SourceType] = {}
        self._names: dict[int, str] = {}
        self._open: set[str] = set()
        self._by_cockroach = False

    def compile(self, node: Any) -> ValueSchema:
        declared = self.walk(node, "")
        names = {part: self._names.get(id(inner), "") for part, inner in (declared.fields or {}).items()}
        return ValueSchema.of(self._names.get(id(declared), ""), declared, names, self._by_cockroach)

    def walk(self, node: Any, namespace: str) -> SourceType:
        if isinstance(node, list):
            return self._union([self.walk(branch, namespace) for branch in node if branch != "null"])
        if isinstance(node, str):
            return self._reference(node, namespace)
        word = node["type"]
        if word in _NAMED_KINDS:
            return self._named(node, namespace)
        if word == "array":
            return self._array(node, namespace)
        if word == "map":
            return SourceType("map", element=self.walk(node["values"], namespace))
        literal = self.walk(word, namespace)
        return self._meaning(node, word, literal) if isinstance(word, str) else literal

    def _union(self, branches: list[SourceType]) -> SourceType:
        if len(branches) == 1:
            return branches[0]
        decimal = next((branch for branch in branches if branch.kind == "decimal"), None)
        # CockroachDB writes ["null", decimal, "string"], the text for NaN and the infinities.
        if decimal is not None and all(branch.kind in ("decimal", "string") for branch in branches):
            return decimal
        return ANY

    def _reference(self, name: str, namespace: str) -> SourceType:
        if name in _PRIMITIVES:
            return _PRIMITIVES[name]
        full = _full_name(name, namespace)
        if full in self._open:
            return ANY  # a type that contains itself has no end as a column type
        found = self._types.get(full) or self._types.get(name)
        if found is None:
            raise Reject("schema.malformed", f"the schema does not define the type {name} that it uses: check the registry")
        return found

    def _named(self, node: Mapping[str, Any], namespace: str) -> SourceType:
        full = _full_name(node["name"], node.get("namespace", namespace))
        if node["type"] == "fixed":
            found = self._meaning(node, "fixed", SourceType("bytes"))
        elif node["type"] == "enum":
            found = SourceType("enum")
        else:
            found = self._record(node, full)
        self._types[full] = found
        self._names.setdefault(id(found), str(node.get("connect.name") or full))
        return found

    def _record(self, node: Mapping[str, Any], full: str) -> SourceType:
        self._open.add(full)
        inside = full.rpartition(".")[0]
        fields = {field["name"]: self._field(field, inside) for field in node["fields"]}
        self._open.discard(full)
        return self._meaning(node, "record", SourceType("struct", fields=fields))

    def _field(self, field: Mapping[str, Any], namespace: str) -> SourceType:
        found = self.walk(field["type"], namespace)
        # Third-party schemas put a logicalType beside the type instead of into it.
        if "logicalType" in field and isinstance(field["type"], str):
            found = semantic.logical(field["type"], field) or found
        self._by_cockroach = self._by_cockroach or "__crdb__" in field
        # CockroachDB's BIT is a list of longs that are never null; its INT[] has nullable items.
        if "__crdb__" in field and found.kind == "array" and _holds_plain_longs(field["type"]):
            return SourceType("bits_words")
        return found

    def _array(self, node: Mapping[str, Any], namespace: str) -> SourceType:
        element = self.walk(node["items"], namespace)
        return self._meaning(node, "array", SourceType("array", element=element))

    def _meaning(self, node: Mapping[str, Any], word: str, literal: SourceType) -> SourceType:
        parameters = node.get("connect.parameters")
        name = node.get("connect.name")
        known = semantic.logical(word, node) or literal
        if name == semantic.DECIMAL and known.kind == "decimal":
            return known
        return semantic.named(name, known, parameters if isinstance(parameters, dict) else {}, base64=False)


def _full_name(name: str, namespace: str | None) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _holds_plain_longs(node: Any) -> bool:
    branches = node if isinstance(node, list) else [node]
    return any(isinstance(branch, dict) and branch.get("items") == "long" for branch in branches)


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_logical_types(part) for name, part in node.items() if name not in ("logicalType", "default")}
    if isinstance(node, list):
        return [_without_logical_types(part) for part in node]
    return node
