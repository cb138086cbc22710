"""Readings for TIMESTAMP columns: always an integer of epoch milliseconds, for a JSON float would be read as seconds.

The column's resolution is the owner's rule: what is finer than a millisecond is floored (also before 1970), never rounded up.
A second column of type BIGINT or TEXT with `from` in the contract keeps all digits beside it.
Texts and counts without a zone are read as UTC. Pure; touched by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.calendar_utc import MS_PER_DAY, moment_text, parse_moment_ms
from ingest.tables.numbers import exact_number, whole_number
from ingest.tables.reading import UNDECLARED, Convert, Quick, Reading, calling, kind_of
from ingest.tables.structured import structured_ms

# CrateDB stores any BIGINT as a timestamp, but formats it wrongly beyond this.
_MS_LIMIT: Final = 999_999_999_999_999
_YEAR_1_MS: Final = -62_135_596_800_000
_YEAR_10000_MS: Final = 253_402_300_800_000
_MAX_SECONDS_DIGITS: Final = 25  # what decimal arithmetic does without rounding, with room for three digits more
_PER_SECOND: Final = {"ts_ms": 1_000, "ts_us": 1_000_000, "ts_ns": 1_000_000_000}
# What PostgreSQL's infinity becomes on Debezium's way; compared before anything is divided.
_INFINITE: Final = {
    "ts_ms": frozenset({9_223_372_036_825_200, -9_223_372_036_832_400}),
    "ts_us": frozenset({9_223_372_036_825_200_000, -9_223_372_036_832_400_000, 2**63 - 1, -(2**63)}),
    "ts_ns": frozenset({2**63 - 1, -(2**63), 9_223_372_036_825_200_000, -9_223_372_036_832_400_000}),
}
# The first day of the oldest calendar that databases count by. Both infinities of a PostgreSQL DATE, squeezed into 32 bits on
# Debezium's way, are days long before it.
_FIRST_DAY: Final = -2_440_588
_NO_INFINITY = 'TIMESTAMP columns have no infinity: overflow = "null" in the contract would store NULL'


def timestamp(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for TIMESTAMP WITH and WITHOUT TIME ZONE."""
    kind = kind_of(source)
    if kind in _PER_SECOND:
        return _counted(kind)
    if kind == "ts_s":
        return calling(_from_seconds)
    if kind == "date_days":
        return calling(lambda value: _bounded(day_count(value) * MS_PER_DAY))
    if kind == "structured":
        return calling(lambda value: _bounded(structured_ms(value)))
    if kind in ("ts_text", "date_text"):
        return calling(_from_text)
    if kind in (UNDECLARED, "int", "string"):
        return calling(_undeclared, Quick(int, _YEAR_1_MS, _YEAR_10000_MS - 1))
    return None


def _counted(kind: str) -> Reading:
    infinite, ticks_per_ms = _INFINITE[kind], _PER_SECOND[kind] // 1_000
    below = min(_MS_LIMIT * ticks_per_ms, min(count for count in infinite if count > 0) - 1)
    above = max(-_MS_LIMIT * ticks_per_ms, max(count for count in infinite if count < 0) + 1)

    def convert(value: Any) -> int:
        if type(value) is not int:
            value = _count(value)
        if value in infinite:
            raise Reject("type.not_finite", _NO_INFINITY)
        return _bounded(value // ticks_per_ms)

    return calling(convert, Quick(int, above, below, ticks_per_ms))


def _count(value: Any) -> int:
    """A count of ticks; as text too, because some formats write every value as text."""
    if type(value) is bool or not isinstance(value, (int, str)):
        raise Reject("type.not_a_timestamp", "the value is no count since the epoch")
    return whole_number(value)


def day_count(value: Any) -> int:
    """A date as days since 1970-01-01."""
    days = _count(value)
    if days < _FIRST_DAY:
        raise Reject("type.not_finite", _NO_INFINITY)
    return days


def _from_seconds(value: Any) -> int:
    if type(value) is bool:
        raise Reject("type.not_a_timestamp", "the value is no count since the epoch")
    number = exact_number(value)
    if number.adjusted() > 15 or len(number.as_tuple().digits) > _MAX_SECONDS_DIGITS:
        raise Reject("type.overflow", "the timestamp is outside the range of the column")
    return _bounded(int(number.scaleb(3).to_integral_value("ROUND_FLOOR")))


def _from_text(value: Any) -> int:
    if type(value) is not str:
        raise Reject("type.not_a_timestamp", "the value is no text of a date or time")
    return _bounded(parse_moment_ms(value))


def _undeclared(value: Any) -> int:
    """ISO text, or epoch milliseconds where they name a year that a calendar has."""
    if type(value) is int:
        if _YEAR_1_MS <= value < _YEAR_10000_MS:
            return value
        raise Reject(
            "type.not_a_timestamp",
            'in milliseconds the number is beyond the years 1 to 9999: set type = "ts_us" or "ts_ns" in the contract',
        )
    if type(value) is str:
        return _bounded(parse_moment_ms(value))
    raise Reject(
        "type.not_a_timestamp",
        'the value is neither epoch milliseconds nor ISO text: set type = "ts_s" in the contract for seconds with a fraction',
    )


def _bounded(ms: int) -> int:
    if -_MS_LIMIT <= ms <= _MS_LIMIT:
        return ms
    raise Reject("type.overflow", "the timestamp is outside the range of the column")


def moment_text_reader(source: SourceType) -> Convert | None:
    """Reads a count since the epoch as ISO text with all its digits; None if the kind is none."""
    per_second = _PER_SECOND.get(source.kind)
    return None if per_second is None else lambda value: _text_of(value, source.kind, per_second, source.zoned)


def _text_of(value: Any, kind: str, per_second: int, zoned: bool) -> str:
    count = _count(value)
    if count in _INFINITE[kind]:
        return "infinity" if count > 0 else "-infinity"
    return moment_text(count, per_second, zoned=zoned)
