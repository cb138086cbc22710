"""The registry client against a small server on the loopback, and references made into one text."""

from __future__ import annotations

import io
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fastavro
import pytest

from ingest.errors import Reject, Retry, Stop
from ingest.formats import SchemaCache
from ingest.registry import RegistryClient
from ingest.registry.references import inline

GUID = "6b0c2b32-8c6d-4c86-8b1c-0e2c0f5d7a11"
RECORD = '{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"long"}]}'


class Stub:
    """Answers by path, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str | None]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked.append((self.path, self.headers.get("Authorization")))
                status, body = stub.answers.get(self.path, (404, {"error_code": 40403, "message": "Schema not found"}))
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, name="registry-stub", daemon=True
        ).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    yield server
    server.close()


def client(*urls: str, **options: Any) -> RegistryClient:
    return RegistryClient(urls, timeout_s=2, **options)


def fetch(made: RegistryClient, schema_id: int | str) -> tuple[str, str]:
    try:
        return made.fetch(schema_id)
    finally:
        made.close()


def test_an_id_and_a_guid_are_asked_at_their_own_addresses(stub):
    stub.answers = {
        "/schemas/ids/7": (200, {"schema": RECORD}),
        f"/schemas/guids/{GUID}": (200, {"schema": "{}", "schemaType": "JSON"}),
    }
    assert (RECORD, "AVRO") == fetch(client(stub.url), 7)
    assert ("{}", "JSON") == fetch(client(stub.url + "/"), GUID)


def test_a_base_path_stays(stub):
    stub.answers = {"/apis/ccompat/v7/schemas/ids/7": (200, {"schema": RECORD})}
    assert (RECORD, "AVRO") == fetch(client(stub.url + "/apis/ccompat/v7/"), 7)


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (404, {"error_code": 40403}, Reject, "schema.unknown"),
        (404, {"error": "no such page"}, Retry, "registry.unexpected_answer"),
        (404, b"<html>", Retry, "registry.unexpected_answer"),
        (401, {"error_code": 401}, Stop, "registry.refused"),
        (403, {}, Stop, "registry.refused"),
        (429, {}, Retry, "registry.busy"),
        (500, {"error_code": 50002}, Retry, "registry.busy"),
        (200, b"[]", Retry, "registry.unexpected_answer"),
        (302, {}, Retry, "registry.unexpected_answer"),
    ],
)
def test_each_answer_has_its_family(stub, status, body, error, code):
    stub.answers = {"/schemas/ids/7": (status, body)}
    with pytest.raises(error) as caught:
        fetch(client(stub.url), 7)
    assert code == caught.value.code


def test_a_server_that_is_down_is_unreachable():
    with pytest.raises(Retry) as caught:
        fetch(client("http://127.0.0.1:9"), 7)
    assert "registry.unreachable" == caught.value.code


def test_no_server_at_all_is_said():
    with pytest.raises(Retry, match="INGEST_SCHEMA_REGISTRY_URL"):
        fetch(client(), 7)


def test_the_next_server_answers_for_one_that_is_down_and_is_asked_first_from_then_on(stub):
    sick = Stub()
    sick.answers = {"/schemas/ids/7": (503, {})}
    stub.answers = {"/schemas/ids/7": (200, {"schema": RECORD})}
    made = client(sick.url, stub.url)
    assert [RECORD, RECORD] == [made.fetch(7)[0], made.fetch(7)[0]]
    made.close()
    sick.close()
    assert (1, 2) == (len(sick.asked), len(stub.asked))


@pytest.mark.parametrize(
    ("options", "auth", "expected"),
    [
        ({"username": "u", "password": "pä:ss"}, "", "Basic " + b64encode("u:pä:ss".encode()).decode()),
        ({"token": "t0ken"}, "", "Bearer t0ken"),
        ({}, "u:p%40ss@", "Basic " + b64encode(b"u:p@ss").decode()),
        ({}, "", None),
    ],
    ids=["password", "token", "in the address", "none"],
)
def test_credentials_travel_in_a_header(stub, options, auth, expected):
    stub.answers = {"/schemas/ids/7": (200, {"schema": RECORD})}
    fetch(client(f"http://{auth}{stub.address}", **options), 7)
    assert [("/schemas/ids/7", expected)] == stub.asked


@pytest.mark.parametrize("status", [401, 503, None])
def test_credentials_stand_in_no_error(stub, status):
    stub.answers = {"/schemas/ids/7": (status, {})}
    address = stub.address if status else "127.0.0.1:9"
    with pytest.raises((Retry, Stop)) as caught:
        fetch(client(f"http://name:s3cret@{address}"), 7)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__!r}"


def test_references_are_fetched_recursively_and_written_into_the_text(stub):
    stub.answers = {
        "/schemas/ids/7": (200, {"schema": ORDER, "references": [{"name": "shop.Line", "subject": "shop/line", "version": 3}]}),
        "/subjects/shop%2Fline/versions/3": (
            200,
            {"schema": LINE, "references": [{"name": "money.Amount", "subject": "a", "version": 1}]},
        ),
        "/subjects/a/versions/1": (200, {"schema": AMOUNT}),
    }
    text, _ = fetch(client(stub.url), 7)
    value = {"first": {"price": {"cents": 5}}, "second": {"price": {"cents": 6}}, "total": {"cents": 11}}
    schemas = SchemaCache()
    schemas.put(7, text)
    schema = schemas.get(7)
    assert schema is not None
    assert value == schema.decode(avro_bytes(json.loads(text), value))


def test_a_missing_reference_is_an_unknown_schema(stub):
    stub.answers = {"/schemas/ids/7": (200, {"schema": ORDER, "references": [{"name": "x", "subject": "gone", "version": 1}]})}
    with pytest.raises(Reject) as caught:
        fetch(client(stub.url), 7)
    assert "schema.unknown" == caught.value.code


def test_references_in_a_circle_end(stub):
    circle = [{"name": "shop.Line", "subject": "line", "version": 1}]
    stub.answers = {
        "/schemas/ids/7": (200, {"schema": RECORD, "references": circle}),
        "/subjects/line/versions/1": (200, {"schema": LINE, "references": circle}),
    }
    assert json.loads(RECORD)["name"] == json.loads(fetch(client(stub.url), 7)[0])["name"]
    assert 2 == len(stub.asked)


def test_a_type_without_namespace_can_be_used_inside_one():
    bare = '{"type":"enum","name":"Bare","symbols":["A","B"]}'
    text = inline(
        '{"type":"record","name":"a.R","fields":[{"name":"x","type":"Bare"},{"name":"y","type":["null","Bare"]}]}', [bare]
    )
    fastavro.parse_schema(json.loads(text))
    assert 1 == text.count('"enum"')


ORDER = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "namespace": "shop",
        "fields": [
            {"name": "first", "type": "Line"},
            {"name": "second", "type": "shop.Line"},
            {"name": "total", "type": "money.Amount"},
        ],
    }
)
LINE = '{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"price","type":"money.Amount"}]}'
AMOUNT = '{"type":"record","name":"Amount","namespace":"money","fields":[{"name":"cents","type":"long"}]}'


def avro_bytes(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()
