"""What each kind of source type becomes in each column type, in sentences: the declaration behind docs/types.md.

Each row is the subject of one property test on a real CrateDB (tests/properties): what its rule lets through comes back equal by
the rule, and what cannot come back equal is refused before it is sent. A test holds the rows against `types.fits`, pair by pair.
Values only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ingest.model import Column, SourceType
from ingest.tables.types import KINDS, fits

# How columns are called here, each with one of its kind.
COLUMNS: Final = {
    "BYTE, SMALLINT, INTEGER, BIGINT": Column("c", "bigint"),
    "REAL": Column("c", "real"),
    "DOUBLE PRECISION": Column("c", "double precision"),
    "NUMERIC(p, s)": Column("c", "numeric", precision=18, scale=2),
    "BOOLEAN": Column("c", "boolean"),
    "TEXT, VARCHAR(n), CHAR(n)": Column("c", "text"),
    "TIMESTAMP": Column("c", "timestamp with time zone"),
    "UUID": Column("c", "uuid"),
    "IP": Column("c", "ip"),
    "BIT(n)": Column("c", "bit", length=4),
    "OBJECT": Column("c", "object", policy="ignored"),
    "FLOAT_VECTOR(n)": Column("c", "float_vector", length=3),
    "GEO_POINT": Column("c", "geo_point"),
    "GEO_SHAPE": Column("c", "geo_shape"),
    "ARRAY(T)": Column("c", "text_array"),
}
WHOLE, REAL, DOUBLE, NUMERIC, BOOLEAN, TEXT, TIMESTAMP, UUID, IP, BIT, OBJECT, VECTOR, POINT, SHAPE, ARRAY = COLUMNS

_OPEN = "any ext_json string"  # kinds that say little or nothing: the value's own type decides
_COUNTS = "ts_s ts_ms ts_us ts_ns date_days interval_us interval_ns"
_EXACT = "decimal decimal_base64 decimal_variable money uint64_wrapped"
_BITS = "bits bits_base64 bits_words"


class TypeRow(NamedTuple):
    """name: of the row and of its property test. rule: what arrives. refused: what does not, with its code."""

    name: str
    kinds: tuple[str, ...]
    columns: tuple[str, ...]
    rule: str
    refused: str

    def pairs(self) -> Iterator[tuple[str, str]]:
        return ((kind, column) for kind in self.kinds for column in self.columns)


def _row(name: str, kinds: str, columns: str | tuple[str, ...], rule: str, refused: str) -> TypeRow:
    return TypeRow(name, tuple(kinds.split()), (columns,) if isinstance(columns, str) else columns, rule, refused)


ROWS: Final = (
    # ---------------------------------------------------------------- numbers
    _row(
        "whole_numbers", f"{_OPEN} int bool year enum float32 float64", WHOLE,
        'the number; `12.0`, `"12"` and `true` are whole numbers too',
        "out of range: `type.overflow` (BIGINT ends one before both extremes); "
        "a fraction, a float beyond 2**53: `type.precision`",
    ),
    _row(
        "exact_numbers_as_whole", _EXACT, WHOLE,
        "the number, digit for digit; a BIGINT UNSIGNED that wrapped is unwrapped",
        "out of range: `type.overflow`; a fraction: `type.precision`",
    ),
    _row(
        "bits_as_whole", _BITS, WHOLE, "the bits as an unsigned number", "more bits than the column: `type.overflow`",
    ),
    _row(
        "counts_as_whole", _COUNTS, WHOLE,
        "the source's own count in its own unit: days, or ticks since the epoch",
        "out of range: `type.overflow`",
    ),
    _row(
        "times_of_day_as_whole", "time_ms time_us time_ns time_text structured", WHOLE,
        "microseconds since midnight; MySQL's are negative or beyond 24 hours at times",
        "nanoseconds: `type.precision`; a leap second: `type.overflow`; an offset other than zero: `type.not_a_time`",
    ),
    _row(
        "intervals_as_whole", "interval_text interval_parts", WHOLE,
        "microseconds; a day counts 24 hours; ISO (`P1DT2H`) or PostgreSQL's words (`1 day 02:00:00`)",
        "months, years, nanoseconds: `type.precision`",
    ),
    _row(
        "doubles", f"{_OPEN} int year enum float32 float64 time_us {_COUNTS}", DOUBLE,
        "the number, if a double shows all its digits again",
        "more digits: `type.precision`; beyond 1.8e308: `type.overflow`; NaN, Infinity: `type.not_finite`",
    ),
    _row(
        "reals", f"{_OPEN} int year enum float32 float64 time_us {_COUNTS}", REAL,
        "the nearest 24-bit number of a floating point number; a whole number only if it comes back whole",
        "smaller than REAL can tell from zero, whole numbers beyond 24 bits: `type.precision`; too large: `type.overflow`",
    ),
    _row(
        "exact_numbers_as_floats", _EXACT, (REAL, DOUBLE),
        "the number, if the column shows all its digits again", "more digits: `type.precision`; too large: `type.overflow`",
    ),
    _row(
        "numerics", f"{_OPEN} int year enum float32 float64 time_us {_COUNTS} {_EXACT}", NUMERIC,
        "the number, digit for digit, sent as text; up to 38 digits",
        "more digits before the point: `type.overflow`, behind it: `type.precision`; NaN, Infinity: `type.not_finite`",
    ),
    _row(
        "booleans", f"{_OPEN} bool int enum", BOOLEAN,
        "true and false; 0 and 1; t, f, yes, no, on, off, y, n", "any other number or word: `type.not_a_boolean`",
    ),
    _row("bits_as_booleans", _BITS, BOOLEAN, "the value of one bit", "more than one bit set or another: `type.not_a_boolean`"),
    # ---------------------------------------------------------------- text
    _row(
        "texts", f"{_OPEN} xml enum enum_set json date_text time_text ts_text interval_text", TEXT,
        "the text as it is, NUL and all; CHAR(n) fills up with blanks",
        "more UTF-16 units than n: `text.too_long` (`shorten = true` cuts); half a surrogate pair: `text.surrogate`; "
        "above 32,766 bytes in an indexed column: CrateDB's answer",
    ),
    _row(
        "numbers_as_texts", f"int bool year float32 float64 ts_s {_EXACT}", TEXT,
        "the number's shortest digits without an exponent for exact numbers; `true`, `false`; NaN and Infinity by their words",
        "more than 400 digits: `type.overflow`",
    ),
    _row(
        "moments_as_texts",
        "ts_ms ts_us ts_ns date_days interval_us interval_ns interval_parts time_ms time_us time_ns structured", TEXT,
        "ISO 8601 with all digits of the source; `infinity` where PostgreSQL says so",
        "a DATE before 4713 BC, which is an infinity in disguise: `type.not_finite`",
    ),
    _row(
        "bytes_as_texts", "bytes bytes_base64 bytes_base64url bytes_hex bytes_escape bytes_latin1", TEXT,
        "base64 with padding, whatever the source's spelling", "text that is not of that spelling: `type.not_bytes`",
    ),
    _row("bits_as_texts", _BITS, TEXT, "0 and 1, most significant bit first", "more bits than declared: `type.not_bits`"),
    _row(
        "uuids_as_texts", "uuid", TEXT, "lower case with dashes, so that a key is one key in any case", "else: `type.not_a_uuid`",
    ),
    _row(
        "documents_as_texts", "point geometry vector sparse_vector array map struct hstore", TEXT,
        "JSON text, numbers digit for digit; what comes as text stays as it is", "what JSON cannot say: `type.not_json`",
    ),
    # ---------------------------------------------------------------- moments
    _row(
        "moments", "ts_s ts_ms ts_us ts_ns date_days structured", TIMESTAMP,
        "the millisecond in which the moment lies (floored, also before 1970), years -29719 to 33658",
        "infinities: `type.not_finite`; further away, leap seconds: `type.overflow`; zero dates: `type.zero_date`",
    ),
    _row(
        "moments_as_written", f"{_OPEN} int date_text ts_text", TIMESTAMP,
        "ISO text, without an offset read as UTC, `24:00:00` and BC too; a number without a declared unit counts milliseconds",
        "numbers beyond the years 1 to 9999: `type.not_a_timestamp` (declare the unit); the others as above",
    ),
    # ---------------------------------------------------------------- other scalars
    _row(
        "uuids", f"{_OPEN} uuid", UUID,
        "the UUID in any case, without dashes, in braces, or its 16 bytes", "else: `type.not_a_uuid`",
    ),
    _row(
        "addresses", _OPEN, IP, "an address; a mask that covers all of it is dropped",
        "networks, zones, IPv4 in IPv6 (CrateDB would drop the difference): `type.overflow`; else: `type.not_an_ip`",
    ),
    _row(
        "bit_strings", f"{_OPEN} {_BITS} int bool", BIT, "exactly n bits; a number is written in n bits",
        "another number of bits: `type.wrong_length`; else: `type.not_bits`",
    ),
    # ---------------------------------------------------------------- nested
    _row(
        "objects", f"{_OPEN} json map struct hstore point geometry sparse_vector structured interval_parts", OBJECT,
        "each sub-column of the catalogue by its own row of this page; other keys as JSON; "
        "declared moments, decimals and bytes as text",
        "unknown keys of STRICT: `field.unknown`; keys that DYNAMIC refuses, keys twice: `object.key`; mixed lists: "
        "`type.mixed_array`; a root that is no object, JSON null too: `type.not_an_object`; integers beyond 64 bits: "
        "`type.overflow`; more digits than a double: `type.precision`",
    ),
    _row(
        "vectors", f"{_OPEN} json array vector sparse_vector", VECTOR,
        "n numbers of 24 bits; sparse vectors with their zeros", "another length: `type.wrong_length`; a null: `value.null`",
    ),
    _row(
        "arrays", f"{_OPEN} json array vector enum_set", ARRAY,
        "each element by the row of T, NULL stays; JSON text, "
        "or PostgreSQL's `{a,b}` where an array is declared; also arrays of arrays",
        "what its elements refuse; no list: `type.not_a_list`",
    ),
    _row(
        "points", f"{_OPEN} point geometry json struct map array bytes", POINT,
        "[longitude, latitude] of a pair, named parts, GeoJSON, WKT or WKB in SRID 4326",
        "out of range: `type.overflow`; heights: `type.precision`; another SRID: `type.not_a_shape`; else: `type.not_a_point`",
    ),
    _row(
        "shapes", f"{_OPEN} point geometry json struct map bytes", SHAPE,
        "the geometry as GeoJSON, rings closed, from GeoJSON, WKT or WKB in SRID 4326",
        "heights and measures: `type.precision`; collections, empty ones, another SRID: `type.not_a_shape`; "
        "rings that cross: CrateDB's answer",
    ),
)  # fmt: skip


def pairs_that_fit() -> set[tuple[str, str]]:
    """The pairs of kind and column for which `types` has a reading."""
    return {(kind, name) for kind in KINDS for name, column in COLUMNS.items() if fits(_sample_of(kind), column)}


def _sample_of(kind: str) -> SourceType:
    return SourceType(kind, element=SourceType("string") if kind in ("array", "map") else None)
