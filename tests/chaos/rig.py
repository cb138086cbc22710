"""What a fault can reach: real servers, the proxy before CrateDB, workers, the load, and who looks on. One thread.

Everything has a name of its own (schema, group, topics), so rows do not meet on the same servers.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from urllib3.exceptions import HTTPError

from tests.chaos.cluster import start
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy, Tally
from tests.chaos.scenario import Scenario, dice, now_s
from tests.chaos.watch import Watch, committed
from tests.crate_rig import WRITE_PATH
from tests.integration.worker_rig import Done, Running
from tests.kafka_rig import KAFKA_CLIENT
from tests.oracle import kafka_io
from tests.oracle.compare import Differences
from tests.oracle.crate import Crate, write_contracts
from tests.oracle.log import Sent
from tests.oracle.stream import PARTITIONS, topic_of
from tests.oracle.worker import COMMAND, Worker
from tests.server_processes import HOST, CrateServer, KafkaServer, free_ports

# A member that is killed is missed only after its session, and Kafka's default of 45 s would be most of a row.
DEFAULTS = {"INGEST_KAFKA_SESSION_TIMEOUT_MS": "10000", "INGEST_KAFKA_HEARTBEAT_INTERVAL_MS": "2000"}


@dataclass(frozen=True)
class Servers:
    """What a row may break. It leaves them running. registry: the way to one, in the rows that need it."""

    kafka: KafkaServer
    crates: Sequence[CrateServer]
    registry: Proxy | None = None


class Member(Running):
    """A worker process, to be frozen as well."""

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@dataclass
class Times:
    """Moments of a row, on the monotonic clock."""

    began_s: float = 0.0
    ended_s: float = 0.0
    caught_up_s: float = 0.0
    wrote_s: float | None = None  # the first rows confirmed behind the fault's end


@dataclass
class Rig:
    """proxies: one per node of CrateDB, their addresses are what workers know. seen: facts that the row adds to its line.

    is_gone: a row may set it to a test for the changes whose rows somebody removed on purpose, as retention does. is_ghost: to
    one for changes that are rightly seen although newer ones of their keys exist.
    """

    scenario: Scenario
    servers: Servers
    folder: Path
    name: str = field(default_factory=lambda: f"x{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Rig:
        plan = self.scenario
        self.rnd = dice(plan)
        self.kafka, self.kafka_server = self.servers.kafka.address, self.servers.kafka
        self.crate_server = self.servers.crates[0]
        self.crate = Crate(self.crate_server.address, self.name)
        self.tally, self.times, self.differences = Tally(), Times(), Differences()
        self.seen: dict[str, Any] = {}
        self.prepared: dict[str, str] = {}
        self.is_gone: Callable[[Sent], bool] = lambda _: False
        self.is_ghost: Callable[[Sent], bool] = lambda _: False
        self.commit_checks = 0
        self.workers: list[Member] = []
        self.topics = [topic_of(table, self.name) for table in plan.tables]
        self.proxies = [self._proxy(server) for server in self.servers.crates]
        self.crate.create(plan.tables)
        kafka_io.create_topics(self.kafka, [*self.topics, self.dead_letters], PARTITIONS)
        self.schemas = write_contracts(self.folder / "schemas", plan.tables, schema=self.name, prefix=self.name)
        self.load = Load(self.kafka, self.name, plan.tables, plan.seed, plan.records, plan.rate)
        self.watch = Watch(self.kafka, self.name)
        return self

    def __exit__(self, *_: object) -> None:
        """Clean up, whatever state the row left; what cannot be cleaned up has a name that nobody meets again."""
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.thaw()
            worker.kill()
        self.load.close()
        self.watch.close()
        for proxy in self.proxies:
            proxy.close()
        with suppress(Exception):
            self.crate.drop()
        with suppress(Exception):
            kafka_io.delete_topics(self.kafka, [*self.topics, self.dead_letters])
        self.crate.close()

    # ------------------------------------------------------------ short names

    @property
    def proxy(self) -> Proxy:
        """Of the first node, the only one but in a cluster."""
        return self.proxies[0]

    @property
    def worker(self) -> Member:
        """The one that was started last."""
        return self.workers[-1]

    @property
    def dead_letters(self) -> str:
        return f"{self.name}.dlq"

    def topic(self, table: str) -> str:
        return topic_of(table, self.name)

    # ------------------------------------------------------------ nodes of a cluster

    def lose(self, *numbers: int) -> None:
        """Kill these nodes, also for those who connect through their proxies."""
        for number in numbers:
            self.servers.crates[number].kill()
            self.proxies[number].refuse()

    def bring_back(self, *numbers: int) -> None:
        """Start them again, all at once: a node that is alone has no master and does not count as up."""
        start([self.servers.crates[number] for number in numbers])
        for number in numbers:
            self.proxies[number].listen()

    # ------------------------------------------------------------ workers

    def start_worker(self, *flags: str, **env: str) -> Member:
        """One more. env: settings in force for it alone, named as outside."""
        number, port = len(self.workers) + 1, free_ports(1)[0]
        log = self.folder / f"worker-{number}.log"
        settings = {**self.settings(), **self.scenario.env, **self.prepared, **env, "INGEST_HTTP_PORT": str(port)}
        worker = Member(Worker([*COMMAND, *flags], settings, log), log, port)
        self.workers.append(worker)
        self.watch.add(worker.url)
        return worker

    def settings(self) -> dict[str, str]:
        return {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "INGEST_GROUP_ID": self.name,
            "INGEST_TOPICS": ",".join(self.topics),
            "INGEST_CRATE_URLS": ",".join(proxy.url for proxy in self.proxies),
            "INGEST_CRATE_SCHEMA": self.name,
            "INGEST_SCHEMAS_DIR": str(self.schemas),
            "INGEST_DLQ_TOPIC": self.dead_letters,
            **DEFAULTS,
            **self._ways(),
        }

    def _ways(self) -> dict[str, str]:
        """INGEST_TEST_KAFKA_CLIENT and INGEST_TEST_WRITE_PATH say how all workers read and write.

        Rows of INGEST_WRITE_PATH=pg go around the proxies, so only what breaks the servers themselves breaks them.
        """
        told = {"INGEST_KAFKA_CLIENT": KAFKA_CLIENT, "INGEST_WRITE_PATH": WRITE_PATH}
        if WRITE_PATH == "pg":
            told["INGEST_CRATE_PG_ADDRESSES"] = ",".join(f"{HOST}:{each.psql_port}" for each in self.servers.crates)
        return told

    def running(self) -> list[Member]:
        return [worker for worker in self.workers if not worker.has_ended]

    def stop_workers(self) -> list[Done]:
        """Ask those that still run to end in good order."""
        return [worker.stop() for worker in self.running()]

    def rewind(self, topic: str) -> None:
        """As an operator who replays a topic: all workers end, the group's offsets of the topic go to 0, a new worker starts."""
        self.stop_workers()
        consumer = KafkaConsumer(bootstrap_servers=self.kafka, group_id=self.name, enable_auto_commit=False)
        try:
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            consumer.commit(dict.fromkeys(places, OffsetAndMetadata(0, "", -1)))
        finally:
            consumer.close()
        self.start_worker()

    def parked(self) -> list[dict[str, Any]]:
        """What the running workers say is parked."""
        return [each for worker in self.running() for each in worker.readiness().get("parked", ())]

    def unpark(self, subject: str) -> None:
        """As `ingest unpark` does, at every worker that has it parked."""
        for worker in self.running():
            if subject in (each["subject"] for each in worker.readiness().get("parked", ())):
                with urlopen(Request(f"{worker.url}/unpark?name={quote(subject)}", method="POST"), timeout=5):
                    pass

    def logged(self, text: str) -> bool:
        """Whether any worker's log has this text."""
        return any(text in worker.log for worker in self.workers)

    # ------------------------------------------------------------ looking

    def committed(self) -> dict[tuple[str, int], int]:
        """By topic and partition, asked now. Raises KafkaError while Kafka is away."""
        return committed(self.kafka, self.name)

    def is_caught_up(self) -> bool:
        """Whether the group has committed every record that was offered."""
        if self.watch.total < sum(self.load.log.next_offset.values()):
            return False
        told = self.committed()
        return all(told.get(where) == end for where, end in self.load.log.next_offset.items())

    def is_readable(self) -> bool:
        """Whether every shard of ours has a copy that answers; after a restart some are late."""
        with suppress(RuntimeError, OSError, HTTPError):
            missing = "SELECT count(*) FROM sys.health WHERE table_schema = ? AND missing_shards > 0"
            return self.crate.rows(missing, [self.name]) == [[0]]
        return False

    def until(self, is_so: Callable[[], object], within_s: float, what: str) -> float:
        """Wait for it, the row failed if it does not come or a worker dies meanwhile; the seconds that it took."""
        began_s = now_s()
        while not is_so():
            self._note_first_write()
            assert now_s() - began_s < within_s, f"not within {within_s:.0f} s: {what}\n{self.last_words()}"
            assert self.running(), f"no worker is left, waiting until {what}\n{self.last_words()}"
            time.sleep(0.1)
        return now_s() - began_s

    def last_words(self) -> str:
        return "\n".join(f"--- worker {number}\n{worker.log[-4000:]}" for number, worker in enumerate(self.workers, 1))

    # ------------------------------------------------------------ the frame's own

    def fault_begins(self) -> None:
        self.times.began_s = now_s()

    def fault_ends(self) -> None:
        """Called by the frame; a row that must still look at the recovery itself calls it earlier, then this does nothing."""
        if not self.times.ended_s:
            self.times.ended_s = now_s()

    def caught_up(self) -> None:
        self._note_first_write()
        self.times.caught_up_s = now_s()

    def _note_first_write(self) -> None:
        times = self.times
        if times.ended_s and times.wrote_s is None and self.tally.wrote_s > times.ended_s:
            times.wrote_s = self.tally.wrote_s

    def _proxy(self, server: CrateServer) -> Proxy:
        target = urlsplit(server.address)
        return Proxy(target.hostname or "", target.port or 0, self.tally)


def sentences(parked: Iterable[dict[str, Any]]) -> list[str]:
    """What is parked, in a few words each, for the results."""
    return sorted({f"{str(each.get('subject', '')).partition(':')[0]} {each.get('code')}" for each in parked})
