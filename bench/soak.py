"""Soak on real servers: a steady mixed load while faults fall from seeded dice; at the end a model judges what is stored.

    python bench/soak.py --minutes 60 --seed 1

Starts a broker and a CrateDB of its own, because it kills them. The first worker sees only what happens to servers and lives
through it all: flat memory, threads and sockets mean something there. Prints a line a minute; every look at every worker and
every fault is kept in bench/results/. Exit code 0 only if tables, dead letters and books are as they must be and nothing grew.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.faults import Fault, Faults  # noqa: E402
from bench.growth import Growth, growths  # noqa: E402
from bench.looks import books, scraped, total, usage  # noqa: E402
from bench.own_servers import own_servers  # noqa: E402
from tests.chaos import judge  # noqa: E402
from tests.chaos.rig import Member, Rig  # noqa: E402
from tests.chaos.scenario import Scenario  # noqa: E402
from tests.oracle.tables import TABLES  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PACKAGES = ("kafka-python", "msgspec", "orjson", "urllib3")
# So little that a leak of a few MB an hour cannot hide below it for a day; the least for four writers is about 180.
MEMORY_MB = 200
STARTED_WITHIN_S, RECOVERED_WITHIN_S, DRAINED_WITHIN_S = 180.0, 600.0, 1_800.0
LOOK_S = 10.0
# What the group has committed is asked this often; the matrix of faults asks every quarter of a second.
WATCH_S = 1.0
# Reading all tables to check commits takes longer the more there is in them.
CHECK_S = 600.0


class Journal:
    """The raw log: a line of JSON for everything that was seen. Written by several threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._began_s, self._lock = time.monotonic(), threading.Lock()
        self._out = file.open("w", buffering=1)

    def now_s(self) -> float:
        return round(time.monotonic() - self._began_s, 1)

    def note(self, kind: str, **facts: Any) -> None:
        with self._lock:
            self._out.write(json.dumps({"kind": kind, "at_s": self.now_s(), **facts}, default=str) + "\n")

    def close(self) -> None:
        self._out.close()


class Looks:
    """Looks at every running worker every few seconds, and says a line a minute, from a thread of its own.

    seen: by worker, in the order of time. last_fault: told in the line.
    """

    def __init__(self, rig: Rig, journal: Journal, every_s: float) -> None:
        self.seen: dict[int, list[dict[str, float]]] = {}
        self.last_fault, self.faults = "none yet", 0
        self._rig, self._journal, self._every_s, self._stop = rig, journal, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        minute = 0
        while not self._stop.wait(self._every_s):
            for number, worker in enumerate(list(self._rig.workers), 1):
                self._look(number, worker)
            if self._journal.now_s() // 60 > minute:
                minute = int(self._journal.now_s() // 60)
                say(self._line(minute))

    def _look(self, number: int, worker: Member) -> None:
        used = usage(worker.pid) if not worker.has_ended else None
        if used is None:
            return
        look: dict[str, float] = {"at_s": self._journal.now_s(), **used._asdict()}
        self.seen.setdefault(number, []).append(look)
        self._journal.note(
            "look", worker=number, **{name: value for name, value in look.items() if name != "at_s"}, **told(worker)
        )

    def _line(self, minute: int) -> str:
        rig = self._rig
        alive = [looks[-1] for number, looks in self.seen.items() if not rig.workers[number - 1].has_ended]
        offered = sum(rig.load.log.next_offset.values())
        used = "  ".join(f"{each['rss_mb']:.0f} MB {each['threads']:.0f} threads {each['fds']:.0f} fds" for each in alive)
        return (
            f"{minute:3} min  offered {offered:7}  committed {rig.watch.total:7}  behind {offered - rig.watch.total:5}  "
            f"[{used}]  faults {self.faults}, last {self.last_fault}"
        )


def told(worker: Member) -> dict[str, float]:
    """What the worker's own metrics say, {} while it does not answer."""
    try:
        samples = scraped(worker.url)
    except (OSError, ValueError):
        return {}
    gauges = (
        *("ingest_lag_records", "ingest_permits", "ingest_requests_in_flight", "ingest_paused_partitions"),
        *("ingest_assigned_partitions", "ingest_unsettled_bytes", "process_cpu_seconds_total"),
    )
    return {**books(samples), **{name.removeprefix("ingest_"): total(samples, name) for name in gauges}}


def say(line: str) -> None:
    print(line, flush=True)


# ---------------------------------------------------------------- its life


def soak(rig: Rig, looks: Looks, journal: Journal, options: argparse.Namespace) -> dict[str, Any]:
    """Load and faults for so long, then until everything is committed; the verdict, as the fault matrix has it."""
    faults = Faults(rig, options.seed)
    rig.watch.look_s = WATCH_S
    rig.start_worker()
    rig.start_worker()
    rig.load.start()
    rig.until(lambda: rig.watch.total > 0, STARTED_WITHIN_S, "something was committed")
    throw_faults(rig, looks, journal, faults, options)
    rig.load.finish()
    looks.last_fault = "over: the rest is being stored"
    drained_s = rig.until(rig.is_caught_up, DRAINED_WITHIN_S, "everything was committed")
    rig.until(rig.is_readable, DRAINED_WITHIN_S, "all shards answer")
    judge.check_commits(rig)
    looks.close()
    ended = rig.stop_workers()
    line = judge.verdict(rig, ended)
    answers = [done.answer for done in (*faults.ended, *ended)]
    return {**line, "drained_s": round(drained_s, 1), "faults": looks.faults, "answers": sums(answers)}


def throw_faults(rig: Rig, looks: Looks, journal: Journal, faults: Faults, options: argparse.Namespace) -> None:
    """Pause, fault, recovery, and again; commits are checked now and then."""
    pauses = random.Random(f"{options.seed}/pauses")
    ends_s, checked_s = options.minutes * 60, journal.now_s()
    for fault in faults.drawn():
        time.sleep(pauses.uniform(0.5, 1.5) * options.pause)
        assert not rig.workers[0].has_ended, f"the first worker ended by itself\n{rig.last_words()}"
        if journal.now_s() - checked_s > CHECK_S:
            judge.check_commits(rig)
            checked_s = journal.now_s()
        if journal.now_s() >= ends_s:
            return
        one_fault(rig, looks, journal, fault)


def one_fault(rig: Rig, looks: Looks, journal: Journal, fault: Fault) -> None:
    """It counts as over when the group has committed something that it had not when the fault ended."""
    name = fault.__name__.replace("_", " ")
    looks.last_fault, looks.faults = f"{name}: now", looks.faults + 1
    began_s = journal.now_s()
    fault()
    ended_s, before = journal.now_s(), rig.watch.total
    recovered_s = rig.until(lambda: rig.watch.total > before, RECOVERED_WITHIN_S, f"the group goes on after {name}")
    journal.note("fault", name=fault.__name__, began_s=began_s, ended_s=ended_s, recovered_s=round(recovered_s, 1))
    looks.last_fault = f"{name}, committing again after {recovered_s:.0f} s"


def sums(answers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The books of all workers that ended in good order, added up; is_balanced: read is what became of it."""
    parts = ("written", "superseded", "skipped", "dead_lettered", "handed_back", "unsettled")
    found = {part: sum(int(answer.get(part, 0)) for answer in answers) for part in ("read", *parts)}
    return {"workers": len(answers), **found, "is_balanced": found["read"] == sum(found[part] for part in parts)}


# ---------------------------------------------------------------- the judgement


def judged(line: dict[str, Any], looks: Looks, journal: Journal) -> dict[str, Any]:
    """The verdict with that on growth: of every worker that lived long enough, and the most memory that any had."""
    grown = {number: growths(seen) for number, seen in looks.seen.items() if is_long(seen, looks.seen[1])}
    most_mb = max(look["rss_mb"] for seen in looks.seen.values() for look in seen)
    off = [row for row in rows_of(journal.file) if row["kind"] == "look" and row.get("off_books")]
    is_flat = all(each.is_flat for found in grown.values() for each in found) and bool(grown[1])
    return {
        **line,
        "growth": {number: [each._asdict() for each in found] for number, found in grown.items() if found},
        "most_rss_mb": most_mb,
        "memory_mb": MEMORY_MB,
        "looks_off_books": len(off),
        "is_flat": is_flat,
        "is_well": line["equal"] and is_flat and most_mb < MEMORY_MB and not off and line["answers"]["is_balanced"],
    }


def is_long(seen: Sequence[Mapping[str, float]], whole: Sequence[Mapping[str, float]]) -> bool:
    """Whether a life is half of the soak: in a shorter one the faults do not fall evenly."""
    return seen[-1]["at_s"] - seen[0]["at_s"] >= (whole[-1]["at_s"] - whole[0]["at_s"]) / 2


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def report(verdict: dict[str, Any], looks: Looks) -> str:
    """The judgement for people."""
    long_lives = [(number, seen) for number, seen in looks.seen.items() if is_long(seen, looks.seen[1])]
    lines = [
        f"records {verdict['records']}, rows sent {verdict['rows_sent']} ({verdict['repeats']} of them again), letters "
        f"{verdict['letters']}, faults {verdict['faults']}, workers {len(looks.seen)}, drained in {verdict['drained_s']} s",
        f"tables and letters equal to the model's: {verdict['equal']}, lost {verdict['lost']} {verdict['differences'] or ''}",
        *verdict["first_differences"],
        f"books of {verdict['answers']['workers']} workers that ended in good order: {verdict['answers']}; "
        f"looks at which a worker's metrics were off: {verdict['looks_off_books']}",
        f"most memory that any worker had: {verdict['most_rss_mb']:.0f} of {MEMORY_MB} MB",
        *(line for number, seen in long_lives for line in growth_lines(number, seen, growths(seen))),
        f"verdict: {'well' if verdict['is_well'] else 'NOT WELL'}",
    ]
    return "\n".join(lines)


def growth_lines(number: int, seen: Sequence[Mapping[str, float]], found: Sequence[Growth]) -> list[str]:
    minutes = (seen[-1]["at_s"] - seen[0]["at_s"]) / 60
    return [f"worker {number}, seen for {minutes:.0f} min, judged over the last two thirds:", *(f"  {each}" for each in found)]


# ---------------------------------------------------------------- the command


def main() -> int:
    options = arguments().parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    journal = Journal(RESULTS / f"soak-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl")
    try:
        with own_servers() as servers, tempfile.TemporaryDirectory(prefix="soak-") as folder:
            scenario = scenario_of(options)
            with Rig(scenario, servers, Path(folder)) as rig:
                return lived(rig, journal, options)
    finally:
        journal.close()


def lived(rig: Rig, journal: Journal, options: argparse.Namespace) -> int:
    looks = Looks(rig, journal, options.look)
    journal.note("plan", at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **vars(options), memory_mb=MEMORY_MB,
                 versions={name: version(name) for name in PACKAGES}, python=platform.python_version())  # fmt: skip
    try:
        verdict = judged(soak(rig, looks, journal, options), looks, journal)
    except BaseException as error:
        journal.note("broken", error=f"{type(error).__name__}: {error}"[:20_000])
        raise
    finally:
        looks.close()
    journal.note("verdict", **verdict)
    say(report(verdict, looks))
    say(f"raw log: {journal.file.relative_to(ROOT)}")
    return 0 if verdict["is_well"] else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of load and faults; storing the rest comes on top")
    parser.add_argument("--seed", type=int, default=1, help="of the stream, the faults and the pauses")
    parser.add_argument("--rate", type=float, default=150.0, help="records offered a second")
    parser.add_argument(
        "--tables", default="invoices,customers,readings", help=f"some of {','.join(TABLES)}; default: %(default)s"
    )
    parser.add_argument("--pause", type=float, default=25.0, metavar="SECONDS", help="between two faults, on average")
    parser.add_argument("--look", type=float, default=LOOK_S, metavar="SECONDS", help="between two looks at the workers")
    return parser


def scenario_of(options: argparse.Namespace) -> Scenario:
    return Scenario(
        "soak",
        "everything",
        described,
        options.seed,
        records=int(options.minutes * 60 * options.rate),
        rate=options.rate,
        tables=options.tables.split(","),
        books="balanced",
        env={"INGEST_MEMORY_MB": str(MEMORY_MB)},
        is_audited=False,
    )


def described(_: Rig) -> None:
    """Random faults from seeded dice, with pauses between them."""


if __name__ == "__main__":
    sys.exit(main())
