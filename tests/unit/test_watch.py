"""What the outside world sees: logs, metrics, health, readiness, the page, and the way back for `unpark`."""

from __future__ import annotations

import json
import platform
import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ingest.errors import Stop
from ingest.flow.ports import Observer
from ingest.model import SUPERSEDED, WRITTEN, Batch, Change, Fate, Kind, Lane, Outcome, Position, Result, Table
from ingest.tools.unpark import unpark
from ingest.watch import metrics, queries, reference, series
from ingest.watch.http import HttpServer, Pages
from ingest.watch.status import Board, ParkedPlace, Status
from ingest.watch.watch import Watch

ROOT = Path(__file__).parents[2]
SERIES_NAME = re.compile(r"\b(?:ingest|process)_\w+")
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


def shown_text(status: Status) -> str:
    return metrics.Metrics(lambda: status).exposition().body.decode()


# ---------------------------------------------------------------- metrics


def test_the_books_balance_in_the_metrics() -> None:
    shown = samples(shown_text(STATUS))
    ends = sum(value for name, value in shown.items() if name.startswith("ingest_records_total{"))
    assert shown["ingest_records_read_total"] == ends + shown["ingest_unsettled_records"]


def test_every_series_of_the_status_is_shown_with_its_labels() -> None:
    shown = samples(shown_text(STATUS))
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
    assert 'partition="1"' not in shown_text(STATUS)


def test_names_follow_the_conventions() -> None:
    for each in series.SERIES:
        assert each.name.startswith("ingest_")
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert each.help.endswith("."), each.name


def test_a_batch_is_observed_once_and_its_freshness_is_stored_minus_source_time() -> None:
    watch = Watch(Board(), wall_s=lambda: 1_000.0)
    watch.batch(a_result([WRITTEN, SUPERSEDED]), "linger", newest_source_ms=999_700)
    shown = samples(watch.metrics.exposition().body.decode())
    assert 1 == shown['ingest_batch_rows_count{table="doc.orders"}']
    assert 2 == shown['ingest_batch_rows_sum{table="doc.orders"}']
    assert 0.2 == shown['ingest_batch_seconds_sum{table="doc.orders"}']
    assert 0.3 == pytest.approx(shown['ingest_freshness_seconds_sum{table="doc.orders"}'])  # no row but the newest tells a time


def test_freshness_is_that_of_the_oldest_and_newest_row_that_was_written() -> None:
    result = a_result([WRITTEN, SUPERSEDED, WRITTEN])
    for change, ms in zip(result.batch.changes, (990_000, 100_000, 999_000), strict=True):
        change.source_ts_ms = ms
    watch = Watch(Board(), wall_s=lambda: 1_000.0)
    watch.batch(result, "linger", newest_source_ms=999_000)
    shown = samples(watch.metrics.exposition().body.decode())
    assert (2, 11.0) == tuple(shown[f'ingest_freshness_seconds_{end}{{table="doc.orders"}}'] for end in ("count", "sum"))


def test_a_source_clock_that_is_ahead_counts_as_fresh() -> None:
    watch = Watch(Board(), wall_s=lambda: 1_000.0)
    watch.batch(a_result([WRITTEN]), "linger", newest_source_ms=1_000_900)
    shown = samples(watch.metrics.exposition().body.decode())
    assert 1 == shown['ingest_freshness_seconds_bucket{le="0.005",table="doc.orders"}']


def test_rows_that_were_not_written_say_nothing_of_freshness() -> None:
    watch = Watch(Board())
    watch.batch(a_result([Outcome(Fate.RETRY, "store.timeout")]), "linger", newest_source_ms=1)
    assert "ingest_freshness_seconds_count{" not in watch.metrics.exposition().body.decode()


def test_commits_are_counted_by_their_events() -> None:
    watch = Watch(Board())
    watch.attach(lambda: STATUS)
    watch.event("debug", "committed")
    watch.event("warning", "commit_failed")
    watch.event("debug", "committed")
    watch.post()
    shown = samples(watch.metrics.exposition().body.decode())
    assert (2, 1) == (shown['ingest_commits_total{result="ok"}'], shown['ingest_commits_total{result="failed"}'])


def test_counters_of_known_tables_begin_at_zero_before_they_count() -> None:
    """Prometheus sees no increase in a counter that appears with its first count."""
    watch = Watch(Board())
    watch.attach(lambda: Status(tables={"doc.new": "ordered"}))
    watch.post()
    shown = samples(watch.metrics.exposition().body.decode())
    begun = {name for name, value in shown.items() if value == 0}
    assert {
        'ingest_records_total{outcome="dead_lettered",table="doc.new"}',
        'ingest_rows_total{outcome="retry",table="doc.new"}',
        'ingest_records_total{outcome="skipped",table=""}',
        'ingest_commits_total{result="failed"}',
        'ingest_rebalances_total{event="lost"}',
        'ingest_freshness_seconds_count{table="doc.new"}',
    } <= begun


def test_partitions_that_rest_are_counted_by_reason() -> None:
    shown = samples(shown_text(Status(paused={("a", 0): "parked", ("a", 1): "parked", ("b", 0): "waiting"})))
    assert [2, 0, 1] == [shown[f'ingest_paused_partitions{{reason="{each}"}}'] for each in series.REASONS]


def test_a_loop_that_stands_still_is_told_although_the_status_is_not_posted_any_more() -> None:
    clock = Clock()
    board = Board(clock=clock)
    board.beat(clock.now_s)
    watch = Watch(board)
    clock.now_s += 90
    assert 90 == samples(watch.metrics.exposition().body.decode())["ingest_loop_silent_seconds"]


def test_the_process_and_its_versions_are_told() -> None:
    text = shown_text(STATUS)
    assert samples(text)["process_resident_memory_bytes"] > 1_000_000
    (build,) = [line for line in text.splitlines() if line.startswith("ingest_build_info{")]
    assert f'python="{platform.python_version()}"' in build
    assert f'kafka_python="{version("kafka-python")}"' in build
    assert 'ingest_worker_info{group="shop"} 1.0' in text


@pytest.mark.parametrize(
    ("accept", "begin"),
    [
        ("", "text/plain; version=0.0.4"),
        ("text/html,*/*", "text/plain; version=0.0.4"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0",
        ),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4"),
    ],
    ids=["nothing asked for", "a browser", "Prometheus", "a version that is no number"],
)
def test_the_format_of_the_metrics_is_the_one_that_was_asked_for(accept: str, begin: str) -> None:
    shown = metrics.Metrics(lambda: STATUS).exposition(accept)
    assert shown.content_type.startswith(begin)
    assert shown.body.endswith(b"# EOF\n") == begin.startswith("application/openmetrics")


def test_openmetrics_can_be_read_back() -> None:
    text = metrics.Metrics(lambda: STATUS).exposition("application/openmetrics-text;version=1.0.0").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {each.name.removesuffix("_total") for each in series.SERIES} <= families.keys()
    assert {each.name for each in series.SHAPES} <= families.keys()


def test_every_query_and_alert_asks_for_series_that_there_are() -> None:
    alerts = (ROOT / "docs" / "alerts.rules.yml").read_text(encoding="utf-8")
    assert set() == {name for query in queries.QUERIES for name in SERIES_NAME.findall(query.promql)} - series.sample_names()
    named_in_advice = {shape.name for shape in series.SHAPES}
    assert set() == set(SERIES_NAME.findall(alerts)) - series.sample_names() - named_in_advice


def test_every_alert_has_its_entry_in_the_runbook_and_no_entry_is_left_over() -> None:
    alerts = (ROOT / "docs" / "alerts.rules.yml").read_text(encoding="utf-8")
    named = re.findall(r"- alert: (\w+)", alerts)
    assert [name.lower() for name in named] == re.findall(r"runbook: docs/runbook\.md#(\w+)", alerts)
    assert named == re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_no_query_stands_twice() -> None:
    assert (
        len(queries.QUERIES) == len({query.name for query in queries.QUERIES}) == len({query.promql for query in queries.QUERIES})
    )


def test_the_metrics_page_is_what_the_declarations_say() -> None:
    """`make docs` writes it."""
    assert reference.metrics_page() == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


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


def test_prometheus_gets_openmetrics_over_the_socket_when_it_asks(server: HttpServer) -> None:
    asked = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    assert fetch(server, "/metrics", headers=asked)[1].endswith("# EOF\n")


def test_a_client_that_goes_away_costs_no_line(
    server: HttpServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed with a reset
            client.sendall(b"GET / HTTP/1.1\r\n")
    assert (200, "ok\n") == fetch(server, "/healthz")
    assert [] == [record for record in caplog.records if record.levelname != "DEBUG"]
    assert ("", "") == capfd.readouterr()


def test_a_bug_in_a_page_is_one_line(
    board: Board, server: HttpServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    board.post(Status(parked=(1,)))  # type: ignore[arg-type]
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        fetch(server, "/parked")
    assert [("http_failed", "AttributeError")] == [(record.getMessage(), record.error) for record in caplog.records]  # type: ignore[attr-defined]
    assert ("", "") == capfd.readouterr()


def test_a_browser_is_told_to_run_nothing(server: HttpServer) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{server.port}/", timeout=5
    ) as response:
        assert "default-src 'none'; style-src 'unsafe-inline'" in response.headers["Content-Security-Policy"]


def test_the_page_shows_where_this_worker_is_unparked(server: HttpServer) -> None:
    assert f"ingest unpark topic:orders --url http://127.0.0.1:{server.port}" in fetch(server, "/")[1]
