"""Watermarks: how far each partition of ours is stored, put together every few seconds for the table `ingest_watermarks`.

Reads pages and tables, changes none of them. What it says is true when it is said and stays true, so nothing waits for it: the
offset is one that Kafka has acknowledged, and a time counts only once that offset has passed everything it speaks of.
Owned by the loop's thread; the writing is the book's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import count

from ingest.errors import Retry
from ingest.flow.ledger import Page
from ingest.flow.ports import Mark, MarkBook, Offsets
from ingest.flow.state import State
from ingest.model import Partition, Resolved

EVERY_S = 5.0
# After Kafka did not answer a question that makes the loop wait.
ASK_AGAIN_S = 30.0
# Ends that a partition has yet to reach. When there are so many, only every second is kept, now and from then on.
AHEAD_MAX = 64

ToldTables = Callable[[str], Collection[str]]


class Stay:
    """One stay of a partition, as long as its page lives."""

    __slots__ = ("_ahead", "_sample", "_stride", "_told", "caught_up_ms", "number", "page", "resolved", "source_ms")

    def __init__(self, number: int, page: Page, before: Stay | None) -> None:
        """before: the stay of the same partition that ended here; what it knew holds, unless the group went back since."""
        known = before if before is not None and page.committed >= before.page.committed else None
        self.number = number
        self.page: Page = page
        self.source_ms: int = known.source_ms if known else 0
        self.resolved: Resolved | None = known.resolved if known else None
        self.caught_up_ms: int | None = known.caught_up_ms if known else None
        self._sample: tuple[int, int] | None = None
        self._ahead: deque[tuple[int, int]] = deque()
        self._told, self._stride = 0, 1

    def advance(self) -> None:
        """See what the committed offset has passed by now."""
        page, committed = self.page, self.page.committed
        while self._ahead and committed >= self._ahead[0][0]:
            self.caught_up_ms = self._ahead.popleft()[1]
        if not self._ahead:
            self._stride = 1
        while page.resolved and page.resolved[0][0] < committed:
            said = page.resolved.popleft()[1]
            self.resolved = max(said, self.resolved or said)
        self._pass_sample(committed)
        if self._sample is None and page.newest_ms > self.source_ms:
            self._sample = page.admitted, page.newest_ms  # all changes that this time is the newest of lie before that offset
            self._pass_sample(committed)

    def _pass_sample(self, committed: int) -> None:
        if self._sample is not None and committed >= self._sample[0]:
            self.source_ms, self._sample = max(self.source_ms, self._sample[1]), None

    def ended_at(self, offset: int, asked_ms: int) -> None:
        """The partition ended at this offset, some time after asked_ms."""
        self._told += 1
        if self._told % self._stride or offset < self.page.committed:
            return  # a log that ends before what was committed is another one than we read
        if len(self._ahead) >= AHEAD_MAX:
            self._ahead, self._stride = deque(list(self._ahead)[::2]), 2 * self._stride
        self._ahead.append((offset, asked_ms))


class Watermarks:
    """told_tables: the full names that contracts give a topic, none where they give it none."""

    def __init__(self, offsets: Offsets, book: MarkBook, told_tables: ToldTables, every_s: float = EVERY_S) -> None:
        self._offsets, self._book, self._told_tables, self._every_s = offsets, book, told_tables, every_s
        self._stays: dict[Partition, Stay] = {}
        self._kept: dict[Partition, Mark] = {}
        self._numbers = count(1)
        self._asked_ms: int | None = None
        self._at_s = self._doubt_at_s = float("-inf")

    def step(self, state: State, now_s: float, now_ms: int) -> None:
        """Once per round of the loop; mostly it has nothing to do."""
        if self._asked_ms is not None:
            self._take_ends()
        if self._book.doubtful():
            self._settle_doubts(now_s)
        if now_s < self._at_s or not (self._stays or state.ledger.partitions):
            return
        self._at_s = now_s + self._every_s
        self._keep(state)
        self._ask_ends(now_ms)

    def finish(self, state: State, timeout_s: float) -> None:
        """The last marks, after the last commit; blocks until they are written, at most timeout_s."""
        self._take_ends()
        self._keep(state)
        self._book.close(timeout_s)

    # ------------------------------------------------------------ marks

    def _keep(self, state: State) -> None:
        """Hand over what has changed; also nothing, so that the book tries again what it could not write."""
        self._begin_stays(state)
        tables = by_topic(state)
        marks = []
        for partition, stay in list(self._stays.items()):
            if stay.page.committed < 0:
                continue  # the group goes back, and Kafka has not acknowledged that yet
            stay.advance()
            mark = self._mark(state, stay, tables.get(partition.topic, ()))
            if mark != self._kept.get(partition):
                self._kept[partition] = mark
                marks.append(mark)
            if partition not in state.ledger:
                del self._stays[partition], self._kept[partition]
        self._book.keep(marks)

    def _begin_stays(self, state: State) -> None:
        for page in state.ledger:
            stay = self._stays.get(page.partition)
            if stay is None or stay.page is not page:
                if stay is not None:
                    stay.advance()
                self._stays[page.partition] = Stay(next(self._numbers), page, stay)

    def _mark(self, state: State, stay: Stay, seen: Collection[str]) -> Mark:
        partition = stay.page.partition
        told = self._told_tables(partition.topic)
        return Mark(
            partition,
            stay.number,
            stay.page.committed,
            state.source.partition_count(partition.topic),
            tuple(sorted({*told, *seen})),
            bool(told),
            stay.source_ms or None,
            stay.resolved,
            stay.caught_up_ms,
        )

    # ------------------------------------------------------------ what Kafka knows

    def _ask_ends(self, now_ms: int) -> None:
        """Where the partitions end now. The clock is read before the question: the end is of no earlier moment."""
        self._asked_ms = now_ms if self._stays else None
        if self._stays:
            self._offsets.ask_ends(self._stays.keys())

    def _take_ends(self) -> None:
        ends = self._offsets.take_ends()
        if ends is None or self._asked_ms is None:
            return
        for partition, end in ends.items():
            if partition in self._stays:
                self._stays[partition].ended_at(end, self._asked_ms)
        self._asked_ms = None

    def _settle_doubts(self, now_s: float) -> None:
        """Rare: a partition's mark is ahead of where we started, because the group's offsets went back or we are told late."""
        if now_s < self._doubt_at_s:
            return
        doubtful = tuple(self._book.doubtful())
        try:
            committed = self._offsets.committed([doubt.partition for doubt in doubtful])
        except Retry:
            self._doubt_at_s = now_s + ASK_AGAIN_S
        else:
            self._book.settle_doubt({doubt: committed.get(doubt.partition) for doubt in doubtful})


def by_topic(state: State) -> dict[str, set[str]]:
    """The tables that records of each topic went to since the process started."""
    found: dict[str, set[str]] = {}
    for name, feeders in state.tables.fed():
        for topic in {partition.topic for partition in feeders}:
            found.setdefault(topic, set()).add(name)
    return found
