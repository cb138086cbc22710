"""Pressure: which partitions rest, so that memory stays under its mark.

All rest when unsettled bytes reach the high mark, until the low one; those that feed a table rest while that table fills
more than its share; those of parked subjects and those that wait for a schema or a table rest as well. Paused partitions
are polled on, so membership stays.
"""

from __future__ import annotations

from ingest.flow.state import State
from ingest.model import Partition


class Pressure:
    """Decides, and tells the source only what changed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._paused: set[Partition] = set()
        self._is_full = False
        self._full_tables: set[str] = set()

    @property
    def is_full(self) -> bool:
        return self._is_full

    @property
    def full_tables(self) -> frozenset[str]:
        return frozenset(self._full_tables)

    def forget(self, partition: Partition) -> None:
        """A partition that is assigned anew arrives unpaused."""
        self._paused.discard(partition)

    def relieve(self, backlog_bytes: int, pause_all: bool = False) -> None:
        """Pause and resume as the state demands. backlog_bytes: dead letters that are not acknowledged."""
        state = self._state
        self._measure(state.ledger.unsettled_bytes + backlog_bytes)
        mine = set(state.ledger.partitions)
        want = mine if pause_all or self._is_full else self._resting(mine)
        self._paused &= mine
        if to_pause := want - self._paused:
            state.source.pause(to_pause)
        if to_resume := self._paused - want:
            state.source.resume(to_resume)
        self._paused = want

    def _resting(self, mine: set[Partition]) -> set[Partition]:
        state = self._state
        want = state.parking.resting(mine) | (mine & state.held.keys())
        for table in self._full_tables:
            want |= mine.intersection(state.tables.feeders(table))
        return want

    def _measure(self, unsettled_bytes: int) -> None:
        """Two marks each, so that nothing flutters: full at the mark, not full at half of it (the low mark for all)."""
        rules = self._state.rules
        self._is_full = unsettled_bytes >= (rules.low_bytes if self._is_full else rules.high_bytes)
        share = rules.high_bytes * rules.table_share
        if unsettled_bytes < share / 2:
            self._full_tables.clear()
            return
        sizes = self._state.lanes.size_bytes_by_table()
        self._full_tables = {t for t, size in sizes.items() if size >= (share / 2 if t in self._full_tables else share)}
