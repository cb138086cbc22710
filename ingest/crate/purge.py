"""What people do with tombstones: remove those that are old enough, and read a table without them.

Called by commands, with a client of their own; safe beside running workers, because a tombstone is deleted only as it was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ingest.crate import catalogue
from ingest.crate.http import Answer, HttpClient
from ingest.crate.statements import DELETED, quoted, table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Stop
from ingest.model import Level, Table

PAGE_ROWS = 5_000
AGES = ("cdc_ingested_at", "cdc_source_ts")  # when it was written, else when it happened


def purge(client: HttpClient, table: Table, *, older_than_ms: int, dry_run: bool) -> dict[int | None, int]:
    """Tombstones removed per month (None: a table without months), or with dry_run those that would be.

    older_than_ms: a moment; tombstones of before go. A late write older than a tombstone that is gone would be taken for new,
    so the moment must lie beyond retention and the age of dead letters.
    Raises Stop where tombstones have no age, Retry when CrateDB is not well.
    """
    age = age_column(table)
    run(client, f"REFRESH TABLE {table_name(table)}")
    months: list[int | None] = [None]
    if table.month_column is not None:
        months = sorted(catalogue.months(client, table))  # type: ignore[assignment]
    counts = {}
    for month in months:
        where, args = condition(table, age, month, older_than_ms)
        found = count(client, table, where, args) if dry_run else remove(client, table, where, args)
        if found:
            counts[month] = found
    return counts


def live_view(table: Table) -> str:
    """The statement that makes the view `<table>_live`: the rows that are no tombstones, without the cdc_* columns."""
    if table.level is not Level.ORDERED:
        raise Stop("view.no_tombstones", f"{table.full_name} has no tombstones: read the table itself")
    shown = ", ".join(quoted(name) for name in table.columns if not name.startswith("cdc_"))
    name = f"{quoted(table.schema)}.{quoted(table.name + '_live')}"
    return f"CREATE OR REPLACE VIEW {name} AS SELECT {shown} FROM {table_name(table)} WHERE {quoted(DELETED)} = FALSE"


def age_column(table: Table) -> str:
    if table.level is not Level.ORDERED:
        raise Stop("purge.no_tombstones", f"{table.full_name} has no tombstones: only tables with cdc_version and cdc_deleted do")
    for name in AGES:
        if name in table.columns:
            return name
    raise Stop("purge.no_age", f"{table.full_name} does not tell how old a tombstone is: add cdc_ingested_at or cdc_source_ts")


def condition(table: Table, age: str, month: int | None, older_than_ms: int) -> tuple[str, list[Any]]:
    where, args = f"{quoted(DELETED)} = TRUE AND {quoted(age)} < ?", [older_than_ms]
    if table.month_column is None or month is None:
        return where, args
    return f"{quoted(table.month_column)} = ? AND {where}", [month, older_than_ms]


def count(client: HttpClient, table: Table, where: str, args: Sequence[Any]) -> int:
    return int(run(client, f"SELECT count(*) FROM {table_name(table)} WHERE {where}", args).rows[0][0])


def remove(client: HttpClient, table: Table, where: str, args: Sequence[Any]) -> int:
    """Delete page by page, each row only while nobody wrote it since it was read: a row that came back to life stays."""
    key = [*table.key, *([table.month_column] if table.month_column is not None else [])]
    tests = " AND ".join(f"{quoted(name)} = ${i}" for i, name in enumerate([*key, "_seq_no", "_primary_term"], 1))
    removed = 0
    for page in pages(client, table, key, where, args):
        answer = run(client, f"DELETE FROM {table_name(table)} WHERE {tests}", bulk_args=page)
        gone = sum(1 for result in answer.results or () if result.get("rowcount") == 1)
        removed += gone
        if not gone:
            break
    return removed


def pages(client: HttpClient, table: Table, key: Sequence[str], where: str, args: Sequence[Any]) -> Iterator[list[list[Any]]]:
    shown = ", ".join([*map(quoted, key), "_seq_no", "_primary_term"])
    while True:
        rows = run(client, f"SELECT {shown} FROM {table_name(table)} WHERE {where} LIMIT {PAGE_ROWS}", args).rows
        if not rows:
            return
        yield rows
        if len(rows) < PAGE_ROWS:
            return
        run(client, f"REFRESH TABLE {table_name(table)}")


def run(
    client: HttpClient, stmt: str, args: Sequence[Any] | None = None, bulk_args: Sequence[Sequence[Any]] | None = None
) -> Answer:
    answer = client.execute(stmt, args, bulk_args)
    if not answer.is_ok:
        raise as_error(of_request(answer.status, answer.code, answer.message), "purge tombstones")
    return answer
