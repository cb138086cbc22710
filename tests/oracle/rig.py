"""One acceptance run: the stream into Kafka, the real worker into CrateDB, disturbed on purpose, then judged by the model.

Everything of a run has its own name (topics, group, schema), so runs do not meet. One thread, and a sampler's.
"""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import compare, kafka_io
from .compare import Differences
from .crate import Crate, write_contracts
from .kafka_io import Progress
from .log import Log
from .model import expected
from .proxy import Proxy
from .stream import PARTITIONS, stream, topic_of
from .tables import TABLES
from .worker import COMMAND, Sampler, Worker, cpu_s, listener_on

LOOK_S = 0.2
NOTHING_MOVED_S = 300.0
JOINER_STAYS_S = (4.0, 8.0)
# A killed member is missed only after its session, and Kafka's default of 45 s would be most of such a run.
SHORT_SESSION = {"INGEST_KAFKA_SESSION_TIMEOUT_MS": "6000", "INGEST_KAFKA_HEARTBEAT_INTERVAL_MS": "1500"}


@dataclass(frozen=True)
class Plan:
    """What to run. kills: SIGKILL and start again, so often. joiners: a second worker comes and goes, so often.
    crate_outage_s: CrateDB is cut off for so long. echoes: see compare_books. env: more settings of the worker.
    """

    kafka: str
    crate_url: str
    records: int = 20_000
    seed: int = 1
    tables: Sequence[str] = tuple(TABLES)
    kills: int = 0
    joiners: int = 0
    crate_outage_s: float = 0.0
    keep: bool = False
    echoes: str = "skipped"
    env: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = COMMAND

    @property
    def is_undisturbed(self) -> bool:
        return not (self.kills or self.joiners or self.crate_outage_s)


@dataclass
class Report:
    """The verdict and the numbers of one run."""

    differences: Differences
    numbers: dict[str, Any]
    trouble: str = ""

    @property
    def is_equal(self) -> bool:
        return not self.differences and not self.trouble

    def __str__(self) -> str:
        lines = [f"{name:24} {value}" for name, value in self.numbers.items()]
        return "\n".join(
            [*lines, f"{'verdict':24} {'equal' if self.is_equal else 'NOT EQUAL'}", str(self.differences), self.trouble]
        )


def run(plan: Plan) -> Report:
    """Produce, work, judge, clean up."""
    name = f"acc{uuid.uuid4().hex[:8]}"
    folder = Path(tempfile.mkdtemp(prefix=f"ingest-{name}-"))
    crate = Crate(plan.crate_url, name)
    topics = [topic_of(table, name) for table in plan.tables]
    try:
        crate.create(plan.tables)
        kafka_io.create_topics(plan.kafka, [*topics, f"{name}.dlq"], PARTITIONS)
        log = Log()
        produce_s = kafka_io.produce(plan.kafka, stream(plan.seed, plan.records, name, plan.tables), log)
        work = Work(plan, name, topics, folder, len(log.sent))
        work.run()
        return judge(plan, name, crate, log, work, produce_s)
    finally:
        if not plan.keep:
            crate.drop()
            kafka_io.delete_topics(plan.kafka, [*topics, f"{name}.dlq"])
            shutil.rmtree(folder)
        crate.close()


def judge(plan: Plan, name: str, crate: Crate, log: Log, work: Work, produce_s: float) -> Report:
    must = expected(log)
    differences = Differences()
    for table in plan.tables:
        differences.extend(compare.compare_rows(table, must.rows[table], crate.live_rows(table)))
    letters = kafka_io.read_letters(plan.kafka, f"{name}.dlq")
    names = {sent.at: sent.what for sent in log.sent}
    differences.extend(compare.compare_letters(must.letters, letters, names))
    books = work.main.books()
    if plan.is_undisturbed:
        differences.extend(compare.compare_books(must, books, plan.echoes))
    differences.extend(balance(books))
    numbers = work.numbers() | {
        "cratedb": crate.version(),
        "produce_s": round(produce_s, 1),
        "expected": {"read": must.read, "stored": must.stored, "skipped": must.skipped, "echoes": must.echoes,
                     "dead_lettered": must.dead_lettered, "live_rows": sum(map(len, must.rows.values()))},
        "letters": len(letters),
        "books": books,
        "tables": {table: crate.counts(table) for table in plan.tables},
    }  # fmt: skip
    return Report(differences, numbers, work.trouble)


def balance(books: Mapping[str, int]) -> Differences:
    """Whatever happened, what the last worker counted must add up."""
    found = Differences()
    ends = ("written", "superseded", "skipped", "dead_lettered", "handed_back", "unsettled")
    missing = [name for name in ("read", *ends) if name not in books]
    if missing:
        found.add("books", f"the worker's answer has no {', '.join(missing)}")
    elif books["read"] != sum(books[name] for name in ends):
        found.add("books", f"they do not balance: {dict(books)}")
    return found


class Work:
    """The worker from its start until everything is committed, with what is done to it meanwhile."""

    def __init__(self, plan: Plan, name: str, topics: Sequence[str], folder: Path, total: int) -> None:
        self.plan = plan
        self.total = total
        self.trouble = ""
        self.took_s = 0.0
        self.done = {"kills": 0, "joiners": 0, "outages": 0}
        self._name, self._folder, self._starts = name, folder, 0
        self._rnd = random.Random(f"{plan.seed}/disturbances")
        target = urlsplit(plan.crate_url)
        self._crate_pid = listener_on(target.port or 4200)
        self._proxy = Proxy(target.hostname or "127.0.0.1", target.port or 4200) if plan.crate_outage_s else None
        self._env = self._environment(topics)
        self._progress = Progress(plan.kafka, name)
        self._sampler = Sampler()
        self._joiner: Worker | None = None
        self._joiner_leaves_s = self._mend_s = 0.0
        self._due = self._schedule()
        self._disturbed_at = 0

    def run(self) -> None:
        """Until the group has committed everything, or nothing moves any more. What went wrong is in `trouble`."""
        worker_cpu_s, crate_cpu_s = children_cpu_s(), cpu_s(self._crate_pid)
        began_s = time.monotonic()
        self.main = self._start(until_caught_up=True)
        try:
            self._until_committed()
        finally:
            self.took_s = time.monotonic() - began_s
            self._close()
        self.worker_cpu_s = children_cpu_s() - worker_cpu_s
        self.crate_cpu_s = cpu_s(self._crate_pid) - crate_cpu_s

    def numbers(self) -> dict[str, Any]:
        per_100k = 100_000 / self.total
        return {
            "messages": self.total,
            "seed": self.plan.seed,
            "took_s": round(self.took_s, 1),
            "messages_per_s": round(self.total / self.took_s),
            "worker_cpu_s_per_100k": round(self.worker_cpu_s * per_100k, 2),
            "crate_cpu_s_per_100k": round(self.crate_cpu_s * per_100k, 2) if self._crate_pid else None,
            "worker_max_rss_mb": round(self._sampler.max_rss_mb),
            **self.done,
        }

    def _until_committed(self) -> None:
        moved_s, last = time.monotonic(), -1
        while not self.trouble:
            time.sleep(LOOK_S)
            now_s, committed = time.monotonic(), self._progress.committed()
            if committed != last:
                moved_s, last = now_s, committed
            if now_s - moved_s > NOTHING_MOVED_S + self.plan.crate_outage_s:
                self.trouble = f"nothing was committed for {NOTHING_MOVED_S:.0f} s, at {committed} of {self.total}"
            self._disturb(committed, now_s)
            code = self.main.exit_code
            if code == 0 and committed >= self.total:
                self.trouble = f"the run was too short for {len(self._due)} of its disturbances" if self._due else ""
                return
            if code is not None:
                self._again(code)

    def _again(self, code: int) -> None:
        """The worker ended: with 0 before the group was done, it left to a joiner what that has now handed back."""
        if code == 0 and self.plan.joiners:
            self.main = self._start(until_caught_up=True)
        elif code == 0:
            self.trouble = "the worker ended with 0 before everything was committed"
        else:
            self.trouble = f"the worker ended with {code}:\n{self.main.last_words()}"

    def _schedule(self) -> list[tuple[int, str]]:
        """At which numbers of committed records what is done: one in each part of the run, none at its very end."""
        plan = self.plan
        what = ["kills"] * plan.kills + ["joiners"] * plan.joiners + ["outages"] * bool(plan.crate_outage_s)
        self._rnd.shuffle(what)
        marks = [int(self.total * 0.85 * (i + self._rnd.random()) / len(what)) for i in range(len(what))]
        return list(zip(marks, what, strict=True))

    def _disturb(self, committed: int, now_s: float) -> None:
        if self._joiner is not None and now_s >= self._joiner_leaves_s:
            self._leave()
        if self._mend_s and now_s >= self._mend_s and self._proxy:
            self._mend_s = 0.0
            self._proxy.mend()
        if self._due and committed > self._due[0][0] and self._is_ready(self._due[0][1], committed):
            _, what = self._due.pop(0)
            self.done[what] += 1
            self._disturbed_at = committed
            {"kills": self._kill, "joiners": self._join, "outages": self._cut}[what](now_s)

    def _is_ready(self, what: str, committed: int) -> bool:
        """A worker is killed only once it has done something; a joiner comes when the one before is gone."""
        return {
            "kills": committed > self._disturbed_at and self.main.exit_code is None,
            "joiners": self._joiner is None,
            "outages": True,
        }[what]

    def _kill(self, _: float) -> None:
        # Right behind a commit is the tamest moment, so wait for some other one.
        time.sleep(self._rnd.uniform(0.0, 1.5))
        if self.main.exit_code is None:
            self.main.kill()
            self.main = self._start(until_caught_up=True)

    def _join(self, now_s: float) -> None:
        self._joiner = self._start(until_caught_up=False)
        self._joiner_leaves_s = now_s + self._rnd.uniform(*JOINER_STAYS_S)

    def _leave(self) -> None:
        joiner, self._joiner = self._joiner, None
        # A worker that is told to leave while Python itself still starts cannot answer; then it has said nothing either.
        if joiner is not None and (code := joiner.stop()) != 0 and joiner.last_words():
            self.trouble = f"the second worker ended with {code} when asked to stop:\n{joiner.last_words()}"

    def _cut(self, now_s: float) -> None:
        if self._proxy:
            self._proxy.cut()
            self._mend_s = now_s + self.plan.crate_outage_s

    def _start(self, *, until_caught_up: bool) -> Worker:
        self._starts += 1
        command = [*self.plan.command, *(["--until-caught-up"] if until_caught_up else [])]
        worker = Worker(command, self._env, self._folder / f"worker-{self._starts}.log")
        self._sampler.watch(worker.pid)
        return worker

    def _close(self) -> None:
        if self._joiner is not None:
            self._joiner.stop()
        self.main.stop()
        self._sampler.stop()
        self._progress.close()
        if self._proxy:
            self._proxy.close()

    def _environment(self, topics: Sequence[str]) -> dict[str, str]:
        plan = self.plan
        schemas = write_contracts(self._folder / "schemas", plan.tables, schema=self._name, prefix=self._name)
        return {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": plan.kafka,
            "INGEST_GROUP_ID": self._name,
            "INGEST_TOPICS": ",".join(topics),
            "INGEST_START_FROM": "earliest",
            "INGEST_CRATE_URLS": f"http://127.0.0.1:{self._proxy.port}" if self._proxy else plan.crate_url,
            "INGEST_CRATE_SCHEMA": self._name,
            "INGEST_SCHEMAS_DIR": str(schemas),
            "INGEST_DLQ_TOPIC": f"{self._name}.dlq",
            "INGEST_HTTP_PORT": "0",
            **(SHORT_SESSION if plan.kills or plan.joiners else {}),
            **plan.env,
        }


def children_cpu_s() -> float:
    """CPU of all children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
