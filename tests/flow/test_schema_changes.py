"""The loop while schemas change, over twins: fields without a column, tables made anew, truncates, rows that CrateDB fails on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.errors import IngestError, Parked, Retry
from ingest.flow.faults import BESIDE_PER_SHARD
from ingest.flow.lanes import BatchRules
from ingest.flow.ledger import Ticket
from ingest.flow.newcomers import NAMES_MAX
from ingest.flow.state import Rules
from ingest.model import WRITTEN, Batch, Column, Fate, Outcome, Partition, Result, Table
from tests.flow.twins import TABLE, MemoryStore, Rig, TwinMapper

T0, T1 = Partition("t", 0), Partition("t", 1)
ILL = Outcome(Fate.RETRY, "store.server_error")


def rig_with(*rows: dict[str, object], rules: Rules | None = None, mapper: TwinMapper | None = None) -> Rig:
    rig = Rig(rules, mapper)
    rig.source.log[T0] = []
    for one in rows:
        rig.source.put("t", 0, one)
    return rig.start()


def row(k: int, v: object, n: int, **more: object) -> dict[str, object]:
    return {"k": k, "v": v, "n": n, **more}


def parked(rig: Rig) -> list[str]:
    return [place.code for place in rig.loop.state.parking]


def kept(rig: Rig) -> dict[object, object]:
    return {key: value for (key,), (_, value) in rig.store.live().items()}


# ---------------------------------------------------------------- fields without a column


def test_a_new_field_is_looked_for_once_before_its_record_goes_on() -> None:
    rig = rig_with(row(1, "a", 1), row(2, "b", 2, f1=1), row(3, "c", 3, f1=1)).steps()
    assert {1: "a", 2: "b", 3: "c"} == kept(rig)
    assert 1 == rig.notes.names().count("fields_ignored")
    assert 2 == rig.store.described  # for the table, and for the field


def test_a_column_that_came_a_moment_before_its_field_is_used() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.store.tables["doc.t"] = with_column(TABLE, "f1")
    rig.source.put("t", 0, row(2, "b", 2, f1=1))
    rig.steps()
    assert "f1" in rig.mapper.columns
    assert "fields_ignored" not in rig.notes.names()


def with_column(table: Table, name: str, type_: str = "bigint") -> Table:
    return replace(table, columns={**table.columns, name: Column(name, type_)})


def test_made_up_names_cost_a_bounded_number_of_looks() -> None:
    rig = rig_with(*(row(i, "a", i, **{f"f{i}": 1}) for i in range(1, NAMES_MAX + 50))).steps(400)
    assert NAMES_MAX + 49 == len(kept(rig))
    assert NAMES_MAX + 1 >= rig.store.described


def test_a_column_is_added_only_while_no_batch_of_its_table_is_out_and_after_lost_requests_ended() -> None:
    rig = rig_with(row(1, "a", 1), mapper=TwinMapper(unknown_policy="add"))
    rig.source.log[T1] = []
    rig.source.assign([T1])
    lost: list[str] = []

    def lose(batch: Batch) -> Result:
        lost.append(batch.tag)
        rig.source.put("t", 1, row(9, "z", 9, f1=1))
        return Result(batch, [Outcome(Fate.RETRY, "store.conflict")], statements=1, unsure=(batch.tag,))

    rig.store.faults = [lose]
    rig.steps(200)
    assert [("doc.t", ["f1"], tuple(lost))] == rig.store.alters
    assert {1: "a", 9: "z"} == kept(rig)


@pytest.mark.parametrize("refusal", [Retry("store.blocked"), Retry("store.still_running")], ids=str)
def test_what_waits_for_a_column_waits_and_the_lanes_go_on_between_tries(refusal: IngestError) -> None:
    rig = rig_with(row(1, "a", 1, f1=1), mapper=TwinMapper(unknown_policy="add"))
    rig.source.log[T1] = []
    rig.source.assign([T1])
    rig.store.refusals = [refusal] * 3
    rig.source.put("t", 1, row(2, "b", 2))
    rig.steps(30)
    assert 2 in kept(rig)
    rig.clock.now_s += 300
    rig.steps(10)
    rig.clock.now_s += 300
    rig.steps(10)
    rig.clock.now_s += 300
    rig.steps(60)
    assert {1: "a", 2: "b"} == kept(rig)
    assert set() == rig.loop.state.quiet


def test_a_table_that_cannot_have_the_column_is_parked_and_goes_on_when_somebody_adds_it() -> None:
    rig = rig_with(row(1, "a", 1, f1=1), mapper=TwinMapper(unknown_policy="add"))
    rig.store.refusals = [Parked("table.no_ddl", "grant DDL", subject="table:doc.t")]
    rig.steps()
    assert (["table.no_ddl"], {}) == (parked(rig), kept(rig))
    rig.store.tables["doc.t"] = with_column(TABLE, "f1")
    rig.clock.now_s += 31
    rig.steps()
    assert ([], {1: "a"}) == (parked(rig), kept(rig))


def test_a_table_gets_no_more_columns_than_the_setting_allows_until_it_is_unparked() -> None:
    rules = Rules(commit_every_s=0.05, add_columns_max=2)
    rig = rig_with(*(row(i, "a", i, **{f"f{i}": 1}) for i in range(1, 5)), rules=rules, mapper=TwinMapper(unknown_policy="add"))
    rig.steps(100)
    assert (["table.add_limit"], ["f1", "f2"]) == (parked(rig), [name for _, (name,), _ in rig.store.alters])
    rig.notes.unpark = ["doc.t"]
    rig.steps(100)
    assert ([], 4) == (parked(rig), len(kept(rig)))


# ---------------------------------------------------------------- tables made anew


def test_what_does_not_fit_is_rejected_only_while_the_catalogue_shows_the_same_table() -> None:
    rig = rig_with(row(1, "a", 1)).steps()
    rig.source.put("t", 0, row(2, "poison", 2))
    rig.store.tables["doc.t"] = replace(TABLE, columns={**TABLE.columns, "v": Column("v", "bigint")})
    rig.store.faults = [
        lambda batch: Result(batch, [Outcome(Fate.REJECTED, "store.type_refused")] * len(batch.changes), statements=1)
    ]
    rig.mapper.passed = None
    rig.store.apply = takes_poison(rig.store)  # type: ignore[method-assign]
    rig.steps()
    assert [] == rig.letters.letters
    assert {1: "a", 2: "poison"} == kept(rig)
    assert 1 == rig.notes.names().count("table_reshaped")


def takes_poison(store: MemoryStore):  # type: ignore[no-untyped-def]
    """The table as it is now takes what the old one refused."""

    def apply(table: str, change):  # type: ignore[no-untyped-def]
        value = dict(zip(change.columns, change.row, strict=True)).get("v")
        store.rows[table, change.key, change.month] = (change.version or "", False, value)
        return WRITTEN

    return apply


def test_a_column_by_hand_that_changes_whose_month_a_row_is_in_parks_the_table() -> None:
    """Where no contract says whose month it is, the worker has chosen; another choice would put a key into two months."""
    rig = rig_with(row(1, "a", 1)).steps()
    rig.mapper.month_from = "at"
    rig.loop.state.tables.get("doc.t").mapper = replace(rig.mapper)  # type: ignore[union-attr]
    rig.mapper.month_from = "created_at"
    rig.store.tables["doc.t"] = with_column(TABLE, "created_at", "timestamp with time zone")
    rig.clock.now_s += 31
    rig.steps()
    assert ["month.undecided"] == parked(rig)


def test_a_table_with_trouble_of_its_own_is_told_and_holds_up_no_other() -> None:
    rig = Rig()
    rig.source.log |= {T0: [], Partition("u", 0): []}
    rig.source.put("t", 0, row(1, "a", 1))
    rig.source.put("u", 0, row(1, "a", 1))
    rig.store.tables |= {"doc.t": Retry("table.blocked", "doc.t is read-only"), "doc.u": replace(TABLE, name="u")}
    rig.start().steps()
    assert [("doc.u", (1,))] == [(table, key) for table, key, _ in rig.store.rows]
    assert "doc.t is read-only" == rig.loop.errands.waiting_for()
    rig.store.tables["doc.t"] = TABLE
    rig.clock.now_s += 3
    rig.steps()
    assert (2, None, []) == (len(rig.store.rows), rig.loop.errands.waiting_for(), parked(rig))


# ---------------------------------------------------------------- truncate = "empty"


def test_a_truncate_empties_its_table_when_all_in_front_of_it_is_stored_and_before_what_follows() -> None:
    truncate = {"truncate": True, "k": 0, "n": 5}
    rig = rig_with(*(row(i, "a", i) for i in range(1, 5)), truncate, row(2, "b", 6), mapper=TwinMapper(truncate="empty")).steps()
    assert ({2: "b"}, []) == (kept(rig), parked(rig))
    assert {"t[0]": 6} == rig.committed()
    assert {"truncate": 1} == dict(rig.loop.state.books.skips)


def test_a_truncate_that_cannot_be_exact_is_left_to_a_person() -> None:
    truncate = {"truncate": True, "k": 0, "n": 5}
    rig = rig_with(row(1, "a", 1), truncate, mapper=TwinMapper(truncate="empty"))
    rig.source.partitions_of["t"] = 2
    rig.steps()
    assert (["topic.truncate"], {1: "a"}) == (parked(rig), kept(rig))
    assert "several partitions" in next(iter(rig.loop.state.parking)).text


# ---------------------------------------------------------------- rows inside which CrateDB fails


def fails_on(rig: Rig, *keys: int) -> None:
    """CrateDB fails on these keys whatever else is in the request."""

    def fault(batch: Batch) -> Result:
        rig.store.faults.append(fault)
        outcomes = [ILL if c.key[0] in keys else rig.store.apply(batch.table.full_name, c) for c in batch.changes]
        return Result(batch, outcomes, statements=1)

    rig.store.faults = [fault]


def feed(rig: Rig, first: int, rows: int, rounds: int, wait_s: float = 5.0) -> None:
    for number in range(rounds):
        for k in range(first, first + rows):
            rig.source.put("t", 0, row(k, "x", 1000 + number))
        rig.clock.now_s += wait_s
        rig.steps(30)


def test_a_row_that_fails_alone_among_many_that_are_written_is_dead_lettered_and_holds_up_nobody() -> None:
    rig = rig_with(row(1, "a", 1), row(2, "b", 2))
    fails_on(rig, 1)
    feed(rig, 10, BESIDE_PER_SHARD, 1)
    assert {2, *range(10, 10 + BESIDE_PER_SHARD)} == set(kept(rig))
    feed(rig, 10, BESIDE_PER_SHARD, 8)
    assert [(0, "store.server_error")] == [(letter.record.offset, letter.reject.code) for letter in rig.letters.letters]
    assert rig.committed() == {"t[0]": len(rig.source.log[T0])}


def test_rows_that_fail_with_their_neighbours_are_nobodys_fault_and_wait() -> None:
    rig = rig_with(*(row(i, "a", 1) for i in range(1, 10)))
    fails_on(rig, 1, 2, 3)
    feed(rig, 10, BESIDE_PER_SHARD, 20)
    assert [] == rig.letters.letters
    rig.store.faults = []
    rig.clock.now_s += 60
    rig.steps(120)
    assert {1, 2, 3} <= kept(rig).keys()
    assert rig.committed() == {"t[0]": len(rig.source.log[T0])}


def test_a_crate_that_fails_on_every_row_is_sick_and_costs_no_dead_letter_and_no_parking() -> None:
    rig = rig_with(row(1, "a", 1))
    fails_on(rig, *range(100))
    feed(rig, 10, 5, 30, wait_s=60)
    assert ([], []) == (rig.letters.letters, parked(rig))


def test_a_row_that_fails_for_long_beside_too_few_others_parks_its_table() -> None:
    rig = rig_with(row(1, "a", 1))
    fails_on(rig, 1)
    feed(rig, 10, 1, 15, wait_s=50)
    assert (["store.row_fails"], []) == (parked(rig), rig.letters.letters)
    rig.store.faults = []
    rig.notes.unpark = ["doc.t"]
    rig.steps(100)
    assert 1 in kept(rig)


def test_a_later_change_of_a_key_that_fails_stays_behind_it() -> None:
    rig = rig_with(row(1, "a", 1), rules=Rules(commit_every_s=0.05, batch=BatchRules(linger_s=0.0)))
    fails_on(rig, 1)
    rig.steps(5)
    rig.source.put("t", 0, row(1, "p", 2, patch=True))
    rig.steps(5)
    rig.store.faults = []
    rig.clock.now_s += 60
    rig.steps(60)
    sent = [change.kind.value for batch in rig.store.batches for change in batch.changes]
    assert "patch" == sent[-1]
    assert "write" == sent[-2]


def test_tickets_of_rows_that_wait_for_a_second_look_are_still_the_loops() -> None:
    """They are neither settled nor forgotten: the books hold them until the catalogue is heard."""
    rig = rig_with(row(1, "a", 1)).steps()
    rig.source.put("t", 0, row(2, "unmappable", 2))
    rig.store.tables["doc.t"] = Retry("table.blocked", "read-only")
    rig.steps()
    doubts = rig.loop.state.second_look.tables()
    assert (["doc.t"], 1, []) == (list(doubts), rig.loop.state.ledger.unsettled_records, rig.letters.letters)
    rig.store.tables["doc.t"] = TABLE
    rig.clock.now_s += 3
    rig.steps()
    assert (0, 1) == (rig.loop.state.ledger.unsettled_records, len(rig.letters.letters))
    assert all(isinstance(ticket, Ticket) for page in rig.loop.state.ledger for ticket in page.tickets)


def test_values_that_a_policy_made_null_are_counted_in_the_books() -> None:
    rig = rig_with(row(1, "a", 1), row(2, "too large", 2), row(3, "too large", 3)).steps()
    assert {("doc.t", "v"): 2} == dict(rig.loop.state.books.nulled_values)
