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
# Both end in hours, minutes, sign, seconds and fraction; before these stand years, months, (weeks,) days.
_ISO_INTERVAL: Final = re.compile(
    r"([+-]?)P(?=.)(?:([+-]?\d{1,9})Y)?(?:([+-]?\d{1,9})M)?(?:([+-]?\d{1,9})W)?(?:([+-]?\d{1,9})D)?"
    r"(?:T(?=.)(?:([+-]?\d{1,12})H)?(?:([+-]?\d{1,12})M)?(?:([+-]?)(\d{1,15})(?:[.,](\d{1,12}))?S)?)?",
    re.ASCII,
)
_WORDS_INTERVAL: Final = re.compile(
    r"(?=.)(?:([+-]?\d{1,9}) years?)? ?(?:([+-]?\d{1,9}) mons?)? ?(?:([+-]?\d{1,9}) days?)? ?"
    r"(?:([+-]?)(\d{1,12}):(\d\d):(\d\d)(?:\.(\d{1,12}))?)?",
    re.ASCII,
)
_US_PER_S: Final = 1_000_000
_NANOSECONDS: Final = "the value has nanoseconds and the column holds microseconds: use TEXT"


def clock_us_reader(kind: str) -> Convert | None:
    """Reads a time of day as microseconds since midnight; None if the kind is no time of day."""
    if kind == "time_text":
        return _parse_clock_us
    per_second = _TICKS_PER_SECOND.get(kind)
    return None if per_second is None else lambda value: _scaled_us(_ticks(value), per_second)


def _scaled_us(ticks: int, per_second: int) -> int:
    micros, rest = divmod(ticks * 1_000_000, per_second)
    if rest:
        raise Reject("type.precision", _NANOSECONDS)
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
    if seconds == "60":
        raise Reject("type.overflow", "a leap second has no place in a count of microseconds: use TEXT")
    if int(minutes) > 59 or int(seconds or 0) > 59:
        raise Reject("type.not_a_time", "the text names a time of day that does not exist")
    micros = (int(hours) * 3_600 + int(minutes) * 60 + int(seconds or 0)) * _US_PER_S + _micros(fraction)
    return -micros if sign else micros


def _micros(fraction: str | None) -> int:
    """Digits after the point of a second as microseconds."""
    digits = (fraction or "").rstrip("0")
    if len(digits) > 6:
        raise Reject("type.precision", _NANOSECONDS)
    return int(digits.ljust(6, "0"))


def clock_text_reader(kind: str) -> Convert | None:
    """Reads a count since midnight as `HH:MM:SS[.fraction]`; None if the kind is none."""
    per_second = _TICKS_PER_SECOND.get(kind)
    return None if per_second is None else lambda value: clock_text(_ticks(value), per_second)


def interval_us_reader(kind: str) -> Convert | None:
    """Reads the text of an interval as microseconds; None if the kind is no such text."""
    return parse_interval_us if kind == "interval_text" else None


def parse_interval_us(value: Any) -> int:
    """Microseconds of an ISO interval or of PostgreSQL's words. A day counts 24 hours, as sources compare them.

    Raises Reject: type.not_an_interval, type.precision (nanoseconds, or a month, which has no length).

    >>> parse_interval_us("P1DT-0.5S"), parse_interval_us("-1 days +00:00:01.5")
    (86399500000, -86398500000)
    """
    text = value if type(value) is str else ""
    found = _ISO_INTERVAL.fullmatch(text)
    if found is not None:
        outer, *parts, sign, seconds, fraction = found.groups()
        years, months, weeks, days, hours, minutes = (int(part or 0) for part in parts)
        sign_of_clock = 1
    elif (found := _WORDS_INTERVAL.fullmatch(text)) is not None:
        outer, weeks, *parts = "", 0, *found.group(1, 2, 3)
        years, months, days = (int(part or 0) for part in parts)
        sign, hours, minutes, seconds, fraction = found[4], int(found[5] or 0), int(found[6] or 0), found[7], found[8]
        sign_of_clock = -1 if sign == "-" else 1
    else:
        raise Reject("type.not_an_interval", "the text is neither an ISO interval nor one in words")
    if years or months:
        raise Reject("type.precision", "a month has no fixed length in microseconds: use TEXT")
    micros = int(seconds or 0) * _US_PER_S + _micros(fraction)
    clock = sign_of_clock * (hours * 60 + minutes) * 60 * _US_PER_S + (-micros if sign == "-" else micros)
    total = (weeks * 7 + days) * 86_400 * _US_PER_S + clock
    return -total if outer == "-" else total


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
