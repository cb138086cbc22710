"""Readings for BOOLEAN, whole numbers and NUMERIC: exact or refused; `floats` has those for REAL and DOUBLE PRECISION.

CrateDB cuts 1.9 to 1 in an integer column, wraps 2**64 - 1 to -1 and rounds surplus fraction digits, each without a word,
so every range and every digit is looked at here. Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables import clocks
from ingest.tables.bits import bits_to_int
from ingest.tables.reading import UNDECLARED, Convert, Never, Quick, Reading, Unscaled, calling, kind_of
from ingest.tables.structured import interval_parts_text, structured_us

BIGINT_MIN: Final = -(2**63) + 1  # CrateDB keeps both extremes for itself since 5.9
BIGINT_MAX: Final = 2**63 - 2
RANGES: Final = {
    "byte": (-(2**7), 2**7 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (BIGINT_MIN, BIGINT_MAX),
}
NUMERIC_MAX_DIGITS: Final = 38
# Beyond this many digits before or after the point no column can hold a number; it also keeps "1e999999999" cheap.
MAX_EXPONENT: Final = 400
_MAX_UNSCALED_BYTES: Final = 256
_WRITTEN_AS_TEXT: Final = frozenset({str, int, Decimal})
_NOT_BASE64: Final = 'the text is not base64: for plain numbers set type = "decimal" in the contract'
# Each digit has one place in it: `\d+\.?\d*` would try every cut of a long run of digits before it gives up.
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)
_NOT_FINITE: Final = frozenset(
    {"nan", "snan", "infinity", "-infinity", "+infinity", "inf", "-inf", "+inf", "positive_infinity", "negative_infinity"}
)

# Source kinds whose Python value is an int that goes into an integer column as it is, in the source's own unit.
PLAIN_INTS: Final = frozenset(
    {UNDECLARED, "int", "year", "ts_ms", "ts_us", "ts_ns", "ts_s", "date_days", "time_us", "interval_us", "interval_ns"}
)
TEXT_KINDS: Final = frozenset({"string", "float32", "float64", "enum"})
# Exact numbers that need a reader of their own.
EXACT_KINDS: Final = frozenset({"decimal", "decimal_base64", "decimal_variable", "uint64_wrapped", "money"})
# As PostgreSQL and SQL Server print money where point and comma are English; any other print would be a guess.
_MONEY: Final = re.compile(r"([+-]?)(\()?([+-]?)[$€£¥]?([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(\))?", re.ASCII)

# ---------------------------------------------------------------- numbers as exact decimals


def exact_number(value: Any) -> Decimal:
    """The number that a JSON value means: an int, a float (its shortest digits), a Decimal or the text of a number.

    Raises Reject: type.not_a_number (a boolean is none), type.not_finite.
    """
    kind = type(value)
    if kind is int or kind is Decimal:
        number = Decimal(value)
    elif kind is float:
        number = Decimal(repr(value))
    elif kind is str:
        number = _number_from_text(value)
    else:
        raise Reject("type.not_a_number", "the value is neither a number nor the text of one")
    if not number.is_finite():
        raise Reject("type.not_finite", "NaN and Infinity are no values of this column's type")
    return number


def _number_from_text(text: str) -> Decimal:
    if _NUMBER.fullmatch(text) is None:
        if text.lower() in _NOT_FINITE:
            raise Reject("type.not_finite", "NaN and Infinity are no values of this column's type")
        raise Reject(
            "type.not_a_number",
            'the text is no number: for base64 decimals set type = "numeric(p,s)" in the contract',
        )
    try:
        return Decimal(text)
    except InvalidOperation:  # more digits than the decimal module can count
        raise Reject("type.overflow", "the number has more digits than any column can hold") from None


def prints_again(value: float, number: Decimal) -> bool:
    """Whether a floating point number shows as this decimal again, in its shortest form or with as many digits.

    >>> prints_again(0.1, Decimal("0.1")), prints_again(float(2**53), Decimal(2**53 + 1))
    (True, False)
    """
    significant = len("".join(map(str, number.as_tuple().digits)).rstrip("0")) or 1
    return Decimal(repr(value)) == number or Decimal(f"{value:.{significant}g}") == number


def unscaled(octets: bytes, scale: int) -> Decimal:
    """A decimal as Avro and Kafka Connect write it: big-endian two's complement, the point `scale` digits from the right.

    >>> unscaled(bytes.fromhex("3039"), 2)
    Decimal('123.45')
    """
    if len(octets) > _MAX_UNSCALED_BYTES:
        raise Reject("type.overflow", "the number has more digits than any column can hold")
    return Decimal(f"{int.from_bytes(octets, 'big', signed=True)}E{-scale}")


def decimal_reader(source: SourceType | None) -> Callable[[Any], Decimal]:
    """Reads the raw value of this source type as an exact decimal."""
    kind = kind_of(source)
    scale = (source.scale if source is not None else None) or 0
    if kind == "decimal":
        return lambda value: unscaled(value, scale) if isinstance(value, bytes) else exact_number(value)
    if kind == "decimal_base64":
        return lambda value: unscaled(_octets(value), scale) if type(value) is str else exact_number(value)
    if kind == "decimal_variable":
        return _variable_decimal
    if kind == "uint64_wrapped":
        return lambda value: Decimal(_unwrapped(value))
    if kind == "money":
        return _money
    return exact_number


def _octets(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)  # a third of what base64.b64decode costs
    except (Base64Error, ValueError):
        raise Reject("type.not_a_number", _NOT_BASE64) from None


def _variable_decimal(value: Any) -> Decimal:
    if not isinstance(value, Mapping):
        return exact_number(value)
    scale, octets = value.get("scale"), value.get("value")
    if type(scale) is not int or abs(scale) > MAX_EXPONENT or not isinstance(octets, (bytes, str)):
        raise Reject("type.not_a_number", "the value is no variable scale decimal")
    return unscaled(octets if isinstance(octets, bytes) else _octets(octets), scale)


def _unwrapped(value: Any) -> int:
    """A BIGINT UNSIGNED that was squeezed into 64 signed bits."""
    number = whole_number(value)
    if not -(2**63) <= number < 2**64:
        raise Reject("type.overflow", "the number has more than 64 bits")
    return number + 2**64 if number < 0 else number


def _money(value: Any) -> Decimal:
    """`-$1,234.56` or `($1,234.56)`; numbers stand for themselves."""
    if type(value) is not str:
        return exact_number(value)
    found = _MONEY.fullmatch(value)
    signs = "" if found is None else "".join(found.group(1, 3, 4))
    if found is None or (found[2] is None) != (found[7] is None) or len(signs) + (found[2] is not None) > 1:
        raise Reject(
            "type.not_a_number", "the text is no amount of money, with commas between thousands and a point before cents"
        )
    number = _number_from_text(found[5].replace(",", "") + (found[6] or ""))
    return -number if signs == "-" or found[2] is not None else number


# ---------------------------------------------------------------- whole numbers


def whole_number(value: Any) -> int:
    """The integer that a value means, 12.0 and "12" too. Raises Reject: type.not_a_number, type.precision (a fraction)."""
    if type(value) is int:
        return value
    if type(value) is bool:  # TINYINT(1) comes as boolean or number, by the phase of the same connector
        return int(value)
    number = exact_number(value)
    if number.adjusted() > NUMERIC_MAX_DIGITS:
        raise Reject("type.overflow", "the number is outside the range of the column")
    if number != number.to_integral_value():
        raise Reject("type.precision", "the column holds whole numbers and the value has a fraction")
    if type(value) is float and abs(value) > 2**53:
        raise Reject("type.precision", "a floating point number beyond 2**53 has lost its last digits on the way")
    return int(number)


def integer(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for BYTE, SMALLINT, INTEGER and BIGINT.

    Timestamps, days and intervals go in as the source counts them; a time of day as microseconds since midnight.
    """
    kind = kind_of(source)
    low, high = RANGES[column.type]
    if kind in PLAIN_INTS or kind == "bool":
        return calling(_ranged(low, high), Quick(int, low, high))
    read = _whole_reader(kind, source)
    if read is None:
        return None
    ranged = _ranged(low, high)
    return calling(lambda value: ranged(read(value)))


def _whole_reader(kind: str, source: SourceType | None) -> Convert | None:
    if kind in TEXT_KINDS:
        return whole_number
    if kind == "uint64_wrapped":
        return _unwrapped
    if kind in EXACT_KINDS:
        read = decimal_reader(source)
        return lambda value: whole_number(read(value))
    if kind.startswith("bits"):
        return bits_to_int(source)
    if kind == "structured":
        return structured_us
    if kind == "interval_parts":
        return lambda value: clocks.parse_interval_us(interval_parts_text(value))
    return clocks.clock_us_reader(kind) or clocks.interval_us_reader(kind)


def _ranged(low: int, high: int) -> Convert:
    def convert(value: Any) -> int:
        number: int = value if type(value) is int else whole_number(value)
        if low <= number <= high:
            return number
        raise Reject("type.overflow", "the number is outside the range of the column")

    return convert


# ---------------------------------------------------------------- NUMERIC


def numeric(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for NUMERIC(p, s), as text: JSON numbers pass through a double in CrateDB and lose digits.

    Where the catalogue does not tell the scale, only the number of digits is looked at.
    """
    kind = kind_of(source)
    if not (kind in EXACT_KINDS or kind in PLAIN_INTS or kind in TEXT_KINDS):
        return None
    read = decimal_reader(source)
    precision = column.precision or NUMERIC_MAX_DIGITS
    fits, is_plain = _fits(precision, column.scale), _plain_number(precision, column.scale)
    is_as_written = read is exact_number
    zero = "0.0" if precision == column.scale else "0"  # CrateDB refuses "0" where no digit stands before the point

    def convert(value: Any) -> str:
        if is_as_written and type(value) in _WRITTEN_AS_TEXT and is_plain(text := str(value)):
            return text
        number = read(value)
        if not is_plain(text := str(number)):
            fits(number)
            text = format(number, "f") if number else zero
        return text

    return _quick_unscaled(source, column, convert)


def _quick_unscaled(source: SourceType | None, column: Column, convert: Convert) -> Reading:
    """The same for positive decimals in Avro's and Kafka Connect's bytes, without a Decimal: 0.4 µs instead of 1.2."""
    kind, scale = kind_of(source), (source.scale if source is not None else None) or 0
    if kind not in ("decimal", "decimal_base64") or column.scale is None or not 0 < scale <= column.scale:
        return calling(convert)
    least, limit = 10**scale, 10 ** ((column.precision or NUMERIC_MAX_DIGITS) - column.scale + scale)
    of_octets = convert if kind == "decimal" else numeric(SourceType("decimal", scale), column).convert  # type: ignore[union-attr]
    wire: type = bytes if kind == "decimal" else str
    octets_of: Callable[[Any], bytes] = bytes if kind == "decimal" else _octets
    from_octets = int.from_bytes

    def quick(value: Any) -> Any:
        if type(value) is wire:
            number = from_octets(octets_of(value), "big", signed=True)
            if least <= number < limit:
                digits = str(number)
                return f"{digits[:-scale]}.{digits[-scale:]}"
        return convert(value)

    return Reading(Never, quick, None, Unscaled(scale, least, limit, of_octets))


def _plain_number(precision: int, scale: int | None) -> Callable[[str], object]:
    """Recognises texts that surely fit as they stand: what the exact way round would answer, at a fifth of its time."""
    whole = precision - (scale or 0)
    fraction = rf"(?:\.\d{{1,{scale}}})?" if scale else ""
    return re.compile(rf"-?\d{{1,{whole}}}{fraction}", re.ASCII).fullmatch if whole else re.compile(r"(?!)").fullmatch


def _fits(precision: int, scale: int | None) -> Callable[[Decimal], None]:
    whole_limit = precision - (scale or 0)

    def check(number: Decimal) -> None:
        if not number:
            return
        whole_digits, fraction_digits = digits_around_point(number)
        if whole_digits > whole_limit:
            raise Reject("type.overflow", "the number has more digits before the point than the column")
        if fraction_digits > (precision - max(whole_digits, 0) if scale is None else scale):
            raise Reject("type.precision", "the number has more digits after the point than the column")

    return check


def digits_around_point(number: Decimal) -> tuple[int, int]:
    """How many digits stand before and after the point, surplus zeros not counted; the first is 0 or less for 0.00x.

    >>> digits_around_point(Decimal("120.50")), digits_around_point(Decimal("0.005"))
    ((3, 1), (-2, 3))
    """
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # finite numbers only
    surplus = next((count for count, digit in enumerate(reversed(digits)) if digit), len(digits))
    return number.adjusted() + 1, max(0, -(exponent + surplus))


# ---------------------------------------------------------------- BOOLEAN

_TRUTHS: Final = {"true": True, "t": True, "1": True, "yes": True, "on": True, "y": True}
_WORDS: Final = {**_TRUTHS, "false": False, "f": False, "0": False, "no": False, "off": False, "n": False}


def boolean(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for BOOLEAN: CrateDB takes any number but 0 for true, here only 0 and 1 are numbers of truth."""
    kind = kind_of(source)
    if kind.startswith("bits"):
        bits = bits_to_int(source)
        return calling(lambda value: _truth(bits(value)))
    if kind in (UNDECLARED, "bool", "int", "string", "enum"):
        return Reading(bool, _truth)
    return None


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is int and value in (0, 1):
        return value == 1
    if type(value) is str and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise Reject("type.not_a_boolean", "the value is neither true nor false")
