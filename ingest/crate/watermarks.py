"""The table `ingest_watermarks`, one row per group, topic and partition: its statements, and how they are sent.

A row never goes back. It belongs to an era of its partition; within one the larger committed offset wins, and a time is never
replaced by an older one, so a write that comes late changes nothing. A new era begins where Kafka itself says that the group's
offset lies before the stored one: the topic was made anew, or somebody reset the offsets.
Called by the book's thread and by a command, each with a client of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ingest.crate.http import Answer, HttpClient
from ingest.crate.statements import quoted
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Retry, Stop
from ingest.flow.ports import Doubt, Mark
from ingest.model import Partition

TABLE, VIEW = "ingest_watermarks", "ingest_complete"
MISSING_CODES = frozenset({4041, 4045})
MOMENT = "TIMESTAMP WITH TIME ZONE"
COLUMNS = {
    "group_id": "TEXT",
    "topic": "TEXT",
    "partition": "INTEGER",
    "era": "INTEGER",
    "committed": "BIGINT",
    "partitions": "INTEGER",
    "tables": "ARRAY(TEXT)",
    "caught_up_at": MOMENT,
    "resolved_at": MOMENT,
    "resolved": "TEXT",
    "source_at": MOMENT,
    "written_at": MOMENT,
}
KEY = ("group_id", "topic", "partition")
# What only grows within an era, also where a new stay knows less than the row does.
GROWING = ("caught_up_at", "resolved_at", "resolved", "source_at")
# An older server would lack the view's functions, and the view is a comfort: whatever is refused of it is no trouble.
NAMED = ("caught_up_at", "resolved_at", "source_at")


class Row(NamedTuple):
    """One row. resolved_ms, source_ms, caught_up_ms, written_ms: epoch ms."""

    group_id: str
    partition: Partition
    era: int
    committed: int
    partitions: int | None = None
    tables: tuple[str, ...] = ()
    caught_up_ms: int | None = None
    resolved_ms: int | None = None
    resolved: str | None = None
    source_ms: int | None = None
    written_ms: int | None = None


def row_of(group_id: str, mark: Mark, era: int, stored: Row | None) -> Row:
    """What to write. The tables of the stored row stay, unless contracts name them all: a process sees only some at first."""
    resolved_ms, resolved = mark.resolved or (None, None)
    kept = stored.tables if stored is not None and not mark.is_told else ()
    return Row(
        group_id, mark.partition, era, mark.committed, mark.partitions, tuple(sorted({*mark.tables, *kept})),
        mark.caught_up_ms, resolved_ms, resolved, mark.source_ms,
    )  # fmt: skip


class Watermarks:
    """The table in one schema, through one client."""

    def __init__(self, client: HttpClient, schema: str) -> None:
        self._client = client
        self.name = f"{quoted(schema)}.{TABLE}"
        self.create = create_table(self.name)
        self._view = create_view(f"{quoted(schema)}.{VIEW}", self.name)
        self._upsert = upsert(self.name)

    def read(self, group_id: str, topics: Collection[str]) -> dict[Partition, Row]:
        """What is kept of these topics, as of now; makes the table where it is missing. Raises Retry or Stop."""
        answer = self._client.execute(f"REFRESH TABLE {self.name}")
        if answer.code in MISSING_CODES:
            self._make()
            answer = self._client.execute(f"REFRESH TABLE {self.name}")
        good(answer, "read the watermarks")
        return {row.partition: row for row in self._select("WHERE group_id = ? AND topic = ANY(?)", [group_id, list(topics)])}

    def read_all(self) -> list[Row]:
        """Every row, of all groups. Raises Stop where nobody ever kept any."""
        if self._client.execute(f"REFRESH TABLE {self.name}").code in MISSING_CODES:
            text = f"there is no table {self.name}: workers make it, unless INGEST_WATERMARKS is false or they may not"
            raise Stop("watermarks.none", text)
        return self._select("", [])

    def write(self, rows: Sequence[Row]) -> list[bool]:
        """Whether each was written or is behind what is stored. Raises Retry or Stop when none was."""
        bulk = [
            [row.group_id, row.partition.topic, row.partition.number, *row[2:5], list(row.tables), *row[6:10]] for row in rows
        ]
        results = good(self._client.execute(self._upsert, bulk_args=bulk), "write the watermarks").results or []
        if len(results) != len(rows):
            raise Retry("store.answer_short", "CrateDB answered for fewer watermarks than it was sent")
        return [result.get("rowcount") == 1 for result in results]

    def _select(self, where: str, args: list[Any]) -> list[Row]:
        names = ", ".join(map(quoted, COLUMNS))
        answer = self._client.execute(f"SELECT {names} FROM {self.name} {where} ORDER BY 1, 2, 3 LIMIT 1000000", args)
        return [read_row(row) for row in good(answer, "read the watermarks").rows]

    def _make(self) -> None:
        answer = self._client.execute(self.create)
        if answer.code == 4011:
            text = f"our CrateDB user may not make it: let somebody run `{self.create}` and grant DQL and DML on it"
            raise Stop("watermarks.no_ddl", text)
        good(answer, "make the table of watermarks")
        self._client.execute(self._view)


def good(answer: Answer, doing: str) -> Answer:
    if not answer.is_ok:
        raise as_error(of_request(answer.status, answer.code, answer.message), doing)
    return answer


def read_row(row: Sequence[Any]) -> Row:
    group_id, topic, number, era, committed, partitions, tables, *rest = row
    return Row(group_id, Partition(topic, number), era, committed, partitions, tuple(tables or ()), *rest)


# ---------------------------------------------------------------- statements


def create_table(name: str) -> str:
    columns = ", ".join(f"{quoted(column)} {type_}" for column, type_ in COLUMNS.items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({listed(KEY)})) CLUSTERED INTO 1 SHARDS"


def upsert(name: str) -> str:
    """One row per entry: all columns but written_at, in the order of COLUMNS."""
    given = [column for column in COLUMNS if column != "written_at"]
    sets = ", ".join(f"{quoted(column)} = {news(column)}" for column in COLUMNS if column not in KEY)
    marks = ", ".join("?" for _ in given)
    return (
        f"INSERT INTO {name} ({listed(given)}, written_at) VALUES ({marks}, CURRENT_TIMESTAMP) "
        f"ON CONFLICT ({listed(KEY)}) DO UPDATE SET {sets}"
    )


def news(column: str) -> str:
    """What a column becomes."""
    old, new = quoted(column), f"excluded.{quoted(column)}"
    if column == "partitions":
        new = f"coalesce({new}, {old})"
    kept = f"greatest({old}, {new})" if column in GROWING else new
    return (
        f"CASE WHEN excluded.era > era THEN {new} WHEN excluded.era = era AND excluded.committed >= committed THEN {kept} "
        f"ELSE {old} END"
    )


def create_view(view: str, name: str) -> str:
    """Per table and group: the oldest of each time over all partitions of all topics that feed it, NULL where one lacks it."""
    of_topics = ", ".join(f"count({column}) AS has_{column}, min({column}) AS {column}" for column in NAMED)
    of_tables = ", ".join(
        f"CASE WHEN sum(t.has_{column}) = sum(t.parts) THEN min(t.{column}) END AS {column}" for column in NAMED
    )
    return (
        f"CREATE OR REPLACE VIEW {view} AS SELECT f.table_name, f.group_id, {of_tables}, sum(t.parts) AS partitions "
        f"FROM (SELECT DISTINCT group_id, topic, unnest(tables) AS table_name FROM {name}) AS f "
        f"JOIN (SELECT group_id, topic, max(partitions) AS parts, {of_topics} FROM {name} GROUP BY group_id, topic) AS t "
        "ON f.group_id = t.group_id AND f.topic = t.topic GROUP BY f.table_name, f.group_id"
    )


def listed(names: Collection[str]) -> str:
    return ", ".join(map(quoted, names))


# ---------------------------------------------------------------- eras


def eras(marks: Collection[Mark], stored: Mapping[Partition, Row]) -> tuple[dict[Doubt, int], dict[Doubt, Row]]:
    """The era of each new stay, and of those whose row is ahead of it the row: only Kafka can say what that means."""
    known, doubtful = {}, {}
    for mark in marks:
        row, stay = stored.get(mark.partition), Doubt(mark.partition, mark.stay)
        if row is not None and row.committed > mark.committed:
            doubtful[stay] = row
        else:
            known[stay] = row.era if row is not None else 1
    return known, doubtful


def era_after(row: Row, committed: int | None) -> int:
    """The era of a doubtful stay. committed: of the group, as Kafka said after the row was read; None: it has no commit.

    A row is written only after its commit was acknowledged, so a commit below it is the group gone back, whoever asks.

    >>> [era_after(Row("g", Partition("t", 0), 1, 100), committed) for committed in (100, 99, None)]
    [1, 2, 2]
    """
    return row.era + (committed is None or committed < row.committed)
