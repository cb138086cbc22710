"""What tests of replaying share: a site on real or embedded servers, commands in this process, letters with receipts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from typer.testing import CliRunner

from ingest import cli
from ingest.kafka.peek import Peek
from ingest.kafka.receipts import is_receipt
from ingest.model import Partition, Record
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.settings import Settings
from ingest.tools.connect import kafka_settings
from tests.integration.worker_rig import ENDED_WITHIN_S, Sent, Site, debezium, key_of, row_of, site_at

REAL = pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.cratedb])
CONTRACT = 'format = "debezium"\npartition = { column = "month", from = "at", mutable = true }\n'


@dataclass
class Answered:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Desk:
    """An operator at a site."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self._monkeypatch = monkeypatch
        monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
        monkeypatch.setattr("ingest.tools.replay.PROGRESS_EVERY_S", 0.05)

    def environ(self, **env: str) -> Mapping[str, str]:
        settings = self.site._environment(0, {"dlq_max_ratio": "1.0", "give_up_s": "60", **env})
        return {name: value for name, value in settings.items() if name != "INGEST_HTTP_PORT"}

    def settings(self, **env: str) -> Settings:
        return Settings.load(self.environ(**env))

    def ask(self, *arguments: str, **env: str) -> Answered:
        for name, value in self.environ(**env).items():
            self._monkeypatch.setenv(name, value)
        found = CliRunner().invoke(cli.app, list(arguments))
        assert found.exit_code != 1, (found.output, found.exception)
        return Answered(found.exit_code, found.stdout, found.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command as a process of its own, which a test may kill."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")} | self.environ()
        command = [sys.executable, "-m", "ingest", *arguments]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_worker(self, **env: str) -> None:
        done = self.site.run(dlq_max_ratio="1.0", **env)
        assert 0 == done.code, done.log

    def in_dlq(self) -> list[Record]:
        """Letters and receipts."""
        topic = f"{self.site.name}.dlq"
        with Peek(kafka_settings(self.settings())) as peek:
            places = [Partition(topic, number) for number in range(peek.topics().get(topic, 0))]
            return [record for place, held in peek.bounds(places).items() for record in peek.records(place, *held)]

    def receipts(self) -> list[str]:
        """What they are about, sorted."""
        return sorted((record.key or b"").decode() for record in self.in_dlq() if is_receipt(record))

    def letters(self) -> int:
        return sum(not is_receipt(record) for record in self.in_dlq())

    def columns(self, table: str) -> list[list[Any]]:
        asked = (
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ? "
            "ORDER BY ordinal_position"
        )
        return self.site.crate.rows(asked, [self.site.name, table])

    def rows(self, columns: str, table: str = "orders") -> list[list[Any]]:
        self.site.crate.rows(f"REFRESH TABLE {table}")
        return self.site.crate.rows(f"SELECT {columns} FROM {table} ORDER BY id LIMIT 10000")


@pytest.fixture(params=[REAL, "embedded"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    if request.param == "real":
        servers = request.getfixturevalue("kafka_address"), request.getfixturevalue("crate_url")
        with site_at(*servers, tmp_path) as site:
            yield Desk(site, monkeypatch)
    else:
        with Broker(auto_create=False) as broker, Store() as store, site_at(broker.address, store.url, tmp_path) as site:
            yield Desk(site, monkeypatch)


def changes(site: Site, numbers: Sequence[int], lsn: int = 100, table: str = "orders", **values: Any) -> list[Sent]:
    """One insert for each number."""
    return [Sent(site.topic(table), key_of(n), debezium(table, lsn + n, row_of(n, **values))) for n in numbers]


def wait_for(is_so: Callable[[], object], within_s: float = ENDED_WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.05)


def make_topic(address: str, name: str, partitions: int = 1, **configs: str) -> None:
    """configs: by Kafka's own names."""
    admin = KafkaAdminClient(bootstrap_servers=[address])
    try:
        shape = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        admin.create_topics({name: shape}, wait_for_metadata=True)
    finally:
        admin.close()


def put(address: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=[address])
    try:
        producer.send(topic, value).get(20)
    finally:
        producer.close()
