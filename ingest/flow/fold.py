"""Folding: several changes of one key become one, so that a batch has each key once.

Pure. The change with the larger version survives (without versions: the later arrival). Columns that the survivor leaves
out are taken from the next older change, never across a delete or a whole row. The survivor vacates every month that any
member's images name, less its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ingest.model import Change, Kind

Key = tuple[Any, ...]


class Folded:
    """The changes of one key: what is sent (`survivor`), and all that it stands for (`members`, in order of arrival)."""

    __slots__ = ("members", "newest", "survivor")

    def __init__(self, change: Change) -> None:
        self.survivor = change
        self.newest = change
        self.members = [change]


class Fold:
    """An open batch: one Folded per key, keys in order of first arrival."""

    __slots__ = ("entries", "opened_s", "size_bytes")

    def __init__(self, opened_s: float) -> None:
        self.entries: dict[Key, Folded] = {}
        self.opened_s = opened_s
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, change: Change) -> bool:
        """Take the change in. False when it cannot be folded with what its key already has here."""
        entry = self.entries.get(change.key)
        if entry is None:
            self.entries[change.key] = Folded(change)
        elif not fold_in(entry, change):
            return False
        self.size_bytes += change.size_bytes
        return True


def fold_in(entry: Folded, change: Change) -> bool:
    """Add a change to the changes of its key; False, and nothing done, when one request cannot stand for both."""
    is_newer = is_at_least(change.version, entry.newest.version)
    older, newer = (entry.survivor, change) if is_newer else (change, entry.survivor)
    merged = merge(older, newer)
    if merged is None:
        return False
    entry.survivor = merged
    entry.members.append(change)
    if is_newer:
        entry.newest = change
    return True


def is_at_least(version: str | None, other: str | None) -> bool:
    """Whether a change of `version` that arrives later wins over one of `other`.

    >>> is_at_least("01L2", "01L1"), is_at_least("01L1", "01L2"), is_at_least(None, None)
    (True, False, True)
    """
    return version is None or other is None or version >= other


def merge(older: Change, newer: Change) -> Change | None:
    """One change that leaves the same row as `older` and then `newer`; None when there is none.

    There is none for a patch over a delete: the patch keeps what the delete removes. A row that brings new object keys
    goes alone, so it never merges.
    """
    if older.new_keys or newer.new_keys:
        return None
    if newer.kind is Kind.PATCH:
        return None if older.kind is Kind.DELETE else overlay(older, newer)
    vacates, look_up = months_left(older, newer, newer.month), older.look_up or newer.look_up
    if vacates == newer.vacates and look_up == newer.look_up:
        return newer  # replace() costs 2 us, and nearly every fold ends here
    return replace(newer, vacates=vacates, look_up=look_up)


def overlay(older: Change, patch: Change) -> Change:
    """The older row or patch with the patch's columns on top, under the patch's version."""
    columns, row = older.columns, older.row
    if patch.columns == columns:
        row = patch.row
    else:
        values = dict(zip(columns, row, strict=True))
        values.update(zip(patch.columns, patch.row, strict=True))
        columns, row = tuple(values), list(values.values())
    month = older.month if patch.month is None else patch.month
    # A patch that does not name its month asks for it; the older image has told it by now.
    look_up = older.look_up or (patch.look_up and patch.month is not None)
    return replace(
        patch,
        kind=older.kind,
        columns=older.columns if len(columns) == len(older.columns) else columns,
        row=row,
        month=month,
        vacates=months_left(older, patch, month),
        look_up=look_up if month is not None else True,
        size_bytes=max(older.size_bytes, patch.size_bytes),
    )


def months_left(older: Change, newer: Change, month: int | None) -> tuple[int, ...]:
    """Every month that either names, less the one in which the row is in the end; sorted.

    A delete leaves no row, but its own month is cleared by the delete itself.
    """
    if older.month in (month, None) and not older.vacates and not newer.vacates:
        return ()
    named = {*older.vacates, *newer.vacates, older.month, newer.month}
    return tuple(sorted(m for m in named if m is not None and m != month))
