"""Watch: what the loop reports to, flow.ports.Observer over logs, metrics and the board.

All methods belong to the loop's thread and none blocks, but for the log line that stderr takes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import time

from ingest.model import Fate, Result
from ingest.watch import logs
from ingest.watch.metrics import Metrics
from ingest.watch.status import Board, Status

log = logging.getLogger("ingest.worker")

# How old the status page, the metrics and /readyz may be.
POST_EVERY_S = 1.0
# Events that are counted as well, because a commit is no batch and no record.
COMMITS = {"committed": "ok", "commit_failed": "failed"}


class Watch:
    """board: where the status goes. wall_s: seconds since the epoch."""

    def __init__(self, board: Board, wall_s: Callable[[], float] = time) -> None:
        self.board = board
        self.metrics = Metrics(lambda: board.status)
        self._wall_s = wall_s
        self._look: Callable[[], Status] | None = None
        self._post_at_s = 0.0
        self._commits: Counter[str] = Counter()

    def attach(self, look: Callable[[], Status]) -> None:
        """From now on look is called every POST_EVERY_S, in the loop's thread, and what it returns is posted."""
        self._look = look

    def batch(self, result: Result, reason: str, newest_source_ms: int | None) -> None:
        """A batch came back: one line, one observation each."""
        batch, fates = result.batch, Counter(outcome.fate for outcome in result.outcomes)
        is_fresh = newest_source_ms is not None and fates[Fate.WRITTEN]
        freshness_s = self._wall_s() - newest_source_ms / 1000 if is_fresh and newest_source_ms is not None else None
        self.metrics.batch(batch.lane.table, len(batch.changes), result.took_s, freshness_s)
        self.event("info", "batch", **line_of(result, reason, fates))

    def event(self, level: str, name: str, **fields: object) -> None:
        """One line; level is "debug", "info", "warning" or "error"."""
        if name in COMMITS:
            self._commits[COMMITS[name]] += 1
        logs.emit(log, level, name, fields)

    def beat(self, now_s: float) -> None:
        self.board.beat(now_s)
        if self._look is not None and now_s >= self._post_at_s:
            self._post_at_s = now_s + POST_EVERY_S
            self.post()

    def post(self) -> None:
        """Post the status now; also for the last one, after the loop has ended."""
        if self._look is not None:
            self.board.post(replace(self._look(), commits=dict(self._commits)))

    def take_unpark_requests(self) -> Sequence[str]:
        return self.board.take_unpark_requests()


def line_of(result: Result, reason: str, fates: Counter[Fate]) -> dict[str, object]:
    """The fields of a batch's line: fates that did not occur are left out."""
    changes = result.batch.changes
    ends = {"from": str(changes[0].at), "to": str(changes[-1].at)} if changes else {}
    return {
        "table": result.batch.lane.table,
        "slot": result.batch.lane.slot,
        "rows": len(changes),
        **{fate.value: n for fate, n in fates.items()},
        "reason": reason,
        "took_ms": round(result.took_s * 1000),
        "statements": result.statements,
        **ends,
    }
