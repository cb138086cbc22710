"""What the mapper makes of envelopes: kinds, keys, months, versions, fields without a column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingest.errors import Parked, Reject
from ingest.model import (
    Change,
    Column,
    Envelope,
    Kind,
    Level,
    Op,
    Position,
    Record,
    RowSchema,
    SourceType,
    SourceVersion,
    Table,
    just_above,
)
from ingest.tables.calendar_utc import MS_PER_DAY, days_of
from ingest.tables.contract import Contract, PartitionRule, VersionRule
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.types import ColumnRule, parse_type

TS = "timestamp with time zone"


def month(year: int, number: int) -> int:
    return days_of(year, number, 1) * MS_PER_DAY


NOW_MS = month(2024, 3) + 14 * MS_PER_DAY
MARCH_MS = month(2024, 3) + 5_000
MARCH, FEBRUARY = month(2024, 3), month(2024, 2)
VERSION = SourceVersion("L", "00000000000026843832")
RECORD = Record("shop.orders", 3, 1042, -1, None, None)
RULES = MappingRules(month_min_months=-12, month_max_months=1, epoch=1)

CDC = [
    Column("cdc_version", "text"),
    Column("cdc_deleted", "boolean"),
    Column("cdc_source_ts", TS),
    Column("cdc_ingested_at", TS),
    Column("cdc_op", "text"),
]
DATA = [Column("id", "bigint"), Column("status", "text"), Column("qty", "integer")]
MONTHS = [Column("month", TS), Column("created_at", TS)]
CDC_WRITTEN = {"cdc_version": "01L000000000000268438320000000000000001042", "cdc_source_ts": 7, "cdc_ingested_at": NOW_MS}


def table_of(*columns: Column, key: tuple[str, ...] = ("id",), month_column: str | None = None, **more: Any) -> Table:
    return Table("doc", "orders", {column.name: column for column in columns}, key, month_column, **more)


PLAIN = table_of(*DATA)
ORDERED = table_of(*DATA, *CDC)
MONTHLY = table_of(*DATA, *MONTHS, *CDC, month_column="month")


def mapper(table: Table = ORDERED, contract: Contract | None = None) -> Mapper:
    return compile_mapper(table, contract, settings=RULES)


def contract(**said: Any) -> Contract:
    return Contract("doc.orders", **said)


def envelope(op: Op, **said: Any) -> Envelope:
    defaults: dict[str, Any] = {"key": {"id": 1}, "table": ("shop", "orders"), "version": VERSION, "source_ts_ms": 7}
    return Envelope(op, **{**defaults, **said})


def mapped(to: Mapper, op: Op, record: Record = RECORD, **said: Any) -> Change:
    return to.map(envelope(op, **said), record, NOW_MS)


def rejected(to: Mapper, op: Op, record: Record = RECORD, **said: Any) -> tuple[str, str | None]:
    with pytest.raises(Reject) as raised:
        to.map(envelope(op, **said), record, NOW_MS)
    return raised.value.code, raised.value.column


def cells(change: Change) -> dict[str, Any]:
    return dict(zip(change.columns, change.row, strict=True))


# ---------------------------------------------------------------- kinds


def test_an_insert_writes_every_column_and_what_it_lacks_is_null() -> None:
    change = mapped(mapper(), Op.INSERT, after={"id": 1, "status": "new"}, op_name="c")
    assert (Kind.WRITE, (1,), None, Position("shop.orders", 3, 1042)) == (change.kind, change.key, change.month, change.at)
    assert {"status": "new", "qty": None, "cdc_deleted": False, "cdc_op": "c", **CDC_WRITTEN} == cells(change)
    assert (CDC_WRITTEN["cdc_version"], 7) == (change.version, change.source_ts_ms)


def test_an_update_of_all_columns_is_a_write_and_of_some_a_patch() -> None:
    to = mapper()
    whole = mapped(to, Op.UPDATE, after={"qty": 5, "status": None, "id": 1})
    part = mapped(to, Op.UPDATE, after={"id": 1, "qty": 5})
    assert (Kind.WRITE, Kind.PATCH) == (whole.kind, part.kind)
    assert {"qty": 5, "cdc_deleted": False, "cdc_op": "update", **CDC_WRITTEN} == cells(part)
    assert {"status": None, **cells(part)} == cells(whole)


def test_a_delete_has_the_columns_of_the_worker_only() -> None:
    change = mapped(mapper(), Op.DELETE, before={"id": 1, "status": "", "qty": 0}, op_name="d")
    assert (Kind.DELETE, (1,)) == (change.kind, change.key)
    assert {"cdc_deleted": True, "cdc_op": "d", **CDC_WRITTEN} == cells(change)


def test_rows_of_one_shape_share_their_columns() -> None:
    to = mapper()
    first, second = (mapped(to, Op.INSERT, after={"id": number, "qty": number}) for number in (1, 2))
    other = mapped(to, Op.INSERT, after={"status": "x", "id": 1})
    assert first.columns is second.columns
    assert first.columns == other.columns


def test_an_insert_without_its_key_is_part_of_a_row_unless_it_is_an_event() -> None:
    to = mapper(ORDERED, contract(key=("id",)))
    family = mapped(to, Op.INSERT, key=(7,), after={"qty": 5})
    event = mapped(to, Op.INSERT, key=(7,), after={"qty": 5}, table=(), version=None)
    assert [(Kind.PATCH, (7,)), (Kind.WRITE, (7,))] == [(family.kind, family.key), (event.kind, event.key)]


def test_a_truncate_is_never_mapped() -> None:
    with pytest.raises(Parked) as raised:
        mapped(mapper(), Op.TRUNCATE)
    assert "topic:shop.orders" == raised.value.subject


def test_size_is_what_the_row_takes_as_json() -> None:
    small, large = (mapped(mapper(), Op.INSERT, after={"id": 1, "status": "x" * count}) for count in (0, 1_000))
    assert 1_000 == large.size_bytes - small.size_bytes
    assert small.size_bytes > 50


# ---------------------------------------------------------------- policies


def test_what_a_column_cannot_hold_goes_to_the_text_column_beside_it() -> None:
    table = table_of(*DATA, Column("qty_text", "text"))
    to = mapper(table, contract(columns={"qty": ColumnRule("amount", overflow="text")}))
    for amount, stored, text in ((5, 5, None), (2**40, None, str(2**40)), (None, None, None)):
        change = mapped(to, Op.UPDATE, after={"id": 1, "amount": amount, "qty_text": "mine"})
        assert {"qty": stored, "qty_text": text} == cells(change)
    assert {"qty": 1} == to.take_nulled()
    assert {"qty_text": 3} == to.take_unknown_fields()
    assert not to.take_nulled()


def test_a_rejected_sub_column_is_told_by_its_path() -> None:
    inner = Column("home", "object", policy="strict", children=(Column("no", "smallint"),))
    to = mapper(table_of(*DATA, Column("address", "object", policy="strict", children=(inner,))))
    assert ("type.overflow", "address.home.no") == rejected(to, Op.INSERT, after={"id": 1, "address": {"home": {"no": 2**20}}})
    assert ("field.unknown", "address.home") == rejected(to, Op.INSERT, after={"id": 1, "address": {"home": {"x": 1}}})


# ---------------------------------------------------------------- fields and columns


def test_columns_take_the_contracts_name_the_same_name_or_the_same_letters() -> None:
    to = mapper(PLAIN, contract(columns={"qty": ColumnRule("amount")}))
    change = mapped(to, Op.INSERT, key=None, after={"ID": 1, "amount": 2, "qty": 99, "Status": "a"})
    assert ((1,), {"status": "a", "qty": 2}) == (change.key, cells(change))
    assert {"qty": 1} == to.take_unknown_fields()


def test_letters_that_two_fields_share_match_no_column() -> None:
    change = mapped(mapper(PLAIN), Op.INSERT, after={"id": 1, "STATUS": "a", "Status": "b"})
    assert {"status": None, "qty": None} == cells(change)


def test_cdc_columns_are_never_filled_from_the_record() -> None:
    to = mapper()
    change = mapped(to, Op.INSERT, after={"id": 1, "cdc_version": "99Z", "cdc_deleted": True, "CDC_OP": "x"})
    assert {"status": None, "qty": None, "cdc_deleted": False, "cdc_op": "insert", **CDC_WRITTEN} == cells(change)
    assert {"CDC_OP"} == set(to.take_unknown_fields())


def test_unknown_fields_are_told_once() -> None:
    to = mapper(PLAIN)
    mapped(to, Op.INSERT, after={"id": 1, "colour": "red"})
    assert [{"colour"}, set()] == [set(to.take_unknown_fields()), set(to.take_unknown_fields())]
    mapped(to, Op.INSERT, after={"id": 1, "colour": "red"})
    assert {"colour"} == set(to.take_unknown_fields())


def test_unknown_fields_go_to_cdc_extra_where_the_table_has_it() -> None:
    table = table_of(*DATA, *CDC, Column("cdc_extra", "object", policy="ignored"))
    schema = RowSchema({"id": SourceType("int"), "price": SourceType("decimal", scale=1), "colour": SourceType("string")})
    after = {"id": 1, "price": b"\x05", "colour": None}
    kept = mapped(mapper(table), Op.INSERT, after=after, schema=schema)
    assert {"price": "0.5", "colour": None} == cells(kept)["cdc_extra"]
    assert cells(mapped(mapper(table), Op.INSERT, after={"id": 1}))["cdc_extra"] is None
    assert cells(mapped(mapper(table, contract(unknown_fields="ignore")), Op.INSERT, after=after))["cdc_extra"] is None
    patches = [mapped(mapper(table), Op.UPDATE, after=row) for row in ({"id": 1, "colour": "red"}, {"id": 1, "qty": 1})]
    assert [True, False] == ["cdc_extra" in patch.columns for patch in patches]


def test_unknown_fields_are_rejected_where_the_contract_says_so() -> None:
    to = mapper(PLAIN, contract(unknown_fields="reject"))
    assert ("field.unknown", "colour") == rejected(to, Op.INSERT, after={"id": 1, "colour": "red"})


def test_generated_and_unmapped_columns_and_the_month_are_left_alone_without_a_word() -> None:
    table = table_of(*DATA, *MONTHS, Column("size", "integer", generated=True), Column("note", "text"), month_column="month")
    to = mapper(table, contract(columns={"note": ColumnRule("")}))
    change = mapped(to, Op.INSERT, after={"id": 1, "created_at": MARCH_MS, "size": 9, "note": "x", "month": 0})
    assert {"status": None, "qty": None, "created_at": MARCH_MS} == cells(change)
    assert set() == set(to.take_unknown_fields())


def test_a_value_that_does_not_fit_is_rejected_with_its_column() -> None:
    to = mapper()
    assert ("type.not_a_number", "qty") == rejected(to, Op.INSERT, after={"id": 1, "status": "a", "qty": "many"})
    assert ("type.overflow", "id") == rejected(to, Op.INSERT, key={"id": 2**63}, after={"id": 2**63})
    assert ("text.surrogate", "status") == rejected(to, Op.INSERT, after={"id": 1, "status": "\ud800"})
    assert ("row.missing", None) == rejected(to, Op.INSERT, after=None)


def test_no_rejection_tells_the_value() -> None:
    for after in (
        {"id": 1, "qty": "secret"},
        {"id": "secret"},
        {"id": 1, "status": "secret\ud800"},
        {"id": 1, "created_at": "secret"},
    ):
        with pytest.raises(Reject) as raised:
            mapped(mapper(MONTHLY), Op.INSERT, key=None, after=after)
        assert "secret" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_not_null_columns_reject_null_and_leave_defaults_to_crate() -> None:
    columns = [Column("must", "text", nullable=False), Column("may", "text", nullable=False, has_default=True)]
    to = mapper(table_of(*DATA, *columns))
    assert ("value.null", "must") == rejected(to, Op.INSERT, after={"id": 1})
    assert {"status": None, "qty": None, "must": "x"} == cells(mapped(to, Op.INSERT, after={"id": 1, "must": "x"}))
    assert ("value.null", "may") == rejected(to, Op.INSERT, after={"id": 1, "must": "x", "may": None})


def test_more_shapes_and_types_than_are_remembered_are_still_right() -> None:
    to = mapper(PLAIN)
    for number in range(2_100):
        change = mapped(to, Op.INSERT, key={"id": number}, after={"id": number, f"x{number}": 1, "qty": str(number)})
        assert ((number,), number) == (change.key, cells(change)["qty"])
    assert 2_100 == len(to.take_unknown_fields())


def test_new_keys_of_dynamic_objects_are_told() -> None:
    dynamic = Column("tags", "object", policy="dynamic", keys=("a", "a.b"))
    to = mapper(table_of(*DATA, dynamic))
    rows = [{"a": {"b": 1}}, {"a": {"c": 1}}, {"z": None}, None]
    assert [False, True, True, False] == [mapped(to, Op.INSERT, after={"id": 1, "tags": tags}).new_keys for tags in rows]
    assert not mapped(to, Op.DELETE).new_keys


# ---------------------------------------------------------------- keys

TWO = table_of(Column("region", "text"), Column("id", "bigint"), Column("qty", "integer"), key=("region", "id"))


@pytest.mark.parametrize(
    "said, expected",
    [
        ({"key": {"id": 1, "region": "eu"}}, ("eu", 1)),
        ({"key": {"ID": "1", "region": "eu"}}, ("eu", 1)),
        ({"key": ("eu", 1)}, ("eu", 1)),
        ({"key": {"id": 1}, "before": {"region": "eu", "id": 9}}, ("eu", 1)),
        ({"key": None, "before": {"region": "eu", "id": 1}}, ("eu", 1)),
        ({"key": ("wrong", 0), "before": {"region": "eu", "id": 1}}, ("eu", 1)),
        ({"key": ("eu",)}, ("key.missing", "region")),
        ({"key": None}, ("key.missing", "region")),
        ({"key": {"id": 1, "region": None}}, ("key.null", "region")),
        ({"key": ("eu", None)}, ("key.null", "id")),
        ({"key": {"id": "x", "region": "eu"}}, ("type.not_a_number", "id")),
        ({"key": ("eu", 1.5)}, ("type.precision", "id")),
    ],
)
def test_a_key_comes_by_name_before_it_comes_by_position(said: dict[str, Any], expected: tuple[Any, ...]) -> None:
    if expected[0] in ("key.missing", "key.null", "type.not_a_number", "type.precision"):
        assert expected == rejected(mapper(TWO), Op.DELETE, **said)
    else:
        assert expected == mapped(mapper(TWO), Op.DELETE, **said).key


def test_the_contract_names_the_parts_of_an_array() -> None:
    to = mapper(TWO, contract(key=("id", "region")))
    assert ("eu", 1) == mapped(to, Op.DELETE, key=(1, "eu")).key


def test_the_declared_type_of_a_key_is_honoured() -> None:
    schema = RowSchema({"id": SourceType("uint64_wrapped")})
    table = table_of(Column("id", "numeric", precision=20, scale=0), Column("qty", "integer"))
    assert (str(2**64 - 1),) == mapped(mapper(table), Op.DELETE, key={"id": -1}, key_schema=schema).key


def test_events_without_a_key_get_their_place_in_kafka() -> None:
    event = {"table": (), "version": None, "key": None, "after": {"qty": 1}}
    text = table_of(Column("id", "text"), Column("qty", "integer"))
    place = table_of(
        Column("cdc_topic", "text"),
        Column("cdc_partition", "integer"),
        Column("cdc_offset", "bigint"),
        Column("qty", "integer"),
        key=("cdc_topic", "cdc_partition", "cdc_offset"),
    )
    by_text = mapped(mapper(text, contract(by_position=True)), Op.INSERT, **event)
    by_parts = mapped(mapper(place), Op.INSERT, **event)
    assert ("shop.orders-3-1042",) == by_text.key
    assert (("shop.orders", 3, 1042), {"qty": 1}, Kind.WRITE) == (by_parts.key, cells(by_parts), by_parts.kind)


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize(
    "rule, said, expected",
    [
        (VersionRule(), {}, "01L000000000000268438320000000000000001042"),
        (VersionRule(epoch=7), {}, "07L000000000000268438320000000000000001042"),
        (VersionRule("source"), {}, "01L000000000000268438320000000000000001042"),
        (VersionRule("offset"), {}, "01A0000000000000001042"),
        (VersionRule(), {"version": None, "table": ()}, "01A0000000000000001042"),
        (VersionRule(), {"version": None}, "version.missing"),
        (VersionRule("source"), {"version": None, "table": ()}, "version.missing"),
    ],
)
def test_a_version_is_epoch_kind_position_and_offset(rule: VersionRule, said: dict[str, Any], expected: str) -> None:
    to = mapper(ORDERED, contract(version=rule))
    if expected == "version.missing":
        assert (expected, None) == rejected(to, Op.DELETE, **said)
    else:
        change = mapped(to, Op.DELETE, **said)
        assert (expected, expected) == (change.version, cells(change)["cdc_version"])


def test_a_tombstone_tells_no_version_and_asks_where_its_key_is() -> None:
    tombstone = mapped(mapper(), Op.DELETE, version=None, op_name="tombstone", table=())
    assert (None, True) == (tombstone.version, tombstone.look_up)


def test_the_version_just_above_a_row_lies_above_its_repetitions_and_below_every_later_change() -> None:
    to = mapper()
    stored, later = (
        mapped(to, Op.DELETE, version=SourceVersion("L", text)).version or "" for text in ("0" * 19 + "7", "0" * 19 + "8")
    )
    assert stored < stored[:-19] + "9" * 19 < just_above(stored) < later


def test_a_table_of_level_arrival_needs_no_version() -> None:
    to = mapper(PLAIN)
    change = mapped(to, Op.INSERT, after={"id": 1}, version=None)
    assert (Level.ARRIVAL, None, "none") == (to.level, change.version, to.version_kind)


# ---------------------------------------------------------------- months

MUTABLE = contract(partition=PartitionRule("month", "created_at", mutable=True))
STAYING = contract(partition=PartitionRule("month", "created_at"))
SURE = contract(partition=PartitionRule("month", "created_at"), before_full=True)
SURE_MUTABLE = contract(partition=PartitionRule("month", "created_at", mutable=True), before_full=True)
WHOLE = {"id": 1, "status": "a", "qty": 1, "created_at": MARCH_MS}
BEFORE = {**WHOLE, "created_at": FEBRUARY + 1}


@pytest.mark.parametrize(
    "said, op, images, expected",
    [
        (STAYING, Op.INSERT, {"after": WHOLE}, (MARCH, (), False)),
        (STAYING, Op.UPDATE, {"after": WHOLE, "before": BEFORE}, (MARCH, (), False)),
        (STAYING, Op.UPDATE, {"after": WHOLE, "before": BEFORE, "before_real": True}, (MARCH, (FEBRUARY,), False)),
        (SURE, Op.UPDATE, {"after": WHOLE, "before": BEFORE}, (MARCH, (FEBRUARY,), False)),
        (SURE_MUTABLE, Op.UPDATE, {"after": WHOLE, "before": WHOLE}, (MARCH, (), False)),
        (SURE_MUTABLE, Op.INSERT, {"after": WHOLE}, (MARCH, (), True)),
        (MUTABLE, Op.INSERT, {"after": WHOLE, "op_name": "c"}, (MARCH, (), True)),
        (MUTABLE, Op.UPDATE, {"after": WHOLE, "before": BEFORE}, (MARCH, (), True)),
        (STAYING, Op.UPDATE, {"after": {"id": 1, "qty": 2}}, (None, (), True)),
        (SURE, Op.UPDATE, {"after": {"id": 1, "qty": 2}, "before": BEFORE}, (FEBRUARY, (), False)),
        (MUTABLE, Op.UPDATE, {"after": {"id": 1, "created_at": MARCH_MS}}, (MARCH, (), True)),
        (STAYING, Op.DELETE, {"before": BEFORE}, (None, (), True)),
        (STAYING, Op.DELETE, {"before": BEFORE, "before_real": True}, (FEBRUARY, (), False)),
        (SURE, Op.DELETE, {"before": BEFORE}, (FEBRUARY, (), False)),
        (SURE, Op.DELETE, {"before": {"id": 1}}, (None, (), True)),
        (SURE, Op.DELETE, {}, (None, (), True)),
    ],
)
def test_the_month_comes_from_a_sure_image_or_is_looked_up(said: Contract, op: Op, images: dict[str, Any], expected: Any) -> None:
    change = mapped(mapper(MONTHLY, said), op, **images)
    assert expected == (change.month, change.vacates, change.look_up)


def test_a_month_that_no_row_can_be_in_is_not_vacated_unless_it_exists() -> None:
    ancient = {**WHOLE, "created_at": month(1999, 1)}
    existing = replace(MONTHLY, months=frozenset({month(1999, 1)}))
    vacated = [mapped(mapper(table, SURE), Op.UPDATE, after=WHOLE, before=ancient).vacates for table in (MONTHLY, existing)]
    assert [(), (month(1999, 1),)] == vacated


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, ("month.missing", "created_at")),
        (month(2023, 3) - 1, ("month.out_of_bounds", None)),
        (month(2024, 5), ("month.out_of_bounds", None)),
        ("rubbish", ("type.not_a_timestamp", "created_at")),
    ],
)
def test_a_row_without_an_allowed_month_is_rejected(value: Any, expected: Any) -> None:
    assert expected == rejected(mapper(MONTHLY), Op.INSERT, after={**WHOLE, "created_at": value})
    assert expected == rejected(mapper(MONTHLY), Op.UPDATE, after={"id": 1, "created_at": value})


def test_an_insert_that_lacks_the_field_of_its_month_is_rejected() -> None:
    assert ("month.missing", "created_at") == rejected(mapper(MONTHLY), Op.INSERT, after={"id": 1})


def test_a_month_in_the_key_needs_no_image() -> None:
    columns = [Column("id", "bigint"), Column("ts", TS), Column("month", TS), Column("qty", "integer"), *CDC]
    table = table_of(*columns, key=("id", "ts"), month_column="month")
    change = mapped(mapper(table), Op.DELETE, key={"id": 1, "ts": "2024-03-01T00:00:05Z"})
    assert ((1, MARCH_MS), MARCH, False) == (change.key, change.month, change.look_up)


def test_a_month_in_a_key_of_text_is_read_from_it() -> None:
    columns = [Column("id", "bigint"), Column("day", "text"), Column("month", TS)]
    table = table_of(*columns, key=("id", "day"), month_column="month")
    said = contract(partition=PartitionRule("month", "day"))
    assert MARCH == mapped(mapper(table, said), Op.DELETE, key=(1, "2024-03-09")).month
    assert ("type.not_a_timestamp", "day") == rejected(mapper(table, said), Op.DELETE, key=(1, "some day"))


def test_a_month_may_come_from_a_field_that_no_column_keeps() -> None:
    table = table_of(*DATA, Column("month", TS), *CDC, month_column="month")
    to = mapper(table, contract(partition=PartitionRule("month", "made_on")))
    change = mapped(to, Op.INSERT, after={"id": 1, "made_on": "2024-03-09"})
    assert (MARCH, set()) == (change.month, set(to.take_unknown_fields()))
    assert Kind.PATCH is mapped(to, Op.UPDATE, after={"id": 1, "status": "a", "qty": 1}).kind


def test_a_month_may_come_from_a_column_that_keeps_another_unit() -> None:
    table = table_of(*DATA, Column("at", "bigint"), Column("month", TS), *CDC, month_column="month")
    said = contract(partition=PartitionRule("month", "at"), columns={"at": ColumnRule(type=parse_type("ts_us"))})
    change = mapped(mapper(table, said), Op.INSERT, after={"id": 1, "at": MARCH_MS * 1_000})
    assert (MARCH, MARCH_MS * 1_000) == (change.month, cells(change)["at"])


def test_a_generated_month_is_known_and_not_written() -> None:
    columns = [*DATA, Column("month", TS, generated=True), Column("created_at", TS), *CDC]
    change = mapped(mapper(table_of(*columns, month_column="month", generated_month=True)), Op.INSERT, after=WHOLE)
    assert (MARCH, False) == (change.month, "month" in change.columns)


@pytest.mark.parametrize(
    "moments, expected",
    [
        (("created_at",), "created_at"),
        (("paid_at",), "paid_at"),
        (("paid_at", "ts"), "ts"),
        (("created_at", "ts"), None),
        (("paid_at", "sent_at"), None),
        ((), None),
    ],
)
def test_the_source_of_the_month_is_guessed_only_where_there_is_one_choice(
    moments: tuple[str, ...], expected: str | None
) -> None:
    table = table_of(*DATA, Column("month", TS), *(Column(name, TS) for name in moments), *CDC, month_column="month")
    if expected is None:
        with pytest.raises(Parked) as raised:
            mapper(table)
        assert ("month.undecided", "table:doc.orders") == (raised.value.code, raised.value.subject)
    else:
        assert f"month: month from {expected} (never changes)" in mapper(table).describe()


# ---------------------------------------------------------------- the mapper itself


def test_a_contradiction_parks_the_table() -> None:
    with pytest.raises(Parked) as raised:
        mapper(ORDERED, contract(key=("nope",), version=VersionRule("none")))
    assert ("contract.contradiction", "table:doc.orders") == (raised.value.code, raised.value.subject)
    assert "1 more" in raised.value.text


def test_the_description_says_what_does_not_hold() -> None:
    assert [] == [line for line in mapper(MONTHLY, MUTABLE).describe() if line.startswith("does not hold")]
    assert [
        "does not hold: a late or repeated change can win over a newer one, as the table lacks cdc_version and cdc_deleted"
    ] == [line for line in mapper(PLAIN).describe() if line.startswith("does not hold")]
    assert any("created_at moves" in line for line in mapper(MONTHLY, STAYING).describe())


def test_the_contract_says_what_a_truncate_does() -> None:
    assert ["park", "skip"] == [mapper().truncate, mapper(ORDERED, contract(truncate="skip")).truncate]
