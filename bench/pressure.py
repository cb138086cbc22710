"""Pressure on real servers: what a worker does when CrateDB is too slow for it, blocked for one table, or away for all.

    python bench/pressure.py                     both scenarios, some six minutes, and docs/pressure.svg
    python bench/pressure.py --plot FILE.json    the plot again from the figures of an earlier run

Starts a broker and a CrateDB of its own. Raw samples, two a second, are kept in bench/results/; the table at the end says
what was seen and what must be so. Exit code 0 only if all of it is.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.own_servers import own_servers  # noqa: E402
from bench.pressure_rig import COLUMNS, PARTITIONS, Event, Eyes, Gate, Look, Offer, Rate, between, pace  # noqa: E402
from tests.chaos.proxy import Proxy  # noqa: E402
from tests.chaos.rig import Servers  # noqa: E402
from tests.integration.pace_rig import read_only  # noqa: E402
from tests.integration.worker_rig import Done, Site, site_at, wait_until  # noqa: E402

RESULTS, PLOT = ROOT / "bench" / "results", ROOT / "docs" / "pressure.svg"
TABLES, BLOCKED = ("orders", "events", "frozen"), "frozen"
# So little memory and such large records that an overload of half a minute fills it.
SETTINGS = {"memory_mb": "180", "writers": "8", "batch_max_bytes": "1000000", "watermarks": "false"}
MOST_WAITING_S = 5.0
WELL, SLOW = 1_500.0, 120.0  # rows a second that CrateDB takes
LOW, HIGH = 60.0, 240.0  # records a second that are offered
STARTED_WITHIN_S, CAUGHT_UP_WITHIN_S = 120.0, 300.0


class Seen(NamedTuple):
    """A scenario as it went. marks: moments of its script by name."""

    name: str
    looks: list[Look]
    events: list[Event]
    marks: dict[str, float]
    refused: int
    requests: list[tuple[float, float, int]]
    end: Done
    is_whole: bool


class Row(NamedTuple):
    """A line of the table. must: in words."""

    scenario: str
    what: str
    seen: str
    must: str
    is_so: bool


Script = Callable[["Stage"], None]


class Stage:
    """What a script may touch. marks: filled by it."""

    def __init__(self, site: Site, servers: Servers, gate: Gate, eyes: Eyes) -> None:
        self.site, self.servers, self.gate, self.eyes = site, servers, gate, eyes
        self.marks: dict[str, float] = {}

    def at(self, second: float) -> None:
        """Wait until then, on the clock of the looks."""
        time.sleep(max(0.0, second - self.eyes.now_s()))

    def mark(self, name: str, says: str) -> None:
        self.marks[name] = self.eyes.now_s()
        self.eyes.event(says)

    def until_caught_up(self) -> None:
        """Everything that was offered is stored, but for what is under way."""
        wait_until(lambda: self.eyes.looks[-1].behind < LOW, CAUGHT_UP_WITHIN_S, lambda: self.eyes.worker.log[-3000:])


# ---------------------------------------------------------------- the two scenarios


def rising(second: float) -> float:
    """LOW, up to HIGH within half a minute, half a minute there, and down again."""
    up, down = (second - 15) / 30, (105 - second) / 30
    return LOW + (HIGH - LOW) * max(0.0, min(1.0, up, down))


def overload(stage: Stage) -> None:
    """CrateDB is slow while the load rises above what it takes, and quick again before the load is back."""
    stage.at(20)
    stage.gate.pace = SLOW
    stage.mark("slow", f"CrateDB takes {SLOW:.0f} rows/s")
    stage.at(90)
    stage.gate.pace = WELL
    stage.mark("quick", f"CrateDB takes {WELL:.0f} rows/s")
    stage.at(105)
    stage.until_caught_up()
    stage.mark("caught up", "caught up")
    time.sleep(15)


def steady(_: float) -> float:
    return 1.5 * LOW


def block_and_outage(stage: Stage) -> None:
    """One table of three is read-only for half a minute; then CrateDB is killed and started again."""
    stage.at(20)
    with read_only(stage.site, [BLOCKED]):
        stage.mark("blocked", f"{BLOCKED} is read-only")
        stage.at(50)
    stage.mark("unblocked", f"{BLOCKED} is not any more")
    stage.until_caught_up()
    time.sleep(8)
    stage.servers.crates[0].kill()
    stage.mark("killed", "CrateDB is killed")
    time.sleep(15)
    stage.servers.crates[0].start()
    stage.mark("back", "CrateDB is back")
    stage.until_caught_up()
    stage.mark("caught up", "caught up")
    time.sleep(15)


# ---------------------------------------------------------------- living through one


def live(name: str, rate: Rate, script: Script, servers: Servers) -> Seen:
    print(name, flush=True)
    gate = Gate(WELL, MOST_WAITING_S)
    crate = servers.crates[0]
    with tempfile.TemporaryDirectory() as folder, site_at(servers.kafka.address, crate.address, Path(folder)) as site:
        for table in TABLES:
            site.make_table(table, COLUMNS)
        site.make_topics(*TABLES, partitions=PARTITIONS)
        with way(crate.ports[0], gate) as proxy:
            worker = site.start(crate_urls=proxy.url, **SETTINGS)
            wait_until(lambda: worker.readiness().get("ready") or worker.has_ended, STARTED_WITHIN_S, lambda: worker.log)
            offer = Offer(site, TABLES, rate)
            stage = Stage(site, servers, gate, Eyes(worker, gate, offer))
            play(stage, script)
            offer.close()
            total = sum(offer.offered.values())
            wait_until(lambda: site.committed() == total, CAUGHT_UP_WITHIN_S, lambda: worker.log[-3000:])
            end = worker.stop()
        is_whole = all(len(site.column(table)) == offer.offered[table] for table in TABLES) and not site.letters()
    began_s = stage.eyes._began_s  # noqa: SLF001
    requests = [(round(each.began_s - began_s, 2), round(each.ended_s - each.began_s, 3), each.rows) for each in gate.done]
    return Seen(name, stage.eyes.looks, stage.eyes.events, stage.marks, gate.refused, requests, end, is_whole)


@contextmanager
def way(port: int, gate: Gate) -> Iterator[Proxy]:
    proxy = Proxy("127.0.0.1", port)
    proxy.rule = gate
    try:
        yield proxy
    finally:
        proxy.close()


def play(stage: Stage, script: Script) -> None:
    """The script, while a thread looks on. Raises what either raised. The script stays in this thread: a server that is started
    in one that ends would end with it."""
    troubles: list[Exception] = []
    is_over = threading.Event()

    def look_on() -> None:
        try:
            stage.eyes.watch(is_over.is_set)
        except Exception as error:
            troubles.append(error)

    thread = threading.Thread(target=look_on, name="eyes", daemon=True)
    thread.start()
    try:
        script(stage)
    finally:
        is_over.set()
        thread.join(60)
    if troubles:
        raise troubles[0]


# ---------------------------------------------------------------- the judgement


def judged(seen: Seen) -> Iterator[Row]:
    """What must be so of any scenario."""
    looks, name, answer = seen.looks, seen.name, seen.end.answer
    ended = (seen.end.code, answer.get("is_balanced"), answer.get("unsettled"))
    offered, most_mb = sum(looks[-1].offered.values()), max(look.rss_mb for look in looks)
    off = [look for look in looks if look.off_books]
    most_out, limit = max(look.in_flight for look in looks), looks[0].limit
    yield Row(name, "stored of offered", f"{'all' if seen.is_whole else 'NOT ALL'} of {offered} and more", "all", seen.is_whole)
    yield Row(name, "exit code, balanced, unsettled", str(ended), "(0, True, 0)", ended == (0, True, 0))
    yield Row(name, "looks with books that do not balance", f"{len(off)} of {len(looks)}", "0", not off)
    yield Row(name, "most memory, MB", f"{most_mb:.0f}", f"< {SETTINGS['memory_mb']}", most_mb < float(SETTINGS["memory_mb"]))
    yield Row(name, "most requests in flight", str(most_out), f"<= {limit}", most_out <= limit)


def overload_rows(seen: Seen) -> Iterator[Row]:
    name, marks, limit = seen.name, seen.marks, seen.looks[0].limit
    # Its queue is full some seconds after it became slow.
    worst = between(seen.looks, marks["slow"] + 20, marks["quick"])
    accepted, least = pace(worst), min(look.permits for look in worst)
    most_paused, after_s = max(look.paused for look in worst), marks["caught up"] - marks["quick"]
    last = seen.looks[-1]
    yield Row(name, "accepted rows/s while it is slow", f"{accepted:.0f} of {SLOW:.0f}", ">= 0.7 of it", accepted >= 0.7 * SLOW)
    yield Row(
        name, "refused requests of all", f"{seen.refused} of {len(seen.requests)}", "few", seen.refused < len(seen.requests) / 4
    )
    yield Row(name, "fewest permits", f"{least:.1f} of {limit}", f"< {limit}", least < limit)
    yield Row(name, "partitions paused at most", f"{most_paused} of {PARTITIONS * len(TABLES)}", "> 0", most_paused > 0)
    yield Row(name, "permits at the end", f"{last.permits:.1f}", f"{limit}", last.permits == limit)
    yield Row(name, "behind at most, records", str(max(look.behind for look in seen.looks)), "falls again", last.behind < 3 * LOW)
    yield Row(name, "seconds from quick again to caught up", f"{after_s:.0f}", f"< {CAUGHT_UP_WITHIN_S:.0f}", True)


def outage_rows(seen: Seen) -> Iterator[Row]:
    name, marks = seen.name, seen.marks
    before = between(seen.looks, 5, marks["blocked"])
    meanwhile = between(seen.looks, marks["blocked"], marks["unblocked"])
    for table in (table for table in TABLES if table != BLOCKED):
        kept = pace(meanwhile, table) / pace(before, table)
        yield Row(name, f"pace of {table}, {BLOCKED} blocked", f"{kept:.2f} of before", ">= 0.7", kept >= 0.7)
    stuck = pace(meanwhile, BLOCKED)
    yield Row(name, f"pace of {BLOCKED} meanwhile", f"{stuck:.1f} rows/s", "about 0", stuck < 0.1 * LOW)
    first = next(look.at_s for look in seen.looks if look.at_s > marks["killed"] + 5 and look.permits > 0)
    back = [look for look in seen.looks if look.at_s >= first]
    over = [look for look in back if look.in_flight > look.permits]
    climb = [permits for permits, _ in groupby(look.permits for look in back)]
    whole_s = next((look.at_s for look in back if look.permits == look.limit), inf) - first
    burst = [len([1 for began_s, *_ in seen.requests if first + n <= began_s < first + n + 5]) for n in range(0, 30, 5)]
    yield Row(name, "looks with more in flight than permitted", f"{len(over)} of {len(back)}", "0", not over)
    yield Row(name, "permits when it is back", " ".join(f"{each:.1f}" for each in climb[:12]), "climb from 1", climb[0] < 2)
    yield Row(
        name, "requests begun, every 5 s from then", " ".join(map(str, burst)), "few first", burst[0] <= seen.looks[0].limit
    )
    yield Row(name, "first permit to all of them, s", f"{whole_s:.0f}", "< 120", whole_s < 120)
    yield Row(name, "back to first permit, s", f"{max(0.0, first - marks['back']):.1f}", "< 30", first - marks["back"] < 30)
    yield Row(name, "back to caught up, s", f"{marks['caught up'] - marks['back']:.0f}", f"< {CAUGHT_UP_WITHIN_S:.0f}", True)


def table(rows: Sequence[Row]) -> str:
    """
    >>> print(table([Row("a", "b", "1", "1", True)]))
    a  b  1  must be 1  right
    """
    cells = [(row.scenario, row.what, row.seen, f"must be {row.must}", "right" if row.is_so else "WRONG") for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells)


# ---------------------------------------------------------------- the command


def main() -> int:
    options = arguments().parse_args()
    file = options.plot or run()
    raw = json.loads(file.read_text())
    from bench.pressure_plot import plot

    plot(raw, PLOT)
    print(f"raw samples {file}, plot {PLOT.relative_to(ROOT)}")
    return 0 if all(row["is_so"] for row in raw["table"]) else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="no run: only the plot, from this file of raw samples")
    return parser


def run() -> Path:
    """Live through both, print the table; the file with what was seen."""
    with own_servers() as servers:
        first = live("overload", rising, overload, servers)
        second = live("outage", steady, block_and_outage, servers)
        versions = {"kafka": servers.kafka.version, "cratedb": servers.crates[0].version, "python": platform.python_version()}
    rows = [*judged(first), *overload_rows(first), *judged(second), *outage_rows(second)]
    print(table(rows))
    return keep([first, second], rows, versions)


def keep(all_seen: Sequence[Seen], rows: Sequence[Row], versions: dict[str, str]) -> Path:
    raw: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions,
        "settings": SETTINGS,
        "tables": TABLES,
        "table": [row._asdict() for row in rows],
        "scenarios": {seen.name: told(seen) for seen in all_seen},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"pressure-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    file.write_text(json.dumps(raw) + "\n")
    return file


def told(seen: Seen) -> dict[str, Any]:
    """fields: the names of what each look has."""
    return {
        "events": [event._asdict() for event in seen.events],
        "refused": seen.refused,
        "answer": seen.end.answer,
        "fields": Look._fields,
        "looks": [list(look) for look in seen.looks],
        "requests": seen.requests,
    }


if __name__ == "__main__":
    sys.exit(main())
