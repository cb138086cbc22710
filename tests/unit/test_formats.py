"""Keys, JSON texts, schemas and the shortcuts of the formats room; whole records of each source are in tests/cases."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import IngestError, Parked, Reject
from ingest.formats import SchemaCache, connect, detect, framing, positions, semantic
from ingest.formats import json as exact
from ingest.formats.message import Key
from ingest.formats.unavailable import Placeholder
from ingest.model import NeedSchema, Op, Record, Skip, SourceType
from tests.unit.decoding import code_of, decoder, one, packed

TOPIC = "shop.public.orders"


def record(value: Any, key: Any = None, **more: Any) -> Record:
    return Record(more.pop("topic", TOPIC), 0, 5, -1, packed(key), packed(value), **more)


def change(op: str = "u", **after: Any) -> dict[str, Any]:
    source = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "lsn": 7, "ts_ms": 1000}
    return {"before": None, "after": after or {"id": 1}, "source": source, "op": op}


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"9223372036854775808", 9223372036854775808),
        (b"-170141183460469231731687303715884105728", -(2**127)),
        (b"0.1000000000000000055511151231257827", Decimal("0.1000000000000000055511151231257827")),
        (b"1e400", Decimal("1E+400")),
        (b' {"a" : [1, {"b":":"}]} ', {"a": [1, {"b": ":"}]}),
        (rb'{"a":"\":\":"}', {"a": '":":'}),
        (rb'"\ud83d\ude00"', "😀"),
    ],
)
def test_json_is_read_exactly(text, value):
    assert value == exact.decode(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a":1,"a":2}', "json.duplicate_name"),
        (b'{"x":{"a":1,"b":":","a":2}}', "json.duplicate_name"),
        (b'[{"a":1,"a":1}]', "json.duplicate_name"),
        (b"NaN", "json.malformed"),
        (b"[Infinity]", "json.malformed"),
        (b'{"a":1}}', "json.malformed"),
        (b'{"a":01}', "json.malformed"),
        (rb'"\ud800"', "json.malformed"),
        (b'"\xed\xa0\x80"', "json.malformed"),
        (b'"\xff"', "json.malformed"),
        (b"\xef\xbb\xbf{}", "json.malformed"),
        (b"1e999999999999999999999", "json.number"),
        (b"1" * 5000, "json.number"),
        (b"[" * 100_000, "json.too_deep"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "json.too_deep"),
    ],
)
def test_json_that_could_mean_two_things_or_nothing_is_refused(text, code):
    with pytest.raises(Reject) as caught:
        exact.decode(text)
    assert code == caught.value.code


def test_an_error_text_holds_nothing_of_the_record():
    with pytest.raises(Reject) as caught:
        exact.decode(b'{"secret": "s3cret", "secret": 1}')
    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"id":1,"part":"a"}', {"id": 1, "part": "a"}),
        (b'["boston",7]', ("boston", 7)),
        (b'"abc"', ("abc",)),
        (b"42", (42,)),
        (b"-7", (-7,)),
        (b"007", ("007",)),
        (b"12e5", ("12e5",)),
        (b"1.50", ("1.50",)),
        (b"true", ("true",)),
        (b"5f8a1c2e-3b4d-4e6f-8a9b-1c2d3e4f5a6b", ("5f8a1c2e-3b4d-4e6f-8a9b-1c2d3e4f5a6b",)),
        ("straße 7".encode(), ("straße 7",)),
        (b"Struct{id=1,name=x,y}", {"id": "1", "name": "x,y"}),
        (b'Struct{_id={"$oid": "5f8a"}}', {"_id": '{"$oid": "5f8a"}'}),
        (b"\0\0\0\x2a", (42,)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", (-1,)),
        (b"\0\0\0\0\0\0\0\x2a", (42,)),
        (b'{"schema":null,"payload":"abc"}', ("abc",)),
        (b'{"schema":null,"payload":null}', None),
        (b"null", None),
        (b"{}", None),
        (b"", None),
    ],
)
def test_a_key_is_read_by_its_own_bytes(raw, value):
    assert value == one(decoder("plain").decode(record({"id": 1, "b": 2, "c": 3}, raw))).key


@pytest.mark.parametrize(
    "raw", [b'{"id":', b"[1", b'"a', b"\xff\xfe\xfd", b"Struct{a=Struct{b=1,c=2},d=3}", b"Struct{x}", b'{"a":1,"a":2}']
)
def test_a_key_that_cannot_be_read_is_refused(raw):
    assert "key.malformed" == code_of(decoder("plain"), record({"id": 1}, raw))


def test_a_key_in_avro_waits_for_its_schema_and_then_has_types():
    schemas = SchemaCache()
    made = decoder("plain", schemas=schemas)
    given = record({"id": 21}, b"\0\0\0\0\x05\x2a")
    assert NeedSchema(5) == made.decode(given)
    schemas.put(5, '{"type":"record","name":"K","fields":[{"name":"id","type":{"type":"int","logicalType":"date"}}]}')
    envelope = one(made.decode(given))
    assert {"id": 21} == envelope.key
    assert envelope.key_schema is not None
    assert {"id": SourceType("date_days")} == envelope.key_schema.fields


def test_the_types_of_a_key_are_the_same_object_in_every_record():
    key = {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 1}}
    made = decoder("plain")
    first, second = (one(made.decode(record({"id": 1, "b": 1, "c": 1}, key))) for _ in range(2))
    assert first.key_schema is not None
    assert first.key_schema is second.key_schema


# ---------------------------------------------------------------- Kafka Connect's wrapper


SCHEMA = {
    "type": "struct",
    "name": "a.b.Envelope",
    "fields": [{"field": "after", "type": "struct", "name": "a.b.Value", "fields": [{"field": "id", "type": "int64"}]}],
}


def test_a_schema_is_read_once_and_is_the_same_object_in_every_record():
    made = decoder()
    first, second, third = (one(made.decode(record({"schema": SCHEMA, "payload": change(id=n)}))) for n in (1, 2, 3))
    assert first.schema is not None
    assert first.schema is second.schema is third.schema
    assert "a.b.Value" == first.schema.name
    assert [{"id": 1}, {"id": 2}, {"id": 3}] == [first.after, second.after, third.after]


def test_tables_that_share_a_topic_keep_their_own_schemas():
    made = decoder()
    named = [SCHEMA | {"name": f"a.t{n}.Envelope", "version": n} for n in range(connect.KNOWN_PREFIXES + 3)]
    for schema in named * 2:
        envelope = one(made.decode(record({"schema": schema, "payload": change(id=schema["version"])})))
        assert {"id": schema["version"]} == envelope.after


@pytest.mark.parametrize("tail", [b" }", b"}\n", b',"x":1}'])
def test_a_wrapper_with_another_end_is_not_cut_wrongly(tail):
    made = decoder("debezium")
    text = packed({"schema": SCHEMA, "payload": change(id=1)}) or b""
    assert {"id": 1} == one(made.decode(record(text))).after
    other = text[:-1] + tail
    if b"x" in tail:
        assert "debezium.op" == code_of(made, record(other))
    else:
        assert {"id": 1} == one(made.decode(record(other))).after


def test_a_wrapped_plain_event_has_its_types():
    schema = {"type": "struct", "fields": [{"field": "at", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"}]}
    made = decoder()
    for _ in range(2):
        envelope = one(made.decode(record({"schema": schema, "payload": {"at": 5}})))
        assert (Op.INSERT, {"at": 5}) == (envelope.op, envelope.after)
        assert envelope.schema is not None
        assert {"at": SourceType("ts_ms")} == envelope.schema.fields


def test_a_wrapped_null_is_a_tombstone():
    assert Skip("tombstone") == decoder("plain").decode(record({"schema": None, "payload": None}))
    assert Op.DELETE is one(decoder("plain").decode(record({"schema": None, "payload": None}, {"id": 1}))).op


@pytest.mark.parametrize(
    ("node", "declared"),
    [
        ({"type": "bytes", "name": semantic.DECIMAL}, SourceType("decimal_base64", scale=0)),
        (
            {"type": "float64", "name": "decimal", "parameters": {"scale": "2", "precision": "10"}},
            SourceType("decimal", 2, precision=10),
        ),
        ({"type": "string", "name": "io.debezium.time.ZonedTime"}, SourceType("time_text", zoned=True)),
        ({"type": "string", "name": "io.debezium.data.EnumSet"}, SourceType("enum_set")),
        ({"type": "string", "name": "somebody.elses.Type"}, SourceType("string")),
        ({"type": "array", "name": "io.debezium.data.FloatVector", "items": {"type": "float"}}, SourceType("vector")),
        ({"type": "array"}, SourceType("array", element=SourceType("any"))),
        ({"type": "hologram"}, SourceType("any")),
        ({"type": 5, "name": 7, "parameters": []}, SourceType("any")),
        ({"type": "struct", "fields": [{"type": "int8"}, 3]}, SourceType("struct", fields={})),
    ],
)
def test_a_connect_type_is_understood_or_left_open(node, declared):
    assert declared == connect.source_type(node)


# ---------------------------------------------------------------- the decoder


def test_the_format_is_told_once_it_is_known():
    made = decoder()
    assert made.format_of(TOPIC) is None
    made.decode(record({"resolved": "5.0000000000"}))
    assert made.format_of(TOPIC) is None
    made.decode(record(change()))
    assert "debezium" == made.format_of(TOPIC)
    made.forget(TOPIC)
    assert made.format_of(TOPIC) is None


def test_topics_do_not_share_their_formats():
    made = decoder()
    made.decode(record(change()))
    made.decode(record({"id": 1}, topic="events"))
    assert ["debezium", "plain"] == [made.format_of(TOPIC), made.format_of("events")]


@pytest.mark.parametrize("order", [0, 1], ids=["as first record", "as later record"])
@pytest.mark.parametrize(
    "value",
    [
        change("r"),
        change("u", id=1, note=None, tags=["a"], inner={"x": 1}),
        {**change("d"), "after": None, "before": {"id": 1}},
        {**change("t"), "after": None},
        {**change("C"), "op": "C"},
    ],
    ids=["snapshot", "update", "delete", "truncate", "capital letter"],
)
def test_the_shortcut_and_the_long_way_say_the_same(order, value):
    made, spaced = decoder(), json.dumps(value, indent=1).encode()
    for _ in range(order):
        made.decode(record(change()))
    wrapped = one(made.decode(record({"payload": value}, {"id": 1})))
    assert wrapped == one(made.decode(record(value, {"id": 1}))) == one(made.decode(record(spaced, {"id": 1})))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({**change(), "after": None}, "row.missing"),
        ({**change(), "after": "text"}, "row.not_an_object"),
        ({**change(), "before": [1]}, "row.not_an_object"),
        ({**change(), "op": "x"}, "debezium.op"),
        ({**change(), "source": 5}, "debezium.source"),
        ({**change(), "source": {"db": 5}}, "debezium.source"),
        ([1, 2], "row.not_an_object"),
        (b'{"op":"u"', "json.malformed"),
    ],
)
def test_a_broken_debezium_record_is_refused_with_its_reason(value, code):
    assert code == code_of(decoder("debezium"), record(value, {"id": 1}))


def test_a_row_is_whole_unless_a_placeholder_was_taken_out():
    made = decoder(unavailable_value="hex:0aff")
    assert Op.INSERT is one(made.decode(record(change("c", id=1, note="__debezium_unavailable_value")))).op
    envelope = one(made.decode(record(change("c", id=1, blob="Cv8="))))
    assert (Op.UPDATE, {"id": 1}) == (envelope.op, envelope.after)


def test_the_placeholder_is_the_whole_value_or_none():
    text = "__debezium_unavailable_value"
    row = {
        "id": 1,
        "a": text,
        "b": [text],
        "c": list(text.encode()),
        "d": {text: text},
        "e": [text, text],
        "f": text + " ",
        "g": [],
    }
    assert Placeholder().take_out(row)
    assert ["id", "e", "f", "g"] == list(row)
    assert not Placeholder().take_out(row)


def test_a_flattened_row_loses_its_metadata_only():
    row = {"id": 1, "__op": "u", "__lsn": 9, "__source_ts_ms": 77, "__ts_ms": 99, "__table": "orders", "__db": "shop", "__own": 3}
    made = decoder()
    for _ in range(2):
        envelope = one(made.decode(record(row, {"id": 1})))
        assert (Op.UPDATE, {"id": 1, "__own": 3}) == (envelope.op, envelope.after)
        assert ("L", f"{9:020d}") == envelope.version
        assert (77, ("shop", "orders")) == (envelope.source_ts_ms, envelope.table)


@pytest.mark.parametrize(
    "metadata", [{"__deleted": "true"}, {"__deleted": True}, {"__op": "d"}, {"__op": "d", "__deleted": "true"}]
)
def test_a_flattened_delete_has_no_row(metadata):
    envelope = one(decoder("flattened").decode(record({"id": 1, "note": ""} | metadata, {"id": 1})))
    assert (Op.DELETE, {"id": 1}, None, {"id": 1, "note": ""}) == (envelope.op, envelope.key, envelope.after, envelope.before)


def test_a_flattened_row_without_metadata_is_a_row_in_a_topic_declared_so():
    assert Op.INSERT is one(decoder("flattened").decode(record({"id": 1, "note": ""}))).op


def test_another_prefix_is_respected():
    envelope = one(decoder(flattened_prefix="_meta.").decode(record({"id": 1, "_meta.op": "c", "__op": "mine"})))
    assert {"id": 1, "__op": "mine"} == envelope.after


def test_a_webhook_batch_is_many_rows_with_their_topics():
    parts = [{"after": {"id": n}, "key": [n], "topic": "dogs", "updated": f"{n}.0000000000"} for n in (1, 2)]
    first, second = decoder().decode(record({"payload": parts, "length": 2}))
    assert [((1,), ("dogs",)), ((2,), ("dogs",))] == [(first.key, first.table), (second.key, second.table)]
    assert "cockroach.batch" == code_of(decoder(), record({"payload": [{"x": 1}], "length": 1}))


def test_a_captured_message_is_read_with_its_own_key():
    envelope = one(decoder().decode(record({"Key": [1], "Value": {"after": {"id": 1}}, "Topic": "t"})))
    assert ((1,), {"id": 1}) == (envelope.key, envelope.after)


@pytest.mark.parametrize("text", ['{"after":{"id":1},"after":{"id":2}}', '{"after":{"id":1,"id":2},"updated":"1.0000000002"}'])
def test_a_wrapped_change_with_a_name_twice_is_refused(text):
    made = decoder("cockroach")
    assert "json.duplicate_name" == code_of(made, record(text.encode(), [1]))


def test_an_enriched_delete_needs_a_null_row():
    value = {"op": "d", "after": {"id": 1}, "ts_ns": 5}
    assert "cockroach.op" == code_of(decoder("cockroach"), record(value, {"id": 1}))


def test_before_is_real_where_the_feed_has_diff():
    made = decoder()
    with_diff = one(made.decode(record({"after": {"id": 1}, "before": {"id": 1, "n": 2}, "updated": "1.0000000002"}, [1])))
    without = one(made.decode(record({"after": {"id": 1}, "updated": "1.0000000002"}, [1])))
    assert [(True, {"id": 1, "n": 2}), (False, None)] == [(seen.before_real, seen.before) for seen in (with_diff, without)]


def test_an_ambiguous_topic_names_itself():
    with pytest.raises(Parked) as caught:
        decoder().decode(record(None, [1]))
    assert f"topic:{TOPIC}" == caught.value.subject


def test_an_unknown_format_name_parks_its_topic_at_each_record():
    made = decoder("debezum")
    assert ["format.unknown_name"] * 2 == [code_of(made, record({"id": 1})) for _ in range(2)]


# ---------------------------------------------------------------- schemas by id


def test_a_failed_schema_refuses_its_records_until_it_is_forgotten():
    schemas = SchemaCache()
    made = decoder(schemas=schemas)
    given = record(b"\0\0\0\0\x07\x02")
    schemas.put_failure(7, Reject("schema.unknown", "gone"))
    assert "schema.unknown" == code_of(made, given)
    schemas.forget(7)
    assert NeedSchema(7) == made.decode(given)


def test_a_json_schema_body_is_json():
    schemas = SchemaCache()
    schemas.put(7, "{}", "JSON")
    assert {"id": 1} == one(decoder(schemas=schemas).decode(record(b'\0\0\0\0\x07{"id":1}'))).after


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [("x", "XML", "schema.unsupported"), ("x", "PROTOBUF", "schema.malformed"), ("{", "AVRO", "schema.malformed")],
)
def test_a_schema_that_cannot_be_used_refuses_its_records(text, kind, code):
    schemas = SchemaCache()
    schemas.put(7, text, kind)
    assert code == code_of(decoder(schemas=schemas), record(b"\0\0\0\0\x07\x02"))


def test_a_topic_may_bring_its_own_schemas():
    schemas = SchemaCache()
    schemas.put_topic(
        TOPIC, '{"type":"record","name":"V","fields":[{"name":"id","type":"long"},{"name":"n","type":["null","long"]}]}'
    )
    schemas.put_topic(TOPIC, '"long"', for_key=True)
    made = decoder(schemas=schemas)
    envelope = one(made.decode(record(b"\x02\x00", b"\x2a")))
    assert ((21,), {"id": 1, "n": None}) == (envelope.key, envelope.after)
    assert NeedSchema(9) == made.decode(record(b"\0\0\0\0\x09\x02\x02\x02", b"\x2a"))
    assert "avro.trailing_bytes" == code_of(made, record(b"\x02\x00\x00", b"\x2a"))


# ---------------------------------------------------------------- order, framing, detection


def test_positions_compare_as_their_sources_count():
    files = [
        positions.Source(connector="mysql", file=f"bin.{n}", pos=p, row=r)
        for n, p, r in [(9, 99, 0), (10, 4, 0), (10, 4, 1), (10, 30, 0)]
    ]
    texts = [version.text for version in map(positions.of, files) if version]
    assert sorted(texts) == texts
    assert 4 == len(set(texts))
    clocks = [
        positions.hlc(text) for text in ("9.0000000000", "10.0000000001", "10.0000000010", "1746045115619002000.0000000000")
    ]
    assert sorted(clock.text for clock in clocks if clock) == [clock.text for clock in clocks if clock]


@pytest.mark.parametrize("text", ["", ".", "x.1", "1.x", "-1.0", "١.0", 5, 1.5, None])
def test_what_is_no_hybrid_clock_is_no_version(text):
    assert positions.hlc(text) is None


@pytest.mark.parametrize(("value", "expected"), [(-1, None), ("-5", None), (True, None), (1.5, None), ("12", "12"), ("x", None)])
def test_a_position_that_is_no_count_is_no_version(value, expected):
    version = positions.of(positions.Source(connector="postgresql", lsn=value))
    assert expected == (version and version.text.lstrip("0"))


@pytest.mark.parametrize("prefix", [b"\x03\x05", b"Obj\x01", bytes(7) + b"\4", b"\0\xff\xff\xff\xff"])
def test_framing_of_others_is_refused(prefix):
    with pytest.raises(Reject) as caught:
        framing.in_front(prefix + b"rest")
    assert "framing.unsupported" == caught.value.code


def test_the_last_schema_header_wins():
    headers = [("__value_schema_id", b"\0\0\0\0\x01"), ("x", None), ("__value_schema_id", b"\0\0\0\0\x02")]
    assert framing.Framed(2, 0) == framing.in_headers(headers, framing.VALUE_HEADER)


def test_a_debezium_envelope_may_be_known_by_its_schema_alone():
    assert "debezium" == detect.format_of({"op": "c", "after": {"id": 1}}, "a.b.Envelope")
    assert "plain" == detect.format_of({"op": "c", "item": 1}, "a.b.Row")


# ---------------------------------------------------------------- nothing crashes


def test_any_bytes_end_in_an_answer_or_a_refusal():
    """Seeded: pieces of real records, cut, swapped and repeated."""
    rng = random.Random(7)
    schemas = SchemaCache()
    schemas.put(
        7,
        '{"type":"record","name":"V","fields":[{"name":"a","type":["null","string"]},{"name":"m","type":{"type":"map","values":"long"}}]}',
    )
    texts = [
        packed(value) or b"" for value in (change(), {"schema": SCHEMA, "payload": change()}, {"after": None, "updated": "1.0"})
    ]
    texts += [
        b"\0\0\0\0\x07\x02\x06abc\x02\x02k\x04\0",
        b'{"__crdb__":{"updated":"1.0"},"a":[1]}',
        b'{"id":1,"__op":"u","__db":5}',
    ]
    made = {
        name: decoder(name, schemas=schemas) for name in ("auto", "debezium", "flattened", "cockroach", "cockroach:row", "plain")
    }
    for turn in range(1500):
        body = bytearray(rng.choice(texts) * rng.choice((1, 1, 1, 2)))
        for _ in range(rng.randint(0, 4)):
            body[rng.randrange(len(body))] = rng.choice(b'{}[]":,0n\0\xff\x01a')
        del body[rng.randint(1, len(body)) :]
        given = record(bytes(body), bytes(body[: rng.randint(0, 9)]), topic=f"t{turn % 50}")
        for each in made.values():
            with suppress(IngestError):
                assert isinstance(each.decode(given), (tuple, list, Skip, NeedSchema))


def test_an_array_key_is_marked():
    assert Key((1,), like_cockroach=True) == decoder()._open("t").keys.read(record({}, [1]))
