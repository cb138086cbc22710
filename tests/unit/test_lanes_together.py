"""Batches that are not full: one request for all lanes of a table, one such request at a time."""

from __future__ import annotations

from math import inf

import pytest

from ingest.flow.lanes import BatchRules, Lanes, LaneState
from ingest.model import Change, Kind, Position

TABLE = "doc.t"


def change(partition: int, key: int, n: int = 1) -> Change:
    return Change(Kind.WRITE, (key,), 1, ("a",), [n], Position("t", partition, n), version=f"{n:03d}", size_bytes=10)


def lanes_with(*changes: Change, table: str = TABLE, rules: BatchRules | None = None) -> Lanes:
    lanes = Lanes(rules or BatchRules(max_rows=4, max_bytes=1_000, linger_s=0.1), slots=4)
    for each in changes:
        lanes.add(table, each, 0.0)
    return lanes


def flushing(state: LaneState) -> bool:
    return False


def send(lanes: Lanes, now_s: float = 1.0) -> list[tuple[str, list[int]]]:
    """What goes now, each request with why it went and the slots of its lanes."""
    sent = []
    for state, why in lanes.due(now_s, flushing):
        sent.append((why, [each.lane.slot for each in lanes.take(state, why, now_s)]))
    return sent


def lane(lanes: Lanes, slot: int) -> LaneState:
    return next(state for state in lanes.of(TABLE) if state.lane.slot == slot)


def test_small_batches_of_a_tables_lanes_go_in_one_request() -> None:
    lanes = lanes_with(change(0, 1), change(1, 2), change(3, 3))
    assert [("linger", [0, 1, 3])] == send(lanes)
    assert [1, 1, 1] == [len(state.out or ()) for state in lanes]


def test_a_small_batch_waits_while_one_of_its_table_is_out_and_a_full_one_does_not() -> None:
    lanes = lanes_with(change(0, 1))
    send(lanes)
    lanes.add(TABLE, change(1, 2), 1.0)
    assert [] == send(lanes, 9.0)
    assert inf == lanes.ripe_in_s(9.0)  # only an answer can make it ripe
    for key in (3, 4, 5):
        lanes.add(TABLE, change(1, key), 1.0)
    assert [("full", [1])] == send(lanes, 9.0)
    lanes.add(TABLE, change(2, 6), 9.0)
    assert [] == send(lanes, 9.0)
    lane(lanes, 0).back()
    assert [("linger", [2])] == send(lanes, 9.0)  # a full one that is out makes nobody wait


def test_a_small_batch_of_another_table_does_not_wait() -> None:
    lanes = lanes_with(change(0, 1))
    send(lanes)
    lanes.add("doc.u", change(0, 1), 1.0)
    assert [("linger", [0])] == send(lanes)


def test_a_lane_goes_beside_before_its_own_linger_is_over() -> None:
    lanes = lanes_with(change(0, 1), change(1, 2))
    lane(lanes, 1).last_sent_s = 0.99
    assert [("linger", [0, 1])] == send(lanes, 1.0)
    assert 1.0 == lane(lanes, 1).last_sent_s


def test_changes_of_one_key_in_two_lanes_never_go_in_one_request() -> None:
    lanes = lanes_with(change(0, 1), change(1, 1), change(2, 2))
    assert [("linger", [0, 2])] == send(lanes)


@pytest.mark.parametrize("rules", [BatchRules(3, 1_000, 0.1), BatchRules(10, 30, 0.1)], ids=["rows", "bytes"])
def test_more_than_one_request_may_hold_goes_lane_by_lane_and_at_once(rules: BatchRules) -> None:
    lanes = lanes_with(change(0, 1), change(0, 2), change(1, 3), change(1, 4), change(2, 5), rules=rules)
    assert [("full", [0]), ("linger", [1, 2])] == send(lanes)


def test_more_than_one_request_may_hold_waits_for_no_small_one() -> None:
    lanes = lanes_with(change(0, 1))
    send(lanes)
    for partition, keys in ((1, (2, 3, 4)), (2, (5, 6))):
        for key in keys:
            lanes.add(TABLE, change(partition, key), 1.0)
    assert lanes.ripe_in_s(9.0) < 0
    assert [("full", [1])] == send(lanes, 9.0)  # what is left fits, and waits


@pytest.mark.parametrize("trouble", ["unsure", "attempts", "stale", "again", "full"])
def test_a_lane_with_something_of_its_own_goes_beside_nobody(trouble: str) -> None:
    lanes = lanes_with(change(0, 1), change(1, 2), change(2, 3))
    other = lane(lanes, 1)
    if trouble == "unsure":
        other.unsure = ("tag",)
    elif trouble == "attempts":
        other.attempts = 1
    elif trouble == "stale":
        other.stale_streak = 1
    elif trouble == "again":
        other.again(list(other.open[0].entries.values()), 0.0)
    else:
        for key in (4, 5, 6, 7):
            lanes.add(TABLE, change(1, key), 0.0)
    assert [0, 2] in [slots for _, slots in send(lanes)]


def test_a_lane_with_something_of_its_own_takes_nobody_along() -> None:
    lanes = lanes_with(change(0, 1), change(1, 2))
    lane(lanes, 0).unsure = ("tag",)
    assert [("linger", [0])] == send(lanes)
