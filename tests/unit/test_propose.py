"""`ingest propose`: types by declarations and by values, names, keys, months, shards, files; one sentence for wrong questions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from ingest import cli
from ingest.crate.sql_files import split
from ingest.errors import Reject, Retry, Stop
from ingest.formats.avro import AvroSchema
from ingest.kafka.peek import Bounds
from ingest.model import Partition, Record, SourceType
from ingest.practice.broker import Broker
from ingest.registry.client import RegistryClient
from ingest.settings import Settings
from ingest.tables.contract import load_contracts
from ingest.tables.declared_columns import Choice
from ingest.tables.months import MappingRules
from ingest.tables.types import TYPE_NAMES, ColumnRule, parse_type, reading
from ingest.tools import propose_files, propose_registry, propose_text
from ingest.tools.propose import Asked, named
from ingest.tools.propose_design import DAY_MS, Draft, design, shards_for
from ingest.tools.propose_guess import choose
from ingest.tools.propose_month import MonthChoice
from ingest.tools.propose_names import RESERVED, column_name, column_names, is_found, quoted
from ingest.tools.propose_sample import Sample, Volume, decode_all, spans_of
from ingest.tools.propose_types import by_declared
from ingest.tools.propose_values import Field, Values
from ingest.tools.rooms import Rooms
from tests.integration.test_registry_kinds import Registry

SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
EXPECTED = Path(__file__).parents[1] / "cases" / "samples"
NOW_MS = 1_772_323_200_000  # 2026-03-01
JAN_MS = 1_767_225_600_000
RULES = MappingRules()


# ---------------------------------------------------------------- small builders


def settings(folder: Path, **env: str) -> Settings:
    folders = {"INGEST_SQL_DIR": str(folder / "sql"), "INGEST_SCHEMAS_DIR": str(folder / "schemas")}
    return Settings.load(folders | {f"INGEST_{name.upper()}": value for name, value in env.items()}, ())


def record(offset: int, key: Any, value: Any, topic: str = "shop.public.orders") -> Record:
    raw = [None if part is None else part if isinstance(part, bytes) else json.dumps(part).encode() for part in (key, value)]
    return Record(topic, 0, offset, NOW_MS + offset, raw[0], raw[1])


def sample_of(
    folder: Path, records: Sequence[Record], declared: str | None = None, prepare: Callable[[Rooms], None] | None = None
) -> Sample:
    rooms = Rooms(settings(folder), declared)
    if prepare is not None:
        prepare(rooms)
    sample = Sample(records[0].topic, read=len(records))
    decode_all(rooms, sample, records)
    return sample


def drafts_of(
    folder: Path,
    records: Sequence[Record],
    declared: str | None = None,
    *,
    is_compacted: bool = False,
    prepare: Callable[[Rooms], None] | None = None,
) -> list[Draft]:
    sample = sample_of(folder, records, declared, prepare)
    tables = named(settings(folder), Asked(sample.topic), sample)
    return [design(sample, rows, table, RULES, NOW_MS, lambda: is_compacted) for rows, table in tables]


def draft_of(folder: Path, records: Sequence[Record], declared: str | None = None, *, is_compacted: bool = False) -> Draft:
    (draft,) = drafts_of(folder, records, declared, is_compacted=is_compacted)
    return draft


def plain(rows: Sequence[Mapping[str, Any]], keys: Sequence[Any] | None = None) -> list[Record]:
    return [record(n, keys[n] if keys is not None else None, row) for n, row in enumerate(rows)]


def debezium(
    op: str, lsn: int, row: Mapping[str, Any], before: Mapping[str, Any] | None = None, table: str = "orders"
) -> Mapping[str, Any]:
    source = {"connector": "postgresql", "db": "shop", "schema": "public", "table": table, "lsn": lsn, "ts_ms": NOW_MS}
    images = {"before": row, "after": None} if op == "d" else {"before": before, "after": row}
    return {**images, "source": source, "op": op, "ts_ms": NOW_MS}


def values_of(*found: Any) -> Values:
    values = Values()
    for value in found:
        values.add(value)
    return values


def guessed(name: str, *found: Any, lost_types: bool = False) -> Choice:
    return choose(Field(name, [], values_of(*found)), name, lost_types=lost_types)


def types_of(draft: Draft) -> dict[str, str]:
    return {draft.names[name]: choice.sql for name, choice in draft.choices.items()}


# ---------------------------------------------------------------- types that are declared


# A value of each kind as the formats hand it over.
ONE_OF: Mapping[str, Any] = {
    "any": {"a": 1}, "bool": True, "int": 7, "uint64_wrapped": -1, "float32": 1.5, "float64": 0.1, "year": 2026,
    "decimal": b"\x30\x39", "decimal_base64": "MDk=", "decimal_variable": {"scale": 2, "value": "MDk="}, "string": "x",
    "uuid": "6B0C2B32-8c6d-4c86-8b1c-0e2c0f5d7a11", "xml": "<a/>", "enum": "A", "enum_set": "a,b", "json": '{"a": 1}',
    "bytes": b"\x00", "bytes_base64": "AA==", "bytes_hex": "\\x00", "bits": b"\x05", "bits_base64": "BQ==",
    "bits_words": [3, 2**62],
    "date_days": 20_000, "date_text": "2026-01-31", "ts_s": 1, "ts_ms": 1, "ts_us": 1, "ts_ns": 1,
    "ts_text": "2026-01-31T10:00:00Z",
    "time_ms": 1, "time_us": 1, "time_ns": 1_000, "time_text": "10:00:00", "interval_text": "P1D", "interval_us": 1,
    "interval_ns": 1,
    "money": "-$1,234.56", "hstore": {"a": "1"}, "ext_json": {"$numberLong": "5"}, "bytes_base64url": "AA==",
    "interval_parts": {"day": 1, "hour": 2},
    "bytes_escape": "a", "bytes_latin1": "a", "structured": {"year": 2026, "month": 1, "day": 2},
    "point": {"x": 1.0, "y": 2.0}, "geometry": {"wkb": "AA==", "srid": 4326}, "vector": [0.5, 1.0],
    "sparse_vector": {"dimensions": 3, "vector": [[1, 1.0]]}, "array": [1, None], "map": {"a": 1}, "struct": {"a": 1},
}  # fmt: skip


def declared(kind: str) -> SourceType:
    with_scale = {"scale": 2, "precision": 12} if kind in ("decimal", "decimal_base64") else {}
    with_length = {"length": 4} if kind.startswith("bits") else {}
    return SourceType(kind, **with_scale, **with_length, element=SourceType("int") if kind in ("array", "map") else None)


def test_every_kind_of_source_type_has_an_example() -> None:
    assert set(ONE_OF) == set(TYPE_NAMES) - {"numeric"}


@pytest.mark.parametrize("kind", ONE_OF)
def test_a_declared_type_gets_a_column_that_takes_its_values(kind: str) -> None:
    value, source = ONE_OF[kind], declared(kind)
    seen = {"json": {"a": 1}, "ext_json": 5}.get(kind, value)
    choice = choose(Field("a", [source], values_of(seen)), "a", lost_types=False)
    found = reading(source, choice.column, ColumnRule(type=parse_type(choice.read_as) if choice.read_as else None))
    assert type(value) is found.passes or found.convert(value) is not None


@pytest.mark.parametrize(
    ("source", "sql", "words"),
    [
        (SourceType("decimal", scale=2, precision=18), "NUMERIC(18, 2)", ""),
        (SourceType("decimal", scale=2, precision=64), "NUMERIC(38, 2)", "not declared"),
        (SourceType("decimal", scale=2), "NUMERIC(38, 2)", "not declared"),
        (SourceType("decimal", scale=5, precision=3), "NUMERIC(5, 5)", ""),
        (SourceType("decimal", scale=-2, precision=3), "NUMERIC(5, 0)", ""),
        (SourceType("decimal", scale=0, precision=40), "TEXT", "40 digits"),
        (SourceType("decimal_variable"), "TEXT", "may differ"),
        (SourceType("uint64_wrapped"), "NUMERIC(20, 0)", "unsigned"),
        (SourceType("ts_us", zoned=True), "TIMESTAMP WITH TIME ZONE", "microseconds are cut"),
        (SourceType("ts_ms"), "TIMESTAMP WITHOUT TIME ZONE", ""),
        (SourceType("bits", length=4), "BIT(4)", ""),
        (SourceType("bits", length=2_147_483_647), "TEXT", "0 and 1"),
        (SourceType("array", element=SourceType("ts_ms", zoned=True)), "ARRAY(TIMESTAMP WITH TIME ZONE)", ""),
        (SourceType("array", element=SourceType("struct", fields={})), "ARRAY(OBJECT(IGNORED))", ""),
        (SourceType("array", element=SourceType("decimal", scale=2, precision=9)), "TEXT", "as JSON"),
        (SourceType("array", element=SourceType("array", element=SourceType("int"))), "TEXT", "as JSON"),
        (SourceType("vector"), "ARRAY(DOUBLE PRECISION)", ""),
    ],
)
def test_declared_types_that_need_care(source: SourceType, sql: str, words: str) -> None:
    choice = by_declared(source, Values())
    assert choice is not None
    assert (sql, True) == (choice.sql, words in choice.remark)


def test_a_vector_has_a_length_where_all_have_the_same() -> None:
    source = SourceType("vector")
    same, mixed = by_declared(source, values_of([1.0, 2.0], [3.0, 4.0])), by_declared(source, values_of([1.0], [3.0, 4.0]))
    assert same is not None
    assert mixed is not None
    assert ("FLOAT_VECTOR(2)", "ARRAY(DOUBLE PRECISION)") == (same.sql, mixed.sql)


@pytest.mark.parametrize(
    ("kinds", "sql"), [(("int", "year"), "BIGINT"), (("int", "float64"), "DOUBLE PRECISION"), (("int", "string"), "TEXT")]
)
def test_a_type_that_changed_gets_a_column_for_both(kinds: Sequence[str], sql: str) -> None:
    choice = choose(Field("a", [SourceType(kind) for kind in kinds], values_of(1)), "a", lost_types=False)
    assert (sql, f"declared as {kinds[0]} and {kinds[1]} in turn") == (choice.sql, choice.remark)


# ---------------------------------------------------------------- types by values


US, NS = 1_767_225_600_000_000, 1_767_225_600_000_000_000


@pytest.mark.parametrize(
    ("name", "found", "sql", "read_as"),
    [
        ("a", (None, None), "TEXT", ""),
        ("a", (True, None), "BOOLEAN", ""),
        ("a", (1, 2), "BIGINT", ""),
        ("a", (True, 0), "BOOLEAN", ""),
        ("a", (True, 7), "BIGINT", ""),
        ("a", (2**63,), "NUMERIC(38, 0)", ""),
        ("a", (-(2**63),), "NUMERIC(38, 0)", ""),
        ("a", (10**40,), "TEXT", ""),
        ("created_at", (1_767_225_600, 1_767_312_000), "TIMESTAMP WITH TIME ZONE", "ts_s"),
        ("created_at", (JAN_MS,), "TIMESTAMP WITH TIME ZONE", ""),
        ("created_at", (US,), "TIMESTAMP WITH TIME ZONE", "ts_us"),
        ("created_at", (NS,), "TIMESTAMP WITH TIME ZONE", "ts_ns"),
        ("ts", (Decimal("1767225600.123"),), "TIMESTAMP WITH TIME ZONE", "ts_s"),
        ("created_at", (US, 5), "BIGINT", ""),
        ("account", (US,), "BIGINT", ""),
        ("latency_ms", (250,), "BIGINT", ""),
        ("a", (Decimal("0.1"), 3), "DOUBLE PRECISION", ""),
        ("a", (1.5,), "DOUBLE PRECISION", ""),
        ("a", (Decimal("26.30"), Decimal("1.25")), "NUMERIC(18, 4)", ""),
        ("total_price", (Decimal("26.3"),), "NUMERIC(18, 3)", ""),
        ("a", (Decimal("0.1234567890123456789012345"),), "TEXT", ""),
        ("a", (Decimal("1234567890123.123456"),), "NUMERIC(38, 8)", ""),
        ("a", (Decimal("1.5"), "NaN"), "DOUBLE PRECISION", ""),
        ("a", ("x", "2026"), "TEXT", ""),
        ("a", ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00+02:00"), "TIMESTAMP WITH TIME ZONE", ""),
        ("a", ("2026-01-31 10:00:00",), "TIMESTAMP WITHOUT TIME ZONE", ""),
        ("a", ("2026-01-31",), "TIMESTAMP WITHOUT TIME ZONE", ""),
        ("a", ("2026-01-31", "soon"), "TEXT", ""),
        ("a", ("12.50",), "TEXT", ""),
        ("a", ({"b": 1},), "OBJECT(IGNORED)", ""),
        ("a", ([1, 2], []), "ARRAY(BIGINT)", ""),
        ("a", ([],), "ARRAY(TEXT)", ""),
        ("a", ([{"b": 1}],), "ARRAY(OBJECT(IGNORED))", ""),
        ("a", ([[1]],), "TEXT", ""),
        ("a", ([1, "x"],), "TEXT", ""),
        ("a", (1, "x", {"b": 1}), "TEXT", ""),
        ("a", (b"x",), "TEXT", ""),
    ],
)
def test_types_by_values_and_names(name: str, found: tuple[Any, ...], sql: str, read_as: str) -> None:
    choice = guessed(name, *found)
    assert (sql, read_as) == (choice.sql, choice.read_as)


@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("a", (None,), "only NULL was seen"),
        ("a", (1, "x", True), "booleans, integers and texts were seen"),
        ("a", ("2026-01-31T10:00:00.123456Z",), "texts of moments, cut to milliseconds"),
        ("a", ("12.50",), "decimals as text"),
        ("total", ("MDk=",), 'type = "numeric(p,s)"'),
        ("ts", (US,), "epoch microseconds"),
        ("a", ("0000-00-00", "2026-01-31"), "0000-00-00 becomes NULL"),
    ],
)
def test_a_guess_says_that_it_is_one(name: str, found: tuple[Any, ...], words: str) -> None:
    assert words in guessed(name, *found, lost_types=True).remark


def test_days_and_base64_are_looked_for_only_where_a_database_had_types() -> None:
    assert ("TIMESTAMP WITHOUT TIME ZONE", "date_days") == guessed("due_date", 20_000, lost_types=True)[::2][:2]
    assert "BIGINT" == guessed("due_date", 20_000).sql
    assert "" == guessed("total", "MDk=").remark


# ---------------------------------------------------------------- names


def test_columns_need_no_quotes_and_are_told_apart() -> None:
    fields = ["id", "ID", "Id", "_id", "order_", "a b", "a-b", "cdc_version", "9", *sorted(RESERVED)]
    columns = list(column_names(fields).values())
    assert len(fields) == len(set(columns))
    assert columns == [quoted(column) for column in columns]
    assert not any(column.startswith(("_", "cdc_")) for column in columns)


@pytest.mark.parametrize("field", ["名前", "_名前", "a.名[", "_", "", "x" * 300, "é" * 300])
def test_any_name_becomes_one_that_crate_takes(field: str) -> None:
    name = column_name(field)
    assert name
    assert not name.startswith("_")
    assert len(name.encode()) <= 255
    assert not set(name) & set(".[\t\n")


def test_the_worker_finds_a_field_by_its_letters_where_only_one_has_them() -> None:
    assert is_found("ORDER_ID", "order_id", ["ORDER_ID", "x"])
    assert not is_found("ORDER_ID", "order_id", ["ORDER_ID", "Order_Id"])
    assert not is_found("orderId", "order_id", ["orderId"])


# ---------------------------------------------------------------- keys


def test_the_key_is_that_of_kafka_by_name(tmp_path: Path) -> None:
    records = [record(n, {"id": n, "line": 1}, debezium("c", n, {"line": 1, "id": n, "x": 1})) for n in range(3)]
    draft = draft_of(tmp_path, records)
    assert (("id", "line"), True, None) == (draft.key_columns, draft.is_ordered, draft.contract().key)
    assert ["id", "line", "x"] == list(draft.names)


def test_values_without_names_are_found_in_the_rows_and_named_in_the_contract(tmp_path: Path) -> None:
    rows = [{"name": "n", "id": n, "region": f"r{n % 2}"} for n in range(4)]
    records = [record(n, [row["region"], n], {"after": row, "updated": f"{n + 1}.0000000000"}) for n, row in enumerate(rows)]
    draft = draft_of(tmp_path, records)
    assert (("region", "id"), ("region", "id")) == (draft.key_columns, draft.contract().key)
    assert () == draft.key.hints


def test_two_fields_with_the_keys_values_are_told(tmp_path: Path) -> None:
    records = [record(n, [n], {"after": {"copy": n, "id": n}, "updated": f"{n + 1}.0000000000"}) for n in range(3)]
    draft = draft_of(tmp_path, records)
    assert ("id",) == draft.key_columns
    assert any("so has copy" in remark for remark in draft.remarks)


def test_a_key_that_no_field_repeats_gets_a_column(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, plain([{"x": n} for n in range(3)], [f"k{n}".encode() for n in range(3)]))
    assert {"kafka_key": "TEXT", "x": "BIGINT"} == types_of(draft)
    assert (("kafka_key",), ("kafka_key",), {}) == (draft.key_columns, draft.contract().key, dict(draft.refused))


@pytest.mark.parametrize(
    ("rows", "keys", "is_compacted", "key"),
    [
        ([{"a": 1}, {"a": 2}], None, False, "position"),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, None], False, "position"),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}], False, ("a",)),
        ([{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 1}], False, "position"),
        ([{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 1}], True, ("a",)),
        ([{"id": 1}, {"id": 1}], [{"id": 1}, {"id": 1}], False, ("id",)),
        ([{"order_id": 1}, {"order_id": 1}], [{"order_id": 1}, {"order_id": 1}], False, ("order_id",)),
        ([{"a": 1}, {"a": 1}, None], [{"a": 1}] * 3, False, ("a",)),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"b": 2}], False, "position"),
    ],
)
def test_events_and_rows_without_an_envelope_are_told_apart(
    rows: Sequence[Any], keys: Sequence[Any] | None, is_compacted: bool, key: Any, tmp_path: Path
) -> None:
    draft = draft_of(tmp_path, plain(rows, keys), is_compacted=is_compacted)
    assert key == ("position" if draft.key.by_position else draft.key_columns)
    assert draft.is_ordered is (key != "position")


def test_changes_without_a_key_get_the_column_that_is_called_like_one(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, [record(n, None, debezium("c", n, {"id": n, "x": 1})) for n in range(3)])
    assert ("id",) == draft.key_columns
    assert any("is a guess" in remark for remark in draft.remarks)


def test_changes_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    records = [record(n, None, debezium("c", n, {"id": 1, "x": n})) for n in range(3)]
    with pytest.raises(Stop, match="have no key, and no column tells rows apart"):
        drafts_of(tmp_path, records)


def test_a_table_without_a_key_keeps_no_other_from_its_proposal(broker: Broker, tmp_path: Path) -> None:
    told = json.loads(ask(broker, tmp_path, "shop.mixed", "--json").stdout)
    assert ["doc.good"] == [table["table"] for table in told["tables"]]
    assert any("changes of keyless on topic shop.mixed have no key" in note for note in told["notes"])


def test_a_table_that_cannot_keep_its_name_among_others_is_told(broker: Broker, tmp_path: Path) -> None:
    told = json.loads(ask(broker, tmp_path, "shop.dotted", "--json").stdout)
    assert ["doc.good"] == [table["table"] for table in told["tables"]]
    assert any("are of table a.b, which no table of CrateDB can be called" in note for note in told["notes"])


def test_a_key_is_never_cut(tmp_path: Path) -> None:
    """Two keys that differ in microseconds must stay two rows."""
    rows = [{"at": US + n, "day": "2026-01-01T00:00:00.000001Z", "x": n} for n in range(3)]
    draft = draft_of(tmp_path, plain(rows, [{"at": row["at"], "day": row["day"]} for row in rows]))
    assert {"at": "BIGINT", "day": "TEXT", "x": "BIGINT"} == types_of(draft)
    assert (0, "at") == (sum(draft.refused.values()), draft.month.column)


# ---------------------------------------------------------------- months


def orders(*rows: Mapping[str, Any]) -> list[Record]:
    return [record(n, {"id": n}, debezium("c", n, {"id": n, **row})) for n, row in enumerate(rows)]


def test_the_month_is_that_of_the_row_s_making(tmp_path: Path) -> None:
    day = "2026-01-05T00:00:00Z"
    draft = draft_of(tmp_path, orders({"updated_at": day, "created_at": day}, {"updated_at": day, "created_at": day}))
    assert ("created_at", False, "month") == (draft.month.column, draft.month.mutable, draft.month_name)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"x": 1}, "no column holds moments"),
        ({"created_at": None}, "no column holds moments"),
        ({"updated_at": "2026-01-05T00:00:00Z"}, "updated_at changes with its row"),
        ({"shipped": "2026-01-05T00:00:00Z"}, "shipped may change"),
        ({"created_at": "1776-07-04T00:00:00Z"}, "created_at lies outside INGEST_MONTH_MIN and _MAX"),
    ],
)
def test_a_table_without_a_column_for_months_is_not_partitioned_and_says_why(
    row: Mapping[str, Any], why: str, tmp_path: Path
) -> None:
    draft = draft_of(tmp_path, orders(row, row))
    assert (None, True) == (draft.month.column, why in draft.month.reason)
    assert "PARTITIONED" not in propose_text.sql(draft)


def test_a_column_that_is_sometimes_null_is_no_month(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, orders({"created_at": "2026-01-05T00:00:00Z"}, {"created_at": None}))
    assert (None, "created_at is NULL in some rows") == (draft.month.column, draft.month.reason)


def test_a_month_that_moves_in_the_sample_is_mutable(tmp_path: Path) -> None:
    rows = [{"id": 1, "created_at": "2026-01-05"}, {"id": 1, "created_at": "2026-02-05"}]
    records = [record(n, {"id": 1}, debezium("c" if not n else "u", n, row)) for n, row in enumerate(rows)]
    draft = draft_of(tmp_path, records)
    assert (True, "moves to another month in the sample") == (draft.month.mutable, draft.month.reason)
    assert "mutable = true" in propose_text.contract(draft)


def test_events_take_the_time_at_which_they_happened(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, plain([{"eventTime": "2026-01-05T00:00:00Z", "x": n} for n in range(2)]))
    assert ("event_time", False) == (draft.month.column, draft.month.mutable)


@pytest.mark.parametrize(("before", "is_full"), [({"id": 1, "a": 1}, True), ({"id": 1, "a": None}, False), (None, False)])
def test_images_of_before_are_full_where_all_updates_bring_the_whole_row(before: Any, is_full: bool, tmp_path: Path) -> None:
    at = {"created_at": "2026-01-05T00:00:00Z"}
    images = None if before is None else {**before, **at}
    records = [record(n, {"id": 1}, debezium("u", n, {"id": 1, "a": n, **at}, images)) for n in range(4)]
    assert is_full is draft_of(tmp_path, records).before_full


# ---------------------------------------------------------------- versions, shards, trial


def test_changes_without_a_position_are_ordered_by_kafka(tmp_path: Path) -> None:
    rows = [{"id": n, "__table": "orders", "__deleted": "false"} for n in range(3)]
    draft = draft_of(tmp_path, plain(rows, [{"id": n} for n in range(3)]))
    assert ("offset", 0) == (draft.version_from, sum(draft.refused.values()))


@pytest.mark.parametrize(
    ("volume", "month", "row_bytes", "shards"),
    [
        (Volume(), MonthChoice("m", ""), 100, 2),
        (Volume(), MonthChoice(None, ""), 100, 4),
        (Volume(1_000), MonthChoice("m", ""), 100, 2),
        (Volume(1_000, DAY_MS), MonthChoice("m", ""), 100, 2),
        (Volume(1_000, 2 * DAY_MS), MonthChoice("m", "", share=0.1), 100, 1),
        (Volume(10_000_000, 30 * DAY_MS), MonthChoice("m", "", share=0.1), 99, 1),
        (Volume(10_000_000, 30 * DAY_MS), MonthChoice("m", "", share=0.1), 100, 2),
        (Volume(1_000_000_000, DAY_MS), MonthChoice("m", "", share=0.9), 100, 3),
        (Volume(1_000_000_000, 10 * DAY_MS), MonthChoice("m", "", share=0.1), 100, 10),
        (Volume(10**12), MonthChoice(None, ""), 1_000, 32),
    ],
)
def test_shards_follow_what_a_month_will_hold(volume: Volume, month: MonthChoice, row_bytes: int, shards: int) -> None:
    assert shards == shards_for(volume, month, row_bytes)[0]


def test_what_the_mapper_refuses_becomes_another_column(tmp_path: Path) -> None:
    """The schema says a number, the values do not keep to it."""
    fields = [{"type": "int64", "field": "id"}, {"type": "int64", "field": "n"}, {"type": "double", "field": "d"}]
    schema = {"type": "struct", "fields": fields}
    rows = [{"id": 1, "n": 1, "d": 0.5}, {"id": 2, "n": "many", "d": "NaN"}]
    draft = draft_of(tmp_path, plain([{"schema": schema, "payload": row} for row in rows], [{"id": 1}, {"id": 2}]))
    assert {"id": "BIGINT", "n": "TEXT", "d": "DOUBLE PRECISION"} == types_of(draft)
    assert ("null", "not all values were of type BIGINT", 0) == (
        draft.choices["d"].overflow, draft.choices["n"].remark, sum(draft.refused.values()),
    )  # fmt: skip


def test_what_no_column_would_take_is_told(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, [record(n, {"id": n or None}, debezium("c", n, {"id": n or None})) for n in range(3)])
    assert ["1 change of the 3 in the sample would be dead letters (key.null, column id)"] == list(draft.remarks)


# ---------------------------------------------------------------- the files


def assert_files_are_sound(draft: Draft, folder: Path) -> None:
    """The SQL is SQL, the contract says what was tried out, and both name the same columns."""
    steps = list(split("0001_x.sql", propose_text.sql(draft)))
    assert (2 if draft.is_ordered else 1) == len(steps)
    assert list(draft.described().columns) == list(steps[0].columns)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.toml").write_text(propose_text.contract(draft), encoding="utf-8")
    (contract,), problems = load_contracts(folder)
    assert [] == problems
    meant = draft.contract()
    for name in ("table", "topics", "format", "key", "by_position", "partition", "before_full", "version", "columns"):
        assert getattr(meant, name) == getattr(contract, name), name


def expectations() -> Iterator[Any]:
    for path in sorted(EXPECTED.glob("*/*.expected.json")):
        sample = SAMPLES / path.parent.name / path.name.removesuffix(".expected.json")
        if (
            sample.suffix != ".avsc"
            and ".key." not in sample.name
            and "golden" not in sample.name
            and "open_protocol" not in sample.name
        ):
            yield pytest.param(sample, path, id=f"{path.parent.name}/{sample.name}")


def records_in(sample: Path, given: Mapping[str, Any]) -> list[Record]:
    """given: the expectation of the sample, which says what a real feed would have sent along."""
    content = sample.read_bytes()
    texts = [line for line in content.splitlines() if line.strip()] if sample.suffix == ".ndjson" else [content]
    keys = given.get("kafka_keys") or [None] * len(texts)
    values = [bytes.fromhex(text.decode().strip()) if sample.suffix == ".hex" else text for text in texts]
    pairs = zip(keys, values, strict=False)
    return [record(n, None if key is None else key.encode(), value, given["topic"]) for n, (key, value) in enumerate(pairs)]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"SAMPLES: not run (no folder {SAMPLES.name}; set INGEST_SAMPLES)")
@pytest.mark.parametrize(("sample", "expectation"), list(expectations()))
def test_each_sample_of_the_sources_has_a_table_that_takes_it_or_one_sentence(
    sample: Path, expectation: Path, tmp_path: Path
) -> None:
    given = json.loads(expectation.read_text())
    records = records_in(sample, given)

    def prepare(rooms: Rooms) -> None:
        if "schema" in given:
            rooms.schemas.put(7, json.dumps(given["schema"]))

    try:
        drafts = drafts_of(tmp_path, records, given.get("format"), prepare=prepare)
    except Stop as stop:
        refusal = stop
        drafts = []
    assert drafts or (refusal.code.startswith("propose.") and "\n" not in refusal.text)
    for number, draft in enumerate(drafts):
        assert_files_are_sound(draft, tmp_path / str(number))
        assert {} == {
            why: times for why, times in draft.refused.items() if why.startswith(("type.", "object.", "month.", "field."))
        }


def test_names_that_need_care_stand_in_both_files(tmp_path: Path) -> None:
    rows = [
        {"_id": n, "createdAt": "2026-01-05", 'say "x"': 1, "名前": 1, "month": 1, "order": 1, "\u007f": "x"} for n in range(2)
    ]
    draft = draft_of(tmp_path, plain(rows, [{"_id": n} for n in range(2)]))
    assert_files_are_sound(draft, tmp_path / "schemas")
    assert 'order_     = { from = "order" }' in propose_text.contract(draft)
    assert ("partition_month", 0) == (draft.month_name, sum(draft.refused.values()))


def test_remarks_are_short_lines(tmp_path: Path) -> None:
    rows = [
        {"id": n, "total": "MDk=", "created_at": US, "mixed": ["x", 1, True][n], "long" * 20: None, "t": "x" * 30_000}
        for n in range(3)
    ]
    draft = draft_of(tmp_path, [record(n, {"id": n}, debezium("c", n, row)) for n, row in enumerate(rows)])
    text = propose_text.sql(draft)
    assert max(map(len, text.splitlines())) <= 130
    assert "t TEXT INDEX OFF STORAGE WITH (columnstore = FALSE)," in text
    assert_files_are_sound(draft, tmp_path / "schemas")


def test_numbers_follow_the_last_one_and_a_table_keeps_its_file(tmp_path: Path) -> None:
    for name in ("0003_orders.sql", "0010_other.sql", "README.md"):
        (tmp_path / name).write_text("")
    planned = propose_files.plan(["doc.orders", "doc.lines", "doc.a b"], tmp_path, tmp_path / "schemas")
    assert ["0003_orders.sql", "0011_lines.sql", "0012_a_b.sql"] == [files.sql.name for files in planned]
    assert [[tmp_path / "0003_orders.sql"], [], []] == [files.existing for files in planned]


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    new, old = tmp_path / "new" / "a.sql", tmp_path / "b.toml"
    old.write_text("mine")
    with pytest.raises(Stop, match=r"b\.toml exists already: compare without --write, or overwrite with --force"):
        propose_files.write([(new, "a"), (old, "b")], force=False)
    assert (False, "mine") == (new.exists(), old.read_text())
    propose_files.write([(new, "a"), (old, "b")], force=True)
    assert ("a", "b") == (new.read_text(), old.read_text())


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Stop, match="cannot be written"):
        propose_files.write([(tmp_path / "file" / "a.sql", "a")], force=False)


# ---------------------------------------------------------------- the sample


@pytest.mark.parametrize("count", [1, 7, 100, 1_000])
@pytest.mark.parametrize("only_newest", [False, True])
def test_the_sample_is_spread_and_no_span_is_read_twice(count: int, only_newest: bool) -> None:
    held = {Partition("t", 0): Bounds(10, 500), Partition("t", 1): Bounds(0, 3), Partition("t", 2): Bounds(4, 4)}
    spans = spans_of(held, {}, count, only_newest=only_newest)
    assert {0, 1} == {partition.number for partition, _ in spans}
    for (one, first), (other, second) in pairwise(spans):
        assert one != other or first.end <= second.begin
    assert sum(end - begin for _, (begin, end) in spans) <= count + 2
    ends = [span.end for partition, span in spans if partition.number == 0]
    assert 500 in ends or (count <= 2 and not only_newest)


def test_a_later_start_leaves_older_records_out() -> None:
    held = {Partition("t", 0): Bounds(0, 100), Partition("t", 1): Bounds(0, 100)}
    starts = {Partition("t", 0): 90, Partition("t", 1): None}
    assert [(Partition("t", 0), Bounds(90, 100))] == spans_of(held, starts, 1_000, only_newest=False)


# ---------------------------------------------------------------- schemas of the registry


def avro_record(name: str, fields: Sequence[Any]) -> Any:
    return AvroSchema(json.dumps({"type": "record", "name": name, "namespace": "shop.public.orders", "fields": fields})).schema


def test_a_schema_alone_makes_a_table(tmp_path: Path) -> None:
    row = {"type": "record", "name": "Value", "fields": [
        {"name": "id", "type": "long"},
        {"name": "created_at", "type": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}},
    ]}  # fmt: skip
    fields = [
        {"name": "before", "type": ["null", row]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [{"name": "connector", "type": "string"}]}},
        {"name": "op", "type": "string"},
    ]
    key = avro_record("Key", [{"name": "id", "type": "long"}])
    sample = propose_registry.sample_of("shop.public.orders", avro_record("Envelope", fields), key)
    (rows,) = sample.tables
    draft = design(sample, rows, "doc.orders", RULES, NOW_MS, lambda: False)
    assert ("debezium", "orders", "created_at") == (sample.format, rows.name, draft.month.column)
    assert {"id": "BIGINT", "created_at": "TIMESTAMP WITHOUT TIME ZONE"} == types_of(draft)
    assert_files_are_sound(draft, tmp_path / "schemas")


def test_flattened_metadata_of_a_schema_is_no_column() -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "__op", "type": "string"}, {"name": "__lsn", "type": "long"}]
    sample = propose_registry.sample_of("t", avro_record("Value", fields), None)
    assert ("flattened", ["id"]) == (sample.format, list(sample.tables[0].fields))


def test_a_schema_that_is_no_record_is_a_sentence() -> None:
    with pytest.raises(Stop, match="is no record, so it has no columns"):
        propose_registry.sample_of("t", AvroSchema('"long"').schema, None)


def test_the_newest_schema_of_a_subject_has_a_number() -> None:
    with Registry() as registry:
        registry.answers |= {"/subjects/a%2Fb-value/versions/latest": {"id": 7}, "/subjects/odd/versions/latest": {"name": "x"}}
        client = RegistryClient([registry.url])
        try:
            assert 7 == client.latest_id("a/b-value")
            with pytest.raises(Reject, match="knows nothing at /subjects/none"):
                client.latest_id("none")
            with pytest.raises(Retry, match="tells no id for the newest schema of subject odd"):
                client.latest_id("odd")
        finally:
            client.close()


# ---------------------------------------------------------------- the command, without servers


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        producer = KafkaProducer(bootstrap_servers=running.address)
        for n in range(4):
            producer.send("shop.orders", json.dumps({"id": n, "created_at": US}).encode(), json.dumps({"id": n}).encode())
            producer.send(
                "shop.both", json.dumps(debezium("c", n, {"id": n}, table=f"t{n % 2}")).encode(), json.dumps({"id": n}).encode()
            )
            producer.send("shop.mixed", json.dumps(debezium("c", n, {"x": 1}, table="keyless")).encode())
            producer.send("shop.mixed", json.dumps(debezium("c", n, {"id": n}, table="good")).encode())
            producer.send("shop.dotted", json.dumps(debezium("c", n, {"id": n}, table="a.b")).encode())
            producer.send("shop.dotted", json.dumps(debezium("c", n, {"id": n}, table="good")).encode())
            producer.send("shop.bytes", b"\x07\x08")
            producer.send("shop.marks", json.dumps({"status": "BEGIN", "id": str(n), "event_count": None, "ts_ms": 1}).encode())
        producer.flush(10)
        producer.close()
        yield running


def ask(broker: Broker, folder: Path, *arguments: str) -> Any:
    env = {name: None for name in os.environ if name.startswith("INGEST_")} | {
        "INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address,
        "INGEST_SQL_DIR": str(folder / "sql"),
        "INGEST_SCHEMAS_DIR": str(folder / "schemas"),
    }
    return CliRunner().invoke(cli.app, ["propose", *arguments], env=env)


def test_the_command_prints_two_files_and_writes_none(broker: Broker, tmp_path: Path) -> None:
    told = ask(broker, tmp_path, "shop.orders")
    assert 0 == told.exit_code, told.output
    assert f"==> {tmp_path}/sql/0001_orders.sql <==" in told.stdout
    assert f"==> {tmp_path}/schemas/orders.toml <==" in told.stdout
    assert told.stdout.endswith(
        "next: ingest propose shop.orders --write && ingest migrate && INGEST_TOPICS=shop.orders ingest check\n"
    )
    assert [] == list(tmp_path.iterdir())


def test_the_command_as_json_and_with_another_name(broker: Broker, tmp_path: Path) -> None:
    told = json.loads(ask(broker, tmp_path, "shop.orders", "--json", "--table", "sales.o").stdout)
    (table,) = told["tables"]
    assert ("sales.o", "created_at", ["id"], "ordered") == (table["table"], table["month"], table["key"], table["level"])
    assert {"name": "id", "field": "id", "type": "BIGINT", "remark": ""} == table["columns"][0]
    assert table["sql"]["text"].startswith("-- sales.o, proposed from 4 records")


def test_a_topic_of_several_tables_has_a_proposal_for_each(broker: Broker, tmp_path: Path) -> None:
    assert 0 == ask(broker, tmp_path, "shop.both", "--write").exit_code
    assert ["0001_t0.sql", "0002_t1.sql"] == sorted(path.name for path in (tmp_path / "sql").iterdir())
    one = ask(broker, tmp_path / "one", "shop.both", "--table", "t1", "--json")
    assert ["doc.t1"] == [table["table"] for table in json.loads(one.stdout)["tables"]]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("shop.order",), "propose.no_topic", "topic shop.order does not exist, the nearest name is shop.orders"),
        (("shop.bytes",), "propose.unreadable", "none of the records that were read can be read: the bytes are neither JSON"),
        (("shop.marks",), "propose.no_rows", "has only transaction records among the 4 that were read"),
        (("shop.orders", "--from", "1y"), "propose.from", "--from 1y is none of: earliest, latest, or an age such as 7d"),
        (("shop.orders", "--table", "sys.x"), "propose.table", "sys.x cannot be the table"),
        (("shop.orders", "--table", "ingest_x"), "propose.table", "doc.ingest_x cannot be the table"),
        (("shop.both", "--table", "t7"), "propose.several_tables", "holds the tables t0, t1"),
        (("shop.orders", "--subject", "s"), "propose.no_registry", "set INGEST_SCHEMA_REGISTRY_URL"),
        (("shop.orders", "--format", "csv"), "explain.format", "there is no format csv"),
    ],
)
def test_one_sentence_for_each_wrong_question(
    arguments: Sequence[str], code: str, words: str, broker: Broker, tmp_path: Path
) -> None:
    told = ask(broker, tmp_path, *arguments)
    assert (2, "", 1) == (told.exit_code, told.stdout, len(told.stderr.splitlines())), told.stderr
    assert words in told.stderr
    assert f"[{code}]" in told.stderr


def test_no_record_s_value_stands_in_a_proposal(broker: Broker, tmp_path: Path) -> None:
    told = ask(broker, tmp_path, "shop.orders")
    assert str(US) not in told.output
