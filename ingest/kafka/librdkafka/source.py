"""Reading from Kafka as a member of a consumer group: flow.ports.Source over librdkafka.

Owns the consumer. All methods belong to the loop's thread, but for wake and is_healthy, which are for any; the listener is called
in it as well. librdkafka's own threads fetch and send heartbeats, whatever the loop does. Commits nothing by itself but where
reading of a new topic started (see kafka.starts).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition
from kafka import errors as client

from ingest.errors import IngestError, Retry, Stop
from ingest.flow.ports import Commit, Rebalances
from ingest.kafka.client_errors import translate
from ingest.kafka.client_seams import UnreadableBatch
from ingest.kafka.commits import CommitUnderWay
from ingest.kafka.gaps import Gap, find_gaps, parked
from ingest.kafka.librdkafka.asking import RdQuestions, offsets_of
from ingest.kafka.librdkafka.commits import Commits, commit_failure
from ingest.kafka.librdkafka.connecting import Connection, enquirer, leave, topics_of
from ingest.kafka.librdkafka.enquiries import Asked, Enquiries
from ingest.kafka.librdkafka.errors import (
    END_OF_PARTITION,
    OUT_OF_RANGE,
    PASSING,
    TRUNCATED,
    UNREADABLE,
    as_client,
    told_as_client,
)
from ingest.kafka.librdkafka.health import Pulse
from ingest.kafka.librdkafka.holding import Holding
from ingest.kafka.librdkafka.records import Note, sort_out
from ingest.kafka.librdkafka.topics import TopicWatch
from ingest.kafka.options import KafkaSettings
from ingest.kafka.starts import starting_points
from ingest.kafka.topics import check_names, wanted
from ingest.model import Partition, Record

log = logging.getLogger(__name__)

# librdkafka's wait for records cannot be ended from outside, so it is cut into pieces, each of some 30 us.
PIECE_S = 0.005
# While a partition's starting point is not known polls are cut short to look again.
UNSETTLED_POLL_S = 0.1
BACKOFF_S = 0.1
ASK_TIMEOUT_S = 5.0
# Heartbeats go out every 3 s; three missed in a row are no hiccup.
HEARTBEAT_LATE_S = 10.0
METADATA_MAX_AGE_MS = 300_000


class RdSource:
    """settings: see kafka.options. clock: monotonic seconds."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._consumer: Any = None
        self._connection: Any = None
        self._holding: Any = None
        self._topics: Any = None
        self._questions: Any = None
        self._enquiries: Any = None
        self._commits = Commits()
        self._commit: CommitUnderWay | None = None
        self._ends: Asked[Mapping[Partition, int]] | None = None
        self._end: Stop | None = None
        self._gaps: list[Gap] = []
        self._pulse = Pulse()
        self._is_rung = self._is_start_late = False

    # ------------------------------------------------------------ start and end

    def start(self, listener: Rebalances) -> None:
        """Connect, see that the topics exist and subscribe. May be called again after Retry."""
        topics = wanted(self._settings.topics, self._settings.dlq_topic)
        with self._translated("connecting"):
            connection = Connection(self._settings, self._pulse.beat, self._commits.on_commit)
        consumer = connection.consumer
        try:
            with self._translated("asking for topics"):
                seen = connection.topics()
                check_names(topics.names, seen)
                every_s = self._settings.client_options.get("metadata_max_age_ms", METADATA_MAX_AGE_MS) / 1000
                self._topics = TopicWatch(topics, seen, lambda: self._enquiries.ask(ask_topics), every_s)
                self._questions = RdQuestions(consumer, ASK_TIMEOUT_S, self.partition_count)
                self._holding = Holding(consumer, listener, self._find_starts)
                self._consumer, self._connection = consumer, connection
                self._subscribe()
                self._enquiries = Enquiries(enquirer(self._settings))  # last: it has a thread
        except BaseException:
            self._consumer = None
            leave(consumer, 0)
            raise
        log.info("subscribed", extra={"topics": topics.names or topics.pattern, "group": self._settings.group_id})

    def _subscribe(self) -> None:
        """A pattern that nothing fits yet subscribes to nothing: librdkafka joins no group for that."""
        holding = self._holding
        if names := list(self._topics.names):
            with told_as_client():
                self._consumer.subscribe(names, on_assign=holding.on_assign, on_revoke=holding.on_revoke, on_lost=holding.on_lost)

    def close(self, timeout_s: float) -> None:
        consumer, holding, end_s = self._consumer, self._holding, self._clock() + timeout_s
        if consumer is None or holding.is_closed:
            return
        holding.is_closed = True
        try:
            holding.release(holding.told | holding.held_back)
        except Exception as error:
            log.warning("close_failed", extra={"error": type(error).__name__}, exc_info=error)
        self._enquiries.end()
        leave(consumer, max(0.0, end_s - self._clock()))

    # ------------------------------------------------------------ reading

    def poll(self, timeout_s: float) -> Sequence[Record]:
        self._raise_end()
        if self._gaps:
            return self._pass_gap(self._gaps.pop(0))
        if self._commit is not None and self._commit.refusal is not None:
            return self._fail(self._commit.refusal, "committing")
        try:
            self._look_around()
            found = sort_out(self._wait(min(timeout_s, UNSETTLED_POLL_S) if self._holding.held_back else timeout_s))
        except KafkaException as error:
            return self._fail(as_client(error.args[0]), "reading")
        finally:
            self._is_rung = False
        records: list[Record] = self._holding.accept(found.runs)
        for note in found.notes:
            self._heed(note)
        self._heed_trouble()
        if not records:
            self._raise_end()
        return records

    def wake(self) -> None:
        """End the poll that waits, or the next one. Any thread."""
        self._is_rung = True

    def _look_around(self) -> None:
        if self._topics.look(self._clock()):
            self._subscribe()
        if self._holding.held_back:
            self._announce()
        self._holding.settle_moves()

    def _wait(self, timeout_s: float) -> list[Message]:
        """What is there, or what comes first. A listener that was called ends the wait: what comes now is of new places."""
        consumer, most, end_s = self._consumer, self._settings.max_poll_records, self._clock() + timeout_s
        found: list[Message] = consumer.consume(most, 0)
        while not found and not self._is_rung and not self._holding.is_touched:
            left_s = end_s - self._clock()
            first = consumer.poll(max(0.0, min(left_s, PIECE_S)))
            if first is not None:
                return [first, *(consumer.consume(most - 1, 0) if most > 1 else ())]
            if left_s <= 0:
                break
        return found

    def _find_starts(self, partitions: Collection[Partition]) -> Mapping[Partition, Commit]:
        """Called when partitions have come, which is also when topics have grown. What is not found is looked for again."""
        self._topics.look_soon()
        try:
            starts = starting_points(self._questions, partitions, self._settings.start_from)
        except (client.CommitFailedError, client.RebalanceInProgressError, client.RetriableError) as error:
            if not self._is_start_late:
                log.warning("start_unknown", extra={"partitions": len(partitions), "error": type(error).__name__})
            self._is_start_late = True
            return {}
        self._is_start_late = False
        return starts

    def _announce(self) -> None:
        try:
            self._holding.announce()
        except Exception as error:
            self._note(error, "asking for offsets")

    def _heed_trouble(self) -> None:
        """Nothing may be raised while there are records in hand: whoever calls again hears of it."""
        if trouble := self._holding.take_trouble():
            self._note(trouble, "asking for offsets")
        if refusal := self._connection.refusal():
            self._note(refusal, "reading")

    def _heed(self, note: Note) -> None:
        """What came in place of records."""
        code, partition = note.error.code(), note.partition
        if code == END_OF_PARTITION and partition is not None:
            self._holding.pass_over(partition, note.offset)
        elif code == OUT_OF_RANGE and partition is not None:
            self._note_gap(partition, is_truncated=TRUNCATED in note.error.str())
        elif code in UNREADABLE and partition is not None:
            failure = UnreadableBatch(*partition, note.offset)
            failure.__cause__ = client.CorruptRecordError(note.error.name())
            self._note(failure, "reading")
        elif code in PASSING:
            log.debug("librdkafka", extra={"error": note.error.name(), "partition": str(partition)})
        else:
            self._note(as_client(note.error), "reading")

    def _note_gap(self, partition: Partition, *, is_truncated: bool) -> None:
        """The position is gone, and librdkafka reads on nowhere; what to do about it is decided by the polls that follow."""
        holding = self._holding
        if partition not in holding.told:
            return
        position = holding.next[partition]
        try:
            gaps = find_gaps(self._questions, {partition: position}, is_truncated=is_truncated)
        except client.KafkaError as error:
            holding.move(partition, position)
            self._note(error, "asking for offsets")
            return
        if is_truncated or not gaps[0].begin <= position <= gaps[0].end:
            holding.stick(partition)
            self._gaps += gaps
        else:
            holding.move(partition, position)  # it was said of an earlier place

    def _pass_gap(self, gap: Gap) -> list[Record]:
        """Park or jump, as ON_GAP says. Parked it stays where it is, which a truncation makes worth trying again."""
        if gap.partition not in self._holding.told:
            return []
        if self._settings.on_gap == "park":
            raise parked(gap)
        log.warning("gap_passed", extra={"partition": str(gap.partition), "from": gap.position, "to": gap.begin})
        if gap.begin < gap.position:
            return self._begin_anew(gap)
        self._holding.move(gap.partition, gap.begin)
        return []

    def _begin_anew(self, gap: Gap) -> list[Record]:
        """The log is another one. Committed at once: when it has grown past the old commit, that would pass for a place in it."""
        try:
            self._questions.commit({gap.partition: Commit(gap.begin)})
        except client.KafkaError as error:
            self._gaps.append(gap)
            return self._fail(error, "committing")
        self._holding.begin_anew({gap.partition: Commit(gap.begin)})
        return []

    def _fail(self, error: Exception, doing: str) -> list[Record]:
        """Nothing for what passes by itself. All else is raised now and by every later poll: the client may be broken."""
        self._note(error, doing)
        self._raise_end()
        time.sleep(BACKOFF_S)
        return []

    def _raise_end(self) -> None:
        if self._end is not None:
            raise self._end

    def _note(self, error: Exception, doing: str) -> None:
        meaning = translate(error, doing)
        if isinstance(meaning, Retry):
            log.warning("kafka_retry", extra={"code": meaning.code, "text": meaning.text})
            return
        log.debug("librdkafka", extra={"error": type(error).__name__}, exc_info=error)
        self._end = self._end or (meaning if isinstance(meaning, Stop) else Stop(meaning.code, meaning.text))

    # ------------------------------------------------------------ committing

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        under_way = self._commit = CommitUnderWay(self._clock() + self._settings.request_timeout_ms / 1000)
        self._commits.start(self._consumer, offsets, lambda error: under_way.answer({}, error))

    @property
    def commit_in_flight(self) -> bool:
        return self._commit is not None and not self._commit.is_over(self._clock())

    def take_commit_error(self) -> str | None:
        return self._commit.take_error() if self._commit is not None else None

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:
        end_s, error = self._clock() + timeout_s, "no answer in time"
        while self._clock() < end_s:
            failure = (
                self._commit_while_leaving(offsets, end_s) if self._holding.is_closed else commit_failure(self._consumer, offsets)
            )
            if failure is None:
                return True
            error = type(failure).__name__
            if not getattr(failure, "retriable", False):
                break
            time.sleep(BACKOFF_S)
        log.warning("commit_failed", extra={"error": error, "partitions": len(offsets)})
        return False

    def _commit_while_leaving(self, offsets: Mapping[Partition, Commit], end_s: float) -> Exception | None:
        """Records that come meanwhile are left to the next owner; why it failed."""
        answers: list[Exception | None] = []
        self._commits.start(self._consumer, offsets, answers.append)
        while not answers and self._clock() < end_s:
            self._consumer.poll(PIECE_S)
        return answers[0] if answers else TimeoutError()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    # ------------------------------------------------------------ partitions

    def pause(self, partitions: Collection[Partition]) -> None:
        self._holding.pause(self._held(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        waiting = {gap.partition for gap in self._gaps}
        self._holding.resume([each for each in self._held(partitions) if each not in waiting])

    def seek(self, partition: Partition, offset: int) -> None:
        if self._held([partition]):
            self._holding.move(partition, offset)

    def position(self, partition: Partition) -> int | None:
        return self._holding.next[partition] if self._held([partition]) else None

    def lag(self, partition: Partition) -> int | None:
        if not self._held([partition]):
            return None
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return max(0, end - self._holding.next[partition]) if end >= 0 else None

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        with self._translated("asking for end offsets"):
            ends: Mapping[Partition, int] = self._questions.ends(partitions)
            return ends

    def ask_ends(self, partitions: Collection[Partition]) -> None:
        held = self._held(partitions)
        self._ends = self._enquiries.ask(lambda client: offsets_of(client, held, OFFSET_END, ASK_TIMEOUT_S))

    def take_ends(self) -> Mapping[Partition, int] | None:
        if self._ends is None or not self._ends.is_done:
            return None
        asked, self._ends = self._ends, None
        return asked.answer or {}

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        with self._translated("asking for offsets"):
            return {each: commit.offset for each, commit in self._questions.committed(partitions).items()}

    def partition_count(self, topic: str) -> int | None:
        """As last heard; a partition that has become ours is heard of before the topic is looked at again."""
        known = self._topics.partition_count(topic) or 0
        mine = [each.number + 1 for each in self._holding.told | self._holding.held_back if each.topic == topic]
        return max(known, *mine, 0) or None

    def is_healthy(self) -> tuple[bool, str]:
        """Any thread may ask."""
        if self._end is not None:
            return False, str(self._end)
        if self._consumer is None:
            return False, "not connected to Kafka yet"
        group = self._settings.group_id
        if not self._holding.is_joined and self._topics.names:
            return False, f"joining group {group}"
        heartbeat_s = self._settings.client_options.get("heartbeat_interval_ms", 3_000) / 1000
        if self._pulse.silence_s > max(HEARTBEAT_LATE_S, 3 * heartbeat_s):
            return False, f"no heartbeat to the coordinator of group {group} for {self._pulse.silence_s:.0f} s"
        return True, ""

    def _held(self, partitions: Collection[Partition]) -> list[Partition]:
        """Those that are ours; the others may have left between two thoughts of the loop."""
        told = self._holding.told if self._holding is not None else ()
        return [partition for partition in partitions if partition in told]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            with told_as_client():
                yield
        except IngestError:
            raise
        except Exception as error:
            raise translate(error, doing) from error


def ask_topics(client: Consumer) -> Mapping[str, int]:
    return topics_of(client, ASK_TIMEOUT_S)
