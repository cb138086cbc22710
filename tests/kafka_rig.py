"""What tests of the Kafka room share: a broker with topics and rows, a member with a listener that notes everything."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from ingest.flow.ports import Commit
from ingest.kafka.clients import Client, reader
from ingest.kafka.options import KafkaSettings
from ingest.model import Partition, Record

# With which client the workers of tests read, where a test does not say.
KAFKA_CLIENT = os.environ.get("INGEST_TEST_KAFKA_CLIENT", "kafka-python")
WITHIN_S = 60.0
Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]


class BrokerRig:
    """A broker's address with what tests do to topics from outside."""

    def __init__(self, address: str, name: str = "real") -> None:
        self.address, self.name = address, name
        self._numbers = itertools.count(1)

    def topic(self, partitions: int = 1, **configs: Any) -> str:
        name = f"c{next(self._numbers)}-{uuid.uuid4().hex[:8]}"
        options = {key.replace("_", "."): str(value) for key, value in configs.items()}
        self.admin(
            lambda admin: admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1, "configs": options}})
        )
        return name

    def admin(self, action: Callable[[Any], Any]) -> Any:
        admin = KafkaAdminClient(bootstrap_servers=[self.address])
        try:
            return action(admin)
        finally:
            admin.close()

    def topics(self) -> set[str]:
        return set(self.admin(lambda admin: admin.list_topics()))

    def put(self, topic: str, rows: Iterable[Row], **options: Any) -> None:
        """rows: partition, key, value, headers."""
        producer = KafkaProducer(bootstrap_servers=[self.address], linger_ms=5, **options)
        try:
            sent = [producer.send(topic, value, key, headers, partition) for partition, key, value, headers in rows]
            for future in sent:
                future.get(timeout=20)
        finally:
            producer.close()

    def fill(self, topic: str, count: int, partitions: int = 1, **options: Any) -> None:
        """count rows, each with its number as the value, one partition after the other."""
        self.put(topic, ((number % partitions, None, b"%d" % number, []) for number in range(count)), **options)

    def read(self, topic: str, count: int) -> list[Any]:
        """The first records of a topic as the client itself reads them."""
        consumer = KafkaConsumer(bootstrap_servers=[self.address], group_id=None, auto_offset_reset="earliest")
        try:
            consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
            found: list[Any] = []
            deadline_s = time.monotonic() + WITHIN_S
            while len(found) < count and time.monotonic() < deadline_s:
                found += [record for records in consumer.poll(200).values() for record in records]
            return found
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, OffsetAndMetadata]:
        offsets = self.admin(lambda admin: admin.list_group_offsets([group]))[group]
        return {partition.partition: offset for partition, offset in offsets.items() if partition.topic == topic}

    def commit(self, group: str, topic: str, offset: int, partition: int = 0, metadata: str = "") -> None:
        """As an earlier run of the group would have."""
        self.commits(group, topic, {partition: (offset, metadata)})

    def commits(self, group: str, topic: str, to: Mapping[int, tuple[int, str]]) -> None:
        """Partitions with their offsets and metadata, which here does not end in a zero octet."""
        consumer = KafkaConsumer(bootstrap_servers=[self.address], group_id=group, enable_auto_commit=False)
        try:
            consumer.assign([TopicPartition(topic, partition) for partition in to])
            consumer.commit({TopicPartition(topic, partition): OffsetAndMetadata(*at, -1) for partition, at in to.items()})
        finally:
            consumer.close()


class Member:
    """A source with a listener that commits all that was read when partitions are revoked, and notes what it heard."""

    def __init__(self, settings: KafkaSettings, *, commits_on_revoke: bool = True, client: Client = "kafka-python") -> None:
        self.settings = settings
        self.source = reader(client, settings)
        self.commits_on_revoke = commits_on_revoke
        self.records: list[Record] = []
        self.events: list[tuple[str, frozenset[Partition]]] = []
        self.starts: dict[Partition, Commit] = {}
        self.next: dict[Partition, int] = {}
        self.commit_answers: list[bool] = []
        self.slept: list[float] = []
        self.revoke_takes_s = 0.0

    # what the source tells

    def assigned(self, partitions: Mapping[Partition, Commit]) -> None:
        self.events.append(("assigned", frozenset(partitions)))
        self.starts.update(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        self.events.append(("revoked", frozenset(partitions)))
        if self.revoke_takes_s:
            started = time.monotonic()
            await self.source.sleep(self.revoke_takes_s)
            self.slept.append(time.monotonic() - started)
        going = {each: Commit(self.next.pop(each)) for each in partitions if each in self.next}
        if going and self.commits_on_revoke:
            self.commit_answers.append(await self.source.commit_now(going, 5.0))

    def lost(self, partitions: Collection[Partition]) -> None:
        self.events.append(("lost", frozenset(partitions)))
        for each in partitions:
            self.next.pop(each, None)

    # what tests do

    def start(self) -> Member:
        self.source.start(self)
        return self

    def poll(self, timeout_s: float = 0.1) -> Sequence[Record]:
        records = self.source.poll(timeout_s)
        self.records += records
        for record in records:
            self.next[Partition(record.topic, record.partition)] = record.offset + 1
        return records

    @property
    def held(self) -> set[Partition]:
        held: set[Partition] = set()
        for event, partitions in self.events:
            held = held | partitions if event == "assigned" else held - partitions
        return held

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for record in self.records]

    def kinds(self) -> list[str]:
        return [event for event, _ in self.events]

    def commit(self, offsets: Mapping[Partition, Commit]) -> str | None:
        """Commit and wait for the answer; why it failed."""
        self.source.commit(offsets)
        until(lambda: not self.source.commit_in_flight, self)
        return self.source.take_commit_error()

    def close(self) -> None:
        self.source.close(5.0)


def settings_for(address: str, topics: str | Sequence[str], group: str | None = None, **changes: Any) -> KafkaSettings:
    names = (topics,) if isinstance(topics, str) else tuple(topics)
    base = KafkaSettings(bootstrap_servers=(address,), group_id=group or f"g-{uuid.uuid4().hex[:8]}", topics=names)
    return replace(base, **{"session_timeout_ms": 6_000, "client_options": {"heartbeat_interval_ms": 500}, **changes})


def until(is_true: Callable[[], Any], *members: Member, within_s: float = WITHIN_S) -> None:
    """Poll these members until it is true."""
    deadline_s = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"did not happen within {within_s} s: {[member.events for member in members]}"
        for member in members:
            member.poll()
        if not members:
            time.sleep(0.05)
