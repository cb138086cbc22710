"""A row of the matrix and its life: load, worker, fault, recovery, verdict. One thread; load and watch have their own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from tests.chaos.rig import Rig, Servers

Fault = Callable[["Rig"], None]
Prepare = Callable[["Rig"], Mapping[str, str]]
SEED = "INGEST_TEST_CHAOS_SEED"
STARTED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Scenario:
    """What is broken, and under which load. of: the server, for the table. seed: of the stream and of the fault's own dice.

    rate: records offered a second until the fault is over; what is left then comes at once. books: "exact" if one worker must
    have counted every record once, "balanced" where records are rightly read again or counted by a worker that was killed.
    caught_up_s: how long the recovery may take on a busy machine. env: settings of every worker, as they are named outside.
    prepare: called before the first worker starts, answers with more of them. is_audited: commits are checked during the fault
    too; not where rows are taken away on purpose.
    """

    name: str
    of: str
    fault: Fault
    seed: int
    records: int = 6_000
    rate: float = 300.0
    tables: Sequence[str] = ("invoices", "customers", "readings")
    workers: int = 1
    books: str = "exact"
    is_short: bool = False
    caught_up_s: float = 240.0
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    is_audited: bool = True

    @property
    def says(self) -> str:
        """The fault in a sentence."""
        return (self.fault.__doc__ or "").partition("\n")[0]


def rows_of(of: str) -> tuple[list[Scenario], Callable[..., Callable[[Fault], Fault]]]:
    """The rows of a server, empty, and the decorator that adds one; see the package's docstring."""
    rows: list[Scenario] = []

    def row(**options: Any) -> Callable[[Fault], Fault]:
        def add(fault: Fault) -> Fault:
            name = fault.__name__
            assert fault.__doc__, f"{name} needs a docstring: the docs show it"
            options.setdefault("seed", int(os.environ.get(SEED) or crc32(name.encode()) % 1000))
            rows.append(Scenario(name, of, fault, **options))
            return fault

        return add

    return rows, row


def parameters(rows: Sequence[Scenario]) -> list[Any]:
    """For pytest: each by its name, those of the short run marked."""
    return [pytest.param(row, id=row.name, marks=[pytest.mark.short] if row.is_short else []) for row in rows]


def run(scenario: Scenario, servers: Servers, folder: Path) -> dict[str, Any]:
    """Live through a row; its line for the results. What is not as it must be stands in its "differences"."""
    from tests.chaos import judge
    from tests.chaos.rig import Rig

    with Rig(scenario, servers, folder) as rig:
        if scenario.prepare is not None:
            rig.prepared = dict(scenario.prepare(rig))
        for _ in range(scenario.workers):
            rig.start_worker()
        rig.load.start()
        rig.until(lambda: rig.watch.total > scenario.records / 10, STARTED_WITHIN_S, "a tenth of the records was settled")
        with judge.Auditor(rig):
            rig.fault_begins()
            scenario.fault(rig)
            rig.fault_ends()
        rig.until(rig.is_readable, scenario.caught_up_s, "all shards answer")
        judge.check_commits(rig)
        rig.load.finish()
        rig.until(rig.is_caught_up, scenario.caught_up_s, "everything was committed")
        rig.caught_up()
        rig.until(rig.is_readable, scenario.caught_up_s, "all shards answer")
        judge.check_commits(rig)
        return judge.verdict(rig, rig.stop_workers())


def dice(scenario: Scenario) -> random.Random:
    return random.Random(f"{scenario.seed}/fault")


def seconds(since_s: float | None, until_s: float | None) -> float | None:
    return None if since_s is None or until_s is None else round(max(0.0, until_s - since_s), 1)


def now_s() -> float:
    return time.monotonic()
