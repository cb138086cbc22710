"""What only a real CrateDB can show: blocks, running statements, new keys, generated months, refreshes, hostile values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Thread

import pytest

from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.purge import live_view, purge
from ingest.crate.writer import HttpStore
from ingest.errors import Stop
from ingest.model import Change, Fate, Kind, Table
from tests.crate_rig import FEB, JAN, MAR, Rig, at, batch, codes, delete, fates, patch, plain, write

pytestmark = pytest.mark.cratedb
CDC = ("cdc_version", "cdc_deleted")


@pytest.fixture(scope="module")
def rig(crate_url: str) -> Iterator[Rig]:
    rig = Rig(crate_url, "t_crate_store")
    yield rig
    rig.drop()


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("block", ["blocks.read_only", "blocks.write", "blocks.read_only_allow_delete"])
def test_a_blocked_table_is_waited_for(rig: Rig, block: str) -> None:
    table = rig.ordered()
    rig.write(table, *(write(i, JAN, "05") for i in range(30)))
    rig.sql(f'ALTER TABLE {table.full_name} SET ("{block}" = TRUE)')
    try:
        result = rig.store.write(batch(rig.describe(table.full_name), *(write(i, JAN, "06") for i in range(30))))
    finally:
        rig.sql(f'ALTER TABLE {table.full_name} SET ("{block}" = FALSE)')
    assert ([Fate.RETRY] * 30, {"store.blocked"}) == (fates(result), set(codes(result)))
    assert [Fate.WRITTEN] == fates(rig.write(table, write(1, JAN, "07")))


def test_a_blocked_partition_keeps_its_rows_waiting_and_no_others(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05"), write(2, FEB, "05"))
    rig.sql(f'ALTER TABLE {table.full_name} PARTITION (month = {JAN}) SET ("blocks.write" = TRUE)')
    result = rig.write(table, write(1, JAN, "06"), write(2, FEB, "06"))
    assert ["store.blocked", ""] == codes(result)


# ---------------------------------------------------------------- running statements


def test_a_running_request_is_recognised_by_its_tag_and_held_back_for(rig: Rig, crate_url: str) -> None:
    table = rig.ordered()
    tag = "t_crate group doc.orders/3 17"
    slow = "SELECT count(*) FROM generate_series(1, 60000) AS a (x), generate_series(1, 60000) AS b (y) WHERE x > y"
    other = HttpClient(parse_addresses([crate_url]), user="crate")
    thread = Thread(target=lambda: other.execute(slow, None, None, tag), name="slow", daemon=True)
    thread.start()
    try:
        until_running(rig, tag)
        result = rig.write(table, write(1, JAN, "05"), unsure=(tag, "never seen"))
        assert (["store.still_running"], (tag,)) == (codes(result), result.unsure)
    finally:
        for (job,) in rig.sql("SELECT id FROM sys.jobs WHERE stmt LIKE ?", [f"/* ingest {tag} %"]).rows:
            rig.sql("KILL ?", [job])
        thread.join(20)
        other.close()
    assert ([Fate.WRITTEN], ()) == (fates(done := rig.write(table, write(1, JAN, "05"), unsure=(tag,))), done.unsure)


def until_running(rig: Rig, tag: str) -> None:
    for _ in range(200):
        if any(tag in row[0] for row in rig.sql("SELECT stmt FROM sys.jobs WHERE stmt LIKE '/* ingest %'").rows):
            return
        time.sleep(0.02)
    raise AssertionError("the slow statement never showed up in sys.jobs")


# ---------------------------------------------------------------- what CrateDB would lose


def test_new_keys_of_a_dynamic_object_are_all_stored(rig: Rig) -> None:
    """In one request CrateDB would keep the whole old object of every row but the first (cratedb.md 12)."""
    table = rig.ordered("o OBJECT(DYNAMIC), ")
    columns = ("v", "o", *CDC)
    rig.write(table, *(write(i, JAN, "05", "v", {"old": i}, columns=columns) for i in range(5)))
    rig.write(table, *(write(i, JAN, "06", "v", {"new": i}, columns=columns, new_keys=True) for i in range(5)))
    assert [[{"new": i}] for i in range(5)] == [row[:1] for row in rig.rows(table, "o, id")]


def test_a_reader_sees_a_moved_row_at_once_in_its_new_month(rig: Rig) -> None:
    """Without the refresh between the halves it would be nowhere until the next one."""
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05"), write(2, FEB, "05"))
    rig.sql(f"ALTER TABLE {table.full_name} SET (refresh_interval = 0)")
    rig.sql(f"REFRESH TABLE {table.full_name}")
    rig.write(table, write(1, FEB, "06", vacates=(JAN,)))
    found = rig.sql(f"SELECT count(*) FROM {table.full_name} WHERE id = 1 AND v = 'v'").rows
    assert [[2]] == found, "the tombstone is not refreshed yet, so the row is seen twice, never missed"


# ---------------------------------------------------------------- kinds of values


def test_every_type_survives_an_upsert_a_patch_and_the_keeping_form(rig: Rig) -> None:
    kinds = {
        "n": ("NUMERIC(38, 10)", "1234567890123456789012345678.0123456789"), "i": ("INTEGER", 3),
        "d": ("TIMESTAMP WITH TIME ZONE", JAN), "free": ("OBJECT(IGNORED)", {"a.b": [1, "x"]}),
        "o": ("OBJECT(STRICT) AS (x INTEGER)", {"x": 2}), "bits": ("BIT(4)", "1010"),
        "u": ("UUID", "123e4567-e89b-12d3-a456-426614174000"), "ip": ("IP", "10.0.0.1"), "ai": ("ARRAY(INTEGER)", [1, None]),
        "ao": ("ARRAY(OBJECT(IGNORED))", [{"z": 1}]), "gp": ("GEO_POINT", [1.5, 2.5]), "fv": ("FLOAT_VECTOR(2)", [1.0, 2.0]),
        "b": ("BOOLEAN", True), "r": ("REAL", 1.5), "na": ("ARRAY(ARRAY(TEXT))", [["a"], []]), "\"Odd n'm\"": ("TEXT", "q"),
    }  # fmt: skip
    table = rig.ordered("".join(f"{name} {kind}, " for name, (kind, _) in kinds.items()))
    columns = ("v", *(name.strip('"') for name in kinds), *CDC)
    values = [value for _, value in kinds.values()]
    row = write(1, JAN, "05", "v", *values, columns=columns)
    partial = Change(Kind.PATCH, (1,), JAN, columns, ["w", *values, "07", False], at(), version="07")
    assert [Fate.WRITTEN] == fates(rig.write(table, row))
    assert [Fate.WRITTEN] == fates(rig.write(table, partial))
    stale = [write(1, JAN, "06", "stale", *values, columns=columns)]
    assert [Fate.SUPERSEDED] == fates(rig.write(table, *stale, mostly_stale=True))
    shown = ", ".join(f"{name}::TEXT" if kind.startswith("NUMERIC") else name for name, (kind, _) in kinds.items())
    (found,) = rig.rows(table, f"{shown}, v")
    bits = kinds_index(kinds, "bits")
    assert [*values[:bits], "B'1010'", *values[bits + 1 :], "w"] == found
    assert [Fate.WRITTEN] == fates(rig.write(table, delete(1, JAN, "08")))
    assert [[None] * (len(values) + 1)] == rig.rows(table, f"{shown}, v")


def kinds_index(kinds: dict[str, tuple[str, object]], name: str) -> int:
    return list(kinds).index(name)


def test_words_of_the_guard_in_somebodys_data_do_not_pass_for_staleness(rig: Rig) -> None:
    table = rig.ordered("i INTEGER, ")
    columns = ("v", "i", *CDC)
    rig.write(table, write(1, JAN, "05", "v", 1, columns=columns), write(2, JAN, "05", "v", 1, columns=columns))
    bad = Change(Kind.PATCH, (2,), JAN, columns, ["v", "stale 99", "06", False], at(), version="06")
    result = rig.write(table, write(1, JAN, "06", "v", "stale 99", columns=columns), bad)
    assert [Fate.REJECTED] * 2 == fates(result)


# ---------------------------------------------------------------- generated months


def test_a_generated_month_is_written_moved_deleted_and_looked_up(rig: Rig) -> None:
    table = rig.create(
        "id BIGINT, at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE GENERATED ALWAYS AS date_trunc('month', at), "
        "v TEXT, cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)"
    )
    assert (True, "month") == (table.generated_month, table.month_column)

    def row(key: int, month: int, version: str, v: str, **more: object) -> Change:
        columns = ("at", "v", *CDC)
        return Change(Kind.WRITE, (key,), month, columns, [month + 5, v, version, False], at(), version=version, **more)  # type: ignore[arg-type]

    assert [Fate.WRITTEN] * 3 == fates(rig.write(table, *(row(i, JAN, "05", "old") for i in (1, 2, 3))))
    assert [Fate.WRITTEN, Fate.SUPERSEDED] == fates(rig.write(table, row(1, JAN, "06", "new"), row(2, JAN, "04", "stale")))
    assert [Fate.WRITTEN] == fates(rig.write(table, row(1, FEB, "07", "moved", vacates=(JAN,))))
    assert [Fate.WRITTEN] == fates(rig.write(table, delete(3, None, "06", look_up=True)))
    assert [[1, FEB, "moved"], [2, JAN, "old"]] == rig.live(table)
    moved_patch = patch(2, FEB, "08", vacates=(JAN,))
    assert ["month.patch_moves"] == codes(rig.write(table, moved_patch))
    assert 4 == len(rig.rows(table)), "the tombstones of 1 and 3 stay in January"


# ---------------------------------------------------------------- tombstones


@pytest.fixture
def tombs(rig: Rig) -> Table:
    table = rig.ordered("cdc_ingested_at TIMESTAMP WITH TIME ZONE, ")
    columns = ("cdc_ingested_at", *CDC)

    def gone(key: int, month: int, at_ms: int) -> Change:
        return Change(Kind.DELETE, (key,), month, columns, [at_ms, "05", True], at(), version="05")

    rig.write(table, gone(1, JAN, 100), gone(2, FEB, 100), gone(3, FEB, 900))
    rig.write(table, Change(Kind.WRITE, (4,), JAN, ("v", *columns), ["v", 100, "05", False], at(), version="05"))
    return table


def test_purge_removes_old_tombstones_and_nothing_else(rig: Rig, tombs: Table) -> None:
    would = purge(rig.client, tombs, older_than_ms=500, dry_run=True)
    assert {JAN: 1, FEB: 1} == would
    assert 4 == len(rig.rows(tombs))
    assert would == purge(rig.client, tombs, older_than_ms=500, dry_run=False)
    assert [3, 4] == [row[0] for row in rig.rows(tombs)]
    assert {} == purge(rig.client, tombs, older_than_ms=500, dry_run=False)


def test_purge_needs_tombstones_with_an_age(rig: Rig) -> None:
    with pytest.raises(Stop, match="cdc_ingested_at or cdc_source_ts"):
        purge(rig.client, rig.ordered(), older_than_ms=1, dry_run=True)
    with pytest.raises(Stop, match="no tombstones"):
        purge(rig.client, rig.arrival(), older_than_ms=1, dry_run=True)


def test_the_live_view_shows_rows_without_tombstones_and_bookkeeping(rig: Rig, tombs: Table) -> None:
    rig.sql(live_view(tombs))
    rig.sql(f"REFRESH TABLE {tombs.full_name}")
    answer = rig.sql(f"SELECT * FROM {tombs.full_name}_live")
    assert ([[4, JAN, "v"]], ["id", "month", "v"]) == (answer.rows, (answer.body or {})["cols"])
    rig.sql(f"DROP VIEW {tombs.full_name}_live")


# ---------------------------------------------------------------- sizes


def test_a_store_that_cuts_its_requests_writes_the_same(rig: Rig) -> None:
    table = rig.ordered()
    store = HttpStore(rig.client, max_rows=7)
    result = store.write(batch(table, *(write(i, (JAN, FEB, MAR)[i % 3], "05") for i in range(50))))
    assert ([Fate.WRITTEN] * 50, frozenset({JAN, FEB, MAR})) == (fates(result), result.new_months)
    assert 50 == len(rig.live(table))


def test_two_thousand_rows_take_one_request(rig: Rig) -> None:
    table = rig.arrival()
    rig.write(table, plain(Kind.WRITE, 0, JAN, "v"))
    result = rig.write(table, *(plain(Kind.WRITE, i, JAN, "v") for i in range(2_000)))
    assert (1, 2_000) == (result.statements, len(rig.rows(table)))
