"""What is asked of Kafka about offsets before reading goes on somewhere: by which client makes no difference to who asks.

Questions block for one request or a few and raise errors of kafka-python's classes. Loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from ingest.flow.ports import Commit
from ingest.kafka import client_seams
from ingest.model import Partition

# Ends metadata on the wire. librdkafka takes metadata to its first zero octet, and was seen to read on in foreign memory where
# there is none (2.16): what kafka-python commits must be fit for a worker that goes on with librdkafka.
END = "\0"


class Questions(Protocol):
    """Each is one request or a few."""

    def partitions_of(self, topic: str) -> Collection[Partition]:
        """As last heard."""

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, Commit]:
        """What the group has committed; those without a commit are left out."""

    def begins(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset of the first record of each."""

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset after the last record of each."""

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        """Commit these, and wait for the answer."""


class ClientQuestions:
    """Asked through kafka-python. Kafka keeps a zero octet behind the metadata, whichever client committed; see `as_offsets`."""

    def __init__(self, consumer: KafkaConsumer, timeout_ms: int) -> None:
        self._consumer = consumer
        self._timeout_ms = timeout_ms

    def partitions_of(self, topic: str) -> Collection[Partition]:
        return [Partition(topic, number) for number in self._consumer.partitions_for_topic(topic)]

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, Commit]:
        found = client_seams.committed(self._consumer, as_theirs(partitions), self._timeout_ms)
        return {Partition(*each): Commit(at.offset, at.metadata.rstrip(END), at.leader_epoch) for each, at in found.items()}

    def begins(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return _as_ours(self._consumer.beginning_offsets(as_theirs(partitions), timeout_ms=self._timeout_ms))

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return _as_ours(self._consumer.end_offsets(as_theirs(partitions), timeout_ms=self._timeout_ms))

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        self._consumer.commit(as_offsets(offsets), timeout_ms=self._timeout_ms)


def as_theirs(partitions: Collection[Partition]) -> list[TopicPartition]:
    """Our partitions as the client wants them."""
    return [TopicPartition(*each) for each in partitions]


def as_offsets(commits: Mapping[Partition, Commit]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Our commits as the client wants them. Metadata ends as librdkafka ends it."""
    return {
        TopicPartition(*partition): OffsetAndMetadata(
            commit.offset, commit.metadata and commit.metadata + END, commit.leader_epoch
        )
        for partition, commit in commits.items()
    }


def _as_ours(offsets: Mapping[TopicPartition, int]) -> Mapping[Partition, int]:
    return {Partition(*partition): offset for partition, offset in offsets.items()}
