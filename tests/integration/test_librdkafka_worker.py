"""The worker with INGEST_KAFKA_CLIENT=librdkafka, as a process on real servers, through the worst of the fault matrix at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="the extra librdkafka is not installed")

from tests.chaos import scenario
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario
from tests.server_processes import KafkaServer

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ENV = {
    "INGEST_KAFKA_CLIENT": "librdkafka",
    "INGEST_KAFKA_SESSION_TIMEOUT_MS": "6000",
    "INGEST_KAFKA_HEARTBEAT_INTERVAL_MS": "1500",
}


def worker_and_broker_killed(rig: Rig) -> None:
    """The worker is killed and another one started, then the broker is killed for 5 s; that worker lives through it."""
    rig.worker.kill()
    second = rig.start_worker()
    before = rig.watch.total
    rig.until(lambda: rig.watch.total > before, 60, "the second worker commits")
    assert "librdkafka" in Path(f"/proc/{second.pid}/maps").read_text()
    rig.kafka_server.kill()
    time.sleep(5)
    rig.kafka_server.start()
    assert not second.has_ended, second.log[-3000:]


def test_a_killed_worker_and_a_killed_broker_lose_nothing(own_kafka: KafkaServer, crate_server: Any, tmp_path: Path) -> None:
    row = Scenario("librdkafka", "kafka", worker_and_broker_killed, 41, records=3_000, rate=60.0, books="balanced", env=ENV)
    line = scenario.run(row, Servers(own_kafka, [crate_server]), tmp_path)
    assert line["equal"], "\n".join([str(line["differences"]), *line["first_differences"]])
