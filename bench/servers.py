"""The servers that a benchmark runs against: Kafka and CrateDB that it starts and ends itself, or a store that answers at once.

Loopback only. With `Cores` CrateDB and everything else have cores of their own. Linux only.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import urllib3

from ingest.practice.store import Store
from ingest.practice.store.engine import Engine
from tests.oracle.worker import listener_on
from tests.server_processes import CrateServer, KafkaServer
from tests.servers import Missing, crate_home, kafka_jars

HEAP = "2g"
TIMEOUT_S = 300.0
# Growth curves ask for hundreds of tables with a shard or two each; CrateDB's own limit is 1,000 shards.
CRATE_OPTIONS = {"cluster.max_shards_per_node": 5_000}


class Sql:
    """Statements of the benchmark's own, to one node."""

    def __init__(self, url: str) -> None:
        self._url, self._http = f"{url}/_sql", urllib3.PoolManager(retries=False, timeout=TIMEOUT_S)

    def __call__(self, stmt: str, args: Sequence[Any] = (), bulk_args: Sequence[Sequence[Any]] = ()) -> dict[str, Any]:
        body = {"stmt": stmt, "bulk_args": bulk_args} if bulk_args else {"stmt": stmt, "args": list(args)}
        answer = self._http.request("POST", self._url, json=body)
        told: dict[str, Any] = json.loads(answer.data)
        if "error" in told:
            raise RuntimeError(f"{stmt[:60]}: {told['error']['message']}")
        return told

    def rows(self, stmt: str, args: Sequence[Any] = ()) -> list[list[Any]]:
        rows: list[list[Any]] = self(stmt, args)["rows"]
        return rows

    def drop_schema(self, schema: str) -> None:
        """All tables of it."""
        named = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'"
        for (name,) in self.rows(named, [schema]):
            self(f'DROP TABLE IF EXISTS "{schema}"."{name}"')


@dataclass(frozen=True)
class Servers:
    """kafka: host:port. psql_port: 0 where nobody speaks PostgreSQL. Process ids: None where they are not ours to see."""

    kafka: str
    crate: str
    psql_port: int = 0
    kafka_pid: int | None = None
    crate_pid: int | None = None
    crate_version: str = ""
    is_pinned: bool = False

    @property
    def sql(self) -> Sql:
        return Sql(self.crate)


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes that this thread starts meanwhile have these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def own_servers(*, is_pinned: bool = False, is_instant: bool = False) -> Iterator[Servers]:
    """A broker and a node (or a store that answers at once), ended when the block ends.

    is_pinned: CrateDB has the first core, this process and all others that it starts have the next ones.
    """
    cores = sorted(os.sched_getaffinity(0))
    if is_pinned and len(cores) < 2:
        raise SystemExit("--pin needs two cores: run it on a machine that has them")
    with ExitStack() as stack:
        if is_pinned:
            stack.enter_context(on_cores(set(cores[1:])))
        kafka = started_kafka(stack)
        kafka_pid = listener_on(int(kafka.rsplit(":", 1)[1]))
        if is_instant:
            url = stack.enter_context(instant_store())
            yield Servers(
                kafka, url, 0, kafka_pid, listener_on(urlsplit(url).port or 0), "a store that answers at once", is_pinned
            )
            return
        with on_cores({cores[0]} if is_pinned else set(cores)):
            crate = started_crate(stack)
        pid = listener_on(crate.ports[0])
        yield Servers(kafka, crate.address, crate.psql_port, kafka_pid, pid, crate.version, is_pinned)


def started_kafka(stack: ExitStack) -> str:
    jars = kafka_jars()
    if isinstance(jars, Missing):
        raise SystemExit(f"Kafka: {jars.how}")
    server = KafkaServer(jars)
    stack.callback(server.remove)
    server.start()
    return server.address


def started_crate(stack: ExitStack) -> CrateServer:
    home = crate_home()
    if isinstance(home, Missing):
        raise SystemExit(f"CrateDB: {home.how}")
    server = CrateServer(home, CRATE_OPTIONS, heap=HEAP)
    stack.callback(server.remove)
    server.start()
    return server


# ---------------------------------------------------------------- a store that answers at once


class AtOnce(Engine):
    """Does what a store does, except that it believes of every row of a bulk request that it was written."""

    def execute(self, stmt: str, args: Any = (), bulk: Any = None, schema: str = "doc") -> dict[str, Any]:
        if bulk is None:
            return super().execute(stmt, args, None, schema)
        return {"cols": [], "results": [{"rowcount": 1}] * len(bulk)}


def serve_at_once(pipe: Connection) -> None:
    store = Store()
    store._engine = AtOnce(store._database)  # noqa: SLF001  (the one part that is not its own)
    with store:
        pipe.send(store.url)
        with suppress(EOFError):
            pipe.recv()


@contextmanager
def instant_store() -> Iterator[str]:
    """The address of a store in a process of its own."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_at_once, args=(its,), daemon=True)
    process.start()
    try:
        yield mine.recv()
    finally:
        mine.send("end")
        process.join()
