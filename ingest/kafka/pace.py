"""How many records may be taken now, so that no more than so many come in a second. Pure but for its clock; one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

# What was not taken may be caught up with for so long; longer pauses do not end in a flood.
CATCH_UP_S = 0.5


class Pace:
    """rate: records per second, None for as many as come. clock: monotonic seconds.

    >>> now = [0.0]; pace = Pace(10, lambda: now[0]); pace.room(2000)
    1
    >>> pace.took(1); pace.room(2000)
    0
    >>> now[0] = 0.3; pace.room(2000)
    3
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._at_s = clock()
        self._allowed = 1.0

    def room(self, most: int) -> int:
        """How many may be taken now, at most `most`."""
        if self._rate is None:
            return most
        now_s = self._clock()
        self._allowed = min(max(1.0, self._rate * CATCH_UP_S), self._allowed + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return min(most, int(self._allowed + 1e-9))

    def took(self, records: int) -> None:
        self._allowed -= records
