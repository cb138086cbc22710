"""A bar on the terminal's last line for work that takes minutes; nothing for a log. For the command's thread."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Final

from ingest.tools import terminal

WIDTH: Final = 24
# Oftener than this no eye can follow.
EVERY_S: Final = 0.1


class Bar:
    """bar(what, done, total) draws; total 0: only what. wipe() takes it away."""

    def __init__(self, show: Callable[[str], None] = terminal.passing, clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._clock = show, clock
        self._next_s = float("-inf")

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = self._clock()
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            self._show(line(what, done, total)[: shutil.get_terminal_size().columns - 1])

    def wipe(self) -> None:
        self._show("")


def line(what: str, done: int, total: int) -> str:
    """
    >>> line("reading orders[0]", 1_000, 4_000)
    '[######                  ]  25% reading orders[0]: 1,000 of 4,000'
    """
    if not total:
        return f"{what} ..."
    share = min(1.0, done / total)
    return f"[{'#' * int(share * WIDTH):<{WIDTH}}] {share:4.0%} {what}: {done:,} of {total:,}"
