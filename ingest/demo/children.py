"""The processes of the demo: each in a session of its own, so that Ctrl-C in the terminal reaches only the demo, which ends them.

Touched by the main thread alone. What children write goes to files in the demo's folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from ingest.demo.patience import Patience
from ingest.errors import Stop

INGEST = (sys.executable, "-m", "ingest")
LOOK_EVERY_S = 0.05
# A worker that is told to stop writes out what it has and commits, which takes a second; longer than this it is not waited for.
END_WITHIN_S = 5.0


class Child:
    """One process. out, log: the files that its stdout and stderr go to."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.out, self.log = folder / f"{name}.out", folder / f"{name}.log"
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            # Whoever holds the other end of stdin is alive: the demo's servers end when it closes, however the demo ends.
            self._process = subprocess.Popen(
                list(command), env=dict(env), stdin=subprocess.PIPE, stdout=out, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        if self.code is None:
            self._process.terminate()

    def kill(self) -> None:
        """No warning, no last words."""
        if self.code is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let go of its stdin."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def said(self) -> str:
        return self.out.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """The end of its log, for a sentence about its death."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it left no word"


class Children:
    """All processes; leaving the `with` ends them, the last started first, so that workers still find their servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end_workers()
        end(self._children, END_WITHIN_S)
        for child in self._children:
            child.close()

    def end_workers(self) -> None:
        """Let the workers write out and commit what they have; killed when that takes long."""
        end([child for child in self._children if child.name.startswith("worker")], END_WITHIN_S)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Child:
        child = Child(name, command, env, self._folder)
        self._children.append(child)
        return child

    def run(self, name: str, arguments: Sequence[str], env: Mapping[str, str], patience: Patience) -> str:
        """A command of `ingest` until it has ended; its answer. Raises Stop with its last words when it fails."""
        child = self.start(name, [*INGEST, *arguments], env)
        while child.code is None:
            patience.pause(LOOK_EVERY_S)
        if child.code:
            raise Stop("demo.command", f"`ingest {' '.join(arguments)}` failed: {failure(child)}")
        return child.said()


def failure(child: Child) -> str:
    """Why a command failed: what it wrote to its log, or the findings that say FAIL in its answer."""
    failed = [line for line in child.said().splitlines() if "FAIL" in line]
    return failed[0] if failed else child.last_words().removeprefix("ingest: ")


def end(children: Sequence[Child], limit_s: float) -> None:
    """Ask all to end, wait for at most limit_s, kill what is left."""
    for child in children:
        child.ask_to_end()
    deadline_s = monotonic() + limit_s
    while any(child.code is None for child in children) and monotonic() < deadline_s:
        sleep(LOOK_EVERY_S)
    for child in children:
        child.kill()
