"""What shows a worker under pressure: a gate before CrateDB, a load that does not wait, a look every half second.

The gate is a rule of the chaos proxy: it serves rows at the pace that it is told, one request after the other, and refuses what
finds too many waiting, in CrateDB's own words. Its threads are the proxy's; the load and the script of events have one each.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from statistics import fmean
from typing import Any, NamedTuple

import orjson
from kafka import KafkaProducer

from bench.looks import Sample, scraped, total, usage
from tests.chaos.proxy import INSERT, NAME, Answer, Exchange, kind_of, results_of
from tests.integration.worker_rig import Running, Site, key_of, source_of

LOOK_S, TICK_S = 0.5, 0.05
# Quantiles are those of the requests that ended so lately.
WINDOW_S = 4.0
PARTITIONS = 4
COLUMNS = (
    "id BIGINT PRIMARY KEY, t TEXT INDEX OFF STORAGE WITH (columnstore = false), "
    "cdc_version TEXT, cdc_deleted BOOLEAN, cdc_source_ts TIMESTAMP WITH TIME ZONE"
)
TEXT_CHARS = 3_000
# As CrateDB 6.4.3 answers when the queue of its writing threads is full.
REFUSED = Answer(
    500, b'{"error": {"message": "EsRejectedExecutionException[rejected execution on the WRITE pool]", "code": 5000}}'
)  # fmt: skip


class Request(NamedTuple):
    """One that brought rows, on the monotonic clock. is_answered: by CrateDB, with a verdict on each row."""

    began_s: float
    ended_s: float
    rows: int
    is_answered: bool


class Gate:
    """pace: rows a second that CrateDB takes. most_waiting_s: seconds of its work that may wait; who comes then is refused.

    stored: rows that are in, by table: confirmed, or there already because the answer to an earlier request was lost.
    done: requests that ended.
    """

    def __init__(self, pace: float, most_waiting_s: float) -> None:
        self.pace, self._most_waiting_s = pace, most_waiting_s
        self.stored: Counter[str] = Counter()
        self.done: list[Request] = []
        self.refused = 0
        self._out: dict[int, int] = {}
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        if not exchange.is_write:
            exchange.answer(exchange.forward())
            return
        rows, began_s, results = len(exchange.told["bulk_args"]), time.monotonic(), None
        with self._lock:
            is_full = sum(self._out.values()) / self.pace > self._most_waiting_s
            self._out[id(exchange)] = rows
        try:
            answer = REFUSED if is_full else self._served(exchange, rows)
            results = results_of(answer)
            exchange.answer(answer)
        finally:
            self._note(exchange, Request(began_s, time.monotonic(), rows, results is not None), results or (), is_full)

    def rows_out(self) -> int:
        """Rows of the requests that are under way."""
        with self._lock:
            return sum(self._out.values())

    def lately(self) -> list[float]:
        """Seconds that each request of the last WINDOW_S took."""
        from_s = time.monotonic() - WINDOW_S
        with self._lock:
            return sorted(each.ended_s - each.began_s for each in self.done[-500:] if each.ended_s >= from_s)

    def _served(self, exchange: Exchange, rows: int) -> Answer:
        with self._turn:
            time.sleep(rows / self.pace)
            return exchange.forward()

    def _note(self, exchange: Exchange, request: Request, results: Sequence[dict[str, Any]], is_refused: bool) -> None:
        found = INSERT.search(exchange.stmt)
        table = NAME.findall(found[1])[-1] if found else ""
        with self._lock:
            del self._out[id(exchange)]
            self.done.append(request)
            self.refused += is_refused
            self.stored[table] += sum(kind_of(result) != "failed" for result in results)


Rate = Callable[[float], float]


class Offer:
    """Offers records to all tables in turn, so many a second as `rate` says for the seconds since it began, whatever becomes of
    them. offered: by table.
    """

    def __init__(self, site: Site, tables: Sequence[str], rate: Rate) -> None:
        self.offered: Counter[str] = Counter()
        self.trouble: Exception | None = None
        self._site, self._tables, self._rate = site, tables, rate
        self._stop = threading.Event()
        self._rnd = random.Random(1)
        self._thread = threading.Thread(target=self._run, name="offer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Until all that was offered is in Kafka."""
        self._stop.set()
        self._thread.join(60)
        if self.trouble is not None:
            raise self.trouble

    def _run(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self._site.kafka, linger_ms=5)
        began_s = last_s = time.monotonic()
        due = sent = 0.0
        try:
            while not self._stop.wait(TICK_S):
                now_s = time.monotonic()
                due, last_s = due + self._rate(now_s - began_s) * (now_s - last_s), now_s
                while sent < int(due):
                    self._send(producer, int(sent))
                    sent += 1
            producer.flush(60)
        except Exception as error:
            self.trouble = error
        finally:
            producer.close()

    def _send(self, producer: KafkaProducer, number: int) -> None:
        table = self._tables[number % len(self._tables)]
        row = {"id": number, "t": f"{self._rnd.getrandbits(4 * TEXT_CHARS):0{TEXT_CHARS}x}"}
        source = {**source_of(table, number + 1), "ts_ms": int(time.time() * 1000)}
        value = orjson.dumps({"before": None, "after": row, "source": source, "op": "c", "ts_ms": source["ts_ms"]})
        place = number // len(self._tables) % PARTITIONS
        producer.send(self._site.topic(table), value, key_of(number), partition=place)
        self.offered[table] += 1


class Look(NamedTuple):
    """What was seen at a moment. in_flight to paused: as the worker's metrics say, rows_out and latencies: at the gate.

    behind: records offered and not stored. p50_s, p99_s: of requests that ended lately, None without any. freshness_s: mean of
    what was stored lately. lag: records that wait in Kafka. paused: partitions, for want of memory.
    """

    at_s: float
    offered: dict[str, int]
    stored: dict[str, int]
    in_flight: int
    rows_out: int
    permits: float
    limit: int
    p50_s: float | None
    p99_s: float | None
    freshness_s: float | None
    lag: int
    unsettled: int
    unsettled_mb: float
    paused: int
    rss_mb: float
    off_books: int

    @property
    def behind(self) -> int:
        return sum(self.offered.values()) - sum(self.stored.values())


class Event(NamedTuple):
    at_s: float
    says: str


@dataclass
class Eyes:
    """Looks on until told to stop. events: what the script did, and when."""

    worker: Running
    gate: Gate
    offer: Offer
    looks: list[Look] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began_s = time.monotonic()
        self._fresh: deque[tuple[float, float]] = deque(maxlen=int(WINDOW_S / LOOK_S) + 1)

    def now_s(self) -> float:
        return round(time.monotonic() - self._began_s, 2)

    def event(self, says: str) -> None:
        self.events.append(Event(self.now_s(), says))
        print(f"{self.now_s():6.1f} s  {says}", flush=True)

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Look every LOOK_S until it is over. Raises AssertionError when the worker ends by itself."""
        next_s = time.monotonic()
        while not is_over():
            assert not self.worker.has_ended, self.worker.log[-3000:]
            with suppress(OSError, HTTPException):  # a busy machine: the next look is soon
                self.looks.append(self._look(scraped(self.worker.url, 5.0)))
            next_s = max(next_s + LOOK_S, time.monotonic())
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _look(self, samples: Sequence[Sample]) -> Look:
        took, used = self.gate.lately(), usage(self.worker.pid)
        assert used is not None
        unsettled = total(samples, "ingest_unsettled_records")
        off = total(samples, "ingest_records_read_total") - unsettled - total(samples, "ingest_records_total")
        return Look(
            at_s=self.now_s(), offered=dict(self.offer.offered), stored=dict(self.gate.stored),
            in_flight=int(total(samples, "ingest_requests_in_flight")), rows_out=self.gate.rows_out(),
            permits=round(total(samples, "ingest_permits"), 2), limit=int(total(samples, "ingest_permits_limit")),
            p50_s=quantile(took, 0.5), p99_s=quantile(took, 0.99), freshness_s=self._freshness(samples),
            lag=int(total(samples, "ingest_lag_records")), unsettled=int(unsettled),
            unsettled_mb=round(total(samples, "ingest_unsettled_bytes") / 1e6, 2),
            paused=int(total(samples, "ingest_paused_partitions", reason="pressure")), rss_mb=used.rss_mb, off_books=int(off),
        )  # fmt: skip

    def _freshness(self, samples: Sequence[Sample]) -> float | None:
        """Of what was stored in the last WINDOW_S."""
        name = "ingest_freshness_seconds"
        self._fresh.append((total(samples, f"{name}_sum"), total(samples, f"{name}_count")))
        seconds, count = (now - then for now, then in zip(self._fresh[-1], self._fresh[0], strict=True))
        return round(seconds / count, 3) if count else None


def quantile(values: Sequence[float], q: float) -> float | None:
    """The value below which that part of the values lies; they come in order.

    >>> quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99), quantile([], 0.5)
    (3, 4, None)
    """
    return round(values[min(len(values) - 1, int(q * len(values)))], 4) if values else None


def pace(looks: Sequence[Look], table: str | None = None) -> float:
    """Rows stored a second over these looks, of one table or all."""
    first, last = looks[0], looks[-1]
    stored = [each.stored.get(table, 0) if table else sum(each.stored.values()) for each in (first, last)]
    return (stored[1] - stored[0]) / max(last.at_s - first.at_s, LOOK_S)


def between(looks: Sequence[Look], from_s: float, until_s: float) -> list[Look]:
    return [look for look in looks if from_s <= look.at_s <= until_s]


def mean_of(looks: Sequence[Look], what: Callable[[Look], float]) -> float:
    return fmean(map(what, looks))
