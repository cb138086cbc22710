"""Avro: our reader against fastavro's writer, types from schemas as Connect and CockroachDB write them, broken bytes."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from typing import Any

import fastavro
import pytest

from ingest.errors import IngestError, Reject
from ingest.formats import Decoder, SchemaCache
from ingest.formats.avro import AvroSchema
from ingest.model import Envelope, Op, Record, SourceType


def written(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def record_of(**fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "R",
        "namespace": "a.b",
        "fields": [{"name": name, "type": node} for name, node in fields.items()],
    }


EVERYTHING = record_of(
    flag="boolean",
    small="int",
    big="long",
    real="float",
    double="double",
    raw="bytes",
    text="string",
    maybe=["null", "string"],
    other=["long", "null", "string"],
    kind={"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
    again={"type": "array", "items": "Kind"},
    four={"type": "fixed", "name": "Four", "size": 4},
    four_again="a.b.Four",
    numbers={"type": "map", "values": ["null", "long"]},
    inner={"type": "record", "name": "Inner", "fields": [{"name": "x", "type": ["null", "double"]}]},
    inners={"type": "array", "items": ["null", "Inner"]},
    nothing="null",
)


def random_value(rng: random.Random) -> dict[str, Any]:
    return {
        "flag": rng.random() < 0.5,
        "small": rng.randint(-(2**31), 2**31 - 1),
        "big": rng.choice((0, -1, 63, -64, 64, 2**62, -(2**63), 2**63 - 1)),
        "real": rng.choice((0.0, 1.5, -2.25)),
        "double": rng.random(),
        "raw": rng.randbytes(rng.randint(0, 200)),
        "text": "ä€😀" * rng.randint(0, 60),
        "maybe": rng.choice((None, "x")),
        "other": rng.choice((None, 5, "y")),
        "kind": rng.choice("AB"),
        "again": [rng.choice("AB") for _ in range(rng.randint(0, 5))],
        "four": rng.randbytes(4),
        "four_again": rng.randbytes(4),
        "numbers": {str(n): rng.choice((None, n)) for n in range(rng.randint(0, 4))},
        "inner": {"x": rng.choice((None, 0.5))},
        "inners": [rng.choice((None, {"x": 1.0})) for _ in range(rng.randint(0, 3))],
        "nothing": None,
    }


def test_what_fastavro_writes_is_read_back():
    schema, rng = AvroSchema(json.dumps(EVERYTHING)), random.Random(3)
    for _ in range(100):
        value = random_value(rng)
        assert value == schema.decode(b"\0\0\0\0\7" + written(EVERYTHING, value), 5)


def test_broken_bytes_are_refused_and_never_crash():
    schema, rng = AvroSchema(json.dumps(EVERYTHING)), random.Random(4)
    codes: Counter[str] = Counter()
    for _ in range(3000):
        body = bytearray(written(EVERYTHING, random_value(rng)))
        for _ in range(3):
            body[rng.randrange(len(body))] = rng.randrange(256)
        codes[code_of(schema, bytes(body))] += 1
    assert {"", "avro.truncated", "avro.malformed"} <= set(codes)
    assert codes[""] < 1000


def code_of(schema: AvroSchema, body: bytes) -> str:
    try:
        schema.decode(body)
    except Reject as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("schema", "body", "code"),
    [
        (["null", "long"], b"\x01\x04", "avro.malformed"),  # branch -1
        (["null", "long"], b"\x04", "avro.malformed"),  # branch 2
        ("string", b"\x03ab", "avro.malformed"),  # length -2
        ("string", b"\x04\xff\xff", "avro.malformed"),
        ("string", b"\x06ab", "avro.truncated"),
        ("bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01ab", "avro.truncated"),
        ("long", b"\xff" * 12, "avro.malformed"),
        ("long", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "avro.malformed"),
        ("long", b"\x80", "avro.truncated"),
        ("double", b"\0\0", "avro.truncated"),
        ("boolean", b"\x02", "avro.malformed"),
        ("boolean", b"", "avro.truncated"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "avro.malformed"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "avro.malformed"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "avro.malformed"),
        ({"type": "fixed", "name": "F", "size": 3}, b"ab", "avro.truncated"),
        ("long", b"\x02\x02", "avro.trailing_bytes"),
    ],
)
def test_each_kind_of_damage_has_its_code(schema, body, code):
    with pytest.raises(Reject) as caught:
        AvroSchema(json.dumps(schema)).decode(body)
    assert code == caught.value.code


def test_a_schema_that_contains_itself_is_read_to_a_depth_and_no_further():
    schema = AvroSchema(json.dumps(record_of(next=["null", "a.b.R"])))
    assert {"next": {"next": None}} == schema.decode(b"\x02\x00")
    assert SourceType("any") == schema.schema.type.fields["next"]
    with pytest.raises(Reject, match=r"avro\.malformed"):
        schema.decode(b"\x02" * 1_000_000 + b"\x00")


@pytest.mark.parametrize(
    "text", ["", "{", "5", "[]", '{"type":"record"}', '"Unknown"', '{"type":"record","name":"R","fields":[{"name":"x"}]}']
)
def test_a_text_that_is_no_schema_is_refused(text):
    with pytest.raises(Reject) as caught:
        AvroSchema(text)
    assert "schema.malformed" == caught.value.code


def connect(name: str, base: str = "long", **parameters: str) -> dict[str, Any]:
    return {"type": base, "connect.name": name, "connect.parameters": parameters}


@pytest.mark.parametrize(
    ("node", "declared"),
    [
        ({"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 5}, SourceType("decimal", scale=5, precision=3)),
        ({"type": "bytes", "logicalType": "decimal", "scale": -2, "precision": 6}, SourceType("decimal", scale=-2, precision=6)),
        ({"type": "bytes", "logicalType": "decimal"}, SourceType("decimal", scale=0)),
        (connect("org.apache.kafka.connect.data.Decimal", "bytes", scale="4"), SourceType("decimal", scale=4)),
        (["null", connect("io.debezium.time.MicroTimestamp")], SourceType("ts_us")),
        ([connect("io.debezium.time.ZonedTimestamp", "string"), "null"], SourceType("ts_text", zoned=True)),
        ({"type": "long", "logicalType": "timestamp-nanos"}, SourceType("ts_ns", zoned=True)),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, SourceType("ts_us")),
        ({"type": "int", "logicalType": "date", "connect.name": "org.apache.kafka.connect.data.Date"}, SourceType("date_days")),
        (
            {"type": "long", "logicalType": "timestamp-millis", "connect.name": "org.apache.kafka.connect.data.Timestamp"},
            SourceType("ts_ms"),
        ),
        ({"type": "string", "logicalType": "date"}, SourceType("string")),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, SourceType("uuid")),
        ({"type": "fixed", "name": "U", "size": 8, "logicalType": "uuid"}, SourceType("bytes")),
        (connect("io.debezium.data.Bits", "bytes", length="5"), SourceType("bits", length=5)),
        ({"type": "long", "connect.parameters": {"tidb_type": "BIGINT UNSIGNED"}}, SourceType("uint64_wrapped")),
        (
            ["null", {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 2}, "string"],
            SourceType("decimal", 2, precision=3),
        ),
        (["null", "string", "long"], SourceType("any")),
        (["null", {"type": "array", "items": ["null", "long"]}], SourceType("array", element=SourceType("int"))),
    ],
)
def test_a_field_means_what_its_schema_says(node, declared):
    assert declared == AvroSchema(json.dumps(record_of(x=node))).schema.type.fields["x"]


def test_a_logical_type_may_stand_beside_the_type():
    field = {"name": "x", "type": "long", "logicalType": "timestamp-millis"}
    assert {"x": SourceType("ts_ms", zoned=True)} == AvroSchema(
        json.dumps({"type": "record", "name": "R", "fields": [field]})
    ).schema.type.fields


def test_far_dates_and_midnights_come_as_numbers():
    schema = record_of(at=connect("io.debezium.time.MicroTimestamp"), day={"type": "int", "logicalType": "date"})
    plain = record_of(at="long", day="int")
    value = {"at": 9223372036825200000, "day": -(2**31)}
    assert value == AvroSchema(json.dumps(schema)).decode(written(plain, value))


ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": "s.public.orders",
    "connect.name": "s.public.orders.Envelope",
    "fields": [
        {
            "name": "before",
            "default": None,
            "type": ["null", {"type": "record", "name": "Value", "connect.name": "s.public.orders.Value", "fields": [
                {"name": "id", "type": "long"},
                {"name": "doc", "type": ["null", "bytes"], "default": None},
                {"name": "codes", "type": ["null", {"type": "array", "items": "int"}], "default": None},
                {"name": "paid", "type": ["boolean", "null"], "default": True},
            ]}],
        },
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium", "fields": [
            {"name": "connector", "type": "string"},
            {"name": "lsn", "type": ["null", "long"]},
            {"name": "table", "type": "string"},
        ]}},
        {"name": "op", "type": "string"},
    ],
}  # fmt: skip
SOURCE = {"connector": "postgresql", "lsn": 12, "table": "orders"}


def decoded(value: Any, schema: Any = ENVELOPE) -> Envelope:
    schemas = SchemaCache()
    schemas.put(7, json.dumps(schema))
    body = b"\0\0\0\0\7" + written(schema, value)
    (envelope,) = Decoder(topic_format={}, schemas=schemas).decode(Record("t", 0, 0, -1, b'{"id":1}', body))
    return envelope


def test_a_debezium_envelope_in_avro_has_the_types_of_its_named_record():
    row = {"id": 1, "doc": b"x", "codes": [1], "paid": None}
    envelope = decoded({"before": None, "after": row, "source": SOURCE, "op": "c"})
    assert (Op.INSERT, row, ("orders",), ("L", f"{12:020d}")) == (envelope.op, envelope.after, envelope.table, envelope.version)
    assert envelope.schema is not None
    assert ["int", "bytes", "array", "bool"] == [declared.kind for declared in envelope.schema.fields.values()]
    assert "s.public.orders.Value" == envelope.schema.name


def test_the_placeholder_is_taken_out_of_avro_rows():
    raw = b"__debezium_unavailable_value"
    row = {"id": 1, "doc": None, "codes": list(raw), "paid": True}
    assert {"id": 1, "doc": None, "paid": True} == decoded({"before": None, "after": row, "source": SOURCE, "op": "u"}).after
    row = {"id": 1, "doc": raw, "codes": None, "paid": True}
    envelope = decoded({"before": None, "after": row, "source": SOURCE, "op": "c"})
    assert (Op.UPDATE, {"id": 1, "codes": None, "paid": True}) == (envelope.op, envelope.after)


def test_a_bare_cockroach_record_in_avro_is_its_record():
    row = {
        "type": "record",
        "name": "rows",
        "fields": [{"name": "a", "type": ["null", "long"], "__crdb__": "a INT8"}, {"name": "b", "type": ["null", "string"]}],
    }
    schema = {
        "type": "record",
        "name": "rows_envelope",
        "fields": [{"name": "updated", "type": ["null", "string"]}, {"name": "record", "type": ["null", row]}],
    }
    envelope = decoded({"updated": "1.0000000002", "record": {"a": 1, "b": "x"}}, schema)
    assert ({"a": 1, "b": "x"}, ("H", "000000000000000000010000000002")) == (envelope.after, envelope.version)
    with pytest.raises(IngestError, match=r"cockroach\.ambiguous_delete"):
        decoded({"updated": "1.0000000002", "record": {"a": 1, "b": None}}, schema)


def test_a_plain_avro_event_keeps_absent_and_null_apart():
    envelope = decoded({"x": None}, record_of(x=["null", "long"]))
    assert (Op.INSERT, {"x": None}) == (envelope.op, envelope.after)
