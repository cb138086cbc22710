"""`ingest explain` and `ingest why` beside a real worker, a real Kafka and a real CrateDB: what they tell is what happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker_rig import DAY_MS, JAN_MS, Sent, Site, debezium, key_of, row_of, site_at

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb]
FEB_MS = JAN_MS + 31 * DAY_MS


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as found:
        yield found


def ask(site: Site, *arguments: str, **env: str) -> tuple[int, Any]:
    """A command with --json: its exit code and answer."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    settings |= {name: value for name, value in site._environment(0, env).items() if name != "INGEST_HTTP_PORT"}
    command = [sys.executable, "-m", "ingest", *arguments, "--json"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def change(number: int, lsn: int, op: str = "c", before: dict[str, Any] | None = None, **values: Any) -> bytes:
    envelope = json.loads(debezium("orders", lsn, row_of(number, **values), op))
    if before is not None:
        envelope["before"] = before
    return json.dumps(envelope).encode()


def rows(site: Site) -> list[list[Any]]:
    site.crate.rows("REFRESH TABLE orders")
    return sorted(site.crate.rows("SELECT id, month, n, t, cdc_version, cdc_deleted FROM orders LIMIT 1000"), key=repr)


def test_the_statements_that_explain_shows_make_the_table_that_the_worker_makes(site: Site) -> None:
    """Record by record: what is shown is run by hand, then the same topic is read by a worker into an empty table."""
    site.make("orders")
    site.contract("orders", 'partition = { column = "month", from = "at", mutable = true }\n')
    topic = site.topic("orders")
    part = json.loads(change(1, 130, "u"))
    del part["after"]["t"]  # an update without a column keeps what is there
    offsets = site.send(
        [
            Sent(topic, key_of(1), change(1, 100)),
            Sent(topic, key_of(2), change(2, 110)),
            Sent(topic, key_of(2), change(2, 120, "u", at=FEB_MS, n=5)),  # moves
            Sent(topic, key_of(1), json.dumps(part).encode()),
            Sent(topic, key_of(1), change(1, 105, "u", n=1)),  # late
            Sent(topic, key_of(2), change(2, 140, "d")),
            Sent(topic, key_of(2), None),
            Sent(topic, key_of(3), change(3, 150)),
        ]
    )
    states = []
    for offset in offsets:
        code, found = ask(site, "explain", f"{topic}:0:{offset}")
        states.append((code, found["verdict"]["state"]))
        for each in (statement for row in found["changes"] for statement in row["statements"]):
            perform(site, each, found["verdict"]["state"])
    assert [(0, "stored")] * 4 + [(0, "superseded"), (0, "stored"), (0, "skipped"), (0, "stored")] == states
    by_hand = rows(site)
    site.crate.rows("DELETE FROM orders")
    assert 0 == site.run().code
    assert by_hand == rows(site)


def perform(site: Site, statement: dict[str, Any], state: str) -> None:
    """Run a statement as shown; the guard refuses a stale row, which is its way of doing nothing."""
    if state == "superseded" and not statement["sql"].startswith("SELECT"):
        with pytest.raises(RuntimeError, match="stale "):
            site.crate.rows(statement["sql"], statement["args"])
    else:
        site.crate.rows(statement["sql"], statement["args"])
    site.crate.rows("REFRESH TABLE orders")


def test_each_change_of_a_key_has_the_fate_that_the_worker_gave_it(site: Site) -> None:
    site.make("orders")
    topic = site.topic("orders")
    site.send(
        [
            Sent(topic, key_of(1), change(1, 100)),
            Sent(topic, key_of(2), change(2, 110)),
            Sent(topic, key_of(1), change(1, 120, "u", n=77)),
            Sent(topic, key_of(1), change(1, 125, "u", n="no number")),
            Sent(topic, key_of(1), change(1, 90, "u", n=3)),
            Sent(topic, key_of(2), change(2, 130, "d")),
            Sent(topic, key_of(2), None),
            Sent(topic, key_of(1), b'{"broken'),
        ]
    )
    assert 0 == site.run(dlq_max_ratio="1").code
    site.send([Sent(topic, key_of(1), change(1, 140, "u", n=78))])
    code, found = ask(site, "why", "orders", "id=1")
    fates = ["superseded", "stored", "dead-lettered", "superseded", "dead-lettered", "not read yet"]
    assert (0, fates) == (code, [each["fate"] for each in found["changes"]])
    assert ["type.not_a_number", "json.malformed"] == [each["code"] for each in found["changes"] if each["code"]]
    assert [77] == [row["columns"]["n"] for row in found["rows"]]
    _, gone = ask(site, "why", "orders", "2")
    assert ["superseded", "stored", "skipped"] == [each["fate"] for each in gone["changes"]]
    assert [True] == [row["is_deleted"] for row in gone["rows"]]


def test_a_dead_letter_is_explained_with_the_reason_it_was_sent_for(site: Site) -> None:
    site.make("orders")
    topic = site.topic("orders")
    site.send([Sent(topic, key_of(1), change(1, 100, n="no number"), (("trace", b"1"),))])
    assert 0 == site.run(dlq_max_ratio="1").code
    ((_, (letter,)),) = site.letters().items()
    place = next(number for number in range(8) if is_there(site, number))
    code, found = ask(site, "explain", f"{site.name}.dlq:{place}:0")
    assert (3, letter.text("ingest.code")) == (code, found["verdict"]["code"])
    assert (topic, 0, 0) == tuple(found["record"][name] for name in ("topic", "partition", "offset"))
    assert ["trace"] == [header["name"] for header in found["record"]["headers"]]


def is_there(site: Site, partition: int) -> bool:
    from ingest.kafka.options import KafkaSettings
    from ingest.kafka.peek import Peek
    from ingest.model import Partition

    place = Partition(f"{site.name}.dlq", partition)
    with Peek(KafkaSettings((site.kafka,), site.name, ())) as peek:
        return partition < peek.topics()[place.topic] and peek.bounds([place])[place].end > 0


def test_looking_joins_no_group_and_commits_nothing(site: Site) -> None:
    site.make("orders")
    topic = site.topic("orders")
    site.send([Sent(topic, key_of(1), change(1, 100))])
    assert "not read yet" == ask(site, "why", "orders", "1")[1]["changes"][0]["fate"]
    assert "stored" == ask(site, "explain", f"{topic}:0:0")[1]["verdict"]["state"]
    assert 0 == site.committed()
    assert [] == rows(site)
