"""`--until-caught-up`: read to the end offsets seen at the start, then end; give up when nothing moves for too long.

Runs in the loop's thread, once per step.
"""

from __future__ import annotations

from ingest.errors import Retry, Stop
from ingest.flow.loop import Loop
from ingest.model import Partition

# A member that gets no partition has nothing to do: another member has them all.
NO_PARTITION_S = 15.0


class CaughtUp:
    """Called with the loop: True once every partition that is ours has reached its end, or rests because it is parked."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._ends: dict[Partition, int] = {}
        self._progress = (-1, -1)
        self._moved_s: float | None = None

    def __call__(self, loop: Loop) -> bool:
        now_s = loop.world.clock()
        self._watch(loop, now_s)
        if not loop.state.ledger.partitions:
            return self._moved_s is not None and now_s - self._moved_s > NO_PARTITION_S and loop.world.source.is_healthy()[0]
        self._learn_ends(loop)
        return all(self._is_done(loop, p) for p in list(loop.state.ledger.partitions))

    def _learn_ends(self, loop: Loop) -> None:
        unknown = [p for p in loop.state.ledger.partitions if p not in self._ends]
        new = set(unknown) - loop.state.parking.resting(unknown)
        if new:
            try:
                ends = loop.world.source.end_offsets(new)
            except Retry as error:
                loop.world.observer.event("warning", "end_offsets_retry", code=error.code, text=error.text)
                return
            # A log that ends before our position is another one than we read: the next polls will say so.
            self._ends.update((p, end) for p, end in ends.items() if end >= loop.state.ledger.page(p).next_offset)

    def _is_done(self, loop: Loop, partition: Partition) -> bool:
        if loop.state.parking.resting([partition]):
            return True
        page = loop.state.ledger.page(partition)
        end = self._ends.get(partition)
        return end is not None and page.next_offset >= end and not page.tickets and page.committed >= page.next_offset

    def _watch(self, loop: Loop, now_s: float) -> None:
        """Raise Stop when no record was read or settled for give_up_s."""
        books, ledger = loop.state.books, loop.state.ledger
        progress = (books.read, ledger.unsettled_records)
        if progress != self._progress or self._moved_s is None:
            self._progress, self._moved_s = progress, now_s
        elif now_s - self._moved_s > self._give_up_s:
            raise Stop("gave_up", f"nothing moved for {self._give_up_s:.0f} s: {why_not(loop)}")


def why_not(loop: Loop) -> str:
    """A sentence about what the loop waits for."""
    state = loop.state
    if state.regulator.is_open:
        return f"CrateDB is away ({state.regulator.reason})"
    healthy, text = loop.world.source.is_healthy()
    reasons = [None if healthy else text, loop.errands.waiting_for(), loop.world.dead_letters.trouble()]
    return next((reason for reason in reasons if reason), "the end offsets were not reached")
