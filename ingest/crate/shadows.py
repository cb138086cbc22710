"""A table made anew beside the old one to take its place: what `rebuild` asks of CrateDB, and how it knows where it was.

The new table carries a mark from its making on, a routing filter on an attribute that no node has. The mark goes with the table
through the swap, so which of two names holds the new one can be seen at any time, also after a kill. Views and privileges go by
name: after the swap they are those of the new table (CrateDB 6.4.3). Called by commands with a client of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ingest.crate.copies import create_like
from ingest.crate.http import HttpClient
from ingest.crate.purge import live_view
from ingest.crate.sql_files import split
from ingest.crate.statements import quoted
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Stop
from ingest.model import Level, Table

MARK: Final = '"routing.allocation.exclude.ingest_rebuild"'
SETTINGS: Final = (
    "SELECT table_name, settings['routing']['allocation']['exclude'] FROM information_schema.tables "
    "WHERE table_schema = ? AND table_name = ANY(?) AND table_type = 'BASE TABLE'"
)
COLUMNS_OF: Final = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position"
)
VIEW: Final = "SELECT count(*) FROM information_schema.views WHERE table_schema = ? AND table_name = ?"
NAME: Final = r'(?:"(?:[^"]|"")+"|[A-Za-z_]\w*)'
CREATE: Final = re.compile(rf"(?is)\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME}(?:\s*\.\s*{NAME})?)")


class Names(NamedTuple):
    """A schema and the three names that a rebuild has in it."""

    schema: str
    table: str

    @property
    def new(self) -> str:
        return f"{self.table}_new"

    @property
    def old(self) -> str:
        return f"{self.table}_old"

    def full(self, name: str) -> str:
        return f"{self.schema}.{name}"

    def sql(self, name: str) -> str:
        return f"{quoted(self.schema)}.{quoted(name)}"


class Seen(NamedTuple):
    """Which of the three are there, and which of them carries the mark."""

    table: bool
    new: bool
    old: bool
    table_marked: bool = False
    new_marked: bool = False


def look(client: HttpClient, names: Names) -> Seen:
    rows = run(client, SETTINGS, [names.schema, [names.table, names.new, names.old]])
    found = {row[0]: bool((row[1] or {}).get("ingest_rebuild")) for row in rows}
    return Seen(
        names.table in found, names.new in found, names.old in found, found.get(names.table, False), found.get(names.new, False)
    )


def create(client: HttpClient, names: Names, like: Table, ddl: str | None) -> None:
    """The new table, marked. ddl: its CREATE TABLE, None for one as the old. Again is the same."""
    if not look(client, names).new:
        if ddl is None:
            create_like(client, like, names.full(names.new))
        else:
            run(client, ddl)
    run(client, f"ALTER TABLE {names.sql(names.new)} SET ({MARK} = 'new')")


def ddl_of(file: Path, names: Names) -> str:
    """The CREATE TABLE of the table in a file, under its new name. Raises Stop("rebuild.ddl")."""
    if not file.is_file():
        raise Stop("rebuild.ddl", f"there is no file {file}: name the one with the new CREATE TABLE")
    wanted = {names.table, names.full(names.table)}
    for step in split(file.name, file.read_text(encoding="utf-8")):
        found = CREATE.search(step.sql)
        if found is not None and re.sub(r'["\s]', "", found["name"]) in wanted:
            return step.sql[: found.start("name")] + names.sql(names.new) + step.sql[found.end("name") :]
    raise Stop(
        "rebuild.ddl", f"{file} has no CREATE TABLE {names.full(names.table)}: write one there, with or without its schema"
    )


def is_empty(client: HttpClient, names: Names, name: str) -> bool:
    run(client, f"REFRESH TABLE {names.sql(name)}")
    return not run(client, f"SELECT 1 FROM {names.sql(name)} LIMIT 1")


def swap(client: HttpClient, names: Names) -> None:
    """From one moment to the next the new table has the name, and the old one that of the new."""
    run(client, f"ALTER CLUSTER SWAP TABLE {names.sql(names.new)} TO {names.sql(names.table)}")


def keep_old(client: HttpClient, names: Names) -> None:
    """After the swap: the name of the new one holds the old one."""
    run(client, f"ALTER TABLE {names.sql(names.new)} RENAME TO {quoted(names.old)}")


def unmark(client: HttpClient, names: Names) -> None:
    run(client, f"ALTER TABLE {names.sql(names.table)} RESET ({MARK})")


def drop_old(client: HttpClient, names: Names) -> None:
    run(client, f"DROP TABLE IF EXISTS {names.sql(names.old)}")


def renew_view(client: HttpClient, old: Table, new: Table) -> bool:
    """Make the view of live rows anew where it shows all columns of the old table and the new one has others.

    A view that somebody wrote otherwise stays as it is. Returns whether it was made anew.
    """
    name = f"{new.name}_live"
    if new.level is not Level.ORDERED or not run(client, VIEW, [new.schema, name])[0][0]:
        return False
    shown = [row[0] for row in run(client, COLUMNS_OF, [new.schema, name])]
    if shown != plain_columns(old) or shown == plain_columns(new):
        return False
    run(client, live_view(new))
    return True


def plain_columns(table: Table) -> list[str]:
    return [name for name in table.columns if not name.startswith("cdc_")]


def breaks_view(client: HttpClient, table: Table) -> bool:
    """Whether there is a view of live rows that cannot be read any more, because of a column that is gone."""
    if not run(client, VIEW, [table.schema, f"{table.name}_live"])[0][0]:
        return False
    view = f"{quoted(table.schema)}.{quoted(table.name + '_live')}"
    return not client.execute(f"SELECT * FROM {view} LIMIT 0").is_ok


def run(client: HttpClient, stmt: str, args: Sequence[Any] | None = None) -> list[list[Any]]:
    """Raises Retry or Stop; a refusal of a CREATE TABLE that a person wrote is told in CrateDB's own words, which hold no row."""
    answer = client.execute(stmt, args)
    if answer.is_ok:
        return answer.rows
    if CREATE.match(stmt):
        raise Stop("rebuild.ddl", f"CrateDB refuses the CREATE TABLE: {answer.message}")
    raise as_error(of_request(answer.status, answer.code, answer.message), "rebuild the table")
