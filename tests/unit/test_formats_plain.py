"""Events without an envelope: objects, lists, lines, scalars and texts, under any key; and what key="position" makes of them."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from ingest.errors import IngestError
from ingest.formats import Decoder, SchemaCache
from ingest.model import Column, Envelope, Op, Record, Skip, SourceType, Table
from ingest.tables.contract import Contract
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules

TOPIC = "events"


def decoder(format_name: str = "auto", schemas: SchemaCache | None = None) -> Decoder:
    return Decoder(topic_format=lambda _: format_name, schemas=schemas or SchemaCache())


def record(value: Any, key: bytes | None = None) -> Record:
    body = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return Record(TOPIC, 2, 5, -1, key, body)


def rows(decoded: Any) -> list[dict[str, Any] | None]:
    assert all(isinstance(envelope, Envelope) for envelope in decoded)
    return [envelope.after for envelope in decoded]


def code_of(made: Decoder, given: Record) -> str:
    with pytest.raises(IngestError) as caught:
        made.decode(given)
    return caught.value.code


TWO = [{"id": 1, "t": 20.5}, {"id": 2, "t": None}]


@pytest.mark.parametrize("format_name", ["auto", "plain"])
@pytest.mark.parametrize(
    "body",
    [
        b'[{"id":1,"t":20.5},{"id":2,"t":null}]',
        b' [ {"id": 1, "t": 20.5},\n {"id": 2, "t": null} ]\n',
        b'{"id":1,"t":20.5}\n{"id":2,"t":null}',
        b'{"id":1,"t":20.5}\r\n\r\n{"id":2,"t":null}\r\n',
        b'{"schema":null,"payload":[{"id":1,"t":20.5},{"id":2,"t":null}]}',
    ],
    ids=["list", "list with blanks", "lines", "lines of Windows", "wrapped list"],
)
def test_a_record_may_hold_several_rows(format_name, body):
    made = decoder(format_name)
    for _ in range(2):
        decoded = made.decode(record(body, b"device-7"))
        assert [{"id": 1, "t": 20.5}, {"id": 2, "t": None}] == [
            dict(row, t=row["t"] and float(row["t"])) for row in rows(decoded)
        ]
        assert [(0, ("device-7",)), (1, ("device-7",))] == [(envelope.place, envelope.key) for envelope in decoded]
    assert "plain" == made.format_of(TOPIC)


def test_an_empty_list_is_no_row():
    assert Skip("empty") == decoder().decode(record(b"[]"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[1,2]", "row.not_an_object"),
        (b'[{"id":1},2]', "row.not_an_object"),
        (b'[{"id":1},{"id":2,"id":3}]', "json.duplicate_name"),
        (b'{"id":1}\n{"id":2', "json.malformed"),
        (b'{"id":1}\n{"id":}', "json.malformed"),
        (b'{"id":1}\n{"id":2,"id":3}', "json.duplicate_name"),
        (b'{"id":1} {"id":2}', "json.malformed"),
    ],
)
@pytest.mark.parametrize("format_name", ["auto", "plain", "debezium", "flattened", "cockroach", "cloudevents"])
def test_one_bad_part_refuses_its_record(format_name, body, code):
    found = code_of(decoder(format_name), record(body))
    assert found == code or format_name not in ("auto", "plain")


def test_lists_and_lines_of_changes_are_changes():
    value = {
        "op": "c",
        "after": {"id": 1},
        "source": {"connector": "postgresql", "db": "d", "schema": "s", "table": "t", "lsn": 1},
    }
    delete = {**value, "op": "d", "after": None, "before": {"id": 2}}
    for body in (json.dumps([value, delete]).encode(), b"\n".join(json.dumps(part).encode() for part in (value, delete))):
        made = decoder()
        first, second = made.decode(record(body))
        assert [(Op.INSERT, 0), (Op.DELETE, 1)] == [(first.op, first.place), (second.op, second.place)]
        assert "debezium" == made.format_of(TOPIC)


def test_control_records_among_lines_are_left_out():
    body = b'{"resolved":"1.0000000002"}\n{"after":{"id":1},"updated":"3.0000000000"}\n{"resolved":"4.0000000000"}'
    assert [{"id": 1}] == rows(decoder().decode(record(body)))
    assert Skip("resolved", (0, "1.0000000002")) == decoder().decode(
        record(b'{"resolved":"1.0000000002"}\n{"resolved":"4.0000000000"}')
    )


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (b"5", {"value": 5}),
        (b"20.50", {"value": 20.5}),
        (b'"on"', {"value": "on"}),
        (b"true", {"value": True}),
        (b'"{broken"', {"value": "{broken"}),
        (b'"[1]"', {"value": "[1]"}),
        (b'"{\\"id\\": 1, \\"n\\": {\\"a\\": 2}}"', {"id": 1, "n": {"a": 2}}),
        (b'{"schema":{"type":"string"},"payload":"{\\"id\\":1}"}', {"id": 1}),
        (b'{"schema":{"type":"int64"},"payload":7}', {"value": 7}),
    ],
)
@pytest.mark.parametrize("format_name", ["auto", "plain"])
def test_a_scalar_is_a_row_of_one_column_and_a_text_of_json_what_it_holds(format_name, body, row):
    made = decoder(format_name)
    for _ in range(2):
        assert [row] == rows(made.decode(record(body)))


def test_a_scalars_declared_type_is_kept():
    schema = {"type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"}
    (envelope,) = decoder().decode(record({"schema": schema, "payload": 7}))
    assert {"value": SourceType("ts_ms")} == envelope.schema.fields


@pytest.mark.parametrize("shape", ["record", "list", "scalar"])
def test_avro_events_have_their_types(shape):
    row = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "id", "type": "long"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }
    schema, value = {
        "record": (row, {"id": 1, "at": 5}),
        "list": ({"type": "array", "items": row}, [{"id": 1, "at": 5}, {"id": 2, "at": 6}]),
        "scalar": ("double", 1.5),
    }[shape]
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(json.loads(json.dumps(schema).replace("timestamp-micros", "none"))), value
    )
    schemas = SchemaCache()
    schemas.put(7, json.dumps(schema))
    decoded = decoder(schemas=schemas).decode(record(b"\0\0\0\0\x07" + out.getvalue()))
    assert (value if isinstance(value, list) else [value if isinstance(value, dict) else {"value": value}]) == rows(decoded)
    assert {"value" if shape == "scalar" else "at"} <= decoded[0].schema.fields.keys()
    assert decoded[0].schema is decoded[-1].schema


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"device":"a","n":1}', {"device": "a", "n": 1}),
        (b'["a",1]', ("a", 1)),
        (b'[{"id":1}]', ({"id": 1},)),
        (b"[]", ()),
        (b"42", (42,)),
        (b"device-7", ("device-7",)),
        (b"\0\0\0\0\0\0\0\x2a", (42,)),
        (b"\0\0\0\x2a", (42,)),
        (None, None),
    ],
)
def test_keys_of_events_are_read_again_and_again_the_same(raw, key):
    made = decoder("plain")
    assert [key] * 3 == [made.decode(record({"id": 1, "b": 2, "c": 3}, raw))[0].key for _ in range(3)]


# ---------------------------------------------------------------- key = "position"


def mapper(columns: dict[str, str], key: tuple[str, ...], by_position: bool) -> Any:
    named = {name: Column(name, kind) for name, kind in columns.items()}
    table = Table("doc", "events", named, key, primary_key=key)
    return compile_mapper(table, Contract("doc.events", by_position=by_position), settings=MappingRules())


def test_rows_of_one_record_have_positions_of_their_own():
    made = mapper({"place": "text", "id": "bigint"}, ("place",), True)
    given = record(TWO)
    keys = [made.map(envelope, given, 0).key for envelope in decoder().decode(given)]
    assert [("events-2-5",), ("events-2-5-1",)] == keys


def test_rows_that_their_record_cannot_tell_apart_are_refused():
    made = mapper(
        {"cdc_topic": "text", "cdc_partition": "integer", "cdc_offset": "bigint", "id": "bigint"},
        ("cdc_topic", "cdc_partition", "cdc_offset"),
        True,
    )
    given = record(TWO)
    first, second = decoder().decode(given)
    assert ("events", 2, 5) == made.map(first, given, 0).key
    with pytest.raises(IngestError) as caught:
        made.map(second, given, 0)
    assert "key.not_unique" == caught.value.code
