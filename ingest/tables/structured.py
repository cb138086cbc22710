"""Debezium's structured temporals (time.precision.mode = structured): moments in parts, so that none is too far away to be sent.

{year, month, day, hour, minute, second, nanos, offsetSeconds, zoneId, specialValue}, of which a date and a time have their own;
an interval has the first seven, in the singular or the plural.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.tables.calendar_utc import MS_PER_DAY, clock_text, date_exists, date_text, days_of

_SPECIAL: Final = {"POSITIVE_INFINITY": "infinity", "NEGATIVE_INFINITY": "-infinity"}
_INTERVAL: Final = ("year", "month", "day", "hour", "minute", "second")
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
    """ISO text with all digits; infinities by PostgreSQL's words, MySQL's zero dates by their zeros."""
    if isinstance(value, Mapping) and value.get("specialValue") in _SPECIAL:
        return _SPECIAL[value["specialValue"]]
    if isinstance(value, Mapping) and "year" in value and 0 in (_part(value, "month"), _part(value, "day")):
        return _zero_date_text(value)
    days, nanos, offset_s = read_parts(value)
    date = "" if days is None else date_text(days)
    clock = "" if nanos is None else clock_text(nanos, _NANOS_PER_S)
    return f"{date}{'T' if date and clock else ''}{clock}{_offset_text(offset_s)}"


def _zero_date_text(value: Mapping[str, Any]) -> str:
    """`0000-00-00 00:00:00` as MySQL writes it, also where only the month or the day is zero."""
    year, month, day = (_part(value, name) for name in ("year", "month", "day"))
    if not (0 <= year <= 9999 and 0 <= month <= 12 and 0 <= day <= 31):
        raise _refused()
    clock = f" {clock_text(_nanos(value), _NANOS_PER_S)}" if "hour" in value else ""
    return f"{year:04d}-{month:02d}-{day:02d}{clock}"


def interval_parts_text(value: Any) -> str:
    """An interval as ISO text with all its parts, as Debezium writes those that it sends as text.

    >>> interval_parts_text({"year": 1, "month": 0, "day": 3, "hour": 4, "minute": 5, "second": -6, "nanos": -500_000_000})
    'P1Y0M3DT4H5M-6.500000000S'
    """
    if not isinstance(value, Mapping):
        raise Reject("type.not_an_interval", "the value is no structured interval")
    if value.get("specialValue"):
        raise Reject("type.not_finite", "an infinite interval has no place in the column")
    try:
        years, months, days, hours, minutes, seconds = (_part(value, name if name in value else f"{name}s") for name in _INTERVAL)
        nanos = _part(value, "nanos")
    except Reject:
        raise Reject("type.not_an_interval", "the parts of the interval are no whole numbers") from None
    if abs(nanos) >= _NANOS_PER_S or (seconds and nanos and (seconds < 0) != (nanos < 0)):
        raise Reject("type.not_an_interval", "the seconds and nanoseconds of the interval do not make one number")
    sign = "-" if seconds < 0 or nanos < 0 else ""
    fraction = f".{abs(nanos):09d}" if nanos else ""
    return f"P{years}Y{months}M{days}DT{hours}H{minutes}M{sign}{abs(seconds)}{fraction}S"


def _offset_text(offset_s: int | None) -> str:
    if not offset_s:
        return "" if offset_s is None else "Z"
    minutes, seconds = divmod(abs(offset_s), 60)
    text = f"{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
