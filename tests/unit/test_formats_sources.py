"""Maxwell, Canal, TiCDC, DMS, GoldenGate, MongoDB and the generic envelope: shortcuts, types that reach their columns, odd input.

Whole records of each are in tests/cases.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingest.errors import IngestError, Reject
from ingest.formats import FORMATS, Decoder, SchemaCache, mysql_types, positions, ticdc_open, times
from ingest.formats import json as exact
from ingest.formats.canal import Canal
from ingest.formats.message import NO_KEY, Message
from ingest.formats.mysql_types import by_word
from ingest.model import Column, Envelope, NeedSchema, Record, Skip, Table
from ingest.tables.contract import Contract
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from tests.unit.decoding import SOURCES, trap_records

JSON_FORMATS = ("maxwell", "canal", "ticdc_simple", "dms", "goldengate", "mongodb", "generic")


def ending(decode: Any) -> Any:
    """What comes of a record, comparable: envelopes without the identity of their schemas, or the code of an error."""
    try:
        decoded = decode()
    except IngestError as error:
        return error.code
    if decoded is None or isinstance(decoded, Skip | NeedSchema):
        return decoded
    return [comparable(envelope) for envelope in decoded]


def comparable(envelope: Envelope) -> tuple[Any, ...]:
    schemas = [None if schema is None else dict(schema.fields) for schema in (envelope.schema, envelope.key_schema)]
    seen = [getattr(envelope, name) for name in Envelope.__slots__ if name not in ("schema", "key_schema")]
    return (*seen, *schemas)


# ---------------------------------------------------------------- shortcuts


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_the_shortcut_says_what_the_long_way_says(name: str) -> None:
    chosen = Decoder(topic_format={}, schemas=SchemaCache())._formats[name]
    taken = 0
    for source in SOURCES:
        for record in trap_records(source):
            body = record.value or b""
            if not body.startswith(b"{"):
                continue
            quick = ending(lambda body=body, record=record: chosen.read_json(Message(record, NO_KEY, body)))
            if quick is None:
                continue
            slow = ending(lambda body=body, record=record: chosen.read(Message(record, NO_KEY, body, exact.decode(body))))
            if isinstance(quick, str):  # refused both ways, but what is looked at first differs
                assert (body, True) == (body, isinstance(slow, str))
                continue
            assert (body, slow) == (body, quick)
            taken += 1
    assert taken >= 1


def test_every_format_that_can_be_declared_reads_something() -> None:
    decoder = Decoder(topic_format=lambda topic: topic, schemas=SchemaCache())
    for name in FORMATS:
        found = ending(lambda name=name: decoder.decode(Record(name, 0, 0, -1, None, b'{"id": 1}')))
        assert (name, False) == (name, found == "format.unknown_name")


def test_the_types_of_one_table_are_one_schema_in_whatever_order_they_are_written() -> None:
    canal, seen = Canal(), set()
    for names in (("id", "n"), ("n", "id")):
        types = {name: {"id": "int", "n": "varchar"}[name] for name in names}
        codes = {"id": 4 if names[0] == "id" else -5, "n": 12}
        value = {"type": "INSERT", "table": "t", "mysqlType": types, "sqlType": codes, "data": [{"id": "1", "n": "x"}]}
        (envelope,) = canal.read_json(Message(Record("c", 0, 0, -1, None, b""), NO_KEY, json.dumps(value).encode()))  # type: ignore[misc]
        seen.add(id(envelope.schema))
    assert 1 == len(seen)


# ---------------------------------------------------------------- types that reach their columns

CANAL_ROW = {
    "id": ("1", "int(11)"),
    "amount": ("12.340", "decimal(20,3)"),
    "big": ("18446744073709551615", "bigint(20) unsigned"),
    "flag": ("1", "tinyint(1)"),
    "many": ("127", "tinyint(1)"),
    "at": ("2024-02-29 23:59:59.999999", "datetime(6)"),
    "mask": ("5", "bit(4)"),
    "blob": ("\x00\xffA", "blob"),
    "state": ("2", "enum('new','paid')"),
    "tags": ("3", "set('a','b')"),
    "doc": ('{"a": 1}', "json"),
    "ratio": ("1.5", "double"),
    "year": ("2024", "year"),
    "spot": ((4326).to_bytes(4, "little").decode("latin-1") + "\x01\x01\x00\x00\x00" + "\x00" * 16, "point"),
}
CANAL_COLUMNS = {
    "amount": Column("amount", "numeric", precision=20, scale=3),
    "big": Column("big", "numeric", precision=20, scale=0),
    "flag": Column("flag", "boolean"),
    "many": Column("many", "smallint"),
    "at": Column("at", "timestamp without time zone"),
    "mask": Column("mask", "bit", length=4),
    "blob": Column("blob", "text"),
    "state": Column("state", "text"),
    "tags": Column("tags", "text_array"),
    "doc": Column("doc", "object", policy="ignored"),
    "ratio": Column("ratio", "double precision"),
    "year": Column("year", "integer"),
    "spot": Column("spot", "geo_point"),
}
CANAL_STORED = {
    "amount": "12.340",
    "big": "18446744073709551615",
    "flag": True,
    "many": 127,
    "at": 1_709_251_199_999,
    "mask": "0101",
    "blob": "AP9B",
    "state": "paid",
    "tags": ["a", "b"],
    "doc": {"a": 1},
    "ratio": 1.5,
    "year": 2024,
    "spot": [0.0, 0.0],
}


def test_texts_of_canal_arrive_in_their_columns_exactly() -> None:
    table = Table("doc", "orders", {"id": Column("id", "bigint"), **CANAL_COLUMNS}, ("id",), primary_key=("id",))
    mapper = compile_mapper(table, Contract("doc.orders"), settings=MappingRules())
    value = {
        "type": "INSERT", "database": "shop", "table": "orders", "id": 7, "es": 1, "isDdl": False, "pkNames": ["id"],
        "data": [{name: text for name, (text, _) in CANAL_ROW.items()}],
        "mysqlType": {name: word for name, (_, word) in CANAL_ROW.items()},
    }  # fmt: skip
    record = Record("canal", 0, 0, -1, None, json.dumps(value).encode())
    (envelope,) = Decoder(topic_format={}, schemas=SchemaCache()).decode(record)
    change = mapper.map(envelope, record, 1_793_000_000_000)  # type: ignore[arg-type]
    assert ((1,), CANAL_STORED) == (change.key, dict(zip(change.columns, change.row, strict=True)))


@pytest.mark.parametrize(
    ("word", "code", "text", "value"),
    [
        ("enum('1','2')", 4, "1", "1"),
        ("enum('2','1')", 4, "1", "2"),
        ("enum('2','1')", 12, "1", "1"),
        ("enum('a','b')", None, "b", "b"),
        ("enum('a','b')", 4, "0", ""),
        ("enum('a''b','c\\'d')", 4, "2", "c'd"),
        ("set('a','b','c')", -7, "0", ""),
        ("set('a','b','c')", -7, "6", "b,c"),
        ("set('a','b','c')", 12, "a,c", "a,c"),
        ("BIT(64)", -7, "18446744073709551615", 2**64 - 1),
    ],
)
def test_labels_and_bits_come_from_numbers(word: str, code: int | None, text: str, value: Any) -> None:
    found = by_word(word, code)
    assert found is not None
    assert found.convert is not None
    assert value == found.convert(text)


@pytest.mark.parametrize("word", ["", "unheard", "(255)", "123"])
def test_an_unknown_word_says_nothing(word: str) -> None:
    assert by_word(word) is None


def test_a_code_tells_the_type_where_no_word_does() -> None:
    kinds = [found.declared.kind if (found := mysql_types.by_code(code)) else None for code in (4, 3, 2004, 93, 1111, None, "4")]
    assert ["int", "decimal", "bytes", "ts_text", None, None, None] == kinds


# ---------------------------------------------------------------- order and times


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (positions.maxwell("bin.000999:9", 9, False), positions.maxwell("bin.001000:1", 0, False)),
        (positions.maxwell("bin.000001:9", 1, False), positions.maxwell("bin.000001:9", None, True)),
        (positions.maxwell("h.01.bin.000001:9", 2, False), positions.maxwell("h.01.bin.000001:10", 1, False)),
        (positions.trail("00000000000000002928"), positions.trail("00000000000000000010000")),
        (positions.cluster_time(1, 4_000_000_000), positions.cluster_time(2, 1)),
        (positions.tso_number(437273809449910272), positions.tso_number(437273815714889728)),
        (positions.stream_position("0/FFFFFFFF.9", 1, 1), positions.stream_position("1/0.1.1/0", 1, 1)),
        (positions.stream_position("0/1.2", 1, 1), positions.stream_position("0/1.10", 1, 1)),
        (positions.stream_position("b.000999.5.0.5", 1, 1), positions.stream_position("b.001000.4.0.4", 1, 1)),
        (positions.stream_position(None, 5, 9), positions.stream_position(None, 6, 1)),
        (positions.free("9"), positions.free(10)),
        (positions.free("0/FFFFFFFF"), positions.free("1/0")),
        (positions.SNAPSHOT, positions.trail("0")),
        (positions.SNAPSHOT, positions.maxwell("b.000000:0", 0, False)),
    ],
)
def test_positions_compare_as_their_sources_do(older: Any, newer: Any) -> None:
    assert older is not None
    assert newer is not None
    assert older < newer


@pytest.mark.parametrize(
    "position",
    [
        positions.maxwell("nowhere", 1, False),
        positions.maxwell(None, 1, False),
        positions.trail("12a"),
        positions.trail(-1),
        positions.cluster_time(2**32, 1),
        positions.cluster_time("1", 1),
        positions.tso_number(2**64),
        positions.tso_number("5"),
        positions.stream_position("who knows", None, 1),
        positions.free("x-y"),
        positions.free(1.5),
        positions.free(10**30),
        positions.free(True),
    ],
)
def test_what_cannot_be_compared_is_no_position(position: Any) -> None:
    assert position is None


def test_times_that_are_none_are_left_out() -> None:
    odd = (None, "", "soon", "2024-13-01", 1.5, True, [], "+99999-01-01")
    assert [None] * len(odd) == [times.text_ms(value) for value in odd]
    assert [None, None, 5] == [times.count_ms(value) for value in (0, True, 5)]
    assert [None, None, 5_000] == [times.guessed_ms(value) for value in (0, -5, 5)]


# ---------------------------------------------------------------- Go's quotes


@pytest.mark.parametrize(
    ("text", "octets"),
    [("plain é", "plain é".encode()), (r"\x00\xff", b"\0\xff"), (r"\n\"\\a", b'\n"\\a'), (r"é\U0001f600", "é😀".encode())],
)
def test_a_text_that_go_quoted_is_unquoted(text: str, octets: bytes) -> None:
    row = {"ts": 1, "tbl": "t", "t": 1}
    value = {"u": {"b": {"t": 254, "f": 1, "v": text}}}
    (envelope,) = ticdc_open.TicdcOpen().read_record(batch((row, value)))
    assert {"b": octets} == envelope.after  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [r"\q", "\\", r"\x0", r"\ud800", r"\U99999999"])
def test_an_escape_that_go_does_not_write_is_refused(text: str) -> None:
    value = {"u": {"b": {"t": 254, "f": 1, "v": text}}}
    if text == "\\":
        assert [{"b": b"\\"}] == [envelope.after for envelope in decoded_batch(value)]
        return
    if text == r"\x0":
        value["u"]["b"]["v"] = r"\x0g"
    with pytest.raises(Reject) as caught:
        decoded_batch(value)
    assert "ticdc.binary" == caught.value.code


def decoded_batch(value: Any) -> Any:
    return ticdc_open.TicdcOpen().read_record(batch(({"ts": 1, "tbl": "t", "t": 1}, value)))


def batch(*events: tuple[Any, Any]) -> Record:
    keys, values = (b"".join(framed(event[place]) for event in events) for place in (0, 1))
    return Record("open", 0, 0, -1, (1).to_bytes(8, "big") + keys, values)


def framed(value: Any) -> bytes:
    text = json.dumps(value).encode()
    return len(text).to_bytes(8, "big") + text


def test_texts_of_old_releases_are_base64_and_those_of_new_ones_are_not() -> None:
    columns = {"old": {"t": 15, "v": "YWE="}, "new": {"t": 15, "f": 0, "v": "YWE="}, "odd": {"t": 15, "v": "not base64"}}
    (envelope,) = decoded_batch({"u": columns})
    assert {"old": "aa", "new": "YWE=", "odd": "not base64"} == envelope.after
