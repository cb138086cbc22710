"""Streams that the express way takes: those of the benchmarks, and others that benchmarks do not have. Values only."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fastavro

from bench.streams import (
    AVRO,
    BARE_TYPES,
    FIRST_MS,
    STREAMS,
    Stream,
    avro_schema,
    debezium_payload,
    debezium_row,
    dumps,
    mysql_row,
    orders_contract,
    orders_table,
    plain_row,
    row,
)
from ingest.model import Column
from ingest.tables.contract import PartitionRule, VersionRule

WITH_EXPRESS = (
    *("debezium json", "debezium json + schema", "debezium flattened", "debezium avro", "cockroach wrapped", "plain json"),
    *("maxwell", "generic"),
)


def _updated(n: int) -> dict[str, Any]:
    """An update with its image of before, sometimes of another month, or with a column null."""
    payload = debezium_payload(n) | {"op": "u", "before": debezium_row(n)}
    if n % 5 == 0:
        payload["before"]["created_at"] -= 40 * 86_400_000_000
    if n % 7 == 0:
        payload["after"]["note"] = payload["after"]["updated_at"] = payload["after"]["total"] = None
    if n % 11 == 0:
        payload["before"]["created_at"] = None
    return payload


def _update(n: int) -> tuple[bytes, bytes]:
    return dumps({"id": n}), dumps(_updated(n))


def _mysql(n: int) -> tuple[bytes, bytes]:
    source = {
        "version": "3.0.0.Final",
        "connector": "mysql",
        "name": "shop",
        "ts_ms": FIRST_MS + n,
        "db": "shop",
        "table": "orders",
    }
    source |= {"gtid": None, "file": f"bin.{n % 13:06d}", "pos": 4 + n, "row": n % 3, "thread": 7}
    return dumps({"id": n}), dumps(_updated(n) | {"source": source, "op": "cur"[n % 3]})


def _avro_update(n: int) -> tuple[bytes, bytes]:
    payload, out = _updated(n), io.BytesIO()
    for image, cents in ((payload["before"], row(n)["total"]), (payload["after"], row(n)["total"] * (-1) ** n)):
        image["total"] = None if image["total"] is None else Decimal(cents).scaleb(-2)
    fastavro.schemaless_writer(out, AVRO, payload)
    return dumps({"id": n}), b"\0" + struct.pack(">I", 7) + out.getvalue()


def _with_before(n: int) -> tuple[bytes, bytes]:
    _, value = STREAMS["cockroach wrapped"].encode(n)
    said = json.loads(value)
    return dumps([n]), dumps(said | {"before": plain_row(n - n % 2)})


def _event(n: int) -> tuple[bytes, bytes]:
    said = plain_row(n) | {
        "total": str(n * 37 % 1_000),
        "quantity": str(n % 9),
        "is_gift": n % 2,
        "news": n,
        "hour": f"{n % 24}:00",
    }
    return dumps({"id": n, "shard": "a:b"}), dumps(said)


# ---------------------------------------------------------------- rows out of their envelopes


def _flattened(n: int) -> tuple[bytes, bytes]:
    """Of PostgreSQL, with all that a connector may add; creates, updates and reads of a snapshot."""
    said = _with_nulls(n, debezium_row(n)) | {"__op": "cur"[n % 3], "__db": "shop", "__schema": "public", "__table": "orders"}
    said |= {"__source_lsn": n, "__source_sequence": f'["{n}","{n}"]', "__source_ts_ms": FIRST_MS + n, "__ts_ms": FIRST_MS + n}
    said |= {"__source_connector": "postgresql", "__source_snapshot": None, "__transaction_id": f"5:{n}"}
    return dumps({"id": n}), dumps(said)


def _flattened_mysql(n: int) -> tuple[bytes, bytes]:
    """With its schema."""
    said = debezium_row(n) | {"__deleted": "false", "__op": "u", "__table": "orders", "__file": f"bin.{n % 13:06d}", "__pos": n}
    said |= {"__row": n % 3}
    fields = b'"fields":[{"type":"int64","optional":false,"field":"id"}]'
    schema = b'{"type":"struct","optional":false,"name":"shop.orders.Value",' + fields + b"}"
    return dumps({"id": n}), b'{"schema":' + schema + b',"payload":' + dumps(said) + b"}"


def _rewritten(n: int) -> tuple[bytes, bytes]:
    """Only the mark of deletes beside the row, as without `add.fields`."""
    return dumps({"id": n}), dumps(debezium_row(n) | {"__deleted": "false"})


def _with_nulls(n: int, said: dict[str, Any]) -> dict[str, Any]:
    return said | {"note": None, "updated_at": None, "total": None} if n % 7 == 0 else said


# ---------------------------------------------------------------- Maxwell and the generic envelope


def _maxwell(n: int) -> tuple[bytes, bytes]:
    """Updates that name one former value, or their month's, or their key's; and rows of a bootstrap."""
    said = json.loads(STREAMS["maxwell"].encode(n)[1]) | {"type": ("insert", "update", "update", "bootstrap-insert")[n % 4]}
    said["data"] = _with_nulls(n, said["data"])
    old = ({"quantity": 1}, {"created_at": mysql_row(n + n % 2)["created_at"], "note": "a:b"}, {}, {"id": n + 1}, None)[n % 5]
    said |= {"old": old} if said["type"] == "update" else {}
    said |= {"commit": True} if n % 6 == 0 else {}
    return dumps({"database": "shop", "table": "orders", "pk.id": n}), dumps(said)


def _without_position(n: int) -> tuple[None, bytes]:
    """The columns of its key in the value; nothing says where in the binlog it stood."""
    said = json.loads(_maxwell(n)[1]) | {"primary_key_columns": ["id"]}
    del said["position"]
    return None, dumps(said)


def _bootstrap(n: int) -> tuple[bytes, bytes]:
    key, value = STREAMS["maxwell"].encode(n)
    said = json.loads(value) | {"type": "bootstrap-insert", "position": None}
    return key, dumps(said)


def _generic(n: int) -> tuple[bytes, bytes]:
    """With images of before, some of another month or key; positions as MySQL has them."""
    key, value = STREAMS["generic"].encode(n)
    said = json.loads(value) | {"type": ("INSERT", "update", "Update", "c")[n % 4], "_offset": f"bin.000006:{n}"}
    if n % 4 in (1, 2):
        said["before"] = plain_row(n - n % 2) | {"id": n - (n % 9 == 0)}
    return key, dumps(said | {"ts": plain_row(n)["created_at"]})


def _unnamed(n: int) -> tuple[bytes, bytes]:
    """Known by its Kafka key alone."""
    said = {"type": "u", "table": "orders", "schema": "public", "after": _with_nulls(n, plain_row(n))}
    return dumps({"id": n}), dumps(said | {"ts": FIRST_MS // 1000 + n})


FULL = replace(orders_contract(**BARE_TYPES), before_full=True, partition=PartitionRule("month", "created_at", mutable=True))
MUTABLE = replace(orders_contract(), partition=PartitionRule("month", "created_at", mutable=True))
BY_OFFSET = VersionRule("offset")
SYSTEM = {"cdc_op": "text", "cdc_source_ts": "timestamp with time zone", "cdc_offset": "bigint"}
TOLD = replace(orders_table(), columns=orders_table().columns | {name: Column(name, type_) for name, type_ in SYSTEM.items()})
AVRO_SCHEMAS = {7: json.dumps(avro_schema())}
ALL: Mapping[str, Stream] = {name: STREAMS[name] for name in WITH_EXPRESS} | {
    stream.name: stream
    for stream in (
        Stream("updates", _update, orders_contract(**BARE_TYPES)),
        Stream("updates, before = full", _update, FULL),
        Stream("mysql", _mysql, orders_contract(**BARE_TYPES)),
        Stream("avro updates", _avro_update, schemas=AVRO_SCHEMAS),
        Stream("avro updates, before = full", _avro_update, FULL, schemas=AVRO_SCHEMAS),
        Stream("cockroach with before", _with_before),
        Stream("flattened updates", _flattened, FULL, TOLD),
        Stream("flattened mysql", _flattened_mysql, orders_contract(**BARE_TYPES), TOLD),
        Stream("flattened without add.fields", _rewritten, replace(orders_contract(**BARE_TYPES), version=BY_OFFSET)),
        Stream("maxwell updates", _maxwell, MUTABLE, TOLD),
        Stream("maxwell without position", _without_position, replace(MUTABLE, version=BY_OFFSET), TOLD),
        Stream("maxwell bootstrap", _bootstrap, table=TOLD),
        Stream("generic updates", _generic, replace(MUTABLE, before_full=True), TOLD),
        Stream("generic by kafka key", _unnamed, replace(orders_contract(), version=BY_OFFSET), TOLD),
        Stream("events with unknown fields", _event, orders_contract(total="decimal")),
    )
}
