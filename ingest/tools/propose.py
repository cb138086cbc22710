"""`ingest propose TOPIC`: a table and its contract for a topic, as files that are ready to be applied.

`propose` reads like its path: sample, then for each table key, types, month, a trial with the worker's own mapper, and the files.
Reads Kafka without a group and the schema registry, and CrateDB not at all; writes files only when asked to. One thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Final, NamedTuple

from ingest.errors import IngestError, Stop
from ingest.kafka import preflight
from ingest.settings import Settings
from ingest.tables.routing import topic_test
from ingest.tools import connect, propose_files, propose_text
from ingest.tools.explain_words import wrapped
from ingest.tools.propose_design import Draft, design
from ingest.tools.propose_files import Files
from ingest.tools.propose_names import table_name
from ingest.tools.propose_registry import read_subject
from ingest.tools.propose_sample import Rows, Sample, Wanted, read
from ingest.tools.rooms import Rooms, full_name

SYSTEM_SCHEMAS: Final = frozenset({"sys", "information_schema", "pg_catalog", "blob"})


class Asked(NamedTuple):
    """sample: records at most. begin: earliest, latest or an age. table: a name for it, instead of the records' own.

    subject: of the schema registry, instead of records. declared: the format, None where records shall tell.
    """

    topic: str
    sample: int = 1_000
    begin: str = "earliest"
    table: str | None = None
    subject: str | None = None
    declared: str | None = None
    write: bool = False
    force: bool = False


class Proposed(NamedTuple):
    """One table with its two files."""

    draft: Draft
    files: Files
    sql: str
    contract: str


@dataclass(frozen=True)
class Proposal:
    """notes: what concerns the whole topic. written: the files, where that was asked for."""

    topic: str
    tables: Sequence[Proposed]
    notes: Sequence[str] = ()
    written: Sequence[Path] = ()


def propose(
    settings: Settings, asked: Asked, on_progress: Callable[[str], None] = lambda _: None, wall_s: Callable[[], float] = time
) -> Proposal:
    """Raises Stop("propose.*") for what nobody can make a table of, and what Kafka and the registry raise."""
    now_ms = int(wall_s() * 1000)
    rooms = Rooms(settings, asked.declared)
    try:
        sample = _sample(rooms, asked, now_ms, on_progress)
        drafts, refused = _drafts(settings, asked, sample, now_ms)
        others = _other_contracts(rooms, asked.topic, drafts)
    finally:
        rooms.close()
    tables = _with_files(settings, drafts)
    written = _written(tables, force=asked.force) if asked.write else []
    return Proposal(asked.topic, tables, [*refused, *propose_text.notes(sample), *others], written)


def _sample(rooms: Rooms, asked: Asked, now_ms: int, on_progress: Callable[[str], None]) -> Sample:
    if asked.subject is not None:
        return read_subject(rooms.settings, asked.topic, asked.subject, asked.declared)
    return read(rooms, Wanted(asked.topic, asked.sample, asked.begin), now_ms, on_progress)


def _drafts(settings: Settings, asked: Asked, sample: Sample, now_ms: int) -> tuple[list[Draft], list[str]]:
    """Of each table, or why there can be none. Raises Stop where there is none at all."""
    drafts: list[Draft] = []
    refused: list[Stop] = []
    for rows, table in named(settings, asked, sample):
        try:
            refuse_unroutable(sample, rows, table)
            rules = connect.mapping_rules(settings)
            drafts.append(design(sample, rows, table, rules, now_ms, lambda: is_compacted(settings, asked.topic)))
        except Stop as stop:
            refused.append(stop)
    if not drafts:
        raise refused[0]
    return drafts, [stop.text for stop in refused]


def is_compacted(settings: Settings, topic: str) -> bool:
    """False where the broker does not tell us."""
    kafka = replace(connect.kafka_settings(settings), topics=(topic,))
    try:
        seen = preflight.look(kafka, connect.dead_letter_settings(settings))
    except IngestError:
        return False
    return topic in seen.topics and "compact" in seen.topics[topic].policies


# ---------------------------------------------------------------- names of tables


def named(settings: Settings, asked: Asked, sample: Sample) -> list[tuple[Rows, str]]:
    """The tables of a sample with their full names. Raises Stop("propose.several_tables", "propose.table")."""
    if len(sample.tables) == 1:
        return [(sample.tables[0], _only_name(settings, asked, sample.tables[0]))]
    wanted = asked.table.rpartition(".")[2].lower() if asked.table else None
    found = [rows for rows in sample.tables if wanted in (None, rows.name.lower())]
    if not found:
        names = ", ".join(rows.name or "one without a name" for rows in sample.tables)
        raise Stop(
            "propose.several_tables", f"topic {sample.topic} holds the tables {names}: name one of them, or leave --table out"
        )
    # Records say to which contract they belong, so names may differ in case alone.
    schema = asked.table if asked.table and "." in asked.table else settings.crate_schema
    return [
        (
            rows,
            checked(f"{schema.partition('.')[0]}.{table_name(rows.name or _of_topic(settings, sample.topic), must_match=True)}"),
        )
        for rows in found
    ]


def refuse_unroutable(sample: Sample, rows: Rows, table: str) -> None:
    """Where a topic holds several tables, the worker finds the contract of each by the table's name."""
    if len(sample.tables) > 1 and table.partition(".")[2] != rows.name.lower():
        name = rows.name or "without a name"
        text = f"records on topic {sample.topic} are of table {name}, which no table of CrateDB can be called"
        raise Stop(
            "propose.table", f"{text}: among others on one topic it cannot be told apart, so send it to a topic of its own"
        )


def _only_name(settings: Settings, asked: Asked, rows: Rows) -> str:
    if asked.table:
        return checked(full_name(asked.table, settings))
    return full_name(table_name(rows.name or _of_topic(settings, asked.topic)), settings)


def _of_topic(settings: Settings, topic: str) -> str:
    return topic.removeprefix(settings.topic_prefix).rpartition(".")[2] or topic


def checked(table: str) -> str:
    """Raises Stop("propose.table") for a name that no records may go to."""
    schema, _, name = table.partition(".")
    if schema in SYSTEM_SCHEMAS or table_name(name, must_match=True) != name or name.startswith("ingest_"):
        raise Stop("propose.table", f"{table} cannot be the table: use lower-case letters, digits and _, not ingest_ in front")
    return table


# ---------------------------------------------------------------- files


def _with_files(settings: Settings, drafts: Sequence[Draft]) -> list[Proposed]:
    planned = propose_files.plan([draft.table for draft in drafts], Path(settings.sql_dir), Path(settings.schemas_dir))
    return [
        Proposed(draft, files, propose_text.sql(draft), propose_text.contract(draft))
        for draft, files in zip(drafts, planned, strict=True)
    ]


def _written(tables: Sequence[Proposed], *, force: bool) -> list[Path]:
    files = [each for table in tables for each in ((table.files.sql, table.sql), (table.files.contract, table.contract))]
    return propose_files.write(files, force=force)


def _other_contracts(rooms: Rooms, topic: str, drafts: Sequence[Draft]) -> list[str]:
    tables = {draft.table for draft in drafts}
    return [
        f"{contract.file} names the topic too, for {full_name(contract.table, rooms.settings)}: keep one of both"
        for contract in rooms.contracts
        if topic_test(contract)(topic) and full_name(contract.table, rooms.settings) not in tables
    ]


# ---------------------------------------------------------------- shown


def shown(proposal: Proposal) -> str:
    """The files one behind the other, or where they were written; then what is left to do."""
    lines: list[str] = []
    for table in proposal.tables if not proposal.written else ():
        for path, text in ((table.files.sql, table.sql), (table.files.contract, table.contract)):
            there = " (exists already)" if path.exists() else ""
            lines += [f"==> {path}{there} <==", text]
    if proposal.written:
        lines += [f"wrote {path}" for path in proposal.written]
        lines += [f"  {remark}" for table in proposal.tables for remark in table.draft.remarks]
        lines.append("")
    for note in proposal.notes:
        lines += wrapped(note, "note: ", "      ")
    return "\n".join([*lines, f"next: {_next(proposal)}"])


def _next(proposal: Proposal) -> str:
    write = "" if proposal.written else f"ingest propose {proposal.topic} --write && "
    return f"{write}ingest migrate && INGEST_TOPICS={proposal.topic} ingest check"


def shown_as_json(proposal: Proposal) -> str:
    parts = propose_text.as_json([table.draft for table in proposal.tables])
    files = [
        {
            "sql": {"file": str(each.files.sql), "text": each.sql},
            "contract": {"file": str(each.files.contract), "text": each.contract},
        }
        for each in proposal.tables
    ]
    answer = {
        "topic": proposal.topic,
        "format": proposal.tables[0].draft.sample.format,
        "tables": [{**part, **file} for part, file in zip(parts, files, strict=True)],
        "notes": list(proposal.notes),
        "written": [str(path) for path in proposal.written],
    }
    return json.dumps(answer, indent=1, ensure_ascii=False)
