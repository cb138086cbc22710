"""Which reading a field gets: chosen once per (source type, column, rule of the contract), then called per value.

Every value arrives exactly or is refused with Reject, whose text never holds the value. Where a column type itself is coarser
than the source (TIMESTAMP: milliseconds, REAL: 24 bits) the table's owner has chosen that; `moments` and `numbers` say how.
`type_rules` tells all pairs and their rules to people, and tests/properties holds each against a real CrateDB.
Pure but for the tally of values that a policy made NULL; touched by the loop's thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables import bits, floats, geo, moments, nested, numbers, texts
from ingest.tables.extended_json import unwrap
from ingest.tables.reading import Compile, Convert, Reading, Refuses, calling, kind_of, mismatch

_READINGS: Final[dict[str, Compile]] = {
    **dict.fromkeys(numbers.RANGES, numbers.integer),
    **dict.fromkeys(floats.FLOAT_MAX, floats.floating),
    "numeric": numbers.numeric,
    "boolean": numbers.boolean,
    **dict.fromkeys(("text", "character", "character varying", "varchar"), texts.text),
    "timestamp with time zone": moments.timestamp,
    "timestamp without time zone": moments.timestamp,
    "uuid": texts.uuid,
    "ip": texts.ip,
    "bit": bits.bit,
    "float_vector": nested.float_vector,
    "geo_point": geo.geo_point,
    "geo_shape": geo.geo_shape,
}
TEXT_TYPES: Final = frozenset({"text", "character", "character varying", "varchar"})
TIMESTAMP_TYPES: Final = frozenset({"timestamp with time zone", "timestamp without time zone"})

# Declared types that say how a value is written, not what it means: a type in the contract goes before these, after all others.
_VAGUE_KINDS: Final = frozenset({"any", "int", "float32", "float64", "string", "bytes", "bytes_base64"})
# What the policies of a contract are about: real values of the source that the column has no place for, or not enough digits.
_OVERFLOWS: Final = frozenset({"type.overflow", "type.not_finite", "type.zero_date"})
_OBJECT_OVERFLOWS: Final = frozenset({"type.not_an_object", "type.mixed_array", "object.key", "object.too_deep", "field.unknown"})
_PRECISIONS: Final = frozenset({"type.precision"})

Tally = Callable[[str], None]
"""Told the name of the column whose value became NULL by a policy."""


def untold(_column: str) -> None:
    """For readings that nobody counts."""


class ColumnRule(NamedTuple):
    """What a contract says of one column.

    source: another name in the record, "" for a column that the worker never writes, None for the column's own name.
    type: how to read the field where the format lost its type.
    overflow, precision: reject, null, or text: NULL here, and the exact text in the column beside it (`companion_of`).
    shorten: cut text that is too long.
    """

    source: str | None = None
    type: SourceType | None = None
    overflow: str = "reject"
    shorten: bool = False
    precision: str = "reject"


DEFAULT_RULE: Final = ColumnRule()

# ---------------------------------------------------------------- the reading of a column


def reading(source: SourceType | None, column: Column, rule: ColumnRule = DEFAULT_RULE, tally: Tally = untold) -> Reading:
    """How the values of a field of this source type become values of this column.

    The reading's `convert` raises Reject with a dotted code and without the column's name, which its caller knows
    (a sub-column's name below the column it has).
    """
    source = _meant(source, rule)
    chosen = _exact(source, column, rule, tally)
    codes = _codes(column, rule, "null") | (frozenset() if takes_text(column) else _codes(column, rule, "text"))
    return _null_instead(chosen, codes, column.name, tally) if codes else chosen


def beside(source: SourceType | None, column: Column, rule: ColumnRule) -> Reading:
    """The reading of the column beside one with a policy of `text`: the exact text of what that one cannot hold, else NULL."""
    source = _meant(source, rule)
    plain, text, codes = _exact(source, column, rule, untold), _text_of(source, rule), _codes(column, rule, "text")

    def convert(value: Any) -> str | None:
        if type(value) is plain.passes:
            return None
        try:
            plain.convert(value)
        except Reject as reject:
            if reject.code in codes:
                return text(value)  # type: ignore[no-any-return]
            raise
        return None

    return calling(convert)


def _text_of(source: SourceType | None, rule: ColumnRule) -> Convert:
    if kind_of(source) != "ext_json":
        return texts.text_reader(source)
    of_bare = texts.text_reader(rule.type)
    return lambda value: of_bare(unwrap(value))


def fits(source: SourceType | None, column: Column) -> bool:
    """Whether values of this source type can ever become values of this column."""
    return not isinstance(reading(source, column), Refuses)


def companion_of(column: Column, rule: ColumnRule) -> str | None:
    """The name of the TEXT column beside a column whose contract says `text`; None where it holds such texts itself."""
    return f"{column.name}_text" if _asks_for_text(rule) and not takes_text(column) else None


def takes_text(column: Column) -> bool:
    """Whether texts of values that are too big can stand in the column itself."""
    return column.type in TEXT_TYPES or (column.type == "object" and column.policy == "ignored")


def _asks_for_text(rule: ColumnRule) -> bool:
    return "text" in (rule.overflow, rule.precision)


def _of_elements(rule: ColumnRule) -> ColumnRule:
    """What the rule of an array says of each element: the text of what does not fit is that of the whole array."""
    whole = {"text": "reject"}
    overflow, precision = (whole.get(policy, policy) for policy in (rule.overflow, rule.precision))
    return rule._replace(type=None, overflow=overflow, precision=precision)


def _meant(source: SourceType | None, rule: ColumnRule) -> SourceType | None:
    return rule.type if rule.type is not None and kind_of(source) in _VAGUE_KINDS else source


def _exact(source: SourceType | None, column: Column, rule: ColumnRule, tally: Tally) -> Reading:
    """The reading without the policies, but that elements of arrays become NULL one by one."""
    if kind_of(source) == "ext_json" and column.type != "object":
        return _unwrapping(_exact(rule.type, column, rule._replace(type=None), tally))
    if column.type.endswith("_array"):
        inner = column._replace(type=column.type.removesuffix("_array"))
        found = nested.array(source, reading(nested.element_of(source), inner, _of_elements(rule), tally))
    elif column.type == "object":
        found = nested.object_(source, column, reading, big_as_text=takes_text(column) and _asks_for_text(rule))
    elif column.type in TEXT_TYPES and rule.shorten:
        found = texts.shortened(source, column)
    else:
        compile_reading = _READINGS.get(column.type)
        found = None if compile_reading is None else compile_reading(source, column)
    return found or mismatch(source, column)


def _unwrapping(plain: Reading) -> Reading:
    """MongoDB's Extended JSON: a value without its wrappers, read by what it is or what the contract says."""

    def convert(value: Any) -> Any:
        bare = unwrap(value) if type(value) in (dict, list) else value
        return bare if bare is None or type(bare) is plain.passes else plain.convert(bare)

    return plain if isinstance(plain, Refuses) else Reading(plain.passes, convert, plain.quick)


def _codes(column: Column, rule: ColumnRule, policy: str) -> frozenset[str]:
    """The codes of rejections that this policy of the contract is about."""
    overflows = _OVERFLOWS | _OBJECT_OVERFLOWS if column.type == "object" else _OVERFLOWS
    chosen = overflows if rule.overflow == policy else frozenset()
    return chosen | _PRECISIONS if rule.precision == policy else chosen


def _null_instead(plain: Reading, codes: frozenset[str], name: str, tally: Tally) -> Reading:
    def convert(value: Any) -> Any:
        try:
            return plain.convert(value)
        except Reject as reject:
            if reject.code not in codes:
                raise
            tally(name)
            return None

    return Reading(plain.passes, convert, plain.quick)


# ---------------------------------------------------------------- types as a contract writes them

_KINDS: Final = frozenset(
    {"any", "bool", "int", "uint64_wrapped", "float32", "float64", "year"}
    | {"decimal", "decimal_base64", "decimal_variable", "money"}
    | {"string", "uuid", "xml", "enum", "enum_set", "json", "ext_json", "hstore"}
    | {"bytes", "bytes_base64", "bytes_base64url", "bytes_hex", "bytes_escape", "bytes_latin1"}
    | {"bits", "bits_base64", "bits_words", "date_days", "date_text", "ts_s", "ts_ms", "ts_us", "ts_ns", "ts_text"}
    | {"time_ms", "time_us", "time_ns", "time_text", "interval_text", "interval_us", "interval_ns"}
    | {"structured", "interval_parts"}
    | {"point", "geometry", "vector", "sparse_vector", "array", "map", "struct"}
)
_WRITTEN: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(?:\(\s*(\d{1,4})\s*(?:,\s*(-?\d{1,3})\s*)?\))?\s*((?:\[\])*)\s*")
KINDS: Final = tuple(sorted(_KINDS))
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
