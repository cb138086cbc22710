"""What docs/types.md promises, row by row, on a real CrateDB: a value that is taken comes back equal by the rule of its row,
CrateDB never refuses one that was taken, and what cannot come back equal is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.tables.type_rules import ROWS, TypeRow
from tests.properties.cases import CASES, Case
from tests.properties.keeper import Keeper, Kept, Outcome, drawn
from tests.properties.samples import REFUSED

pytestmark = pytest.mark.cratedb

SAMPLES = 400
# Rarely 400 samples lack one of a row's source types.
TURNS = 4


def test_every_row_of_the_page_has_its_property() -> None:
    assert [row.name for row in ROWS] == list(CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_column_takes_comes_back_equal(row: TypeRow, keeper: Keeper) -> None:
    kinds: set[str] = set()
    for turn in range(TURNS):
        for case in CASES[row.name]:
            kinds |= kinds_kept(case, keeper.keep(drawn(case.samples, SAMPLES, turn=turn), case.columns, case.edges))
        if kinds >= set(row.kinds):
            return
    assert set(row.kinds) <= kinds


def kinds_kept(case: Case, outcome: Outcome) -> set[str]:
    """The kinds of the samples that the columns took, after looking at what became of all."""
    assert outcome.failed[:3] == []
    assert [kept for kept in outcome.kept if not is_meant(case.same, kept)][:3] == []
    assert {column for _, column, _ in outcome.refused} <= set(case.columns)
    assert outcome.refused[:3] == [] or not case.none_refused
    assert len({(kept.column, repr(kept.stored)) for kept in outcome.kept}) >= 2 * len(case.columns)
    return {kept.sample.source.kind if kept.sample.source is not None else "any" for kept in outcome.kept}


def is_meant(same: Any, kept: Kept) -> bool:
    return kept.sample.meaning is not REFUSED and kept.stored is not None and same(kept.column, kept.stored, kept.sample.meaning)
