"""Readings for OBJECT, ARRAY(T) and FLOAT_VECTOR(n) columns.

CrateDB guesses types inside DYNAMIC objects from values, refuses some keys there, and loses rows around keys that are new to it
(knowledge: silent loss in upserts), so `has_new_keys` tells the mapper which rows must travel alone.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, Final, NoReturn

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.numbers import BIGINT_MAX, BIGINT_MIN, FLOAT_MAX, exact_number, prints_again
from ingest.tables.reading import UNDECLARED, Convert, Reading, calling, kind_of
from ingest.tables.texts import plain_text, text_reader

_OBJECT_KINDS: Final = frozenset({UNDECLARED, "json", "string", "map", "struct", "point", "geometry", "sparse_vector"})
# Values of these kinds are JSON already; all other kinds are told as text.
_JSON_KINDS: Final = frozenset(
    {UNDECLARED, "bool", "int", "year", "float32", "float64", "string", "vector", "point", "geometry", "sparse_vector"}
)
_REFUSED_IN_KEYS: Final = (".", "[", "\t", "\n")
_MAX_DEPTH: Final = 100  # CrateDB's mapping.depth.limit; it also keeps hostile nesting off Python's stack

# ---------------------------------------------------------------- JSON of declared values


def parse_json(text: Any) -> Any:
    """JSON text as Python values: numbers with a fraction as Decimal, integers of any size."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, TypeError, RecursionError):
        raise Reject("type.not_json", "the text is not JSON") from None


def _refuse_constant(_name: str) -> NoReturn:
    raise Reject("type.not_finite", "NaN and Infinity are no values of JSON")


def json_reader(source: SourceType | None) -> Convert:
    """Reads a raw value of this source type as what JSON can say: timestamps, decimals and bytes become text."""
    kind = kind_of(source)
    if source is None or kind in _JSON_KINDS:
        return _same
    if kind == "json":
        return lambda value: parse_json(value) if type(value) is str else value
    if kind == "struct":
        return _struct_reader(source)
    if kind in ("array", "map"):
        return _items_reader(json_reader(source.element))
    return text_reader(source)


def _same(value: Any) -> Any:
    return value


def _struct_reader(source: SourceType) -> Convert:
    readers = {name: json_reader(field) for name, field in (source.fields or {}).items()}

    def convert(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Reject("type.not_an_object", "the value is no object")
        return {name: item if item is None else readers.get(name, _same)(item) for name, item in value.items()}

    return convert


def _items_reader(read: Convert) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: item if item is None else read(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [item if item is None else read(item) for item in value]
        raise Reject("type.not_an_object", "the value is neither a map nor a list")

    return convert


# ---------------------------------------------------------------- objects


def object_(source: SourceType | None, column: Column, *, big_as_text: bool = False) -> Reading | None:
    """Readings for OBJECT columns, from mappings or JSON text.

    big_as_text: numbers that JSON in CrateDB cannot hold (beyond 64 bits, more digits than a double) become text.
    """
    if kind_of(source) not in _OBJECT_KINDS:
        return None
    read = json_reader(source)
    clean = object_cleaner(column, big_as_text=big_as_text)

    def convert(value: Any) -> Any:
        content = parse_json(value) if type(value) is str else read(value)
        if not isinstance(content, Mapping):
            raise Reject("type.not_an_object", "the value is no JSON object: use TEXT where the root may be anything else")
        return clean(content)

    return calling(convert)


def object_cleaner(column: Column, *, big_as_text: bool = False) -> Convert:
    """Checks and copies the content of an object: what comes out is safe to send into this column."""
    loose = column.policy == "ignored"
    known = frozenset(column.keys) if column.policy == "strict" else None
    low, high = (-(2**63), 2**63 - 1) if loose else (BIGINT_MIN, BIGINT_MAX)
    number = _number_cleaner(low, high, big_as_text=big_as_text)

    def clean(value: Any, path: str = "", depth: int = 0) -> Any:
        kind = type(value)
        if value is None or kind is str or kind is bool:
            return value
        if kind is int or kind is float or kind is Decimal:
            return number(value)
        if depth > _MAX_DEPTH:
            raise Reject("object.too_deep", "the object is nested deeper than CrateDB's limit of 100")
        if isinstance(value, Mapping):
            return {_key(key, path, known, loose=loose): clean(item, f"{path}{key}.", depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return _of_one_type([clean(item, path, depth + 1) for item in value], loose=loose)
        return b64encode(value).decode("ascii") if isinstance(value, bytes) else plain_text(value)

    return clean


def _key(key: Any, path: str, known: frozenset[str] | None, *, loose: bool) -> str:
    if type(key) is not str:
        raise Reject("object.key", "an object has a key that is no text")
    if loose:
        return key
    if not key or any(sign in key for sign in _REFUSED_IN_KEYS):
        raise Reject("object.key", "an object key is empty or holds one of . [ tab newline: use OBJECT(IGNORED) or TEXT")
    if known is not None and path + key not in known:
        raise Reject("field.unknown", "the object has a key that the STRICT column does not know")
    return key


def _number_cleaner(low: int, high: int, *, big_as_text: bool) -> Callable[[Any], Any]:
    def clean(value: Any) -> Any:
        number = exact_number(value)
        if type(value) is float or (type(value) is int and low <= value <= high):
            return value
        nearest = None if type(value) is int else _nearest(number)
        if nearest is not None:
            return nearest
        if big_as_text:
            return plain_text(value)
        if type(value) is int:
            raise Reject("type.overflow", "the object holds an integer beyond 64 bits")
        raise Reject("type.precision", "the object holds a number with more digits than a double")

    return clean


def _nearest(number: Decimal) -> float | None:
    """The double that prints as this number again, None if there is none."""
    if number.adjusted() > 308:
        return 0.0 if not number else None
    nearest = float(number)
    return nearest if isfinite(nearest) and prints_again(nearest, number) else None


def _of_one_type(items: list[Any], *, loose: bool) -> list[Any]:
    if not loose and len({_family(item) for item in items if item is not None}) > 1:
        raise Reject("type.mixed_array", "a list in the object mixes types, which only OBJECT(IGNORED) takes")
    return items


def _family(item: Any) -> type:
    return float if type(item) is int else type(item)


def has_new_keys(value: Any, known: frozenset[str], path: str = "") -> bool:
    """Whether an object (or a list of them) brings a key that the catalogue does not show. known: dotted paths.

    >>> has_new_keys({"a": {"b": 1}}, frozenset({"a"})), has_new_keys({"a": 1}, frozenset({"a"}))
    (True, False)
    """
    if isinstance(value, dict):
        return any(path + key not in known or has_new_keys(item, known, f"{path}{key}.") for key, item in value.items())
    return isinstance(value, list) and any(has_new_keys(item, known, path) for item in value)


# ---------------------------------------------------------------- arrays and vectors


def array(source: SourceType | None, element: Reading) -> Reading | None:
    """Readings for ARRAY(T), each element by its own reading. Null elements stay."""
    read = _list_reader(kind_of(source))
    if read is None:
        return None
    passes, convert_one = element

    def convert(value: Any) -> list[Any]:
        return [item if item is None or type(item) is passes else convert_one(item) for item in read(value)]

    return calling(convert)


def element_of(source: SourceType | None) -> SourceType | None:
    """The type of the elements of a source array."""
    if source is None:
        return None
    implied = {"vector": "float64", "enum_set": "string"}.get(source.kind)
    return SourceType(implied) if implied else source.element


def _list_reader(kind: str) -> Callable[[Any], Sequence[Any]] | None:
    if kind == "enum_set":
        return lambda value: (value.split(",") if value else []) if type(value) is str else _list(value)
    if kind in ("json", "string"):
        return lambda value: _list(parse_json(value) if type(value) is str else value)
    return _list if kind in (UNDECLARED, "array", "vector") else None


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise Reject("type.not_a_list", "the value is no list")
    return value


def float_vector(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for FLOAT_VECTOR(n): exactly n finite numbers; pgvector's text `[1,2]` and sparse vectors too."""
    kind = kind_of(source)
    read = _dense(column.length or 0) if kind == "sparse_vector" else _list_reader(kind)
    if read is None:
        return None
    length = column.length

    def convert(value: Any) -> list[float]:
        items = [_component(item) for item in read(value)]
        if length is not None and len(items) != length:
            raise Reject("type.wrong_length", "the vector has not the length of the column")
        return items

    return calling(convert)


def _component(item: Any) -> float:
    if item is None:
        raise Reject("value.null", "the vector has a null component")
    limit, number = FLOAT_MAX["real"], exact_number(item)
    if (number.adjusted() > 308 and number) or not -limit <= (value := float(number)) <= limit:
        raise Reject("type.overflow", "a component of the vector is outside the range of REAL")
    return value


def _dense(length: int) -> Callable[[Any], Sequence[Any]]:
    """A sparse vector {dimensions, vector: {index from 1: number}} with its zeros; Kafka Connect writes the map as pairs."""

    def convert(value: Any) -> Sequence[Any]:
        pairs = value.get("vector") if isinstance(value, Mapping) else None
        entries = list(pairs.items()) if isinstance(pairs, Mapping) else pairs
        if not isinstance(entries, list) or value.get("dimensions") != length:
            raise Reject("type.wrong_length", "the value is no sparse vector with the length of the column")
        dense: list[Any] = [0.0] * length
        for index, number in (_entry(entry) for entry in entries):
            if not 1 <= index <= length:
                raise Reject("type.wrong_length", "the sparse vector has an index outside its dimensions")
            dense[index - 1] = number
        return dense

    return convert


def _entry(entry: Any) -> tuple[int, Any]:
    pair = (entry.get("key"), entry.get("value")) if isinstance(entry, Mapping) else entry
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise Reject("type.not_a_list", "the value is no sparse vector")
    index = exact_number(pair[0])
    return int(index) if abs(index.adjusted()) < 5 else 0, pair[1]
