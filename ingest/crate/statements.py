"""The text of every statement that the write path sends: pure, cached per shape of columns.

Knows a `model.Table` and nothing else; values travel beside the text, except keys of look-ups (only literals make a key plan).
A `Statements` belongs to one thread. Every name is quoted. These are all the shapes, `t` being "schema"."table", `v` the version:

  upsert       INSERT INTO t (key.., month, cols..) VALUES (?, ..) ON CONFLICT (key.., month) DO UPDATE SET "c" = excluded."c", ..
               ordered tables: the column cdc_version is set by the refusing guard
                 CASE WHEN v < "cdc_version" THEN CAST(CAST('stale ' || "cdc_version" AS INTEGER) AS TEXT) ELSE v END
               or, form KEEP, every column by  CASE WHEN v < "cdc_version" THEN "c" ELSE excluded."c" END
               a table of key columns only: ON CONFLICT (..) DO NOTHING; FALSE stands in VALUES where a row lacks cdc_deleted
  tombstone    the same INSERT of (key.., month, cdc_*..) with TRUE for cdc_deleted, SET "c" = NULL for every other column
  patch        UPDATE t SET "c" = $n, .. WHERE "key" = $1 AND .. AND "month" = $k, with the same two guards;
               a column of objects:  "o" = CASE WHEN TRUE THEN $n ELSE "o" END
  delete       DELETE FROM t WHERE "key" = $1 AND .. AND "month" = $k
  carry        INSERT INTO t (key.., month, cols..) (SELECT key.., $new, cols.. FROM t WHERE "key" = $1 AND .. AND "month" = $old
               AND "cdc_deleted" = FALSE) ON CONFLICT (..) DO UPDATE SET "c" = CASE WHEN v <= "cdc_version" THEN ..
               level arrival: without the cdc_deleted term, ON CONFLICT DO NOTHING. Sent with args, one row each
  refresh      REFRESH TABLE t  /  REFRESH TABLE t PARTITION ("month" = n)
  look-up      SELECT key.., "month"[, "cdc_deleted", "cdc_version"] FROM t WHERE "key" IN (literals) [AND "month" IN (literals)]

An equal version is applied again: only the same record has the same version, so a replay writes what is there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ingest.model import Change, Level, Table

VERSION = "cdc_version"
DELETED = "cdc_deleted"
# What a tombstone keeps: where it came from. Never cdc_extra, which holds fields of the row.
TOMBSTONE_COLUMNS = frozenset({VERSION, "cdc_source_ts", "cdc_ingested_at", "cdc_topic", "cdc_partition", "cdc_offset", "cdc_op"})


DIGITS = re.compile(r"-?[0-9]+")


class Action(StrEnum):
    """What a request does to its rows."""

    WRITE = "write"
    PATCH = "patch"
    TOMBSTONE = "tombstone"
    DELETE = "delete"
    CARRY = "carry"


class Form(StrEnum):
    """How a statement treats a stale row. REFUSE: that row fails by itself. KEEP: it answers 1 and stays. PLAIN: no guard."""

    REFUSE = "refuse"
    KEEP = "keep"
    PLAIN = "plain"


def quoted(name: str) -> str:
    """The name as an SQL identifier.

    >>> quoted('a "b" c')
    '"a ""b"" c"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any, type_: str = "text") -> str:
    """A key part as an SQL literal, all of one column of one kind: CrateDB refuses to compare 7 and '7' in the same list.

    >>> literal("it's"), literal(7, "bigint"), literal("7", "bigint"), literal(7, "text")
    ("'it''s'", '7', '7', "'7'")
    """
    if type_ in ("text", "uuid"):
        return "'" + str(value).replace("'", "''") + "'"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)) or DIGITS.fullmatch(value):
        return str(value)
    return literal(value)


def table_name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def month_sources(table: Table) -> tuple[str, ...]:
    """The columns that a generated month is computed from; `catalogue` keeps them as the month column's keys."""
    if not table.generated_month or table.month_column is None:
        return ()
    return table.columns[table.month_column].keys


@dataclass(frozen=True, slots=True)
class Statement:
    """A text and the parameters it takes: key, then the month if `takes_month`, then those of the row at `picks` (None: all).

    ignores_conflict: it answers 0 for a row that is there, and that is well.
    """

    sql: str
    takes_month: bool
    width: int
    picks: tuple[int, ...] | None = None
    ignores_conflict: bool = False

    def parameters(self, change: Change, month: int | None) -> list[Any]:
        """One entry of bulk_args."""
        return self.bulk_args([(change, month)])[0]

    def bulk_args(self, rows: Sequence[tuple[Change, int | None]]) -> list[list[Any]]:
        """One entry per change with its month. CrateDB ignores surplus values silently, so a row of another width is a bug that
        must show."""
        if self.picks is not None:
            entries = [self._picked(change, month, self.picks) for change, month in rows]
        elif self.takes_month:
            entries = [[*change.key, month, *change.row] for change, month in rows]
        else:
            entries = [[*change.key, *change.row] for change, _ in rows]
        if set(map(len, entries)) - {self.width}:
            wrong = next((len(entry), row[0]) for row, entry in zip(rows, entries, strict=True) if len(entry) != self.width)
            raise ValueError(f"{wrong[0]} parameters for the {self.width} of a statement, change at {wrong[1].at}")
        return entries

    def _picked(self, change: Change, month: int | None, picks: tuple[int, ...]) -> list[Any]:
        row = [change.row[i] for i in picks]
        return [*change.key, month, *row] if self.takes_month else [*change.key, *row]


class Statements:
    """The statements for one table as the catalogue showed it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.is_ordered = table.level is Level.ORDERED
        self._name = table_name(table)
        self._month = table.month_column
        self._key = (*table.key, *((self._month,) if self._month is not None else ()))
        self._target = ", ".join(quoted(name) for name in table.primary_key or self._key)
        self._fixed = {*self._key, *month_sources(table)}  # CrateDB refuses to update these
        self._cache: dict[tuple[Action, tuple[str, ...], Form], Statement] = {}

    def of(self, action: Action, columns: tuple[str, ...], form: Form) -> Statement:
        """The statement for changes with these columns. Level arrival has no guard, whatever the form."""
        form = form if self.is_ordered else Form.PLAIN
        found = self._cache.get((action, columns, form))
        if found is None:
            if self.is_ordered and VERSION not in columns and action is not Action.CARRY:
                raise ValueError(f"a change of {self.table.full_name} has no {VERSION} among its columns")
            found = self._cache[action, columns, form] = self._build(action, columns, form)
        return found

    def refresh(self, month: int | None = None) -> str:
        which = "" if month is None or self._month is None else f" PARTITION ({quoted(self._month)} = {literal(month, 'bigint')})"
        return f"REFRESH TABLE {self._name}{which}"

    def look_up(self, keys: Sequence[tuple[Any, ...]], months: Iterable[int] | None) -> str:
        """Where these keys are. months None: in all, seen only after a REFRESH. A superset where the key has several parts."""
        shown = [quoted(name) for name in self._key] + [quoted(name) for name in (DELETED, VERSION) if self.is_ordered]
        parts: dict[str, Iterable[Any]] = {name: dict.fromkeys(key[i] for key in keys) for i, name in enumerate(self.table.key)}
        if months is not None and self._month is not None:
            parts[self._month] = months
        tests = [f"{quoted(name)} IN ({', '.join(self._literals(name, values))})" for name, values in parts.items()]
        return f"SELECT {', '.join(shown)} FROM {self._name} WHERE {' AND '.join(tests)}"

    def _literals(self, name: str, values: Iterable[Any]) -> list[str]:
        type_ = self.table.columns[name].type
        return [literal(value, type_) for value in values]

    def _build(self, action: Action, columns: tuple[str, ...], form: Form) -> Statement:
        match action:
            case Action.WRITE:
                return self._upsert(columns, form)
            case Action.PATCH:
                return self._patch(columns, form)
            case Action.TOMBSTONE:
                return self._tombstone(columns, form)
            case Action.DELETE:
                return Statement(f"DELETE FROM {self._name} WHERE {self._where()}", self._month is not None, len(self._key), ())
            case Action.CARRY:
                return self._carry()

    def _upsert(self, columns: tuple[str, ...], form: Form) -> Statement:
        takes_month = self._month is not None and not self.table.generated_month
        keys = self._key if takes_month else self.table.key
        values = dict.fromkeys((*keys, *columns), "?")
        if self.is_ordered:
            values.setdefault(DELETED, "FALSE")
        news = {name: f"excluded.{quoted(name)}" for name in values if name not in self._fixed}
        return Statement(self._insert(values, news, form), takes_month, len(keys) + len(columns), ignores_conflict=not news)

    def _tombstone(self, columns: tuple[str, ...], form: Form) -> Statement:
        picks = tuple(i for i, name in enumerate(columns) if name in TOMBSTONE_COLUMNS)
        kept = [columns[i] for i in picks]
        month = month_sources(self.table)[:1] if self.table.generated_month else self._key[len(self.table.key) :]
        values = {**dict.fromkeys((*self.table.key, *month, *kept), "?"), DELETED: "TRUE"}
        news = {name: "NULL" for name, column in self.table.columns.items() if column.nullable and not column.generated}
        news |= {DELETED: "TRUE", **{name: f"excluded.{quoted(name)}" for name in kept}}
        news = {name: new for name, new in news.items() if name not in self._fixed}
        return Statement(self._insert(values, news, form), self._month is not None, len(values) - 1, picks)

    def _patch(self, columns: tuple[str, ...], form: Form) -> Statement:
        first = len(self._key) + 1
        news = {name: self._parameter(name, first + i) for i, name in enumerate(columns)}
        version = news.get(VERSION, "")
        sets = assignments({name: new for name, new in news.items() if name not in self._fixed}, form, version)
        width = len(self._key) + len(columns)
        return Statement(f"UPDATE {self._name} SET {sets} WHERE {self._where()}", self._month is not None, width)

    def _parameter(self, name: str, number: int) -> str:
        """CrateDB refuses `SET o = $n` for an object with a dot in a key, which an INSERT takes; inside a CASE it is stored."""
        is_object = name in self.table.columns and self.table.columns[name].type.startswith("object")
        return f"CASE WHEN TRUE THEN ${number} ELSE {quoted(name)} END" if is_object else f"${number}"

    def _carry(self) -> Statement:
        """Parameters: key, the month to carry from, the month to carry to."""
        old, new = len(self._key), len(self._key) + 1
        month = self._key[-1]
        names = [*self._key, *(n for n, column in self.table.columns.items() if n not in self._fixed and not column.generated)]
        moved = f"${new}::{self.table.columns[month].type}"
        picked = ", ".join(moved if name == month else quoted(name) for name in names)
        live = f" AND {quoted(DELETED)} = FALSE" if self.is_ordered else ""
        news = {name: f"excluded.{quoted(name)}" for name in names if name not in self._fixed}
        sets = assignments(
            news, Form.KEEP, f"excluded.{quoted(VERSION)}", "<="
        )  # an equal version moved away: it must not come back
        conflict = f"({self._target}) DO UPDATE SET {sets}" if self.is_ordered else "DO NOTHING"
        sql = (
            f"INSERT INTO {self._name} ({', '.join(map(quoted, names))}) "
            f"(SELECT {picked} FROM {self._name} WHERE {self._where()}{live}) ON CONFLICT {conflict}"
        )
        return Statement(sql, True, old, ())

    def _insert(self, values: Mapping[str, str], news: Mapping[str, str], form: Form) -> str:
        names, entries = ", ".join(map(quoted, values)), ", ".join(values.values())
        action = f"UPDATE SET {assignments(news, form, f'excluded.{quoted(VERSION)}')}" if news else "NOTHING"
        return f"INSERT INTO {self._name} ({names}) VALUES ({entries}) ON CONFLICT ({self._target}) DO {action}"

    def _where(self) -> str:
        return " AND ".join(f"{quoted(name)} = ${i}" for i, name in enumerate(self._key, 1))


def assignments(news: Mapping[str, str], form: Form, version: str, stale: str = "<") -> str:
    """The SET list that gives each column its new expression, under the guard of the form.

    version: the expression of the new version; a row is stale where it is `stale` than the stored one.
    """
    stored = quoted(VERSION)
    sets = dict(news)
    if form is Form.KEEP:
        sets = {name: f"CASE WHEN {version} {stale} {stored} THEN {quoted(name)} ELSE {new} END" for name, new in news.items()}
    elif form is Form.REFUSE:
        # The cast of 'stale ...' to a number fails for this row alone, and tells us so; nothing of the row is written.
        refusal = f"CAST(CAST('stale ' || {stored} AS INTEGER) AS TEXT)"
        sets[VERSION] = f"CASE WHEN {version} {stale} {stored} THEN {refusal} ELSE {version} END"
    return ", ".join(f"{quoted(name)} = {new}" for name, new in sets.items())
