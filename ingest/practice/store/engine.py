"""One request from its statement to its answer: parse, find what it is about, do it. Thread-safe: one statement at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ingest.practice.store import ddl
from ingest.practice.store import syntax as s
from ingest.practice.store.changes import Changing
from ingest.practice.store.database import Database
from ingest.practice.store.errors import bad, no_partition, unsupported
from ingest.practice.store.expressions import Compiler, Params, Scope
from ingest.practice.store.reads import Plan, Planner
from ingest.practice.store.statements import parse
from ingest.practice.store.tables import Table
from ingest.practice.store.writes import Inserting

Answer = dict[str, Any]
Args = Sequence[Any]


class Engine:
    """Executes statements on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()

    @property
    def lock(self) -> threading.RLock:
        """Hold it to look at the database from outside."""
        return self._lock

    def execute(self, stmt: str, args: Args = (), bulk: Sequence[Args] | None = None, schema: str = "doc") -> Answer:
        """The answer's own fields, without duration. Raises Refusal."""
        statement = parse(stmt)
        with self._lock:
            session = Session(self._database, schema)
            return session.one(statement, args) if bulk is None else session.bulk(statement, bulk)


class Session:
    """One statement in one schema."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database, self._schema = database, schema
        self._planner = Planner(database, schema)

    def bulk(self, statement: s.Statement, entries: Sequence[Args]) -> Answer:
        match statement:
            case s.Insert(select=None):
                results = Inserting(self._table(statement.into), statement).bulk(entries)
            case s.Update(table, sets, where):
                results = Changing(self._table(table), where, sets).bulk(entries)
            case s.Delete(table, where):
                results = Changing(self._table(table), where, None).bulk(entries)
            case _:
                raise unsupported("a bulk request of anything but INSERT with VALUES, UPDATE and DELETE")
        return {"cols": [], "results": results}

    def one(self, statement: s.Statement, args: Args) -> Answer:
        match statement:
            case s.Select():
                return self._select(statement, args)
            case s.ShowCreate(relation):
                table = self._table(relation)
                return rows_of([f"SHOW CREATE TABLE {table.full_name}"], [[ddl.show_create(table)]])
            case s.Insert() | s.Update() | s.Delete():
                return counted(self._write(statement, args))
            case s.Refresh():
                return counted(self._refresh(statement, args))
            case _:
                return counted(self._define(statement))

    def _select(self, select: s.Select, args: Args) -> Answer:
        params = Params()
        plan: Plan = self._planner.plan(select, params)
        return rows_of(plan.names, plan.run(params.prepared(args)))

    def _write(self, statement: s.Insert | s.Update | s.Delete, args: Args) -> int:
        match statement:
            case s.Insert(into, select=select):
                inserting = Inserting(self._table(into), statement)
                return inserting.single(args) if select is None else self._copy(inserting, select, args)
            case s.Update(table, sets, where):
                return Changing(self._table(table), where, sets).single(args)
            case s.Delete(table, where):
                return Changing(self._table(table), where, None).single(args)

    def _copy(self, inserting: Inserting, select: s.Select, args: Args) -> int:
        params = Params()
        plan = self._planner.plan(select, params)
        if len(plan.names) != len(inserting.columns):
            raise bad("Number of target columns of insert statement doesn't match number of source columns")
        rows = plan.run(params.prepared(args))
        return inserting.copied((dict(zip(inserting.columns, row, strict=True)) for row in rows), args)

    def _refresh(self, refresh: s.Refresh, args: Args) -> int:
        """Nothing to do, as all is visible at once; but what is to be refreshed must be there."""
        for relation in refresh.tables:
            table = self._table(relation)
            if not refresh.partition:
                continue
            params = Params()
            compiler = Compiler({}, params)
            found = {name: compiler.compile(value, table.columns[name].type).of for name, value in refresh.partition}
            scope = Scope({}, {}, params.prepared(args))
            if tuple(found[name](scope) for name in table.partitioned_by) not in table.partitions:
                raise no_partition(table.full_name)
        return len(refresh.tables)

    def _define(self, statement: s.Statement) -> int:
        database = self._database
        match statement:
            case s.CreateTable(table):
                return ddl.create_table(database, statement, database.name_of(table, self._schema))
            case s.CreateView(view):
                return ddl.create_view(database, statement, database.name_of(view, self._schema), self._planner)
            case s.Drop(what, names, if_exists):
                return ddl.drop(database, [database.name_of(name, self._schema) for name in names], what, if_exists=if_exists)
            case s.AddColumns(table, columns):
                return ddl.add_columns(self._table(table), columns)
            case s.DropColumns(table, names_):
                return ddl.drop_columns(self._table(table), names_)
            case s.SetOptions(table, settings):
                return ddl.set_options(self._table(table), settings)
            case s.RenameTable(table, to):
                return ddl.rename(database, self._table(table), to)
            case s.SwapTables(first, second):
                return ddl.swap(database, self._table(first), self._table(second))
            case _:
                raise unsupported("this statement")

    def _table(self, relation: s.Relation) -> Table:
        return self._database.table(self._database.name_of(relation, self._schema))


def counted(rowcount: int) -> Answer:
    return {"cols": [], "rows": [[]], "rowcount": rowcount}


def rows_of(names: list[str], rows: list[list[Any]]) -> Answer:
    return {"cols": names, "rows": rows, "rowcount": len(rows)}
