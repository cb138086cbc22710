"""The books: every record that was read, by how it ended; rows are counted apart.

read = written + superseded + skipped + dead-lettered + handed back + unsettled, at every moment.
Owned by the loop's thread; others see copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest.flow.ledger import Settled, Ticket

ENDS = {
    Settled.WRITTEN: "written",
    Settled.SUPERSEDED: "superseded",
    Settled.SKIPPED: "skipped",
    Settled.DEAD_LETTERED: "dead_lettered",
}


@dataclass(slots=True)
class Books:
    """Counts since the process started.

    repeats: records among `read` that were read once already, after a crash or a hand-over, as far as commits told.
    records: (table, end) -> records; the table is "" for records that name none (control records, broken ones).
    rows: (table, fate) -> rows as CrateDB answered for them.
    ignored_fields: table -> fields of records that had no column and were left out.
    nulled_values: (table, column) -> values that `overflow` or `precision` in the contract made NULL.
    skips: reason -> records. codes: code -> dead letters.
    """

    read: int = 0
    handed_back: int = 0
    incomplete: int = 0
    records: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    ignored_fields: Counter[str] = field(default_factory=Counter)
    nulled_values: Counter[tuple[str, str]] = field(default_factory=Counter)
    repeats: int = 0

    def settled(self, ticket: Ticket) -> None:
        self.records[ticket.table, ENDS[ticket.worst]] += 1

    def settled_run(self, tickets: Iterable[Ticket]) -> None:
        for (table, worst), n in Counter((ticket.table, ticket.worst) for ticket in tickets).items():
            self.records[table, ENDS[worst]] += n

    def total(self, end: str) -> int:
        return sum(n for (_, what), n in self.records.items() if what == end)

    def summary(self, unsettled: int) -> dict[str, int]:
        """The line that must balance."""
        ends = {end: self.total(end) for end in ENDS.values()}
        return {"read": self.read, **ends, "handed_back": self.handed_back, "unsettled": unsettled}

    def is_balanced(self, unsettled: int) -> bool:
        """
        >>> Books(read=2, handed_back=1).is_balanced(unsettled=1)
        True
        """
        summary = self.summary(unsettled)
        return summary.pop("read") == sum(summary.values())
