"""Protobuf: what a message's fields mean, which message a record is, files as registries give them, and broken bytes."""

from __future__ import annotations

import builtins
import json
import random
from base64 import b64encode
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message_factory import GetMessageClass

from ingest.errors import IngestError, Parked, Reject
from ingest.formats import Decoder, SchemaCache, framing
from ingest.formats.protobuf import ProtobufSchema
from ingest.formats.protobuf_pool import file_of
from ingest.model import Envelope, NeedSchema, Op, Record, SourceType
from ingest.registry import protobuf_files
from ingest.registry.protobuf_files import bundle

File = descriptor_pb2.FileDescriptorProto
KINDS = descriptor_pb2.FieldDescriptorProto
SCALARS = {name[5:].lower(): number for name, number in KINDS.Type.items()}


def file_proto(name: str, package: str, *messages: Any, imports: tuple[str, ...] = (), syntax: str = "proto3") -> Any:
    return File(name=name, package=package, dependency=imports, message_type=messages, syntax=syntax)


def message(name: str, /, *nested: Any, oneofs: tuple[str, ...] = (), **fields: str) -> Any:
    """fields: `kind`, `kind?` for optional, `kind*` for repeated, `kind|0` for the first oneof; `.full.Name` for a message."""
    made = descriptor_pb2.DescriptorProto(name=name, nested_type=nested)
    for oneof in oneofs:
        made.oneof_decl.add(name=oneof)
    for number, (field, kind) in enumerate(fields.items(), 1):
        _add(made, field, number, kind)
    return made


def _add(made: Any, name: str, number: int, kind: str) -> None:
    word = kind.rstrip("?*").partition("|")[0]
    is_enum, is_message = word.startswith("enum ."), word.startswith(".")
    field = made.field.add(name=name, number=number, label=3 if kind.endswith("*") else 1)
    field.type = KINDS.TYPE_ENUM if is_enum else KINDS.TYPE_MESSAGE if is_message else SCALARS[word]
    if is_enum or is_message:
        field.type_name = word.removeprefix("enum ")
    if kind.endswith("?"):
        field.proto3_optional = True
        field.oneof_index = len(made.oneof_decl)
        made.oneof_decl.add(name=f"_{name}")
    elif "|" in kind:
        field.oneof_index = int(kind.partition("|")[2])


def map_entry(name: str, key: str, value: str) -> Any:
    entry = message(name, key=key, value=value)
    entry.options.map_entry = True
    return entry


STATUS = descriptor_pb2.EnumDescriptorProto(name="Status", value=[{"name": "NONE", "number": 0}, {"name": "PAID", "number": 1}])
ORDER = message(
    "Order",
    message("Line", sku="string", count="int32", price=".confluent.type.Decimal"),
    map_entry("TagsEntry", "string", "int64"),
    map_entry("LinesEntry", "bool", ".shop.Order.Line"),
    oneofs=("payment",),
    id="int64",
    name="string?",
    amount="double",
    ratio="float",
    raw="bytes",
    is_paid="bool",
    big="uint64",
    status="enum .shop.Status",
    made=".google.protobuf.Timestamp",
    took=".google.protobuf.Duration",
    day=".google.type.Date",
    at=".google.type.TimeOfDay",
    total=".confluent.type.Decimal",
    note=".google.protobuf.StringValue",
    seats=".google.protobuf.Int64Value",
    free=".google.protobuf.Struct",
    codes="sint32*",
    lines=".shop.Order.Line*",
    tags=".shop.Order.TagsEntry*",
    by_flag=".shop.Order.LinesEntry*",
    statuses="enum .shop.Status*",
    card="string|0",
    iban="string|0",
    parent=".shop.Order",
)
IMPORTS = (
    "google/protobuf/timestamp.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/wrappers.proto",
    "google/protobuf/struct.proto",
    "google/type/date.proto",
    "google/type/timeofday.proto",
    "confluent/type/decimal.proto",
    "confluent/meta.proto",
)
SHOP = file_proto("default", "shop", ORDER, message("Event", message("Inner", deep="int32"), what="string"), imports=IMPORTS)
SHOP.enum_type.append(STATUS)


def serialized(proto: Any) -> str:
    return b64encode(proto.SerializeToString()).decode()


SHOP_TEXT = bundle(serialized(SHOP), {})


def made_of(full_name: str, proto: Any = SHOP) -> Any:
    """An empty message, to be filled and written."""
    found = file_of("x", {"x": proto.SerializeToString()})
    path = full_name.split(".")
    descriptor = found.message_types_by_name[path[0]]
    for part in path[1:]:
        descriptor = descriptor.nested_types_by_name[part]
    return GetMessageClass(descriptor)()


def full_order() -> Any:
    order = made_of("Order")
    order.id, order.name, order.amount, order.ratio, order.raw = -7, "x", 0.5, 1.5, b"\0\xff"
    order.is_paid, order.big, order.status = True, 2**64 - 1, 1
    order.made.seconds, order.made.nanos = 1738661425, 801_123_456
    order.took.seconds, order.took.nanos = -1, -500_000_000
    order.day.year, order.day.month, order.day.day = 2024, 2, 29
    order.at.hours, order.at.minutes, order.at.seconds, order.at.nanos = 23, 59, 58, 5
    order.total.value, order.total.scale = (-12345).to_bytes(4, "big", signed=True), 2
    order.note.value = "n"
    order.free.update({"a": [1, None, "x"]})
    order.codes.extend([-1, 5])
    order.lines.add(sku="a", count=2)
    order.tags["k"] = 9
    order.by_flag[True].sku = "t"
    order.statuses.extend([0, 1, 7])
    order.iban = "DE"
    order.parent.id = 3
    return order


def after(body: bytes, text: str = SHOP_TEXT, **more: Any) -> Any:
    return ProtobufSchema(text, **more).read(body)[0]


# ---------------------------------------------------------------- values


def test_every_kind_of_field_becomes_its_value():
    row = after(b"\0" + full_order().SerializeToString())
    line = {"sku": "a", "count": 2, "price": None}
    parent = row.pop("parent")
    assert row == {
        "id": -7,
        "name": "x",
        "amount": 0.5,
        "ratio": 1.5,
        "raw": b"\0\xff",
        "is_paid": True,
        "big": 2**64 - 1,
        "status": "PAID",
        "made": 1738661425_801_123_456,
        "took": -1_500_000_000,
        "day": "2024-02-29",
        "at": ((23 * 60 + 59) * 60 + 58) * 10**9 + 5,
        "total": Decimal("-123.45"),
        "note": "n",
        "seats": None,
        "free": {"a": [1, None, "x"]},
        "codes": [-1, 5],
        "lines": [line],
        "tags": {"k": 9},
        "by_flag": {"true": {"sku": "t", "count": 0, "price": None}},
        "statuses": ["NONE", "PAID", "7"],
        "card": None,
        "iban": "DE",
    }
    assert (3, None, None) == (parent["id"], parent["name"], parent["parent"])


def test_an_empty_message_has_defaults_where_absence_cannot_be_told_and_none_where_it_can():
    row = after(b"\0")
    assert {
        "id": 0,
        "amount": 0.0,
        "raw": b"",
        "is_paid": False,
        "status": "NONE",
        "codes": [],
        "tags": {},
    }.items() <= row.items()
    assert {row[name] for name in ("name", "made", "total", "note", "seats", "card", "iban", "parent", "free")} == {None}


def test_each_field_has_the_type_that_it_means():
    _, schema = ProtobufSchema(SHOP_TEXT).read(b"\0")
    assert schema.name == "shop.Order"
    fields = schema.type.fields
    assert fields is not None
    assert {
        name: fields[name].kind for name in ("id", "ratio", "amount", "raw", "status", "took", "at", "day", "note", "parent")
    } == {
        "id": "int",
        "ratio": "float32",
        "amount": "float64",
        "raw": "bytes",
        "status": "enum",
        "took": "interval_ns",
        "at": "time_ns",
        "day": "date_text",
        "note": "string",
        "parent": "any",
    }
    assert SourceType("ts_ns", zoned=True) == fields["made"]
    assert SourceType("map", element=SourceType("int")) == fields["tags"]
    assert SourceType("array", element=SourceType("struct", fields=fields["lines"].element.fields)) == fields["lines"]  # type: ignore[union-attr]
    assert SourceType("decimal") == fields["lines"].element.fields["price"]  # type: ignore[union-attr,index]


@pytest.mark.parametrize(
    ("value", "scale", "expected"),
    [
        (b"", 0, Decimal(0)),
        (b"\x01", -3, Decimal("1E+3")),
        (b"\xff", 2, Decimal("-0.01")),
        ((10**60).to_bytes(26, "big"), 30, Decimal("1E+30")),
        (b"\1", 2**31 - 1, None),
        (b"\1" * 1_001, 2, None),
    ],
)
def test_a_decimal_is_exact_or_refused(value, scale, expected):
    order = made_of("Order")
    order.total.value, order.total.scale = value, scale
    body = b"\0" + order.SerializeToString()
    if expected is None:
        with pytest.raises(Reject, match=r"protobuf\.decimal"):
            after(body)
    else:
        assert expected == after(body)["total"]


def test_in_proto2_what_is_absent_is_none_and_not_its_default():
    proto = file_proto("default", "", message("Old", a="int32", b="string"), syntax="proto2")
    proto.message_type[0].field[0].default_value = "5"
    assert {"a": None, "b": None} == after(b"\0", bundle(serialized(proto), {}))


# ---------------------------------------------------------------- which message


def event() -> Any:
    made = made_of("Event")
    made.what = "w"
    return made


def inner() -> Any:
    made = made_of("Event.Inner")
    made.deep = 6
    return made


@pytest.mark.parametrize(
    ("head", "made", "name", "field"),
    [
        (b"\2\2", event, "shop.Event", {"what": "w"}),
        (b"\4\2\0", inner, "shop.Event.Inner", {"deep": 6}),
        (b"\2\0", full_order, "shop.Order", {"id": -7}),
        (b"\0", full_order, "shop.Order", {"id": -7}),
    ],
)
def test_confluents_indexes_name_the_message(head, made, name, field):
    value, schema = ProtobufSchema(SHOP_TEXT).read(b"\0\0\0\0\7" + head + made().SerializeToString(), 5)
    assert name == schema.name
    assert field.items() <= value.items()


def test_apicurio_names_the_message_in_front_or_in_a_header_or_not_at_all():
    reference = framing.message_reference(b"Event")
    content = event().SerializeToString()
    assert [{"what": "w"}] * 3 == [
        after(reference + content, by_index=False),
        after(reference + reference + content, by_index=False),
        after(reference + content, by_index=True),
    ]
    assert -7 == after(full_order().SerializeToString(), by_index=False)["id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "protobuf.truncated"),
        (b"\2", "protobuf.truncated"),
        (b"\xff\xff\xff\xff\xff\xff", "protobuf.truncated"),
        (b"\2\x10", "protobuf.unknown_message"),
        (b"\2\1", "protobuf.unknown_message"),
        (b"\1", "protobuf.malformed"),
        (b"\xc8\1", "protobuf.malformed"),
        (b"\0\x08", "protobuf.malformed"),
        (b"\0\xff", "protobuf.malformed"),
        (b"\2\2\x0a\x02\xff\xff", "protobuf.malformed"),
        (b"\2\2\x50\1", "protobuf.unknown_field"),
        (b"\4\2\0\x08\6\x12\1a", "protobuf.unknown_field"),
    ],
)
def test_each_kind_of_damage_has_its_code(body, code):
    with pytest.raises(Reject) as caught:
        after(body)
    assert code == caught.value.code


def test_broken_bytes_are_refused_and_never_crash():
    schema, rng, whole = ProtobufSchema(SHOP_TEXT), random.Random(7), b"\0" + full_order().SerializeToString()
    codes: Counter[str] = Counter()
    for round_ in range(1500):
        body = bytearray(whole[: rng.randrange(len(whole))] if round_ % 3 == 0 else whole)
        for _ in range(rng.randint(0, 3)):
            body[rng.randrange(len(body)) if body else 0 : 1] = rng.randbytes(1)
        codes[code_of(schema, bytes(body))] += 1
    assert {"", "protobuf.malformed"} <= set(codes)
    assert set(codes) <= {
        "",
        *(f"protobuf.{word}" for word in ("malformed", "truncated", "unknown_field", "unknown_message", "decimal")),
    }


def code_of(schema: ProtobufSchema, body: bytes) -> str:
    try:
        schema.read(body)
    except Reject as error:
        return error.code
    return ""


# ---------------------------------------------------------------- files


def test_imported_files_are_found_by_the_names_of_the_references():
    line = file_proto("default", "shop", message("Line", sku="string"))
    root = file_proto("default", "", message("Order", line=".shop.Line"), imports=("shop/line.proto",))
    body = b"\0\x0a\x03\x0a\x01a"
    assert {"line": {"sku": "a"}} == after(body, bundle(serialized(root), {"shop/line.proto": serialized(line)}))
    with pytest.raises(Reject, match=r"schema\.malformed"):
        ProtobufSchema(bundle(serialized(root), {}))


def test_two_schemas_may_define_the_same_names():
    first = file_proto("default", "shop", message("Order", id="int64"))
    second = file_proto("default", "shop", message("Order", id="string"))
    assert [{"id": 5}, {"id": "5"}] == [
        after(b"\0\x08\5", bundle(serialized(first), {})),
        after(b"\0\x0a\x015", bundle(serialized(second), {})),
    ]


@pytest.mark.parametrize("text", ["", "x", "5", "{}", '{"root":"a","files":{"a":"AAAA"}}', '{"root":"a","files":{"a":""}}'])
def test_a_text_that_is_no_schema_is_refused(text):
    with pytest.raises(Reject, match=r"schema\.malformed"):
        ProtobufSchema(text)


SOURCE = """syntax = "proto3";
package shop;
import "shop/line.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/protobuf/timestamp.proto";
message Order { // a comment
  int64 id = 1;
  Line line = 2;
  confluent.type.Decimal total = 3 [(confluent.field_meta) = { params: [{ key: "scale", value: "2" }] }];
  google.protobuf.Timestamp made = 4;
}
"""
LINE = 'syntax = "proto3"; package shop; message Line { string sku = 1; }'


def test_source_texts_are_compiled_with_all_that_they_import():
    pytest.importorskip("grpc_tools")
    text = bundle(SOURCE, {"shop/line.proto": LINE})
    assert {"id": 5, "line": {"sku": "a"}, "total": None, "made": 2 * 10**9} == after(
        b"\0\x08\5\x12\x03\x0a\1a\x22\2\x08\2", text
    )


@pytest.mark.parametrize("others", [{}, {"shop/line.proto": "nonsense"}, {"../line.proto": LINE}, {"/line.proto": LINE}])
def test_source_texts_that_protoc_refuses_are_refused(others):
    pytest.importorskip("grpc_tools")
    with pytest.raises(Reject, match=r"schema\.malformed"):
        bundle(SOURCE, others)


# ---------------------------------------------------------------- without the extra


def test_without_protoc_source_texts_park_their_topic(monkeypatch):
    monkeypatch.setattr(protobuf_files, "find_spec", lambda _: None)
    schemas = SchemaCache()
    schemas.put(7, bundle(SOURCE, {"shop/line.proto": LINE}), "PROTOBUF")
    with pytest.raises(Parked, match=r"cratedb-ingest\[protobuf\]"):
        schemas.get(7)


def test_without_the_package_the_topic_is_parked_with_one_sentence(monkeypatch):
    real = builtins.__import__

    def no_pool(name: str, *rest: Any) -> Any:
        if name == "ingest.formats.protobuf_pool":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pool)
    schemas = SchemaCache()
    schemas.put(7, SHOP_TEXT, "PROTOBUF")
    monkeypatch.undo()
    made = Decoder(topic_format={}, schemas=schemas)
    for _ in range(2):
        with pytest.raises(Parked, match=r"pip install 'cratedb-ingest\[protobuf\]'") as caught:
            made.decode(Record("t", 0, 0, -1, None, b"\0\0\0\0\7\0"))
        assert ("protobuf.not_installed", "") == (caught.value.code, caught.value.subject)


# ---------------------------------------------------------------- records


VALUE = message("Value", id="int64", name="string?", at="int64?")
SOURCE_BLOCK = message("Source", connector="string", db="string", schema="string", table="string", lsn="int64", ts_ms="int64")
ENVELOPE = file_proto(
    "default",
    "s.public.orders",
    message(
        "Envelope", VALUE, SOURCE_BLOCK,
        before=".s.public.orders.Envelope.Value?", after=".s.public.orders.Envelope.Value?",
        source=".s.public.orders.Envelope.Source", op="string?", ts_ms="int64?",
    ),
)  # fmt: skip


def change(op: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> bytes:
    made = made_of("Envelope", ENVELOPE)
    made.op, made.ts_ms = op, 1
    for name, value in (
        ("connector", "postgresql"),
        ("db", "d"),
        ("schema", "public"),
        ("table", "orders"),
        ("lsn", 12),
        ("ts_ms", 5),
    ):
        setattr(made.source, name, value)
    for part, row in (("before", before), ("after", after)):
        if row is not None:
            getattr(made, part).SetInParent()
            for name, value in row.items():
                setattr(getattr(made, part), name, value)
    content: bytes = made.SerializeToString()
    return b"\0\0\0\0\7\0" + content


def test_a_debezium_envelope_in_protobuf_is_a_change():
    schemas = SchemaCache()
    schemas.put(7, bundle(serialized(ENVELOPE), {}), "PROTOBUF")
    schemas.put(5, bundle(serialized(file_proto("default", "", message("Key", id="int64"))), {}), "PROTOBUF")
    made = Decoder(topic_format={}, schemas=schemas)

    def one(value: bytes | None) -> Envelope:
        (envelope,) = made.decode(Record("t", 0, 0, -1, b"\0\0\0\0\5\0\x08\1", value))
        assert isinstance(envelope, Envelope)
        return envelope

    created = one(change("c", None, {"id": 1, "name": "x"}))
    assert (Op.INSERT, {"id": 1}, {"id": 1, "name": "x", "at": None}) == (created.op, created.key, created.after)
    assert (("d", "public", "orders"), ("L", f"{12:020d}"), 5) == (created.table, created.version, created.source_ts_ms)
    assert created.schema is not None
    assert (["int", "string", "int"], "s.public.orders.Envelope.Value") == (
        [inner.kind for inner in created.schema.fields.values()],
        created.schema.name,
    )
    deleted = one(change("d", {"id": 1}, None))
    assert (Op.DELETE, {"id": 1}, None) == (deleted.op, deleted.key, deleted.after)


def test_indexes_may_stand_in_the_header_with_the_guid():
    guid = "6b0c2b32-8c6d-4c86-8b1c-0e2c0f5d7a11"
    headers = [(framing.VALUE_HEADER, b"\1" + bytes.fromhex(guid.replace("-", "")) + b"\2\2")]
    schemas = SchemaCache()
    given = Record("t", 0, 0, -1, None, event().SerializeToString(), headers)
    made = Decoder(topic_format={}, schemas=schemas)
    assert NeedSchema(guid) == made.decode(given)
    schemas.put(guid, SHOP_TEXT, "PROTOBUF")
    (envelope,) = made.decode(given)
    assert isinstance(envelope, Envelope)
    assert {"what": "w"} == envelope.after


def test_a_schema_cache_reads_apicurios_records_by_name():
    schemas = SchemaCache()
    schemas.put("wide:7", SHOP_TEXT, "PROTOBUF")
    body = bytes(8) + b"\7" + framing.message_reference(b"Event") + event().SerializeToString()
    (envelope,) = Decoder(topic_format={}, schemas=schemas).decode(Record("t", 0, 0, -1, None, body))
    assert isinstance(envelope, Envelope)
    assert {"what": "w"} == envelope.after


def test_no_text_of_an_error_holds_a_value():
    with pytest.raises(IngestError) as caught:
        after(b"\2\2\x0a\x06secret\xff")
    assert "secret" not in str(caught.value)
    assert json.loads(SHOP_TEXT)["root"] == protobuf_files.ROOT
