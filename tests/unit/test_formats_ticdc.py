"""TiCDC's simple protocol in Avro: messages made by hand by its published schema, which a topic brings as a file."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from ingest.errors import Parked, Reject
from ingest.formats import Decoder, SchemaCache
from ingest.model import Envelope, Op, Record, Skip

SPACE = "com.pingcap.simple.avro."
NULL_INT, NULL_TEXT, NULL_FLAG = (["null", kind] for kind in ("int", "string", "boolean"))
DDL_TYPES = ("CREATE", "ALTER", "ERASE", "RENAME", "TRUNCATE", "CINDEX", "DINDEX", "QUERY")
TSO = 437273809449910273
MOMENT_MS = TSO >> 18


def rec(name: str, /, **fields: Any) -> dict[str, Any]:
    return {
        "type": "record", "namespace": SPACE[:-1], "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]
    }  # fmt: skip


def enum(name: str, *symbols: str) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols)}


def rows(*more: str) -> list[Any]:
    return ["null", {"type": "map", "values": ["null", "long", "float", "double", "string", "bytes", *more]}]


def schema(*, typed_outside: bool) -> list[Any]:
    """The types of a message one after the other, as TiCDC's repository has them; older releases say the type inside."""
    inside = {} if typed_outside else {"type": "string"}
    values = rows(SPACE + "Timestamp", SPACE + "UnsignedBigint") if typed_outside else rows()
    table = {"database": "string", "table": "string", "tableID": "long", "version": "long"}
    parts = [
        rec("DataType", mysqlType="string", charset="string", collate="string", length="long", decimal=NULL_INT,
            elements=["null", {"type": "array", "items": "string"}], unsigned=NULL_FLAG, zerofill=NULL_FLAG),
        rec("ColumnSchema", name="string", dataType=SPACE + "DataType", nullable="boolean", default=NULL_TEXT),
        rec("IndexSchema", name="string", unique="boolean", primary="boolean", nullable="boolean",
            columns={"type": "array", "items": "string"}),
        rec("TableSchema", **table, columns={"type": "array", "items": SPACE + "ColumnSchema"},
            indexes={"type": "array", "items": SPACE + "IndexSchema"}),
        rec("Checksum", version="int", corrupted="boolean", current="long", previous="long"),
        rec("Watermark", version="int", **inside, commitTs="long", buildTs="long"),
        rec("Bootstrap", version="int", **inside, buildTs="long", tableSchema=SPACE + "TableSchema"),
        rec("DDL", version="int", type=enum("DDLType", *DDL_TYPES),
            sql="string", commitTs="long", buildTs="long", tableSchema=["null", SPACE + "TableSchema"],
            preTableSchema=["null", SPACE + "TableSchema"]),
        rec("Timestamp", location="string", value="string"),
        rec("UnsignedBigint", value="long"),
        rec("DML", version="int", database="string", table="string", tableID="long",
            type=enum("DMLType", "INSERT", "UPDATE", "DELETE"), commitTs="long", buildTs="long", schemaVersion="long",
            claimCheckLocation=NULL_TEXT, handleKeyOnly=NULL_FLAG, checksum=["null", SPACE + "Checksum"],
            data=values, old=values),
    ]  # fmt: skip
    outside = {"type": enum("MessageType", "WATERMARK", "BOOTSTRAP", "DDL", "DML")} if typed_outside else {}
    parts.append(rec("Message", **outside, payload=[SPACE + name for name in ("Watermark", "Bootstrap", "DDL", "DML")]))
    return parts


NEW, OLD = schema(typed_outside=True), schema(typed_outside=False)


def column(name: str, kind: str, **more: Any) -> dict[str, Any]:
    said = {"charset": "", "collate": "", "length": 1, "decimal": None, "elements": None, "unsigned": None, "zerofill": None}
    return {"name": name, "dataType": {**said, "mysqlType": kind, **more}, "nullable": True, "default": None}


TABLE = {
    "database": "shop", "table": "orders", "tableID": 1, "version": 77,
    "columns": [column("id", "bigint", unsigned=True), column("at", "timestamp"),
                column("state", "enum", elements=["new", "old"]), column("raw", "varbinary"),
                column("marks", "set", elements=["a", "b"]), column("total", "decimal")],
    "indexes": [{"name": "primary", "unique": True, "primary": True, "nullable": False, "columns": ["id"]}],
}  # fmt: skip
ROW = {
    "id": (SPACE + "UnsignedBigint", {"value": -1}),
    "at": (SPACE + "Timestamp", {"location": "Asia/Shanghai", "value": "2024-01-02 03:04:05"}),
    "state": "old", "raw": b"\x00\xff", "marks": "a,b", "total": "12.30", "gone": None,
}  # fmt: skip


def dml(op: str, **more: Any) -> dict[str, Any]:
    return {
        "version": 1, "database": "shop", "table": "orders", "tableID": 1, "type": op, "commitTs": TSO, "buildTs": 1,
        "schemaVersion": 77, "claimCheckLocation": None, "handleKeyOnly": None, "checksum": None,
        "data": None, "old": None, **more,
    }  # fmt: skip


def ddl(kind: str, table: Any) -> dict[str, Any]:
    return {"version": 1, "type": kind, "sql": "x", "commitTs": TSO, "buildTs": 1, "tableSchema": table, "preTableSchema": None}


def message(kind: str, payload: dict[str, Any], declared: list[Any] = NEW) -> bytes:
    """As TiCDC writes it: the number of the type in the list, and no registry's prefix."""
    outside = {"type": "DML" if kind == "DML" else kind.upper()} if declared is NEW else {}
    value = (SPACE + "Message", {**outside, "payload": (SPACE + kind, payload)})
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(declared), value)
    return out.getvalue()


def decoder(declared: list[Any] = NEW, name: str = "auto") -> Decoder:
    schemas = SchemaCache()
    schemas.put_topic("simple", json.dumps(declared))
    return Decoder(topic_format={"simple": name}, schemas=schemas)


def decoded(made: Decoder, body: bytes) -> Any:
    try:
        return made.decode(Record("simple", 0, 3, -1, None, body))
    except (Reject, Parked) as refusal:
        return refusal.code


@pytest.mark.parametrize("is_described", [True, False])
def test_a_row_has_its_values_whether_its_table_was_described_or_not(is_described: bool) -> None:
    made = decoder()
    if is_described:
        assert Skip("schema_change") == decoded(made, message("Bootstrap", {"version": 1, "buildTs": 1, "tableSchema": TABLE}))
    (envelope,) = decoded(made, message("DML", dml("INSERT", data=ROW)))
    at = "2024-01-02T03:04:05+08:00"
    assert {**ROW, "id": 2**64 - 1, "at": at, "raw": "AP8="} == envelope.after
    assert (Op.INSERT, ("shop", "orders"), f"{TSO:020d}", MOMENT_MS) == (
        envelope.op, envelope.table, envelope.version.text, envelope.source_ts_ms
    )  # fmt: skip
    assert ({"id": 2**64 - 1} if is_described else None) == envelope.key
    kinds = {name: declared.kind for name, declared in envelope.schema.fields.items()} if is_described else {}
    assert kinds == (
        {"id": "int", "at": "ts_text", "raw": "bytes_base64", "total": "decimal"} if is_described else {}
    )  # labels are labels: nothing is declared of ENUM and SET


def test_updates_bring_both_images_and_a_changed_key_is_two_changes() -> None:
    made = decoder()
    decoded(made, message("Bootstrap", {"version": 1, "buildTs": 1, "tableSchema": TABLE}))
    (same,) = decoded(made, message("DML", dml("UPDATE", data={"id": 1, "state": "old"}, old={"id": 1, "state": "new"})))
    assert (Op.UPDATE, {"id": 1, "state": "new"}, True) == (same.op, same.before, same.before_real)
    gone, new = decoded(made, message("DML", dml("UPDATE", data={"id": 2}, old={"id": 1})))
    assert [(Op.DELETE, {"id": 1}), (Op.INSERT, {"id": 2})] == [(gone.op, gone.key), (new.op, new.key)]
    (deleted,) = decoded(made, message("DML", dml("DELETE", old={"id": 1})))
    assert (Op.DELETE, {"id": 1}, None) == (deleted.op, deleted.key, deleted.after)


@pytest.mark.parametrize(
    ("kind", "payload", "answer"),
    [
        ("Watermark", {"version": 1, "commitTs": TSO, "buildTs": 1}, "resolved"),
        ("DDL", ddl("ALTER", TABLE), "schema_change"),
        ("DDL", ddl("QUERY", None), "schema_change"),
        ("DML", dml("INSERT", handleKeyOnly=True, data={"id": 1}), "row.incomplete"),
        ("DML", dml("UPDATE", claimCheckLocation="s3://x", data={"id": 1}), "row.incomplete"),
        ("DML", dml("INSERT"), "row.missing"),
        ("DML", dml("DELETE"), "delete.without_key"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["auto", "ticdc_simple"])
def test_what_is_no_row_is_skipped_or_refused(kind: str, payload: dict[str, Any], answer: str, name: str) -> None:
    made = decoder(name=name)
    decoded(made, message("DML", dml("INSERT", data={"id": 9})))  # from here on the topic's format is known
    found = decoded(made, message(kind, payload))
    assert answer == (found.reason if isinstance(found, Skip) else found)


def test_a_truncate_names_its_table() -> None:
    (envelope,) = decoded(decoder(), message("DDL", ddl("TRUNCATE", TABLE)))
    assert (Op.TRUNCATE, ("shop", "orders")) == (envelope.op, envelope.table)


def test_releases_that_say_the_type_inside_are_read() -> None:
    made = decoder(OLD)
    mark = decoded(made, message("Watermark", {"version": 1, "type": "WATERMARK", "commitTs": TSO, "buildTs": 1}, OLD))
    assert "resolved" == mark.reason
    body = {"version": 1, "type": "BOOTSTRAP", "buildTs": 1, "tableSchema": TABLE}
    assert Skip("schema_change") == decoded(made, message("Bootstrap", body, OLD))
    (envelope,) = decoded(made, message("DML", dml("INSERT", data={"id": 5, "total": "1.5"}), OLD))
    assert isinstance(envelope, Envelope)
    assert ({"id": 5}, {"id": 5, "total": "1.5"}) == (envelope.key, envelope.after)


def test_a_cut_message_is_refused_wherever_it_is_cut() -> None:
    body = message("DML", dml("INSERT", data={"id": 1, "state": "new"}))
    for end in range(1, len(body)):
        assert str(decoded(decoder(), body[:end])).startswith("avro."), end
