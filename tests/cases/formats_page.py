"""Writes docs/formats.md: the formats that the decoder has, and what is proved of each, counted in the expectation files.

python -m tests.cases.formats_page
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.formats.decoder import FORMATS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "formats.md"

# What each name of the contract's `format` reads. A test holds that these are all of them.
READS: Mapping[str, str] = {
    "debezium": "Debezium's envelope, JSON with and without schema, or Avro: PostgreSQL, MySQL, MariaDB, SQL Server, Oracle, "
    "Db2, Informix, MongoDB, Cassandra, Vitess, Spanner",
    "flattened": "Debezium's rows behind ExtractNewRecordState, in each delete mode; `flattened:PREFIX` for another prefix",
    "cloudevents": "CloudEvents, structured and binary: the fields of the data, and the attributes as `ce_id`, `ce_type`, ...; "
    "Debezium's changes inside them",
    "cockroach": "CockroachDB changefeeds: wrapped, bare, key_only, enriched, queries, Avro, webhook batches",
    "cockroach:row": "its envelope=row, where a null value is a delete",
    "cockroach:families": "its feeds with a record per column family: each is a part of a row",
    "plain": "events and rows as they are: JSON objects, arrays and lines of them, Avro records; a scalar is a row of one "
    "column, `value`",
    "generic": "envelopes with `table`, `type`, `primary_key`, `before` and `after`",
    "maxwell": "Maxwell, with bootstraps",
    "maxwell:whole": "the same, where a column that an update lacks is NULL",
    "maxwell:minimal": "the same, with MINIMAL row images",
    "canal": "Canal's flat JSON, and TiCDC's canal-json",
    "ticdc_open": "TiCDC's open protocol",
    "ticdc_simple": "TiCDC's simple protocol, JSON",
    "ticdc_avro": "TiCDC's Avro",
    "dms": "AWS DMS; a column that an update lacks is NULL",
    "dms:partial": "AWS DMS that writes nulls: a column that an update lacks keeps its value",
    "goldengate": "Oracle GoldenGate, operations and rows, JSON and Avro",
    "mongodb": "MongoDB change streams",
    "mongodb:documents": "MongoDB documents alone; a null value under the document's key deletes it",
}

HEAD = """# Formats

Made by `make docs` from the decoder's formats and the cases in `tests/cases`; do not edit.

A topic's format is found on the evidence of its first record, told in the log, and parked with a sentence where it is ambiguous.
`format` in a contract decides it instead. `ingest explain TOPIC:PARTITION:OFFSET` says what was found in one record and why.

JSON may stand bare or in Kafka Connect's `schema` and `payload`; Avro, JSON Schema and Protobuf come with an id of a schema
registry (Confluent's with numbers or GUIDs, Apicurio's), Avro also by a file in `schemas/`. Keys are decoded by themselves.

| format | reads |
| --- | --- |
"""


def page() -> str:
    formats = "".join(f"| `{name}` | {READS[name]} |\n" for name in FORMATS)
    return f"{HEAD}{formats}\n{samples_part()}\n{traps_part()}"


def samples_part() -> str:
    """A table of source x outcome, counted over the expectations of real messages."""
    files = sorted((HERE / "samples").glob("*/*.expected.json"))
    rows: dict[tuple[str, str], list[str]] = {}
    for file in files:
        for outcome in outcomes(json.loads(file.read_text())["records"]):
            rows.setdefault((file.parent.name, outcome), []).append(file.name.removesuffix(".expected.json"))
    lines = [f"| {source} | {outcome} | {len(seen)} | `{seen[0]}` |" for (source, outcome), seen in sorted(rows.items())]
    records = sum(len(seen) for seen in rows.values())
    title = (
        f"## Real messages\n\n{len(files)} files of real messages of these sources, {records} records, and what each means.\n\n"
    )
    return title + "| source | outcome | records | such as |\n| --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"


def traps_part() -> str:
    """One line per file of traps: what it is about, how many records."""
    lines = []
    for file in sorted((HERE / "traps").glob("*.json")):
        said = json.loads(file.read_text())
        lines.append(f"| `{file.name}` | {said['trap']} | {len(said['records'])} |")
    title = "## Traps\n\nRecords made for what goes wrong elsewhere, each with its expectation.\n\n"
    return title + "| case | trap | records |\n| --- | --- | --- |\n" + "\n".join(lines) + "\n"


def outcomes(records: list[Any]) -> Iterator[str]:
    for record in records:
        if isinstance(record, list):
            yield from outcomes(record)
        elif isinstance(record, dict):
            yield outcome(record)


def outcome(words: Mapping[str, Any]) -> str:
    for kind in ("skipped", "rejected", "parked"):
        if kind in words:
            return f"{kind}: {words[kind]}"
    return str(words.get("op", "schema or type"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
