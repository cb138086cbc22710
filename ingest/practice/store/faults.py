"""What goes wrong on purpose: answers instead of the store's own, connections cut, requests that take their time.

Set from a test's thread, taken by connection threads; guarded by a lock of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import orjson


class Cut(Enum):
    """When the connection of a request is cut: before anything is done, or after it is done but not answered."""

    BEFORE = "before"
    AFTER = "after"


class Said(NamedTuple):
    """An answer in place of the store's own. body: an object for JSON, or bytes as they are."""

    status: int
    body: Any

    def reply(self) -> tuple[int, bytes]:
        return self.status, self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


Fault = Cut | Said


class Waiting(NamedTuple):
    """A fault for the next statement that has these words in it."""

    fault: Fault
    words: str


def no_delay(_stmt: str) -> float:
    return 0.0


@dataclass
class Script:
    """The faults in wait, in the order in which they were set. delay_s: how long a statement is held before it is executed."""

    delay_s: Callable[[str], float] = no_delay
    is_refusing: bool = False
    _waiting: list[Waiting] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault, times: int, words: str) -> None:
        with self._lock:
            self._waiting += [Waiting(fault, words)] * times

    def take(self, stmt: str) -> Fault | None:
        """The fault for this statement, which is then gone."""
        with self._lock:
            for place, waiting in enumerate(self._waiting):
                if waiting.words in stmt:
                    return self._waiting.pop(place).fault
        return None

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()
