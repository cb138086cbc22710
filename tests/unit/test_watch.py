"""What the outside world sees: logs, metrics, health, readiness, the page, and the way back for `unpark`."""

from __future__ import annotations

import io
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Stop
from ingest.flow.ports import Observer
from ingest.model import SUPERSEDED, WRITTEN, Batch, Change, Fate, Kind, Lane, Outcome, Position, Result, Table
from ingest.tools.unpark import unpark
from ingest.watch import logs, metrics
from ingest.watch.http import HttpServer, Pages
from ingest.watch.page import page
from ingest.watch.status import Board, Health, ParkedPlace, Status
from ingest.watch.watch import Watch

ROOT = Path(__file__).parents[2]
PARKED = ParkedPlace("topic:orders", "topic.truncate", "the source truncated <orders>", 1_700_000_000_000)
STATUS = Status(
    group="shop",
    is_ready=True,
    reasons=(),
    assigned=2,
    parked=(PARKED,),
    read=20,
    handed_back=1,
    unsettled_records=3,
    unsettled_bytes=9_000,
    records={("doc.orders", "written"): 10, ("doc.orders", "superseded"): 2, ("", "skipped"): 3, ("", "dead_lettered"): 1},
    rows={("doc.orders", "written"): 10},
    skipped={"resolved": 3},
    dead_letters={"json.malformed": 1},
    retries={"store.timeout": 4},
    lag={("orders", 0): 7, ("orders", 1): None},
    lanes={"out": 1, "idle": 3},
    permits=4.0,
    in_flight=1,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def a_result(outcomes: list[Outcome]) -> Result:
    changes = [Change(Kind.WRITE, (i,), None, (), [], Position("orders", 3, 100 + i)) for i in range(len(outcomes))]
    batch = Batch(Lane("doc.orders", 3), Table("doc", "orders", {}, ("id",)), changes, "tag")
    return Result(batch, outcomes, took_s=0.2, statements=1)


def samples(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


# ---------------------------------------------------------------- metrics


def test_the_books_balance_in_the_metrics() -> None:
    shown = samples(metrics.Metrics(lambda: STATUS).text().decode())
    ends = sum(value for name, value in shown.items() if name.startswith("ingest_records_total{"))
    assert shown["ingest_records_read_total"] == ends + shown["ingest_unsettled_records"]


def test_every_series_of_the_status_is_shown_with_its_labels() -> None:
    shown = samples(metrics.Metrics(lambda: STATUS).text().decode())
    expected = {
        'ingest_records_total{outcome="written",table="doc.orders"}': 10,
        'ingest_records_total{outcome="handed_back",table=""}': 1,
        'ingest_lag_records{partition="0",topic="orders"}': 7,
        'ingest_parked{code="topic.truncate",subject="topic:orders"}': 1,
        'ingest_retries_total{code="store.timeout"}': 4,
        'ingest_lanes{state="out"}': 1,
        "ingest_permits": 4,
        "ingest_ready": 1,
    }
    assert expected == {name: value for name, value in shown.items() if name in expected}


def test_a_lag_that_is_not_known_has_no_sample() -> None:
    assert 'partition="1"' not in metrics.Metrics(lambda: STATUS).text().decode()


def test_names_follow_the_conventions() -> None:
    for series in metrics.SERIES:
        assert series.name.startswith("ingest_")
        assert (series.kind == "counter") == series.name.endswith("_total"), series.name
        assert series.help.endswith("."), series.name


def test_a_batch_is_observed_once_and_its_freshness_is_stored_minus_source_time() -> None:
    watch = Watch(Board(), wall_s=lambda: 1_000.0)
    watch.batch(a_result([WRITTEN, SUPERSEDED]), "linger", newest_source_ms=999_700)
    shown = samples(watch.metrics.text().decode())
    assert 1 == shown['ingest_batch_rows_count{table="doc.orders"}']
    assert 2 == shown['ingest_batch_rows_sum{table="doc.orders"}']
    assert 0.2 == shown['ingest_batch_seconds_sum{table="doc.orders"}']
    assert 0.3 == pytest.approx(shown['ingest_freshness_seconds_sum{table="doc.orders"}'])


def test_rows_that_were_not_written_say_nothing_of_freshness() -> None:
    watch = Watch(Board())
    watch.batch(a_result([Outcome(Fate.RETRY, "store.timeout")]), "linger", newest_source_ms=1)
    assert "ingest_freshness_seconds_count{" not in watch.metrics.text().decode()


def test_commits_are_counted_by_their_events() -> None:
    watch = Watch(Board())
    watch.attach(lambda: STATUS)
    watch.event("debug", "committed")
    watch.event("warning", "commit_failed")
    watch.event("debug", "committed")
    watch.post()
    shown = samples(watch.metrics.text().decode())
    assert (2, 1) == (shown['ingest_commits_total{result="ok"}'], shown['ingest_commits_total{result="failed"}'])


def test_the_metrics_page_is_what_the_declarations_say() -> None:
    """`make docs` writes it."""
    assert metrics.as_markdown() == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- watch and board


def test_the_watch_is_what_the_loop_reports_to() -> None:
    watch: Observer = Watch(Board())
    assert [] == list(watch.take_unpark_requests())


def test_a_status_is_posted_at_most_once_a_second() -> None:
    board, looks = Board(), []
    watch = Watch(board)
    watch.attach(lambda: looks.append(1) or STATUS)  # type: ignore[func-returns-value]
    for now_s in (10.0, 10.2, 10.9, 11.0, 11.5):
        watch.beat(now_s)
    assert 2 == len(looks)
    assert "shop" == board.status.group


@pytest.mark.parametrize(
    ("silent_s", "oldest_request_s", "text"),
    [
        (0, 0, "ok"),
        (59, 100, "ok"),
        (61, 0, "the loop has not moved for 61 s"),
        (0, 400, "a writer has been waiting for CrateDB for 400 s"),
    ],
    ids=["fresh", "slow but alive", "stuck loop", "stuck writer"],
)
def test_health_fails_when_the_loop_or_a_writer_is_stuck(silent_s: float, oldest_request_s: float, text: str) -> None:
    clock = Clock()
    board = Board(health_s=60, writer_stuck_s=375, clock=clock)
    board.post(Status(oldest_request_s=oldest_request_s))
    board.beat(clock.now_s)
    clock.now_s += silent_s
    assert (text == "ok", text) == board.health()


# ---------------------------------------------------------------- the HTTP server


@pytest.fixture
def board() -> Board:
    board = Board()
    board.post(STATUS)
    return board


@pytest.fixture
def server(board: Board) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, board, metrics.Metrics(lambda: board.status))
    yield server
    server.close()


def fetch(server: HttpServer, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method, headers=headers or {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_each_path_answers_over_a_real_socket(server: HttpServer) -> None:
    assert (200, "ok\n") == fetch(server, "/healthz")
    assert fetch(server, "/metrics")[1].startswith("# HELP ingest_records_read_total")
    assert "doc.orders" in fetch(server, "/")[1]
    assert "topic:orders" == json.loads(fetch(server, "/parked")[1])[0]["subject"]
    assert (200, "") == fetch(server, "/healthz", "HEAD")
    assert 404 == fetch(server, "/nothing")[0]
    assert 404 == fetch(server, "/healthz", "POST")[0]


def test_ready_tells_what_is_assigned_parked_and_why_not(server: HttpServer, board: Board) -> None:
    status, text = fetch(server, "/readyz")
    assert (200, True, 2, 7) == (status, *(json.loads(text)[key] for key in ("ready", "assigned", "lag_records")))
    board.post(Status(reasons=("CrateDB is away (refused)",), is_breaker_open=True))
    status, text = fetch(server, "/readyz")
    assert (503, ["CrateDB is away (refused)"], True) == (status, *(json.loads(text)[key] for key in ("reasons", "breaker_open")))


def test_a_worker_that_has_not_started_is_well_but_not_ready() -> None:
    board = Board()
    pages = Pages(board, metrics.Metrics(lambda: board.status))
    assert (200, 503) == (pages.health().status, pages.ready().status)


def test_unpark_reaches_the_loop(server: HttpServer, board: Board) -> None:
    assert ["topic:orders"] == unpark(f"http://127.0.0.1:{server.port}", "orders")
    assert ["orders"] == board.take_unpark_requests()
    assert [] == board.take_unpark_requests()


def test_unparking_what_is_not_parked_names_what_is(server: HttpServer, board: Board) -> None:
    with pytest.raises(Stop, match=r"items is not parked .*; parked there: topic:orders"):
        unpark(f"http://127.0.0.1:{server.port}/", "items")
    assert [] == board.take_unpark_requests()


def test_unpark_without_a_worker_is_one_sentence(server: HttpServer) -> None:
    server.close()
    with pytest.raises(Stop, match="no worker answers at"):
        unpark(f"http://127.0.0.1:{server.port}", "orders")


def test_a_page_of_a_browser_cannot_unpark(server: HttpServer, board: Board) -> None:
    assert 403 == fetch(server, "/unpark?name=orders", "POST", {"Origin": "https://evil.example"})[0]
    assert [] == board.take_unpark_requests()


def test_a_port_that_is_taken_is_one_sentence(server: HttpServer, board: Board) -> None:
    with pytest.raises(Stop, match="set INGEST_HTTP_HOST and INGEST_HTTP_PORT"):
        HttpServer("127.0.0.1", server.port, board, metrics.Metrics(lambda: board.status))


def test_the_page_escapes_what_it_shows() -> None:
    text = page(STATUS, Health(True, "ok"))
    assert "the source truncated &lt;orders&gt;" in text
    assert "<orders>" not in text


# ---------------------------------------------------------------- logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """set_up changes the root logger, so what was there is put back."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    handlers, levels = list(root.handlers), (root.level, ours.level)
    libraries = {name: logging.getLogger(name).level for name in logs.LIBRARIES}
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_a_line_is_a_json_object(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    Watch(Board()).batch(a_result([WRITTEN, Outcome(Fate.REJECTED, "x")]), "full", None)
    logging.getLogger("ingest.kafka.source").info("subscribed", extra={"topics": ("a",)})
    batch, subscribed = lines(stream)
    assert ("info", "batch", "doc.orders", 2, 1, 1, "orders[3]@100", "orders[3]@101") == tuple(
        batch[key] for key in ("level", "event", "table", "rows", "written", "rejected", "from", "to")
    )
    assert ["a"] == subscribed["topics"]


def test_fields_may_have_any_name(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    logs.emit(logging.getLogger("ingest.x"), "warning", "odd", {"name": "n", "module": "m", "level": "l"})
    (line,) = lines(stream)
    assert ("n", "m", "l", "warning") == (line["name"], line["module"], line["level_"], line["level"])


def test_on_a_terminal_a_line_is_for_people(stream: io.StringIO) -> None:
    logs.set_up(style="human", stream=stream)
    Watch(Board()).event("warning", "batch_retry", code="store.timeout", text="no answer")
    assert stream.getvalue().rstrip().endswith('warning batch_retry  code=store.timeout text="no answer"')


def test_a_trace_stands_in_its_line(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("ingest.x").exception("broken")
    assert "ValueError: boom" in lines(stream)[0]["trace"]


def test_libraries_are_quiet_and_never_repeat_themselves(stream: io.StringIO) -> None:
    logs.set_up(level="DEBUG", stream=stream)
    for _ in range(3):
        logging.getLogger("kafka.net").error("broker lost")
        logging.getLogger("urllib3.connectionpool").debug("payload")
        logging.getLogger("ingest.x").debug("ours")
    assert ["broker lost", "ours", "ours", "ours"] == [line["event"] for line in lines(stream)]


def test_a_library_may_say_the_same_again_after_a_while() -> None:
    clock = Clock()
    quiet = logs.Quiet(clock)
    record = logging.makeLogRecord({"name": "kafka", "pathname": "x", "lineno": 1})
    said = [quiet.filter(record), quiet.filter(record)]
    clock.now_s += logs.REPEAT_S
    assert [True, False, True] == [*said, quiet.filter(record)]


def test_setting_up_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    logs.set_up(stream=stream)
    logging.getLogger("ingest.x").info("once")
    assert 1 == len(lines(stream))
