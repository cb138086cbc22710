"""The short ways through ledger, lanes, plan and answer, which nearly all rows take, do what the long ways do."""

from __future__ import annotations

import random
from threading import Event
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.crate.http import all_written
from ingest.crate.plan import Planner, steps
from ingest.crate.statements import Statement
from ingest.flow.books import Books
from ingest.flow.fold import Fold
from ingest.flow.lanes import BatchRules, LaneState
from ingest.flow.ledger import Ledger, Settled, Ticket
from ingest.flow.writers import ThreadCrew
from ingest.model import Batch, Change, Kind, Lane, Partition, Position, Record, Result
from tests.crate_rig import FEB, JAN, MAR, delete, patch, write
from tests.unit.test_crate_plan import ORDERED
from tests.unit.test_flow_parts import change

ROW = {"rowcount": 1}


# ---------------------------------------------------------------- ledger and books


def admitted(rows: list[int]) -> tuple[Ledger, Books, list[Ticket]]:
    """Two partitions in turn; each record has so many rows."""
    ledger = Ledger()
    for number in (0, 1):
        ledger.open(Partition("t", number), 0)
    tickets = [
        ledger.admit(ledger.page(Partition("t", n % 2)), Record("t", n % 2, n, 0, None, b"x"), 10) for n in range(len(rows))
    ]
    for ticket, count in zip(tickets, rows, strict=True):
        ticket.rows_open, ticket.table = count, f"doc.t{count}"
    return ledger, Books(), tickets


def totals(ledger: Ledger, books: Books) -> Any:
    return ledger.unsettled_records, ledger.held_bytes, ledger.committable(), [p.unsettled for p in ledger], dict(books.records)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.integers(0, 2), st.randoms(use_true_random=False))
def test_a_run_settles_what_its_tickets_settle_one_by_one(rows: list[int], closed: int, rnd: random.Random) -> None:
    singly, together = admitted(rows), admitted(rows)
    ways = [(rnd.sample(range(len(rows)), rnd.randint(0, len(rows))), how) for how in (Settled.SUPERSEDED, Settled.WRITTEN) * 3]
    for ledger, _, _ in (singly, together):
        if closed < 2:
            ledger.close(Partition("t", closed))
    for places, how in ways:
        ledger, books, tickets = singly
        places = [i for i in places if tickets[i].rows_open]
        for i in places:
            if ledger.settle(tickets[i], how):
                books.settled(tickets[i])
        ledger, books, tickets = together
        books.settled_run(ledger.settle_run([tickets[i] for i in places], how))
        assert totals(*singly[:2]) == totals(*together[:2])


# ---------------------------------------------------------------- lanes


def test_a_lane_is_ripe_by_time_when_it_says_so() -> None:
    lane = LaneState(Lane("doc.t", 0), BatchRules(max_rows=2, linger_s=0.5))
    assert float("inf") == lane.ripe_at_s()
    lane.add(change(n=1), 0.0)
    lane.take(10.0)
    assert float("inf") == lane.ripe_at_s()  # its batch is out
    lane.add(change(n=2), 10.0)
    lane.back()
    for now_s in (10.4, lane.ripe_at_s()):
        assert (now_s >= lane.ripe_at_s()) == (lane.ripe(now_s, False) == "linger")
    lane.resting_until_s = 12.0
    assert (12.0, None, "linger") == (lane.ripe_at_s(), lane.ripe(11.9, False), lane.ripe(12.0, False))


def test_members_of_an_entry_are_in_order_of_arrival_also_of_the_only_one() -> None:
    fold = Fold(0.0)
    for n in (1, 3, 2):
        fold.add(change(n=n))
        (entry,) = fold.entries.values()
        assert [1, 3, 2][: len(entry.members)] == [member.at.offset for member in entry.members]
    assert (3, 3) == (entry.newest.at.offset, entry.survivor.at.offset)


# ---------------------------------------------------------------- plan and statements


def kinds() -> st.SearchStrategy[Change]:
    ids, months, versions = st.integers(1, 5), st.sampled_from([JAN, FEB, MAR]), st.sampled_from(["1", "2", None])
    rows = st.builds(write, ids, months, versions, vacates=st.sampled_from([(), (JAN,)]), new_keys=st.booleans())
    return st.one_of(rows, st.builds(patch, ids, months, versions), st.builds(delete, ids, months, versions))


@given(st.lists(kinds(), max_size=12), st.sets(st.integers(0, 11)))
def test_a_plan_is_the_same_without_its_short_way(changes: list[Change], skip: set[int]) -> None:
    batch = Batch(Lane("doc.t", 0), ORDERED, changes, "tag")
    long = Planner(batch, {}, frozenset(skip))
    for i, each in enumerate(changes):
        long._place(i, each)
    plan = steps(batch, {}, skip)
    requests = [(r.action, r.columns, r.entries, r.creates) for step in plan.steps for r in step.requests]
    sorters = (long._carries, long._writes, long._removals)
    assert [(r.action, r.columns, r.entries, r.creates) for sorter in sorters for r in sorter.requests()] == requests
    assert plan.settled == long._settled


def test_a_row_of_another_width_is_named_by_its_place() -> None:
    statement = Statement("...", takes_month=True, width=3)
    rows = [Change(Kind.WRITE, (n,), JAN, ("a",), [n] * width, Position("t", 0, n)) for n, width in ((1, 1), (2, 2))]
    assert [[1, JAN, 1]] == statement.bulk_args([(rows[0], JAN)])
    with pytest.raises(ValueError, match=r"4 parameters for the 3 of a statement, change at t\[0\]@2"):
        statement.bulk_args([(row, JAN) for row in rows])


# ---------------------------------------------------------------- answers

ENTRIES = st.lists(st.sampled_from([ROW, ROW, ROW, {"rowcount": 0}, {"rowcount": -2}, {"rowcount": 11}, {}]), max_size=6)


@given(ENTRIES)
def test_an_answer_is_taken_for_all_written_only_if_it_says_so_of_each_row(entries: list[dict[str, int]]) -> None:
    said = all_written(orjson.dumps({"cols": [], "duration": 1.25e2, "results": entries}))
    assert (len(entries) if entries and all(entry == ROW for entry in entries) else None) == (said or None)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"cols":[],"duration":1,"results":[{"rowcount":1}],"error":{}}',
        b'{"cols":[],"duration":1,"error":{},"results":[{"rowcount":1}]}',
        b'{"cols":[],"duration":1,"results":[{"rowcount":1},]}',
        b'{"cols":[],"duration":1,"results":[{"rowcount":1}',
        b'{"cols":[],"duration":1,"results":[{"rowcount":1}]}{"rowcount":1}',
        b"",
    ],
)
def test_an_answer_with_anything_else_in_it_is_read(answer: bytes) -> None:
    assert all_written(answer) is None


# ---------------------------------------------------------------- the crew


def test_whoever_waits_elsewhere_is_woken_after_the_report_is_there() -> None:
    found: list[Any] = []
    woken = Event()

    class Store:
        def write(self, batch: Batch) -> Result:
            return Result(batch, [])

        def close(self) -> None:
            """Nothing is open."""

    def wake() -> None:
        found.extend(crew.take())
        woken.set()

    crew = ThreadCrew([Store()], wake=wake)  # type: ignore[list-item]
    crew.submit(Batch(Lane("doc.t", 0), ORDERED, [], "tag"))
    assert woken.wait(10)
    crew.close(10)
    assert ["tag"] == [report.batch.tag for report in found]
