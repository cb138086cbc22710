"""Tables for `explain`: as CrateDB shows them, or for lack of it as the files in INGEST_SQL_DIR make them.

The files are run against the practice store, which never leaves this process. One thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, Self

from ingest.crate import catalogue
from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.sql_files import read_steps
from ingest.errors import Retry
from ingest.model import Table
from ingest.practice.store import Store
from ingest.settings import Settings
from ingest.tables.routing import lower_case
from ingest.tools.connect import crate_client


class Tables(Protocol):
    """Where tables are known."""

    def describe(self, name: str) -> Table | None:
        """Raises Retry when CrateDB cannot tell, Stop when it refuses us."""

    def ask(self, sql: str) -> Sequence[Sequence[Any]]:
        """The rows of a query of our own."""


class CrateTables:
    """CrateDB's own. As context manager."""

    trouble: Sequence[str] = ()

    def __init__(self, settings: Settings) -> None:
        self._client = crate_client(settings)

    def describe(self, name: str) -> Table | None:
        return described(self._client, name)

    def ask(self, sql: str) -> Sequence[Sequence[Any]]:
        return catalogue.query(self._client, sql, [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


class FileTables:
    """What the numbered files make, with nothing in it. As context manager.

    trouble: the statements that only a real CrateDB takes.
    """

    def __init__(self, sql_dir: Path) -> None:
        self._store = Store()
        self._sql_dir = sql_dir
        self.trouble: list[str] = []

    def describe(self, name: str) -> Table | None:
        try:
            return described(self._client, name)
        except Retry:  # the catalogue of a store that just started, and in which no file made a table
            return None

    def ask(self, sql: str) -> Sequence[Sequence[Any]]:
        return catalogue.query(self._client, sql, [])

    def __enter__(self) -> Self:
        self._store.start()
        self._client = HttpClient(parse_addresses([self._store.url]))
        for step in read_steps(self._sql_dir) if self._sql_dir.is_dir() else ():
            if not self._client.execute(step.sql).is_ok:
                self.trouble.append(str(step))
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._store.stop()


def described(client: HttpClient, name: str) -> Table | None:
    return catalogue.describe(client, [name])[name]


def nearest(client: HttpClient, name: str) -> str | None:
    """A table that CrateDB has and that may have been meant: the same letters in small, else the most similar name."""
    known = [f"{schema}.{table}" for schema, table in catalogue.query(client, ALL, [])]
    folded = lower_case(name)
    if folded in known:
        return folded
    return next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), None)


ALL = (
    "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
    "AND table_schema NOT IN ('sys', 'information_schema', 'pg_catalog', 'blob') ORDER BY 1, 2 LIMIT 10000"
)
