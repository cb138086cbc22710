"""CREATE, ALTER, DROP and SHOW CREATE: definitions into tables and back into text. Runs under the store's lock."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ingest.practice.store import syntax as s
from ingest.practice.store.database import Database, Name
from ingest.practice.store.errors import Refusal, bad, exists_already, no_column, unsupported
from ingest.practice.store.expressions import Compiler, Params, Scope
from ingest.practice.store.keys import names_in
from ingest.practice.store.reads import Planner
from ingest.practice.store.tables import Check, Column, Computed, Row, Table, View
from ingest.practice.store.types import DataType

# Rowcounts of DDL as CrateDB answers them.
DONE, NOT_NEEDED, UNCOUNTED = 1, 0, -1


def create_table(database: Database, create: s.CreateTable, name: Name) -> int:
    if database.find(name) and create.if_not_exists:
        return NOT_NEEDED
    if database.find(name):
        raise exists_already(".".join(name))
    columns: dict[str, Column] = {}
    for definition in create.columns:
        if definition.name in columns:
            raise bad(f'column "{definition.name}" specified more than once')
        columns[definition.name] = built(definition, columns, {c.name: c.type for c in create.columns if c.type})
    for part in (*create.key, *create.partitioned_by):
        if part not in columns:
            raise no_column(part)
    if create.key and set(create.partitioned_by) - set(create.key):
        raise bad(
            f"Cannot use non primary key column '{create.partitioned_by[0]}' in PARTITIONED BY clause if primary key is set"
        )
    database.add(
        Table(
            *name, columns, create.key, checked(name, create.checks, columns), create.partitioned_by, create.clustered_by,
            create.shards, dict(create.settings),
        )
    )  # fmt: skip
    return DONE


def built(definition: s.ColumnDef, earlier: Mapping[str, Column], declared: Mapping[str, DataType]) -> Column:
    """A column from its definition. earlier: those before it. declared: the types of all."""
    types = {**declared, **{name: column.type for name, column in earlier.items()}}
    compiler = Compiler(types, Params())
    generated = None if definition.generated is None else compiler.compile(definition.generated, definition.type)
    default = None if definition.default is None else Compiler({}, Params()).compile(definition.default, definition.type)
    type_ = definition.type or (generated and generated.type)
    if type_ is None:
        raise bad(f"the type of column {definition.name} is not known: declare it")
    return Column(
        definition.name,
        type_,
        definition.is_nullable,
        default=computed(default and default.of),
        default_text=None if definition.default is None else s.written(definition.default),
        generated=computed(generated and generated.of),
        generated_text=None if definition.generated is None else s.written(definition.generated),
        sources=frozenset(names_in(definition.generated)),
    )


def computed(evaluate: object) -> Computed | None:
    """An expression over a row alone."""
    if not callable(evaluate):
        return None
    return lambda row: evaluate(Scope(row, {}, ()))


def checked(name: Name, checks: Iterable[s.CheckDef], columns: Mapping[str, Column]) -> list[Check]:
    compiler = Compiler({column.name: column.type for column in columns.values()}, Params())
    return [built_check(name, check, compiler) for check in checks]


def built_check(name: Name, check: s.CheckDef, compiler: Compiler) -> Check:
    test, text = compiler.compile(check.test).of, s.written(check.test)
    column = min(names_in(check.test), default="")
    fallback = f"{name[0]}_{name[1]}_{column}_check_{zlib.crc32(text.encode()):012x}"

    def holds(row: Row) -> bool:
        return test(Scope(row, {}, ())) is not False

    return Check(check.name or fallback, text, holds)


def add_columns(table: Table, definitions: Iterable[s.ColumnDef]) -> int:
    """All of them or none."""
    columns = dict(table.columns)
    for definition in definitions:
        if definition.name in columns:
            raise bad(f"The table {table.full_name} already has a column named {definition.name}")
        if definition.is_key or definition.generated:
            raise unsupported("adding a key or generated column")
        columns[definition.name] = built(definition, columns, {})
        table.checks += checked((table.schema, table.name), definition.checks, columns)
    table.columns = columns
    return UNCOUNTED


def drop_columns(table: Table, names: Iterable[str]) -> int:
    for name in names:
        if name not in table.columns:
            raise no_column(name)
        if name in (*table.key, *table.partitioned_by, table.clustered_by):
            raise unsupported("dropping a column of the key")
        del table.columns[name]
        for row in table.rows():
            row.pop(name, None)
    return UNCOUNTED


def set_options(table: Table, settings: Iterable[tuple[str, object]]) -> int:
    """SET, and RESET where the value is None."""
    for name, value in settings:
        if value is None:
            table.settings.pop(name, None)
        else:
            table.settings[name] = value
    return UNCOUNTED


def create_view(database: Database, create: s.CreateView, name: Name, planner: Planner) -> int:
    """The view, if its SELECT makes sense now. Later columns of its table do not appear in its `*`, as in CrateDB."""
    plan = planner.plan(create.select, Params())
    shown = create.select.shown
    if any(one.expression is None for one in shown):
        shown = tuple(s.Shown(s.Name(column)) for column in plan.names)
    select = replace(create.select, shown=shown, source=qualified(create.select, planner.schema))
    is_view = isinstance(database.find(name), View)
    database.add(View(*name, select, create.text), replaces=create.or_replace and is_view)
    return DONE


def qualified(select: s.Select, schema: str) -> s.Relation | s.Select | None:
    """A view keeps the schema that its author was in."""
    if isinstance(select.source, s.Relation) and not select.source.schema:
        return s.Relation(select.source.name, schema)
    return select.source


def drop(database: Database, names: Iterable[Name], what: str, *, if_exists: bool) -> int:
    dropped = NOT_NEEDED
    for name in names:
        if database.find(name) is None and if_exists:
            continue
        if isinstance(database.get(name), View) != (what == "view"):
            raise Refusal(404, 4041, "RelationsUnknown", f"Relations not found: {'.'.join(name)}")
        del database.relations[name]
        dropped = DONE
    return dropped


def rename(database: Database, table: Table, to: str) -> int:
    if database.find((table.schema, to)):
        new = f"{table.schema}.{to}"
        raise bad(f"Cannot rename table {table.full_name} to {new}, table {new} already exists")
    del database.relations[table.schema, table.name]
    table.name = to
    database.add(table)
    return UNCOUNTED


def swap(database: Database, first: Table, second: Table) -> int:
    """Exchange the names of two tables."""
    names = (first.schema, first.name), (second.schema, second.name)
    (second.schema, second.name), (first.schema, first.name) = names
    database.relations[names[0]], database.relations[names[1]] = second, first
    return DONE


# ---------------------------------------------------------------- back to text


def show_create(table: Table) -> str:
    parts = [f"   {s.quoted(column.name)} {column_text(table, column)}" for column in table.columns.values()]
    if table.key:
        parts.append(f"   PRIMARY KEY ({quoted_all(table.key)})")
    parts += [f"   CONSTRAINT {check.name} CHECK({check.text})" for check in table.checks]
    clustered = f" BY ({s.quoted(table.clustered_by)})" if table.clustered_by else clustered_by_key(table)
    lines = [
        f"CREATE TABLE IF NOT EXISTS {s.quoted(table.schema)}.{s.quoted(table.name)} (",
        ",\n".join(parts),
        ")",
        f"CLUSTERED{clustered} INTO {table.shards} SHARDS",
    ]
    if table.partitioned_by:
        lines.append(f"PARTITIONED BY ({quoted_all(table.partitioned_by)})")
    settings = {"column_policy": "strict", "number_of_replicas": "0-1", **table.settings}
    shown = ",\n".join(f"   {setting(name)} = {s.literal(in_words(value))}" for name, value in sorted(settings.items()))
    return "\n".join([*lines, f"WITH (\n{shown}\n)"])


def clustered_by_key(table: Table) -> str:
    return f" BY ({s.quoted(table.key[0])})" if len(table.key) == 1 else ""


def quoted_all(names: Iterable[str]) -> str:
    return ", ".join(map(s.quoted, names))


def setting(name: str) -> str:
    return s.quoted(name) if "." in name else name


def in_words(value: object) -> object:
    return value if isinstance(value, bool) else str(value)


def column_text(table: Table, column: Column) -> str:
    text = type_text(column.type)
    if column.default_text is not None:
        text += f" DEFAULT {column.default_text}"
    if column.generated_text is not None:
        text += f" GENERATED ALWAYS AS {column.generated_text}"
    is_filled = not column.is_nullable or column.name in table.key
    return text + (" NOT NULL" if is_filled else "")


def type_text(type_: DataType, depth: int = 1) -> str:
    """The type, an object's inside on lines of its own."""
    if type_.element:
        return f"ARRAY({type_text(type_.element, depth)})"
    if not type_.fields:
        return type_.ddl
    indent = "   " * (depth + 1)
    inside = ",\n".join(f"{indent}{s.quoted(name)} {type_text(part, depth + 1)}" for name, part in type_.fields.items())
    return f"{type_.ddl} AS (\n{inside}\n{'   ' * depth})"
