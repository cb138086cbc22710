"""Where reading starts in a partition that has just become ours: the commit, or for lack of one the first-start policy.

START_FROM is for topics that the group has never seen. It is committed at once, so that the choice is made only once and that a
partition added later can be told from a new topic: in such a partition reading starts at the beginning.
Blocking requests; loop's thread, inside poll.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from ingest.errors import Stop
from ingest.flow.ports import ADDED, Commit
from ingest.kafka import client_seams
from ingest.kafka.options import StartFrom
from ingest.model import Partition

log = logging.getLogger(__name__)

# Metadata of a commit that says only where reading started. Two members that start at once must both see a new topic.
STARTED = "ingest.started"


def starting_points(
    consumer: KafkaConsumer, partitions: Collection[TopicPartition], start_from: StartFrom, timeout_ms: int
) -> dict[TopicPartition, Commit]:
    """Where to start in each. Raises Stop("kafka.no_offset") under the policy `refuse`, and the client's errors."""
    commits = client_seams.committed(consumer, partitions, timeout_ms)
    starts = {partition: _as_commit(commits[partition]) for partition in partitions if partition in commits}
    bare = [partition for partition in partitions if partition not in commits]
    if bare:
        starts |= _first_starts(consumer, bare, start_from, timeout_ms)
    return starts


def is_new_topic(metadata: Iterable[str]) -> bool:
    """Whether the group has never settled anything in a topic, given the metadata of its commits there.

    >>> is_new_topic([]), is_new_topic(["ingest.started"]), is_new_topic(["ingest.started", ""])
    (True, True, False)
    """
    return all(text == STARTED for text in metadata)


def _first_starts(
    consumer: KafkaConsumer, bare: Collection[TopicPartition], start_from: StartFrom, timeout_ms: int
) -> dict[TopicPartition, Commit]:
    new = {topic for topic in {partition.topic for partition in bare} if _is_new(consumer, topic, timeout_ms)}
    if new and start_from == "refuse":
        raise Stop(
            "kafka.no_offset",
            f"this group has never read topic {min(new)} and INGEST_START_FROM is refuse: set it to earliest or latest",
        )
    at_end = [partition for partition in bare if partition.topic in new and start_from == "latest"]
    at_beginning = [partition for partition in bare if partition not in at_end]
    offsets = _offsets(consumer, at_beginning, at_end, timeout_ms)
    said = {each: STARTED if each.topic in new else ADDED for each in offsets}
    consumer.commit({each: OffsetAndMetadata(offset, said[each], -1) for each, offset in offsets.items()}, timeout_ms=timeout_ms)
    log.info("first_start", extra={"topics": sorted(new), "partitions": len(offsets), "start_from": start_from})
    return {each: Commit(offset, "" if said[each] == STARTED else ADDED) for each, offset in offsets.items()}


def _is_new(consumer: KafkaConsumer, topic: str, timeout_ms: int) -> bool:
    everywhere = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    return is_new_topic(commit.metadata for commit in client_seams.committed(consumer, everywhere, timeout_ms).values())


def _offsets(
    consumer: KafkaConsumer, at_beginning: Collection[TopicPartition], at_end: Collection[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    if at_beginning:
        offsets |= consumer.beginning_offsets(list(at_beginning), timeout_ms=timeout_ms)
    if at_end:
        offsets |= consumer.end_offsets(list(at_end), timeout_ms=timeout_ms)
    return offsets


def _as_commit(commit: OffsetAndMetadata) -> Commit:
    metadata = "" if commit.metadata == STARTED else commit.metadata
    return Commit(commit.offset, metadata, commit.leader_epoch)


def as_offsets(commits: Mapping[Partition, Commit]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Our commits as the client wants them."""
    return {
        TopicPartition(*partition): OffsetAndMetadata(commit.offset, commit.metadata, commit.leader_epoch)
        for partition, commit in commits.items()
    }
