"""The worker's own small HTTP server: metrics, health, readiness, what is parked, unpark, and a page for people.

Reads the posted status and nothing else; the loop never waits for it. One thread per request, all daemons. Standard library only.
It listens on 127.0.0.1 unless told otherwise, and has no passwords: whoever reaches it may unpark.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from ingest.errors import Stop
from ingest.watch.metrics import Metrics
from ingest.watch.page import page
from ingest.watch.status import Board, Status

log = logging.getLogger(__name__)

JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8"
# A client that sends nothing must not keep a thread for ever.
REQUEST_TIMEOUT_S = 10.0
# The page needs its own style and nothing else: should a name ever get through as markup, a browser runs none of it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    kind: str
    body: bytes


def as_json(status: int, value: object) -> Reply:
    return Reply(status, JSON, json.dumps(value, indent=1).encode() + b"\n")


class Pages:
    """Path to reply. url: where they are served, for the commands that they show."""

    def __init__(self, board: Board, metrics: Metrics, url: str = "") -> None:
        self._board = board
        self._metrics = metrics
        self._url = url
        self._gets: dict[str, Callable[[str], Reply]] = {
            "/": lambda _: Reply(200, HTML, page(board.status, board.health(), self._url).encode()),
            "/metrics": lambda accept: Reply(200, *metrics.exposition(accept)),
            "/healthz": lambda _: self.health(),
            "/readyz": lambda _: self.ready(),
            "/parked": lambda _: as_json(200, parked(board.status)),
        }

    def get(self, path: str, accept: str = "") -> Reply:
        """accept: the header of that name, which decides the format of the metrics."""
        answer = self._gets.get(urlsplit(path).path)
        return answer(accept) if answer else Reply(404, TEXT, f"there is: {', '.join(self._gets)}\n".encode())

    def post(self, path: str, origin: str | None) -> Reply:
        """`/unpark?name=NAME`. A browser names the page that asks; no page has a reason to."""
        parts = urlsplit(path)
        if parts.path != "/unpark":
            return Reply(404, TEXT, b"there is: /unpark?name=NAME\n")
        if origin is not None:
            return Reply(403, TEXT, b"not from a page in a browser\n")
        return self.unpark((parse_qs(parts.query).get("name") or [""])[0])

    def health(self) -> Reply:
        health = self._board.health()
        return Reply(200 if health.is_well else 503, TEXT, health.text.encode() + b"\n")

    def ready(self) -> Reply:
        status = self._board.status
        return as_json(200 if status.is_ready else 503, readiness(status))

    def unpark(self, name: str) -> Reply:
        """Accepted, not done: the loop takes it in its next step."""
        places = self._board.status.parked
        known = [place.subject for place in places if name in (place.subject, place.subject.partition(":")[2])]
        if not known:
            return as_json(404, {"error": f"{name or 'nothing'} is not parked", "parked": [place.subject for place in places]})
        self._board.request_unpark(name)
        return as_json(202, {"unparking": known})


def readiness(status: Status) -> dict[str, object]:
    return {
        "ready": status.is_ready,
        "reasons": list(status.reasons),
        "group": status.group,
        "assigned": status.assigned,
        "lag_records": status.lag_records,
        "breaker_open": status.is_breaker_open,
        "parked": parked(status),
    }


def parked(status: Status) -> list[dict[str, object]]:
    return [dict(place._asdict()) for place in status.parked]


class Face(Protocol):
    """What a server shows, of one worker or of several. Any thread."""

    def get(self, path: str, accept: str = "") -> Reply: ...

    def post(self, path: str, origin: str | None) -> Reply: ...


class Listener:
    """Listens from construction until close. port 0 takes any free port; see `port`. show: what is shown at this address.

    Raises Stop("http.port") when the port is taken.
    """

    def __init__(self, host: str, port: int, show: Callable[[str], Face]) -> None:
        handler: type[_Handler] = type("Handler", (_Handler,), {})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            reason = error.strerror or "no such host"
            text = f"cannot listen on {host}:{port} ({reason}): set INGEST_HTTP_HOST and INGEST_HTTP_PORT, or 0 to switch it off"
            raise Stop("http.port", text) from error
        self.port: int = self._server.server_address[1]
        handler.pages = show(address(host, self.port))  # before anybody is answered
        self._thread = Thread(target=self._server.serve_forever, args=(0.2,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class HttpServer(Listener):
    """The server of one worker."""

    def __init__(self, host: str, port: int, board: Board, metrics: Metrics) -> None:
        super().__init__(host, port, lambda url: Pages(board, metrics, url))


def address(host: str, port: int) -> str:
    """Where a neighbour on the same machine finds us.

    >>> address("0.0.0.0", 9464), address("::1", 9464)
    ('http://127.0.0.1:9464', 'http://[::1]:9464')
    """
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (who it was says nothing of why)
        """A client that went away in the middle is no news; anything else is a bug, told in one line."""
        error = sys.exception()
        is_ours = not isinstance(error, ConnectionError | TimeoutError)
        log.log(
            logging.ERROR if is_ours else logging.DEBUG, "http_failed", extra={"error": type(error).__name__}, exc_info=is_ours
        )


class _Handler(BaseHTTPRequestHandler):
    pages: Face  # of the subclass that each server makes for itself
    timeout = REQUEST_TIMEOUT_S
    server_version = "ingest"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(self.pages.get(self.path, self.headers.get("Accept", "")))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self._send(self.pages.post(self.path, self.headers.get("Origin")))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a scrape every few seconds is no event."""
