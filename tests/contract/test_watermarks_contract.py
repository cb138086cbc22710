"""What `ingest_watermarks` promises, whichever server keeps it: it is made where it is missing, and a row never goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.mark_book import CrateMarkBook
from ingest.crate.watermarks import Row, Watermarks
from ingest.errors import Stop
from ingest.flow.ports import Doubt, Mark
from ingest.model import Partition
from ingest.practice.store import Store
from ingest.tools.watermarks import completeness
from tests.crate_rig import Rig

P0, P1, U0 = Partition("orders", 0), Partition("orders", 1), Partition("other", 0)
names = count()


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.cratedb)])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    with ExitStack() as stack:
        is_real = request.param == "real"
        yield (request.getfixturevalue("crate_url") if is_real else stack.enter_context(Store()).url), is_real


@pytest.fixture
def rig(server: tuple[str, bool]) -> Iterator[Rig]:
    """A schema of its own per test."""
    rig = Rig(server[0], f"t_marks_{next(names)}")
    rig.sql(f'DROP TABLE IF EXISTS "{rig.schema}".ingest_watermarks')
    yield rig
    rig.client.execute(f'DROP VIEW IF EXISTS "{rig.schema}".ingest_complete')
    rig.drop()


@pytest.fixture
def table(rig: Rig) -> Watermarks:
    found = Watermarks(rig.client, rig.schema)
    assert {} == found.read("g", ["orders"])
    return found


def row(partition: Partition = P0, era: int = 1, committed: int = 10, **more: object) -> Row:
    return Row("g", partition, era, committed, **more)  # type: ignore[arg-type]


def kept(table: Watermarks, partition: Partition = P0) -> Row:
    """As it stands, but for the time of writing."""
    found = table.read("g", [partition.topic])[partition]
    assert found.written_ms is not None
    return found._replace(written_ms=None)


# ---------------------------------------------------------------- the table


def test_what_was_written_is_read(table: Watermarks) -> None:
    whole = row(
        committed=2**53 + 1, partitions=2, tables=("doc.a", "doc.b"), caught_up_ms=1_767_225_600_123,
        resolved_ms=1_767_225_600_000, resolved="1767225600000000000.0000000001", source_ms=5,
    )  # fmt: skip
    assert [True, True] == table.write([whole, row(P1)])
    assert (whole, row(P1)) == (kept(table), kept(table, P1))


def test_rows_of_other_groups_and_topics_are_not_in_the_way(table: Watermarks) -> None:
    table.write([row(), row(U0), Row("other group", P0, 7, 99)])
    assert {P0: row()} == {p: r._replace(written_ms=None) for p, r in table.read("g", ["orders"]).items()}
    assert 3 == len(table.read_all())


@pytest.mark.parametrize(
    ("late", "becomes"),
    [
        (row(committed=9, source_ms=9_999, tables=("x",)), row(committed=10, source_ms=50, tables=("a",))),
        (row(committed=10, source_ms=40), row(committed=10, source_ms=50)),
        (row(committed=11, source_ms=None), row(committed=11, source_ms=50)),
        (row(committed=11, source_ms=60, tables=("b",)), row(committed=11, source_ms=60, tables=("b",))),
        (row(era=2, committed=3, source_ms=None), row(era=2, committed=3, source_ms=None)),
        (row(era=0, committed=99, source_ms=99), row(committed=10, source_ms=50, tables=("a",))),
    ],
    ids=["behind", "the same offset, an older time", "ahead, without a time", "ahead", "a new era", "an older era"],
)
def test_a_row_never_goes_back_but_in_a_new_era(table: Watermarks, late: Row, becomes: Row) -> None:
    table.write([row(source_ms=50, tables=("a",))])
    assert [True] == table.write([late])
    assert becomes == kept(table)


def test_the_number_of_partitions_stays_when_a_worker_does_not_know_it(table: Watermarks) -> None:
    table.write([row(partitions=8)])
    table.write([row(committed=11, partitions=None)])
    assert 8 == kept(table).partitions


def test_a_table_that_nobody_made_is_a_sentence(rig: Rig) -> None:
    with pytest.raises(Stop, match="there is no table"):
        Watermarks(rig.client, rig.schema).read_all()


def test_the_view_says_what_the_command_says(table: Watermarks, rig: Rig, server: tuple[str, bool]) -> None:
    if not server[1]:
        pytest.skip("the practice store has no joins, and no view of them")
    table.write(
        [
            row(P0, partitions=2, tables=("doc.a", "doc.b"), caught_up_ms=100, resolved_ms=7, source_ms=50),
            row(P1, partitions=2, tables=("doc.a",), caught_up_ms=90, resolved_ms=8),
            row(U0, partitions=1, tables=("doc.a",), caught_up_ms=95, resolved_ms=6, source_ms=1),
            row(Partition("new", 0), partitions=3, tables=("doc.c",), caught_up_ms=80, source_ms=3),
        ]
    )
    rig.sql(f'REFRESH TABLE "{rig.schema}".ingest_watermarks')
    shown = "table_name, group_id, partitions, caught_up_at, resolved_at, source_at"
    of_view = rig.sql(f"SELECT {shown} FROM {rig.schema}.ingest_complete ORDER BY 1").rows
    of_command = [
        [c.table, c.group, c.partitions, *(c.limits[kind].ms for kind in c.limits)] for c in completeness(table.read_all())
    ]
    assert [["doc.a", "g", 3, 90, 6, None], ["doc.b", "g", 2, 90, 7, None], ["doc.c", "g", 3, None, None, None]] == of_view
    assert of_view == of_command


# ---------------------------------------------------------------- the book


@pytest.fixture
def book(rig: Rig) -> Iterator[Callable[[], CrateMarkBook]]:
    with ExitStack() as stack:

        def make() -> CrateMarkBook:
            made = CrateMarkBook(HttpClient(parse_addresses([rig.url]), user="crate"), rig.schema, "g")
            stack.callback(made.close, 10)
            return made

        yield make


def mark(partition: Partition = P0, stay: int = 1, committed: int = 10, **more: object) -> Mark:
    return Mark(partition, stay, committed, **more)  # type: ignore[arg-type]


def read(rig: Rig) -> dict[Partition, Row]:
    return {p: r._replace(written_ms=None) for p, r in Watermarks(rig.client, rig.schema).read("g", ["orders"]).items()}


def until(is_so: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def test_the_book_makes_the_table_and_keeps_the_newest_mark_of_each_partition(
    rig: Rig, book: Callable[[], CrateMarkBook]
) -> None:
    kept_by = book()
    said = (7, "7000000.0000000000")
    kept_by.keep([mark(committed=1), mark(P1, stay=2)])
    kept_by.keep([mark(tables=("doc.a",), resolved=said, caught_up_ms=8, source_ms=9, partitions=2)])
    kept_by.close(30)
    whole = row(tables=("doc.a",), resolved_ms=7, resolved=said[1], caught_up_ms=8, source_ms=9, partitions=2)
    assert {P0: whole, P1: row(P1)} == read(rig)


def test_a_worker_that_takes_over_keeps_what_it_does_not_know_yet(rig: Rig, book: Callable[[], CrateMarkBook]) -> None:
    first, second = book(), book()
    first.keep([mark(tables=("doc.a",), source_ms=9, caught_up_ms=8)])
    first.close(30)
    second.keep([mark(committed=10)])
    second.keep([mark(committed=12, tables=("doc.b",))])
    second.close(30)
    assert {P0: row(committed=12, tables=("doc.a", "doc.b"), source_ms=9, caught_up_ms=8)} == read(rig)


def test_tables_that_contracts_name_take_the_place_of_those_that_were_seen(rig: Rig, book: Callable[[], CrateMarkBook]) -> None:
    first, second = book(), book()
    first.keep([mark(tables=("doc.old",))])
    first.close(30)
    second.keep([mark(tables=("doc.new",), is_told=True)])
    second.close(30)
    assert {P0: row(tables=("doc.new",))} == read(rig)


def test_a_zombie_that_wakes_up_changes_nothing(rig: Rig, book: Callable[[], CrateMarkBook]) -> None:
    """Its mark was made before it slept; meanwhile another has gone on."""
    zombie, owner = book(), book()
    zombie.keep([mark(committed=10, source_ms=9)])
    until(lambda: read(rig), "the zombie-to-be did not write")
    owner.keep([mark(committed=50, source_ms=90)])
    owner.close(30)
    zombie.keep([mark(committed=20, source_ms=19, caught_up_ms=1)])
    zombie.close(30)
    assert {P0: row(committed=50, source_ms=90)} == read(rig)


def test_a_zombie_that_never_wrote_before_asks_kafka_and_changes_nothing(rig: Rig, book: Callable[[], CrateMarkBook]) -> None:
    owner, zombie = book(), book()
    owner.keep([mark(committed=50)])
    owner.close(30)
    zombie.keep([mark(committed=10)])
    until(zombie.doubtful, "it did not doubt")
    assert {P0: row(committed=50)} == read(rig)
    zombie.settle_doubt({Doubt(P0, 1): 50})
    zombie.keep([])
    zombie.close(30)
    assert {P0: row(committed=50)} == read(rig)


@pytest.mark.parametrize("committed", [0, 9, None])
def test_where_kafka_says_that_the_group_went_back_a_new_era_begins(
    rig: Rig, book: Callable[[], CrateMarkBook], committed: int | None
) -> None:
    before, after, late = book(), book(), book()
    before.keep([mark(committed=50, source_ms=90, caught_up_ms=8, tables=("doc.a",))])
    before.close(30)
    late.keep([mark(committed=50)])
    until(lambda: not late.doubtful() and read(rig), "the later zombie did not read the row")
    after.keep([mark(committed=10)])
    until(after.doubtful, "it did not doubt")
    after.settle_doubt({Doubt(P0, 1): committed})
    after.keep([])
    until(lambda: read(rig)[P0].era == 2, "no new era began")
    late.keep([mark(committed=60, source_ms=91)])
    late.close(30)
    assert {P0: row(era=2, committed=10, tables=("doc.a",))} == read(rig)


def test_a_doubt_about_an_older_stay_settles_nothing(rig: Rig, book: Callable[[], CrateMarkBook]) -> None:
    owner, asking = book(), book()
    owner.keep([mark(committed=50)])
    owner.close(30)
    asking.keep([mark(stay=1, committed=10)])
    until(asking.doubtful, "it did not doubt")
    asking.keep([mark(stay=2, committed=10)])
    until(lambda: set(asking.doubtful()) == {Doubt(P0, 2)}, "the newer stay is not doubtful")
    asking.settle_doubt({Doubt(P0, 1): 0})
    asking.keep([])
    asking.close(30)
    assert {P0: row(committed=50)} == read(rig)


def test_trouble_is_one_warning_and_the_newest_mark_is_written_when_it_is_over(
    rig: Rig, book: Callable[[], CrateMarkBook], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ingest.crate.mark_book.WAITS_S", (0.0,))
    kept_by = book()
    kept_by.keep([mark(committed=1)])
    until(lambda: read(rig), "nothing was written")
    name = f'"{rig.schema}".ingest_watermarks'
    rig.sql(f'ALTER TABLE {name} SET ("blocks.read_only" = true)')
    for committed in range(2, 6):
        kept_by.keep([mark(committed=committed)])
    until(lambda: caplog.records, "no warning")
    rig.sql(f'ALTER TABLE {name} RESET ("blocks.read_only")')
    kept_by.keep([])
    kept_by.close(30)
    assert {P0: row(committed=5)} == read(rig)
    assert ["watermarks_trouble"] == [record.message for record in caplog.records]


def test_a_table_that_was_dropped_is_made_again(
    rig: Rig, book: Callable[[], CrateMarkBook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.crate.mark_book.WAITS_S", (0.0,))
    kept_by = book()
    kept_by.keep([mark(committed=1)])
    until(lambda: read(rig), "nothing was written")
    rig.sql(f'DROP TABLE "{rig.schema}".ingest_watermarks')
    kept_by.keep([mark(committed=2)])
    kept_by.keep([])
    kept_by.close(30)
    assert {P0: row(committed=2)} == read(rig)


def test_closing_waits_no_longer_than_it_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Watermarks, "read", lambda *_: gate.wait(60) and {})
    kept_by = CrateMarkBook(HttpClient(parse_addresses([rig.url]), user="crate"), rig.schema, "g")
    kept_by.keep([mark()])
    started_s = time.monotonic()
    kept_by.close(0.1)
    assert time.monotonic() - started_s < 30
    gate.set()
