"""Scalar and aggregate functions by name: the few that the worker, its tools and a curious user call. Pure but for the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from ingest.practice.store.errors import bad
from ingest.practice.store.types import BIGINT, BOOLEAN, DOUBLE, EPOCH, INT, TEXT, TIMESTAMP, DataType

UNIT_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


class Function(NamedTuple):
    """call: over values that are not NULL (takes_null: over all). type: of the answer; None: that of the last argument."""

    call: Callable[..., Any]
    type: DataType | None
    takes_null: bool = False
    args: tuple[DataType | None, ...] = ()


def date_trunc(unit: str, moment_ms: int) -> int:
    """
    >>> date_trunc("month", 1705312800123)
    1704067200000
    """
    if unit in UNIT_MS:
        return moment_ms - moment_ms % UNIT_MS[unit]
    day = (EPOCH + timedelta(milliseconds=moment_ms)).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        cut = day - timedelta(days=day.weekday())
    elif unit in ("month", "quarter", "year"):
        month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[unit]
        cut = day.replace(month=month, day=1)
    else:
        raise bad(f"invalid interval `{unit}`: this store truncates to second, minute, hour, day, week, month, quarter, year")
    return (cut - EPOCH) // timedelta(milliseconds=1)


def date_format(*args: Any) -> str:
    """The last argument in the MySQL-like pattern of the first."""
    pattern, moment_ms = (args[0], args[-1]) if len(args) > 1 else ("%Y-%m-%dT%H:%i:%s.%fZ", args[0])
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return moment.strftime(str(pattern).replace("%i", "%M").replace("%s", "%S"))


def substring(text: str, start: int, length: int | None = None) -> str:
    """From the start-th letter, counted from 1.

    >>> substring("abcdef", 2, 3)
    'bcd'
    """
    first = max(0, start - 1)
    return text[first:] if length is None else text[first : first + length]


def rounded(value: Any) -> int:
    return int((value + (Decimal("0.5") if isinstance(value, Decimal) else 0.5)) // 1)


def first_known(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def extreme(pick: Callable[[Sequence[Any]], Any]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        known = [value for value in values if value is not None]
        return pick(known) if known else None

    return call


def now_ms() -> int:
    return time.time_ns() // 1_000_000


SCALARS: dict[str, Function] = {
    "lower": Function(str.lower, TEXT, args=(TEXT,)),
    "upper": Function(str.upper, TEXT, args=(TEXT,)),
    "length": Function(len, INT, args=(TEXT,)),
    "char_length": Function(len, INT, args=(TEXT,)),
    "trim": Function(str.strip, TEXT, args=(TEXT,)),
    "reverse": Function(lambda text: text[::-1], TEXT, args=(TEXT,)),
    "replace": Function(str.replace, TEXT, args=(TEXT, TEXT, TEXT)),
    "left": Function(lambda text, count: text[:count], TEXT, args=(TEXT,)),
    "right": Function(lambda text, count: text[-count:] if count else "", TEXT, args=(TEXT,)),
    "substr": Function(substring, TEXT, args=(TEXT,)),
    "substring": Function(substring, TEXT, args=(TEXT,)),
    "starts_with": Function(str.startswith, BOOLEAN, args=(TEXT, TEXT)),
    "concat": Function(lambda *parts: "".join(str(p) for p in parts if p is not None), TEXT, takes_null=True),
    "coalesce": Function(first_known, None, takes_null=True),
    "nullif": Function(lambda left, right: None if left == right else left, None, takes_null=True),
    "greatest": Function(extreme(max), None, takes_null=True),
    "least": Function(extreme(min), None, takes_null=True),
    "abs": Function(abs, None),
    "round": Function(rounded, BIGINT),
    "floor": Function(math.floor, BIGINT),
    "ceil": Function(math.ceil, BIGINT),
    "date_trunc": Function(date_trunc, TIMESTAMP, args=(TEXT, TIMESTAMP)),
    "date_format": Function(date_format, TEXT),
    "current_timestamp": Function(now_ms, TIMESTAMP),
    "now": Function(now_ms, TIMESTAMP),
    "array_length": Function(lambda items, _dimension: len(items) or None, INT),
    "current_user": Function(lambda: "crate", TEXT),
    "current_schema": Function(lambda: "doc", TEXT),
    "version": Function(lambda: "ingest practice store", TEXT),
}


def total(values: Sequence[Any]) -> Any:
    return sum(values[1:], values[0]) if values else None


def mean(values: Sequence[Any]) -> Any:
    return float(total(values)) / len(values) if values else None


AGGREGATES: dict[str, tuple[Callable[[Sequence[Any]], Any], DataType | None]] = {
    "count": (len, BIGINT),
    "min": (lambda values: min(values) if values else None, None),
    "max": (lambda values: max(values) if values else None, None),
    "sum": (total, None),
    "avg": (mean, DOUBLE),
    "arbitrary": (lambda values: values[0] if values else None, None),
    "any_value": (lambda values: values[0] if values else None, None),
    "array_agg": (list, None),
}
