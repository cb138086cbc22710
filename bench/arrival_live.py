"""How often level *arrival* ends wrong, live: one stream into a table of each level, the same faults, and the rows that differ.

Two workers of one group, real servers, four faults, each in a run of its own: kills, a frozen worker that outlives its session,
answers that are lost, and none. Each run writes some thousand changes to a topic of four partitions for either table. A key
changes ten times or so while it is young and never again, so what went wrong with it stays; at the end every key's row must be
what its last change says. Prints a line a run; raw in bench/results/.

    python -m bench.arrival_live --seconds 45 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaProducer

from tests.chaos import proxy
from tests.integration.worker_rig import ORDERED, Running, Site, debezium, key_of, row_of, site_at, wait_until
from tests.servers import Missing, Server, find_crate, find_kafka

RESULTS = Path(__file__).parent / "results"
TABLES = {
    "ordered": ORDERED,
    "arrival": "id BIGINT, n BIGINT, d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id)",
}
PARTITIONS, YOUNG, CHANGES = 4, 60, 10
SESSION = {"kafka_session_timeout_ms": "6000", "kafka_heartbeat_interval_ms": "1500", "batch_linger_ms": "20"}
DRAINED_WITHIN_S = 300.0


class Stream(threading.Thread):
    """Writes inserts, updates and deletes to both topics, evenly, until told to stop. rows: what must be there at the end."""

    def __init__(self, site: Site, seed: int, rate: float) -> None:
        super().__init__(name="stream", daemon=True)
        self.rows: dict[int, int] = {}
        self.sent = 0
        self._site, self._rnd, self._rate = site, random.Random(seed), rate
        self._ends = threading.Event()

    def run(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self._site.kafka, linger_ms=5)
        began_s = time.monotonic()
        while not self._ends.wait(0.05):
            for _ in range(int((time.monotonic() - began_s) * self._rate) - self.sent):
                self._send(producer)
        producer.flush(60)
        producer.close()

    def stop(self) -> None:
        self._ends.set()
        self.join()

    def _send(self, producer: KafkaProducer) -> None:
        self.sent += 1
        n = self.sent
        key = n // CHANGES + self._rnd.randrange(YOUNG)
        is_delete = key in self.rows and self._rnd.random() < 0.15
        op = "d" if is_delete else "u" if key in self.rows else "c"
        for table in TABLES:
            value = debezium(table, n * 16, row_of(key, n=n, at=1_767_225_600_000), op)
            producer.send(self._site.topic(table), value, key_of(key), partition=key % PARTITIONS)
        if is_delete:
            del self.rows[key]
        else:
            self.rows[key] = n


class Run:
    """The workers and what may happen to them."""

    def __init__(self, site: Site, way: proxy.Proxy, rnd: random.Random) -> None:
        self.site, self.way, self.rnd = site, way, rnd
        self.workers = [self.start(), self.start()]

    def start(self) -> Running:
        return self.site.start(crate_urls=self.way.url, **SESSION)

    def kill_one(self) -> None:
        place = self.rnd.randrange(2)
        self.workers[place].kill()
        self.workers[place] = self.start()
        time.sleep(self.rnd.uniform(4, 8))

    def freeze_one(self) -> None:
        """Past its session, with some of its requests on the way; they come when another worker has its partitions."""
        pid, ends = self.rnd.choice(self.workers).pid, threading.Event()
        self.way.rule = held(ends, 0.5, self.rnd)
        time.sleep(0.5)
        os.kill(pid, signal.SIGSTOP)
        self.way.rule = proxy.passing
        time.sleep(9)
        os.kill(pid, signal.SIGCONT)
        time.sleep(self.rnd.uniform(0, 2))
        ends.set()
        time.sleep(3)

    def lose_answers(self) -> None:
        self.way.rule = proxy.only_writes(proxy.some(proxy.cut_before_answer, 0.3, self.rnd))
        time.sleep(3)
        self.way.rule = proxy.passing
        time.sleep(2)

    def nothing(self) -> None:
        time.sleep(1)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


FAULTS: dict[str, Callable[[Run], None]] = {
    "nothing": Run.nothing, "kills": Run.kill_one, "frozen past the session": Run.freeze_one, "answers lost": Run.lose_answers,
}  # fmt: skip


def held(ends: threading.Event, part: float, rnd: random.Random) -> proxy.Rule:
    """This part of the requests that write waits before it goes to CrateDB."""

    def rule(exchange: proxy.Exchange) -> None:
        if exchange.is_write and rnd.random() < part:
            ends.wait(60)
        proxy.passing(exchange)

    return rule


def measured(kafka: str, crate: str, fault: str, seed: int, seconds: float, rate: float) -> dict[str, Any]:
    """One run; the number of keys whose row is not what the stream says, by level."""
    with ExitStack() as stack:
        site = stack.enter_context(site_at(kafka, crate, Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        site.make_topics(*TABLES, partitions=PARTITIONS)
        for table, columns in TABLES.items():
            site.make_table(table, columns.replace(", month TIMESTAMP WITH TIME ZONE", "").replace("(id, month)", "(id)"))
        way = proxy.Proxy(urlsplit(crate).hostname or "", urlsplit(crate).port or 0)
        stack.callback(way.close)
        run, stream = Run(site, way, random.Random(seed)), Stream(site, seed, rate)
        stack.callback(run.close)
        stream.start()
        faults = under_fault(run, fault, seconds)
        stream.stop()
        wait_until(lambda: site.committed() == 2 * stream.sent, DRAINED_WITHIN_S, lambda: "not drained")
        time.sleep(1)  # what was sent late has arrived by now: nothing is held any more
        wrong = {table: wrong_keys(stream, site, table) for table in TABLES}
    return {
        "fault": fault,
        "seed": seed,
        "faults": faults,
        "changes": stream.sent,
        "keys": stream.sent // CHANGES + YOUNG,
        "wrong": wrong,
    }


def under_fault(run: Run, fault: str, seconds: float) -> int:
    """Again and again for so long; how often."""
    time.sleep(5)
    deadline_s, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline_s:
        FAULTS[fault](run)
        count += 1
    return count


def wrong_keys(stream: Stream, site: Site, table: str) -> int:
    stored = dict(zip(site.column(table), site.column(table, "n"), strict=True))
    return sum(stream.rows.get(key) != stored.get(key) for key in {*stream.rows, *stored})


@contextmanager
def started(server: Server | Missing) -> Iterator[str]:
    """Its address, while it runs."""
    if isinstance(server, Missing):
        raise SystemExit(server.how)
    server.start()
    try:
        yield server.address
    finally:
        server.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description="Rows that end wrong at level arrival and at level ordered, live.")
    parser.add_argument("--seconds", type=float, default=45.0, help="of faults in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="changes a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lines = []
    with started(find_kafka()) as kafka, started(find_crate()) as crate:
        for number in range(options.rounds):
            for fault in FAULTS:
                line = measured(kafka, crate, fault, options.seed + number, options.seconds, options.rate)
                lines.append(line)
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    (RESULTS / f"arrival-{at}.json").write_text("\n".join(map(json.dumps, lines)) + "\n")


if __name__ == "__main__":
    main()
