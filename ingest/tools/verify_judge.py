"""Compares what the topics say of a key with the rows that its table holds of it. Pure.

A difference is told only where the topics are sure: what they no longer hold, what came after they were read and what nobody can
order is counted apart, by the words below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ingest.crate.pages import Row, names_of
from ingest.crate.statements import VERSION
from ingest.kafka.peek import Bounds
from ingest.model import Level, Partition, Table, kafka_offset
from ingest.tools.verify_fold import Folded, State, Truncated, truncated
from ingest.tools.verify_values import comparison

# Kinds of difference.
MISSING: Final = "missing"  # the topic has the row, the table has not
OLDER: Final = "older"  # the table has an older version of it
VALUES: Final = "values"  # the same version, other values
GHOST: Final = "ghost"  # live in a month that the key left, or though it was deleted
NEWER: Final = "newer"  # the table has a version that the topics should tell and do not
STRANGER: Final = "stranger"  # only the table has it, and the topics are complete
# What is no difference, by why it cannot be judged.
TABLE_ONLY: Final = "table_only"
SINCE: Final = "since"
BEYOND: Final = "beyond"
BUSY: Final = "busy"
UNORDERED: Final = "unordered"
UNREAD: Final = "unread"
# Written by the worker whenever it writes, so it says nothing of the source.
NEVER_COMPARED: Final = frozenset({"cdc_ingested_at"})

Key = tuple[Any, ...]


class Stored(NamedTuple):
    """A row of the table without its values."""

    month: int | None
    version: str | None
    is_deleted: bool


@dataclass(slots=True)
class Difference:
    """One key that is not as the topics say. state: what it should be; rows: what is there; columns: those that differ.

    ghosts: months in which it is live and must not be (None: a table without months).
    """

    key: Key
    kind: str
    state: State | None
    rows: Sequence[Stored] = ()
    columns: Sequence[str] = ()
    ghosts: Sequence[int | None] = ()

    @property
    def month(self) -> int | None:
        """The month that it is counted in."""
        if self.kind != GHOST and self.state is not None and self.state.month is not None:
            return self.state.month
        return next(iter(self.ghosts), next((row.month for row in self.rows), None))


class Unjudged(NamedTuple):
    """A key of which nobody can say more. why: one of the words above."""

    why: str


Verdict = Difference | Unjudged | None


@dataclass
class Judge:
    """Judges the keys of one table. spans: what was read of each partition. is_complete: what the topics do not tell is wrong."""

    table: Table
    spans: Mapping[Partition, Bounds]
    truncates: Sequence[Truncated] = ()
    is_complete: bool = False
    _same: Mapping[str, Any] = field(init=False)
    _places: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        names = [name for name in names_of(self.table) if name not in NEVER_COMPARED and not self.table.columns[name].generated]
        self._same = {name: comparison(self.table.columns[name]) for name in names}
        self._places = {name: place for place, name in enumerate(names_of(self.table))}

    @property
    def is_ordered(self) -> bool:
        return self.table.level is Level.ORDERED

    def judge(self, key: Key, folded: Folded | None, rows: Sequence[Row]) -> Verdict:
        """None where the table is right."""
        if folded is None:
            return self._untold(key, rows)
        if any(self._is_answer(truncated(state, self.truncates), rows) for state in folded.answers()):
            return None
        if why := self._unsure(folded):
            return Unjudged(why)
        return self._difference(key, truncated(folded.state, self.truncates), rows)

    # ------------------------------------------------------------ right or not

    def _is_answer(self, state: State | None, rows: Sequence[Row]) -> bool:
        live = [row for row in rows if not row.is_deleted]
        if state is None:
            return not live
        if not state.is_live:
            return not live and not any(self._is_newer(row, state) for row in rows)
        if len(live) != 1 or any(self._is_newer(row, state) for row in rows):
            return False
        (row,) = live
        return self._is_in_place(row, state) and row.version == self._version(state) and not self._wrong(row, state)

    def _version(self, state: State) -> str | None:
        return state.version if VERSION in self._places else None

    @staticmethod
    def _is_in_place(row: Row, state: State) -> bool:
        return state.month is None or row.month == state.month

    def _is_newer(self, row: Row, state: State) -> bool:
        return self.is_ordered and state.version is not None and (row.version or "") > state.version

    def _wrong(self, row: Row, state: State) -> list[str]:
        """The columns whose values are others."""
        return [
            name
            for name, ours in state.values.items()
            if name in self._same and not self._same[name](ours, row.values[self._places[name]])
        ]

    # ------------------------------------------------------------ what cannot be judged

    def _untold(self, key: Key, rows: Sequence[Row]) -> Verdict:
        live = [row for row in rows if not row.is_deleted]
        if not live:
            return None
        if not self.is_complete or (self.is_ordered and all(self._came_later(row) for row in live)):
            return Unjudged(TABLE_ONLY)
        return Difference(key, STRANGER, None, plain(rows))

    def _came_later(self, row: Row) -> bool:
        """Whether the record that wrote it stands behind all that was read."""
        offset = kafka_offset(row.version or "")
        return offset >= 0 and all(offset >= span.end for span in self._spans_of(row, None))

    def _unsure(self, folded: Folded) -> str | None:
        if folded.is_busy:
            return BUSY
        if len(folded.partitions) > 1 and (not self.is_ordered or folded.has_patch):
            return UNORDERED
        return None

    def _spans_of(self, row: Row, state: State | None) -> list[Bounds]:
        """The spans of the partitions that the row may come from."""
        named = {name: row.values[self._places[name]] for name in ("cdc_topic", "cdc_partition") if name in self._places}
        topic = named.get("cdc_topic")
        number = named.get("cdc_partition")
        found = [span for p, span in self.spans.items() if topic in (None, p.topic) and number in (None, p.number)]
        if state is not None and not named:
            at = state.change.at
            found = [span for p, span in self.spans.items() if p == (at.topic, at.partition)]
        return found

    # ------------------------------------------------------------ differences

    def _difference(self, key: Key, state: State | None, rows: Sequence[Row]) -> Verdict:
        live = [row for row in rows if not row.is_deleted]
        if state is None:  # only changes that the group has not committed, or letters: what is there is older than the topics
            return Unjudged(TABLE_ONLY)
        newer = [row for row in rows if self._is_newer(row, state)]
        if newer:
            return self._newer(key, state, rows, max(newer, key=lambda row: row.version or ""))
        if not state.is_live:
            return self._not_deleted(key, state, rows, live)
        here = [row for row in live if self._is_in_place(row, state)]
        ghosts = sorted(row.month or 0 for row in live if row not in here)
        found = Difference(key, GHOST, state, plain(rows), (), ghosts)
        if not here:
            gone = [row for row in rows if self._is_in_place(row, state) and row.version == state.version]
            found.kind, found.columns = (VALUES, ["cdc_deleted"]) if gone else (MISSING, ())
        elif self.is_ordered and (here[0].version or "") < (state.version or ""):
            found.kind = OLDER
        elif wrong := self._wrong(here[0], state):
            found.kind, found.columns = VALUES, wrong
        return found

    def _newer(self, key: Key, state: State, rows: Sequence[Row], row: Row) -> Verdict:
        """A version that the topics do not tell: of a record behind what was read, or before it, or of nobody's."""
        offset, spans = kafka_offset(row.version or ""), self._spans_of(row, state)
        if offset >= 0 and not any(span.begin <= offset < span.end for span in spans):
            return Unjudged(SINCE if any(offset >= span.end for span in spans) else BEYOND)
        return Difference(key, NEWER, state, plain(rows))

    def _not_deleted(self, key: Key, state: State, rows: Sequence[Row], live: Sequence[Row]) -> Verdict:
        if self.is_ordered and state.version is None:  # a delete without a version concerns what stands in front of it
            live = [row for row in live if 0 <= kafka_offset(row.version or "") < state.change.at.offset]
        return Difference(key, GHOST, state, plain(rows), (), [row.month for row in live]) if live else None


def plain(rows: Sequence[Row]) -> list[Stored]:
    return [Stored(row.month, row.version, row.is_deleted) for row in rows]
