"""The rows of the fault matrix about memory: large records, many partitions, many tables, and a store that hangs.

Their load is not the stream's, so they have a life and a verdict of their own; the lines of the results are the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from kafka import KafkaProducer

from ingest.memory import MB
from ingest.practice.store import Store
from tests.chaos import proxy, results
from tests.chaos.proxy import Exchange, Proxy
from tests.chaos.watch import committed
from tests.integration.worker_rig import Running, Site, debezium, key_of, row_of, site_at, wait_until
from tests.oracle import kafka_io
from tests.oracle.worker import rss_mb
from tests.server_processes import CrateServer, KafkaServer

pytestmark = [
    *(pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow),
    # The client leaves sockets that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PARTITIONS = 64
HANGS_S = 20.0
WITHIN_S = 300.0
BIG_BYTES, BIG_RECORDS, SPOILED_EVERY = 1_000_000, 250, 25
TABLES, ROWS_EACH = 2_000, 5
LONG_TEXT = "id BIGINT PRIMARY KEY, t TEXT INDEX OFF STORAGE WITH (columnstore = false), cdc_version TEXT, cdc_deleted BOOLEAN"
PLAIN = "id BIGINT PRIMARY KEY, n BIGINT, d DOUBLE PRECISION, t TEXT, cdc_version TEXT, cdc_deleted BOOLEAN"


class Message(NamedTuple):
    partition: int
    key: bytes
    value: bytes


@dataclass
class Life:
    """What was seen of a worker. most_mb: in millions of bytes, as the setting counts. hung_mb: while the store hung."""

    most_mb: float = 0.0
    hung_mb: float = 0.0
    waited_s: float = 0.0


@contextmanager
def hanging(way: Proxy) -> Iterator[threading.Event]:
    """Requests that bring rows wait for the event, and go on to the store then."""
    ends = threading.Event()

    def rule(exchange: Exchange) -> None:
        if exchange.is_write:
            ends.wait(WITHIN_S)
        proxy.passing(exchange)

    way.rule = rule
    try:
        yield ends
    finally:
        ends.set()
        way.rule = proxy.passing


def produce(site: Site, topic: str, messages: Iterable[Message]) -> int:
    """How many."""
    producer = KafkaProducer(bootstrap_servers=site.kafka, linger_ms=20, max_request_size=kafka_io.MOST_BYTES)
    count = 0
    try:
        for each in messages:
            producer.send(topic, each.value, each.key, partition=each.partition)
            count += 1
        producer.flush(WITHIN_S)
    finally:
        producer.close()
    return count


def live(site: Site, way: Proxy, total: int, heads: Set[int] = frozenset(), **settings: str) -> Life:
    """A worker that meets a store that hangs for HANGS_S, then stores everything. heads: partitions that begin with a dead
    letter, the only records that may be committed before."""
    life = Life()
    with hanging(way) as ends:
        worker = site.start(crate_urls=way.url, **settings)
        began_s = time.monotonic()
        look_on(life, worker, lambda: time.monotonic() - began_s > HANGS_S)
        life.hung_mb = life.most_mb
        done_early = {partition: offset for (_, partition), offset in committed(site.kafka, site.name).items() if offset}
        assert done_early.keys() <= heads
        assert set(done_early.values()) <= {1}
        ends.set()
    released_s = time.monotonic()
    look_on(life, worker, lambda: site.committed() == total)
    life.waited_s = time.monotonic() - released_s
    done = worker.stop()
    assert (done.code, done.answer["is_balanced"], done.answer["unsettled"]) == (0, True, 0), done.log[-3000:]
    return life


def look_on(life: Life, worker: Running, is_over: Callable[[], bool]) -> None:
    def looked() -> bool:
        life.most_mb = max(life.most_mb, rss_mb(worker.pid) * 1024 * 1024 / MB)
        return worker.has_ended or is_over()

    wait_until(looked, WITHIN_S, lambda: worker.log[-3000:])
    assert not worker.has_ended, worker.log[-3000:]


def told(name: str, says: str, records: int, life: Life, memory_mb: int, **facts: Any) -> None:
    """The line of the row."""
    seen = {"memory_mb": memory_mb, "rss_mb": round(life.most_mb), "rss_while_hung_mb": round(life.hung_mb), **facts}
    results.keep(
        {
            "row": name, "of": "worker", "fault": says, "records": records, "equal": True, "lost": 0, "fault_s": HANGS_S,
            "caught_up_s": round(life.waited_s, 1), "seen": seen,
        }
    )  # fmt: skip


# ---------------------------------------------------------------- large records


def big_records(site: Site) -> Iterator[Message]:
    """One of SPOILED_EVERY is cut off in the middle: a dead letter as large."""
    for number in range(BIG_RECORDS):
        value = debezium("big", number, {"id": number, "t": f"{number:010}" * (BIG_BYTES // 10)})
        is_spoiled = number % SPOILED_EVERY == 1
        yield Message(number % PARTITIONS, key_of(number), value[: len(value) // 2] if is_spoiled else value)


def test_records_of_a_megabyte_in_64_partitions_while_the_store_hangs(
    chaos_kafka: KafkaServer, chaos_crate: CrateServer, tmp_path: Path
) -> None:
    """250 records of 1 MB in 64 partitions meet a CrateDB that hangs for 20 s."""
    memory_mb, way = 300, proxy_to(chaos_crate.address)
    with site_at(chaos_kafka.address, chaos_crate.address, tmp_path) as site:
        site.make_topics("big", partitions=PARTITIONS)
        site.make_table("big", LONG_TEXT)
        sent = produce(site, site.topic("big"), big_records(site))
        spoiled = {number for number in range(BIG_RECORDS) if number % SPOILED_EVERY == 1}
        heads = spoiled & set(range(PARTITIONS))
        life = live(site, way, sent, heads, memory_mb=str(memory_mb), writers="2", dlq_max_ratio="1")
        assert site.column("big") == [number for number in range(BIG_RECORDS) if number not in spoiled]
        assert set(site.column("big", "length(t)")) == {BIG_BYTES}
        letters = kafka_io.read_letters(site.kafka, f"{site.name}.dlq")
        assert {place.partition + PARTITIONS * place.offset for place, _ in letters} == spoiled
    way.close()
    told("big_records_and_a_hang", "250 records of 1 MB in 64 partitions while CrateDB hangs for 20 s", sent, life, memory_mb)
    assert life.most_mb < memory_mb


# ---------------------------------------------------------------- many tables


def many_tables() -> Iterator[Message]:
    for number in range(TABLES * ROWS_EACH):
        row = row_of(number)
        del row["at"]
        yield Message(number % PARTITIONS, key_of(number), debezium(f"t{number % TABLES}", number, row))


def test_two_thousand_tables_in_64_partitions_while_the_store_hangs(chaos_kafka: KafkaServer, tmp_path: Path) -> None:
    """64 partitions feed 2,000 tables, in the practice store: one node of CrateDB has no room for as many shards."""
    memory_mb = 512
    with Store() as store, site_at(chaos_kafka.address, store.url, tmp_path) as site:
        way = proxy_to(store.url)
        site.make_topics("all", partitions=PARTITIONS)
        for number in range(TABLES):
            site.make_table(f"t{number}", PLAIN)
        sent = produce(site, site.topic("all"), many_tables())
        life = live(site, way, sent, memory_mb=str(memory_mb), watermarks="false")
        for number in range(0, TABLES, 100):
            assert site.column(f"t{number}") == [number + TABLES * each for each in range(ROWS_EACH)]
        way.close()
    told("two_thousand_tables", "2,000 tables fed by 64 partitions while the store hangs for 20 s", sent, life, memory_mb)
    assert life.most_mb < memory_mb


def proxy_to(url: str) -> Proxy:
    target = urlsplit(url)
    return Proxy(target.hostname or "", target.port or 0)
