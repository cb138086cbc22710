"""Contracts: what is read from the files, and that every mistake is told with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingest.model import Column, SourceType, Table
from ingest.tables.checks import problems
from ingest.tables.contract import Contract, PartitionRule, VersionRule, load_contracts
from ingest.tables.types import ColumnRule

TS = "timestamp with time zone"
FULL = """\
# contract of the orders
table     = "doc.orders"
topics    = ["inventory_orders", "^shop[.]public[.]orders$"]
format    = "debezium"
key       = ["id"]
partition = { column = "month", from = "created_at", mutable = true, keep = "3 years" }
before    = "full"
version   = { from = "source", epoch = 2 }
unknown_fields = "extra"
truncate  = "skip"

[columns.total]
from = "total_amount"
type = "numeric(18,2)"
overflow = "null"
precision = "text"

[columns.note]
shorten = true
"""


def load(tmp_path: Path, **files: str) -> tuple[list[Contract], list[str]]:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    contracts, found = load_contracts(tmp_path)
    return contracts, [f"{Path(problem.file).name}:{problem.line}: {problem.text}" for problem in found]


def test_every_key_of_a_contract_is_read(tmp_path: Path) -> None:
    (contract,), found = load(tmp_path, orders=FULL)
    assert [] == found
    expected = Contract(
        table="doc.orders",
        topics=("inventory_orders", "^shop[.]public[.]orders$"),
        format="debezium",
        key=("id",),
        partition=PartitionRule("month", "created_at", True, 36),
        before_full=True,
        version=VersionRule("source", 2),
        unknown_fields="extra",
        truncate="skip",
        columns={
            "total": ColumnRule("total_amount", SourceType("decimal_base64", scale=2, precision=18), "null", precision="text"),
            "note": ColumnRule(shorten=True),
        },
        file=str(tmp_path / "orders.toml"),
    )
    assert expected == contract


def test_a_table_alone_is_a_contract_and_no_folder_holds_none(tmp_path: Path) -> None:
    assert ([Contract("doc.t", file=str(tmp_path / "t.toml"))], []) == load(tmp_path, t='table = "doc.t"')
    assert ([], []) == load_contracts(tmp_path / "missing")


def test_position_is_a_key_of_its_own(tmp_path: Path) -> None:
    (contract,), _ = load(tmp_path, t='table = "doc.t"\nkey = "position"')
    assert (None, True) == (contract.key, contract.by_position)


@pytest.mark.parametrize(
    "line, expected",
    [
        ('tabel = "x"', "the key 'tabel' means nothing here: did you mean 'table'?"),
        ('partition = { colum = "month" }', "the key 'colum' means nothing here: did you mean 'column'?"),
        ("partition = 5", "partition is a table of keys and values"),
        ('partition = { keep = "long" }', 'keep is written like "36 months" or "3 years"'),
        ('partition = { mutable = "yes" }', "mutable is true or false"),
        ("version = { epoch = 100 }", "epoch is a number from 0 to 99"),
        ("version = { epoch = true }", "epoch is a number from 0 to 99"),
        ('version = { from = "sorce" }', "from = 'sorce' is none of source, offset, none: did you mean 'source'?"),
        ('before = "ful"', "before = 'ful' is none of key, full: did you mean 'full'?"),
        ('unknown_fields = "drop"', "unknown_fields = 'drop' is none of ignore, extra, reject, add"),
        ('truncate = "emty"', "truncate = 'emty' is none of park, skip, empty: did you mean 'empty'?"),
        ("topics = [5]", "topics is a list of topic names and ^expressions"),
        ('topics = ["^("]', "^( is no regular expression: missing ), unterminated subpattern at position 1"),
        ("key = []", 'key is a list of columns, or "position"'),
        ("format = 5", "format is a text"),
        ("[columns.a]\ntype = 'timestamp'", None),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_right_word(tmp_path: Path, line: str, expected: str | None) -> None:
    contracts, found = load(tmp_path, t=f'table = "doc.t"\n\n{line}\n')
    assert [] == contracts
    if expected is None:
        assert ["t.toml:4: timestamp is no type of a source"] == [text.partition(";")[0].partition(": did")[0] for text in found]
    else:
        assert [f"t.toml:3: {expected}"] == found


def test_all_mistakes_of_all_files_are_told_and_good_files_are_used(tmp_path: Path) -> None:
    contracts, found = load(
        tmp_path,
        bad='before = "x"\ntruncate = "y"\n',
        broken='table = "doc.a"\nkey = [\n',
        good='table = "doc.good"',
        twice='table = "doc.good"',
    )
    assert ["doc.good", "doc.good"] == [contract.table for contract in contracts]
    assert ["bad.toml:1", "bad.toml:1", "bad.toml:2", "broken.toml:3", "twice.toml:1"] == sorted(
        text.partition(": ")[0] for text in found
    )


def test_a_file_that_is_no_text_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_bytes(b"\xff\xfe")
    contracts, (problem,) = load_contracts(tmp_path)
    assert ([], "the file cannot be read: it is not UTF-8") == (contracts, problem.text)


def test_the_line_of_a_column_is_the_one_of_its_own_section(tmp_path: Path) -> None:
    text = 'table = "doc.t"\n[columns.b]\nfrom = "a"\n[columns.a]\nfrom = "b"\noverflow = "nul"\n'
    _, found = load(tmp_path, t=text)
    assert ["t.toml:6"] == [text.partition(": ")[0] for text in found]


# ---------------------------------------------------------------- against the catalogue

COLUMNS = [
    Column("id", "bigint", nullable=False),
    Column("month", TS, nullable=False),
    Column("created_at", TS),
    Column("total", "numeric", precision=18, scale=2),
    Column("cdc_version", "text"),
    Column("cdc_deleted", "boolean"),
]
TABLE = Table("doc", "orders", {column.name: column for column in COLUMNS}, ("id",), "month", primary_key=("id", "month"))


def told(contract: Contract | None, table: Table = TABLE) -> list[str]:
    return [f"{problem.line}: {problem.severity}: {problem.text}" for problem in problems(contract, table)]


def with_column(column: Column) -> Table:
    return replace(TABLE, columns={**TABLE.columns, column.name: column})


def test_a_fitting_contract_and_no_contract_have_no_problems() -> None:
    assert [] == told(None)
    assert [] == told(Contract("doc.orders", key=("id",), partition=PartitionRule("month", "created_at")))


CONTRADICTIONS = [
    (Contract("doc.orders", columns={"totl": ColumnRule()}), "no column totl: did you mean 'total'?"),
    (Contract("doc.orders", columns={"cdc_version": ColumnRule()}), "never from the record"),
    (Contract("doc.orders", columns={"total": ColumnRule(overflow="text")}), '"text" needs a column total_text TEXT'),
    (Contract("doc.orders", columns={"total": ColumnRule(precision="text")}), '"text" needs a column total_text TEXT'),
    (Contract("doc.orders", columns={"id": ColumnRule(overflow="text")}), "part of the key, which is never NULL"),
    (Contract("doc.orders", columns={"total": ColumnRule(shorten=True)}), "shorten is for text"),
    (Contract("doc.orders", columns={"id": ColumnRule(source="")}), "id is part of the key"),
    (Contract("doc.orders", key=("id", "no")), "the primary key of the table is id"),
    (Contract("doc.orders", by_position=True), 'key = "position" needs'),
    (Contract("doc.orders", partition=PartitionRule("mon")), "partitioned by month, not by mon"),
    (Contract("doc.orders", partition=PartitionRule("month", "cdc_ingested_at")), "changes from one reading"),
    (Contract("doc.orders", partition=PartitionRule("month", "createdat")), "did you mean 'created_at'?"),
    (Contract("doc.orders", version=VersionRule("none")), "each record needs a version"),
    (Contract("doc.orders", unknown_fields="extra"), "needs a column cdc_extra"),
    (Contract("doc.orders", ("a", "b"), truncate="empty"), "one topic alone may feed it"),
    (Contract("doc.orders", ("^shop[.]",), truncate="empty"), "one topic alone may feed it"),
]


@pytest.mark.parametrize("contract, expected", CONTRADICTIONS)
def test_a_contradiction_with_the_catalogue_is_told(contract: Contract, expected: str) -> None:
    (text,) = told(contract)
    assert expected in text


def test_the_column_beside_another_belongs_to_that_one() -> None:
    beside = with_column(Column("total_text", "text"))
    assert [] == told(Contract("doc.orders", columns={"total": ColumnRule(overflow="text")}), beside)
    (text,) = told(
        Contract("doc.orders", columns={"total": ColumnRule(overflow="text"), "total_text": ColumnRule("other")}), beside
    )
    assert 'total_text holds what total cannot ("text")' in text


@pytest.mark.parametrize(
    "table, expected",
    [
        (with_column(Column("note", "text", nullable=False)), "error: note of doc.orders is NOT NULL"),
        (with_column(Column("cdc_offset", "text")), "error: cdc_offset of doc.orders is text"),
        (with_column(Column("cdc_extra", "object", policy="dynamic")), "error: cdc_extra of doc.orders is object"),
        (with_column(Column("free", "object", policy="dynamic")), "warning: free of doc.orders is OBJECT(DYNAMIC)"),
        (with_column(Column("month", "text", nullable=False)), "error: the partition column month is text"),
        (replace(TABLE, generated_month=True), "warning: month is generated"),
        (replace(TABLE, key=()), "error: doc.orders has no primary key"),
    ],
)
def test_a_table_that_cannot_keep_the_promises_is_told_without_a_contract(table: Table, expected: str) -> None:
    assert any(expected in text for text in told(None, table))


def test_not_null_is_no_problem_below_level_ordered() -> None:
    columns = {"id": COLUMNS[0], "note": Column("note", "text", nullable=False)}
    assert [] == told(None, Table("doc", "t", columns, ("id",)))


def test_a_contradiction_stands_at_the_line_of_its_key(tmp_path: Path) -> None:
    (contract,), _ = load(tmp_path, orders='table = "doc.orders"\n\n[partition]\ncolumn = "month"\nfrom = "nope"\n')
    (problem,) = problems(contract, TABLE)
    assert (str(tmp_path / "orders.toml"), 5, "warning") == (problem.file, problem.line, problem.severity)
