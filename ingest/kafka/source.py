"""Reading from Kafka as a member of a consumer group: flow.ports.Source over kafka-python.

Owns the consumer. All methods belong to the loop's thread, but for wake, which is for any, and commit_now and sleep, which the
client's own thread drives while the loop's thread waits in poll or close. Commits nothing by itself but where reading of a new
topic started (see starts).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as client
from kafka.coordinator.base import MemberState

from ingest.errors import IngestError, Retry, Stop
from ingest.flow.ports import Commit, Rebalances
from ingest.kafka import client_seams
from ingest.kafka.asking import ClientQuestions, as_offsets
from ingest.kafka.assignment import Assignment
from ingest.kafka.client_errors import translate
from ingest.kafka.codecs import missing_packages
from ingest.kafka.commits import CommitUnderWay
from ingest.kafka.gaps import Gap, find_gaps, parked
from ingest.kafka.options import KafkaSettings, consumer_options
from ingest.kafka.starts import starting_points
from ingest.kafka.topics import check_names, wanted
from ingest.kafka.unhurried import Ends, partition_count
from ingest.kafka.waiting import Bell
from ingest.model import Partition, Record

log = logging.getLogger(__name__)

# While a partition's starting point is not known the client has nothing to wait for, so polls are cut short to look again.
UNSETTLED_POLL_S = 0.1
# A join that ends between two polls is begun again by the next one, so while joining polls are long.
JOINING_POLL_S = 1.0
# After an error that passes by itself; the client answers such a poll at once, and the loop must not spin.
BACKOFF_S = 0.1
ASK_TIMEOUT_MS = 5_000
COMMIT_STEP_S = 0.01
# Heartbeats go out every 3 s; three missed in a row are no hiccup.
HEARTBEAT_LATE_S = 10.0


class KafkaSource:
    """settings: see options. clock: monotonic seconds."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._consumer: Any = None
        self._assignment: Any = None
        self._questions: Any = None
        self._commit: CommitUnderWay | None = None
        self._is_start_late = False
        self._end: Stop | None = None
        self._gaps: list[Gap] = []
        self._ends = Ends()
        self._bell = Bell()

    # ------------------------------------------------------------ start and end

    def start(self, listener: Rebalances) -> None:
        """Connect, see that the topics exist and subscribe. May be called again after Retry."""
        client_seams.check_client()
        if missing := missing_packages():
            raise Stop("kafka.codec_missing", f"batches cannot be read without {', '.join(missing)}: install what is missing")
        topics = wanted(self._settings.topics, self._settings.dlq_topic)
        options = consumer_options(self._settings)
        with self._translated("connecting"):
            consumer = client_seams.construct(KafkaConsumer, options)
        try:
            with self._translated("asking for topics"):
                client_seams.tune(consumer)
                check_names(topics.names, consumer.topics())
                self._assignment = Assignment(consumer, listener)
                consumer.subscribe(topics=list(topics.names), pattern=topics.pattern, listener=self._assignment)
                # Asked again, now subscribed, the client knows the partitions before it joins; else it would join twice.
                consumer.topics()
        except BaseException:
            consumer.close(autocommit=False, timeout_ms=0)
            raise
        self._consumer, self._questions = consumer, ClientQuestions(consumer, ASK_TIMEOUT_MS)
        log.info("subscribed", extra={"topics": topics.names or topics.pattern, "group": self._settings.group_id})

    def close(self, timeout_s: float) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        try:
            consumer.close(autocommit=False, timeout_ms=int(timeout_s * 1000))
        except Exception as error:
            # Whether the broker hears of our leaving or finds out after the session makes no difference to any record.
            log.warning("close_failed", extra={"error": type(error).__name__}, exc_info=error)

    # ------------------------------------------------------------ reading

    def poll(self, timeout_s: float) -> Sequence[Record]:
        if self._end is not None:
            raise self._end
        if self._gaps:
            return self._pass_gap(self._gaps.pop(0))
        if self._commit is not None and self._commit.refusal is not None:
            return self._fail(self._commit.refusal, "committing")
        client_seams.unblock(self._consumer)
        try:
            found = self._bell.poll(self._consumer, self._poll_s(timeout_s))
        except client.OffsetOutOfRangeError as error:
            return self._note_gaps(error.args[0], is_truncated=False)
        except client.LogTruncationError as error:
            return self._note_gaps(error.divergent_offsets, is_truncated=True)
        except Exception as error:
            return self._fail(error, "reading")
        if self._assignment.held_back:
            self._announce()
        self._ask_for_more() if found else self._check_connections()
        return [record for records in found.values() for record in records]

    def wake(self) -> None:
        """End the poll that waits, or the next one. Any thread."""
        self._bell.ring()

    def _poll_s(self, timeout_s: float) -> float:
        if client_seams.keep_joining(self._consumer):
            return max(timeout_s, JOINING_POLL_S)
        return timeout_s if self._assignment.is_settled else min(timeout_s, UNSETTLED_POLL_S)

    def _ask_for_more(self) -> None:
        """There are records in hand, and the client has moved its position behind them: nothing may be raised that drops them."""
        try:
            client_seams.prefetch(self._consumer)
        except client.KafkaError as error:
            log.debug("prefetch_failed", extra={"error": type(error).__name__})

    def _check_connections(self) -> None:
        """A refused login is otherwise seen by nobody: the client never tries again, and polls stay empty."""
        client_seams.sweep(self._consumer)
        if refusal := client_seams.refusal(self._consumer):
            self._fail(refusal, "reading")

    def _announce(self) -> None:
        """Find the starting points of new partitions and tell the loop. What is not found now is looked for at the next poll."""
        held_back = [Partition(*partition) for partition in sorted(self._assignment.held_back)]
        try:
            starts = starting_points(self._questions, held_back, self._settings.start_from)
        except (client.CommitFailedError, client.RebalanceInProgressError, client.RetriableError) as error:
            if not self._is_start_late:
                log.warning("start_unknown", extra={"partitions": len(held_back), "error": type(error).__name__})
            self._is_start_late = True
        except Exception as error:
            self._fail(error, "asking for offsets")
        else:
            self._is_start_late = False
            self._assignment.announce(starts)

    def _note_gaps(self, gone: Collection[TopicPartition], *, is_truncated: bool) -> Sequence[Record]:
        """Hold the partitions whose position is gone; what to do about each is decided by the polls that follow."""
        mine = self._held([Partition(*partition) for partition in gone])
        if not mine:
            return []
        self._consumer.pause(*mine)
        positions = {Partition(*partition): client_seams.position(self._consumer, partition) for partition in mine}
        try:
            self._gaps += find_gaps(self._questions, positions, is_truncated=is_truncated)
        except client.KafkaError as error:
            self._consumer.resume(*mine)
            return self._fail(error, "asking for offsets")
        return []

    def _pass_gap(self, gap: Gap) -> list[Record]:
        """Park or jump, as ON_GAP says. Parked it stays paused at its position, which a truncation makes worth trying again."""
        if gap.partition not in self._assignment.told:
            return []
        if self._settings.on_gap == "park":
            self._consumer.seek(TopicPartition(*gap.partition), gap.position)
            raise parked(gap)
        log.warning("gap_passed", extra={"partition": str(gap.partition), "from": gap.position, "to": gap.begin})
        if gap.begin < gap.position:
            return self._begin_anew(gap)
        self._consumer.seek(TopicPartition(*gap.partition), gap.begin)
        self._consumer.resume(TopicPartition(*gap.partition))
        return []

    def _begin_anew(self, gap: Gap) -> list[Record]:
        """The log is another one. Committed at once: when it has grown past the old commit, that would pass for a place in it."""
        try:
            self._questions.commit({gap.partition: Commit(gap.begin)})
        except client.KafkaError as error:
            self._gaps.append(gap)
            return self._fail(error, "committing")
        self._assignment.begin_anew({gap.partition: Commit(gap.begin)})
        return []

    def _fail(self, error: Exception, doing: str) -> list[Record]:
        """Nothing for what passes by itself. All else is raised now and by every later poll: the client may be broken."""
        meaning = translate(error, doing)
        if isinstance(meaning, Retry):
            log.warning("kafka_retry", extra={"code": meaning.code, "text": meaning.text})
            time.sleep(BACKOFF_S)
            return []
        self._end = meaning if isinstance(meaning, Stop) else Stop(meaning.code, meaning.text)
        raise self._end from (None if meaning is error else error)

    # ------------------------------------------------------------ committing

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        self._commit = CommitUnderWay(self._clock() + self._settings.request_timeout_ms / 1000)
        try:
            self._consumer.commit_async(as_offsets(offsets), self._commit.answer)
        except client.KafkaError as error:
            self._commit.close(type(error).__name__)

    @property
    def commit_in_flight(self) -> bool:
        return self._commit is not None and not self._commit.is_over(self._clock())

    def take_commit_error(self) -> str | None:
        return self._commit.take_error() if self._commit is not None else None

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:
        deadline_s = self._clock() + timeout_s
        try:
            while self._clock() < deadline_s:
                future = self._consumer.commit_async(as_offsets(offsets), _ignore)
                while not future.is_done and self._clock() < deadline_s:
                    await self.sleep(COMMIT_STEP_S)
                # Without a known coordinator the future is that of looking it up, which succeeds with the coordinator's number.
                if future.succeeded() and future.value is None:
                    return True
                if future.failed() and not future.retriable():
                    log.warning("commit_failed", extra={"error": type(future.exception).__name__, "partitions": len(offsets)})
                    return False
                await self.sleep(BACKOFF_S)
        except client.KafkaError as error:
            log.warning("commit_failed", extra={"error": type(error).__name__, "partitions": len(offsets)})
        return False

    async def sleep(self, seconds: float) -> None:
        await client_seams.loop_sleep(self._consumer, seconds)

    # ------------------------------------------------------------ partitions

    def pause(self, partitions: Collection[Partition]) -> None:
        self._consumer.pause(*self._held(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        waiting = {gap.partition for gap in self._gaps}
        self._consumer.resume(*(partition for partition in self._held(partitions) if partition not in waiting))

    def seek(self, partition: Partition, offset: int) -> None:
        if held := self._held([partition]):
            self._consumer.seek(held[0], offset)

    def position(self, partition: Partition) -> int | None:
        held = self._held([partition])
        return client_seams.position(self._consumer, held[0]) if held else None

    def lag(self, partition: Partition) -> int | None:
        held = self._held([partition])
        position = client_seams.position(self._consumer, held[0]) if held else None
        end = self._consumer.highwater(held[0]) if held else None
        return None if position is None or end is None else max(0, end - position)

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        with self._translated("asking for end offsets"):
            ends: Mapping[Partition, int] = self._questions.ends(partitions)
            return ends

    def ask_ends(self, partitions: Collection[Partition]) -> None:
        self._ends.ask(self._consumer, self._held(partitions))

    def take_ends(self) -> Mapping[Partition, int] | None:
        return self._ends.take()

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        with self._translated("asking for offsets"):
            commits = self._questions.committed(partitions)
        return {partition: commit.offset for partition, commit in commits.items()}

    def partition_count(self, topic: str) -> int | None:
        return partition_count(self._consumer, topic)

    def is_healthy(self) -> tuple[bool, str]:
        """Any thread may ask."""
        if self._end is not None:
            return False, str(self._end)
        if self._consumer is None:
            return False, "not connected to Kafka yet"
        silence_s = self._consumer.metrics()["consumer-coordinator-metrics"]["last-heartbeat-seconds-ago"]
        if self._consumer.group_metadata().state is not MemberState.STABLE:
            return False, f"joining group {self._settings.group_id}"
        late_s = max(HEARTBEAT_LATE_S, 3 * self._consumer.config["heartbeat_interval_ms"] / 1000)
        if late_s < silence_s < inf:  # infinite before the first heartbeat of a member that has just joined
            return False, f"no heartbeat to the coordinator of group {self._settings.group_id} for {silence_s:.0f} s"
        return True, ""

    def _held(self, partitions: Collection[Partition]) -> list[TopicPartition]:
        """Those that are ours; the others may have left between two thoughts of the loop."""
        told = self._assignment.told if self._assignment is not None else ()
        return [TopicPartition(*partition) for partition in partitions if partition in told]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except IngestError:
            raise
        except Exception as error:
            raise translate(error, doing) from error


def _ignore(_offsets: Mapping[Any, Any], _response: Any) -> None:
    """The callback of a commit whose future is awaited."""
