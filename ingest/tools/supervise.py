"""INGEST_WORKERS=n: n worker processes, each with a consumer of its own; Kafka shares the partitions among them.

The parent reads nothing and writes nothing. It starts children as new processes (never by fork: the client's threads would
not live on), hands signals on, and starts one again that died, with growing waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic, sleep
from types import FrameType

from ingest.settings import Settings

RESTART_BASE_S = 1.0
RESTART_MAX_S = 30.0
# A child that lived so long was well; its next death starts the waits afresh.
WELL_S = 60.0
LOOK_EVERY_S = 0.2
# These say that starting again would end the same way: settings, a failed check, given up or parked.
FINAL_CODES = frozenset({0, 2, 3, 4})


@dataclass(slots=True)
class Child:
    """One worker process. starts: how often it was started; due_s: when it is started again, None while it runs or is done."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    code: int | None = None
    starts: int = 0
    started_s: float = 0.0
    due_s: float | None = 0.0


class Supervisor:
    """command: what a worker is started with. environ: of the parent; each child gets numbers of its own in it."""

    def __init__(self, settings: Settings, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._command = list(command)
        self._environ = environ
        self._children = [Child(number) for number in range(settings.workers)]
        self._stopping = Event()

    def run(self) -> int:
        """Until all children are done; the worst of their exit codes."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        while any(child.process or child.due_s is not None for child in self._children):
            for child in self._children:
                self._tend(child)
            sleep(LOOK_EVERY_S)
        return max((child.code or 0 for child in self._children), default=0)

    def _tend(self, child: Child) -> None:
        if child.process is not None and (code := child.process.poll()) is not None:
            self._ended(child, code)
        elif child.due_s is not None and monotonic() >= child.due_s:
            self._start(child)

    def _start(self, child: Child) -> None:
        child.due_s, child.started_s, child.starts = None, monotonic(), child.starts + 1
        child.process = subprocess.Popen(self._command, env=self._environ_of(child.number), stdin=subprocess.DEVNULL)

    def _ended(self, child: Child, code: int) -> None:
        child.process, child.code = None, code if code >= 0 else 128 - code
        if code in FINAL_CODES or self._stopping.is_set():
            return
        if monotonic() - child.started_s > WELL_S:
            child.starts = 1
        wait_s = min(RESTART_MAX_S, RESTART_BASE_S * 2 ** (child.starts - 1))
        child.due_s = monotonic() + wait_s
        text = f"worker {child.number} ended with code {child.code}; it is started again in {wait_s:.0f} s\n"
        sys.stderr.write(text)

    def _environ_of(self, number: int) -> dict[str, str]:
        """A child is a single worker with a port and, where members are static, a name of its own."""
        environ = {**self._environ, "INGEST_WORKERS": "1"}
        if self._settings.http_port:
            environ["INGEST_HTTP_PORT"] = str(self._settings.http_port + number)
        instance = self._settings.kafka_options.get("group_instance_id")
        if instance:
            environ["INGEST_KAFKA_GROUP_INSTANCE_ID"] = f"{instance}-{number}"
        return environ

    def _stop(self, number: int, _: FrameType | None) -> None:
        """Hand the signal on; a child that waits to be started again is not."""
        self._stopping.set()
        for child in self._children:
            child.due_s = None
            if child.process is not None:
                child.process.send_signal(number)


def supervise(settings: Settings, arguments: Sequence[str]) -> int:
    """Run settings.workers workers with these arguments of `ingest`; the worst exit code."""
    return Supervisor(settings, [sys.executable, "-m", "ingest", *arguments], os.environ).run()
