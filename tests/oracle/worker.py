"""The worker as a process: started, watched, killed; what it costs and what it says at its end. Linux only (/proc)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "ingest", "run")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.25
STOP_WITHIN_S = 60.0


class Worker:
    """One worker process. Its log goes to a file, its answer is kept."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._answer = log.with_suffix(".out")
        with open(log, "ab") as stderr, open(self._answer, "wb") as stdout:
            self._process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=stdout, stderr=stderr)
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        """As the kernel would for want of memory: no warning, no clean-up."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end and wait; killed when it does not within STOP_WITHIN_S. The exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def books(self) -> dict[str, int]:
        """The counts that it printed at its end, {} if it printed none."""
        return find_books(self._answer.read_text(errors="replace"))

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def find_books(text: str) -> dict[str, int]:
    """The counts in a JSON text, or in the last line of a text that is JSON.

    >>> find_books('ready\\n{"books": {"read": 2, "written": 2, "by": {}}}')
    {'read': 2, 'written': 2}
    """
    for part in (text, *reversed(text.splitlines())):
        try:
            found = next(counts_in(json.loads(part)), None)
        except ValueError:
            continue
        if found:
            return found
    return {}


def counts_in(value: Any) -> Iterator[dict[str, int]]:
    """Every object in a value that counts what was read, outermost first."""
    if not isinstance(value, dict):
        return
    if "read" in value:
        yield {name: count for name, count in value.items() if isinstance(count, int)}
    for part in value.values():
        yield from counts_in(part)


class Sampler:
    """Looks at processes every SAMPLE_S from a thread of its own; the most memory that any of them ever had resident."""

    def __init__(self) -> None:
        self.max_rss_mb = 0.0
        self._pids: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def watch(self, pid: int) -> None:
        self._pids = {*self._pids, pid}

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for pid in self._pids:
                self.max_rss_mb = max(self.max_rss_mb, *(rss_mb(each) for each in family(pid)), 0.0)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    try:
        text = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return [pid]
    return [pid, *(each for child in text.split() for each in family(int(child)))]


def rss_mb(pid: int) -> float:
    """The most memory that the process had resident so far, 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(pid: int | None) -> float:
    """Seconds of CPU that the process has used, 0 for None."""
    if pid is None:
        return 0.0
    parts = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / TICKS_PER_S


def listener_on(port: int) -> int | None:
    """The process on this machine that listens on a TCP port, None if it is not here or not ours to see."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and int(parts[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{parts[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                return int(link.parts[2])
        except OSError:  # the process or the file went away meanwhile, or is not ours
            continue
    return None
