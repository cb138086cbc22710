"""Watch: what the loop reports to, flow.ports.Observer over logs, metrics and the board.

All methods belong to the loop's thread and none blocks, but for the log line that stderr takes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import time

from ingest.model import Fate, Result
from ingest.watch import logs
from ingest.watch.metrics import Metrics
from ingest.watch.rates import Rates
from ingest.watch.status import Board, Status

log = logging.getLogger("ingest.worker")

# How old the status page, the metrics and /readyz may be.
POST_EVERY_S = 1.0
# Events that are counted as well, because they are neither batch nor record.
COMMITS = {"committed": "ok", "commit_failed": "failed"}
REBALANCES = frozenset({"assigned", "revoked", "lost"})


class Watch:
    """board: where the status goes. wall_s: seconds since the epoch."""

    def __init__(self, board: Board, wall_s: Callable[[], float] = time) -> None:
        self.board = board
        self.metrics = Metrics(lambda: board.status, board.silent_s)
        self._wall_s = wall_s
        self._look: Callable[[], Status] | None = None
        self._post_at_s = 0.0
        self._commits: Counter[str] = Counter()
        self._rebalances: Counter[str] = Counter()
        self._rates = Rates()
        self._expected: frozenset[str] = frozenset()
        self._letters_told: Mapping[str, int] = {}

    def attach(self, look: Callable[[], Status]) -> None:
        """From now on look is called every POST_EVERY_S, in the loop's thread, and what it returns is posted."""
        self._look = look

    def batch(self, result: Result, reason: str, newest_source_ms: int | None) -> None:
        """A batch came back: one line, one observation each."""
        batch, fates = result.batch, Counter([outcome.fate for outcome in result.outcomes])
        times_ms = [oldest_written_ms(result), newest_source_ms] if fates[Fate.WRITTEN] else []
        freshness_s = [self._wall_s() - ms / 1000 for ms in times_ms if ms is not None]
        self.metrics.batch(batch.lane.table, len(batch.changes), result.took_s, freshness_s)
        # Where nothing was settled, the warning that follows says all that there is to say.
        self.event("debug" if set(fates) == {Fate.RETRY} else "info", "batch", **line_of(result, reason, fates))

    def event(self, level: str, name: str, **fields: object) -> None:
        """One line; level is "debug", "info", "warning" or "error"."""
        if name in COMMITS:
            self._commits[COMMITS[name]] += 1
        elif name in REBALANCES:
            self._rebalances[name] += 1
        logs.emit(log, level, name, fields)

    def beat(self, now_s: float) -> None:
        self.board.beat(now_s)
        if self._look is not None and now_s >= self._post_at_s:
            self._post_at_s = now_s + POST_EVERY_S
            self.post()

    def post(self) -> None:
        """Post the status now; also for the last one, after the loop has ended."""
        if self._look is None:
            return
        status = self._look()
        if new := status.tables.keys() - self._expected:
            self.metrics.expect(new)
            self._expected |= new
        self._tell_letters(status.dead_letters)
        rates = self._rates.note(self._wall_s(), totals(status))
        self.board.post(replace(status, commits=dict(self._commits), rebalances=dict(self._rebalances), rates=rates))

    def _tell_letters(self, letters: Mapping[str, int]) -> None:
        """A line per code that has new letters since the last post, however many: records that cannot be read are in no batch."""
        for code, total in letters.items():
            if new := total - self._letters_told.get(code, 0):
                self.event("warning", "dead_letters", code=code, records=new, total=total)
        self._letters_told = letters

    def take_unpark_requests(self) -> Sequence[str]:
        return self.board.take_unpark_requests()


def oldest_written_ms(result: Result) -> int | None:
    """The oldest source time among the rows that were written, epoch ms; None if none of them tells one."""
    pairs = zip(result.batch.changes, result.outcomes, strict=True)
    written = [change.source_ts_ms for change, outcome in pairs if outcome.fate is Fate.WRITTEN]
    return min([ms for ms in written if ms is not None], default=None)


def totals(status: Status) -> Mapping[str, int]:
    """Records by table, however they ended; "" is what was read."""
    settled: Counter[str] = Counter()
    for (table, _), records in status.records.items():
        if table:
            settled[table] += records
    return {"": status.read, **settled}


def line_of(result: Result, reason: str, fates: Counter[Fate]) -> dict[str, object]:
    """The fields of a batch's line: fates that did not occur are left out."""
    changes = result.batch.changes
    ends = {"from": str(changes[0].at), "to": str(changes[-1].at)} if changes else {}
    return {
        "table": result.batch.lane.table,
        "slots": [result.batch.lane.slot, *(lane.slot for lane in result.batch.beside)],
        "rows": len(changes),
        **{fate.value: n for fate, n in fates.items()},
        "reason": reason,
        "took_ms": round(result.took_s * 1000),
        "statements": result.statements,
        **ends,
    }
