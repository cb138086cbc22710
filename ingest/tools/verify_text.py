"""What `ingest verify` found, for people and as JSON: keys, versions, months and names of columns, no other values. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from ingest.tools.explain_words import counted
from ingest.tools.purge import month_name
from ingest.tools.verify import Answer
from ingest.tools.verify_compare import MonthAnswer, TableAnswer
from ingest.tools.verify_judge import (
    BEYOND,
    BUSY,
    GHOST,
    MISSING,
    NEWER,
    OLDER,
    SINCE,
    STRANGER,
    TABLE_ONLY,
    UNORDERED,
    UNREAD,
    VALUES,
    Difference,
)

SHOWN_KEYS: Final = 20
WORDS: Final[Mapping[str, str]] = {
    MISSING: "the topics have the row, the table has not",
    OLDER: "the table has an older version",
    VALUES: "the same version with other values",
    GHOST: "live in a month that the key left, or though it was deleted",
    NEWER: "a version that the topics do not tell; no repair, the guard keeps it",
    STRANGER: "only the table has it; no repair, look where it came from",
}
REASONS: Final[Mapping[str, str]] = {
    TABLE_ONLY: "in the table only; the topics no longer tell of them",
    SINCE: "written since the topics were read",
    BEYOND: "written by a record that the topics no longer hold",
    BUSY: "still changing or on the way; run it again",
    UNORDERED: "changed by records of several partitions, whose order nobody can tell",
    UNREAD: "changed by records that the group has not read yet",
}


def shown(answer: Answer) -> str:
    lines = [line for table in answer.tables for line in [*of_table(table), ""]]
    lines += [f"{name}: {counted(count, 'record')} for a table that CrateDB has not" for name, count in answer.missing.items()]
    return "\n".join([*lines, *of_records(answer), verdict(answer)])


def of_table(found: TableAnswer) -> list[str]:
    lines = [f"{found.table.full_name}, level {found.table.level.value}: {counted(found.keys, 'key')}"]
    lines += month_lines(found)
    for kind, count in found.kinds.items():
        lines.append(f"  {count:,} {kind}: {WORDS[kind]}")
    named = sorted(found.differences, key=lambda each: (each.kind, each.month or 0, repr(each.key)))[:SHOWN_KEYS]
    lines += [f"    {difference_line(found, each)}" for each in named]
    if found.differing > len(named):
        lines.append(f"    and {found.differing - len(named):,} more (--json names {len(found.differences):,})")
    lines += [f"  not judged: {counted(count, 'key')} {REASONS[why]}" for why, count in sorted(found.unjudged.items())]
    if found.rejected:
        lines.append(
            f"  not counted as missing: {counted(sum(found.rejected.values()), 'record')} rejected ({codes(found.rejected)})"
        )
    if found.lettered:
        lines.append(f"  not counted as missing: {counted(found.lettered, 'change')} with a dead letter")
    return lines


def month_lines(found: TableAnswer) -> list[str]:
    if not found.months:
        return ["  no live rows on either side"]
    rows: list[tuple[str, ...]] = [("month", "topics", "table", "checksums", "differ", "table only")]
    rows += [month_cells(month, each) for month, each in sorted(found.months.items(), key=lambda item: item[0] or 0)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def month_cells(month: int | None, each: MonthAnswer) -> tuple[str, ...]:
    sums = "equal" if each.told_sum == each.stored_sum else "differ"
    name = "all" if month is None else month_name(month)
    return name, f"{each.told:,}", f"{each.stored:,}", sums, f"{each.differing:,}", f"{each.table_only:,}"


def difference_line(found: TableAnswer, each: Difference) -> str:
    """One key on one line: which, what is wrong, both versions, and which columns."""
    key = ",".join(f"{name}={part}" for name, part in zip(found.table.key, each.key, strict=True))
    ours = each.state.version if each.state is not None else None
    theirs = ", ".join(version_of(row.version, row.month, is_deleted=row.is_deleted) for row in each.rows) or "nothing"
    text = f"{key}  {each.kind}  topics: {expected(each, ours)}  table: {theirs}"
    return text + (f"  columns: {', '.join(each.columns)}" if each.columns else "")


def expected(each: Difference, version: str | None) -> str:
    if each.state is None:
        return "nothing"
    if not each.state.is_live:
        return f"deleted by {version or each.state.change.at}"
    return version_of(version or str(each.state.change.at), each.state.month)


def version_of(version: str | None, month: int | None, *, is_deleted: bool = False) -> str:
    where = "" if month is None else f" in {month_name(month)}"
    return f"{version or 'no version'}{where}{' (tombstone)' if is_deleted else ''}"


def of_records(answer: Answer) -> list[str]:
    seen = answer.scanned
    lines = [f"{counted(seen.records, 'record')} of {counted(len(answer.spans), 'partition')} read"]
    for codes_of, word in ((seen.rejected, "cannot be decoded"), (seen.parked, "would park their topic or table")):
        if codes_of:
            lines.append(f"{counted(codes_of.total(), 'record')} {word} ({codes(codes_of)})")
    return [*lines, *answer.notes]


def codes(found: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in Counter(found).most_common())


def verdict(answer: Answer) -> str:
    if answer.is_repair and answer.differing:
        writes = codes(answer.outcomes)
        return f"{answer.repaired:,} of {counted(answer.differing, 'key')} repaired ({writes or 'nothing to write'})"
    if answer.differing:
        return f"{counted(answer.differing, 'key')} differ: --repair brings them to what the topics say, `ingest why` shows one"
    return "equal" if answer.is_equal else "not equal"


# ---------------------------------------------------------------- JSON


def shown_as_json(answer: Answer) -> str:
    found = {
        "equal": answer.is_equal,
        "differing": answer.differing,
        "repaired": answer.repaired,
        "tables": [table_object(table) for table in answer.tables],
        "missing_tables": dict(answer.missing),
        "records": answer.scanned.records,
        "late": answer.late,
        "rejected": dict(answer.scanned.rejected),
        "parked": dict(answer.scanned.parked),
        "skipped": dict(answer.scanned.skipped),
        "outcomes": dict(answer.outcomes),
        "ranges": {str(place): list(span) for place, span in answer.spans.items()},
    }
    return json.dumps(found, indent=2, default=str)


def table_object(found: TableAnswer) -> dict[str, Any]:
    return {
        "table": found.table.full_name,
        "level": found.table.level.value,
        "keys": found.keys,
        "kinds": dict(found.kinds),
        "unjudged": dict(found.unjudged),
        "rejected": dict(found.rejected),
        "dead_lettered": found.lettered,
        "repaired": found.repaired,
        "months": [month_object(month, each) for month, each in sorted(found.months.items(), key=lambda item: item[0] or 0)],
        "differences": [difference_object(found, each) for each in found.differences],
    }


def month_object(month: int | None, each: MonthAnswer) -> dict[str, Any]:
    return {
        "month": None if month is None else month_name(month),
        "topics": each.told,
        "table": each.stored,
        "topics_checksum": f"{each.told_sum:016x}",
        "table_checksum": f"{each.stored_sum:016x}",
        "differing": each.differing,
        "table_only": each.table_only,
    }


def difference_object(found: TableAnswer, each: Difference) -> dict[str, Any]:
    state = each.state
    return {
        "key": dict(zip(found.table.key, each.key, strict=True)),
        "kind": each.kind,
        "columns": list(each.columns),
        "topics": None if state is None else state_object(state.version, state.month, state.is_live, str(state.change.at)),
        "table": [state_object(row.version, row.month, not row.is_deleted) for row in each.rows],
        "ghosts": [month_name(month) for month in each.ghosts if month is not None],
    }


def state_object(version: str | None, month: int | None, is_live: bool, place: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"version": version, "month": None if month is None else month_name(month), "live": is_live}
    return found if place is None else {**found, "record": place}
