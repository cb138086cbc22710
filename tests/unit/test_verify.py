"""`ingest verify` and `rebuild` without real servers: folding, judging, spilling, values; both commands on the embedded twins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ingest import cli
from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.pages import Row
from ingest.crate.shadows import Names, ddl_of
from ingest.errors import Stop
from ingest.kafka.peek import Bounds
from ingest.model import Change, Column, Kind, Partition, Position, Table
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.tools.verify_bar import Bar
from ingest.tools.verify_fold import Folded, State, Told, Truncated, after, mended, truncated
from ingest.tools.verify_judge import Difference, Judge, Unjudged, Verdict
from ingest.tools.verify_scan import Letters
from ingest.tools.verify_spill import FAN_OUT, Item, Spill
from ingest.tools.verify_values import comparison

TS = "timestamp with time zone"
JAN, FEB, MAR = 1767225600000, 1769904000000, 1772323200000
P0 = Partition("orders", 0)
COLUMNS = {"id": "bigint", "month": TS, "n": "bigint", "t": "text", "cdc_version": "text", "cdc_deleted": "boolean"}
TABLE = Table("doc", "orders", {n: Column(n, t) for n, t in COLUMNS.items()}, ("id",), "month", frozenset({JAN, FEB}))
FLAT = Table("doc", "flat", {n: Column(n, t) for n, t in COLUMNS.items() if n in ("id", "n", "t")}, ("id",))
WRITTEN = ("n", "t", "cdc_version", "cdc_deleted")


def version(lsn: int, offset: int) -> str:
    return f"01L{lsn:020d}{offset:019d}"


def write(lsn: int, month: int = JAN, n: int = 1, *, vacates: tuple[int, ...] = (), partition: int = 0) -> Change:
    row = [n, "x", version(lsn, lsn), False]
    return Change(Kind.WRITE, (7,), month, WRITTEN, row, Position("orders", partition, lsn), version(lsn, lsn), vacates)


def patch(lsn: int, n: int) -> Change:
    row = [n, version(lsn, lsn), False]
    columns = ("n", "cdc_version", "cdc_deleted")
    return Change(Kind.PATCH, (7,), None, columns, row, Position("orders", 0, lsn), version(lsn, lsn), look_up=True)


def delete(lsn: int) -> Change:
    row = [version(lsn, lsn), True]
    return Change(Kind.DELETE, (7,), None, ("cdc_version", "cdc_deleted"), row, Position("orders", 0, lsn), version(lsn, lsn))


def tombstone(offset: int) -> Change:
    """A delete that tells no version."""
    at = Position("orders", 0, offset)
    return Change(Kind.DELETE, (7,), None, ("cdc_version", "cdc_deleted"), [None, True], at, None, look_up=True)


def fold(*changes: Change, late: Sequence[Change] = (), lettered: Sequence[Change] = (), is_ordered: bool = True) -> Folded:
    folded = Folded()
    for change in (*changes, *late):
        folded.add(Told(change, change in late, change in lettered), is_ordered=is_ordered)
    return folded


def row(lsn: int, month: int = JAN, n: int | None = 1, t: str | None = "x", *, is_deleted: bool = False) -> Row:
    at = version(lsn, lsn)
    return Row((7,), month, at, is_deleted, (n, t, at, is_deleted))


def judge(folded: Folded | None, *rows: Row, table: Table = TABLE, end: int = 1_000, is_complete: bool = False) -> Verdict:
    return Judge(table, {P0: Bounds(0, end)}, (), is_complete).judge((7,), folded, rows)


# ---------------------------------------------------------------- folding


@given(st.permutations([write(10), write(20, FEB), write(30, MAR, 5), delete(15), write(30, MAR, 5)]))
def test_whole_rows_end_in_the_newest_whatever_the_order(changes: list[Change]) -> None:
    state = fold(*changes).state
    assert state is not None
    assert (version(30, 30), MAR, 5) == (state.version, state.month, state.values["n"])


def test_a_patch_adds_to_the_row_and_an_older_one_does_not() -> None:
    state = fold(write(10), patch(20, 9), patch(15, 4)).state
    assert state is not None
    assert (9, "x", JAN, True) == (state.values["n"], state.values["t"], state.month, state.is_whole)


def test_a_part_of_a_row_that_nobody_told_of_is_known_in_part_only() -> None:
    state = fold(patch(20, 9)).state
    assert state is not None
    assert ({"n", "cdc_version", "cdc_deleted"}, False) == (set(state.values), state.is_whole)


def test_a_delete_without_a_version_deletes_what_stands_in_front_of_it() -> None:
    gone = fold(write(10), tombstone(11)).state
    again = fold(write(10), tombstone(11), write(12)).state
    assert gone is not None
    assert again is not None
    assert (False, True) == (gone.is_live, again.is_live)
    assert version(10, 10) < str(gone.version) < version(12, 12)


def test_at_level_arrival_the_last_record_stands() -> None:
    state = fold(write(30), write(20, n=8), is_ordered=False).state
    assert state is not None
    assert 8 == state.values["n"]


def test_a_truncate_deletes_what_is_older() -> None:
    truncates = [Truncated(Position("orders", 0, 25), version(25, 25), ("cdc_version", "cdc_deleted"), (version(25, 25), True))]
    older, newer = fold(write(20)).state, fold(write(30)).state
    gone = truncated(older, truncates)
    assert gone is not None
    assert (False, version(25, 25)) == (gone.is_live, gone.version)
    assert newer is truncated(newer, truncates)


def test_what_mends_a_key_writes_it_and_clears_the_months_that_it_left() -> None:
    state = fold(write(10), patch(20, 9)).state
    assert state is not None
    change = mended(state, (7,), [FEB])
    assert change is not None
    assert (Kind.WRITE, JAN, (FEB,), [9, "x", version(20, 20), False]) == (change.kind, change.month, change.vacates, change.row)
    gone = fold(write(10), delete(20)).state
    assert gone is not None
    change = mended(gone, (7,), [JAN, FEB])
    assert change is not None
    assert (Kind.DELETE, JAN, (FEB,), False) == (change.kind, change.month, change.vacates, change.look_up)


# ---------------------------------------------------------------- judging


def kind(verdict: Verdict) -> tuple[str, ...] | str | None:
    if isinstance(verdict, Unjudged):
        return verdict.why
    return None if verdict is None else (verdict.kind, *verdict.columns)


@pytest.mark.parametrize(
    ("folded", "rows", "found"),
    [
        (fold(write(10)), [row(10)], None),
        (fold(write(10)), [], ("missing",)),
        (fold(write(10)), [row(10, n=2)], ("values", "n")),
        (fold(write(10)), [row(10, n=None, t="y")], ("values", "n", "t")),
        (fold(write(10), write(20)), [row(10)], ("older",)),
        (fold(write(10), write(20, FEB)), [row(10), row(20, FEB)], ("ghost",)),
        (fold(write(10), write(20, FEB)), [row(20, is_deleted=True), row(20, FEB)], None),
        (fold(write(10), write(20, FEB)), [row(10)], ("missing",)),
        (fold(write(10), delete(20)), [], None),  # purged
        (fold(write(10), delete(20)), [row(20, is_deleted=True)], None),
        (fold(write(10), delete(20)), [row(10)], ("ghost",)),
        (fold(write(10)), [row(10, is_deleted=True)], ("values", "cdc_deleted")),
        (fold(write(10)), [row(20)], ("newer",)),
        (fold(write(10)), [row(2_000)], "since"),
        (fold(write(10), delete(20)), [row(2_000, FEB)], "since"),
        (fold(write(10), late=[write(20, FEB)]), [row(10)], None),
        (fold(write(10), late=[write(20, FEB)]), [row(20, is_deleted=True), row(20, FEB)], None),
        (fold(write(10), late=[write(20, FEB)]), [row(10, n=3)], ("values", "n")),
        (fold(late=[write(20)]), [], None),
        (fold(late=[write(20)]), [row(5)], "table_only"),
        (None, [row(10)], "table_only"),
        (None, [row(10, is_deleted=True)], None),
        (fold(write(10), write(20, partition=1), patch(30, 2)), [row(10)], "unordered"),
        (fold(write(10), write(20, partition=1)), [row(10)], ("older",)),
    ],
)
def test_each_way_in_which_a_table_can_differ_has_its_name(
    folded: Folded | None, rows: list[Row], found: tuple[str, ...] | str | None
) -> None:
    assert found == kind(judge(folded, *rows))


def test_a_dead_lettered_change_may_be_there_or_not() -> None:
    bad = write(20, n=9)
    folded = fold(write(10), bad, lettered=[bad])
    assert [None, None] == [kind(judge(folded, row(10))), kind(judge(folded, row(20, n=9)))]
    assert ("missing",) == kind(judge(folded))
    alone = fold(bad, lettered=[bad])
    assert [None, None] == [kind(judge(alone)), kind(judge(alone, row(20, n=9)))]


def test_where_the_topics_are_complete_a_stranger_is_a_difference_unless_it_came_later() -> None:
    assert ("stranger",) == kind(judge(None, row(10), is_complete=True))
    assert "table_only" == kind(judge(None, row(2_000), is_complete=True))


def test_without_versions_the_values_decide_and_several_partitions_say_nothing() -> None:
    change = Change(Kind.WRITE, (7,), None, ("n", "t"), [1, "x"], Position("orders", 0, 5))
    other = Change(Kind.WRITE, (7,), None, ("n", "t"), [2, "x"], Position("orders", 1, 5))
    there, changed = Row((7,), None, None, False, (1, "x")), Row((7,), None, None, False, (3, "x"))
    told = fold(change, is_ordered=False)
    assert [None, ("values", "n"), ("missing",)] == [kind(judge(told, *r, table=FLAT)) for r in ([there], [changed], [])]
    assert "unordered" == kind(judge(fold(change, other, is_ordered=False), changed, table=FLAT))


@pytest.mark.parametrize(
    ("column", "ours", "theirs", "is_same"),
    [
        (Column("c", "numeric", precision=18, scale=2), "12.3", "12.30", True),
        (Column("c", "numeric", precision=38, scale=2), "12345678901234567890.12", "12345678901234567890.13", False),
        (Column("c", "real"), 0.1, 0.10000000149011612, True),
        (Column("c", "double precision"), 0.1, 0.10000000149011612, False),
        (Column("c", "bigint"), "9007199254740993", 9007199254740993, True),
        (Column("c", "bigint"), 9007199254740993, 9007199254740992, False),
        (Column("c", "uuid"), "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", True),
        (Column("c", "ip"), "0:0::1", "::1", True),
        (Column("c", "character", length=5), "ab", "ab   ", True),
        (Column("c", "text"), "ab", "ab ", False),
        (Column("c", "character varying", length=5), "abc    ", "abc  ", True),
        (Column("c", "bit", length=4), "0101", "B'0101'", True),
        (Column("c", "geo_point"), [1.5, 2.123456789012], [1.4999999944120646, 2.1234567649662495], True),
        (Column("c", "geo_point"), [1.5, 2.5], [1.51, 2.5], False),
        (Column("c", "float_vector", length=2), [0.1, 2], [0.1, 2.0], True),
        (Column("c", "numeric_array", precision=5, scale=2), ["1.5", None], ["1.50", None], True),
        (Column("c", "bigint_array"), [1, 2], [2, 1], False),
        (Column("c", "object", policy="ignored"), {"a": 1.0, "b": None}, {"a": 1}, True),
        (Column("c", "object", policy="ignored"), {"a": {"b": [1]}}, {"a": {"b": [2]}}, False),
        (Column("c", "text"), None, "", False),
        (Column("c", "boolean"), True, True, True),
        (Column("c", TS), 1, 2, False),
    ],
)
def test_values_are_compared_as_cratedb_keeps_them(column: Column, ours: Any, theirs: Any, is_same: bool) -> None:
    assert is_same == comparison(column)(ours, theirs)


# ---------------------------------------------------------------- on disk


@pytest.mark.parametrize(("items", "budget_bytes"), [(500, 100_000_000), (20_000, 60_000), (0, 60_000)])
def test_what_goes_to_disk_comes_back_by_key_and_in_order(items: int, budget_bytes: int, tmp_path: Path) -> None:
    spill = Spill(tmp_path, budget_bytes)
    for number in range(items):
        spill.tell(Item(0, (str(number % 1_000),), number), 100)
        spill.store(Item(0, (str(number),), number), 100)
    homes: dict[tuple[str, ...], int] = {}
    shares, told, stored, parts = [], 0, 0, 0
    for share, part in spill.parts():
        parts += 1
        shares.append(share)
        last: dict[tuple[str, ...], int] = {}
        for item in part.told.read():
            assert last.get(item.key, -1) < item.what
            last[item.key] = item.what
            told += 1
        assert not homes.keys() & last.keys()
        homes |= last
        stored += sum(1 for _ in part.stored.read())
    assert (items, items) == (told, stored)
    assert (sorted(shares), 1.0) == (shares, shares[-1])
    assert (parts > FAN_OUT) == (items == 20_000)  # too large for the budget: split once more
    assert [] == list(tmp_path.iterdir())


def test_letters_are_found_by_their_place() -> None:
    letters = Letters([Position("a", 0, 5), Position("a", 0, 3), Position("b", 1, 5)])
    places = [Position("a", 0, 3), Position("a", 0, 4), Position("b", 1, 5), Position("b", 0, 5), Position("a", 0, 9)]
    assert [True, False, True, False, False] == [place in letters for place in places]


def test_a_bar_is_drawn_a_few_times_a_second_only() -> None:
    now, shown = [0.0], list[str]()
    bar = Bar(shown.append, lambda: now[0])
    for tick in range(100):
        now[0] = tick / 100
        bar("reading", tick, 100)
    bar.wipe()
    assert (10, "") == (len(shown) - 1, shown[-1])


# ---------------------------------------------------------------- the definition of a new table


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE doc.orders (id BIGINT)",
        'CREATE TABLE "doc"."orders" (id BIGINT)',
        "-- CREATE TABLE doc.other (x INT)\ncreate table if not exists orders (id BIGINT)",
        "CREATE TABLE doc.customers (id BIGINT);\nCREATE TABLE doc.orders (id BIGINT);",
    ],
)
def test_the_definition_in_a_file_is_taken_under_the_new_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "0001_orders.sql"
    file.write_text(text)
    found = ddl_of(file, Names("doc", "orders"))
    assert '"doc"."orders_new" (id BIGINT)' in found
    assert "customers" not in found


def test_a_file_without_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE doc.orders_archive (id BIGINT)")
    with pytest.raises(Stop, match=r"has no CREATE TABLE doc\.orders"):
        ddl_of(tmp_path / "a.sql", Names("doc", "orders"))
    with pytest.raises(Stop, match="there is no file"):
        ddl_of(tmp_path / "b.sql", Names("doc", "orders"))


# ---------------------------------------------------------------- on the embedded twins


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    """A topic with twenty rows, and an empty table for them."""
    with Broker(partitions=2, auto_create=False) as broker, Store() as store:
        broker.create_topic("shop.orders", 2)
        for number in range(20):
            at, key = {"id": number, "n": number, "at": "2026-01-05"}, json.dumps({"id": number}).encode()
            broker.put("shop.orders", debezium(100 + number, at), key=key, partition=number % 2, timestamp_ms=JAN)
        client = HttpClient(parse_addresses([store.url]))
        columns = f"id BIGINT, n BIGINT, at {TS}, month {TS}, cdc_version TEXT, cdc_deleted BOOLEAN"
        for sql in (
            f"CREATE TABLE doc.orders ({columns}, PRIMARY KEY (id, month)) PARTITIONED BY (month)",
            "CREATE TABLE doc.nokey (id BIGINT)",
        ):
            assert client.execute(sql).is_ok, sql
        client.close()
        yield {"INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address, "INGEST_CRATE_URLS": store.url}


def debezium(lsn: int, values: dict[str, Any]) -> bytes:
    source = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "lsn": lsn, "ts_ms": JAN}
    return json.dumps({"before": None, "after": values, "source": source, "op": "c", "ts_ms": JAN}).encode()


def ask(servers: dict[str, str], *arguments: str, **env: str) -> tuple[int, str, str]:
    settings = servers | {f"INGEST_{name.upper()}": value for name, value in env.items()}
    result = CliRunner().invoke(cli.app, ["verify", *arguments], env=settings)
    assert "Traceback" not in result.stderr, result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_an_empty_table_is_filled_and_then_equal(servers: dict[str, str]) -> None:
    code, out, _ = ask(servers, "shop.orders", "--until", "end")
    assert (3, True, True) == (code, "20 missing" in out, "20 keys differ" in out), out
    assert [] == [line for line in out.splitlines() if "id=7" in line and "nothing" not in line]
    code, out, _ = ask(servers, "--table", "orders", "--until", "end", "--repair", "--json")
    found = json.loads(out)
    assert (0, 20, 20) == (code, found["differing"], found["repaired"])
    code, out, _ = ask(servers, "--table", "orders", "--until", "end", "--complete")
    assert (0, "equal") == (code, out.splitlines()[-1])


def test_named_differences_can_be_bounded_and_all_are_counted(servers: dict[str, str]) -> None:
    found = json.loads(ask(servers, "shop.orders", "--until", "end", "--limit", "3", "--json")[1])
    assert (3, 20) == (len(found["tables"][0]["differences"]), found["differing"])
    assert [("2026-01", 20, 0)] == [(m["month"], m["topics"], m["table"]) for m in found["tables"][0]["months"]]


@pytest.mark.parametrize(
    ("arguments", "env", "code", "sentence"),
    [
        ((), {}, 2, "name a topic, or a table with --table"),
        (("shop.orders",), {}, 2, "group ingest has committed nothing in shop.orders: say --until end"),
        (("shop.order",), {}, 2, "topic shop.order does not exist"),
        (("--table", "nothing"), {}, 2, "CrateDB has no table doc.nothing"),
        (("shop.orders", "--until", "now"), {}, 2, "now is neither committed nor end"),
        (("shop.orders", "--memory-mb", "64"), {}, 2, "--memory-mb 64 is too little: at least 128"),
        (("shop.orders", "--scan-from", "soon"), {}, 2, "--scan-from soon is none of"),
        (("shop.orders",), {"kafka_bootstrap_servers": "127.0.0.1:1"}, 4, "no answer from Kafka"),
        (("shop.orders", "--until", "end"), {"crate_urls": "http://127.0.0.1:1"}, 4, "no CrateDB node answers"),
    ],
)
def test_a_question_without_an_answer_is_one_sentence(
    servers: dict[str, str], arguments: Sequence[str], env: dict[str, str], code: int, sentence: str
) -> None:
    found, out, err = ask(servers, *arguments, **env)
    assert (code, "") == (found, out), err
    assert sentence in err


def test_states_and_differences_name_their_month() -> None:
    state = after(None, write(10, FEB), is_ordered=True)
    assert isinstance(state, State)
    assert (FEB, MAR) == (Difference((7,), "older", state).month, Difference((7,), "ghost", state, (), (), [MAR]).month)
