"""A worker under a steady load, looked at once a second while some of its tables are read-only for a while.

A thread of its own offers records, evenly in time; everything else is one thread. For a test and `bench/read_only_minute.py`.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from kafka import KafkaProducer

from tests.integration.worker_rig import Done, Running, Site, debezium, key_of, row_of, wait_until
from tests.oracle.worker import rss_mb

TICK_S = 0.05
WARM_S = 4.0
CAUGHT_UP_WITHIN_S = 60.0
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
TOPIC = re.compile(r'topic="([^"]*)"')


@dataclass(frozen=True)
class Plan:
    """frozen: the tables that are read-only for blocked_s. rate: records a second that each topic is offered.

    memory_mb: with so little, a read-only table reaches its share of the memory within the minute.
    """

    tables: tuple[str, ...] = ("orders", "frozen", "events")
    frozen: tuple[str, ...] = ("frozen",)
    rate: int = 400
    partitions: int = 2
    before_s: float = 12.0
    blocked_s: float = 60.0
    after_s: float = 6.0
    memory_mb: int = 160

    @property
    def others(self) -> list[str]:
        return [table for table in self.tables if table not in self.frozen]

    def settings(self) -> dict[str, str]:
        """Two writers of small batches: else so little memory would not be enough to start."""
        return {"memory_mb": str(self.memory_mb), "writers": "2", "batch_max_bytes": "1000000"}


class Look(NamedTuple):
    """One look. phase: warm, before, blocked or after. stored: rows by table. lag_records: by table, as far as the worker knows.

    reasons: what /readyz says, such as which table holds its share of the memory.
    """

    at_s: float
    phase: str
    stored: Mapping[str, int]
    offered: int
    lag_records: Mapping[str, float]
    unsettled_bytes: float
    reasons: tuple[str, ...]
    rss_mb: float


@dataclass
class Readings:
    """What was seen, second by second, and how the worker ended."""

    plan: Plan
    looks: list[Look] = field(default_factory=list)
    end: Done | None = None

    def of(self, phase: str) -> list[Look]:
        return [look for look in self.looks if look.phase == phase]

    def pace(self, table: str, phase: str) -> float:
        """Rows stored a second, over the whole phase."""
        return pace_of(self.of(phase), table)

    def worst_pace(self, table: str, phase: str, window_s: float = 10.0) -> float:
        """The slowest stretch of so many seconds."""
        looks = self.of(phase)
        ends = [(i, j) for i in range(len(looks)) for j in range(i + 1, len(looks)) if looks[j].at_s - looks[i].at_s >= window_s]
        return min(pace_of(looks[i : j + 1], table) for i, j in ends)

    def ratios(self) -> dict[str, tuple[float, float]]:
        """By table that was not read-only: its pace meanwhile over that before, and its slowest stretch over that before."""
        found = {}
        for table in self.plan.others:
            before = self.pace(table, "before")
            found[table] = (self.pace(table, "blocked") / before, self.worst_pace(table, "blocked") / before)
        return found


def pace_of(looks: Sequence[Look], table: str) -> float:
    return (looks[-1].stored[table] - looks[0].stored[table]) / (looks[-1].at_s - looks[0].at_s)


class Offer:
    """Offers the records number 1, 2, 3, ... to every topic, `rate` a second each, until closed."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self._site, self._plan = site, plan
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offer", daemon=True)
        self.offered = 0
        self.trouble: Exception | None = None
        self._thread.start()

    def close(self) -> None:
        """Until all that was offered is in Kafka."""
        self._stop.set()
        self._thread.join(60)
        if self.trouble is not None:
            raise self.trouble

    def _run(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self._site.kafka, linger_ms=5)
        began_s = time.monotonic()
        try:
            while not self._stop.wait(TICK_S):
                due = int((time.monotonic() - began_s) * self._plan.rate)
                for number in range(self.offered + 1, due + 1):
                    self._send(producer, number)
                self.offered = due
            producer.flush(60)
        except Exception as error:
            self.trouble = error
        finally:
            producer.close()

    def _send(self, producer: KafkaProducer, number: int) -> None:
        for table in self._plan.tables:
            value = debezium(table, number, row_of(number))
            producer.send(self._site.topic(table), value, key_of(number), partition=number % self._plan.partitions)


def measure(site: Site, plan: Plan) -> Readings:
    """Load, block, lift the block, let the worker catch up and end."""
    site.make(*plan.tables, partitions=plan.partitions)
    readings = Readings(plan)
    worker = site.start(**plan.settings())
    try:
        wait_until(lambda: worker.readiness().get("ready") or worker.has_ended, 60, lambda: worker.log)
        offer = Offer(site, plan)
        try:
            look_on(site, worker, offer, readings, "warm", WARM_S)
            look_on(site, worker, offer, readings, "before", plan.before_s)
            with read_only(site, plan.frozen):
                look_on(site, worker, offer, readings, "blocked", plan.blocked_s)
            look_on(site, worker, offer, readings, "after", plan.after_s)
        finally:
            offer.close()
        goal = [offer.offered] * len(plan.tables)
        wait_until(lambda: stored(site, plan.tables) == goal or worker.has_ended, CAUGHT_UP_WITHIN_S, lambda: worker.log[-3000:])
    finally:
        readings.end = worker.stop()
    return readings


@contextmanager
def read_only(site: Site, tables: Sequence[str]) -> Iterator[None]:
    for table in tables:
        site.crate.rows(f'ALTER TABLE {table} SET ("blocks.write" = true)')
    try:
        yield
    finally:
        for table in tables:
            site.crate.rows(f'ALTER TABLE {table} RESET ("blocks.write")')


def look_on(site: Site, worker: Running, offer: Offer, readings: Readings, phase: str, seconds: float) -> None:
    """Look once a second, for so many seconds."""
    began_s = time.monotonic()
    while True:
        readings.looks.append(look(site, worker, offer, readings.plan.tables, phase))
        if time.monotonic() - began_s >= seconds or worker.has_ended:
            return
        time.sleep(1.0)


def look(site: Site, worker: Running, offer: Offer, tables: Sequence[str], phase: str) -> Look:
    rows = dict(zip(tables, stored(site, tables), strict=True))
    at_s = time.monotonic()
    lag, unsettled_bytes = dict.fromkeys(tables, 0.0), 0.0
    for name, labels, value in scraped(worker):
        if name == "ingest_lag_records" and (topic := TOPIC.search(labels)):
            lag[topic[1].rpartition(".")[2]] += float(value)
        elif name == "ingest_unsettled_bytes":
            unsettled_bytes = float(value)
    reasons = tuple(worker.readiness().get("reasons", ()))
    return Look(at_s, phase, rows, offer.offered, lag, unsettled_bytes, reasons, rss_mb(worker.pid))


def stored(site: Site, tables: Sequence[str]) -> list[int]:
    """Rows of each table."""
    site.crate.rows(f"REFRESH TABLE {', '.join(tables)}")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return [int(count) for count in site.crate.rows(f"SELECT {counts}")[0]]


def scraped(worker: Running) -> list[tuple[str, str, str]]:
    """Name, labels and value of every sample at /metrics."""
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=10) as answer:
        return SAMPLE.findall(answer.read().decode())
