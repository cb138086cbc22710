"""A whole table read in pages by its key, and the rows of given keys: what `verify` compares with the topics.

Every row as it is stored, tombstones too. Numbers of NUMERIC columns come as texts, because JSON readers make floats of them.
A page is so large that it stays within some bytes, whatever the rows are. Reads only; one thread with a client of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson

from ingest.crate.catalogue import months
from ingest.crate.http import HttpClient
from ingest.crate.plan import COMBINATIONS, chunks, is_exact, keys_at_once, recognisable
from ingest.crate.statements import DELETED, VERSION, literal, quoted, table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Retry
from ingest.model import Column, Table

FIRST_ROWS: Final = 100
MOST_ROWS: Final = 10_000
SAMPLE_ROWS: Final = 20
FIRST_ROW_BYTES: Final = 1_000
# A page may grow by so much at once: the rows behind it may be larger than those seen.
GROWTH: Final = 4
# CrateDB compares and sorts all other types that a key can have; these it shows as texts whose order is as good as any.
ONLY_AS_TEXT: Final = ("uuid", "bit")


class Row(NamedTuple):
    """One stored row. key: as CrateDB answers it. values: in the order of the reader's names, which is that of `names_of`."""

    key: tuple[Any, ...]
    month: int | None
    version: str | None
    is_deleted: bool
    values: tuple[Any, ...]


def names_of(table: Table) -> list[str]:
    """The columns that a Row has values of: all but key and month."""
    return [name for name in table.columns if name not in table.key and name != table.month_column]


class Reader:
    """Reads one table. page_bytes: about what a page may take as JSON; row_bytes: what a row of the last one took of it.

    names: the columns to read beside key and month, None for all.
    """

    def __init__(self, client: HttpClient, table: Table, page_bytes: int, names: Sequence[str] | None = None) -> None:
        self._client, self.table, self._page_bytes = client, table, page_bytes
        self.names: Final = names_of(table) if names is None else list(names)
        self._month = table.month_column
        self._shown = [*table.key, *([self._month] if self._month is not None else []), *self.names]
        self._select = f"SELECT {', '.join(self._expression(name) for name in self._shown)} FROM {table_name(table)}"
        self.row_bytes = FIRST_ROW_BYTES
        self._version = self.names.index(VERSION) if VERSION in self.names else None
        self._deleted = self.names.index(DELETED) if DELETED in self.names else None

    def refresh(self) -> None:
        """Make every row that was written before visible to the queries that follow."""
        self._rows(f"REFRESH TABLE {table_name(self.table)}", [])

    def count(self) -> int:
        """How many rows there are, tombstones with them."""
        return int(self._rows(f"SELECT count(*) FROM {table_name(self.table)}", [])[0][0])

    def all(self) -> Iterator[list[Row]]:
        """Every row, in pages; month by month where the table has months, so that each page looks at one partition."""
        if self._month is None:
            yield from self._within("", [])
            return
        there = sorted(months(self._client, self.table))
        for month in there:
            yield from self._within(f"{quoted(self._month)} = ?", [month])

    def of_keys(self, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[str, ...], list[Row]]:
        """The rows of these keys in all months as they are now, refreshed or not where CrateDB can tell that, by their key."""
        wanted = {recognisable(self.table, key) for key in keys}
        there = sorted(months(self._client, self.table)) if self._month is not None else []
        found: dict[tuple[str, ...], list[Row]] = {}
        if self._month is not None and not there:
            return found
        size = max(1, min(1_000, keys_at_once(self.table, len(there) or 1))) if is_exact(self.table) else 1
        for chunk in chunks(keys, size):
            for row in self._rows(f"{self._select} WHERE {self._is_one_of(chunk, there)} LIMIT {COMBINATIONS}", []):
                each = self._row(row)
                key = recognisable(self.table, each.key) if len(chunk) > 1 else recognisable(self.table, chunk[0])
                if key in wanted:
                    found.setdefault(key, []).append(each)
        return found

    # ------------------------------------------------------------ pages

    def _within(self, where: str, args: Sequence[Any]) -> Iterator[list[Row]]:
        order = [sortable(self.table.columns[name]) for name in self.table.key]
        tail, size = f" ORDER BY {', '.join(order)} LIMIT ", FIRST_ROWS
        last: tuple[Any, ...] | None = None
        while True:
            tests = [test for test in (where, behind(order) if last is not None else "") if test]
            condition = f" WHERE {' AND '.join(tests)}" if tests else ""
            behind_args = [] if last is None else [value for i in range(len(last)) for value in last[: i + 1]]
            rows = self._rows(f"{self._select}{condition}{tail}{size}", [*args, *behind_args])
            if rows:
                yield [self._row(row) for row in rows]
            if len(rows) < size:
                return
            key = tuple(rows[-1][: len(order)])
            if key == last:
                raise Retry("store.order", f"CrateDB does not go on behind a key of {self.table.full_name}: try again")
            last, size = key, self._next_size(rows, size)

    def _next_size(self, rows: Sequence[Sequence[Any]], size: int) -> int:
        sample = rows[:: max(1, len(rows) // SAMPLE_ROWS)]
        self.row_bytes = max(1, len(orjson.dumps(sample)) // len(sample))
        return max(1, min(MOST_ROWS, size * GROWTH, self._page_bytes // self.row_bytes))

    # ------------------------------------------------------------ rows

    def _expression(self, name: str) -> str:
        column = self.table.columns[name]
        if not column.type.startswith("numeric"):
            return quoted(name)
        depth = column.type.count("_array")
        return f"{quoted(name)}::{'ARRAY(' * depth}TEXT{')' * depth}"

    def _row(self, row: Sequence[Any]) -> Row:
        parts = len(self.table.key)
        key, rest = tuple(row[:parts]), list(row[parts:])
        month = rest.pop(0) if self._month is not None else None
        version = rest[self._version] if self._version is not None else None
        is_deleted = self._version is not None and self._deleted is not None and rest[self._deleted] is True
        return Row(key, month, version, is_deleted, tuple(rest))

    def _is_one_of(self, keys: Sequence[tuple[Any, ...]], there: Iterable[int]) -> str:
        """A test that a key plan serves, which sees rows that are not refreshed yet; a superset where keys have several parts."""
        parts: dict[str, Iterable[Any]] = {name: dict.fromkeys(key[i] for key in keys) for i, name in enumerate(self.table.key)}
        if self._month is not None:
            parts[self._month] = there
        literals = {name: [literal(value, self.table.columns[name].type) for value in values] for name, values in parts.items()}
        return " AND ".join(f"{quoted(name)} IN ({', '.join(values)})" for name, values in literals.items())

    def _rows(self, stmt: str, args: Sequence[Any]) -> list[list[Any]]:
        answer = self._client.execute(stmt, args)
        if not answer.is_ok:
            raise as_error(of_request(answer.status, answer.code, answer.message), f"read {self.table.full_name}")
        return answer.rows


def sortable(column: Column) -> str:
    """The column as CrateDB can sort and compare it.

    >>> sortable(Column("id", "uuid")), sortable(Column("id", "bigint"))
    ('format(\\'%s\\', "id")', '"id"')
    """
    return f"format('%s', {quoted(column.name)})" if column.type in ONLY_AS_TEXT else quoted(column.name)


def behind(order: Sequence[str]) -> str:
    """The test for what comes behind a key. Takes as parameters 1, then 2, ... parts of it.

    >>> behind(['"a"', '"b"'])
    '(("a" > ?) OR ("a" = ? AND "b" > ?))'
    """
    parts = [" AND ".join([*(f"{name} = ?" for name in order[:i]), f"{order[i]} > ?"]) for i in range(len(order))]
    return f"({' OR '.join(f'({part})' for part in parts)})"
