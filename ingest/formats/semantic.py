"""Names that sources give to types, and what they mean: Debezium's, Kafka Connect's, Avro's and CockroachDB's.

One table for JSON and Avro; they differ only in how bytes look. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ingest.model import SourceType

_PLAIN: Final = {
    name: SourceType(kind)
    for name, kind in {
        "io.debezium.data.Enum": "enum",
        "io.debezium.data.EnumSet": "enum_set",
        "io.debezium.data.DoubleVector": "vector",
        "io.debezium.data.FloatVector": "vector",
        "io.debezium.data.Json": "json",
        "io.debezium.data.Ltree": "string",
        "io.debezium.data.SparseDoubleVector": "sparse_vector",
        "io.debezium.data.SparseVector": "sparse_vector",
        "io.debezium.data.Tsvector": "string",
        "io.debezium.data.Uuid": "uuid",
        "io.debezium.data.VariableScaleDecimal": "decimal_variable",
        "io.debezium.data.Xml": "xml",
        "io.debezium.data.geometry.Geography": "geometry",
        "io.debezium.data.geometry.Geometry": "geometry",
        "io.debezium.data.geometry.Point": "point",
        "io.debezium.time.Date": "date_days",
        "io.debezium.time.Interval": "interval_text",
        "io.debezium.time.IsoDate": "date_text",
        "io.debezium.time.IsoTime": "time_text",
        "io.debezium.time.IsoTimestamp": "ts_text",  # its Z is decoration: the column has no zone
        "io.debezium.time.MicroDuration": "interval_us",
        "io.debezium.time.MicroTime": "time_us",
        "io.debezium.time.MicroTimestamp": "ts_us",
        "io.debezium.time.NanoDuration": "interval_ns",
        "io.debezium.time.NanoTime": "time_ns",
        "io.debezium.time.NanoTimestamp": "ts_ns",
        "io.debezium.time.Time": "time_ms",
        "io.debezium.time.Timestamp": "ts_ms",
        "io.debezium.time.Year": "year",
        "org.apache.kafka.connect.data.Date": "date_days",
        "org.apache.kafka.connect.data.Time": "time_ms",
        "org.apache.kafka.connect.data.Timestamp": "ts_ms",
        # CockroachDB's enriched envelope: values are ISO texts, a timestamp says with its Z whether it has a zone
        "date": "date_text",
        "decimal": "decimal",
        "interval": "interval_text",
        "json": "any",
        "time": "time_text",
        "timestamp": "ts_text",
        "uuid": "uuid",
    }.items()
}

_ZONED: Final = {
    "io.debezium.time.ZonedTime": SourceType("time_text", zoned=True),
    "io.debezium.time.ZonedTimestamp": SourceType("ts_text", zoned=True),
}

_NAMED: Final = _PLAIN | _ZONED

# Debezium's time.precision.mode = structured. Which parts a value has stands in the fields of its type.
_STRUCTURED: Final = "io.debezium.time.Structured"
_DURATION: Final = "Duration"

# Avro's own words. They count only for the primitive that the specification gives them.
_LOGICAL: Final = {
    ("int", "date"): SourceType("date_days"),
    ("int", "time-millis"): SourceType("time_ms"),
    ("long", "time-micros"): SourceType("time_us"),
    ("long", "time-nanos"): SourceType("time_ns"),
    ("long", "timestamp-millis"): SourceType("ts_ms", zoned=True),
    ("long", "timestamp-micros"): SourceType("ts_us", zoned=True),
    ("long", "timestamp-nanos"): SourceType("ts_ns", zoned=True),
    ("long", "local-timestamp-millis"): SourceType("ts_ms"),
    ("long", "local-timestamp-micros"): SourceType("ts_us"),
    ("long", "local-timestamp-nanos"): SourceType("ts_ns"),
    ("string", "uuid"): SourceType("uuid"),
}

UUID_BYTES: Final = 16
DECIMAL = "org.apache.kafka.connect.data.Decimal"
BITS = "io.debezium.data.Bits"


def named(name: str | None, literal: SourceType, parameters: Mapping[str, Any], *, base64: bool) -> SourceType:
    """The meaning of a Connect type, `literal` where its name says nothing more.

    parameters: of the type; numbers in them are texts. base64: bytes look like that, as they do in JSON.
    """
    if name == DECIMAL:
        scale, precision = _number(parameters.get("scale")) or 0, _number(parameters.get("connect.decimal.precision"))
        return SourceType("decimal_base64" if base64 else "decimal", scale=scale, precision=precision)
    if name == BITS:
        return SourceType("bits_base64" if base64 else "bits", length=_number(parameters.get("length")))
    if name == "decimal":
        return SourceType("decimal", scale=_number(parameters.get("scale")), precision=_number(parameters.get("precision")))
    if literal.kind == "int" and _is_unsigned_bigint(parameters):
        return SourceType("uint64_wrapped")
    if name is not None and name.startswith(_STRUCTURED):
        return _structured(name.removeprefix(_STRUCTURED), literal)
    return _NAMED.get(name or "", literal)


def _structured(word: str, literal: SourceType) -> SourceType:
    """word: Date, Time, Timestamp, ZonedTime, ZonedTimestamp or Duration."""
    kind = "interval_parts" if word == _DURATION else "structured"
    return SourceType(kind, zoned=word.startswith("Zoned"), fields=literal.fields)


def logical(avro_type: str, node: Mapping[str, Any]) -> SourceType | None:
    """The meaning of an Avro logical type; None where we know none, so that bytes and numbers stand for themselves."""
    word = node.get("logicalType")
    if word == "decimal" and avro_type in ("bytes", "fixed"):
        return SourceType("decimal", scale=_number(node.get("scale")) or 0, precision=_number(node.get("precision")))
    if word == "uuid" and avro_type == "fixed" and node.get("size") == UUID_BYTES:
        return SourceType("uuid")
    return _LOGICAL.get((avro_type, str(word)))


def _is_unsigned_bigint(parameters: Mapping[str, Any]) -> bool:
    declared = parameters.get("__debezium.source.column.type") or parameters.get("tidb_type") or ""
    return str(declared).upper().startswith("BIGINT") and "UNSIGNED" in str(declared).upper()


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
