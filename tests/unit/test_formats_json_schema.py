"""What a JSON Schema declares, as Kafka Connect's converter writes them and as people do."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import Reject
from ingest.formats import Decoder, SchemaCache
from ingest.formats.json_schema import JsonSchema
from ingest.model import Envelope, Op, Record, SourceType


def declared(node: Any, **more: Any) -> SourceType:
    schema = JsonSchema(json.dumps({"type": "object", "properties": {"x": node}, **more})).schema
    assert schema is not None
    assert schema.type.fields is not None
    return schema.type.fields["x"]


def connect(title: str, word: str, kind: str, **parameters: str) -> dict[str, Any]:
    return {"type": word, "title": title, "connect.type": kind, "connect.parameters": parameters}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "integer"}, SourceType("int")),
        ({"type": "integer", "connect.type": "int16"}, SourceType("int")),
        ({"type": "number", "connect.type": "float32"}, SourceType("float32")),
        ({"type": "number", "connect.type": "float64"}, SourceType("float64")),
        ({"type": "number"}, SourceType("any")),
        ({"type": "boolean"}, SourceType("bool")),
        ({"type": "string"}, SourceType("string")),
        ({"type": ["null", "string"]}, SourceType("string")),
        ({"type": ["integer", "string"]}, SourceType("any")),
        ({"type": "string", "connect.type": "bytes"}, SourceType("bytes_base64")),
        ({"type": "string", "contentEncoding": "base64"}, SourceType("bytes_base64")),
        ({"type": "string", "format": "date-time"}, SourceType("ts_text", zoned=True)),
        ({"type": "string", "format": "date"}, SourceType("date_text")),
        ({"type": "string", "format": "uuid"}, SourceType("uuid")),
        ({"type": "string", "title": "timestamp"}, SourceType("string")),
        ({"oneOf": [{"type": "null"}, {"type": "integer", "connect.type": "int64"}]}, SourceType("int")),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, SourceType("any")),
        ({"anyOf": [{"type": "string"}]}, SourceType("string")),
        (connect("io.debezium.time.MicroTimestamp", "integer", "int64"), SourceType("ts_us")),
        (connect("org.apache.kafka.connect.data.Date", "integer", "int32"), SourceType("date_days")),
        (connect("org.apache.kafka.connect.data.Timestamp", "integer", "int64"), SourceType("ts_ms")),
        (connect("org.apache.kafka.connect.data.Decimal", "number", "bytes", scale="2"), SourceType("decimal_base64", scale=2)),
        (connect("io.debezium.data.Bits", "string", "bytes", length="5"), SourceType("bits_base64", length=5)),
        (connect("", "integer", "int64", **{"__debezium.source.column.type": "BIGINT UNSIGNED"}), SourceType("uint64_wrapped")),
        ({"type": "array", "items": {"type": "integer"}}, SourceType("array", element=SourceType("int"))),
        ({"type": "array"}, SourceType("array", element=SourceType("any"))),
        ({"type": "object", "additionalProperties": {"type": "string"}}, SourceType("map", element=SourceType("string"))),
        ({"type": "object"}, SourceType("any")),
        ({"properties": {"a": {"type": "string"}}}, SourceType("struct", fields={"a": SourceType("string")})),
        ({"$ref": "#/definitions/Day"}, SourceType("date_text")),
        ({"$ref": "day.json"}, SourceType("date_text")),
        ({"$ref": "day.json#/$defs/Other"}, SourceType("bool")),
        ({"$ref": "#/definitions/Nothing"}, SourceType("any")),
        ({"$ref": "missing.json"}, SourceType("any")),
        ({"$ref": "#/definitions/Itself"}, SourceType("any")),
        (True, SourceType("any")),
    ],
)
def test_a_field_means_what_its_schema_says(node, expected):
    definitions = {"Day": {"type": "string", "format": "date"}, "Itself": {"$ref": "#/definitions/Itself"}}
    attached = {"day.json": {"type": "string", "format": "date", "$defs": {"Other": {"type": "boolean"}}}}
    assert expected == declared(node, definitions=definitions, **{"ingest.references": attached})


def test_a_type_that_contains_itself_ends():
    found = declared({"$ref": "#/definitions/Node"}, definitions={
        "Node": {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/definitions/Node"}}}
    })  # fmt: skip
    assert SourceType("struct", fields={"name": SourceType("string"), "next": SourceType("any")}) == found


@pytest.mark.parametrize("text", ["{", "5", "[]", '"x"'])
def test_a_text_that_is_no_schema_refuses_its_records(text):
    schemas = SchemaCache()
    schemas.put(7, text, "JSON")
    with pytest.raises(Reject, match=r"schema\.malformed"):
        schemas.get(7)


@pytest.mark.parametrize("text", ["true", "{}", ""])
def test_a_schema_that_says_nothing_reads_all(text):
    assert ({"a": Decimal("1.50")}, True) == (JsonSchema(text).read(b'xx{"a":1.50}', 2)[0], True)


ROW = {"oneOf": [{"type": "null"}, {
    "type": "object", "title": "s.public.orders.Value", "properties": {
        "id": {"type": "integer", "connect.type": "int64"},
        "at": connect("io.debezium.time.MicroTimestamp", "integer", "int64"),
        "total": {"oneOf": [
            {"type": "null"}, connect("org.apache.kafka.connect.data.Decimal", "number", "bytes", scale="2")]},
    },
}]}  # fmt: skip
ENVELOPE = {"type": "object", "title": "s.public.orders.Envelope", "properties": {"before": ROW, "after": ROW}}


def test_a_debezium_envelope_has_the_types_of_its_rows():
    schemas = SchemaCache()
    schemas.put(7, json.dumps(ENVELOPE), "JSON")
    source = {"connector": "postgresql", "lsn": 12, "schema": "public", "db": "shop", "table": "orders"}
    value = {"before": None, "after": {"id": 1, "at": 5, "total": "Nh0="}, "source": source, "op": "c"}
    record = Record("t", 0, 0, -1, b'\0\0\0\0\7{"id":1}', b"\0\0\0\0\7" + json.dumps(value).encode())
    (envelope,) = Decoder(topic_format={}, schemas=schemas).decode(record)
    assert isinstance(envelope, Envelope)
    assert (Op.INSERT, {"id": 1}, value["after"]) == (envelope.op, envelope.key, envelope.after)
    assert envelope.schema is not None
    assert ["int", "ts_us", "decimal_base64"] == [inner.kind for inner in envelope.schema.fields.values()]
    assert "s.public.orders.Value" == envelope.schema.name


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "oneOf",
                    "$ref",
                    "title",
                    "connect.type",
                    "connect.parameters",
                    "additionalProperties",
                    "x",
                ]
            ),
            inner | st.sampled_from(["object", "array", "string", "null", "#", "#/x", "io.debezium.data.Bits", "bytes"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(ANYTHING)
def test_any_json_is_a_schema_or_is_refused(node):
    if isinstance(node, dict | bool):
        value, schema = JsonSchema(json.dumps(node)).read(b"5")
        assert (value, schema is not None) == (5, isinstance(node, dict))
    else:
        with pytest.raises(Reject, match=r"schema\.malformed"):
            JsonSchema(json.dumps(node))
