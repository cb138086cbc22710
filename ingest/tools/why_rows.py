"""What CrateDB holds of one key: its rows in all months, tombstones with them, and what the `_live` view shows. Reads only.

One thread, with a client of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ingest.crate import catalogue
from ingest.crate.http import HttpClient
from ingest.crate.plan import COMBINATIONS
from ingest.crate.statements import DELETED, VERSION, literal, quoted, table_name
from ingest.errors import Stop
from ingest.model import Table
from ingest.tables.routing import lower_case
from ingest.tools.explain_tables import nearest
from ingest.tools.why_key import Key

# One key has one row a month; more than these are no longer read by a person.
ROWS_AT_MOST = 500
VIEWS = "SELECT table_type FROM information_schema.tables WHERE table_schema = ? AND table_name = ?"


class StoredRow(NamedTuple):
    """One row of the key. columns: all of them, in the table's order."""

    month: int | None
    version: str | None
    is_deleted: bool
    columns: Mapping[str, Any]

    def place(self) -> tuple[str | None, int | None, int | None]:
        """Topic, partition and offset of the change that wrote it, as far as the table keeps them."""
        found = self.columns
        return found.get("cdc_topic"), found.get("cdc_partition"), found.get("cdc_offset")


class Stored(NamedTuple):
    """rows: by month. live: rows that the view shows, None where there is no view. is_late: only refreshed rows were seen."""

    rows: Sequence[StoredRow]
    live: int | None
    live_view: str
    is_late: bool


def find_table(client: HttpClient, name: str, schema: str) -> Table:
    """Raises Stop("why.no_table") with the nearest name."""
    full = name if "." in name else f"{schema}.{name}"
    names = [full, *filter(None, [lower_case(full)])]
    described = catalogue.describe(client, names)
    found = next((table for each in names if (table := described[each]) is not None), None)
    if found is not None:
        return found
    if catalogue.query(client, VIEWS, [*catalogue.name_of(full)]):
        raise Stop("why.no_table", f"{full} is no table but a view: name its table, such as {full.removesuffix('_live')}")
    near = nearest(client, full)
    hint = f"the nearest name is {near}" if near else "write it as schema.table"
    raise Stop("why.no_table", f"CrateDB has no table {full} that our user may see: {hint}")


def stored(client: HttpClient, table: Table, key: Key) -> Stored:
    """The key's rows now."""
    where = condition(table, key)
    shown = ", ".join(map(quoted, table.columns))
    rows = catalogue.query(client, f"SELECT {shown} FROM {table_name(table)} WHERE {where} LIMIT {ROWS_AT_MOST}", [])
    found = sorted((row_of(table, row) for row in rows), key=lambda row: row.month or 0)
    view = f"{table.full_name}_live"
    return Stored(found, live_rows(client, table, where), view, not sees_all(table))


def condition(table: Table, key: Key) -> str:
    """The test of the key. With all months named CrateDB reads by key, and sees rows that are not refreshed yet."""
    tests = [f"{quoted(name)} = {literal(part, table.columns[name].type)}" for name, part in zip(table.key, key, strict=True)]
    if table.month_column is not None and sees_all(table):
        tests.append(f"{quoted(table.month_column)} IN ({', '.join(map(str, sorted(table.months)))})")
    return " AND ".join(tests)


def sees_all(table: Table) -> bool:
    return table.month_column is None or (not table.generated_month and 0 < len(table.months) <= COMBINATIONS)


def live_rows(client: HttpClient, table: Table, where: str) -> int | None:
    """How many rows the view of live rows shows; None where there is none, or not one of ours."""
    name = f"{table.name}_live"
    if not catalogue.query(client, VIEWS, [table.schema, name]):
        return None
    answer = client.execute(f"SELECT count(*) FROM {quoted(table.schema)}.{quoted(name)} WHERE {where}")
    return int(answer.rows[0][0]) if answer.is_ok else None


def row_of(table: Table, row: Sequence[Any]) -> StoredRow:
    columns = dict(zip(table.columns, row, strict=True))
    month = columns.get(table.month_column) if table.month_column is not None else None
    return StoredRow(month, columns.get(VERSION), columns.get(DELETED) is True, columns)
