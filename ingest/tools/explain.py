"""`ingest explain`: one record through all rooms, with the reason of each step, and nothing written.

`explain` reads like the data path: find the record, decode, route, map, plan. What comes back is an `Explanation`, which
`explain_text` shows to people and `explain_json` to programs. Both show values: that is what the command is for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any, Final

from ingest.errors import IngestError, Parked, Reject
from ingest.flow.tables import missing
from ingest.formats.decoder import AUTO
from ingest.model import Change, Envelope, Kind, Op, Record, Skip, Table
from ingest.settings import Settings
from ingest.tables.months import MonthSource, month_source
from ingest.tables.routing import topic_test
from ingest.tools import explain_evidence as evidence
from ingest.tools.explain_added import Added, added
from ingest.tools.explain_evidence import Evidence
from ingest.tools.explain_fields import Field, View, fields_of
from ingest.tools.explain_plan import Ask, Sending, Sent, expected, sending
from ingest.tools.explain_record import Asked, Found, find
from ingest.tools.explain_tables import CrateTables, FileTables, Tables
from ingest.tools.rooms import Rooms

FINE, REJECTED, PARKED = 0, 3, 4
# From good to bad: a record of several rows has the worst outcome of its rows.
WORST: Final = ("skipped", "absent", "repeated", "superseded", "stored", "decoded", "rejected", "parked", "unknown")
EXITS: Final = {"rejected": REJECTED, "parked": PARKED}


@dataclass(frozen=True)
class Verdict:
    """state: one of WORST. stage: where it was decided (decode, route, map, write)."""

    state: str
    text: str
    code: str = ""
    stage: str = ""
    column: str | None = None


@dataclass
class Row:
    """One change of one row. table: None where routing did not come so far. change: None where mapping did not."""

    envelope: Envelope
    verdict: Verdict
    target: str = ""
    route: str = ""
    table: Table | None = None
    mapping: Sequence[str] = ()
    fields: Sequence[Field] = ()
    month: MonthSource | None = None
    change: Change | None = None
    sending: Sending | None = None


@dataclass
class Explanation:
    """trouble: what kept us from going on, such as a registry or a CrateDB that does not answer."""

    found: Found
    key: Evidence
    key_value: Any
    value: Evidence
    format: Evidence
    verdict: Verdict
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trouble: IngestError | None = None

    @property
    def exit_code(self) -> int:
        return EXITS.get(self.verdict.state, FINE)


def explain(
    settings: Settings, asked: Asked, *, declared: str | None = None, with_crate: bool = True, wall_s: Callable[[], float] = time
) -> Explanation:
    """declared: the format, None as contracts say. with_crate: False takes tables from INGEST_SQL_DIR.

    Raises Stop for a question that makes no sense and Retry for a Kafka that does not answer; all else is in the explanation.
    """
    rooms = Rooms(settings, declared)
    try:
        found = find(asked, settings, wall_s)
        tables = CrateTables(settings) if with_crate else FileTables(Path(settings.sql_dir))
        with tables:
            explainer = Explainer(rooms, tables, with_crate=with_crate, declared=declared, now_ms=int(wall_s() * 1000))
            explanation = explainer.run(found)
            explanation.notes += left_out(tables.trouble)
            return explanation
    finally:
        rooms.close()


class Explainer:
    """One record through rooms that were built for it."""

    def __init__(self, rooms: Rooms, tables: Tables, *, with_crate: bool, declared: str | None, now_ms: int) -> None:
        self._rooms, self._tables = rooms, tables
        self._with_crate, self._declared, self._now_ms = with_crate, declared, now_ms
        self._trouble: IngestError | None = None

    def run(self, found: Found) -> Explanation:
        verdict, envelopes = self._decoded(found)
        rows = [self._row(envelope, found.record) for envelope in envelopes]
        schemas, record = self._rooms.schemas, found.record
        explanation = Explanation(
            found,
            evidence.of_key(record, schemas),
            evidence.key_value(record, schemas),
            evidence.of_value(record, schemas),
            self._format(record),
            worst([row.verdict for row in rows]) if rows else verdict,
            rows,
            trouble=self._trouble,
        )
        explanation.notes += notes(explanation, self._rooms.settings.dead_letter_topic)
        return explanation

    # ------------------------------------------------------------ decode

    def _decoded(self, found: Found) -> tuple[Verdict, Sequence[Envelope]]:
        try:
            for before in found.before:
                self._learn(before)
            decoded = self._rooms.decode(found.record)
        except Reject as reject:
            return rejected(reject, "decode"), ()
        except Parked as error:
            return parked(error, found.record, "decode"), ()
        except IngestError as error:
            self._trouble = error
            return Verdict("unknown", f"it cannot be decoded now: {error.text}", error.code, "decode"), ()
        if isinstance(decoded, Skip):
            return Verdict("skipped", f"it is no row: {SKIPS.get(decoded.reason, decoded.reason)}", decoded.reason, "decode"), ()
        return Verdict("skipped", "it holds no change", "empty", "decode"), decoded

    def _learn(self, before: Record) -> None:
        """What a worker would know by now: the topic's format, schemas, and the delete that a tombstone repeats."""
        with suppress(Reject, Parked):
            self._rooms.decode(before)

    def _format(self, record: Record) -> Evidence:
        declared = self._rooms.format_of(record.topic)
        by = "by --format" if self._declared not in (None, AUTO) else f"in {self._contract_files(record.topic)}"
        return evidence.of_format(self._rooms.decoder.format_of(record.topic), declared, by, record, self._rooms.schemas)

    def _contract_files(self, topic: str) -> str:
        return ", ".join(contract.file for contract in self._rooms.contracts if topic_test(contract)(topic))

    # ------------------------------------------------------------ route, map, plan

    def _row(self, envelope: Envelope, record: Record) -> Row:
        row = Row(envelope, Verdict("decoded", "it was decoded, and no table was looked at"))
        try:
            row.target = self._rooms.router.route(record.topic, envelope.table)
            row.route = self._route(record.topic, envelope)
            row.table = self._table(row)
            if row.table is not None:
                self._map(row, row.table, record)
        except Reject as reject:
            row.verdict = rejected(reject, "map")
        except Parked as error:
            row.verdict = parked(error, record, "map" if row.target else "route")
        except IngestError as error:
            self._trouble = error
            row.verdict = Verdict("unknown", f"it was decoded, but {error.text}", error.code, "map")
        return row

    def _route(self, topic: str, envelope: Envelope) -> str:
        named = [contract for contract in self._rooms.contracts if topic_test(contract)(topic)]
        if named:
            names = f"{named[0].file} names the topic" if len(named) == 1 else "its contract names the topic and this table"
            return f"by contract: {names}"
        if envelope.table:
            return f"by name: the record calls its table {'.'.join(envelope.table)}, and no contract names the topic"
        return "by name: it is the topic's last part, and no contract names the topic"

    def _table(self, row: Row) -> Table | None:
        found = self._tables.describe(row.target)
        if found is not None:
            return found
        if self._with_crate:
            raise missing(row.target)
        row.verdict = Verdict("decoded", f"it was decoded; no file in INGEST_SQL_DIR makes {row.target}", "table.unknown", "map")
        return None

    def _map(self, row: Row, table: Table, record: Record) -> None:
        mapper = self._rooms.mapper(table)
        contract = self._rooms.contract(table.full_name)
        row.mapping, row.month = mapper.describe(), month_source(table, contract)
        if row.envelope.op is Op.TRUNCATE:
            row.verdict = truncated(mapper.truncate, record)
            return
        row.fields = fields_of(self._view(table, row), row.envelope, is_patch=row.envelope.op is Op.UPDATE)
        found = added(table, row.envelope, record, self._now_ms, self._rooms.mapper)
        row.table, view = found.table, self._view(found.table, row, found.names)
        row.fields = fields_of(view, row.envelope, is_patch=row.envelope.op is Op.UPDATE)
        row.change = found.mapper.map(row.envelope, record, self._now_ms)
        if row.change.kind is Kind.PATCH:
            row.fields = fields_of(view, row.envelope, is_patch=True)
        self._plan(row, row.change, found)

    def _view(self, table: Table, row: Row, new: Collection[str] = ()) -> View:
        return View.of(table, self._rooms.contract(table.full_name), None if row.month is None else row.month.name, new)

    def _plan(self, row: Row, change: Change, found: Added) -> None:
        ask: Ask | None = self._tables.ask if self._with_crate else None
        sent = sending(found.table, change, ask)
        row.verdict = would_be(found.table, sent, bool(found.sql))
        first = [Sent("add the columns that the record brings; its table's records wait until they are there", found.sql)]
        row.sending = sent._replace(statements=[*first, *sent.statements]) if found.sql else sent


# ---------------------------------------------------------------- verdicts

SKIPS: Final = {
    "tombstone": "a tombstone behind the delete that it repeats, or one without a key",
    "resolved": "a changefeed's resolved timestamp",
    "heartbeat": "a heartbeat",
    "transaction": "a mark of a transaction's begin or end",
    "schema_change": "a change of the source's schema",
    "logical_message": "a message that the source's own users wrote",
    "notification": "a notification of the connector",
}


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: WORST.index(verdict.state))


def rejected(reject: Reject, stage: str) -> Verdict:
    return Verdict("rejected", reject.text, reject.code, stage, reject.column)


def parked(error: Parked, record: Record, stage: str) -> Verdict:
    return Verdict("parked", f"{error.subject or f'topic:{record.topic}'} would be parked: {error.text}", error.code, stage)


def truncated(policy: str, record: Record) -> Verdict:
    if policy == "skip":
        return Verdict("skipped", 'it is a truncate, and the contract says truncate = "skip"', "truncate", "map")
    if policy == "empty":
        text = "the table would be emptied of what is older, once all in front of it is stored"
        return Verdict("skipped", f"{text}; a topic of several partitions would be parked instead", "truncate", "map")
    text = "the source emptied the table; empty it by hand if it should follow, then `ingest unpark`"
    return Verdict("parked", f"topic:{record.topic} would be parked: {text}", "topic.truncate", "map")


def would_be(table: Table, sent: Sending, has_new_columns: bool = False) -> Verdict:
    state = expected(table, sent)
    name = table.full_name + (", with the columns that it adds" if has_new_columns else "")
    if state == "rejected" and sent.settled is not None:
        return Verdict(state, sent.settled.text, sent.settled.code, "write", sent.settled.column)
    texts = {
        "stored": f"it goes into {name}" if sent.change.kind is not Kind.DELETE else f"it deletes from {name}",
        "superseded": f"{name} holds a newer version of this row already, so it changes nothing",
        "repeated": f"{name} holds this very change already, so it changes nothing",
        "absent": f"there is no such row in {name}, so nothing is to be deleted",
    }
    return Verdict(state, texts[state], stage="write")


def notes(explanation: Explanation, letter_topic: str) -> list[str]:
    """What one record alone cannot tell."""
    found, said = explanation.found, []
    if found.letter is not None:
        letter = found.letter
        said.append(f"taken from the dead letter {letter.at}, which was sent for: {letter.code} ({letter.message or 'no text'})")
    elif found.record.topic == letter_topic:
        said.append("this topic holds dead letters, but the record's headers do not say where it came from")
    if not found.record.value and found.origin != "Kafka" and explanation.rows:
        said.append("behind a delete of the same key, next to it in its partition, this tombstone would be skipped as its echo")
    if found.origin != "Kafka" and any(row.change and row.change.version for row in explanation.rows):
        said.append("its place is taken to be offset 0, which is part of the version")
    return said


def left_out(statements: Sequence[str]) -> list[str]:
    """Files are taken for a CrateDB; what only a real one understands may be missing from the table."""
    if not statements:
        return []
    return [
        f"of the files in INGEST_SQL_DIR these were left out, because only a real CrateDB takes them: {', '.join(statements)}"
    ]
