"""The column for a field whose type the source declares: the one map behind `propose` and behind unknown_fields = "add".

Follows what `types` can read: each pair here is one that arrives exactly. Values may say more where a declaration says little;
what of them counts here is a `Seen`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from ingest.model import Column, SourceType
from ingest.tables.numbers import NUMERIC_MAX_DIGITS

VECTOR_MAX: Final = 2_048
BITS_MAX: Final = 1_000
# Confluent's converter writes this where Kafka Connect does not know the precision.
UNKNOWN_PRECISION: Final = 64


class Seen(NamedTuple):
    """What values of a field tell.

    lengths: of lists. are_objects: texts of JSON hold objects. elements: of all lists together.
    """

    lengths: Collection[int] = ()
    are_objects: bool = False
    elements: Seen | None = None


NOTHING: Final = Seen()


class Choice(NamedTuple):
    """What a column shall be. sql: its type as written. column: as the catalogue will show it, without a name.

    read_as, overflow: for its contract. remark: why, where that is not plain. is_wide: texts may be longer than an index takes.
    """

    sql: str
    column: Column
    read_as: str = ""
    overflow: str = ""
    remark: str = ""
    is_wide: bool = False

    @property
    def is_moment(self) -> bool:
        return self.column.type.startswith("timestamp") or self.read_as.startswith("ts_")

    def noting(self, remark: str) -> Choice:
        """With a remark behind the one there is."""
        return self._replace(remark="; ".join(part for part in (self.remark, remark) if part))


def plain(sql: str, remark: str = "", read_as: str = "") -> Choice:
    return Choice(sql, Column("", sql.lower()), read_as, remark=remark)


def text(remark: str = "") -> Choice:
    return plain("TEXT", remark)


def boolean() -> Choice:
    return plain("BOOLEAN")


def bigint(remark: str = "", read_as: str = "") -> Choice:
    return plain("BIGINT", remark, read_as)


def double(remark: str = "") -> Choice:
    return plain("DOUBLE PRECISION", remark)


def instant(remark: str = "", read_as: str = "") -> Choice:
    return plain("TIMESTAMP WITH TIME ZONE", remark, read_as)


def local_time(remark: str = "", read_as: str = "") -> Choice:
    return plain("TIMESTAMP WITHOUT TIME ZONE", remark, read_as)


def free_form(remark: str = "") -> Choice:
    return Choice("OBJECT(IGNORED)", Column("", "object", policy="ignored"), remark=remark)


def numeric(precision: int, scale: int, remark: str = "") -> Choice:
    return Choice(f"NUMERIC({precision}, {scale})", Column("", "numeric", precision=precision, scale=scale), remark=remark)


def array_of(inner: Choice) -> Choice | None:
    """A list of these; None for types whose lists CrateDB or its catalogue do not carry exactly."""
    kind = inner.column.type
    if kind in ("numeric", "bit", "float_vector") or kind.endswith("_array"):
        return None
    return Choice(f"ARRAY({inner.sql})", inner.column._replace(type=f"{kind}_array"), remark=inner.remark)


# ---------------------------------------------------------------- by what a source declares


def by_declared(source: SourceType, seen: Seen = NOTHING) -> Choice | None:
    """The column for a declared type; None where the declaration says less than the values do."""
    simple = _SIMPLE.get(source.kind)
    return simple if simple is not None else _BY_KIND[source.kind](source, seen) if source.kind in _BY_KIND else None


def _decimal(source: SourceType, _seen: Seen) -> Choice | None:
    """Bytes say their scale in the declaration; without one only values tell it."""
    precision, scale = source.precision, source.scale
    if scale is None:
        return None
    if precision is None or precision == UNKNOWN_PRECISION:
        precision, remark = NUMERIC_MAX_DIGITS, "its precision is not declared"
    else:
        precision, scale, remark = max(precision - min(scale, 0), scale), max(scale, 0), ""
    if precision > NUMERIC_MAX_DIGITS or not 0 <= scale <= precision:
        return text(f"a decimal of {precision} digits, NUMERIC holds {NUMERIC_MAX_DIGITS}")
    return numeric(precision, scale, remark)


def _variable(_source: SourceType, _seen: Seen) -> Choice:
    return text("a decimal whose scale may differ in every row")


def _moment(source: SourceType, _seen: Seen) -> Choice:
    finer = {"ts_us": "microseconds are cut to milliseconds", "ts_ns": "nanoseconds are cut to milliseconds"}
    return (instant if source.zoned else local_time)(finer.get(source.kind, ""))


def _structured(source: SourceType, seen: Seen) -> Choice:
    """Its parts say whether it is a date, a time of day or a moment."""
    parts = source.fields or {"year": source, "hour": source}
    if "year" not in parts:
        return text("a time of day")
    return _moment(source, seen) if "hour" in parts else local_time("a date")


def _bits(source: SourceType, _seen: Seen) -> Choice:
    length = source.length or 0
    if not 0 < length <= BITS_MAX:
        return text("bits, as 0 and 1")
    return Choice(f"BIT({length})", Column("", "bit", length=length))


def _vector(source: SourceType, seen: Seen) -> Choice:
    length = source.length or (min(seen.lengths) if len(seen.lengths) == 1 else 0)
    if 0 < length <= VECTOR_MAX:
        return Choice(f"FLOAT_VECTOR({length})", Column("", "float_vector", length=length), remark="keeps 24 bits of each number")
    return Choice("ARRAY(DOUBLE PRECISION)", Column("", "double precision_array"))


def _array(source: SourceType, seen: Seen) -> Choice | None:
    if source.element is None:
        return None
    inner = by_declared(source.element, seen.elements or NOTHING)
    return None if inner is None else array_of(inner) or text("a list, as JSON: CrateDB keeps no exact lists of this type")


def _json(_source: SourceType, seen: Seen) -> Choice:
    if seen.are_objects:
        return free_form()
    return text("JSON; OBJECT(IGNORED) if each is an object")


_SIMPLE: Final[dict[str, Choice]] = {
    "bool": boolean(),
    "int": bigint(),
    "year": plain("INTEGER"),
    "uint64_wrapped": numeric(20, 0, "unsigned 64 bits"),
    "float32": plain("REAL"),
    "float64": double(),
    "uuid": text(),
    "xml": text(),
    "enum": text(),
    "enum_set": Choice("ARRAY(TEXT)", Column("", "text_array")),
    "bytes": text("bytes, as base64"),
    "bytes_base64": text("bytes, as base64"),
    "bytes_base64url": text("bytes, as base64"),
    "bytes_hex": text("bytes, as base64"),
    "bytes_escape": text("bytes, as base64"),
    "bytes_latin1": text("bytes, as base64"),
    "money": numeric(20, 2),
    "hstore": free_form(),
    "date_days": local_time("a date"),
    "date_text": local_time("a date"),
    "time_ms": text("a time of day"),
    "time_us": text("a time of day"),
    "time_ns": text("a time of day"),
    "time_text": text("a time of day"),
    "interval_text": text("an interval"),
    "interval_parts": text("an interval"),
    "interval_us": bigint("an interval in microseconds"),
    "interval_ns": bigint("an interval in nanoseconds"),
    "bits_words": text("bits, as 0 and 1"),
    "point": free_form("x and y; GEO_POINT if they are longitude and latitude"),
    "geometry": free_form("WKB; GEO_SHAPE if it is in longitude and latitude"),
    "sparse_vector": free_form(),
    "map": free_form(),
    "struct": free_form(),
}
_BY_KIND: Final[dict[str, Callable[[SourceType, Seen], Choice | None]]] = {
    **dict.fromkeys(("decimal", "decimal_base64"), _decimal),
    "decimal_variable": _variable,
    **dict.fromkeys(("ts_ms", "ts_us", "ts_ns", "ts_text"), _moment),
    "structured": _structured,
    **dict.fromkeys(("bits", "bits_base64"), _bits),
    "vector": _vector,
    "array": _array,
    "json": _json,
}
