"""Functions written for a shape do what its readings do one by one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.reading import converted
from ingest.tables.row_code import compile_values, source_of
from ingest.tables.shapes import Cells
from ingest.tables.types import reading

COLUMNS = [
    (None, Column("a", "bigint")),
    (SourceType("ts_us"), Column("b", "timestamp with time zone")),
    (SourceType("ts_ns"), Column("c", "timestamp with time zone")),
    (None, Column("d", "timestamp with time zone")),
    (None, Column("e", "double precision")),
    (None, Column("f", "real")),
    (SourceType("decimal", scale=2), Column("g", "numeric", precision=5, scale=2)),
    (None, Column("h", "text")),
    (None, Column("i", "boolean")),
    (None, Column("j", "smallint")),
    (SourceType("ts_ms"), Column("k", "timestamp with time zone")),
]
READINGS = [reading(source, column) for source, column in COLUMNS]
NAMES = [column.name for _, column in COLUMNS]
EDGES = [
    sign * (base + near)
    for base in (0, 2**15, 2**63, 10**15, 10**18, 10**21, 253_402_300_800_000)
    for near in (-1, 0, 1)
    for sign in (1, -1)
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([*EDGES, 9_223_372_036_825_200_000, -9_223_372_036_832_400_000, 9_223_372_036_825_200]),
    st.floats(),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: Decimal(repr(number))),
    st.decimals(),
    st.text(max_size=3),
    st.binary(max_size=4),
    st.sampled_from(["2024-03-05", "12.30", "NaN"]),
)


def outcome(work: Any) -> Any:
    try:
        return repr(work())
    except Reject as reject:
        return reject.code, reject.text, reject.column


@pytest.mark.parametrize("number", range(len(COLUMNS)), ids=NAMES)
@given(value=VALUES)
def test_the_written_function_of_a_column_does_what_its_reading_does(number: int, value: Any) -> None:
    name, found = NAMES[number], READINGS[number]
    written = compile_values([name], ["field"], [found], [])
    assert outcome(lambda: [converted(value, found, name)]) == outcome(lambda: written({"field": value}))


def test_a_shape_answers_the_same_before_and_after_its_function_is_written() -> None:
    fields = [f"of {name}" for name in NAMES[:-1]] + [None]
    cells = Cells([column for _, column in COLUMNS], fields, READINGS)
    record = dict.fromkeys(fields[:-1], None) | {"of a": 2**40, "of h": "x", "of b": -1, "of g": b"\x30\x39"}
    rows = [cells.values(dict(record)) for _ in range(20)]
    assert [[2**40, -1, None, None, None, None, "123.45", "x", None, None, None]] * 20 == rows


@pytest.mark.parametrize("uses", [1, 20])
def test_a_missing_value_of_a_not_null_column_is_told_with_its_column(uses: int) -> None:
    cells = Cells([Column("a", "bigint"), Column("b", "text", nullable=False)], ["x", "y"], [READINGS[0], READINGS[7]])
    for _ in range(uses):
        cells.values({"x": 1, "y": "here"})
    with pytest.raises(Reject) as raised:
        cells.values({"x": 1, "y": None})
    assert ("value.null", "b") == (raised.value.code, raised.value.column)


@pytest.mark.parametrize("field", ["it's", 'a"b', "a\\", "new\nline", "\ud800", "ключ", "\u2028", "{x}", "#"])
def test_a_field_of_any_name_is_a_literal_in_the_text(field: str) -> None:
    assert ["v"] == compile_values(["h"], [field], [READINGS[7]], [])({field: "v"})
    assert source_of([field], [READINGS[7]], []).isascii()
