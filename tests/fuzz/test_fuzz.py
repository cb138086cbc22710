"""A small slice of the fuzzing that `python -m tests.fuzz.run` does, and that it would notice what it looks for."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.formats import Decoder, SchemaCache
from ingest.model import Column, Record, SourceType
from ingest.tables.type_rules import COLUMNS
from ingest.tables.types import KINDS, reading
from tests.fuzz import oracle
from tests.fuzz.mutations import VALUES
from tests.fuzz.run import Fuzzer, Tally, TooLong, Wrong, at_most

INPUTS = 3_000
# Values that are odd for one kind of type or another, beside those that mutations put into records.
ODD = (
    *(Decimal("1e99999"), Decimal("NaN"), float("nan"), float("inf"), b"", b"\xff" * 20, "1e99999999999999999999"),
    *("[1e99999999999999999999]", '{"a":1e99999999999999999999}', "[1", '{"a":1,"a":2}', "٣", "²", "1_000", "P1Y", "00:00:60"),
    *("9" * 500, {"$date": {"$numberLong": "9" * 400}}, {"$numberDecimal": "1e99999999999999999999"}, {"$uuid": 5}),
    *(
        {"$binary": {"base64": "?"}},
        {"$timestamp": 5},
        {"year": 10**30, "month": 1, "day": 1},
        {"hour": 10**30},
        {"day": 10**400},
    ),
    *(
        {"scale": 10**30, "value": "AA=="},
        {"wkb": "AA==", "srid": 1},
        {"dimensions": 10**9, "vector": {}},
        {"x": float("nan"), "y": 1},
    ),
    *("POINT(1e999 2)", "\\xzz", "(1e999)", "$1,2,3", "infinity BC", "99999999-01-01", "1" * 30 + "-01-01T00:00:00Z"),
)


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    return Fuzzer(7)


def test_a_slice_of_all_inputs_ends_as_it_must(fuzzer: Fuzzer) -> None:
    tally = fuzzer.chunk(0, INPUTS)
    assert [] == tally.failures
    assert INPUTS == sum(tally.ends.values())
    assert min(tally.rows, tally.cells, tally.changes, tally.express) > 20  # else nothing was held against anything


def test_the_same_seed_makes_the_same_inputs(fuzzer: Fuzzer) -> None:
    assert fuzzer.chunk(1, 200).ends == fuzzer.chunk(1, 200).ends


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_any_value_becomes_another_or_is_refused(kind: str | None) -> None:
    element = SourceType("string") if kind in ("array", "map") else None
    source = None if kind is None else SourceType(kind, scale=2, length=4, element=element)
    for column in COLUMNS.values():
        found = reading(source, column)
        for value in (*ODD, *VALUES):
            if value is not None:
                with suppress(Reject):
                    found.convert(value)


# ---------------------------------------------------------------- that it would notice

WRAPPED = b'{"after":{"id":1,"n":1.50},"updated":"1.0000000002"}'


@pytest.mark.parametrize(
    "changes",
    [
        {"after": {"id": 1, "n": 1.5}},
        {"after": {"id": 1, "n": Decimal("1.5")}},
        {"after": {"id": 1}},
        {"after": {"id": 1, "n": Decimal("1.50"), "m": None}},
        {"before": {"id": 1}},
    ],
)
def test_a_row_that_the_bytes_do_not_say_is_noticed(fuzzer: Fuzzer, changes: dict[str, Any]) -> None:
    record = Record("t", 0, 0, -1, b"[1]", WRAPPED)
    (envelope,) = Decoder(topic_format={}, schemas=SchemaCache()).decode(record)
    fuzzer._judge("cockroach", record, [envelope], Tally())
    with pytest.raises(Wrong):
        fuzzer._judge("cockroach", record, [replace(envelope, **changes)], Tally())


@pytest.mark.parametrize(
    ("column", "raw", "sent"),
    [
        ("bigint", 5, 6), ("bigint", 5, "5"), ("bigint", 2**63, 2**63), ("numeric", Decimal("1.50"), "1.51"), ("numeric", 1, 1),
        ("double precision", Decimal("0.1"), 0.2), ("text", "a", "b"), ("text", True, "True"), ("boolean", "yes", False),
        ("timestamp with time zone", "2024-01-02T03:04:05.999Z", 1704164646000), ("timestamp with time zone", 5, 5000),
        ("object", {"a": 1}, {"a": 2}), ("text_array", ["a"], ["b"]), ("text", None, "x"), ("text", "x", None),
    ],
)  # fmt: skip
def test_a_value_that_is_not_the_records_is_noticed(column: str, raw: Any, sent: Any) -> None:
    assert oracle.cell_is_right(None, Column("c", column), raw, sent) is False


def test_an_input_that_takes_too_long_is_noticed() -> None:
    with pytest.raises(TooLong), at_most(0.02):
        time.sleep(60)
