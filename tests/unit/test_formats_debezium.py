"""Debezium's connectors, wire shapes, delete modes and odd records, one claim per test; samples and traps are in tests/cases."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest

from ingest.errors import Stop
from ingest.formats import SchemaCache, positions, vitess
from ingest.formats.debezium_mongodb import unwrapped
from ingest.formats.message import Key
from ingest.formats.unavailable import Placeholder
from ingest.model import Column, Op, Record, RowSchema, Skip, SourceType, SourceVersion, Table
from ingest.settings import Settings
from ingest.tables.contract import Contract
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.types import ColumnRule
from ingest.tools.rooms import decoder_of
from tests.unit.decoding import code_of, decoder, one, packed

TOPIC = "shop.public.orders"
POSTGRES = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "lsn": 7, "ts_ms": 1000}
MONGO = {"connector": "mongodb", "db": "shop", "collection": "orders", "ts_ms": 1558965508000, "ord": 3}
PLACEHOLDER = "__debezium_unavailable_value"


def record(value: Any, key: Any = None, offset: int = 5, **headers: str) -> Record:
    given = [(name.replace("__debezium_", "__debezium."), text.encode()) for name, text in headers.items()]
    return Record(TOPIC, 0, offset, -1, packed(key), packed(value), given)


def change(op: str, source: Mapping[str, Any] = POSTGRES, **parts: Any) -> dict[str, Any]:
    return {"before": None, "after": None, "source": dict(source), "op": op, "ts_ms": 9} | parts


def text(value: Any) -> str:
    return json.dumps(value)


# ---------------------------------------------------------------- positions, connector by connector


@pytest.mark.parametrize(
    ("source", "version", "table"),
    [
        ({"connector": "postgresql", "lsn": 24023128}, "L 00000000000024023128", "d.s.t"),
        ({"connector": "postgresql", "lsn": None, "sequence": '["1","2"]'}, "L 00000000000000000002", "d.s.t"),
        ({"connector": "postgresql", "lsn": None, "sequence": "[null,null]"}, None, "d.s.t"),
        (
            {"connector": "mysql", "file": "bin.000003", "pos": 154, "row": 2, "schema": None},
            "B 0000000003000000000000000001540000000002",
            "d.t",
        ),
        (
            {"connector": "mysql", "file": "bin.000003", "pos": 154, "snapshot": "last", "schema": None, "ts_ms": 0},
            "B 0000000003000000000000000001540000000000",
            "d.t",
        ),
        (
            {"connector": "mariadb", "file": "m.1000000", "pos": 4, "gtid": "0-1-9", "schema": None},
            "B 0001000000000000000000000000040000000000",
            "d.t",
        ),
        ({"connector": "mysql", "file": None, "pos": None, "schema": None}, None, "d.t"),
        (
            {
                "connector": "sqlserver",
                "commit_lsn": "00000027:00000758:0005",
                "change_lsn": "00000027:00000758:0003",
                "event_serial_no": 2,
            },
            "S 00000027:00000758:000500000027:00000758:00030000000002",
            "d.s.t",
        ),
        (
            {"connector": "sqlserver", "commit_lsn": "00000027:00000758:0005", "change_lsn": None, "event_serial_no": None},
            "S 00000027:00000758:000500000000:00000000:00000000000000",
            "d.s.t",
        ),
        (
            {
                "connector": "db2",
                "commit_lsn": "00000000:00000000:0000000000052b1c",
                "change_lsn": "00000000:00000000:0000000000052A00",
            },
            "S 00000000:00000000:0000000000052b1c00000000:00000000:0000000000052a000000000000",
            "d.s.t",
        ),
        (
            {"connector": "informix", "commit_lsn": "12889203704", "change_lsn": "12889203600"},
            "S 0000000001288920370400000000012889203600",
            "d.s.t",
        ),
        (
            {"connector": "informix", "commit_lsn": "12889203704", "change_lsn": "-1"},
            "S 0000000001288920370400000000000000000000",
            "d.s.t",
        ),
        (
            {"connector": "oracle", "scn": "999", "commit_scn": "1000", "rs_id": " 0x0000a1.000002b3.0010 ", "ssn": 4},
            "C 0000000000000000100000000000000000000999000000a1.000002b3.00100000000004",
            "d.s.t",
        ),
        (
            {"connector": "oracle", "scn": "999", "commit_scn": None},
            "C 000000000000000009990000000000000000099900000000.00000000.00000000000000",
            "d.s.t",
        ),
        ({"connector": "cockroachdb", "ts_hlc": "1746045115619002000.0000000001"}, "H 017460451156190020000000000001", "d.s.t"),
        ({"connector": "cockroachdb", "ts_hlc": None, "sequence": "[]"}, None, "d.s.t"),
        (
            {"connector": "spanner", "ts_us": 1670955531785000, "sequence": "00000012", "mod_number": 3, "schema": None},
            "G 00001670955531785000000000000000000000120000000003",
            "d.t",
        ),
        (
            {"connector": "spanner", "ts_ms": 1670955531785, "schema": None},
            "G 00001670955531785000000000000000000000000000000000",
            "d.t",
        ),
        ({"connector": "TiCDC", "commit_ts": "447984074911121426", "schema": None}, "T 00447984074911121426", "d.t"),
        ({"connector": "somebody", "lsn": 5}, None, "d.s.t"),
    ],
)
@pytest.mark.parametrize("spaced", [False, True], ids=["as written", "with blanks"])
def test_each_connector_has_its_own_position(source, version, table, spaced):
    full = {"db": "d", "schema": "s", "table": "t"} | source
    value = change("c", full, after={"id": 1})
    given = json.dumps(value, indent=1).encode() if spaced else packed(value)
    envelope = one(decoder("debezium").decode(record(given, {"id": 1})))
    assert (version, table) == (envelope.version and " ".join(envelope.version), ".".join(envelope.table))


def test_files_of_a_binlog_are_ordered_by_their_numbers():
    sources = [positions.Source(connector="mysql", file=f"bin.{n}", pos=4) for n in ("999999", "1000000")]
    first, second = map(positions.of, sources)
    assert first < second


@pytest.mark.parametrize(
    ("vgtid", "shard", "expected"),
    [
        (
            [
                {"keyspace": "c", "shard": "80-", "gtid": "MariaDB/0-5-47"},
                {"keyspace": "c", "shard": "-80", "gtid": "MariaDB/0-1-46"},
            ],
            "-80",
            46,
        ),
        ([{"shard": "-80", "gtid": "MySQL56/6ecb-1:1-3,77aa-2:1-40:42"}], "-80", 44),
        ([{"shard": "-80", "gtid": "MySQL56/6ecb-1:7"}], "-80", 1),
        ([{"shard": "-80", "gtid": "MariaDB/0-1-46,1-1-5"}], "-80", None),
        ([{"shard": "-80", "gtid": "current"}], "-80", None),
        ([{"shard": "-80", "gtid": "MySQL56/6ecb:1-x"}], "-80", None),
        ([{"shard": "-80", "gtid": "MySQL56/6ecb:1-3"}], "80-", None),
        ("no list", "-80", None),
    ],
)
def test_vitess_counts_the_transactions_of_the_rows_own_shard(vgtid, shard, expected):
    found = vitess.shard_gtid(positions.Source(vgtid=json.dumps(vgtid), shard=shard))
    assert expected == (found and int(found.text))


def test_vitess_prefers_ordered_transaction_metadata():
    source = {
        "connector": "vitess",
        "keyspace": "c",
        "db": "",
        "table": "t",
        "shard": "0",
        "vgtid": '[{"shard":"0","gtid":"MariaDB/0-1-5"}]',
    }
    ordered = {"id": "x", "total_order": 2, "transaction_rank": 68, "transaction_epoch": 1}
    made = decoder()
    with_order = one(made.decode(record(change("u", source, after={"id": 1}, transaction=ordered), {"id": 1})))
    without = one(made.decode(record(change("u", source, after={"id": 1}), {"id": 1})))
    assert [SourceVersion("G", "1".zfill(10) + "68".zfill(30) + "2".zfill(20)), SourceVersion("V", "5".zfill(20))] == [
        with_order.version,
        without.version,
    ]
    assert ("c", "t") == with_order.table


def test_snapshot_rows_are_inserts_at_the_snapshots_position():
    for mark in ("true", "first", "last", "incremental", True):
        envelope = one(decoder().decode(record(change("r", POSTGRES | {"snapshot": mark}, after={"id": 1}), {"id": 1})))
        assert (Op.INSERT, "r", SourceVersion("L", "7".zfill(20))) == (envelope.op, envelope.op_name, envelope.version)


# ---------------------------------------------------------------- wire shapes


def test_the_four_shapes_of_one_event_say_the_same():
    schemas = SchemaCache()
    schemas.put(7, json.dumps(AVRO))
    value = change("u", POSTGRES | {"lsn": 99}, before={"id": 1, "note": "old"}, after={"id": 1, "note": "new"})
    wrapped = {"schema": CONNECT, "payload": value}
    flat = {
        "id": 1,
        "note": "new",
        "__op": "u",
        "__db": "shop",
        "__schema": "public",
        "__table": "orders",
        "__lsn": 99,
        "__source_ts_ms": 1000,
    }
    shapes = [packed(value), packed(wrapped), framed(value), packed(flat)]
    seen = [one(decoder(schemas=schemas).decode(record(shape, {"id": 1}))) for shape in shapes]
    words = {(e.op, str(e.key), str(e.after), e.table, e.version, e.source_ts_ms, e.op_name) for e in seen}
    assert 1 == len(words)
    assert [False, True, True, False] == [e.schema is not None for e in seen]
    assert {"id": SourceType("int"), "note": SourceType("string")} == seen[1].schema.fields == seen[2].schema.fields


ROW = [{"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": None}]
AVRO = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop.public.orders",
    "connect.name": "shop.public.orders.Envelope",
    "fields": [
        {"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": ROW}], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "namespace": "io.debezium.connector.postgresql",
                "fields": [
                    *({"name": name, "type": "string"} for name in ("connector", "db", "schema", "table")),
                    *({"name": name, "type": "long"} for name in ("lsn", "ts_ms")),
                ],
            },
        },
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}
CONNECT = {
    "type": "struct",
    "name": "shop.public.orders.Envelope",
    "fields": [
        {
            "field": name,
            "type": "struct",
            "name": "shop.public.orders.Value",
            "fields": [{"field": "id", "type": "int64"}, {"field": "note", "type": "string"}],
        }
        for name in ("before", "after")
    ],
}


def framed(value: Any, schema: Any = AVRO, schema_id: int = 7) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def test_named_types_are_resolved_where_they_are_only_named():
    schemas = SchemaCache()
    schemas.put(7, json.dumps(AVRO))
    envelope = one(decoder(schemas=schemas).decode(record(framed(change("c", after={"id": 1, "note": None})), {"id": 1})))
    assert {"id", "note"} == envelope.schema.fields.keys()


@pytest.mark.parametrize("body", ["bytes", "int codes", "bytes in a list"])
def test_the_placeholder_is_found_in_avro(body):
    kind, value = {
        "bytes": ("bytes", PLACEHOLDER.encode()),
        "int codes": ({"type": "array", "items": "int"}, list(PLACEHOLDER.encode())),
        "bytes in a list": ({"type": "array", "items": "bytes"}, [PLACEHOLDER.encode()]),
    }[body]
    row = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}, {"name": "big", "type": kind}]}
    schema = {
        "type": "record",
        "name": "Envelope",
        "connect.name": "x.Envelope",
        "fields": [{"name": "after", "type": row}, {"name": "op", "type": "string"}],
    }
    schemas = SchemaCache()
    schemas.put(7, json.dumps(schema))
    envelope = one(
        decoder(schemas=schemas).decode(record(framed({"after": {"id": 1, "big": value}, "op": "c"}, schema), {"id": 1}))
    )
    assert (Op.UPDATE, {"id": 1}) == (envelope.op, envelope.after)


@pytest.mark.parametrize("setting", ["hex:ff00", "n/a", "QQ", "[]", "ä", PLACEHOLDER])
def test_the_cheap_look_for_a_placeholder_misses_none(setting):
    placeholder = Placeholder(setting)
    raw = bytes.fromhex(setting[4:]) if setting.startswith("hex:") else setting.encode()
    words, encoded = raw.decode(errors="replace"), b64encode(raw).decode()
    codes = [code - 256 if code > 127 else code for code in raw]
    for value in (words, encoded, [words], [encoded], codes, {words: words}):
        row = {"id": 1, "big": value}
        assert placeholder.may_be_in(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode())
        assert placeholder.take_out(row)
    assert placeholder.may_be_anywhere_in(json.dumps({"big": codes}).encode())
    assert placeholder.may_be_anywhere_in(b"\0" + raw)
    assert not placeholder.may_be_anywhere_in(b'{"id":1}')


# ---------------------------------------------------------------- semantic types


def test_structured_times_are_declared_by_their_parts():
    """Read by tables.structured; here only what the schema tells of them."""
    day, clock = ("year", "month", "day"), ("hour", "minute", "second", "nanos")
    parts = {
        "Date": day,
        "Time": clock,
        "Timestamp": day + clock,
        "ZonedTime": clock,
        "ZonedTimestamp": day + clock,
        "Duration": day,
    }
    fields = [
        {"field": name, "type": "struct", "name": f"io.debezium.time.Structured{name}",
         "fields": [{"field": part, "type": "int32"} for part in names]}
        for name, names in parts.items()
    ]  # fmt: skip
    schema = {
        "type": "struct",
        "name": "x.Envelope",
        "fields": [{"field": "after", "type": "struct", "name": "x.Value", "fields": fields}],
    }
    row = {name: dict.fromkeys(names, 1) for name, names in parts.items()}
    envelope = one(decoder().decode(record({"schema": schema, "payload": change("c", after=row)}, {"id": 1})))
    assert row == envelope.after
    assert {name: ("structured", name.startswith("Zoned"), names) for name, names in parts.items() if name != "Duration"} == {
        name: (declared.kind, declared.zoned, tuple(declared.fields))
        for name, declared in envelope.schema.fields.items()
        if declared.kind != "interval_parts"
    }


# ---------------------------------------------------------------- MongoDB


LEGACY = {
    "_id": {"$oid": "5f8a00000000000000000001"},
    "n": {"$numberLong": "1004"},
    "price": {"$numberDecimal": "26.30"},
    "at": {"$date": 1456012800000},
}
CANONICAL = {
    "_id": {"$oid": "5f8a00000000000000000001"},
    "n": {"$numberLong": "1004"},
    "price": {"$numberDecimal": "26.30"},
    "at": {"$date": {"$numberLong": "1456012800000"}},
}
OID = LEGACY["_id"]
OID_KEY = {"id": '{"$oid": "5f8a00000000000000000001"}'}


@pytest.mark.parametrize("document", [LEGACY, CANONICAL], ids=["legacy", "canonical"])
@pytest.mark.parametrize("op", ["c", "r", "u"])
def test_a_document_comes_as_a_text_and_is_whole(document, op):
    envelope = one(decoder().decode(record(change(op, MONGO, after=text(document)), OID_KEY)))
    assert (Op.INSERT, {"_id": OID}, document, op) == (envelope.op, envelope.key, envelope.after, envelope.op_name)
    assert {"ext_json"} == {
        schema.fields[name].kind for schema in (envelope.schema, envelope.key_schema) for name in ("_id", "n")
    }
    assert (("shop", "orders"), SourceVersion("M", "15589655080000000003")) == (envelope.table, envelope.version)


@pytest.mark.parametrize(
    ("described", "after"),
    [
        (
            {"updatedFields": '{"n": 5, "tags": ["a"]}', "removedFields": ["old"], "truncatedArrays": None},
            {"n": 5, "tags": ["a"], "old": None},
        ),
        ({"updatedFields": {"n": 5}, "removedFields": None}, {"n": 5}),
        ({"updatedFields": None, "removedFields": ["old"]}, {"old": None}),
    ],
)
def test_an_update_without_its_document_sets_and_removes_whole_fields(described, after):
    envelope = one(decoder().decode(record(change("u", MONGO, updateDescription=described), {"id": "1004"})))
    assert (Op.UPDATE, {"_id": 1004}, after) == (envelope.op, envelope.key, envelope.after)


@pytest.mark.parametrize(
    ("patch", "op", "after"),
    [
        ({"$set": {"n": 5}, "$unset": {"old": True}}, Op.UPDATE, {"n": 5, "old": None}),
        ({"$v": 1, "$set": {"n": {"$numberLong": "5"}}}, Op.UPDATE, {"n": {"$numberLong": "5"}}),
        ({"_id": 1004, "n": 5}, Op.INSERT, {"_id": 1004, "n": 5}),
    ],
)
def test_old_releases_tell_updates_as_the_oplog_does(patch, op, after):
    value = change("u", MONGO, patch=text(patch), filter='{"_id": {"$numberLong": "1004"}}')
    envelope = one(decoder().decode(record(value, None)))
    named = patch if op is Op.INSERT else {"_id": {"$numberLong": "1004"}}
    assert (op, {"_id": named["_id"]}, after) == (envelope.op, envelope.key, envelope.after)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"updateDescription": {"updatedFields": '{"address.city": "x"}'}}, "mongodb.part_of_field"),
        ({"updateDescription": {"updatedFields": "{}", "removedFields": ["a.b"]}}, "mongodb.part_of_field"),
        (
            {"updateDescription": {"updatedFields": "{}", "truncatedArrays": [{"field": "a", "newSize": 1}]}},
            "mongodb.part_of_field",
        ),
        ({"patch": '{"$v": 2, "diff": {"u": {"n": 5}}}'}, "mongodb.patch"),
        ({}, "row.missing"),
        ({"after": "[1]"}, "row.not_an_object"),
        ({"after": "{"}, "json.malformed"),
        ({"op": "t", "after": "{}"}, "debezium.op"),
    ],
)
def test_what_cannot_be_written_of_a_document_is_refused(parts, code):
    assert code == code_of(decoder("debezium"), record(change("u", MONGO) | parts, OID_KEY))


def test_a_deleted_document_is_named_by_its_key_and_pre_images_are_real():
    made = decoder()
    plain = one(made.decode(record(change("d", MONGO), {"id": '"a-1"'})))
    with_image = one(made.decode(record(change("d", MONGO, before=text(LEGACY)), OID_KEY)))
    assert [(Op.DELETE, {"_id": "a-1"}, None, False), (Op.DELETE, {"_id": OID}, LEGACY, True)] == [
        (e.op, e.key, e.before, e.before_real) for e in (plain, with_image)
    ]
    assert Skip("tombstone") == made.decode(record(None, OID_KEY))
    assert {"_id": 1004} == one(made.decode(record(None, {"id": "1004"}))).key
    assert "delete.without_key" == code_of(made, record(change("d", MONGO)))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"id": '"\\"quoted\\""'}, {"_id": '"quoted"'}),
        ({"id": "-5"}, {"_id": -5}),
        ({"id": '{ "$uuid": "x" }'}, {"_id": {"$uuid": "x"}}),
        ({"id": "007"}, {"id": "007"}),
        ({"id": "1.50"}, {"id": "1.50"}),
        ({"id": '"open'}, {"id": '"open'}),
        ({"id": "{plain}"}, {"id": "{plain}"}),
        ({"id": 5}, {"id": 5}),
        ({"id": "1", "part": 2}, {"id": "1", "part": 2}),
        ({"name": "1"}, {"name": "1"}),
        (("1",), ("1",)),
        (None, None),
    ],
)
def test_only_a_key_in_extended_json_is_unwrapped(named, expected):
    assert expected == unwrapped(Key(named)).value


def test_a_flattened_document_is_named_by_its_id():
    made = decoder("flattened")
    row = {
        "_id": "5f8a",
        "n": 1,
        "__op": "c",
        "__collection": "orders",
        "__db": "shop",
        "__source_ts_ms": 1558965508000,
        "__ord": 2,
    }
    seen = one(made.decode(record(row, {"id": '{"$oid": "5f8a"}'})))
    gone = one(made.decode(record({"_id": "5f8a", "__deleted": True}, {"id": '{"$oid": "5f8a"}'})))
    lone = one(made.decode(record(None, {"id": '{"$oid": "77aa"}'})))
    assert [{"_id": "5f8a"}, {"_id": "5f8a"}, {"_id": {"$oid": "77aa"}}] == [seen.key, gone.key, lone.key]
    assert (("shop", "orders"), SourceVersion("M", "15589655080000000002"), {"_id": "5f8a", "n": 1}) == (
        seen.table,
        seen.version,
        seen.after,
    )


# ---------------------------------------------------------------- Cassandra


CASSANDRA = {
    "connector": "cassandra",
    "keyspace": "shop",
    "table": "orders",
    "ts_ms": 1562202942666382,
    "file": "CommitLog-6-1.log",
    "pos": 54,
}


def cell(value: Any, is_set: bool = True) -> dict[str, Any]:
    return {"value": value, "deletion_ts": None, "set": is_set}


@pytest.mark.parametrize("op", ["c", "i", "u", "r"])
def test_cells_that_were_not_written_stay_as_they_are(op):
    cells = {"id": cell(1), "a": cell("x"), "b": cell(None), "c": cell("old", False), "d": None}
    envelope = one(decoder().decode(record(change(op, CASSANDRA, after=cells), {"id": 1})))
    assert (Op.UPDATE, {"id": 1, "a": "x", "b": None}, None, ("shop", "orders")) == (
        envelope.op,
        envelope.after,
        envelope.version,
        envelope.table,
    )


def test_a_deleted_range_of_cassandra_is_refused():
    cells = {"_range_start": {"method": "INCL_START_BOUND", "values": {}}, "_range_end": {}}
    assert "cassandra.range_delete" == code_of(decoder("debezium"), record(change("r", CASSANDRA, after=cells), {"id": 1}))
    assert "delete.without_key" == code_of(decoder("debezium"), record(change("d", CASSANDRA, after={"a": None})))


def test_cells_have_the_types_of_their_values():
    cells = {"id": cell(1), "at": cell(5)}
    kinds = {"id": {"type": "int64"}, "at": {"type": "int64", "name": "io.debezium.time.MicroTimestamp"}}
    fields = [
        {"field": name, "type": "struct", "fields": [kind | {"field": "value"}, {"field": "set", "type": "boolean"}]}
        for name, kind in kinds.items()
    ]
    schema = {"type": "struct", "name": "x.Envelope", "fields": [{"field": "after", "type": "struct", "fields": fields}]}
    made = decoder()
    first, second = (
        one(made.decode(record({"schema": schema, "payload": change("c", CASSANDRA, after=cells)}, {"id": 1}))) for _ in range(2)
    )
    assert isinstance(first.schema, RowSchema)
    assert first.schema is second.schema
    assert {"id": SourceType("int"), "at": SourceType("ts_us")} == first.schema.fields


# ---------------------------------------------------------------- flattened rows


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("rewrite", [{"id": 1, "note": "", "__deleted": "true"}], ["delete"]),
        ("rewrite-with-tombstone", [{"id": 1, "note": "", "__deleted": "true"}, None], ["delete", "tombstone"]),
        ("tombstone", [None], ["delete"]),
        ("drop", [{"id": 1, "note": "x", "__op": "u"}], ["update"]),
        ("rewrite, still there", [{"id": 1, "note": "x", "__deleted": "false"}], ["insert"]),
    ],
)
def test_each_mode_of_deletes_is_understood(mode, values, expected):
    made = decoder("flattened")
    seen = [made.decode(record(value, {"id": 1})) for value in values]
    assert expected == [found.reason if isinstance(found, Skip) else one(found).op.value for found in seen], mode


def test_a_delete_that_became_a_tombstone_keeps_its_position_in_the_headers():
    made = decoder()
    first = one(
        made.decode(
            record({"id": 1, "note": "x"}, {"id": 1}, __op="c", __source_lsn="5", __source_ts_ms="1000", __table="orders")
        )
    )
    gone = one(made.decode(record(None, {"id": 1}, __op="d", __source_lsn="6", __db="shop", __table="orders")))
    bare = one(made.decode(record(None, {"id": 2})))
    assert "flattened" == made.format_of(TOPIC)
    assert (Op.INSERT, {"id": 1, "note": "x"}, SourceVersion("L", "5".zfill(20)), 1000) == (
        first.op,
        first.after,
        first.version,
        first.source_ts_ms,
    )
    assert (Op.DELETE, SourceVersion("L", "6".zfill(20)), ("shop", "orders"), "d") == (
        gone.op,
        gone.version,
        gone.table,
        gone.op_name,
    )
    assert (None, "tombstone") == (bare.version, bare.op_name)


@pytest.mark.parametrize("value", ["d", '"d"', '{"schema":{"type":"string"},"payload":"d"}', "D"])
def test_headers_are_read_as_each_header_converter_writes_them(value):
    envelope = one(decoder("flattened").decode(record({"id": 1}, {"id": 1}, __op=value, __lsn="null")))
    assert (Op.DELETE, None) == (envelope.op, envelope.version)


def test_headers_of_the_connectors_context_are_no_metadata():
    made = decoder()
    made.decode(record({"id": 1, "note": "x"}, {"id": 1}, __debezium_context_taskId="0"))
    assert "plain" == made.format_of(TOPIC)


@pytest.mark.parametrize(
    ("prefix", "row", "after", "op"),
    [
        ("_m.", {"id": 1, "_m.op": "u", "__deleted": "false", "_m.source_lsn": 5}, {"id": 1}, Op.UPDATE),
        ("", {"id": 1, "name": "x", "op": "d", "source_lsn": 5, "table": "mine"}, None, Op.DELETE),
        ("cdc_", {"id": 1, "cdc_op": "c", "cdc_lsn": 5, "cdc_mine": 2}, {"id": 1, "cdc_mine": 2}, Op.INSERT),
        ("__ op:KIND, lsn:POS", {"id": 1, "__KIND": "d", "__POS": 5, "__deleted": "true"}, None, Op.DELETE),
        (
            "m_ op,source.lsn:at,version:v,ts_ms:seen",
            {"id": 1, "m_op": "u", "m_at": 5, "m_v": "3.6", "m_seen": 9},
            {"id": 1},
            Op.UPDATE,
        ),
        (" op:KIND,lsn:POS", {"id": 1, "KIND": "u", "POS": 5, "op": "mine"}, {"id": 1, "op": "mine"}, Op.UPDATE),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_any_prefix_of_metadata_can_be_set(prefix, row, after, op, declared):
    made = decoder(f"flattened:{prefix}") if declared else decoder(flattened_prefix=prefix)
    envelope = one(made.decode(record(dict(row), {"id": 1})))
    assert (op, after, "5".zfill(20)) == (envelope.op, envelope.after, envelope.version.text)


def test_the_settings_reach_the_decoder():
    settings = Settings.load({"INGEST_FLATTENED_PREFIX": "_m.", "INGEST_UNAVAILABLE_VALUE": "n/a"})
    made = decoder_of(settings, lambda _: "auto", SchemaCache())
    envelope = one(made.decode(record({"id": 1, "note": "n/a", "_m.op": "c"}, {"id": 1})))
    assert (Op.UPDATE, {"id": 1}) == (envelope.op, envelope.after)
    with pytest.raises(Stop):
        Settings.load({"INGEST_UNAVAILABLE_VALUE": "hex:zz"})


def test_a_document_lands_in_a_table_whose_contract_names_its_id():
    columns = {name: Column(name, kind) for name, kind in (("id", "text"), ("n", "bigint"))}
    contract = Contract("doc.orders", columns={"id": ColumnRule(source="_id")})
    mapper = compile_mapper(Table("doc", "orders", columns, ("id",), primary_key=("id",)), contract, settings=MappingRules())
    made = decoder()
    for value in (change("c", MONGO, after=text(LEGACY)), change("d", MONGO)):
        given = record(value, OID_KEY)
        assert (OID["$oid"],) == mapper.map(one(made.decode(given)), given, 0).key


def test_without_a_prefix_columns_with_common_names_stay():
    envelope = one(
        decoder("flattened:").decode(record({"id": 1, "name": "x", "table": "t", "row": 5, "version": 2, "op": "c"}, {"id": 1}))
    )
    assert {"id": 1, "name": "x", "table": "t", "row": 5, "version": 2} == envelope.after


def test_a_flattened_row_of_vitess_is_ordered_by_its_transaction():
    row = {
        "id": 1,
        "__op": "c",
        "__transaction_transaction_epoch": 0,
        "__transaction_transaction_rank": "7",
        "__transaction_total_order": 3,
    }
    assert SourceVersion("G", "0" * 10 + "7".zfill(30) + "3".zfill(20)) == one(decoder().decode(record(row, {"id": 1}))).version


def test_a_column_that_merely_looks_like_metadata_stays():
    row = {"id": 1, "__op": "c", "__id": 4, "__total": 5, "__transaction_note": 6}
    assert {"id": 1, "__id": 4, "__total": 5, "__transaction_note": 6} == one(decoder().decode(record(row, {"id": 1}))).after


# ---------------------------------------------------------------- keys that change, and what is no row


def test_a_changed_key_is_a_delete_its_echo_and_a_row_that_may_lack_large_values():
    made = decoder()
    halves = [
        made.decode(record(change("d", before={"id": 1, "note": ""}), {"id": 1}, __debezium_newkey="Struct{id=2}")),
        made.decode(record(None, {"id": 1})),
        made.decode(record(change("c", after={"id": 2, "note": PLACEHOLDER}), {"id": 2}, __debezium_oldkey='{"id":1}')),
    ]
    gone, echo, new = one(halves[0]), halves[1], one(halves[2])
    assert Skip("tombstone") == echo
    assert [(Op.DELETE, {"id": 1}), (Op.UPDATE, {"id": 2})] == [(gone.op, gone.key), (new.op, new.key)]
    assert gone.version == new.version


@pytest.mark.parametrize("order", [0, 1], ids=["as first record", "as later record"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (change("c", after={"id": "4", "type": "snapshot-window-open", "data": None}), "signal"),
        (change("d", POSTGRES | {"table": "debezium_signal"}, before={"id": "4", "type": "", "data": None}), "signal"),
        ({"id": "4", "type": "execute-snapshot", "data": '{"data-collections": ["public.orders"]}'}, "signal"),
        ({"type": "execute-snapshot", "data": {"data-collections": ["public.orders"]}}, "signal"),
        ({"id": "4", "type": "snapshot-window-close", "data": None, "__op": "c"}, "signal"),
        (change("m", message={"prefix": "p", "content": "eA=="}), "logical_message"),
        (
            {"id": "1", "type": "COMPLETED", "aggregate_type": "Initial Snapshot", "additional_data": {}, "timestamp": 1},
            "notification",
        ),
        ({"status": "END", "id": "571", "ts_ms": 5, "event_count": 1, "data_collections": []}, "transaction"),
        ({"databaseName": "d", "ddl": "x", "tableChanges": [], "source": {"connector": "mysql"}}, "schema_change"),
    ],
)
def test_what_is_no_row_is_skipped(order, value, reason):
    made = decoder()
    if "__op" in value:
        made.decode(record({"id": 1, "__op": "c"}, {"id": 1}))
    elif order:
        made.decode(record(change("c", after={"id": 1}), {"id": 1}))
    assert Skip(reason) == made.decode(record(value, {"prefix": "p"}))


def test_a_table_of_events_is_not_taken_for_signals():
    row = {"id": "4", "type": "log", "data": "x"}
    assert row == one(decoder().decode(record(change("c", after=dict(row)), {"id": "4"}))).after


def test_a_truncate_has_a_position_and_no_key():
    envelope = one(decoder().decode(record(change("t"))))
    assert (Op.TRUNCATE, None, SourceVersion("L", "7".zfill(20))) == (envelope.op, envelope.key, envelope.version)


@pytest.mark.parametrize(
    ("value", "key", "code"),
    [
        (change("d"), None, "delete.without_key"),
        (change("u", before={"id": 1}), {"id": 1}, "row.missing"),
        (change("c", after={"id": 1}, source={"connector": "postgresql", "db": 5}), {"id": 1}, "debezium.source"),
        (
            b'{"op":"c","source":{"connector":"postgresql","db":"d","table":"t","lsn":1},"after":{"a":1e99999999999999999999}}',
            None,
            "json.number",
        ),
        (
            b'{"op":"c","source":{"connector":"postgresql","db":"d","table":"t","lsn":1},"after":{"a":1,"a":2}}',
            None,
            "json.duplicate_name",
        ),
        (
            b'{"op":"c","source":{"connector":"postgresql","db":"d","table":"t","lsn":1},"after":{"a":"\xff"}}',
            None,
            "json.malformed",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(value, key, code):
    assert code == code_of(decoder("debezium"), record(value, key))


def test_odd_sources_go_the_long_way_to_the_same_answer():
    usual = one(decoder().decode(record(change("c", after={"id": 1}), {"id": 1})))
    for odd in ({"lsn": "7"}, {"ts_ms": 1000, "lsn": 7, "extra": {"deep": [1]}}, {"sequence": '["6","7"]', "lsn": None}):
        envelope = one(decoder().decode(record(change("c", POSTGRES | odd, after={"id": 1}), {"id": 1})))
        assert usual == envelope


@pytest.mark.parametrize("ts_ms", [0, -1, None])
def test_a_source_without_a_time_has_none(ts_ms):
    assert (
        one(decoder().decode(record(change("c", POSTGRES | {"ts_ms": ts_ms}, after={"id": 1}), {"id": 1}))).source_ts_ms is None
    )
