"""The rows of the fault matrix for three brokers with a copy of everything on each: leaders and coordinators move."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.chaos.brokers import Brokers, create_replicated
from tests.chaos.conftest import Play, lacks
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of
from tests.oracle import kafka_io
from tests.oracle.stream import PARTITIONS
from tests.server_processes import CrateServer
from tests.servers import Missing, kafka_jars

pytestmark = [
    *(pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow),
    # While a broker is away the client opens sockets that fail and leaves them to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, row = rows_of("brokers")
AWAY_S = 15.0


def replicated(rig: Rig) -> dict[str, str]:
    """The topics once more, with three copies."""
    topics = [*rig.topics, rig.dead_letters]
    kafka_io.delete_topics(rig.kafka, topics)
    time.sleep(2)  # a name is free again once every broker has let go of it
    create_replicated(rig.kafka, topics, PARTITIONS, kafka_io.MOST_BYTES)
    return {}


def brokers(rig: Rig) -> Brokers:
    assert isinstance(rig.kafka_server, Brokers)
    return rig.kafka_server


def killed(rig: Rig, number: int) -> None:
    """A broker is away for AWAY_S; the worker must go on before it is back."""
    node, total = brokers(rig).nodes[number], rig.watch.total
    node.kill()
    began_s = time.monotonic()
    took_s = rig.until(lambda: rig.watch.total > total, 90, "the worker goes on with two brokers")
    rig.seen["goes_on_after_s"] = round(took_s, 1)
    time.sleep(max(0.0, AWAY_S - (time.monotonic() - began_s)))
    node.start()


@row(prepare=replicated, books="balanced", rate=100)
def leader_killed(rig: Rig) -> None:
    """The broker that leads a partition of ours is killed (SIGKILL) for 15 s; others lead meanwhile, and after."""
    topic = rig.topic("invoices")
    before = brokers(rig).leader_of(topic, 0)
    killed(rig, before)
    rig.seen["leaders"] = [before, brokers(rig).leader_of(topic, 0)]


@row(prepare=replicated, books="balanced", rate=100)
def coordinator_killed(rig: Rig) -> None:
    """The broker that coordinates the group is killed (SIGKILL) for 15 s: another one does."""
    before = brokers(rig).coordinator_of(rig.name)
    killed(rig, before)
    rig.seen["coordinators"] = [before, brokers(rig).coordinator_of(rig.name)]


@row(prepare=replicated, books="balanced", rate=100)
def brokers_restarted_in_turn(rig: Rig) -> None:
    """Each broker ends in good order and starts again 5 s later, one after the other, as an upgrade does."""
    for node in brokers(rig).nodes.values():
        node.stop()
        time.sleep(5)
        node.start()
        time.sleep(5)


@row(prepare=replicated, books="balanced", rate=100)
def two_brokers_killed(rig: Rig) -> None:
    """Two of three brokers are killed (SIGKILL) for 20 s: nothing can be committed, nothing is lost."""
    lost = [brokers(rig).nodes[2], brokers(rig).nodes[3]]
    for node in lost:
        node.kill()
    time.sleep(20)
    for node in lost:
        node.launch()
    for node in lost:
        node.wait_until_up()


@pytest.fixture(scope="module")
def cluster(chaos_crate: CrateServer) -> Iterator[Servers]:
    jars = kafka_jars()
    if isinstance(jars, Missing):
        lacks("KAFKA", jars)
    made = Brokers(jars)
    made.start_all()
    yield Servers(made, [chaos_crate])
    made.remove_all()


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, cluster: Servers) -> None:
    play(scenario, cluster)
