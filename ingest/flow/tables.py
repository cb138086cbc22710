"""The tables the worker writes to: description, mapper, who feeds them; and when to look at the catalogue again.

Owned by the loop's thread. Asks nothing by itself: it says what should be asked, and is told the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ingest.errors import Parked
from ingest.flow.ports import Mapper
from ingest.model import Partition, Table

REFRESH_S = 30.0
# A node that has just started shows no tables for up to half a minute (seen: 15 s), so "missing" is believed only after this.
MISSING_GRACE_S = 20.0
ASK_AGAIN_S = 2.0


@dataclass(slots=True)
class Target:
    """One table that records go to. feeders: the partitions whose records went or wanted to go there."""

    table: Table
    mapper: Mapper
    feeders: set[Partition] = field(default_factory=set)


class Tables:
    """compile: makes the mapper of a table; raises Parked when table and contract contradict each other."""

    def __init__(self, compile_mapper: Callable[[Table], Mapper]) -> None:
        self._compile = compile_mapper
        self._targets: dict[str, Target] = {}
        self._missing_since: dict[str, float] = {}
        self._wanted: dict[str, set[Partition]] = {}
        self._asked_s: dict[str, float] = {}
        self._refreshed_s = 0.0

    def get(self, name: str) -> Target | None:
        """The table of that full name, None while nobody has described it yet."""
        return self._targets.get(name)

    def want(self, name: str, partition: Partition) -> None:
        """A record of this partition goes there, and the table is not known."""
        self._wanted.setdefault(name, set()).add(partition)

    def fed(self) -> Iterator[tuple[str, Collection[Partition]]]:
        """The name of each known table and the partitions that feed it."""
        return ((name, target.feeders) for name, target in self._targets.items())

    def feeders(self, name: str) -> Collection[Partition]:
        target = self._targets.get(name)
        return target.feeders if target else self._wanted.get(name, set())

    def to_ask(self, now_s: float) -> Collection[str]:
        """The names whose description is wanted now: unknown ones every ASK_AGAIN_S, known ones every REFRESH_S."""
        due = {name for name in self._wanted if now_s - self._asked_s.get(name, -ASK_AGAIN_S) >= ASK_AGAIN_S}
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            due |= self._targets.keys()
        self._asked_s.update(dict.fromkeys(due, now_s))
        return due

    def look_again(self) -> None:
        """The catalogue may have changed: ask for all tables at the next occasion."""
        self._refreshed_s = float("-inf")

    def learn(self, found: Mapping[str, Table | None], now_s: float) -> tuple[list[str], list[Parked]]:
        """Take descriptions in: the names that are new or changed, and what must be parked."""
        changed: list[str] = []
        parked: list[Parked] = []
        for name, table in found.items():
            was_missing = name in self._missing_since
            try:
                if self._is_missing(name, table, now_s):
                    parked.append(missing(name))
                elif table is not None and (self._take(name, table) or was_missing):
                    changed.append(name)
            except Parked as error:
                parked.append(Parked(error.code, error.text, subject=error.subject or f"table:{name}"))
        return changed, parked

    def doubt(self, name: str) -> None:
        """CrateDB contradicts what we know of the table: forget it and ask again."""
        target = self._targets.pop(name, None)
        if target is not None:
            self._wanted.setdefault(name, set()).update(target.feeders)
        self._asked_s.pop(name, None)

    def add_months(self, name: str, months: Collection[int]) -> None:
        """These months have partitions now."""
        target = self._targets.get(name)
        if target is not None and not target.table.months.issuperset(months):
            target.table = replace(target.table, months=target.table.months.union(months))

    def _is_missing(self, name: str, table: Table | None, now_s: float) -> bool:
        if table is not None:
            self._missing_since.pop(name, None)
            return False
        return now_s - self._missing_since.setdefault(name, now_s) >= MISSING_GRACE_S

    def _take(self, name: str, table: Table) -> bool:
        """Keep the description; True when it is news (months alone are none)."""
        old = self._targets.get(name)
        if old is not None and replace(old.table, months=table.months) == table:
            old.table = table
            return False
        mapper = self._compile(table)
        self._targets[name] = Target(table, mapper, old.feeders if old else self._wanted.pop(name, set()))
        return True


def missing(name: str) -> Parked:
    return Parked(
        "table.missing",
        # CrateDB hides what a user may not see, so a missing right looks like a missing table.
        f"table {name} does not exist, or our CrateDB user may not see it: create it (a file in sql/ and `ingest migrate`), "
        "grant DQL and DML on it, or correct the contract's `table`",
        subject=f"table:{name}",
    )
