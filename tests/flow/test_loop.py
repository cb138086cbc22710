"""The loop over twins: each promise of DESIGN 2 that does not need a server, by name, and a seeded fuzz of all at once."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ingest.errors import Parked, Reject, Retry, Stop
from ingest.flow.caught_up import CaughtUp
from ingest.flow.lanes import BatchRules
from ingest.flow.state import Rules
from ingest.model import Batch, Fate, Outcome, Partition, Result, Table
from tests.flow.twins import TABLE, Rig, TwinMapper, some_retry, unknown_outcome

T0 = Partition("t", 0)
BLOCKED = Outcome(Fate.RETRY, "store.blocked")


def rig_with(*rows: object, rules: Rules | None = None, mapper: TwinMapper | None = None) -> Rig:
    rig = Rig(rules, mapper)
    rig.source.log[T0] = []
    for row in rows:
        rig.source.put("t", 0, row)  # type: ignore[arg-type]
    return rig.start()


def row(k: int, v: object, n: int, **more: object) -> dict[str, object]:
    return {"k": k, "v": v, "n": n, **more}


def test_rows_are_written_and_their_offsets_committed() -> None:
    rig = rig_with(row(1, "a", 1), row(2, "b", 2), row(1, "c", 3)).steps()
    assert {(1,): (1, "c"), (2,): (1, "b")} == rig.store.live()
    assert {"t[0]": 3} == rig.committed()
    assert {"read": 3, "written": 2, "superseded": 1} == {k: v for k, v in rig.loop.state.books.summary(0).items() if v}


def test_nothing_is_committed_beyond_an_unsettled_record() -> None:
    rig = rig_with(row(1, "a", 1), rules=Rules(commit_every_s=0.05, batch=BatchRules(max_rows=1)))
    never = Result
    rig.store.faults = [lambda batch: never(batch, [Outcome(Fate.RETRY, "store.blocked")])] * 500
    rig.source.put("t", 0, {"skip": "heartbeat"})
    rig.steps(30)
    assert {} == rig.committed()
    rig.store.faults.clear()
    rig.clock.now_s += 60
    rig.steps(30)
    assert {"t[0]": 2} == rig.committed()


def test_one_bad_record_costs_one_record() -> None:
    rig = rig_with(row(1, "a", 1), b"{broken", row(2, "unmappable", 2), row(3, "poison", 3), row(4, "d", 4)).steps()
    assert {(1,): (1, "a"), (4,): (1, "d")} == rig.store.live()
    assert ["json.malformed", "type.overflow", "store.value_refused"] == [letter.reject.code for letter in rig.letters.letters]
    assert {"t[0]": 5} == rig.committed()


def test_a_good_change_folded_into_a_later_bad_one_is_still_written() -> None:
    rig = rig_with(row(1, "a", 1), row(1, "b", 2), row(1, "poison", 3)).steps()
    assert {(1,): (1, "b")} == rig.store.live()
    assert [2] == [letter.record.offset for letter in rig.letters.letters]


def test_a_record_is_settled_only_when_the_dead_letter_topic_has_it() -> None:
    rig = rig_with(b"{broken", row(1, "a", 1))
    rig.letters.is_down = True
    rig.steps()
    assert {} == rig.committed()
    rig.letters.is_down = False
    rig.steps()
    assert {"t[0]": 2} == rig.committed()


def test_an_old_change_after_a_newer_one_changes_nothing() -> None:
    rig = rig_with(row(1, "new", 5), row(1, "old", 3)).steps()
    assert {(1,): (1, "new")} == rig.store.live()


def test_a_fold_vacates_every_month_that_its_members_name() -> None:
    rig = rig_with(
        row(1, "a", 1, m=1), row(1, "b", 2, m=2, was=[1]), row(1, "c", 3, m=3, was=[2]), row(1, "d", 4, m=1, was=[3])
    ).steps()
    assert {(1,): (1, "d")} == rig.store.live()
    assert {1, 2, 3} == {month for _, _, month in rig.store.rows}


def test_a_patch_over_a_delete_goes_in_its_own_batch() -> None:
    rig = rig_with(row(1, "a", 1), row(1, None, 2), row(1, "p", 3, patch=True)).steps()
    assert [1, 1] == [len(batch.changes) for batch in rig.store.batches]
    assert {(1,): (1, "p")} == rig.store.live()


def test_a_patch_takes_nothing_from_an_old_change_that_was_repeated() -> None:
    rig = rig_with(row(1, "B", 2)).steps()
    rig.source.put("t", 0, row(1, "A", 1))
    rig.source.put("t", 0, row(1, "A", 3, patch=True, keep=True))
    rig.steps()
    assert [1, 1, 1] == [len(batch.changes) for batch in rig.store.batches]


def test_a_record_of_several_rows_ends_as_its_worst_row() -> None:
    rig = rig_with({"rows": [row(1, "a", 1), row(2, "poison", 2)]}).steps()
    assert {"read": 1, "dead_lettered": 1} == {k: v for k, v in rig.loop.state.books.summary(0).items() if v}
    assert {(1,): (1, "a")} == rig.store.live()


def test_a_missing_schema_holds_back_its_partition_only() -> None:
    rig = rig_with(row(1, "a", 1, schema=7), row(1, "b", 2))
    rig.source.log[Partition("t", 1)] = []
    rig.source.put("t", 1, row(9, "z", 1))
    rig.schemas[7] = Retry("registry.unreachable")
    rig.source.assign([Partition("t", 1)])
    rig.steps(40)
    assert {(9,): (1, "z")} == rig.store.live()
    assert rig.loop.errands.waiting_for() is not None
    rig.schemas[7] = "there"
    rig.clock.now_s += 60
    rig.steps(40)
    assert {(9,): (1, "z"), (1,): (1, "b")} == rig.store.live()


def test_an_unknown_schema_is_one_dead_letter() -> None:
    rig = rig_with(row(1, "a", 1, schema=7), row(1, "b", 2))
    rig.schemas[7] = Reject("schema.unknown")
    rig.decoder.known.clear()
    rig.loop.errands._take_schema = lambda schema_id, found: rig.decoder.known.add(schema_id)
    rig.steps(40)
    assert {"t[0]": 2} == rig.committed()


def test_a_sick_store_costs_time_and_no_dead_letter() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(20)))
    down = Outcome(Fate.RETRY, "store.unreachable")
    rig.store.faults = [lambda batch: Result(batch, [down] * len(batch.changes))] * 3
    rig.store.probes_to_fail = 4
    polls = rig.source.polls
    for _ in range(200):
        rig.clock.now_s += 1
        rig.steps(1)
    assert polls + 200 == rig.source.polls
    assert [] == rig.letters.letters
    assert 20 == len(rig.store.live())
    assert "store_back" in rig.notes.names()


def test_a_missing_table_parks_what_feeds_it_and_nothing_else_and_goes_on_when_it_is_there() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.source.log[Partition("other", 0)] = []
    rig.source.put("other", 0, row(5, "x", 1))
    rig.source.assign([Partition("other", 0)])
    for _ in range(60):
        rig.clock.now_s += 1
        rig.steps(1)
    assert ["table:doc.other"] == [place.subject for place in rig.loop.state.parking]
    assert {(1,): (1, "a")} == rig.store.live()
    assert {"t[0]": 1} == rig.committed()
    rig.store.tables["doc.other"] = Table("doc", "other", TABLE.columns, ("id",), "month")
    for _ in range(60):
        rig.clock.now_s += 1
        rig.steps(1)
    assert [] == list(rig.loop.state.parking)
    assert {"t[0]": 1, "other[0]": 1} == rig.committed()


def test_undecided_routing_parks_its_topic() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.source.log[Partition("undecided", 0)] = []
    rig.source.put("undecided", 0, row(5, "x", 1))
    rig.source.assign([Partition("undecided", 0)])
    rig.steps()
    assert ["topic:undecided"] == [place.subject for place in rig.loop.state.parking]
    assert {"t[0]": 1} == rig.committed()
    assert Partition("undecided", 0) in rig.source.paused


def test_too_many_rejects_park_their_topic_until_unparked() -> None:
    rules = Rules(commit_every_s=0.05, dlq_window=20, dlq_max_ratio=0.5)
    rig = rig_with(*(b"{broken" if n % 4 else row(n, "a", n) for n in range(200)), rules=rules).steps()
    assert ["topic.too_many_rejects"] == [place.code for place in rig.loop.state.parking]
    sent = len(rig.letters.letters)
    assert sent < 150
    rig.notes.unpark.append("t")
    rig.loop.heed_operator()
    assert [] == list(rig.loop.state.parking)
    rig.steps()
    assert len(rig.letters.letters) > sent


def test_rejects_are_judged_among_all_records_read_with_them_settled_or_not() -> None:
    rules = Rules(commit_every_s=1e9, dlq_window=20, dlq_max_ratio=0.5)
    rig = rig_with(*(b"{broken" if n % 4 == 0 else row(n, "a", n) for n in range(400)), rules=rules)
    rig.source.per_poll = 400
    rig.loop.state.regulator.failed(1e9, "nothing is written meanwhile")
    rig.steps(3)
    assert 100 == len(rig.letters.letters)
    assert [] == list(rig.loop.state.parking)


def test_a_source_that_went_back_is_parked() -> None:
    rules = Rules(commit_every_s=0.05, dlq_window=20, batch=BatchRules(max_rows=30))
    rig = rig_with(rules=rules)
    for k in range(100):
        rig.store.rows["doc.t", (k,), 1] = ("9", False, "future")
        rig.source.put("t", 0, row(k, "a", 1))
    rig.steps()
    assert ["topic.source_went_back"] == [place.code for place in rig.loop.state.parking]


def test_a_truncate_parks_its_topic_and_passes_when_unparked() -> None:
    rig = rig_with(row(1, "a", 1), {"truncate": True, "k": 0, "n": 0}, row(2, "b", 2)).steps()
    assert ["topic.truncate"] == [place.code for place in rig.loop.state.parking]
    assert {"t[0]": 1} == rig.committed()
    rig.notes.unpark.append("topic:t")
    rig.steps()
    assert {"t[0]": 3} == rig.committed()


def test_pressure_pauses_and_resumes_all_partitions_while_polling_goes_on() -> None:
    rules = Rules(high_bytes=50_000, low_bytes=20_000, record_overhead_bytes=1_000, table_share=2.0, commit_every_s=0.05)
    rig = rig_with(*(row(k, "a", k) for k in range(300)), rules=rules)
    rig.store.faults = [lambda batch: Result(batch, [BLOCKED] * len(batch.changes))] * 1000
    rig.steps(100)
    assert {T0} == rig.source.paused
    assert rig.loop.state.ledger.held_bytes < 110_000
    rig.store.faults.clear()
    rig.clock.now_s += 60
    rig.steps(200)
    assert set() == rig.source.paused
    assert {"t[0]": 300} == rig.committed()


def test_a_large_value_counts_twice_a_small_one_with_what_python_keeps_for_it() -> None:
    """A large text is in memory as the record's bytes, for a dead letter, and once more in the row."""
    values = [row(1, "a", 1), row(2, "a" * 100_000, 2)]
    rig = rig_with(*values, rules=Rules(record_overhead_bytes=1_000, commit_every_s=0.05))
    rig.store.faults = [lambda batch: Result(batch, [BLOCKED] * len(batch.changes))] * 1000
    rig.steps(20)
    small, large = (len(record.value or b"") for record in rig.source.log[T0])
    keys = sum(len(record.key or b"") for record in rig.source.log[T0])
    assert keys + 1_000 + small + 2 * large == rig.loop.state.ledger.held_bytes


def test_a_full_table_pauses_only_what_feeds_it() -> None:
    rules = Rules(high_bytes=100_000, low_bytes=50_000, table_share=0.01, record_overhead_bytes=1_000, commit_every_s=0.05)
    rig = rig_with(*(row(k, "a", k) for k in range(200)), rules=rules)
    rig.store.tables["doc.other"] = Table("doc", "other", TABLE.columns, ("id",), "month")
    rig.source.log[Partition("other", 0)] = []
    rig.source.assign([Partition("other", 0)])

    def block_t(batch):  # type: ignore[no-untyped-def]
        return Result(batch, [BLOCKED] * len(batch.changes)) if batch.table is TABLE else None

    rig.store.faults = [block_t] * 1000
    rig.steps(50)
    rig.source.put("other", 0, row(5, "x", 1))
    rig.steps(50)
    assert {T0} == rig.source.paused
    assert {"other[0]": 1} == rig.committed()


@pytest.mark.parametrize("blocked", [("t",), ("t", "u")], ids=["one", "two"])
def test_tables_that_cannot_be_written_leave_room_for_the_others(blocked: tuple[str, ...]) -> None:
    """Their rows are small, what a record takes in memory is not: 1,050 bytes each, of which the store sees 50."""
    rig = Rig(Rules(high_bytes=200_000, low_bytes=100_000, record_overhead_bytes=1_000, commit_every_s=0.05, slots=1))
    for table in (*blocked, "fine"):
        rig.store.tables[f"doc.{table}"] = replace(TABLE, name=table)
        for k in range(500):
            rig.source.put(table, 0, row(k, "a", k))
    rig.source.per_poll = 5

    def block(batch: Batch) -> Result | None:
        return Result(batch, [BLOCKED] * len(batch.changes)) if batch.table.name in blocked else None

    rig.store.faults = [block] * 2_000
    rig.start().steps(300)
    assert {Partition(table, 0) for table in blocked} == rig.source.paused
    assert {"fine[0]": 500} == rig.committed()
    assert {f"doc.{table}" for table in blocked} == rig.loop.pressure.full_tables
    rig.store.faults.clear()
    rig.clock.now_s += 60
    rig.steps(300)
    assert {f"{table}[0]": 500 for table in (*blocked, "fine")} == rig.committed()


def test_records_settled_behind_one_that_cannot_be_written_do_not_pile_up() -> None:
    """They cannot be committed, so they are kept; their partition rests once they take its table's share."""
    rig = rig_with(
        row(0, "stuck", 0),
        *({"skip": "heartbeat"} for _ in range(499)),
        rules=Rules(high_bytes=100_000, low_bytes=50_000, record_overhead_bytes=1_000, commit_every_s=0.05),
    )
    rig.source.per_poll = 5
    rig.store.faults = [lambda batch: Result(batch, [BLOCKED])] * 2_000
    rig.steps(300)
    assert {T0} == rig.source.paused
    assert {} == rig.committed()
    assert 1 == rig.loop.state.ledger.unsettled_records
    assert 60_000 < rig.loop.state.ledger.held_bytes < 75_000
    rig.store.faults.clear()
    rig.clock.now_s += 60
    rig.steps(300)
    assert {"t[0]": 500} == rig.committed()


def test_a_revoked_partition_is_drained_and_committed() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(10)), rules=Rules(commit_every_s=1e9))
    rig.steps(2)
    rig.source.revoke([T0])
    assert {"t[0]": 10} == rig.committed()
    rig.steps(5)
    assert 10 == len(rig.store.live())


def test_what_a_lost_partition_had_unsettled_is_handed_back_and_settles_nothing() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(10)))
    rig.loop.state.regulator.failed(1e9, "scripted")
    rig.steps(3)
    rig.source.lose([T0])
    rig.steps(20)
    assert 10 == rig.loop.state.books.handed_back
    assert {} == rig.committed()
    assert [] == rig.store.batches


def test_a_partition_that_comes_back_goes_on_at_its_lowest_unsafe_offset() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(10)))
    rig.loop.state.regulator.failed(1e9, "scripted")
    rig.steps(3)
    rig.source.revoke([T0])
    rig.loop.state.regulator.probe_succeeded()
    rig.source.assign([T0])
    rig.steps(60)
    assert 10 == len(rig.store.live())
    assert {"t[0]": 10} == rig.committed()


def test_records_that_are_read_again_are_counted_as_repeats() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(10)))
    rig.steps()
    rig.loop.state.hand_back([T0])
    rig.source.seek(T0, 4)
    rig.loop.state.ledger.page(T0).next_offset = 4
    rig.steps()
    assert (16, 6) == (rig.loop.state.books.read, rig.loop.state.books.repeats)


def test_a_failed_commit_is_made_again() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.source.fail_commits = 2
    rig.steps()
    assert {"t[0]": 1} == rig.committed()
    assert "commit_failed" in rig.notes.names()


def test_a_gap_in_the_topic_parks_it() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.source.to_raise.append(Parked("kafka.gap", "scripted", subject="topic:t"))
    rig.steps()
    assert ["kafka.gap"] == [place.code for place in rig.loop.state.parking]


def test_run_until_caught_up_commits_everything_and_ends() -> None:
    rig = rig_with(*(row(k, "a", k) for k in range(10)))
    rig.loop.run(CaughtUp(give_up_s=100))
    assert {"t[0]": 10} == rig.committed()
    assert 0 == rig.loop.state.ledger.unsettled_records


def test_run_until_caught_up_gives_up_when_nothing_moves() -> None:
    rig = rig_with(row(1, "a", 1))
    rig.store.probes_to_fail = 10**9
    rig.store.faults = [lambda batch: Result(batch, [Outcome(Fate.RETRY, "store.unreachable")])] * 1000
    with pytest.raises(Stop, match="CrateDB is away"):
        rig.loop.run(CaughtUp(give_up_s=5))


def test_a_stop_from_a_row_commits_what_is_settled_and_ends() -> None:
    rig = Rig(Rules(commit_every_s=1e9, batch=BatchRules(max_rows=1, linger_s=0)))
    rig.source.per_poll = 1
    rig.source.put("t", 0, row(1, "a", 1))
    rig.source.put("t", 0, row(2, "b", 2))
    refused = [Outcome(Fate.STOP, "store.unauthorised")]
    rig.store.faults = [lambda batch: None, *[lambda batch: Result(batch, refused)] * 100]
    with pytest.raises(Stop, match="unauthorised"):
        rig.start().loop.run()
    assert {"t[0]": 1} == rig.committed()


def test_the_refusing_guard_gives_way_to_the_case_form_while_a_lane_is_mostly_stale() -> None:
    rig = rig_with(rules=Rules(dlq_window=10**6, batch=BatchRules(max_rows=10)))
    for k in range(100):
        rig.store.rows["doc.t", (k,), 1] = ("9", False, "future")
        rig.source.put("t", 0, row(k, "a", 1))
    rig.steps()
    assert [False, False, True] == [batch.mostly_stale for batch in rig.store.batches[:3]]
    assert {True, False} == {batch.mostly_stale for batch in rig.store.batches[3:]}


@pytest.mark.parametrize("seed", range(60))
def test_fuzz_any_faults_and_rebalances_end_in_the_same_rows(seed: int) -> None:
    """Faults, unknown outcomes, poison, moves, old duplicates, revokes and losses, at random: live rows, letters, commits."""
    rng = random.Random(seed)
    batch = BatchRules(max_rows=rng.choice([1, 3, 20]), linger_s=rng.choice([0.0, 0.05]))
    rig = Rig(
        Rules(commit_every_s=0.03, batch=batch, dlq_max_ratio=1.0, stale_max_ratio=1.0, slots=rng.choice([1, 2, 3]), revoke_s=0.5)
    )
    partitions = [Partition("t", n) for n in range(3)]
    rig.source.log = {p: [] for p in partitions}
    rig.source.per_poll = rng.choice([1, 5, 50])
    month_of: dict[int, int] = {}
    expected: dict[tuple[int], tuple[int, object]] = {}
    bad: set[tuple[int, int]] = set()
    sent: dict[int, list[dict[str, object]]] = {}
    dead_keys: set[int] = set()
    for n in range(300):
        k = rng.randrange(30)
        if k in dead_keys:
            continue
        old_month, month = month_of.get(k), rng.randrange(1, 4)
        was = [old_month] if old_month not in (None, month) else []
        kind = rng.random()
        if kind < 0.03:
            at = rig.source.put("t", k % 3, b"{broken")
            bad.add((at.partition, at.offset))
            continue
        if kind < 0.05:
            at = rig.source.put("t", k % 3, row(k, "poison", n, m=month, was=was))
            bad.add((at.partition, at.offset))
            dead_keys.add(k)
            continue
        if kind < 0.12 and sent.get(k):
            rig.source.put("t", k % 3, rng.choice(sent[k]))
            continue
        value = None if kind < 0.25 else f"v{n}"
        change = row(k, value, n, m=month if value else old_month or month, was=was if value else [])
        rig.source.put("t", k % 3, change)
        sent.setdefault(k, []).append(change)
        if value is None:
            expected.pop((k,), None)
            month_of.pop(k, None) if old_month is None else None
        else:
            expected[k,] = (month, value)
            month_of[k] = month
    rig.start()
    for _ in range(150):
        rig.clock.now_s += rng.choice([0, 0, 0.5, 3])
        if rng.random() < 0.25:
            rig.store.faults.append(rng.choice([unknown_outcome(rig.store, 0.5, rng), some_retry(rig.store, rng)]))
        if rng.random() < 0.05:
            moving = rng.sample(partitions, rng.randrange(1, 4))
            rng.choice([rig.source.revoke, rig.source.lose])(moving)
            rig.source.assign(moving)
        if rng.random() < 0.05:
            rig.store.probes_to_fail = rng.randrange(3)
        rig.steps(1)
    rig.store.faults.clear()
    for _ in range(400):
        rig.clock.now_s += 1
        rig.steps(1)
    live = {k: v for k, v in rig.store.live().items() if k[0] not in dead_keys}
    assert {k: v for k, v in expected.items() if k[0] not in dead_keys} == live
    assert bad == {(x.record.partition, x.record.offset) for x in rig.letters.letters}
    assert {str(p): len(log) for p, log in rig.source.log.items() if log} == rig.committed()


# ---------------------------------------------------------------- several lanes in one request


def rig_of_lanes(*rows: dict[str, object]) -> Rig:
    """Row i is in partition i, so in a lane of its own."""
    rig = Rig()
    for number, each in enumerate(rows):
        rig.source.put("t", number, each)
    return rig.start()


def test_lanes_that_go_together_are_settled_each_with_its_own_rows() -> None:
    rig = rig_of_lanes(row(1, "a", 1), row(2, "poison", 1), row(3, "c", 1)).steps()
    assert [3] == [len(batch.changes) for batch in rig.store.batches]
    assert {(1,): (1, "a"), (3,): (1, "c")} == rig.store.live()
    assert [1] == [letter.record.partition for letter in rig.letters.letters]
    assert {"t[0]": 1, "t[1]": 1, "t[2]": 1} == rig.committed()


def test_of_lanes_that_went_together_the_one_that_must_go_again_goes_alone() -> None:
    rig = rig_of_lanes(row(1, "a", 1), row(2, "b", 1))

    def half(batch: Batch) -> Result:
        return Result(batch, [rig.store.apply(batch.table.full_name, batch.changes[0]), BLOCKED], unsure=(batch.tag,))

    rig.store.faults = [half]
    rig.steps(5)
    assert 1 == rig.loop.state.ledger.unsettled_records
    rig.source.put("t", 0, row(3, "c", 2))
    rig.clock.now_s += 60
    rig.steps()
    first, *later = rig.store.batches
    assert [[1], [1]] == [[len(batch.changes)] for batch in later]
    assert {(first.tag,)} == {batch.unsure for batch in later}  # of either lane a request may still run
    assert {(1,): (1, "a"), (2,): (1, "b"), (3,): (1, "c")} == rig.store.live()
