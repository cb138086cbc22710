"""The written pages name what the code knows: parked codes, keys of contracts, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ingest.crate import verdicts
from ingest.model import Fate

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
PARKED = re.compile(r"Parked\(\s*\"(?P<code>[a-z_.]+)\"")
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#\s]+)(#[^)]*)?\)")


def parked_codes() -> set[str]:
    """All codes that park something, as the source writes them and as the table of verdicts has them."""
    written = {found["code"] for path in ROOT.glob("ingest/**/*.py") for found in PARKED.finditer(path.read_text())}
    rules = (rule for rule in vars(verdicts).values() if isinstance(rule, verdicts.Rule))
    return written | {rule.code for rule in rules if rule.fate is Fate.PARK}


def test_every_parked_code_is_in_the_runbook() -> None:
    codes, page = parked_codes(), (ROOT / "docs/operations.md").read_text()
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_the_contract_of_the_reference_is_a_contract(tmp_path: Path) -> None:
    from ingest.tables.contract import load_contracts

    page = (ROOT / "docs/tables.md").read_text()
    (tmp_path / "orders.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    contracts, problems = load_contracts(tmp_path)
    assert ([contract.table for contract in contracts], problems) == (["doc.orders"], [])


@pytest.mark.parametrize("key", ["table", "topics", "format", "key", "before", "unknown_fields", "truncate"])
def test_every_key_of_a_contract_is_in_the_reference(key: str) -> None:
    assert f"\n| `{key}`" in (ROOT / "docs/tables.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [found["path"] for found in LINK.finditer(page.read_text()) if not (page.parent / found["path"]).exists()]
    assert missing == []
