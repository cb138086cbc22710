"""CockroachDB's envelopes, queries and sinks, one claim per test; upstream's goldens, samples and traps are in tests/cases."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import pytest

from ingest.formats import SchemaCache
from ingest.model import Op, Record, Skip, SourceType, SourceVersion
from tests.unit.decoding import code_of, decoder, one, packed

TOPIC = "orders"
UPDATED = "1746045115619002000.0000000001"
VERSION = SourceVersion("H", "017460451156190020000000000001")


def record(value: Any, key: Any = None) -> Record:
    return Record(TOPIC, 0, 5, -1, packed(key), packed(value))


# ---------------------------------------------------------------- envelopes


@pytest.mark.parametrize(
    ("value", "key", "op", "before"),
    [
        ({"after": {"id": 1, "n": 2}, "updated": UPDATED}, [1], Op.INSERT, None),
        ({"after": {"id": 1, "n": 2}, "before": None, "updated": UPDATED}, [1], Op.INSERT, None),
        ({"after": {"id": 1, "n": 2}, "before": {"id": 1, "n": 1}, "updated": UPDATED}, [1], Op.INSERT, {"id": 1, "n": 1}),
        ({"after": None, "before": {"id": 1, "n": 1}, "updated": UPDATED}, [1], Op.DELETE, {"id": 1, "n": 1}),
        ({"after": None, "updated": UPDATED}, [1], Op.DELETE, None),
        ({"after": None, "key": [1], "topic": "orders", "mvcc_timestamp": UPDATED}, None, Op.DELETE, None),
    ],
    ids=["plain", "diff, new", "diff", "diff, deleted", "deleted", "key in value"],
)
@pytest.mark.parametrize("spaced", [False, True], ids=["as written", "with blanks"])
def test_wrapped_changes_tell_all_that_they_know(value, key, op, before, spaced):
    made = decoder()
    for _ in range(2):
        envelope = one(made.decode(record(json.dumps(value, indent=1).encode() if spaced else value, key)))
        assert (op, (1,), before, VERSION, 1746045115619) == (
            envelope.op,
            envelope.key,
            envelope.before,
            envelope.version,
            envelope.source_ts_ms,
        )


@pytest.mark.parametrize(("word", "op"), [("c", Op.INSERT), ("u", Op.INSERT), ("d", Op.DELETE)])
@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "with schema"])
def test_an_enriched_change_names_its_table_and_its_key(word, op, wrapped):
    row = {"id": 1, "price": 22.30}
    source = {
        "origin": "cockroachdb",
        "database_name": "shop",
        "schema_name": "public",
        "table_name": "orders",
        "ts_hlc": UPDATED,
    }
    value: Any = {"after": None if word == "d" else row, "op": word, "ts_ns": 5, "key": {"id": 1}, "source": source}
    if wrapped:
        value = {"payload": value, "schema": ENRICHED}
    envelope = one(decoder().decode(record(value, {"id": 1})))
    assert (op, {"id": 1}, VERSION, ("shop", "public", "orders"), word) == (
        envelope.op,
        envelope.key,
        envelope.version,
        envelope.table,
        envelope.op_name,
    )
    if wrapped and word != "d":
        assert {"id": SourceType("int"), "price": SourceType("decimal", 2, precision=10)} == envelope.schema.fields
        assert {"id": 1, "price": Decimal("22.3")} == envelope.after


ENRICHED = {
    "type": "struct",
    "name": "cockroachdb.envelope",
    "fields": [
        {
            "field": "after",
            "type": "struct",
            "name": "orders.after.value",
            "fields": [
                {"field": "id", "type": "int64"},
                {"field": "price", "type": "float64", "name": "decimal", "parameters": {"scale": "2", "precision": "10"}},
            ],
        }
    ],
}


def test_the_time_of_processing_orders_nothing():
    value = {"after": {"id": 1}, "op": "c", "ts_ns": 1746045115679811000, "source": {"origin": "cockroachdb"}}
    assert None is one(decoder().decode(record(value, {"id": 1}))).version


def test_a_null_value_deletes_where_the_feed_is_known_to_say_so():
    envelope = one(decoder("cockroach:row").decode(record(None, [1])))
    assert (Op.DELETE, (1,)) == (envelope.op, envelope.key)


@pytest.mark.parametrize("format_name", ["cockroach", "auto"])
def test_a_null_value_that_may_be_any_change_parks_its_topic(format_name):
    assert "format.ambiguous" == code_of(decoder(format_name), record(None, [1]))


@pytest.mark.parametrize(
    "value",
    [
        {"resolved": "1.0000000002"},
        {"__crdb__": {"resolved": "1.0000000002"}},
        {"payload": [{"resolved": "1.0000000002"}], "length": 1},
        {"Key": None, "Value": {"resolved": "1.0000000002"}, "Topic": "orders"},
    ],
    ids=["wrapped", "bare", "webhook", "Pub/Sub"],
)
@pytest.mark.parametrize("order", [0, 1], ids=["as first record", "as later record"])
def test_resolved_is_never_a_row(value, order):
    made = decoder()
    if order:
        made.decode(record({"after": {"id": 1}, "updated": UPDATED}, [1]))
    assert Skip("resolved", (0, "1.0000000002")) == made.decode(record(value))


# ---------------------------------------------------------------- Avro


def framed(schema: Any, value: Any, schemas: SchemaCache, schema_id: int) -> bytes:
    schemas.put(schema_id, json.dumps(schema))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


COLUMNS = [
    {"name": "id", "type": ["null", "long"], "default": None, "__crdb__": "id INT8 NOT NULL"},
    {"name": "bits", "type": ["null", {"type": "array", "items": "long"}], "default": None, "__crdb__": "bits VARBIT"},
    {"name": "note", "type": ["null", "string"], "default": None, "__crdb__": "note STRING"},
]


def test_avro_wrapped_rows_and_resolved_share_a_topic():
    schemas = SchemaCache()
    row = {"type": "record", "name": "orders", "fields": COLUMNS}
    envelope = {
        "type": "record",
        "name": "orders_envelope",
        "fields": [
            {"name": "after", "type": ["null", row], "default": None},
            {"name": "updated", "type": ["null", "string"], "default": None},
        ],
    }
    resolved = {
        "type": "record",
        "name": "orders_envelope",
        "fields": [{"name": "resolved", "type": ["null", "string"], "default": None}],
    }
    key = {"type": "record", "name": "orders", "fields": COLUMNS[:1]}
    made = decoder(schemas=schemas)
    raw_key = framed(key, {"id": 1}, schemas, 1)
    change = framed(envelope, {"after": {"id": 1, "bits": [3, 2**62], "note": None}, "updated": UPDATED}, schemas, 2)
    gone = framed(envelope, {"after": None, "updated": UPDATED}, schemas, 2)
    seen = [made.decode(record(body, raw_key)) for body in (change, gone)]
    assert [(Op.INSERT, {"id": 1}, VERSION), (Op.DELETE, {"id": 1}, VERSION)] == [
        (one(e).op, one(e).key, one(e).version) for e in seen
    ]
    assert "bits_words" == one(seen[0]).schema.fields["bits"].kind
    assert Skip("resolved", (0, "1.0000000002")) == made.decode(
        record(framed(resolved, {"resolved": "1.0000000002"}, schemas, 3))
    )


def test_an_avro_bare_row_of_nulls_is_refused():
    schemas = SchemaCache()
    row = {"type": "record", "name": "orders", "fields": COLUMNS}
    envelope = {
        "type": "record",
        "name": "orders_envelope",
        "fields": [
            {"name": "record", "type": ["null", row], "default": None},
            {"name": "updated", "type": ["null", "string"], "default": None},
        ],
    }
    key = framed({"type": "record", "name": "orders", "fields": COLUMNS[:1]}, {"id": 1}, schemas, 1)
    made = decoder(schemas=schemas)
    full = framed(envelope, {"record": {"id": 1, "bits": None, "note": "x"}, "updated": UPDATED}, schemas, 2)
    bare = framed(envelope, {"record": {"id": 1, "bits": None, "note": None}, "updated": UPDATED}, schemas, 2)
    assert {"id": 1, "bits": None, "note": "x"} == one(made.decode(record(full, key))).after
    assert "cockroach.ambiguous_delete" == code_of(made, record(bare, key))


# ---------------------------------------------------------------- CDC queries


@pytest.mark.parametrize(
    ("word", "previous", "op", "before"),
    [
        ("insert", None, Op.INSERT, None),
        ("insert", {"id": None, "n": None}, Op.INSERT, None),
        ("update", {"id": 1, "n": 4}, Op.INSERT, {"id": 1, "n": 4}),
        ("upsert", {"id": 1, "n": 4}, Op.INSERT, {"id": 1, "n": 4}),
        ("delete", {"id": 1, "n": 4}, Op.DELETE, {"id": 1, "n": 4}),
    ],
)
def test_a_query_that_selects_event_op_tells_deletes(word, previous, op, before):
    row = {"id": 1, "n": None if word == "delete" else 5, "event_op": word, "cdc_prev": previous}
    envelope = one(decoder().decode(record({**row, "__crdb__": {"updated": UPDATED}}, [1])))
    assert (op, before, before is not None, word) == (envelope.op, envelope.before, envelope.before_real, envelope.op_name)
    assert ({"id": 1, "n": 5, "event_op": word} if op is Op.INSERT else None) == envelope.after


def test_a_deleted_row_of_a_query_names_its_key_itself():
    value = {"id": 1, "n": None, "event_op": "delete", "__crdb__": {"updated": UPDATED}}
    envelope = one(decoder().decode(record(value)))
    assert (Op.DELETE, {"id": 1, "n": None, "event_op": "delete"}, False) == (envelope.op, envelope.before, envelope.before_real)


def test_a_new_row_of_nulls_is_no_delete_where_the_query_shows_that_it_is_new():
    made = decoder()
    assert Op.INSERT is one(made.decode(record({"id": 1, "n": None, "cdc_prev": None}, [1]))).op
    assert "cockroach" == made.format_of(TOPIC)
    assert "cockroach.ambiguous_delete" == code_of(made, record({"id": 1, "n": None, "cdc_prev": {"id": 1, "n": 5}}, [1]))


def test_a_query_in_wrapped_envelopes_brings_its_before():
    value = {"after": {"id": 1, "n": 5, "cdc_prev": {"id": 1, "n": 4}}, "updated": UPDATED}
    made = decoder()
    for _ in range(2):
        envelope = one(made.decode(record(value, [1])))
        assert ({"id": 1, "n": 5}, {"id": 1, "n": 4}, True) == (envelope.after, envelope.before, envelope.before_real)


def test_an_audit_table_is_not_taken_for_a_query():
    row = {"id": 1, "event_op": "delete", "who": "x"}
    assert (Op.INSERT, row) == (
        one(decoder().decode(record(row, {"id": 1}))).op,
        one(decoder().decode(record(row, {"id": 1}))).after,
    )


# ---------------------------------------------------------------- values, keys, sinks


def test_a_json_null_is_a_null():
    made = decoder()
    for _ in range(2):
        value = {"after": {"id": 1, "doc": {"__crdb_json_null__": True}, "other": {"a": 1}}, "updated": UPDATED}
        assert {"id": 1, "doc": None, "other": {"a": 1}} == one(made.decode(record(value, [1]))).after


def test_every_digit_of_a_decimal_is_kept():
    body = (
        b'{"after":{"id":1,"d":12345678901234567890.123456789012345678901234567890,"f":1e-7},"updated":"%s"}' % UPDATED.encode()
    )
    after = one(decoder().decode(record(body, [1]))).after
    assert Decimal("12345678901234567890.123456789012345678901234567890") == after["d"]


def test_the_region_of_a_row_is_part_of_its_key():
    value = {"after": {"crdb_region": "us-east1", "id": 7, "n": 1}, "updated": UPDATED}
    made = decoder()
    envelope = one(made.decode(record(value, ["us-east1", 7])))
    assert (Op.INSERT, ("us-east1", 7)) == (envelope.op, envelope.key)
    assert ("us-east1", 7) == one(made.decode(record({"after": None, "updated": UPDATED}, ["us-east1", 7]))).key


def test_a_family_without_the_key_leaves_the_other_columns_alone():
    made = decoder()
    assert Op.UPDATE is one(made.decode(record({"after": {"owner": "x"}, "updated": UPDATED}, [1]))).op
    assert Op.UPDATE is one(decoder("cockroach:families").decode(record({"after": {"id": 1}, "updated": UPDATED}, [1]))).op


ENRICHED_PART = {"after": {"id": 3}, "op": "c", "ts_ns": 5, "key": {"id": 3}, "source": {"origin": "cockroachdb"}}


def test_a_webhook_batch_holds_changes_of_any_envelope():
    parts = [
        {"after": {"id": 1}, "key": [1], "topic": "dogs", "updated": UPDATED},
        {"resolved": "1.0000000002"},
        {"id": 2, "n": 5, "__crdb__": {"key": [2], "topic": "cats", "updated": UPDATED}},
        ENRICHED_PART,
    ]
    decoded = decoder().decode(record({"payload": parts, "length": 4}))
    assert [((1,), ("dogs",), 0), ((2,), ("cats",), 1), ({"id": 3}, (), 2)] == [(e.key, e.table, e.place) for e in decoded]
    assert Skip("empty") == decoder().decode(record({"payload": [], "length": 0}))
    assert "cockroach.batch" == code_of(decoder("cockroach"), record({"payload": [{"id": 1}], "length": 1}))
    assert "cockroach.batch" == code_of(decoder("cockroach"), record({"payload": [1], "length": 1}))


@pytest.mark.parametrize("names", [("Key", "Value", "Topic"), ("key", "value", "topic")])
def test_what_a_pub_sub_sink_wraps_is_read_with_its_own_key(names):
    value = dict(zip(names, ([1], {"after": {"id": 1}, "updated": UPDATED}, "orders"), strict=True))
    envelope = one(decoder().decode(record(value)))
    assert ((1,), {"id": 1}, VERSION) == (envelope.key, envelope.after, envelope.version)


def test_a_row_with_columns_key_value_and_topic_is_a_row():
    row = {"key": "a", "value": {"after": 1}, "topic": "t"}
    assert row == one(decoder().decode(record(row, {"key": "a"}))).after
