"""Every sample message of the sources that we read, against what we say it means: `samples/<source>/<file>.expected.json`.

The samples carry their own licences and stay where they are; the expectations are ours: operation, key, table, version, names of
fields, why a record is skipped, refused or parks its topic. `kafka_keys` and `topic` are what a real feed would have sent along.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from envelope_words import described, kinds

from ingest.formats import Decoder, SchemaCache
from ingest.formats.avro import AvroSchema
from ingest.model import Record

HERE = Path(__file__).parent / "samples"
SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
SOURCES = ("avro", "aws-dms", "canal", "cockroachdb", "debezium", "maxwell", "mongodb", "ogg", "plain", "ticdc")


def sample_files() -> list[Path]:
    return sorted(file for source in SOURCES for file in (SAMPLES / source).glob("*"))


def expectation_of(sample: Path) -> Path:
    return HERE / sample.parent.name / f"{sample.name}.expected.json"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"SAMPLES: not run (no folder {SAMPLES.name}; set INGEST_SAMPLES)")
class TestSamples:
    @pytest.mark.parametrize("sample", sample_files(), ids=lambda file: f"{file.parent.name}/{file.name}")
    def test_a_sample_means_what_we_say(self, sample: Path) -> None:
        expectation = expectation_of(sample)
        assert expectation.is_file(), f"a sample without an expectation: write {expectation.relative_to(HERE.parent)}"
        expected = json.loads(expectation.read_text())
        assert expected["records"] == seen_in(sample, expected)

    def test_no_expectation_has_lost_its_sample(self) -> None:
        assert sorted(HERE.glob("*/*.expected.json")) == [expectation_of(sample) for sample in sample_files()]


def seen_in(sample: Path, given: dict[str, Any]) -> list[Any]:
    """What the decoder makes of a sample, in the words of the expectations."""
    if sample.name == "encoder_goldens.json":
        return [described for case in json.loads(sample.read_text())["cases"] for described in golden(case)]
    if sample.name == "avro_goldens.json":
        return [
            {sql: kind(AvroSchema(golden_type(sql, declared)))}
            for sql, declared in json.loads(sample.read_text())["types"].items()
        ]
    if sample.suffix == ".avsc":
        return [kinds(AvroSchema(sample.read_text()).schema.type)]
    schemas = SchemaCache()
    if "schema" in given:
        schemas.put(7, json.dumps(given["schema"]))
    decoder = Decoder(topic_format={given["topic"]: given.get("format", "auto")}, schemas=schemas)
    return [described(decoder, record) for record in records(sample, given)]


def records(sample: Path, given: dict[str, Any]) -> Iterator[Record]:
    content = sample.read_bytes()
    if sample.name == "open_protocol_docs.json":
        yield from open_protocol(json.loads(content), given["topic"])
        return
    texts = [line for line in content.splitlines() if line.strip()] if sample.suffix == ".ndjson" else [content]
    for offset, text in enumerate(texts):
        if ".key." in sample.name:
            key, value = text, b'{"x": 1}'
        else:
            raw = given["kafka_keys"][offset] if "kafka_keys" in given else None
            key = None if raw is None else raw.encode()
            value = bytes.fromhex(text.decode().strip()) if sample.suffix == ".hex" else text
        yield Record(given["topic"], 0, offset, -1, key, value)


def open_protocol(events: list[dict[str, Any]], topic: str) -> Iterator[Record]:
    """TiCDC's events, which the sample shows before they are framed."""
    for offset, event in enumerate(events):
        key, value = ((len(part := event[name].encode()).to_bytes(8, "big") + part) for name in ("event_key", "event_value"))
        yield Record(topic, 0, offset, -1, (1).to_bytes(8, "big") + key, value)


def kind(schema: AvroSchema) -> Any:
    return kinds(schema.schema.rows[""].fields["column"])


def golden_type(sql: str, declared: Any) -> str:
    return json.dumps(
        {"type": "record", "name": "t", "fields": [{"name": "column", "type": declared, "__crdb__": f"column {sql}"}]}
    )


def golden(case: dict[str, str]) -> Iterator[Any]:
    """The insert, the delete and the resolved record of one changefeed, on a topic of their own."""
    is_avro = "format=avro" in case["options"]
    schemas = SchemaCache()
    decoder = Decoder(topic_format={}, schemas=schemas)
    for number, (key, value) in enumerate(
        [(case["insert_key"], case["insert_value"]), (case["delete_key"], case["delete_value"]), ("", case["resolved_value"])]
    ):
        raw = [
            framed(schemas, text, 10 * number + place) if is_avro else text.encode() for place, text in enumerate((key, value), 1)
        ]
        yield {case["options"]: described(decoder, Record("foo", 0, number, -1, raw[0] or None, raw[1] or None))}


def framed(schemas: SchemaCache, textual: str, schema_id: int) -> bytes:
    """Avro's textual JSON as the bytes that a registry's serializer writes."""
    if not textual:
        return b""
    value = untagged(json.loads(textual))
    schema = {"type": "record", "name": "foo_envelope", "fields": [column(name) for name in value]}
    schemas.put(schema_id, json.dumps(schema))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def column(name: str) -> dict[str, Any]:
    return {"name": name, "type": avro_type(name)} | ({"__crdb__": f"{name} INT8"} if name == "a" else {})


def avro_type(name: str) -> Any:
    if name in ("after", "before"):
        columns = [{"name": "a", "type": ["null", "long"]}, {"name": "b", "type": ["null", "string"]}]
        return ["null", {"type": "record", "name": "foo" if name == "after" else "foo_before", "fields": columns}]
    return ["null", "long" if name == "a" else "string"]


def untagged(value: Any) -> Any:
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("long", "string", "foo", "foo_before"):
        return untagged(next(iter(value.values())))
    return {name: untagged(part) for name, part in value.items()} if isinstance(value, dict) else value
