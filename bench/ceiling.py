"""The ceiling: the worker's own statements, recorded once and sent again straight to CrateDB by a client that does nothing else.

`Recorder` stands between a worker and CrateDB and keeps the bodies of what the worker sent with its batches (all that carries its
tag: writes, look-ups, refreshes). The player sends them in the order in which they came, over so many connections, one request of
a lane at a time as the worker does, because requests of one lane build on each other. Some requests are of several lanes.

    python -m bench.ceiling BODIES URL SCHEMA CONNECTIONS PROGRESS      what a run of the contender starts
"""

from __future__ import annotations

import http.client
import pickle
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TAGGED = re.compile(rb'\{"stmt":"/\* ingest (\S+) (\S+) \S+ \*/ ')
JSON = {"Content-Type": "application/json"}
FAILED = re.compile(rb'"rowcount":-2|^\{"error"')


class Body(NamedTuple):
    """lanes: as its tag names them, `table/slot` with further slots behind colons."""

    lanes: str
    data: bytes

    @property
    def each_lane(self) -> set[str]:
        """
        >>> sorted(Body("doc.orders/0:2", b"").each_lane)
        ['doc.orders/0', 'doc.orders/2']
        """
        table, _, slots = self.lanes.rpartition("/")
        return {f"{table}/{slot}" for slot in slots.split(":")}


@dataclass
class Recording:
    """schema: the one that the bodies name; another takes its place, of the same length, when they are sent again."""

    schema: str
    bodies: list[Body] = field(default_factory=list)

    def save(self, file: Path) -> None:
        file.write_bytes(pickle.dumps((self.schema, [tuple(body) for body in self.bodies])))


def load(file: Path) -> Recording:
    schema, bodies = pickle.loads(file.read_bytes())
    return Recording(schema, [Body(*body) for body in bodies])


# ---------------------------------------------------------------- recording


@contextmanager
def recorder(crate: str, recording: Recording) -> Iterator[str]:
    """The address of a server that hands every request on to CrateDB, and keeps those of batches."""
    target = urlsplit(crate)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.further = http.client.HTTPConnection(target.hostname or "", target.port)

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if tag := TAGGED.match(data):
                recording.bodies.append(Body(tag[2].decode(), data))
            self.further.request("POST", self.path, data, JSON)
            answer = self.further.getresponse()
            told = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def finish(self) -> None:
            self.further.close()
            super().finish()

        def log_message(self, *_: Any) -> None:
            """Nothing: a line for each request would be the loudest thing here."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="recorder", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ---------------------------------------------------------------- playing


class Player:
    """The recorded bodies, each taken by the next free connection whose lane is free. progress: a file, one line a request."""

    def __init__(self, bodies: list[Body], url: str, progress: Path) -> None:
        self._waiting = deque((body, body.each_lane) for body in bodies)
        self._busy: set[str] = set()
        self._lock = threading.Condition()
        self._url, self._progress = urlsplit(url), progress.open("w", buffering=1)
        self._done_bytes = 0
        self._all_bytes = sum(len(body.data) for body in bodies)
        self.failures = 0

    def play(self, connections: int) -> None:
        threads = [threading.Thread(target=self._run) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._progress.close()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=120)
        while taken := self._take():
            body, lanes = taken
            connection.request("POST", "/_sql", body.data, JSON)
            told = connection.getresponse().read()
            with self._lock:
                self.failures += FAILED.search(told) is not None
                self._busy -= lanes
                self._done_bytes += len(body.data)
                self._progress.write(f"{self._done_bytes / self._all_bytes:.6f}\n")
                self._lock.notify_all()
        connection.close()

    def _take(self) -> tuple[Body, set[str]] | None:
        """The oldest body whose lanes are free, also of older ones that wait, and these lanes; None when all are taken."""
        with self._lock:
            while self._waiting:
                passed: set[str] = set()
                for place, (body, lanes) in enumerate(self._waiting):
                    if lanes.isdisjoint(self._busy) and lanes.isdisjoint(passed):
                        del self._waiting[place]
                        self._busy |= lanes
                        return body, lanes
                    passed |= lanes
                self._lock.wait()
            return None


def main(bodies: str, url: str, schema: str, connections: str, progress: str) -> int:
    recording = load(Path(bodies))
    old, new = recording.schema.encode(), schema.encode()
    player = Player([Body(body.lanes, body.data.replace(old, new)) for body in recording.bodies], url, Path(progress))
    player.play(int(connections))
    return 1 if player.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
