"""Reading ranges of partitions once, as no member of any group: flow.ports.Source for commands that replay.

The partitions are assigned by hand, so no worker's group notices. With a group of its own the progress is committed there, and a
later source of that group goes on where this one ended; without one nothing is committed. Loop's thread only, but for wake.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as client

from ingest.errors import IngestError, Retry, Stop
from ingest.flow.ports import Commit, Rebalances
from ingest.kafka import client_seams
from ingest.kafka.asking import as_offsets
from ingest.kafka.client_errors import translate
from ingest.kafka.commits import CommitUnderWay
from ingest.kafka.options import KafkaSettings, consumer_options
from ingest.kafka.pace import Pace
from ingest.kafka.peek import Bounds
from ingest.kafka.waiting import Bell
from ingest.model import Partition, Record

log = logging.getLogger(__name__)

ASK_TIMEOUT_MS = 10_000
# After an error that passes by itself the client answers at once, and the loop must not spin.
BACKOFF_S = 0.1


class RangeSource:
    """ranges: what to read of each partition, empty ones left out. group: where progress is kept, None for nowhere.

    settings: its own group is that of the workers and is never used. clock: monotonic seconds.
    reached: the offset before which all is settled, by partition, as the loop told it.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        ranges: Mapping[Partition, Bounds],
        *,
        group: str | None = None,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = replace(settings, group_id=group or "", group_instance_id=None)
        self._ranges = {partition: bounds for partition, bounds in ranges.items() if bounds.begin < bounds.end}
        self._has_group = group is not None
        self._pace = Pace(rate, clock)
        self._clock = clock
        self._consumer: Any = None
        self._bell = Bell()
        self._listener: Rebalances | None = None
        self._starts: dict[Partition, Commit] = {}
        self._paused: set[Partition] = set()
        self._ended: set[Partition] = set()
        self._commit: CommitUnderWay | None = None
        self.reached: dict[Partition, int] = {}

    # ------------------------------------------------------------ start and end

    def start(self, listener: Rebalances) -> None:
        client_seams.check_client()
        options = consumer_options(self._settings) | ({} if self._has_group else {"group_id": None})
        with self._translated("connecting"):
            consumer = client_seams.construct(KafkaConsumer, options)
        try:
            with self._translated("asking for offsets"):
                client_seams.tune(consumer)
                consumer.assign([TopicPartition(*partition) for partition in self._ranges])
                self._starts = self._where_to_begin(consumer)
        except BaseException:
            consumer.close(autocommit=False, timeout_ms=0)
            raise
        self._consumer, self._listener = consumer, listener
        for partition, start in self._starts.items():
            self.reached[partition] = start.offset
            self.seek(partition, start.offset)

    def _where_to_begin(self, consumer: Any) -> dict[Partition, Commit]:
        """Where to begin in each: where this group ended, else at the range's beginning."""
        places = [TopicPartition(*partition) for partition in self._ranges]
        known = client_seams.committed(consumer, places, ASK_TIMEOUT_MS) if self._has_group and places else {}
        starts = {}
        for partition, (begin, end) in self._ranges.items():
            commit = known.get(TopicPartition(*partition))
            starts[partition] = Commit(begin if commit is None else min(max(begin, commit.offset), end))
        return starts

    def close(self, timeout_s: float) -> None:
        if self._consumer is None:
            return
        try:
            self._consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
        except Exception as error:
            log.warning("close_failed", extra={"error": type(error).__name__}, exc_info=error)

    # ------------------------------------------------------------ reading

    def poll(self, timeout_s: float) -> Sequence[Record]:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.assigned(self._starts)
        most = self._pace.room(self._settings.max_poll_records)
        if not most:
            time.sleep(timeout_s)
            return []
        found = self._polled(timeout_s, most)
        records = [record for part in found.values() for record in self._within(part)]
        self._pace.took(len(records))
        self._note_ends()
        return records

    def _polled(self, timeout_s: float, most: int) -> Mapping[TopicPartition, list[Record]]:
        client_seams.unblock(self._consumer)
        try:
            found = self._poll_once(timeout_s, most)
        except (client.OffsetOutOfRangeError, client.LogTruncationError) as error:
            raise Stop("kafka.gap", f"{self._gone()}: what is left of the range can be replayed from there") from error
        except Exception as error:
            meaning = translate(error, "reading")
            if not isinstance(meaning, Retry):
                raise meaning from (None if meaning is error else error)
            log.warning("kafka_retry", extra={"code": meaning.code, "text": meaning.text})
            time.sleep(BACKOFF_S)
            return {}
        if not found and (refusal := client_seams.refused_login(self._consumer)):
            raise Stop("kafka.not_authenticated", f"the broker refuses the credentials ({refusal})")
        return found

    def _poll_once(self, timeout_s: float, most: int) -> Mapping[TopicPartition, list[Record]]:
        if most == self._settings.max_poll_records:
            return self._bell.poll(self._consumer, timeout_s)
        found: Mapping[TopicPartition, list[Record]] = self._consumer.poll(int(1000 * timeout_s), max_records=most)
        return found

    def wake(self) -> None:
        """End the poll that waits, or the next one. Any thread."""
        self._bell.ring()

    def _within(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those before the end of their range."""
        end = self._ranges[Partition(records[0].topic, records[0].partition)].end
        return records if records[-1].offset < end else [record for record in records if record.offset < end]

    def _note_ends(self) -> None:
        """Partitions that were read to the end of their range rest."""
        for partition, (_, end) in self._ranges.items():
            if partition not in self._ended:
                at = client_seams.position(self._consumer, TopicPartition(*partition))
                if at is not None and at >= end:
                    self._ended.add(partition)
                    self._consumer.pause(TopicPartition(*partition))

    def _gone(self) -> str:
        """Which partition begins behind our position."""
        places = {partition: TopicPartition(*partition) for partition in self._ranges if partition not in self._ended}
        try:
            begins = self._consumer.beginning_offsets(list(places.values()), timeout_ms=ASK_TIMEOUT_MS)
        except client.KafkaError:
            begins = {}
        for partition, place in places.items():
            at = client_seams.position(self._consumer, place)
            if at is not None and at < begins.get(place, 0):
                return (
                    f"{partition} begins at {begins[place]} by now, retention deleted offsets from {at} on while they were read"
                )
        return "retention or a new leader removed records while they were read"

    # ------------------------------------------------------------ committing

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        self.reached.update({partition: commit.offset for partition, commit in offsets.items()})
        self._commit = CommitUnderWay(self._clock() + self._settings.request_timeout_ms / 1000)
        if not self._has_group:
            self._commit.close(None)
            return
        try:
            self._consumer.commit_async(as_offsets(offsets), self._commit.answer)
        except client.KafkaError as error:
            self._commit.close(type(error).__name__)

    @property
    def commit_in_flight(self) -> bool:
        return self._commit is not None and not self._commit.is_over(self._clock())

    def take_commit_error(self) -> str | None:
        return self._commit.take_error() if self._commit is not None else None

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:  # noqa: ARG002
        """Nobody revokes what was assigned by hand."""
        return False

    async def sleep(self, seconds: float) -> None:
        await client_seams.loop_sleep(self._consumer, seconds)

    # ------------------------------------------------------------ partitions

    def pause(self, partitions: Collection[Partition]) -> None:
        self._paused.update(partitions)
        self._consumer.pause(*(TopicPartition(*each) for each in partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        self._paused.difference_update(partitions)
        self._consumer.resume(*(TopicPartition(*each) for each in partitions if each not in self._ended))

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(TopicPartition(*partition), offset)
        if offset < self._ranges[partition].end and partition in self._ended:
            self._ended.discard(partition)
            if partition not in self._paused:
                self._consumer.resume(TopicPartition(*partition))

    def position(self, partition: Partition) -> int | None:
        at = client_seams.position(self._consumer, TopicPartition(*partition))
        return None if at is None else min(at, self._ranges[partition].end)

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Where the ranges end."""
        return {partition: self._ranges[partition].end for partition in partitions}

    def lag(self, partition: Partition) -> int | None:
        at = self.position(partition)
        return None if at is None else self._ranges[partition].end - at

    def partition_count(self, topic: str) -> int | None:
        return len(self._consumer.partitions_for_topic(topic) or ()) or None

    def is_healthy(self) -> tuple[bool, str]:
        return (True, "") if self._consumer is not None else (False, "not connected to Kafka yet")

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except IngestError:
            raise
        except Exception as error:
            raise translate(error, doing) from error
