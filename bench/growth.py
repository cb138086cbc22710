"""Does something grow? Slopes of noisy series, and the judgement on what a process used in its life.

Pure: points are (seconds, value) in the order of time. No clock, no process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

Point = tuple[float, float]

HOUR_S = 3600.0
# A new process fills its pools, meets its tables and sees its first faults: that third of its life says nothing.
WARM_RATIO = 1 / 3
# What a series may gain over the judged part of a life. The same for each length, so a longer soak sees a smaller leak:
# an allocator keeps what its largest moment took, a few MB here and there; a thread or a socket may be in use at this moment.
ALLOWED = {"rss_mb": 8.0, "threads": 1.5, "fds": 3.0, "sockets": 3.0}
# Fewer points than these say nothing about a slope.
LEAST_POINTS = 10


class Growth(NamedTuple):
    """What one series did in the judged part. before, after: medians of its halves. gain: slope times the part's length."""

    what: str
    points: int
    before: float
    after: float
    most: float
    slope_per_h: float
    gain: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        return self.gain <= self.allowed

    def __str__(self) -> str:
        verdict = "flat" if self.is_flat else f"GROWS, {self.allowed:g} allowed"
        return (
            f"{self.what:8} {self.before:8.1f} -> {self.after:8.1f}  most {self.most:8.1f}  "
            f"{self.slope_per_h:+8.2f} an hour, {self.gain:+6.2f} in all: {verdict}"
        )


def slope(points: Sequence[Point]) -> float:
    """Units a second: the median of the slopes of all pairs (Theil and Sen), which a quarter of wild points does not move.

    0.0 where there are no two moments.

    >>> slope([(0, 1), (10, 2), (20, 99), (30, 4), (40, 5)])
    0.1
    """
    slopes = [
        (after[1] - before[1]) / (after[0] - before[0]) for before, after in combinations(points, 2) if after[0] > before[0]
    ]
    return median(slopes) if slopes else 0.0


def settled(points: Sequence[Point]) -> list[Point]:
    """Without the first third of the time, in which a process warms up.

    >>> settled([(0, 9), (10, 8), (20, 7), (30, 6)])
    [(10, 8), (20, 7), (30, 6)]
    """
    if not points:
        return []
    from_s = points[0][0] + WARM_RATIO * (points[-1][0] - points[0][0])
    return [point for point in points if point[0] >= from_s]


def growth(what: str, points: Sequence[Point], allowed: float) -> Growth | None:
    """The judgement on a series, None where it is too short for one."""
    judged = settled(points)
    if len(judged) < LEAST_POINTS:
        return None
    half = len(judged) // 2
    per_s = slope(judged)
    return Growth(
        what,
        len(judged),
        before=median(value for _, value in judged[:half]),
        after=median(value for _, value in judged[half:]),
        most=max(value for _, value in points),
        slope_per_h=per_s * HOUR_S,
        gain=per_s * (judged[-1][0] - judged[0][0]),
        allowed=allowed,
    )


def growths(looks: Sequence[Mapping[str, float]]) -> list[Growth]:
    """Of everything in ALLOWED, from the looks at one process; each has at_s. [] for a life too short to be judged."""
    found = (growth(what, [(look["at_s"], look[what]) for look in looks], allowed) for what, allowed in ALLOWED.items())
    return [each for each in found if each is not None]
