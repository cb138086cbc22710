"""Which schema a record names, in its bytes and in its headers; keys and values each on their own; and any bytes at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import Parked, Reject
from ingest.formats import Decoder, SchemaCache, framing
from ingest.formats.avro import AvroSchema
from ingest.formats.framing import KEY_HEADER, VALUE_HEADER, Framed
from ingest.model import Envelope, NeedSchema, Record, Skip

GUID = "6b0c2b32-8c6d-4c86-8b1c-0e2c0f5d7a11"
GUID_HEAD = b"\1" + bytes.fromhex(GUID.replace("-", ""))
ID = '{"type":"record","name":"K","fields":[{"name":"id","type":"long"}]}'
WIDER = '{"type":"record","name":"K","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"]}]}'


def decoded(schemas: SchemaCache, value: bytes, key: bytes | None = None, headers: Any = (), topic: str = "t") -> Any:
    return Decoder(topic_format={}, schemas=schemas).decode(Record(topic, 0, 5, -1, key, value, headers))


def one(found: Any) -> Envelope:
    (envelope,) = found
    return envelope


def code_of(schemas: SchemaCache, value: bytes, **more: Any) -> str:
    with pytest.raises((Reject, Parked)) as caught:
        decoded(schemas, value, **more)
    return caught.value.code


def known(**texts: str) -> SchemaCache:
    """Schemas by id; `n7` is number 7."""
    schemas = SchemaCache()
    for name, text in texts.items():
        schemas.put(int(name[1:]), text)
    return schemas


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    ("body", "framed"),
    [
        (b"\0\0\0\0\7\x54", Framed(7, 5)),
        (b"\0\x7f\xff\xff\xff\x54", Framed(2**31 - 1, 5)),
        (GUID_HEAD + b"\x54", Framed(GUID, 17)),
        (bytes(8) + b"\7\x54", Framed("wide:7", 9)),
        (bytes(5) + b"\xff\xff\xff\xff\x54", Framed(f"wide:{2**32 - 1}", 9)),
        (b"\xc3\x01\1\2\3\4\5\6\7\x08\x54", Framed("crc64:0102030405060708", 10)),
        (b'{"a":1}', None),
        (b"\xc3\xa9t\xc3\xa9", None),
    ],
)
def test_the_first_bytes_name_the_schema(body, framed):
    assert framed == framing.in_front(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\0", "framing.truncated"),
        (b"\0\0\0\0", "framing.truncated"),
        (GUID_HEAD[:16], "framing.truncated"),
        (b"\xc3\x01\1\2", "framing.truncated"),
        (bytes(5), "framing.unsupported"),
        (bytes(30), "framing.unsupported"),
        (b"\0\xff\xff\xff\xff\x54", "framing.unsupported"),
        (bytes(7) + b"\x02{}" + bytes(7) + b"\x02[]", "framing.unsupported"),
        (b"Obj\x01rest", "framing.unsupported"),
        (b"\x03\x00" + bytes(20), "framing.unsupported"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(body, code):
    with pytest.raises(Reject) as caught:
        framing.in_front(body)
    assert code == caught.value.code


# ---------------------------------------------------------------- headers


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("headers", "framed"),
    [
        ([(VALUE_HEADER, b"\0\0\0\0\7")], Framed(7, 0)),
        ([(VALUE_HEADER, GUID_HEAD)], Framed(GUID, 0)),
        ([(VALUE_HEADER, GUID_HEAD + b"\4\2\0")], Framed(GUID, 0, b"\4\2\0")),
        ([(VALUE_HEADER, b"\0\0\0\0\1"), ("x", b"y"), (VALUE_HEADER, b"\0\0\0\0\2")], Framed(2, 0)),
        ([("apicurio.value.globalId", number(7)), ("apicurio.value.encoding", b"BINARY")], Framed("global:7", 0)),
        ([("apicurio.value.contentId", number(8))], Framed("content:8", 0)),
        ([("apicurio.value.contentId", number(8)), ("apicurio.value.globalId", number(7))], Framed("global:7", 0)),
        ([("apicurio.value.globalId", b"\0\0\0\7")], Framed("global:7", 0)),
        (
            [("apicurio.value.globalId", number(7)), ("apicurio.protobuf.type", b"Order")],
            Framed("global:7", 0, framing.message_reference(b"Order")),
        ),
        ([("apicurio.key.globalId", number(7)), (KEY_HEADER, b"\0\0\0\0\1")], None),
        ([("__debezium.context.task", b"0"), (VALUE_HEADER, None)], None),
    ],
)
def test_headers_name_the_schema_of_the_value(headers, framed):
    assert framed == framing.in_headers(headers, VALUE_HEADER)


@pytest.mark.parametrize(
    "header",
    [(VALUE_HEADER, b"\0\0\0"), (VALUE_HEADER, b"\5abc"), ("apicurio.value.globalId", b""), ("apicurio.value.globalId", b"7")],
)
def test_a_header_that_is_cut_is_refused_or_says_nothing(header):
    if not header[1]:
        assert framing.in_headers([header], VALUE_HEADER) is None
        return
    with pytest.raises(Reject, match=r"framing\.truncated"):
        framing.in_headers([header], VALUE_HEADER)


def test_coordinates_without_an_id_and_avros_json_are_named():
    with pytest.raises(Reject, match="coordinates"):
        framing.in_headers([("apicurio.value.artifactId", b"orders")], VALUE_HEADER)
    with pytest.raises(Reject, match="JSON encoding"):
        framing.in_headers([("apicurio.value.globalId", number(7)), ("apicurio.value.encoding", b"JSON")], VALUE_HEADER)


def test_key_and_value_may_each_be_named_in_their_own_way():
    schemas = known(n5=ID)
    schemas.put("content:9", WIDER)
    headers = [("apicurio.value.contentId", number(9))]
    envelope = one(decoded(schemas, b"\x0e\x02\x02x", b"\0\0\0\0\5\x0e", headers))
    assert ({"id": 7}, {"id": 7, "name": "x"}) == (envelope.key, envelope.after)
    envelope = one(decoded(schemas, b"\0\0\0\0\5\x0e", b"\x0e", [(KEY_HEADER, b"\0\0\0\0\5")]))
    assert ({"id": 7}, {"id": 7}) == (envelope.key, envelope.after)


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("raw", "has_registry", "key"),
    [
        (bytes(8) + b"\5\x0e", True, NeedSchema("wide:5")),
        (b"\xc3\x01" + bytes(8) + b"\x0e", True, "schema.unknown"),
        (bytes(4) + b"\5\0\0\0", True, NeedSchema(5)),
        (bytes(4) + b"\5\0\0\0", False, (5 * 2**24,)),
        (bytes(7) + b"\x2a", True, (42,)),
        (bytes(3) + b"\x2a", True, (42,)),
        (b"customer-7", True, ("customer-7",)),
    ],
)
def test_a_key_is_told_from_the_bytes_of_a_number(raw, has_registry, key):
    schemas = SchemaCache(has_registry=has_registry)
    if isinstance(key, str):
        assert key == code_of(schemas, b'{"id":1}', key=raw)
        return
    found = decoded(schemas, b'{"id":1,"b":2,"c":3}', raw)
    assert key == (found if isinstance(found, NeedSchema) else one(found).key)


def key_after(schemas, decoder, raw, row=b'{"id":1,"b":2,"c":3}', topic="t"):
    return one(decoder.decode(Record(topic, 0, 1, -1, raw, row))).key


def test_eight_bytes_are_a_long_where_the_registry_has_no_such_schema_and_so_are_all_of_the_topic():
    schemas = SchemaCache(now_s=lambda: 0.0)
    decoder = Decoder(topic_format={}, schemas=schemas)
    first, second = (number.to_bytes(8, "big") for number in (5 * 2**24, 900 * 2**24 + 7))
    assert NeedSchema(5) == decoder.decode(Record("t", 0, 1, -1, first, b'{"id":1,"b":2,"c":3}'))
    schemas.put_failure(5, Reject("schema.unknown", "asked"))
    assert (5 * 2**24,) == key_after(schemas, decoder, first)
    assert (900 * 2**24 + 7,) == key_after(schemas, decoder, second)  # nobody is asked for each of a million ids
    assert (900 * 2**24 + 7,) == one(decoder.decode(Record("t", 0, 2, -1, second, None))).key
    assert NeedSchema(900) == decoder.decode(Record("other", 0, 1, -1, second, b'{"id":1,"b":2,"c":3}'))


@pytest.mark.parametrize("tail", [b"\x80\x80\x80", b"\x0e\0\0"])
def test_eight_bytes_are_a_long_where_the_schema_reads_other_bytes(tail):
    schemas = SchemaCache()
    schemas.put(5, ID)
    raw = b"\0\0\0\0\5" + tail
    assert (int.from_bytes(raw, "big"),) == key_after(schemas, Decoder(topic_format={}, schemas=schemas), raw)


@pytest.mark.parametrize(("row", "key"), [(b'{"id":8192,"b":2,"c":3}', {"id": 8192}), (b'{"id":84000000,"b":2,"c":3}', None)])
def test_eight_bytes_that_fit_a_schema_are_its_record_unless_the_row_says_otherwise(row, key):
    schemas = SchemaCache()
    schemas.put(5, ID)
    raw = b"\0\0\0\0\5\x80\x80\x01"
    expected = (int.from_bytes(raw, "big"),) if key is None else key
    assert expected == key_after(schemas, Decoder(topic_format={}, schemas=schemas), raw, row)


def test_a_schema_that_cannot_be_used_is_no_sign_of_a_long():
    schemas = SchemaCache()
    schemas.put(5, "no schema")
    assert "schema.malformed" == code_of(schemas, b'{"id":1,"b":2,"c":3}', key=b"\0\0\0\0\5\x80\x80\x01")


@pytest.mark.parametrize(
    ("raw", "row", "key"),
    [
        (b"Struct{id=1,name=a,b=c}", {"id": 1, "name": "a,b=c", "b": "z"}, None),  # told wrongly: the row has it right
        (b"Struct{id=1}", {"id": 1, "n": 2, "m": 3}, None),
        (b"Struct{id=1}", {"other": 1, "n": 2, "m": 3}, {"id": "1"}),
    ],
)
def test_a_key_in_javas_text_counts_only_where_the_row_has_it_not(raw, row, key):
    assert key == one(decoded(SchemaCache(), json.dumps(row).encode(), raw)).key


def test_a_tombstone_has_nothing_but_its_key_in_javas_text():
    assert {"id": "1", "name": "x"} == one(decoded(SchemaCache(), b"", b"Struct{id=1,name=x}")).key


# ---------------------------------------------------------------- schemas


def test_each_record_is_read_with_the_schema_that_wrote_it_though_they_alternate():
    schemas = known(n7=ID)
    made = Decoder(topic_format={}, schemas=schemas)

    def after(value: bytes) -> Any:
        found = made.decode(Record("t", 0, 5, -1, None, value))
        return found if isinstance(found, NeedSchema) else one(found).after

    old, new = b"\0\0\0\0\7\x0e", b"\0\0\0\0\x08\x0e\x02\x02x"
    assert [{"id": 7}, NeedSchema(8)] == [after(old), after(new)]
    schemas.put(8, WIDER)
    assert [{"id": 7, "name": "x"}, {"id": 7}, {"id": 7, "name": "x"}] == [after(new), after(old), after(new)]


def test_that_a_schema_is_unknown_is_believed_for_a_while_only():
    now_s = [100.0]
    schemas = SchemaCache(unknown_for_s=30, now_s=lambda: now_s[0])
    schemas.put_failure(7, Reject("schema.unknown", "gone"))
    now_s[0] = 129.9
    assert "schema.unknown" == code_of(schemas, b"\0\0\0\0\7\x0e")
    now_s[0] = 130.0
    assert NeedSchema(7) == decoded(schemas, b"\0\0\0\0\7\x0e")
    schemas.put(7, ID)
    assert {"id": 7} == one(decoded(schemas, b"\0\0\0\0\7\x0e")).after


def test_other_refusals_stay():
    now_s = [0.0]
    schemas = SchemaCache(now_s=lambda: now_s[0])
    schemas.put_failure(7, Reject("schema.no_registry", "none"))
    schemas.put(8, "{")
    now_s[0] = 1e9
    assert ["schema.no_registry", "schema.malformed"] == [
        code_of(schemas, b"\0\0\0\0\7\x0e"),
        code_of(schemas, b"\0\0\0\0\x08\x0e"),
    ]


def test_a_single_object_is_read_with_the_schema_file_of_its_fingerprint():
    schemas = SchemaCache()
    schemas.put_topic("elsewhere", WIDER.replace('"name":"name"', '"doc":"no part of the canonical form","name":"name"'))
    body = b"\xc3\x01" + bytes.fromhex(AvroSchema(WIDER).fingerprint) + b"\x0e\x02\x02x"
    assert {"id": 7, "name": "x"} == one(decoded(schemas, body)).after


def test_a_topic_with_a_schema_file_reads_single_objects_too():
    schemas = SchemaCache()
    schemas.put_topic("t", ID)
    assert {"id": 7} == one(decoded(schemas, b"\xc3\x01" + bytes.fromhex(AvroSchema(ID).fingerprint) + b"\x0e")).after


def test_the_fingerprint_is_that_of_the_specification():
    assert "63dd24e7cc258f8a" == bytes.fromhex(AvroSchema('"null"').fingerprint)[::-1].hex()
    assert AvroSchema('{"type":"long","logicalType":"timestamp-micros"}').fingerprint == AvroSchema('"long"').fingerprint


# ---------------------------------------------------------------- any bytes


def frames() -> Iterator[bytes]:
    yield from (b"", b"\0\0\0\0\7", b"\0\0\0\0\x08", GUID_HEAD, bytes(8) + b"\7", b"\xc3\x01" + bytes(8), b"{", b"[", b"Struct{")


def schemas_for_anything() -> SchemaCache:
    schemas = known(n7=WIDER)
    schemas.put(8, '{"type":"object","properties":{"id":{"type":"integer"}}}', "JSON")
    schemas.put(GUID, ID)
    schemas.put("wide:7", WIDER)
    return schemas


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [VALUE_HEADER, KEY_HEADER, "apicurio.value.globalId", "apicurio.key.contentId", "apicurio.protobuf.type", "x"]
        ),
        st.one_of(st.none(), st.binary(max_size=20)),
    ),
    max_size=3,
)
BYTES = st.builds(lambda head, rest: head + rest, st.sampled_from(list(frames())), st.binary(max_size=40))


@settings(max_examples=200, deadline=None)
@given(key=st.one_of(st.none(), BYTES), value=st.one_of(st.none(), BYTES), headers=HEADERS)
def test_any_bytes_end_in_an_envelope_a_skip_a_need_or_a_refusal(key, value, headers):
    made = Decoder(topic_format={"t": "plain"}, schemas=schemas_for_anything())
    try:
        found = made.decode(Record("t", 0, 5, -1, key, value, headers))
    except Reject:
        return
    assert isinstance(found, Skip | NeedSchema) or all(isinstance(envelope, Envelope) for envelope in found)


def test_a_record_that_is_cut_anywhere_is_refused():
    whole = b"\0\0\0\0\7\x0e\x02\x0ahello"
    schemas = schemas_for_anything()
    codes = {code_of(schemas, whole[:end]) for end in range(1, len(whole))}
    assert codes == {"framing.truncated", "avro.truncated"}
