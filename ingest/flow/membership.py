"""Membership: what happens when partitions come and go.

The source calls these while the loop's thread waits inside `poll` or `close`, so they may touch the loop's state.
Revoked partitions are drained: their open batches go at once, results are settled, and what is settled is committed before
the partitions leave. Lost ones are only forgotten. What is forgotten is read again by whoever owns the partition next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ingest.flow.ports import Commit
from ingest.flow.state import State
from ingest.model import Partition

DRAIN_STEP_S = 0.02


class Membership:
    """pump: one round of submitting and settling, without polling. clock: monotonic seconds."""

    def __init__(self, state: State, pump: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._state = state
        self._pump = pump
        self._clock = clock
        self._unsafe: dict[Partition, int] = {}
        self.leaving: frozenset[Partition] = frozenset()
        self.is_closing = False  # the loop has drained already

    def assigned(self, partitions: Mapping[Partition, Commit]) -> None:
        """Open a page for each. One that we closed ourselves goes on at its lowest unsafe offset, if nobody committed more."""
        for partition, start in partitions.items():
            offset = max(start.offset, self._unsafe.pop(partition, 0))
            if offset != start.offset:
                self._state.source.seek(partition, offset)
            self._state.open(partition, offset, start.metadata)
        self._state.observer.event("info", "assigned", partitions=len(partitions), held=len(self._state.ledger.partitions))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Drain, commit and close these, within revoke_s."""
        going = [p for p in partitions if p in self._state.ledger]
        if not going:
            return
        self.leaving = frozenset(going)
        await self._drain(going, self._clock() + self._state.rules.revoke_s)
        await self._commit(going)
        self.leaving = frozenset()
        self._close(going)
        self._state.observer.event("info", "revoked", partitions=len(going), held=len(self._state.ledger.partitions))

    def lost(self, partitions: Collection[Partition]) -> None:
        """Forget these: somebody else has them already."""
        going = [p for p in partitions if p in self._state.ledger]
        self._close(going)
        for partition in going:
            self._unsafe.pop(partition, None)
        self._state.observer.event("warning", "lost", partitions=len(going))

    async def _drain(self, going: Collection[Partition], deadline_s: float) -> None:
        state = self._state
        while state.ledger.unsettled_in(going) > sum(len(state.held.get(p, ())) for p in going):
            if self.is_closing or self._clock() >= deadline_s or state.regulator.is_open:
                return  # what is left is read again by the next owner
            self._pump(self._clock())
            await state.source.sleep(DRAIN_STEP_S)

    async def _commit(self, going: Collection[Partition]) -> None:
        state = self._state
        offsets = state.ledger.committable(going)
        if offsets and await state.source.commit_now(state.commits(offsets), state.rules.revoke_s):
            state.ledger.committed(offsets)

    def _close(self, going: Collection[Partition]) -> None:
        for partition in going:
            self._unsafe[partition] = self._state.close(partition)
            self._state.watched.pop(partition, None)
        self._state.lanes.forget(going)
