"""Days, months and moments in UTC, as plain integers: what the standard library cannot do outside the years 1 to 9999.

Pure arithmetic on the proleptic Gregorian calendar; touched by the loop's thread.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from ingest.errors import Reject

MS_PER_DAY: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_IN_MONTH: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MOMENT: Final = re.compile(
    r"([+-]?\d{4,6})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"
    r" ?(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?( BC)?",
    re.ASCII | re.IGNORECASE,
)
_INFINITE: Final = frozenset({"infinity", "-infinity", "+infinity", "inf", "-inf"})


def days_of(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to this date.

    >>> days_of(1970, 1, 1), days_of(2000, 3, 1), days_of(1969, 12, 31)
    (0, 11017, -1)
    """
    # Years begin in March here, so that the leap day is the last day of a year; 400 years always have 146,097 days.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    era, year_of_era = divmod(year, 400)
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + (153 * month + 2) // 5 + day - 719_469


def date_of(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970-01-01; the inverse of `days_of`."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month <= 2), month, day


@lru_cache(maxsize=8_192)
def _month_of_day(days: int) -> int:
    year, month, _ = date_of(days)
    return days_of(year, month, 1) * MS_PER_DAY


def month_of(ms: int) -> int:
    """The first millisecond of the UTC month in which this moment lies.

    >>> month_of(1709634672123) == days_of(2024, 3, 1) * MS_PER_DAY
    True
    """
    return _month_of_day(ms // MS_PER_DAY)


def month_after(month_ms: int, months: int) -> int:
    """The month that begins `months` later (earlier when negative) than the one that begins at month_ms."""
    year, month, _ = date_of(month_ms // MS_PER_DAY)
    years, month_index = divmod(year * 12 + month - 1 + months, 12)
    return days_of(years, month_index + 1, 1) * MS_PER_DAY


def parse_moment_ms(text: str) -> int:
    """Epoch milliseconds of an ISO date or date-time; without an offset it is read as UTC, finer digits are floored.

    Raises Reject: type.not_a_timestamp, type.not_finite (infinity), type.zero_date (0000-00-00, MySQL's word for no date).

    >>> parse_moment_ms("2024-03-05T10:31:12.1239+00:00")
    1709634672123
    """
    if len(text) > 9 and text[4] == "-" == text[7] and text[10:11] in ("", "T", " "):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return _parse_slowly(text)
        since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
        return since.days * MS_PER_DAY + since.seconds * 1_000 + since.microseconds // 1_000
    return _parse_slowly(text)


def _parse_slowly(text: str) -> int:
    """Reads what the standard library does not: `2017-09-15Z`, 24:00, years before 1 (`-0043` is `0044 BC`) and beyond 9999;
    and says what is wrong with the rest."""
    if text.lower() in _INFINITE:
        raise Reject(
            "type.not_finite", 'an infinite timestamp has no place in a TIMESTAMP column; overflow = "null" would store NULL'
        )
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise Reject("type.not_a_timestamp", "the text is no ISO 8601 date or date-time")
    year, month, day = (int(part) for part in found.group(1, 2, 3))
    if month == 0 or day == 0:
        raise Reject("type.zero_date", 'a month or day of zero is no date: overflow = "null" in the contract would store NULL')
    year = 1 - year if found.group(9) else year
    if not date_exists(year, month, day):
        raise _no_such_moment()
    seconds = _clock_s(*found.group(4, 5, 6, 7)) - _offset_s(found.group(8))
    millis = int((found.group(7) or "")[:3].ljust(3, "0"))
    return days_of(year, month, day) * MS_PER_DAY + seconds * 1_000 + millis


def _clock_s(*parts: str | None) -> int:
    """Seconds since midnight of hour, minute, second; 24:00:00 without a fraction is the next midnight."""
    hour, minute, second = (int(part or 0) for part in parts[:3])
    fraction = (parts[3] or "").strip("0")
    if second == 60 and hour < 24 and minute < 60:
        raise Reject("type.overflow", "a leap second has no place among the milliseconds since 1970: use TEXT")
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second or fraction)):
        raise _no_such_moment()
    return hour * 3_600 + minute * 60 + second


def _no_such_moment() -> Reject:
    return Reject("type.not_a_timestamp", "the text names a date or time of day that does not exist")


def date_exists(year: int, month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= _last_day(year, month)


def _last_day(year: int, month: int) -> int:
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if leap else _DAYS_IN_MONTH[month - 1]


def _offset_s(text: str | None) -> int:
    if text is None or text in ("Z", "z"):
        return 0
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise Reject("type.not_a_timestamp", "the text names an offset that does not exist")
    offset_s = hours * 3_600 + minutes * 60 + seconds
    return -offset_s if text[0] == "-" else offset_s


def date_text(days: int) -> str:
    """`2024-03-05`; years beyond 9999 with a sign, as ISO 8601 and CrateDB want them."""
    year, month, day = date_of(days)
    return f"{'+' if year > 9999 else '-' if year < 0 else ''}{abs(year):04d}-{month:02d}-{day:02d}"


def moment_text(value: int, per_second: int, *, zoned: bool) -> str:
    """A count of ticks since the epoch as ISO text, all digits kept.

    >>> moment_text(1709634672123456, 1_000_000, zoned=True)
    '2024-03-05T10:31:12.123456Z'
    """
    days, ticks = divmod(value, 86_400 * per_second)
    return f"{date_text(days)}T{clock_text(ticks, per_second)}{'Z' if zoned else ''}"


def clock_text(ticks: int, per_second: int) -> str:
    """A count of ticks since midnight as `HH:MM:SS[.fraction]`. MySQL's TIME may be negative or beyond 24 hours."""
    seconds, fraction = divmod(abs(ticks), per_second)
    minutes, second = divmod(seconds, 60)
    text = f"{'-' if ticks < 0 else ''}{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
    return f"{text}.{fraction:0{len(str(per_second)) - 1}d}" if fraction else text
