"""Debezium's structured temporals (time.precision.mode = structured): moments in parts, so that none is too far away to be sent.

{year, month, day, hour, minute, second, nanos, offsetSeconds, zoneId, specialValue}, of which a date and a time have their own.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.tables.calendar_utc import MS_PER_DAY, clock_text, date_exists, date_text, days_of

_SPECIAL: Final = {"POSITIVE_INFINITY": "infinity", "NEGATIVE_INFINITY": "-infinity"}
_NANOS_PER_S: Final = 1_000_000_000
_MAX_OFFSET_S: Final = 18 * 3_600


class Parts(NamedTuple):
    """days: since 1970-01-01, None for a time of day. nanos: since midnight, None for a date. offset_s: None without a zone."""

    days: int | None
    nanos: int | None
    offset_s: int | None


def read_parts(value: Any) -> Parts:
    """Raises Reject: type.not_a_timestamp, type.zero_date, type.not_finite, type.overflow (a leap second)."""
    if not isinstance(value, Mapping) or not ("year" in value or "hour" in value or value.get("specialValue")):
        raise Reject("type.not_a_timestamp", "the value is no structured date or time")
    if value.get("specialValue"):
        raise Reject("type.not_finite", "an infinite date or time has no place in the column")
    offset_s = value.get("offsetSeconds")
    if offset_s is not None and (type(offset_s) is not int or abs(offset_s) > _MAX_OFFSET_S):
        raise _refused()
    return Parts(_days(value) if "year" in value else None, _nanos(value) if "hour" in value else None, offset_s)


def _days(value: Mapping[str, Any]) -> int:
    year, month, day = (_part(value, name) for name in ("year", "month", "day"))
    if month == 0 or day == 0:
        raise Reject("type.zero_date", 'a month or day of zero is no date: overflow = "null" in the contract would store NULL')
    if not date_exists(year, month, day):
        raise _refused()
    return days_of(year, month, day)


def _nanos(value: Mapping[str, Any]) -> int:
    hour, minute, second, nanos = (_part(value, name) for name in ("hour", "minute", "second", "nanos"))
    if second == 60:
        raise Reject("type.overflow", "a leap second has no place in the column: use OBJECT")
    if not (0 <= minute < 60 and 0 <= second < 60 and 0 <= nanos < _NANOS_PER_S and 0 <= hour <= 24):
        raise _refused()
    total = ((hour * 60 + minute) * 60 + second) * _NANOS_PER_S + nanos
    if total > 86_400 * _NANOS_PER_S:
        raise _refused()
    return total


def _part(value: Mapping[str, Any], name: str) -> int:
    part = value.get(name) or 0
    if type(part) is not int:
        raise _refused()
    return part


def _refused() -> Reject:
    return Reject("type.not_a_timestamp", "the parts name a date or time that does not exist")


def structured_ms(value: Any) -> int:
    """Epoch milliseconds, finer parts floored; parts without an offset are UTC."""
    days, nanos, offset_s = read_parts(value)
    if days is None:
        raise Reject("type.not_a_timestamp", "a time of day has no date: use BIGINT or TEXT")
    return days * MS_PER_DAY + (nanos or 0) // 1_000_000 - (offset_s or 0) * 1_000


def structured_us(value: Any) -> int:
    """Microseconds since midnight, of a time of day without an offset."""
    days, nanos, offset_s = read_parts(value)
    if days is not None or nanos is None or offset_s is not None:
        raise Reject("type.not_a_time", "the value is no time of day without an offset: use TEXT")
    if nanos % 1_000:
        raise Reject("type.precision", "the time of day has nanoseconds and the column holds microseconds: use TEXT")
    return nanos // 1_000


def structured_text(value: Any) -> str:
    """ISO text with all digits; infinities by PostgreSQL's words."""
    if isinstance(value, Mapping) and value.get("specialValue") in _SPECIAL:
        return _SPECIAL[value["specialValue"]]
    days, nanos, offset_s = read_parts(value)
    date = "" if days is None else date_text(days)
    clock = "" if nanos is None else clock_text(nanos, _NANOS_PER_S)
    return f"{date}{'T' if date and clock else ''}{clock}{_offset_text(offset_s)}"


def _offset_text(offset_s: int | None) -> str:
    if not offset_s:
        return "" if offset_s is None else "Z"
    minutes, seconds = divmod(abs(offset_s), 60)
    text = f"{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
