"""Tables as CrateDB's catalogue shows them now: four queries for any number of tables, one more for each with NUMERIC columns.

Reads only. Called by writer threads and by commands, each with a client of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ingest.crate.http import HttpClient
from ingest.crate.statements import table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import IngestError, Parked, Retry
from ingest.model import Column, Fate, Outcome, Table

Name = tuple[str, str]  # schema, table

OF_TABLES = "table_schema = ANY(?) AND table_name = ANY(?)"
TABLES = (
    "SELECT table_schema, table_name, partitioned_by, number_of_shards FROM information_schema.tables "
    f"WHERE table_type = 'BASE TABLE' AND {OF_TABLES}"
)
COLUMNS = (
    "SELECT table_schema, table_name, column_details['name'], column_details['path'], column_details['policy'], data_type, "
    "numeric_precision, numeric_scale, character_maximum_length, is_nullable, column_default, is_generated, "
    f"generation_expression FROM information_schema.columns WHERE {OF_TABLES} ORDER BY ordinal_position"
)
KEYS = (
    "SELECT table_schema, table_name, column_name FROM information_schema.key_column_usage "
    f"WHERE {OF_TABLES} ORDER BY ordinal_position"
)
PARTITIONS = f"SELECT table_schema, table_name, values FROM information_schema.table_partitions WHERE {OF_TABLES}"
USER_TABLES = (
    "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('sys', 'information_schema', 'pg_catalog', 'blob')"
)
# `   "amount" NUMERIC(38, 10) DEFAULT 0 NOT NULL,` in SHOW CREATE TABLE, three blanks further in for each object around it.
DEFINITION = re.compile(
    r'^(?P<indent>(?:   )+)"(?P<name>(?:[^"]|"")*)" (?:(?:ARRAY\()*NUMERIC\((?P<precision>\d+)(?:, (?P<scale>\d+))?\))?',
    re.MULTILINE,
)
WORD = re.compile(r'"((?:[^"]|"")+)"|\b([A-Za-z_]\w*)\b')


def describe(client: HttpClient, names: Collection[str]) -> dict[str, Table | None]:
    """The tables of these full names, as `look` finds them. Raises also what is the trouble of a single one of them."""
    found: dict[str, Table | None] = {}
    for name, table in look(client, names).items():
        if isinstance(table, IngestError):
            raise table
        found[name] = table
    return found


def look(client: HttpClient, names: Collection[str]) -> dict[str, Table | IngestError | None]:
    """The tables of these full names ("schema.table"), None for one that does not exist or is no table.

    Retry or Parked stands for a table that is there and cannot be described, which concerns no other table.
    Raises Retry when the catalogue cannot be read, also while a node that just started knows no table; Stop when it refuses us.
    """
    split = {full: name_of(full) for full in names}
    if not split:
        return {}
    wanted = [[schema for schema, _ in split.values()], [table for _, table in split.values()]]
    tables = {(row[0], row[1]): row for row in query(client, TABLES, wanted)}
    if client.is_settling() and len(tables) < len(split):
        refuse_empty_catalogue(client)
    columns, keys = grouped(query(client, COLUMNS, wanted)), grouped(query(client, KEYS, wanted))
    partitions = grouped(query(client, PARTITIONS, wanted))
    found: dict[str, Table | IngestError | None] = {}
    for full, name in split.items():
        if name not in tables:
            found[full] = None
            continue
        key = [row[0] for row in keys[name]]
        if not {*key, *(tables[name][2] or ())} <= {column[0] for column in columns[name]}:
            found[full] = Retry("table.changing", f"table {full} was changed while its description was read")
            continue
        found[full] = with_scales(client, build(name, tables[name], columns[name], key, [row[0] for row in partitions[name]]))
    return found


def months(client: HttpClient, table: Table) -> frozenset[int]:
    """The partitions that the table has at this moment."""
    rows = query(client, PARTITIONS, [[table.schema], [table.name]])
    return month_values(table.month_column, [row[2] for row in rows])


def query(client: HttpClient, stmt: str, args: Sequence[Any]) -> list[list[Any]]:
    """The rows of a query of our own. Raises Retry or Stop."""
    answer = client.execute(stmt, args)
    if not answer.is_ok:
        raise as_error(of_request(answer.status, answer.code, answer.message), "read CrateDB's catalogue")
    return answer.rows


def name_of(full_name: str) -> Name:
    schema, _, table = full_name.rpartition(".")
    return schema or "doc", table


def grouped(rows: Sequence[Sequence[Any]]) -> defaultdict[Name, list[Sequence[Any]]]:
    """Rows without their first two columns, by them: schema and table."""
    by_name: defaultdict[Name, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        by_name[row[0], row[1]].append(row[2:])
    return by_name


def refuse_empty_catalogue(client: HttpClient) -> None:
    """For some seconds after its start a node answers queries but knows no table: that is no answer about ours."""
    if query(client, USER_TABLES, [])[0][0] == 0:
        raise Retry("store.starting", "CrateDB shows no table at all, it may still be starting: asking again for a minute")


def build(name: Name, row: Sequence[Any], columns: Sequence[Any], primary_key: Sequence[str], partitions: Sequence[Any]) -> Table:
    described = {column[0]: column_of(column, columns) for column in columns if not column[1]}
    month_column = pick_month(row[2] or (), described)
    return Table(
        schema=name[0],
        name=name[1],
        columns=described,
        key=tuple(key for key in primary_key if key != month_column),
        month_column=month_column,
        months=month_values(month_column, partitions),
        primary_key=tuple(primary_key),
        shards=row[3] or 1,
        generated_month=month_column is not None and described[month_column].generated,
    )


def column_of(row: Sequence[Any], all_rows: Sequence[Sequence[Any]]) -> Column:
    """One top-level column. A generated one has as keys the columns that it is computed from."""
    name, _, policy, type_, precision, scale, length, nullable, default, generated, expression = row
    is_object = type_.startswith("object")
    below = [other for other in all_rows if other[0] == name and other[1]] if is_object else []
    keys = tuple(".".join(other[1]) for other in below)
    if generated == "ALWAYS":
        known = {other[0] for other in all_rows if not other[1]}
        keys = tuple(dict.fromkeys(word for word in words_of(expression or "") if word in known))
    return Column(
        name=name,
        type=type_,
        nullable=nullable == "YES",
        precision=precision if type_ == "numeric" else None,
        scale=scale if type_ == "numeric" else None,
        length=length,
        generated=generated == "ALWAYS",
        has_default=default is not None,
        policy=policy if is_object else None,
        keys=keys,
        children=children_of([], below),
    )


def children_of(path: Sequence[str], below: Sequence[Sequence[Any]]) -> tuple[Column, ...]:
    """The sub-columns right below a path, each with its own. below: all of one column."""
    found = []
    for _, at, policy, type_, precision, scale, length, nullable, *_ in below:
        if at[:-1] == path:
            is_object, is_numeric = type_.startswith("object"), type_ == "numeric"
            digits = {"precision": precision, "scale": scale} if is_numeric else {}
            column = Column(at[-1], type_, nullable == "YES", length=length, policy=policy if is_object else None, **digits)
            found.append(column._replace(children=children_of(at, below)))
    return tuple(found)


def words_of(expression: str) -> list[str]:
    """Identifiers in a generation expression, text constants left out.

    >>> words_of("date_trunc('month', \\"Made At\\")")
    ['date_trunc', 'Made At']
    """
    bare = re.sub(r"'(?:[^']|'')*'", "", expression)
    return [quoted.replace('""', '"') or plain for quoted, plain in WORD.findall(bare)]


def pick_month(partitioned_by: Sequence[str], columns: Mapping[str, Column]) -> str | None:
    """The column by which months are told apart: the only one, or the first of a timestamp type."""
    in_time = [name for name in partitioned_by if columns[name].type.startswith("timestamp")]
    return next(iter([*in_time, *partitioned_by]), None)


def month_values(month_column: str | None, partitions: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    values = (partition.get(month_column) for partition in partitions if month_column is not None)
    return frozenset(value for value in values if isinstance(value, int))


def with_scales(client: HttpClient, table: Table) -> Table | IngestError | None:
    """The catalogue tables do not tell the scale of a NUMERIC, nor the precision inside an array; SHOW CREATE TABLE does.

    Where a setting of the table (blocks.read_only, closed) or a missing right forbids that, it concerns this table alone.
    """
    if not any(has_numeric(column) for column in table.columns.values()):
        return table
    answer = client.execute(f"SHOW CREATE TABLE {table_name(table)}")
    if not answer.is_ok:
        return untold(table, of_request(answer.status, answer.code, answer.message, is_settling=client.is_settling()))
    digits = numeric_digits(answer.rows[0][0])
    return replace(table, columns={name: with_digits(column, (name,), digits) for name, column in table.columns.items()})


def untold(table: Table, outcome: Outcome) -> IngestError | None:
    """What it means that CrateDB does not show the definition of one table; None where it was dropped a moment ago."""
    if outcome.code == "table.missing":
        return None
    text = f"CrateDB does not show the definition of {table.full_name}, which alone tells the digits of a NUMERIC: {outcome.text}"
    if outcome.code == "store.blocked":
        return Retry("table.blocked", text)
    if outcome.fate in (Fate.PARK, Fate.REJECTED):
        return Parked("table.untold", text, subject=f"table:{table.full_name}")
    raise as_error(outcome, "read CrateDB's catalogue")


def has_numeric(column: Column) -> bool:
    return column.type.startswith("numeric") or any(map(has_numeric, column.children))


def with_digits(column: Column, path: tuple[str, ...], digits: Mapping[tuple[str, ...], tuple[int, int]]) -> Column:
    precision, scale = digits.get(path, (column.precision, column.scale))
    children = tuple(with_digits(child, (*path, child.name), digits) for child in column.children)
    return column._replace(precision=precision, scale=scale, children=children)


def numeric_digits(show_create: str) -> dict[tuple[str, ...], tuple[int, int]]:
    """Precision and scale of each NUMERIC column and sub-column of a CREATE TABLE, by path; the scale is 0 if none is shown."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    path: list[str] = []
    for line in DEFINITION.finditer(show_create):
        path = [*path[: len(line["indent"]) // 3 - 1], line["name"].replace('""', '"')]
        if line["precision"] is not None:
            found[tuple(path)] = int(line["precision"]), int(line["scale"] or 0)
    return found
