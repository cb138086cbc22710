"""Readings for REAL and DOUBLE PRECISION: a number that shows all its digits again, or none.

What a column's own type says is the owner's rule: a DOUBLE keeps 53 bits and a REAL 24 of a source's *floating point* value.
Exact source numbers (decimals, integers) must come back digit for digit, else they are refused.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.numbers import EXACT_KINDS, MAX_EXPONENT, PLAIN_INTS, TEXT_KINDS, decimal_reader, exact_number, prints_again
from ingest.tables.reading import Convert, Quick, Reading, calling, kind_of

_REAL_VANISHES: Final = 2.0**-150  # half of the smallest REAL: this and all below rounds to zero
FLOAT_MAX: Final = {"real": 3.4028234663852886e38, "double precision": 1.7976931348623157e308}
# A decimal of so many digits is one double's shortest text, within these bounds, which are far from where doubles get coarse.
_SURE_DIGITS: Final = 15
_SURE_LOW, _SURE_HIGH = 1e-30, 1e30


def floating(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for REAL and DOUBLE PRECISION."""
    kind = kind_of(source)
    limit = FLOAT_MAX[column.type]
    if kind in EXACT_KINDS:
        read, nearest = decimal_reader(source), _nearest_exactly(limit)
        return calling(lambda value: nearest(read(value)))
    if kind in PLAIN_INTS or kind in TEXT_KINDS:
        # A REAL looks at every number, because small ones would vanish.
        return calling(_finite(limit), Quick(float, -limit, limit) if limit > FLOAT_MAX["real"] else None)
    return None


def _finite(limit: float) -> Convert:
    nearest = _nearest_of_json(limit)
    low, is_real = -limit, limit <= FLOAT_MAX["real"]
    sure_digits = 0 if is_real else _SURE_DIGITS

    def convert(value: Any) -> float:
        if type(value) is Decimal:
            # JSON numbers come as decimals; nearly all have few digits, which every double far from zero and infinity keeps
            text = str(value)
            try:
                quick = float(text)
            except ValueError:  # a signalling NaN is the one decimal that is no float
                raise Reject("type.not_finite", "NaN and Infinity are no values of this column's type") from None
            if len(text) <= sure_digits and (_SURE_LOW < quick < _SURE_HIGH or -_SURE_HIGH < quick < -_SURE_LOW):
                return quick
            if low <= quick <= limit and repr(quick) == text:
                return quick
        elif type(value) is float and low <= value <= limit:
            return value
        return nearest(exact_number(value))

    return not_vanishing(convert) if is_real else convert


def not_vanishing(read: Callable[[Any], float]) -> Callable[[Any], float]:
    """Refuses what 24 bits would make zero: a REAL begins at 1.4e-45."""

    def convert(value: Any) -> float:
        number = read(value)
        if -_REAL_VANISHES <= number <= _REAL_VANISHES and number:
            raise Reject("type.precision", "the number is too small for REAL, which would hold zero: use DOUBLE PRECISION")
        return number

    return convert


def _nearest_of_json(limit: float) -> Callable[[Decimal], float]:
    """JSON does not tell a float from a decimal. A DOUBLE must print all digits again; a REAL is asked for its 24 bits only."""
    if limit == FLOAT_MAX["double precision"]:
        return _nearest_exactly(limit)

    def nearest(number: Decimal) -> float:
        if number == number.to_integral_value():
            return _nearest_exactly(limit)(number)
        return _in_range(number, limit)

    return nearest


def _nearest_exactly(limit: float) -> Callable[[Decimal], float]:
    """The floating point number that prints as this decimal again, with as many digits as the decimal has."""

    def nearest(number: Decimal) -> float:
        value = _in_range(number, limit)
        stored = value if limit > FLOAT_MAX["real"] else struct.unpack("f", struct.pack("f", value))[0]
        if not prints_again(stored, number):
            raise Reject("type.precision", "the number has more digits than the column can keep: use NUMERIC or TEXT")
        return value

    return nearest


def _in_range(number: Decimal, limit: float) -> float:
    if abs(number.adjusted()) > MAX_EXPONENT or len(number.as_tuple().digits) > MAX_EXPONENT:
        raise Reject("type.overflow", "the number is outside the range of the column")
    value = float(number)
    if not -limit <= value <= limit:
        raise Reject("type.overflow", "the number is outside the range of the column")
    return value
