"""A CrateDB for tests: a schema of its own, changes and batches in a few words, rows to look at.

The server is the one that the fixture `crate_url` finds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from ingest.crate.http import Answer, HttpClient, parse_addresses
from ingest.crate.pg_pipeline import PgPipeline, pg_addresses
from ingest.crate.pg_store import PgStore
from ingest.crate.writer import HttpStore
from ingest.model import Batch, Change, Fate, Kind, Lane, Position, Result, Table

# "http" or "pg": over which interface of CrateDB tests write that do not choose themselves.
WRITE_PATH = os.environ.get("INGEST_TEST_WRITE_PATH", "http")
JAN, FEB, MAR = 1704067200000, 1706745600000, 1709251200000
ORDERED = ("v", "cdc_version", "cdc_deleted")
DELETE = ("cdc_version", "cdc_deleted")
offsets = count()


class Rig:
    """One schema on one server."""

    def __init__(self, url: str, schema: str, write_path: str = WRITE_PATH) -> None:
        self.url, self.schema, self.write_path = url, schema, write_path
        self.client = HttpClient(parse_addresses([url]), user="crate")
        self.store = HttpStore(self.client) if write_path == "http" else PgStore(self.client, pipeline_to(self.client, url))
        self._names = count()

    def sql(self, stmt: str, args: Sequence[Any] | None = None) -> Answer:
        answer = self.client.execute(stmt, args)
        assert answer.is_ok, (stmt, answer)
        return answer

    def create(self, columns: str, options: str = "PARTITIONED BY (month) CLUSTERED INTO 1 SHARDS") -> Table:
        """A new table of these columns, as the store describes it."""
        name = f"{self.schema}.t{next(self._names)}"
        self.sql(f"DROP TABLE IF EXISTS {name}")
        self.sql(f"CREATE TABLE {name} ({columns}) {options}")
        return self.describe(name)

    def ordered(self, extra: str = "", key: str = "id BIGINT", shards: int = 1) -> Table:
        names = ", ".join(part.split()[0] for part in key.split(","))
        return self.create(
            f"{key}, month TIMESTAMP WITH TIME ZONE, v TEXT, {extra} cdc_version TEXT, cdc_deleted BOOLEAN, "
            f"PRIMARY KEY ({names}, month)",
            f"PARTITIONED BY (month) CLUSTERED INTO {shards} SHARDS",
        )

    def arrival(self, extra: str = "") -> Table:
        return self.create(f"id BIGINT, month TIMESTAMP WITH TIME ZONE, v TEXT, {extra} PRIMARY KEY (id, month)")

    def describe(self, name: str) -> Table:
        table = self.store.describe([name])[name]
        assert isinstance(table, Table), table
        return table

    def rows(self, table: Table, columns: str = "id, month, v") -> list[list[Any]]:
        """All rows, deleted or not, sorted."""
        self.sql(f"REFRESH TABLE {table.full_name}")
        return sorted(self.sql(f"SELECT {columns} FROM {table.full_name} LIMIT 10000").rows, key=repr)

    def live(self, table: Table, columns: str = "id, month, v") -> list[list[Any]]:
        self.sql(f"REFRESH TABLE {table.full_name}")
        return sorted(self.sql(f"SELECT {columns} FROM {table.full_name} WHERE cdc_deleted = FALSE").rows, key=repr)

    def write(self, table: Table, *changes: Change, **more: Any) -> Result:
        """One batch, planned with the catalogue as it is now."""
        return self.store.write(batch(self.describe(table.full_name), *changes, **more))

    def drop(self) -> None:
        for (name,) in self.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = ?", [self.schema]).rows:
            kind = "VIEW" if name.endswith("_live") else "TABLE"
            self.client.execute(f'ALTER TABLE "{self.schema}"."{name}" RESET ("blocks.read_only")')
            self.client.execute(f'DROP {kind} IF EXISTS "{self.schema}"."{name}"')
        self.store.close()


def pg_address(client: HttpClient, url: str) -> str:
    """host:port where the node behind this URL listens for PostgreSQL clients, as it says itself."""
    port = client.execute("SELECT port['psql'] FROM sys.nodes").rows[0][0]
    return f"{urlsplit(url).hostname}:{port}"


def pipeline_to(client: HttpClient, url: str) -> PgPipeline:
    return PgPipeline(pg_addresses(parse_addresses([url]), [pg_address(client, url)], user="crate"))


def batch(table: Table, *changes: Change, **more: Any) -> Batch:
    return Batch(Lane(table.full_name, 0), table, list(changes), tag=f"test {table.full_name}/0 {next(offsets)}", **more)


def at() -> Position:
    return Position("orders", 0, next(offsets))


def write(
    key: Any, month: int | None, version: str, v: Any = "v", *more: Any, columns: tuple[str, ...] = ORDERED, **rest: Any
) -> Change:
    """A complete row; `columns` past v take the values in `more`, before the two cdc columns."""
    row = [v, *more, version, False]
    return Change(Kind.WRITE, keyed(key), month, columns, row, at(), version=version, **rest)


def patch(key: Any, month: int | None, version: str, v: Any = "v", **rest: Any) -> Change:
    return Change(Kind.PATCH, keyed(key), month, ORDERED, [v, version, False], at(), version=version, **rest)


def delete(key: Any, month: int | None, version: str, **rest: Any) -> Change:
    return Change(Kind.DELETE, keyed(key), month, DELETE, [version, True], at(), version=version, **rest)


def plain(kind: Kind, key: Any, month: int | None, v: Any = None, **rest: Any) -> Change:
    """A change of a table without versions."""
    columns, row = ((), []) if kind is Kind.DELETE else (("v",), [v])
    return Change(kind, keyed(key), month, columns, row, at(), **rest)


def keyed(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def fates(result: Result) -> list[Fate]:
    return [outcome.fate for outcome in result.outcomes]


def codes(result: Result) -> list[str]:
    return [outcome.code for outcome in result.outcomes]
