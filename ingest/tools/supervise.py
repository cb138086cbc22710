"""INGEST_WORKERS=n: n worker processes, each with a consumer of its own; Kafka shares the partitions among them.

The parent reads nothing and writes nothing. It starts children as new processes (never by fork: the client's threads would
not live on), hands signals on, starts one again that died, with growing waits, and answers over HTTP for all of them
(`watch.many`). The children belong to the main thread; the HTTP server's threads only look at them.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from types import FrameType

from ingest.settings import Settings
from ingest.watch import logs
from ingest.watch.http import Listener
from ingest.watch.many import ManyPages, Worker

log = logging.getLogger("ingest.supervisor")

RESTART_BASE_S = 1.0
RESTART_MAX_S = 30.0
# A child that lived so long was well; its next death starts the waits afresh.
WELL_S = 60.0
LOOK_EVERY_S = 0.2
# These say that starting again would end the same way: settings, a failed check, given up or parked.
FINAL_CODES = frozenset({2, 3, 4})
LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Child:
    """One worker process. starts: how often it was started; deaths: in a row, each soon after its start.

    due_s: when it is started again, None while it runs or is done.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    code: int = 0
    starts: int = 0
    deaths: int = 0
    started_s: float = 0.0
    due_s: float | None = 0.0

    @property
    def is_done(self) -> bool:
        return self.process is None and self.due_s is None


class Supervisor:
    """command: what a worker is started with. environ: of the parent; each child gets values of its own in it.

    until_caught_up: a child that ends for good leaves the others to come to their own end; else they are stopped as well.
    """

    def __init__(self, settings: Settings, command: Sequence[str], environ: Mapping[str, str], *, until_caught_up: bool) -> None:
        self._settings = settings
        self._command = list(command)
        self._environ = environ
        self._until_caught_up = until_caught_up
        self._children = [Child(number) for number in range(settings.workers)]
        self._signals: deque[int] = deque()
        self._is_stopping = False

    def run(self) -> int:
        """Until all children are done; the worst of their exit codes."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._note_signal)
        server = self._listener()
        try:
            while not all(child.is_done for child in self._children):
                while self._signals:
                    self._stop(self._signals.popleft())
                for child in self._children:
                    self._tend(child)
                sleep(LOOK_EVERY_S)
        finally:
            if server is not None:
                server.close()
        return max(child.code for child in self._children)

    # ------------------------------------------------------------ one child

    def _tend(self, child: Child) -> None:
        if child.process is not None and (code := child.process.poll()) is not None:
            self._ended(child, code)
        elif child.due_s is not None and monotonic() >= child.due_s:
            self._start(child)

    def _start(self, child: Child) -> None:
        """In a process group of its own: Ctrl-C on a terminal reaches a whole group, and handed on it would be the second one."""
        child.due_s, child.started_s, child.starts = None, monotonic(), child.starts + 1
        environ = self._environ_of(child.number)
        child.process = subprocess.Popen(self._command, env=environ, stdin=subprocess.PIPE, process_group=0)
        logs.emit(log, "info", "worker_started", {"worker": child.number, "pid": child.process.pid, "starts": child.starts})

    def _ended(self, child: Child, code: int) -> None:
        if child.process is not None and child.process.stdin is not None:
            child.process.stdin.close()
        child.process, child.code = None, self._verdict(code)
        if self._is_stopping or child.code == 0:
            return
        if child.code in FINAL_CODES:
            self._ended_for_good(child)
        else:
            self._start_later(child)

    def _verdict(self, code: int) -> int:
        """The exit code as a shell tells it. One that is stopped while Python still starts has no handler yet: that is fine."""
        if self._is_stopping and -code in (signal.SIGTERM, signal.SIGINT):
            return 0
        return code if code >= 0 else 128 - code

    def _ended_for_good(self, child: Child) -> None:
        what = "the others go on to their end" if self._until_caught_up else "so the others are stopped"
        sys.stderr.write(f"ingest: worker {child.number} ended with code {child.code}, its reason stands above; {what}\n")
        if not self._until_caught_up:
            self._stop(signal.SIGTERM)

    def _start_later(self, child: Child) -> None:
        child.deaths = 1 if monotonic() - child.started_s > WELL_S else child.deaths + 1
        wait_s = min(RESTART_MAX_S, RESTART_BASE_S * 2 ** (child.deaths - 1))
        child.due_s = monotonic() + wait_s
        logs.emit(log, "error", "worker_died", {"worker": child.number, "exit_code": child.code, "wait_s": wait_s})

    def _environ_of(self, number: int) -> dict[str, str]:
        """A child is a single worker; it listens on the loopback, and where members are static it has a name of its own."""
        environ = {**self._environ, "INGEST_WORKERS": "1", "INGEST_MIGRATE": "false"}  # the parent has migrated
        if self._settings.http_port:
            environ |= {"INGEST_HTTP_HOST": LOOPBACK, "INGEST_HTTP_PORT": str(self._port_of(number))}
        instance = self._settings.kafka_options.get("group_instance_id")
        if instance:
            environ["INGEST_KAFKA_GROUP_INSTANCE_ID"] = f"{instance}-{number}"
        return environ

    # ------------------------------------------------------------ all of them

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        """Only noted: it may come in the middle of starting a child, which would then never hear of it."""
        self._signals.append(number)

    def _stop(self, number: int) -> None:
        """Hand the signal on; a child that waits to be started again is not."""
        self._is_stopping = True
        for child in self._children:
            child.due_s = None
            if child.process is not None:
                child.process.send_signal(number)

    def _listener(self) -> Listener | None:
        """Raises Stop("http.port") when the port is taken."""
        if not self._settings.http_port:
            return None
        return Listener(self._settings.http_host, self._settings.http_port, lambda _: ManyPages(self._workers))

    def _workers(self) -> list[Worker]:
        """Any thread."""
        now_s = monotonic()
        return [
            Worker(
                child.number,
                f"http://{LOOPBACK}:{self._port_of(child.number)}",
                child.starts,
                None if child.process is None else now_s - child.started_s,
            )
            for child in self._children
        ]

    def _port_of(self, number: int) -> int:
        """The parent has the port of the settings, its children those behind it."""
        return self._settings.http_port + 1 + number


def supervise(settings: Settings, *, until_caught_up: bool) -> int:
    """Run settings.workers workers; the worst exit code."""
    command = [sys.executable, "-m", "ingest.tools.child", "run", *(["--until-caught-up"] if until_caught_up else [])]
    return Supervisor(settings, command, os.environ, until_caught_up=until_caught_up).run()
