"""Truncates of the source: a record that removes rows which no key names, so the owner of the table decides what it does.

park (unless the contract says otherwise), skip, or empty. `empty` is exact where the one partition that feeds the table has
everything from before the truncate in front of it: it is held, the lanes of the table run dry, then the table is emptied. With
several partitions the older changes of the others may come any time later, and nothing could tell which keys they name, so
the topic is parked there as well. Owned by the loop's thread.
"""

from __future__ import annotations

from ingest.errors import Parked, Reject
from ingest.flow.ledger import Ticket
from ingest.flow.ports import Truncation
from ingest.flow.state import State
from ingest.flow.tables import Target
from ingest.model import Envelope, Position


class Truncates:
    """See the module. waiting: what must be done for a held truncate, with the full name of its table."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._done: set[Position] = set()
        self.waiting: dict[Position, tuple[str, Truncation]] = {}

    def is_done(self, target: Target, at: Position) -> bool:
        """Whether the truncate there may pass: the table is empty, an operator has seen to it, or the owner says so."""
        return target.mapper.truncate == "skip" or at in self._done

    def begin(self, target: Target, ticket: Ticket, envelope: Envelope | None, now_ms: int) -> None:
        """Note what must be done before this truncate may pass. Raises Parked where that is up to a person."""
        at = ticket.record.at
        why_not = self._why_not(target, ticket, envelope)
        if why_not is not None or envelope is None:
            raise self._parked(target, at, why_not or "")
        try:
            self.waiting[at] = target.table.full_name, target.mapper.truncation(envelope, ticket.record, now_ms)
        except Reject as reject:
            raise self._parked(
                target, at, f": {reject.text}, so its place in the order of the table's changes is not known"
            ) from None

    def emptied(self, at: Position) -> None:
        """The table is empty now: the truncate may pass."""
        self.waiting.pop(at, None)
        self._done.add(at)

    def _why_not(self, target: Target, ticket: Ticket, envelope: Envelope | None) -> str | None:
        """Why the worker does not empty the table itself, None if it does."""
        partition = ticket.page.partition
        if target.mapper.truncate != "empty":
            return ""
        if self._state.source.partition_count(partition.topic) != 1:
            return ": its topic has several partitions, where changes from before a truncate may come after it"
        if set(target.feeders) != {partition}:
            return ": other topics feed the table as well, and their rows must stay"
        return None if envelope is not None else ": it stands among other rows in one record"

    def _parked(self, target: Target, at: Position, why: str) -> Parked:
        """Met again at the same place, it has been unparked: then it passes."""
        self._done.add(at)
        return Parked(
            "topic.truncate",
            f"the source truncated {target.table.full_name} at {at}{why}: empty the table by hand if it should follow, "
            'then `ingest unpark` goes on behind the truncate (`truncate = "skip"` in the contract never stops for one)',
            subject=f"topic:{at.topic}",
        )
