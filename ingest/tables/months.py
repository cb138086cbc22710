"""Which month a row belongs to, and which months are allowed.

Pure but for a memory of the limits of the current month; touched by the loop's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ingest.errors import Parked, Reject
from ingest.model import Column, Table
from ingest.tables.calendar_utc import MS_PER_DAY, month_after, month_of
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.system_columns import is_system
from ingest.tables.types import TIMESTAMP_TYPES

# How a field is read whose month is wanted: as a timestamp, whatever column it goes to.
MOMENT: Final = Column("", "timestamp with time zone")
_USUAL_NAMES: Final = ("created_at", "ts", "timestamp", "time", "event_time")


class MappingRules(NamedTuple):
    """What the settings say of mapping.

    month_min_months, month_max_months: the allowed months, counted from the current one (INGEST_MONTH_MIN, INGEST_MONTH_MAX).
    epoch: of versions, where the contract names none.
    """

    month_min_months: int = -240
    month_max_months: int = 12
    epoch: int = 1


class MonthLimits:
    """The months that a row may be in. A wrong clock must not create a thousand partitions."""

    def __init__(self, rules: MappingRules, keep_months: int | None) -> None:
        self._rules = rules
        self._keep_months = keep_months
        self.since_ms = self.until_ms = 0
        self._low_ms = self._high_ms = self._kept_ms = 0
        # Day since the epoch to its month, while the clock stands from since_ms to until_ms; as many as the allowed months have.
        self.allowed_days: Final[dict[int, int]] = {}

    def month(self, ms: int, now_ms: int) -> int:
        """The month of a moment. Raises Reject: month.out_of_bounds, month.expired (older than `keep` in the contract)."""
        if not self.since_ms <= now_ms < self.until_ms:
            self._move(now_ms)
        month = self.allowed_days.get(ms // MS_PER_DAY)
        return self._judge(ms) if month is None else month

    def _judge(self, ms: int) -> int:
        if self._kept_ms <= ms < self._high_ms:
            month = self.allowed_days[ms // MS_PER_DAY] = month_of(ms)
            return month
        if self._low_ms <= ms < self._high_ms:
            raise Reject("month.expired", "the row is older than the contract keeps (partition.keep)")
        raise Reject(
            "month.out_of_bounds", "the month is outside INGEST_MONTH_MIN and INGEST_MONTH_MAX: check the source's clock"
        )

    def allows(self, ms: int, now_ms: int) -> bool:
        if not self.since_ms <= now_ms < self.until_ms:
            self._move(now_ms)
        return self._kept_ms <= ms < self._high_ms

    def _move(self, now_ms: int) -> None:
        self.allowed_days.clear()
        self.since_ms = month_of(now_ms)
        self.until_ms = month_after(self.since_ms, 1)
        self._low_ms = month_after(self.since_ms, self._rules.month_min_months)
        self._high_ms = month_after(self.since_ms, self._rules.month_max_months + 1)
        kept = self._low_ms if self._keep_months is None else month_after(self.since_ms, -self._keep_months)
        self._kept_ms = max(self._low_ms, kept)


@dataclass(frozen=True, slots=True)
class MonthSource:
    """Where the month comes from.

    name: the column, or the record's field, that it is read from. key_index: its place in the key if it is part of it, else -1.
    """

    name: str
    key_index: int
    mutable: bool
    before_full: bool


def month_source(table: Table, contract: Contract | None) -> MonthSource | None:
    """Where the months of a table come from; None for a table without months.

    Without a contract that says it: the one timestamp column with a usual name, or the only timestamp column there is.
    Raises Parked("month.undecided").
    """
    if table.month_column is None:
        return None
    rule = contract.partition if contract is not None else PartitionRule()
    name = rule.source or _guess(table)
    if name is None:
        raise undecided(table)
    key_index = table.key.index(name) if name in table.key else -1
    return MonthSource(name, key_index, rule.mutable, contract is not None and contract.before_full)


def undecided(table: Table) -> Parked:
    return Parked(
        "month.undecided",
        f"{table.full_name} is partitioned by {table.month_column}, and it is not clear whose month that is: "
        f'write partition = {{ column = "{table.month_column}", from = "..." }} into its contract',
        subject=f"table:{table.full_name}",
    )


def _guess(table: Table) -> str | None:
    moments = [
        name
        for name, column in table.columns.items()
        if column.type in TIMESTAMP_TYPES and name != table.month_column and not is_system(name)
    ]
    usual = [name for name in moments if name.lower() in _USUAL_NAMES]
    if len(usual) == 1:
        return usual[0]
    return moments[0] if len(moments) == 1 else None
