"""Whether the coordinator still answers, read from librdkafka's statistics: nothing else of it tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

COORDINATOR = "GroupCoordinator"
US_PER_S = 1_000_000


class Pulse:
    """`beat` is called by librdkafka in the loop's thread, inside poll; any thread may read silence_s.

    silence_s: since the coordinator said anything, as of the last statistics; its own heartbeats go out every few seconds.
    """

    def __init__(self) -> None:
        self.silence_s = 0.0

    def beat(self, statistics: str) -> None:
        brokers = json.loads(statistics).get("brokers", {})
        self.silence_s = max((_silence_s(each) for each in brokers.values() if each.get("name") == COORDINATOR), default=0.0)


def _silence_s(broker: Mapping[str, Any]) -> float:
    """
    >>> _silence_s({"state": "UP", "rxidle": 1500000, "stateage": 9000000}), _silence_s({"state": "CONNECT", "stateage": 9000000})
    (1.5, 9.0)
    """
    idle_us = broker.get("rxidle", -1) if broker.get("state") == "UP" else -1
    return float(idle_us if idle_us >= 0 else broker.get("stateage", 0)) / US_PER_S
