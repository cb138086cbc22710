"""Lanes: the open batches, one lane per table and slot, at most one batch of a lane out.

Owned by the loop's thread. A lane is a row of folds, sent in order: the ones to be sent again (`redo`), sealed ones, then open
ones. The first open one grows; a change that does not fold with what its key has there waits in the next, so that a key with
such changes makes no other key wait. As long as all that waits for a table fits into one request it goes in one, and waits while
such a one is out: a request costs CrateDB a sync for each shard that it touches, however few its rows (ADR 14). What is more goes
lane by lane, several at once. Nothing here knows CrateDB, Kafka or a real clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from ingest.flow.fold import Fold, Folded
from ingest.flow.ledger import Ticket
from ingest.model import Change, Lane, Partition

FULL, LINGER, FLUSH, AGAIN = "full", "linger", "flush", "again"  # why a batch goes


@dataclass(frozen=True, slots=True)
class BatchRules:
    """When an open batch goes: at max_rows, at max_bytes, or linger_s after the lane's last one went."""

    max_rows: int = 5_000
    max_bytes: int = 4_000_000
    linger_s: float = 0.1


@dataclass(slots=True)
class LaneState:
    """One lane. `out`: the fold that a writer has; `unsure`: tags of requests that may still run on the server.

    why: for which of the reasons above the last batch went. is_busy: `Lanes` looks at it.
    """

    lane: Lane
    rules: BatchRules
    redo: deque[Fold] = field(default_factory=deque)
    sealed: deque[Fold] = field(default_factory=deque)
    open: list[Fold] = field(default_factory=list)
    out: Fold | None = None
    why: str = ""
    last_sent_s: float = float("-inf")
    resting_until_s: float = 0.0
    attempts: int = 0
    unsure: tuple[str, ...] = ()
    unsure_since_s: float = 0.0
    stale_streak: int = 0
    sent: int = 0
    is_busy: bool = False

    def add(self, change: Change, now_s: float) -> None:
        """Put the change into an open fold, behind every other change of its key that it does not fold with."""
        if change.new_keys:  # a request of its own, behind all that came before
            self.sealed.extend([*self.open, fold_of([Folded(change)], now_s)])
            self.open = []
            return
        if not (len(self.open) == 1 and self.open[0].add(change)):  # nearly always so, and a fifth of the long way's time
            self._add_behind(change, now_s)
        if is_full(self.open[0], self.rules):
            self.sealed.append(self.open.pop(0))

    def _add_behind(self, change: Change, now_s: float) -> None:
        last = next((i for i in reversed(range(len(self.open))) if change.key in self.open[i].entries), -1)
        if last < 0 or not self.open[last].add(change):
            self._room_behind(last, now_s).add(change)

    def _room_behind(self, last: int, now_s: float) -> Fold:
        """The first open fold with room behind number `last`; a new one if there is none."""
        found = next((fold for fold in self.open[last + 1 :] if not is_full(fold, self.rules)), None)
        if found is None:
            found = Fold(now_s)
            self.open.append(found)
        return found

    def ripe(self, now_s: float, is_flushing: bool) -> str | None:
        """Why the next batch should go now, None if it should not."""
        if self.out is not None or now_s < self.resting_until_s:
            return None
        if self.redo:
            return AGAIN
        if self.sealed:
            return FULL
        if not self.open:
            return None
        if is_flushing:
            return FLUSH
        return LINGER if now_s - self.last_sent_s >= self.rules.linger_s else None

    def ripe_at_s(self) -> float:
        """When the next batch will be ripe if nothing is added, infinite while one is out or nothing waits."""
        if self.out is not None or not (self.redo or self.sealed or self.open):
            return inf
        linger_until_s = 0.0 if self.redo or self.sealed else self.last_sent_s + self.rules.linger_s
        return max(self.resting_until_s, linger_until_s)

    def take(self, now_s: float, why: str = "") -> Fold:
        """The fold that goes next; it is out until `back`."""
        if self.redo:
            fold = self.redo.popleft()
        elif self.sealed:
            fold = self.sealed.popleft()
        else:
            fold = self.open.pop(0)
        self.out, self.why, self.last_sent_s = fold, why, now_s
        self.sent += 1
        return fold

    def back(self) -> Fold:
        """The fold that was out, which is now the caller's to settle."""
        assert self.out is not None
        fold, self.out = self.out, None
        return fold

    def again(self, entries: Sequence[Folded], now_s: float) -> None:
        """Send these entries once more, as they are, before anything else of this lane."""
        self.redo.appendleft(fold_of(entries, now_s))

    def mingle(self, entries: Sequence[Folded], now_s: float) -> None:
        """Send these entries once more, beside others: with the next batch. Those behind which changes of their key wait go first
        and alone, as `again` has it."""
        waiting = {key for fold in (*self.redo, *self.sealed, *self.open) for key in fold.entries}
        ahead = [entry for entry in entries if entry.survivor.key in waiting]
        for entry in entries:
            if entry.survivor.key not in waiting:
                self._next(now_s).put(entry)
        if ahead:
            self.again(ahead, now_s)

    def _next(self, now_s: float) -> Fold:
        """The fold that goes next if nothing is to be sent again; a new one if there is none."""
        if not self.sealed and not self.open:
            self.open.append(Fold(now_s))
        return self.sealed[0] if self.sealed else self.open[0]

    def again_singly(self, entries: Sequence[Folded], now_s: float) -> None:
        """Send every member of these entries by itself, oldest first: first all first members, then all second ones, ..."""
        longest = max(len(entry.members) for entry in entries)
        rounds = [[entry.members[i] for entry in entries if i < len(entry.members)] for i in range(longest)]
        self.redo.extendleft(fold_of([Folded(change) for change in members], now_s) for members in reversed(rounds))

    @property
    def is_well(self) -> bool:
        """Whether its batches need nothing of their own: no wait for earlier requests, no second try, no other form."""
        return not (self.unsure or self.attempts or self.stale_streak)

    @property
    def may_go_beside(self) -> bool:
        """Whether its open batch may go in the request of another lane."""
        return self.is_well and self.out is None and bool(self.open) and not self.redo and not self.sealed

    @property
    def is_idle(self) -> bool:
        return self.out is None and not self.open and not self.sealed and not self.redo

    def forget(self, is_gone: Callable[[Ticket], bool]) -> None:
        """Drop the waiting entries all of whose members are gone."""
        self.redo = kept_folds(self.redo, is_gone)
        self.sealed = kept_folds(self.sealed, is_gone)
        self.open = list(kept_folds(self.open, is_gone))


def is_full(fold: Fold, rules: BatchRules) -> bool:
    return len(fold.entries) >= rules.max_rows or fold.size_bytes >= rules.max_bytes


def fold_of(entries: Sequence[Folded], now_s: float) -> Fold:
    fold = Fold(now_s)
    fold.entries = {entry.survivor.key: entry for entry in entries}
    fold.size_bytes = sum(entry.survivor.size_bytes for entry in entries)
    return fold


def kept_folds(folds: Collection[Fold], is_gone: Callable[[Ticket], bool]) -> deque[Fold]:
    """The folds without the entries all of whose members are gone, without those that are empty then."""
    kept = deque[Fold]()
    for fold in folds:
        entries = [e for e in fold.entries.values() if not all(is_gone(member.ticket) for member in e.members)]
        if len(entries) == len(fold.entries):
            kept.append(fold)
        elif entries:
            kept.append(fold_of(entries, fold.opened_s))
    return kept


class Lanes:
    """All lanes. slots: how many lanes a table has; the slot is the Kafka partition's number modulo that, whatever the topic."""

    def __init__(self, rules: BatchRules, slots: int) -> None:
        self._rules = rules
        self._slots = slots
        self._lanes: dict[Lane, LaneState] = {}
        self._busy: dict[Lane, LaneState] = {}  # of thousands of lanes only those that hold something are looked at
        self._by_table: dict[str, dict[int, LaneState]] = {}

    def __iter__(self) -> Iterator[LaneState]:
        return iter(self._lanes.values())

    def __getitem__(self, lane: Lane) -> LaneState:
        return self._lanes[lane]

    def add(self, table: str, change: Change, now_s: float) -> None:
        slot = change.at.partition % self._slots
        try:
            state = self._by_table[table][slot]  # a Lane made for each change, only to find the state by it, cost 0.5 us
        except KeyError:
            state = self._made(Lane(table, slot))
        if not state.is_busy:
            state.is_busy = True
            self._busy[state.lane] = state
        state.add(change, now_s)

    def _made(self, lane: Lane) -> LaneState:
        state = self._lanes[lane] = LaneState(lane, self._rules)
        self._by_table.setdefault(lane.table, {})[lane.slot] = state
        return state

    def of(self, table: str) -> Iterator[LaneState]:
        return iter(self._by_table.get(table, {}).values())

    def are_out(self, table: str) -> bool:
        """Whether a writer has a batch for this table."""
        return any(state.out is not None for state in self.of(table))

    def are_busy(self, table: str) -> bool:
        """Whether anything for this table waits or is out."""
        return any(not state.is_idle for state in self.of(table))

    def due(self, now_s: float, flushing: Callable[[LaneState], bool]) -> Iterator[tuple[LaneState, str]]:
        """Lanes whose next batch should go now, the longest unsent first, each with its reason; `take` each before the next."""
        for lane in [lane for lane, state in self._busy.items() if state.is_idle]:
            self._busy.pop(lane).is_busy = False
        ripe = [(state, reason) for state in self._busy.values() if (reason := state.ripe(now_s, flushing(state)))]
        ripe.sort(key=lambda pair: pair[0].last_sent_s)
        for state, reason in ripe:
            table = state.lane.table
            if state.out is not None:  # it went beside one before it
                continue
            why = FULL if reason in (LINGER, FLUSH) and not self._fits_in_one(table) else reason
            if not (why == LINGER and self._is_small_out(table)):
                yield state, why

    def take(self, first: LaneState, why: str, now_s: float) -> list[LaneState]:
        """Have the lane's next batch go out for a reason of `due`; the lanes whose batches go in its request, it first.

        Where a request is full, or sent again, it goes alone.
        """
        fold = first.take(now_s, why)
        taken = [first]
        if why not in (LINGER, FLUSH) or not first.is_well:
            return taken
        keys = set(fold.entries)
        for state in self.of(first.lane.table):
            if state.may_go_beside and keys.isdisjoint(state.open[0].entries):
                keys.update(state.take(now_s, why).entries)
                taken.append(state)
        return taken

    def _fits_in_one(self, table: str) -> bool:
        """Whether the open batches of the table's lanes fit into one request."""
        waiting = [state.open[0] for state in self.of(table) if state.open and state.out is None]
        rows, size_bytes = sum(map(len, waiting)), sum(fold.size_bytes for fold in waiting)
        return rows <= self._rules.max_rows and size_bytes <= self._rules.max_bytes

    def _is_small_out(self, table: str) -> bool:
        """Whether a request is out that held all that waited for the table."""
        return any(state.out is not None and state.why == LINGER for state in self.of(table))

    def ripe_in_s(self, now_s: float) -> float:
        """Seconds until the next batch becomes ripe by time alone, infinite where none will; below 0 for one that is."""
        return min((self._ripe_at_s(state) for state in self._busy.values()), default=inf) - now_s

    def _ripe_at_s(self, state: LaneState) -> float:
        table = state.lane.table
        waits = not (state.redo or state.sealed) and self._is_small_out(table) and self._fits_in_one(table)
        return inf if waits else state.ripe_at_s()

    def forget(self, partitions: Collection[Partition]) -> None:
        """Drop what waits and came from closed pages of these partitions alone; batches that are out cannot be recalled."""
        gone = set(partitions)

        def is_gone(ticket: Ticket) -> bool:
            return ticket.page.partition in gone and not ticket.page.is_open

        for state in self._busy.values():
            state.forget(is_gone)
