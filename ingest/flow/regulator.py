"""The regulator: how many requests may be in flight, one for all lanes.

Pure: it is told the time. Success adds, a sign of overload halves; at zero the breaker is open: a cheap probe with growing
jittered waits, then one batch, whose success begins the climb again.
"""

from __future__ import annotations

from tenacity import RetryCallState, Retrying, wait_random_exponential
from tenacity.wait import wait_base

PROBE_WAIT = wait_random_exponential(multiplier=0.5, max=15, min=0.2)
LANE_WAIT = wait_random_exponential(multiplier=0.25, max=30, min=0.05)


def wait_s(attempt: int, wait: wait_base = LANE_WAIT) -> float:
    """Seconds to wait before attempt number attempt + 1, jittered, growing with the number of attempts (from 1)."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    return wait(state)


class Regulator:
    """permits: requests that may be in flight, 0 to max_permits. 0 is the open breaker."""

    def __init__(self, max_permits: int) -> None:
        self.max_permits = max_permits
        self.permits = float(max_permits)
        self.reason = ""
        self.opened_s: float | None = None
        self._probes = 0
        self._probe_at_s = 0.0
        self._halved_s = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: nothing may be sent but probes."""
        return self.opened_s is not None

    def room(self, in_flight: int) -> int:
        """How many more requests may be sent now."""
        return 0 if self.is_open else max(0, int(self.permits) - in_flight)

    def succeeded(self) -> None:
        """A request was answered well: one more permit per `permits` of these."""
        if not self.is_open:
            self.permits = min(float(self.max_permits), self.permits + 1 / max(self.permits, 1.0))

    def overloaded(self, now_s: float, reason: str, pause_s: float = 1.0) -> None:
        """A sign of overload: halve, at most once in pause_s, for one overload answers many requests at once."""
        if self.is_open or now_s - self._halved_s < pause_s:
            return
        self._halved_s = now_s
        self.permits /= 2
        if self.permits < 1:
            self.failed(now_s, reason)

    def failed(self, now_s: float, reason: str) -> None:
        """CrateDB does not answer or cannot work: open the breaker."""
        self.reason = reason
        if self.is_open:
            return
        self.permits, self.opened_s, self._probes = 0.0, now_s, 0
        self._wait_for_probe(now_s)

    def probe_due(self, now_s: float) -> bool:
        return self.is_open and now_s >= self._probe_at_s

    def probe_failed(self, now_s: float, reason: str) -> None:
        self.reason = reason
        self._wait_for_probe(now_s)

    def probe_succeeded(self) -> None:
        """CrateDB answers again: one batch may go."""
        self.permits, self.opened_s, self.reason = 1.0, None, ""

    def _wait_for_probe(self, now_s: float) -> None:
        self._probes += 1
        self._probe_at_s = now_s + wait_s(self._probes, PROBE_WAIT)
