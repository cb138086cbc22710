"""Three small brokers on this machine, of which rows kill one by one, and one that lets nobody do what no ACL allows."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient

from tests.server_processes import HOST, KafkaServer, run

BROKERS = 3
REPLICATED = """default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=5000
replica.lag.time.max.ms=8000
"""
# The rows themselves come without TLS or password and may do everything; the worker comes as `tester`.
GUARDED = """authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


class SmallBroker(KafkaServer):
    """One of several in a cluster, which it joins before its first start."""

    def __init__(self, jars: Path) -> None:
        super().__init__(jars)
        self._java = ["-Xmx256m" if part.startswith("-Xmx") else part for part in self._java]

    @property
    def control(self) -> str:
        return f"{HOST}:{self.ports[-1]}"

    def join(self, number: int, voters: str, cluster_id: str) -> None:
        """Forget the cluster of its own that it was made with."""
        with self._settings.open("a") as settings:  # of a name that stands twice the last counts
            settings.write(f"{REPLICATED}node.id={number}\ncontroller.quorum.voters={voters}\n")
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        run([*self._java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self._settings)])


class Brokers(SmallBroker):
    """The first of three, whose address is that of all. nodes: by number, from 1."""

    def __init__(self, jars: Path) -> None:
        super().__init__(jars)
        self.nodes: dict[int, KafkaServer] = {1: self}
        fellows = [SmallBroker(jars) for _ in range(BROKERS - 1)]
        members: list[SmallBroker] = [self, *fellows]
        self.nodes |= dict(enumerate(fellows, 2))
        voters = ",".join(f"{number}@{each.control}" for number, each in enumerate(members, 1))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        for number, each in enumerate(members, 1):
            each.join(number, voters, cluster_id)
        self.address = ",".join(each.address for each in members)

    def start_all(self) -> None:
        """At once: one that is alone has no controller and does not count as up."""
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_until_up()

    def remove_all(self) -> None:
        for node in self.nodes.values():
            node.remove()

    def leader_of(self, topic: str, partition: int) -> int:
        """Number of the broker that leads it now, -1 for none."""
        (found,) = asked(self.address, lambda admin: admin.describe_topics([topic]))
        return next(int(each["leader_id"]) for each in found["partitions"] if each["partition_index"] == partition)

    def coordinator_of(self, group: str) -> int:
        """Number of the broker that leads the partition of the offsets topic in which the group is."""
        (found,) = asked(self.address, lambda admin: admin.describe_topics(["__consumer_offsets"]))
        number = java_hash(group) % len(found["partitions"])
        return self.leader_of("__consumer_offsets", number)


def asked(address: str, ask: Any) -> Any:
    """What an administrator's client answers."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        return ask(admin)
    finally:
        admin.close()


def java_hash(text: str) -> int:
    """As Kafka places a group among the partitions of its offsets topic: Java's hash of a text, without its sign bit.

    >>> java_hash("orders")
    1138713317
    """
    found = 0
    for letter in text:
        found = (31 * found + ord(letter)) & 0xFFFF_FFFF
    return found & 0x7FFF_FFFF


def create_replicated(address: str, topics: Sequence[str], partitions: int, most_bytes: int) -> None:
    """Topics with a copy on every broker."""
    shape = {"num_partitions": partitions, "replication_factor": BROKERS, "configs": {"max.message.bytes": str(most_bytes)}}
    asked(address, lambda admin: admin.create_topics(dict.fromkeys(topics, shape), wait_for_metadata=True))
