"""The way to CrateDB: an HTTP proxy that does with each request what its rule says, and keeps a tally of the rows.

A rule is a function over an `Exchange`: pass it on, cut it, delay it, answer in CrateDB's place. At first everything passes.
One thread per connection, each with a connection of its own behind it, so CrateDB sees what it would see without a proxy.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

import orjson

PLACE = ("cdc_topic", "cdc_partition", "cdc_offset", "month")
INSERT = re.compile(r"INSERT INTO (\S+) \((.*?)\) VALUES \((.*?)\)")
NAME = re.compile(r'"((?:[^"]|"")*)"')
ANSWERS_WITHIN_S = 600.0
LINGER_0 = struct.pack("ii", 1, 0)  # closing so sends a reset instead of a farewell
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}

Rule = Callable[["Exchange"], None]


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json; charset=UTF-8"),)


class Tally:
    """Rows that went through: sent to CrateDB, of these sent before (repeats), answered 1, as stale, otherwise, not at all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[Any] = set()
        self.rows: Counter[str] = Counter()
        self.requests = 0
        self.wrote_s = 0.0  # when rows were last confirmed

    def sent(self, stmt: str, entries: Sequence[Sequence[Any]]) -> None:
        head, places = places_of(stmt)
        with self._lock:
            self.requests += 1
            for entry in entries:
                which = (head, *(entry[i] for i in places)) if places else (head, orjson.dumps(entry))
                self.rows["repeats"] += which in self._seen
                self._seen.add(which)
            self.rows["sent"] += len(entries)

    def answered(self, rows: int, answer: Answer | None) -> None:
        results = results_of(answer)
        with self._lock:
            self.rows["unanswered"] += rows if results is None else 0
            for result in results or ():
                self.rows[kind_of(result)] += 1
            if any(result.get("rowcount") == 1 for result in results or ()):
                self.wrote_s = time.monotonic()


@lru_cache(512)
def places_of(stmt: str) -> tuple[str, tuple[int, ...]]:
    """What a row of the statement is told by: the statement's head, and where in an entry its source position stands."""
    found = INSERT.search(stmt)
    if found is None:
        return stmt, ()
    names = NAME.findall(found[2])
    marks = [name for name, value in zip(names, found[3].split(", "), strict=False) if value == "?"]
    return found[1], tuple(marks.index(name) for name in PLACE if name in marks)


def results_of(answer: Answer | None) -> list[dict[str, Any]] | None:
    """Of a bulk answer; None where there is none."""
    if answer is None or answer.status != 200:
        return None
    with suppress(orjson.JSONDecodeError):
        told = orjson.loads(answer.body)
        return list(told["results"]) if "results" in told else None
    return None


def kind_of(result: dict[str, Any]) -> str:
    if result.get("rowcount") == 1:
        return "written"
    return "stale" if "stale " in result.get("error", {}).get("message", "") else "failed"


class Proxy:
    """Listens on a free port and hands each request to its rule. tally may be shared by the proxies of a cluster."""

    def __init__(self, host: str, port: int, tally: Tally | None = None) -> None:
        self.target = (host, port)
        self.tally = tally or Tally()
        self.rule: Rule = passing
        self._open: set[socket.socket] = set()
        self._port = 0
        self.listen()
        self.url = f"http://127.0.0.1:{self._port}"

    def listen(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler_for(self))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="chaos-proxy", daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections and reset those that are open, as a machine does whose server is gone."""
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection that is open now."""
        for each in list(self._open):
            reset(each)

    def close(self) -> None:
        self.refuse()

    def opened(self, client: socket.socket) -> None:
        self._open.add(client)

    def closed(self, client: socket.socket) -> None:
        self._open.discard(client)


class Exchange:
    """One request and what becomes of it. A rule must answer it once, or reset it."""

    def __init__(self, handler: Any, proxy: Proxy, body: bytes) -> None:
        self._handler, self._proxy, self.body = handler, proxy, body
        self._told: dict[str, Any] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """The request's JSON, {} of a GET."""
        if self._told is None:
            self._told = orjson.loads(self.body) if self.body else {}
        return self._told

    @property
    def stmt(self) -> str:
        return str(self.told.get("stmt", ""))

    @property
    def is_write(self) -> bool:
        """Whether it brings rows."""
        return "bulk_args" in self.told

    def forward(self, body: bytes | None = None) -> Answer:
        """CrateDB's answer to the request, or to another in its place. Raises OSError or HTTPException when there is none."""
        told = orjson.loads(body) if body is not None else self.told
        entries = told.get("bulk_args", ())
        if entries:
            self._proxy.tally.sent(self.stmt, entries)
        answer = None
        try:
            answer = cast(Answer, self._handler.ask(self.body if body is None else body))
            return answer
        finally:
            if entries:
                self._proxy.tally.answered(len(entries), answer)

    def forward_half(self) -> None:
        """CrateDB gets half of the request and then a reset."""
        self._handler.ask_half(self.body)

    def answer(self, answer: Answer, part: float = 1.0) -> None:
        """part: how much of the body arrives; below 1 the connection is reset behind it."""
        self._handler.tell(answer, part)

    def reset(self) -> None:
        self._handler.drop()


def handler_for(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        _behind: HTTPConnection | None = None

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            proxy.opened(self.connection)

        def finish(self) -> None:
            proxy.closed(self.connection)
            if self._behind is not None:
                self._behind.close()
            with suppress(OSError, ValueError):  # reset on purpose
                super().finish()

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client went away, as killed workers do
                self.close_connection = True

        def do_POST(self) -> None:
            exchange = Exchange(self, proxy, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            try:
                proxy.rule(exchange)
            except (OSError, HTTPException):  # CrateDB went away in the middle of it: so do we
                self.drop()

        def do_GET(self) -> None:
            self.do_POST()

        def do_HEAD(self) -> None:
            self.do_POST()

        def ask(self, body: bytes) -> Answer:
            if self._behind is None:
                self._behind = HTTPConnection(*proxy.target, timeout=ANSWERS_WITHIN_S)
            try:
                self._behind.request(self.command, self.path, body or None, self._passed_on())
                answer = self._behind.getresponse()
                headers = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in HOP)
                return Answer(answer.status, answer.read(), headers)
            except (OSError, HTTPException):
                self._behind.close()
                self._behind = None
                raise

        def ask_half(self, body: bytes) -> None:
            behind = HTTPConnection(*proxy.target, timeout=10)
            behind.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in {**self._passed_on(), "Content-Length": str(len(body))}.items():
                behind.putheader(name, value)
            behind.endheaders(body[: len(body) // 2])
            if behind.sock is not None:
                reset(behind.sock)

        def tell(self, answer: Answer, part: float) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: int(len(answer.body) * part)])
            self.wfile.flush()
            if part < 1.0:
                self.drop()

        def drop(self) -> None:
            self.close_connection = True
            reset(self.connection)

        def _passed_on(self) -> dict[str, str]:
            return {name: value for name, value in self.headers.items() if name.lower() not in {*HOP, "host"}}

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler


def reset(each: socket.socket) -> None:
    """End a connection as a crash does."""
    with suppress(OSError):  # closed already
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        each.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        each.close()


# ---------------------------------------------------------------- rules


def passing(exchange: Exchange) -> None:
    exchange.answer(exchange.forward())


def resetting(exchange: Exchange) -> None:
    """Nothing reaches CrateDB."""
    exchange.reset()


def cut_in_request(exchange: Exchange) -> None:
    exchange.forward_half()
    exchange.reset()


def cut_before_answer(exchange: Exchange) -> None:
    """CrateDB did it, and nobody hears of it."""
    exchange.forward()
    exchange.reset()


def cut_in_answer(exchange: Exchange) -> None:
    """CrateDB did it, and half of its answer arrives."""
    exchange.answer(exchange.forward(), part=0.5)


def answering(answer: Answer) -> Rule:
    """In CrateDB's place, without asking it."""
    return lambda exchange: exchange.answer(answer)


def delayed(least_s: float, most_s: float, rnd: random.Random) -> Rule:
    """CrateDB does it at once and its answer is late."""

    def rule(exchange: Exchange) -> None:
        answer = exchange.forward()
        time.sleep(rnd.uniform(least_s, most_s))
        exchange.answer(answer)

    return rule


def only_writes(rule: Rule) -> Rule:
    return lambda exchange: (rule if exchange.is_write else passing)(exchange)


def some(rule: Rule, part: float, rnd: random.Random) -> Rule:
    """The rule for that part of the requests, the others pass."""
    return lambda exchange: (rule if rnd.random() < part else passing)(exchange)
