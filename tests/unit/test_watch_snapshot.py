"""The status that is taken of a loop over twins: it balances, it does not change afterwards, and it says what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ingest.errors import Parked, Retry
from ingest.model import Fate, Outcome, Partition, Result
from ingest.tools.snapshot import ASK_ENDS_EVERY_S, Look, status_of
from ingest.watch.status import Status
from tests.flow.twins import Rig

ENDS = ("written", "superseded", "skipped", "dead_lettered")


def row(key: int, value: str | None, version: int) -> dict[str, Any]:
    return {"k": key, "v": value, "n": version}


def rig_with(*values: dict[str, Any] | bytes) -> Rig:
    rig = Rig()
    for value in values:
        rig.source.put("t", 0, value)
    return rig.start()


def is_balanced(status: Status) -> bool:
    return status.read == sum(map(status.total, ENDS)) + status.handed_back + status.unsettled_records


def test_a_quiet_loop_is_ready_and_balanced() -> None:
    status = status_of(rig_with(row(1, "a", 1), row(1, "b", 2), b"{broken").steps().loop)
    assert (True, (), 3, 1) == (status.is_ready, status.reasons, status.read, status.assigned)
    assert [1, 1, 0, 1] == [status.total(end) for end in ENDS]
    assert is_balanced(status)
    assert ("t", 0) in status.lag


def test_a_status_does_not_change_when_the_loop_goes_on() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    status = status_of(rig.loop)
    rig.source.put("t", 0, row(2, "b", 2))
    rig.steps()
    assert 1 == status.total("written")
    assert 2 == status_of(rig.loop).total("written")


def test_a_store_that_is_away_makes_it_unready_with_the_reason() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.store.faults = [lambda batch: Result(batch, [Outcome(Fate.RETRY, "store.unreachable")] * len(batch.changes))]
    rig.store.probes_to_fail = 1_000
    status = status_of(rig.steps().loop)
    assert (False, True, 0.0) == (status.is_ready, status.is_breaker_open, status.permits)
    assert any(text.startswith("CrateDB is away (") for text in status.reasons)
    assert {"store.unreachable": 1} == status.retries
    assert 1 == status.unsettled_records
    assert is_balanced(status)


def test_something_parked_is_told_and_only_a_worker_that_rests_wholly_is_unready() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:elsewhere"), 1)
    status = status_of(rig.loop)
    assert (True, ("topic:elsewhere is parked (topic.truncate)",)) == (status.is_ready, status.reasons)
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:t"), 2)
    status = status_of(rig.loop)
    assert not status.is_ready
    assert [("topic:elsewhere", 1), ("topic:t", 2)] == [(place.subject, place.since_ms) for place in status.parked]


def test_the_lag_of_what_rests_is_asked_for_now_and_then_for_nobody_hears_of_it_while_not_reading() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    asked: list[list[Partition]] = []

    def end_offsets(partitions: Collection[Partition]) -> Mapping[Partition, int]:
        asked.append(list(partitions))
        return dict.fromkeys(partitions, 500)

    rig.source.end_offsets = end_offsets  # type: ignore[method-assign]
    look = Look(rig.loop, wall_s=lambda: 1.0)
    assert look().lag["t", 0] is None  # what is read is heard of
    assert [] == asked
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:t"), 1)
    assert [499, 499] == [look().lag["t", 0], look().lag["t", 0]]
    assert [[Partition("t", 0)]] == asked
    rig.clock.now_s += ASK_ENDS_EVERY_S
    look()
    assert 2 == len(asked)
    rig.loop.state.unpark(rig.loop.state.parking.leave("topic:t"))
    assert look().lag["t", 0] is None


def test_a_kafka_that_does_not_answer_is_not_asked_at_every_look() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    asked: list[object] = []

    def end_offsets(partitions: Collection[Partition]) -> Mapping[Partition, int]:
        asked.append(partitions)
        raise Retry("kafka.unreachable")

    rig.source.end_offsets = end_offsets  # type: ignore[method-assign]
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:t"), 1)
    look = Look(rig.loop)
    for _ in range(20):
        look()
        rig.clock.now_s += 1
    assert 1 == len(asked)


def test_a_stopping_worker_asks_kafka_nothing() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.source.end_offsets = None  # type: ignore[method-assign, assignment]
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:t"), 1)
    rig.loop.is_draining = True
    assert Look(rig.loop)().lag["t", 0] is None


def test_partitions_that_are_gone_have_no_lag_and_are_not_paused() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.loop.state.park(Parked("topic.truncate", "empty it by hand", subject="topic:t"), 1)
    look = Look(rig.loop)
    assert {("t", 0): "parked"} == look().paused
    rig.source.revoke([Partition("t", 0)])
    assert ({}, {}, 0) == (look().lag, look().paused, look().assigned)


def test_what_rests_is_told_with_the_reason() -> None:
    rig = rig_with({**row(1, "a", 1), "schema": 7})
    rig.schemas[7] = Retry("registry.unreachable")
    rig.steps(3)
    assert {("t", 0): "waiting"} == status_of(rig.loop).paused


def test_tables_are_told_with_their_level() -> None:
    assert {"doc.t": "ordered"} == status_of(rig_with(row(1, "a", 1)).steps().loop).tables


def test_a_draining_worker_is_not_ready() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.loop.is_draining = True
    assert ("stopping",) == status_of(rig.loop).reasons


def test_what_rests_for_want_of_memory_is_told_and_is_no_trouble() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.loop.pressure._full_tables = {"doc.t"}
    status = status_of(rig.loop)
    assert status.is_ready
    assert (
        "table:doc.t holds its share of INGEST_MEMORY_MB, so what feeds it rests until CrateDB has taken more",
    ) == status.reasons
    rig.loop.pressure._is_full = True
    assert status_of(rig.loop).reasons[0].startswith("INGEST_MEMORY_MB is used up, so all partitions rest")
