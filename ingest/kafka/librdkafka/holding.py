"""Which partitions are ours and where each is read on, between what librdkafka tells and what the loop has been told.

librdkafka calls the listeners in the loop's thread, inside poll. What was taken out of its queue before such a call may belong to
an earlier stay or place of a partition, so records of partitions that were touched meanwhile are dropped and read again.
Nothing may be raised in a listener, because librdkafka would drop the records in hand: trouble is kept for the poll.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ingest.flow.ports import Commit, Rebalances
from ingest.kafka.librdkafka.asking import ours
from ingest.kafka.librdkafka.errors import NOT_FETCHED_YET, code_of
from ingest.model import Partition, Record

FindStarts = Callable[[Collection[Partition]], Mapping[Partition, Commit]]


class Holding:
    """find_starts: where reading starts in each of these; those that it leaves out are asked for again later.

    told: the loop knows they are ours. held_back: ours, but where to start is not known yet. next: the next offset of each.
    """

    def __init__(self, consumer: Consumer, listener: Rebalances, find_starts: FindStarts) -> None:
        self._consumer = consumer
        self._listener = listener
        self._find_starts = find_starts
        self.is_joined = False
        self.is_closed = False
        self.told: set[Partition] = set()
        self.held_back: set[Partition] = set()
        self.next: dict[Partition, int] = {}
        self.trouble: Exception | None = None
        self._fetched: set[Partition] = set()  # librdkafka has been told to fetch them
        self._paused: set[Partition] = set()
        self._moved: set[Partition] = set()  # librdkafka has not been told of their new place yet
        self._stuck: set[Partition] = set()  # at a gap, until they are resumed
        self._touched: set[Partition] = set()  # since the last records were asked for

    # ------------------------------------------------------------ what librdkafka tells

    def on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        """librdkafka goes on when it is told what to fetch, even if that is nothing yet.

        Who is closing takes nothing: the loop would commit as it goes again, by polls, inside librdkafka's close.
        """
        if self.is_closed:
            self._keep_trouble(lambda: self._fetch([]))
            return
        self.is_joined = True
        self.held_back.update(map(ours, assigned))
        self._keep_trouble(self.announce)

    def on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        self._keep_trouble(lambda: self.release(list(map(ours, revoked))))
        self._keep_trouble(lambda: self._stop_fetching(list(map(ours, revoked))))

    def on_lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        self.is_joined = False
        going = self._let_go(list(map(ours, lost)))
        if going:
            self._keep_trouble(lambda: self._listener.lost(going))
        self._keep_trouble(lambda: self._stop_fetching(list(map(ours, lost))))

    def _keep_trouble(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.trouble = error

    @property
    def is_touched(self) -> bool:
        """Whether partitions came, went or were moved since the last records were asked for."""
        return bool(self._touched)

    def take_trouble(self) -> Exception | None:
        trouble, self.trouble = self.trouble, None
        return trouble

    # ------------------------------------------------------------ partitions that come and go

    def announce(self) -> None:
        """Find the starting points of those held back and tell the loop. It may pause or move them at once: only then are they
        fetched, from where they are by then."""
        starts: Mapping[Partition, Commit] = {}
        try:
            starts = self._find_starts(sorted(self.held_back)) if self.held_back else {}
        finally:
            self._take(starts)

    def _take(self, starts: Mapping[Partition, Commit]) -> None:
        self.held_back.difference_update(starts)
        self.told.update(starts)
        self.next.update({partition: start.offset for partition, start in starts.items()})
        self._touched.update(starts)
        try:
            if starts:
                self._listener.assigned(starts)
        finally:
            self._fetch([partition for partition in starts if partition in self.told])

    def begin_anew(self, starts: Mapping[Partition, Commit]) -> None:
        """These are ours still, but what the loop knows of them is of logs that are gone."""
        self._listener.lost(list(starts))
        self.resume(list(starts))
        for partition, start in starts.items():
            self.move(partition, start.offset)
        self._listener.assigned(starts)

    def release(self, partitions: Collection[Partition]) -> None:
        """They go, and the loop may drain them first."""
        if going := self._let_go(partitions):
            finish(self._listener.revoked(going))

    def _let_go(self, partitions: Collection[Partition]) -> list[Partition]:
        """Forget them; those that the loop was told of."""
        going = sorted(self.told.intersection(partitions))
        for each in (self.held_back, self.told, self._paused, self._moved, self._stuck):
            each.difference_update(partitions)
        self._touched.update(partitions)
        return going

    def _fetch(self, partitions: Collection[Partition]) -> None:
        self._consumer.incremental_assign([TopicPartition(*each, self.next[each]) for each in partitions])
        self._fetched.update(partitions)
        self._moved.difference_update(partitions)
        if paused := [TopicPartition(*each) for each in self._paused.intersection(partitions)]:
            self._consumer.pause(paused)

    def _stop_fetching(self, partitions: Collection[Partition]) -> None:
        fetched = self._fetched.intersection(partitions)
        self._fetched -= fetched
        self._consumer.incremental_unassign([TopicPartition(*each) for each in fetched])

    # ------------------------------------------------------------ where they are read

    def move(self, partition: Partition, offset: int) -> None:
        """Read on there; librdkafka hears of it before the next records are asked for."""
        self.next[partition] = offset
        self._stuck.discard(partition)
        self._moved.add(partition)
        self._touched.add(partition)

    def stick(self, partition: Partition) -> None:
        """Do not read on, until it is resumed."""
        self._stuck.add(partition)
        self._moved.discard(partition)

    def pause(self, partitions: Collection[Partition]) -> None:
        self._paused.update(partitions)
        if fetched := [TopicPartition(*each) for each in partitions if each in self._fetched]:
            self._consumer.pause(fetched)

    def resume(self, partitions: Collection[Partition]) -> None:
        """Those that are stuck try again at their place."""
        self._paused.difference_update(partitions)
        self._moved.update(self._stuck.intersection(partitions))
        self._stuck.difference_update(partitions)
        if fetched := [TopicPartition(*each) for each in partitions if each in self._fetched]:
            self._consumer.resume(fetched)

    def settle_moves(self) -> None:
        """Tell librdkafka where to read on. Before records are asked for."""
        while self._moved:
            self._place(self._moved.pop())
        self._touched.clear()

    def _place(self, partition: Partition) -> None:
        """One that is not fetched yet, or no more because its offset is gone, cannot be moved: it is taken anew."""
        if partition in self._fetched:
            try:
                self._consumer.seek(TopicPartition(*partition, self.next[partition]))
                return
            except KafkaException as error:
                if code_of(error) not in NOT_FETCHED_YET:
                    raise
            self._stop_fetching([partition])
        self._fetch([partition])

    # ------------------------------------------------------------ what was read

    def accept(self, runs: Sequence[list[Record]]) -> list[Record]:
        """The records that follow what was read before. runs: each of one partition."""
        accepted: list[Record] = []
        for run in runs:
            partition = Partition(run[0].topic, run[0].partition)
            if partition not in self.told:
                continue
            if partition in self._touched or run[0].offset < self.next[partition]:
                self._moved.add(partition)
                continue
            self.next[partition] = run[-1].offset + 1
            accepted += run
        return accepted

    def pass_over(self, partition: Partition, offset: int) -> None:
        """There is nothing before this offset any more: what follows the last record are markers of transactions."""
        if partition in self.told and partition not in self._touched and partition not in self._moved:
            self.next[partition] = max(self.next[partition], offset)


def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never really waits: all that the loop awaits of us blocks, as it may here; librdkafka's heartbeats go on."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("a listener awaited something that is not the source's")
