"""Month arithmetic and moments, compared with the standard library where that reaches."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Reject
from ingest.tables.calendar_utc import MS_PER_DAY, date_of, days_of, moment_text, month_after, month_of, parse_moment_ms
from ingest.tables.months import MappingRules, MonthLimits

NOW_MS = days_of(2024, 3, 15) * MS_PER_DAY
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))
EPOCH = datetime(1970, 1, 1)


def month(year: int, number: int) -> int:
    return days_of(year, number, 1) * MS_PER_DAY


@given(st.dates())
def test_days_and_dates_are_each_others_inverse_and_the_librarys(day: date) -> None:
    days = (day - date(1970, 1, 1)).days
    assert days == days_of(day.year, day.month, day.day)
    assert (day.year, day.month, day.day) == date_of(days)


@given(st.integers(-(10**9), 10**9))
def test_days_far_outside_the_librarys_years_come_back(days: int) -> None:
    assert days == days_of(*date_of(days))


@given(st.integers(-(10**15), 10**15))
def test_a_month_begins_at_or_before_its_moments_and_ends_after_them(ms: int) -> None:
    begins = month_of(ms)
    assert begins <= ms < month_after(begins, 1)
    assert begins == month_of(begins)


@given(st.integers(-(10**14), 10**14), st.integers(-5000, 5000))
def test_going_months_forth_and_back_leads_home(ms: int, months: int) -> None:
    begins = month_of(ms)
    assert begins == month_after(month_after(begins, months), -months)


@given(moments, st.integers(-23, 23))
def test_iso_texts_are_the_librarys_moments_floored_to_milliseconds(moment: datetime, hours: int) -> None:
    expected = (moment - EPOCH - timedelta(hours=hours)) // timedelta(milliseconds=1)
    assert expected == parse_moment_ms(f"{moment.isoformat()}{hours:+03d}:00")


@given(moments)
def test_a_moment_as_text_reads_as_the_same_moment(moment: datetime) -> None:
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    assert moment.replace(tzinfo=UTC) == datetime.fromisoformat(moment_text(micros, 1_000_000, zoned=True))


@pytest.mark.parametrize(
    "moment, expected",
    [
        (month(2023, 12), month(2023, 12)),
        (month(2023, 12) - 1, "month.out_of_bounds"),
        (month(2024, 6) - 1, month(2024, 5)),
        (month(2024, 6), "month.out_of_bounds"),
    ],
    ids=["first moment", "before it", "last moment", "after it"],
)
def test_months_outside_the_limits_are_refused(moment: int, expected: int | str) -> None:
    assert expected == _answer(MonthLimits(MappingRules(-3, 2), None), moment)


def test_months_older_than_the_contract_keeps_are_expired() -> None:
    limits = MonthLimits(MappingRules(-24, 2), 3)
    assert month(2023, 12) == _answer(limits, month(2023, 12))
    assert "month.expired" == _answer(limits, month(2023, 12) - 1)
    assert "month.out_of_bounds" == _answer(limits, month(2022, 3) - 1)


def test_limits_move_with_the_clock_and_forget_what_they_allowed() -> None:
    limits = MonthLimits(MappingRules(-1, 0), None)
    february = month(2024, 2)
    assert february == limits.month(february, NOW_MS)
    with pytest.raises(Reject):
        limits.month(february, month(2024, 4))


def _answer(limits: MonthLimits, moment: int) -> int | str:
    try:
        return limits.month(moment, NOW_MS)
    except Reject as reject:
        return reject.code
