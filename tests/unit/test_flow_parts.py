"""The pure parts of the loop: fold, ledger, lanes, windows, regulator."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.flow.fold import Fold, merge
from ingest.flow.lanes import BatchRules, Lanes, LaneState
from ingest.flow.ledger import Ledger, Settled
from ingest.flow.regulator import Regulator, wait_s
from ingest.flow.windows import Window, from_metadata, is_over, to_metadata
from ingest.model import Change, Kind, Lane, Partition, Position, Record

ORDERS_3 = Partition("orders", 3)


def change(kind: Kind = Kind.WRITE, n: int = 1, month: int | None = 1, key: int = 1, **values: Any) -> Change:
    values = values or ({"a": n, "b": n} if kind is Kind.WRITE else {})
    return Change(
        kind, (key,), month, tuple(values), list(values.values()), Position("orders", 3, n), version=f"{n:03d}", size_bytes=10
    )


# ---------------------------------------------------------------- ledger


@pytest.mark.parametrize(
    ("settled", "committable"),
    [((), {}), ((6, 7), {}), ((5,), {ORDERS_3: 6}), ((5, 6, 7), {ORDERS_3: 8})],
    ids=["nothing settled", "gap at the front", "first settled", "all settled"],
)
def test_commit_stops_at_the_lowest_unsettled_record(settled: tuple[int, ...], committable: dict[Partition, int]) -> None:
    ledger = Ledger()
    ledger.open(ORDERS_3, 5)
    tickets = {n: ledger.admit(ledger.page(ORDERS_3), Record("orders", 3, n, 0, None, b"x"), 1) for n in (5, 6, 7)}
    for n in settled:
        ledger.settle(tickets[n], Settled.WRITTEN)
    assert committable == ledger.committable()
    assert 3 - len(settled) == ledger.unsettled_records


@pytest.mark.parametrize(("settled", "held_bytes"), [((), 30), ((6, 7), 30), ((5,), 20), ((7, 5), 20), ((5, 6, 7), 0)])
def test_a_settled_record_is_held_until_all_in_front_of_it_are_settled(settled: tuple[int, ...], held_bytes: int) -> None:
    ledger = Ledger()
    ledger.open(ORDERS_3, 5)
    tickets = {n: ledger.admit(ledger.page(ORDERS_3), Record("orders", 3, n, 0, None, b"x"), 10) for n in (5, 6, 7)}
    for n in settled:
        ledger.settle(tickets[n], Settled.WRITTEN)
    assert held_bytes == ledger.held_bytes == ledger.held_in([ORDERS_3])
    ledger.close(ORDERS_3)
    assert 0 == ledger.held_bytes


def test_a_ticket_of_a_closed_page_settles_nothing() -> None:
    ledger = Ledger()
    ledger.open(ORDERS_3, 0)
    ticket = ledger.admit(ledger.page(ORDERS_3), Record("orders", 3, 0, 0, None, b"x"), 7)
    assert (0, [ticket]) == ledger.close(ORDERS_3)
    ledger.open(ORDERS_3, 0)
    assert not ledger.settle(ticket, Settled.WRITTEN)
    assert {} == ledger.committable()
    assert 0 == ledger.held_bytes == ledger.unsettled_records


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_offsets_with_gaps_settled_in_any_order_commit_the_contiguous_part(gaps: list[int], rng: random.Random) -> None:
    ledger = Ledger()
    ledger.open(ORDERS_3, 0)
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    tickets = {n: ledger.admit(ledger.page(ORDERS_3), Record("orders", 3, n, 0, None, b""), 1) for n in offsets}
    order = offsets[:]
    rng.shuffle(order)
    done: set[int] = set()
    for offset in order:
        ledger.settle(tickets[offset], Settled.WRITTEN)
        done.add(offset)
        front = [n for n in offsets if all(m in done for m in offsets if m <= n)]
        assert ({ORDERS_3: front[-1] + 1} if front else {}) == ledger.committable()


# ---------------------------------------------------------------- fold


def apply(rows: dict[str, Any] | None, c: Change) -> dict[str, Any] | None:
    """One change at a time, in order of version: what a row is afterwards."""
    values = dict(zip(c.columns, c.row, strict=True))
    if c.kind is Kind.DELETE:
        return None
    if c.kind is Kind.WRITE:
        return {"a": None, "b": None, **values}
    return {**(rows or {"a": None, "b": None}), **values}


def make(kind: str, n: int) -> Change:
    if kind == "patch a":
        return change(Kind.PATCH, n, a=n)
    if kind == "patch b":
        return change(Kind.PATCH, n, b=-n)
    return change(Kind(kind), n)


@settings(max_examples=300)
@given(st.permutations(range(1, 6)), st.lists(st.sampled_from(["write", "delete", "patch a", "patch b"]), min_size=5, max_size=5))
def test_a_fold_leaves_the_row_that_its_changes_leave_in_version_order(order: list[int], kinds: list[str]) -> None:
    changes = {n: make(kind, n) for n, kind in zip(range(1, 6), kinds, strict=True)}
    fold = Fold(0.0)
    folded = [n for n in order if fold.add(changes[n])]
    row: dict[str, Any] | None = {"a": "old", "b": "old"}
    expected = row
    for n in sorted(folded):
        expected = apply(expected, changes[n])
    (entry,) = fold.entries.values()
    assert expected == apply(row, entry.survivor)
    assert max(folded) == int(entry.survivor.version or 0)
    assert folded == [member.at.offset for member in entry.members]


def test_a_fold_names_every_month_but_its_own() -> None:
    fold = Fold(0.0)
    for n, month in enumerate([1, 2, 3, 2]):
        fold.add(change(n=n, month=month))
    (entry,) = fold.entries.values()
    assert (2, (1, 3)) == (entry.survivor.month, entry.survivor.vacates)


@pytest.mark.parametrize("older", ["write", "delete", "patch a"])
def test_a_patch_never_folds_over_an_older_change(older: str) -> None:
    assert merge(make(older, 1), change(Kind.PATCH, 2, a=5)) is None
    assert merge(change(Kind.PATCH, 2, a=5), make("write", 3)) is not None


@pytest.mark.parametrize("asks", ["older", "newer"])
def test_a_fold_looks_up_the_months_that_any_member_does_not_know(asks: str) -> None:
    older, newer = change(n=1), change(n=2)
    (older if asks == "older" else newer).look_up = True
    merged = merge(older, newer)
    assert merged is not None
    assert merged.look_up


def test_a_tombstone_without_a_version_never_folds_with_a_change_that_has_one() -> None:
    tombstone = change(Kind.DELETE, 2)
    tombstone.version = None
    assert merge(change(n=1), tombstone) is None
    assert merge(tombstone, change(n=3)) is None


# ---------------------------------------------------------------- lanes


def lane(max_rows: int = 2, linger_s: float = 1.0) -> LaneState:
    return LaneState(Lane("doc.t", 0), BatchRules(max_rows, 1_000, linger_s))


def waiting(state: LaneState) -> list[Fold]:
    """All folds that are not out, in the order in which they go."""
    return [*state.redo, *state.sealed, *state.open]


def test_the_first_row_goes_at_once_and_the_next_after_the_linger() -> None:
    state = lane()
    state.add(change(), 10.0)
    assert "linger" == state.ripe(10.0, is_flushing=False)
    state.take(10.0)
    state.back()
    state.add(change(), 10.1)
    assert state.ripe(10.5, is_flushing=False) is None
    assert "flush" == state.ripe(10.5, is_flushing=True)
    assert "linger" == state.ripe(11.0, is_flushing=False)


def test_a_full_batch_goes_before_the_linger_and_one_batch_at_most_is_out() -> None:
    state = lane()
    for n in range(5):
        state.add(change(n=n, key=n), 0.0)
    assert [2, 2, 1] == [len(fold) for fold in waiting(state)]
    state.take(0.0)
    assert state.ripe(99.0, is_flushing=True) is None


def test_a_row_with_new_object_keys_goes_alone() -> None:
    state = lane(max_rows=10)
    state.add(change(key=1), 0.0)
    fresh = change(key=2)
    fresh.new_keys = True
    state.add(fresh, 0.0)
    state.add(change(key=3), 0.0)
    assert [[(1,)], [(2,)], [(3,)]] == [list(fold.entries) for fold in waiting(state)]


def test_a_patch_waits_for_the_next_batch_and_makes_no_other_key_wait() -> None:
    state = lane(max_rows=3)
    for n, (kind, key) in enumerate([("write", 1), ("patch a", 1), ("write", 2), ("patch b", 1), ("write", 3), ("write", 4)]):
        made = make(kind, n)
        made.key = (key,)
        state.add(made, 0.0)
    assert [[0, 2, 4], [1, 5], [3]] == [[e.survivor.at.offset for e in fold.entries.values()] for fold in waiting(state)]


def test_a_rejected_fold_is_sent_again_member_by_member_oldest_first() -> None:
    state = lane(max_rows=10)
    for n, key in [(1, 1), (2, 2), (3, 1), (4, 1)]:
        state.add(change(n=n, key=key), 0.0)
    state.take(0.0)
    state.again_singly(list(state.back().entries.values()), 0.0)
    assert [[1, 2], [3], [4]] == [[e.survivor.at.offset for e in fold.entries.values()] for fold in state.redo]


def test_lanes_are_by_table_and_partition_modulo_slots_whatever_the_topic() -> None:
    lanes = Lanes(BatchRules(), slots=3)
    lanes.add("doc.t", change(n=0), 0.0)
    assert [Lane("doc.t", 0)] == [state.lane for state in lanes]


# ---------------------------------------------------------------- windows and regulator


def test_a_window_forgets_what_is_older_than_its_length() -> None:
    window = Window(10)
    window.add(bad=3)
    window.add(good=9)
    assert (10, 1) == (window.size, window.bad)
    window.add(good=1)
    assert 0 == window.bad


def test_a_window_that_is_not_full_proves_nothing() -> None:
    window = Window(10)
    window.add(bad=9)
    assert not is_over([window], 10, 0.1)


def test_windows_survive_in_metadata_and_strange_metadata_is_ignored() -> None:
    rejects, stale = Window(10), Window(10)
    rejects.add(good=4, bad=2)
    again, _, high = from_metadata(to_metadata(rejects, stale, 42), 10)
    assert (6, 2, 42) == (again.seen, again.bad, high)
    assert 0 == from_metadata("something else", 10)[0].seen
    assert len(to_metadata(rejects, stale, 10**18)) < 4_000


def test_success_adds_overload_halves_and_one_overload_counts_once() -> None:
    regulator = Regulator(8)
    regulator.overloaded(10.0, "busy")
    regulator.overloaded(10.1, "busy")
    assert 4 == regulator.room(in_flight=0)
    for _ in range(4):
        regulator.succeeded()
    assert 1 == regulator.room(in_flight=3) or 4 <= regulator.permits <= 5.1


def test_an_open_breaker_sends_probes_with_growing_waits_and_then_one_batch() -> None:
    regulator = Regulator(8)
    regulator.failed(10.0, "away")
    assert 0 == regulator.room(in_flight=0)
    assert not regulator.probe_due(10.0)
    assert regulator.probe_due(10.0 + 16)
    regulator.probe_succeeded()
    assert 1 == regulator.room(in_flight=0)


def test_waits_grow_and_stay_under_their_cap() -> None:
    assert max(wait_s(1) for _ in range(50)) < 1.0
    assert all(wait_s(50) <= 30 for _ in range(20))
