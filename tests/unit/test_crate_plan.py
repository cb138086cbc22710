"""How a batch becomes requests: which, in which order, and which rows share one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingest.crate.plan import (
    ABSENT_KEY,
    NO_MONTH,
    NO_VERSION,
    NOT_TEXT,
    LookUp,
    Stored,
    look_ups,
    merged,
    recognisable,
    steps,
    version_look_ups,
)
from ingest.crate.statements import Action
from ingest.model import SUPERSEDED, WRITTEN, Batch, Change, Column, Fate, Kind, Lane, Outcome, Table
from tests.crate_rig import FEB, JAN, MAR, delete, patch, plain, write

KEY = {"id": Column("id", "bigint")}
MONTH = {"month": Column("month", "timestamp with time zone")}
CDC = {"cdc_version": Column("cdc_version", "text"), "cdc_deleted": Column("cdc_deleted", "boolean")}
ORDERED = Table("doc", "t", KEY | MONTH | {"v": Column("v", "text")} | CDC, ("id",), "month", frozenset({JAN, FEB}))
ARRIVAL = replace(ORDERED, columns=KEY | MONTH | {"v": Column("v", "text")})
REJECTED, RETRY = Outcome(Fate.REJECTED, "r"), Outcome(Fate.RETRY, "t")


def batch(*changes: Change, table: Table = ORDERED) -> Batch:
    return Batch(Lane("doc.t", 0), table, list(changes), "tag")


def planned(*changes: Change, table: Table = ORDERED, found: Any = None, skip: tuple[int, ...] = ()) -> list[Any]:
    """Each step as (action, entries, creates) of its requests, and its refreshes where there are any."""
    plan = steps(batch(*changes, table=table), found or {}, skip)
    shown: list[Any] = []
    for step in plan.steps:
        shown.append([(r.action, [tuple(e) for e in r.entries], r.creates) for r in step.requests])
        if step.refresh:
            shown.append(step.refresh)
    return shown


def test_rows_of_months_that_exist_share_a_request() -> None:
    assert [[(Action.WRITE, [(0, JAN), (1, FEB)], None)]] == planned(write(1, JAN, "1"), write(2, FEB, "1"))


def test_each_new_month_has_a_request_of_its_own_after_the_others() -> None:
    april = MAR + 31 * 86_400_000
    requests = planned(write(1, MAR, "1"), write(2, JAN, "1"), write(3, april, "1"), write(4, MAR, "1"))
    expected = [
        (Action.WRITE, [(1, JAN)], None),
        (Action.WRITE, [(0, MAR), (3, MAR)], MAR),
        (Action.WRITE, [(2, april)], april),
    ]
    assert [expected] == requests


def test_a_row_with_new_keys_goes_alone_and_first() -> None:
    requests = planned(write(1, JAN, "1"), write(2, JAN, "1", new_keys=True), write(3, JAN, "1", new_keys=True))
    assert [[[(1, JAN)], [(2, JAN)], [(0, JAN)]]] == [[entries for _, entries, _ in step] for step in requests]


def test_a_move_writes_then_refreshes_then_leaves_a_tombstone() -> None:
    assert [
        [(Action.WRITE, [(0, FEB)], None)],
        {FEB: [0]},
        [(Action.TOMBSTONE, [(0, JAN)], None)],
    ] == planned(write(1, FEB, "2", vacates=(JAN, FEB)))


def test_a_move_without_versions_deletes_the_old_row() -> None:
    assert [
        [(Action.WRITE, [(0, FEB)], None)],
        {FEB: [0]},
        [(Action.DELETE, [(0, JAN)], None)],
    ] == planned(plain(Kind.WRITE, 1, FEB, "x", vacates=(JAN,)), table=ARRIVAL)


def test_a_patch_that_moves_carries_the_row_first() -> None:
    steps_ = planned(patch(1, FEB, "2", vacates=(JAN,)))
    assert [(Action.CARRY, [(0, JAN)], None)] == steps_[0]
    assert [(Action.PATCH, [(0, FEB)], None)] == steps_[1]
    assert [(Action.TOMBSTONE, [(0, JAN)], None)] == steps_[3]


def test_a_patch_never_creates_a_month() -> None:
    assert [[(Action.PATCH, [(0, MAR)], None)]] == planned(patch(1, MAR, "2"))


def test_a_delete_leaves_tombstones_in_its_month_and_those_it_vacates() -> None:
    assert [[(Action.TOMBSTONE, [(0, JAN), (0, FEB)], None)]] == planned(delete(1, FEB, "2", vacates=(JAN,)))


def test_a_delete_that_looks_up_goes_where_the_key_is() -> None:
    found = {(1,): [Stored(FEB, True, "1"), Stored(JAN, False, "0")]}
    assert [[(Action.TOMBSTONE, [(0, JAN), (0, FEB)], None)]] == planned(delete(1, None, "2", look_up=True), found=found)


def test_a_write_that_looks_up_leaves_tombstones_alone() -> None:
    found = {(1,): [Stored(FEB, True, "1"), Stored(MAR, False, "0"), Stored(JAN, True, "1")]}
    steps_ = planned(write(1, FEB, "2", look_up=True), found=found)
    assert [(Action.TOMBSTONE, [(0, JAN)], None)] == steps_[-1]


def test_a_delete_of_a_key_that_is_nowhere_needs_no_request() -> None:
    plan = steps(batch(delete(1, None, "2", look_up=True)), {})
    assert ([], {0: ABSENT_KEY}) == (plan.steps, plan.settled)


def test_a_patch_without_a_month_goes_to_the_newest_live_row() -> None:
    found = {(1,): [Stored(JAN, True, "1"), Stored(FEB, True, "2"), Stored(MAR, False, "3")]}
    assert [(Action.PATCH, [(0, FEB)], None)] == planned(patch(1, None, "4", look_up=True), found=found)[1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (patch(1, None, "2", look_up=True), NO_MONTH),
        (write(1, None, "2"), NO_MONTH),
        (replace(write(1, JAN, "2"), version=None), NO_VERSION),
        (delete("\ud800", None, "2", look_up=True), NOT_TEXT),
        (delete(None, None, "2", look_up=True), NOT_TEXT),
    ],
)
def test_what_cannot_be_written_is_settled_without_a_request(change: Change, expected: Outcome) -> None:
    assert {0: expected} == steps(batch(change), {}).settled


def test_a_change_known_to_be_stale_still_vacates() -> None:
    assert [{FEB: [0]}, [(Action.TOMBSTONE, [(0, JAN)], None)]] == planned(write(1, FEB, "2", vacates=(JAN,)), skip=(0,))[1:]


def test_a_table_without_months_needs_none() -> None:
    table = Table("doc", "t", KEY | {"v": Column("v", "text")} | CDC, ("id",))
    requests = planned(write(1, None, "1"), delete(2, None, "1", look_up=True), table=table)
    assert [[(Action.WRITE, [(0, None)], None)], [(Action.TOMBSTONE, [(1, None)], None)]] == requests


# ---------------------------------------------------------------- look-ups


def months(count: int) -> frozenset[int]:
    return frozenset(range(count))


def test_look_ups_stay_within_the_combinations_of_a_key_plan() -> None:
    asked = look_ups(batch(*(delete(i, None, "1", look_up=True) for i in range(1_000)), write(9, JAN, "1")), months(24))
    assert [416, 416, 168] == [len(look_up.keys) for look_up in asked]
    assert {(tuple(range(24)), False)} == {(look_up.months, look_up.is_plain) for look_up in asked}


def test_many_combinations_are_asked_plainly_after_a_refresh() -> None:
    asked = look_ups(batch(*(delete(i, None, "1", look_up=True) for i in range(6_000))), months(36))
    assert [(5_000, None, True), (1_000, None, True)] == [(len(each.keys), each.months, each.is_plain) for each in asked]


def test_keys_of_two_parts_multiply() -> None:
    table = replace(ORDERED, columns=ORDERED.columns | {"p": Column("p", "text")}, key=("id", "p"))
    asked = look_ups(batch(*(delete((i, "x"), None, "1", look_up=True) for i in range(60)), table=table), months(9))
    assert [33, 27] == [len(look_up.keys) for look_up in asked]


def test_a_key_that_answers_in_another_form_is_asked_alone() -> None:
    table = replace(ORDERED, columns=ORDERED.columns | {"id": Column("id", "ip")})
    asked = look_ups(
        batch(delete("::1", None, "1", look_up=True), delete("::2", None, "1", look_up=True), table=table), months(2)
    )
    assert [LookUp([("::1",)], (0, 1)), LookUp([("::2",)], (0, 1))] == asked


def test_a_statement_of_long_keys_stays_below_the_limit() -> None:
    table = replace(ORDERED, columns=ORDERED.columns | {"id": Column("id", "text")})
    asked = look_ups(batch(*(delete("k" * 996, None, "1", look_up=True) for _ in range(500)), table=table), months(1))
    assert [200, 200, 100] == [len(look_up.keys) for look_up in asked]


def test_nothing_is_asked_without_need() -> None:
    assert [] == look_ups(batch(write(1, JAN, "1")), months(3))
    assert [] == look_ups(batch(delete(1, None, "1", look_up=True)), months(0))


def test_versions_are_asked_month_by_month() -> None:
    asked = version_look_ups(batch(write(1, JAN, "1"), write(2, FEB, "1"), write(3, JAN, "1"), delete(4, JAN, "1")))
    assert [LookUp([(1,), (3,)], (JAN,)), LookUp([(2,)], (FEB,))] == asked


@pytest.mark.parametrize(
    ("type_", "sent", "answered"),
    [("bigint", "123", 123), ("uuid", "AB-c", "ab-c"), ("boolean", True, True), ("text", "a ", "a ")],
)
def test_a_key_is_recognised_in_the_form_crate_answers(type_: str, sent: Any, answered: Any) -> None:
    table = replace(ORDERED, columns={"id": Column("id", type_)})
    assert recognisable(table, (sent,)) == recognisable(table, (answered,))


# ---------------------------------------------------------------- fates


@pytest.mark.parametrize(
    ("kind", "earlier", "later", "expected"),
    [
        (Kind.WRITE, None, WRITTEN, WRITTEN),
        (Kind.WRITE, WRITTEN, SUPERSEDED, WRITTEN),
        (Kind.WRITE, SUPERSEDED, WRITTEN, SUPERSEDED),
        (Kind.DELETE, SUPERSEDED, WRITTEN, WRITTEN),
        (Kind.DELETE, WRITTEN, SUPERSEDED, WRITTEN),
        (Kind.WRITE, WRITTEN, RETRY, RETRY),
        (Kind.DELETE, RETRY, WRITTEN, RETRY),
        (Kind.DELETE, REJECTED, RETRY, RETRY),
        (Kind.WRITE, WRITTEN, REJECTED, REJECTED),
    ],
)
def test_the_worst_row_of_a_change_is_its_fate(kind: Kind, earlier: Outcome | None, later: Outcome, expected: Outcome) -> None:
    assert expected == merged(kind, earlier, later)
