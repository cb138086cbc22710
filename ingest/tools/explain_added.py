"""The columns that a record would add to its table where the contract says unknown_fields = "add". Nothing is added. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from ingest.crate.columns import alter
from ingest.errors import NewFields
from ingest.model import Envelope, Record, Table
from ingest.tables.mapper import Mapper
from ingest.tables.new_columns import column_of

Compile = Callable[[Table], Mapper]


class Added(NamedTuple):
    """table: as it would be then. mapper: of that table. names: of the new columns. sql: the statement, "" for none of them."""

    table: Table
    mapper: Mapper
    names: frozenset[str] = frozenset()
    sql: str = ""


def added(table: Table, envelope: Envelope, record: Record, now_ms: int, compile_mapper: Compile) -> Added:
    """Raises what the mapper raises: Reject for a record that brings a field whose name no column can have, Parked."""
    mapper = compile_mapper(table)
    if mapper.unknown_policy != "add" or envelope.after is None:
        return Added(table, mapper)
    mapper.stop_at_new_fields(())
    try:
        mapper.map(envelope, record, now_ms)
    except NewFields as found:
        new = [column for column in found.columns if column.type]
    else:
        new = []
    if not new:
        mapper.stop_at_new_fields(None)
        return Added(table, mapper)
    columns = {**table.columns, **{column.name: column_of(column) for column in new}}
    wider = replace(table, columns=columns)
    return Added(wider, compile_mapper(wider), frozenset(column.name for column in new), alter(table, new))
