"""Rows inside which CrateDB fails: whether one is poison, or CrateDB is sick.

A sick CrateDB costs time and never a dead letter, so a row that answers 5000 is sent again and again. But a row that keeps
failing while its neighbours are written in the very same requests is at fault itself. The evidence for that: at least five tries
in half a minute, and beside it, in its own month, so many rows written that one at least stood in the same shard (twenty per
shard leave one chance in 10^8 that none did), with no more than one in a hundred failing. Then it is dead-lettered, alone.
A row that fails for ten minutes without such evidence, while CrateDB writes others, parks its table: a person must look.
Such rows travel with the next batch of their lane, so they hold up nobody but the offsets behind them.
Owned by the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.flow.fold import Folded
from ingest.model import WRITTEN, Fate, Outcome, Position, Table

CODE = "store.server_error"
Month = int | None
TRIES = 5
POISON_S = 30.0
BESIDE_PER_SHARD = 20
NEIGHBOURS_PER_FAULT = 100
PARK_S = 600.0
ALIVE_S = 60.0  # a row was written within this time, so CrateDB works
# Rows that fail so and may travel with the next batch of their lane; of more the lane sends them again by themselves.
LONE_ROWS = 10
LONE_WAIT_S = 2.0
REMEMBERED = 1_000

POISON = Outcome(
    Fate.REJECTED,
    CODE,
    "CrateDB fails inside on this row alone, while its neighbours in the same requests are written: see its own log",
)
STUCK = Outcome(
    Fate.PARK,
    "store.row_fails",
    "CrateDB has failed inside on the same row for ten minutes while it writes others, and too few of those stand beside it to "
    "tell whether the row or a shard is at fault: see CrateDB's log, then `ingest unpark` tries again",
)


@dataclass(slots=True)
class Fault:
    """A row that failed so. beside: rows of its month that were written in the requests in which it failed."""

    first_s: float
    tries: int = 0
    beside: int = 0


def is_fault(outcome: Outcome) -> bool:
    return outcome.code == CODE and outcome.fate is Fate.RETRY


class Faults:
    """Remembers the rows that fail, by the position of their newest change."""

    def __init__(self) -> None:
        self._known: dict[Position, Fault] = {}
        self._written_s = float("-inf")

    def judged(self, table: Table, entries: Sequence[Folded], outcomes: Sequence[Outcome], now_s: float) -> Sequence[Outcome]:
        """The outcomes, those of rows that are found to be poison or stuck replaced."""
        if WRITTEN in outcomes:
            self._written_s = now_s
        if not self._known and CODE not in {outcome.code for outcome in outcomes}:
            return outcomes
        if len(self._known) > REMEMBERED:  # rows that went to another worker, or CrateDB is sick: no evidence in either case
            self._known.clear()
        pairs = list(zip(entries, outcomes, strict=True))
        good = Counter(entry.survivor.month for entry, outcome in pairs if outcome.fate in (Fate.WRITTEN, Fate.SUPERSEDED))
        failing = Counter(entry.survivor.month for entry, outcome in pairs if is_fault(outcome))
        return [self._judge(table, entry, outcome, good, failing, now_s) for entry, outcome in pairs]

    def _judge(
        self, table: Table, entry: Folded, outcome: Outcome, good: Counter[Month], failing: Counter[Month], now_s: float
    ) -> Outcome:
        if not is_fault(outcome):
            self._known.pop(entry.newest.at, None)
            return outcome
        return verdict(table, self._seen(entry, good, failing, now_s), outcome, now_s, now_s - self._written_s)

    def _seen(self, entry: Folded, good: Counter[Month], failing: Counter[Month], now_s: float) -> Fault:
        fault = self._known.setdefault(entry.newest.at, Fault(now_s))
        month = entry.survivor.month
        fault.tries += 1
        is_lone = failing[month] <= max(1, good[month] // NEIGHBOURS_PER_FAULT)
        fault.beside = fault.beside + good[month] if is_lone else 0
        return fault


def verdict(table: Table, fault: Fault, outcome: Outcome, now_s: float, silent_s: float) -> Outcome:
    """What the evidence says. silent_s: since CrateDB last wrote any row of ours."""
    age_s = now_s - fault.first_s
    if fault.tries >= TRIES and age_s >= POISON_S and fault.beside >= BESIDE_PER_SHARD * table.shards:
        return POISON
    return STUCK if age_s >= PARK_S and silent_s <= ALIVE_S else outcome
