"""What a converter is: the one value that the type modules of this room hand to each other.

Values only; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Column, SourceType

Convert = Callable[[Any], Any]


class Never:
    """A type that no value has: for a reading that must look at every value."""


class Quick(NamedTuple):
    """Numbers of exactly this type from low to high need no call: an int is divided by `ticks` and floored, a float stays."""

    type: type
    low: float
    high: float
    ticks: int = 1


class Unscaled(NamedTuple):
    """Decimals in big-endian octets: from least to below limit they are their digits with a point before the last `scale` ones,
    of which there are more than `scale`. convert: for all others, from the octets, whatever they were written in."""

    scale: int
    least: int
    limit: int
    convert: Convert


class Reading(NamedTuple):
    """How the values of one field become the values of one column, ready for JSON.

    passes: values of exactly this type go through as they are, without a call. `convert` takes all values but None.
    quick, unscaled: what `convert` would do to usual numbers, for `row_code` and `express` to write it out.
    """

    passes: type
    convert: Convert
    quick: Quick | None = None
    unscaled: Unscaled | None = None


Compile = Callable[[SourceType | None, Column], Reading | None]
"""Chooses the reading of a source type for a column; None where the two never fit."""

# How a field is read whose type nobody declared: by the column's type and the value's own.
UNDECLARED: Final = "any"


def kind_of(source: SourceType | None) -> str:
    return source.kind if source is not None else UNDECLARED


def calling(convert: Convert, quick: Quick | None = None) -> Reading:
    """A reading that looks at every value."""
    return Reading(Never, convert, quick)


def inside(name: str, reject: Reject) -> Reject:
    """The same rejection seen from one level further out, where its column is `name` or a part of it: `address.lines.no`."""
    return Reject(reject.code, reject.text, column=name if reject.column is None else f"{name}.{reject.column}")


def converted(value: Any, found: Reading, name: str) -> Any:
    """The value of the column of that name; None stays. Raises Reject with the column."""
    if value is None or type(value) is found.passes:
        return value
    try:
        return found.convert(value)
    except Reject as reject:
        raise inside(name, reject) from None


class Refuses(Reading):
    """The reading of a pair that never fits."""

    __slots__ = ()


def mismatch(source: SourceType | None, column: Column) -> Reading:
    """Refuses every value that is not null."""
    text = f"a source field of type {kind_of(source)} cannot become {column.type}: change the column, or type in the contract"

    def convert(_value: Any) -> Any:
        raise Reject("type.mismatch", text)

    return Refuses(Never, convert)
