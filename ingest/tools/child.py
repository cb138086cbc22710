"""One of several workers: `ingest` as always, but it does not outlive the process that started it.

Its stdin is a pipe whose other end the parent holds; at the end of that pipe, however the parent died, it asks itself to stop.
A thread of its own waits for that. Started by `ingest.tools.supervise` alone.
"""

from __future__ import annotations

import os
import signal
from threading import Thread

from ingest import cli

STDIN = 0


def main() -> None:
    Thread(target=stop_with_parent, name="parent", daemon=True).start()
    cli.main()


def stop_with_parent() -> None:
    # Not sys.stdin: its lock, held by a thread that waits, would be an error when the interpreter ends.
    while os.read(STDIN, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
