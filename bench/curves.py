"""How the worker's speed, CPU and memory grow with what it is given: one axis at a time, each a curve with its raw runs.

    python -m bench.curves                                  all axes on servers of its own, an hour or two
    python -m bench.curves --only columns --rounds 1 --records 20000
    python -m bench.curves --instant                        a store that answers at once: the worker alone
    python -m bench.curves --only lag --ten-million         lag up to 10**7 records

CPU per row is the run's, less that of a worker that finds one record, so that the start does not stand in it. An axis is called
worse than linear where CPU per row at its end is more than LIMIT times what it is at the cheapest point. Linux only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench import plots, report
from bench.contenders import MONTHS, NO_MONTHS, WORKER, Worker
from bench.measure import PER, Run, drain
from bench.rows import Shape
from bench.servers import Servers, own_servers
from bench.workload import Layout, Workload, delete_topics, fill
from tests.server_processes import KAFKA_VERSION

# Months that rows can be in must be allowed, whatever today is.
LATE = {"INGEST_MONTH_MAX": "60"}
LIMIT = 1.5
ONCE_FROM = 10_000_000  # records: a point of so many is measured once, it takes a quarter of an hour
LAGS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


@dataclass(frozen=True)
class Axis:
    """label: with its unit. unit: what a row's cost is divided by where more of it is more work in itself (columns, bytes)."""

    name: str
    label: str
    points: Sequence[int]
    workload: Callable[[int, int], Workload]
    unit: Callable[[int], float] = lambda _: 1.0
    is_log: bool = False
    layout: Layout = MONTHS


def of_columns(count: int, records: int) -> Workload:
    return Workload(f"{count} columns", shape=Shape(columns=count, months=1), records=records)


def of_bytes(size: int, records: int) -> Workload:
    return Workload(f"{size} bytes of text", shape=Shape(months=1, note_bytes=size), records=records)


def of_months(count: int, records: int) -> Workload:
    return Workload(f"{count} months", shape=Shape(months=count), records=records)


def of_tables(count: int, records: int) -> Workload:
    # Without months and with one shard each: 500 tables are 500 shards, half of what one node takes by default. So many
    # records for each, or what a table costs once (6 ms: its mapper, its first look) would be all that is measured.
    return Workload(f"{count} tables", records=max(records, 1_000 * count), tables=count, partitions=1, shards=1)


def of_partitions(count: int, records: int) -> Workload:
    return Workload(f"{count} partitions", shape=Shape(months=1), records=records, partitions=count)


def of_lag(count: int, records: int) -> Workload:
    del records
    return Workload(f"lag {count}", shape=Shape(months=1), records=count)


AXES = (
    Axis("columns", "columns", (5, 12, 25, 50, 100, 200), of_columns, lambda x: x + 8),
    Axis("bytes", "bytes of one text column", (50, 500, 2_000, 8_000, 20_000), of_bytes, lambda x: x + 500, is_log=True),
    Axis("months", "months in a batch", (1, 3, 6, 12, 24, 36), of_months),
    Axis("tables", "tables", (1, 5, 20, 100, 500), of_tables, is_log=True, layout=NO_MONTHS),
    Axis("partitions", "partitions", (1, 3, 10, 30, 100, 200), of_partitions, is_log=True),
    Axis("lag", "lag, records", LAGS, of_lag, is_log=True),
)


@dataclass(frozen=True)
class Point:
    """The runs at one place of an axis. start_cpu_s: of a worker that finds one record there."""

    x: int
    runs: Sequence[Run]
    start_cpu_s: float

    def own_us(self, run: Run) -> float:
        """CPU of the worker, µs a record."""
        return max(0.0, run.own_cpu_s * run.records / PER - self.start_cpu_s) / run.records * 1e6

    def crate_us(self, run: Run) -> float:
        return run.crate_cpu_s / PER * 1e6

    def rows_a_request(self, run: Run) -> float:
        return run.sent.rows / run.sent.requests if run.sent and run.sent.requests else 0.0

    def middle(self, figure: Callable[[Run], float]) -> float:
        return median(map(figure, self.runs))


def measured(axis: Axis, x: int, servers: Servers, rounds: int, records: int) -> Point:
    """The start alone once, then the rounds (one of a very long workload)."""
    workload = axis.workload(x, records)
    worker = Worker("worker", LATE, axis.layout)
    start = once(worker, replace(workload, records=workload.tables), servers, 1)[0]
    runs = once(worker, workload, servers, 1 if workload.records >= ONCE_FROM else rounds)
    return Point(x, runs, start.own_cpu_s * start.records / PER)


def once(worker: Worker, workload: Workload, servers: Servers, rounds: int) -> list[Run]:
    filled = fill(servers, workload)
    is_judged = servers.psql_port != 0  # a store that answers at once keeps nothing
    try:
        return [drain(worker, filled, servers, is_judged=is_judged) for _ in range(rounds)]
    finally:
        delete_topics(servers.kafka, list(filled.topics.values()))


# ---------------------------------------------------------------- what comes of it


def verdict(axis: Axis, points: Sequence[Point]) -> str:
    """Whether CPU per row (per unit of work in it) ends far above its cheapest place."""
    parts = []
    for name, figure in (("worker", "own_us"), ("CrateDB", "crate_us")):
        costs = [point.middle(getattr(point, figure)) / axis.unit(point.x) for point in points]
        low = min(costs)
        if low:
            word = "WORSE THAN LINEAR" if costs[-1] > LIMIT * low else "linear or better"
            parts.append(f"{name} {word}: {costs[-1] / low:.2f} of its cheapest per unit")
    return "; ".join(parts)


def table(axis: Axis, points: Sequence[Point]) -> str:
    head = (
        axis.label,
        "runs",
        "rows/s",
        "steady rows/s",
        "worker µs a row",
        "CrateDB µs a row",
        "rows a request",
        "peak MB",
        "start CPU s",
        "table",
    )
    rows = []
    for point in points:
        is_right = all(run.is_right for run in point.runs)
        figures = (point.middle(lambda run: run.rows_s), point.middle(lambda run: run.steady_rows_s))
        costs = (point.middle(point.own_us), point.middle(point.crate_us))
        rest = (point.middle(point.rows_a_request), point.middle(lambda run: run.max_rss_mb))
        words = [f"{figure:,.0f}" for figure in (*figures, *costs, *rest)]
        rows.append(
            [f"{point.x:,}", str(len(point.runs)), *words, f"{point.start_cpu_s:.2f}", "right" if is_right else bad(point.runs)]
        )
    return report.markdown(head, rows)


def bad(runs: Sequence[Run]) -> str:
    run = next(run for run in runs if not run.is_right)
    return str(run.wrong) if run.wrong else run.state[:100]


def panels(points: Sequence[Point]) -> dict[str, plots.Series]:
    def series(name: str, *figures: tuple[str, Callable[[Point, Run], float]]) -> tuple[str, plots.Series]:
        return name, {label: [(p.x, [of(p, run) for run in p.runs]) for p in points] for label, of in figures}

    return dict(
        (
            series("rows/s, steady", ("rows/s", lambda _, run: run.steady_rows_s)),
            series("CPU µs a row", ("worker", lambda p, run: p.own_us(run)), ("CrateDB", lambda p, run: p.crate_us(run))),
            series("peak MB", ("MB", lambda _, run: run.max_rss_mb)),
        )
    )


def main() -> int:
    options = arguments().parse_args()
    chosen = [axis for axis in AXES if not options.only or axis.name in options.only.split(",")]
    found: dict[str, list[Point]] = {}
    with own_servers(is_instant=options.instant) as servers:
        once(WORKER, of_columns(12, 2_000), servers, 1)  # warms the servers up
        for axis in chosen:
            points = found[axis.name] = []
            for x in points_of(axis, options):
                points.append(measured(axis, x, servers, options.rounds, options.records))
                print("".join(f"{axis.name} {x}: {run}\n" for run in points[-1].runs), end="", flush=True)
            print(f"{table(axis, points)}{verdict(axis, points)}\n", flush=True)
        version = servers.crate_version
    finish(chosen, found, report.machine() | {"crate": version, "kafka": KAFKA_VERSION}, options)
    return 0 if all(run.is_right for points in found.values() for point in points for run in point.runs) else 1


def points_of(axis: Axis, options: argparse.Namespace) -> list[int]:
    points = [*axis.points, *([ONCE_FROM] if options.ten_million and axis.name == "lag" else [])]
    return [x for x in points if options.least <= x <= options.most]


def finish(chosen: Sequence[Axis], found: dict[str, list[Point]], about: dict[str, Any], options: argparse.Namespace) -> None:
    raw = report.keep("curves", about, axes=found, instant=options.instant)
    folder = report.DOCS / "benchmark" if options.publish else raw.with_suffix("")
    store = " --instant`, with a store that answers at once, so that the worker's side alone is seen" if options.instant else "`"
    parts = [
        f"# Growth\n\nMade by `python -m bench.curves{store}; do not edit. {report.machine_line(about)} Raw: `{raw.name}`.\n"
    ]
    for axis in chosen:
        plots.curves(panels(found[axis.name]), axis.label, folder / f"growth-{axis.name}.svg", is_log=axis.is_log)
        body = f"{table(axis, found[axis.name])}\n{verdict(axis, found[axis.name])}.\n"
        parts.append(f"## {axis.label}\n\n{body}\n![{axis.label}](growth-{axis.name}.svg)\n")
    print(f"{raw}\n{report.publish('growth', chr(10).join(parts), folder)}")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="axes: " + ", ".join(axis.name for axis in AXES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=50_000, help="at every point but those of lag")
    parser.add_argument("--least", type=int, default=0, help="leave out points before this")
    parser.add_argument("--most", type=int, default=10_000_000, help="leave out points beyond this")
    parser.add_argument("--ten-million", action="store_true", help="lag up to 10**7 records")
    parser.add_argument("--instant", action="store_true", help="a store that answers at once and keeps nothing")
    parser.add_argument("--publish", action="store_true", help="write the page and the plots to docs/benchmark/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
