"""The rows of the fault matrix that end, freeze or mislead the worker's process."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.chaos import proxy
from tests.chaos.conftest import Play
from tests.chaos.proxy import Exchange
from tests.chaos.rig import Member, Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of

pytestmark = [
    *(pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow),
    # The client leaves sockets that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, row = rows_of("worker")
# A killed member is missed after its session.
SHORT_SESSION = {"INGEST_KAFKA_SESSION_TIMEOUT_MS": "6000", "INGEST_KAFKA_HEARTBEAT_INTERVAL_MS": "1500"}
TIMES = 5
# The rest comes behind the fault: on however slow a machine there is something under way at each moment.
SLOWLY = 60.0


# ---------------------------------------------------------------- it ends


@row(is_short=True, books="balanced", rate=SLOWLY / 2, records=3_000)
def terminated_at_random(rig: Rig) -> None:
    """SIGTERM at five random moments; each time it ends with 0, its books balanced, and another one starts."""
    for _ in range(TIMES):
        under_way(rig)
        rig.until(lambda: '"assigned"' in rig.worker.log, 60, "the worker has partitions")  # before, there is nothing to balance
        done = rig.worker.stop()
        assert (done.code, done.answer["is_balanced"]) == (0, True), done.log[-3000:]
        rig.start_worker()


@row(is_short=True, books="balanced", rate=SLOWLY / 2, records=3_000, env=SHORT_SESSION)
def killed_at_random(rig: Rig) -> None:
    """SIGKILL at five random moments; another one starts at once."""
    for _ in range(TIMES):
        under_way(rig)
        rig.worker.kill()
        rig.start_worker()


@row(books="balanced", rate=SLOWLY, env=SHORT_SESSION, workers=2)
def one_of_two_killed_at_random(rig: Rig) -> None:
    """Two workers; SIGKILL for one of them at five random moments, whatever it is doing: also joining or draining."""
    for _ in range(TIMES):
        time.sleep(rig.rnd.uniform(0.5, 6))
        rig.rnd.choice(rig.running()).kill()
        rig.start_worker()


def under_way(rig: Rig) -> None:
    """Until the worker has committed something, and then some moment later; at once if the load came to its end before."""
    before = rig.watch.total
    rig.until(lambda: rig.watch.total > before or rig.load.is_over, 60, "the worker commits")
    time.sleep(rig.rnd.uniform(0.0, 2.0))


@row(books="balanced", rate=SLOWLY, env={"INGEST_DRAIN_S": "5"})
def terminated_while_crate_hangs(rig: Rig) -> None:
    """CrateDB takes requests and does not answer; SIGTERM: the worker ends within its limits, another one goes on."""
    ends = hang(rig)
    time.sleep(3)
    began_s = time.monotonic()
    done = rig.worker.stop()
    rig.seen |= {"ended_after_s": round(time.monotonic() - began_s, 1), "unsettled": done.answer["unsettled"]}
    assert (done.code, done.answer["is_balanced"]) == (0, True), done.log[-3000:]
    ends.set()
    rig.proxy.rule = proxy.passing
    rig.start_worker()


def hang(rig: Rig, part: float = 1.0) -> threading.Event:
    """From now on this part of the requests that bring rows waits for the event, and only then goes to CrateDB."""
    ends = threading.Event()

    def rule(exchange: Exchange) -> None:
        if exchange.is_write and rig.rnd.random() < part:
            ends.wait(300)
        proxy.passing(exchange)

    rig.proxy.rule = rule
    return ends


# ---------------------------------------------------------------- it stands still


@row(is_short=True, books="balanced", rate=SLOWLY, records=3_000, workers=2)
def zombie(rig: Rig) -> None:
    """One of two is frozen for 25 s, past its session, half of all requests are held; both come late: the newer row stays."""
    ends = hang(rig, 0.5)
    time.sleep(2)
    rig.workers[0].freeze()
    try:
        time.sleep(5)
        rig.proxy.rule = proxy.passing  # those that wait go on waiting; the heir's are not held
        time.sleep(20)
    finally:
        rig.workers[0].thaw()
    time.sleep(1)
    ends.set()
    rig.until(lambda: '"lost"' in rig.workers[0].log, 60, "the zombie learns that it lost its partitions")


# ---------------------------------------------------------------- it is misled

CLOCK = '''"""time.time as far off as a file says: for a worker whose clock somebody sets."""

import os
import time

REAL, FILE = time.time, os.environ["CHAOS_CLOCK"]


def wrong() -> float:
    with open(FILE) as told:
        return REAL() + float(told.read() or 0)


time.time = wrong
'''


def with_a_clock(rig: Rig) -> dict[str, str]:
    """A clock that the row can set; monotonic time goes on as it does on real machines."""
    folder = rig.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    set_clock(rig, 0)
    return {"PYTHONPATH": str(folder), "CHAOS_CLOCK": str(rig.folder / "offset")}


def set_clock(rig: Rig, offset_s: float) -> None:
    new = rig.folder / "offset.new"
    new.write_text(str(offset_s))
    new.replace(rig.folder / "offset")


@row(prepare=with_a_clock, books="balanced", rate=SLOWLY)
def clock_set_back(rig: Rig) -> None:
    """The worker's clock is set 2 h back, then 1 h ahead, then right again, 4 s or more each; it is restarted in between."""
    set_clock(rig, -7200)
    time.sleep(4)
    rig.until(lambda: clock_told(rig, "min") < -7_000, 60, "rows were written by a clock that is back")
    rig.worker.stop()
    rig.start_worker()
    set_clock(rig, 3600)
    time.sleep(4)
    rig.until(lambda: clock_told(rig, "max") > 3_000, 60, "rows were written by a clock that is ahead")
    rig.seen["clock_told"] = f"{clock_told(rig, 'min'):.0f} to {clock_told(rig, 'max'):+.0f} s"
    set_clock(rig, 0)
    time.sleep(4)


def clock_told(rig: Rig, end: str) -> float:
    """How far the first or last cdc_ingested_at lies from now, in seconds."""
    ((found,),) = rig.crate.rows(f"SELECT {end}(cdc_ingested_at) FROM invoices")
    return found / 1000 - time.time() if found else 0.0


# ---------------------------------------------------------------- it cannot log

DISK_KB = 16


@row(books="balanced", rate=SLOWLY)
def disk_full_for_logs(rig: Rig) -> None:
    """stderr goes to a disk of 16 KB that is full (tmpfs; without the right to mount, a file that may not grow)."""
    rig.stop_workers()
    log = rig.folder / f"worker-{len(rig.workers) + 1}.log"
    disk = mounted(rig.folder / "disk")
    try:
        if disk is not None:
            log.symlink_to(disk / "log")
        worker = rig.start_worker(INGEST_LOG_LEVEL="debug")
        if disk is None:
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (DISK_KB * 1024, DISK_KB * 1024))
        rig.until(lambda: log.stat().st_size >= 0.9 * DISK_KB * 1024, 60, "the disk is full")
        goes_on_in_silence(rig, worker, log)
    finally:
        rig.seen["disk"] = "tmpfs" if disk else "RLIMIT_FSIZE"
        unmount_later(rig, disk, log)


def goes_on_in_silence(rig: Rig, worker: Member, log: Path) -> None:
    """Without a disk for its log it works on and ends as it would with one, of which no log tells."""
    size, total = log.stat().st_size, rig.watch.total
    rig.until(lambda: rig.watch.total > total + 1000, 90, "the worker goes on without a log")
    assert log.stat().st_size - size < 4096
    done = worker.stop()
    assert b'"stopped"' not in log.read_bytes()
    rig.seen["exit_code"] = done.code
    assert (done.code, done.answer["is_balanced"]) == (0, True)


def mounted(folder: Path) -> Path | None:
    """A tiny disk, None where we may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(folder)]
    return folder if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


def unmount_later(rig: Rig, disk: Path | None, log: Path) -> None:
    """The log stays readable for who looks at it; a worker with a disk goes on."""
    if disk is not None:
        text = log.read_bytes()
        log.unlink()
        log.write_bytes(text)
        subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, check=True)
    rig.start_worker()


# ---------------------------------------------------------------- played


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, servers: Servers) -> None:
    play(scenario, servers)
