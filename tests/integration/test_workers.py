"""INGEST_WORKERS=2 on real servers: two processes under one command share a topic; what becomes of all when one of them ends."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.integration.worker_rig import Running, Site, debezium, key_of, row_of, site_at, wait_until
from tests.oracle import kafka_io

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS, PARTITIONS = 2_000, 4
TWO = {"workers": "2", "kafka_session_timeout_ms": "6000", "kafka_heartbeat_interval_ms": "1500"}


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        made.make("orders", partitions=PARTITIONS)
        yield made


@pytest.fixture
def port() -> int:
    """The first of three neighbours that are free: the parent's, then one per worker. Below what systems give to clients."""
    for first in random.sample(range(20_000, 30_000, 3), 100):
        try:
            for each in range(first, first + 3):
                with closing(socket.create_server(("127.0.0.1", each))):
                    pass
        except OSError:
            continue
        return first
    pytest.fail("no three free ports in a row")


def fill(site: Site, first: int, rows: int = ROWS) -> None:
    produce(site, ((number, debezium("orders", number, row_of(number))) for number in range(first, first + rows)))


def produce(site: Site, rows: Iterable[tuple[int, bytes]]) -> None:
    producer = KafkaProducer(bootstrap_servers=site.kafka, linger_ms=20)
    try:
        for number, value in rows:
            producer.send(site.topic("orders"), value, key_of(number), partition=number % PARTITIONS)
        producer.flush(60)
    finally:
        producer.close()


def logged(worker: Running, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in worker.log.splitlines() if line.startswith("{") and line.endswith("}"))
    return [line for line in lines if line["event"] == event]


def pids(worker: Running) -> dict[int, int]:
    """Number of a child -> the process that it is now."""
    return {line["worker"]: line["pid"] for line in logged(worker, "worker_started")}


def partitions(worker: Running) -> list[int]:
    """How many each worker has, by what the parent shows of both."""
    told = worker.readiness().get("workers", {})
    return [told.get(number, {}).get("assigned", 0) for number in ("0", "1")]


def wait_for_both(worker: Running) -> None:
    wait_until(lambda: partitions(worker) == [2, 2] or worker.has_ended, 60, lambda: f"{partitions(worker)}\n{worker.log}")


def wait_for_rows(site: Site, worker: Running, rows: int) -> None:
    wait_until(lambda: len(site.column("orders")) >= rows or worker.has_ended, 60, lambda: worker.log)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_two_workers_share_a_topic_and_end_cleanly_together(site: Site, port: int) -> None:
    worker = site.start(**TWO, http_port=str(port))
    try:
        wait_for_both(worker)
        fill(site, 1)
        produce(site, ((number, b"{broken") for number in range(PARTITIONS)))
        wait_for_rows(site, worker, ROWS)
        wait_until(lambda: worker.readiness().get("ready"), 60, lambda: f"{worker.readiness()}\n{worker.log}")
        told, health, groups = worker.readiness(), read(f"{worker.url}/healthz"), [os.getpgid(p) for p in pids(worker).values()]
        metrics = read(f"{worker.url}/metrics")
    finally:
        done = worker.stop()
    assert (done.code, site.column("orders")) == (0, list(range(1, ROWS + 1)))
    assert site.committed() == ROWS + PARTITIONS
    assert [(each["is_balanced"], each["unsettled"], each["dead_lettered"]) for each in done.answers] == [(True, 0, 2)] * 2
    assert sum(each["written"] for each in done.answers) == ROWS
    assert min(each["written"] for each in done.answers) > 0
    assert (told["ready"], told["assigned"], health) == (True, PARTITIONS, "worker 0: ok\nworker 1: ok\n")
    assert [f'ingest_assigned_partitions{{worker="{number}"}} 2.0' in metrics for number in range(2)] == [True, True]
    # Each letter says which of the two sent it.
    headers = [dict(letter.headers) for _, letter in kafka_io.read_letters(site.kafka, f"{site.name}.dlq")]
    senders = sorted(each["__connect.errors.task.id"].decode() for each in headers)
    assert senders == sorted(2 * [f"{socket.gethostname()}-{pid}" for pid in pids(worker).values()])
    # A terminal's Ctrl-C goes to a whole process group; the workers hear of it from their parent alone, once.
    assert sorted(groups) == sorted(pids(worker).values())


def test_two_workers_catch_up_and_end(site: Site, port: int) -> None:
    fill(site, 1)
    done = site.run(**TWO, http_port=str(port))
    assert (done.code, site.column("orders"), site.committed()) == (0, list(range(1, ROWS + 1)), ROWS)
    assert [each["is_balanced"] for each in done.answers] == [True, True]


def test_a_killed_worker_is_started_again_and_nothing_is_lost(site: Site, port: int) -> None:
    worker = site.start(**TWO, http_port=str(port))
    try:
        wait_for_both(worker)
        fill(site, 1)
        os.kill(pids(worker)[1], signal.SIGKILL)
        fill(site, 1 + ROWS)
        wait_for_rows(site, worker, 2 * ROWS)
        wait_for_both(worker)
        starts = 'ingest_worker_starts_total{worker="1"} 2.0' in read(f"{worker.url}/metrics")
    finally:
        done = worker.stop()
    assert (done.code, site.column("orders"), site.letters()) == (0, list(range(1, 2 * ROWS + 1)), {})
    assert site.committed() == 2 * ROWS
    (died,) = logged(worker, "worker_died")
    assert (died["worker"], died["exit_code"], died["wait_s"]) == (1, 128 + signal.SIGKILL, 1.0)
    assert starts
    assert [each["is_balanced"] for each in done.answers] == [True, True]


def test_a_worker_that_cannot_go_on_ends_all_with_its_code_and_a_sentence(site: Site, port: int) -> None:
    """Here: the port of the second one is taken, which only that one finds out."""
    with closing(socket.create_server(("127.0.0.1", port + 2))):
        done = site.start(**TWO, http_port=str(port)).wait()
    assert done.code == 2
    assert f"cannot listen on 127.0.0.1:{port + 2}" in done.sentences[0]
    assert done.sentences[1] == "ingest: worker 1 ended with code 2, its reason stands above; so the others are stopped"


def test_workers_do_not_outlive_the_process_that_started_them(site: Site, port: int) -> None:
    worker = site.start(**TWO, http_port=str(port))
    try:
        wait_for_both(worker)
    finally:
        worker.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids(worker).values()), 30, lambda: worker.log)
    assert logged(worker, "stopped")
