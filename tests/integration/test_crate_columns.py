"""New columns, emptied tables and what sys.jobs tells, against a real CrateDB."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import pytest

from ingest.crate import columns
from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.writer import HttpStore
from ingest.errors import Parked, Retry
from ingest.flow.ports import Truncation, Unsure
from ingest.model import Column, Fate, NewColumn, SourceType, Table
from ingest.tables.new_columns import declared_type, seen_type
from ingest.tables.types import reading
from tests.crate_rig import FEB, JAN, Rig, batch, codes, fates, write
from tests.integration.test_crate_store import until_running

pytestmark = pytest.mark.cratedb
SURE = Unsure()
PASSWORD = "the-right-one"


@pytest.fixture(scope="module")
def rig(crate_url: str) -> Iterator[Rig]:
    rig = Rig(crate_url, "t_crate_columns")
    yield rig
    rig.drop()


def types_of(table: Table) -> dict[str, str]:
    return {name: column.type for name, column in table.columns.items() if name.startswith("n")}


# ---------------------------------------------------------------- ADD COLUMN


def test_columns_are_added_once_and_those_that_are_there_stay(rig: Rig) -> None:
    table = rig.ordered("n0 TEXT, ")
    wanted = [NewColumn("n0", "BIGINT"), NewColumn("n1", "BIGINT"), NewColumn('n"2"; --', "TEXT")]
    once = rig.store.add_columns(table.full_name, wanted, SURE)
    assert {"n0": "text", "n1": "bigint", 'n"2"; --': "text"} == types_of(once)
    assert once == rig.store.add_columns(table.full_name, wanted, SURE)


def test_workers_that_add_at_once_end_with_each_column_once(rig: Rig, crate_url: str) -> None:
    table = rig.ordered()
    stores = [HttpStore(HttpClient(parse_addresses([crate_url]), user="crate")) for _ in range(4)]

    def add(i: int) -> Table:
        return stores[i].add_columns(table.full_name, [NewColumn(f"n{n}", "BIGINT") for n in range(i, i + 4)], SURE)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(add, range(4)))
    for store in stores:
        store.close()
    assert all({f"n{n}" for n in range(i, i + 4)} <= types_of(found[i]).keys() for i in range(4))
    assert dict.fromkeys((f"n{n}" for n in range(7)), "bigint") == types_of(rig.describe(table.full_name))


DECLARED = [
    *(
        SourceType(kind)
        for kind in ("bool", "int", "year", "float32", "float64", "string", "uuid", "xml", "enum", "enum_set", "json")
    ),
    *(SourceType(kind) for kind in ("uint64_wrapped", "bytes", "bytes_base64", "bytes_hex", "decimal_variable", "interval_text")),
    *(SourceType(kind) for kind in ("date_days", "date_text", "time_ms", "time_us", "time_ns", "time_text", "interval_us")),
    *(SourceType(kind, zoned=zoned) for kind in ("ts_ms", "ts_us", "ts_ns", "ts_text") for zoned in (False, True)),
    *(
        SourceType("decimal", scale=scale, precision=digits)
        for scale, digits in ((2, 12), (0, 38), (5, None), (None, None), (3, 60))
    ),
    *(SourceType(kind) for kind in ("point", "geometry", "sparse_vector", "map", "struct", "vector", "bits_words")),
    *(SourceType("bits", length=length) for length in (4, None)),
    SourceType("vector", length=3),
    SourceType("array", element=SourceType("int")),
    SourceType("array", element=SourceType("array", element=SourceType("decimal", scale=2, precision=9))),
    SourceType("array", element=SourceType("map")),
    SourceType("array"),
]
SEEN = [True, 1, 2**70, 10**50, 1.5, "x", "x" * 40_000, {"a": 1}, [], [1, 2.5], ["a", 1], [{"a": 1}], [[1], [2]], [True, None]]


def test_every_type_for_a_new_column_is_one_that_crate_has_and_that_takes_the_source_type(rig: Rig) -> None:
    table = rig.ordered()
    wanted = [NewColumn(f"n{i}", declared_type(source)) for i, source in enumerate(DECLARED)]
    wanted += [NewColumn(f"s{i}", seen_type(value)) for i, value in enumerate(SEEN)]
    found = rig.store.add_columns(table.full_name, wanted, SURE)
    for i, source in enumerate(DECLARED):
        column = found.columns[f"n{i}"]
        assert "mismatch" not in reading(source, column).convert.__qualname__, (source, column)
    taken = {f"s{i}": value_in(value, found.columns[f"s{i}"]) for i, value in enumerate(SEEN)}
    stored = write(1, JAN, "05", "v", *taken.values(), columns=("v", *taken, "cdc_version", "cdc_deleted"))
    assert [Fate.WRITTEN] == fates(rig.write(found, stored))


def value_in(value: object, column: Column) -> object:
    """The value as a reading of the column makes it."""
    read = reading(None, column)
    return value if type(value) is read.passes else read.convert(value)


def test_a_request_that_began_before_is_waited_for(rig: Rig, crate_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could wipe values of the new column, whichever worker sent it."""
    monkeypatch.setattr(columns, "ENDED_WITHIN_S", 0.3)
    table = rig.ordered()
    slow = "SELECT count(*) FROM generate_series(1, 60000) AS a (x), generate_series(1, 60000) AS b (y) WHERE x > y"
    tag = f"another group {table.full_name}/3 17"
    other = HttpClient(parse_addresses([crate_url]), user="crate")
    thread = Thread(target=lambda: other.execute(slow, None, None, tag), name="slow", daemon=True)
    thread.start()
    wanted = [NewColumn("n1", "BIGINT")]
    try:
        until_running(rig, tag)
        for unsure in (SURE, Unsure((tag,), 1e9)):
            with pytest.raises(Retry, match=r"store\.still_running"):
                rig.store.add_columns(table.full_name, wanted, unsure)
    finally:
        for (job,) in rig.sql("SELECT id FROM sys.jobs WHERE stmt LIKE ?", [f"/* ingest {tag} %"]).rows:
            rig.sql("KILL ?", [job])
        thread.join(20)
        other.close()
    assert {"n1": "bigint"} == types_of(rig.store.add_columns(table.full_name, wanted, Unsure((tag,), 0.0)))


def test_what_keeps_a_column_from_being_added_is_told(rig: Rig) -> None:
    table = rig.ordered()
    wanted = [NewColumn("n1", "BIGINT")]
    rig.sql(f'ALTER TABLE {table.full_name} SET ("mapping.total_fields.limit" = 5)')
    with pytest.raises(Parked, match=r"table\.column_limit: the fields n1 need columns"):
        rig.store.add_columns(table.full_name, wanted, SURE)
    rig.sql(f'ALTER TABLE {table.full_name} RESET ("mapping.total_fields.limit")')
    with pytest.raises(Parked, match=r"table\.column_refused"):
        rig.store.add_columns(table.full_name, [NewColumn("a.b", "BIGINT")], SURE)
    rig.sql(f'ALTER TABLE {table.full_name} SET ("blocks.metadata" = TRUE)')
    with pytest.raises(Retry, match=r"store\.blocked"):
        rig.store.add_columns(table.full_name, wanted, SURE)
    rig.sql(f'ALTER TABLE {table.full_name} SET ("blocks.metadata" = FALSE)')
    rig.sql(f"DROP TABLE {table.full_name}")
    with pytest.raises(Retry, match=r"table\.gone"):
        rig.store.add_columns(table.full_name, wanted, SURE)


# ---------------------------------------------------------------- few privileges


@contextmanager
def few_rights(rig: Rig, crate_url: str, *grants: str, blind_s: float = 120.0) -> Iterator[HttpStore]:
    rig.sql(f"CREATE USER u_columns WITH (password = '{PASSWORD}')")
    store = HttpStore(HttpClient(parse_addresses([crate_url]), user="u_columns", password=PASSWORD), blind_s=blind_s)
    try:
        for grant in grants:
            rig.sql(f"GRANT {grant} TO u_columns")
        yield store
    finally:
        store.close()
        rig.sql("DROP USER u_columns")


def test_a_user_who_may_not_read_sys_jobs_waits_and_its_table_is_not_blamed(rig: Rig, crate_url: str) -> None:
    table = rig.ordered()
    with few_rights(rig, crate_url, "DQL, DML ON SCHEMA t_crate_columns", blind_s=30.0) as store:
        early = store.write(batch(table, write(1, JAN, "05"), unsure=("group doc.t/0 1",), unsure_for_s=29.0))
        assert (["store.jobs_hidden"], [Fate.RETRY], ("group doc.t/0 1",)) == (codes(early), fates(early), early.unsure)
        assert "GRANT DQL ON SCHEMA sys" in early.outcomes[0].text
        late = store.write(batch(table, write(1, JAN, "05"), unsure=("group doc.t/0 1",), unsure_for_s=31.0))
        assert ([Fate.WRITTEN], ()) == (fates(late), late.unsure)
        wanted = [NewColumn("n1", "BIGINT")]
        with pytest.raises(Retry, match=r"store\.jobs_hidden"):
            store.add_columns(table.full_name, wanted, Unsure(("group doc.t/0 1",), 1.0))
        with pytest.raises(Parked, match=r"table\.no_ddl"):
            store.add_columns(table.full_name, wanted, Unsure(("group doc.t/0 1",), 31.0))
        rig.sql("GRANT DDL ON SCHEMA t_crate_columns TO u_columns")
        assert {"n1": "bigint"} == types_of(store.add_columns(table.full_name, wanted, SURE))


# ---------------------------------------------------------------- a table's own trouble


@pytest.mark.parametrize("setting", ["blocks.read_only", "blocks.metadata"])
def test_a_table_whose_definition_is_not_shown_concerns_itself_alone(rig: Rig, setting: str) -> None:
    sums, plain = rig.ordered("n1 NUMERIC(12, 2), "), rig.ordered("n1 BIGINT, ")
    rig.sql(f'ALTER TABLE {sums.full_name} SET ("{setting}" = TRUE)')
    try:
        found = rig.store.describe([sums.full_name, plain.full_name, "t_crate_columns.nowhere"])
    finally:
        rig.sql(f'ALTER TABLE {sums.full_name} SET ("{setting}" = FALSE)')
    assert (plain, None) == (found[plain.full_name], found["t_crate_columns.nowhere"])
    if setting == "blocks.read_only":
        assert isinstance(told := found[sums.full_name], Retry)
        assert ("table.blocked", True) == (told.code, sums.full_name in told.text)
    assert sums == rig.describe(sums.full_name)


# ---------------------------------------------------------------- truncates


def test_a_truncate_leaves_tombstones_of_what_is_older_and_what_is_newer_as_it_is(rig: Rig) -> None:
    table = rig.ordered("w TEXT, ")
    columns = ("v", "w", "cdc_version", "cdc_deleted")
    rig.write(table, *(write(i, JAN, f"{i:02d}", "v", "w", columns=columns) for i in range(1, 7)))
    rig.sql(f"INSERT INTO {table.full_name} (id, month, v, cdc_deleted) VALUES (9, {FEB}, 'by hand', FALSE)")
    truncation = Truncation("04", ("cdc_version", "cdc_deleted"), ("04", True))
    for _ in range(2):
        after = rig.store.empty(rig.describe(table.full_name), truncation, SURE)
        assert frozenset({JAN, FEB}) == after.months
        assert [[4, "v", "w"], [5, "v", "w"], [6, "v", "w"]] == rig.live(table, "id, v, w")
        dead = rig.sql(f"SELECT id, v, w, cdc_version FROM {table.full_name} WHERE cdc_deleted ORDER BY id").rows
        assert [[i, None, None, "04"] for i in (1, 2, 3, 9)] == dead
    assert [Fate.SUPERSEDED, Fate.WRITTEN] == fates(rig.write(table, write(1, JAN, "03"), write(2, JAN, "05")))


def test_a_truncate_of_a_table_of_level_arrival_deletes_every_row_also_one_written_a_moment_ago(rig: Rig) -> None:
    table = rig.arrival()
    rig.sql(f"INSERT INTO {table.full_name} (id, month, v) VALUES (1, {JAN}, 'a'), (2, {FEB}, 'b')")
    assert frozenset() == rig.store.empty(table, Truncation(None), SURE).months
    assert [] == rig.rows(table)
    whole = rig.create("id BIGINT PRIMARY KEY, v TEXT", "CLUSTERED INTO 1 SHARDS")
    rig.sql(f"INSERT INTO {whole.full_name} (id, v) VALUES (1, 'a')")
    rig.store.empty(whole, Truncation(None), SURE)
    assert [] == rig.rows(whole, "id, v")
