"""Fields without a column, table by table: those that records wait for, and those that have been looked for and may pass.

A field that is met for the first time may have got its column a moment ago, so the catalogue is looked at before the record goes
on, once per field. Names are bounded: a topic that makes up names costs a hundred looks, then all pass unseen.
Owned by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ingest.model import NewColumn, Table

NAMES_MAX = 100


class Newcomers:
    """See the module."""

    def __init__(self) -> None:
        self._wanted: dict[str, dict[str, NewColumn]] = {}
        self._passed: dict[str, set[str]] = {}
        self._columns_at_first: dict[str, int] = {}

    # ------------------------------------------------------------ what waits

    def note(self, table: str, columns: Sequence[NewColumn]) -> None:
        """A record with these fields waits. The first type that is told for a field holds."""
        wanted = self._wanted.setdefault(table, {})
        for column in columns:
            wanted.setdefault(column.name, column)

    def wanted(self, table: str) -> list[NewColumn]:
        return list(self._wanted.get(table, {}).values())

    def looked_for(self, table: Table, asked: Collection[NewColumn]) -> list[NewColumn]:
        """The catalogue was looked at for these fields: those that have no column. They pass from now on."""
        wanted = self._wanted.get(table.full_name, {})
        for column in asked:
            wanted.pop(column.name, None)
        lacking = [column for column in asked if column.name not in table.columns]
        self._passed.setdefault(table.full_name, set()).update(column.name for column in lacking)
        return lacking

    def passed(self, table: str) -> Collection[str] | None:
        """The names that need no look any more; None when there were so many that none does."""
        names = self._passed.get(table, set())
        return None if len(names) >= NAMES_MAX else names

    # ------------------------------------------------------------ how many columns may be added

    def first_seen(self, table: Table) -> None:
        """How many columns a table had when this process first saw it."""
        self._columns_at_first.setdefault(table.full_name, len(table.columns))

    def added(self, table: Table) -> int:
        """How many columns the table got since, by whomever."""
        return len(table.columns) - self._columns_at_first.get(table.full_name, len(table.columns))

    def begin_anew(self, table: str) -> None:
        """An operator lets the table go on: it may get as many columns again."""
        self._columns_at_first.pop(table, None)
