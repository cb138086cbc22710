"""SELECT: planned once, then run over rows. Columns, WHERE, GROUP BY, ORDER BY, LIMIT; no joins. Runs under the store's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cmp_to_key
from typing import Any, NamedTuple

import orjson

from ingest.practice.store import syntax as s
from ingest.practice.store.catalogue import VIRTUAL
from ingest.practice.store.database import Database
from ingest.practice.store.errors import bad
from ingest.practice.store.expressions import Compiled, Compiler, Evaluate, Params, Scope
from ingest.practice.store.functions import AGGREGATES
from ingest.practice.store.keys import candidates, names_in, rows_at
from ingest.practice.store.tables import SYSTEM_TYPES, Row, Table
from ingest.practice.store.types import BIGINT, BOOLEAN, DataType

Rows = list[list[Any]]
Prepared = Sequence[Any]


class Source(NamedTuple):
    """Where rows come from. shown: the columns of `*`. rows: given the prepared parameters."""

    types: Mapping[str, DataType]
    shown: Sequence[str]
    rows: Callable[[Prepared], Iterable[Row]]


class Plan(NamedTuple):
    """A SELECT that can be run."""

    names: list[str]
    types: list[DataType | None]
    run: Callable[[Prepared], Rows]


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans SELECTs of one session. schema: where names without a schema are looked for."""

    database: Database
    schema: str

    def plan(self, select: s.Select, params: Params) -> Plan:
        source = self._source(select, params)
        qualifiers = {select.alias} if select.alias else source_names(select.source)
        compiler = Compiler(source.types, params, frozenset(qualifiers), subquery=self._scalar)
        select = replace(select, shown=tuple(starless(select.shown, source.shown)))
        select = replace(select, group=tuple(resolved(part, select.shown, source.types) for part in select.group))
        where = None if select.where is None else compiler.compile(select.where, BOOLEAN).of
        rows = self._picked(select, source, compiler)
        scopes = Scan(rows, where)
        is_grouped = bool(select.group) or any(aggregates_in(one.expression for one in select.shown))
        stage = Grouping(select, compiler, scopes) if is_grouped else scopes
        return Output(select, compiler, stage).plan()

    def _picked(self, select: s.Select, source: Source, compiler: Compiler) -> Callable[[Prepared], Iterable[Row]]:
        """The rows to test: where the WHERE names keys of a table only those, else all."""
        if not isinstance(select.source, s.Relation):
            return source.rows
        table = self.database.find(self.database.name_of(select.source, self.schema))
        parts = candidates(table, select.where, compiler) if isinstance(table, Table) else None
        if parts is None or not isinstance(table, Table):
            return source.rows
        return lambda params: rows_at(table, parts, params)

    def _source(self, select: s.Select, params: Params) -> Source:
        of = select.source
        if of is None:
            return Source({}, (), lambda _params: [{}])
        if isinstance(of, s.Select):
            return self._nested(of, params)
        name = self.database.name_of(of, self.schema)
        if name in VIRTUAL:
            types, rows = VIRTUAL[name]
            return Source(types, list(types), lambda _params: rows(self.database))
        found = self.database.get(name)
        if isinstance(found, Table):
            types = {column.name: column.type for column in found.columns.values()}
            return Source({**types, **SYSTEM_TYPES}, list(types), lambda _params: found.rows())
        return self._nested(found.select, params)

    def _nested(self, select: s.Select, params: Params) -> Source:
        plan = self.plan(select, params)
        types = {name: type_ or BIGINT for name, type_ in zip(plan.names, plan.types, strict=True)}
        return Source(types, plan.names, lambda given: (dict(zip(plan.names, row, strict=True)) for row in plan.run(given)))

    def _scalar(self, select: s.Select, params: Params) -> Evaluate:
        plan = self.plan(select, params)

        def value(scope: Scope) -> Any:
            rows = plan.run(scope.params)
            return rows[0][0] if rows else None

        return value


def source_names(source: s.Relation | s.Select | None) -> set[str]:
    if not isinstance(source, s.Relation):
        return set()
    return {source.name, f"{source.schema}.{source.name}"}


def starless(shown: Iterable[s.Shown], names: Sequence[str]) -> Iterator[s.Shown]:
    for one in shown:
        if one.expression is None:
            yield from (s.Shown(s.Name(name)) for name in names)
        else:
            yield one


def resolved(part: s.Expression, shown: Sequence[s.Shown], columns: Mapping[str, DataType]) -> s.Expression:
    """What a GROUP BY or ORDER BY means: a position, the alias of a shown column, or itself."""
    if isinstance(part, s.Literal) and isinstance(part.value, int):
        if not 0 < part.value <= len(shown) or (at := shown[part.value - 1].expression) is None:
            raise bad(f"ORDER BY position {part.value} is not in select list")
        return at
    if isinstance(part, s.Name) and not part.qualifier:
        named = [one.expression for one in shown if one.alias == part.name and one.expression is not None]
        if named and (len(named) == 1 or part.name not in columns):
            return named[0]
    return part


# ---------------------------------------------------------------- rows, one by one or in groups


class Scan(NamedTuple):
    """The rows that pass the WHERE."""

    rows: Callable[[Prepared], Iterable[Row]]
    where: Evaluate | None

    def scopes(self, params: Prepared) -> Iterator[Scope]:
        for row in self.rows(params):
            scope = Scope(row, {}, params)
            if self.where is None or self.where(scope):
                yield scope


class Aggregate(NamedTuple):
    """One call of an aggregate function: what it counts in, and how."""

    value: Evaluate | None
    filter: Evaluate | None
    is_distinct: bool
    fold: Callable[[Sequence[Any]], Any]

    def over(self, scopes: Sequence[Scope]) -> Any:
        kept = scopes if self.filter is None else [scope for scope in scopes if self.filter(scope)]
        if self.value is None:
            return self.fold(kept)
        values = [value for scope in kept if (value := self.value(scope)) is not None]
        return self.fold(list({hashable(value): value for value in values}.values()) if self.is_distinct else values)


class Grouping:
    """Rows put together by GROUP BY, each group a row of its keys and aggregates."""

    def __init__(self, select: s.Select, compiler: Compiler, scan: Scan) -> None:
        self._scan = scan
        self._keys = [compiler.compile(part) for part in select.group]
        written = [*(one.expression for one in select.shown), select.having, *(order.expression for order in select.order)]
        calls = list(dict.fromkeys(aggregates_in(resolved_calls(written, select.shown, compiler.columns))))
        self._aggregates = [compiled_aggregate(call, compiler) for call in calls]
        grouped = [*zip(select.group, [key.type for key in self._keys], strict=True)]
        typed = [(call, aggregate[1]) for call, aggregate in zip(calls, self._aggregates, strict=True)]
        compiler.computed = {part: slot_of(place, type_) for place, (part, type_) in enumerate([*grouped, *typed])}
        refuse_ungrouped(written, compiler, select)
        self._having = None if select.having is None else compiler.compile(select.having, BOOLEAN).of

    def scopes(self, params: Prepared) -> Iterator[Scope]:
        groups: dict[Any, list[Scope]] = {} if self._keys else {(): []}
        for scope in self._scan.scopes(params):
            groups.setdefault(tuple(hashable(key.of(scope)) for key in self._keys), []).append(scope)
        for members in groups.values():
            values = [key.of(members[0]) for key in self._keys] + [one.over(members) for one, _ in self._aggregates]
            scope = Scope(dict(enumerate(values)), {}, params)  # type: ignore[arg-type]  # rows of groups go by place, not by name
            if self._having is None or self._having(scope):
                yield scope


def slot_of(place: int, type_: DataType | None) -> Compiled:
    return Compiled(lambda scope: scope.row[place], type_)  # type: ignore[index]  # see Grouping.scopes


def compiled_aggregate(call: s.Call, compiler: Compiler) -> tuple[Aggregate, DataType | None]:
    fold, type_ = AGGREGATES[call.name]
    value = None if call.is_star else compiler.compile(call.args[0])
    condition = None if call.filter is None else compiler.compile(call.filter, BOOLEAN).of
    return Aggregate(value and value.of, condition, call.is_distinct, fold), type_ or (value and value.type)


def aggregates_in(part: Any) -> Iterator[s.Call]:
    """The calls of aggregate functions in expressions, not within each other."""
    if isinstance(part, s.Call) and part.name in AGGREGATES:
        yield part
    elif is_dataclass(part) and not isinstance(part, s.Subquery | type):
        yield from aggregates_in(getattr(part, one.name) for one in fields(part))
    elif not isinstance(part, str | dict) and isinstance(part, Iterable):
        for one in part:
            yield from aggregates_in(one)


def resolved_calls(parts: Iterable[s.Expression | None], shown: Sequence[s.Shown], columns: Mapping[str, DataType]) -> list[Any]:
    return [resolved(part, shown, columns) for part in parts if part is not None]


def refuse_ungrouped(parts: Iterable[s.Expression | None], compiler: Compiler, select: s.Select) -> None:
    for part in resolved_calls(parts, select.shown, compiler.columns):
        for name in sorted(names_in(without(part, compiler.computed))):
            if name in compiler.columns:
                why = "must appear in the GROUP BY clause or be used in an aggregation function"
                raise bad(f"'{name}' {why}. Perhaps you grouped by an alias that clashes with a column in the relations")


def without(part: Any, computed: Mapping[s.Expression, Compiled]) -> Any:
    """The expression with what is computed per group cut out."""
    if isinstance(part, s.Expression) and part in computed:
        return s.Literal(None)
    if isinstance(part, tuple):
        return tuple(without(one, computed) for one in part)
    if is_dataclass(part) and isinstance(part, s.Expression):
        return replace(part, **{one.name: without(getattr(part, one.name), computed) for one in fields(part)})
    return part


# ---------------------------------------------------------------- what comes out


class Output:
    """Columns, order and limits."""

    def __init__(self, select: s.Select, compiler: Compiler, stage: Scan | Grouping) -> None:
        self._select, self._stage = select, stage
        expressions = [one.expression for one in select.shown if one.expression is not None]
        self._columns = [compiler.compile(expression) for expression in expressions]
        self._values = [column.of for column in self._columns]
        self._names = [one.alias or s.output_name(one.expression) for one in select.shown if one.expression is not None]
        orders = [(resolved(order.expression, select.shown, compiler.columns), order) for order in select.order]
        self._orders = [(compiler.compile(expression).of, order) for expression, order in orders]
        plain = Compiler({}, compiler.params)
        self._limit = None if select.limit is None else plain.compile(select.limit, BIGINT).of
        self._offset = None if select.offset is None else plain.compile(select.offset, BIGINT).of

    def plan(self) -> Plan:
        return Plan(self._names, [column.type for column in self._columns], self._run)

    def _run(self, params: Prepared) -> Rows:
        scopes: Iterable[Scope] = self._stage.scopes(params)
        if self._orders:
            scopes = sorted(scopes, key=cmp_to_key(self._compare))
        found = ([value(scope) for value in self._values] for scope in scopes)
        rows = list({hashable(row): row for row in found}.values()) if self._select.is_distinct else list(found)
        nothing = Scope({}, {}, params)
        first = (self._offset(nothing) if self._offset else 0) or 0
        count = self._limit(nothing) if self._limit else None
        return rows[first:] if count is None else rows[first : first + count]

    def _compare(self, left: Scope, right: Scope) -> int:
        for value, order in self._orders:
            a, b = value(left), value(right)
            if a != b:
                return compared(a, b, order)
        return 0


def compared(a: Any, b: Any, order: s.Order) -> int:
    """NULLs come last, with DESC first, unless the order says otherwise."""
    if a is None or b is None:
        nulls_first = order.is_descending if order.nulls_first is None else order.nulls_first
        return -1 if (a is None) == nulls_first else 1
    return -1 if (a < b) != order.is_descending else 1


def hashable(value: Any) -> Any:
    """Something to tell equal values by."""
    return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS) if isinstance(value, list | dict) else value
