"""How old a record is when a reader can see it: from its sending to the first SELECT by key that finds it, under steady load.

A `Pacer` sends records at a rate, a `Prober` asks CrateDB for some of them until they are there. Keys are asked for by their
whole primary key, which sees rows before any refresh.

    python -m bench.freshness --rates 500,2000 --months 1,12 --set INGEST_WRITERS=1,2,4      each with each, in turn
    python -m bench.freshness --shards 1,2 --refresh ",10000" --seconds 60

Rows of the last seconds of a run are the ones to look at: CrateDB's JVM learns for a minute or so after its start (`late`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaProducer

from bench import cases, report
from bench.contenders import WORKER, Contender, Job, Worker
from bench.measure import launch, new_schema, stop
from bench.report import markdown
from bench.rows import Event, Shape, Stored
from bench.servers import Servers, Sql, own_servers
from bench.workload import Filled, Layout, Workload, delete_topics, make_topics
from ingest.tables.calendar_utc import month_of
from tests.server_processes import KAFKA_VERSION

SHARES = (0.1, 0.5, 0.9)
SECONDS = 15.0
TICK_S = 0.005
PROBE_EVERY_S = 0.05
POLL_S = 0.01
READY_WITHIN_S = 120.0
AT_ONCE = 50  # keys in one question


class Message(NamedTuple):
    key: int
    month: int
    key_bytes: bytes
    value: bytes


class Seen(NamedTuple):
    """A record that was asked for: sent and found, on the monotonic clock."""

    key: int
    sent_s: float
    found_s: float

    @property
    def took_ms(self) -> float:
        return (self.found_s - self.sent_s) * 1_000


class Fresh(NamedTuple):
    """At a part of the top rate. lost: records that could not be seen in time."""

    contender: str
    share: float
    rate: float
    probes: int
    p50_ms: float
    p99_ms: float
    lost: int

    def __str__(self) -> str:
        load = f"{self.share:.0%} of the top rate, {self.rate:,.0f}/s"
        return f"  {self.contender:<24} {load}: p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms, {self.lost} lost"


class Prober:
    """Asks for the oldest records that nobody has seen, from a thread of its own."""

    def __init__(self, sql: Sql, table: str, layout: Layout, poll_s: float = POLL_S) -> None:
        self._sql, self._table, self._layout, self._poll_s = sql, table, layout, poll_s
        self._open: deque[tuple[Message, float]] = deque()
        self._stop = threading.Event()
        self.seen: list[Seen] = []
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def ask_for(self, message: Message, sent_s: float) -> None:
        self._open.append((message, sent_s))

    def wait(self, within_s: float) -> int:
        """Until all were seen; how many were not."""
        deadline_s = time.monotonic() + within_s
        while self._open and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return len(self._open)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            asked = [self._open[i] for i in range(min(AT_ONCE, len(self._open)))]
            if asked:
                found = self._found([message for message, _ in asked])
                now_s = time.monotonic()
                self.seen += [Seen(message.key, sent_s, now_s) for message, sent_s in asked if message.key in found]
                for each in asked:
                    if each[0].key in found:
                        self._open.remove(each)
            time.sleep(self._poll_s)

    def _found(self, messages: Sequence[Message]) -> set[int]:
        """Each by its own key: IN and IN would make CrateDB look for each id in each month."""
        month = " AND month = {0.month}" if self._layout.has_months else ""
        where = " OR ".join(f"(id = {message.key}{month.format(message)})" for message in messages)
        return {row[0] for row in self._sql.rows(f"SELECT id FROM {self._table} WHERE {where}")}


class Pacer:
    """Sends inserts into a topic of six partitions, at a rate or one by one."""

    def __init__(self, kafka: str, topic: str, workload: Workload) -> None:
        self._topic, self._workload, self._next = topic, workload, 0
        self._producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=2, acks=1)
        self.sent = 0

    def messages(self, count: int) -> list[Message]:
        """The next ones, encoded."""
        first, self._next = self._next, self._next + count
        return [self._message(key) for key in range(first, first + count)]

    def send(self, message: Message) -> float:
        """When it was handed to the client."""
        now_s = time.monotonic()
        partition = zlib.crc32(message.key_bytes) % self._workload.partitions
        self._producer.send(self._topic, message.value, message.key_bytes, partition=partition)
        self.sent += 1
        return now_s

    def flush(self) -> None:
        self._producer.flush()

    def pace(self, messages: Sequence[Message], rate: float, prober: Prober, is_over: Callable[[], bool] = bool) -> None:
        """Send them at so many a second, and have one asked for every PROBE_EVERY_S."""
        began_s = probed_s = time.monotonic()
        done = 0
        while done < len(messages) and not is_over():
            due = min(len(messages), int((time.monotonic() - began_s) * rate) + 1)
            for message in messages[done:due]:
                sent_s = self.send(message)
                if sent_s - probed_s >= PROBE_EVERY_S:
                    prober.ask_for(message, sent_s)
                    probed_s = sent_s
            done = due
            time.sleep(TICK_S)
        self.flush()

    def close(self) -> None:
        self._producer.close()

    def _message(self, key: int) -> Message:
        row = self._workload.shape.row(key, Stored(key, key * 7919 % self._workload.shape.days))
        month = month_of(row["created_at"])
        key_bytes, value = self._workload.wire.encode(Event("c", key, key, row))
        return Message(key, month, key_bytes, value or b"")


@dataclass
class Stage:
    """A contender that runs over a topic that grows. job: to start more of its group."""

    job: Job
    pacer: Pacer
    prober: Prober
    table: str


@contextmanager
def stage(contender: Contender, workload: Workload, servers: Servers, poll_s: float = POLL_S) -> Iterator[Stage]:
    """Topic, table, pacer and prober; the contender itself is started by whoever needs it."""
    schema, sql = new_schema(), servers.sql
    filled = Filled(workload, {"orders": f"{schema}.orders"}, {})
    make_topics(servers.kafka, list(filled.topics.values()), workload.partitions)
    workload.make_tables(sql, schema, contender.layout)
    table = f'"{schema}"."orders"'
    pacer = Pacer(servers.kafka, filled.topics["orders"], workload)
    prober = Prober(servers.sql, table, contender.layout, poll_s)
    try:
        with tempfile.TemporaryDirectory(prefix="ingest-bench-") as folder:
            yield Stage(Job(servers, filled, schema, Path(folder), is_endless=True), pacer, prober, table)
    finally:
        prober.close()
        pacer.close()
        sql.drop_schema(schema)
        delete_topics(servers.kafka, [*filled.topics.values(), f"{schema}.dlq"])


@contextmanager
def running(contender: Contender, job: Job) -> Iterator[Any]:
    """One more process of the contender, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=job.folder))
    process, _ = launch(contender, replace(job, folder=folder))
    try:
        yield process
    finally:
        stop(process)


def first_seen(on: Stage) -> None:
    """Until a record that is sent now was seen: everything runs."""
    (message,) = on.pacer.messages(1)
    on.prober.ask_for(message, on.pacer.send(message))
    on.pacer.flush()
    if on.prober.wait(READY_WITHIN_S):
        raise RuntimeError("the contender wrote nothing in two minutes")
    on.prober.seen.clear()


def measured(contender: Contender, workload: Workload, servers: Servers, share: float, top: float) -> Fresh:
    """top: records a second; share: the part of them that are sent."""
    rate = max(1.0, share * top)
    took_ms, lost = paced(contender, workload, servers, rate)
    p50_ms, p99_ms = percentiles(took_ms)
    return Fresh(contender.name, share, round(rate, 1), len(took_ms), p50_ms, p99_ms, lost)


def paced(
    contender: Contender, workload: Workload, servers: Servers, rate: float, seconds: float = SECONDS
) -> tuple[list[float], int]:
    """How old some of the records of a steady load were when they could be seen, in ms, and how many could not."""
    with stage(contender, replace(workload, mix="insert", tables=1), servers) as on, running(contender, on.job):
        first_seen(on)
        on.pacer.pace(on.pacer.messages(int(rate * seconds)), rate, on.prober)
        lost = on.prober.wait(READY_WITHIN_S)
        return [seen.took_ms for seen in on.prober.seen], lost


def late(took_ms: Sequence[float]) -> tuple[float, float]:
    """Percentiles of the second half of the records that were asked for."""
    return percentiles(took_ms[len(took_ms) // 2 :])


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th of a hundred, to a tenth.

    >>> percentiles([1.0, 2.0, 3.0])
    (2.0, 3.0)
    """
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return round(cuts[49], 1), round(max(cuts[98], 0.0), 1)


def table(found: Sequence[Fresh]) -> str:
    head = ("contender", *(f"p50 / p99 at {share:.0%}" for share in SHARES))
    by_name: dict[str, list[Fresh]] = {}
    for each in found:
        by_name.setdefault(each.contender, []).append(each)
    rows = [[name, *(f"{e.p50_ms:.0f} / {e.p99_ms:.0f} ({e.rate:,.0f}/s)" for e in some)] for name, some in by_name.items()]
    return markdown(head, rows)


# ---------------------------------------------------------------- by itself


class Kind(NamedTuple):
    """What is run. refresh_ms: "" for CrateDB's own. value: of the setting that is compared."""

    months: str
    shards: str
    refresh_ms: str
    rate: str
    value: str

    @property
    def workload(self) -> Workload:
        refresh_ms = int(self.refresh_ms) if self.refresh_ms else None
        return replace(cases.MAIN, shape=Shape(months=int(self.months)), shards=int(self.shards), refresh_ms=refresh_ms)

    def __str__(self) -> str:
        refresh = f"{self.refresh_ms or 'default'} ms"
        return f"{self.months:>3} months of {self.shards} shards, refresh {refresh:>10}, {self.rate:>6}/s {self.value}"


def main() -> int:
    options = arguments().parse_args()
    setting, _, values = options.set.partition("=")
    lists = (options.months, options.shards, options.refresh, options.rates, values)
    kinds = [Kind(*each) for each in product(*(words.split(",") for words in lists))]
    found = []
    with own_servers(is_pinned=options.pin) as servers:
        warm_up(servers)
        for number in range(options.rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                worker = Worker("worker", {setting: kind.value} if setting else {})
                took_ms, lost = paced(worker, kind.workload, servers, float(kind.rate), options.seconds)
                found.append(kind._asdict() | {"setting": setting, "lost": lost, "took_ms": took_ms})
                (p50, p99), (late_p50, late_p99) = percentiles(took_ms), late(took_ms)
                told = f"p50 {p50}, p99 {p99} ms, late p50 {late_p50}, p99 {late_p99} ms of {len(took_ms)}, {lost} lost"
                print(f"{kind}: {told}", flush=True)
        about = report.machine() | {"crate": servers.crate_version, "kafka": KAFKA_VERSION, "pinned": options.pin}
    print(report.keep("freshness", about, found=found))
    return 0


def warm_up(servers: Servers) -> None:
    """What CrateDB's JVM learns of statements and shards should not be what is measured."""
    for _ in range(3):
        paced(WORKER, cases.MAIN, servers, 3_000)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="2000", help="records a second, separated by commas")
    parser.add_argument("--months", default="12", help="over how many months the rows are spread")
    parser.add_argument("--shards", default="2", help="of each month")
    parser.add_argument("--refresh", default="", help="refresh intervals in ms; '' is CrateDB's own: 1 s, none without searches")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument(
        "--set", default="", metavar="INGEST_X=A,B", help="a setting of the worker, with all its values to compare"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pin", action="store_true", help="CrateDB on one core and everything else on the others")
    return parser


if __name__ == "__main__":
    sys.exit(main())
