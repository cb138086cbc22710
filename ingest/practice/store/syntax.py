"""The parts of a parsed statement: values only, and how expressions are written back as SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingest.practice.store.types import DataType

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Param:
    """The nth value beside the statement, counted from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class Name:
    """A column, with what stands before its last dot."""

    name: str
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class Subscript:
    of: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class Cast:
    of: Expression
    type: DataType
    is_try: bool = False


@dataclass(frozen=True, slots=True)
class Unary:
    """operator: `-` or `not`."""

    operator: str
    of: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class In:
    of: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """left operator ANY(array)."""

    operator: str
    left: Expression
    array: Expression


@dataclass(frozen=True, slots=True)
class Like:
    of: Expression
    pattern: Expression
    ignores_case: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    of: Expression


@dataclass(frozen=True, slots=True)
class Case:
    """operand: of the short form, where the whens are values to compare it with."""

    operand: Expression | None
    whens: tuple[tuple[Expression, Expression], ...]
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    args: tuple[Expression, ...] = ()
    is_star: bool = False
    is_distinct: bool = False
    filter: Expression | None = None


@dataclass(frozen=True, slots=True)
class Array:
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Subquery:
    select: Select


Expression = (
    Literal | Param | Name | Subscript | Cast | Unary | Binary | In | AnyOf | Like | IsNull | Case | Call | Array | Subquery
)

# ---------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Relation:
    """The name of a table or view; schema "" is the session's."""

    name: str
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One column of an answer; expression None is `*`."""

    expression: Expression | None
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    expression: Expression
    is_descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Select:
    shown: tuple[Shown, ...]
    source: Relation | Select | None = None
    alias: str = ""
    where: Expression | None = None
    group: tuple[Expression, ...] = ()
    having: Expression | None = None
    order: tuple[Order, ...] = ()
    limit: Expression | None = None
    offset: Expression | None = None
    is_distinct: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """ON CONFLICT. sets None: DO NOTHING."""

    target: tuple[str, ...]
    sets: tuple[tuple[str, Expression], ...] | None


@dataclass(frozen=True, slots=True)
class Insert:
    into: Relation
    columns: tuple[str, ...]
    rows: tuple[tuple[Expression, ...], ...] = ()
    select: Select | None = None
    conflict: Conflict | None = None


@dataclass(frozen=True, slots=True)
class Update:
    table: Relation
    sets: tuple[tuple[str, Expression], ...]
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Delete:
    table: Relation
    where: Expression | None


@dataclass(frozen=True, slots=True)
class Refresh:
    tables: tuple[Relation, ...]
    partition: tuple[tuple[str, Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnDef:
    name: str
    type: DataType | None
    is_key: bool = False
    is_nullable: bool = True
    default: Expression | None = None
    generated: Expression | None = None
    checks: tuple[CheckDef, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckDef:
    name: str
    test: Expression


@dataclass(frozen=True, slots=True)
class CreateTable:
    table: Relation
    columns: tuple[ColumnDef, ...]
    key: tuple[str, ...] = ()
    checks: tuple[CheckDef, ...] = ()
    partitioned_by: tuple[str, ...] = ()
    clustered_by: str = ""
    shards: int = 4
    settings: tuple[tuple[str, Any], ...] = ()
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class CreateView:
    view: Relation
    select: Select
    text: str
    or_replace: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """what: `table` or `view`."""

    what: str
    names: tuple[Relation, ...]
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class AddColumns:
    table: Relation
    columns: tuple[ColumnDef, ...]


@dataclass(frozen=True, slots=True)
class DropColumns:
    table: Relation
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetOptions:
    table: Relation
    settings: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class RenameTable:
    table: Relation
    to: str


@dataclass(frozen=True, slots=True)
class SwapTables:
    first: Relation
    second: Relation


@dataclass(frozen=True, slots=True)
class ShowCreate:
    table: Relation


Statement = (
    Select | Insert | Update | Delete | Refresh | CreateTable | CreateView | Drop | AddColumns | DropColumns
    | SetOptions | RenameTable | SwapTables | ShowCreate
)  # fmt: skip

# ---------------------------------------------------------------- back to text


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def written(expression: Expression) -> str:
    """An expression of a table's definition as SHOW CREATE TABLE writes it."""
    match expression:
        case Literal(value):
            return literal(value)
        case Name(name):
            return quoted(name)
        case Call(name, args):
            return f"{name}({', '.join(map(written, args))})"
        case Cast(of, type_):
            return f"CAST({written(of)} AS {type_.ddl})"
        case Unary(operator, of):
            return f"{operator.upper()} {written(of)}" if operator == "not" else f"{operator}{written(of)}"
        case Binary(operator, left, right):
            text = f"{written(left)} {operator.upper()} {written(right)}"
            return f"({text})" if operator in ("and", "or") else text
        case IsNull(of):
            return f"{written(of)} IS NULL"
        case In(of, items):
            return f"{written(of)} IN ({', '.join(map(written, items))})"
        case _:
            return output_name(expression)


def literal(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).upper() if value is not None else "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def output_name(expression: Expression) -> str:
    """What a column of an answer is called where nobody named it."""
    match expression:
        case Name(name):
            return name
        case Call(name):
            return name
        case Literal(value):
            return "true" if value is True else "false" if value is False else literal(value)
        case Subscript(of, key):
            return f"{output_name(of)}[{output_name(key)}]"
        case Cast(of, type_):
            return f"CAST({output_name(of)} AS {type_.said})"
        case Unary(operator, of):
            return f"{operator} {output_name(of)}"
        case Binary("||"):
            return "op_||"
        case Binary(operator, left, right):
            return f"({output_name(left)} {operator.upper()} {output_name(right)})"
        case Param(index):
            return f"${index + 1}"
        case _:
            return type(expression).__name__.lower()
