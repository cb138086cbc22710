"""`ingest purge`: removes the tombstones of one table that are older than a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time

from ingest.crate import catalogue
from ingest.crate import purge as tombstones
from ingest.errors import Stop
from ingest.settings import Settings
from ingest.tables.routing import lower_case
from ingest.tools.connect import crate_client


def purge(settings: Settings, table: str, older_than_s: int, *, is_dry: bool, wall_s: Callable[[], float] = time) -> str:
    """A line that says what was removed, by month. Raises Stop("purge.no_table") and what crate.purge raises."""
    name = table if "." in table else f"{settings.crate_schema}.{table}"
    client = crate_client(settings)
    try:
        names = [name, *filter(None, [lower_case(name)])]
        found = catalogue.describe(client, names)
        target = next((found[each] for each in names if found[each] is not None), None)
        if target is None:
            raise Stop("purge.no_table", f"CrateDB has no table {name}: write it as schema.table")
        limit_ms = int((wall_s() - older_than_s) * 1000)
        counts = tombstones.purge(client, target, older_than_ms=limit_ms, dry_run=is_dry)
    finally:
        client.close()
    return sentence(target.full_name, counts, is_dry)


def sentence(table: str, counts: Mapping[int | None, int], is_dry: bool) -> str:
    """
    >>> sentence("doc.t", {1704067200000: 2, 1706745600000: 1}, is_dry=False)
    'doc.t: 3 tombstones removed (2024-01: 2, 2024-02: 1)'
    """
    total = sum(counts.values())
    months = ", ".join(f"{month_name(month)}: {n}" for month, n in counts.items() if month is not None)
    verb = "would be removed" if is_dry else "removed"
    return f"{table}: {total} tombstone{'' if total == 1 else 's'} {verb}" + (f" ({months})" if months else "")


def month_name(month_ms: int) -> str:
    return datetime.fromtimestamp(month_ms / 1000, UTC).strftime("%Y-%m")
