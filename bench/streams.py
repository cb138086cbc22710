"""The streams that benchmarks use: records of one table, the same for the same number, in the shapes that sources send.

Twelve columns as an order has them: numbers, decimals, texts, moments, a flag; keys spread over 24 months.
Values only, no servers.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro

from ingest.model import Column, Record, Table
from ingest.tables.calendar_utc import MS_PER_DAY, month_of
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.types import ColumnRule, parse_type

FIRST_MS = 1_735_689_600_000  # 2025-01-01
DAYS = 700
STATUSES = ("new", "paid", "packed", "shipped", "returned")

COLUMNS = {
    "customer_id": "bigint",
    "status": "text",
    "total": "numeric",
    "discount": "double precision",
    "quantity": "integer",
    "note": "text",
    "email": "text",
    "is_gift": "boolean",
    "weight": "double precision",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
}
SYSTEM = {"cdc_version": "text", "cdc_deleted": "boolean"}


def orders_table() -> Table:
    columns = {"id": Column("id", "bigint", nullable=False), "month": Column("month", "timestamp with time zone", nullable=False)}
    for name, type_ in (COLUMNS | SYSTEM).items():
        is_number = type_ == "numeric"
        columns[name] = Column(name, type_, precision=18 if is_number else None, scale=2 if is_number else None)
    months = frozenset(month_of(FIRST_MS + day * MS_PER_DAY) for day in range(DAYS))
    return Table("doc", "orders", columns, ("id",), "month", months, ("id", "month"), 4)


def orders_contract(**rules: str) -> Contract:
    columns = {name: ColumnRule(type=parse_type(type_)) for name, type_ in rules.items()}
    return Contract("doc.orders", partition=PartitionRule("month", "created_at"), columns=columns)


def row(n: int) -> dict[str, Any]:
    """The n-th order, with moments in epoch milliseconds and the total in cents."""
    created_ms = FIRST_MS + (n * 7919 % DAYS) * MS_PER_DAY + n % 86_400_000
    return {
        "id": n,
        "customer_id": n * 31 % 100_003,
        "status": STATUSES[n % 5],
        "total": n * 37 % 1_000_000,
        "discount": (n % 20) / 4,
        "quantity": n % 9 + 1,
        "note": f"order number {n}, please leave it at the door",
        "email": f"customer.{n * 31 % 100_003}@example.org",
        "is_gift": n % 7 == 0,
        "weight": (n % 500) / 8,
        "created_at": created_ms,
        "updated_at": created_ms + 5_000,
    }


Encode = Callable[[int], tuple[bytes | None, bytes]]


@dataclass(frozen=True)
class Stream:
    """encode: number to key and value. schemas: Avro schemas by the registry's id.

    json_text: what plain libraries are given for the same record.
    """

    name: str
    encode: Encode
    contract: Contract = field(default_factory=orders_contract)
    table: Table = field(default_factory=orders_table)
    schemas: Mapping[int, str] = field(default_factory=dict)
    text: Callable[[int], bytes] | None = None

    def record(self, n: int) -> Record:
        key, value = self.encode(n)
        return Record("orders", 0, n, FIRST_MS, key, value)

    def json_text(self, n: int) -> bytes:
        return self.encode(n)[1] if self.text is None else self.text(n)


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def cents_base64(cents: int) -> str:
    return base64.b64encode(cents.to_bytes(8, "big", signed=True)).decode()


# ---------------------------------------------------------------- Debezium


def source_block(n: int) -> dict[str, Any]:
    return {
        "version": "3.0.0.Final",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": FIRST_MS + n,
        "snapshot": "false",
        "db": "shop",
        "sequence": f'["{n}","{n + 1}"]',
        "schema": "public",
        "table": "orders",
        "txId": n,
        "lsn": 24_023_128 + n,
        "xmin": None,
    }


def debezium_row(n: int) -> dict[str, Any]:
    said = row(n)
    said["total"] = cents_base64(said["total"])
    said["created_at"] *= 1000
    said["updated_at"] *= 1000
    return said


def debezium_payload(n: int) -> dict[str, Any]:
    return {"before": None, "after": debezium_row(n), "source": source_block(n), "op": "c", "ts_ms": FIRST_MS + n}


def debezium_field(name: str, type_: str, logical: str = "", **parameters: str) -> dict[str, Any]:
    said: dict[str, Any] = {"type": type_, "optional": name != "id", "field": name}
    if logical:
        said |= {"name": logical, "version": 1}
    return said | ({"parameters": parameters} if parameters else {})


def debezium_schema() -> dict[str, Any]:
    micros = "io.debezium.time.MicroTimestamp"
    decimal = {"scale": "2", "connect.decimal.precision": "18"}
    fields = [
        debezium_field("id", "int64"),
        debezium_field("customer_id", "int64"),
        debezium_field("status", "string"),
        debezium_field("total", "bytes", "org.apache.kafka.connect.data.Decimal", **decimal),
        debezium_field("discount", "double"),
        debezium_field("quantity", "int32"),
        debezium_field("note", "string"),
        debezium_field("email", "string"),
        debezium_field("is_gift", "boolean"),
        debezium_field("weight", "double"),
        debezium_field("created_at", "int64", micros),
        debezium_field("updated_at", "int64", micros),
    ]
    image = {"type": "struct", "fields": fields, "optional": True, "name": "shop.public.orders.Value"}
    source = [debezium_field(name, "string") for name in source_block(0)]
    outer = [
        image | {"field": "before"},
        image | {"field": "after"},
        {
            "type": "struct",
            "fields": source,
            "optional": False,
            "name": "io.debezium.connector.postgresql.Source",
            "field": "source",
        },
        debezium_field("op", "string"),
        debezium_field("ts_ms", "int64"),
    ]
    return {"type": "struct", "fields": outer, "optional": False, "name": "shop.public.orders.Envelope"}


def debezium_bare(n: int) -> tuple[bytes, bytes]:
    return dumps({"id": n}), dumps(debezium_payload(n))


SCHEMA_TEXT = dumps(debezium_schema())


def debezium_with_schema(n: int) -> tuple[bytes, bytes]:
    id_field = b'{"type":"int64","optional":false,"field":"id"}'
    key_schema = b'{"type":"struct","fields":[' + id_field + b'],"optional":false,"name":"shop.public.orders.Key"}'
    key = b'{"schema":' + key_schema + b',"payload":{"id":%d}}' % n
    return key, b'{"schema":' + SCHEMA_TEXT + b',"payload":' + dumps(debezium_payload(n)) + b"}"


def flattened(n: int) -> tuple[bytes, bytes]:
    said = debezium_row(n) | {
        "__op": "c",
        "__table": "orders",
        "__source_ts_ms": FIRST_MS + n,
        "__lsn": 24_023_128 + n,
        "__deleted": "false",
    }
    return dumps({"id": n}), dumps(said)


# ---------------------------------------------------------------- Avro

CONNECT_TYPES: dict[str, Any] = {
    "id": "long",
    "customer_id": "long",
    "status": "string",
    "total": {
        "type": "bytes",
        "scale": 2,
        "precision": 18,
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "logicalType": "decimal",
    },
    "discount": "double",
    "quantity": "int",
    "note": "string",
    "email": "string",
    "is_gift": "boolean",
    "weight": "double",
    "created_at": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
    "updated_at": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
}


def nullable(type_: Any) -> list[Any]:
    return ["null", type_]


def avro_schema() -> dict[str, Any]:
    fields = [{"name": name, "type": type_ if name == "id" else nullable(type_)} for name, type_ in CONNECT_TYPES.items()]
    image = {"type": "record", "name": "Value", "fields": fields}
    types = {
        "ts_ms": "long",
        "txId": nullable("long"),
        "lsn": nullable("long"),
        "xmin": nullable("long"),
        "sequence": nullable("string"),
    }
    source = {
        "type": "record",
        "name": "Source",
        "namespace": "io.debezium.connector.postgresql",
        "fields": [{"name": name, "type": types.get(name, "string")} for name in source_block(0)],
    }
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.public.orders",
        "fields": [
            {"name": "before", "type": ["null", image]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "source", "type": source},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ],
    }


AVRO = fastavro.parse_schema(avro_schema())


def avro(n: int) -> tuple[bytes, bytes]:
    from decimal import Decimal

    payload = debezium_payload(n)
    payload["after"]["total"] = Decimal(row(n)["total"]).scaleb(-2)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, AVRO, payload)
    return dumps({"id": n}), b"\0" + struct.pack(">I", 7) + out.getvalue()


# ---------------------------------------------------------------- CockroachDB and events


def plain_row(n: int) -> dict[str, Any]:
    from datetime import UTC, datetime

    said = row(n)
    said["total"] = float(f"{said['total'] / 100:.2f}")
    for name in ("created_at", "updated_at"):
        said[name] = datetime.fromtimestamp(said[name] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return said


def cockroach(n: int) -> tuple[bytes, bytes]:
    return dumps([n]), dumps(
        {"after": plain_row(n), "before": None, "updated": f"{FIRST_MS + n}000000.0000000000", "topic": "orders"}
    )


def event(n: int) -> tuple[bytes, bytes]:
    return dumps(n), dumps(plain_row(n))


# ---------------------------------------------------------------- other sources


def mysql_row(n: int) -> dict[str, Any]:
    """Moments as MySQL and Oracle tools write them: a blank for the T, no zone."""
    said = plain_row(n)
    for name in ("created_at", "updated_at"):
        said[name] = said[name].replace("T", " ").removesuffix("Z")
    return said


def maxwell(n: int) -> tuple[bytes, bytes]:
    key = {"database": "shop", "table": "orders", "pk.id": n}
    said = {"database": "shop", "table": "orders", "type": "insert", "ts": FIRST_MS // 1000 + n, "xid": n, "xoffset": n % 7}
    return dumps(key), dumps(said | {"position": f"bin.000006:{800_911 + n}", "data": mysql_row(n)})


CANAL_TYPES = {
    "id": ("bigint(20)", -5),
    "customer_id": ("bigint(20)", -5),
    "status": ("varchar(20)", 12),
    "total": ("decimal(18,2)", 3),
    "discount": ("double", 8),
    "quantity": ("int(11)", 4),
    "note": ("text", 2005),
    "email": ("varchar(255)", 12),
    "is_gift": ("tinyint(1)", -6),
    "weight": ("double", 8),
    "created_at": ("datetime(3)", 93),
    "updated_at": ("datetime(3)", 93),
}


def canal(n: int) -> tuple[None, bytes]:
    texts = {name: str(int(value) if isinstance(value, bool) else value) for name, value in mysql_row(n).items()}
    said = {"data": [texts], "database": "shop", "es": FIRST_MS + n, "id": 0, "isDdl": False}
    said |= {"mysqlType": {name: word for name, (word, _) in CANAL_TYPES.items()}, "old": None, "pkNames": ["id"], "sql": ""}
    said |= {"sqlType": {name: code for name, (_, code) in CANAL_TYPES.items()}, "table": "orders", "ts": FIRST_MS + n}
    return None, dumps(said | {"type": "INSERT", "_tidb": {"commitTs": FIRST_MS + n << 18}})


def dms(n: int) -> tuple[bytes, bytes]:
    metadata = {"timestamp": "2025-01-01T00:00:17.983670Z", "record-type": "data", "operation": "insert"}
    metadata |= {"partition-key-type": "schema-table", "schema-name": "public", "table-name": "orders", "transaction-id": n}
    metadata |= {"transaction-record-id": 1, "commit-timestamp": "2025-01-01T00:00:17.974340Z"}
    return b"public.orders", dumps(
        {"data": plain_row(n), "metadata": metadata | {"stream-position": f"00000002/{n:08X}.3.00000002/{n:08X}"}}
    )


def goldengate(n: int) -> tuple[bytes, bytes]:
    said = {
        "table": "SHOP.ORDERS",
        "op_type": "I",
        "op_ts": "2025-01-01 18:45:36.000000",
        "current_ts": "2025-01-01T18:45:51.267000",
    }
    return dumps(str(n)), dumps(said | {"pos": f"{n:020d}", "primary_keys": ["id"], "after": mysql_row(n)})


def mongodb(n: int) -> tuple[bytes, bytes]:
    named = {"_id": {"$oid": f"{n:024x}"}}
    document = named | plain_row(n)
    for name in ("created_at", "updated_at"):
        document[name] = {"$date": document[name]}
    said = {
        "_id": {"_data": f"{n:080x}"},
        "operationType": "insert",
        "clusterTime": {"$timestamp": {"t": FIRST_MS // 1000 + n, "i": 1}},
    }
    said |= {"fullDocument": document, "ns": {"db": "shop", "coll": "orders"}, "documentKey": named}
    return dumps({"_id": said["_id"]}), dumps(said)


def ticdc_open(n: int) -> tuple[bytes, bytes]:
    codes = {"bigint(20)": 8, "decimal(18,2)": 246, "double": 5, "int(11)": 3, "tinyint(1)": 1, "datetime(3)": 12}
    row_values = mysql_row(n) | {"total": f"{row(n)['total'] / 100:.2f}", "is_gift": int(row(n)["is_gift"])}
    columns = {name: {"t": codes.get(word, 15), "f": 0, "v": row_values[name]} for name, (word, _) in CANAL_TYPES.items()}
    columns["id"] |= {"h": True, "f": 11}
    parts = [dumps({"ts": FIRST_MS + n << 18, "scm": "shop", "tbl": "orders", "t": 1}), dumps({"u": columns})]
    key, value = (struct.pack(">Q", len(part)) + part for part in parts)
    return struct.pack(">Q", 1) + key, value


def generic(n: int) -> tuple[bytes, bytes]:
    said = {
        "type": "insert",
        "database": "shop",
        "table": "orders",
        "primary_key": {"id": n},
        "before": None,
        "after": plain_row(n),
    }
    return dumps({"id": n}), dumps(said | {"ts": FIRST_MS + n, "_offset": n})


BARE_TYPES = {"total": "numeric(18,2)", "created_at": "ts_us", "updated_at": "ts_us"}

STREAMS = {
    stream.name: stream
    for stream in (
        Stream("debezium json", debezium_bare, orders_contract(**BARE_TYPES)),
        Stream("debezium json + schema", debezium_with_schema),
        Stream("debezium flattened", flattened, orders_contract(**BARE_TYPES)),
        Stream("debezium avro", avro, schemas={7: json.dumps(avro_schema())}, text=lambda n: debezium_bare(n)[1]),
        Stream("cockroach wrapped", cockroach),
        Stream("plain json", event),
        Stream("maxwell", maxwell),
        Stream("canal", canal),
        Stream("dms", dms),
        Stream("goldengate", goldengate),
        Stream("mongodb", mongodb),
        Stream("generic", generic),
        Stream("ticdc open", ticdc_open, text=lambda n: ticdc_open(n)[1][8:]),
    )
}
