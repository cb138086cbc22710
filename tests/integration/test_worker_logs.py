"""The log of a real worker, as a machine and as a person on a terminal read it: whole, declared, bounded, and without rows."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.watch.events import ANYWHERE, EVENTS, HEAD
from ingest.watch.logs import STORM_LINES, STORM_S
from tests.integration.worker_rig import Done, Sent, Site, debezium, key_of, row_of, site_at, source_of, wait_until
from tests.oracle.worker import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

BY_NAME = {event.name: event for event in EVENTS}
# Stands in every value of every row and in the bytes of every record that is none.
SECRET = "jane.doe@example.org"
ROWS, STORM_TABLES = 40, 6


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        yield made


def rows(site: Site, table: str, how_many: int = ROWS, **changes: Any) -> list[Sent]:
    return [Sent(site.topic(table), key_of(n), debezium(table, n, row_of(n, t=SECRET) | changes)) for n in range(how_many)]


def poison(site: Site, table: str) -> list[Sent]:
    """What is refused while decoding, while mapping and by CrateDB, each with the secret in it."""
    broken = f'{{"after": {{"t": "{SECRET}"'.encode()
    no_key = debezium(table, 900, {**row_of(900), "id": SECRET})
    return [
        Sent(site.topic(table), SECRET.encode(), broken),
        *rows(site, table, 3, n=SECRET),
        Sent(site.topic(table), None, no_key),
    ]


def truncate(site: Site, table: str) -> Sent:
    change = {"before": None, "after": None, "source": source_of(table, 999), "op": "t", "ts_ms": 1}
    return Sent(site.topic(table), None, json.dumps(change).encode())


def lines_of(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


@pytest.fixture(scope="module")
def told(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A worker that stores, rejects and parks, and tells all that it ever tells."""
    with site_at(kafka_address, crate_url, tmp_path_factory.mktemp("told")) as site:
        site.make("orders", "stock")
        site.send([*rows(site, "orders"), *poison(site, "orders"), *rows(site, "stock", 3), truncate(site, "stock")])
        yield site.run(log_format="json", log_level="debug")


def test_each_line_is_an_event_that_is_declared_with_its_level_and_fields(told: Done) -> None:
    lines = lines_of(told.log)
    assert {"subscribed", "assigned", "table", "batch", "parked", "stopped", "ended"} <= {line["event"] for line in lines}
    for line in lines:
        event = BY_NAME[line["event"]]
        assert list(line)[: len(HEAD)] == list(HEAD)
        assert line.keys() <= {*HEAD, *event.fields, *ANYWHERE}, line
        assert line["level"] in (event.level, "debug"), line


def test_the_last_line_says_why_it_ended_as_it_did(told: Done) -> None:
    assert 4 == told.code
    assert [("ended", "topic.truncate")] == [(line["event"], line["code"]) for line in lines_of(told.log)[-1:]]


def test_there_is_a_line_per_batch_and_all_rows_are_in_them(told: Done) -> None:
    batches = [line for line in lines_of(told.log) if line["event"] == "batch"]
    counted: Counter[str] = Counter()
    for line in batches:
        counted.update({fate: line[fate] for fate in ("written", "rejected", "superseded", "retry") if fate in line})
    answered: Counter[str] = Counter()
    for fates in told.answer["rows"].values():
        answered.update(fates)
    assert answered == counted
    assert sum(answered.values()) == sum(line["rows"] for line in batches)


def test_dead_letters_are_told_by_code(told: Done) -> None:
    letters = [line for line in lines_of(told.log) if line["event"] == "dead_letters"]
    codes = {code: sum(line["records"] for line in letters if line["code"] == code) for code in told.answer["codes"]}
    assert told.answer["codes"] == codes


def test_no_value_of_a_row_is_in_it(told: Done) -> None:
    assert 5 == told.answer["dead_lettered"]
    assert SECRET not in told.log
    assert SECRET.partition("@")[0] not in told.log


def test_a_settings_error_of_the_worker_is_a_line_as_well(site: Site) -> None:
    site.make("orders")
    done = site.run(log_format="json", topics=site.topic("ordres"))
    (ended,) = [line for line in lines_of(done.log) if line["event"] == "ended"]
    assert "does not exist" in ended["text"]


def test_a_table_that_refuses_for_long_costs_a_few_lines_however_many_lanes_try(site: Site) -> None:
    tables = [f"t{number}" for number in range(STORM_TABLES)]
    site.make(*tables)
    for table in tables:
        site.crate.rows(f'ALTER TABLE {table} SET ("blocks.write" = true)')
    site.send([message for table in tables for message in rows(site, table, 5)])
    worker = site.start(log_format="json")
    wait_until(lambda: "batch_retry" in worker.log, 60, lambda: worker.log)
    wait_until(lambda: '"suppressed"' in worker.log, STORM_S + 20, lambda: worker.log)
    for table in tables:
        site.crate.rows(f'ALTER TABLE {table} RESET ("blocks.write")')
    wait_until(lambda: all(len(site.column(table)) == 5 for table in tables), 60, lambda: worker.log)
    done = worker.stop()
    retries = [line for line in lines_of(done.log) if line["event"] == "batch_retry"]
    left_out = sum(line.get("suppressed", 0) for line in retries)
    assert left_out > len(retries)
    assert len(retries) <= 4 * STORM_LINES
    assert 5 * (len(retries) + left_out) <= done.answer["retries"]["store.blocked"]


def test_on_a_terminal_a_person_reads_it(site: Site) -> None:
    site.make("orders", "stock")
    site.send([*rows(site, "orders"), truncate(site, "stock")])
    lines = on_a_terminal({**os.environ, **site._environment(0, {"http_port": "0"})})
    plain = [line for line in lines if re.match(r"\d\d:\d\d:\d\d info    \w+  \w+=", line)]
    assert re.search(r"batch  table=\S+\.orders slots=0 rows=\d+ written=\d+ ", "\n".join(plain))
    (parked,) = [line for line in lines if "parked  subject" in line]
    assert re.fullmatch(
        r"\x1b\[31m\d\d:\d\d:\d\d error   parked  subject=topic:\S+ code=topic\.truncate text=\".*\"\x1b\[0m", parked
    )
    assert lines[-1].startswith(f"topic:{site.topic('stock')} is parked (topic.truncate): ")


def on_a_terminal(environ: dict[str, str]) -> list[str]:
    """What a worker that runs until it has caught up writes to a terminal as its stderr."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ingest", "run", "--until-caught-up"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL):
        os.close(theirs)
        text = b"".join(iter(lambda: read_or_end(ours), b""))
    os.close(ours)
    return text.decode().replace("\r\n", "\n").splitlines()


def read_or_end(terminal: int) -> bytes:
    """Linux answers a read from a terminal that nobody has open any more with an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
