"""What the loop tells the outside world: one immutable snapshot, replaced as a whole, and the operator's requests back.

The loop's thread posts and takes; the HTTP server's threads read and put. No lock: a reference is swapped, a queue is a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple


class ParkedPlace(NamedTuple):
    """One parked table or topic. subject: `table:NAME` or `topic:NAME`."""

    subject: str
    code: str
    text: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Status:
    """The worker at one moment; counts are totals since its start.

    at_ms, started_ms: when this was taken and when the worker started, epoch milliseconds.
    is_ready: whether records would flow now; reasons: sentences that say why not, and what else is not well.
    tables: table -> level, of those whose description is known. read: records read. records: (table, end) -> records.
    rows: (table, fate) -> rows. skipped: reason -> records. dead_letters, retries: code -> how many.
    commits: "ok" or "failed" -> how many. rebalances: event -> how many.
    lag: (topic, partition) -> records, None where not known. paused: (topic, partition) -> why it is not read.
    unsettled_bytes: what records take that are not settled, or stand behind one that is not; reading pauses at limit_bytes.
    permits: requests that may be in flight; max_permits: at best.
    oldest_request_s: how long the longest-running request has been out.
    rates: table -> records settled per second, lately; "" is what was read.
    """

    group: str = ""
    at_ms: int = 0
    started_ms: int = 0
    is_ready: bool = False
    reasons: Sequence[str] = ("not started",)
    assigned: int = 0
    parked: Sequence[ParkedPlace] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    read: int = 0
    handed_back: int = 0
    unsettled_records: int = 0
    unsettled_bytes: int = 0
    limit_bytes: int = 0
    records: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    incomplete: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    dead_letter_backlog_bytes: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    commits: Mapping[str, int] = field(default_factory=dict)
    rebalances: Mapping[str, int] = field(default_factory=dict)
    ignored_fields: Mapping[str, int] = field(default_factory=dict)
    nulled_values: Mapping[tuple[str, str], int] = field(default_factory=dict)
    lag: Mapping[tuple[str, int], int | None] = field(default_factory=dict)
    paused: Mapping[tuple[str, int], str] = field(default_factory=dict)
    lanes: Mapping[str, int] = field(default_factory=dict)
    permits: float = 0.0
    max_permits: int = 0
    in_flight: int = 0
    is_breaker_open: bool = False
    oldest_request_s: float = 0.0
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def lag_records(self) -> int:
        return sum(lag or 0 for lag in self.lag.values())

    def total(self, end: str) -> int:
        """Records of all tables that ended so."""
        return sum(n for (_, what), n in self.records.items() if what == end)


class Health(NamedTuple):
    """Whether the process does its work, and a sentence why not."""

    is_well: bool
    text: str


class Board:
    """Where the loop posts its status. health_s, writer_stuck_s: how long a loop and a request may take before they are stuck."""

    def __init__(self, health_s: float = 60.0, writer_stuck_s: float = 375.0, clock: Callable[[], float] = monotonic) -> None:
        self._health_s = health_s
        self._writer_stuck_s = writer_stuck_s
        self._clock = clock
        self._beat_s = clock()
        self._status = Status()
        self._requests: SimpleQueue[str] = SimpleQueue()

    @property
    def status(self) -> Status:
        return self._status

    def post(self, status: Status) -> None:
        """Replace the snapshot. Loop's thread."""
        self._status = status

    def beat(self, now_s: float) -> None:
        """The loop moves. Loop's thread, every step."""
        self._beat_s = now_s

    def silent_s(self) -> float:
        """Seconds since the loop last moved. Any thread."""
        return max(0.0, self._clock() - self._beat_s)

    def health(self) -> Health:
        """Any thread. Before the first beat the loop has health_s to start."""
        silent_s = self.silent_s()
        if silent_s > self._health_s:
            return Health(False, f"the loop has not moved for {silent_s:.0f} s")
        if self._status.oldest_request_s > self._writer_stuck_s:
            return Health(False, f"a writer has been waiting for CrateDB for {self._status.oldest_request_s:.0f} s")
        return Health(True, "ok")

    def request_unpark(self, subject: str) -> None:
        """An operator wants this to go on. Any thread."""
        self._requests.put(subject)

    def take_unpark_requests(self) -> list[str]:
        """What was asked for since the last call. Loop's thread."""
        found: list[str] = []
        try:
            while True:
                found.append(self._requests.get_nowait())
        except Empty:
            return found
