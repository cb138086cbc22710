"""Pressure: which partitions rest, so that memory stays under its mark.

All rest when the bytes that are held reach the high mark, until the low one. Those that feed a table rest while it holds more
than `table_share : 1 - table_share` times what is still free, so that a table that cannot be written leaves room for the others:
alone it gets table_share of the mark, and n such tables get equal parts and leave one part in 1 + n * (that ratio) free.
Those of parked subjects and those that wait for a schema or a table rest as well. Paused partitions are polled on, so
membership stays.
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
        self._measure(state.ledger.held_bytes + backlog_bytes)
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

    def _measure(self, held_bytes: int) -> None:
        """Two marks each, so that nothing flutters: full at the mark, not full at the low one (for a table: half of its own)."""
        rules = self._state.rules
        self._is_full = held_bytes >= (rules.low_bytes if self._is_full else rules.high_bytes)
        if self._full_tables or held_bytes >= rules.table_share * rules.high_bytes:
            self._full_tables = self._tables_over(max(0, rules.high_bytes - held_bytes))

    def _tables_over(self, free_bytes: int) -> set[str]:
        """The tables that hold too much beside so many free bytes."""
        state, share = self._state, self._state.rules.table_share
        over = set()
        for table, feeders in state.tables.fed():
            mark = share * free_bytes / (2 if table in self._full_tables else 1)
            held_bytes = state.ledger.held_in(feeders)
            if held_bytes and held_bytes * (1 - share) >= mark:
                over.add(table)
        return over
