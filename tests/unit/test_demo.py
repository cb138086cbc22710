"""The parts of the demo by themselves: what it writes, what it knows of it, how it judges, what it shows."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ingest.crate.http import HttpClient, parse_address
from ingest.crate.sql_files import read_steps
from ingest.demo import files, judge, metrics, report, screen
from ingest.demo.children import Children
from ingest.demo.look import Board, Letter, PartitionView, Seat
from ingest.demo.patience import Patience
from ingest.demo.run import Options, run
from ingest.demo.site import Site
from ingest.demo.stream import Stream
from ingest.demo.truth import INVENTORY, ORDERS, PRODUCTS, READINGS, TABLES, Message, Topics
from ingest.errors import Stop
from ingest.formats.decoder import Decoder
from ingest.formats.schemas import SchemaCache
from ingest.model import Envelope, Op, Position, Record
from ingest.practice.store import Store
from ingest.settings import Settings
from ingest.tables.contract import load_contracts
from ingest.watch.metrics import Metrics
from ingest.watch.status import Status
from tests.demo_rig import whole_stream

NOW_MS = 1_795_250_397_151  # 2026-11-21
TOPICS = Topics.named("")


@pytest.fixture(scope="module")
def told() -> tuple[Stream, list[Message]]:
    return whole_stream(NOW_MS, 3_000)


# ---------------------------------------------------------------- what is written


def test_two_streams_of_the_same_day_are_the_same(told: tuple[Stream, list[Message]]) -> None:
    again, messages = whole_stream(NOW_MS, 3_000)
    assert told[1] == messages
    assert told[0].truth == again.truth


def test_truth_counts_what_was_written(told: tuple[Stream, list[Message]]) -> None:
    stream, messages = told
    assert Counter((message.topic, message.partition) for message in messages) == stream.truth.written
    assert len(messages) == stream.truth.records


def test_changes_of_a_key_stay_in_one_partition(told: tuple[Stream, list[Message]]) -> None:
    partitions: dict[tuple[str, bytes], set[int]] = {}
    for message in told[1]:
        if message.key is not None:
            partitions.setdefault((message.topic, message.key), set()).add(message.partition)
    assert {1} == {len(found) for found in partitions.values()}


def test_the_worker_decodes_each_good_record_and_knows_the_deletes(told: tuple[Stream, list[Message]]) -> None:
    """Each live order has one insert more than deletes, each other key of orders as many."""
    stream, messages = told
    alive: Counter[int] = Counter()
    for place, message in placed(messages):
        if place.topic != TOPICS.orders or place in stream.truth.letters or message.value is None:
            continue
        (envelope,) = decoder().decode(Record(*place, NOW_MS, message.key, message.value))
        assert isinstance(envelope, Envelope)
        assert isinstance(envelope.key, dict)
        alive[envelope.key["id"]] += {Op.INSERT: 1, Op.DELETE: -1}.get(envelope.op, 0)
    assert {number for (number,) in stream.truth.rows[ORDERS]} == {number for number, n in alive.items() if n == 1}
    assert {0, 1} == set(alive.values())


def test_the_told_order_moves_to_another_month_and_is_gone_in_the_end(told: tuple[Stream, list[Message]]) -> None:
    life = told[0].shop.life
    assert ["c", "u", "u", "d"] == [event.op for event in life]
    assert ["2026-11", "2026-11", "2026-12", "2026-12"] == [report.month_text(event.delivery_ms)[:7] for event in life]
    assert (1,) not in told[0].truth.rows[ORDERS]


def test_there_is_enough_of_everything(told: tuple[Stream, list[Message]]) -> None:
    truth = told[0].truth
    assert [] == [table for table in TABLES if len(truth.rows[table]) < 100]
    assert len({row[-1] for row in truth.rows[ORDERS].values()}) >= 4
    assert len({row[-1] for row in truth.rows[READINGS].values()}) >= 2
    assert Counter(truth.letters.values()) == Counter({kind.code: 2 for kind in told[0].spoiler.kinds})
    assert 8 == len(told[0].spoiler.kinds)
    assert truth.rowless > 20


def placed(messages: list[Message]) -> Iterator[tuple[Position, Message]]:
    next_offset: Counter[tuple[str, int]] = Counter()
    for message in messages:
        yield Position(message.topic, message.partition, next_offset[message.topic, message.partition]), message
        next_offset[message.topic, message.partition] += 1


def decoder() -> Decoder:
    return Decoder(topic_format={TOPICS.orders: "debezium"}, schemas=SchemaCache())


# ---------------------------------------------------------------- its files


@pytest.mark.parametrize("prefix", ["", "demo_"])
def test_the_files_of_the_package_are_read_by_the_worker_without_a_complaint(prefix: str, tmp_path: Path) -> None:
    files.export(tmp_path, prefix)
    contracts, problems = load_contracts(tmp_path / "schemas")
    assert [] == problems
    topics = Topics.named(prefix)
    assert {ORDERS: (topics.orders,), READINGS: (topics.sensors,)} == {each.table: each.topics for each in contracts}
    assert (tmp_path / "schemas" / f"{topics.sensors}.avsc").read_text() == files.avro_text()
    assert {"create"} == {step.kind.partition("_")[0].split()[0] for step in read_steps(tmp_path / "sql")}


def test_credentials_reach_real_servers_only_and_nothing_else_of_the_callers_settings_does(tmp_path: Path) -> None:
    mine = {"INGEST_CRATE_PASSWORD": "x", "INGEST_TOPICS": "mine", "INGEST_WRITERS": "9", "PATH": "/bin"}
    ours = Site("k:1", "http://c:1", is_ours=True, folder=tmp_path, environ=mine)
    real = Site("k:1", "http://c:1", is_ours=False, folder=tmp_path, environ=mine)
    assert {"PATH": "/bin", **ours.said()} == ours.environment()
    assert {"PATH": "/bin", "INGEST_CRATE_PASSWORD": "x", **real.said()} == real.environment()
    assert Settings.load(real.environment()).topics == Topics.named("demo_")


# ---------------------------------------------------------------- the judge


@pytest.fixture
def client(told: tuple[Stream, list[Message]], tmp_path: Path) -> Iterator[HttpClient]:
    """A store whose tables are what the stream says."""
    files.export(tmp_path, "")
    with Store() as store:
        for step in read_steps(tmp_path / "sql"):
            store.execute(step.sql)
        for table, rows in told[0].truth.rows.items():
            fill(store, table, [[*key, *row] for key, row in rows.items()])
        client = HttpClient([parse_address(store.url)])
        yield client
        client.close()


COLUMNS = {
    PRODUCTS: "id, name, price, cdc_deleted",
    INVENTORY: "warehouse, product_id, quantity, cdc_deleted",
    ORDERS: "id, customer, status, total, delivery_at, month, cdc_deleted",
    READINGS: "cdc_topic, cdc_partition, cdc_offset, sensor, celsius, battery, at, month",
}


def fill(store: Store, table: str, rows: list[list[object]]) -> None:
    names = COLUMNS[table]
    marks = ", ".join("?" for _ in names.split(","))
    more = [False] if "cdc_deleted" in names else []
    store.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", bulk_args=[[*row, *more] for row in rows])


def verdict(client: HttpClient, stream: Stream, **changes: object) -> list[str]:
    truth = stream.truth
    letters = [Letter(at, code, f"{code}: x") for at, code in truth.letters.items()]
    views = [PartitionView(*at, n, n, 0, 1) for at, n in truth.written.items()]
    found = judge.judge(
        client, truth, changes.get("letters", letters), Board(1.0, changes.get("views", views), []),  # type: ignore[arg-type]
        changes.get("books", [{"is_balanced": True, "unsettled": 0}]),  # type: ignore[arg-type]
    )  # fmt: skip
    return list(found.differences)


def test_tables_that_are_what_was_written_are_equal(client: HttpClient, told: tuple[Stream, list[Message]]) -> None:
    assert [] == verdict(client, told[0])


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        ("DELETE FROM demo.readings WHERE cdc_partition = 1 AND cdc_offset = 0", "demo.readings: 1 row missing"),
        ("UPDATE demo.products SET price = 0.01 WHERE id = 3", "demo.products: 1 row with other values"),
        ("UPDATE demo.inventory SET cdc_deleted = true WHERE product_id = 5 AND warehouse = 'berlin'",
            "demo.inventory: 1 row missing",),
        (
            "INSERT INTO demo.orders (id, month, cdc_deleted) VALUES (99999999, 0, false)",
            "demo.orders: 1 row that should not be there",
        ),
    ],
    ids=["missing", "other value", "deleted", "too many"],
)  # fmt: skip
def test_a_table_that_differs_is_seen(client: HttpClient, told: tuple[Stream, list[Message]], sql: str, difference: str) -> None:
    assert client.execute(sql).rowcount == 1
    assert [difference] == verdict(client, told[0])


def test_letters_offsets_and_books_are_judged_too(client: HttpClient, told: tuple[Stream, list[Message]]) -> None:
    truth = told[0].truth
    (first, code), *rest = truth.letters.items()
    wrong = Letter(Position(TOPICS.orders, 0, 0), "type.overflow", "x")
    letters = [Letter(rest[0][0], "type.other", "x"), wrong, *(Letter(at, code, "x") for at, code in rest[1:])]
    views = [PartitionView(*at, n, n - (at == (TOPICS.sensors, 1)), 0, 1) for at, n in truth.written.items()]
    n = truth.written[TOPICS.sensors, 1]
    assert [
        f"dead letters: none for the bad record at {first} ({code})",
        f"dead letters: {rest[0][0]} was refused as type.other, not as {rest[0][1]}",
        f"dead letters: a good record at {TOPICS.orders}[0]@0 was refused (type.overflow)",
        f"sensors[1]: {n} records written, {n} there, {n - 1} committed",
        "the books of surviving worker 1 do not balance",
    ] == verdict(client, told[0], letters=letters, views=views, books=[{"is_balanced": False, "unsettled": 0}])


def test_a_letter_that_came_twice_is_no_difference(client: HttpClient, told: tuple[Stream, list[Message]]) -> None:
    letters = [Letter(at, code, "x") for at, code in told[0].truth.letters.items()]
    assert [] == verdict(client, told[0], letters=[*letters, letters[0]])


# ---------------------------------------------------------------- what is seen


def test_the_workers_own_metrics_page_is_understood() -> None:
    """By the names that the demo uses."""
    status = Status(read=7, records={("t", "written"): 5, ("", "skipped"): 2}, lag={("orders", 1): 3}, assigned=1, handed_back=0)
    shown = Metrics(lambda: status)
    shown.batch("t", 5, 0.01, [0.2])
    seat = Seat(1, None, 0, metrics.parsed(shown.exposition().body.decode()))  # type: ignore[arg-type]
    assert (7, 7, 1) == (seat.count("ingest_records_read_total"), seat.settled, seat.count("ingest_assigned_partitions"))
    assert 1 == seat.count("ingest_batch_rows_count")
    assert [{"topic": "orders", "partition": "1"}] == [dict(sample.labels) for sample in seat.page["ingest_lag_records"]]
    board = Board(1.0, [], [seat])
    assert 0.25 == metrics.within(board.freshness(), 0.5)


class Gone:
    """A child that has ended."""

    pid, code = 4711, 0


@pytest.mark.parametrize("width", [80, 100])
def test_the_board_fits(width: int) -> None:
    seats = [Seat(1, Gone(), 0), Seat(2, Gone(), 0, killed_s=12.0)]  # type: ignore[arg-type]
    names = [(topic, number) for topic in Topics.named("demo_") for number in (0, 1)]
    views = [PartitionView(*name, 123_456, 100_000, 12, 1) for name in names]
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    screen.Screen(console).rest(Board(12.0, views, seats))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert all(f"{topic} {number}" in shown for topic, number in names)


def test_one_line_of_the_board_fits_into_a_hundred_letters() -> None:
    views = [PartitionView("t", 0, 999_999, 888_888, 16, 1)]
    seats = [Seat(1, Gone(), 0), Seat(2, Gone(), 0, killed_s=12.0)]  # type: ignore[arg-type]
    assert len(screen.line_of(Board(99.0, views, seats))) <= screen.WIDEST - screen.INDENT


def test_commands_are_never_cut() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    command = "curl -s http://127.0.0.1:12345/metrics --and --something --very --long"
    report.commands(screen.Screen(console), [(command, "what it does")])
    assert f"   {command}\n" in console.file.getvalue()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- processes and signals

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
IGNORE = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
DEAF = [sys.executable, "-c", IGNORE]


def test_children_end_with_the_demo_also_those_that_do_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.demo.children.END_WITHIN_S", 0.3)
    with Children(tmp_path) as children:
        started = [children.start("worker-1", DEAF, os.environ), children.start("store", SLEEPER, os.environ)]
        while not started[0].said():
            time.sleep(0.01)
    assert [-signal.SIGKILL, -signal.SIGTERM] == [child.code for child in started]


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Patience() as patience, Children(tmp_path) as children, pytest.raises(Stop) as stopped:
        children.run("check", ["no-such-command"], os.environ, patience)
    assert "`ingest no-such-command` failed: " in stopped.value.text


def test_a_signal_is_noted_and_raised_where_we_wait() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Patience() as patience:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            patience.pause(60)
    assert before == signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(kafka="k:1"), "--kafka and --crate belong together"),
        (Options(crate="http://c:1"), "--kafka and --crate belong together"),
        (Options(produce_only=True), "are for servers of yours"),
        (Options(clean=True), "are for servers of yours"),
        (Options(records=10), "too few"),
        (Options(export_dir="/dev/null/x"), "cannot write into /dev/null/x"),
    ],
    ids=["no crate", "no kafka", "produce only", "clean", "few", "no folder"],
)
def test_wrong_usage_is_one_sentence(options: Options, words: str) -> None:
    with pytest.raises(Stop) as stopped:
        run(options, screen.Screen(Console(file=io.StringIO())))
    assert "settings.demo" == stopped.value.code
    assert words in stopped.value.text
    assert "\n" not in stopped.value.text


def test_differences_are_shown_and_end_with_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    stream, _ = whole_stream(NOW_MS, 300)
    report.verdict(screen.Screen(console), judge.Verdict({"t": 1}, ["t: 1 row missing"]), stream.truth)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "t: 1 row missing" in shown
    assert "NOT EQUAL: see above" in shown
    assert "EQUAL: nothing" not in shown
