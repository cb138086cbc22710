"""`python -m ingest.demo.serve broker|store`: one of the demo's own servers, until its stdin is closed.

It prints its address once it can be reached. In a process of its own, or workers would wait for the demo's interpreter lock.
"""

from __future__ import annotations

import sys

from ingest.practice.broker import Broker
from ingest.practice.store import Store

JOIN_DELAY_S = 1.5


def serve(what: str) -> None:
    # A real broker waits 3 s for a new group's members; this is enough for two workers to begin together.
    # Topics are made by the demo, with the partitions that it wants; whoever asks for another one shall hear that there is none.
    server = Broker(auto_create=False, join_delay_s=JOIN_DELAY_S) if what == "broker" else Store()
    with server:
        address = server.address if isinstance(server, Broker) else server.url
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    serve(sys.argv[1])
