"""Events as bytes, in the formats that sources send: Debezium with and without schema and in Avro, CockroachDB's, plain rows.

`Format` is all that a workload needs of one: the bytes, and what the worker's contract says about it. Pure.
"""

from __future__ import annotations

import base64
import io
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import orjson

from bench.rows import FIRST_MS, Event, Row, Shape
from bench.streams import source_block

SCHEMA_ID = 7
CONNECT = {
    "long": "int64",
    "int": "int32",
    "text": "string",
    "double": "double",
    "bool": "boolean",
    "cents": "bytes",
    "ms": "int64",
}
AVRO = {"long": "long", "int": "int", "text": "string", "double": "double", "bool": "boolean", "cents": "bytes", "ms": "long"}
MICROS = "io.debezium.time.MicroTimestamp"
DECIMAL = "org.apache.kafka.connect.data.Decimal"
BARE = {"cents": "numeric(18,2)", "ms": "ts_us"}  # what a contract must say where the format tells no types

Bytes = tuple[bytes, bytes | None]
dumps = orjson.dumps


class Format(ABC):
    """has_deletes, has_tombstones: which records it has. version: of the contract."""

    has_deletes = has_tombstones = True
    version = '{ from = "source", epoch = 1 }'

    def __init__(self, shape: Shape) -> None:
        self.kinds = shape.kinds

    @abstractmethod
    def encode(self, event: Event) -> Bytes:
        """Key and value of the record."""

    def column_types(self) -> Mapping[str, str]:
        """Lines of the contract: the type of each column that the format does not tell."""
        return {}

    def schema(self) -> Any:
        """The Avro schema of values, for a registry to hand out as number SCHEMA_ID; None where there is none."""
        return None

    def _of_kind(self, *kinds: str) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds]


class Debezium(Format):
    """JSON without schemas."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._moments, self._decimals = self._of_kind("ms"), self._of_kind("cents")

    def encode(self, event: Event) -> Bytes:
        return dumps({"id": event.key}), None if event.op == "t" else dumps(self.payload(event))

    def column_types(self) -> Mapping[str, str]:
        return {name: BARE[kind] for name, kind in self.kinds.items() if kind in BARE}

    def payload(self, event: Event) -> dict[str, Any]:
        images = {"before": self.image(event.before), "after": self.image(event.after)}
        return images | {
            "source": source_block(event.n) | {"ts_ms": FIRST_MS + event.n},
            "op": event.op,
            "ts_ms": FIRST_MS + event.n,
        }

    def image(self, row: Row | None) -> Row | None:
        if row is None:
            return None
        for name in self._moments:
            row[name] *= 1_000
        for name in self._decimals:
            row[name] = self.decimal(row[name])
        return row

    def decimal(self, cents: int) -> Any:
        return base64.b64encode(cents.to_bytes(8, "big", signed=True)).decode()


class DebeziumWithSchema(Debezium):
    """JSON in which every record carries its schema, as Kafka Connect writes it by default."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._before = b'{"schema":' + dumps(self._envelope()) + b',"payload":'
        key = {"type": "struct", "fields": [self._field("id", "long")], "optional": False, "name": "shop.public.orders.Key"}
        self._before_key = b'{"schema":' + dumps(key) + b',"payload":'

    def encode(self, event: Event) -> Bytes:
        key, value = super().encode(event)
        return self._before_key + key + b"}", None if value is None else self._before + value + b"}"

    def column_types(self) -> Mapping[str, str]:
        return {}

    def _envelope(self) -> dict[str, Any]:
        fields = [self._field(name, kind) for name, kind in self.kinds.items()]
        image = {"type": "struct", "fields": fields, "optional": True, "name": "shop.public.orders.Value"}
        numbers = ("ts_ms", "txId", "lsn", "xmin")
        source_fields = [
            {"type": "int64" if name in numbers else "string", "optional": True, "field": name} for name in source_block(0)
        ]
        source = {"type": "struct", "fields": source_fields, "optional": False, "name": "io.debezium.connector.postgresql.Source"}
        rest = [{"type": "string", "optional": False, "field": "op"}, {"type": "int64", "optional": True, "field": "ts_ms"}]
        outer = [image | {"field": "before"}, image | {"field": "after"}, source | {"field": "source"}, *rest]
        return {"type": "struct", "fields": outer, "optional": False, "name": "shop.public.orders.Envelope", "version": 1}

    def _field(self, name: str, kind: str) -> dict[str, Any]:
        said: dict[str, Any] = {"type": CONNECT[kind], "optional": name != "id", "field": name}
        if kind == "ms":
            said |= {"name": MICROS, "version": 1}
        if kind == "cents":
            said |= {"name": DECIMAL, "version": 1, "parameters": {"scale": "2", "connect.decimal.precision": "18"}}
        return said


class DebeziumAvro(Debezium):
    """Avro in the framing of Confluent's serializer; keys are JSON."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._schema = self._envelope()
        self._parsed = fastavro.parse_schema(self._schema)

    def encode(self, event: Event) -> Bytes:
        key = dumps({"id": event.key})
        if event.op == "t":
            return key, None
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed, self.payload(event))
        return key, b"\0" + struct.pack(">I", SCHEMA_ID) + out.getvalue()

    def column_types(self) -> Mapping[str, str]:
        return {}

    def schema(self) -> Any:
        return self._schema

    def decimal(self, cents: int) -> Any:
        return Decimal(cents).scaleb(-2)

    def _envelope(self) -> dict[str, Any]:
        fields = [{"name": name, "type": self._type(name, kind)} for name, kind in self.kinds.items()]
        image = {"type": "record", "name": "Value", "fields": fields}
        longs = ("ts_ms", "txId", "lsn", "xmin")
        source_fields = [{"name": name, "type": ["null", "long" if name in longs else "string"]} for name in source_block(0)]
        source = {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql", "fields": source_fields}
        outer = {
            "before": ["null", image],
            "after": ["null", "Value"],
            "source": source,
            "op": "string",
            "ts_ms": ["null", "long"],
        }
        named = [{"name": name, "type": type_} for name, type_ in outer.items()]
        return {"type": "record", "name": "Envelope", "namespace": "shop.public.orders", "fields": named}

    def _type(self, name: str, kind: str) -> Any:
        type_: Any = AVRO[kind]
        if kind == "ms":
            type_ = {"type": "long", "connect.name": MICROS}
        if kind == "cents":
            type_ = {"type": "bytes", "scale": 2, "precision": 18, "connect.name": DECIMAL, "logicalType": "decimal"}
        return type_ if name == "id" else ["null", type_]


class Cockroach(Format):
    """A changefeed with envelope=wrapped, updated and diff."""

    has_tombstones = False

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._moments, self._decimals = self._of_kind("ms"), self._of_kind("cents")

    def encode(self, event: Event) -> Bytes:
        images = {"after": self.image(event.after), "before": self.image(event.before)}
        return dumps([event.key]), dumps(images | {"updated": f"{FIRST_MS + event.n}000000.0000000000"})

    def image(self, row: Row | None) -> Row | None:
        if row is None:
            return None
        for name in self._moments:
            row[name] = datetime.fromtimestamp(row[name] / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        for name in self._decimals:
            row[name] /= 100
        return row


class Plain(Cockroach):
    """A row and nothing around it, as applications send events: no deletes, no version but Kafka's offset."""

    has_deletes = False
    version = '{ from = "offset", epoch = 1 }'

    def encode(self, event: Event) -> Bytes:
        return dumps(event.key), dumps(self.image(event.after))


FORMATS: Mapping[str, type[Format]] = {
    "debezium": Debezium,
    "debezium-schema": DebeziumWithSchema,
    "avro": DebeziumAvro,
    "cockroach": Cockroach,
    "plain": Plain,
}
