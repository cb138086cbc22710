"""`ingest why`: keys as people type them, the fate of each change, and one sentence for each question without an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingest import cli
from ingest.crate.http import HttpClient, parse_addresses
from ingest.errors import Reject, Stop
from ingest.flow.ports import Letter
from ingest.kafka.letters import message
from ingest.kafka.peek import Bounds
from ingest.model import Change, Column, Kind, Partition, Position, Record, Table
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.settings import Settings
from ingest.tables.contract import Contract
from ingest.tables.types import ColumnRule, parse_type
from ingest.tools.rooms import Rooms
from ingest.tools.why import Start, start_of
from ingest.tools.why_fates import Fate, Known, LetterSeen, fates, untold
from ingest.tools.why_key import parse_key
from ingest.tools.why_rows import Stored, StoredRow
from ingest.tools.why_scan import Finder, Scan, Seen, leading_topics, spans_of, subscribed

TS = "timestamp with time zone"
JAN, FEB = 1767225600000, 1769904000000
P0 = Partition("shop.orders", 0)


def table_of(key: Sequence[str], columns: dict[str, str], month: str | None = None) -> Table:
    described = {name: Column(name, type_) for name, type_ in columns.items()}
    return Table("doc", "orders", described, tuple(key), month, frozenset({JAN, FEB}), (*key, *([month] if month else [])))


ONE = table_of(["id"], {"id": "bigint", "n": "bigint", "month": TS, "cdc_version": "text", "cdc_deleted": "boolean"}, "month")
TEXT = table_of(["name"], {"name": "text"})
TWO = table_of(["a", "b"], {"a": "bigint", "b": "text"})
ARRIVAL = table_of(["id"], {"id": "bigint", "n": "bigint"})
BY_PLACE = table_of(
    ["cdc_topic", "cdc_partition", "cdc_offset"], {"cdc_topic": "text", "cdc_partition": "integer", "cdc_offset": "bigint"}
)


# ---------------------------------------------------------------- the key


@pytest.mark.parametrize(
    ("text", "table", "key"),
    [
        ("7", ONE, (7,)),
        ("id=7", ONE, (7,)),
        (" id = 7", ONE, (7,)),
        ('{"id": 7}', ONE, (7,)),
        ("[7]", ONE, (7,)),
        ("-7", ONE, (-7,)),
        ("7", TEXT, ("7",)),
        ("a=b, c", TEXT, ("a=b, c",)),
        ("name=a=b", TEXT, ("a=b",)),
        ("{odd", TEXT, ("{odd",)),
        ('"7"', TEXT, ("7",)),
        ("a=1,b=x", TWO, (1, "x")),
        ("b=x,a=1", TWO, (1, "x")),
        ("a=1,b=Smith, J=K", TWO, (1, "Smith, J=K")),
        ('{"b": "x", "a": 1}', TWO, (1, "x")),
        ('[1, "x"]', TWO, (1, "x")),
        ("cdc_topic=t,cdc_partition=0,cdc_offset=5", BY_PLACE, ("t", 0, 5)),
    ],
)  # fmt: skip
def test_a_key_may_be_typed_as_value_as_parts_or_as_json(text: str, table: Table, key: tuple[Any, ...]) -> None:
    assert key == parse_key(text, table, None)


def test_a_key_is_read_as_the_contract_says() -> None:
    contract = Contract("doc.orders", columns={"name": ColumnRule(type=parse_type("int"))})
    assert ("7",) == parse_key("7", TEXT, contract)


@pytest.mark.parametrize(
    ("text", "table", "code", "sentence"),
    [
        ("x", ONE, "why.key_value", "id is bigint and what is given does not fit: the text is no number"),
        ("", ONE, "why.key_value", "id is bigint and what is given does not fit"),
        ("1.5", ONE, "why.key_value", "the column holds whole numbers and the value has a fraction"),
        ("9" * 30, ONE, "why.key_value", "the number is outside the range of the column"),
        ('{"id": null}', ONE, "why.key_value", "id is null, and no part of a key is"),
        ("id=7,n=1", ONE, "why.key", "n is no part of the key: the key of doc.orders is id (bigint): write its value"),
        ("month=1", ONE, "why.key", "month is not part of KEY, all months are looked at"),
        ('{"ids": 7}', ONE, "why.key", "a part of the key is no column of the table"),
        ("[1, 2]", ONE, "why.key", "2 values given"),
        ("{", ONE, "why.key", "the key begins like JSON and is none"),
        ("1", TWO, "why.key", "the key has 2 parts: the key of doc.orders is a (bigint), b (text): write a=...,b=..."),
        ("a=1", TWO, "why.key", "the key lacks b"),
        ("x=1", TWO, "why.key", "a part of the key is no column of the table"),
        ("1", table_of([], {"id": "bigint"}), "why.no_key", "has no primary key beside its month"),
    ],
)  # fmt: skip
def test_a_key_that_is_none_is_one_sentence_without_the_value(text: str, table: Table, code: str, sentence: str) -> None:
    with pytest.raises(Stop) as raised:
        parse_key(text, table, None)
    assert (code, True) == (raised.value.code, sentence in raised.value.text), raised.value
    assert 1 == len(raised.value.text.splitlines())


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", Start()),
        ("90m", Start(moment_ms=JAN - 5_400_000)),
        ("2d", Start(moment_ms=JAN - 172_800_000)),
        ("1042", Start(offset=1042)),
        ("2026-01-01", Start(moment_ms=JAN)),
        ("2026-01-01T01:00:00+01:00", Start(moment_ms=JAN)),
    ],
)
def test_a_scan_begins_where_it_is_told(text: str, start: Start) -> None:
    assert start == start_of(text, JAN)


@pytest.mark.parametrize("text", ["", "yesterday", "2 moons", "-5", "2026-13-01", "latest"])
def test_a_beginning_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Stop, match=r"none of: earliest, an age"):
        start_of(text, JAN)


@pytest.mark.parametrize(
    ("starts", "limit", "span"),
    [
        ({}, 0, (10, 50)),
        ({}, 15, (35, 50)),
        ({P0: 20}, 0, (20, 50)),
        ({P0: 3}, 0, (10, 50)),
        ({P0: 99}, 0, (50, 50)),
        ({P0: None}, 0, (50, 50)),
    ],
)  # fmt: skip
def test_never_more_is_read_than_was_asked_for(starts: dict[Partition, int | None], limit: int, span: tuple[int, int]) -> None:
    assert {P0: span} == spans_of({P0: Bounds(10, 50)}, starts, limit)


def test_topics_are_those_of_the_contract_and_those_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text('table = "orders"\ntopics = ["^feed[.]"]\n')
    (tmp_path / "i.toml").write_text('table = "doc.items"\ntopics = ["both", "feed.x"]\n')
    rooms = Rooms(Settings.load({"INGEST_SCHEMAS_DIR": str(tmp_path)}))
    existing = ["both", "feed.a", "feed.x", "items", "ingest.dlq", "__internal", "shop.heartbeat"]
    assert ["feed.a", "feed.x"] == leading_topics(rooms, existing, ONE)


def test_without_a_contract_one_topic_leads_to_the_table_by_its_name() -> None:
    rooms = Rooms(Settings.load({"INGEST_TOPICS": "^shop[.]", "INGEST_SCHEMAS_DIR": "nowhere"}))
    assert ["shop.public.orders"] == leading_topics(rooms, ["orders", "shop.public.orders", "shop.items"], ONE)
    with pytest.raises(Stop, match=r"no topic of INGEST_TOPICS leads to doc.orders by a contract or by its name"):
        leading_topics(rooms, ["orders"], ONE)


def test_what_is_never_read_is_not_scanned_either() -> None:
    assert ["a"] == subscribed(["a", "__b", "x.heartbeat", "letters"], (), "letters")
    assert ["a"] == subscribed(["a", "b"], ("a",), "letters")


def test_the_finder_meets_its_key_in_every_disguise() -> None:
    rooms = Rooms(Settings.load({"INGEST_SCHEMAS_DIR": "nowhere"}))
    finder = Finder(rooms, ARRIVAL, (7,), JAN)
    met = {
        "row": (None, b'{"id": 7, "n": 1}'),
        "text": (None, b'{"ID": "7", "n": 1}'),
        "kafka key": (b"7", b'{"n": 1}'),
        "bad value": (b"7", b'{"id": 7, "n": "x"}'),
        "no JSON": (b'{"id": 7}', b"{"),
        "tombstone": (b'{"id": 7}', None),
    }
    others = {"other": (None, b'{"id": 8, "n": 1}'), "key of other": (b"8", b"{"), "none": (None, b"{")}
    seen = {name: [s.what for s in finder.look(Record("orders", 0, 0, 0, *bytes_))] for name, bytes_ in (met | others).items()}
    expected = {**{name: ["change"] for name in met}, "bad value": ["rejected"], "no JSON": ["rejected"]}
    assert expected | {name: [] for name in others} == seen


# ---------------------------------------------------------------- fates


def stored_row(version: str, month: int = JAN, *, deleted: bool = False, **columns: Any) -> StoredRow:
    return StoredRow(month, version, deleted, columns)


def known(*rows: StoredRow, table: Table = ONE, committed: int | None = 100, letters: Sequence[int] = ()) -> Known:
    kept = {Position("shop.orders", 0, offset): LetterSeen(Position("ingest.dlq", 0, 1), "type.overflow") for offset in letters}
    return Known(table, Stored(rows, None, "doc.orders_live", False), None if committed is None else {P0: committed}, kept)


def version(lsn: int, offset: int) -> str:
    return f"01L{lsn:020d}{offset:019d}"


def seen(offset: int, lsn: int | None = None, kind: Kind = Kind.WRITE, what: str = "change", code: str = "") -> Seen:
    at = Position("shop.orders", 0, offset)
    text = None if lsn is None else version(lsn, offset)
    change = Change(kind, (1,), JAN, ("n",), [1], at, text) if what == "change" else None
    return Seen(at, JAN + offset, what, "u", change, code)


NEWEST = stored_row(version(50, 5))


@pytest.mark.parametrize(
    ("each", "given", "word"),
    [
        (seen(5, 50), known(NEWEST), "stored"),
        (seen(5, 50), known(stored_row(version(50, 5), FEB, deleted=True), NEWEST), "stored"),
        (seen(4, 40), known(NEWEST), "superseded"),
        (seen(6, 60), known(NEWEST), "missing"),
        (seen(6, 60), known(NEWEST, committed=6), "not read yet"),
        (seen(6, 60), known(), "missing"),
        (seen(6, 60), known(letters=[6]), "dead-lettered"),
        (seen(5, 50), known(NEWEST, letters=[5]), "stored"),
        (seen(5, 50), known(NEWEST, committed=0), "stored"),
        (seen(6, None, Kind.DELETE), known(NEWEST), "superseded"),
        (seen(6, what="rejected", code="type.overflow"), known(NEWEST), "would be rejected"),
        (seen(6, what="rejected", code="type.overflow"), known(NEWEST, letters=[6]), "dead-lettered"),
        (seen(6, what="rejected", code="type.overflow"), known(NEWEST, committed=0), "not read yet"),
        (seen(6, what="skipped", code="tombstone"), known(NEWEST), "skipped"),
        (seen(6, what="parked", code="x"), known(NEWEST), "parks"),
        (seen(6, what="truncate", code="skip"), known(NEWEST), "skipped"),
        (seen(6, what="truncate", code="park"), known(NEWEST), "parks"),
        (seen(6, 60), known(NEWEST, committed=None), "missing"),
    ],
)  # fmt: skip
def test_the_fate_of_a_change_follows_from_what_is_stored(each: Seen, given: Known, word: str) -> None:
    assert [word] == [fate.word for fate in fates([each], given)]


def test_a_delete_without_a_version_is_stored_where_the_row_says_its_offset() -> None:
    tombstone = stored_row(version(50, 5)[:-19] + "T", deleted=True, cdc_topic="shop.orders", cdc_partition=0, cdc_offset=6)
    assert Fate("stored", "as a tombstone") == fates([seen(6, None, Kind.DELETE)], known(tombstone))[0]


@pytest.mark.parametrize(
    ("kinds", "rows", "words"),
    [
        ((Kind.WRITE, Kind.WRITE), 1, ["superseded", "stored"]),
        ((Kind.WRITE, Kind.DELETE), 0, ["superseded", "stored"]),
        ((Kind.WRITE, Kind.DELETE), 1, ["superseded", "missing"]),
        ((Kind.WRITE,), 0, ["missing"]),
    ],
)
def test_without_versions_the_last_change_that_was_read_stands(kinds: Sequence[Kind], rows: int, words: list[str]) -> None:
    changes = [seen(offset, None, kind) for offset, kind in enumerate(kinds)]
    given = known(*[StoredRow(None, None, False, {})] * rows, table=ARRIVAL)
    assert words == [fate.word for fate in fates(changes, given)]


@pytest.mark.parametrize(
    ("held", "span", "sentence"),
    [
        ((6, 9), (6, 9), "offset 5, which is behind retention"),
        ((0, 9), (6, 9), "offset 5, which is before where the scan began"),
        ((0, 9), (0, 9), "offset 5 that is not in these topics any more"),
    ],
)
def test_a_row_whose_change_was_not_met_says_why(held: tuple[int, int], span: tuple[int, int], sentence: str) -> None:
    (found,) = untold(known(NEWEST), Scan({P0: Bounds(*span)}, {P0: Bounds(*held)}))
    assert sentence in found


# ---------------------------------------------------------------- the whole command


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """A broker with changes of two keys, and a store that holds what became of them."""
    with Broker(partitions=2, auto_create=False) as broker, Store() as store:
        fill(broker)
        furnish(store)
        yield {"INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address, "INGEST_CRATE_URLS": store.url}


def debezium(lsn: int, row: dict[str, Any], op: str = "u") -> bytes:
    source = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "lsn": lsn, "ts_ms": JAN}
    images = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
    return json.dumps({**images, "source": source, "op": op, "ts_ms": JAN}).encode()


def fill(broker: Broker) -> None:
    broker.create_topic("shop.orders", 2)
    broker.create_topic("ingest.dlq", 1)
    row, key = {"id": 7, "n": 1, "at": "2026-01-05"}, b'{"id": 7}'
    bad = debezium(30, {**row, "n": "a secret"})
    for place, value in enumerate([debezium(10, row, "c"), debezium(20, row), bad, debezium(40, row)]):
        broker.put("shop.orders", value, key=key, partition=0, timestamp_ms=JAN + place)
    broker.put("shop.orders", debezium(11, {**row, "id": 8}, "c"), key=b'{"id": 8}', partition=1, timestamp_ms=JAN)
    lost = Record("shop.orders", 0, 2, JAN, key, bad)
    letter = message(Letter(lost, Reject("type.not_a_number", "no number", column="n"), "doc.orders", "map"), "ingest", "0")
    broker.put("ingest.dlq", letter.value, key=letter.key, headers=letter.headers)


def furnish(store: Store) -> None:
    client = HttpClient(parse_addresses([store.url]))
    columns = (
        "id BIGINT, n BIGINT, at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE, cdc_version TEXT, cdc_deleted BOOLEAN"
    )
    for sql in (
        f"CREATE TABLE doc.orders ({columns}, PRIMARY KEY (id, month)) PARTITIONED BY (month)",
        "CREATE TABLE doc.lonely (id BIGINT, PRIMARY KEY (id))",
        "CREATE TABLE doc.nokey (id BIGINT)",
        "CREATE VIEW doc.orders_live AS SELECT id, month, n FROM doc.orders WHERE cdc_deleted = FALSE",
        f"INSERT INTO doc.orders (id, month, n, cdc_version, cdc_deleted) VALUES (7, {JAN}, 1, '{version(20, 1)}', FALSE), "
        f"(7, {FEB}, NULL, '{version(20, 1)}', TRUE)",
        "REFRESH TABLE doc.orders",
    ):
        assert client.execute(sql).is_ok, sql
    client.close()


def ask(servers: dict[str, str], *arguments: str, **env: str) -> tuple[int, str, str]:
    settings = servers | {f"INGEST_{name.upper()}": value for name, value in env.items()}
    result = CliRunner().invoke(cli.app, ["why", *arguments], env=settings)
    assert "Traceback" not in result.stderr, result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_a_row_is_shown_with_its_tombstones_and_the_fate_of_each_change(servers: dict[str, str]) -> None:
    code, out, _ = ask(servers, "orders", "7", "--json")
    found = json.loads(out)
    assert (0, "one row, in 2026-01") == (code, found["state"])
    assert [(JAN, False), (FEB, True)] == [(row["month"], row["is_deleted"]) for row in found["rows"]]
    assert {"name": "doc.orders_live", "rows": 1} == found["live_view"]
    assert ["not read yet", "stored", "dead-lettered", "not read yet"] == [change["fate"] for change in found["changes"]]
    assert "type.not_a_number, letter ingest.dlq[0]@0" == found["changes"][2]["why"]
    assert 5 == found["scan"]["records"]


def test_people_read_it_in_80_columns(servers: dict[str, str]) -> None:
    _, out, _ = ask(servers, "doc.orders", "id=7")
    lines = out.splitlines()
    assert "doc.orders, id = 7: one row, in 2026-01" == lines[0]
    assert "  in short: 2 not read yet, 1 stored, 1 dead-lettered" in lines
    assert [] == [line for line in lines if len(line) > 80]


def test_a_key_of_which_nothing_is_stored_still_has_its_changes(servers: dict[str, str]) -> None:
    code, out, _ = ask(servers, "orders", "8")
    assert (0, "doc.orders, id = 8: nothing is stored") == (code, out.splitlines()[0])
    assert "1 change of this key" in out


@pytest.mark.parametrize(
    ("option", "fates_left"), [(("--limit", "1"), 1), (("--scan-from", "2"), 2), (("--scan-from", "2026-01-02"), 0)]
)
def test_a_scan_can_be_bounded_and_says_so(servers: dict[str, str], option: Sequence[str], fates_left: int) -> None:
    found = json.loads(ask(servers, "orders", "7", "--json", *option)[1])
    assert fates_left == len(found["changes"])
    assert "not read: see --scan-from and --limit" in ask(servers, "orders", "7", *option)[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("order", "7"), "CrateDB has no table doc.order that our user may see: the nearest name is doc.orders"),
        (("zz", "7"), "CrateDB has no table doc.zz that our user may see: write it as schema.table"),
        (("orders_live", "7"), "doc.orders_live is no table but a view: name its table, such as doc.orders"),
        (("nokey", "7"), "doc.nokey has no primary key beside its month"),
        (("orders", "x"), "id is bigint and what is given does not fit"),
        (("orders", "id=7,n=1"), "n is no part of the key"),
        (("orders", "7", "--scan-from", "soon"), "--scan-from soon is none of: earliest, an age such as 2d"),
    ],
)
def test_a_question_without_an_answer_is_one_sentence_and_two(
    servers: dict[str, str], arguments: Sequence[str], sentence: str
) -> None:
    code, out, err = ask(servers, *arguments)
    assert (2, "", 1) == (code, out, len(err.splitlines())), err
    assert sentence in err


@pytest.mark.parametrize(
    ("arguments", "env", "code", "sentence"),
    [
        (("lonely", "7"), {}, 2, "no topic in Kafka leads to doc.lonely by a contract or by its name: name one with --topic"),
        (("orders", "7"), {"topics": "other"}, 2, "no topic of INGEST_TOPICS leads to doc.orders"),
        (("orders", "7", "--topic", "shop.order"), {}, 2, "topic shop.order does not exist, the nearest name is shop.orders"),
        (("orders", "7"), {"kafka_bootstrap_servers": "127.0.0.1:1"}, 4, "no answer from Kafka"),
    ],
)
def test_rows_are_shown_even_where_the_topics_cannot_be_read(
    servers: dict[str, str], arguments: Sequence[str], env: dict[str, str], code: int, sentence: str
) -> None:
    found, out, err = ask(servers, *arguments, **env)
    assert (code, True) == (found, out.startswith("doc.")), err
    assert sentence in err


def test_a_cratedb_that_does_not_answer_ends_with_four(servers: dict[str, str]) -> None:
    code, out, err = ask(servers, "orders", "7", crate_urls="http://127.0.0.1:1")
    assert (4, "") == (code, out)
    assert "no CrateDB node answers" in err


def test_no_value_of_a_row_is_in_an_error(servers: dict[str, str]) -> None:
    _, out, err = ask(servers, "orders", "7")
    assert "a secret" not in err
    assert "a secret" not in out  # the bad value is not stored, and `explain` shows it
