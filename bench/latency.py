"""What a single record waits for: on an idle worker, at its start, and while a second worker joins or leaves.

    python -m bench.latency                                 all three for each client that is there, ten minutes
    python -m bench.latency --only idle --rounds 1 --records 20

idle: sent to readable by key, one record at a time. start: from the start of the process to its first row, a backlog waiting.
rebalance: the longest time without a write, and the oldest record, while the group changes under a steady load; `before` is the
same worker left alone. Linux only.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from bench import report
from bench.contenders import LIBRDKAFKA, WORKER, Contender, Worker
from bench.freshness import Seen, Stage, first_seen, percentiles, running, stage
from bench.servers import Servers, own_servers
from bench.workload import Workload
from tests.server_processes import KAFKA_VERSION

CLIENTS = (WORKER, Worker("worker, librdkafka", LIBRDKAFKA))
LOAD = Workload("inserts", mix="insert")
POLL_S = 0.002
# Apart enough that the worker's linger and its poll are over, and not in step with either.
IDLE_S = (0.3, 0.7)
RATE = 200.0  # records a second while the group changes; of these every tenth or so is asked for
SETTLED_S, CHANGE_S = 6.0, 15.0
SEEN_WITHIN_S = 120.0


@dataclass(frozen=True)
class Idle:
    contender: str
    samples_ms: Sequence[float]


@dataclass(frozen=True)
class Start:
    contender: str
    took_s: float


@dataclass(frozen=True)
class Gap:
    """what: before, joins or leaves. without_write_s: the longest. oldest_s: of a record when it was seen."""

    contender: str
    what: str
    without_write_s: float
    oldest_s: float


def idle(contender: Contender, servers: Servers, count: int) -> Iterator[Idle]:
    rnd = random.Random(3)
    with stage(contender, LOAD, servers, POLL_S) as on, running(contender, on.job):
        first_seen(on)
        for message in on.pacer.messages(count):
            time.sleep(rnd.uniform(*IDLE_S))
            on.prober.ask_for(message, on.pacer.send(message))
            on.pacer.flush()
            if on.prober.wait(SEEN_WITHIN_S):
                raise RuntimeError("an idle worker did not write one record in two minutes")
        yield Idle(contender.name, [round(seen.took_ms, 2) for seen in on.prober.seen])


def start(contender: Contender, servers: Servers, count: int) -> Iterator[Start]:
    """count: records that wait; the oldest of them all is asked for."""
    with stage(contender, LOAD, servers, POLL_S) as on:
        messages = on.pacer.messages(count)
        for message in messages:
            on.pacer.send(message)
        on.pacer.flush()
        began_s = time.monotonic()
        for message in messages[:10]:  # whichever partition comes first
            on.prober.ask_for(message, began_s)
        with running(contender, on.job):
            on.prober.wait(SEEN_WITHIN_S)
        yield Start(contender.name, round(min(seen.found_s for seen in on.prober.seen) - began_s, 3))


def rebalance(contender: Contender, servers: Servers, count: int) -> Iterator[Gap]:
    """A second worker joins, and leaves again in good order, while records come."""
    del count
    with stage(contender, LOAD, servers, POLL_S) as on, running(contender, on.job), load(on):
        first_seen(on)
        yield gap(contender, "before", on, SETTLED_S)
        with running(contender, on.job):
            yield gap(contender, "joins", on, CHANGE_S)
            leave_s = time.monotonic()
        yield gap(contender, "leaves", on, max(0.0, CHANGE_S - (time.monotonic() - leave_s)), leave_s)


@contextmanager
def load(on: Stage) -> Iterator[None]:
    """Records at RATE as long as the block runs."""
    is_over = threading.Event()
    messages = on.pacer.messages(int(RATE * 600))
    thread = threading.Thread(target=on.pacer.pace, args=(messages, RATE, on.prober, is_over.is_set), name="load")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def gap(contender: Contender, what: str, on: Stage, wait_s: float, from_s: float | None = None) -> Gap:
    """Of the records sent from now on, or from a moment before, for so long."""
    began_s = time.monotonic() if from_s is None else from_s
    time.sleep(wait_s)
    end_s = time.monotonic()
    deadline_s = end_s + SEEN_WITHIN_S
    while time.monotonic() < deadline_s and not any(seen.sent_s > end_s for seen in list(on.prober.seen)):
        time.sleep(0.05)  # until a record of later was seen; those of partitions that still wait are asked for meanwhile
    time.sleep(1.0)
    return gap_of(contender.name, what, [seen for seen in list(on.prober.seen) if began_s <= seen.sent_s <= end_s])


def gap_of(contender: str, what: str, seen: Sequence[Seen]) -> Gap:
    found_s = sorted(each.found_s for each in seen)
    longest_s = max((after - before for before, after in pairwise(found_s)), default=0.0)
    oldest_s = max((each.took_ms / 1_000 for each in seen), default=0.0)
    return Gap(contender, what, round(longest_s, 3), round(oldest_s, 3))


# ---------------------------------------------------------------- all of it

MEASURES: dict[str, Callable[[Contender, Servers, int], Iterator[Any]]] = {"idle": idle, "start": start, "rebalance": rebalance}


def main() -> int:
    options = arguments().parse_args()
    wanted = [name for name in MEASURES if not options.only or name in options.only.split(",")]
    able = [each for each in CLIENTS if not each.why_not]
    left_out = {each.name: each.why_not for each in CLIENTS if each.why_not}
    found: list[Any] = []
    with own_servers() as servers:
        for name in wanted:
            for number in range(options.rounds):
                for contender in able if number % 2 == 0 else reversed(able):
                    for each in MEASURES[name](contender, servers, options.records):
                        found.append(each)
                        print(shown(each), flush=True)
        version = servers.crate_version
    about = report.machine() | {"crate": version, "kafka": KAFKA_VERSION}
    raw = report.keep(
        "latency", about, found=[{"kind": type(each).__name__, **asdict(each)} for each in found], left_out=left_out
    )
    text = page_of(found, about, raw.name, left_out)
    print(text)
    folder = report.DOCS / "benchmark" if options.publish else raw.with_suffix("")
    print(f"{raw}\n{report.publish('latency', text, folder)}")
    return 0


def shown(each: Any) -> str:
    if isinstance(each, Idle):
        p50_ms, p99_ms = percentiles(each.samples_ms)
        return f"{each.contender}: idle, p50 {p50_ms} ms, p99 {p99_ms} ms of {len(each.samples_ms)}"
    return str(each)


def page_of(found: Sequence[Any], about: dict[str, Any], raw: str, left_out: dict[str, str]) -> str:
    names = list(dict.fromkeys(each.contender for each in found))
    rows = []
    for name in names:
        ours = [each for each in found if each.contender == name]
        p50_ms, p99_ms = percentiles([ms for each in ours if isinstance(each, Idle) for ms in each.samples_ms])
        starts = [each.took_s for each in ours if isinstance(each, Start)]
        words = [f"{p50_ms:.0f} / {p99_ms:.0f}", f"{median(starts):.2f}" if starts else ""]
        for what in ("before", "joins", "leaves"):
            gaps = [each for each in ours if isinstance(each, Gap) and each.what == what]
            words.append(f"{worst(gaps, 'without_write_s')} / {worst(gaps, 'oldest_s')}" if gaps else "")
        rows.append([name, *words])
    gap_heads = [f"{what}: s without write / oldest record s" for what in ("left alone", "second joins", "second leaves")]
    head = ("contender", "idle p50 / p99 ms", "start to first row s", *gap_heads)
    parts = [
        f"# Latency\n\nMade by `python -m bench.latency`; do not edit. {report.machine_line(about)} Raw: `bench/results/{raw}`.\n"
    ]
    parts += [report.markdown(head, rows), "Medians of the starts, the worst of the gaps.\n"]
    return "\n".join([*parts, *(f"- left out: {name}: {why}\n" for name, why in left_out.items())])


def worst(gaps: Sequence[Gap], name: str) -> str:
    return f"{max(getattr(each, name) for each in gaps):.2f}"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="some of: " + ", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=100, help="sent one by one to an idle worker, or waiting at a start")
    parser.add_argument("--publish", action="store_true", help="write the page to docs/benchmark/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
