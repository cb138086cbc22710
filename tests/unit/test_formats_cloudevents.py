"""CloudEvents in both modes, of Debezium's converter and of everybody else."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from typing import Any

import fastavro
import pytest

from ingest.formats import SchemaCache
from ingest.model import NeedSchema, Op, Record, Skip, SourceType, SourceVersion
from tests.unit.decoding import code_of, decoder, one, packed

TOPIC = "events"
EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.made", "time": "2024-01-01T00:00:00Z"}
ATTRIBUTES = {
    "ce_specversion": "1.0",
    "ce_id": "7",
    "ce_source": "/shop",
    "ce_type": "order.made",
    "ce_time": "2024-01-01T00:00:00Z",
}
BINARY = tuple((f"ce_{name}", value.encode()) for name, value in EVENT.items())


def record(value: Any, key: bytes | None = None, headers: Any = ()) -> Record:
    return Record(TOPIC, 0, 5, -1, key, packed(value), headers)


# ---------------------------------------------------------------- events of anybody


@pytest.mark.parametrize(
    ("parts", "row"),
    [
        ({"data": {"total": 5, "id": "x"}}, {"total": 5, "id": "x"}),
        ({"data": [1, 2]}, {"data": [1, 2]}),
        ({"data": "text"}, {"data": "text"}),
        ({"data": None}, {}),
        ({}, {}),
        (
            {"data_base64": "eyJ0b3RhbCI6NX0=", "datacontenttype": "application/json"},
            {"total": 5, "ce_datacontenttype": "application/json"},
        ),
        ({"data_base64": "eyJ0b3RhbCI6NX0="}, {"total": 5}),
        ({"data_base64": "AAEC", "datacontenttype": "image/png"}, {"data": "AAEC", "ce_datacontenttype": "image/png"}),
        ({"data": {"total": 5}, "traceparent": "00-1"}, {"total": 5, "ce_traceparent": "00-1"}),
        ({"data": {"ce_id": "mine"}}, {"ce_id": "mine"}),
    ],
)
def test_a_structured_event_is_its_data_with_its_attributes(parts, row):
    envelope = one(decoder().decode(record(EVENT | parts, b"k")))
    assert (Op.INSERT, ("k",), ATTRIBUTES | row) == (envelope.op, envelope.key, envelope.after)
    assert (1704067200000, None, ()) == (envelope.source_ts_ms, envelope.version, envelope.table)


def test_bytes_that_nobody_can_read_stay_base64_and_say_so():
    envelope = one(decoder().decode(record(EVENT | {"data_base64": "AAEC", "datacontenttype": "image/png"})))
    assert {"data": SourceType("bytes_base64")} == envelope.schema.fields


@pytest.mark.parametrize("format_name", ["auto", "cloudevents"])
def test_a_binary_event_has_its_attributes_in_headers(format_name):
    headers = (*BINARY, ("content-type", b"application/json"), ("ce_gone", None))
    made = decoder(format_name)
    for _ in range(2):
        envelope = one(made.decode(record({"total": 5, "id": "x"}, None, headers)))
        assert ATTRIBUTES | {"ce_datacontenttype": "application/json", "total": 5, "id": "x"} == envelope.after
    assert "cloudevents" == made.format_of(TOPIC)


def test_a_batch_is_several_events():
    first, second = decoder().decode(record([EVENT | {"data": {"n": 1}}, EVENT | {"id": "8", "data": {"n": 2}}]))
    assert [("7", 1, 0), ("8", 2, 1)] == [(e.after["ce_id"], e.after["n"], e.place) for e in (first, second)]


def test_a_row_with_some_of_the_names_is_a_row():
    row = {"id": 1, "source": "s", "type": "t"}
    made = decoder()
    assert row == one(made.decode(record(row))).after
    assert "plain" == made.format_of(TOPIC)


def test_a_topic_that_is_declared_so_refuses_other_records():
    assert "cloudevents.attributes" == code_of(decoder("cloudevents"), record({"id": 1}))
    assert "cloudevents.attributes" == code_of(decoder("cloudevents"), record(b"5"))
    assert Skip("heartbeat") == decoder("cloudevents").decode(record({"ts_ms": 5}, b'{"serverName":"s"}'))


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"data_base64": "###"}, "cloudevents.data"),
        ({"data_base64": 5}, "cloudevents.data"),
        ({"data_base64": "AAEC", "datacontenttype": "application/json"}, "json.malformed"),
        ({"data": "AgI=", "datacontenttype": "application/avro"}, "cloudevents.data"),
        ({"data": "AAAAAAc=", "datacontenttype": "application/avro", "data_base64": None}, "avro.truncated"),
    ],
)
def test_data_that_is_not_what_it_says_is_refused(parts, code):
    schemas = SchemaCache()
    schemas.put(7, ROW_SCHEMA)
    assert code == code_of(decoder("cloudevents", schemas=schemas), record(EVENT | parts))


ROW = {"type": "record", "name": "V", "fields": [{"name": "id", "type": "long"}, {"name": "at", "type": "long"}]}
ROW_SCHEMA = json.dumps(
    ROW | {"fields": [ROW["fields"][0], {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}
)


def avro(schema: Any, value: Any, schema_id: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


@pytest.mark.parametrize("field", ["data", "data_base64"])
def test_avro_data_waits_for_its_schema_and_has_its_types(field):
    body = EVENT | {"datacontenttype": "application/avro", field: b64encode(avro(ROW, {"id": 1, "at": 5}, 7)).decode()}
    schemas = SchemaCache()
    made = decoder(schemas=schemas)
    assert NeedSchema(7) == made.decode(record(body))
    schemas.put(7, ROW_SCHEMA)
    envelope = one(made.decode(record(body)))
    assert (1, 5, SourceType("ts_us", zoned=True)) == (envelope.after["id"], envelope.after["at"], envelope.schema.fields["at"])


def test_a_null_value_deletes_by_its_key():
    envelope = one(decoder("cloudevents").decode(record(None, b"k")))
    assert (Op.DELETE, ("k",)) == (envelope.op, envelope.key)


# ---------------------------------------------------------------- Debezium's converter


CHANGE = {
    "id": "name:test_server;lsn:29274832;txId:565",
    "source": "/debezium/postgresql/test_server",
    "specversion": "1.0",
    "type": "io.debezium.connector.postgresql.DataChangeEvent",
    "time": "2020-01-13T13:55:39.738Z",
    "datacontenttype": "application/json",
}
EXTENSIONS = {
    "iodebeziumop": "u",
    "iodebeziumconnector": "postgresql",
    "iodebeziumname": "test_server",
    "iodebeziumtsms": "1578923739738",
    "iodebeziumsnapshot": "false",
    "iodebeziumdb": "postgres",
    "iodebeziumschema": "s1",
    "iodebeziumtable": "a",
    "iodebeziumlsn": "29274832",
    "iodebeziumxmin": None,
    "iodebeziumtxid": "565",
}


@pytest.mark.parametrize(
    ("op", "data", "expected"),
    [
        ("r", {"before": None, "after": {"pk": 1, "aa": 2}}, Op.INSERT),
        ("u", {"before": {"pk": 1, "aa": 1}, "after": {"pk": 1, "aa": 2}}, Op.UPDATE),
        ("d", {"before": {"pk": 1, "aa": 1}, "after": None}, Op.DELETE),
    ],
)
@pytest.mark.parametrize("extended", [True, False], ids=["with extensions", "without"])
def test_debeziums_converter_wraps_a_change(op, data, expected, extended):
    value = CHANGE | (EXTENSIONS | {"iodebeziumop": op} if extended else {}) | {"data": data}
    envelope = one(decoder().decode(record(value, b'{"pk":1}')))
    assert (expected, {"pk": 1}, data["after"], SourceVersion("L", "29274832".zfill(20))) == (
        envelope.op,
        envelope.key,
        envelope.after,
        envelope.version,
    )
    assert (("postgres", "s1", "a"), 1578923739738) == (envelope.table, envelope.source_ts_ms) or not extended


def test_its_data_may_have_a_schema():
    row = {
        "type": "struct",
        "fields": [{"field": "pk", "type": "int64"}, {"field": "at", "type": "int64", "name": "io.debezium.time.MicroTimestamp"}],
    }
    schema = {"type": "struct", "name": "x.Data", "fields": [row | {"field": "before"}, row | {"field": "after"}]}
    value = CHANGE | EXTENSIONS | {"data": {"schema": schema, "payload": {"before": None, "after": {"pk": 1, "at": 5}}}}
    made = decoder()
    first, second = (one(made.decode(record(value, b'{"pk":1}'))) for _ in range(2))
    assert first.schema is second.schema
    assert {"pk": SourceType("int"), "at": SourceType("ts_us")} == first.schema.fields


def test_its_data_may_be_avro():
    envelope = {
        "type": "record",
        "name": "Data",
        "fields": [
            {"name": "before", "type": ["null", ROW], "default": None},
            {"name": "after", "type": ["null", "V"], "default": None},
        ],
    }
    schemas = SchemaCache()
    schemas.put(9, json.dumps(envelope))
    data = b64encode(avro(envelope, {"before": None, "after": {"id": 1, "at": 5}}, 9)).decode()
    value = (
        CHANGE
        | EXTENSIONS
        | {
            "iodebeziumop": "c",
            "datacontenttype": "application/avro",
            "dataschema": "http://registry/schemas/ids/9",
            "data": data,
        }
    )
    seen = one(decoder(schemas=schemas).decode(record(value, b'{"id":1}')))
    assert (Op.INSERT, {"id": 1, "at": 5}, {"id", "at"}) == (seen.op, seen.after, set(seen.schema.fields))


def test_the_whole_event_may_be_avro():
    schema = {
        "type": "record",
        "name": "CloudEvent",
        "fields": [
            *({"name": name, "type": ["null", "string"], "default": None} for name in (*CHANGE, *EXTENSIONS)),
            {
                "name": "data",
                "type": {"type": "record", "name": "Data", "fields": [{"name": "after", "type": ["null", ROW], "default": None}]},
            },
        ],
    }
    schemas = SchemaCache()
    schemas.put(9, json.dumps(schema))
    body = avro(schema, CHANGE | EXTENSIONS | {"iodebeziumop": "c", "data": {"after": {"id": 1, "at": 5}}}, 9)
    seen = one(decoder(schemas=schemas).decode(record(body, b'{"id":1}')))
    assert (Op.INSERT, {"id": 1, "at": 5}, SourceVersion("L", "29274832".zfill(20))) == (seen.op, seen.after, seen.version)


def test_the_avro_format_of_the_specification_is_read():
    schema = {
        "type": "record",
        "name": "CloudEvent",
        "fields": [
            {"name": "attribute", "type": {"type": "map", "values": "string"}},
            {"name": "data", "type": ["null", "bytes"]},
        ],
    }
    schemas = SchemaCache()
    schemas.put(9, json.dumps(schema))
    body = avro(schema, {"attribute": EVENT | {"datacontenttype": "application/json"}, "data": b'{"total":5}'}, 9)
    after = one(decoder(schemas=schemas).decode(record(body))).after
    assert (5, "order.made") == (after["total"], after["ce_type"])


@pytest.mark.parametrize(
    ("connector", "extensions", "version", "table"),
    [
        (
            "mysql",
            {"file": "mysql-bin.000003", "pos": "484", "row": "0", "db": "inventory", "table": "c"},
            "B 0000000003" + "484".zfill(20) + "0" * 10,
            "inventory.c",
        ),
        (
            "sqlserver",
            {
                "commitlsn": "00000027:00000758:0005",
                "changelsn": "00000027:00000758:0003",
                "eventserialno": "1",
                "db": "d",
                "schema": "dbo",
                "table": "c",
            },
            "S 00000027:00000758:000500000027:00000758:00030000000001",
            "d.dbo.c",
        ),
        (
            "oracle",
            {"scn": "999", "commitscn": "1000", "db": "d", "schema": "s", "table": "c"},
            "C " + "1000".zfill(20) + "999".zfill(20) + "00000000.00000000.0000" + "0" * 10,
            "d.s.c",
        ),
    ],
)
def test_each_connectors_position_is_in_the_extensions(connector, extensions, version, table):
    named = {f"iodebezium{name}": value for name, value in extensions.items()} | {
        "iodebeziumconnector": connector,
        "iodebeziumop": "c",
    }
    value = (
        CHANGE | {"source": f"/debezium/{connector}/x", "id": "name:x"} | named | {"data": {"before": None, "after": {"id": 1}}}
    )
    envelope = one(decoder().decode(record(value, b'{"id":1}')))
    assert (version, table) == (" ".join(envelope.version), ".".join(envelope.table))


def test_a_document_of_mongodb_is_read_as_one():
    named = {
        "iodebeziumconnector": "mongodb",
        "iodebeziumop": "c",
        "iodebeziumcollection": "c",
        "iodebeziumdb": "d",
        "iodebeziumtsms": "1671657820000",
        "iodebeziumord": "1",
    }
    value = (
        CHANGE
        | {"type": "io.debezium.mongodb.datachangeevent"}
        | named
        | {"data": {"after": '{"_id": {"$oid": "63a3"}, "test": "demo"}'}}
    )
    envelope = one(decoder().decode(record(value, b'{"id":"{\\"$oid\\": \\"63a3\\"}"}')))
    named_by = {"_id": {"$oid": "63a3"}}
    assert ({**named_by, "test": "demo"}, named_by, ("d", "c")) == (envelope.after, envelope.key, envelope.table)
    assert SourceVersion("M", "16716578200000000001") == envelope.version


def test_a_tombstone_behind_its_delete_is_an_echo():
    made = decoder()
    made.decode(record(CHANGE | EXTENSIONS | {"iodebeziumop": "d", "data": {"before": {"pk": 1}, "after": None}}, b'{"pk":1}'))
    assert Skip("tombstone") == made.decode(record(None, b'{"pk":1}'))
