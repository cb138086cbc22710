"""The part of `check` that looks at tables: what fails, what only costs something, and what each line says to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.errors import Retry
from ingest.model import Column, Table
from ingest.settings import Settings
from ingest.tables.contract import Contract, PartitionRule
from ingest.tools import check_tables
from ingest.tools.findings import Finding, fail

SETTINGS = Settings.load({})
COLUMNS = {
    "id": Column("id", "bigint", nullable=False),
    "total": Column("total", "numeric", precision=18, scale=2),
    "created_at": Column("created_at", "timestamp with time zone"),
    "month": Column("month", "timestamp with time zone", nullable=False),
    "cdc_version": Column("cdc_version", "text"),
    "cdc_deleted": Column("cdc_deleted", "boolean"),
}
ORDERS = Table("doc", "orders", COLUMNS, ("id",), "month", primary_key=("id", "month"), shards=3)


def states(findings: list[Finding]) -> list[str]:
    return [finding.state.value for finding in findings]


def look(table: Table | None, contract: Contract | None = None) -> list[Finding]:
    return list(check_tables.of_table(SETTINGS, "doc.orders", table, contract))


def test_a_good_table_says_how_it_is_kept_and_what_does_not_hold() -> None:
    kept, *limits = look(ORDERS)
    assert "level: ordered" in kept.text
    assert "key: id" in kept.text
    assert "month: month from created_at" in kept.text
    assert ["WARN"] * len(limits) == states(limits)
    assert all(limit.text.startswith("does not hold: ") for limit in limits)


def test_not_null_in_a_table_with_tombstones_fails() -> None:
    columns = {**COLUMNS, "total": COLUMNS["total"]._replace(nullable=False)}
    (finding,) = look(replace(ORDERS, columns=columns))
    assert "FAIL" == finding.state.value
    assert "total of doc.orders is NOT NULL" in finding.text


def test_a_generated_month_is_a_warning() -> None:
    columns = {**COLUMNS, "month": COLUMNS["month"]._replace(generated=True, keys=("created_at",))}
    findings = look(replace(ORDERS, columns=columns, generated_month=True))
    assert any(finding.state.value == "WARN" and "is generated" in finding.text for finding in findings)
    assert "FAIL" not in states(findings)


def test_a_month_that_nobody_can_find_fails_with_the_remedy() -> None:
    columns = {name: column for name, column in COLUMNS.items() if name != "created_at"}
    (finding,) = look(replace(ORDERS, columns=columns))
    assert "FAIL" == finding.state.value
    assert "month" in finding.text


def test_contradictions_are_all_shown_with_file_and_line() -> None:
    contract = Contract(
        "doc.orders",
        key=("order_id",),
        partition=PartitionRule("monht", "created_at"),
        file="schemas/orders.toml",
        lines={"key": 3, "partition": 4},
    )
    found = look(ORDERS, contract)
    assert ["FAIL", "FAIL"] == states(found)
    assert ["schemas/orders.toml:3: ", "schemas/orders.toml:4: "] == [finding.text[:23] for finding in found]


def test_a_missing_table_fails_if_a_contract_names_it_and_is_a_warning_else() -> None:
    assert ["WARN"] == states(look(None))
    (finding,) = look(None, Contract("doc.orders", file="schemas/orders.toml"))
    assert "FAIL" == finding.state.value
    assert "`ingest migrate`" in finding.text


@pytest.mark.parametrize(
    ("used", "state"), [(0, "ok"), (930, "WARN"), (1_000, "FAIL"), (1_200, "FAIL")], ids=["room", "tight", "full", "over"]
)
def test_room_for_the_shards_of_the_coming_months(used: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_tables, "query", lambda *_: [[used, 1, 1_000]])
    (finding,) = check_tables.of_room(None, [ORDERS, replace(ORDERS, month_column=None)])  # type: ignore[arg-type]
    assert state == finding.state.value
    assert "the next 12 months need up to 72 more" in finding.text


def test_what_cannot_be_looked_at_is_one_failure() -> None:
    from ingest.tools.check import guarded

    def away() -> list[Finding]:
        raise Retry("store.unreachable", "no CrateDB node answers")

    assert [fail("tables", "no CrateDB node answers")] == list(guarded("tables", away))
