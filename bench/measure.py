"""One drain measured: how fast, at what cost of CPU and memory, and whether the table was right at its end.

CPU is that of whole processes with all their children, read from /proc, so that nothing hides in a thread or a child.
A run begins with the start of the contender's process and ends when all is committed; `steady` is between a tenth and nine tenths
of the records, without start and end. Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from bench.ceiling import Recording, recorder
from bench.contenders import ROOT, Contender, Job, Sent, Start
from bench.servers import Servers
from bench.workload import Filled, delete_topics
from tests.oracle.kafka_io import Progress
from tests.oracle.worker import TICKS_PER_S, cpu_s, family, rss_mb

SAMPLE_S = 0.1
STOP_WITHIN_S = 30.0
LIMIT_S = 900.0
STALL_S = 120.0
LOW, HIGH = 0.1, 0.9
PER = 100_000


class Sample(NamedTuple):
    """At one moment since the start: records committed, and CPU seconds so far of contender, CrateDB, broker and the machine."""

    at_s: float
    records: float
    own_s: float
    crate_s: float
    kafka_s: float
    all_s: float


@dataclass
class Run:
    """One drain. state: drained, or what happened instead. wrong: rows that are not as they must be, by kind; None: not looked.

    CPU in seconds per 100,000 records, of the whole run and of its steady part; other_cores: taken by processes of others.
    """

    contender: str
    workload: str
    state: str
    records: int
    took_s: float
    rows_s: float
    steady_rows_s: float
    own_cpu_s: float
    crate_cpu_s: float
    steady_own_cpu_s: float
    steady_crate_cpu_s: float
    kafka_cpu_s: float
    max_rss_mb: float
    other_cores: float
    wrong: dict[str, int] | None = None
    pinned: bool = False
    sent: Sent | None = None
    samples: list[Sample] = field(default_factory=list, repr=False)

    @property
    def is_right(self) -> bool:
        return self.state == "drained" and not self.wrong

    def __str__(self) -> str:
        speed = f"{self.rows_s:>7,.0f} rows/s, steady {self.steady_rows_s:>7,.0f}"
        cpu = f"CPU {self.own_cpu_s:5.2f} + CrateDB {self.crate_cpu_s:5.2f}"
        rest = f"{self.max_rss_mb:4.0f} MB, others {self.other_cores:.1f}"
        judged = self.state if self.state != "drained" else "right" if self.is_right else f"wrong {self.wrong}"
        sent = "" if self.sent is None else f", {self.sent.rows:,} rows in {self.sent.requests:,} requests"
        return f"  {self.contender:<24} {self.took_s:6.1f} s {speed}, {cpu}, {rest}, {judged}{sent}"


class Meter:
    """Looks at a contender's process from the thread that waits for it."""

    def __init__(self, servers: Servers, process: subprocess.Popen[bytes], job: Job, group: str | None, began_s: float) -> None:
        self._servers, self._process, self._job, self._began_s = servers, process, job, began_s
        self._progress = Progress(servers.kafka, group) if group else None
        self._crate_0, self._kafka_0, self._all_0 = cpu_s(servers.crate_pid), cpu_s(servers.kafka_pid), machine_s()
        self._rss_mb: dict[int, float] = {}
        self.samples = [Sample(0.0, 0, 0.0, 0.0, 0.0, 0.0)]

    @property
    def max_rss_mb(self) -> float:
        """The most that each process had resident, in sum."""
        return sum(self._rss_mb.values())

    def look(self, own_s: float | None = None) -> Sample:
        """own_s: where it is known, because the process has ended."""
        pids = family(self._process.pid) if own_s is None else []
        for pid in pids:
            self._rss_mb[pid] = max(self._rss_mb.get(pid, 0.0), rss_mb(pid))
        own = own_s if own_s is not None else sum(map(family_cpu_s, pids))
        crate, kafka = cpu_s(self._servers.crate_pid) - self._crate_0, cpu_s(self._servers.kafka_pid) - self._kafka_0
        self.samples.append(Sample(time.monotonic() - self._began_s, self._done(), own, crate, kafka, machine_s() - self._all_0))
        return self.samples[-1]

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()

    def _done(self) -> float:
        if self._progress is not None:
            return self._progress.committed()
        with suppress(OSError, IndexError, ValueError):
            return float(self._job.progress_file.read_text().splitlines()[-1]) * self._job.filled.records
        return 0.0


def drain(
    contender: Contender,
    filled: Filled,
    servers: Servers,
    bodies: Path | None = None,
    *,
    schema: str = "",
    is_judged: bool = True,
) -> Run:
    """One drain into tables of its own, which are dropped again."""
    schema = schema or new_schema()
    sql = servers.sql
    filled.workload.make_tables(sql, schema, contender.layout)
    try:
        with tempfile.TemporaryDirectory(prefix="ingest-bench-") as folder:
            job = Job(servers, filled, schema, Path(folder), bodies)
            run = measured(contender, job)
        if is_judged and run.state == "drained":
            run.wrong = filled.differences(sql, schema, contender.layout)
        return run
    finally:
        sql.drop_schema(schema)
        delete_topics(servers.kafka, [f"{schema}.dlq"])


def launch(contender: Contender, job: Job) -> tuple[subprocess.Popen[bytes], Start]:
    start = contender.start(job)
    with open(job.folder / "log", "wb") as log:
        process = subprocess.Popen(start.command, cwd=ROOT, env=os.environ | start.env, stdout=log, stderr=log)
    return process, start


def measured(contender: Contender, job: Job) -> Run:
    began_s, began_at_s = time.monotonic(), time.time()
    process, start = launch(contender, job)
    meter = Meter(job.servers, process, job, start.group, began_s)
    try:
        state = watch(contender, job, process, meter)
        if state == "drained":
            for table in job.filled.workload.names:
                job.servers.sql(f'REFRESH TABLE "{job.schema}"."{table}"')  # a part of the work, wherever it happens
        end = meter.samples[-1]
        end = end._replace(crate_s=meter.look(end.own_s).crate_s)
        meter.samples[-1:] = []
    finally:
        stop(process)
        meter.close()
    marks = contender.marks(job, began_at_s) if state == "drained" else []
    run = run_of(contender, job, state, meter, end, marks or [(s.at_s, s.records / job.filled.records) for s in meter.samples])
    return replace(run, sent=contender.sent(job) if state == "drained" else None)


def watch(contender: Contender, job: Job, process: subprocess.Popen[bytes], meter: Meter) -> str:
    """Until it has drained everything; how it ended."""
    moved_s, last = time.monotonic(), 0.0
    while True:
        ended = reaped(process) if contender.ends else None
        if ended is not None:
            code, own_s = ended
            meter.look(own_s)
            return "drained" if code == 0 else f"ended with {code}: {tail(job)}"
        seen = meter.look()
        if not contender.ends and seen.records >= job.filled.records:
            return "drained"
        if not contender.ends and process.poll() is not None:
            return f"ended with {process.returncode}: {tail(job)}"
        if seen.records > last:
            moved_s, last = time.monotonic(), seen.records
        if time.monotonic() - moved_s > STALL_S or seen.at_s > LIMIT_S:
            return f"stalled at {last:,.0f} records: {tail(job)}"
        time.sleep(SAMPLE_S)


def reaped(process: subprocess.Popen[bytes]) -> tuple[int, float] | None:
    """Exit code and CPU seconds of a process that has ended, with its children; None while it runs."""
    pid, status, used = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tail(job: Job) -> str:
    lines = (job.folder / "log").read_text(errors="replace").splitlines()
    return " | ".join(lines[-3:])[-400:]


# ---------------------------------------------------------------- figures


def run_of(contender: Contender, job: Job, state: str, meter: Meter, end: Sample, marks: Sequence[tuple[float, float]]) -> Run:
    count = job.filled.records
    (low_s, low_part), (high_s, high_part) = steady_marks(marks)
    low, high = at_time(meter.samples, low_s), at_time(meter.samples, high_s)
    span_s, part = high_s - low_s, (high_part - low_part) * count
    per, steady_per = PER / count, PER / part if part else 0.0
    ours = end.own_s + end.crate_s + end.kafka_s
    return Run(
        contender=contender.name,
        workload=job.filled.workload.name,
        state=state,
        records=count,
        took_s=round(end.at_s, 2),
        rows_s=round(count / end.at_s, 1),
        steady_rows_s=round(part / span_s, 1) if span_s > 0 else 0.0,
        own_cpu_s=round(end.own_s * per, 3),
        crate_cpu_s=round(end.crate_s * per, 3),
        steady_own_cpu_s=round((high.own_s - low.own_s) * steady_per, 3),
        steady_crate_cpu_s=round((high.crate_s - low.crate_s) * steady_per, 3),
        kafka_cpu_s=round(end.kafka_s * per, 3),
        max_rss_mb=round(meter.max_rss_mb, 1),
        other_cores=round(max(0.0, end.all_s - ours) / end.at_s, 2),
        pinned=job.servers.is_pinned,
        samples=meter.samples,
    )


def steady_marks(marks: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The first marks at which a tenth and nine tenths were done; between marks nothing is guessed. Twice the same: too few.

    >>> steady_marks([(2.0, 0.2), (3.0, 0.6), (4.0, 1.0)])
    ((2.0, 0.2), (4.0, 1.0))
    """
    low = next((mark for mark in marks if mark[1] >= LOW), (0.0, 0.0))
    return low, next((mark for mark in marks if mark[1] >= HIGH), low)


def at_time(samples: Sequence[Sample], at_s: float) -> Sample:
    """What a look at that moment would have seen, on the line between the two looks around it."""
    for before, after in pairwise(samples):
        if after.at_s >= at_s >= before.at_s and after.at_s > before.at_s:
            share = (at_s - before.at_s) / (after.at_s - before.at_s)
            return Sample(*(a + share * (b - a) for a, b in zip(before, after, strict=True)))
    return samples[-1]


def family_cpu_s(pid: int) -> float:
    """Seconds of CPU of a process and of its children that ended; 0 once it is gone."""
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, parts[11:15])) / TICKS_PER_S


def machine_s() -> float:
    """Seconds of CPU that everything on this machine has used: all but idle and waiting for disks."""
    parts = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(n) for i, n in enumerate(parts[:8]) if i not in (3, 4)) / TICKS_PER_S


# ---------------------------------------------------------------- recording


def recorded(contender: Contender, filled: Filled, servers: Servers, file: Path) -> Run:
    """Drain once through the recorder, which warms the servers up as well; the bodies go to the file."""
    recording = Recording(new_schema())
    with recorder(servers.crate, recording) as address:
        run = drain(contender, filled, replace(servers, crate=address), schema=recording.schema)
    if not run.is_right:
        raise SystemExit(f"{filled.workload.name}: the recorded run was not right ({run.state}, {run.wrong}); nothing to compare")
    recording.save(file)
    return run


def new_schema() -> str:
    return f"bench{uuid.uuid4().hex[:8]}"
