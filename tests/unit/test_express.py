"""The express way makes of a record what the long way makes of it, or declines."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.streams import BARE_TYPES, STREAMS, dumps, orders_contract, orders_table
from ingest.errors import NewFields, Parked, Reject
from ingest.formats import SchemaCache
from ingest.formats.json import decode
from ingest.model import Column, Envelope, Record, Table
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.types import ColumnRule
from tests.unit import express_rig
from tests.unit.express_rig import ALL, NOW_MS, VALUES, Ways, learn, ways_of

SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
# `python -m tests.unit.express_rig` takes as many as one likes.
RECORDS, MUTATED = 70, 80
# Of records that are all well, those with an image of before in another month, or of another key, take the long way.
SOME_TAKEN = {"updates, before = full": 55, "avro updates, before = full": 55, "cockroach with before": 30}
SOME_TAKEN |= {"maxwell updates": 55, "maxwell without position": 40, "generic updates": 45}


@pytest.mark.parametrize("name", ALL)
def test_records_that_are_well_go_express(name: str) -> None:
    ways = ways_of(name)
    assert sum(ways.check(ALL[name].record(n)) for n in range(RECORDS)) >= SOME_TAKEN.get(name, RECORDS)


@pytest.mark.parametrize("name", ALL)
def test_mutated_records_become_the_same_change_or_go_the_long_way(name: str) -> None:
    ways = ways_of(name)
    taken = sum(ways.check(record) for record in express_rig.records_of(name, random.Random(name), MUTATED))
    assert 0 < taken < MUTATED


# ---------------------------------------------------------------- any row into any table

COLUMNS = (
    *(Column("", "bigint"), Column("", "integer"), Column("", "smallint"), Column("", "byte"), Column("", "text")),
    *(Column("", "boolean"), Column("", "double precision"), Column("", "real"), Column("", "numeric", precision=18, scale=2)),
    *(
        Column("", "numeric"),
        Column("", "timestamp with time zone"),
        Column("", "timestamp without time zone"),
        Column("", "uuid"),
    ),
    *(Column("", "ip"), Column("", "varchar", length=4), Column("", "object", policy="dynamic"), Column("", "text_array")),
    *(Column("", "bigint", nullable=False), Column("", "text", nullable=False, has_default=True), Column("", "bit", length=2)),
)
SYSTEM = ("cdc_version", "cdc_deleted", "cdc_source_ts", "cdc_topic", "cdc_offset", "cdc_op", "cdc_ingested_at")
SYSTEM_TYPES = dict.fromkeys(SYSTEM, "text") | {"cdc_deleted": "boolean", "cdc_offset": "bigint"}
SYSTEM_TYPES |= dict.fromkeys(("cdc_source_ts", "cdc_ingested_at"), "timestamp with time zone")
FITTING = {
    int: ("bigint", "double precision", "numeric", "timestamp with time zone", "text"),
    float: ("double precision", "text", "numeric"),
    bool: ("boolean", "text"),
}
TEXTS = (
    "",
    "x",
    "12",
    "1.50",
    "2024-03-05",
    "2024-03-05T10:31:12.5+02:00",
    "10.0.0.1",
    "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "t:1",
)
NUMBERS = (0, 1, -1, 7, 300, 2**31, 2**53 + 1, 1.5, 0.1, 1e21, 26.30, -0.0, 1_735_689_600_000)


def any_value(rng: random.Random) -> Any:
    return rng.choice(rng.choice((TEXTS, TEXTS, NUMBERS, NUMBERS, (True, False, None), VALUES)))


def any_column(rng: random.Random, name: str, value: Any) -> Column:
    """One that takes such values, more often than not."""
    fitting = [column for column in COLUMNS if column.type in FITTING.get(type(value), ("text",))]
    return rng.choice(fitting if rng.random() < 0.9 else COLUMNS)._replace(name=name)


def any_table(rng: random.Random, row: dict[str, Any]) -> tuple[Table, Contract]:
    """The first field is the key."""
    columns = {name: any_column(rng, name, value) for name, value in row.items() if rng.random() < 0.9}
    key = next(iter(row))
    columns[key] = Column(key, rng.choice(("bigint", "bigint", "text", "timestamp with time zone")))
    columns |= {name: Column(name, SYSTEM_TYPES[name]) for name in SYSTEM if rng.random() < 0.5}
    if {"cdc_version", "cdc_deleted"} <= columns.keys():  # a deleted row keeps its key only
        columns = {name: column._replace(nullable=True) for name, column in columns.items()}
    moments = [name for name, column in columns.items() if column.type.startswith("timestamp") and not name.startswith("cdc_")]
    month, partition = None, PartitionRule()
    if moments and rng.random() < 0.7:
        month, partition = "month", PartitionRule("month", rng.choice(moments), mutable=rng.random() < 0.5)
        columns[month] = Column(month, "timestamp with time zone")
    policies = {name: ColumnRule(overflow="null", precision="null") for name in columns if name in row and rng.random() < 0.1}
    contract = Contract(
        "doc.t",
        partition=partition,
        columns=policies,
        unknown_fields=rng.choice((None, "ignore")),
        before_full=rng.random() < 0.3,
    )
    return Table("doc", "t", columns, (key,), month), contract


def plainly(row: dict[str, Any], _: int) -> bytes:
    return dumps(row)


def in_debezium(row: dict[str, Any], n: int) -> bytes:
    source = {"connector": "postgresql", "db": "d", "schema": "s", "table": "t", "lsn": n, "ts_ms": 1_700_000_000_000 + n}
    return dumps({"before": None, "after": row, "source": source, "op": "ucr"[n % 3]})


def flattened(row: dict[str, Any], n: int) -> bytes:
    return dumps(row | {"__op": "ucr"[n % 3], "__table": "t", "__lsn": n, "__source_ts_ms": n})


def in_maxwell(row: dict[str, Any], n: int) -> bytes:
    said = {"database": "d", "table": "t", "type": ("insert", "update")[n % 2], "ts": n, "position": f"b.1:{n}", "data": row}
    old = random.Random(n).sample(sorted(row.items()), n % 3)
    return dumps(said | {"primary_key_columns": [next(iter(row))]} | ({"old": dict(old)} if n % 2 else {}))


def in_generic(row: dict[str, Any], n: int) -> bytes:
    said = {"type": ("insert", "update")[n % 2], "table": "t", "ts": n, "_offset": n, "after": row}
    key = next(iter(row))
    return dumps(said | {"primary_key": {key: row[key]}} | ({"before": row} if n % 2 else {}))


Writer = Callable[[dict[str, Any], int], bytes]
WRITERS: tuple[Writer, ...] = (plainly, in_debezium, flattened, in_maxwell, in_generic)


@pytest.mark.parametrize("writer", WRITERS)
def test_any_row_goes_into_any_table_as_on_the_long_way(writer: Writer) -> None:
    assert sum(rows_into_a_table(seed, writer) for seed in range(40)) >= 8


def rows_into_a_table(seed: int, writer: Writer) -> bool:
    """Whether any of these rows went express."""
    rng = random.Random(f"rows {seed} {writer.__name__}")
    usual = {f"f{place}": any_value(rng) for place in range(rng.randint(4, 9))}
    usual["f0"] = rng.choice((7, 7, "x", 1_735_689_600_000))
    table, contract = any_table(rng, usual)
    key = rng.choice((None, b"7")) if writer is not in_debezium else dumps({"f0": usual["f0"]})
    ways = learned(table, contract, Record("t", 0, 1, -1, key, writer(usual, 1)))
    if ways is None:
        return False
    taken = 0
    for n in range(30):
        row = usual | {name: any_value(rng) for name in rng.sample(sorted(usual), n % 3)}
        taken += ways.check(Record("t", 0, n, -1, key, writer(row, n)))
    return taken > 0


def learned(table: Table, contract: Contract, record: Record) -> Ways | None:
    try:
        return learn(table, contract, record, SchemaCache())
    except (Reject, Parked, NewFields):
        return None


# ---------------------------------------------------------------- samples


def texts_of_samples() -> list[bytes]:
    files = [file for file in sorted(SAMPLES.glob("*/*")) if file.suffix in (".json", ".ndjson") and "goldens" not in file.name]
    return [
        text for file in files for text in (file.read_bytes().splitlines() if file.suffix == ".ndjson" else [file.read_bytes()])
    ]


def natural_table(row: dict[str, Any]) -> Table:
    types = {bool: "boolean", int: "bigint", str: "text", dict: "object", list: "text_array"}
    columns = {name: Column(name, types.get(type(value), "double precision"), policy="ignored") for name, value in row.items()}
    return Table("doc", "t", columns | {"cdc_version": Column("cdc_version", "text")}, (next(iter(row)),))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"SAMPLES: not run (no folder {SAMPLES.name}; set INGEST_SAMPLES)")
def test_samples_and_what_is_broken_in_them_go_as_on_the_long_way() -> None:
    rng, found = random.Random(5), 0
    for text in texts_of_samples():
        sample = Record("t", 0, 5, -1, b'{"id":1}', text)
        row = row_of(sample)
        ways = learned(natural_table(row), Contract("doc.t"), sample) if row else None
        if ways is None:
            continue
        found += ways.check(sample)
        for _ in range(10):
            ways.check(express_rig.mutated(rng, sample))
    assert found >= 5


def row_of(sample: Record) -> dict[str, Any]:
    from ingest.formats import Decoder

    try:
        decoded = Decoder(topic_format={}, schemas=SchemaCache()).decode(sample)
    except (Reject, Parked):
        return {}
    envelope = decoded[0] if isinstance(decoded, list | tuple) and decoded else None
    row = envelope.after if isinstance(envelope, Envelope) else None
    return {name: value for name, value in (row or {}).items() if name}


# ---------------------------------------------------------------- what must not be taken


def changed(name: str, n: int, **more: Any) -> Record:
    record = STREAMS[name].record(n)
    return record._replace(value=dumps(json.loads(record.value or b"") | more))


@pytest.mark.parametrize(
    "more", [{"op": "d", "after": None}, {"op": "t"}, {"op": "x"}, {"after": None}, {"after": {}}, {"source": {}}]
)
def test_other_operations_and_halves_go_the_long_way(more: dict[str, Any]) -> None:
    assert ways_of("debezium json").express(changed("debezium json", 5, **more), NOW_MS) is None


def test_a_record_of_another_table_goes_the_long_way() -> None:
    source = json.loads(STREAMS["debezium json"].record(5).value or b"")["source"] | {"table": "customers"}
    assert ways_of("debezium json").express(changed("debezium json", 5, source=source), NOW_MS) is None


@pytest.mark.parametrize(("name", "has_way"), [("a\\b", False), ('a"b', False), ("a\nb", False), ("a b", True)])
def test_names_that_no_struct_can_have_have_no_express_way(name: str, has_way: bool) -> None:
    table = Table("doc", "t", {"id": Column("id", "bigint"), "n": Column("n", "bigint")}, ("id",))
    for key, row in ((b"1", {"id": 1, "n": 1, name: 1}), (dumps({"id": 1, name: 1}), {"id": 1, "n": 1, "m": 1})):
        assert (learned(table, Contract("doc.t"), Record("t", 0, 5, -1, key, dumps(row))) is not None) is has_way


def test_a_name_that_stands_twice_is_refused_also_with_a_blank_before_its_colon() -> None:
    ways = ways_of("debezium json")
    record = STREAMS["debezium json"].record(5)
    for text in (b'"quantity":6,', b'"quantity" :6,', b'"quantity"\n:6,'):
        twice = record._replace(value=(record.value or b"").replace(b'"quantity"', text + b'"quantity"'))
        assert ways.express(twice, NOW_MS) is None
        assert ways.long(twice) is None
    with pytest.raises(Reject, match="duplicate_name"):
        decode(b'{"id":1,"at":"x","id" :2}')


def test_digits_that_a_double_does_not_keep_go_the_long_way_which_refuses_them() -> None:
    ways, record = ways_of("debezium json"), STREAMS["debezium json"].record(5)
    exact = record._replace(value=(record.value or b"").replace(b'"discount":1.25', b'"discount":0.30000000000000004'))
    assert ways.check(exact)
    for number in (b"0.1234567890123456789", b"9007199254740993", b"1e400"):
        other = record._replace(value=(record.value or b"").replace(b'"discount":1.25', b'"discount":' + number))
        assert ways.express(other, NOW_MS) is None


def test_months_that_are_not_allowed_go_the_long_way_at_the_moment_of_asking() -> None:
    ways = ways_of("debezium json")
    record = STREAMS["debezium json"].record(5)
    assert ways.express(record, NOW_MS) is not None
    assert ways.express(record, NOW_MS - 200 * 365 * 86_400_000) is None  # the row would lie far ahead


def test_fields_without_a_column_are_counted_on_both_ways_and_news_have_none() -> None:
    ways = ways_of("events with unknown fields")
    ways.mapper.take_unknown_fields()
    for n in range(30, 40):
        assert ways.express(ALL["events with unknown fields"].record(n), NOW_MS) is not None
    # The first one stands for the sample, which the caller makes once more to compare; it was counted on the long way.
    assert {"news": 9, "hour": 9} == dict(ways.mapper.take_unknown_fields())
    record = ALL["events with unknown fields"].record(50)
    news = record._replace(value=(record.value or b"")[:-1] + b',"newer":1}')
    assert ways.express(news, NOW_MS) is None


@pytest.mark.parametrize("policy", ["reject", "add", "extra"])
def test_only_fields_that_are_ignored_go_express(policy: str) -> None:
    table = orders_table()
    table = replace(table, columns={**table.columns, "cdc_extra": Column("cdc_extra", "object", policy="ignored")})
    stream = ALL["events with unknown fields"]
    contract = replace(stream.contract, unknown_fields=policy)
    assert learned(table, contract, stream.record(5)) is None


def test_columns_with_a_policy_go_express_only_with_values_that_need_none() -> None:
    rules = {"quantity": ColumnRule(overflow="null")}
    contract = orders_contract(**BARE_TYPES)
    ways = ways_of("debezium json", replace(contract, columns={**contract.columns, **rules}))
    record = STREAMS["debezium json"].record(5)
    assert ways.check(record)
    large = record._replace(value=(record.value or b"").replace(b'"quantity":6', b'"quantity":99999999999'))
    assert ways.express(large, NOW_MS) is None
    assert {} == dict(ways.mapper.take_nulled())


def test_a_sure_image_of_before_in_the_same_month_saves_the_look_up() -> None:
    for name in ("updates, before = full", "avro updates, before = full"):
        change = ways_of(name).express(ALL[name].record(24), NOW_MS)
        assert change is not None
        assert not change.look_up
