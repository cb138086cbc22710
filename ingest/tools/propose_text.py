"""A proposal as files: the SQL that makes the table and its contract, both to apply as they are; and as JSON. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ingest.tables.declared_columns import Choice
from ingest.tools.explain_words import counted
from ingest.tools.propose_design import SYSTEM_TYPES, Draft
from ingest.tools.propose_names import full, quoted
from ingest.tools.propose_sample import Sample

WIDTH: Final = 120
# A remark further to the right is not read beside its column.
REMARK_AT_MOST: Final = 48
UNINDEXED: Final = " INDEX OFF STORAGE WITH (columnstore = FALSE)"


# ---------------------------------------------------------------- sql


def sql(draft: Draft) -> str:
    """The numbered file."""
    parts = ["\n".join(_head(draft)), _create_table(draft)]
    if draft.is_ordered:
        parts.append(_create_view(draft))
    return "\n\n".join(parts) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    yield from _comment("-- ", f"{draft.table}, proposed from {_origin(draft)}.")
    yield from _comment("-- ", f"Key: {', '.join(draft.key_columns)}, {draft.key.reason}.")
    of = f"of {draft.month.column}, " if draft.month.column else "none, so the table is not partitioned: "
    yield from _comment("-- ", f"Month: {of}{draft.month.reason}.")
    yield from _comment("-- ", f"Shards: {draft.shards}{' a month' if draft.month.column else ''}, for {draft.shards_reason}.")
    if draft.is_ordered:
        yield from _comment(
            "-- ", "A write keeps the newer version of its row, a deleted row stays as a mark: people read the view."
        )
    for remark in draft.remarks:
        yield from _comment("-- LOOK AT: ", f"{remark}.", "--   ")


def _origin(draft: Draft) -> str:
    sample, changes = draft.sample, draft.rows.changes
    if not draft.rows.has_records:
        return f"the schema of topic {sample.topic} ({sample.format})"
    of_all = f" of {sample.volume.records:,}" if sample.volume.records > sample.read else ""
    what = (
        counted(sample.read, "record")
        if len(sample.tables) == 1
        else f"{counted(len(changes), 'change')} in {sample.read:,} records"
    )
    return f"{what}{of_all} on topic {sample.topic} ({sample.format})"


def _comment(first: str, text: str, rest: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest or first, break_on_hyphens=False)


def _create_table(draft: Draft) -> str:
    lines = [(f"{quoted(draft.names[name])} {_type(choice)}", choice.remark) for name, choice in draft.choices.items()]
    if draft.month.column:
        lines.append((f"{quoted(draft.month_name)} TIMESTAMP WITH TIME ZONE", "filled by the worker"))
    lines += [(f"{name} {SYSTEM_TYPES[name]}", "") for name in draft.system_columns]
    lines.append((f"PRIMARY KEY ({', '.join(map(quoted, draft.primary_key))})", ""))
    width = max((len(text) for text, remark in lines if remark and len(text) <= REMARK_AT_MOST), default=0) + 1
    commas = [","] * (len(lines) - 1) + [""]
    body = [each for (text, remark), comma in zip(lines, commas, strict=True) for each in _lines(text + comma, remark, width)]
    return "\n".join([f"CREATE TABLE IF NOT EXISTS {full(draft.table)} (", *body, f") {_placement(draft)};"])


def _lines(text: str, remark: str, width: int) -> list[str]:
    """A column with its remark beside it, above it where that would be too long."""
    if not remark:
        return [f"    {text}"]
    beside = f"    {text:<{width}}  -- {remark}"
    return [beside] if len(beside) <= WIDTH else [*_comment("    -- ", remark), f"    {text}"]


def _type(choice: Choice) -> str:
    return choice.sql + (UNINDEXED if choice.is_wide else "")


def _placement(draft: Draft) -> str:
    by = f"BY ({quoted(draft.key_columns[0])}) " if len(draft.key_columns) == 1 else ""
    partitioned = f" PARTITIONED BY ({quoted(draft.month_name)})" if draft.month.column else ""
    return f"CLUSTERED {by}INTO {draft.shards} SHARDS{partitioned}"


def _create_view(draft: Draft) -> str:
    names = [quoted(name) for name in (*draft.names.values(), *([draft.month_name] if draft.month.column else []))]
    columns = textwrap.fill(", ".join(names), WIDTH - 11, break_long_words=False, break_on_hyphens=False).replace(
        "\n", "\n           "
    )
    return (
        f"CREATE OR REPLACE VIEW {full(draft.table + '_live')} AS\n"
        f"    SELECT {columns}\n"
        f"    FROM {full(draft.table)} WHERE cdc_deleted = FALSE;"
    )


# ---------------------------------------------------------------- contract


def contract(draft: Draft) -> str:
    """The TOML file."""
    lines = [(f"{key:<9} = {value}", remark) for key, value, remark in _keys(draft)]
    width = max((len(text) for text, remark in lines if remark), default=0)
    head = "\n".join(f"{text:<{width}}  # {remark}" if remark else text for text, remark in lines)
    return "\n\n".join([head, *([_columns(draft)] if draft.rules() else [])]) + "\n"


def _keys(draft: Draft) -> Iterator[tuple[str, str, str]]:
    yield "table", toml(draft.table), ""
    yield "topics", toml([draft.sample.topic]), ""
    if draft.sample.format != "auto":
        yield "format", toml(draft.sample.format), ""
    if draft.key.by_position:
        yield "key", toml("position"), ""
    elif draft.key.is_unnamed:
        yield "key", toml(list(draft.key_columns)), "names for the values of the Kafka key"
    if draft.month.column:
        mutable = ", mutable = true" if draft.month.mutable else ""
        value = f"{{ column = {toml(draft.month_name)}, from = {toml(draft.month.column)}{mutable} }}"
        yield "partition", value, draft.month.reason if draft.month.mutable else ""
    if draft.before_full:
        yield "before", toml("full"), "updates in the sample bring the whole old row"
    if draft.version_from:
        yield (
            "version",
            f"{{ from = {toml(draft.version_from)} }}",
            "changes say no position in their source, so Kafka's order counts",
        )


def _columns(draft: Draft) -> str:
    lines = ["[columns]"]
    by_column = {column: name for name, column in draft.names.items()}
    rules = draft.rules()
    width = max(len(_bare(column)) for column in rules)
    for column, rule in rules.items():
        choice = draft.choices[by_column[column]]
        said = {"from": rule.source, "type": choice.read_as, "overflow": choice.overflow}
        inside = ", ".join(f"{key} = {toml(value)}" for key, value in said.items() if value)
        lines.append(f"{_bare(column):<{width}} = {{ {inside} }}")
    return "\n".join(lines)


def _bare(name: str) -> str:
    is_bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if is_bare else toml(name)


def toml(value: Any) -> str:
    r"""A text or a list of texts; JSON escapes them as TOML does, but for DEL.

    >>> toml('a"b'), toml(["x"])
    ('"a\\"b"', '["x"]')
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# ---------------------------------------------------------------- notes of the whole topic


def notes(sample: Sample) -> list[str]:
    """What the tables alone do not say."""
    said = [
        f"{counted(times, 'record')} of {sample.read:,} cannot be read and would be dead letters: {reject.text} ({reject.code}; "
        f"see `ingest explain {record.topic}:{record.partition}:{record.offset}`)"
        for record, reject, times in sample.rejected.values()
    ]
    return [*said, *sample.notes]


def as_json(drafts: Sequence[Draft]) -> list[dict[str, Any]]:
    """The parts that a program would ask for, beside the files."""
    return [
        {
            "table": draft.table,
            "level": "ordered" if draft.is_ordered else "arrival",
            "key": list(draft.key_columns),
            "month": draft.month.column,
            "shards": draft.shards,
            "columns": [
                {"name": draft.names[name], "field": name, "type": _type(choice), "remark": choice.remark}
                for name, choice in draft.choices.items()
            ],
            "remarks": list(draft.remarks),
        }
        for draft in drafts
    ]
