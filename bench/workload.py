"""A workload: which rows, in which format, through how many topics into how many tables; written into Kafka, and judged after.

`Workload` is the description, `Filled` the topics that hold its records together with the tables' right final state. Blocking.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaProducer

from bench.rows import MIXES, Events, Shape, Stored
from bench.servers import Servers, Sql
from bench.wire import FORMATS, SCHEMA_ID, Format
from ingest.tables.calendar_utc import month_of
from tests.integration.worker_rig import StubRegistry

DDL = {
    "long": "bigint",
    "int": "integer",
    "text": "text",
    "double": "double precision",
    "bool": "boolean",
    "cents": "numeric(18, 2)",
    "ms": "timestamp with time zone",
}
PAGE_KEYS = 50_000
CONTRACT = """table = "{schema}.{table}"
topics = ["{topic}"]
key = ["id"]
before = "full"
version = {version}
"""


class Layout(NamedTuple):
    """has_months: partitioned by month. is_ordered: with the columns that make replays and late requests harmless."""

    has_months: bool = True
    is_ordered: bool = True

    def __str__(self) -> str:
        return f"{'months' if self.has_months else 'no months'}, {'guarded' if self.is_ordered else 'no guard'}"


@dataclass(frozen=True)
class Workload:
    """records: in all tables together, empty values included. tables: each has a topic of its own with so many partitions."""

    name: str
    format: str = "debezium"
    mix: str = "mixed"
    shape: Shape = field(default_factory=Shape)
    records: int = 60_000
    tables: int = 1
    partitions: int = 6
    shards: int = 2
    refresh_ms: int | None = None

    @cached_property
    def wire(self) -> Format:
        return FORMATS[self.format](self.shape)

    @property
    def names(self) -> list[str]:
        """Of the tables."""
        return ["orders"] if self.tables == 1 else [f"orders_{i:03}" for i in range(self.tables)]

    def events(self) -> Events:
        wire = self.wire
        full = self.format == "cockroach" or self.mix == "moves"
        return Events(self.shape, MIXES[self.mix], self.records, full=full, tombstones=wire.has_tombstones)

    def months(self) -> list[int]:
        """Epoch milliseconds of the months that rows can be in."""
        wanted = {month_of(self.shape.row(0, Stored(0, day))["created_at"]) for day in range(self.shape.days)}
        return sorted(wanted)

    def make_tables(self, sql: Sql, schema: str, layout: Layout) -> None:
        """The tables with all their months, each with one dead row: making them is not what is measured."""
        columns = [f"{name} {DDL[kind]}" for name, kind in self.shape.kinds.items()]
        if layout.has_months:
            columns.append("month timestamp with time zone")
        if layout.is_ordered:
            columns += ["cdc_version text", "cdc_deleted boolean"]
        key = "id, month" if layout.has_months else "id"
        refresh = "" if self.refresh_ms is None else f", refresh_interval = {self.refresh_ms}"
        by_month = "PARTITIONED BY (month) " if layout.has_months else ""
        for table in self.names:
            sql(
                f'CREATE TABLE "{schema}"."{table}" ({", ".join(columns)}, PRIMARY KEY ({key})) '
                f"CLUSTERED BY (id) INTO {self.shards} SHARDS {by_month}"
                f"WITH (number_of_replicas = 0{refresh})"
            )
            if layout.has_months:
                rows = [[-1, month] for month in self.months()]
                sql(f'INSERT INTO "{schema}"."{table}" (id, month) VALUES (?, ?)', bulk_args=rows)

    def contract(self, schema: str, table: str, topic: str, layout: Layout) -> str:
        text = CONTRACT.format(schema=schema, table=table, topic=topic, version=self.wire.version)
        if layout.has_months:
            text += 'partition = { column = "month", from = "created_at" }\n'
        return text + "".join(f'\n[columns.{name}]\ntype = "{type_}"\n' for name, type_ in self.wire.column_types().items())


# ---------------------------------------------------------------- in Kafka


@dataclass(frozen=True)
class Filled:
    """topics: by table. state: the last write of every key that is left. env: where a worker finds the schemas."""

    workload: Workload
    topics: Mapping[str, str]
    state: Mapping[int, Stored]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return self.workload.records

    def differences(self, sql: Sql, schema: str, layout: Layout) -> dict[str, int]:
        """How many rows are missing, too many or not as they must be, in all tables; {} when all is right."""
        found = {"missing": 0, "extra": 0, "differ": 0}
        for table_number, table in enumerate(self.workload.names):
            state = {key: stored for key, stored in self.state.items() if key % self.workload.tables == table_number}
            self._compare(sql, f'"{schema}"."{table}"', state, layout, found)
        return {kind: count for kind, count in found.items() if count}

    def _compare(self, sql: Sql, table: str, state: Mapping[int, Stored], layout: Layout, found: dict[str, int]) -> None:
        shape, left = self.workload.shape, set(state)
        names = [*shape.kinds, *(["month"] if layout.has_months else [])]
        sql(f"REFRESH TABLE {table}")
        for row in live_rows(sql, table, names, layout, max(state, default=0)):
            key = row["id"]
            if key not in left:
                found["extra"] += 1
                continue
            left.discard(key)
            wanted = shape.row(key, state[key])
            for name, kind in shape.kinds.items():
                if kind == "cents":
                    wanted[name] /= 100
            if layout.has_months:
                wanted["month"] = month_of(wanted["created_at"])
            found["differ"] += row != wanted
        found["missing"] += len(left)


def live_rows(sql: Sql, table: str, names: list[str], layout: Layout, last_key: int) -> Iterator[dict[str, Any]]:
    """Every row that readers see, in pages of keys."""
    alive = " AND cdc_deleted = FALSE" if layout.is_ordered else ""
    for first in range(0, last_key + 1, PAGE_KEYS):
        where = f"id >= {first} AND id < {first + PAGE_KEYS}{alive}"
        for row in sql.rows(f"SELECT {', '.join(names)} FROM {table} WHERE {where}"):
            yield dict(zip(names, row, strict=True))


def fill(servers: Servers, workload: Workload) -> Filled:
    """New topics with the workload's records, every key always in the same partition."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    topics = {table: f"{name}.{table}" for table in workload.names}
    make_topics(servers.kafka, list(topics.values()), workload.partitions)
    places = list(topics.values())
    events, encode = workload.events(), workload.wire.encode
    producer = KafkaProducer(
        bootstrap_servers=servers.kafka, compression_type="lz4", linger_ms=50, batch_size=262_144, max_request_size=10_000_000
    )
    try:
        for event in events:
            key, value = encode(event)
            producer.send(places[event.key % workload.tables], value, key, partition=zlib.crc32(key) % workload.partitions)
        producer.flush()
    finally:
        producer.close()
    return Filled(workload, topics, events.state, registry_of(workload))


def registry_of(workload: Workload) -> dict[str, str]:
    """How a worker finds the registry with the workload's schema, if it has one; its threads live as long as this process."""
    schema = workload.wire.schema()
    if schema is None:
        return {}
    settings = StubRegistry({SCHEMA_ID: schema}).settings()
    return {f"INGEST_{name.upper()}": value for name, value in settings.items()}


def make_topics(kafka: str, names: list[str], partitions: int) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1} for name in names})
    finally:
        admin.close()


def delete_topics(kafka: str, names: list[str]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        there = set(admin.list_topics())
        admin.delete_topics([name for name in names if name in there])
    finally:
        admin.close()
