"""What each source type becomes in each column type: exactly, or refused with a code."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.numbers import unscaled
from ingest.tables.reading import Reading
from ingest.tables.types import ColumnRule, beside, parse_type, reading

D = Decimal
TS = "timestamp with time zone"


def convert(source: str | SourceType | None, column: str | Column, value: Any, **rule: Any) -> Any:
    """The value in the column, or the code of the rejection."""
    declared = parse_type(source) if isinstance(source, str) else source
    assert not isinstance(source, str) or declared is not None
    return outcome(reading(declared, column if isinstance(column, Column) else Column("c", column), ColumnRule(**rule)), value)


def outcome(found: Reading, value: Any) -> Any:
    try:
        return value if type(value) is found.passes else found.convert(value)
    except Reject as reject:
        return reject.code


def same(expected: Any, actual: Any) -> bool:
    return expected == actual and type(expected) is type(actual)


NUMERIC_5_2 = Column("c", "numeric", precision=5, scale=2)
NUMERIC_5 = Column("c", "numeric", precision=5)
VARCHAR_3 = Column("c", "text", length=3)
BIT_4 = Column("c", "bit", length=4)
VECTOR_2 = Column("c", "float_vector", length=2)
FREE = Column("c", "object", policy="ignored")
DYNAMIC = Column("c", "object", policy="dynamic")
STRICT = Column(
    "c", "object", policy="strict", children=(
        Column("x", "smallint"),
        Column("y", "object", policy="strict", children=(Column("z", "numeric", precision=4, scale=1, nullable=False),)),
    ),
)  # fmt: skip
TYPED = Column("c", "object", policy="ignored", children=(Column("at", TS), Column("list", "bigint_array")))

INTEGERS = [
    (None, "byte", 127, 127),
    (None, "byte", 128, "type.overflow"),
    (None, "smallint", -32768, -32768),
    (None, "smallint", 4294967297, "type.overflow"),
    (None, "integer", 2**31 - 1, 2**31 - 1),
    (None, "integer", 2**31, "type.overflow"),
    (None, "bigint", 2**63 - 2, 2**63 - 2),
    (None, "bigint", 2**63 - 1, "type.overflow"),
    (None, "bigint", -(2**63) + 1, -(2**63) + 1),
    (None, "bigint", -(2**63), "type.overflow"),
    (None, "bigint", 2**64 - 1, "type.overflow"),
    (None, "bigint", D("1E+3"), 1000),
    (None, "bigint", D("1.9"), "type.precision"),
    (None, "bigint", D("1E+999999"), "type.overflow"),
    (None, "bigint", 12.0, 12),
    (None, "bigint", 1.9, "type.precision"),
    (None, "bigint", float(2**53), 2**53),
    (None, "bigint", float(2**60), "type.precision"),
    (None, "bigint", float("nan"), "type.not_finite"),
    (None, "bigint", "12", 12),
    (None, "bigint", "-9223372036854775809", "type.overflow"),
    (None, "bigint", "9" * 5000, "type.overflow"),
    (None, "bigint", "1.9", "type.precision"),
    (None, "bigint", "abc", "type.not_a_number"),
    (None, "bigint", "", "type.not_a_number"),
    (None, "bigint", " 5 ", "type.not_a_number"),
    (None, "bigint", "٣", "type.not_a_number"),
    (None, "bigint", True, 1),
    (None, "bigint", [1], "type.not_a_number"),
    ("uint64_wrapped", "bigint", -1, "type.overflow"),
    ("uint64_wrapped", "bigint", 7, 7),
    ("uint64_wrapped", NUMERIC_5, 2**64, "type.overflow"),
    ("money", NUMERIC_5_2, "($123.45)", "-123.45"),
    ("money", Column("c", "numeric", precision=12, scale=2), "-$1,234,567.80", "-1234567.80"),
    ("money", NUMERIC_5_2, "1.234,56", "type.not_a_number"),
    ("money", NUMERIC_5_2, "-($1.00)", "type.not_a_number"),
    ("interval_text", "bigint", "P0Y0M1DT2H-3M4.5S", 93424500000),
    ("interval_text", "bigint", "1 day -00:00:01", 86399000000),
    ("interval_text", "bigint", "1 mon", "type.precision"),
    ("interval_text", "bigint", "PT", "type.not_an_interval"),
    ("time_text", "bigint", "23:59:60", "type.overflow"),
    ("uint64_wrapped", "numeric", -1, "18446744073709551615"),
    ("bits(4)", "smallint", b"\x05", 5),
    ("time_ms", "bigint", 1_500, 1_500_000),
    ("time_us", "bigint", -45296123456, -45296123456),
    ("time_ns", "bigint", 1_000, 1),
    ("time_ns", "bigint", 1_001, "type.precision"),
    ("time_text", "bigint", "00:00:01.5", 1_500_000),
    ("time_text", "bigint", "-838:59:59", -3020399000000),
    ("time_text", "bigint", "04:05:11.789Z", 14711789000),
    ("time_text", "bigint", "04:05:11+02:00", "type.not_a_time"),
    ("time_text", "bigint", "00:61:00", "type.not_a_time"),
    ("time_text", "bigint", "00:00:00.1234567", "type.precision"),
    ("ts_us", "bigint", 1709634672123456, 1709634672123456),
    ("interval_us", "bigint", -5, -5),
    ("json", "bigint", "{}", "type.mismatch"),
    ("bytes", "integer", b"1", "type.mismatch"),
]

FLOATS = [
    (None, "double precision", D("0.1"), 0.1),
    (None, "double precision", D("3.140000104904175"), 3.140000104904175),
    (None, "double precision", D("0.1000000000000000055511151231257827"), 0.1),
    (None, "double precision", D("1.2345678901234567890123"), "type.precision"),
    (None, "double precision", D("1E+400"), "type.overflow"),
    (None, "double precision", 1.5, 1.5),
    (None, "double precision", 2**53, float(2**53)),
    (None, "double precision", 2**53 + 1, "type.precision"),
    (None, "double precision", float("inf"), "type.not_finite"),
    (None, "double precision", float("nan"), "type.not_finite"),
    (None, "double precision", "NaN", "type.not_finite"),
    (None, "double precision", "1.5", 1.5),
    (None, "double precision", "abc", "type.not_a_number"),
    (None, "double precision", True, "type.not_a_number"),
    ("decimal", "double precision", "26.30", 26.3),
    ("decimal", "double precision", "0.30000000000000001234", "type.precision"),
    (None, "real", D("21.3456789012"), 21.3456789012),
    (None, "real", 3.4028234663852886e38, 3.4028234663852886e38),
    (None, "real", 3.5e38, "type.overflow"),
    (None, "real", 2**24, float(2**24)),
    (None, "real", 2**24 + 1, "type.precision"),
    ("decimal", "real", "3.14", 3.14),
    ("decimal", "real", "3.14159265358", "type.precision"),
]

DECIMALS = [
    (None, NUMERIC_5_2, D("999.99"), "999.99"),
    (None, NUMERIC_5_2, D("999.995"), "type.precision"),
    (None, NUMERIC_5_2, D("1000"), "type.overflow"),
    (None, NUMERIC_5_2, "12.300", "12.300"),
    (None, NUMERIC_5_2, "12.345", "type.precision"),
    (None, NUMERIC_5_2, "1E2", "100"),
    (None, NUMERIC_5_2, 12, "12"),
    (None, NUMERIC_5_2, 0.5, "0.5"),
    (None, NUMERIC_5_2, D("0E-1000"), "0"),
    (None, NUMERIC_5_2, D("1E-1000"), "type.precision"),
    (None, NUMERIC_5_2, "NAN", "type.not_finite"),
    (None, NUMERIC_5_2, "POSITIVE_INFINITY", "type.not_finite"),
    (None, NUMERIC_5_2, "MDk=", "type.not_a_number"),
    (None, NUMERIC_5_2, True, "type.not_a_number"),
    (None, NUMERIC_5, "123.45", "123.45"),
    (None, NUMERIC_5, "123.456", "type.precision"),
    (None, NUMERIC_5, "0.00001", "0.00001"),
    (None, NUMERIC_5, "123456", "type.overflow"),
    ("numeric(5,2)", NUMERIC_5_2, "MDk=", "123.45"),
    ("numeric(5,2)", NUMERIC_5_2, "12.30", "type.not_a_number"),
    (SourceType("decimal", scale=2), NUMERIC_5_2, b"\xff", "-0.01"),
    (SourceType("decimal", scale=0), NUMERIC_5_2, b"\x7f" * 300, "type.overflow"),
    (SourceType("decimal", scale=-2), NUMERIC_5_2, b"\x01", "100"),
    ("decimal_variable", NUMERIC_5_2, {"scale": 2, "value": "MDk="}, "123.45"),
    ("decimal_variable", NUMERIC_5_2, {"scale": -1, "value": b"\x05"}, "50"),
    ("decimal_variable", NUMERIC_5_2, {"scale": 10**9, "value": b"\x05"}, "type.not_a_number"),
]

MOMENTS = [
    (None, TS, 1709634672123, 1709634672123),
    (None, TS, 253402300799999, 253402300799999),
    (None, TS, 253402300800000, "type.not_a_timestamp"),
    (None, TS, 1709634672123456, "type.not_a_timestamp"),
    (None, TS, -62135596800000, -62135596800000),
    (None, TS, -62135596800001, "type.not_a_timestamp"),
    (None, TS, D("1700000000.5"), "type.not_a_timestamp"),
    (None, TS, 1700000000.0, "type.not_a_timestamp"),
    (None, TS, True, "type.not_a_timestamp"),
    (None, TS, "2024-03-05T10:31:12.123456789Z", 1709634672123),
    (None, TS, "2024-03-05T12:31:12.123+02:00", 1709634672123),
    (None, TS, "2024-03-05 10:31:12.1", 1709634672100),
    (None, TS, "1969-12-31T23:59:59.9999Z", -1),
    (None, TS, "2017-09-15Z", 1505433600000),
    (None, TS, "2024-02-29", 1709164800000),
    (None, TS, "2023-02-29", "type.not_a_timestamp"),
    (None, TS, "+12024-03-05T00:00:00Z", 317279116800000),
    (None, TS, "2024-03-05T24:00:00Z", 1709683200000),
    (None, TS, "2024-03-05T24:00:01Z", "type.not_a_timestamp"),
    (None, TS, "2024-03-05T24:00:00." + "0" * 5000 + "1Z", "type.not_a_timestamp"),
    (None, TS, "2024-03-05T10:31:60Z", "type.overflow"),
    (None, TS, "0044-03-15 00:00:00 BC", -63517824000000),
    (
        "structured",
        TS,
        {"year": 2024, "month": 3, "day": 5, "hour": 10, "minute": 31, "second": 12, "nanos": 123_999_999},
        1709634672123,
    ),
    ("structured", TS, {"year": 2024, "month": 3, "day": 5, "offsetSeconds": 3600}, 1709593200000),
    ("structured", TS, {"year": 0, "month": 0, "day": 0}, "type.zero_date"),
    ("structured", TS, {"specialValue": "POSITIVE_INFINITY"}, "type.not_finite"),
    ("structured", TS, {"hour": 1}, "type.not_a_timestamp"),
    ("structured", "text", {"year": 12024, "month": 3, "day": 5, "hour": 0, "nanos": 5}, "+12024-03-05T00:00:00.000000005"),
    ("structured", "text", {"hour": 4, "minute": 5, "offsetSeconds": -5400}, "04:05:00-01:30"),
    ("structured", "bigint", {"hour": 0, "second": 1, "nanos": 1_000}, 1_000_001),
    ("structured", "bigint", {"hour": 0, "nanos": 1}, "type.precision"),
    ("structured", "text", {"year": 0, "month": 0, "day": 0}, "0000-00-00"),
    ("structured", "text", {"year": 2024, "month": 0, "day": 9, "hour": 5, "minute": 0, "second": 7}, "2024-00-09 05:00:07"),
    ("structured", "text", {"year": 2024, "month": 13, "day": 0}, "type.not_a_timestamp"),
    (
        "structured",
        "text",
        {"year": 2024, "month": 2, "day": 9, "hour": 5, "offsetSeconds": 19800, "zoneId": "Asia/Kolkata"},
        "2024-02-09T05:00:00+05:30",
    ),
    (
        "interval_parts",
        "text",
        {"years": 1, "months": 2, "days": 3, "hours": 4, "minutes": 5, "seconds": 6, "nanos": 7},
        "P1Y2M3DT4H5M6.000000007S",
    ),
    ("interval_parts", "text", {"year": 0, "day": -1, "second": 0, "nanos": -500_000_000}, "P0Y0M-1DT0H0M-0.500000000S"),
    ("interval_parts", "bigint", {"day": 1, "hour": -2, "second": 3, "nanos": 4_000}, 79_203_000_004),
    ("interval_parts", "bigint", {"month": 1}, "type.precision"),
    ("interval_parts", "bigint", {"day": "x"}, "type.not_an_interval"),
    ("interval_parts", "text", {"second": 1, "nanos": -1}, "type.not_an_interval"),
    ("interval_parts", "text", {"specialValue": "POSITIVE_INFINITY"}, "type.not_finite"),
    ("interval_parts", "text", 5, "type.not_an_interval"),
    ("bytes_hex", "text", b"\xff", "type.not_bytes"),
    ("ext_json", TS, {"$date": {"$numberLong": "1456012800000"}}, 1456012800000),
    (None, TS, "20240305", "type.not_a_timestamp"),
    (None, TS, "1709634672123", "type.not_a_timestamp"),
    (None, TS, "infinity", "type.not_finite"),
    (None, TS, "0000-00-00 00:00:00", "type.zero_date"),
    (None, TS, "", "type.not_a_timestamp"),
    ("ts_us", TS, -1, -1),
    ("ts_us", TS, 1709634672123999, 1709634672123),
    ("ts_us", TS, "1709634672123999", 1709634672123),
    ("ts_us", TS, 9223372036825200000, "type.not_finite"),
    ("ts_us", TS, -9223372036832400000, "type.not_finite"),
    ("ts_us", TS, 999999999999999999, 999999999999999),
    ("ts_us", TS, 10**18, "type.overflow"),
    ("ts_ns", TS, -1, -1),
    ("ts_ns", TS, 2**63 - 1, "type.not_finite"),
    ("ts_ms", TS, 1709634672123, 1709634672123),
    ("ts_ms", TS, 1.5, "type.not_a_timestamp"),
    ("ts_s", TS, D("1700000000.0009"), 1700000000000),
    ("ts_s", TS, D("-0.0001"), -1),
    ("ts_s", TS, 10**17, "type.overflow"),
    ("date_days", TS, 19787, 1709596800000),
    ("date_days", TS, -622191233, "type.not_finite"),
    ("date_days", "text", -622191233, "type.not_finite"),
    ("date_days", TS, 12_000_000, "type.overflow"),
    ("date_text", TS, "2024-03-05", 1709596800000),
    ("time_us", TS, 5, "type.mismatch"),
    ("bool", TS, True, "type.mismatch"),
]

TEXTS = [
    (None, "text", "as it is\0", "as it is\0"),
    (None, "text", D("1.50"), "1.50"),
    (None, "text", 12345678901234567890123, "12345678901234567890123"),
    (None, "text", True, "true"),
    (None, "text", [1, D("1.50"), {"a": None}], '[1,1.50,{"a":null}]'),
    (None, "text", {"a": [2**64, {"b": -(2**70)}]}, f'{{"a":[{2**64},{{"b":{-(2**70)}}}]}}'),
    (None, "text", [1.0, float("nan"), None], "type.not_finite"),
    (None, "text", ["\ud800"], "type.not_json"),
    (None, "text", b"\x00\xff", "AP8="),
    (None, "text", float("nan"), "NaN"),
    ("ts_us", "text", 1709634672123456, "2024-03-05T10:31:12.123456Z"),
    (SourceType("ts_us"), "text", -1, "1969-12-31T23:59:59.999999"),
    (SourceType("ts_us"), "text", 9223372036825200000, "infinity"),
    ("date_days", "text", 19787, "2024-03-05"),
    ("date_days", "text", 2932897, "+10000-01-01"),
    ("time_us", "text", -45296123456, "-12:34:56.123456"),
    ("time_ms", "text", 3020399000, "838:59:59"),
    ("interval_us", "text", -1500000, "PT-1.500000S"),
    ("bits(3)", "text", b"\x02", "010"),
    ("bits(3)", "text", b"\xff", "type.not_bits"),
    ("bits_base64(9)", "text", "AQE=", "100000001"),
    ("bits_words", "text", [3, 4611686018427387904], "010"),
    ("bits_words", "text", [64, -1], "1" * 64),
    ("bytes_hex", "text", "\\x666f6f", "Zm9v"),
    ("bytes_hex", "text", "xyz", "type.not_bytes"),
    ("bytes_base64", "text", "Zm9v", "Zm9v"),
    ("bytes_base64url", "text", "_-8", "/+8="),
    ("bytes_escape", "text", "fo\\157\\000\\\\", "Zm9vAFw="),
    ("bytes_escape", "text", "\\9", "type.not_bytes"),
    ("bytes_latin1", "text", "\xff\0", "/wA="),
    ("bytes_latin1", "text", "\u20ac", "type.not_bytes"),
    ("bytes", "text", "x", "type.not_bytes"),
    ("uuid", "text", b"\x10" * 16, "10101010-1010-1010-1010-101010101010"),
    ("uuid", "text", "1_" + "0" * 30, "type.not_a_uuid"),
    ("uuid", "text", "2B1D9F31-6A56-4E2B-9C1E-1D6F6D0E7A11", "2b1d9f31-6a56-4e2b-9c1e-1d6f6d0e7a11"),
    ("uuid", "text", "", "type.not_a_uuid"),
    ("decimal(0,2)", "text", b"09", "123.45"),
    ("decimal", "text", "NaN", "NaN"),
    ("enum_set", "text", "a,b", "a,b"),
    (None, VARCHAR_3, "abc", "abc"),
    (None, VARCHAR_3, "abc ", "text.too_long"),
    (None, VARCHAR_3, "a\U0001f600", "a\U0001f600"),
    (None, VARCHAR_3, "\U0001f600\U0001f600", "text.too_long"),
]

SCALARS = [
    (None, "boolean", True, True),
    (None, "boolean", 0, False),
    (None, "boolean", 2, "type.not_a_boolean"),
    (None, "boolean", "T", True),
    (None, "boolean", "maybe", "type.not_a_boolean"),
    ("bits(1)", "boolean", b"\x01", True),
    (None, "uuid", "2B1D9F31-6A56-4E2B-9C1E-1D6F6D0E7A11", "2b1d9f31-6a56-4e2b-9c1e-1d6f6d0e7a11"),
    (None, "uuid", 5, "type.not_a_uuid"),
    (None, "ip", "10.0.0.1/32", "10.0.0.1"),
    (None, "ip", "::1/128", "::1"),
    (None, "ip", "10.0.0.0/24", "type.overflow"),
    (None, "ip", "::ffff:1.2.3.4", "type.overflow"),
    (None, "ip", "fe80::1%eth0", "type.overflow"),
    (None, "ip", 167772161, "type.not_an_ip"),
    (None, BIT_4, "0101", "0101"),
    (None, BIT_4, "101", "type.wrong_length"),
    (None, BIT_4, 5, "0101"),
    (None, BIT_4, 16, "type.wrong_length"),
    (None, BIT_4, -1, "type.not_bits"),
    (None, "geo_point", [1, D("2.5")], [1.0, 2.5]),
    (None, "geo_point", {"type": "Point", "coordinates": [1, 2]}, [1.0, 2.0]),
    (None, "geo_point", "POINT (1 2)", [1.0, 2.0]),
    ("point", "geo_point", {"x": 1.0, "y": 2.0, "wkb": "AA==", "srid": None}, [1.0, 2.0]),
    (None, "geo_point", [181, 0], "type.overflow"),
    (None, "geo_point", ["1", "2"], "type.not_a_point"),
    (None, "geo_shape", {"type": "Point", "coordinates": [1, 2]}, {"type": "Point", "coordinates": [1.0, 2.0]}),
    (None, "geo_shape", "POINT (1 2)", {"type": "Point", "coordinates": [1.0, 2.0]}),
    (None, "geo_shape", "POINT Z (1 2 3)", "type.precision"),
    (None, "geo_shape", {"type": "Point", "coordinates": [1, 2, 3]}, "type.precision"),
    (None, "geo_shape", {"type": "GeometryCollection", "geometries": []}, "type.not_a_shape"),
    (
        None,
        "geo_shape",
        {"type": "Point", "coordinates": [1, 2], "crs": {"properties": {"name": "EPSG:3857"}}},
        "type.not_a_shape",
    ),
    (None, "geo_shape", "((((((", "type.not_a_shape"),
    (None, "geo_shape", "0101000000000000000000F03F0000000000000040", {"type": "Point", "coordinates": [1.0, 2.0]}),
    ("geometry", "geo_shape", {"wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA"}, {"type": "Point", "coordinates": [1.0, 2.0]}),
    ("geometry", "geo_shape", {"wkb": "AQEAAAAAAAAAAADwPw=="}, "type.not_a_shape"),
    ("geometry", "geo_shape", {"wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA", "srid": 3857}, "type.not_a_shape"),
]

NESTED = [
    (None, FREE, {"a": [1, "x"], "b.c": None}, {"a": [1, "x"], "b.c": None}),
    (None, FREE, '{"a": 1.50}', {"a": 1.5}),
    (None, FREE, {"a": 2**63 - 1}, {"a": 2**63 - 1}),
    (None, FREE, {"a": 2**63}, "type.overflow"),
    (None, FREE, {"a": D("1.23456789012345678901")}, "type.precision"),
    (None, FREE, {"a": float("nan")}, "type.not_finite"),
    (None, FREE, '{"a": NaN}', "type.not_finite"),
    (None, FREE, [1], "type.not_an_object"),
    (None, FREE, "[1]", "type.not_an_object"),
    (None, FREE, "plain", "type.not_json"),
    (None, FREE, {"a": b"\x00"}, {"a": "AA=="}),
    (None, DYNAMIC, {"a": 2**63 - 1}, "type.overflow"),
    (None, DYNAMIC, {"a.b": 1}, "object.key"),
    (None, DYNAMIC, {"": 1}, "object.key"),
    (None, DYNAMIC, {"a[": 1}, "object.key"),
    (None, DYNAMIC, {"a": [1, 1.5, None]}, {"a": [1, 1.5, None]}),
    (None, DYNAMIC, {"a": [1, "x"]}, "type.mixed_array"),
    (None, STRICT, {"x": 1, "y": {"z": 2}}, {"x": 1, "y": {"z": "2"}}),
    (None, STRICT, {"y": {"w": 2}}, "field.unknown"),
    (None, STRICT, {"x": 4294967297}, "type.overflow"),
    (None, STRICT, {"y": {"z": "1.25"}}, "type.precision"),
    (None, STRICT, {"y": {}}, "value.null"),
    (None, STRICT, {"y": None}, {"y": None}),
    (None, TYPED, {"at": "2024-03-05", "list": ["1"], "a.b": 0.5}, {"at": 1709596800000, "list": [1], "a.b": 0.5}),
    (SourceType("struct", fields={"at": SourceType("ts_us")}), TYPED, {"at": 1_999}, {"at": 1}),
    ("json", FREE, '{"a": 1, "a": 2}', "object.key"),
    ("json", FREE, "null", "type.not_an_object"),
    (None, DYNAMIC, {"a\r": 1}, "object.key"),
    (None, DYNAMIC, {"_a": 1, "]": 2}, {"_a": 1, "]": 2}),
    ("hstore", FREE, '"a"=>"1", "b"=>NULL', {"a": "1", "b": None}),
    ("hstore", FREE, '{"a": "1"}', {"a": "1"}),
    ("hstore", FREE, '"a"=>', "type.not_an_object"),
    ("hstore", "text", '"a"=>"1"', '"a"=>"1"'),
    ("ext_json", FREE, {"_id": {"$oid": "5f"}, "n": {"$numberLong": "5"}}, {"_id": "5f", "n": 5}),
    ("ext_json", FREE, '{"n": {"$numberDouble": "NaN"}}', {"n": "NaN"}),
    ("ext_json", "bigint", {"$timestamp": {"t": 1, "i": 2}}, 2**32 + 2),
    ("ext_json", "numeric", {"$numberDecimal": "1.5E+3"}, "1500"),
    ("ext_json", "text", {"$binary": "AP8=", "$type": "00"}, "AP8="),
    ("ext_json", "bigint", {"$numberLong": 5}, "type.not_extended_json"),
    ("ext_json", "bigint", {"$undefined": True}, None),
    ("ext_json", "text", "a text", "a text"),
    ("ext_json", TS, {"$date": {"$numberLong": "253402300800000"}}, 253402300800000),
    ("ext_json", "bigint", {"$numberLong": "1" * 5000}, "type.overflow"),
    *(
        ("ext_json", "text", broken, "type.not_extended_json")
        for broken in ({"$oid": 5}, {"$date": {"x": 1}}, {"$date": True}, {"$timestamp": {"t": 1}}, {"$uuid": 1})
    ),
    ("ext_json", "text", {"$binary": {"base64": 5}}, "type.not_bytes"),
    *(
        ("ext_json", FREE, lookalike, lookalike)
        for lookalike in ({"$oid": "a", "x": 1, "y": 2}, {"$new": 1}, {"x": 1, "$oid": "a"}, {}, {"$id": 1, "$ref": "c"})
    ),
    ("ext_json", FREE, {"$regex": "a", "$options": "i"}, {"$regex": "a", "$options": "i"}),
    ("ext_json", "bigint_array", [{"$numberLong": "5"}, 6], [5, 6]),
    ("json", FREE, '{"a": 1e99999999999999999999}', "type.overflow"),
    (None, "geo_point", "[1e99999999999999999999, 2]", "type.overflow"),
    ("sparse_vector", FREE, "{1:1.5,3:2}/5", {"dimensions": 5, "indices": [1, 3], "values": [D("1.5"), D("2")]}),
    (SourceType("struct", fields={"at": SourceType("ts_ms", zoned=True)}), FREE, {"at": 0}, {"at": "1970-01-01T00:00:00Z"}),
    (SourceType("map", element=SourceType("decimal", scale=1)), FREE, {"a": b"\x05"}, {"a": "0.5"}),
    (None, "bigint_array", [1, None, "2"], [1, None, 2]),
    (None, "bigint_array", [1, 1.5], "type.precision"),
    (None, "bigint_array", "{1,2}", "type.not_a_list"),
    (None, "text_array_array", [["a"], []], [["a"], []]),
    ("int[]", "bigint_array", "{1,NULL,-3}", [1, None, -3]),
    ("int[]", "bigint_array", "[1,2]", [1, 2]),
    ("string[]", "text_array", '[0:1]={"a,b\\\\",NULL}', ["a,b\\", None]),
    ("int[][]", "bigint_array_array", "{{1},{2}}", [[1], [2]]),
    ("int[]", "bigint_array", "{1,2", "type.not_a_list"),
    ("int[]", "bigint_array", "1,2", "type.not_json"),
    ("int[]", "bigint_array", "{" * 9 + "}" * 9, "type.not_a_list"),
    ("ts_us[]", f"{TS}_array", [1000, None], [1, None]),
    ("enum_set", "text_array", "", []),
    ("enum_set", "text_array", "a,b", ["a", "b"]),
    ("json", "integer_array", "[1,2]", [1, 2]),
    (None, VECTOR_2, [1, D("0.5")], [1.0, 0.5]),
    (None, VECTOR_2, [1], "type.wrong_length"),
    (None, VECTOR_2, [1, None], "value.null"),
    (None, VECTOR_2, [1, 1e39], "type.overflow"),
    ("string", VECTOR_2, "[1,2]", [1.0, 2.0]),
    ("sparse_vector", VECTOR_2, {"dimensions": 2, "vector": [[2, 5.0]]}, [0.0, 5.0]),
    ("sparse_vector", VECTOR_2, {"dimensions": 2, "vector": [[3, 5.0]]}, "type.wrong_length"),
]


@pytest.mark.parametrize("source, column, value, expected", INTEGERS + FLOATS + DECIMALS + MOMENTS + TEXTS + SCALARS + NESTED)
def test_a_value_arrives_exactly_or_is_refused_with_a_code(source: Any, column: Any, value: Any, expected: Any) -> None:
    assert same(expected, convert(source, column, value))


@pytest.mark.parametrize(
    "column, value, expected",
    [
        ("bigint", 2**63, None),
        ("double precision", "Infinity", None),
        (TS, "infinity", None),
        (TS, "0000-00-00", None),
        (TS, "rubbish", "type.not_a_timestamp"),
        ("bigint", "1.5", "type.precision"),
    ],
)
def test_overflow_null_stores_null_for_what_the_column_has_no_place_for_and_nothing_else(
    column: str, value: Any, expected: Any
) -> None:
    assert expected == convert(None, column, value, overflow="null")


def test_overflow_text_keeps_big_numbers_of_free_objects_as_text() -> None:
    value = {"a": 2**64, "b": D("1.23456789012345678901"), "c": 1}
    assert {"a": str(2**64), "b": "1.23456789012345678901", "c": 1} == convert(None, FREE, value, overflow="text")


@pytest.mark.parametrize(
    "column, value, stored, text",
    [
        (NUMERIC_5_2, "999.99", "999.99", None),
        (NUMERIC_5_2, "1000.00", None, "1000.00"),
        ("bigint", 2**64, None, str(2**64)),
        (TS, "infinity", None, "infinity"),
        (TS, "0000-00-00", None, "0000-00-00"),
        ("bigint_array", [1, 2**64], None, f"[1,{2**64}]"),
        (DYNAMIC, {"a.b": 1}, None, '{"a.b":1}'),
        (DYNAMIC, "null", None, "null"),
        (NUMERIC_5_2, "1.234", "type.precision", "type.precision"),
        (NUMERIC_5_2, "rubbish", "type.not_a_number", "type.not_a_number"),
    ],
)
def test_overflow_text_stores_null_and_the_exact_text_beside_it(column: Any, value: Any, stored: Any, text: Any) -> None:
    found = column if isinstance(column, Column) else Column("c", column)
    assert stored == convert(None, found, value, overflow="text")
    assert text == outcome(beside(None, found, ColumnRule(overflow="text")), value)


def test_precision_has_a_policy_of_its_own() -> None:
    assert None is convert(None, NUMERIC_5_2, "1.234", precision="null")
    assert "type.overflow" == convert(None, NUMERIC_5_2, "1000", precision="null")
    assert "1.234" == outcome(beside(None, NUMERIC_5_2, ColumnRule(precision="text")), "1.234")


def test_a_policy_of_null_in_an_array_is_about_its_elements() -> None:
    assert [1, None, None] == convert(None, "bigint_array", [1, 2**64, None], overflow="null")


def test_each_value_that_a_policy_makes_null_is_told() -> None:
    told: list[str] = []
    found = reading(None, Column("c", "bigint"), ColumnRule(overflow="null"), told.append)
    assert [1, None, None] == [found.convert(value) for value in (1, 2**64, "-9223372036854775808")]
    assert ["c", "c"] == told


@pytest.mark.parametrize(
    "column, value, expected",
    [
        (VARCHAR_3, "abcd", "abc"),
        (VARCHAR_3, "ab\U0001f600", "ab"),
        (VARCHAR_3, "a\U0001f600b", "a\U0001f600"),
        ("text", "x" * 40_000, "x" * 32_766),
        ("text", "é" * 20_000, "é" * 16_383),
        ("text", "short", "short"),
    ],
)
def test_shorten_cuts_at_a_whole_character(column: Any, value: str, expected: str) -> None:
    assert expected == convert(None, column, value, shorten=True)


def test_a_type_in_the_contract_speaks_where_the_format_lost_it_and_not_against_a_declared_one() -> None:
    hint = parse_type("ts_us")
    assert 1 == convert(None, TS, 1_000, type=hint)
    assert 1 == convert("int", TS, 1_000, type=hint)
    assert 1_000 == convert("ts_ms", TS, 1_000, type=hint)


def test_what_a_contract_says_of_a_document_is_about_what_its_wrapper_holds() -> None:
    said = {"$numberLong": "1700000000123456"}
    assert 1_700_000_000_123 == convert("ext_json", TS, said, type=parse_type("ts_us"))
    assert "type.not_a_timestamp" == convert("ext_json", TS, said)
    assert [1, 2] == convert("ext_json", "bigint_array", [{"$numberLong": "1"}, 2], type=parse_type("int[]"))


def test_the_text_beside_a_value_of_a_document_is_that_of_what_its_wrapper_holds() -> None:
    rule = ColumnRule(overflow="text")
    found = beside(SourceType("ext_json"), Column("c", "bigint"), rule)
    assert "9223372036854775808" == found.convert({"$numberLong": "9223372036854775808"})


def test_a_document_nested_too_deeply_is_refused() -> None:
    value: Any = 1
    for _ in range(400):
        value = {"a": [value]}
    assert "object.too_deep" == convert("ext_json", FREE, value)


@pytest.mark.parametrize("text", ["numeric", "numeric(18)", "timestamp_us", "ts_us(", "", "INT"])
def test_what_is_no_type_is_told(text: str) -> None:
    assert parse_type(text) is None


@given(st.integers(-(10**40), 10**40), st.integers(0, 40))
def test_unscaled_bytes_are_the_number_digit_for_digit(number: int, scale: int) -> None:
    octets = number.to_bytes(18, "big", signed=True)
    assert Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale)) == unscaled(octets, scale)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6))
def test_a_numeric_column_takes_what_has_its_digits_and_refuses_the_rest(number: Decimal) -> None:
    column = Column("c", "numeric", precision=7, scale=2)
    answer = convert(None, column, number)
    fits = abs(number) < 10**5 and number == round(number, 2)
    assert fits == (answer not in ("type.precision", "type.overflow"))
    assert not fits or Decimal(answer) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_double_arrives_unchanged_also_through_its_text(number: float) -> None:
    assert number == convert(None, "double precision", number) == convert(None, "double precision", D(repr(number)))
    assert number == convert(None, "double precision", repr(number))
