"""A table's mapping in sentences, for people who check or watch it. Pure; touched by the loop's thread."""

from __future__ import annotations

from ingest.model import Level, Table
from ingest.tables.months import MonthSource
from ingest.tables.versions import ARRIVAL_KIND

_VERSIONS = {
    None: f"versions: the source's position; Kafka's order (kind {ARRIVAL_KIND}) for events that name no table",
    "source": "versions: the source's position; a change without one is rejected",
    "offset": f"versions: Kafka's order (kind {ARRIVAL_KIND}), which holds while a key stays on one partition of one topic",
    "none": "versions: none",
}


def describe(table: Table, month: MonthSource | None, version_kind: str | None, unknown_fields: str) -> list[str]:
    """How the table is mapped, a line for each of key, month, level, versions and unknown fields; then what does not hold."""
    return [
        f"key: {', '.join(table.key)}",
        _month_line(table, month),
        f"level: {table.level}",
        _VERSIONS[version_kind],
        f"fields without a column: {unknown_fields}",
        *(f"does not hold: {limit}" for limit in _limits(table, month, version_kind)),
    ]


def _month_line(table: Table, month: MonthSource | None) -> str:
    if month is None:
        return "month: none, the table is not partitioned"
    how = "part of the key" if month.key_index >= 0 else "may change" if month.mutable else "never changes"
    return f"month: {table.month_column} from {month.name} ({how})"


def _limits(table: Table, month: MonthSource | None, version_kind: str | None) -> list[str]:
    limits = []
    if table.level is Level.ARRIVAL:
        limits.append("a late or repeated change can win over a newer one, as the table lacks cdc_version and cdc_deleted")
    elif version_kind == "offset":
        limits.append("order across partitions or topics")
    if month is not None and month.key_index < 0 and not month.mutable and not month.before_full:
        limits.append(f"one row per key if {month.name} moves to another month: mutable = true looks the old month up")
    return limits
