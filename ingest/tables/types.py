"""Which reading a field gets: chosen once per (source type, column, rule of the contract), then called per value.

Every value arrives exactly or is refused with Reject, whose text never holds the value. Where a column type itself is coarser
than the source (TIMESTAMP: milliseconds, REAL: 24 bits) the table's owner has chosen that; `moments` and `numbers` say how.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables import bits, geo, moments, nested, numbers, texts
from ingest.tables.reading import Compile, Reading, kind_of, mismatch

_READINGS: Final[dict[str, Compile]] = {
    **dict.fromkeys(numbers.RANGES, numbers.integer),
    **dict.fromkeys(numbers.FLOAT_MAX, numbers.floating),
    "numeric": numbers.numeric,
    "boolean": numbers.boolean,
    **dict.fromkeys(("text", "character", "character varying", "varchar"), texts.text),
    "timestamp with time zone": moments.timestamp,
    "timestamp without time zone": moments.timestamp,
    "uuid": texts.uuid,
    "ip": texts.ip,
    "bit": bits.bit,
    "object": nested.object_,
    "float_vector": nested.float_vector,
    "geo_point": geo.geo_point,
    "geo_shape": geo.geo_shape,
}
TEXT_TYPES: Final = frozenset({"text", "character", "character varying", "varchar"})
TIMESTAMP_TYPES: Final = frozenset({"timestamp with time zone", "timestamp without time zone"})

# Declared types that say how a value is written, not what it means: a type in the contract goes before these, after all others.
_VAGUE_KINDS: Final = frozenset({"any", "int", "float32", "float64", "string", "bytes", "bytes_base64"})
# What `overflow` in the contract is about: real values of the source that the column's type has no place for.
_OVERFLOW_CODES: Final = frozenset({"type.overflow", "type.not_finite", "type.zero_date"})


class ColumnRule(NamedTuple):
    """What a contract says of one column.

    source: another name in the record, "" for a column that the worker never writes, None for the column's own name.
    type: how to read the field where the format lost its type.
    overflow: reject, null or text. shorten: cut text that is too long.
    """

    source: str | None = None
    type: SourceType | None = None
    overflow: str = "reject"
    shorten: bool = False


DEFAULT_RULE: Final = ColumnRule()


def reading(source: SourceType | None, column: Column, rule: ColumnRule = DEFAULT_RULE) -> Reading:
    """How the values of a field of this source type become values of this column.

    The reading's `convert` raises Reject with a dotted code and without the column's name, which its caller knows.
    """
    if rule.type is not None and kind_of(source) in _VAGUE_KINDS:
        source = rule.type
    chosen = _chosen(source, column, rule)
    return _null_on_overflow(chosen) if rule.overflow == "null" else chosen


def _chosen(source: SourceType | None, column: Column, rule: ColumnRule) -> Reading:
    if column.type.endswith("_array"):
        inner = column._replace(type=column.type.removesuffix("_array"))
        found = nested.array(source, reading(nested.element_of(source), inner, rule._replace(type=None)))
    elif column.type == "object":
        found = nested.object_(source, column, big_as_text=rule.overflow == "text")
    elif column.type in TEXT_TYPES and rule.shorten:
        found = texts.shortened(source, column)
    else:
        compile_reading = _READINGS.get(column.type)
        found = None if compile_reading is None else compile_reading(source, column)
    return found or mismatch(source, column)


def _null_on_overflow(plain: Reading) -> Reading:
    def convert(value: Any) -> Any:
        try:
            return plain.convert(value)
        except Reject as reject:
            if reject.code in _OVERFLOW_CODES:
                return None
            raise

    return Reading(plain.passes, convert)


# ---------------------------------------------------------------- types as a contract writes them

_KINDS: Final = frozenset(
    {"any", "bool", "int", "uint64_wrapped", "float32", "float64", "year", "decimal", "decimal_base64", "decimal_variable"}
    | {"string", "uuid", "xml", "enum", "enum_set", "json", "bytes", "bytes_base64", "bytes_hex"}
    | {"bits", "bits_base64", "bits_words", "date_days", "date_text", "ts_s", "ts_ms", "ts_us", "ts_ns", "ts_text"}
    | {"time_ms", "time_us", "time_ns", "time_text", "interval_text", "interval_us", "interval_ns"}
    | {"point", "geometry", "vector", "sparse_vector", "array", "map", "struct"}
)
_WRITTEN: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(?:\(\s*(\d{1,4})\s*(?:,\s*(-?\d{1,3})\s*)?\))?\s*((?:\[\])*)\s*")
TYPE_NAMES: Final = tuple(sorted(_KINDS | {"numeric"}))


def parse_type(text: str) -> SourceType | None:
    """The source type that a contract writes as `ts_us`, `numeric(18,2)`, `bits(4)` or `int[]`; None if it is none.

    numeric(p,s): base64 of the unscaled bytes, as Kafka Connect's JSON has decimals when nobody sends their schema.
    decimal: a plain number or its text.

    >>> parse_type("numeric(18,2)")
    SourceType(kind='decimal_base64', scale=2, length=None, zoned=False, element=None, fields=None, precision=18)
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    name, first, second, brackets = found.groups()
    if name not in TYPE_NAMES or (name == "numeric" and second is None):
        return None
    scalar = _scalar(name, int(first) if first else None, int(second) if second else None)
    for _ in range(brackets.count("[]")):
        scalar = SourceType("array", element=scalar)
    return scalar


def _scalar(name: str, first: int | None, second: int | None) -> SourceType:
    if name == "numeric":
        return SourceType("decimal_base64", scale=second, precision=first)
    if name.startswith("decimal"):
        return SourceType(name, scale=second or 0, precision=first)
    return SourceType(name, length=first, zoned=name.startswith("ts_"))
