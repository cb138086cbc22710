"""The HTTP client against small servers that behave, break, stall or refuse."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import orjson
import pytest

from ingest.crate.http import Address, HttpClient, Tls, parse_address, parse_addresses, refuse_bad_certificate, tag_comment
from ingest.errors import Reject, Retry, Stop


class Server:
    """Answers every request with `status` and `body`; keeps what it was sent. status 0: hang up instead."""

    def __init__(self, status: int = 200, body: bytes = b'{"cols":["1"],"rows":[[1]],"rowcount":1}') -> None:
        self.status, self.body = status, body
        self.requests: list[tuple[dict[str, str], Any]] = []
        self._http = HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((dict(self.headers), orjson.loads(sent)))
                if not server.status:
                    self.close_connection = True
                    return
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        return Handler

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*args: Any) -> Server:
        started.append(Server(*args))
        return started[-1]

    yield start
    for server in started:
        server.close()


def client(*urls: str, **more: Any) -> HttpClient:
    return HttpClient(parse_addresses(urls), **more)


def nobody() -> str:
    """An address at which nobody listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("db1", ("http", "db1", 4200, None, None)),
        ("https://db1:1/", ("https", "db1", 1, None, None)),
        ("http://ann:p%40:s@db1:4201", ("http", "db1", 4201, "ann", "p@:s")),
        ("http://[::1]:4200", ("http", "::1", 4200, None, None)),
    ],
)
def test_addresses_are_read(url: str, expected: tuple[Any, ...]) -> None:
    assert expected == tuple(parse_address(url))


@pytest.mark.parametrize("url", ["", "ftp://db1", "http://db1:port", "http://", "http://ann:secret@db1/path"])
def test_a_bad_address_stops_without_showing_a_password(url: str) -> None:
    with pytest.raises(Stop) as caught:
        parse_address(url)
    assert ("store.address", False) == (caught.value.code, "secret" in str(caught.value))


def test_an_address_never_shows_its_password() -> None:
    assert "secret" not in f"{Address('http', 'db', 1, 'ann', 'secret')!r} {client('http://ann:secret@db')}"


def test_a_statement_carries_its_tag_and_one_kind_of_arguments(serve: Callable[..., Server]) -> None:
    server = serve()
    with closing(client(server.url, user="ann", password="pw")) as one:
        assert [[1]] == one.execute("SELECT ?", [1], None, "g t/0 */ 1").rows
        one.execute("INSERT", None, [[1], [2]])
    headers, body = server.requests[0]
    assert {"stmt": "/* ingest g t/0 _/ 1 */ SELECT ?", "args": [1]} == body
    assert {"stmt": "INSERT", "bulk_args": [[1], [2]]} == server.requests[1][1]
    assert "Basic YW5uOnB3" in {value.strip() for value in headers.values()}
    assert "Accept-Encoding" not in headers or "gzip" not in headers["Accept-Encoding"]


def test_a_comment_cannot_be_ended_by_its_tag() -> None:
    assert 1 == tag_comment("a */ DROP TABLE x /* '\n").count("*/")


def test_a_node_that_is_not_there_is_passed_over_and_rests(serve: Callable[..., Server]) -> None:
    now_s = [0.0]
    server = serve()
    with closing(client(nobody(), server.url, clock=lambda: now_s[0])) as one:
        for _ in range(4):
            assert one.execute("SELECT 1").is_ok
        assert 4 == len(server.requests)
        now_s[0] = 59.0
        assert one.is_settling()
        now_s[0] = 61.0
        assert not one.is_settling()


def test_requests_go_to_the_nodes_in_turn(serve: Callable[..., Server]) -> None:
    servers = [serve(), serve()]
    with closing(client(*(server.url for server in servers))) as one:
        for _ in range(4):
            one.execute("SELECT 1")
    assert [2, 2] == [len(server.requests) for server in servers]


def test_no_node_at_all_is_a_retry_of_something_never_sent() -> None:
    with closing(client(nobody(), nobody())) as one, pytest.raises(Retry) as caught:
        one.execute("SELECT 1")
    assert ("store.unreachable", False) == (caught.value.code, caught.value.unknown)


def test_a_request_that_may_have_been_applied_is_not_sent_again(serve: Callable[..., Server]) -> None:
    breaking, other = serve(0), serve()
    with closing(client(breaking.url, other.url)) as one, pytest.raises(Retry) as caught:
        one.execute("INSERT")
    assert ("store.reset", True) == (caught.value.code, caught.value.unknown)
    assert [1, 0] == [len(breaking.requests), len(other.requests)]


def test_a_stalled_answer_is_an_unknown_outcome() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with closing(client(url, read_s=0.1)) as one, pytest.raises(Retry) as caught:
            one.execute("INSERT")
    assert ("store.timeout", True) == (caught.value.code, caught.value.unknown)


def test_refused_credentials_stop(serve: Callable[..., Server]) -> None:
    server = serve(401, b"trust authentication failed for user")
    with closing(client(server.url)) as one, pytest.raises(Stop) as caught:
        one.execute("SELECT 1")
    assert "store.unauthorised" == caught.value.code


def test_a_missing_privilege_is_an_answer_although_its_status_is_401(serve: Callable[..., Server]) -> None:
    server = serve(401, b'{"error":{"message":"x","code":4011}}')
    with closing(client(server.url)) as one:
        assert (401, 4011) == ((answer := one.execute("SELECT 1")).status, answer.code)


@pytest.mark.parametrize(("status", "body"), [(413, b""), (502, b"<html>"), (200, b"[]")])
def test_what_is_no_json_object_is_an_answer_without_a_body(serve: Callable[..., Server], status: int, body: bytes) -> None:
    server = serve(status, body)
    with closing(client(server.url)) as one:
        answer = one.execute("SELECT 1")
    assert (status, None, None, False) == (answer.status, answer.body, answer.code, answer.is_ok)


@pytest.mark.parametrize("value", ["\ud800", object()])
def test_what_json_cannot_carry_is_rejected_before_it_is_sent(serve: Callable[..., Server], value: Any) -> None:
    server = serve()
    with closing(client(server.url)) as one, pytest.raises(Reject):
        one.execute("INSERT", None, [[value]])
    assert [] == server.requests


def test_a_bad_certificate_stops_and_other_trouble_of_a_handshake_does_not() -> None:
    address = parse_address("https://db")
    refuse_bad_certificate(address, ssl.SSLError("unexpected eof"))
    with pytest.raises(Stop) as caught:
        refuse_bad_certificate(address, Exception(ssl.SSLCertVerificationError("self-signed")))
    assert "store.tls" == caught.value.code


def test_certificate_files_that_are_not_there_stop() -> None:
    with pytest.raises(Stop):
        client("https://db", tls=Tls(ca_file="/nowhere/ca.pem"))
