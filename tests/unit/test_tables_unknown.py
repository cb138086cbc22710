"""Fields without a column: which are news, what becomes of them, and the column that each would need."""

from __future__ import annotations

import pytest

from ingest.errors import NewFields, Parked, Reject
from ingest.model import Column, Envelope, Op, Record, RowSchema, SourceType, SourceVersion
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.new_columns import declared_type, is_good_name, seen_type
from tests.unit.test_tables_mapper import CDC, DATA, mapped, table_of

FROM_AT = PartitionRule(source="at")
EXTRA = Column("cdc_extra", "object", policy="ignored")


def mapper_that(policy: str, *more: Column) -> Mapper:
    table = table_of(*DATA, *CDC, *more)
    made = compile_mapper(table, Contract(table.full_name, unknown_fields=policy), settings=MappingRules())
    made.stop_at_new_fields(())
    return made


def news(to: Mapper, **fields: object) -> list[tuple[str, str]]:
    with pytest.raises(NewFields) as stopped:
        mapped(to, Op.INSERT, after={"id": 1, **fields})
    return [(column.name, column.type) for column in stopped.value.columns]


@pytest.mark.parametrize("policy", ["ignore", "reject", "add"])
def test_a_record_stops_at_a_field_that_nobody_was_told_of(policy: str) -> None:
    to = mapper_that(policy)
    assert [("a", "BIGINT"), ("b", "TEXT")] == news(to, b="x", a=7, c=None)
    to.stop_at_new_fields({"a", "b"})
    assert [("d", "BOOLEAN")] == news(to, a=1, d=True)


def test_a_null_without_a_declared_type_is_no_news() -> None:
    assert mapped(mapper_that("add"), Op.INSERT, after={"id": 1, "a": None}) is not None


def test_none_stops_when_all_names_pass_or_nobody_asked() -> None:
    to = mapper_that("ignore")
    to.stop_at_new_fields(None)
    mapped(to, Op.INSERT, after={"id": 1, "a": 1})
    mapped(to, Op.INSERT, after={"id": 2, "a": 1, "b": 1})
    assert {"a": 2, "b": 1} == to.take_unknown_fields()
    assert {} == to.take_unknown_fields()


def test_no_column_is_added_that_would_change_whose_month_a_row_is_in() -> None:
    schema = RowSchema({"id": SourceType("int"), "created_at": SourceType("ts_ms"), "paid": SourceType("int")})
    table = table_of(
        *DATA, *CDC, Column("at", "timestamp with time zone"), Column("month", "timestamp with time zone"), month_column="month"
    )
    for contract, stops in (
        (Contract("t", unknown_fields="add"), Parked),
        (Contract("t", unknown_fields="add", partition=FROM_AT), NewFields),
    ):
        to = compile_mapper(table, contract, settings=MappingRules())
        to.stop_at_new_fields(())
        with pytest.raises(stops):
            mapped(to, Op.INSERT, after={"id": 1, "at": 0, "created_at": 0}, schema=schema)
        with pytest.raises(NewFields):
            mapped(to, Op.INSERT, after={"id": 1, "at": 0, "paid": 0}, schema=schema)


@pytest.mark.parametrize("name", ["_id", "a.b", "a[0]", "", "x" * 256, "cdc_mine", "a\tb"])
def test_a_name_that_no_column_can_have_is_rejected_or_kept_in_cdc_extra(name: str) -> None:
    assert not is_good_name(name)
    with pytest.raises(Reject, match=r"field\.bad_name"):
        mapped(mapper_that("add"), Op.INSERT, after={"id": 1, name: 1})
    change = mapped(mapper_that("add", EXTRA), Op.INSERT, after={"id": 1, name: 1})
    assert {name: 1} == dict(zip(change.columns, change.row, strict=True))["cdc_extra"]


def test_a_bad_name_that_is_ignored_anyway_has_no_type_to_type() -> None:
    assert [("_id", "")] == news(mapper_that("ignore"), _id=1)


def test_a_truncate_has_the_version_of_its_record() -> None:
    envelope = Envelope(Op.TRUNCATE, table=("shop", "orders"), version=SourceVersion("L", "5".zfill(20)))
    record = Record("orders", 0, 9, 0, None, b"")
    found = mapper_that("ignore", EXTRA).truncation(envelope, record, 7)
    assert (found.version or "").startswith("01L")
    values = dict(zip(found.columns, found.row, strict=True))
    assert (found.version, True) == (values["cdc_version"], values["cdc_deleted"])
    assert "cdc_extra" not in values
    with pytest.raises(Reject, match=r"version\.missing"):
        mapper_that("ignore").truncation(Envelope(Op.TRUNCATE, table=("shop", "orders")), record, 7)


def test_the_longest_text_of_an_indexed_column_is_the_longest_that_gets_one() -> None:
    assert ["TEXT", "TEXT INDEX OFF STORAGE WITH (columnstore = false)"] == [seen_type("x" * n) for n in (32_766, 32_767)]


def test_a_declared_type_never_depends_on_a_small_value() -> None:
    assert ["BIGINT", "BIGINT"] == [declared_type(SourceType("int"), value) for value in (1, 2**70)]
