"""Numbered SQL files against a real CrateDB: once each, whoever migrates, however often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ingest.crate import migrations
from ingest.crate.http import HttpClient, parse_address
from ingest.crate.migrations import LOCK, connect, migrate, plan
from ingest.errors import Retry, Stop

pytestmark = pytest.mark.cratedb


class Place:
    """A schema of its own, and a folder of SQL files."""

    def __init__(self, url: str, folder: Path) -> None:
        self.schema, self.folder, self._address = f"t_migrate_{uuid4().hex[:8]}", folder, parse_address(url)

    def connect(self) -> Any:
        return connect([self._address], user="crate", schema=self.schema)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def migrate(self, owner: str = "me", **more: Any) -> migrations.Report:
        with closing(self.connect()) as connection:
            return migrate(connection, self.folder, owner=owner, **more)

    def plan(self) -> migrations.Report:
        with closing(self.connect()) as connection:
            return plan(connection, self.folder)

    def sql(self, stmt: str, args: Any = None) -> list[list[Any]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(stmt, args)
            return [list(row) for row in cursor.fetchall()] if cursor.description else []

    def tables(self) -> list[str]:
        rows = self.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = ?", [self.schema])
        return sorted(name for (name,) in rows if not name.startswith("ingest_"))

    def drop(self) -> None:
        with closing(HttpClient([self._address], user="crate")) as client:
            for name in [*self.tables(), "ingest_migrations", "ingest_migration_lock"]:
                client.execute(f'DROP TABLE IF EXISTS "{self.schema}"."{name}"')


@pytest.fixture
def place(crate_url: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(crate_url, tmp_path)
    place.write(
        "0001_orders.sql", "-- orders; with a semicolon\nCREATE TABLE orders (id BIGINT PRIMARY KEY, note TEXT DEFAULT ';');\n"
    )
    place.write(
        "0002_more.sql", "ALTER TABLE orders ADD COLUMN paid TIMESTAMP WITH TIME ZONE;\nCREATE TABLE items (id INT PRIMARY KEY);"
    )
    yield place
    place.drop()


def names(steps: list[Any]) -> list[tuple[str, int]]:
    return [(step.file[:4], step.number) for step in steps]


ALL = [("0001", 1), ("0002", 1), ("0002", 2)]


def test_files_are_applied_in_order_and_once(place: Place) -> None:
    assert ALL == names(place.plan().pending)
    assert [] == place.tables(), "a plan changes nothing"
    said: list[str] = []
    assert ALL == names(place.migrate(on_progress=said.append).applied)
    assert (["items", "orders"], 3) == (place.tables(), len(said))
    again = place.migrate()
    assert ([], ALL) == (again.applied, names(again.known))


def test_a_new_file_and_a_statement_added_at_the_end_are_applied(place: Place) -> None:
    place.migrate()
    place.write("0003_last.sql", "CREATE TABLE late (id INT PRIMARY KEY)")
    assert [("0003", 1)] == names(place.migrate().applied)


@pytest.mark.parametrize(
    ("text", "is_edited"),
    [
        ("CREATE TABLE orders   (id BIGINT PRIMARY KEY, /* new */ note TEXT DEFAULT ';') -- same", False),
        ("CREATE TABLE orders (id BIGINT PRIMARY KEY, note TEXT DEFAULT '; ')", True),
        ("-- nothing left", False),
    ],
    ids=["comments and blanks", "a value", "emptied"],
)
def test_an_applied_file_that_was_edited_stops(place: Place, text: str, is_edited: bool) -> None:
    place.migrate()
    place.write("0001_orders.sql", text)
    if not is_edited:
        assert [] == place.migrate().applied
        return
    with pytest.raises(Stop, match=r"0001_orders[.]sql, statement 1 was applied in another form: restore") as caught:
        place.migrate()
    assert "migrate.edited" == caught.value.code


def test_a_statement_that_was_cut_from_an_applied_file_stops(place: Place) -> None:
    place.migrate()
    place.write("0002_more.sql", "ALTER TABLE orders ADD COLUMN paid TIMESTAMP WITH TIME ZONE")
    with pytest.raises(Stop, match="had a statement 2"):
        place.plan()


def test_what_was_done_but_not_remembered_is_found_done(place: Place) -> None:
    """A process that was killed between the statement and its note."""
    place.migrate()
    place.sql("REFRESH TABLE ingest_migrations")
    place.sql("DELETE FROM ingest_migrations")
    report = place.migrate()
    assert ([], ALL) == (report.applied, names(report.found_done))
    assert ALL == names(place.migrate().known)


@pytest.mark.parametrize("columns", ["id BIGINT PRIMARY KEY", "id BIGINT PRIMARY KEY, note INTEGER"])
def test_something_else_of_the_same_name_stops(place: Place, columns: str) -> None:
    place.sql(f"CREATE TABLE orders ({columns})")
    with pytest.raises(Stop) as caught:
        place.migrate()
    assert "migrate.conflict" == caught.value.code
    assert ALL == names(place.plan().pending)


def test_a_statement_that_fails_stops_and_the_ones_before_stay_applied(place: Place) -> None:
    place.write("0002_more.sql", "ALTER TABLE orders ADD COLUMN paid NO_SUCH_TYPE")
    with pytest.raises(Stop, match=r"0002_more[.]sql, statement 1 failed: .+NO_SUCH|failed: .+no_such") as caught:
        place.migrate()
    assert ("migrate.failed", ["orders"]) == (caught.value.code, place.tables())
    place.write("0002_more.sql", "ALTER TABLE orders ADD COLUMN paid BOOLEAN")
    assert [("0002", 1)] == names(place.migrate().applied)


def test_a_failing_insert_shows_none_of_its_values(place: Place) -> None:
    place.write("0002_more.sql", "INSERT INTO orders (id, note) VALUES ('secret', 'x')")
    with pytest.raises(Stop) as caught:
        place.migrate()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("0003_bad.sql", "CREAT TABLE x (a INT)", "migrate.syntax"), ("orders.sql", "SELECT 1", "migrate.file_name")],
)
def test_files_that_cannot_be_read_stop_before_anything_is_applied(place: Place, name: str, text: str, code: str) -> None:
    place.write(name, text)
    with pytest.raises(Stop) as caught:
        place.migrate()
    assert (code, []) == (caught.value.code, place.tables())


def test_a_folder_that_is_not_there_stops(place: Place) -> None:
    with closing(place.connect()) as connection, pytest.raises(Stop, match="INGEST_SQL_DIR"):
        migrate(connection, place.folder / "nowhere", owner="me")


def test_of_migrators_at_the_same_time_one_applies_each_statement(place: Place) -> None:
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(place.migrate, ("a", "b", "c")))
    applied = [step for report in reports for step in names(report.applied)]
    assert (ALL, []) == (sorted(applied), [step for report in reports for step in report.found_done])
    assert [ALL] * 2 == [names(report.known) for report in reports if not report.applied]


def hold(place: Place, expires_in_ms: int) -> None:
    place.migrate("earlier")
    now_ms = int(time.time() * 1000)
    place.sql(
        "INSERT INTO ingest_migration_lock (name, owner, expires_at) VALUES (?, ?, ?)", [LOCK, "dead", now_ms + expires_in_ms]
    )
    place.sql("REFRESH TABLE ingest_migration_lock")


def test_a_lease_that_ended_is_taken_over(place: Place) -> None:
    hold(place, -1_000)
    assert ALL == names(place.migrate().known)
    assert [] == place.sql("SELECT owner FROM ingest_migration_lock WHERE name = ?", [LOCK]), "given back at the end"


def test_a_held_lock_is_waited_for(place: Place) -> None:
    hold(place, 1_500)
    said: list[str] = []
    started_s = time.monotonic()
    place.migrate(on_progress=said.append)
    assert time.monotonic() - started_s > 1.0
    assert "waiting for dead, which is migrating" in said


def test_a_migrator_that_lost_its_lease_stops(place: Place) -> None:
    def lose(sentence: str) -> None:
        if sentence.startswith("0001"):
            place.sql("UPDATE ingest_migration_lock SET owner = 'thief' WHERE name = ?", [LOCK])

    with pytest.raises(Stop) as caught:
        place.migrate(on_progress=lose)
    assert ("migrate.lock_lost", ["orders"]) == (caught.value.code, place.tables())


def test_a_server_that_is_not_there_is_a_retry() -> None:
    with pytest.raises(Retry) as caught:
        connect([parse_address("http://127.0.0.1:9")])
    assert "store.unreachable" == caught.value.code
