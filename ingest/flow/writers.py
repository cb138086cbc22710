"""Threads that talk to the outside world for the loop, and the queue on which their answers come back.

A writer makes one attempt per batch and answers; it keeps no state between batches. The errand runner does what is rare
and may block for long: schemas, table descriptions, probes. Nothing dies silently: a thread that ends by an exception
puts it on the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Protocol

from ingest.errors import IngestError, Stop
from ingest.flow.ports import Store
from ingest.model import Batch, Result


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to ask: `ask` is called off the loop's thread. name: what for, as a (kind, subject) pair."""

    name: tuple[str, Any]
    ask: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an errand brought: a value, or the error that it ended with."""

    name: tuple[str, Any]
    value: Any = None
    error: IngestError | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A thread met an error that is a bug of ours; the loop raises it."""

    error: BaseException


Report = Result | Answer | Broken


class Crew(Protocol):
    """The loop's hands. `submit` and `ask` never block; what they bring comes back through `take`."""

    def submit(self, batch: Batch) -> None: ...

    def ask(self, errand: Errand) -> None: ...

    def take(self, wait_s: float = 0.0) -> Sequence[Report]:
        """All reports that are there, waiting up to wait_s for the first one."""

    def oldest_s(self, now_s: float) -> float:
        """Seconds for which the longest-running request has been out, 0 when none is."""

    def close(self, timeout_s: float) -> None: ...


def run_errand(errand: Errand) -> Report:
    try:
        return Answer(errand.name, errand.ask())
    except IngestError as error:
        return Answer(errand.name, error=error)
    except Exception as error:
        return Broken(error)


def run_batch(store: Store, batch: Batch) -> Report:
    try:
        return store.write(batch)
    except Stop as error:
        return Answer(("stop", str(batch.lane)), error=error)
    except Exception as error:
        return Broken(error)


class ThreadCrew:
    """One thread per store for batches, one more for errands.

    stores: one per writer, at least one; each is used by its own thread alone. wake: called by these threads when a report is
    there, for a loop that waits elsewhere.
    """

    def __init__(
        self, stores: Sequence[Store], clock: Callable[[], float] = monotonic, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self._busy_since: dict[str, float] = {}
        self._stores = stores
        self._threads = [
            Thread(target=self._write, args=(store, f"writer-{i}"), name=f"writer-{i}", daemon=True)
            for i, store in enumerate(stores)
        ]
        self._threads.append(Thread(target=self._run_errands, name="errands", daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, batch: Batch) -> None:
        self._batches.put(batch)

    def ask(self, errand: Errand) -> None:
        self._errands.put(errand)

    def take(self, wait_s: float = 0.0) -> Sequence[Report]:
        found: list[Report] = []
        try:
            found.append(self._reports.get(timeout=wait_s) if wait_s > 0 else self._reports.get_nowait())
            while True:
                found.append(self._reports.get_nowait())
        except Empty:
            return found

    def oldest_s(self, now_s: float) -> float:
        return max((now_s - since for since in list(self._busy_since.values())), default=0.0)

    def close(self, timeout_s: float) -> None:
        """Let the threads end after what they are doing; those that take longer than timeout_s end with the process."""
        for _ in self._stores:
            self._batches.put(None)
        self._errands.put(None)
        deadline = self._clock() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock()))
        for store in self._stores:
            store.close()

    def _write(self, store: Store, name: str) -> None:
        while (batch := self._batches.get()) is not None:
            self._busy_since[name] = self._clock()
            report = run_batch(store, batch)
            del self._busy_since[name]
            self._tell(report)
            del batch, report  # or a writer that waits would keep thousands of rows in memory

    def _run_errands(self) -> None:
        while (errand := self._errands.get()) is not None:
            self._tell(run_errand(errand))

    def _tell(self, report: Report) -> None:
        self._reports.put(report)
        self._wake()


class InlineCrew:
    """The same hands without threads: everything is done when the loop takes the reports. For tests and single-stepping."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches: list[Batch] = []
        self._errands: list[Errand] = []

    def submit(self, batch: Batch) -> None:
        self._batches.append(batch)

    def ask(self, errand: Errand) -> None:
        self._errands.append(errand)

    def take(self, wait_s: float = 0.0) -> Sequence[Report]:  # noqa: ARG002  (it never has to wait)
        batches, self._batches = self._batches, []
        errands, self._errands = self._errands, []
        return [*map(run_errand, errands), *(run_batch(self._store, batch) for batch in batches)]

    def oldest_s(self, now_s: float) -> float:  # noqa: ARG002  (nothing is ever out)
        return 0.0

    def close(self, timeout_s: float) -> None:  # noqa: ARG002  (nothing to wait for)
        self._store.close()
