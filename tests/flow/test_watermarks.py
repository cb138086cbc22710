"""Watermarks over twins: what a mark says is stored, at every moment, whatever happens to the partitions."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from ingest.errors import Retry
from ingest.flow.ledger import Page
from ingest.flow.ports import Commit, Doubt, Mark
from ingest.flow.state import Rules
from ingest.flow.watermarks import AHEAD_MAX, Stay, Watermarks
from ingest.model import Change, Envelope, Fate, Outcome, Partition, Record, Result
from tests.flow.twins import LogSource, Rig, TwinMapper, some_retry, unknown_outcome

T0, T1 = Partition("t", 0), Partition("t", 1)
HOUR_MS = 3_600_000


@dataclass
class LogOffsets:
    """flow.ports.Offsets over the log of a LogSource. is_silent: questions are not answered."""

    source: LogSource
    is_silent: bool = False
    asked: list[Partition] | None = None
    refusals: int = 0

    def ask_ends(self, partitions: Collection[Partition]) -> None:
        self.asked = list(partitions)

    def take_ends(self) -> Mapping[Partition, int] | None:
        if self.is_silent or self.asked is None:
            return None
        asked, self.asked = self.asked, None
        return self.source.end_offsets(asked)

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        if self.refusals:
            self.refusals -= 1
            raise Retry("kafka.timeout")
        return {p: self.source.committed[p].offset for p in partitions if p in self.source.committed}


@dataclass
class ListBook:
    """Every mark that was handed over, oldest first."""

    marks: list[Mark] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    settled: list[Mapping[Doubt, int | None]] = field(default_factory=list)
    calls: int = 0
    is_closed: bool = False

    def keep(self, marks: Sequence[Mark]) -> None:
        self.calls += 1
        self.marks += marks

    def doubtful(self) -> Collection[Doubt]:
        return self.doubts

    def settle_doubt(self, committed: Mapping[Doubt, int | None]) -> None:
        self.settled.append(committed)
        self.doubts = []

    def close(self, timeout_s: float) -> None:
        self.is_closed = True

    def last(self, partition: Partition) -> Mark:
        return next(mark for mark in reversed(self.marks) if mark.partition == partition)


class TimedMapper(TwinMapper):
    """A row's `ts` is its source time."""

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        change = super().map(envelope, record, now_ms)
        change.source_ts_ms = (envelope.after or {}).get("ts")
        return change


class MarkRig(Rig):
    def __init__(self, rules: Rules | None = None, told: Collection[str] = ()) -> None:
        super().__init__(rules, TimedMapper())
        self.book = ListBook()
        self.offsets = LogOffsets(self.source)
        self.loop.world.watermarks = Watermarks(self.offsets, self.book, lambda _topic: told, every_s=0.05)


def rig_of(partitions: int = 1, rules: Rules | None = None) -> MarkRig:
    rig = MarkRig(rules)
    for number in range(partitions):
        rig.source.log[Partition("t", number)] = []
    return rig


def with_a_row_under_way() -> MarkRig:
    """One row is stored, and told; a second one is read and not committed."""
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.start().steps(30)
    rig.source.put("t", 0, row(2, 2_000))
    rig.loop.step()
    assert (1, 1_000) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms)
    return rig


def row(k: int, ts: int | None, **more: object) -> dict[str, object]:
    return {"k": k, "v": "x", "n": k, "ts": ts, **more}


def test_a_mark_tells_the_committed_offset_the_tables_and_the_times_behind_it() -> None:
    rig = rig_of(2)
    for k in range(3):
        rig.source.put("t", 0, row(k, 1_000 + k))
    rig.source.put("t", 0, {"resolved": 900})
    rig.start().steps(40)
    mark = rig.book.last(T0)
    assert (4, 2, ("doc.t",), 1_002, (900, "900")) == (
        mark.committed, mark.partitions, mark.tables, mark.source_ms, mark.resolved
    )  # fmt: skip
    assert mark.caught_up_ms is not None


def test_a_partition_without_records_gets_a_mark_with_the_tables_of_its_topic() -> None:
    rig = rig_of(2)
    rig.source.put("t", 0, row(1, 5))
    rig.start().steps(40)
    mark = rig.book.last(T1)
    assert (0, ("doc.t",), None, None) == (mark.committed, mark.tables, mark.source_ms, mark.resolved)
    assert mark.caught_up_ms is not None


def test_times_of_records_behind_the_committed_offset_do_not_count() -> None:
    """The first batch is held up; what lies behind it is settled and says nothing yet."""
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.source.put("t", 0, {"resolved": 2_000})
    rig.store.faults = [lambda batch: Result(batch, [Outcome(Fate.RETRY, "store.blocked")])] * 400
    rig.start().steps(40)
    assert (0, None, None) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms, rig.book.last(T0).resolved)
    assert rig.book.last(T0).caught_up_ms is None
    rig.store.faults.clear()
    rig.clock.now_s += 60
    rig.steps(40)
    assert (2, 1_000, 2_000) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms, rig.book.last(T0).resolved[0])  # type: ignore[index]


def test_nothing_moves_while_commits_fail() -> None:
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.source.fail_commits = 1_000_000
    rig.start().steps(60)
    assert (0, None, None) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms, rig.book.last(T0).caught_up_ms)


def test_a_quiet_partition_is_caught_up_anew_at_each_look() -> None:
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.start().steps(40)
    first = rig.book.last(T0).caught_up_ms
    rig.clock.now_s += 3_600
    rig.steps(40)
    assert first is not None
    assert (rig.book.last(T0).caught_up_ms or 0) >= first + HOUR_MS


def test_while_kafka_does_not_say_where_a_partition_ends_nothing_is_caught_up() -> None:
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.offsets.is_silent = True
    rig.start().steps(60)
    assert (1, None) == (rig.book.last(T0).committed, rig.book.last(T0).caught_up_ms)


def test_the_book_is_called_although_nothing_changed_so_that_it_may_try_again() -> None:
    rig = rig_of()
    rig.offsets.is_silent = True
    rig.start().steps(60)
    assert 1 == len(rig.book.marks) < rig.book.calls


def test_what_was_drained_and_committed_at_a_hand_over_is_in_the_last_mark() -> None:
    rig = with_a_row_under_way()
    rig.source.revoke([T0])
    rig.clock.now_s += 1
    rig.steps(5)
    mark = rig.book.last(T0)
    assert (2, 2_000) == (mark.committed, mark.source_ms)
    told = len(rig.book.marks)
    rig.steps(40)
    assert told == len(rig.book.marks), "a partition that is no longer ours was marked again"


def test_a_partition_that_comes_back_begins_a_stay_of_its_own_and_keeps_what_holds() -> None:
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.start().steps(40)
    first = rig.book.last(T0)
    rig.source.revoke([T0])
    rig.source.assign([T0])
    rig.steps(40)
    second = rig.book.last(T0)
    assert second.stay != first.stay
    assert (1, 1_000) == (second.committed, second.source_ms)


def test_where_the_group_went_back_a_new_stay_knows_nothing_of_the_old_one() -> None:
    rig = rig_of()
    rig.source.put("t", 0, row(1, 1_000))
    rig.start().steps(40)
    rig.source.lose([T0])
    rig.source.committed[T0] = Commit(0)
    rig.source.log[T0] = []
    rig.source.assign([T0])
    rig.offsets.is_silent = True
    rig.steps(40)
    assert (0, None, None) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms, rig.book.last(T0).caught_up_ms)


def test_the_last_marks_are_handed_over_when_the_worker_stops() -> None:
    rig = with_a_row_under_way()
    rig.loop.drain()
    assert (2, 2_000) == (rig.book.last(T0).committed, rig.book.last(T0).source_ms)
    assert rig.book.is_closed


def test_a_doubt_is_settled_by_what_kafka_says_the_group_has_committed() -> None:
    rig = rig_of(2)
    rig.source.put("t", 0, row(1, 1))
    doubts = [Doubt(T0, 1), Doubt(T1, 2)]
    rig.start().steps(40)
    rig.book.doubts, rig.offsets.refusals = list(doubts), 1
    rig.steps(20)
    assert [] == rig.book.settled, "Kafka did not answer, and the doubt was settled"
    rig.clock.now_s += 60
    rig.steps(20)
    assert [{doubts[0]: 1, doubts[1]: None}] == rig.book.settled


def test_tables_that_contracts_name_are_told_before_a_record_of_them_was_seen() -> None:
    rig = MarkRig(told=("doc.a",))
    rig.source.log[T0] = []
    rig.start().steps(10)
    assert (("doc.a",), True) == (rig.book.last(T0).tables, rig.book.last(T0).is_told)


def test_ends_are_thinned_out_so_that_a_partition_far_behind_costs_no_memory_and_still_advances() -> None:
    page = Page(T0, 0)
    stay = Stay(1, page, None)
    for offset in range(1, 100 * AHEAD_MAX + 1):
        stay.ended_at(offset, offset)
    for hundredths in range(5, 100, 5):
        page.committed = hundredths * AHEAD_MAX
        stay.advance()
        assert stay.caught_up_ms is not None
        assert page.committed - 5 * AHEAD_MAX < stay.caught_up_ms <= page.committed
    page.committed = 200 * AHEAD_MAX
    stay.advance()
    stay.ended_at(page.committed, page.committed)
    stay.advance()
    assert stay.caught_up_ms == page.committed, "caught up, and still coarse"


def test_resolved_timestamps_are_forgotten_although_nobody_keeps_watermarks() -> None:
    page = Page(T0, 0)
    for offset in range(10_000):
        page.note_resolved(offset, (offset, str(offset)))
        page.committed = offset
    assert len(page.resolved) < 5


@pytest.mark.parametrize("seed", range(40))
def test_no_mark_ever_says_more_than_is_stored(seed: int) -> None:
    """Retries, unknown outcomes, failed commits, hand-overs, losses; each mark is judged by what the log held at its offset."""
    rng = random.Random(seed)
    rig = rig_of(3, Rules(commit_every_s=0.05))
    history: dict[Partition, list[tuple[float, dict[str, object]]]] = {p: [] for p in list(rig.source.log)}
    rig.start()
    for n in range(120):
        partition = rng.choice(list(history))
        record = {"resolved": n * 10} if rng.random() < 0.2 else row(n, n * 10 + rng.randrange(40))
        rig.source.put("t", partition.number, record)
        history[partition].append((rig.clock.now_s, record))
        if rng.random() < 0.2:
            rig.store.faults.append(rng.choice([some_retry(rig.store, rng), unknown_outcome(rig.store, 0.5, rng)]))
        rig.source.fail_commits += rng.random() < 0.1
        held = [p for p in history if p in rig.loop.state.ledger]
        if held and rng.random() < 0.1:
            (rig.source.revoke if rng.random() < 0.5 else rig.source.lose)([rng.choice(held)])
        elif rng.random() < 0.3:
            rig.source.assign([p for p in history if p not in rig.loop.state.ledger])
        rig.clock.now_s += rng.choice([0, 0, 0.2, 2])
        rig.steps(3)
    rig.source.assign([p for p in history if p not in rig.loop.state.ledger])
    for _ in range(15):
        rig.clock.now_s += 20
        rig.steps(20)
    for mark in rig.book.marks:
        judge(mark, history[mark.partition])
    for partition, records in history.items():
        assert len(records) == rig.book.last(partition).committed
        assert (rig.book.last(partition).caught_up_ms or 0) > records[-1][0] * 1000


def judge(mark: Mark, records: list[tuple[float, dict[str, object]]]) -> None:
    before = [record for _, record in records[: mark.committed]]
    times = [record["ts"] for record in before if "ts" in record]
    said = [record["resolved"] for record in before if "resolved" in record]
    assert mark.source_ms is None or mark.source_ms in times, mark
    assert mark.resolved is None or mark.resolved[0] in said, mark
    if mark.caught_up_ms is not None:
        missing = [at_s for at_s, _ in records[mark.committed :]]
        assert all(at_s * 1000 >= mark.caught_up_ms - 1 for at_s in missing), mark
