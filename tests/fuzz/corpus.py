"""The records that the fuzzer starts from: those of tests/cases/traps, real messages where they are at hand, and Avro of its own.

Each has the format that the decoder finds in it, so that inputs can be made for a format and with another one's records.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import fastavro

from ingest.errors import Parked, Reject
from ingest.formats import AUTO, FORMATS, Decoder, SchemaCache
from ingest.model import Record

TRAPS = Path(__file__).parents[1] / "cases" / "traps"
SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
LARGEST_BYTES = 6_000  # of a seed: larger ones only take longer

Headers = tuple[tuple[str, bytes | None], ...]


class Seed(NamedTuple):
    """One record. format: what the decoder found it to be, "" where it found none."""

    format: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Corpus(NamedTuple):
    """seeds: all. by_format: the places of those of a format. avro: the schemas of the framed ones, by their id."""

    seeds: list[Seed]
    by_format: Mapping[str, list[int]]
    avro: Mapping[int, str]
    has_samples: bool

    def cache(self) -> SchemaCache:
        schemas = SchemaCache()
        for schema_id, text in self.avro.items():
            schemas.put(schema_id, text)
        return schemas


def load() -> Corpus:
    """The same corpus for the same files, in the same order."""
    avro: dict[int, str] = {}
    seeds = [*_traps(avro), *_avro(avro), *(_samples() if SAMPLES.is_dir() else ())]
    seeds = [seed for seed in dict.fromkeys(seeds) if len(seed.value or b"") <= LARGEST_BYTES]
    schemas = SchemaCache()
    for schema_id, text in avro.items():
        schemas.put(schema_id, text)
    told = [seed._replace(format=seed.format or format_of(seed, schemas)) for seed in seeds]
    by_format = {
        name: [place for place, seed in enumerate(told) if seed.format.partition(":")[0] == name.partition(":")[0]]
        for name in FORMATS
    }
    return Corpus(told, by_format, avro, SAMPLES.is_dir())


def format_of(seed: Seed, schemas: SchemaCache) -> str:
    decoder = Decoder(topic_format={}, schemas=schemas)
    try:
        decoder.decode(Record("seed", 0, 0, -1, seed.key, seed.value, seed.headers))
    except (Reject, Parked):
        return ""
    return decoder.format_of("seed") or ""


# ---------------------------------------------------------------- cases


def _traps(avro: dict[int, str]) -> Iterator[Seed]:
    for file in sorted(TRAPS.glob("*.json")):
        case = json.loads(file.read_text())
        ids = {int(old): _registered(avro, json.dumps(schema)) for old, schema in case.get("schemas", {}).items()}
        for given, _ in case["records"]:
            headers = tuple((name, bytes.fromhex(value)) for name, value in given.get("headers", {}).items())
            declared = case.get("formats", {}).get(given.get("topic", "shop.public.orders"), "")
            name = declared if declared in FORMATS else ""
            yield Seed(name, _part(given, "key", ids), _part(given, "value", ids), headers)


def _part(given: Mapping[str, Any], name: str, ids: Mapping[int, int]) -> bytes | None:
    """A key or value as tests/cases writes them; the ids of its schemas become those of the corpus."""
    if f"{name}_hex" in given:
        raw = bytes.fromhex(given[f"{name}_hex"])
        known = ids.get(int.from_bytes(raw[1:5], "big")) if raw[:1] == b"\0" and len(raw) >= 5 else None
        return raw if known is None else b"\0" + known.to_bytes(4, "big") + raw[5:]
    if f"{name}_text" in given:
        return str(given[f"{name}_text"]).encode()
    return json.dumps(given[name], separators=(",", ":")).encode() if name in given else None


def _registered(avro: dict[int, str], text: str) -> int:
    schema_id = 100 + len(avro)
    avro[schema_id] = text
    return schema_id


def _samples() -> Iterator[Seed]:
    for file in sorted(SAMPLES.glob("*/*")):
        if not file.is_file() or "goldens" in file.name or file.suffix not in (".json", ".ndjson", ".hex"):
            continue
        content = file.read_bytes()
        for text in content.splitlines() if file.suffix == ".ndjson" else [content]:
            yield Seed("", b'{"id":1}', bytes.fromhex(text.decode().strip()) if file.suffix == ".hex" else text.strip())


# ---------------------------------------------------------------- Avro of our own

_ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "total", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}]},
        {"name": "at", "type": {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "ratio", "type": "double"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "marks", "type": {"type": "map", "values": "int"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {"name": "is_new", "type": "boolean"},
        {"name": "small", "type": "float"},
    ],
}
_SOURCE = {
    "type": "record",
    "name": "Source",
    "fields": [{"name": name, "type": "string"} for name in ("connector", "db", "schema", "table")]
    + [{"name": "ts_ms", "type": "long"}, {"name": "lsn", "type": ["null", "long"]}],
}
_ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "connect.name": "shop.public.orders.Envelope",
    "fields": [
        {"name": "before", "type": ["null", _ROW]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": _SOURCE},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]},
    ],
}
_CHANGEFEED = {
    "type": "record",
    "name": "orders_envelope",
    "fields": [
        {
            "name": "after",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "orders",
                    "fields": [
                        {"name": "id", "type": ["null", "long"], "__crdb__": "id INT8 NOT NULL"},
                        {"name": "note", "type": ["null", "string"], "__crdb__": "note STRING"},
                        {"name": "bits", "type": ["null", {"type": "array", "items": "long"}], "__crdb__": "bits VARBIT"},
                    ],
                },
            ],
        },
        {"name": "updated", "type": ["null", "string"]},
        {"name": "resolved", "type": ["null", "string"]},
    ],
}
_KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
_WHOLE = {
    "id": 7, "note": "s3cret", "total": b"\x04\xd2", "at": 1_700_000_000_123_456, "day": 19_000, "ratio": 1.5,
    "tags": ["a", "b"], "marks": {"x": 1}, "kind": "B", "hash": b"\x00\xff\x10\x20", "is_new": True, "small": 0.5,
}  # fmt: skip
_ORIGIN = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "ts_ms": 1_700_000_000_000, "lsn": 5}


def _avro(avro: dict[int, str]) -> Iterator[Seed]:
    key = _framed(avro, _KEY, {"id": 7})
    for op, before, after in (("c", None, _WHOLE), ("u", _WHOLE, {**_WHOLE, "note": None}), ("d", _WHOLE, None)):
        change = {"before": before, "after": after, "source": _ORIGIN, "op": op, "ts_ms": 1}
        yield Seed("debezium", key, _framed(avro, _ENVELOPE, change))
    row = {"id": 7, "note": "s3cret", "bits": [3, 4611686018427387904]}
    for after, resolved in ((row, None), (None, None), (None, "1.0000000002")):
        value = {"after": after, "updated": "1.0000000001", "resolved": resolved}
        yield Seed("cockroach", key, _framed(avro, _CHANGEFEED, value))
    yield Seed("plain", key, _framed(avro, {**_ROW, "name": "Event"}, _WHOLE))
    yield Seed("plain", b"7", _framed(avro, "string", "s3cret"))


def _framed(avro: dict[int, str], schema: Any, value: Any) -> bytes:
    text = json.dumps(schema)
    found = next((known for known, held in avro.items() if held == text), None)
    schema_id = _registered(avro, text) if found is None else found
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(without_meanings(schema)), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def without_meanings(node: Any) -> Any:
    """A schema without logical types, so that fastavro reads and writes what is on the wire."""
    if isinstance(node, dict):
        return {name: without_meanings(part) for name, part in node.items() if name != "logicalType"}
    return [without_meanings(part) for part in node] if isinstance(node, list) else node


ALL_FORMATS = (AUTO, *FORMATS)
