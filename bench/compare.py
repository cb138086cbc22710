"""The benchmark: every contender over every stream, in turn, on servers of its own; tables and plots of the medians.

    python -m bench.compare --minutes 14 --publish         what `make bench` runs
    python -m bench.compare --full --publish               what `make bench-full` runs, hours
    python -m bench.compare --only "12 columns" --contenders "ceiling;worker" --rounds 1 --records 20000

Raw figures go to bench/results/; with --publish the page and its plots go to docs/benchmark/. What the time left does not allow
is left out and named. Which contender is what: bench/contenders.py. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import cases, freshness, plots, report
from bench.cases import Case
from bench.contenders import WORKER, Ceiling, Contender
from bench.measure import Run, drain, recorded
from bench.servers import Servers, own_servers
from bench.workload import Filled, delete_topics, fill
from tests.server_processes import KAFKA_VERSION

CONNECTIONS = (1, 2, 4)


@dataclass
class Prepared:
    """A case whose stream is in Kafka and whose requests are recorded."""

    case: Case
    filled: Filled
    bodies: Path
    contenders: list[Contender]


@dataclass
class Session:
    """What was found so far. deadline_s: on the monotonic clock. took_s: the longest that a contender needed in a case."""

    rounds: int
    deadline_s: float
    runs: list[Run] = field(default_factory=list)
    fresh: list[freshness.Fresh] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    took_s: dict[tuple[str, bool, str], float] = field(default_factory=dict)
    connections: int = 0
    crate_version: str = ""

    def compare(self, wanted: Sequence[Case], servers: Servers, *, is_fresh: bool) -> None:
        """All contenders of all cases, round after round."""
        self.crate_version, self.connections = servers.crate_version, 0
        with tempfile.TemporaryDirectory(prefix="ingest-bodies-") as folder:
            ready = list(self._prepared(wanted, servers, Path(folder)))
            for number in range(self.rounds):
                for each in ready:
                    for contender in each.contenders if number % 2 == 0 else reversed(each.contenders):
                        self._run(each, contender, servers)
            if is_fresh:
                self._look_at_freshness(ready, servers)
            delete_topics(servers.kafka, [topic for each in ready for topic in each.filled.topics.values()])

    def _prepared(self, wanted: Sequence[Case], servers: Servers, folder: Path) -> Iterator[Prepared]:
        for number, case in enumerate(wanted):
            if time.monotonic() > self.deadline_s:
                self._leave_out(case.workload.name, "the time was over")
                continue
            say(f"{case.workload.name}{', pinned' if servers.is_pinned else ''}: writing and recording the stream")
            filled, bodies = fill(servers, case.workload), folder / str(number)
            say(f"{recorded(WORKER, filled, servers, bodies)} (recorded, not counted)")
            yield Prepared(case, filled, bodies, list(self._able(case, filled, servers, bodies)))

    def _able(self, case: Case, filled: Filled, servers: Servers, bodies: Path) -> Iterator[Contender]:
        for contender in case.contenders:
            if why := contender.why_not or contender.why_not_for(filled):
                self._leave_out(contender.name if contender.why_not else f"{contender.name}: {case.workload.name}", why)
            elif isinstance(contender, Ceiling):
                self.connections = self.connections or best_connections(filled, servers, bodies)
                yield replace(contender, connections=self.connections)
            else:
                yield contender

    def _run(self, each: Prepared, contender: Contender, servers: Servers) -> None:
        place = (each.case.workload.name, servers.is_pinned, contender.name)
        began_s = time.monotonic()
        if began_s + self.took_s.get(place, 0.0) > self.deadline_s:
            self._leave_out(f"{contender.name}: {each.case.workload.name}", "the time was over before all its rounds")
            return
        run = drain(contender, each.filled, servers, each.bodies)
        self.took_s[place] = max(self.took_s.get(place, 0.0), time.monotonic() - began_s)
        self.runs.append(run)
        say(f"{run}  [{each.case.workload.name}]")

    def _look_at_freshness(self, ready: Sequence[Prepared], servers: Servers) -> None:
        """Of the first case's contenders that read a group, at parts of the steady speed that they just had."""
        each = ready[0]
        found = report.medians(self.runs)[each.case.workload.name, servers.is_pinned]
        for contender in each.contenders:
            if not isinstance(contender, Ceiling) and contender.name in found:
                top = found[contender.name].of("steady_rows_s")
                for share in freshness.SHARES:
                    self.fresh.append(freshness.measured(contender, each.case.workload, servers, share, top))
                    say(str(self.fresh[-1]))

    def _leave_out(self, what: str, why: str) -> None:
        if what not in self.left_out:
            self.left_out[what] = why
            say(f"left out: {what} ({why})")


def best_connections(filled: Filled, servers: Servers, bodies: Path) -> int:
    """How many connections carry the recorded requests fastest; the first tries also warm CrateDB up."""
    tries = [(drain(Ceiling(n), filled, servers, bodies, is_judged=False).rows_s, n) for n in CONNECTIONS]
    say("  ceiling by connections: " + ", ".join(f"{n}: {speed:,.0f} rows/s" for speed, n in tries))
    return max(tries)[1]


def main() -> int:
    options = arguments().parse_args()
    wanted = cases.full() if options.full else cases.quick()
    wanted = [case.narrowed(options.contenders, options.records) for case in wanted if options.only in case.workload.name]
    minutes = options.minutes or (12 * 60 if options.full else 14)
    session = Session(options.rounds, time.monotonic() + minutes * 60)
    for is_pinned in (True,) if options.pin else (True, False):
        chosen = [case for case in wanted if case.contenders and case.pinned is (is_pinned and not options.pin)]
        if chosen:
            with own_servers(is_pinned=is_pinned) as servers:
                session.compare(chosen, servers, is_fresh=options.full)
    finish(session, options.publish)
    return 0 if all(run.is_right for run in session.runs if run.contender.startswith("worker")) else 1


def finish(session: Session, is_published: bool) -> None:
    about = report.machine() | {"crate": session.crate_version, "kafka": KAFKA_VERSION}
    raw = report.keep("bench", about, runs=session.runs, freshness=session.fresh, left_out=session.left_out)
    folder = report.DOCS / "benchmark" if is_published else raw.with_suffix("")
    images = []
    for (workload, pinned), contenders in report.medians(session.runs).items():
        name = f"{'pinned-' if pinned else ''}{slug(workload)}.svg"
        plots.bars(f"{workload}{', pinned' if pinned else ''}", contenders, folder / name)
        images.append(f"![{workload}]({name})\n")
    page = report.publish("compare", page_of(session, about, raw, images), folder)
    say(report.tables(session.runs))
    say(f"{raw}\n{page}")


def page_of(session: Session, about: dict[str, object], raw: Path, images: Sequence[str]) -> str:
    parts = [
        "# The benchmark's last run\n",
        f"Made by `python -m bench.compare`; do not edit. Medians of {session.rounds} interleaved runs where the column says so. "
        f"{report.machine_line(about)} Raw figures: `bench/results/{raw.name}`.\n",
        "Rows/s count Kafka records, empty values included. Whole: from the process's start to the last commit; steady: from "
        "10 % to 90 % of the records. Own CPU is the contender's, with all its processes.\n",
        report.tables(session.runs),
    ]
    if session.fresh:
        parts.append("### Freshness: sent to readable by key, ms\n\n" + freshness.table(session.fresh))
    if session.left_out:
        parts.append("### Left out\n\n" + "".join(f"- {what}: {why}\n" for what, why in session.left_out.items()))
    return "\n".join([*parts, *images])


def slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-").replace("--", "-")


def say(text: str) -> None:
    print(text, flush=True)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all contenders over all streams, pinned and not, with freshness")
    parser.add_argument("--pin", action="store_true", help="only with CrateDB on one core and everything else on the others")
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--contenders", default="", help="some, by name, separated by a semicolon")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, help="of every stream")
    parser.add_argument("--minutes", type=float, help="no run begins that would end later (14, with --full 720)")
    parser.add_argument("--publish", action="store_true", help="write the page and the plots to docs/benchmark/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
