"""The rows of the fault matrix in which the broker takes rights away that the worker needs (StandardAuthorizer, SASL)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from tests.chaos import judge
from tests.chaos.brokers import GUARDED, asked
from tests.chaos.conftest import Play, lacks
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of
from tests.chaos.test_kafka import ended_with, told_in_time
from tests.server_processes import CrateServer, KafkaServer
from tests.servers import Missing, kafka_jars

pytestmark = [
    *(pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow),
    # While a broker is away the client opens sockets that fail and leaves them to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, row = rows_of("rights")
WORKER = "User:tester"
# What docs/operations.md tells an administrator to grant: by kind of thing, operations.
READS, WRITES = (ACLOperation.READ, ACLOperation.DESCRIBE), (ACLOperation.WRITE, ACLOperation.DESCRIBE)


def granted(rig: Rig) -> dict[str, str]:
    """The worker comes with a password and has the rights it needs, no more."""
    for topic in rig.topics:
        grant(rig, ResourceType.TOPIC, topic, READS)
    grant(rig, ResourceType.TOPIC, rig.dead_letters, WRITES)
    grant(rig, ResourceType.GROUP, rig.name, READS)
    return {
        "INGEST_KAFKA_BOOTSTRAP_SERVERS": rig.kafka_server.sasl_address,
        "INGEST_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "INGEST_KAFKA_SASL_MECHANISM": "PLAIN",
        "INGEST_KAFKA_SASL_PLAIN_USERNAME": "tester",
        "INGEST_KAFKA_SASL_PLAIN_PASSWORD": "right",
    }


def grant(rig: Rig, kind: ResourceType, name: str, operations: tuple[ACLOperation, ...]) -> None:
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.LITERAL)
    acls = [ACL(WORKER, "*", each, ACLPermissionType.ALLOW, pattern) for each in operations]
    asked(rig.kafka, lambda client: client.create_acls(acls))


def take_away(rig: Rig, kind: ResourceType, name: str, operation: ACLOperation) -> None:
    pattern = ResourcePatternFilter(kind, name, ACLResourcePatternType.LITERAL)
    found = ACLFilter(WORKER, "*", operation, ACLPermissionType.ALLOW, pattern)
    asked(rig.kafka, lambda client: client.delete_acls([found]))


@row(prepare=granted)
def dead_letters_refused(rig: Rig) -> None:
    """The right to write the dead-letter topic is taken away until 8 s after the first refusal: letters wait, and arrive."""
    take_away(rig, ResourceType.TOPIC, rig.dead_letters, ACLOperation.WRITE)
    rig.until(lambda: rig.logged("dead_letters_trouble"), 90, "a letter is refused")
    rig.seen["ready"] = told_in_time(rig)
    judge.check_commits(rig)
    grant(rig, ResourceType.TOPIC, rig.dead_letters, (ACLOperation.WRITE,))


@row(prepare=granted, books="balanced")
def topic_forbidden(rig: Rig) -> None:
    """The right to read a topic is taken away under load: the worker ends with 4 and says so; with the right it goes on."""
    take_away(rig, ResourceType.TOPIC, rig.topic("invoices"), ACLOperation.READ)
    ended_with(rig, rig.worker.wait(90), "kafka.not_authorised", "TopicAuthorizationFailedError")
    time.sleep(2)
    judge.check_commits(rig)
    grant(rig, ResourceType.TOPIC, rig.topic("invoices"), (ACLOperation.READ,))
    rig.start_worker()


@row(prepare=granted, books="balanced")
def group_forbidden(rig: Rig) -> None:
    """The right to be in the group is taken away under load: the worker ends with 4 and says so; with the right it goes on."""
    take_away(rig, ResourceType.GROUP, rig.name, ACLOperation.READ)
    ended_with(rig, rig.worker.wait(90), "kafka.not_authorised", "GroupAuthorizationFailedError")
    judge.check_commits(rig)
    grant(rig, ResourceType.GROUP, rig.name, (ACLOperation.READ,))
    rig.start_worker()


@pytest.fixture(scope="module")
def guarded(chaos_crate: CrateServer) -> Iterator[Servers]:
    jars = kafka_jars()
    if isinstance(jars, Missing):
        lacks("KAFKA", jars)
    server = KafkaServer(jars, properties=GUARDED)
    server.start()
    yield Servers(server, [chaos_crate])
    server.remove()


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, guarded: Servers) -> None:
    play(scenario, guarded)
