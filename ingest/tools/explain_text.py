"""An `Explanation` for people, 80 columns wide, the answer first; and for programs, as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ingest.model import Change, Kind, Op
from ingest.tools.explain import Explanation, Row, Verdict
from ingest.tools.explain_evidence import Evidence
from ingest.tools.explain_fields import Field, shown_type
from ingest.tools.explain_plan import Sending, Sent
from ingest.tools.explain_words import (
    as_json,
    counted,
    labelled,
    moment,
    month,
    source_position,
    table_of,
    value,
    version,
    wrapped,
)

HEADS: Final = {
    "stored": "would be stored",
    "superseded": "would be superseded",
    "repeated": "is stored already",
    "absent": "would be superseded",
    "skipped": "would be skipped",
    "rejected": "would be rejected",
    "parked": "would park its topic or table",
    "decoded": "can be decoded",
    "unknown": "is not known to the end",
}
KINDS: Final = {Kind.WRITE: "a whole row", Kind.PATCH: "a part of a row", Kind.DELETE: "a delete"}
FIELD_WIDTHS: Final = (22, 20, 16)
ARGUMENT_LINES: Final = 12
ROWS_SHOWN: Final = 20


def shown(explanation: Explanation) -> str:
    """All of it as text."""
    lines = [*_head(explanation), "", *_record(explanation), *_decoded(explanation)]
    for number, row in enumerate(explanation.rows[:ROWS_SHOWN], 1):
        lines += ["", *([f"--- change {number} of {len(explanation.rows)}"] if len(explanation.rows) > 1 else []), *_row(row)]
    if len(explanation.rows) > ROWS_SHOWN:
        lines += ["", f"and {len(explanation.rows) - ROWS_SHOWN} more changes: --json shows all"]
    return "\n".join([*lines, *_notes(explanation)])


def _head(explanation: Explanation) -> Iterator[str]:
    verdict = explanation.verdict
    place = (
        explanation.found.record.at if explanation.found.origin == "Kafka" else f"this record of {explanation.found.record.topic}"
    )
    code = f" ({verdict.code}{_column(verdict)})" if verdict.code and verdict.state != "skipped" else ""
    yield from wrapped(f"{place} {HEADS[verdict.state]}{code}", "", "  ")
    yield from wrapped(verdict.text, "  ", "  ")


def _column(verdict: Verdict) -> str:
    return f", column {verdict.column}" if verdict.column else ""


def _record(explanation: Explanation) -> Iterator[str]:
    found = explanation.found
    record = found.record
    where = f"{record.at}, {moment(record.timestamp_ms)}" if found.origin == "Kafka" else f"from {found.origin}"
    sizes = [_size("key", record.key), _size("value", record.value)]
    headers = ", ".join(name for name, _ in record.headers)
    yield from labelled("record", [where, ", ".join([*sizes, f"headers: {headers}" if headers else "no headers"])])


def _size(what: str, data: bytes | None) -> str:
    return f"no {what}" if data is None else f"{what} {counted(len(data), 'byte')}"


def _decoded(explanation: Explanation) -> Iterator[str]:
    key = explanation.key_value
    yield from labelled("key", [_told(explanation.key) + ("" if key is None else f": {value(key)}")])
    yield from labelled("value", [_told(explanation.value)])
    yield from labelled("format", [f"{explanation.format.what}, {explanation.format.why}"])


def _told(told: Evidence) -> str:
    return f"{told.what} ({told.why})"


# ---------------------------------------------------------------- one change


def _row(row: Row) -> Iterator[str]:
    yield from labelled("change", list(_source(row)))
    if row.target:
        yield from labelled("table", [f"{row.target}, {row.route}", *([] if row.table is None else [_mapping(row.mapping)])])
    if row.change is not None:
        yield from _mapped(row, row.change)
    if row.fields:
        yield from ["", *_fields(row)]
    if row.sending is not None:
        yield from ["", *_statements(row.sending)]


def _mapping(lines: Sequence[str]) -> str:
    """What matters for one record; `check` and --json tell the rest."""
    return "; ".join(line for line in lines if not line.startswith(("versions:", "does not hold:")))


def _source(row: Row) -> Iterator[str]:
    envelope = row.envelope
    named = f" of {'.'.join(envelope.table)}" if envelope.table else ""
    word = f" (the source says {envelope.op_name!r})" if envelope.op_name else ""
    yield f"{envelope.op.value}{named}{word}"
    if envelope.version is not None:
        yield f"source position: {source_position(*envelope.version)}"
    if envelope.source_ts_ms is not None:
        yield f"source time: {moment(envelope.source_ts_ms)}"
    if envelope.before is not None and envelope.op is not Op.INSERT:
        yield "has the row before" + (", which the format calls real" if envelope.before_real else "")


def _mapped(row: Row, change: Change) -> Iterator[str]:
    names = row.table.key if row.table is not None else ()
    keys = ", ".join(f"{name} = {value(part)}" for name, part in zip(names, change.key, strict=False))
    yield from labelled("row", [f"{KINDS[change.kind]}, {keys}"])
    if row.month is not None:
        yield from labelled("month", [_month(row.month.name, change)])
    if change.version is not None:
        yield from labelled("version", [change.version, version(change.version)])
    elif row.sending is not None and row.table is not None and "cdc_version" in row.table.columns:
        yield from labelled("version", ["none of its own: just above the version that it deletes"])


def _month(name: str, change: Change) -> str:
    here = "looked up" if change.month is None else f"{month(change.month)}, from {name}"
    leaves = f"; the row leaves {', '.join(map(month, change.vacates))}" if change.vacates else ""
    others = "; other months of this key are looked up" if change.look_up and change.month is not None else ""
    return here + leaves + others


# ---------------------------------------------------------------- fields


def _fields(row: Row) -> Iterator[str]:
    """A line per field; what does not fit has its reason below."""
    fields = [*row.fields, *_filled(row)]
    lines = list(table_of(("FIELD", "DECLARED", "COLUMN TYPE", "VALUE"), [_cells(field) for field in fields], FIELD_WIDTHS))
    yield lines[0]
    for field, line in zip(fields, lines[1:], strict=True):
        yield line
        if field.code:
            yield from wrapped(f"rejected, {field.code}: {field.said}", "      ", "      ")


def _cells(field: Field) -> tuple[str, str, str, str]:
    name = field.name or field.column or ""
    if field.name and field.column and field.name != field.column:
        name = f"{field.name} > {field.column}"
    return name, field.source, field.column_type or "-", _value(field)


def _value(field: Field) -> str:
    if field.code:
        return value(field.value)
    if field.column is None or (field.name is None and field.value is None):
        return field.said or value(field.value)
    at = f"  {moment(field.value)}" if (field.column_type or "").startswith("timestamp") and isinstance(field.value, int) else ""
    return value(field.value) + at + (f"  ({field.said})" if field.said else "")


def _filled(row: Row) -> Iterator[Field]:
    """What the worker adds: the month and the cdc_* columns."""
    table, change = row.table, row.change
    if table is None or change is None:
        return
    if table.month_column is not None and not table.generated_month:
        shown_month = f"{month(change.month)} = {change.month}" if change.month is not None else "looked up"
        yield Field(None, "worker", table.month_column, shown_type(table.columns[table.month_column]), change.month, shown_month)
    ready = row.sending.change if row.sending is not None else change
    for name, found in zip(ready.columns, ready.row, strict=True):
        if name.startswith("cdc_"):
            yield Field(name, "worker", name, shown_type(table.columns[name]), found)


# ---------------------------------------------------------------- statements


def _statements(sent: Sending) -> Iterator[str]:
    if sent.stored:
        rows = ", ".join(_stored(row.month, row.is_live, row.version) for row in sent.stored)
        yield from labelled("stored", [f"now: {rows}"])
    if sent.settled is not None:
        yield from labelled("sent", [f"nothing: {sent.settled.text}"])
    for number, each in enumerate(sent.statements, 1):
        yield from _statement(number, each)


def _stored(of_month: int | None, is_live: bool, of_version: str | None) -> str:
    where = "" if of_month is None else f"in {month(of_month)} "
    return f"{where}{'the row' if is_live else 'a tombstone'}" + ("" if of_version is None else f" of {version(of_version)}")


def _statement(number: int, sent: Sent) -> Iterator[str]:
    yield from wrapped(sent.purpose, f"{number:>3} ", "    ")
    yield from wrapped(sent.sql, "    ", "    ")
    if sent.args:
        yield from wrapped(value(list(sent.args)), "    with ", "         ", ARGUMENT_LINES)
    if sent.rows is not None:
        yield from wrapped(f"it finds {value(list(sent.rows))}" if sent.rows else "it finds nothing", "    ", "    ", 4)


def _notes(explanation: Explanation) -> Iterator[str]:
    if explanation.notes:
        yield ""
    for note in explanation.notes:
        yield from labelled("note", [note])


# ---------------------------------------------------------------- JSON


def shown_as_json(explanation: Explanation) -> str:
    found, verdict = explanation.found, explanation.verdict
    record = found.record
    return as_json(
        {
            "verdict": _verdict(verdict),
            "record": {
                "topic": record.topic,
                "partition": record.partition if found.origin == "Kafka" else None,
                "offset": record.offset if found.origin == "Kafka" else None,
                "timestamp_ms": record.timestamp_ms if found.origin == "Kafka" else None,
                "from": found.origin,
                "key_bytes": None if record.key is None else len(record.key),
                "value_bytes": None if record.value is None else len(record.value),
                "headers": [{"name": name, "value": _header(data)} for name, data in record.headers],
            },
            "key": {**explanation.key._asdict(), "value": explanation.key_value},
            "value": explanation.value._asdict(),
            "format": explanation.format._asdict(),
            "changes": [_row_as_json(row) for row in explanation.rows],
            "notes": explanation.notes,
        }
    )


def _header(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"state": verdict.state, "code": verdict.code, "column": verdict.column, "stage": verdict.stage, "text": verdict.text}


def _row_as_json(row: Row) -> dict[str, Any]:
    envelope = row.envelope
    return {
        "verdict": _verdict(row.verdict),
        "operation": envelope.op.value,
        "source_word": envelope.op_name,
        "source_table": list(envelope.table),
        "source_position": None if envelope.version is None else envelope.version._asdict(),
        "source_ts_ms": envelope.source_ts_ms,
        "table": row.target or None,
        "route": row.route or None,
        "mapping": list(row.mapping),
        "row": None if row.change is None else _change_as_json(row, row.change),
        "fields": [field._asdict() for field in [*row.fields, *_filled(row)]],
        "stored": [] if row.sending is None else [each._asdict() for each in row.sending.stored],
        "statements": _sent_as_json(row.sending.statements if row.sending is not None else ()),
    }


def _change_as_json(row: Row, change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "key": dict(zip(row.table.key if row.table is not None else (), change.key, strict=False)),
        "month": change.month,
        "vacates": list(change.vacates),
        "looks_up": change.look_up,
        "version": change.version,
    }


def _sent_as_json(statements: Sequence[Sent]) -> list[dict[str, Any]]:
    return [{"purpose": sent.purpose, "sql": sent.sql, "args": list(sent.args), "rows": sent.rows} for sent in statements]
