"""The column that a new field needs: its type as CrateDB's DDL writes it, and whether CrateDB takes its name.

A declared type decides alone (`declared_columns`). Where nothing is declared the first value does, and the type is the plainest
one that takes it: BIGINT, DOUBLE PRECISION, BOOLEAN, TEXT (also for dates), OBJECT(IGNORED), or an ARRAY of one of these. Nothing
is lost by that: what does not fit a column that was made too narrow is rejected, as in any other column.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from ingest.model import Column, Fields, NewColumn, RowSchema, SourceType
from ingest.tables.declared_columns import by_declared
from ingest.tables.extended_json import unwrap
from ingest.tables.numbers import BIGINT_MAX, BIGINT_MIN
from ingest.tables.reading import UNDECLARED, kind_of
from ingest.tables.system_columns import is_system
from ingest.tables.texts import INDEXED_TEXT_MAX_BYTES

TEXT: Final = "TEXT"
LONG_TEXT: Final = "TEXT INDEX OFF STORAGE WITH (columnstore = false)"  # both are needed beyond 32,766 bytes
FREE_OBJECT: Final = "OBJECT(IGNORED)"  # never DYNAMIC, which loses values in upserts that bring new keys
MAX_DIGITS: Final = 38
NAME_MAX_BYTES: Final = 255
_FORBIDDEN_SIGNS: Final = frozenset(".[") | {chr(code) for code in range(32)}

# A $numberDecimal has a scale of its own in each document.
_WRAPPED: Final = {"$date": "TIMESTAMP WITH TIME ZONE", "$numberLong": "BIGINT", "$numberDouble": "DOUBLE PRECISION"}


def new_columns(names: Iterable[str], schema: RowSchema | None, values: Fields) -> list[NewColumn]:
    """The columns for these fields of a record, without those whose type neither schema nor value tells: NULL loses nothing."""
    types = schema.fields if schema is not None else {}
    found = (new_column(name, types.get(name), values.get(name)) for name in sorted(names))
    return [column for column in found if column is not None]


def new_column(name: str, source: SourceType | None, value: Any) -> NewColumn | None:
    """The column for a field of this type, or else of this value; None if neither is known.

    >>> new_column("total", SourceType("decimal", scale=2, precision=12), None)
    NewColumn(name='total', type='NUMERIC(12, 2)')
    >>> new_column("tags", None, ["a", "b"])
    NewColumn(name='tags', type='ARRAY(TEXT)')
    """
    kind = kind_of(source)
    if source is not None and kind not in (UNDECLARED, "ext_json"):
        return NewColumn(name, declared_type(source, value))
    if value is None:
        return None
    return NewColumn(name, _extended_type(value) if kind == "ext_json" else seen_type(value))


def _extended_type(value: Any) -> str:
    """The type of a value of MongoDB, which says with its wrapper what JSON cannot say."""
    if isinstance(value, Mapping) and len(value) == 1:
        wrapped = _WRAPPED.get(next(iter(value)))
        if wrapped is not None:
            return wrapped
    return seen_type(unwrap(value))


def declared_type(source: SourceType, value: Any = None) -> str:
    """The type that takes every value of this source type, TEXT where it tells none; see declared_columns."""
    choice = by_declared(source)
    if choice is not None:
        return choice.sql if choice.sql != TEXT else _text(value)
    return _list_type(value) if source.kind == "array" and isinstance(value, list | tuple) else _text(value)


_SQL: Final = re.compile(r"(?P<word>[A-Z ]+?)(?:\((?P<inside>.*)\))?(?: INDEX OFF .*)?")


def column_of(new: NewColumn) -> Column:
    """A new column as the catalogue will show it.

    >>> column_of(NewColumn("total", "NUMERIC(12, 2)"))[:2], column_of(NewColumn("tags", "ARRAY(TEXT)"))[:2]
    (('total', 'numeric'), ('tags', 'text_array'))
    """
    found = _SQL.fullmatch(new.type)
    word, inside = (found["word"].lower(), found["inside"] or "") if found is not None else (new.type.lower(), "")
    if word == "array":
        inner = column_of(NewColumn(new.name, inside))
        return inner._replace(type=f"{inner.type}_array")
    if word == "object":
        return Column(new.name, "object", policy=inside.lower())
    digits = [int(number) for number in inside.split(",") if number]
    if word == "numeric":
        return Column(new.name, word, precision=digits[0], scale=digits[1])
    return Column(new.name, word, length=digits[0] if digits else None)


def seen_type(value: Any) -> str:
    """The plainest type that takes this value.

    >>> seen_type(7), seen_type(2**64), seen_type(1.5), seen_type([1, None, 2.5]), seen_type([])
    ('BIGINT', 'NUMERIC(38, 0)', 'DOUBLE PRECISION', 'ARRAY(DOUBLE PRECISION)', 'ARRAY(TEXT)')
    """
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return _whole_type(value)
    if isinstance(value, float):
        return "DOUBLE PRECISION"
    if isinstance(value, Decimal):
        return "DOUBLE PRECISION" if value.is_finite() and Decimal(repr(float(value))) == value else TEXT
    if isinstance(value, Mapping):
        return FREE_OBJECT
    return _list_type(value) if isinstance(value, list | tuple) else _text(value)


def _whole_type(value: int) -> str:
    if BIGINT_MIN <= value <= BIGINT_MAX:
        return "BIGINT"
    return f"NUMERIC({MAX_DIGITS}, 0)" if abs(value) < 10**MAX_DIGITS else TEXT


def _text(value: Any) -> str:
    is_long = isinstance(value, str) and len(value.encode(errors="replace")) > INDEXED_TEXT_MAX_BYTES
    return LONG_TEXT if is_long else TEXT


def _list_type(values: Sequence[Any]) -> str:
    """An array has one type. Elements of several are told as text, each by itself; whole and broken numbers meet in DOUBLE."""
    types = {seen_type(value) for value in values if value is not None}
    if types == {"BIGINT", "DOUBLE PRECISION"}:
        types = {"DOUBLE PRECISION"}
    return f"ARRAY({types.pop()})" if len(types) == 1 and LONG_TEXT not in types else f"ARRAY({TEXT})"


def is_good_name(name: str) -> bool:
    """Whether a column may have that name: CrateDB keeps `_id` and the like, reads `.` and `[` as paths; cdc_* is the worker's.

    >>> [is_good_name(name) for name in ("total", "Über mich", "cdc_version", "_id", "a.b", "a[0]", "")]
    [True, True, False, False, False, False, False]
    """
    if not name or name.startswith("_") or is_system(name) or not _FORBIDDEN_SIGNS.isdisjoint(name):
        return False
    return len(name.encode(errors="replace")) <= NAME_MAX_BYTES
