"""Sources that went back in time, over twins: parked, set back to where it began, healed by a higher epoch; or let pass."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ingest.errors import Parked
from ingest.flow.caught_up import CaughtUp
from ingest.flow.lanes import BatchRules
from ingest.flow.ports import ADDED, Commit
from ingest.flow.state import Rules
from ingest.model import Change, Envelope, Partition, Record
from tests.flow.twins import Rig, TwinMapper

T0 = Partition("t", 0)
FUTURE = "000009999000000000"
RULES = Rules(commit_every_s=0.05, dlq_window=20, batch=BatchRules(max_rows=15))


@dataclass
class EpochMapper(TwinMapper):
    """epoch: what stands in front of every version."""

    epoch: str = ""

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        change = super().map(envelope, record, now_ms)
        change.version = self.epoch + (change.version or "")
        return change


def rig_with_a_future(keys: int, rules: Rules = RULES) -> Rig:
    """Every key is stored with a version that the topic will not reach."""
    rig = Rig(rules, EpochMapper())
    rig.source.may_go_back = True
    rig.source.log[T0] = []
    for k in range(keys):
        rig.store.rows["doc.t", (k,), 1] = (FUTURE, False, "future")
    return rig


def restarted(rig: Rig, epoch: str = "") -> Rig:
    """Another worker on the same log, commits and rows."""
    new = Rig(rig.loop.rules, EpochMapper(epoch=epoch))
    new.source.log, new.source.committed, new.source.may_go_back = rig.source.log, rig.source.committed, True
    new.store.rows = rig.store.rows
    return new.start()


def put(rig: Rig, *keys: int, v: str = "new", n: int = 1) -> None:
    for k in keys:
        rig.source.put("t", 0, {"k": k, "v": v, "n": n})


def parked(rig: Rig) -> list[str]:
    return [place.code for place in rig.loop.state.parking]


def test_it_is_parked_and_the_group_goes_back_to_where_the_old_records_began() -> None:
    rig = rig_with_a_future(100)
    put(rig, *range(1_000, 1_010))
    rig.start().steps(20)
    assert {"t[0]": 10} == rig.committed()
    put(rig, *range(100))
    rig.steps(40)
    assert ["topic.source_went_back"] == parked(rig)
    assert {"t[0]": 10} == rig.committed()


def test_with_a_higher_epoch_nothing_of_what_was_taken_for_old_is_lost() -> None:
    rig = rig_with_a_future(100)
    put(rig, *range(1_000, 1_010), *range(100))
    rig.start().steps(60)
    healed = restarted(rig, epoch="2").steps(80)
    assert [] == parked(healed)
    assert {"t[0]": 110} == healed.committed()
    assert {"new"} == {value for _, value in healed.store.live().values()}


def test_without_a_higher_epoch_a_restart_parks_it_again() -> None:
    rig = rig_with_a_future(100)
    put(rig, *range(100))
    rig.start().steps(60)
    again = restarted(rig).steps(60)
    assert ["topic.source_went_back"] == parked(again)
    assert {"t[0]": 0} == again.committed()


def test_many_changes_of_few_keys_are_as_many_old_records() -> None:
    """They fold into three rows; of rows the window would never be full."""
    rig = rig_with_a_future(3)
    put(rig, *[k % 3 for k in range(100)])
    rig.start().steps(40)
    assert ["topic.source_went_back"] == parked(rig)
    assert {"t[0]": 0} == rig.committed()


def test_a_few_keys_that_nobody_knew_do_not_hide_that_all_others_went_back() -> None:
    rig = rig_with_a_future(400, Rules(commit_every_s=0.05, dlq_window=200, batch=BatchRules(max_rows=15)))
    put(rig, *[k if k % 150 else 10_000 + k for k in range(1, 400)])
    rig.start().steps(80)
    assert ["topic.source_went_back"] == parked(rig)
    assert {"t[0]": 0} == rig.committed()


def test_old_records_that_an_operator_lets_pass_are_not_parked_again() -> None:
    """Ten windows of them: what the topic holds now may be old."""
    rig = rig_with_a_future(200)
    put(rig, *range(200))
    rig.start().steps(40)
    assert ["topic.source_went_back"] == parked(rig)
    rig.source.lag = lambda partition: 200 - (rig.source.positions[partition])  # type: ignore[method-assign]
    rig.notes.unpark.append("t")
    rig.steps(80)
    assert [] == parked(rig)
    assert {"t[0]": 200} == rig.committed()
    assert {"future"} == {value for _, value in rig.store.live().values()}


def test_a_commit_under_way_while_the_group_goes_back_does_not_hide_that_it_must_be_committed() -> None:
    rig = rig_with_a_future(100)
    put(rig, *range(100))
    rig.start()
    for _ in range(200):
        rig.loop.step()
        if parked(rig):
            break
    page = rig.loop.state.ledger.page(T0)
    assert (0, -1) == (page.next_offset, page.committed)
    rig.loop.state.ledger.committed({T0: 15})
    assert {T0: 0} == rig.loop.state.ledger.committable()


@pytest.mark.parametrize("fresh_every", [2, 3])
def test_a_stream_in_which_many_records_are_fresh_is_never_parked(fresh_every: int) -> None:
    rig = rig_with_a_future(300)
    put(rig, *[k if k % fresh_every else 10_000 + k for k in range(300)])
    rig.start().steps(60)
    assert [] == parked(rig)
    assert {"t[0]": 300} == rig.committed()


def test_a_log_that_ends_before_our_position_is_not_caught_up_with() -> None:
    rig = Rig(RULES)
    rig.source.log[T0] = []
    put(rig, 1)
    rig.source.committed[T0] = Commit(1_000)
    rig.start()
    caught_up = CaughtUp(60)
    for _ in range(5):
        rig.loop.step()
        assert not caught_up(rig.loop)
    rig.source.to_raise = [Parked("kafka.gap", "scripted", subject="topic:t")]
    rig.loop.step()
    assert caught_up(rig.loop)


# ---------------------------------------------------------------- partitions that were added

T1 = Partition("t", 1)


@dataclass
class OffsetMapper(TwinMapper):
    """Versions are Kafka's offsets."""

    epoch: str = "01"

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        change = super().map(envelope, record, now_ms)
        change.version = f"{self.epoch}A{record.offset:019d}"
        return change


def grown(mapper: TwinMapper) -> Rig:
    """One partition is read and stored; then there are two, and all keys have moved."""
    rig = Rig(RULES, mapper)
    rig.source.log[T0] = []
    put(rig, *range(10), v="before")
    rig.start().steps(30)
    rig.source.log[T1] = []
    rig.source.committed[T1] = Commit(0, ADDED)
    for k in range(10):
        rig.source.put("t", 1, {"k": k, "v": "after", "n": 1})
    rig.source.assign([T1])
    return rig.steps(30)


def again(rig: Rig, mapper: TwinMapper) -> Rig:
    new = Rig(RULES, mapper)
    new.source.log, new.source.committed, new.store.rows = rig.source.log, rig.source.committed, rig.store.rows
    return new.start().steps(30)


def values(rig: Rig) -> set[object]:
    return {value for _, value in rig.store.live().values()}


def test_a_partition_that_was_added_is_parked_where_versions_are_offsets_until_the_epoch_is_higher() -> None:
    rig = grown(OffsetMapper())
    assert ["topic.partitions_added"] == parked(rig)
    assert ({"before"}, {"t[0]": 10, "t[1]": 0}) == (values(rig), rig.committed())
    same = again(rig, OffsetMapper())
    assert ["topic.partitions_added"] == parked(same)
    healed = again(same, OffsetMapper(epoch="02"))
    assert [] == parked(healed)
    assert ({"after"}, {"t[0]": 10, "t[1]": 10}) == (values(healed), healed.committed())
    later = again(healed, OffsetMapper(epoch="02"))
    assert [] == parked(later)


def test_an_operator_may_let_an_added_partition_pass() -> None:
    rig = grown(OffsetMapper())
    rig.notes.unpark.append("t")
    rig.steps(30)
    assert ([], {"t[0]": 10, "t[1]": 10}) == (parked(rig), rig.committed())
    assert [] == parked(again(rig, OffsetMapper()))


@pytest.mark.parametrize(
    "mapper", [EpochMapper(epoch="01L"), OffsetMapper(keyed_by_position=True)], ids=["of a source", "of events"]
)
def test_an_added_partition_passes_where_versions_compare_or_nothing_moves(mapper: TwinMapper) -> None:
    rig = grown(mapper)
    assert ([], {"t[0]": 10, "t[1]": 10}) == (parked(rig), rig.committed())
