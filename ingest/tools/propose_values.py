"""What the values of one field look like: kinds, ranges, digits, shapes of texts. No value is kept. Pure, one thread."""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ingest.errors import Reject
from ingest.model import SourceType
from ingest.tables.calendar_utc import parse_moment_ms
from ingest.tables.numbers import NUMERIC_MAX_DIGITS, digits_around_point, prints_again

BOOL, INT, NUMBER, TEXT, BYTES, OBJECT, LIST = "booleans", "integers", "numbers", "texts", "bytes", "objects", "lists"
# Shapes of texts. ODD: a moment that no TIMESTAMP can hold. CUT: a moment finer than a millisecond.
MOMENT, ZONED, DATE, ODD, CUT, ID, BASE64, DIGITS, NOT_FINITE = (
    "moment", "zoned", "date", "odd", "cut", "uuid", "base64", "digits", "not finite",
)  # fmt: skip

_KINDS: Final = {
    bool: BOOL,
    int: INT,
    float: NUMBER,
    Decimal: NUMBER,
    str: TEXT,
    bytes: BYTES,
    dict: OBJECT,
    list: LIST,
    tuple: LIST,
}
_OFFSET: Final = re.compile(r"\d\d:\d\d.*?(?:Z|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
_FINE: Final = re.compile(r"\.\d{3}\d*[1-9]")
_DIGITS: Final = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_NOT_FINITE: Final = frozenset(
    {"nan", "infinity", "-infinity", "+infinity", "inf", "-inf", "positive_infinity", "negative_infinity"}
)
_LONGEST_MOMENT: Final = 40
# An unscaled decimal of 38 digits has 16 bytes.
_LONGEST_DECIMAL_BYTES: Final = 16


@dataclass
class Values:
    """count: all, nulls among them. low, high: of numbers. whole, fraction: most digits before and behind the point.

    places: how many digits stood behind the point, each count once. longest_bytes: of texts and bytes.
    texts: how many texts had which shape. elements: of all lists together. lengths: of the lists.
    """

    count: int = 0
    nulls: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    low: int | None = None
    high: int | None = None
    whole: int = 0
    fraction: int = 0
    places: set[int] = field(default_factory=set)
    is_double: bool = True
    ends_in_zero: bool = False
    longest_bytes: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    elements: Values | None = None
    lengths: set[int] = field(default_factory=set)

    @property
    def told(self) -> int:
        return self.count - self.nulls

    def are(self, *kinds: str) -> bool:
        """Whether there are values and all are of these kinds."""
        return bool(self.kinds) and set(self.kinds) <= set(kinds)

    def all_texts(self, *shapes: str) -> bool:
        return self.are(TEXT) and sum(self.texts[shape] for shape in shapes) == self.kinds[TEXT]

    def add(self, value: Any) -> None:
        self.count += 1
        kind = _KINDS.get(type(value))
        if value is None or kind is None:
            self.nulls += 1
            return
        self.kinds[kind] += 1
        if kind == INT:
            self._integer(value)
        elif kind == NUMBER:
            self._number(value)
        elif kind == TEXT:
            self._text(value)
        elif kind == BYTES:
            self.longest_bytes = max(self.longest_bytes, len(value))
        elif kind == LIST:
            self._list(value)

    def _integer(self, value: int) -> None:
        self._range(value)
        self.whole = max(self.whole, len(str(abs(value))))

    def _range(self, value: int) -> None:
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)

    def _number(self, value: Decimal | float) -> None:
        number = value if isinstance(value, Decimal) else Decimal(repr(value))
        if not number.is_finite():
            self.texts[NOT_FINITE] += 1
            return
        exponent = number.as_tuple().exponent
        written = -int(exponent) if int(exponent) < 0 else 0
        whole, fraction = digits_around_point(number)
        self.whole, self.fraction = max(self.whole, whole), max(self.fraction, fraction)
        if whole < NUMERIC_MAX_DIGITS:
            self._range(int(number))
        self.places.add(written)
        # "26.30" is how a decimal of two places is written; printers of doubles add a zero only to say that there is a point.
        self.ends_in_zero = self.ends_in_zero or (written > 1 and fraction < written)
        self.is_double = self.is_double and abs(number.adjusted()) < 300 and prints_again(float(number), number)

    def _text(self, value: str) -> None:
        self.longest_bytes = max(self.longest_bytes, len(value.encode("utf-8", "surrogatepass")))
        self.texts.update(shapes_of(value))

    def _list(self, value: Iterable[Any]) -> None:
        self.elements = self.elements or Values()
        before = self.elements.count
        for item in value:
            self.elements.add(item)
        self.lengths.add(self.elements.count - before)


def shapes_of(text: str) -> list[str]:
    """
    >>> shapes_of("2026-01-31T12:00:00.123456Z"), shapes_of("2026-01-31"), shapes_of("12.50"), shapes_of("hello")
    (['moment', 'zoned', 'cut'], ['moment', 'date'], ['digits'], [])
    """
    if _DIGITS.fullmatch(text):
        return [DIGITS]
    if text.lower() in _NOT_FINITE:
        return [NOT_FINITE]
    if len(text) == 36 and _is_uuid(text):
        return [ID]
    return _shapes_of_moment(text) or ([BASE64] if _is_short_base64(text) else [])


def _shapes_of_moment(text: str) -> list[str]:
    if not 10 <= len(text) <= _LONGEST_MOMENT:
        return []
    try:
        parse_moment_ms(text)
    except Reject as reject:
        return [MOMENT, ODD] if reject.code == "type.zero_date" else []
    if ":" not in text:
        return [MOMENT, DATE]
    return [MOMENT, *([ZONED] if _OFFSET.search(text) else []), *([CUT] if _FINE.search(text) else [])]


def _is_uuid(text: str) -> bool:
    try:
        return UUID(text) is not None
    except ValueError:
        return False


def _is_short_base64(text: str) -> bool:
    """Whether it may be the bytes of a decimal. Short words of four letters are as well, so this proves nothing alone."""
    if not text or len(text) % 4:
        return False
    try:
        return len(b64decode(text, validate=True)) <= _LONGEST_DECIMAL_BYTES
    except ValueError:
        return False


@dataclass
class Field:
    """A field of rows or of keys. declared: its types as sources told them, each once, in the order in which they came."""

    name: str
    declared: list[SourceType] = field(default_factory=list)
    values: Values = field(default_factory=Values)

    def declare(self, source: SourceType | None) -> None:
        if source is not None and source not in self.declared:
            self.declared.append(source)
