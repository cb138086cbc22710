"""Numbers, times and sizes in words, as `check` writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
UNITS = ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (SECOND_MS, "second"))
SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))
LISTED = 5


def counted(n: int, noun: str) -> str:
    """
    >>> counted(1, "topic"), counted(1204, "topic")
    ('1 topic', '1,204 topics')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def duration(ms: int) -> str:
    """
    >>> duration(604_800_000), duration(5_400_000), duration(86_400_000), duration(10)
    ('7 days', '90 minutes', '24 hours', '10 ms')
    """
    for unit_ms, noun in UNITS:
        if ms >= 2 * unit_ms and ms % unit_ms == 0:
            return counted(ms // unit_ms, noun)
    return next((f"{ms / unit_ms:.1f} {noun}s" for unit_ms, noun in UNITS if ms >= 2 * unit_ms), f"{ms:,} ms")


def size(n_bytes: int) -> str:
    """
    >>> size(1_048_588), size(2 * 10**9), size(10)
    ('1.0 MB', '2.0 GB', '10 bytes')
    """
    return next((f"{n_bytes / unit:,.1f} {name}" for unit, name in SIZES if n_bytes >= unit), f"{n_bytes} bytes")


def listed(names: Iterable[str]) -> str:
    """
    >>> listed(["b", "a"]), listed("abcdefg")
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    ordered = sorted(names)
    rest = len(ordered) - LISTED
    return ", ".join(ordered[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
