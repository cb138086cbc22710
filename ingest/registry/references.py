"""A schema and the schemas it refers to, made into one text that needs no others. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})


def inline(text: str, referenced: Iterable[str]) -> str:
    """The schema with each referenced type written out where it is first used.

    referenced: texts of the referenced schemas, in any order; they may refer to each other.
    Raises ValueError for a text that is no JSON, KeyError or TypeError for one that is no schema.

    >>> inline('{"type":"array","items":"b.E"}', ['{"type":"enum","name":"b.E","symbols":["Y"]}'])
    '{"type": "array", "items": {"type": "enum", "name": "b.E", "symbols": ["Y"]}}'
    """
    definitions: dict[str, Any] = {}
    for schema in referenced:
        _collect(json.loads(schema), "", definitions)
    return json.dumps(_Inliner(definitions).walk(json.loads(text), ""))


ATTACHED: Final = "ingest.references"


def attach(text: str, referenced: Mapping[str, str]) -> str:
    """A JSON Schema with the documents that it refers to, by name, under ATTACHED. Raises ValueError for a text that is no JSON.

    >>> attach('{"$ref": "a.json"}', {"a.json": '{"type": "string"}'})
    '{"$ref": "a.json", "ingest.references": {"a.json": {"type": "string"}}}'
    """
    node = json.loads(text)
    if not isinstance(node, dict):
        return text
    return json.dumps({**node, ATTACHED: {name: json.loads(other) for name, other in referenced.items()}})


class _Inliner:
    """One walk in the order in which a parser reads: the first use of a type defines it, later ones name it."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._written: set[str] = set()

    def walk(self, node: Any, namespace: str) -> Any:
        if isinstance(node, list):
            return [self.walk(branch, namespace) for branch in node]
        if isinstance(node, str):
            return self._use(node, namespace)
        if not isinstance(node, dict):
            return node
        if node.get("type") in _NAMED:
            return self._define(node, namespace)
        inner = {part: self.walk(node[part], namespace) for part in ("type", "items", "values") if part in node}
        return {**node, **inner}

    def _use(self, name: str, namespace: str) -> Any:
        if name in _PRIMITIVES or name in ("array", "map"):
            return name
        full = _full_name(name, namespace)
        if full in self._written:
            return full
        # A type without a namespace cannot be named from inside one, so it takes the one that it is used in.
        definition = self._definitions.get(full) or self._definitions.get(name)
        return full if definition is None else self._define({**definition, "name": full}, "")

    def _define(self, node: dict[str, Any], namespace: str) -> Any:
        full = _full_name(node["name"], node.get("namespace", namespace))
        if full in self._written:
            return full
        self._written.add(full)
        named = {name: part for name, part in node.items() if name != "namespace"} | {"name": full}
        if "fields" in node:
            inside = full.rpartition(".")[0]
            named["fields"] = [{**field, "type": self.walk(field["type"], inside)} for field in node["fields"]]
        return named


def _collect(node: Any, namespace: str, into: dict[str, Any]) -> None:
    """Every named type of a schema by full name, the inner ones too."""
    if isinstance(node, list):
        for branch in node:
            _collect(branch, namespace, into)
    elif isinstance(node, dict) and node.get("type") in _NAMED:
        full = _full_name(node["name"], node.get("namespace", namespace))
        into.setdefault(full, node)
        for field in node.get("fields", ()):
            _collect(field["type"], full.rpartition(".")[0], into)
    elif isinstance(node, dict):
        for part in ("type", "items", "values"):
            _collect(node.get(part), namespace, into)


def _full_name(name: str, namespace: str | None) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"
