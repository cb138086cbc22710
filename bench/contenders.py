"""The contenders: what each is started with, which tables it writes, and why one cannot run here.

A contender only makes a command and an environment for a `Job`; `bench.measure` runs and watches the process. Everything that a
job writes is in its own folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from bench.servers import Servers
from bench.workload import Filled, Layout

ROOT = Path(__file__).resolve().parents[1]
CONNECT_FOLDER = "INGEST_TEST_CONNECT"
NEEDS = {"INGEST_KAFKA_CLIENT=librdkafka": "confluent_kafka", "INGEST_WRITE_PATH=pg": "psycopg"}
MONTHS, NO_MONTHS = Layout(), Layout(has_months=False)
BARE_MONTHS, BARE = Layout(is_ordered=False), Layout(has_months=False, is_ordered=False)


@dataclass(frozen=True)
class Job:
    """One drain. schema: of its own in CrateDB, and the name of its group. bodies: what the ceiling sends."""

    servers: Servers
    filled: Filled
    schema: str
    folder: Path
    bodies: Path | None = None
    is_endless: bool = False

    @property
    def progress_file(self) -> Path:
        return self.folder / "progress"


class Start(NamedTuple):
    """group: whose committed offsets tell how far it is, None where the job's progress file does."""

    command: list[str]
    env: Mapping[str, str]
    group: str | None


class Sent(NamedTuple):
    """To CrateDB: rows, fewer than records where changes of a row were folded, and requests."""

    rows: int
    requests: int


class Contender(ABC):
    """name: as tables show it. ends: it ends by itself once everything is drained."""

    name: str
    layout = MONTHS
    ends = True

    @cached_property
    def why_not(self) -> str:
        """Why it cannot run on this machine, "" if it can."""
        return ""

    def why_not_for(self, filled: Filled) -> str:
        """Why it cannot read this workload, "" if it can."""
        del filled
        return ""

    @abstractmethod
    def start(self, job: Job) -> Start: ...

    def marks(self, job: Job, began_at_s: float) -> list[tuple[float, float]]:
        """How far it was and when, (seconds since the start, part of all), where it tells so itself; [] where commits must do.

        began_at_s: by the clock on the wall.
        """
        del job, began_at_s
        return []

    def sent(self, job: Job) -> Sent | None:
        """What it sent, where it tells so."""
        del job
        return None


@dataclass(frozen=True)
class Worker(Contender):
    """This project's worker with some settings."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    layout: Layout = MONTHS

    @cached_property
    def why_not(self) -> str:
        for setting, module in NEEDS.items():
            name, value = setting.split("=")
            if self.env.get(name) == value and find_spec(module) is None:
                return f"its extra is not installed ({module})"
        command = [sys.executable, "-m", "ingest", "settings"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | self.env, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1][:120]

    def start(self, job: Job) -> Start:
        schemas = job.folder / "schemas"
        schemas.mkdir()
        workload = job.filled.workload
        for table, topic in job.filled.topics.items():
            (schemas / f"{table}.toml").write_text(workload.contract(job.schema, table, topic, self.layout))
        env = {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": job.servers.kafka,
            "INGEST_CRATE_URLS": job.servers.crate,
            "INGEST_GROUP_ID": job.schema,
            "INGEST_TOPICS": ",".join(job.filled.topics.values()),
            "INGEST_SCHEMAS_DIR": str(schemas),
            "INGEST_CRATE_SCHEMA": job.schema,
            "INGEST_HTTP_PORT": "0",
            "INGEST_LOG_FORMAT": "json",
            **({"INGEST_CRATE_PG_ADDRESSES": f"127.0.0.1:{job.servers.psql_port}"} if "INGEST_WRITE_PATH" in self.env else {}),
            **job.filled.env,
            **self.env,
        }
        until = [] if job.is_endless else ["--until-caught-up"]
        return Start([sys.executable, "-m", "ingest", "run", *until], env, job.schema)

    def marks(self, job: Job, began_at_s: float) -> list[tuple[float, float]]:
        """From its log, which has a line a batch; it commits once a second only."""
        lines = self._batches(job)
        done = list(accumulate(line["rows"] for line in lines))
        at_s = (datetime.fromisoformat(line["time"]).timestamp() - began_at_s for line in lines)
        return [(at, rows / done[-1]) for at, rows in zip(at_s, done, strict=True)]

    def sent(self, job: Job) -> Sent:
        lines = self._batches(job)
        return Sent(sum(line["rows"] for line in lines), sum(line["statements"] for line in lines))

    def _batches(self, job: Job) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (job.folder / "log").read_text().splitlines() if '"event": "batch"' in line]
        return sorted(lines, key=lambda line: str(line["time"]))  # several processes write it


@dataclass(frozen=True)
class Ceiling(Contender):
    """The worker's own requests, encoded before, at so many connections."""

    connections: int = 2
    name: str = "ceiling"

    def start(self, job: Job) -> Start:
        words = [job.bodies, job.servers.crate, job.schema, self.connections, job.progress_file]
        return Start([sys.executable, "-m", "bench.ceiling", *map(str, words)], {}, None)


@dataclass(frozen=True)
class Naive(Contender):
    """bench/naive.py on a table without guard."""

    name: str = "naive consumer"
    layout: Layout = BARE_MONTHS
    ends = False

    def why_not_for(self, filled: Filled) -> str:
        if filled.workload.tables > 1:
            return "it writes one table"
        return "it reads JSON only" if filled.workload.format == "avro" else ""

    def start(self, job: Job) -> Start:
        (topic,) = job.filled.topics.values()
        months = "months" if self.layout.has_months else "none"
        target = [topic, job.schema, f"{job.schema}.orders", job.filled.workload.format, months]
        return Start([sys.executable, "-m", "bench.naive", job.servers.kafka, job.servers.crate, *target], {}, job.schema)


SINK = """name=sink
connector.class=io.debezium.connector.jdbc.JdbcSinkConnector
tasks.max=3
topics={topic}
connection.url=jdbc:postgresql://127.0.0.1:{port}/{schema}
connection.username=crate
connection.password=
hibernate.dialect=org.hibernate.dialect.PostgreSQLDialect
insert.mode=upsert
delete.enabled=true
primary.key.mode=record_key
schema.evolution=none
collection.name.format={schema}.orders
batch.size=5000
use.reduction.buffer=true
consumer.override.group.id={schema}
consumer.override.max.poll.records=5000
consumer.override.auto.offset.reset=earliest
consumer.override.fetch.max.bytes=52428800
consumer.override.max.partition.fetch.bytes=10485760
"""
CONNECT = """bootstrap.servers={kafka}
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
offset.storage.file.filename={folder}/offsets
offset.flush.interval.ms=1000
listeners=http://127.0.0.1:0
plugin.path={plugins}
plugin.discovery=hybrid_warn
"""
LOG4J = """status = WARN
appender.console.type = Console
appender.console.name = STDOUT
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = STDOUT
"""


@dataclass(frozen=True)
class Connect(Contender):
    """Debezium's JDBC sink in a standalone Kafka Connect, with the settings that did best; it can write plain tables only.

    INGEST_TEST_CONNECT names a folder with Connect's own jars in `libs` and the connector's folder below `plugins`.
    """

    name: str = "JDBC sink"
    layout: Layout = BARE
    ends = False

    @property
    def folder(self) -> Path:
        return Path(os.environ.get(CONNECT_FOLDER, ""))

    @cached_property
    def why_not(self) -> str:
        if not os.environ.get(CONNECT_FOLDER):
            return f"{CONNECT_FOLDER} names no folder with Kafka Connect and the JDBC sink"
        missing = [name for name in ("libs", "plugins") if not (self.folder / name).is_dir()]
        return f"{CONNECT_FOLDER} has no folder {missing[0]}" if missing else ""

    def why_not_for(self, filled: Filled) -> str:
        if filled.workload.tables > 1:
            return "it is set up for one table"
        return "" if filled.workload.format == "debezium-schema" else "it needs records with schemas"

    def start(self, job: Job) -> Start:
        (topic,) = job.filled.topics.values()
        files = {
            "sink.properties": SINK.format(topic=topic, schema=job.schema, port=job.servers.psql_port),
            "connect.properties": CONNECT.format(kafka=job.servers.kafka, folder=job.folder, plugins=self.folder / "plugins"),
            "log4j2.properties": LOG4J,
        }
        for name, text in files.items():
            (job.folder / name).write_text(text)
        log4j, connect, sink = (str(job.folder / name) for name in ("log4j2.properties", "connect.properties", "sink.properties"))
        java = ["java", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-cp", f"{self.folder}/libs/*", f"-Dlog4j2.configurationFile={log4j}"]
        return Start([*java, "org.apache.kafka.connect.cli.ConnectStandalone", connect, sink], {}, job.schema)


LIBRDKAFKA, PG, TWO = {"INGEST_KAFKA_CLIENT": "librdkafka"}, {"INGEST_WRITE_PATH": "pg"}, {"INGEST_WORKERS": "2"}
WORKER = Worker("worker")
CONTENDERS: tuple[Contender, ...] = (
    Ceiling(),
    WORKER,
    Worker("worker x2", TWO),
    Worker("worker, librdkafka", LIBRDKAFKA),
    Worker("worker x2, librdkafka", LIBRDKAFKA | TWO),
    Worker("worker, pg", PG),
    Worker("worker, librdkafka, pg", LIBRDKAFKA | PG),
    Worker("worker, no months", {}, NO_MONTHS),
    Naive(),
    Connect(),
)
