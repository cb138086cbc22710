"""`ingest verify` beside a real worker, a real Kafka and a real CrateDB: what was damaged is named, exactly, and mended."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaProducer

from ingest.kafka.options import KafkaSettings
from ingest.kafka.peek import Bounds, Peek
from ingest.model import Partition
from tests.integration.worker_rig import DAY_MS, JAN_MS, Sent, Site, debezium, key_of, row_of, site_at, wait_until
from tests.oracle import kafka_io
from tests.oracle.crate import Crate
from tests.oracle.log import Log
from tests.oracle.model import expected
from tests.oracle.rig import Plan, Work
from tests.oracle.stream import PARTITIONS, stream, topic_of

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb]
FEB_MS = JAN_MS + 31 * DAY_MS


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as found:
        yield found


def verify(site: Site, *arguments: str, **env: str) -> tuple[int, dict[str, Any]]:
    """The command with --json: its exit code and answer."""
    done = call(site, "verify", *arguments, "--json", **env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def call(site: Site, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    settings |= {name: value for name, value in site._environment(0, env).items() if name != "INGEST_HTTP_PORT"}
    command = [sys.executable, "-m", "ingest", *arguments]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=240, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def change(number: int, lsn: int, op: str = "c", **values: Any) -> bytes:
    return debezium("orders", lsn, row_of(number, **values), op)


def differences(answer: Mapping[str, Any]) -> dict[Any, tuple[str, tuple[str, ...]]]:
    """Kind and columns by key."""
    (table,) = answer["tables"]
    return {each["key"]["id"]: (each["kind"], tuple(each["columns"])) for each in table["differences"]}


def stored(site: Site) -> list[list[Any]]:
    site.crate.rows("REFRESH TABLE orders")
    return sorted(site.crate.rows("SELECT id, month, n, t, at FROM orders WHERE NOT cdc_deleted LIMIT 10000"), key=repr)


def fill(site: Site, keys: int = 40) -> None:
    """Rows in two months; some moved, some deleted, one refused, one sent to the dead letters by the mapper."""
    site.make("orders")
    site.contract("orders", 'partition = { column = "month", from = "at", mutable = true }\n')
    topic = site.topic("orders")
    sent = [Sent(topic, key_of(n), change(n, 100 + n)) for n in range(keys)]
    sent += [Sent(topic, key_of(n), change(n, 300 + n, "u", at=FEB_MS)) for n in range(0, keys, 4)]  # these move
    sent += [Sent(topic, key_of(n), change(n, 500 + n, "d")) for n in (1, 5)]
    sent += [Sent(topic, key_of(2), change(2, 600, "u", n="no number"))]
    site.send(sent)
    assert 0 == site.run(dlq_max_ratio="1").code


def test_damage_by_hand_is_named_exactly_and_mended(site: Site) -> None:
    fill(site)
    topic, before = site.topic("orders"), stored(site)
    code, answer = verify(site, topic)
    assert (0, {}) == (code, differences(answer)), answer
    assert {"type.not_a_number": 1} == answer["tables"][0]["rejected"]
    rows = site.crate.rows
    rows("DELETE FROM orders WHERE id = 7")
    rows("UPDATE orders SET n = 99, t = 'x' WHERE id = 8 AND NOT cdc_deleted")
    rows("UPDATE orders SET n = 1, cdc_version = '01L' WHERE id = 10")
    rows("UPDATE orders SET cdc_deleted = true WHERE id = 11")
    rows("REFRESH TABLE orders")
    # A ghost: the row is back in the month that it left, as its old version.
    ((old_version,),) = rows("SELECT cdc_version FROM orders WHERE id = 3")
    rows("DELETE FROM orders WHERE id = 12 AND month = ?", [JAN_MS])
    rows(
        "INSERT INTO orders (id, month, n, cdc_version, cdc_deleted) VALUES (12, ?, 1, ?, false)",
        [JAN_MS, old_version.replace("103", "112")],
    )
    rows("INSERT INTO orders (id, month, n, cdc_version, cdc_deleted) VALUES (5, ?, 1, '01A', false)", [FEB_MS])
    rows("INSERT INTO orders (id, month, n) VALUES (4711, ?, 1)", [JAN_MS])
    rows("UPDATE orders SET cdc_version = ? WHERE id = 13", [old_version[:3] + "9" * 20 + "0" * 18 + "1"])
    code, answer = verify(site, topic)
    wanted = {
        7: ("missing", ()),
        8: ("values", ("n", "t")),
        10: ("older", ()),
        11: ("values", ("cdc_deleted",)),
        12: ("ghost", ()),
        5: ("ghost", ()),
        13: ("newer", ()),
    }
    assert (3, wanted) == (code, differences(answer)), answer
    assert {"table_only": 1} == answer["tables"][0]["unjudged"]
    months = {month["month"]: month["differing"] for month in answer["tables"][0]["months"]}
    assert {"2026-01": 5, "2026-02": 2} == months, answer
    code, answer = verify(site, topic, "--complete")
    assert (3, {**wanted, 4711: ("stranger", ())}) == (code, differences(answer))
    rows("DELETE FROM orders WHERE id = 13")
    del wanted[13]
    wanted[13] = ("missing", ())
    code, answer = verify(site, "--table", "orders", "--repair")
    assert (0, wanted, 7) == (code, differences(answer), answer["repaired"]), answer
    rows("DELETE FROM orders WHERE id = 4711")
    assert before == stored(site)
    code, answer = verify(site, topic, "--complete")
    assert (0, {}, {}) == (code, differences(answer), answer["tables"][0]["unjudged"]), answer
    assert all(month["topics_checksum"] == month["table_checksum"] for month in answer["tables"][0]["months"])


# ---------------------------------------------------------------- every shape of the oracle's stream


class Played(NamedTuple):
    """A stream that a worker has read, on servers; env: the worker's settings."""

    name: str
    crate: Crate
    env: Mapping[str, str]
    topics: Sequence[str]
    live: Mapping[str, int]


@pytest.fixture(scope="module")
def played(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    name = f"vf{uuid.uuid4().hex[:8]}"
    plan, folder, crate = (
        Plan(kafka_address, crate_url, records=20_000, seed=6),
        tmp_path_factory.mktemp(name),
        Crate(crate_url, name),
    )
    topics = [topic_of(table, name) for table in plan.tables]
    try:
        crate.create(plan.tables)
        kafka_io.create_topics(plan.kafka, [*topics, f"{name}.dlq"], PARTITIONS)
        log = Log()
        kafka_io.produce(plan.kafka, stream(plan.seed, plan.records, name, plan.tables), log)
        work = Work(plan, name, topics, folder, len(log.sent))
        work.run()
        assert not work.trouble
        yield Played(name, crate, work._env, topics, {table: len(rows) for table, rows in expected(log).rows.items()})
    finally:
        crate.drop()
        crate.close()
        kafka_io.delete_topics(plan.kafka, [*topics, f"{name}.dlq"])


def verify_played(played: Played, *arguments: str, memory_mb: int | None = None) -> tuple[int, dict[str, Any], int]:
    """Exit code, answer and peak resident memory in MB."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    settings |= {name: value for name, value in played.env.items() if name != "INGEST_HTTP_PORT"}
    more = ["--memory-mb", str(memory_mb)] if memory_mb else []
    command = [sys.executable, "-c", MEASURED, "verify", *played.topics, *arguments, *more, "--json"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), int(done.stderr.splitlines()[-1]) // 1024


# Not getrusage: there the peak of the process that started us counts as ours.
MEASURED = """
import sys
from ingest.cli import app
try:
    app()
finally:
    with open("/proc/self/status") as file:
        print(next(line.split()[1] for line in file if line.startswith("VmHWM")), file=sys.stderr)
"""


def test_a_table_that_a_worker_filled_is_equal_in_every_shape_and_type(played: Played) -> None:
    code, answer, _ = verify_played(played, "--complete")
    assert (0, []) == (code, [each for table in answer["tables"] for each in table["differences"]]), answer["tables"]
    assert {} == {table["table"]: table["unjudged"] for table in answer["tables"] if table["unjudged"]}
    told = {table["table"].partition(".")[2]: sum(month["topics"] for month in table["months"]) for table in answer["tables"]}
    assert dict(played.live) == told


def test_rows_that_go_missing_from_a_stream_are_named_and_mended(played: Played) -> None:
    rows = played.crate.rows
    rows("DELETE FROM orders WHERE id % 7 = 0")
    rows("UPDATE customers SET balance = balance + 1 WHERE visits % 5 = 0 AND NOT cdc_deleted")
    rows("REFRESH TABLE orders, customers")
    code, answer, _ = verify_played(played, "--complete", "--repair")
    kinds = {table["table"].partition(".")[2]: table["kinds"] for table in answer["tables"] if table["kinds"]}
    assert (0, {"missing"}, {"values"}) == (code, set(kinds["orders"]), set(kinds["customers"])), kinds
    test_a_table_that_a_worker_filled_is_equal_in_every_shape_and_type(played)


# ---------------------------------------------------------------- memory, workers at work, level arrival

LARGE_ROWS, LARGE_BYTES = 10_000, 6_400


@pytest.mark.slow
def test_a_topic_larger_than_its_memory_is_compared_within_it(site: Site) -> None:
    """64 MB of rows, none of them stored, in 128 MB of which the interpreter takes 75; with room for all it takes more."""
    site.make("orders")
    letters = random.Random(7)
    texts = ("".join(letters.choices("abcdefghijklmnop", k=64)) * (LARGE_BYTES // 64) for _ in range(LARGE_ROWS))
    site.send([Sent(site.topic("orders"), key_of(n), change(n, 100 + n, t=text)) for n, text in enumerate(texts)])
    env = {name: value for name, value in site._environment(0, {}).items() if name != "INGEST_HTTP_PORT"}
    played = Played(site.name, site.crate, env, [site.topic("orders")], {})
    code, answer, small_mb = verify_played(played, "--until", "end", "--limit", "5", memory_mb=128)
    assert (3, LARGE_ROWS, 5) == (code, answer["differing"], len(answer["tables"][0]["differences"]))
    _, again, roomy_mb = verify_played(played, "--until", "end", "--limit", "5", memory_mb=4_096)
    assert answer["differing"] == again["differing"]
    assert small_mb < 128, (small_mb, roomy_mb)
    assert roomy_mb > small_mb + 20, (small_mb, roomy_mb)  # so the bound is what made the difference


def test_a_worker_at_work_raises_no_alarm(site: Site) -> None:
    """Rows that change and move between months all the time, and a verify again and again meanwhile."""
    fill(site)
    running, stop = site.start(), threading.Event()
    producer = threading.Thread(target=keep_changing, args=(site, stop))
    producer.start()
    try:
        late = []
        for _ in range(3):
            code, answer = verify(site, site.topic("orders"))
            assert (0, {}) == (code, differences(answer)), answer
            late.append(answer["late"])
        assert max(late) > 0
    finally:
        stop.set()
        producer.join()
        running.stop()
    assert 0 == site.run(dlq_max_ratio="1").code
    code, answer = verify(site, site.topic("orders"), "--complete")
    assert (0, {}, {}) == (code, differences(answer), answer["tables"][0]["unjudged"]), answer


def keep_changing(site: Site, stop: threading.Event) -> None:
    lsn, topic = 1_000, site.topic("orders")
    while not stop.is_set():
        sent = []
        for number in range(10, 40):
            lsn += 1
            month = FEB_MS if lsn % 3 else JAN_MS
            sent.append(Sent(topic, key_of(number), change(number, lsn, "d" if lsn % 11 == 0 else "u", at=month, n=lsn)))
        site.send(sent)
        stop.wait(0.05)


def test_without_versions_values_are_compared_and_repairs_wait_for_the_workers_to_stop(site: Site) -> None:
    topic = site.topic("orders")
    site.make_topics("orders", partitions=2)
    site.make_table("orders", "id BIGINT PRIMARY KEY, n BIGINT, t TEXT")
    site.send([Sent(topic, key_of(n), change(n, 100 + n)) for n in range(10)])
    site.send([Sent(topic, key_of(n), change(n, 200 + n, "d")) for n in (1, 2)])
    other = KafkaProducer(bootstrap_servers=site.kafka)
    other.send(topic, change(9, 300, "u", n=5), key_of(9), partition=1)
    other.close()
    assert 0 == site.run().code
    site.crate.rows("UPDATE orders SET n = -1 WHERE id IN (3, 9)")
    site.crate.rows("DELETE FROM orders WHERE id = 4")
    site.crate.rows("INSERT INTO orders (id, n) VALUES (1, 1), (77, 1)")
    wanted = {3: ("values", ("n",)), 4: ("missing", ()), 1: ("ghost", ())}
    code, answer = verify(site, topic)
    assert (3, wanted) == (code, differences(answer))
    assert {"unordered": 1, "table_only": 1} == answer["tables"][0]["unjudged"]
    running = site.start()
    try:
        wait_until(lambda: '"assigned"' in running.log, 60, lambda: running.log)
        refused = call(site, "verify", topic, "--repair")
        assert (2, True) == (refused.returncode, "stop the workers first" in refused.stderr), refused.stderr
    finally:
        running.stop()
    code, answer = verify(site, topic, "--repair")
    assert (0, 3) == (code, answer["repaired"]), answer
    assert (0, {}) == (lambda found: (found[0], differences(found[1])))(verify(site, topic))


def test_offsets_of_other_partitions_are_told_after_one_was_read(site: Site) -> None:
    """The client forgets who leads the partitions that it does not read."""
    names = [f"t{number}" for number in range(5)]
    site.make_topics(*names)
    places = [Partition(site.topic(name), 0) for name in names]
    with Peek(KafkaSettings((site.kafka,), site.name, (), client_options={"metadata_max_age_ms": 200})) as peek:
        site.send([Sent(place.topic, b"k", b"v") for place in places for _ in range(3)])
        for _ in range(3):
            assert 3 == len(list(peek.records(places[0], 0, 3)))
            time.sleep(0.5)  # longer than metadata lives
            assert dict.fromkeys(places, Bounds(0, 3)) == peek.bounds(places)
