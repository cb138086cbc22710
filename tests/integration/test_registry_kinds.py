"""Schemas of every kind on real servers: Protobuf, JSON Schema, Apicurio's ids, GUIDs in headers, schemas that change and that
come late. One stub registry answers at Confluent's paths and at Apicurio's own."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass

from ingest.formats.protobuf_pool import file_of
from tests.integration.test_avro import written
from tests.integration.worker_rig import Sent, Site, site_at

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

GUID = "6b0c2b32-8c6d-4c86-8b1c-0e2c0f5d7a11"
COLUMNS = "id BIGINT PRIMARY KEY, t TEXT, total NUMERIC(18, 2), made TIMESTAMP WITH TIME ZONE"
KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
OLD = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}, {"name": "t", "type": "string"}]}
MADE = {"name": "made", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]}
NEW = {"type": "record", "name": "Row", "fields": [OLD["fields"][0], MADE, OLD["fields"][1]]}  # type: ignore[index]
MADE_MS = 1_767_225_600_123


class Registry:
    """Answers by path. late: how often a path is unknown before it is known."""

    def __init__(self, late: dict[str, int] | None = None) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        late = late or {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                is_late = registry.asked.count(self.path) <= late.get(self.path, 0)
                body = None if is_late else registry.answers.get(self.path)
                data = json.dumps({"error_code": 40403} if body is None else body).encode()
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="registry-of-kinds", daemon=True)
        serve.start()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        made.make_topics("orders")
        made.make_table("orders", COLUMNS)
        yield made


def rows(site: Site) -> list[list[Any]]:
    columns = [site.column("orders", name) for name in ("id", "t", "total::TEXT", "made")]
    return [list(row) for row in zip(*columns, strict=True)]


def framed(schema_id: int, schema: Any, value: Any) -> bytes:
    return written(schema, value, b"\0" + schema_id.to_bytes(4, "big"))


def order_proto() -> Any:
    """message Order { int64 id = 1; optional string t = 2; Decimal total = 3; Timestamp made = 4; }"""
    file = descriptor_pb2.FileDescriptorProto(name="default", package="shop", syntax="proto3")
    file.dependency.extend(["confluent/type/decimal.proto", "google/protobuf/timestamp.proto"])
    made = file.message_type.add(name="Order")
    made.field.add(name="id", number=1, type=3, label=1)
    made.field.add(name="t", number=2, type=9, label=1, proto3_optional=True, oneof_index=0)
    made.field.add(name="total", number=3, type=11, type_name=".confluent.type.Decimal", label=1)
    made.field.add(name="made", number=4, type=11, type_name=".google.protobuf.Timestamp", label=1)
    made.oneof_decl.add(name="_t")
    return file


def protobuf_order(number: int, **fields: str) -> bytes:
    descriptor = file_of("x", {"x": order_proto().SerializeToString()}).message_types_by_name["Order"]
    order = GetMessageClass(descriptor)(id=number, **fields)
    order.total.value, order.total.scale = (1234).to_bytes(2, "big"), 2
    order.made.FromMilliseconds(MADE_MS)
    content: bytes = order.SerializeToString()
    return content


def test_protobuf_becomes_exact_rows_from_frames_headers_and_apicurios_names(site: Site) -> None:
    topic = site.topic("orders")
    serialized = b64encode(order_proto().SerializeToString()).decode()
    proto = {"schema": "syntax ...", "schemaType": "PROTOBUF"}
    guid = [("__value_schema_id", b"\1" + bytes.fromhex(GUID.replace("-", "")) + b"\0")]
    with Registry() as registry:
        for path in ("/schemas/ids/7", f"/schemas/guids/{GUID}"):
            registry.answers |= {path: proto, path + "?format=serialized": {**proto, "schema": serialized}}
        site.send(
            [
                Sent(topic, b'{"id":1}', b"\0\0\0\0\7\0" + protobuf_order(1, t="one")),
                Sent(topic, b'{"id":2}', b"\0\0\0\0\7\2\0" + protobuf_order(2)),
                Sent(topic, b'{"id":3}', protobuf_order(3, t="three"), tuple(guid)),
                Sent(topic, b'{"id":4}', b"\0\0\0\0\7\0" + protobuf_order(4)[:-1]),
            ]
        )
        done = site.run(schema_registry_url=registry.url)
    assert (done.code, done.answer["is_balanced"], done.answer["dead_lettered"]) == (0, True, 1)
    assert rows(site) == [[1, "one", "12.34", MADE_MS], [2, None, "12.34", MADE_MS], [3, "three", "12.34", MADE_MS]]
    ((letter,),) = site.letters().values()
    assert letter.text("ingest.code") == "protobuf.malformed"


def test_json_schema_has_the_types_of_connect(site: Site) -> None:
    total = {"type": "number", "title": "org.apache.kafka.connect.data.Decimal", "connect.parameters": {"scale": "2"}}
    moment = {"type": "integer", "title": "io.debezium.time.MicroTimestamp", "connect.type": "int64"}
    schema = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "t": {"type": "string"}, "total": total, "made": moment},
    }
    row = {"id": 1, "t": "x", "total": "BNI=", "made": MADE_MS * 1_000 + 456}
    with Registry() as registry:
        registry.answers["/apis/ccompat/v7/schemas/ids/7"] = {"schema": json.dumps(schema), "schemaType": "JSON"}
        site.send([Sent(site.topic("orders"), b"\0\0\0\0\7" + b'{"id":1}', b"\0\0\0\0\7" + json.dumps(row).encode())])
        done = site.run(schema_registry_url=f"{registry.url}/apis/ccompat/v7")
    assert (done.code, done.answer["dead_lettered"]) == (0, 0)
    assert rows(site) == [[1, "x", "12.34", MADE_MS]]


def test_apicurio_is_asked_for_wide_ids_and_for_those_in_headers(site: Site) -> None:
    topic = site.topic("orders")
    wide = b"\0" + (9).to_bytes(8, "big")
    header = (("apicurio.value.contentId", (5).to_bytes(8, "big")), ("apicurio.value.encoding", b"BINARY"))
    with Registry() as registry:
        registry.answers["/apis/registry/v3/ids/globalIds/9?returnArtifactType=true"] = NEW
        registry.answers["/apis/registry/v3/ids/contentIds/5?returnArtifactType=true"] = OLD
        site.send(
            [
                Sent(topic, b'{"id":1}', written(NEW, {"id": 1, "made": MADE_MS * 1_000, "t": "wide"}, wide)),
                Sent(topic, b'{"id":2}', written(OLD, {"id": 2, "t": "header"}), header),
            ]
        )
        done = site.run(schema_registry_url=f"{registry.url}/apis/registry/v3")
    assert (done.code, done.answer["dead_lettered"]) == (0, 0)
    assert rows(site) == [[1, "wide", None, MADE_MS], [2, "header", None, None]]


def test_the_writers_schema_changes_in_the_middle_and_each_record_keeps_its_own(site: Site) -> None:
    topic, sent = site.topic("orders"), []
    for number in range(1, 21):
        key = framed(3, KEY, {"id": number})
        old, new = framed(7, OLD, {"id": number, "t": "old"}), framed(8, NEW, {"id": number, "made": MADE_MS * 1_000, "t": "new"})
        sent.append(Sent(topic, key, new if number % 3 == 0 or number > 14 else old))
    with Registry() as registry:
        registry.answers |= {f"/schemas/ids/{n}": {"schema": json.dumps(s)} for n, s in ((3, KEY), (7, OLD), (8, NEW))}
        site.send(sent)
        done = site.run(schema_registry_url=registry.url)
    assert (done.code, done.answer["dead_lettered"]) == (0, 0)
    expected = [[n, "new", None, MADE_MS] if n % 3 == 0 or n > 14 else [n, "old", None, None] for n in range(1, 21)]
    assert rows(site) == expected
    assert sorted(registry.asked) == [f"/schemas/ids/{n}" for n in (3, 7, 8)]


def test_a_schema_that_a_replica_learns_late_costs_no_letter(site: Site) -> None:
    with Registry(late={"/schemas/ids/7": 2}) as registry:
        registry.answers["/schemas/ids/7"] = {"schema": json.dumps(OLD)}
        site.send([Sent(site.topic("orders"), b'{"id":1}', framed(7, OLD, {"id": 1, "t": "late"}))])
        done = site.run(schema_registry_url=registry.url)
    assert (done.code, done.answer["dead_lettered"], registry.asked.count("/schemas/ids/7")) == (0, 0, 3)
    assert rows(site) == [[1, "late", None, None]]


def test_an_unknown_schema_costs_its_records_and_no_others(site: Site) -> None:
    topic = site.topic("orders")
    with Registry() as registry:
        registry.answers["/schemas/ids/7"] = {"schema": json.dumps(OLD)}
        site.send(
            [
                Sent(topic, b'{"id":1}', framed(7, OLD, {"id": 1, "t": "a"})),
                Sent(topic, b'{"id":2}', framed(99, OLD, {"id": 2, "t": "b"})),
                Sent(topic, b'{"id":3}', framed(7, OLD, {"id": 3, "t": "c"})),
            ]
        )
        done = site.run(schema_registry_url=registry.url)
    assert (done.code, done.answer["is_balanced"], done.answer["dead_lettered"]) == (0, True, 1)
    assert [key for key, *_ in rows(site)] == [1, 3]
    ((letter,),) = site.letters().values()
    assert letter.text("ingest.code") == "schema.unknown"
