"""`MarkBook`: keeps watermarks in CrateDB from a thread of its own, so that no commit and no row ever waits for them.

The thread owns the client and what is pending; the loop's thread hands marks over and takes doubts. Whatever goes wrong costs one
warning and a later try: the newest marks say everything that those before them said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread
from time import monotonic

from ingest.crate.http import HttpClient
from ingest.crate.watermarks import Row, Watermarks, era_after, eras, row_of
from ingest.errors import IngestError
from ingest.flow.ports import Doubt, Mark
from ingest.model import Partition

log = logging.getLogger(__name__)

# Waits after trouble, in seconds: a table that somebody makes or unblocks is found within the last of them.
WAITS_S = (5.0, 15.0, 60.0)

Told = Sequence[Mark] | Mapping[Doubt, int | None] | None


class CrateMarkBook:
    """flow.ports.MarkBook over CrateDB. schema: where the table is, or will be made."""

    def __init__(self, client: HttpClient, schema: str, group_id: str, clock: Callable[[], float] = monotonic) -> None:
        self._client, self._group_id, self._clock = client, group_id, clock
        self._table = Watermarks(client, schema)
        self._inbox: SimpleQueue[Told] = SimpleQueue()
        self._pending: dict[Partition, Mark] = {}
        self._stays: dict[Partition, tuple[int, int]] = {}  # the stay whose era is known, and the era
        self._stored: dict[Partition, Row] = {}
        self._doubtful: dict[Doubt, Row] = {}  # replaced, never changed: the loop's thread reads it
        self._trouble = ""
        self._failures = 0
        self._try_at_s = float("-inf")
        self._thread = Thread(target=self._run, name="watermarks", daemon=True)
        self._thread.start()

    def keep(self, marks: Sequence[Mark]) -> None:
        self._inbox.put(marks)

    def doubtful(self) -> Collection[Doubt]:
        return self._doubtful.keys()

    def settle_doubt(self, committed: Mapping[Doubt, int | None]) -> None:
        self._inbox.put(committed)

    def close(self, timeout_s: float) -> None:
        """What a hanging CrateDB does not take in time is left out; the thread ends with the process."""
        self._inbox.put(None)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._client.close()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while (told := self._inbox.get()) is not None:
            if isinstance(told, Mapping):
                self._settle(told)
            else:
                self._pending.update((mark.partition, mark) for mark in told)
            if self._pending and self._clock() >= self._try_at_s:
                self._try()

    def _try(self) -> None:
        try:
            self._learn_eras()
            self._write()
        except IngestError as error:
            self._failed(error.code, error.text or error.code)
        except Exception as error:
            # Nothing that befalls a watermark may end the worker; the trace makes it a bug that can be reported.
            log.error("bug", exc_info=error)
            self._failed("bug", f"{type(error).__name__}: please report it")
        else:
            self._trouble, self._failures = "", 0

    def _learn_eras(self) -> None:
        pending = {Doubt(mark.partition, mark.stay): mark for mark in self._pending.values()}
        new = [mark for doubt, mark in pending.items() if not self._is_known(mark) and doubt not in self._doubtful]
        if not new:
            return
        self._stored.update(self._table.read(self._group_id, {mark.partition.topic for mark in new}))
        known, doubtful = eras(new, self._stored)
        self._stays.update({doubt.partition: (doubt.stay, era) for doubt, era in known.items()})
        self._doubtful = {doubt: row for doubt, row in (self._doubtful | doubtful).items() if doubt in pending}

    def _settle(self, committed: Mapping[Doubt, int | None]) -> None:
        settled = {doubt: row for doubt, row in self._doubtful.items() if doubt in committed}
        self._stays.update({doubt.partition: (doubt.stay, era_after(row, committed[doubt])) for doubt, row in settled.items()})
        self._doubtful = {doubt: row for doubt, row in self._doubtful.items() if doubt not in settled}

    def _write(self) -> None:
        marks = [mark for mark in self._pending.values() if self._is_known(mark)]
        if not marks:
            return
        eras_ = [self._stays[mark.partition][1] for mark in marks]
        rows = [
            row_of(self._group_id, mark, era, self._stored.get(mark.partition)) for mark, era in zip(marks, eras_, strict=True)
        ]
        for mark, is_written in zip(marks, self._table.write(rows), strict=True):
            if is_written:
                del self._pending[mark.partition]

    def _is_known(self, mark: Mark) -> bool:
        return self._stays.get(mark.partition, (0, 0))[0] == mark.stay

    def _failed(self, code: str, text: str) -> None:
        """One warning per trouble; what is pending waits, longer each time. The rows are read again: the table may be gone."""
        wait_s = WAITS_S[min(self._failures, len(WAITS_S) - 1)]
        self._failures += 1
        self._stays.clear()
        self._try_at_s = self._clock() + wait_s
        level = logging.WARNING if code != self._trouble else logging.DEBUG
        self._trouble = code
        log.log(level, "watermarks_trouble", extra={"code": code, "text": text, "wait_s": wait_s})
