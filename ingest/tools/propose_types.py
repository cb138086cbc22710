"""What `propose` adds to the map of declared types: room for numbers of which only some were seen. Pure."""

from __future__ import annotations

from typing import Final

from ingest.model import SourceType
from ingest.tables import declared_columns
from ingest.tables.declared_columns import Choice, Seen
from ingest.tables.numbers import NUMERIC_MAX_DIGITS
from ingest.tools.propose_values import OBJECT, Values

ROOM_DIGITS: Final = 2
# Declared, but no more than a word for how JSON writes it: values may say more.
VAGUE: Final = frozenset({"any", "string", "ext_json"})


def by_declared(source: SourceType, values: Values) -> Choice | None:
    """The column for a declared type; None where the declaration says less than the values do."""
    return declared_columns.by_declared(source, seen_of(values))


def seen_of(values: Values) -> Seen:
    inside = values.elements
    return Seen(values.lengths, values.are(OBJECT), None if inside is None else seen_of(inside))


def with_room(values: Values) -> tuple[int, int]:
    """Precision and scale for numbers of which only some were seen: a machine word where they fit into one."""
    scale = min(max(values.fraction, *values.places, 0) + ROOM_DIGITS, NUMERIC_MAX_DIGITS // 2)
    return (18 if values.whole + 2 * ROOM_DIGITS + scale <= 18 else NUMERIC_MAX_DIGITS), scale


def seen_digits(values: Values) -> str:
    return f"up to {max(values.whole, 1)} digits before and {max(values.fraction, *values.places, 0)} behind the point were seen"
