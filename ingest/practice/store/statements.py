"""Statements into values: everything around the expressions and SELECTs of `parser`. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import unsupported
from ingest.practice.store.parser import Parser

BEYOND_US = (
    "with explain copy set reset begin start commit end kill analyze optimize grant deny revoke declare close fetch discard "
    "deallocate restore values"
)
KNOWN_AND_UNSUPPORTED = frozenset(BEYOND_US.split())


CACHED_CHARS = 20_000  # a look-up holds its keys as text: long, and never sent twice


def parse(sql: str) -> s.Statement:
    """The one statement of a request."""
    return parse_known(sql) if len(sql) <= CACHED_CHARS else parse_new(sql)


def parse_new(sql: str) -> s.Statement:
    parser = StatementParser(sql)
    statement = parser.statement()
    parser.take(";")
    if parser.token.kind != "end":
        raise parser.wrong("expecting <EOF>")
    return statement


# The worker sends few texts many times.
parse_known = lru_cache(maxsize=512)(parse_new)


class StatementParser(Parser):
    """One method per statement."""

    def statement(self) -> s.Statement:
        for word, part in (
            ("select", self.select), ("insert", self._insert), ("update", self._update), ("delete", self._delete),
            ("refresh", self._refresh), ("create", self._create), ("drop", self._drop), ("alter", self._alter),
            ("show", self._show),
        ):  # fmt: skip
            if self.is_at(word):
                return part()
        if self.token.text in KNOWN_AND_UNSUPPORTED:
            raise unsupported(self.token.raw.upper())
        raise self.wrong("expecting a statement")

    # ------------------------------------------------------------ rows

    def _insert(self) -> s.Insert:
        self.need("insert", "into")
        into = self.relation()
        columns = self.in_parens(self.name) if self.is_at("(") and not self.is_at("(", "select") else ()
        rows: tuple[tuple[s.Expression, ...], ...] = ()
        select = None
        if self.take("values"):
            rows = self.listed(lambda: self.in_parens(self.expression))
        else:
            is_wrapped = self.take("(")
            select = self.select()
            if is_wrapped:
                self.need(")")
        conflict = self._conflict() if self.take("on", "conflict") else None
        if self.is_at("returning"):
            raise unsupported("RETURNING")
        return s.Insert(into, columns, rows, select, conflict)

    def _conflict(self) -> s.Conflict:
        target = self.in_parens(self.name) if self.is_at("(") else ()
        self.need("do")
        if self.take("nothing"):
            return s.Conflict(target, None)
        if not target:
            raise self.wrong("expecting 'NOTHING'")
        self.need("update", "set")
        return s.Conflict(target, self.listed(self._set))

    def _set(self) -> tuple[str, s.Expression]:
        name = self.name()
        if self.is_at("["):
            raise unsupported("setting a part of an object")
        self.need("=")
        return name, self.expression()

    def _update(self) -> s.Update:
        self.need("update")
        table = self.relation()
        self.need("set")
        sets = self.listed(self._set)
        return s.Update(table, sets, self.expression() if self.take("where") else None)

    def _delete(self) -> s.Delete:
        self.need("delete", "from")
        return s.Delete(self.relation(), self.expression() if self.take("where") else None)

    def _refresh(self) -> s.Refresh:
        self.need("refresh", "table")
        tables = self.listed(self.relation)
        partition = self.in_parens(self._set) if self.take("partition") else ()
        return s.Refresh(tables, partition)

    def _show(self) -> s.ShowCreate:
        self.need("show")
        if not self.take("create", "table"):
            raise unsupported("SHOW")
        return s.ShowCreate(self.relation())

    # ------------------------------------------------------------ definitions

    def _create(self) -> s.Statement:
        self.need("create")
        or_replace = self.take("or", "replace")
        if self.take("view"):
            view = self.relation()
            self.need("as")
            text = self.sql[self.token.at :].strip().removesuffix(";").rstrip()
            return s.CreateView(view, self.select(), text, or_replace)
        if not self.take("table"):
            raise unsupported(f"CREATE {self.token.raw.upper()}")
        return self._create_table()

    def _create_table(self) -> s.CreateTable:
        if_not_exists = self.take("if", "not", "exists")
        table = self.relation()
        columns: list[s.ColumnDef] = []
        key: tuple[str, ...] = ()
        checks: list[s.CheckDef] = []
        for element in self.in_parens(self._element):
            if isinstance(element, s.ColumnDef):
                columns.append(element)
            elif isinstance(element, s.CheckDef):
                checks.append(element)
            else:
                key = element
        key = key or tuple(column.name for column in columns if column.is_key)
        checks += [check for column in columns for check in column.checks]
        return s.CreateTable(table, tuple(columns), key, tuple(checks), if_not_exists=if_not_exists, **self._storage())

    def _element(self) -> s.ColumnDef | s.CheckDef | tuple[str, ...]:
        name = self.name() if self.take("constraint") else ""
        if self.take("primary", "key"):
            return self.in_parens(self.name)
        if self.take("check"):
            return self._check(name)
        return self.column()

    def _check(self, name: str) -> s.CheckDef:
        self.need("(")
        test = self.expression()
        self.need(")")
        return s.CheckDef(name, test)

    def column(self) -> s.ColumnDef:
        name = self.name()
        type_ = None if self.is_at("generated") or self.is_at("as") else self.type()
        traits: dict[str, Any] = {}
        checks: list[s.CheckDef] = []
        while not (self.is_at(",") or self.is_at(")") or self.token.kind == "end" or self.is_at(";")):
            self._trait(traits, checks)
        return s.ColumnDef(name, type_, checks=tuple(checks), **traits)

    def _trait(self, traits: dict[str, Any], checks: list[s.CheckDef]) -> None:
        """One of what may stand behind a column's type."""
        name = self.name() if self.take("constraint") else ""
        if self.take("primary", "key"):
            traits["is_key"] = True
        elif self.take("not", "null"):
            traits["is_nullable"] = False
        elif self.take("null") or self.take("index", "off") or self.take("storage"):
            self._skip_settings()
        elif self.take("default"):
            traits["default"] = self.expression()
        elif self.take("generated", "always", "as") or self.take("as"):
            traits["generated"] = self.expression()
        elif self.take("check"):
            checks.append(self._check(name))
        else:
            raise unsupported(f"{self.token.raw} behind a column's type")

    def _skip_settings(self) -> None:
        if self.take("with"):
            self.in_parens(self._setting)

    def _storage(self) -> dict[str, Any]:
        """CLUSTERED, PARTITIONED and WITH, in any order."""
        found: dict[str, Any] = {}
        while True:
            if self.take("clustered"):
                if self.take("by"):
                    found["clustered_by"] = self.in_parens(self.name)[0]
                if self.take("into"):
                    found["shards"] = self.number()
                    self.need("shards")
            elif self.take("partitioned", "by"):
                found["partitioned_by"] = self.in_parens(self.name)
            elif self.take("with"):
                found["settings"] = self.in_parens(self._setting)
            else:
                return found

    def _setting(self) -> tuple[str, Any]:
        name = self.name()
        while self.take("."):
            name += "." + self.name()
        self.need("=")
        value = self.expression()
        if isinstance(value, s.Literal):
            return name, value.value
        return name, value.name if isinstance(value, s.Name) else s.output_name(value)

    def _drop(self) -> s.Drop:
        self.need("drop")
        what = self.name()
        if what not in ("table", "view"):
            raise unsupported(f"DROP {what.upper()}")
        if_exists = self.take("if", "exists")
        return s.Drop(what, self.listed(self.relation), if_exists)

    def _alter(self) -> s.Statement:
        self.need("alter")
        if self.take("cluster", "swap", "table"):
            first = self.relation()
            self.need("to")
            return s.SwapTables(first, self.relation())
        self.need("table")
        table = self.relation()
        if self.take("add"):
            return s.AddColumns(table, self.listed(self._added))
        if self.take("drop"):
            return s.DropColumns(table, self.listed(self._dropped))
        if self.take("set"):
            return s.SetOptions(table, self.in_parens(self._setting))
        if self.take("reset"):
            return s.SetOptions(table, tuple((name, None) for name in self.in_parens(self.name)))
        if self.take("rename", "to"):
            return s.RenameTable(table, self.name())
        raise unsupported(f"ALTER TABLE {self.token.raw.upper()}")

    def _added(self) -> s.ColumnDef:
        self.take("add")
        self.take("column")
        return self.column()

    def _dropped(self) -> str:
        self.take("drop")
        self.take("column")
        self.take("if", "exists")
        return self.name()
