"""The tables the worker writes to: description, mapper, who feeds them; and when to look at the catalogue again.

Owned by the loop's thread. Asks nothing by itself: it says what should be asked, and is told the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingest.errors import IngestError, Parked
from ingest.flow.newcomers import Newcomers
from ingest.flow.ports import Mapper
from ingest.model import NewColumn, Partition, Table

REFRESH_S = 30.0
# A node that has just started shows no tables for up to half a minute (seen: 15 s), so "missing" is believed only after this.
MISSING_GRACE_S = 20.0
ASK_AGAIN_S = 2.0
# How soon the catalogue is asked again because rows are rejected, see flow.second_look.
LOOK_AGAIN_S = 0.25


@dataclass(slots=True)
class Target:
    """One table that records go to. feeders: the partitions whose records went or wanted to go there."""

    table: Table
    mapper: Mapper
    feeders: set[Partition] = field(default_factory=set)


@dataclass(slots=True)
class News:
    """What descriptions brought. changed: names that are new or changed; reshaped: those of them in which a column went or got
    another type, so that what was mapped before is wrong now; parked: what must be parked."""

    changed: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)


class Tables:
    """compile: makes the mapper of a table; raises Parked when table and contract contradict each other."""

    def __init__(self, compile_mapper: Callable[[Table], Mapper]) -> None:
        self._compile = compile_mapper
        self._targets: dict[str, Target] = {}
        self._missing_since: dict[str, float] = {}
        self._wanted: dict[str, set[Partition]] = {}
        self._asked_s: dict[str, float] = {}
        self._refreshed_s = 0.0
        self._troubles: dict[str, str] = {}
        self.newcomers = Newcomers()

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

    def to_ask(self, now_s: float, doubted: Collection[str] = ()) -> Collection[str]:
        """The names whose description is wanted now: unknown ones every ASK_AGAIN_S, known ones every REFRESH_S, and those about
        which there is doubt every LOOK_AGAIN_S."""
        due = {name for name in self._wanted if now_s - self._asked_s.get(name, -ASK_AGAIN_S) >= ASK_AGAIN_S}
        due |= {name for name in doubted if now_s - self._asked_s.get(name, -LOOK_AGAIN_S) >= LOOK_AGAIN_S}
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            due |= self._targets.keys()
        self._asked_s.update(dict.fromkeys(due, now_s))
        return due

    def look_again(self) -> None:
        """The catalogue may have changed: ask for all tables at the next occasion."""
        self._refreshed_s = float("-inf")

    def learn(self, found: Mapping[str, Table | IngestError | None], now_s: float) -> News:
        """Take descriptions in. A table that has trouble of its own keeps the one that it has."""
        news = News()
        for name, table in found.items():
            self._troubles.pop(name, None)
            if isinstance(table, Parked):
                news.parked.append(Parked(table.code, table.text, subject=f"table:{name}"))
            elif isinstance(table, IngestError):
                self._troubles[name] = table.text
            else:
                self._learn(name, table, now_s, news)
        return news

    def _learn(self, name: str, table: Table | None, now_s: float, news: News) -> None:
        was_missing, old = name in self._missing_since, self._targets.get(name)
        try:
            if self._is_missing(name, table, now_s):
                news.parked.append(missing(name))
            elif table is not None and (self._take(name, table) or was_missing):
                news.changed.append(name)
                if old is not None and is_reshaped(old.table, table):
                    news.reshaped.append(name)
        except Parked as error:
            news.parked.append(Parked(error.code, error.text, subject=error.subject or f"table:{name}"))

    def trouble(self) -> str | None:
        """Why a table cannot be described now, None when all can."""
        return next(iter(self._troubles.values()), None)

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

    # ------------------------------------------------------------ fields without a column

    def looked_for(self, name: str, asked: Sequence[NewColumn]) -> list[NewColumn]:
        """The catalogue was asked for these fields: those without a column, which pass from now on."""
        target = self._targets.get(name)
        if target is None:
            return []
        lacking = self.newcomers.looked_for(target.table, asked)
        target.mapper.stop_at_new_fields(self.newcomers.passed(name))
        return lacking

    def take_ignored(self) -> Counter[str]:
        """By table: fields of records that had no column and were left out, since the last call."""
        found: Counter[str] = Counter()
        for name, target in self._targets.items():
            if target.mapper.unknown_policy == "ignore" and (fields := target.mapper.take_unknown_fields()):
                found[name] = sum(fields.values())
        return found

    def take_nulled(self) -> Counter[tuple[str, str]]:
        """By table and column: values that the contract's policies made NULL, since the last call."""
        found: Counter[tuple[str, str]] = Counter()
        for name, target in self._targets.items():
            for column, n in target.mapper.take_nulled().items():
                found[name, column] += n
        return found

    # ------------------------------------------------------------ small parts

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
        if old is not None and old.mapper.month_from != mapper.month_from:
            raise month_changed(name, old.mapper.month_from, mapper.month_from)
        mapper.stop_at_new_fields(self.newcomers.passed(name))
        self.newcomers.first_seen(table)
        self._targets[name] = Target(table, mapper, old.feeders if old else self._wanted.pop(name, set()))
        return True


def is_reshaped(old: Table, new: Table) -> bool:
    """Whether what was mapped for the old table does not fit the new one: more than columns were added to it."""
    kept = {name: new.columns.get(name) for name in old.columns}
    return kept != dict(old.columns) or replace(old, columns=new.columns, months=new.months) != new


def month_changed(name: str, old: str | None, new: str | None) -> Parked:
    """Nobody wrote down whose month it is, and the choice has changed: a key would be in two months."""
    return Parked(
        "month.undecided",
        f"{name} was partitioned by the month of {old}, and with its columns as they are now it would be that of {new}: write "
        "partition = { from = ... } into its contract and start again",
        subject=f"table:{name}",
    )


def missing(name: str) -> Parked:
    return Parked(
        "table.missing",
        # CrateDB hides what a user may not see, so a missing right looks like a missing table.
        f"table {name} does not exist, or our CrateDB user may not see it: create it (a file in sql/ and `ingest migrate`), "
        "grant DQL and DML on it, or correct the contract's `table`",
        subject=f"table:{name}",
    )
