"""Folding: several changes of one key become one, so that a batch has each key once.

Pure. The change with the larger version survives (without versions: the later arrival); it vacates every month that any
member's images name, less its own. A patch never folds over an older change: see `merge` and docs/adr/0005.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ingest.model import Change, Kind

Key = tuple[Any, ...]


class Folded:
    """The changes of one key: what is sent (`survivor`), and all that it stands for (`members`).

    several: the members, None while there is but one; most entries live and end so.
    """

    __slots__ = ("newest", "several", "survivor")

    def __init__(self, change: Change) -> None:
        self.survivor = change
        self.newest = change
        self.several: list[Change] | None = None

    @property
    def members(self) -> list[Change]:
        """In order of arrival."""
        return self.several or [self.newest]

    def join(self, change: Change) -> None:
        if self.several is None:
            self.several = [self.newest]
        self.several.append(change)


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
        new = Folded(change)
        entry = self.entries.setdefault(change.key, new)
        if entry is not new and not fold_in(entry, change):
            return False
        self.size_bytes += change.size_bytes
        return True

    def put(self, entry: Folded) -> None:
        """Take in what was folded already, of a key that is not here."""
        self.entries[entry.survivor.key] = entry
        self.size_bytes += entry.survivor.size_bytes


def fold_in(entry: Folded, change: Change) -> bool:
    """Add a change to the changes of its key; False, and nothing done, when one request cannot stand for both."""
    is_newer = is_at_least(change.version, entry.newest.version)
    merged = merge(entry.survivor, change) if is_newer else merge(change, entry.survivor)
    if merged is None:
        return False
    entry.survivor = merged
    entry.join(change)
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

    There is none for a patch: it keeps what the row has, and only the table knows that. (The older change here may be an old one
    repeated, which the table refuses; taking a value from it would bring that value back.) Nor is there one for
    a tombstone, which tells no version and deletes the one that is stored, and for a row that brings new object keys.
    """
    if newer.kind is Kind.PATCH or older.new_keys or newer.new_keys or (newer.version is None) != (older.version is None):
        return None
    vacates, look_up = months_left(older, newer, newer.month), older.look_up or newer.look_up
    if vacates == newer.vacates and look_up == newer.look_up:
        return newer  # replace() costs 2 us, and nearly every fold ends here
    return replace(newer, vacates=vacates, look_up=look_up)


def months_left(older: Change, newer: Change, month: int | None) -> tuple[int, ...]:
    """Every month that either names, less the one in which the row is in the end; sorted.

    A delete leaves no row, but its own month is cleared by the delete itself.
    """
    if older.month in (month, None) and not older.vacates and not newer.vacates:
        return ()
    named = {*older.vacates, *newer.vacates, older.month, newer.month}
    return tuple(sorted(m for m in named if m is not None and m != month))
