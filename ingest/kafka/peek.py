"""Looking at records in Kafka without being a member of a group: nothing is joined, committed or changed. For commands.

One partition at a time is assigned and sought, so memory stays that of one fetch. Every wait is bounded. One thread per peek.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as client

from ingest.errors import IngestError, Retry, Stop
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.options import KafkaSettings, consumer_options
from ingest.model import Partition, Record

# The client complains of every connection that is closed under a fetch, and of a busy machine; what matters is raised.
CLIENT_LOG = logging.getLogger("kafka")
POLL_MS = 500
ASK_TIMEOUT_MS = 10_000
FORGETFUL = 5
# A broker that answers has the next record within a round trip; a whole fetch of 32 MB over a slow line takes some seconds.
STALL_S = 20.0


class Bounds(NamedTuple):
    """What a partition holds now: records from begin up to, but not with, end."""

    begin: int
    end: int


class Peek:
    """A consumer without a group, as context manager. clock: monotonic seconds."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._consumer: Any = None
        self._known: Mapping[str, int] = {}
        self._log_level = CLIENT_LOG.level

    def __enter__(self) -> Self:
        """Raises Retry when nobody answers, Stop for what only a person can mend."""
        client_seams.check_client()
        self._log_level = CLIENT_LOG.level
        CLIENT_LOG.setLevel(logging.CRITICAL)
        try:
            with _translated("connecting"):
                self._consumer = _consumer(self._settings, with_group=False)
                client_seams.tune(self._consumer)
        except BaseException:
            CLIENT_LOG.setLevel(self._log_level)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close(autocommit=False, timeout_ms=0)
        CLIENT_LOG.setLevel(self._log_level)

    def topics(self) -> Mapping[str, int]:
        """All topics that we may see, with their number of partitions; asked once."""
        if not self._known:
            with _translated("asking for topics"):
                names = sorted(self._consumer.topics())
                self._known = {name: len(self._consumer.partitions_for_topic(name) or ()) for name in names}
        return self._known

    def bounds(self, partitions: Collection[Partition]) -> dict[Partition, Bounds]:
        """What these hold now. The end is that of committed transactions."""
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        with _translated("asking for offsets"):
            begins = self._told(self._consumer.beginning_offsets, asked)
            ends = self._told(self._consumer.end_offsets, asked)
        return {Partition(*each): Bounds(begins[each], ends[each]) for each in asked}

    def offsets_at(self, partitions: Collection[Partition], moment_ms: int) -> dict[Partition, int | None]:
        """The first offset at or after a moment in each, None where all records are older."""
        asked = {TopicPartition(*partition): moment_ms for partition in partitions}
        if not asked:
            return {}
        with _translated("asking for offsets"):
            found = self._consumer.offsets_for_times(asked, timeout_ms=ASK_TIMEOUT_MS)
        return {Partition(*each): None if found.get(each) is None else int(found[each].offset) for each in asked}

    def records(self, partition: Partition, begin: int, end: int) -> Iterator[Record]:
        """The records at begin or later and before end, in order. Raises Retry when nothing comes for STALL_S."""
        place = TopicPartition(*partition)
        with _translated(f"reading {partition}"):
            self._consumer.assign([place])
            self._consumer.seek(place, begin)
        heard_s, at = self._clock(), begin
        while at < end:
            for record in self._poll(partition):
                if record.offset >= end:
                    return
                yield record
            now_at = client_seams.position(self._consumer, place)
            if now_at is not None and now_at > at:
                heard_s, at = self._clock(), now_at
            elif self._clock() - heard_s > STALL_S:
                raise Retry("kafka.unreachable", f"no record of {partition} came from Kafka for {STALL_S:.0f} s")

    def _told(self, ask: Callable[..., dict[Any, int]], asked: list[TopicPartition]) -> dict[Any, int]:
        """While a partition is read the client forgets who leads the others, and then trips over their missing offsets."""
        for _ in range(FORGETFUL):
            try:
                return ask(asked, timeout_ms=ASK_TIMEOUT_MS)
            except KeyError:
                self._consumer.topics()  # learns about all of them
        raise Retry("kafka.unreachable", f"the offsets of {len(asked)} partitions are not told: try again")

    def _poll(self, partition: Partition) -> list[Record]:
        with _translated(f"reading {partition}"):
            try:
                found = self._consumer.poll(POLL_MS)
            except client.OffsetOutOfRangeError as error:
                raise Stop("kafka.gap", f"retention deleted records of {partition} while it was read: try again") from error
            if not found and (refusal := client_seams.refused_login(self._consumer)):
                raise Stop("kafka.not_authenticated", f"the broker refuses the credentials ({refusal})")
        return [record for records in found.values() for record in records]


def committed(settings: KafkaSettings, partitions: Collection[Partition]) -> dict[Partition, int]:
    """The offset that the group of the settings would read next, in each partition in which it committed one."""
    asked = [TopicPartition(*partition) for partition in partitions]
    if not asked:
        return {}
    with _translated("asking for the group's offsets"):
        consumer = _consumer(settings, with_group=True)
        try:
            client_seams.tune(consumer)
            found = client_seams.committed(consumer, asked, ASK_TIMEOUT_MS)
        finally:
            consumer.close(autocommit=False, timeout_ms=0)
    return {Partition(*each): commit.offset for each, commit in found.items() if commit.offset >= 0}


def _consumer(settings: KafkaSettings, *, with_group: bool) -> Any:
    """Never subscribed, so that with a group it asks for offsets without joining."""
    options = consumer_options(settings) | {"group_instance_id": None}
    return client_seams.construct(KafkaConsumer, options if with_group else options | {"group_id": None})


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except IngestError:
        raise
    except Exception as error:
        raise translate(error, doing) from error
