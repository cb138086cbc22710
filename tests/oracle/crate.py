"""CrateDB as the judge sees it: the oracle's tables, their contracts, and every live row of them. Blocking, one thread."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import urllib3

from . import ddl
from .compare import names_of
from .tables import TABLES, Spec, Values

HERE = Path(__file__).resolve().parent
PAGE_ROWS = 10_000
TIMEOUT_S = 120.0

# Looks at a shard that recovers before that is an error.
PATIENCE = 50


class Crate:
    """One schema of one server."""

    def __init__(self, url: str, schema: str) -> None:
        self.schema = schema
        self._url = url.rstrip("/") + "/_sql"
        self._http = urllib3.PoolManager(timeout=TIMEOUT_S, retries=False, headers={"Default-Schema": schema})

    def close(self) -> None:
        self._http.clear()

    def rows(self, statement: str, args: Sequence[Any] = ()) -> list[list[Any]]:
        """The answer's rows, numbers with a point as Decimal. Raises RuntimeError with CrateDB's own words."""
        body: dict[str, Any] = {"stmt": statement, **({"args": list(args)} if args else {})}
        told = self._told(body)
        for _ in range(PATIENCE):
            if "error" not in told or "RECOVERING" not in told["error"]["message"]:
                break
            time.sleep(0.2)  # the shard of a new partition is not open yet
            told = self._told(body)
        if "error" in told:
            raise RuntimeError(f"{statement[:80]}: {told['error']['message']}")
        rows: list[list[Any]] = told["rows"]
        return rows

    def _told(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.request("POST", self._url, json=body)
        told: dict[str, Any] = json.loads(answer.data, parse_float=Decimal)
        return told

    def create(self, tables: Sequence[str]) -> None:
        """The tables and their live views."""
        for table in tables:
            for statement in ddl.statements(TABLES[table]):
                self.rows(statement)

    def drop(self) -> None:
        """Everything in the schema."""
        named = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = ?"
        for kind, word in (("VIEW", "VIEW"), ("BASE TABLE", "TABLE")):
            for (name,) in self.rows(named, [self.schema, kind]):
                self.rows(f'DROP {word} IF EXISTS "{self.schema}"."{name}"')

    def live_rows(self, table: str) -> Iterator[Values]:
        """Every row of <table>_live as of now, in pages by key and month, so that a key in two months shows twice."""
        spec = TABLES[table]
        self.rows(f"REFRESH TABLE {table}")
        names = list(names_of(spec))
        order = page_order(spec)
        select = f"SELECT {', '.join(names)} FROM {table}_live"
        tail = f" ORDER BY {', '.join(order)} LIMIT {PAGE_ROWS}"
        page = self.rows(select + tail)
        while page:
            yield from (dict(zip(names, row, strict=True)) for row in page)
            last = [page[-1][names.index(name)] for name in order]
            page = self.rows(f"{select} WHERE {after(order)}{tail}", after_args(last))

    def version(self) -> str:
        return str(self.rows("SELECT version['number'] FROM sys.nodes LIMIT 1")[0][0])

    def counts(self, table: str) -> dict[str, int]:
        """Rows and tombstones of a table, for the report."""
        ((rows, dead),) = self.rows(f"SELECT count(*), count(*) FILTER (WHERE cdc_deleted) FROM {table}")
        return {"rows": int(rows), "tombstones": int(dead)}


def page_order(spec: Spec) -> tuple[str, ...]:
    return (*spec.key, "month") if spec.month_from else spec.key


def after(order: Sequence[str]) -> str:
    """The condition for what comes behind a row.

    >>> after(("id", "month"))
    '(id > ?) OR (id = ? AND month > ?)'
    """
    parts = [" AND ".join([*(f"{name} = ?" for name in order[:i]), f"{order[i]} > ?"]) for i in range(len(order))]
    return " OR ".join(f"({part})" for part in parts)


def after_args(last: Sequence[Any]) -> list[Any]:
    """
    >>> after_args((7, 30))
    [7, 7, 30]
    """
    return [value for i in range(len(last)) for value in last[: i + 1]]


def write_contracts(folder: Path, tables: Sequence[str], *, schema: str, prefix: str) -> Path:
    """The contracts of schemas/ with this run's names filled in."""
    folder.mkdir(parents=True)
    for table in tables:
        text = (HERE / "schemas" / f"{table}.toml").read_text()
        (folder / f"{table}.toml").write_text(string.Template(text).substitute(schema=schema, prefix=prefix))
    return folder
