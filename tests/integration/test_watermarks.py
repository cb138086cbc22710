"""`ingest_watermarks` on real servers: whatever happens to the workers, no row says more than is stored, and none goes back."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, OffsetAndMetadata, TopicPartition
from typer.testing import CliRunner

from ingest.cli import app
from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.watermarks import Row, Watermarks
from ingest.tools.watermarks import moment
from tests.integration.test_schema_changes import user_of
from tests.integration.worker_rig import Running, Sent, Site, debezium, key_of, row_of, site_at, wait_until
from tests.oracle.crate import Crate

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

PARTITIONS = 3
SHORT_SESSION = {"kafka_session_timeout_ms": "6000", "kafka_heartbeat_interval_ms": "1500"}


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        yield made


@contextmanager
def marks_of(site: Site) -> Iterator[Watermarks]:
    client = HttpClient(parse_addresses([site.crate_url]), user="crate")
    try:
        yield Watermarks(client, site.name)
    finally:
        client.close()


def marks(site: Site) -> dict[int, Row]:
    """The rows of topic orders by partition."""
    with marks_of(site) as table:
        return {row.partition.number: row for row in table.read(site.name, [site.topic("orders")]).values()}


def complete(site: Site) -> dict[str, list[Any]]:
    """What the view says: table -> caught_up_at, resolved_at, source_at."""
    site.crate.rows("REFRESH TABLE ingest_watermarks")
    return {
        name: rest
        for name, *rest in site.crate.rows("SELECT table_name, caught_up_at, resolved_at, source_at FROM ingest_complete")
    }


# ---------------------------------------------------------------- one worker after another


def test_two_topics_feed_a_table_and_the_slower_one_counts(site: Site) -> None:
    site.make_topics("north", "south")
    site.make_table("orders")
    topics = f'["{site.topic("north")}", "{site.topic("south")}"]'
    (site.schemas / "orders.toml").write_text(f'table = "{site.name}.orders"\ntopics = {topics}\n')
    began_ms = int(time.time() * 1000)
    site.send([Sent(site.topic("north"), key_of(1), debezium("orders", 1, row_of(1)))])
    site.send([Sent(site.topic("south"), key_of(2), debezium("orders", 500, row_of(2)))])
    site.run()
    (caught_up_ms, resolved_ms, source_ms) = complete(site)[f"{site.name}.orders"]
    assert caught_up_ms >= began_ms
    assert (None, 1_767_225_600_001) == (resolved_ms, source_ms)


def test_a_restart_goes_on_where_the_row_stands(site: Site) -> None:
    site.make("orders")
    site.send([Sent(site.topic("orders"), key_of(n), debezium("orders", n, row_of(n))) for n in range(1, 11)])
    site.run()
    first = marks(site)[0]
    site.run()
    again = marks(site)[0]
    assert (1, 10, 10) == (first.era, first.committed, again.committed)
    assert (first.tables, first.source_ms) == (again.tables, again.source_ms)
    assert (again.caught_up_ms or 0) > (first.caught_up_ms or 0) > 0


def test_resolved_timestamps_count_once_each_partition_has_one(site: Site) -> None:
    site.make("orders", partitions=2)
    story = Story(site, 2)
    story.row(0)
    story.resolve(0)
    site.run()
    assert [None] == [limits[1] for limits in complete(site).values()]
    story.resolve(1)
    site.run()
    assert [min(story.resolved.values())] == [limits[1] for limits in complete(site).values()]


def test_offsets_that_were_reset_begin_a_new_era(site: Site) -> None:
    site.make("orders")
    site.send([Sent(site.topic("orders"), key_of(n), debezium("orders", n, row_of(n))) for n in range(1, 11)])
    site.run()
    reset(site, 3)
    site.run()
    mark = marks(site)[0]
    assert (2, 10) == (mark.era, mark.committed)
    assert mark.caught_up_ms is not None


def reset(site: Site, offset: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    try:
        admin.alter_group_offsets(site.name, {TopicPartition(site.topic("orders"), 0): OffsetAndMetadata(offset, "", -1)})
    finally:
        admin.close()


def test_a_worker_that_may_not_make_the_table_says_once_what_to_run_and_goes_on(site: Site) -> None:
    site.make("orders")
    site.send([Sent(site.topic("orders"), key_of(1), debezium("orders", 1, row_of(1)))])
    with user_of(site, f"DQL, DML ON SCHEMA {site.name}", "DQL ON SCHEMA sys") as user:
        worker = site.start(**user)
        try:
            wait_until(lambda: "watermarks.no_ddl" in worker.log, 60, lambda: worker.log)
            wait_until(lambda: site.column("orders") == [1], 60, lambda: worker.log)
            statement = re.search(r"`(CREATE TABLE .*?)`", worker.log)
            assert statement is not None
            site.crate.rows(statement[1].replace('\\"', '"'))
            wait_until(lambda: marks(site).get(0), 120, lambda: worker.log)
        finally:
            done = worker.stop()
    assert 1 == done.log.count("watermarks_trouble")
    assert (0, 1) == (done.code, marks(site)[0].committed)


def test_without_the_setting_nothing_is_made(site: Site) -> None:
    site.make("orders")
    site.send([Sent(site.topic("orders"), key_of(1), debezium("orders", 1, row_of(1)))])
    assert 0 == site.run(watermarks="false").code
    asked = "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name LIKE 'ingest_%'"
    assert [[0]] == site.crate.rows(asked, [site.name])


# ---------------------------------------------------------------- workers that come, go, die and sleep


@dataclass
class Story:
    """Rows and resolved timestamps of a changefeed. rows: (acknowledged, updated, id) by partition; resolved: the newest."""

    site: Site
    partitions: int
    rows: defaultdict[int, list[tuple[float, int, int]]] = field(default_factory=lambda: defaultdict(list))
    resolved: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._producer = KafkaProducer(bootstrap_servers=self.site.kafka)
        self._next = 0

    def row(self, partition: int) -> None:
        self._next += 1
        now_ns = time.time_ns()
        value = {"after": row_of(self._next), "updated": f"{now_ns}.0000000000"}
        self._send(partition, json.dumps([self._next]).encode(), value)
        self.rows[partition].append((time.time(), now_ns // 1_000_000, self._next))

    def resolve(self, partition: int) -> None:
        now_ns = time.time_ns()
        self._send(partition, None, {"resolved": f"{now_ns}.0000000000"})
        self.resolved[partition] = now_ns // 1_000_000

    def _send(self, partition: int, key: bytes | None, value: dict[str, Any]) -> None:
        self._producer.send(self.site.topic("orders"), json.dumps(value).encode(), key, partition=partition).get(30)

    def close(self) -> None:
        self._producer.close()


class Telling(threading.Thread):
    """Tells the story in the background: about forty rows a second, a resolved timestamp per partition now and then."""

    def __init__(self, story: Story) -> None:
        super().__init__(name="story")
        self._story, self._end = story, threading.Event()

    def run(self) -> None:
        n = 0
        while not self._end.wait(0.025):
            n += 1
            self._story.row(n % self._story.partitions)
            if n % 20 == 0:
                self._story.resolve(n // 20 % self._story.partitions)

    def end(self) -> None:
        self._end.set()
        self.join(30)


class Judge(threading.Thread):
    """Looks at marks and then at the table, again and again: what a mark promised must be there, and no mark may go back."""

    def __init__(self, story: Story) -> None:
        super().__init__(name="judge")
        self._story, self._end = story, threading.Event()
        self._crate = Crate(story.site.crate_url, story.site.name)
        self._before: dict[int, Row] = {}
        self.faults: list[str] = []
        self.looks = 0

    def run(self) -> None:
        with marks_of(self._story.site) as table:
            while not self._end.wait(0.3):
                seen = table.read(self._story.site.name, [self._story.site.topic("orders")])
                self._crate.rows("REFRESH TABLE orders")
                ids = {row[0] for row in self._crate.rows("SELECT id FROM orders LIMIT 1000000")}
                for partition, row in seen.items():
                    self.faults += judged(row, self._before.get(partition.number), self._story.rows[partition.number], ids)
                    self._before[partition.number] = row
                self.looks += 1
        self._crate.close()

    def end(self) -> None:
        self._end.set()
        self.join(60)


def judged(row: Row, before: Row | None, rows: Sequence[tuple[float, int, int]], ids: set[int]) -> Iterator[str]:
    missing = [(acked_s, updated_ms) for acked_s, updated_ms, id_ in list(rows) if id_ not in ids]
    if row.caught_up_ms is not None and any(acked_s * 1000 < row.caught_up_ms for acked_s, _ in missing):
        yield f"caught up: {row}"
    if row.resolved_ms is not None and any(updated_ms <= row.resolved_ms for _, updated_ms in missing):
        yield f"resolved: {row}"
    if before is not None and any(went_back(a, b) for a, b in zip(before[2:], row[2:], strict=True)):
        yield f"went back from {before} to {row}"


def went_back(a: Any, b: Any) -> bool:
    """
    >>> [went_back(a, b) for a, b in ((None, 1), (1, 1), (2, 1), (1, None), ("b", "a"), ((), ("t",)))]
    [False, False, True, True, True, False]
    """
    return a is not None and (b is None or b < a)


def assigned(worker: Running) -> int:
    return int(worker.readiness().get("assigned", 0))


def wait_for_progress(site: Site, workers: Sequence[Running]) -> None:
    """Until every partition is caught up to a moment that is yet to come."""
    now_ms = time.time() * 1000
    is_later = lambda: all((row.caught_up_ms or 0) > now_ms for row in marks(site).values()) and len(marks(site)) == PARTITIONS  # noqa: E731
    wait_until(is_later, 120, lambda: "\n".join([str(marks(site)), *(worker.log[-3000:] for worker in workers)]))


def test_no_mark_says_too_much_and_none_goes_back_whatever_happens_to_the_workers(site: Site) -> None:
    site.make("orders", partitions=PARTITIONS)
    story = Story(site, PARTITIONS)
    telling, judge = Telling(story), Judge(story)
    workers = [site.start(**SHORT_SESSION)]
    telling.start()
    try:
        wait_for_progress(site, workers)
        judge.start()
        workers.append(site.start(**SHORT_SESSION))
        wait_until(lambda: sorted(map(assigned, workers)) == [1, 2], 60, lambda: workers[1].log)
        wait_for_progress(site, workers)
        workers[0].kill()
        workers.append(site.start(**SHORT_SESSION))
        wait_until(lambda: sorted(map(assigned, workers[1:])) == [1, 2], 60, lambda: workers[2].log)
        wait_for_progress(site, workers)
        os.kill(workers[1].pid, signal.SIGSTOP)
        wait_until(lambda: assigned(workers[2]) == PARTITIONS, 60, lambda: workers[2].log)
        wait_for_progress(site, workers)
        os.kill(workers[1].pid, signal.SIGCONT)
        wait_until(lambda: sorted(map(assigned, workers[1:])) == [1, 2], 60, lambda: workers[1].log)
        telling.end()
        wait_for_progress(site, workers)
    finally:
        telling.end()
        for worker in workers[1:]:
            os.kill(worker.pid, signal.SIGCONT)
            worker.stop()
        judge.end()
        story.close()
    assert [] == judge.faults
    assert judge.looks > 10
    ((caught_up_ms, resolved_ms, _),) = complete(site).values()
    assert caught_up_ms > max(acked_s for rows in story.rows.values() for acked_s, _, _ in rows) * 1000
    assert min(story.resolved.values()) == resolved_ms
    assert {1} == {row.era for row in marks(site).values()}


def test_the_command_names_the_partition_that_holds_a_table_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make("orders", partitions=2)
    story = Story(site, 2)
    for partition in (0, 1, 0):
        story.row(partition)
        story.resolve(partition)
    story.close()
    site.run()
    monkeypatch.setenv("INGEST_CRATE_URLS", site.crate_url)
    monkeypatch.setenv("INGEST_CRATE_SCHEMA", site.name)
    shown = CliRunner().invoke(app, ["watermarks", "orders"])
    assert 0 == shown.exit_code, shown.output
    first, _, resolved, _ = shown.output.splitlines()
    assert f"{site.name}.orders (group {site.name}, 2 partitions) is complete for" == first
    assert f"{moment(story.resolved[1])}, held back by {site.topic('orders')}[1]" in resolved
    missing = CliRunner().invoke(app, ["watermarks", "nowhere"])
    assert 4 == missing.exit_code, missing.output
