"""What the express ways of flattened rows, Maxwell and the generic envelope take, and what they leave to the long way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.streams import FIRST_MS, STREAMS, dumps, mysql_row
from ingest.formats import SchemaCache
from ingest.model import Column, Kind, Record, Table
from ingest.tables.contract import Contract, VersionRule
from ingest.tables.types import ColumnRule
from tests.unit.express_rig import ALL, NOW_MS, Ways, learn, ways_of
from tests.unit.express_streams import MUTABLE, TOLD

DAY_MS = 86_400_000


def changed(name: str, n: int, **more: Any) -> Record:
    record = ALL[name].record(n)
    return record._replace(value=dumps(json.loads(record.value or b"") | more))


def without(name: str, n: int, field: str) -> Record:
    record = ALL[name].record(n)
    return record._replace(value=dumps({part: value for part, value in json.loads(record.value or b"").items() if part != field}))


def declared(name: str, format_: str, record: Record | None = None, contract: Contract | None = None) -> Ways | None:
    stream = ALL[name]
    return learn(stream.table, contract or stream.contract, record or stream.record(22), SchemaCache(), format_)


def cell(ways: Ways, record: Record, column: str) -> Any:
    change = ways.express(record, NOW_MS)
    assert change is not None
    assert ways.check(record)
    return change.row[change.columns.index(column)]


# ---------------------------------------------------------------- flattened


@pytest.mark.parametrize(
    "more",
    [
        *({"__op": "d"}, {"__op": "C"}, {"__op": None}, {"__op": "t"}, {"__deleted": "true"}, {"__deleted": "TRUE"}),
        *({"__deleted": True}, {"__lsn": None}, {"__lsn": -1}, {"__lsn": "5"}, {"__table": "customers"}, {"__table": None}),
        *({"__source_ts_ms": 0}, {"__source_ts_ms": "5"}, {"__source_scn": "5"}, {"__db": "other"}, {"more": 1}),
    ],
)
def test_flattened_rows_that_say_something_else_go_the_long_way(more: dict[str, Any]) -> None:
    ways = ways_of("debezium flattened")
    assert ways.check(changed("debezium flattened", 5, __deleted="false"))
    assert ways.express(changed("debezium flattened", 5, **more), NOW_MS) is None


@pytest.mark.parametrize("field", ["__op", "__deleted", "__lsn", "__source_ts_ms", "__table", "note"])
def test_flattened_rows_that_lack_a_part_go_the_long_way(field: str) -> None:
    assert ways_of("debezium flattened").express(without("debezium flattened", 5, field), NOW_MS) is None


@pytest.mark.parametrize("name", ["__op", "__source_lsn", "__deleted", "__value_schema_id", "__source_commit_lsn"])
def test_headers_that_tell_of_a_row_lead_the_long_way(name: str) -> None:
    ways, record = ways_of("flattened without add.fields"), ALL["flattened without add.fields"].record(5)
    assert ways.check(record._replace(headers=[("__debezium.context.taskId", b"0"), ("trace", b"__op")]))
    assert ways.express(record._replace(headers=[("trace", b"x"), (name, b"7")]), NOW_MS) is None


def test_rows_with_a_placeholder_go_the_long_way() -> None:
    ways = ways_of("debezium flattened")
    for text in ("__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="):
        record = changed("debezium flattened", 5, note=text)
        assert ways.express(record, NOW_MS) is None
        slow = ways.long(record)
        assert slow is not None
        assert slow.kind is Kind.PATCH


@pytest.mark.parametrize(
    "more",
    [
        *({"__source_connector": "sqlserver"}, {"__commit_lsn": "0:1:2"}, {"__lsn": "5"}, {"__scn": "5"}),
        *({"__connector": "mysql", "__lsn": 5}, {"__lsn": 5, "__source_lsn": 5}, {"__transaction_transaction_rank": 1}),
        *({"__lsn": 5, "__file": "bin.000001", "__pos": 5, "__row": 0}, {"__sequence": '["5"]', "__file": "b.1", "__pos": 5}),
        *({"__connector": "cassandra"}, {"__connector": "spanner"}, {"__connector": "mongodb"}),
    ],
)
def test_flattened_rows_of_other_orders_have_no_express_way(more: dict[str, Any]) -> None:
    base = without("debezium flattened", 22, "__lsn")
    sample = base._replace(value=dumps(json.loads(base.value or b"") | more))
    contract = replace(ALL["debezium flattened"].contract, version=VersionRule("offset"))
    assert declared("debezium flattened", "flattened", base, contract) is not None
    ways = declared("debezium flattened", "flattened", sample, contract)
    assert ways is None or ways.express(sample, NOW_MS) is None


@pytest.mark.parametrize(("name", "has_way"), [("id", True), ("no", False)])
def test_flattened_documents_of_mongodb_have_no_express_way(name: str, has_way: bool) -> None:
    """Their key stands under another name in the Kafka key."""
    table = Table("doc", "t", {"_id": Column("_id", "text"), "n": Column("n", "bigint")}, ("_id",))
    sample = Record("t", 0, 5, -1, b'{"_id":"x"}', dumps({"_id": "x", "n": 5, "m": 5, name: 5, "__op": "c"}))
    assert (learn(table, Contract("doc.t"), sample, SchemaCache(), "flattened") is not None) is has_way


def test_the_names_that_a_connector_adds_go_express() -> None:
    setting = "flattened:__ op:OPERATION,source.ts_ms:CHANGED,source.lsn:POS"
    said = json.loads(STREAMS["debezium flattened"].record(5).value or b"")
    row = {name: value for name, value in said.items() if not name.startswith("__")}
    row |= {"__OPERATION": "u", "__CHANGED": FIRST_MS, "__POS": 7, "__deleted": "false"}
    record = STREAMS["debezium flattened"].record(5)._replace(value=dumps(row))
    ways = learn(TOLD, STREAMS["debezium flattened"].contract, record, SchemaCache(), setting)
    assert ways is not None
    assert ("u", FIRST_MS) == (cell(ways, record, "cdc_op"), cell(ways, record, "cdc_source_ts"))
    assert cell(ways, record, "cdc_version").startswith("01L" + "7".zfill(20))


# ---------------------------------------------------------------- Maxwell

BEFORE = {"created_at": mysql_row(5)["created_at"], "note": "a"}


@pytest.mark.parametrize(
    "more",
    [
        *({"type": "delete"}, {"type": "bootstrap-start"}, {"database": "other"}, {"table": "other"}, {"table": "bootstrap"}),
        *({"reason": "too large"}, {"position": None}, {"position": "bin"}, {"position": 7}, {"data": {}}, {"data": None}),
        *({"primary_key_columns": ["quantity"]}, {"ts": "5"}, {"ts": 0}, {"xoffset": "1"}, {"old": {}}, {"old": 5}),
        *({"type": "update", "old": {"id": 6}}, {"type": "update", "old": {"id": 5}}, {"type": "update", "old": {"more": 6}}),
        *({"type": "update", "old": {"created_at": "2020-01-01 00:00:00"}}, {"type": "update", "old": {"created_at": "soon"}}),
    ],
)
def test_what_maxwell_says_otherwise_goes_the_long_way(more: dict[str, Any]) -> None:
    assert ways_of("maxwell").express(changed("maxwell", 5, **more), NOW_MS) is None


def test_a_name_that_stands_twice_in_old_is_refused() -> None:
    ways, record = ways_of("maxwell"), changed("maxwell", 5, type="update", old={"note": "a"})
    assert ways.check(record)
    for text in (b'"note":"b",', b'"note" :"b",'):
        twice = record._replace(value=(record.value or b"").replace(b'"old":{', b'"old":{' + text))
        assert ways.express(twice, NOW_MS) is None
        assert ways.long(twice) is None


@pytest.mark.parametrize(("old", "is_sure"), [(BEFORE, True), ({"note": "a"}, True), ({"created_at": None}, False), ({}, False)])
def test_former_values_of_an_update_save_the_look_up_of_its_month(old: dict[str, Any], is_sure: bool) -> None:
    ways, record = ways_of("maxwell", MUTABLE), changed("maxwell", 5, type="update", old=old)
    change = ways.express(record, NOW_MS)
    assert ways.check(record)
    assert change is not None
    assert change.look_up is not is_sure


def test_rows_of_a_bootstrap_have_an_express_way_of_their_own() -> None:
    ways, record = ways_of("maxwell bootstrap"), ALL["maxwell bootstrap"].record(5)
    assert cell(ways, record, "cdc_version") == "01A" + "5".zfill(19)
    assert cell(ways, record, "cdc_op") == "bootstrap-insert"
    assert ways.express(ALL["maxwell"].record(5), NOW_MS) is None
    assert ways.express(changed("maxwell", 5, type="bootstrap-insert"), NOW_MS) is None
    assert ways.express(changed("maxwell bootstrap", 5, type="insert"), NOW_MS) is None
    assert ways_of("maxwell").express(record, NOW_MS) is None
    assert ways_of("maxwell").check(changed("maxwell", 5, type="bootstrap-insert"))


def test_rows_without_position_that_a_bootstrap_sends_have_a_version_of_their_own() -> None:
    table = replace(TOLD, columns={name: column for name, column in TOLD.columns.items() if name != "cdc_deleted"})
    ways = ways_of("maxwell without position", ALL["maxwell"].contract, table)
    inserted, sent = ALL["maxwell without position"].record(4), ALL["maxwell without position"].record(7)
    assert cell(ways, inserted, "cdc_version") is None
    assert ways.express(sent, NOW_MS) is None
    slow = ways.long(sent)
    assert slow is not None
    assert slow.version == "01A" + "7".zfill(19)


def test_a_key_that_the_row_does_not_have_is_left_to_the_long_way() -> None:
    sample = changed("maxwell", 22, primary_key_columns=["gone"])
    assert declared("maxwell", "maxwell", sample) is None  # the Kafka key has it


@pytest.mark.parametrize(("column", "has_way"), [("customer_id", True), ("quantity", False)])
def test_a_field_that_key_and_row_want_otherwise_has_no_express_way(column: str, has_way: bool) -> None:
    """Both are whole numbers, one of 64 bits as the key and one of 32."""
    contract = ALL["maxwell"].contract
    contract = replace(contract, columns={**contract.columns, column: ColumnRule(source="id")})
    ways = declared("maxwell", "maxwell", contract=replace(contract, unknown_fields="ignore"))
    assert (ways is not None and ways.check(ALL["maxwell"].record(5))) is has_way


def test_updates_that_are_whole_go_express_and_minimal_ones_do_not() -> None:
    update = changed("maxwell", 5, type="update", old={"note": "a"})
    whole, minimal = declared("maxwell", "maxwell:whole"), declared("maxwell", "maxwell:minimal")
    assert whole is not None
    assert whole.check(update)
    assert minimal is not None
    assert minimal.express(update, NOW_MS) is None


@pytest.mark.parametrize(
    "key", [b"5", None, b'["shop","orders",[{"id":5}]]', b'{"database":"shop","table":"orders","pk.note":"a"}']
)
def test_another_kafka_key_leads_the_long_way(key: bytes | None) -> None:
    assert ways_of("maxwell").express(ALL["maxwell"].record(5)._replace(key=key), NOW_MS) is None


def test_columns_that_differ_in_their_letters_alone_have_no_express_way() -> None:
    table = Table("doc", "t", {name: Column(name, "bigint") for name in ("ID", "n")}, ("ID",))
    for row, has_way in (({"ID": 1, "n": 2}, True), ({"ID": 1, "n": 2, "Id": 3}, False)):
        said = {"database": "d", "table": "t", "type": "insert", "data": row}
        sample = Record("t", 0, 5, -1, dumps({"database": "d", "table": "t", "pk.id": 1}), dumps(said))
        assert (learn(table, Contract("doc.t"), sample, SchemaCache(), "maxwell") is not None) is has_way


# ---------------------------------------------------------------- generic


@pytest.mark.parametrize(
    "more",
    [
        *({"type": "delete"}, {"type": "truncate"}, {"type": "inSert"}, {"table": "other"}, {"database": None}, {"schema": "s"}),
        *({"after": None}, {"after": {}}, {"primary_key": None}, {"primary_key": {}}, {"primary_key": {"no": 5}}),
        *({"before": {}}, {"before": 5}, {"_offset": "5"}, {"_offset": -5}, {"_offset": 10**30}, {"_offset": None}, {"ts": 1.5}),
    ],
)
def test_what_a_generic_envelope_says_otherwise_goes_the_long_way(more: dict[str, Any]) -> None:
    assert ways_of("generic").express(changed("generic", 5, **more), NOW_MS) is None


def test_an_update_of_the_key_goes_the_long_way() -> None:
    ways, after = ways_of("generic"), json.loads(ALL["generic"].record(5).value or b"")["after"]
    assert ways.check(changed("generic", 5, type="update", before=after))
    moved = changed("generic", 5, type="update", before=after | {"id": 6})
    assert ways.express(moved, NOW_MS) is None
    assert ways.long(moved) is None  # two changes


def test_a_position_of_another_kind_goes_the_long_way() -> None:
    ways = ways_of("generic updates")
    assert ways.check(changed("generic updates", 4, _offset="bin.000007:5"))
    for offset in ("16/B374D848", "5", "soon", 5):
        assert ways.express(changed("generic updates", 4, _offset=offset), NOW_MS) is None


def test_an_insert_with_an_image_of_before_goes_the_long_way() -> None:
    ways, after = ways_of("generic updates"), json.loads(ALL["generic"].record(4).value or b"")["after"]
    assert ways.check(changed("generic updates", 4, type="u", before=after))
    assert ways.express(changed("generic updates", 4, type="c", before=after), NOW_MS) is None


def test_a_key_in_the_value_is_surer_than_the_kafka_key() -> None:
    ways = ways_of("generic by kafka key")
    assert ways.check(changed("generic by kafka key", 5, primary_key=None))
    assert ways.express(changed("generic by kafka key", 5, primary_key={"id": 7}), NOW_MS) is None


def test_updates_under_a_key_with_a_fraction_go_the_long_way() -> None:
    """Two numbers that are not the same may be the same double."""
    table = Table("doc", "t", {name: Column(name, "bigint") for name in ("id", "n")}, ("id",))
    said = {"type": "insert", "table": "t", "primary_key": {"id": 5, "part": 0.5}, "after": {"id": 5, "part": 0.5, "n": 1}}
    sample = Record("t", 0, 5, -1, b"5", dumps(said))
    ways = learn(table, Contract("doc.t"), sample, SchemaCache(), "generic")
    assert ways is not None
    assert ways.check(sample)
    moved = dumps(said | {"type": "update", "before": said["after"]}).replace(b'5,"n"', b'5000000000000000000001,"n"', 1)
    assert ways.express(sample._replace(value=moved), NOW_MS) is None
    assert ways.long(sample._replace(value=moved)) is None  # two changes
