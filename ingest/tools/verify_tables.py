"""Whether one table has keys that another one lacks, told by their rows alone: what a rebuild would leave behind.

Reads only, with the disk for what does not fit into memory. One thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ingest.crate.http import HttpClient
from ingest.crate.pages import Reader, Row
from ingest.crate.plan import recognisable
from ingest.crate.statements import DELETED, VERSION
from ingest.errors import Stop
from ingest.model import Level, Table
from ingest.tools.verify_scan import OnProgress
from ingest.tools.verify_spill import Item, Key, Part, Spill, budget, on_disk, page

# What an item takes: key and version.
ITEM_BYTES = 200


class Holds(NamedTuple):
    """What a table has of a key."""

    version: str
    is_live: bool


def left_behind(client: HttpClient, old: Table, new: Table, memory_mb: int, on_progress: OnProgress) -> int:
    """How many live keys of the old table are not in the new one, or only in an older version.

    Raises Stop("rebuild.key") where the old table lacks a column of the new one's key.
    """
    lacking = [name for name in new.key if name not in old.columns]
    if lacking:
        raise Stop("rebuild.key", f"{old.full_name} has no column {lacking[0]}, so its rows cannot be found in {new.full_name}")
    with on_disk() as folder:
        budget_bytes = budget(memory_mb)
        spill = Spill(folder, budget_bytes)
        for key, held in rows_of(client, new, new, page(budget_bytes), on_progress):
            spill.tell(Item(0, key, held), ITEM_BYTES)
        for key, held in rows_of(client, old, new, page(budget_bytes), on_progress):
            if held.is_live:
                spill.store(Item(0, key, held), ITEM_BYTES)
        return sum(missing(part) for _, part in spill.parts())


def missing(part: Part) -> int:
    """Keys of the old table without their equal or better."""
    new: dict[Key, str] = {}
    for item in part.told.read():
        new[item.key] = max(item.what.version, new.get(item.key, ""))
    return len({item.key for item in part.stored.read() if item.key not in new or item.what.version > new[item.key]})


def rows_of(
    client: HttpClient, table: Table, key_of: Table, page_bytes: int, on_progress: OnProgress
) -> Iterator[tuple[Key, Holds]]:
    """Every row of a table by the key that another table has."""
    is_ordered = table.level is Level.ORDERED and key_of.level is Level.ORDERED
    names = [name for name in (VERSION, DELETED) if name in table.columns]
    more = [name for name in key_of.key if name not in table.key and name != table.month_column and name not in names]
    reader = Reader(client, table, page_bytes, [*names, *more])
    reader.refresh()
    done, total = 0, reader.count()
    for rows in reader.all():
        for row in rows:
            version = row.version if is_ordered else None
            yield key_in(table, key_of, reader, row), Holds(version or "", not row.is_deleted)
        done += len(rows)
        on_progress(f"reading {table.full_name}", done, total)


def key_in(table: Table, key_of: Table, reader: Reader, row: Row) -> Key:
    values = {**dict(zip(table.key, row.key, strict=True)), **dict(zip(reader.names, row.values, strict=True))}
    if table.month_column is not None:
        values[table.month_column] = row.month
    return recognisable(key_of, [values[name] for name in key_of.key])
