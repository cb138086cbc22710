"""Brings single keys of a table to what the topics say, through the worker's own guarded writes, so that newer rows stay.

One thread, with a store of its own. A batch is tried for about a minute; what is still open then is told, not lost: the next
`verify` finds it again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from ingest.crate.plan import GOOD
from ingest.crate.writer import HttpStore
from ingest.model import Batch, Change, Fate, Lane, Result, Table
from ingest.tools.verify_fold import mended
from ingest.tools.verify_judge import NEWER, STRANGER, Difference

ATTEMPTS: Final = 12
FIRST_WAIT_S: Final = 0.25
MOST_WAIT_S: Final = 10.0
# What no write of ours can mend: the guard keeps newer rows, and who put a stranger there is not known.
BEYOND_REPAIR: Final = frozenset({NEWER, STRANGER})


class Repairer:
    """Mends differences. group: stands in the tags of the requests. outcomes: fates of all changes so far, with their codes."""

    def __init__(
        self, store: HttpStore, group: str, batch_rows: int, batch_bytes: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store, self._group, self._sleep = store, group, sleep
        self._batch_rows, self._batch_bytes = batch_rows, batch_bytes
        self._numbers = count(1)
        self.outcomes: Counter[str] = Counter()

    def mend(self, table: Table, found: Sequence[Difference]) -> int:
        """How many of these are as they should be now."""
        changes = [change for each in found if (change := change_of(each)) is not None]
        good = 0
        while changes:
            size = self._batch_size(changes)
            good += self._write(table, changes[:size])
            changes = changes[size:]
        return good

    def _batch_size(self, changes: Sequence[Change]) -> int:
        size_bytes = 0
        for place, change in enumerate(changes[: self._batch_rows]):
            size_bytes += change.size_bytes
            if place and size_bytes > self._batch_bytes:
                return place
        return min(len(changes), self._batch_rows)

    def _write(self, table: Table, changes: Sequence[Change]) -> int:
        """Until each has an outcome other than "again", or there were enough attempts."""
        left, good, unsure, since_s = list(changes), 0, (), time.monotonic()  # type: list[Change], int, tuple[str, ...], float
        for attempt in range(ATTEMPTS):
            tag = f"{self._group} {table.full_name}/verify {next(self._numbers)}"
            batch = Batch(Lane(table.full_name, 0), table, left, tag, unsure, unsure_for_s=time.monotonic() - since_s)
            result = self._store.write(batch)
            good += self._note(result, is_last=attempt == ATTEMPTS - 1)
            left = [left[i] for i, outcome in enumerate(result.outcomes) if outcome.fate is Fate.RETRY]
            if not left:
                break
            if result.unsure != unsure:
                unsure, since_s = result.unsure, time.monotonic()
            table = replace(table, months=table.months | result.new_months)
            self._sleep(min(MOST_WAIT_S, FIRST_WAIT_S * 2**attempt))
        return good

    def _note(self, result: Result, *, is_last: bool) -> int:
        """Count outcomes; how many are good."""
        ended = [outcome for outcome in result.outcomes if is_last or outcome.fate is not Fate.RETRY]
        self.outcomes.update(outcome.code or outcome.fate.value for outcome in ended)
        return sum(outcome.fate in GOOD for outcome in ended)

    def close(self) -> None:
        self._store.close()


def change_of(found: Difference) -> Change | None:
    """None for what no write can mend."""
    if found.kind in BEYOND_REPAIR or found.state is None:
        return None
    return mended(found.state, found.state.change.key, found.ghosts)
