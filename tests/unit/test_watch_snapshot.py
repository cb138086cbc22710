"""The status that is taken of a loop over twins: it balances, it does not change afterwards, and it says what is wrong."""

from __future__ import annotations

from typing import Any

from ingest.errors import Parked
from ingest.model import Fate, Outcome, Result
from ingest.tools.snapshot import status_of
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


def test_a_draining_worker_is_not_ready() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.loop.is_draining = True
    assert ("stopping",) == status_of(rig.loop).reasons
