"""Windows: what part of a topic's last records ended badly, remembered across restarts in the commit's metadata.

Pure. One window per partition and kind of bad end, so that it moves with the partition; a topic's ratio is that of its
partitions together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable


class Window:
    """The last `length` records of one partition, numbered from 1 as they are read, and which of them were bad."""

    __slots__ = ("_bad", "length", "seen")

    def __init__(self, length: int, seen: int = 0, bad: int = 0) -> None:
        self.length = length
        self.seen = seen
        self._bad = [seen] * bad

    def add(self, good: int = 0, bad: int = 0) -> None:
        """Count records, the good ones first."""
        self.seen += good + bad
        self._bad.extend(range(self.seen - bad + 1, self.seen + 1))
        self._forget()

    def mark(self, number: int) -> None:
        """This one of the records that were counted is bad after all."""
        self._bad.append(number)
        self._forget()

    def _forget(self) -> None:
        oldest = self.seen - self.length
        if any(number <= oldest for number in self._bad):
            self._bad = [number for number in self._bad if number > oldest]

    @property
    def size(self) -> int:
        return min(self.seen, self.length)

    @property
    def bad(self) -> int:
        return len(self._bad)

    def clear(self) -> None:
        self.seen = 0
        self._bad.clear()


def is_over(windows: Iterable[Window], length: int, max_ratio: float) -> bool:
    """Whether a topic's windows together are full and hold more than max_ratio of bad records.

    >>> full = Window(10); full.add(good=8, bad=2)
    >>> is_over([full], 10, 0.1), is_over([full], 10, 0.2), is_over([full], 11, 0.1)
    (True, False, False)
    """
    size = bad = 0
    for window in windows:
        size += window.size
        bad += window.bad
    return size >= length and bad > max_ratio * size


def to_metadata(rejects: Window, stale: Window, high_water: int) -> str:
    """What a commit carries beside its offset: both windows, and the offset before which records were read once already."""
    return json.dumps({"r": [rejects.size, rejects.bad], "s": [stale.size, stale.bad], "h": high_water}, separators=(",", ":"))


def from_metadata(text: str, length: int) -> tuple[Window, Window, int]:
    """The windows and high-water mark of a commit's metadata; fresh ones for text that is not ours.

    >>> rejects, stale, high = from_metadata(to_metadata(Window(9, 5, 2), Window(9), 77), 9)
    >>> rejects.seen, rejects.bad, stale.seen, high
    (5, 2, 0, 77)
    """
    try:
        found = json.loads(text)
        (seen, bad), (stale_seen, stale_bad), high_water = found["r"], found["s"], int(found["h"])
        return Window(length, int(seen), int(bad)), Window(length, int(stale_seen), int(stale_bad)), high_water
    except (ValueError, KeyError, TypeError):
        return Window(length), Window(length), 0
