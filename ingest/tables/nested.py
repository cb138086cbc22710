"""Readings for OBJECT, ARRAY(T) and FLOAT_VECTOR(n) columns.

Sub-columns that the catalogue shows are read like columns of their own, because CrateDB cuts, wraps and rounds inside objects as
it does outside. In DYNAMIC objects it guesses the types of other keys from their values, refuses some keys, and loses rows around
keys that are new to it (silent loss in upserts), so `has_new_keys` tells the mapper which rows must travel alone.
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
from ingest.tables.extended_json import unwrap
from ingest.tables.floats import FLOAT_MAX, not_vanishing
from ingest.tables.literals import is_array, parse_array, parse_hstore, parse_sparse_vector
from ingest.tables.numbers import BIGINT_MAX, BIGINT_MIN, exact_number, prints_again
from ingest.tables.reading import UNDECLARED, Convert, Reading, calling, inside, kind_of
from ingest.tables.texts import plain_text, text_reader

CompileChild = Callable[[SourceType | None, Column], Reading]

_OBJECT_KINDS: Final = frozenset(
    {UNDECLARED, "json", "string", "map", "struct", "point", "geometry", "sparse_vector", "hstore", "ext_json"}
    | {"structured", "interval_parts"}
)
# Values of these kinds are JSON already; all other kinds are told as text.
_JSON_KINDS: Final = frozenset(
    {UNDECLARED, "bool", "int", "year", "float32", "float64", "string", "vector", "point", "geometry"}
    | {"structured", "interval_parts"}
)
_REFUSED_IN_KEYS: Final = (".", "[", "\t", "\n", "\r")
_MAX_DEPTH: Final = 100  # CrateDB's mapping.depth.limit; it also keeps hostile nesting off Python's stack

# ---------------------------------------------------------------- JSON of declared values


def parse_json(text: Any) -> Any:
    """JSON text as Python values: numbers with a fraction as Decimal, integers of any size. A key twice is refused."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, TypeError, RecursionError):
        raise Reject("type.not_json", "the text is not JSON") from None
    except ArithmeticError:  # an exponent beyond what Decimal counts
        raise Reject("type.overflow", "the JSON holds a number with a larger exponent than can be kept") from None


def _refuse_constant(_name: str) -> NoReturn:
    raise Reject("type.not_finite", "NaN and Infinity are no values of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """PostgreSQL's json keeps a key that stands twice; CrateDB would keep one of them."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Reject("object.key", "an object has the same key twice: use TEXT")
    return found


def json_reader(source: SourceType | None) -> Convert:
    """Reads a raw value of this source type as what JSON can say: timestamps, decimals and bytes become text."""
    kind = kind_of(source)
    if source is None or kind in _JSON_KINDS:
        return _same
    if kind == "struct":
        return _struct_reader(source)
    if kind in ("array", "map"):
        return _items_reader(json_reader(source.element))
    return _DOCUMENTS.get(kind) or text_reader(source)


def _same(value: Any) -> Any:
    return value


def _sparse(value: Any) -> dict[str, Any]:
    """{dimensions, indices, values}: lists of one type each, which every policy of OBJECT takes."""
    dimensions, entries = _sparse_entries(value)
    return {
        "dimensions": dimensions,
        "indices": [index for index, _ in entries],
        "values": [exact_number(number) if type(number) is str else number for _, number in entries],
    }


_DOCUMENTS: Final[Mapping[str, Convert]] = {
    "json": lambda value: parse_json(value) if type(value) is str else value,
    "ext_json": unwrap,
    "hstore": lambda value: _hstore(value) if type(value) is str else value,
    "sparse_vector": _sparse,
}


def _hstore(text: str) -> Any:
    return parse_json(text) if text.lstrip()[:1] == "{" else parse_hstore(text)


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


def object_(
    source: SourceType | None, column: Column, compile_child: CompileChild, *, big_as_text: bool = False
) -> Reading | None:
    """Readings for OBJECT columns, from mappings or JSON text. compile_child: chooses the reading of a sub-column.

    big_as_text: numbers that JSON in CrateDB cannot hold (beyond 64 bits, more digits than a double) become text.
    """
    kind = kind_of(source)
    if kind not in _OBJECT_KINDS:
        return None
    parse = _hstore if kind == "hstore" else parse_json
    read: Convert = unwrap if kind == "ext_json" else _sparse if kind == "sparse_vector" else _same
    clean = _content_cleaner(source, column, compile_child, big_as_text=big_as_text)

    def convert(value: Any) -> Any:
        content = read(parse(value) if type(value) is str and kind != "sparse_vector" else value)
        if not isinstance(content, Mapping):
            raise Reject("type.not_an_object", "the value is no JSON object: use TEXT where the root may be anything else")
        return clean(content)

    return calling(convert)


def _content_cleaner(
    source: SourceType | None, column: Column, compile_child: CompileChild, *, big_as_text: bool
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Checks and copies the content of an object: what comes out is safe to send into this column."""
    types, readers = _inside_of(source)
    children = {child.name: compile_child(types(child.name), child).convert for child in column.children}
    required = tuple(child.name for child in column.children if not child.nullable)
    free, policy = json_cleaner(column, big_as_text=big_as_text), column.policy

    def clean(content: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, item in content.items():
            child = children.get(key)
            try:
                if child is not None:
                    found[key] = None if item is None else child(item)
                elif policy == "strict":
                    raise Reject("field.unknown", "the object has a key that the STRICT column does not know")
                else:
                    checked_key(key, is_loose=policy == "ignored")
                    found[key] = None if item is None else free(readers(key)(item), 1)
            except Reject as reject:
                raise inside(key, reject) if child is not None else reject from None
        for name in required:
            if found.get(name) is None:
                raise Reject("value.null", "the sub-column is NOT NULL and the object has no value for it", column=name)
        return found

    return clean


def _inside_of(source: SourceType | None) -> tuple[Callable[[str], SourceType | None], Callable[[str], Convert]]:
    """The declared type of a key's value, and its reader as JSON."""
    if source is not None and source.kind == "map":
        element, read = source.element, json_reader(source.element)
        return (lambda _name: element), (lambda _name: read)
    fields = (source.fields if source is not None else None) or {}
    readers = {name: json_reader(field) for name, field in fields.items()}
    return fields.get, lambda name: readers.get(name, _same)


def json_cleaner(column: Column, *, big_as_text: bool = False) -> Callable[[Any, int], Any]:
    """Checks and copies a free-form value, `depth` levels below the column."""
    loose = column.policy == "ignored"
    low, high = (-(2**63), 2**63 - 1) if loose else (BIGINT_MIN, BIGINT_MAX)
    number = _number_cleaner(low, high, big_as_text=big_as_text)

    def clean(value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is str or kind is bool:
            return value
        if kind is int or kind is float or kind is Decimal:
            return number(value)
        if depth > _MAX_DEPTH:
            raise Reject("object.too_deep", "the object is nested deeper than CrateDB's limit of 100")
        if isinstance(value, Mapping):
            return {checked_key(key, is_loose=loose): clean(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return _of_one_type([clean(item, depth + 1) for item in value], loose=loose)
        return b64encode(value).decode("ascii") if isinstance(value, bytes) else plain_text(value)

    return clean


def checked_key(key: Any, *, is_loose: bool) -> str:
    """A key of an object that CrateDB takes: IGNORED objects take all."""
    if type(key) is not str:
        raise Reject("object.key", "an object has a key that is no text")
    if not is_loose and (not key or any(sign in key for sign in _REFUSED_IN_KEYS)):
        raise Reject("object.key", "an object key is empty or holds one of . [ tab newline: use OBJECT(IGNORED) or TEXT")
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
    passes, convert_one = element.passes, element.convert

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
    if kind in ("array", "vector"):
        return lambda value: _list(_list_of_text(value) if type(value) is str else value)
    return _list if kind == UNDECLARED else None


def _list_of_text(text: str) -> Any:
    """A declared list that its format sends as text: JSON, or as PostgreSQL prints it."""
    return parse_array(text) if is_array(text) else parse_json(text)


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise Reject("type.not_a_list", "the value is no list")
    return value


def float_vector(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for FLOAT_VECTOR(n): exactly n finite numbers; pgvector's text `[1,2]` and sparse vectors too."""
    kind, length = kind_of(source), column.length
    read = _dense(length or 0) if kind == "sparse_vector" else _list_reader(kind)
    if read is None or kind == "enum_set":
        return None

    def convert(value: Any) -> list[float]:
        items = [_component(item) for item in read(value)]
        if length is not None and len(items) != length:
            raise Reject("type.wrong_length", "the vector has not the length of the column")
        return items

    return calling(convert)


def _as_float(item: Any) -> float:
    if item is None:
        raise Reject("value.null", "the vector has a null component")
    limit, number = FLOAT_MAX["real"], exact_number(item)
    if (number.adjusted() > 308 and number) or not -limit <= (value := float(number)) <= limit:
        raise Reject("type.overflow", "a component of the vector is outside the range of REAL")
    return value


_component: Final = not_vanishing(_as_float)


def _dense(length: int) -> Callable[[Any], Sequence[Any]]:
    """A sparse vector with its zeros."""

    def convert(value: Any) -> Sequence[Any]:
        dimensions, entries = _sparse_entries(value)
        if dimensions != length:
            raise Reject("type.wrong_length", "the sparse vector has not the length of the column")
        dense: list[Any] = [0.0] * length
        for index, number in entries:
            dense[index - 1] = number
        return dense

    return convert


def _sparse_entries(value: Any) -> tuple[int, list[tuple[int, Any]]]:
    """Dimensions and entries of {dimensions, vector: {index from 1: number}}; Kafka Connect writes the map as pairs."""
    vector = parse_sparse_vector(value) if type(value) is str else value
    pairs = vector.get("vector") if isinstance(vector, Mapping) else None
    entries = list(pairs.items()) if isinstance(pairs, Mapping) else pairs
    dimensions = vector.get("dimensions") if isinstance(vector, Mapping) else None
    if not isinstance(entries, list) or type(dimensions) is not int:
        raise Reject("type.not_a_list", "the value is no sparse vector")
    found = [_entry(entry) for entry in entries]
    if any(not 1 <= index <= dimensions for index, _ in found):
        raise Reject("type.wrong_length", "the sparse vector has an index outside its dimensions")
    return dimensions, found


def _entry(entry: Any) -> tuple[int, Any]:
    pair = (entry.get("key"), entry.get("value")) if isinstance(entry, Mapping) else entry
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise Reject("type.not_a_list", "the value is no sparse vector")
    index = exact_number(pair[0])
    return int(index) if abs(index.adjusted()) < 10 and index == index.to_integral_value() else 0, pair[1]
