"""Several workers behind one address: what each shows becomes one answer; one that is silent is told as such."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ingest.watch.http import HttpServer, Listener, Reply
from ingest.watch.many import ManyPages, Worker, ask, metrics
from ingest.watch.metrics import Metrics
from ingest.watch.status import Board, ParkedPlace, Status

PARKED = ParkedPlace("topic:orders", "topic.truncate", "the source truncated <orders>", 1_700_000_000_000)
FINE = Status(group="shop", is_ready=True, reasons=(), assigned=2, read=20, lag={("orders", 0): 7, ("orders", 1): 4})
HALF = Status(group="shop", is_ready=True, reasons=("topic:orders is parked",), assigned=1, read=5, parked=(PARKED,))


class Host:
    """Two real workers' servers, and a third worker that does not run."""

    def __init__(self, stack: ExitStack, clock: list[float]) -> None:
        self.boards = [Board(clock=lambda: clock[0]) for _ in range(2)]
        servers = [HttpServer("127.0.0.1", 0, board, Metrics(lambda board=board: board.status)) for board in self.boards]
        for server in servers:
            stack.callback(server.close)
        self.workers = [Worker(number, f"http://127.0.0.1:{server.port}", 1, 70.0) for number, server in enumerate(servers)]
        for board, status in zip(self.boards, (FINE, HALF), strict=True):
            board.post(status)
        self.pages = ManyPages(lambda: self.workers)

    def lose(self) -> None:
        """The second one died; it was started three times so far."""
        self.workers[1] = self.workers[1]._replace(up_s=None, starts=3)


@pytest.fixture
def clock() -> list[float]:
    return [1_000.0]


@pytest.fixture
def host(clock: list[float]) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(stack, clock)


def samples(text: bytes) -> dict[str, float]:
    lines = (line for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_have_a_label_for_the_worker_and_each_family_once(host: Host) -> None:
    host.lose()
    text = host.pages.get("/metrics").body
    shown = samples(text)
    assert (20.0, 7.0) == (
        shown['ingest_records_read_total{worker="0"}'],
        shown['ingest_lag_records{partition="0",topic="orders",worker="0"}'],
    )
    assert 'ingest_records_read_total{worker="1"}' not in shown
    assert [1.0, 0.0] == [shown[f'ingest_worker_up{{worker="{number}"}}'] for number in range(2)]
    assert 3.0 == shown['ingest_worker_starts_total{worker="1"}']


def test_a_family_of_several_workers_stands_in_one_place() -> None:
    text = "# HELP a_total So many.\n# TYPE a_total counter\na_total 1.0\n# HELP b B.\n# TYPE b gauge\n"
    worker = Worker(0, "", 1, 1.0)
    answers = {worker: Reply(200, "", text.encode()), worker._replace(number=1): Reply(200, "", text.encode())}
    lines = metrics(answers).splitlines()
    start = lines.index("# HELP a_total So many.")
    assert ["# TYPE a_total counter", 'a_total{worker="0"} 1.0', 'a_total{worker="1"} 1.0'] == lines[start + 1 : start + 4]
    assert len({line for line in lines if line.startswith("#")}) == len([line for line in lines if line.startswith("#")])


def test_ready_when_all_are_with_sums_and_what_each_says(host: Host) -> None:
    reply = host.pages.get("/readyz")
    told = json.loads(reply.body)
    assert (200, True, 3, 11) == (reply.status, told["ready"], told["assigned"], told["lag_records"])
    assert ["worker 1: topic:orders is parked"] == told["reasons"]
    assert [("topic:orders", 1)] == [(place["subject"], place["worker"]) for place in told["parked"]]
    assert ["shop", "shop"] == [told["workers"][number]["group"] for number in ("0", "1")]
    host.lose()
    reply = host.pages.get("/readyz")
    assert (503, ["worker 1: does not run"]) == (reply.status, json.loads(reply.body)["reasons"])


def test_a_worker_that_died_is_no_reason_to_end_the_others_but_a_stuck_one_is(host: Host, clock: list[float]) -> None:
    assert (200, b"worker 0: ok\nworker 1: ok\n") == (host.pages.get("/healthz").status, host.pages.get("/healthz").body)
    host.lose()
    assert 200 == host.pages.get("/healthz").status
    clock[0] += 1_000
    reply = host.pages.get("/healthz")
    assert 503 == reply.status
    assert reply.body.startswith(b"worker 0: the loop has not moved for 1000 s\nworker 1: does not run")


def test_a_worker_that_does_not_listen_is_well_only_while_it_starts(host: Host) -> None:
    host.workers[1] = Worker(1, "http://127.0.0.1:1", 1, 5.0)
    assert 200 == host.pages.get("/healthz").status
    host.workers[1] = Worker(1, "http://127.0.0.1:1", 1, 500.0)
    assert (503, "does not answer" in host.pages.get("/healthz").body.decode()) == (host.pages.get("/healthz").status, True)


def test_unpark_reaches_the_worker_that_knows_the_name(host: Host) -> None:
    reply = host.pages.post("/unpark?name=orders", None)
    assert (202, {"unparking": ["topic:orders"]}) == (reply.status, json.loads(reply.body))
    assert [[], ["orders"]] == [board.take_unpark_requests() for board in host.boards]
    reply = host.pages.post("/unpark?name=nonsense", None)
    assert (404, ["topic:orders"]) == (reply.status, json.loads(reply.body)["parked"])
    assert 403 == host.pages.post("/unpark?name=orders", "http://evil.example").status
    host.workers[:] = [worker._replace(up_s=None) for worker in host.workers]
    assert 503 == host.pages.post("/unpark?name=orders", None).status


def test_the_page_names_each_worker_and_leads_to_its_own_page(host: Host) -> None:
    host.lose()
    shown = host.pages.get("/").body.decode()
    assert '<a href="/workers/0">0</a></td><td>ready</td>' in shown
    assert "does not run" in shown
    assert "shop" in host.pages.get("/workers/0").body.decode()
    assert (503, 404, 404) == tuple(host.pages.get(path).status for path in ("/workers/1", "/workers/7", "/0"))


def test_it_is_served(host: Host) -> None:
    listener = Listener("127.0.0.1", 0, lambda _: host.pages)
    try:
        reply = ask(Worker(9, f"http://127.0.0.1:{listener.port}", 1, 1.0), "/parked")
    finally:
        listener.close()
    assert reply is not None
    assert [("topic:orders", 1)] == [(place["subject"], place["worker"]) for place in json.loads(reply.body)]
