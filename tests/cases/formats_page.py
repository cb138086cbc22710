"""Writes docs/formats.md: the formats that the decoder has, and what is proved of each, counted in the expectation files.

python -m tests.cases.formats_page
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.errors import Parked, Reject
from ingest.formats import Decoder, SchemaCache
from ingest.formats.decoder import FORMATS
from ingest.model import Record
from tests.cases import shapes

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "bench" / "results"
PAGE = HERE.parents[1] / "docs" / "formats.md"

# What each name of the contract's `format` reads. A test holds that these are all of them.
READS: Mapping[str, str] = {
    "debezium": "Debezium's envelope, JSON with and without schema, or Avro: PostgreSQL, MySQL, MariaDB, SQL Server, Oracle, "
    "Db2, Informix, MongoDB, Cassandra, Vitess, Spanner",
    "flattened": "Debezium's rows behind ExtractNewRecordState, in each delete mode; `flattened:PREFIX` for another prefix, "
    "`flattened:PREFIX ADD_FIELDS` where the connector's `add.fields` renames fields (`flattened:__ op:KIND,source.lsn:POS`)",
    "cloudevents": "CloudEvents, structured and binary: the fields of the data, and the attributes as `ce_id`, `ce_type`, ...; "
    "Debezium's changes inside them",
    "cockroach": "CockroachDB changefeeds: wrapped, bare, enriched, queries, Avro, webhook batches; key_only does not say what "
    "happened to a row, so it parks its topic",
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
    "ticdc_simple": "TiCDC's simple protocol, JSON; Avro with TiCDC's `message.json` as `schemas/TOPIC.avsc`",
    "ticdc_avro": "TiCDC's Avro",
    "dms": "AWS DMS; a column that an update lacks is NULL. Positions are read as AWS documents them for the start of a task "
    "(LSNs of PostgreSQL and SQL Server, `file:position` of MySQL); what stands behind them is not documented and not read, and "
    "others are ordered by the numbers of transaction and record",
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

SHAPES = """## Sources, operations and shapes

{cases} cases, made by the rules of each source. Each operation in each shape is one:
`tests/cases/test_shapes.py[SOURCE-SHAPE-OPERATION]`, blanks as underscores, such as `Debezium_mysql-flattened_Avro-delete`.

"""

FUZZING = """## Fuzzing

`{command}`: {inputs:,} records, whole or broken, each given to a decoder that was told a format or had to find it, and to tables.
Each ended in rows, a skip, a refusal, a question for a schema or a parked topic; {failed:,} ended otherwise, took longer than
five seconds (the slowest: {slowest_ms} ms of CPU), or showed a value in an error text.

{rows_held_against_the_rules:,} rows and {values_held_against_the_rules:,} values of columns equal what a second reading of the
same bytes gives by the rules (Debezium, CockroachDB, plain events; JSON and Avro), and
{express_changes_held_against_the_long_way:,} changes of the express way those of the long way. Of the other formats every name
stands in the record, and every value that is not converted. Kept in `bench/results/{file}`.

"""


def page() -> str:
    formats = "".join(f"| `{name}` | {READS[name]} |\n" for name in FORMATS)
    parts = [shapes_part(), others_part(), samples_part(), traps_part(), fuzz_part()]
    return "\n".join([f"{HEAD}{formats}", *(part for part in parts if part)])


def shapes_part() -> str:
    """A line per source and its shapes with the operations that have a case in all of them."""
    found: dict[tuple[str, str], list[str]] = {}
    for case in shapes.cases():
        answer = next((f" ({kind})" for kind in ("parked", "rejected", "skipped") if kind in case.means), "")
        found.setdefault((case.source, case.operation), []).append(case.shape + answer)
    rows: dict[tuple[str, str], list[str]] = {}
    for (source, operation), names in found.items():
        rows.setdefault((source, ", ".join(names)), []).append(operation)
    title = SHAPES.format(cases=sum(map(len, found.values())))
    lines = [(source, ", ".join(operations), names) for (source, names), operations in rows.items()]
    return title + table(("source", "operations", "shapes"), lines)


def others_part() -> str:
    """A line per other format, operation and shape, with the first of the traps that holds it."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for file in sorted((HERE / "traps").glob("*.json")):
        for place, told in enumerate(told_of(json.loads(file.read_text()))):
            for each in told:
                rows.setdefault(each, []).append(f"`{file.name}` record {place + 1}")
    title = "## The other formats\n\nOf the records made for traps: what they are, in which shape, and the first of each.\n\n"
    lines = [(*key, str(len(found)), found[0]) for key, found in sorted(rows.items())]
    return title + table(("format", "operation", "shape", "records", "such as"), lines)


def told_of(case: Mapping[str, Any]) -> Iterator[list[tuple[str, str, str]]]:
    """Format, operation and shape of what each record of a case holds; [] for the table above and what was refused."""
    cache = SchemaCache()
    for schema_id, schema in case.get("schemas", {}).items():
        cache.put(int(schema_id), json.dumps(schema))
    decoder = Decoder(topic_format=case.get("formats", {}), schemas=cache)
    for place, (given, expected) in enumerate(case["records"]):
        name = format_of(decoder, place, given)
        is_other = name is not None and name.partition(":")[0] not in ("debezium", "cockroach", "flattened")
        said = expected if isinstance(expected, list) else [expected]
        told = {(str(name), outcome({"op": "change", **words}), shape_of(given)) for words in said if "rejected" not in words}
        yield sorted(told) if is_other else []


def format_of(decoder: Decoder, place: int, given: Mapping[str, Any]) -> str | None:
    topic = given.get("topic", "shop.public.orders")
    headers = [(name, bytes.fromhex(value)) for name, value in given.get("headers", {}).items()]
    try:
        decoder.decode(Record(topic, 0, place, -1, part(given, "key"), part(given, "value"), headers))
    except (Reject, Parked):
        return None
    return decoder.format_of(topic)


def part(given: Mapping[str, Any], name: str) -> bytes | None:
    if f"{name}_hex" in given:
        return bytes.fromhex(given[f"{name}_hex"])
    if f"{name}_text" in given:
        return str(given[f"{name}_text"]).encode()
    return json.dumps(given[name], separators=(",", ":")).encode() if name in given else None


def shape_of(given: Mapping[str, Any]) -> str:
    value = part(given, "value")
    if not value:
        return "no value"
    if any(name.startswith("ce_") for name in given.get("headers", {})):
        return "headers and value"
    if given.get("topic") == "open":
        return "batch"
    if "value_hex" in given and value[0] in (0, 1, 0xC3):
        return "Avro"
    said = given.get("value")
    return "JSON with schema" if isinstance(said, dict) and said.keys() == {"schema", "payload"} else "JSON"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fuzz_part() -> str:
    """The figures of the newest run that was kept; "" where none was."""
    files = sorted(RESULTS.glob("fuzz-*.json"))
    if not files:
        return ""
    found = json.loads(files[-1].read_text())
    kinds = list(next(iter(found["formats"].values()))["inputs"])
    ends = list(next(iter(found["formats"].values()))["ends"])
    rows = [
        (f"`{name}`", *(f"{each['inputs'][kind]:,}" for kind in kinds), *(f"{each['ends'][end]:,}" for end in ends))
        for name, each in found["formats"].items()
    ]
    title = FUZZING.format(**found, file=files[-1].name)
    return title + table(("format", *kinds, *(f"-> {end}" for end in ends)), rows)


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
        f"## Real messages\n\n{len(files)} files of real messages of these sources, {records} records, and what each means; "
        "all pass.\n\n"
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
