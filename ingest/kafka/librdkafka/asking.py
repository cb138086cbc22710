"""kafka.asking.Questions over librdkafka. In the thread of who asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, TopicPartition

from ingest.flow.ports import Commit
from ingest.kafka.librdkafka.commits import commit_here
from ingest.kafka.librdkafka.errors import see_each, told_as_client
from ingest.model import Partition

NO_OFFSET = 0  # what is below it is a word, such as "none"


class RdQuestions:
    """partition_count: of a topic, as last heard."""

    def __init__(self, consumer: Consumer, timeout_s: float, partition_count: Callable[[str], int | None]) -> None:
        self._consumer = consumer
        self._timeout_s = timeout_s
        self._partition_count = partition_count

    def partitions_of(self, topic: str) -> Collection[Partition]:
        return [Partition(topic, number) for number in range(self._partition_count(topic) or 0)]

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, Commit]:
        with told_as_client():
            found = see_each(self._consumer.committed([TopicPartition(*each) for each in partitions], timeout=self._timeout_s))
        return {ours(each): _as_commit(each) for each in found if each.offset >= NO_OFFSET}

    def begins(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return self._offsets(partitions, OFFSET_BEGINNING)

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return self._offsets(partitions, OFFSET_END)

    def _offsets(self, partitions: Collection[Partition], which: int) -> Mapping[Partition, int]:
        return offsets_of(self._consumer, partitions, which, self._timeout_s)

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        commit_here(self._consumer, offsets)


def offsets_of(client: Consumer, partitions: Collection[Partition], which: int, timeout_s: float) -> Mapping[Partition, int]:
    """which: OFFSET_BEGINNING or OFFSET_END; with these in place of times a question for offsets at a time is one for them."""
    asked = [TopicPartition(*each, which) for each in partitions]
    with told_as_client():
        found = see_each(client.offsets_for_times(asked, timeout=timeout_s) if asked else [])
    return {ours(each): each.offset for each in found}


def ours(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)


def _as_commit(found: TopicPartition) -> Commit:
    epoch = found.leader_epoch
    return Commit(found.offset, _metadata_of(found), -1 if epoch is None else epoch)


def _metadata_of(found: TopicPartition) -> str:
    """Behind metadata that another program committed librdkafka 2.16 may read what is in memory there, see kafka.asking.END.
    It is no text of ours then, and such begins afresh.
    """
    try:
        return found.metadata or ""
    except UnicodeDecodeError:
        return ""
