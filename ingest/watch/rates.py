"""Rates for people who look at the status page: how many records a second in the last half minute.

Pure: it is told the time and totals. Prometheus makes its own rates from the totals. Owned by the loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

# Long enough to be calm at one batch a second, short enough to show what has just changed.
WINDOW_S = 30.0


class Rates:
    """Remembers totals for a window.

    >>> rates = Rates()
    >>> rates.note(0.0, {"a": 0}), rates.note(10.0, {"a": 50, "b": 5})
    ({}, {'a': 5.0, 'b': 0.5})
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def note(self, now_s: float, totals: Mapping[str, int]) -> Mapping[str, float]:
        """How much each total grew per second within the window; {} at the first call. A name that is new began at 0."""
        while len(self._seen) > 1 and now_s - self._seen[0][0] > self._window_s:
            self._seen.popleft()
        self._seen.append((now_s, totals))
        since_s, old = self._seen[0]
        past_s = now_s - since_s
        return {name: (total - old.get(name, 0)) / past_s for name, total in totals.items()} if past_s > 0 else {}
