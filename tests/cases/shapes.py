"""Each connector of Debezium and each envelope of CockroachDB, in each shape that its changes have on the wire, by their rules.

A case is a record and what it means; `test_shapes` decodes each on a topic of its own, `formats_page` lists them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import fastavro

ROW: Final = {"id": 7, "note": "x"}
OLD: Final = {"id": 7, "note": "old"}
KEY: Final = {"id": 7}
VALUE_ID, KEY_ID = 7, 8
TEXTS: Final = {"before": None, "after": None, "op": "c"}


class Case(NamedTuple):
    """means: in words, as test_shapes compares them. schemas: that a registry has for it. format: what its contract says."""

    source: str
    shape: str
    operation: str
    key: bytes | None
    value: bytes | None
    means: Mapping[str, Any]
    schemas: Mapping[int, str] = {}
    format: str = "auto"

    @property
    def name(self) -> str:
        return f"{self.source}-{self.shape}-{self.operation}".replace(" ", "_")


def cases() -> Iterator[Case]:
    yield from debezium()
    yield from debezium_documents()
    yield from cockroachdb()


# ---------------------------------------------------------------- Debezium

_RELATIONAL: Final = {"db": "shop", "schema": "public", "table": "orders", "ts_ms": 1_700_000_000_000}
_MYSQL: Final = {"db": "shop", "table": "orders", "ts_ms": 1_700_000_000_000, "file": "mysql-bin.001000", "pos": 154, "row": 1}
_BINLOG: Final = f"B {1000:010d}{154:020d}{1:010d}"
_SCHEMA_NAME: Final = ("shop", "public", "orders")


class Connector(NamedTuple):
    """block: its `source` without the connector's own name. flattened: its version then, None where the row does not tell it."""

    block: Mapping[str, Any]
    table: tuple[str, ...]
    version: str
    flattened: str | None


def _same(block: Mapping[str, Any], table: tuple[str, ...], version: str) -> Connector:
    return Connector(block, table, version, version)


_SERVER_LSN, _DB2_LSN = "00000027:00000758:0005", "00000027:00000758:0000000000000005"
_HLC: Final = "1746045115619002000.0000000003"
CONNECTORS: Final = {
    "postgresql": _same({**_RELATIONAL, "lsn": 24023128}, _SCHEMA_NAME, f"L {24023128:020d}"),
    "mysql": _same(_MYSQL, ("shop", "orders"), _BINLOG),
    "mariadb": _same(_MYSQL, ("shop", "orders"), _BINLOG),
    "sqlserver": _same(
        {**_RELATIONAL, "commit_lsn": _SERVER_LSN, "change_lsn": "00000027:00000758:0003", "event_serial_no": 2},
        _SCHEMA_NAME, f"S {_SERVER_LSN}00000027:00000758:0003{2:010d}",
    ),
    "oracle": _same(
        {**_RELATIONAL, "scn": "999", "commit_scn": "1000", "rs_id": "001234.00012345.0124", "ssn": 5},
        _SCHEMA_NAME, f"C {1000:020d}{999:020d}00001234.00012345.0124{5:010d}",
    ),
    "db2": _same(
        {**_RELATIONAL, "commit_lsn": _DB2_LSN, "change_lsn": _DB2_LSN}, _SCHEMA_NAME, f"S {_DB2_LSN}{_DB2_LSN}{0:010d}"
    ),
    "informix": _same({**_RELATIONAL, "commit_lsn": "1001", "change_lsn": "1000"}, _SCHEMA_NAME, f"S {1001:020d}{1000:020d}"),
    "cockroachdb": _same({**_RELATIONAL, "ts_hlc": _HLC}, _SCHEMA_NAME, f"H 0{_HLC.replace('.', '')}"),
    "vitess": Connector(
        {"keyspace": "shop", "table": "orders", "ts_ms": 1, "shard": "-80",
         "vgtid": '[{"keyspace":"shop","shard":"-80","gtid":"MySQL56/u:1-5"},{"shard":"80-","gtid":"MySQL56/u:1-9"}]'},
        ("shop", "orders"), f"V {5:020d}", f"V {5:020d}",
    ),
    "spanner": Connector(
        {"db": "shop", "table": "orders", "ts_ms": 1, "ts_us": 1_700_000_000_000_123, "sequence": "4", "mod_number": 2},
        ("shop", "orders"), f"G {1_700_000_000_000_123:020d}{4:020d}{2:010d}", None,
    ),
}  # fmt: skip
_OPERATIONS: Final = {"c": "insert", "r": "insert", "u": "update", "d": "delete", "t": "truncate"}
_FLATTENED_OPERATIONS: Final = ("c", "r", "u", "d")  # the transformation drops truncates


def debezium() -> Iterator[Case]:
    for name, connector in CONNECTORS.items():
        for word, op in _OPERATIONS.items():
            before = OLD if word in "ud" else None
            after = ROW if word in "cru" else None
            source = {"connector": name, **connector.block}
            envelope = {"before": before, "after": after, "source": source, "op": word, "ts_ms": 5}
            means = {"op": op, "table": ".".join(connector.table), "version": connector.version, "after": after, "before": before}
            key = None if word == "t" else KEY
            yield from _encoded(
                f"Debezium {name}", "", op if word != "r" else "snapshot", key, envelope, _envelope(source), means
            )
            if word in _FLATTENED_OPERATIONS:
                yield from _flattened(name, connector, word, op, means)


def _flattened(name: str, connector: Connector, word: str, op: str, means: Mapping[str, Any]) -> Iterator[Case]:
    row = OLD if word == "d" else ROW
    added = {f"__{field}": value for field, value in connector.block.items() if field != "ts_ms"}
    flat = {**row, "__op": word, "__deleted": "true" if word == "d" else "false", **added}
    said = {**means, "version": connector.flattened, "before": row if word == "d" else None}
    if connector.flattened is None:
        del said["version"]
    yield from _encoded(
        f"Debezium {name}", "flattened ", op if word != "r" else "snapshot", KEY, flat, _record("Row", flat), said
    )


def _encoded(
    source: str, prefix: str, operation: str, key: Any, value: Any, avro: Any, means: Mapping[str, Any]
) -> Iterator[Case]:
    """The value bare, with Kafka Connect's schema, and in Avro; the key is written as the value is."""
    said = {"key": key, **means}
    yield Case(source, prefix + "JSON", operation, _json(key), _json(value), said)
    wrapped = _json({"schema": _connect(avro), "payload": value})
    wrapped_key = None if key is None else _json({"schema": _connect(_record("Key", key)), "payload": key})
    yield Case(source, prefix + "JSON with schema", operation, wrapped_key, wrapped, said)
    key_schema = _record("Key", key or KEY)
    framed_key = None if key is None else _framed(KEY_ID, key_schema, key)
    schemas = {VALUE_ID: json.dumps(avro), KEY_ID: json.dumps(key_schema)}
    yield Case(source, prefix + "Avro", operation, framed_key, _framed(VALUE_ID, avro, value), said, schemas)


def _envelope(source: Mapping[str, Any]) -> Any:
    row = _record("Value", ROW)
    fields = {"before": ["null", row], "after": ["null", "Value"], "source": _record("Source", source), "op": "string"}
    fields["ts_ms"] = ["null", "long"]
    return {
        "type": "record",
        "name": "Envelope",
        "connect.name": "shop.public.orders.Envelope",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def _record(name: str, example: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {int: "long", str: ["null", "string"], type(None): ["null", "string"]}
    typed = {
        field: _record("Source", value) if isinstance(value, dict) else kinds[type(value)] for field, value in example.items()
    }
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in typed.items()]}


def _connect(node: Any, name: str | None = None) -> dict[str, Any]:
    """The same as Kafka Connect's schema."""
    if isinstance(node, list):
        return {**_connect(node[1], name), "optional": True}
    if isinstance(node, str):
        kind = {"long": "int64", "string": "string"}.get(node)
        base = {"type": kind} if kind is not None else _connect(_record(node, ROW))
        return base | ({} if name is None else {"field": name})
    fields = [_connect(field["type"], field["name"]) for field in node["fields"]]
    named = {"type": "struct", "name": node.get("connect.name", node["name"]), "fields": fields}
    return named | ({} if name is None else {"field": name})


def _json(value: Any) -> bytes | None:
    return None if value is None else json.dumps(value, separators=(",", ":")).encode()


def _framed(schema_id: int, schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def debezium_documents() -> Iterator[Case]:
    """MongoDB's documents are texts; Cassandra's columns are cells."""
    document, key = {"_id": {"$oid": "5f8a"}, "n": {"$numberLong": "5"}}, {"id": '{"$oid": "5f8a"}'}
    source = {"connector": "mongodb", "db": "shop", "collection": "orders", "ts_ms": 1_558_965_508_000, "ord": 3}
    about = {"table": "shop.orders", "version": f"M {1_558_965_508:010d}{3:010d}", "key": {"_id": {"$oid": "5f8a"}}}
    for word, op in (("c", "insert"), ("r", "insert"), ("u", "insert"), ("d", "delete")):
        after = None if word == "d" else json.dumps(document)
        value = {"before": None, "after": after, "source": source, "op": word}
        means = {"op": op, "after": None if word == "d" else document, **about}
        operation = {"c": "insert", "r": "snapshot", "u": "update", "d": "delete"}[word]
        yield from _encoded(
            "Debezium mongodb", "", operation, key, value, _record("Envelope", {**TEXTS, "source": source}), means
        )
    patch = {"updatedFields": '{"n": 6}', "removedFields": ["old"], "truncatedArrays": None}
    value = {"before": None, "after": None, "source": source, "op": "u", "updateDescription": patch}
    means = {"op": "update", "after": {"n": 6, "old": None}, **about}
    yield Case("Debezium mongodb", "JSON", "update in part", _json(key), _json(value), means)
    cells = {"id": {"value": 7, "deletion_ts": None, "set": True}, "note": {"value": "x", "deletion_ts": None, "set": True}}
    cells |= {"other": {"value": None, "deletion_ts": None, "set": False}}
    source = {"connector": "cassandra", "keyspace": "shop", "table": "orders", "ts_ms": 1}
    for word, op in (("c", "update"), ("u", "update"), ("d", "delete")):
        value = {"after": cells, "source": source, "op": word}
        means = {"op": op, "table": "shop.orders", "key": KEY, "after": None if word == "d" else ROW}
        operation = {"c": "insert", "u": "update", "d": "delete"}[word]
        yield Case("Debezium cassandra", "JSON", operation, _json(KEY), _json(value), means)


# ---------------------------------------------------------------- CockroachDB

_UPDATED: Final = {"updated": _HLC}
_VERSION: Final = {"version": f"H 0{_HLC.replace('.', '')}"}
_ORIGIN: Final = {
    "origin": "cockroachdb",
    "database_name": "shop",
    "schema_name": "public",
    "table_name": "orders",
    "ts_hlc": _HLC,
}
_CHANGES: Final = {"insert": (None, ROW), "update": (OLD, ROW), "delete": (OLD, None)}
_ARRAY: Final = b"[7]"
Envelope = Callable[[Any, Any], Any]


def cockroachdb() -> Iterator[Case]:
    for operation, (before, after) in _CHANGES.items():
        op = "delete" if after is None else "insert"  # each brings the whole row
        word = {"insert": "c", "update": "u", "delete": "d"}[operation]
        means = {"op": op, "key": [7], "after": after, **_VERSION}
        wrapped, with_diff = {"after": after, **_UPDATED}, {"after": after, "before": before, **_UPDATED}
        yield Case("CockroachDB", "wrapped", operation, _ARRAY, _json(wrapped), means)
        yield Case("CockroachDB", "wrapped with diff", operation, _ARRAY, _json(with_diff), {**means, "before": before})
        in_value = {**wrapped, "key": [7], "topic": "other"}
        yield Case(
            "CockroachDB", "wrapped with key_in_value", operation, b'["another"]', _json(in_value), means | {"table": "other"}
        )
        batch = {"payload": [{**wrapped, "key": [7], "topic": "other"}], "length": 1}
        yield Case("CockroachDB", "webhook", operation, None, _json(batch), means | {"table": "other"})
        capture = {"Key": [7], "Value": wrapped, "Topic": "orders"}
        yield Case("CockroachDB", "Pub/Sub", operation, None, _json(capture), means)
        enriched = {"after": after, "before": before, "op": word, "ts_ns": 5, "source": _ORIGIN}
        named = {**means, "key": KEY, "table": "shop.public.orders", "before": before}
        yield Case("CockroachDB", "enriched", operation, _json(KEY), _json(enriched), named)
        schema = {"type": "struct", "name": "cockroachdb.envelope", "fields": [{"field": "after", **_connect(_record("v", ROW))}]}
        key = {"payload": KEY, "schema": _connect(_record("Key", KEY))}
        yield Case(
            "CockroachDB", "enriched with schema", operation, _json(key), _json({"payload": enriched, "schema": schema}), named
        )
        avro = _changefeed()
        value = _framed(VALUE_ID, avro, {"after": after, "updated": _HLC})
        schemas = {VALUE_ID: json.dumps(avro), KEY_ID: json.dumps(_record("Key", KEY))}
        key_avro = _framed(KEY_ID, _record("Key", KEY), KEY)
        yield Case("CockroachDB", "Avro", operation, key_avro, value, means | {"key": KEY}, schemas)
    yield from _rows_of_cockroachdb()


def _changefeed() -> Any:
    columns = [
        {"name": "id", "type": ["null", "long"], "__crdb__": "id INT8"},
        {"name": "note", "type": ["null", "string"], "__crdb__": "x"},
    ]
    row = {"type": "record", "name": "orders", "fields": columns}
    fields = [{"name": "after", "type": ["null", row]}, {"name": "updated", "type": ["null", "string"]}]
    return {"type": "record", "name": "orders_envelope", "fields": fields}


def _rows_of_cockroachdb() -> Iterator[Case]:
    """Envelopes that say no more than the row, and what they cannot say."""
    marks = {"__crdb__": _UPDATED}
    means = {"op": "insert", "key": [7], "after": ROW, **_VERSION}
    yield Case("CockroachDB", "bare", "insert", _ARRAY, _json({**ROW, **marks}), means)
    yield Case(
        "CockroachDB",
        "bare",
        "delete",
        _ARRAY,
        _json({"id": 7, "note": None, **marks}),
        {"rejected": "cockroach.ambiguous_delete"},
    )
    yield Case("CockroachDB", "row", "insert", _ARRAY, _json({**ROW, **marks}), means, format="cockroach:row")
    yield Case("CockroachDB", "row", "delete", _ARRAY, None, {"op": "delete", "key": [7], "after": None}, format="cockroach:row")
    yield Case("CockroachDB", "key_only", "any change", _ARRAY, None, {"parked": "format.ambiguous"})
    part = {"after": {"note": "x"}, **_UPDATED}
    yield Case(
        "CockroachDB", "column family", "update", _ARRAY, _json(part),
        {"op": "update", "key": [7], "after": {"note": "x"}}, format="cockroach:families",
    )  # fmt: skip
    query = {**ROW, "event_op": "delete", "cdc_prev": OLD, **marks}
    yield Case("CockroachDB", "query", "delete", _ARRAY, _json(query), {"op": "delete", "key": [7], "after": None, "before": OLD})
    for shape, value in (("wrapped", {"resolved": _HLC}), ("bare", {"__crdb__": {"resolved": _HLC}})):
        yield Case("CockroachDB", shape, "resolved", None, _json(value), {"skipped": "resolved"})
