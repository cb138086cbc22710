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


class Reading(NamedTuple):
    """How the values of one field become the values of one column, ready for JSON.

    passes: values of exactly this type go through as they are, without a call. `convert` sees all others, but never None.
    """

    passes: type
    convert: Convert


Compile = Callable[[SourceType | None, Column], Reading | None]
"""Chooses the reading of a source type for a column; None where the two never fit."""

# How a field is read whose type nobody declared: by the column's type and the value's own.
UNDECLARED: Final = "any"


def kind_of(source: SourceType | None) -> str:
    return source.kind if source is not None else UNDECLARED


def calling(convert: Convert) -> Reading:
    """A reading that looks at every value."""
    return Reading(Never, convert)


def mismatch(source: SourceType | None, column: Column) -> Reading:
    """The reading of a pair that never fits: it refuses every value that is not null."""
    text = f"a source field of type {kind_of(source)} cannot become {column.type}: change the column, or type in the contract"

    def convert(_value: Any) -> Any:
        raise Reject("type.mismatch", text)

    return calling(convert)
