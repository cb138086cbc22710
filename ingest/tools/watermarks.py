"""`ingest watermarks`: up to when each table is complete, which partition holds it back, and why it is not known where it is not.

Reads `ingest_watermarks` and says what its view `ingest_complete` says, with reasons. One thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ingest.crate.watermarks import Row
from ingest.crate.watermarks import Watermarks as WatermarkTable
from ingest.errors import Stop
from ingest.model import Partition
from ingest.settings import Settings
from ingest.tools.connect import crate_client

# What "complete" may mean, the surest first: the name in the table, and the words for people.
KINDS = {
    "caught_up": "all that Kafka held at",
    "resolved": "all that the source had committed at (its resolved timestamp)",
    "source": "changes as new as (a hint, no promise)",
}


class Limit(NamedTuple):
    """The time of the partition that is furthest behind; ms is None where a partition has none, and `why` says which."""

    ms: int | None
    partition: Partition | None
    why: str = ""


class Completeness(NamedTuple):
    """One table as one group fills it."""

    table: str
    group: str
    partitions: int
    limits: dict[str, Limit]


def watermarks(settings: Settings, table: str | None) -> list[Completeness]:
    """Of one table or of all, by name. Raises Stop where there is nothing to tell."""
    client = crate_client(settings)
    try:
        rows = WatermarkTable(client, settings.crate_schema).read_all()
    finally:
        client.close()
    found = completeness(rows)
    if table is not None:
        name = table if "." in table else f"{settings.crate_schema}.{table}"
        found = [each for each in found if each.table == name]
        if not found:
            text = f"no topic is known to feed {name}: no worker with INGEST_WATERMARKS has read a record for it yet"
            raise Stop("watermarks.no_table", text)
    return found


def completeness(rows: Sequence[Row]) -> list[Completeness]:
    """What the rows say of each table and group."""
    topics: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        topics.setdefault((row.group_id, row.partition.topic), []).append(row)
    feeds = {(table, group, topic) for (group, topic), kept in topics.items() for row in kept for table in row.tables}
    found = []
    for table, group in sorted({feed[:2] for feed in feeds}):
        of_table = [topics[group, topic] for name, by, topic in sorted(feeds) if (name, by) == (table, group)]
        found.append(Completeness(table, group, sum(map(expected, of_table)), limits_of(of_table)))
    return found


def expected(rows: Sequence[Row]) -> int:
    """Partitions that a topic should have rows for."""
    return max((row.partitions for row in rows if row.partitions is not None), default=len(rows))


def limits_of(topics: Sequence[Sequence[Row]]) -> dict[str, Limit]:
    return {kind: limit(kind, topics) for kind in KINDS}


def limit(kind: str, topics: Sequence[Sequence[Row]]) -> Limit:
    for rows in topics:
        if (missing := expected(rows) - len(rows)) > 0:
            text = (
                f"{missing} of {expected(rows)} partitions of topic {rows[0].partition.topic} have no row: no worker has had them"
            )
            return Limit(None, None, text)
    times = [(getattr(row, f"{kind}_ms"), row.partition) for rows in topics for row in rows]
    without = [partition for ms, partition in times if ms is None]
    if without:
        return Limit(None, without[0], f"{without[0]} has none" + (f", nor have {len(without) - 1} more" if without[1:] else ""))
    return Limit(*min(times))


# ---------------------------------------------------------------- text


def shown(found: Sequence[Completeness]) -> str:
    return "\n".join(line for each in found for line in lines(each))


def lines(one: Completeness) -> Iterator[str]:
    yield f"{one.table} (group {one.group}, {one.partitions} partition{'' if one.partitions == 1 else 's'}) is complete for"
    for kind, words in KINDS.items():
        ms, partition, why = one.limits[kind]
        yield f"  {words} {moment(ms)}, held back by {partition}" if ms is not None else f"  {words}: not known, {why}"


def shown_as_json(found: Sequence[Completeness]) -> str:
    """
    >>> shown_as_json([Completeness("t", "g", 1, {"caught_up": Limit(5, Partition("o", 0))})])
    '[{"table": "t", "group": "g", "partitions": 1, "caught_up": {"ms": 5, "partition": "o[0]", "why": ""}}]'
    """
    parts = [
        {
            "table": one.table,
            "group": one.group,
            "partitions": one.partitions,
            **{
                kind: {"ms": ms, "partition": None if at is None else str(at), "why": why}
                for kind, (ms, at, why) in one.limits.items()
            },
        }
        for one in found
    ]
    return json.dumps(parts)


def moment(ms: int) -> str:
    """
    >>> moment(1767225600123)
    '2026-01-01T00:00:00.123Z'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
