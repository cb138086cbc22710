"""docs/types.md says what the code does: every pair that has a reading stands in one row, and no other pair stands in any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ingest.tables.type_rules import COLUMNS, ROWS, pairs_that_fit
from ingest.tables.types import KINDS
from ingest.tools.types_page import as_markdown

ROOT = Path(__file__).parents[2]


def test_every_pair_that_fits_stands_in_one_row() -> None:
    told = Counter(pair for row in ROWS for pair in row.pairs())
    assert pairs_that_fit() == set(told)
    assert {1} == set(told.values())


def test_the_page_is_not_stale() -> None:
    assert as_markdown() == (ROOT / "docs/types.md").read_text("utf-8"), "run `make docs`"


def test_the_page_has_each_column_each_kind_and_each_property() -> None:
    page = as_markdown()
    assert [] == [
        word for word in (*(f"## {column}" for column in COLUMNS), *(f"\n| `{kind}` |" for kind in KINDS)) if word not in page
    ]
    assert [] == [row.name for row in ROWS if f"| `{row.name}` |" not in page]
