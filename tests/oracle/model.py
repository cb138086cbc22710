"""The reference model: what the tables, the dead-letter topic and the books must hold once a log has been read to its end.

Says nothing of batches, folds, months vacated or retries: the newest change of a key wins, and that is all there is to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .log import Fate, Kind, Letter, Log, Place, Sent
from .tables import TABLES, Key, Values, month_of


class LiveRow(NamedTuple):
    """One row that readers must see. at: the message that its `cdc_*` columns must name. month: None without months."""

    values: Values
    month: int | None
    at: Place
    source_ts_ms: int | None


@dataclass
class Expected:
    """What must be there in the end. read counts every message once; stored = written + superseded."""

    rows: dict[str, dict[Key, LiveRow]] = field(default_factory=dict)
    letters: dict[Place, Letter] = field(default_factory=dict)
    read: int = 0
    stored: int = 0
    skipped: int = 0
    echoes: int = 0

    @property
    def dead_lettered(self) -> int:
        return len(self.letters)


def expected(log: Log) -> Expected:
    """The end of the world as the log has it."""
    found = Expected(letters=dict(log.letters), read=len(log.sent))
    changes: dict[tuple[str, Key], list[Sent]] = defaultdict(list)
    for sent in log.sent:
        found.skipped += sent.fate is Fate.SKIPPED
        found.echoes += sent.fate is Fate.ECHO
        if sent.fate is Fate.KEPT and sent.change is not None:
            found.stored += 1
            changes[sent.change.table, sent.change.key].append(sent)
    found.rows = {table: {} for table in TABLES}
    for (table, key), history in changes.items():
        row = last_state(table, history)
        if row is not None:
            found.rows[table][key] = row
    return found


def last_state(table: str, history: Iterable[Sent]) -> LiveRow | None:
    """The row of one key after all its changes, None if it is gone."""
    row: LiveRow | None = None
    for at, _, _, change in sorted(history, key=order):
        assert change is not None
        if change.kind is Kind.DELETE:
            row = None
            continue
        values = {**row.values, **change.values} if change.kind is Kind.PATCH and row is not None else change.values
        row = LiveRow(values, month_in(table, values), at, change.source_ts_ms)
    return row


def order(sent: Sent) -> tuple[int, int]:
    """By the source's position; what shares one, by offset (all changes of a key are in one partition)."""
    assert sent.change is not None
    return sent.change.version, sent.at.offset


def month_in(table: str, values: Values) -> int | None:
    column = TABLES[table].month_from
    return None if column is None else month_of(values[column])
