"""The rows of the fault matrix for a cluster of three nodes with a replica of each shard, and for a node with a tiny heap."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from tests import conftest as reporting
from tests.chaos.cluster import NODES, three_nodes
from tests.chaos.conftest import Play
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of
from tests.oracle.crate import Crate
from tests.server_processes import CrateServer, KafkaServer

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS, row = rows_of("cluster")
TABLES = ("invoices", "customers")
GREEN_WITHIN_S = 300.0
# A few records a second: on however slow a machine some are left when all copies are there and the fault begins.
SLOWLY = 40.0


def replicated(rig: Rig) -> dict[str, str]:
    """A copy of every shard on another node."""
    for table in rig.scenario.tables:
        rig.crate.rows(f"ALTER TABLE {table} SET (number_of_replicas = 1)")
    return {}


def is_green(rig: Rig) -> bool:
    """Whether every shard of ours has all its copies."""
    with suppress(RuntimeError, OSError, HTTPError):  # nobody answers while a master is elected
        return health(rig) == [["GREEN"]]
    return False


def health(rig: Rig) -> list[list[Any]]:
    return rig.crate.rows("SELECT DISTINCT health FROM sys.health WHERE table_schema = ?", [rig.name])


def until_green(rig: Rig) -> None:
    rig.until(lambda: is_green(rig), GREEN_WITHIN_S, "all shards have their copies")


@row(prepare=replicated, tables=TABLES, rate=SLOWLY)
def one_node_lost(rig: Rig) -> None:
    """One node of three is killed (SIGKILL) for 20 s; the worker knows all three."""
    without(rig, rig.rnd.choice([1, 2]))


@row(prepare=replicated, tables=TABLES, rate=SLOWLY)
def first_node_lost(rig: Rig) -> None:
    """The node that stands first in the worker's addresses is killed (SIGKILL) for 20 s."""
    without(rig, 0)


def without(rig: Rig, number: int) -> None:
    until_green(rig)
    rig.lose(number)
    began_s, total = time.monotonic(), rig.watch.total
    rig.seen["goes_on_after_s"] = round(rig.until(lambda: rig.watch.total > total, 90, "the worker goes on with two nodes"), 1)
    time.sleep(max(0.0, 20 - (time.monotonic() - began_s)))
    rig.bring_back(number)


@row(prepare=replicated, tables=TABLES, rate=SLOWLY)
def two_nodes_lost(rig: Rig) -> None:
    """One node of three is killed, 8 s later a second, so there is no master; 12 s later both come back."""
    until_green(rig)
    first, second = rig.rnd.sample(range(NODES), 2)
    rig.lose(first)
    time.sleep(8)
    rig.lose(second)
    time.sleep(12)
    rig.bring_back(first, second)


@row(prepare=replicated, tables=TABLES, rate=SLOWLY)
def nodes_lost_in_turn(rig: Rig) -> None:
    """Each node in turn is killed and started again, the next once all shards have their copies: a rough rolling restart."""
    for number in range(NODES):
        until_green(rig)
        rig.lose(number)
        time.sleep(3)
        rig.bring_back(number)


@pytest.fixture(scope="module")
def three(chaos_kafka: KafkaServer, cratedb_home: Path) -> Iterator[Servers]:
    nodes = three_nodes(cratedb_home)
    reporting.versions["CRATEDB"] = nodes[0].version
    yield Servers(chaos_kafka, nodes)
    for node in nodes:
        node.remove()


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, three: Servers) -> None:
    play(scenario, three)


# ---------------------------------------------------------------- a tiny heap

TINY_ROWS, tiny = rows_of("tiny heap")
HEAP = "128m"
# Gathers some hundred MB in the heap, which it does not have.
HOG = "SELECT array_length(array_agg(number || ' and some more letters behind it'), 1) FROM generate_series(1, 3000000) t(number)"
HOGS = 3


@tiny(rate=200)
def heap_full(rig: Rig) -> None:
    """Queries of others fill a heap of 128 MB for 20 s: CrateDB's memory breakers trip, for them and for us."""
    trips = Counter[str]()
    deadline_s = time.monotonic() + 20
    hogs = [threading.Thread(target=hog, args=(rig.crate_server.address, deadline_s, trips)) for _ in range(HOGS)]
    for each in hogs:
        each.start()
    for each in hogs:
        each.join(120)
    rig.seen |= {"breaker_trips_of_others": trips["CircuitBreakingException"], "queries_of_others": trips.total()}
    assert trips["CircuitBreakingException"], "the heap was never full"


def hog(url: str, deadline_s: float, trips: Counter[str]) -> None:
    crate = Crate(url, "doc")
    while time.monotonic() < deadline_s:
        try:
            crate.rows(HOG)
            trips["answered"] += 1
        except (RuntimeError, OSError, HTTPError) as error:
            trips["CircuitBreakingException" if "CircuitBreakingException" in str(error) else "failed"] += 1
    crate.close()


@pytest.fixture(scope="module")
def tiny_heap(chaos_kafka: KafkaServer, cratedb_home: Path) -> Iterator[Servers]:
    server = CrateServer(cratedb_home, heap=HEAP)
    reporting.versions["CRATEDB"] = server.version
    server.start()
    yield Servers(chaos_kafka, [server])
    server.remove()


@pytest.mark.parametrize("scenario", parameters(TINY_ROWS))
def test_tiny_heap(scenario: Scenario, play: Play, tiny_heap: Servers) -> None:
    play(scenario, tiny_heap)
