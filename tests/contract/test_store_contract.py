"""What every Store promises, whichever server answers: levels, guards, tombstones, moves, look-ups, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations

import pytest

from ingest.model import Fate, Kind
from ingest.practice.store import Store
from tests.crate_rig import FEB, JAN, MAR, ORDERED, Rig, batch, codes, delete, fates, patch, plain, write

WRITTEN, SUPERSEDED, REJECTED, RETRY, PARK = Fate.WRITTEN, Fate.SUPERSEDED, Fate.REJECTED, Fate.RETRY, Fate.PARK


REAL = [pytest.param(name, marks=pytest.mark.cratedb) for name in ("real", "real-pg")]


@pytest.fixture(scope="module", params=["embedded", *REAL])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A store with a schema of its own; each parameter is one server that the whole module runs over."""
    with ExitStack() as stack:
        is_real, write_path = request.param != "embedded", "pg" if request.param == "real-pg" else "http"
        url = request.getfixturevalue("crate_url") if is_real else stack.enter_context(Store()).url
        rig = Rig(url, f"t_contract_{request.param.replace('-', '_')}", write_path)
        stack.callback(rig.drop)
        yield rig


# ---------------------------------------------------------------- level ordered


def test_a_newer_and_an_equal_version_are_written_and_an_older_one_is_superseded(rig: Rig) -> None:
    table = rig.ordered()
    assert [WRITTEN] * 3 == fates(rig.write(table, *(write(i, JAN, "05", "old") for i in (1, 2, 3))))
    result = rig.write(table, write(1, JAN, "06", "new"), write(2, JAN, "05", "same"), write(3, JAN, "04", "stale"))
    assert [WRITTEN, WRITTEN, SUPERSEDED] == fates(result)
    assert [[1, JAN, "new"], [2, JAN, "same"], [3, JAN, "old"]] == rig.rows(table)


def test_a_delete_leaves_a_tombstone_that_keeps_nothing_and_refuses_older_writes(rig: Rig) -> None:
    table = rig.ordered("extra TEXT, ")
    rig.write(table, write(1, JAN, "05", "secret", "more", columns=("v", "extra", "cdc_version", "cdc_deleted")))
    assert [WRITTEN] == fates(rig.write(table, delete(1, JAN, "06")))
    assert [SUPERSEDED] == fates(rig.write(table, write(1, JAN, "05", "late", "late", columns=("v", "extra", *ORDERED[1:]))))
    assert [[1, JAN, None, None, "06", True]] == rig.rows(table, "id, month, v, extra, cdc_version, cdc_deleted")


def test_a_delete_of_a_row_that_was_never_there_still_refuses_what_comes_late(rig: Rig) -> None:
    table = rig.ordered()
    assert [WRITTEN] == fates(rig.write(table, delete(1, JAN, "06")))
    assert [SUPERSEDED] == fates(rig.write(table, write(1, JAN, "05")))
    assert [] == rig.live(table)


def test_a_newer_write_brings_a_deleted_row_back(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, delete(1, JAN, "06"))
    assert [WRITTEN] == fates(rig.write(table, write(1, JAN, "07", "back")))
    assert [[1, JAN, "back"]] == rig.live(table)


def test_a_stale_delete_is_superseded(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "06", "kept"))
    assert [SUPERSEDED] == fates(rig.write(table, delete(1, JAN, "05")))
    assert [[1, JAN, "kept"]] == rig.live(table)


def test_the_same_batch_twice_ends_in_the_same_table(rig: Rig) -> None:
    table = rig.ordered()
    changes = [write(1, JAN, "01"), delete(2, JAN, "02"), write(3, FEB, "03", vacates=(JAN,)), patch(4, MAR, "04")]
    first, rows = fates(rig.write(table, *changes)), rig.rows(table, "*")
    assert [WRITTEN] * 4 == first == fates(rig.write(table, *changes))
    assert rows == rig.rows(table, "*")


def test_a_move_leaves_one_live_row(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05", "old"))
    result = rig.write(table, write(1, FEB, "06", "new", vacates=(JAN,)))
    assert ([WRITTEN], frozenset({FEB})) == (fates(result), result.new_months)
    assert [[1, FEB, "new"]] == rig.live(table)
    assert [SUPERSEDED] == fates(rig.write(table, write(1, JAN, "05", "old")))
    assert [[1, FEB, "new"]] == rig.live(table)


def test_changes_of_a_key_end_the_same_in_any_order(rig: Rig) -> None:
    """An insert, a move, an update that names no old month, a delete: 24 orders, one table."""
    table = rig.ordered()
    ends = []
    for n, order in enumerate(permutations(range(4))):
        changes = [
            write(n, JAN, "04", "a"),
            write(n, FEB, "05", "b", vacates=(JAN,)),
            write(n, FEB, "06", "c"),
            write(n, MAR, "07", "d", vacates=(FEB,)),
        ]
        for i in order:
            rig.write(table, changes[i])
        ends.append([row[1:] for row in rig.live(table) if row[0] == n])
    assert [[[MAR, "d"]]] * 24 == ends


def test_a_connection_that_breaks_between_the_halves_of_moves_leaves_no_row_twice() -> None:
    with Store() as server:
        rig = Rig(server.url, "t_contract_cut")
        table = rig.ordered()
        rig.write(table, write(1, JAN, "05"), write(2, JAN, "05"))
        moves = write(1, FEB, "06", vacates=(JAN,)), write(2, MAR, "06", vacates=(JAN,))
        server.cut_next(words="REFRESH")
        assert [RETRY, RETRY] == fates(rig.write(table, *moves)), "the old halves of both are still there"
        assert [WRITTEN, WRITTEN] == fates(rig.write(table, *moves))
        assert [[1, FEB, "v"], [2, MAR, "v"]] == rig.live(table)
        rig.drop()


def test_a_late_write_of_a_newer_version_in_the_same_month_keeps_the_move_right(rig: Rig) -> None:
    """The move is stale in its new month, and must empty the old one nevertheless."""
    table = rig.ordered()
    rig.write(table, write(1, JAN, "04", "a"))
    rig.write(table, write(1, FEB, "06", "c"))
    assert [SUPERSEDED] == fates(rig.write(table, write(1, FEB, "05", "b", vacates=(JAN,))))
    assert [[1, FEB, "c"]] == rig.live(table)


def test_a_stale_move_back_changes_nothing(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, FEB, "05", vacates=(JAN,)))
    rig.write(table, write(1, JAN, "06", "home", vacates=(FEB,)))
    assert [SUPERSEDED] == fates(rig.write(table, write(1, FEB, "05", vacates=(JAN,))))
    assert [[1, JAN, "home"]] == rig.live(table)


def test_a_rejected_write_does_not_empty_the_month_it_comes_from(rig: Rig) -> None:
    table = rig.ordered("short VARCHAR(3), ")
    columns = ("v", "short", "cdc_version", "cdc_deleted")
    rig.write(table, write(1, JAN, "05", "old", "abc", columns=columns), write(9, FEB, "01", "", "x", columns=columns))
    result = rig.write(table, write(1, FEB, "06", "new", "abcd", columns=columns, vacates=(JAN,)))
    assert (["store.text_too_long"], [REJECTED]) == (codes(result), fates(result))
    assert [[1, JAN, "old"], [9, FEB, ""]] == rig.live(table)


# ---------------------------------------------------------------- look-ups


def test_a_delete_without_a_month_finds_the_row_at_once(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05"), write(2, FEB, "05"), write(3, FEB, "05", "stays"))
    result = rig.write(table, *(delete(i, None, "06", look_up=True) for i in (1, 2, 4)))
    assert ([WRITTEN, WRITTEN, SUPERSEDED], "absent") == (fates(result), result.outcomes[2].code)
    assert [[3, FEB, "stays"]] == rig.live(table)


def test_a_write_that_looks_up_empties_the_month_the_row_was_in(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05", "old"))
    assert [WRITTEN] == fates(rig.write(table, write(1, FEB, "06", "new", look_up=True)))
    assert [[1, FEB, "new"]] == rig.live(table)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("a TEXT, b BIGINT", [('it\'s \\ "q"', 1), ("b", 2)]),
        ("u UUID", [("123E4567-E89B-12D3-A456-426614174000",), ("123e4567-e89b-12d3-a456-426614174001",)]),
        ("at TIMESTAMP WITH TIME ZONE", [("2024-01-02T03:04:05Z",), (1704164645000 + 1,)]),
        ("n BIGINT", [("9007199254740993",), (2,)]),
        ("d DOUBLE PRECISION", [(1.5,), (2,)]),
        ("s VARCHAR(5)", [("a",), ("b  ",)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_look_ups_find_keys_of_any_type(rig: Rig, key: str, values: list[tuple[object, ...]]) -> None:
    table = rig.ordered(key=key)
    rig.write(table, write(values[0], JAN, "05", "first"), write(values[1], FEB, "05", "second"))
    result = rig.write(table, delete(values[0], None, "06", look_up=True), delete(values[1], None, "04", look_up=True))
    assert [WRITTEN, SUPERSEDED] == fates(result)
    assert [["second"]] == rig.live(table, "v")


def test_a_key_that_cannot_be_looked_up_costs_its_own_change(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05"), write(2, JAN, "05"))
    keys = (1, "one", 2, "\ud800", None)
    result = rig.write(table, *(delete(key, None, "06", look_up=True) for key in keys))
    assert [WRITTEN, REJECTED, WRITTEN, REJECTED, REJECTED] == fates(result)
    assert [] == rig.live(table)


def test_many_keys_are_looked_up_in_few_requests(rig: Rig) -> None:
    table = rig.ordered(key="id BIGINT, b TEXT")
    keys = [(i, f"k{i % 7}") for i in range(600)]
    rig.write(table, *(write(key, (JAN, FEB, MAR)[key[0] % 3], "05") for key in keys))
    result = rig.write(table, *(delete(key, None, "06", look_up=True) for key in keys))
    assert [WRITTEN] * 600 == fates(result)
    assert ([], True) == (rig.live(table, "v"), result.statements < 12)


# ---------------------------------------------------------------- patches


def test_a_patch_changes_its_columns_alone_and_obeys_the_guard(rig: Rig) -> None:
    table = rig.ordered("extra TEXT, ")
    columns = ("v", "extra", "cdc_version", "cdc_deleted")
    rig.write(table, *(write(i, JAN, "05", "old", "kept", columns=columns) for i in (1, 2)))
    assert [WRITTEN, SUPERSEDED] == fates(rig.write(table, patch(1, JAN, "06", "new"), patch(2, JAN, "04", "stale")))
    assert [[1, "new", "kept"], [2, "old", "kept"]] == rig.rows(table, "id, v, extra")


def test_a_patch_without_a_row_is_stored_and_called_incomplete(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(1, JAN, "05"))
    result = rig.write(table, patch(1, JAN, "06", "a"), patch(2, JAN, "06", "b"), patch(3, MAR, "06", "c"))
    assert [(WRITTEN, False), (WRITTEN, True), (WRITTEN, True)] == [(o.fate, o.incomplete) for o in result.outcomes]
    assert [[1, JAN, "a"], [2, JAN, "b"], [3, MAR, "c"]] == rig.live(table)


def test_a_patch_that_moves_a_row_takes_its_other_columns_along(rig: Rig) -> None:
    table = rig.ordered("extra TEXT, n NUMERIC(30, 10), ")
    columns = ("v", "extra", "n", "cdc_version", "cdc_deleted")
    rig.write(table, write(1, JAN, "05", "old", "kept", "12345678901234567890.0123456789", columns=columns))
    moved = patch(1, FEB, "06", "new", vacates=(JAN,))
    assert [WRITTEN] == fates(rig.write(table, moved))
    assert [WRITTEN] == fates(rig.write(table, moved))
    assert [[1, FEB, "new", "kept", "12345678901234567890.0123456789"]] == rig.live(table, "id, month, v, extra, n::TEXT")


def test_many_patches_without_rows_take_few_requests(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, write(0, JAN, "05"))
    result = rig.write(table, *(patch(i, JAN, "06") for i in range(1, 300)))
    assert ([WRITTEN] * 299, True) == (fates(result), all(outcome.incomplete for outcome in result.outcomes))
    assert result.statements <= 4


# ---------------------------------------------------------------- level arrival


def test_without_versions_the_last_write_counts_and_a_delete_removes_the_row(rig: Rig) -> None:
    table = rig.arrival()
    rig.write(table, plain(Kind.WRITE, 1, JAN, "a"), plain(Kind.WRITE, 2, JAN, "b"))
    result = rig.write(table, plain(Kind.WRITE, 1, JAN, "c"), plain(Kind.DELETE, 2, JAN), plain(Kind.DELETE, 3, JAN))
    assert [WRITTEN, WRITTEN, SUPERSEDED] == fates(result)
    assert [[1, JAN, "c"]] == rig.rows(table)


def test_without_versions_a_move_deletes_the_old_row(rig: Rig) -> None:
    table = rig.arrival()
    rig.write(table, plain(Kind.WRITE, 1, JAN, "a"), plain(Kind.WRITE, 2, JAN, "b"))
    result = rig.write(
        table, plain(Kind.WRITE, 1, FEB, "c", vacates=(JAN, MAR)), plain(Kind.PATCH, 2, FEB, "d", look_up=True),
        plain(Kind.DELETE, 3, None, look_up=True),
    )  # fmt: skip
    assert [WRITTEN, WRITTEN, SUPERSEDED] == fates(result)
    assert [[1, FEB, "c"], [2, FEB, "d"]] == rig.rows(table)


def test_many_deletes_of_absent_rows_are_all_explained(rig: Rig) -> None:
    table = rig.arrival()
    rig.write(table, plain(Kind.WRITE, 1, JAN, "a"))
    result = rig.write(table, *(plain(Kind.DELETE, i, JAN) for i in range(1, 40)))
    assert [WRITTEN] + [SUPERSEDED] * 38 == fates(result)


def test_a_table_of_key_columns_only_can_be_written(rig: Rig) -> None:
    table = rig.create("id BIGINT, month TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id, month)")
    change = plain(Kind.WRITE, 1, JAN)
    change.columns, change.row = (), []
    assert [WRITTEN] == fates(rig.write(table, change))
    assert [WRITTEN] == fates(rig.write(table, change)), "DO NOTHING answers 0 for a row that is there"


def test_a_table_without_months_is_written_patched_and_deleted(rig: Rig) -> None:
    table = rig.create("id BIGINT PRIMARY KEY, v TEXT, cdc_version TEXT, cdc_deleted BOOLEAN", "CLUSTERED INTO 1 SHARDS")
    rig.write(table, *(write(i, None, "05", "old") for i in (1, 2, 3)))
    result = rig.write(table, write(1, None, "04"), patch(2, None, "06", "new"), delete(3, None, "06", look_up=True))
    assert [SUPERSEDED, WRITTEN, WRITTEN] == fates(result)
    assert [[1, "old"], [2, "new"]] == rig.live(table, "id, v")


@pytest.mark.parametrize("has_months", [True, False])
def test_a_tombstone_without_a_version_deletes_what_is_stored_and_stays_above_its_repetitions(rig: Rig, has_months: bool) -> None:
    table = (
        rig.ordered() if has_months else rig.create("id BIGINT PRIMARY KEY, v TEXT, cdc_version TEXT, cdc_deleted BOOLEAN", "")
    )
    month = JAN if has_months else None
    tombstone, absent = (delete(key, None, "", look_up=True) for key in (1, 2))
    at = tombstone.at.offset
    first, again, later = (f"01L{lsn:020d}{offset:019d}" for lsn, offset in ((7, at - 1), (7, at + 1), (8, at + 2)))
    tombstone.version = absent.version = None
    rig.write(table, write(1, month, first))
    assert [WRITTEN, SUPERSEDED] == fates(rig.write(table, tombstone, absent))
    assert [] == rig.live(table, "id")
    assert [SUPERSEDED] == fates(rig.write(table, write(1, month, again)))
    assert [WRITTEN] == fates(rig.write(table, write(1, month, later)))
    assert [SUPERSEDED] == fates(rig.write(table, tombstone)), "read again, it must not delete what came behind it"
    assert [[1]] == rig.live(table, "id")


# ---------------------------------------------------------------- bad rows


def test_one_bad_row_costs_one_row(rig: Rig) -> None:
    """A value of the wrong type makes CrateDB refuse the whole request without saying which row."""
    table = rig.ordered("i INTEGER, ")
    columns = ("v", "i", "cdc_version", "cdc_deleted")
    rig.write(table, write(0, JAN, "05", "v", 0, columns=columns))
    changes = [write(i, JAN, "05", "v", "many" if i == 37 else i, columns=columns) for i in range(100)]
    result = rig.write(table, *changes)
    assert ({37: "store.type_refused"}, 99) == ({i: c for i, c in enumerate(codes(result)) if c}, len(rig.live(table)))
    assert result.statements <= 2 * 7 + 1


def test_more_bad_rows_than_crate_explains_are_all_explained(rig: Rig) -> None:
    table = rig.ordered("short VARCHAR(3), ")
    columns = ("v", "short", "cdc_version", "cdc_deleted")
    rig.write(
        table,
        write(0, JAN, "05", "v", "ok", columns=columns),
        *(write(i, JAN, "09", "v", "ok", columns=columns) for i in range(60, 100)),
    )
    bad = range(1, 26)
    result = rig.write(table, *(write(i, JAN, "06", "v", "long" if i in bad else "ok", columns=columns) for i in range(100)))
    expected = ["store.text_too_long" if i in bad else "stale" if i >= 60 else "" for i in range(100)]
    assert expected == codes(result)
    assert 75 == len(rig.live(table))


def test_a_bad_row_for_a_new_month_is_the_one_that_is_blamed(rig: Rig) -> None:
    table = rig.ordered("short VARCHAR(3), ", shards=2)
    columns = ("v", "short", "cdc_version", "cdc_deleted")
    rig.write(table, write(1000, JAN, "05", "v", "ok", columns=columns))
    months = (MAR, JAN, FEB)
    result = rig.write(
        table, *(write(i, months[i % 3], "06", "v", "long" if i in (4, 9) else "ok", columns=columns) for i in range(30))
    )
    assert {4: "store.text_too_long", 9: "store.text_too_long"} == {i: c for i, c in enumerate(codes(result)) if c}
    assert (frozenset({FEB, MAR}), 29) == (result.new_months, len(rig.live(table)))


def test_reasons_are_told_without_values(rig: Rig) -> None:
    table = rig.create(
        "id BIGINT, month TIMESTAMP WITH TIME ZONE, v TEXT NOT NULL, short VARCHAR(3), "
        "n INTEGER CONSTRAINT positive CHECK (n > 0), long TEXT, PRIMARY KEY (id, month)"
    )
    columns = ("v", "short", "n", "long")
    rows = {
        "store.null_refused": [None, "a", 1, ""],
        "store.text_too_long": ["v", "secret", 1, ""],
        "store.check_failed": ["v", "a", -77, ""],
        "store.type_refused": ["v", "a", "secret", ""],
    }
    changes = [plain(Kind.WRITE, i, JAN) for i in range(len(rows))]
    for change, row in zip(changes, rows.values(), strict=True):
        change.columns, change.row = columns, row
    ok = plain(Kind.WRITE, 99, JAN)
    ok.columns, ok.row = columns, ["v", "a", 1, ""]
    rig.write(table, ok)
    result = rig.write(table, *changes)
    assert list(rows) == codes(result)
    assert [REJECTED] * 4 == fates(result)
    assert ("v", True) == (result.outcomes[0].column, not any(v in repr(result.outcomes) for v in ("secret", "-77")))


@pytest.mark.parametrize("first", [False, True], ids=["existing month", "new month"])
def test_a_text_that_lucene_cannot_index_is_rejected(rig: Rig, first: bool) -> None:
    table = rig.ordered()
    if not first:
        rig.write(table, write(9, JAN, "05"))
    result = rig.write(table, write(1, JAN, "05", "x" * 40_000), write(2, JAN, "05", "fits"))
    assert ["store.text_too_long", ""] == codes(result)


def test_a_null_key_and_a_value_json_cannot_carry_are_rejected_alone(rig: Rig) -> None:
    table = rig.ordered()
    result = rig.write(table, write(1, JAN, "05"), write(None, JAN, "05"), write(2, JAN, "05", "\ud800"), write(3, JAN, "05"))
    assert ["", "store.key_null", "store.not_encodable", ""] == codes(result)
    assert [1, 3] == [row[0] for row in rig.live(table)]


def test_a_change_without_a_version_is_rejected_in_an_ordered_table(rig: Rig) -> None:
    table = rig.ordered()
    change = write(1, JAN, "05")
    change.version = None
    assert ["version.missing"] == codes(rig.write(table, change))


# ---------------------------------------------------------------- many stale rows


def test_many_stale_rows_take_two_requests(rig: Rig) -> None:
    table = rig.ordered()
    rig.write(table, *(write(i, JAN, "09", "kept") for i in range(100)))
    result = rig.write(table, *(write(i, JAN, "08") for i in range(99)), write(100, JAN, "08", "new"))
    assert [SUPERSEDED] * 99 + [WRITTEN] == fates(result)
    assert result.statements == {"http": 2, "pg": 3}[rig.write_path], "over PostgreSQL the first one tells no reason"
    assert 100 == sum(1 for row in rig.live(table) if row[2] == "kept")


@pytest.mark.parametrize("key", ["id BIGINT", "id BIGINT, part TEXT"])
def test_a_lane_that_is_mostly_stale_ends_in_the_same_table(rig: Rig, key: str) -> None:
    table = rig.ordered(key=key)
    keys = [(i,) if key == "id BIGINT" else (i, "p") for i in range(60)]
    rig.write(table, *(write(k, JAN, "09", "kept") for k in keys))
    result = rig.write(table, *(write(k, JAN, "08") for k in keys[1:]), write(keys[0], JAN, "10", "new"), mostly_stale=True)
    assert WRITTEN is result.outcomes[-1].fate
    assert {"kept": 59, "new": 1} == {v: [row[2] for row in rig.live(table)].count(v) for v in ("kept", "new")}
    if key == "id BIGINT":
        assert [SUPERSEDED] * 59 == fates(result)[:-1]


# ---------------------------------------------------------------- tables


def test_a_missing_table_is_waited_for_at_first_and_parked_later(rig: Rig) -> None:
    table = rig.ordered()
    rig.sql(f"DROP TABLE {table.full_name}")
    result = rig.store.write(batch(table, write(1, JAN, "05")))
    settling = rig.client.is_settling()
    assert [("store.starting", RETRY) if settling else ("table.missing", PARK)] == [(o.code, o.fate) for o in result.outcomes]


def test_a_lost_column_parks_the_table(rig: Rig) -> None:
    table = rig.ordered("extra TEXT, ")
    rig.sql(f"ALTER TABLE {table.full_name} DROP COLUMN extra")
    result = rig.store.write(batch(table, write(1, JAN, "05", "v", "x", columns=("v", "extra", "cdc_version", "cdc_deleted"))))
    assert ([PARK], ["table.column_missing"]) == (fates(result), codes(result))


def test_describe_tells_every_column_and_the_months(rig: Rig) -> None:
    table = rig.create(
        'id BIGINT, "Mixed Case" TEXT, month TIMESTAMP WITH TIME ZONE, n NUMERIC(18, 2), arr ARRAY(NUMERIC(9, 3)), '
        "short VARCHAR(7), o OBJECT(DYNAMIC) AS (x INTEGER), free OBJECT(IGNORED), d INTEGER DEFAULT 3 NOT NULL, "
        "PRIMARY KEY (id, month)",
        "PARTITIONED BY (month) CLUSTERED INTO 3 SHARDS",
    )
    assert (("id",), "month", ("id", "month"), 3, frozenset()) == (
        table.key, table.month_column, table.primary_key, table.shards, table.months,
    )  # fmt: skip
    columns = table.columns
    assert ["id", "Mixed Case", "month", "n", "arr", "short", "o", "free", "d"] == list(columns)
    assert [(18, 2), (9, 3)] == [(columns[name].precision, columns[name].scale) for name in ("n", "arr")]
    assert (7, "dynamic", ("x",), "ignored") == (
        columns["short"].length,
        columns["o"].policy,
        columns["o"].keys,
        columns["free"].policy,
    )
    assert (False, True) == (columns["d"].nullable, columns["d"].has_default)


def test_describe_answers_none_for_what_is_not_there(rig: Rig) -> None:
    table = rig.arrival()
    found = rig.store.describe([table.full_name, f"{rig.schema}.nowhere"])
    assert (True, None) == (found[table.full_name] is not None, found[f"{rig.schema}.nowhere"])


def test_an_earlier_request_that_ended_does_not_hold_a_batch_up(rig: Rig) -> None:
    table = rig.ordered()
    result = rig.write(table, write(1, JAN, "05"), unsure=("test gone/0 1",))
    assert ([WRITTEN], ()) == (fates(result), result.unsure)


def test_probe_is_quiet_when_all_is_well(rig: Rig) -> None:
    rig.store.probe()
