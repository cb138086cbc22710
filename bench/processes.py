"""What a second process brings where CrateDB is not the limit: records a second of one and of two, each held to a part of a core.

    python -m bench.processes                          three pairs, a quarter of a core each, a store that answers at once
    python -m bench.processes --part 0.4 --records 600000

On a machine of few cores two workers at full speed share them with the broker and the store, and what is measured is that. So the
kernel holds each worker process to its part of a core, in a control group of its own, and all have room. Counted from the moment
each process has its partitions until nine tenths of the records are committed. Linux, as root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import urllib3

from bench import report
from bench.drain import PARTITIONS, ROOT, STREAMS, Bench, delete, make_table, produce
from bench.servers import Servers, own_servers
from tests.oracle.kafka_io import Progress
from tests.oracle.worker import cpu_s, family
from tests.server_processes import KAFKA_VERSION, free_ports

PERIOD_US = 100_000
LOOK_S = 0.2
WITHIN_S = 120.0
UNTIL = 0.9


@dataclass(frozen=True)
class Seen:
    """processes: how many shared the topic. rows_s: all of them together. cpu_s: of all, in the time that counts."""

    processes: int
    records: int
    took_s: float
    cpu_s: float

    @property
    def rows_s(self) -> float:
        return self.records / self.took_s

    def __str__(self) -> str:
        cost = f"{self.cpu_s / self.records * 1e5:.2f} s of CPU per 100,000"
        return f"{self.processes} x: {self.rows_s:,.0f} records/s over {self.took_s:.1f} s, {cost}"


# ---------------------------------------------------------------- a part of a core


@contextmanager
def groups(count: int, part: float) -> Iterator[list[Path]]:
    """Control groups, each of which may use this part of one core."""
    made: list[Path] = []
    try:
        for _ in range(count):
            made.append(new_group(part))
        yield made
    finally:
        for group in made:
            wait_until(partial(is_empty, group), "a process does not leave its control group")
            group.rmdir()


def is_empty(group: Path) -> bool:
    return not (group / "cgroup.procs").read_text()


def new_group(part: float) -> Path:
    name, root = f"ingest-bench-{uuid.uuid4().hex[:8]}", Path("/sys/fs/cgroup")
    is_v1 = (root / "cpu" / "cpu.cfs_quota_us").parent.exists() and not (root / "cgroup.controllers").exists()
    group = root / "cpu" / name if is_v1 else root / name
    try:
        group.mkdir()
        if is_v1:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(int(part * PERIOD_US)))
        else:
            (group / "cpu.max").write_text(f"{int(part * PERIOD_US)} {PERIOD_US}")
    except OSError as error:
        raise SystemExit(
            f"no control group of the kernel's for a part of a core can be made ({error}): run it as root"
        ) from error
    return group


# ---------------------------------------------------------------- a run


def run(servers: Servers, topic: str, records: int, processes: int, part: float) -> Seen:
    schema = f"processes{uuid.uuid4().hex[:8]}"
    make_table(servers.sql, schema)
    (port,) = free_ports(1)
    bench = Bench(servers.kafka, servers.crate, records, {"INGEST_WORKERS": str(processes), "INGEST_HTTP_PORT": str(port)})
    with groups(processes, part) as held, tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "wb") as log:
        command = [sys.executable, "-m", "ingest", "run"]
        env = {**os.environ, **bench.environment(Path(folder), schema, topic)}
        worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=log)
        progress = Progress(servers.kafka, schema)
        try:
            pids = workers_of(worker, processes)
            for pid, group in zip(pids, held, strict=True):
                (group / "cgroup.procs").write_text(str(pid))
            wait_until(lambda: is_shared(port, processes), "the workers do not all get partitions", worker)
            return watched(progress, pids, worker, processes, records)
        finally:
            progress.close()
            worker.terminate()
            worker.wait()


def workers_of(worker: subprocess.Popen[bytes], count: int) -> list[int]:
    """The processes that read: the one itself, or those below the one that looks after them."""
    if count == 1:
        return [worker.pid]
    wait_until(lambda: len(family(worker.pid)) > count, "the processes do not start", worker)
    return family(worker.pid)[1:]


def is_shared(port: int, processes: int) -> bool:
    """Whether each has some of the partitions, by what the worker shows of itself or the parent of both."""
    try:
        told = urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False, timeout=5).json()
    except urllib3.exceptions.HTTPError:
        return False
    held = [each.get("assigned", 0) for each in told.get("workers", {"0": told}).values()]
    return len(held) == processes and all(held) and sum(held) == PARTITIONS


def watched(progress: Progress, pids: Sequence[int], worker: subprocess.Popen[bytes], processes: int, records: int) -> Seen:
    began_s, first, cpu_0 = time.monotonic(), progress.committed(), total_cpu_s(pids)
    last = first

    def is_done() -> bool:
        nonlocal last
        last = progress.committed()
        return last >= UNTIL * records

    wait_until(is_done, "the records are not drained", worker)
    return Seen(processes, last - first, time.monotonic() - began_s, total_cpu_s(pids) - cpu_0)


def total_cpu_s(pids: Sequence[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)


def wait_until(is_so: Callable[[], bool], or_else: str, worker: subprocess.Popen[bytes] | None = None) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not is_so():
        if time.monotonic() > deadline_s or (worker is not None and worker.poll() is not None):
            raise SystemExit(f"{or_else}{'' if worker is None else f', it ended with {worker.returncode}'}")
        time.sleep(LOOK_S)


# ---------------------------------------------------------------- the whole


def main() -> int:
    options = arguments().parse_args()
    found: list[Seen] = []
    with own_servers(is_instant=True) as servers:
        topic = f"processes-{uuid.uuid4().hex[:8]}"
        produce(servers.kafka, topic, STREAMS["mixed"](options.records))
        try:
            for number in range(options.rounds):
                for count in (1, 2) if number % 2 == 0 else (2, 1):
                    found.append(run(servers, topic, options.records, count, options.part))
                    print(found[-1], flush=True)
        finally:
            delete(servers.kafka, [topic])
    about: Mapping[str, object] = report.machine() | {"kafka": KAFKA_VERSION, "part_of_a_core": options.part}
    one, two = (median(each.rows_s for each in found if each.processes == count) for count in (1, 2))
    print(f"two: one = {two / one:.2f}")
    print(report.keep("processes", about, records=options.records, found=[asdict(each) for each in found]))
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=float, default=0.25, help="of a core that each process may use")
    return parser


if __name__ == "__main__":
    sys.exit(main())
