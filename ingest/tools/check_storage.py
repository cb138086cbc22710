"""The part of `check` that looks at how tables are kept: blocks, health, settings, months, versions, and what our user may do.

Reads only, in one thread. Five queries for any number of tables, and one more for each to ask for privileges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingest.crate.http import HttpClient
from ingest.crate.statements import table_name
from ingest.model import Column, Table
from ingest.settings import Settings
from ingest.tables.calendar_utc import month_after, month_of
from ingest.tools.check_crate import Cluster, quoted, rows_of
from ingest.tools.check_versions import is_damaged
from ingest.tools.check_words import counted, size
from ingest.tools.findings import Finding, fail, untold, warn
from ingest.tools.sizing import SMALL_MONTH_BYTES

OF_TABLES = "table_schema = ANY(?) AND table_name = ANY(?)"
TABLES = (
    "SELECT table_schema, table_name, number_of_replicas, closed, version['created'], settings FROM information_schema.tables "
    f"WHERE {OF_TABLES}"
)
PARTITIONS = f"SELECT table_schema, table_name, closed, settings FROM information_schema.table_partitions WHERE {OF_TABLES}"
SIZES = (
    "SELECT schema_name, table_name, sum(size) FROM sys.shards "
    'WHERE "primary" AND schema_name = ANY(?) AND table_name = ANY(?) GROUP BY 1, 2'
)
HEALTH = f"SELECT table_schema, table_name, health, count(*) FROM sys.health WHERE severity > 1 AND {OF_TABLES} GROUP BY 1, 2, 3"
MAY = "SELECT has_table_privilege(?, 'SELECT'), has_table_privilege(?, 'INSERT')"
MAY_CREATE = "SELECT has_schema_privilege(?, 'CREATE')"

# In the order in which they are told; each keeps rows from being written.
BLOCKS: Mapping[str, str] = {
    "read_only": "is read-only",
    "write": "is blocked for writing",
    "read_only_allow_delete": "is read-only because a disk is full (flood stage)",
    "metadata": "is blocked for changes, so no partition can be made",
}
# Readers see a row when its table is refreshed; above this people wonder where their rows are.
REFRESH_MAX_MS = 10_000
# New columns are refused beyond this part of the limit; what is left may be one release away.
COLUMNS_FULL = 0.9
# So many months that together are small tell that one shard a month is enough.
MANY_MONTHS = 6
SHOWN_TYPES = 4

Name = tuple[str, str]


@dataclass(slots=True)
class Kept:
    """What the catalogue says of how one table is kept. blocks: of the table; shut: partitions with a block or closed.

    health: partitions (or the table itself) that are YELLOW or RED. size_bytes: of one copy, None where it cannot be seen.
    """

    replicas: str = "0"
    is_closed: bool = False
    created: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    shut: int = 0
    size_bytes: int | None = None
    health: dict[str, int] = field(default_factory=dict)

    def setting(self, *path: str) -> Any:
        found: Any = self.settings
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    @property
    def blocks(self) -> list[str]:
        return _blocks(self.settings)

    def copies(self, nodes: int) -> int:
        """How often each shard is stored.

        >>> Kept("0-1").copies(1), Kept("0-1").copies(3), Kept("2").copies(3), Kept("1-all").copies(3)
        (1, 2, 3, 3)
        """
        low, _, high = self.replicas.partition("-")
        most = nodes - 1 if high == "all" else int(high or low)
        return 1 + max(int(low), min(most, nodes - 1))


def kept_of(client: HttpClient, tables: Sequence[Table]) -> dict[Name, Kept]:
    """By schema and name. What cannot be seen keeps its default."""
    names = [[table.schema for table in tables], [table.name for table in tables]]
    found = {(table.schema, table.name): Kept() for table in tables}
    if not tables:
        return found
    for schema, table, replicas, closed, created, settings in rows_of(client, TABLES, names) or ():
        kept = found.get((schema, table), Kept())
        kept.replicas, kept.is_closed, kept.created, kept.settings = replicas or "0", bool(closed), created or "", settings or {}
    for schema, table, closed, settings in rows_of(client, PARTITIONS, names) or ():
        if closed or _blocks(settings or {}):
            found.get((schema, table), Kept()).shut += 1
    for schema, table, health, number in rows_of(client, HEALTH, names) or ():
        found.get((schema, table), Kept()).health[health] = number
    for schema, table, size_bytes in rows_of(client, SIZES, names) or ():
        found.get((schema, table), Kept()).size_bytes = size_bytes
    return found


def _blocks(settings: Mapping[str, Any]) -> list[str]:
    set_ = settings.get("blocks") or {}
    return [block for block in BLOCKS if set_.get(block)]


# ---------------------------------------------------------------- one table


def of_kept(settings: Settings, cluster: Cluster, table: Table, kept: Kept, now_ms: int) -> Iterator[Finding]:
    """What is odd about how a table is kept."""
    yield from closed_or_blocked(table, kept)
    yield from _ill(table, kept)
    yield from _damaged(cluster, table, kept)
    yield from _weak_settings(cluster, table, kept)
    yield from _odd_months(settings, table, now_ms)


def closed_or_blocked(table: Table, kept: Kept) -> Iterator[Finding]:
    """Why no row of it can be written."""
    name = table_name(table)
    if kept.is_closed:
        yield fail(table.full_name, f"is closed: ALTER TABLE {name} OPEN")
    for block in kept.blocks:
        yield fail(table.full_name, f'{BLOCKS[block]}: ALTER TABLE {name} SET ("blocks.{block}" = false){_space(block)}')
    if kept.shut and not kept.blocks and not kept.is_closed:
        yield fail(table.full_name, f"{counted(kept.shut, 'partition')} closed or blocked for writing: open or unblock them")


def _space(block: str) -> str:
    return ", after freeing some space" if block == "read_only_allow_delete" else ""


def _ill(table: Table, kept: Kept) -> Iterator[Finding]:
    parts = "partition" if table.month_column else "table"
    if red := kept.health.get("RED"):
        yield fail(table.full_name, f"{counted(red, parts)} RED: shards are missing, rows for them wait; see sys.allocations")
    if yellow := kept.health.get("YELLOW"):
        text = "copies of shards are missing; start more nodes, or set number_of_replicas"
        yield warn(table.full_name, f"{counted(yellow, parts)} YELLOW: {text}")


def _damaged(cluster: Cluster, table: Table, kept: Kept) -> Iterator[Finding]:
    version = next((each for each in cluster.versions if kept.created and is_damaged(kept.created, each)), None)
    if version:
        text = f"was made by version {kept.created}, and version {version} loses data of such tables: upgrade to 6.4.3 at once"
        yield fail(table.full_name, text)


def _weak_settings(cluster: Cluster, table: Table, kept: Kept) -> Iterator[Finding]:
    what, alter = table.full_name, f"ALTER TABLE {table_name(table)} SET"
    if kept.setting("translog", "durability") == "ASYNC":
        text = "a power cut loses rows whose offsets are committed"
        yield warn(what, f"""translog.durability is ASYNC, {text}: {alter} ("translog.durability" = 'REQUEST')""")
    # Any value, even the default one, would have CrateDB refresh what nobody searches.
    reset = f"ALTER TABLE {table_name(table)} RESET (refresh_interval)"
    refresh_ms = kept.setting("refresh_interval")
    if isinstance(refresh_ms, int) and refresh_ms <= 0:
        yield warn(what, f"is never refreshed, so readers do not see new rows: {reset}")
    elif isinstance(refresh_ms, int) and refresh_ms > REFRESH_MAX_MS:
        yield warn(what, f"readers see new rows after {refresh_ms / 1000:.0f} s: {reset}")
    if cluster.nodes > 1 and kept.copies(cluster.nodes) == 1:
        yield warn(what, f"has no copies, so a lost node loses its rows: {alter} (number_of_replicas = 1)")
    yield from _many_small_shards(table, kept)
    limit = kept.setting("mapping", "total_fields", "limit")
    columns = sum(1 + len(column.keys) for column in table.columns.values() if not column.generated)
    if isinstance(limit, int) and columns > COLUMNS_FULL * limit:
        yield warn(what, f'has {columns} of {limit} columns: {alter} ("mapping.total_fields.limit" = {2 * limit})')


def _many_small_shards(table: Table, kept: Kept) -> Iterator[Finding]:
    """Each shard that a batch touches costs CrateDB a sync and refreshes, however little is in it."""
    months = len(table.months)
    if table.shards == 1 or months < MANY_MONTHS or kept.size_bytes is None or kept.size_bytes >= SMALL_MONTH_BYTES * months:
        return
    text = (
        f"{months} months hold {size(kept.size_bytes // months)} on average in {table.shards} shards each, and each shard that a "
        f"batch touches costs CrateDB time: ALTER TABLE {table_name(table)} SET (number_of_shards = 1) for months to come"
    )
    yield warn(table.full_name, text)


def _odd_months(settings: Settings, table: Table, now_ms: int) -> Iterator[Finding]:
    """Partitions that are no months, and those that no row can be written to."""
    odd = [month for month in table.months if month_of(month) != month]
    if odd:
        text = (
            f"{counted(len(odd), 'partition')} of {table.month_column} do not begin with a month, so no row is looked for there"
        )
        yield warn(table.full_name, f"{text}: move their rows, then drop them")
    newest = month_after(month_of(now_ms), settings.month_max)
    future = [month for month in table.months if month > newest]
    if future:
        which = f"{counted(len(future), 'partition')} up to {month_name(max(future))}"
        text = f"{which} lie beyond INGEST_MONTH_MAX={settings.month_max}: a wrong clock made them; drop them"
        yield warn(table.full_name, text)


# ---------------------------------------------------------------- in words


def shape(table: Table, kept: Kept, nodes: int) -> str:
    """Columns, months, shards and refresh of a table, for its line."""
    copies = kept.copies(nodes)
    refresh_ms = kept.setting("refresh_interval")
    words = [
        f"{counted(len(table.columns), 'column')} ({types(list(table.columns.values()))})",
        *([_months(table)] if table.month_column else []),
        counted(table.shards, "shard")
        + (" a partition" if table.month_column else "")
        + (f", {copies} copies" if copies > 1 else ""),
    ]
    if isinstance(refresh_ms, int):
        words.append(f"refreshed every {refresh_ms / 1000:g} s" if refresh_ms > 0 else "not refreshed")
    return "; ".join(words)


def _months(table: Table) -> str:
    if not table.months:
        return "no partition yet"
    first, last = min(table.months), max(table.months)
    span = month_name(first) if first == last else f"{month_name(first)} to {month_name(last)}"
    return f"{counted(len(table.months), 'partition')} {span}"


def month_name(month_ms: int) -> str:
    """
    >>> month_name(1704067200000)
    '2024-01'
    """
    try:
        return datetime.fromtimestamp(month_ms / 1000, UTC).strftime("%Y-%m")
    except (OverflowError, ValueError):
        return f"{month_ms} ms"


def types(columns: Sequence[Column]) -> str:
    """
    >>> types([Column("a", "text"), Column("b", "text"), Column("c", "numeric", precision=18, scale=2)])
    '2 text, 1 numeric(18,2)'
    """
    found = Counter(_type(column) for column in columns)
    words = [f"{number} {type_}" for type_, number in found.most_common(SHOWN_TYPES)]
    rest = len(columns) - sum(number for _, number in found.most_common(SHOWN_TYPES))
    return ", ".join([*words, *([f"{rest} more"] if rest else [])])


def _type(column: Column) -> str:
    if column.type == "numeric" and column.precision:
        return f"numeric({column.precision},{column.scale or 0})"
    if column.type == "object" and column.policy:
        return f"object({column.policy})"
    return column.type.removesuffix(" with time zone")


# ---------------------------------------------------------------- privileges


def of_privileges(client: HttpClient, cluster: Cluster, tables: Sequence[Table]) -> Iterator[Finding]:
    """What our user may do with each table. A server that has no such function has no privileges to look at."""
    who = quoted(cluster.user)
    for table in tables:
        asked = f"{table.schema}.{table.name}"
        rows = rows_of(client, MAY, [asked, asked])
        if rows is None:
            yield untold("privileges", f"what user {cluster.user} may do: this CrateDB cannot be asked")
            return
        lacks = [kind for kind, may in zip(("DQL", "DML"), rows[0], strict=True) if not may]
        if lacks:
            kinds = ", ".join(lacks)
            text = f"user {cluster.user} lacks {kinds}: GRANT {kinds} ON TABLE {table_name(table)} TO {who}"
            yield fail(table.full_name, text)


def of_schema_privilege(client: HttpClient, cluster: Cluster, schema: str) -> Iterator[Finding]:
    """Migrations make tables."""
    rows = rows_of(client, MAY_CREATE, [schema])
    if rows is not None and not rows[0][0]:
        who = quoted(cluster.user)
        text = f"INGEST_MIGRATE is true, but user {cluster.user} may make no table in {schema}"
        yield fail("migrations", f"{text}: GRANT DDL, DQL, DML ON SCHEMA {quoted(schema)} TO {who}")
