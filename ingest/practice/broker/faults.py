"""What goes wrong on purpose: error codes for the next calls, connections cut, a door that is shut.

Set from a test's thread through `Broker`, taken by the broker's loop thread; the broker sees to it that both happen there.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from ingest.practice.broker.codes import Api


class Cut(Enum):
    """When the connection of a call is cut: before anything is done, or after it is done but not answered."""

    BEFORE = "before"
    AFTER = "after"


Fault = int | Cut


class Faults:
    """Faults in wait for the next calls of each API, in the order in which they were set."""

    def __init__(self) -> None:
        self._waiting: dict[Api, deque[Fault]] = {}

    def add(self, api: Api, fault: Fault, times: int) -> None:
        self._waiting.setdefault(api, deque()).extend([fault] * times)

    def take(self, api: Api) -> Fault | None:
        """The fault for this call, which is then gone."""
        waiting = self._waiting.get(api)
        return waiting.popleft() if waiting else None

    def clear(self) -> None:
        self._waiting.clear()
