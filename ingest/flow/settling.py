"""Settling: from a writer's result, or a dead letter's acknowledgement, to settled tickets.

A fold's members are superseded only once its survivor is written; a rejected survivor is unfolded and its members are sent
singly, oldest first. Runs in the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ingest.errors import Parked, Reject, Stop
from ingest.flow.faults import LONE_ROWS, LONE_WAIT_S, Faults, is_fault
from ingest.flow.fold import Folded
from ingest.flow.going_back import ages
from ingest.flow.lanes import LaneState
from ingest.flow.ledger import Settled, Ticket
from ingest.flow.ports import DeadLetters, Letter
from ingest.flow.regulator import wait_s
from ingest.flow.second_look import Doubt
from ingest.flow.state import State
from ingest.model import WRITTEN, Fate, Outcome, Partition, Position, Result

# After this many batches in a row that were mostly stale the lane starts with the CASE form of the guard; every tenth
# batch still goes with the refusing form, so that the lane notices when the stream is fresh again.
STALE_STREAK = 2
SENSE_EVERY = 10
# Waits of a lane whose table is blocked: the block is lifted by a person or a disk, not by asking often.
BLOCKED_WAIT_S = 2.0


class Settling:
    """Settles what comes back. dead_letters: where rejected records go."""

    def __init__(self, state: State, dead_letters: DeadLetters) -> None:
        self._state = state
        self._dead_letters = dead_letters
        self._letters: dict[Position, Ticket] = {}
        self._faults = Faults()

    # ------------------------------------------------------------ batches

    def result(self, result: Result, now_s: float) -> None:
        """Settle every row of a batch that came back, and put what must be sent again into its lane."""
        state, batch = self._state, result.batch
        table = batch.lane.table
        lanes = [state.lanes[lane] for lane in (batch.lane, *batch.beside)]
        parts = [list(lane.back().entries.values()) for lane in lanes]
        state.tables.add_months(table, result.new_months)
        outcomes = self._faults.judged(batch.table, [entry for part in parts for entry in part], result.outcomes, now_s)
        all_bad: list[Outcome] = []
        begin = 0
        for lane, entries in zip(lanes, parts, strict=True):
            its = slice(begin, begin := begin + len(entries))
            self._watch_stale(lane, entries, result.outcomes[its], is_told=not batch.mostly_stale)
            all_bad += self._back(lane, entries, outcomes[its], result.unsure, now_s)
        self._regulate(result, all_bad, now_s)
        self._heed(table, all_bad)

    def _back(
        self, lane: LaneState, entries: Sequence[Folded], outcomes: Sequence[Outcome], unsure: tuple[str, ...], now_s: float
    ) -> list[Outcome]:
        """Settle what one lane gave, and put what must be sent again into it; the outcomes that are not good."""
        again, refused, bad = self._sort(lane, entries, outcomes)
        if refused:
            lane.again_singly(refused, now_s)
        if are_lone_faults(bad):
            lane.mingle(again, now_s)
        elif again:
            lane.again(again, now_s)
        self._rest(lane, unsure, bad, now_s)
        return bad

    def _sort(
        self, lane: LaneState, entries: Sequence[Folded], outcomes: Sequence[Outcome]
    ) -> tuple[list[Folded], list[Folded], list[Outcome]]:
        """Settle what is settled; entries to send again, entries to unfold, and the outcomes that are not good."""
        again: list[Folded] = []
        refused: list[Folded] = []
        bad: list[Outcome] = []
        rows = self._state.books.rows
        table = lane.lane.table
        if are_written(outcomes):  # as nearly always; all at once this is 0.5 us a row instead of 2
            rows[table, Fate.WRITTEN.value] += len(entries)
            self._all_written(entries)
            return again, refused, bad
        for entry, outcome in zip(entries, outcomes, strict=True):
            fate = outcome.fate
            rows[table, fate.value] += 1
            if fate is Fate.WRITTEN:
                self._written(entry, outcome)
            elif fate is Fate.SUPERSEDED:
                self._settle_all(entry, Settled.SUPERSEDED)
            elif fate is not Fate.REJECTED:
                again.append(entry)
                bad.append(outcome)
            elif entry.several is not None:
                refused.append(entry)
            else:
                self.doubt(entry.newest.ticket, Reject(outcome.code, outcome.text, column=outcome.column), "write")
        return again, refused, bad

    def _written(self, entry: Folded, outcome: Outcome) -> None:
        newest = entry.newest
        self._state.books.incomplete += outcome.incomplete
        self._settle(newest.ticket, Settled.WRITTEN)
        for member in entry.several or ():
            if member is not newest:
                self._settle(member.ticket, Settled.SUPERSEDED)

    def _all_written(self, entries: Sequence[Folded]) -> None:
        self._settle_run([entry.newest.ticket for entry in entries], Settled.WRITTEN)
        folded = [(entry, members) for entry in entries if (members := entry.several) is not None]
        older = [member.ticket for entry, members in folded for member in members if member is not entry.newest]
        self._settle_run(older, Settled.SUPERSEDED)

    def _settle_run(self, tickets: Sequence[Ticket], how: Settled) -> None:
        self._state.books.settled_run(self._state.ledger.settle_run(tickets, how))

    def _settle_all(self, entry: Folded, how: Settled) -> None:
        for member in entry.members:
            self._settle(member.ticket, how)

    def _settle(self, ticket: Ticket, how: Settled) -> None:
        if self._state.ledger.settle(ticket, how):
            self._state.books.settled(ticket)

    def _rest(self, lane: LaneState, unsure: tuple[str, ...], bad: Sequence[Outcome], now_s: float) -> None:
        """Let a lane that must send again wait, longer each time; a lane that is well starts afresh."""
        if not set(unsure) <= set(lane.unsure):
            lane.unsure_since_s = now_s
        lane.unsure = unsure
        if not bad:
            lane.attempts = 0
            return
        lane.attempts += 1
        blocked = any(outcome.code == "store.blocked" for outcome in bad)
        pause_s = BLOCKED_WAIT_S if blocked else wait_s(lane.attempts)
        lane.resting_until_s = now_s + (min(pause_s, LONE_WAIT_S) if are_lone_faults(bad) else pause_s)
        self._state.books.retries.update(Counter(outcome.code for outcome in bad))
        self._state.observer.event(
            "warning", "batch_retry", lane=str(lane.lane), code=bad[0].code, text=bad[0].text, rows=len(bad),
            attempt=lane.attempts, wait_s=round(lane.resting_until_s - now_s, 3),
        )  # fmt: skip

    def _regulate(self, result: Result, bad: Sequence[Outcome], now_s: float) -> None:
        """Tell the regulator how it went."""
        regulator = self._state.regulator
        down = next((outcome for outcome in bad if is_store_down(outcome)), None)
        busy = next((outcome for outcome in bad if outcome.overload), None)
        if down is not None:
            regulator.failed(now_s, down.text or down.code)
        elif busy is not None:
            regulator.overloaded(now_s, busy.text or busy.code)
        elif result.statements:
            regulator.succeeded()

    def _watch_stale(self, lane: LaneState, entries: Sequence[Folded], outcomes: Sequence[Outcome], is_told: bool) -> None:
        """Count stale rows by partition: for the form of the guard, and for sources that went back in time.

        is_told: not so with the CASE form, where a stale row mostly answers like a written one.
        """
        if are_written(outcomes):
            is_old = []
        else:
            is_old = [outcome.fate is Fate.SUPERSEDED and outcome.code == "stale" for outcome in outcomes]
        if not is_told and True not in is_old:
            return  # it proves nothing
        if is_told:
            lane.stale_streak = lane.stale_streak + 1 if 2 * is_old.count(True) > len(entries) else 0
        self._count_ages(entries, is_old)

    def _count_ages(self, entries: Sequence[Folded], is_old: Sequence[bool]) -> None:
        """is_old: per entry; [] where none is, as nearly always."""
        if True not in is_old:
            for partition, n in self._read_first(entries).items():
                self._state.fresh(partition, n)
            return
        pages = {entry.newest.ticket.page for entry in entries}
        watched = self._state.watched
        marks = {page: watched[page.partition].high_water for page in pages if page.is_open and page.partition in watched}
        for page, seen in ages(entries, is_old, marks).items():
            self._state.aged(page.partition, seen)

    def _read_first(self, entries: Sequence[Folded]) -> Counter[Partition]:
        """How many of these, which are not settled yet, nobody has read before, as far as commits told; by partition."""
        found: Counter[Partition] = Counter()
        for page, n in Counter(entry.newest.ticket.page for entry in entries).items():
            watched = self._state.watched.get(page.partition)
            if watched is None or not page.is_open:
                continue
            if page.next_offset < watched.high_water:
                its = (entry.newest for entry in entries if entry.newest.ticket.page is page)
                n = sum(change.at.offset >= watched.high_water for change in its)
            if n:
                found[page.partition] = n
        return found

    def _heed(self, table: str, bad: Sequence[Outcome]) -> None:
        """Stop the process, or park the table, where an outcome says so."""
        state = self._state
        for outcome in bad:
            if outcome.fate is Fate.STOP:
                raise Stop(outcome.code, outcome.text)
            if outcome.fate is Fate.PARK and f"table:{table}" not in state.parking:
                state.to_park.append(Parked(outcome.code, outcome.text, subject=f"table:{table}"))
                state.tables.doubt(table)
                return

    # ------------------------------------------------------------ dead letters

    def doubt(self, ticket: Ticket, reject: Reject, stage: str) -> None:
        """Reject the ticket's record once the catalogue still shows the table that the record does not fit."""
        if ticket.table and stage != "decode":
            self._state.second_look.add(Doubt(ticket, reject, stage))
        else:
            self.reject(ticket, reject, stage)

    def believe(self, table: str) -> None:
        """The catalogue shows the table as we knew it, so what was rejected before it was asked is rejected."""
        for ticket, reject, stage in self._state.second_look.answered(table):
            self.reject(ticket, reject, stage)

    def reject(self, ticket: Ticket, reject: Reject, stage: str) -> None:
        """Send the ticket's record to the dead-letter topic, once, however many of its rows are rejected."""
        if not ticket.page.is_open:
            return
        if ticket.has_letter:
            self._settle(ticket, Settled.DEAD_LETTERED)
            return
        ticket.has_letter = True
        self._state.books.codes[reject.code] += 1
        self._letters[ticket.record.at] = ticket
        self._dead_letters.send(Letter(ticket.record, reject, ticket.table or None, stage))
        self._state.rejected(ticket)

    def acknowledged(self) -> None:
        """Settle the records whose letters the dead-letter topic has."""
        for position in self._dead_letters.take_acknowledged():
            ticket = self._letters.pop(position, None)
            if ticket is not None:
                self._settle(ticket, Settled.DEAD_LETTERED)


def are_written(outcomes: Sequence[Outcome]) -> bool:
    return outcomes.count(WRITTEN) == len(outcomes)


def are_lone_faults(bad: Sequence[Outcome]) -> bool:
    """Whether all that went wrong is that CrateDB failed inside on a few rows, which may then travel beside others."""
    return 0 < len(bad) <= LONE_ROWS and all(map(is_fault, bad))


def is_store_down(outcome: Outcome) -> bool:
    """Whether the outcome says that CrateDB as a whole does not answer or cannot work."""
    return outcome.unknown or outcome.code in ("store.unreachable", "store.unavailable", "store.starting")
