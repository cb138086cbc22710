"""Contradictions between a contract and the table that the catalogue shows, all of them, for `check` and the start log.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ingest.model import Column, Level, Table
from ingest.tables.contract import Contract, Problem
from ingest.tables.system_columns import SYSTEM_TYPES, is_system
from ingest.tables.toml_file import TomlFile
from ingest.tables.types import TEXT_TYPES, TIMESTAMP_TYPES, ColumnRule, companion_of

# Filled in every row, so NOT NULL does no harm to them.
_ALWAYS_FILLED: Final = frozenset(SYSTEM_TYPES) - {"cdc_source_ts", "cdc_extra"}


def problems(contract: Contract | None, table: Table) -> list[Problem]:
    """What does not fit together, with the contract's file and line. An error stops the table, a warning costs something."""
    said = contract or Contract(table.full_name, file=table.full_name)
    return [
        *_columns(said, table),
        *_key(said, table),
        *_month(said, table),
        *_version(said, table),
        *_policies(said, table),
        *_table(said, table),
    ]


def _columns(said: Contract, table: Table) -> Iterator[Problem]:
    for name, rule in said.columns.items():
        path, column = f"columns.{name}", table.columns.get(name)
        if column is None:
            yield said.problem(path, f"{table.full_name} has no column {name}{TomlFile.nearest(name, table.columns)}")
            continue
        if is_system(name):
            yield said.problem(path, f"{name} is filled by the worker, never from the record: remove it from the contract")
        yield from _companion(said, table, name, column, rule)
        if rule.shorten and column.type.removesuffix("_array") not in TEXT_TYPES:
            yield said.problem(f"{path}.shorten", f"shorten is for text, {name} is {column.type}")
        if rule.source == "" and name in table.key:
            yield said.problem(f"{path}.from", f"{name} is part of the key, so it must come from the record")


def _companion(said: Contract, table: Table, name: str, column: Column, rule: ColumnRule) -> Iterator[Problem]:
    """A policy of text needs a column for that text, which nobody else fills."""
    path = f"columns.{name}.{'overflow' if rule.overflow == 'text' else 'precision'}"
    companion = companion_of(column, rule)
    if companion is None:
        return
    beside = table.columns.get(companion)
    if name in table.key:
        yield said.problem(path, f"{name} is part of the key, which is never NULL: remove the policy")
    elif beside is None or beside.type not in TEXT_TYPES or beside.length is not None or not beside.nullable:
        yield said.problem(path, f'"text" needs a column {companion} TEXT for what {name} cannot hold: add it, or write "null"')
    elif companion in said.columns:
        yield said.problem(f"columns.{companion}", f'{companion} holds what {name} cannot ("text"): remove it from the contract')


def _key(said: Contract, table: Table) -> Iterator[Problem]:
    if not table.key:
        yield said.problem("", f"{table.full_name} has no primary key beside its month, so no row can be told from another")
    if said.key is not None and sorted(said.key) != sorted(table.key):
        yield said.problem("key", f"the key is {', '.join(said.key)}, but the primary key of the table is {', '.join(table.key)}")
    if said.by_position and not _takes_position(table):
        yield said.problem("key", 'key = "position" needs a key of cdc_topic, cdc_partition, cdc_offset, or of one TEXT column')


def _takes_position(table: Table) -> bool:
    if all(is_system(name) for name in table.key):
        return "cdc_offset" in table.key
    return len(table.key) == 1 and table.columns[table.key[0]].type in TEXT_TYPES


def _month(said: Contract, table: Table) -> Iterator[Problem]:
    rule, column = said.partition, table.month_column
    if column is None:
        if rule.column or rule.source:
            yield said.problem("partition", f"{table.full_name} is not partitioned: remove partition, or partition the table")
        return
    if rule.column is not None and rule.column != column:
        yield said.problem("partition.column", f"{table.full_name} is partitioned by {column}, not by {rule.column}")
    if table.columns[column].type not in TIMESTAMP_TYPES:
        yield said.problem("partition", f"the partition column {column} is {table.columns[column].type}: a month is a TIMESTAMP")
    if rule.source is not None and is_system(rule.source):
        yield said.problem("partition.from", f"{rule.source} changes from one reading to the next: name a column of the source")
    elif rule.source is not None and rule.source not in table.columns:
        near = TomlFile.nearest(rule.source, table.columns)
        text = f"{rule.source} is no column of {table.full_name}, so each record must have a field of that name{near}"
        yield said.problem("partition.from", text, "warning")
    if table.generated_month:
        text = f"{column} is generated: CrateDB refuses to update the column that it is generated from; a plain column is better"
        yield said.problem("partition", text, "warning")


def _version(said: Contract, table: Table) -> Iterator[Problem]:
    if table.level is Level.ORDERED and said.version.source == "none":
        yield said.problem("version.from", f"{table.full_name} has cdc_version, so each record needs a version: source or offset")
    if "cdc_version" not in table.columns and said.version.source in ("source", "offset"):
        text = f"{table.full_name} has no cdc_version and cdc_deleted, so versions are not kept: add both columns"
        yield said.problem("version.from", text, "warning")


def _policies(said: Contract, table: Table) -> Iterator[Problem]:
    if said.unknown_fields == "extra" and "cdc_extra" not in table.columns:
        yield said.problem("unknown_fields", 'unknown_fields = "extra" needs a column cdc_extra OBJECT(IGNORED)')
    if said.truncate == "empty" and (len(said.topics) > 1 or any(topic.startswith("^") for topic in said.topics)):
        text = 'truncate = "empty" empties the whole table, so one topic alone may feed it: name that topic, or write park'
        yield said.problem("truncate", text)


def _table(said: Contract, table: Table) -> Iterator[Problem]:
    for name, column in table.columns.items():
        if table.level is Level.ORDERED and not column.nullable and name not in (*table.key, table.month_column, *_ALWAYS_FILLED):
            yield said.problem("", f"{name} of {table.full_name} is NOT NULL, but a deleted row keeps its key only: allow NULL")
        if name in SYSTEM_TYPES and not _is_fit(column, SYSTEM_TYPES[name]):
            yield said.problem("", f"{name} of {table.full_name} is {column.type}: it must be {' or '.join(SYSTEM_TYPES[name])}")
        if column.type.startswith("object") and column.policy == "dynamic":
            text = (
                f"{name} of {table.full_name} is OBJECT(DYNAMIC), where each row with new keys travels alone: use OBJECT(IGNORED)"
            )
            yield said.problem("", text, "warning")


def _is_fit(column: Column, types: tuple[str, ...]) -> bool:
    return column.type in types and (column.type != "object" or column.policy == "ignored")
