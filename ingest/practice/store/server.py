"""HTTP in front of the engine: `/_sql` as CrateDB serves it, one thread per connection, kept alive.

Decides what goes wrong on purpose; knows JSON, not SQL.
"""

from __future__ import annotations

import gzip
import math
import socket
import threading
import time
import zlib
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

import orjson

from ingest.practice.store.catalogue import CRATE_VERSION, NODE_ID, STORE_NAME
from ingest.practice.store.database import Database
from ingest.practice.store.engine import Engine
from ingest.practice.store.errors import Refusal, bad, unparsable
from ingest.practice.store.faults import Cut, Said, Script

MAX_BODY_BYTES = 104_857_600  # CrateDB's http.max_content_length
GREETING = {
    "ok": True,
    "status": 200,
    "name": STORE_NAME,
    "cluster_name": NODE_ID,
    "version": {"number": CRATE_VERSION, "build_hash": "practice"},
}


class Reply(NamedTuple):
    """What goes out. body None: nothing but the status."""

    status: int
    body: bytes


class Server(ThreadingHTTPServer):
    """Accepts connections and remembers them, so that they can be cut."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, database: Database, engine: Engine, script: Script) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.database, self.engine, self.script = database, engine, script
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def drop(self) -> None:
        """Cut every connection that is open now."""
        with self._guard:
            connections = list(self._open)
        for connection in connections:
            cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is a bug and shows as an answer 5000."""


def cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it was closed already


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ingest-practice-store"
    # Small answers must not wait for the acknowledgement of the ones before.
    disable_nagle_algorithm = True
    wbufsize = 65_536

    @property
    def _server(self) -> Server:
        return cast(Server, self.server)

    def do_GET(self) -> None:
        self._send(Reply(200, orjson.dumps(GREETING)) if self.path.split("?")[0] == "/" else Reply(403, b""))

    def do_HEAD(self) -> None:
        self._send(Reply(200, b""))

    def do_POST(self) -> None:
        size_bytes = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size_bytes)
        if self._server.script.is_refusing:
            cut(self.connection)
            self.close_connection = True
        elif self.path.split("?")[0] != "/_sql":
            self._send(Reply(403, b""))
        elif size_bytes > MAX_BODY_BYTES:
            self._send(Reply(413, b""))
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        started_s = time.perf_counter()
        try:
            request = parsed(unpacked(body, self.headers.get("Content-Encoding", "")))
        except Refusal as refusal:
            self._send(refused(refusal))
            return
        fault = self._server.script.take(request["stmt"])
        if fault is Cut.BEFORE:
            self._hang_up()
            return
        reply = fault.reply() if isinstance(fault, Said) else None
        answer = Reply(*reply) if reply else self._executed(request, started_s)
        if fault is Cut.AFTER:
            self._hang_up()
        else:
            self._send(answer)

    def _executed(self, request: dict[str, Any], started_s: float) -> Reply:
        server = self._server
        schema = self.headers.get("Default-Schema") or "doc"
        try:
            with server.database.running(request["stmt"]):
                time.sleep(server.script.delay_s(request["stmt"]))
                args, bulk = request.get("args") or (), request.get("bulk_args")
                told = server.engine.execute(request["stmt"], args, bulk, schema)
        except Refusal as refusal:
            return refused(refusal)
        except Exception as error:
            # A bug of ours: the client shall see what CrateDB answers when it stumbles, and a hint where.
            return refused(Refusal(500, 5000, type(error).__name__, f"the ingest practice store failed: {error}"))
        if "rows" in told:
            told = {**told, "rows": [[shown(value) for value in row] for row in told["rows"]]}
        return Reply(200, orjson.dumps({**told, "duration": (time.perf_counter() - started_s) * 1000}, default=number))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        cut(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """No line per request."""


def unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def parsed(body: bytes) -> dict[str, Any]:
    """The request, with a statement and at most one of args and bulk_args. Raises Refusal 4000."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise unparsable("the body of the request is no JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("stmt"), str):
        raise bad("Field [stmt] was not defined")
    for name in request:
        if name not in ("stmt", "args", "bulk_args"):
            raise bad(f"No parser for element [{name}]")
    if "args" in request and "bulk_args" in request:
        raise bad("request body contains args and bulk_args. It's forbidden to provide both")
    return request


def refused(refusal: Refusal) -> Reply:
    return Reply(refusal.status, orjson.dumps({"error": refusal.shown()}))


def shown(value: Any) -> Any:
    """A value as CrateDB writes it into JSON: NaN and the infinities are texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def number(value: Any) -> Any:
    """A Decimal with all its digits, as a JSON number."""
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}")
    raise TypeError(type(value).__name__)
