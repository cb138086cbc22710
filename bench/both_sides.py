"""Where the CPU of both sides goes while a worker drains a topic: the worker's by room, CrateDB's by thread and by what it does.

    python -m bench.both_sides                         three rounds of 100,000 records, 60/35/5, 24 months, two cores for all
    python -m bench.both_sides --set INGEST_KAFKA_CLIENT=librdkafka
    python -m bench.both_sides --publish               into docs/benchmark/both-sides.md as well

Seconds are CPU that the kernel counted: the worker's of its whole process, CrateDB's of each of its threads as its own JVM tells
them. What a second went to is by samples of one more run: py-spy's of the worker (pip install py-spy), the JVM's own of CrateDB.
These slow both down, so their run gives shares and no seconds. Linux only.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import report
from bench.drain import ROOT, STREAMS, Bench, Run, delete, produce
from bench.servers import own_servers
from tests.server_processes import KAFKA_VERSION

# Where a stack belongs, read from its innermost frame: the first that a pattern knows.
ROOMS = {
    "Kafka client: fetch, unpack, commit": r"/kafka/|confluent_kafka",
    "decode and map": r"ingest/(formats|tables)/|<express",
    "fold, lanes, ledger, loop": r"ingest/flow/",
    "bodies and HTTP": r"ingest/crate/|urllib3|http/client",
    "metrics and logs": r"ingest/watch/|prometheus|logging",
}
# What a Java stack does: the first of these that any of its frames is, most special first.
DEEDS = {
    "find the stored row and its version": r"VersionsAndSeqNo|PerThreadID|InternalEngine\.get|ShardGetService|PKLookup",
    "translog": r"index\.translog",
    "merge segments": r"SegmentMerger|MergeScheduler",
    "refresh and flush": r"ReferenceManager|IndexWriter\.(flush|doFlush|getReader|commit)|DocumentsWriter\.flush|Engine\.refresh",
    "index the row": r"lucene\.index\.(IndexWriter|DocumentsWriter|IndexingChain)",
    "make the row": r"execution\.dml\.|Indexer",
    "parse, analyse, plan": r"sql\.parser|\.analyze\.|\.planner\.|sql\.tree",
    "JSON and HTTP": r"netty|rest\.|xcontent|jackson|http",
}
OTHER = "all else"
THREAD = re.compile(r'^"(?P<name>.+)" .*?\bcpu=(?P<ms>[\d.]+)ms', re.MULTILINE)
KIND = re.compile(r"^cratedb\[[^\]]*\]\[([^\]]*)\].*$")
PERIOD = "10ms"
SAMPLED = "jdk.CPUTimeSample"


@dataclass(frozen=True)
class Round:
    """One run without samples. threads: CrateDB's, by kind. CPU in seconds per 100,000 records."""

    run: Run
    threads: Mapping[str, float]


# ---------------------------------------------------------------- CrateDB's side


class Node:
    """The JVM of a node on this machine, asked with the tools of its own JDK."""

    def __init__(self, pid: int) -> None:
        self._pid, self._jdk = pid, Path(f"/proc/{pid}/exe").resolve().parent
        self._owner = Path(f"/proc/{pid}").owner()

    def threads_s(self) -> Mapping[str, float]:
        """CPU seconds so far of each thread."""
        found: dict[str, float] = defaultdict(float)
        for thread in THREAD.finditer(self._told("jcmd", str(self._pid), "Thread.print")):
            found[thread["name"]] += float(thread["ms"]) / 1000
        return found

    @contextmanager
    def sampled(self, to: Path) -> Iterator[None]:
        """What its threads do meanwhile, into a file of the flight recorder's."""
        words = self._folder_of(to) / "deeds.jfc"
        words.write_text(
            f'<configuration version="2.0"><event name="{SAMPLED}"><setting name="enabled">true</setting>'
            f'<setting name="throttle">{PERIOD}</setting></event></configuration>'
        )
        shutil.chown(words, self._owner)
        self._told("jcmd", str(self._pid), "JFR.start", "name=deeds", f"settings={words}", f"filename={to}")
        try:
            yield
        finally:
            self._told("jcmd", str(self._pid), "JFR.stop", "name=deeds")

    def stacks(self, of: Path) -> Iterator[list[str]]:
        """Class and method of each frame of each sample, innermost first."""
        told = json.loads(self._told("jfr", "print", "--json", "--stack-depth", "96", "--events", SAMPLED, str(of)))
        for event in told["recording"]["events"]:
            trace = event["values"]["stackTrace"]
            if trace:
                yield [
                    f"{frame['method']['type']['name']}.{frame['method']['name']}".replace("/", ".") for frame in trace["frames"]
                ]

    def _folder_of(self, file: Path) -> Path:
        shutil.chown(file.parent, self._owner)  # its owner writes there, not we
        return file.parent

    def _told(self, tool: str, *words: str) -> str:
        """The JVM talks to its owner only."""
        command = ["setpriv", f"--reuid={self._owner}", f"--regid={self._owner}", "--clear-groups", str(self._jdk / tool), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tool} {words[1] if len(words) > 1 else ''} failed: {(done.stderr or done.stdout)[-300:]}")
        return done.stdout


def kind_of(thread: str) -> str:
    """What a thread is for, without its number.

    >>> kind_of("cratedb[Piz Buin][write][T#2]"), kind_of("GC Thread#1"), kind_of("C2 CompilerThread0"), kind_of("main")
    ('write', 'garbage collection', 'JIT compilers', 'JVM, all else')
    """
    if found := KIND.match(thread):
        return found[1]
    if thread.startswith(("GC Thread", "G1 ")):
        return "garbage collection"
    return "JIT compilers" if "CompilerThread" in thread else "JVM, all else"


def by_kind(before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
    kinds: dict[str, float] = defaultdict(float)
    for thread, used_s in after.items():
        kinds[kind_of(thread)] += used_s - before.get(thread, 0.0)
    return kinds


# ---------------------------------------------------------------- shares


def folded(file: Path) -> Iterator[tuple[list[str], int]]:
    """Stacks of py-spy's raw format, outermost frame first, each with how often it was seen."""
    for line in file.read_text().splitlines():
        frames, _, seen = line.rpartition(" ")
        yield frames.split(";"), int(seen)


def by_room(stacks: Iterable[tuple[Sequence[str], int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for frames, seen in stacks:
        found[next((room for frame in reversed(frames) if (room := named(ROOMS, frame))), OTHER)] += seen
    return found


def by_deed(stacks: Iterable[Sequence[str]]) -> Counter[str]:
    return Counter(named(DEEDS, "\n".join(frames)) or OTHER for frames in stacks)


def named(patterns: Mapping[str, str], text: str) -> str | None:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), None)


def shares(counts: Mapping[str, float]) -> dict[str, float]:
    """Largest first, all together 1."""
    whole = sum(counts.values()) or 1.0
    return {name: count / whole for name, count in sorted(counts.items(), key=lambda item: -item[1])}


# ---------------------------------------------------------------- the whole


def main() -> int:
    options = arguments().parse_args()
    if not (Path(sys.executable).parent / "py-spy").exists():
        raise SystemExit("py-spy samples the worker and is not installed: pip install py-spy")
    with own_servers() as servers:
        assert servers.crate_pid is not None
        node, topic = Node(servers.crate_pid), f"sides-{uuid.uuid4().hex[:8]}"
        produce(servers.kafka, topic, STREAMS["mixed"](options.records))
        bench = Bench(servers.kafka, servers.crate, options.records, dict(pair.split("=", 1) for pair in options.set))
        try:
            bench.run(ROOT, topic)  # warms CrateDB up
            rounds = [counted(node, lambda: bench.run(ROOT, topic), options.records) for _ in range(options.rounds)]
            rooms, deeds = sampled(bench, node, topic)
        finally:
            delete(servers.kafka, [topic])
        about = report.machine() | {"crate": servers.crate_version, "kafka": KAFKA_VERSION, "settings": options.set}
    raw = report.keep(
        "both-sides", about, records=options.records, rounds=[asdict(each) for each in rounds], rooms=rooms, deeds=deeds
    )
    text = page_of(rounds, rooms, deeds, about, raw.name)
    folder = report.DOCS / "benchmark" if options.publish else raw.with_suffix("")
    print(f"{text}\n{raw}\n{report.publish('both-sides', text, folder)}")
    return 0


def counted(node: Node, run: Callable[[], Run], records: int) -> Round:
    before = node.threads_s()
    done = run()
    print(done, flush=True)
    per = 100_000 / records
    return Round(done, {kind: round(used_s * per, 3) for kind, used_s in by_kind(before, node.threads_s()).items()})


def sampled(bench: Bench, node: Node, topic: str) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the worker's rooms and of CrateDB's deeds, in one more run."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "worker.folded", Path(folder) / "crate.jfr"
        with node.sampled(theirs):
            print("sampled:", bench.run(ROOT, topic, str(ours)), flush=True)
            time.sleep(1)
        return shares(by_room(folded(ours))), shares(by_deed(node.stacks(theirs)))


def page_of(
    rounds: Sequence[Round], rooms: Mapping[str, float], deeds: Mapping[str, float], about: Mapping[str, object], raw: str
) -> str:
    own_s = median(each.run.worker_cpu_s for each in rounds)
    kinds = {kind for each in rounds for kind in each.threads}
    threads = {kind: median(each.threads.get(kind, 0.0) for each in rounds) for kind in kinds}
    crate_s = sum(threads.values())
    parts = [
        "# Where the CPU goes\n",
        f"Made by `python -m bench.both_sides`; do not edit. {report.machine_line(about)} Raw: `bench/results/{raw}`.\n",
        f"The worker took {own_s:.2f} s of CPU per 100,000 records, its start included, CrateDB {crate_s:.1f} s: medians of "
        f"{len(rounds)} runs. Threads are of these runs; rooms and deeds are shares of the samples of one more.\n",
        report.markdown(
            ("worker", "s per 100,000", "share"), ([name, f"{own_s * of:.2f}", f"{of:.0%}"] for name, of in rooms.items())
        ),
        report.markdown(
            ("CrateDB's threads", "s per 100,000", "share"),
            ([name, f"{crate_s * of:.2f}", f"{of:.0%}"] for name, of in shares(threads).items() if of >= 0.005),
        ),
        report.markdown(("what its Java threads do", "share of samples"), ([name, f"{of:.0%}"] for name, of in deeds.items())),
    ]
    return "\n".join(parts)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="INGEST_X=VALUE", help="a setting of the worker")
    parser.add_argument("--publish", action="store_true", help="write the page to docs/benchmark/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
