"""`ingest explain`: the reason of each step, every field, the statements; one sentence for each question without an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingest import cli
from ingest.errors import Reject
from ingest.flow.ports import Letter
from ingest.formats import detect
from ingest.formats.schemas import SchemaCache
from ingest.kafka.letters import message
from ingest.model import Change, Column, Envelope, Kind, Op, Position, Record, RowSchema, SourceType, SourceVersion, Table
from ingest.practice.broker import Broker
from ingest.settings import Settings
from ingest.tables.contract import Contract
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.types import ColumnRule, parse_type
from ingest.tools import explain_evidence as evidence
from ingest.tools import explain_words as words
from ingest.tools.explain import Explainer, Explanation
from ingest.tools.explain_fields import View, fields_of
from ingest.tools.explain_plan import expected, sending
from ingest.tools.explain_record import Found
from ingest.tools.explain_text import shown, shown_as_json
from ingest.tools.rooms import Rooms

SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
TS = "timestamp with time zone"
JAN, FEB = 1767225600000, 1769904000000
SQL = """
CREATE TABLE doc.orders (
  id BIGINT, at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE, t TEXT, total NUMERIC(18,2), n SMALLINT,
  cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)
) PARTITIONED BY (month);
"""
ROW = {"id": 7, "at": "2026-01-05T10:00:00Z", "t": "x", "total": 1.5, "n": 3}
SOURCE = {
    "connector": "postgresql",
    "name": "shop",
    "db": "shop",
    "schema": "public",
    "table": "orders",
    "lsn": 100,
    "ts_ms": JAN,
}


def debezium(row: Mapping[str, Any] | None = ROW, op: str = "c", before: Mapping[str, Any] | None = None) -> str:
    return json.dumps({"before": before, "after": row, "source": SOURCE, "op": op, "ts_ms": JAN})


def column(name: str, type_: str, **more: Any) -> Column:
    return Column(name, type_, **more)


COLUMNS = [
    column("id", "bigint"), column("at", TS), column("month", TS), column("t", "text"),
    column("total", "numeric", precision=18, scale=2), column("n", "smallint"),
]  # fmt: skip
ORDERED = [*COLUMNS, column("cdc_version", "text"), column("cdc_deleted", "boolean")]
TABLE = Table("doc", "orders", {c.name: c for c in ORDERED}, ("id",), "month", frozenset({JAN}), ("id", "month"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own with one table in sql/, and no setting from outside."""
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "0001_orders.sql").write_text(SQL)
    return tmp_path


def ask(*arguments: str, value: str | bytes | None = None, **env: str) -> tuple[int, str, str]:
    """The whole command."""
    settings = {f"INGEST_{name.upper()}": text for name, text in env.items()}
    result = CliRunner().invoke(cli.app, ["explain", *arguments], input=value, env=settings)
    assert "Traceback" not in result.stderr, result.stderr
    return result.exit_code, result.stdout, result.stderr


class OneTable:
    """Tables without a server: doc.orders, empty."""

    def describe(self, name: str) -> Table | None:
        return TABLE if name == "doc.orders" else None

    def ask(self, sql: str) -> Sequence[Sequence[Any]]:
        return []


def explanation(value: str | bytes | None, key: str | None = None, declared: str | None = None, **more: str) -> Explanation:
    """Without the command line and without a store, because tests are many."""
    body = value.encode() if isinstance(value, str) else value
    record = Record(more.get("topic", "shop.orders"), 0, 0, JAN, None if key is None else key.encode(), body)
    explainer = Explainer(Rooms(Settings.load({}), declared), OneTable(), with_crate=False, declared=declared, now_ms=JAN)
    return explainer.run(Found(record, "a test"))


def explained(value: str | bytes, *arguments: str, **more: str) -> tuple[int, dict[str, Any]]:
    found = explanation(value, **dict(zip(("key", "declared"), arguments, strict=False)), **more)
    return found.exit_code, json.loads(shown_as_json(found))


# ---------------------------------------------------------------- framing and format


def test_evidence_has_words_for_every_rule_of_detection() -> None:
    assert len(detect.RULES) == len(evidence.EVIDENCE)


@pytest.mark.parametrize(
    ("value", "schema_name", "told"),
    [
        ({"op": "c", "source": {"connector": "mysql"}, "after": {}}, "", "op is 'c' and source.connector is 'mysql'"),
        ({"op": "c", "after": {"id": 1}}, "", "op is 'c' beside after as an object, which is Debezium's shape"),
        ({"op": "c", "after": None}, "shop.Envelope", "op is 'c' and its schema is called shop.Envelope"),
        ({"op": "c", "after": {}, "source": {"origin": "cockroachdb"}}, "", "op is 'c' and source.origin is 'cockroachdb'"),
        ({"op": "c", "after": {}, "ts_ns": 1}, "", "op is 'c' and ts_ns stands without ts_ms"),
        ({"after": {}, "updated": "1.0"}, "", "all its fields are a changefeed's: after, updated"),
        ({"id": 1, "__crdb__": {"updated": "1.0"}}, "", "the row has __crdb__ beside its columns"),
        ({"id": 1, "__op": "c", "__lsn": 5}, "", "metadata beside the columns: __op, __lsn"),
        ({"id": 1}, "", "an object whose fields are those of no envelope"),
        ({"database": "a", "table": "b", "type": "insert", "data": {}}, "", "it has database, table, type, data"),
        ([1], "", "the value is no object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_format_is_told_with_what_decided(value: Any, schema_name: str, told: str) -> None:
    assert told == evidence.words_of(evidence.Opened(value, schema_name))


@pytest.mark.parametrize(
    ("body", "headers", "what", "why"),
    [
        (None, (), "none, a tombstone", "the value is null"),
        (b"", (), "none, a tombstone", "the value has no bytes"),
        (b'{"a":1}', (), "JSON", "it begins with '{'"),
        (b'{"schema":{"type":"struct"},"payload":{}}', (), "JSON in Kafka Connect's wrapper", "schema and payload"),
        (b"\0\0\0\0\7\2", (), "schema 7", "its first 5 bytes"),
        (b"\2", (("__value_schema_id", b"\0\0\0\0\x09"),), "schema 9", "a header names the schema"),
        (b"\0\0", (), "not readable", "ends inside its schema id"),
        (b"\xfe\x01", (), "unknown", "0xfe"),
        (b"\xef\xbb\xbf{}", (), "JSON", "begins with '{'"),
        (b"\xef\xbb\xbf", (), "not readable", "no valid JSON"),
        (b'{"a', (), "not readable", "no valid JSON"),
    ],
)  # fmt: skip
def test_the_framing_is_told_with_its_reason(body: bytes | None, headers: Sequence[Any], what: str, why: str) -> None:
    found = evidence.of_value(Record("t", 0, 0, 0, None, body, headers), SchemaCache())
    assert (what, True) == (found.what, why in found.why), found


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (None, "none"),
        (b'{"id":1}', "JSON object"),
        (b'{"schema":{"type":"struct"},"payload":{"id":1}}', "JSON in Kafka Connect's wrapper"),
        (b"[7]", "JSON array, as CockroachDB writes keys"),
        (b'"a"', "JSON text"),
        (b"abc", "plain text"),
        (b"Struct{id=1}", "Java's Struct"),
        (b"\0\0\0\7", "binary integer"),
        (b"\0\0\0\0\0\0\0\7", "binary integer"),
        (b"\0\0\0\0\7\2", "schema 7"),
        (b"\xff\xfe\xfd", "not readable"),
    ],
)
def test_the_key_is_told_as_it_is_written(raw: bytes | None, what: str) -> None:
    assert what == evidence.of_key(Record("t", 0, 0, 0, raw, None), SchemaCache()).what


# ---------------------------------------------------------------- fields


def fields(after: Mapping[str, Any], contract: Contract | None = None, *, table: Table = TABLE, **more: Any) -> dict[str, Any]:
    envelope = Envelope(more.pop("op", Op.INSERT), key=more.pop("key", None), after=dict(after), **more)
    view = View.of(table, contract, "at")
    return {field.name or f"({field.column})": field for field in fields_of(view, envelope, is_patch=envelope.op is Op.UPDATE)}


def test_all_values_that_do_not_fit_are_told_at_once() -> None:
    found = fields({"id": "x", "at": "never", "t": "x", "total": "1.234", "n": 70_000})
    assert {"id", "at", "total", "n"} == {name for name, field in found.items() if field.code}
    assert "type.overflow" == found["n"].code


def test_a_field_tells_its_source_type_column_type_and_value() -> None:
    types = {"total": SourceType("decimal", scale=2, precision=18), "at": SourceType("ts_us"), "id": SourceType("int")}
    found = fields({"id": 1, "at": JAN * 1000, "total": b"\x04\xd2"}, schema=RowSchema(types))
    assert ("decimal(18,2)", "numeric(18,2)", "12.34") == (
        found["total"].source,
        found["total"].column_type,
        str(found["total"].value),
    )
    assert ("ts_us", "timestamptz", JAN) == (found["at"].source, found["at"].column_type, found["at"].value)


@pytest.mark.parametrize(
    ("policy", "said", "code"),
    [
        (None, "no column: ignored", ""),
        ("ignore", "no column: ignored", ""),
        ("reject", "the contract rejects fields without a column", "field.unknown"),
        ("extra", "no column: goes into cdc_extra", ""),
    ],
)
def test_a_field_without_a_column_tells_what_becomes_of_it(policy: str | None, said: str, code: str) -> None:
    field = fields({"id": 1, "more": 2}, Contract("doc.orders", unknown_fields=policy))["more"]
    assert (said, code, None) == (field.said, field.code, field.column)


def test_fields_that_go_nowhere_on_purpose_say_so() -> None:
    contract = Contract("doc.orders", columns={"t": ColumnRule(source="")})
    found = fields({"id": 1, "month": 5, "t": "x", "cdc_version": "y"}, contract)
    assert "not sent: the worker fills the column" == found["month"].said
    assert 'not sent: the contract says from = ""' == found["t"].said
    assert "a reserved name: ignored" == found["cdc_version"].said


def test_a_field_that_only_gives_the_month_is_no_stranger() -> None:
    found = {
        f.name: f
        for f in fields_of(View.of(TABLE, None, "born"), Envelope(Op.INSERT, after={"id": 1, "born": 5}), is_patch=False)
    }
    assert "no column: the month is taken from it" == found["born"].said


@pytest.mark.parametrize(
    ("total", "in_column", "beside"),
    [
        ("1.5", ("1.5", ""), (None, "NULL, because total holds the value")),
        ("1.234", (None, "the column cannot hold it: NULL by the contract"), ("1.234", "the text of what total cannot hold")),
    ],
)
def test_a_column_for_texts_beside_another_tells_what_it_takes(total: str, in_column: Any, beside: Any) -> None:
    table = replace(TABLE, columns={**TABLE.columns, "total_text": column("total_text", "text")})
    contract = Contract("doc.orders", columns={"total": ColumnRule(precision="text")})
    found = fields({"id": 1, "at": JAN, "total": total, "total_text": "mine"}, contract, table=table)
    assert in_column == (found["total"].value, found["total"].said)
    assert beside == (found["(total_text)"].value, found["(total_text)"].said)
    assert "no column: ignored" == found["total_text"].said
    assert "(total_text)" not in fields({"id": 1, "at": JAN, "total_text": "mine"}, contract, table=TABLE)
    assert "not in the record: NULL" == fields({"id": 1, "at": JAN}, contract, table=table)["(total_text)"].said


def test_a_value_that_a_policy_makes_null_says_so() -> None:
    contract = Contract("doc.orders", columns={"n": ColumnRule(overflow="null")})
    found = fields({"id": 1, "n": 70_000}, contract)["n"]
    assert (None, "the column cannot hold it: NULL by the contract", "") == (found.value, found.said, found.code)


def test_the_statement_that_adds_columns_stands_before_the_row(here: Path) -> None:
    (here / "schemas").mkdir()
    (here / "schemas" / "orders.toml").write_text(
        'table = "doc.orders"\nunknown_fields = "add"\npartition = { column = "month", from = "at" }\n'
    )
    found = explanation(debezium({**ROW, "size": 5, "tags": ["a"], "later": None}))
    (row,) = found.rows
    sql = 'ALTER TABLE "doc"."orders" ADD COLUMN "size" BIGINT, ADD COLUMN "tags" ARRAY(TEXT)'
    assert sql == row.sending.statements[0].sql
    assert '"size"' in row.sending.statements[1].sql
    told = {field.name: field for field in row.fields}
    assert [("bigint", 5, "a new column"), ("text[]", ["a"], "a new column")] == [
        (told[name].column_type, told[name].value, told[name].said) for name in ("size", "tags")
    ]
    assert "no column, and NULL makes none" == told["later"].said
    assert ("stored", "it goes into doc.orders, with the columns that it adds") == (found.verdict.state, found.verdict.text)
    assert "ADD COLUMN" in shown(found)
    plain = explanation(debezium()).rows[0]
    assert "ALTER" not in plain.sending.statements[0].sql
    bad = explanation(debezium({**ROW, "_id": 5}))
    assert ("rejected", "field.bad_name") == (bad.verdict.state, bad.verdict.code)
    assert "field.bad_name" == {field.name: field.code for field in bad.rows[0].fields}["_id"]


def test_columns_without_a_field_are_null_in_a_row_and_kept_in_an_update() -> None:
    assert "not in the record: NULL" == fields({"id": 1})["(t)"].said
    assert "not in the record: keeps its value" == fields({"id": 1}, op=Op.UPDATE)["(t)"].said


@pytest.mark.parametrize(
    ("key", "after", "said", "code"),
    [
        ({"id": 1}, {"id": 1}, "key, from the Kafka key", ""),
        ((1,), {}, "key, from the Kafka key by position", ""),
        (None, {"ID": 1}, "key, from the row", ""),
        (None, {}, "neither the Kafka key nor the row has this part of the key", "key.missing"),
        (None, {"id": None}, "key, from the row: a part of the key is null", "key.null"),
    ],
)
def test_a_key_tells_where_it_was_found(key: Any, after: Mapping[str, Any], said: str, code: str) -> None:
    envelope = Envelope(Op.INSERT, key=key, after=dict(after))
    found = fields_of(View.of(TABLE, None, "at"), envelope, is_patch=False)[0]
    assert (said, code) == (found.said, found.code)


@pytest.mark.parametrize(
    "after",
    [
        {"id": 1, "at": "2026-01-05T10:00:00Z", "t": "x", "total": Decimal("1.50"), "n": 3},
        {"id": "8", "AT": "2026-01-05", "T": "y", "total": "2", "n": "4", "more": 1},
        {"id": 1, "at": "2026-01-05T10:00:00Z", "amount": "MDk=", "t": {"a": 1}},
    ],
    ids=["plain", "letters", "contract"],
)
def test_fields_never_tell_another_value_than_the_mapper_sends(after: dict[str, Any]) -> None:
    rules = {"total": ColumnRule(source="amount", type=parse_type("numeric(18,2)"))} if "amount" in after else {}
    contract = Contract("doc.orders", columns=rules)
    envelope = Envelope(Op.INSERT, after=after)
    mapper = compile_mapper(TABLE, contract, settings=MappingRules())
    change = mapper.map(envelope, Record("orders", 0, 5, 0, None, None), JAN)
    told = {
        f.column: f.value for f in fields_of(View.of(TABLE, contract, "at"), envelope, is_patch=False) if f.column and not f.code
    }
    sent = {name: value for name, value in zip(change.columns, change.row, strict=True) if not name.startswith("cdc_")}
    assert {**sent, "id": change.key[0]} == told


# ---------------------------------------------------------------- statements


def change(kind: Kind, version: str | None = "01L5", month: int | None = JAN, **more: Any) -> Change:
    columns = ("t", "cdc_version", "cdc_deleted") if kind is not Kind.DELETE else ("cdc_version", "cdc_deleted")
    row = ["x", version, False] if kind is not Kind.DELETE else [version, True]
    return Change(kind, (1,), month, columns, row, Position("orders", 0, 9), version, **more)


def test_a_row_is_one_upsert_with_its_arguments() -> None:
    sent = sending(TABLE, change(Kind.WRITE), None)
    assert [[1, JAN, "x", "01L5", False]] == [each.args for each in sent.statements]
    assert sent.statements[0].sql.startswith('INSERT INTO "doc"."orders"')


def test_a_month_without_a_partition_is_told() -> None:
    sent = sending(TABLE, change(Kind.WRITE, month=FEB), None)
    assert sent.statements[0].purpose.endswith("this makes the month's partition")


def test_a_move_is_written_then_refreshed_then_left() -> None:
    sent = sending(TABLE, change(Kind.WRITE, vacates=(FEB,)), None)
    assert ["INSERT", "REFRESH", "INSERT"] == [each.sql.split()[0] for each in sent.statements]


def test_a_delete_that_knows_no_month_is_looked_up_and_hits_what_is_found() -> None:
    asked: list[str] = []

    def answer(sql: str) -> list[list[Any]]:
        asked.append(sql)
        return [[1, JAN, False, "01L4"]]

    sent = sending(TABLE, change(Kind.DELETE, month=None, look_up=True), answer)
    assert 1 == len(asked)
    assert [[1, JAN, False, "01L4"]] == sent.statements[0].rows
    assert [1, JAN, "01L5"] == sent.statements[1].args
    assert "stored" == expected(TABLE, sent)


def test_without_cratedb_a_look_up_is_told_and_taken_as_empty() -> None:
    sent = sending(TABLE, change(Kind.DELETE, month=None, look_up=True), None)
    assert ("SELECT", None) == (sent.statements[0].sql.split()[0], sent.statements[0].rows)
    assert "absent" == expected(TABLE, sent)


@pytest.mark.parametrize(("stored", "state"), [("01L4", "stored"), ("01L5", "repeated"), ("01L6", "superseded")])
def test_what_is_stored_decides_what_would_become_of_a_change(stored: str, state: str) -> None:
    sent = sending(TABLE, change(Kind.WRITE), lambda _: [[1, JAN, False, stored]])
    assert state == expected(TABLE, sent)


def test_a_newer_row_in_another_month_supersedes_nothing() -> None:
    table = replace(TABLE, months=frozenset({JAN, FEB}))
    sent = sending(table, change(Kind.WRITE), lambda _: [[1, FEB, False, "01L9"]])
    assert "stored" == expected(table, sent)


# ---------------------------------------------------------------- the whole command, from a file or stdin


def test_a_row_passes_all_rooms() -> None:
    code, found = explained(debezium(), '{"id": 7}')
    (row,) = found["changes"]
    assert (0, "stored") == (code, found["verdict"]["state"])
    assert "debezium" == found["format"]["what"]
    assert ("doc.orders", "insert", ["shop", "public", "orders"]) == (row["table"], row["operation"], row["source_table"])
    assert ({"id": 7}, JAN) == (row["row"]["key"], row["row"]["month"])
    assert "01L" + "100".zfill(20) + "0" * 19 == row["row"]["version"]
    assert row["statements"][0]["args"][:2] == [7, JAN]


@pytest.mark.parametrize(
    ("value", "arguments", "code", "state", "reason"),
    [
        (json.dumps(ROW), (), 0, "stored", ""),
        (debezium(ROW | {"n": 70_000}), (), 3, "rejected", "type.overflow"),
        (debezium(ROW | {"at": "1326-01-05"}), (), 3, "rejected", "month.out_of_bounds"),
        (debezium(ROW | {"id": None}), (), 3, "rejected", "key.null"),
        (debezium(None), (), 3, "rejected", "row.missing"),
        (debezium(None, "x"), (), 3, "rejected", "debezium.op"),
        (debezium(None, "t"), (), 4, "parked", "topic.truncate"),
        ('{"a": 1, "a": 2, "b": 3}', (), 3, "rejected", "json.duplicate_name"),
        ("{", (), 3, "rejected", "json.malformed"),
        ("[1]", (), 3, "rejected", "row.not_an_object"),
        (b"\0\0\0\0\7\2", (), 3, "rejected", "schema.no_registry"),
        (b"\xfe\xff", (), 3, "rejected", "format.unknown"),
        ('{"resolved": "1767225600000000000.0"}', (), 0, "skipped", "resolved"),
        ('{"ts_ms": 5}', ('{"serverName": "a"}',), 0, "skipped", "heartbeat"),
        ('{"database": "a", "table": "b", "type": "gauge", "data": {}}', (), 4, "parked", "format.ambiguous"),
        (json.dumps(ROW), ("{}", "debezium"), 3, "rejected", "debezium.op"),
        (json.dumps({"after": ROW, "updated": "1767225600000000000.0", "key": [7]}), (), 0, "stored", ""),
    ],
)
def test_every_end_has_its_exit_code(value: str | bytes, arguments: Sequence[str], code: int, state: str, reason: str) -> None:
    found_code, found = explained(value, *arguments)
    assert (code, state, reason) == (found_code, found["verdict"]["state"], found["verdict"]["code"])


def test_a_tombstone_is_a_delete_that_could_be_an_echo() -> None:
    found = explanation(None, '{"id": 7}')
    out = shown(found)
    assert 0 == found.exit_code
    assert "no such row in doc.orders" in out
    assert "skipped as its echo" in " ".join(out.split())


def test_a_table_that_no_file_makes_ends_after_decoding() -> None:
    code, found = explained('{"id": 1}', topic="shop.nowhere")
    assert (0, "decoded", "table.unknown") == (code, found["verdict"]["state"], found["verdict"]["code"])
    assert "doc.nowhere" in found["verdict"]["text"]


def test_no_crate_takes_tables_from_the_sql_files(here: Path) -> None:
    arguments = ("-", "--topic", "shop.orders", "--no-crate")
    code, out, _ = ask(*arguments, value=debezium())
    assert (0, "this record of shop.orders would be stored") == (code, out.splitlines()[0])
    (here / "sql" / "0001_orders.sql").unlink()
    code, out, _ = ask(*arguments, value=debezium())
    assert (0, "this record of shop.orders can be decoded (table.unknown)") == (code, out.splitlines()[0])


def test_a_contract_is_named_where_it_decides(here: Path) -> None:
    text = 'table = "orders"\ntopics = ["feed"]\nformat = "plain"\n[columns.total]\nfrom = "sum"\n'
    (here / "schemas").mkdir()
    (here / "schemas" / "o.toml").write_text(text)
    code, found = explained('{"id": 1, "at": "2026-01-05", "sum": 5}', topic="feed")
    (row,) = found["changes"]
    assert 0 == code
    assert "by contract: schemas/o.toml names the topic" == row["route"]
    assert "declared in schemas/o.toml" == found["format"]["why"]
    assert "5" == next(field["value"] for field in row["fields"] if field["column"] == "total")


def test_a_table_created_in_small_letters_is_not_found_by_large_ones() -> None:
    """As the worker does it; otherwise explain would promise what run does not do."""
    code, found = explained('{"id": 1}', topic="ORDERS")
    assert (0, "table.unknown") == (code, found["verdict"]["code"])


def test_a_cratedb_that_does_not_answer_ends_after_decoding_with_four() -> None:
    code, out, err = ask("-", "--topic", "shop.orders", value=debezium(), crate_urls="http://127.0.0.1:1")
    assert 4 == code
    assert "op is 'c'" in out
    assert "ingest: no CrateDB node answers at http://127.0.0.1:1" in err


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*/*")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_sample_is_explained_in_80_columns(sample: Path) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("SAMPLES: not run (set INGEST_SAMPLES)")
    values = sample.read_bytes().splitlines()[:3] if sample.suffix == ".ndjson" else [sample.read_bytes()]
    for value in values:
        found = explanation(value, '{"id": 7}')
        assert found.exit_code in (0, 3, 4)
        assert [] == [line for line in shown(found).splitlines() if len(line) > words.WIDTH]
        assert shown_as_json(found).isascii()


def test_no_value_reaches_the_terminal_as_a_command() -> None:
    out = shown(explanation(json.dumps({**ROW, "t": "\x1b[31m\x9b1m\u202e", "\x1b]0;": 1})))
    assert all(each.isprintable() or each == "\n" for each in out)


# ---------------------------------------------------------------- wrong questions


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("v.json",), "the topic decides on contract and table: name it with --topic"),
        (("gone.json",), "gone.json is neither a file nor a position: write TOPIC:PARTITION:OFFSET for one"),
        (("shop.orders:0", "--topic", "a"), "shop.orders:0 is neither a file nor a position"),
        ((".", "--topic", "a"), ". cannot be read: Is a directory"),
        (("empty", "--topic", "a"), "empty is empty: write --null for a record without a value"),
        (("-", "--topic", "a"), "standard input is empty: write --null"),
        (("v.json", "--topic", "a", "--null"), "--null says that there is no value: leave the file out"),
        (("v.json", "--topic", "a", "--header", "x"), "--header x is not NAME=VALUE"),
        (("v.json", "--topic", "a", "--format", "xml"), "there is no format xml: use auto, debezium"),
        (("v.json", "--topic", "a", "--key", "1", "--key-file", "v.json"), "--key and --key-file both give the key"),
        (("v.json", "--topic", "a", "--key-file", "gone"), "gone is neither a file nor a key"),
        (("orders:0:0", "--key", "1"), "a record in Kafka brings its own topic, key, value and headers: leave --key out"),
        (("orders:0:0", "--null"), "leave --null out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_question_without_sense_is_one_sentence_and_two(here: Path, arguments: Sequence[str], sentence: str) -> None:
    (here / "v.json").write_text("{}")
    (here / "empty").touch()
    code, out, err = ask(*arguments, value="")
    assert (2, "") == (code, out)
    assert sentence in err
    assert 1 == len(err.splitlines())


# ---------------------------------------------------------------- a position in Kafka


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(partitions=1, auto_create=False) as running:
        running.create_topic("shop.orders", 1)
        running.create_topic("shop.empty", 1)
        running.create_topic("ingest.dlq", 1)
        key = b'{"id": 7}'
        running.put("shop.orders", debezium().encode(), key=key, timestamp_ms=JAN)
        running.put("shop.orders", debezium(None, "d", ROW).encode(), key=key)
        running.put("shop.orders", None, key=key)
        running.leave_gap("shop.orders", 0, 2)
        running.put("shop.orders", None, key=key)
        lost = Record("shop.orders", 0, 1, JAN, key, b'{"id": 7, "n": "x"}', (("trace", b"1"), ("none", None)))
        letter = message(Letter(lost, Reject("type.not_a_number", "no number", column="n"), "doc.orders", "map"), "ingest", "0")
        running.put("ingest.dlq", letter.value, key=letter.key, headers=letter.headers)
        yield running


def at(broker: Broker, position: str, *arguments: str) -> tuple[int, str, str]:
    return ask(position, "--no-crate", *arguments, kafka_bootstrap_servers=broker.address)


@pytest.mark.parametrize("position", ["shop.orders:0:0", "shop.orders[0]@0", "shop.orders:0:-6"])
def test_a_record_is_found_where_it_stands(broker: Broker, position: str) -> None:
    code, out, _ = at(broker, position)
    assert (0, "shop.orders[0]@0 would be stored") == (code, out.splitlines()[0])
    assert "2026-01-01 00:00:00.000 UTC" in out


def test_the_records_in_front_tell_the_format_and_the_echo(broker: Broker) -> None:
    code, out, _ = at(broker, "shop.orders:0:2")
    assert (0, "shop.orders[0]@2 would be skipped") == (code, out.splitlines()[0])
    assert "debezium, told by the records in front of it" in " ".join(out.split())
    assert "a delete" in at(broker, "shop.orders:0:5")[1]


def test_a_dead_letter_is_explained_as_the_record_it_was(broker: Broker) -> None:
    code, out, _ = at(broker, "ingest.dlq:0:0", "--json")
    found = json.loads(out)
    assert (3, "type.not_a_number") == (code, found["verdict"]["code"])
    assert ("shop.orders", 1) == (found["record"]["topic"], found["record"]["offset"])
    assert [{"name": "trace", "value": "1"}, {"name": "none", "value": None}] == found["record"]["headers"]
    assert "taken from the dead letter ingest.dlq[0]@0" in found["notes"][0]


@pytest.mark.parametrize(
    ("position", "sentence"),
    [
        ("shop.order:0:0", "topic shop.order does not exist, the nearest name is shop.orders"),
        ("nothing.alike:0:0", "topic nothing.alike does not exist"),
        ("shop.orders:4:0", "topic shop.orders has no partition 4: its only partition is 0"),
        ("shop.orders:0:99", "there is no record at offset 99 of shop.orders[0] (it was not written yet)"),
        ("shop.orders:0:-99", "the partition holds offsets 0 to 5"),
        ("shop.orders:0:3", "holds no record (compacted, aborted, or a transaction's mark), the next one is at 5"),
        ("shop.empty:0:0", "shop.empty[0] is empty"),
    ],
)  # fmt: skip
def test_a_place_without_a_record_is_told_with_what_is_there(broker: Broker, position: str, sentence: str) -> None:
    code, out, err = at(broker, position)
    assert (2, "") == (code, out)
    assert sentence in err


def test_a_kafka_that_does_not_answer_ends_with_four() -> None:
    code, out, err = ask("orders:0:0", kafka_bootstrap_servers="127.0.0.1:1")
    assert (4, "") == (code, out)
    assert "no answer from Kafka" in err


# ---------------------------------------------------------------- words


def test_lines_never_exceed_80_columns_and_long_cells_are_cut() -> None:
    lines = list(words.table_of(("A", "B"), [("x" * 50, "y" * 200)], (20,)))
    assert [words.WIDTH] == [len(line) for line in lines[1:]]
    assert lines[1].endswith("…")


def test_a_position_of_a_source_is_told_without_its_zeros() -> None:
    version = SourceVersion("B", "000123")
    assert "binlog position 123" == words.source_position(*version)
