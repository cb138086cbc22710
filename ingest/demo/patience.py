"""Waiting that Ctrl-C ends, at places of our choosing.

The first signal is only noted: it must not break off the start of a process or the removal of what the demo made. Whoever waits
learns of it within a tenth of a second. Touched by the main thread alone.
"""

from __future__ import annotations

import signal
from time import monotonic, sleep
from types import FrameType, TracebackType
from typing import Any, Self

SLICE_S = 0.1
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Patience:
    """In a `with`: signals are noted. Afterwards they are again what they were."""

    def __init__(self) -> None:
        self._is_over = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt when somebody has asked us to end."""
        if self._is_over:
            raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """Wait. Raises KeyboardInterrupt as soon as somebody asks us to end."""
        until_s = monotonic() + seconds
        self.check()
        while (left_s := until_s - monotonic()) > 0:
            sleep(min(SLICE_S, left_s))
            self.check()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._is_over = True
