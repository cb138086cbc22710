"""Times of day and intervals: CrateDB has no column type for them, so they become microseconds or text.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ingest.errors import Reject
from ingest.tables.calendar_utc import clock_text
from ingest.tables.reading import Convert

_CLOCK: Final = re.compile(r"(-?)(\d{1,3}):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]00(?::?00)?)?", re.ASCII)
_TICKS_PER_SECOND: Final = {"time_ms": 1_000, "time_us": 1_000_000, "time_ns": 1_000_000_000}
_INTERVAL_DIGITS: Final = {"interval_us": 6, "interval_ns": 9}


def clock_us_reader(kind: str) -> Convert | None:
    """Reads a time of day as microseconds since midnight; None if the kind is no time of day."""
    if kind == "time_text":
        return _parse_clock_us
    per_second = _TICKS_PER_SECOND.get(kind)
    return None if per_second is None else lambda value: _scaled_us(_ticks(value), per_second)


def _scaled_us(ticks: int, per_second: int) -> int:
    micros, rest = divmod(ticks * 1_000_000, per_second)
    if rest:
        raise Reject("type.precision", "the time of day has nanoseconds and the column holds microseconds: use TEXT")
    return micros


def _ticks(value: Any) -> int:
    if type(value) is not int:
        raise Reject("type.not_a_time", "the value is no count since midnight")
    return value


def _parse_clock_us(value: Any) -> int:
    found = _CLOCK.fullmatch(value) if type(value) is str else None
    if found is None:
        raise Reject("type.not_a_time", "the text is no time of day without an offset: use TEXT to keep an offset")
    sign, hours, minutes, seconds, fraction, _ = found.groups()
    digits = (fraction or "").rstrip("0")
    if int(minutes) > 59 or int(seconds or 0) > 59:
        raise Reject("type.not_a_time", "the text names a time of day that does not exist")
    if len(digits) > 6:
        raise Reject("type.precision", "the time of day has nanoseconds and the column holds microseconds: use TEXT")
    micros = (int(hours) * 3_600 + int(minutes) * 60 + int(seconds or 0)) * 1_000_000 + int(digits.ljust(6, "0"))
    return -micros if sign else micros


def clock_text_reader(kind: str) -> Convert | None:
    """Reads a count since midnight as `HH:MM:SS[.fraction]`; None if the kind is none."""
    per_second = _TICKS_PER_SECOND.get(kind)
    return None if per_second is None else lambda value: clock_text(_ticks(value), per_second)


def interval_text_reader(kind: str) -> Convert | None:
    """Reads a counted interval as ISO text in seconds, `PT-1.5S`; None if the kind is none."""
    digits = _INTERVAL_DIGITS.get(kind)
    return None if digits is None else lambda value: _interval_text(value, digits)


def _interval_text(value: Any, digits: int) -> str:
    if type(value) is not int:
        raise Reject("type.not_an_interval", "the value is no count of ticks")
    seconds, fraction = divmod(abs(value), 10**digits)
    sign = "-" if value < 0 else ""
    return f"PT{sign}{seconds}.{fraction:0{digits}d}S" if fraction else f"PT{sign}{seconds}S"
