"""Rejections that wait for a second look: a row that does not fit the table as we know it may fit the table as it is now.

A table can be dropped and made again with other types while the worker runs. So a rejected row is believed, and dead-lettered,
only when the catalogue was asked after the rejection and still shows the table it was mapped for; if it shows another one, all
that is unsettled is handed back and mapped again. Owned by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ingest.errors import Reject
from ingest.flow.ledger import Ticket


class Doubt(NamedTuple):
    """A rejection, and the stage (map or write) in which it happened."""

    ticket: Ticket
    reject: Reject
    stage: str


class SecondLook:
    """By table; a look answers the doubts that were there when it began."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Doubt]] = {}
        self._asked: dict[str, int] = {}

    def add(self, doubt: Doubt) -> None:
        self._waiting.setdefault(doubt.ticket.table, []).append(doubt)

    def tables(self) -> Collection[str]:
        """The tables that should be looked at."""
        return self._waiting.keys()

    def begin(self, tables: Collection[str]) -> None:
        """The catalogue is asked for these now."""
        self._asked = {table: len(self._waiting[table]) for table in tables if table in self._waiting}

    def answered(self, table: str) -> list[Doubt]:
        """What the look at this table that began last has answered."""
        waiting, count = self._waiting.pop(table, []), self._asked.pop(table, 0)
        if waiting[count:]:
            self._waiting[table] = waiting[count:]
        return waiting[:count]

    def forget_closed(self) -> None:
        """Drop what was handed back: it is read and mapped again."""
        for table, waiting in list(self._waiting.items()):
            kept = [doubt for doubt in waiting if doubt.ticket.page.is_open]
            if not kept:
                del self._waiting[table]
            elif len(kept) < len(waiting):
                self._waiting[table] = kept
                self._asked.pop(table, None)  # its count is wrong now; the next look counts anew
