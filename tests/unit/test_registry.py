"""The registry client against a small server on the loopback, and references made into one text."""

from __future__ import annotations

import io
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import Reject, Retry, Stop
from ingest.formats import SchemaCache
from ingest.model import SourceType
from ingest.registry import RegistryClient
from ingest.registry.dialects import Answer, Apicurio, Confluent, complete
from ingest.registry.protobuf_files import ROOT
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
    assert value == schema.read(avro_bytes(json.loads(text), value))[0]


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


def test_references_of_a_json_schema_stand_in_its_text_by_name(stub):
    stub.answers = {
        "/schemas/ids/7": (
            200,
            {
                "schema": '{"type":"object","properties":{"day":{"$ref":"day.json"}}}',
                "schemaType": "JSON",
                "references": [{"name": "day.json", "subject": "day", "version": 1}],
            },
        ),
        "/subjects/day/versions/1": (200, {"schema": '{"type":"string","format":"date"}', "schemaType": "JSON"}),
    }
    text, kind = fetch(client(stub.url), 7)
    schemas = SchemaCache()
    schemas.put(7, text, kind)
    value, declared = schemas.get(7).read(b'{"day":"2024-02-29"}')
    assert ({"day": "2024-02-29"}, {"day": SourceType("date_text")}) == (value, declared.type.fields)


def test_an_unknown_id_is_asked_for_again_for_a_while_because_a_replica_may_lag(stub):
    made = client(stub.url, lag_s=0.2)
    with pytest.raises(Retry, match=r"schema\.not_yet_known"):
        made.fetch(7)
    stub.answers = {"/schemas/ids/8": (200, {"schema": RECORD})}
    assert RECORD == made.fetch(8)[0]
    sleep(0.21)
    with pytest.raises(Reject, match=r"schema\.unknown"):
        made.fetch(7)
    made.close()


def test_a_schema_that_one_server_does_not_know_another_may(stub):
    behind = Stub()
    stub.answers = {"/schemas/ids/7": (200, {"schema": RECORD})}
    assert RECORD == fetch(client(behind.url, stub.url), 7)[0]
    with pytest.raises(Reject, match=r"schema\.unknown"):
        fetch(client(behind.url, "http://127.0.0.1:9"), 7)
    with pytest.raises(Reject, match=r"schema\.unknown"):
        fetch(client("http://127.0.0.1:9", behind.url), 7)
    behind.close()


JSON = st.recursive(
    st.none()
    | st.integers()
    | st.sampled_from(["AVRO", "JSON", "PROTOBUF", '{"type":"record","name":"R","fields":[]}', "{", '"b.E"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schema", "schemaType", "references", "name", "subject", "version", "artifactId", "groupId"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(answers=st.lists(JSON, min_size=1, max_size=4), native=st.booleans())
def test_any_answer_ends_in_a_schema_or_one_of_our_errors(answers, native):
    left = [*answers]

    def ask(path: str, *, native: bool = False) -> Answer:
        body = left.pop() if left else {"schema": "syntax", "schemaType": "PROTOBUF"}
        return Answer(json.dumps(body), body if isinstance(body, dict) else {}, {}, "http://h/apis/registry/v3")

    try:
        text, kind = complete("global:7" if native else 7, Apicurio(ask, "auto") if native else Confluent(ask))
    except (Reject, Retry):
        return
    assert (type(text), type(kind)) == (str, str)


# ---------------------------------------------------------------- Protobuf


def test_protobuf_is_asked_for_as_descriptors_with_its_imports(stub):
    order, line = proto("Order", "shop/line.proto"), proto("Line")
    reference = {"name": "shop/line.proto", "subject": "line", "version": 2}
    stub.answers = {
        "/schemas/ids/7": (200, {"schema": "syntax ...", "schemaType": "PROTOBUF", "references": [reference]}),
        "/schemas/ids/7?format=serialized": (200, {"schema": order, "schemaType": "PROTOBUF"}),
        "/subjects/line/versions/2": (200, {"schema": "syntax ...", "schemaType": "PROTOBUF"}),
        "/subjects/line/versions/2?format=serialized": (200, {"schema": line}),
    }
    text, kind = fetch(client(stub.url), 7)
    assert ("PROTOBUF", {"root": ROOT, "files": {ROOT: order, "shop/line.proto": line}}) == (kind, json.loads(text))
    schemas = SchemaCache()
    schemas.put(7, text, kind)
    assert {"id": 5} == schemas.get(7).read(b"\0\x08\5")[0]


@pytest.mark.parametrize("status", [400, 501, 404])
def test_a_registry_that_has_no_descriptors_gives_its_source_text(stub, status, monkeypatch):
    stub.answers = {
        "/schemas/ids/7": (200, {"schema": SOURCE, "schemaType": "PROTOBUF"}),
        "/schemas/ids/7?format=serialized": (status, {"error_code": 40403 if status == 404 else status}),
    }
    monkeypatch.setattr("ingest.registry.protobuf_files.find_spec", lambda _: None)
    assert {"root": ROOT, "files": {ROOT: SOURCE}} == json.loads(fetch(client(stub.url), 7)[0])


# ---------------------------------------------------------------- Apicurio


def native(version: int, path: str) -> str:
    return f"/apis/registry/v{version}{path}"


@pytest.mark.parametrize(
    ("address", "schema_id", "ids", "asked"),
    [
        ("/apis/registry/v2", "wide:7", "auto", native(2, "/ids/globalIds/7")),
        ("/apis/registry/v3", "wide:7", "content", native(3, "/ids/contentIds/7")),
        ("/apis/registry/v3", "content:7", "auto", native(3, "/ids/contentIds/7")),
        ("/apis/ccompat/v7", "global:7", "auto", native(2, "/ids/globalIds/7")),
        ("", "global:7", "auto", native(2, "/ids/globalIds/7")),
        ("/apis/registry/v2", 7, "global", native(2, "/ids/globalIds/7")),
    ],
)
def test_apicurios_ids_are_asked_at_its_own_api(stub, address, schema_id, ids, asked):
    stub.answers = {f"{asked}?returnArtifactType=true": (200, RECORD.encode())}
    assert (RECORD, "AVRO") == fetch(client(stub.url + address, ids=ids), schema_id)
    assert [f"{asked}?returnArtifactType=true", f"{asked}/references"] == [path for path, _ in stub.asked]


def test_a_confluent_id_at_apicurios_address_is_asked_where_it_answers_like_confluent(stub):
    stub.answers = {"/apis/ccompat/v7/schemas/ids/7": (200, {"schema": RECORD})}
    assert (RECORD, "AVRO") == fetch(client(stub.url + "/apis/registry/v3"), 7)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (RECORD, "AVRO"),
        ('"string"', "AVRO"),
        ('["null","string"]', "AVRO"),
        ('{"type":"object"}', "JSON"),
        ('{"$schema":"http://json-schema.org/draft-07/schema#"}', "JSON"),
    ],
)
def test_a_text_without_a_type_tells_it_itself(stub, text, kind):
    stub.answers = {native(2, "/ids/globalIds/7?returnArtifactType=true"): (200, text.encode())}
    assert (text, kind) == fetch(client(stub.url), "global:7")


def test_the_references_of_apicurio_are_fetched_by_their_coordinates(stub):
    line = {"groupId": None, "artifactId": "shop.Line", "version": "1", "name": "shop.Line"}
    amount = {"groupId": "g/1", "artifactId": "money.Amount", "version": "2", "name": "money.Amount"}
    stub.answers = {
        native(3, "/ids/globalIds/7?returnArtifactType=true"): (200, ORDER.encode()),
        native(3, "/ids/globalIds/7/references"): (200, json.dumps([line]).encode()),
        native(3, "/groups/default/artifacts/shop.Line/versions/1/content"): (200, LINE.encode()),
        native(3, "/groups/default/artifacts/shop.Line/versions/1/references"): (200, json.dumps([amount]).encode()),
        native(3, "/groups/g%2F1/artifacts/money.Amount/versions/2/content"): (200, AMOUNT.encode()),
    }
    text, kind = fetch(client(stub.url + "/apis/registry/v3"), "global:7")
    schemas = SchemaCache()
    schemas.put("global:7", text, kind)
    value = {"first": {"price": {"cents": 5}}, "second": {"price": {"cents": 6}}, "total": {"cents": 11}}
    assert value == schemas.get("global:7").read(avro_bytes(json.loads(text), value))[0]


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"error_code": 404, "name": "ArtifactNotFoundException"}, Reject, "schema.unknown"),
        ({"error_code": 404, "name": "NotFoundException"}, Retry, "registry.unexpected_answer"),
        (b"<html>", Retry, "registry.unexpected_answer"),
    ],
)
def test_apicurios_own_answers_have_their_families(stub, body, error, code):
    stub.answers = {native(2, "/ids/globalIds/7?returnArtifactType=true"): (404, body)}
    with pytest.raises(error) as caught:
        fetch(client(stub.url), "global:7")
    assert code == caught.value.code


SOURCE = 'syntax = "proto3"; message Order { int64 id = 1; }'


def proto(name: str, *imports: str) -> str:
    """A file with one message of one number, as registries serialize it."""
    file = descriptor_pb2.FileDescriptorProto(name="default", dependency=imports, syntax="proto3")
    file.message_type.add(name=name).field.add(name="id", number=1, type=3, label=1)
    return b64encode(file.SerializeToString()).decode()


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
