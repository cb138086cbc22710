"""An `Answer` of `why` for people, 80 columns wide, the answer first; and for programs, as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ingest.model import Kind
from ingest.tools.explain_fields import shown_type
from ingest.tools.explain_words import as_json, counted, labelled, moment, month, table_of, value, version, wrapped
from ingest.tools.why import Answer
from ingest.tools.why_fates import Fate
from ingest.tools.why_rows import StoredRow
from ingest.tools.why_scan import CHANGES_KEPT, Scan, Seen

# Who wants more reads --json; the newest are the ones that people ask about.
CHANGES_SHOWN: Final = 50
KINDS: Final = {Kind.WRITE: "a whole row", Kind.PATCH: "a part of a row", Kind.DELETE: "a delete"}
COLUMN_WIDTHS: Final = (24, 18)


def shown(answer: Answer) -> str:
    lines = [*wrapped(f"{answer.table.full_name}, {_key(answer)}: {_state(answer)}", "", "  "), *_view(answer)]
    for row in answer.stored.rows:
        lines += ["", *_row(answer, row)]
    if answer.scan is not None:
        lines += ["", *_changes(answer, answer.scan)]
    if answer.notes:
        lines += ["", *(line for note in answer.notes for line in labelled("note", [note], 6))]
    return "\n".join(lines)


def _key(answer: Answer) -> str:
    return ", ".join(f"{name} = {value(part)}" for name, part in zip(answer.table.key, answer.key, strict=True))


def _state(answer: Answer) -> str:
    live = [row for row in answer.stored.rows if not row.is_deleted]
    if not answer.stored.rows:
        return "nothing is stored"
    if not live:
        return f"deleted, {counted(len(answer.stored.rows), 'tombstone')} {'is' if len(answer.stored.rows) == 1 else 'are'} left"
    if answer.table.month_column is None:
        return "one row"
    months = ", ".join(month(row.month) for row in live)
    return f"one row, in {months}" if len(live) == 1 else f"rows in {len(live)} months, and there should be one: {months}"


def _view(answer: Answer) -> Iterator[str]:
    view = answer.stored.live_view
    if answer.stored.live is not None:
        yield from wrapped(f"the view {view} shows {counted(answer.stored.live, 'row')} of it", "  ", "  ")
    if answer.stored.is_late:
        yield from wrapped(
            "rows written in the last second may not be seen yet: CrateDB was asked by query, not by key", "  ", "  "
        )


def _row(answer: Answer, row: StoredRow) -> Iterator[str]:
    what = "a tombstone" if row.is_deleted else "the row"
    yield f"{what} of {month(row.month)}" if answer.table.month_column is not None else what
    if row.version is not None:
        yield from wrapped(f"version: {version(row.version)}", "  ", "  ")
    columns = answer.table.columns
    shown_columns = [(name, found) for name, found in row.columns.items() if found is not None or not row.is_deleted]
    cells = [(name, shown_type(columns[name]), _value(columns[name].type, found)) for name, found in shown_columns]
    yield from table_of(("COLUMN", "TYPE", "VALUE"), cells, COLUMN_WIDTHS)


def _value(type_: str, found: Any) -> str:
    at = f"  {moment(found)}" if type_.startswith("timestamp") and type(found) is int else ""
    return value(found) + at


# ---------------------------------------------------------------- changes


def _changes(answer: Answer, scan: Scan) -> Iterator[str]:
    topics = ", ".join(sorted({place.topic for place in scan.spans}))
    read = f"{counted(scan.records, 'record')} of {counted(len(scan.spans), 'partition')} read"
    yield from wrapped(f"{counted(scan.total, 'change')} of this key in {topics} ({read}, group {answer.group_id})", "", "  ")
    if behind := sum(scan.behind.values()):
        yield f"  {counted(behind, 'older offset')} not read: see --scan-from and --limit"
    if gone := sum(span.begin for span in scan.held.values()):
        yield f"  {counted(gone, 'offset')} of these topics behind retention"
    if answer.changes:
        yield f"  in short: {_sums([fate for _, fate in answer.changes])}"
    if (left := scan.total - min(CHANGES_SHOWN, len(answer.changes))) > 0:
        yield f"  {counted(left, 'older change')} not shown: --json shows the newest {CHANGES_KEPT:,}"
    for seen, fate in answer.changes[-CHANGES_SHOWN:]:
        yield from _change(seen, fate)


def _sums(fates: Sequence[Fate]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in Counter(fate.word for fate in fates).items())


def _change(seen: Seen, fate: Fate) -> Iterator[str]:
    yield from wrapped(f"{seen.at}  {moment(seen.timestamp_ms)}", "  ", "    ")
    what = f"{seen.op}, {_what(seen)}" if seen.op else _what(seen)
    yield from wrapped(f"{fate.word.upper()}: {what}" + (f"; {fate.why}" if fate.why else ""), "    ", "    ")


def _what(seen: Seen) -> str:
    change = seen.change
    if change is None:
        return {"skipped": "no row", "truncate": "empties the table"}.get(seen.what, "cannot be stored")
    where = f" of {month(change.month)}" if change.month is not None else ""
    return f"{KINDS[change.kind]}{where}" + ("" if change.version is None else f", {version(change.version)}")


# ---------------------------------------------------------------- JSON


def shown_as_json(answer: Answer) -> str:
    return as_json(
        {
            "table": answer.table.full_name,
            "key": dict(zip(answer.table.key, answer.key, strict=True)),
            "state": _state(answer),
            "rows": [row._asdict() for row in answer.stored.rows],
            "live_view": None if answer.stored.live is None else {"name": answer.stored.live_view, "rows": answer.stored.live},
            "group": answer.group_id,
            "scan": None if answer.scan is None else _scan_as_json(answer.scan),
            "changes": [_change_as_json(seen, fate) for seen, fate in answer.changes],
            "notes": list(answer.notes),
        }
    )


def _scan_as_json(scan: Scan) -> dict[str, Any]:
    places = [
        {"topic": p.topic, "partition": p.number, "from": span.begin, "to": span.end, "first_held": scan.held[p].begin}
        for p, span in scan.spans.items()
    ]
    return {"records": scan.records, "changes": scan.total, "partitions": places}


def _change_as_json(seen: Seen, fate: Fate) -> dict[str, Any]:
    change = seen.change
    return {
        **seen.at._asdict(),
        "timestamp_ms": seen.timestamp_ms,
        "fate": fate.word,
        "why": fate.why,
        "operation": seen.op,
        "code": seen.code,
        "text": seen.text,
        "kind": None if change is None else change.kind.value,
        "month": None if change is None else change.month,
        "version": None if change is None else change.version,
        "row": None if change is None else dict(zip(change.columns, change.row, strict=True)),
    }
