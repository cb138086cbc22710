"""What a topic says of one key in the end: its changes folded one by one, as the table's guard would keep them. Pure.

Level ordered: the larger version stands, the later record where two are the same; a patch adds to the row unless it is older.
Level arrival: the last record stands, which only Kafka's order within one partition tells.

A key has more than one right answer where its table may be on the way from one to the next: a change that the worker had not
committed when the table was read, or one that went to the dead letters and may have been replayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from ingest.model import Change, Kind, Partition, Position, just_above, kafka_offset

# So many changes of one key may be under way and are told apart; beyond, the key is too busy to be judged.
MOST_LATER: Final = 200


class Truncated(NamedTuple):
    """The source emptied its table. version, columns, row: what that leaves in each older row; see flow.ports.Truncation.

    at: its place, by which a table of level arrival tells older records.
    """

    at: Position
    version: str | None
    columns: tuple[str, ...] = ()
    row: tuple[Any, ...] = ()


class Told(NamedTuple):
    """A change as it waits on disk. is_late: the group had not committed it. is_lettered: it went to the dead letters."""

    change: Change
    is_late: bool = False
    is_lettered: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """A row, or that there is none any more. change: the last that counted, which knows its place.

    values: by column, as far as they are known; is_whole: all that the source has. month: None also where nobody tells it.
    """

    change: Change
    version: str | None
    is_live: bool
    month: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    is_whole: bool = False
    new_keys: bool = False


@dataclass(slots=True)
class Folded:
    """What the topics tell of one key. state: as of the group's offsets. later: what it may be already.

    lettered: with the dead-lettered changes counted, None where there are none. partitions: those that its changes came from.
    """

    state: State | None = None
    later: list[State | None] = field(default_factory=list)
    lettered: State | None = None
    partitions: set[Partition] = field(default_factory=set)
    has_patch: bool = False
    is_busy: bool = False
    _newest: State | None = None

    def add(self, told: Told, *, is_ordered: bool) -> None:
        """One more change, in the order in which the scan met them."""
        change = told.change
        self.partitions.add(Partition(change.at.topic, change.at.partition))
        self.has_patch = self.has_patch or change.kind is Kind.PATCH
        if told.is_lettered:
            self.lettered = after(self.lettered or self.state, change, is_ordered=is_ordered)
            return
        if self.lettered is not None:
            self.lettered = after(self.lettered, change, is_ordered=is_ordered)
        if not told.is_late:
            self.state = self._newest = after(self.state, change, is_ordered=is_ordered)
            return
        self._newest = after(self._newest, change, is_ordered=is_ordered)
        if len(self.later) < MOST_LATER:
            self.later.append(self._newest)
        else:
            self.is_busy = True

    def answers(self) -> Iterator[State | None]:
        """Every state that the table may rightly be in."""
        yield self.state
        yield from self.later
        if self.lettered is not None:
            yield self.lettered


def after(state: State | None, change: Change, *, is_ordered: bool) -> State | None:
    """What a key is once this change was applied."""
    if is_ordered and change.version is None:
        return deleted_unnamed(state, change)
    if is_ordered and state is not None and (change.version or "") < (state.version or ""):
        return state
    if change.kind is Kind.DELETE:
        return State(change, change.version, is_live=False)
    values = dict(zip(change.columns, change.row, strict=True))
    if change.kind is Kind.WRITE:
        return State(change, change.version, True, change.month, values, is_whole=True, new_keys=change.new_keys)
    return patched(state, change, values)


def patched(state: State | None, change: Change, values: Mapping[str, Any]) -> State:
    """A part of a row over what is there; over a row that is gone, or that nobody told of, only this part is known."""
    if state is None or not state.is_live:
        return State(change, change.version, True, change.month, values, new_keys=change.new_keys)
    month = state.month if change.month is None else change.month
    new_keys = state.new_keys or change.new_keys
    return State(change, change.version, True, month, {**state.values, **values}, state.is_whole, new_keys)


def deleted_unnamed(state: State | None, change: Change) -> State | None:
    """A delete that tells no version deletes what stands in front of it in Kafka, with a version just above that."""
    if state is None:
        return State(change, None, is_live=False)
    if not state.is_live or state.version is None or kafka_offset(state.version) >= change.at.offset:
        return state
    version = just_above(state.version)
    values = [version if name == "cdc_version" else value for name, value in zip(change.columns, change.row, strict=True)]
    return State(replace(change, version=version, row=values), version, is_live=False)


def truncated(state: State | None, truncates: Sequence[Truncated]) -> State | None:
    """What is left of a key by the truncates behind it."""
    for each in truncates:
        if state is None or not state.is_live:
            continue
        if each.version is not None and (state.version or "") < each.version:
            change = replace(state.change, kind=Kind.DELETE, version=each.version, columns=each.columns, row=list(each.row))
            state = State(change, each.version, is_live=False)
        elif each.version is None and is_behind(each.at, state.change.at):
            state = State(state.change, None, is_live=False)
    return state


def is_behind(at: Position, other: Position) -> bool:
    """Whether a record came behind another; of other partitions nobody can tell."""
    return at[:2] == other[:2] and at.offset > other.offset


def mended(state: State, key: tuple[Any, ...], ghosts: Sequence[int | None]) -> Change | None:
    """The change that brings the table to this state; ghosts: the months in which the key must not be live any longer.

    None for a part of a row whose month nobody tells.
    """
    others = tuple(month for month in ghosts if month is not None and month != state.month)
    change = state.change
    if not state.is_live:
        month = others[0] if others else change.month
        unnamed = change.version is None and "cdc_version" in change.columns
        return replace(change, key=key, kind=Kind.DELETE, month=month, vacates=others[1:], look_up=unnamed)
    kind = Kind.WRITE if state.is_whole else Kind.PATCH
    row, columns = list(state.values.values()), tuple(state.values)
    look_up = state.month is None and change.look_up
    return replace(
        change, key=key, kind=kind, month=state.month, columns=columns, row=row, vacates=others, look_up=look_up,
        new_keys=state.new_keys,
    )  # fmt: skip
