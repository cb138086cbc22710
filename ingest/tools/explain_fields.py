"""The fields of one change, one by one: what the source declares, which column they go to, and the value as it will be sent.

The mapper stops at the first value that does not fit; this goes on, so that all of them are seen at once. It asks the mapper's
own parts (`match_fields`, `reading`) and decides nothing itself. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Column, Envelope, Fields, RowSchema, SourceType, Table
from ingest.tables.contract import Contract
from ingest.tables.reading import Reading
from ingest.tables.shapes import match_fields
from ingest.tables.system_columns import is_system
from ingest.tables.types import ColumnRule, beside, companion_of, reading

NOT_DECLARED: Final = "-"


class Field(NamedTuple):
    """name: in the record, None for a column that no field fills. source: its declared type; contract's where that decides.

    column, column_type: None where there is none. value: as it will be sent. said: what else there is to say. code: of the
    rejection, where the value does not fit.
    """

    name: str | None
    source: str
    column: str | None
    column_type: str | None
    value: Any = None
    said: str = ""
    code: str = ""


class View(NamedTuple):
    """What of a table decides on its fields.

    unknown: what its owner wants of fields without a column. month: the column or field that the month is taken from.
    new: columns that the table does not have yet. beside: the columns for texts of what others cannot hold, and those others.
    """

    table: Table
    contract: Contract
    unknown: str
    month: str | None = None
    new: Collection[str] = ()
    beside: Mapping[str, str] = {}

    @classmethod
    def of(cls, table: Table, contract: Contract | None, month: str | None, new: Collection[str] = ()) -> View:
        said = contract or Contract(table.full_name)
        has_extra = "cdc_extra" in table.columns
        unknown = said.unknown_fields or ("extra" if has_extra else "ignore")
        companions = ((companion_of(table.columns[name], said.rule(name)), name) for name in _columns(table, said))
        texts = {text: name for text, name in companions if text is not None and text in table.columns}
        return cls(table, said, "extra" if unknown == "add" and has_extra else unknown, month, new, texts)


def fields_of(view: View, envelope: Envelope, *, is_patch: bool) -> list[Field]:
    """Key columns first, then the fields of the row in their order, then columns that no field fills.

    is_patch: columns without a field keep what they have.
    """
    table, said, row = view.table, view.contract, envelope.after or {}
    keys = list(_keys(table, said, envelope))
    filled = {key.column for key in keys}
    named = match_fields({name: said.rule(name).source for name in _columns(table, said) if name not in view.beside}, row)
    by_field = {field: name for name, field in named.items()}
    without = _Without(view, row, set(by_field))
    types = envelope.schema.fields if envelope.schema is not None else {}
    fields = [
        _field(name, row[name], types.get(name), view, by_field.get(name), without)
        for name in row
        if by_field.get(name) not in filled
    ]
    texts = [
        _text_beside(view, name, of, row[named[of]], types.get(named[of])) for name, of in view.beside.items() if of in named
    ]
    filled |= {field.column for field in texts}
    left = [name for name in _columns(table, said) if name not in named and name not in filled and name not in table.key]
    return [*keys, *fields, *texts, *(_left(table.columns[name], is_patch) for name in left if envelope.after is not None)]


def _columns(table: Table, said: Contract) -> list[str]:
    """The columns that come from records."""
    names = [name for name, column in table.columns.items() if not is_system(name) and not column.generated]
    return [name for name in names if name != table.month_column and said.rule(name).source != ""]


class _Without:
    """What becomes of fields without a column."""

    def __init__(self, view: View, row: Fields, used: set[str]) -> None:
        self._unknown = view.unknown
        self._silent = dict(_silent(view.table, view.contract))
        month = (
            None if view.month is None else match_fields({view.month: view.contract.rule(view.month).source}, row).get(view.month)
        )
        if month is not None and month not in used:
            self._silent[month.lower()] = "no column: the month is taken from it"

    def fate(self, name: str, value: Any) -> tuple[str, str]:
        """In words, and the code of the rejection if it is one."""
        if name.lower() in self._silent:
            return self._silent[name.lower()], ""
        if self._unknown == "extra":
            return "no column: goes into cdc_extra", ""
        if self._unknown == "reject":
            return "the contract rejects fields without a column", "field.unknown"
        if self._unknown == "add" and value is None:
            return "no column, and NULL makes none", ""
        if self._unknown == "add":
            return "no column can have that name, and there is no cdc_extra", "field.bad_name"
        return ("a reserved name: ignored" if is_system(name) else "no column: ignored"), ""


def _silent(table: Table, said: Contract) -> Iterator[tuple[str, str]]:
    """Fields that are no news although they go nowhere, by their name in small letters, with the reason."""
    for name, column in table.columns.items():
        if column.generated:
            yield name.lower(), "not sent: CrateDB generates the column"
        elif name == table.month_column:
            yield name.lower(), "not sent: the worker fills the column"
        elif said.rule(name).source == "":
            yield name.lower(), 'not sent: the contract says from = ""'


def _field(name: str, value: Any, declared: SourceType | None, view: View, column: str | None, without: _Without) -> Field:
    if column is None:
        return Field(name, written(declared), None, None, value, *without.fate(name, value))
    found = converted(name, value, declared, view.table.columns[column], view.contract.rule(column))
    return found._replace(said="a new column") if column in view.new and not found.code else found


def converted(name: str, value: Any, declared: SourceType | None, column: Column, rule: ColumnRule) -> Field:
    """One value through its reading."""
    source = written(declared) if rule.type is None else f"{written(rule.type)} (contract)"
    try:
        sent = _sent(value, reading(declared, column, rule))
    except Reject as reject:
        return Field(name, source, column.name, shown_type(column), value, reject.text, reject.code)
    if sent is None and not column.nullable:
        text = "the column is NOT NULL and the record has no value for it"
        return Field(name, source, column.name, shown_type(column), None, text, "value.null")
    if sent is None and value is not None and {rule.overflow, rule.precision} != {"reject"}:
        return Field(name, source, column.name, shown_type(column), None, "the column cannot hold it: NULL by the contract")
    return Field(name, source, column.name, shown_type(column), sent)


def _text_beside(view: View, name: str, of: str, value: Any, declared: SourceType | None) -> Field:
    """The column that takes the text of what another one cannot hold."""
    column, rule = view.table.columns[of], view.contract.rule(of)
    try:
        sent = _sent(value, beside(declared, column, rule))
    except Reject:
        sent = None  # the other column's own field tells why
    said = f"the text of what {of} cannot hold" if sent is not None else f"NULL, because {of} holds the value"
    return Field(None, NOT_DECLARED, name, shown_type(view.table.columns[name]), sent, said)


def _sent(value: Any, found: Reading) -> Any:
    return value if value is None or type(value) is found.passes else found.convert(value)


def _left(column: Column, is_patch: bool) -> Field:
    if is_patch:
        said = "not in the record: keeps its value"
    elif column.has_default and not column.nullable:
        said = "not in the record: CrateDB's default"
    else:
        said = "not in the record: NULL"
    return Field(None, NOT_DECLARED, column.name, shown_type(column), None, said)


# ---------------------------------------------------------------- keys


def _keys(table: Table, said: Contract, envelope: Envelope) -> Iterator[Field]:
    """Each part of the key from the first place that has it."""
    columns = [name for name in table.key if not is_system(name)]
    order = [name for name in said.key or table.key if not is_system(name)]
    for name in columns if not said.by_position else ():
        yield _key_part(table.columns[name]._replace(nullable=True), said.rule(name), envelope, order)


def _key_part(column: Column, rule: ColumnRule, envelope: Envelope, order: list[str]) -> Field:
    for place, image, schema in _places(envelope):
        field = match_fields({column.name: rule.source}, image).get(column.name)
        if field is not None:
            found = converted(field, image[field], (schema.fields if schema else {}).get(field), column, rule)
            return _judged(found, place)
    raw = envelope.key
    if isinstance(raw, tuple) and len(raw) == len(order):
        return _judged(
            converted("(key)", raw[order.index(column.name)], None, column, rule), "key, from the Kafka key by position"
        )
    text = "neither the Kafka key nor the row has this part of the key"
    return Field(None, NOT_DECLARED, column.name, shown_type(column), None, text, "key.missing")


def _places(envelope: Envelope) -> Iterator[tuple[str, Fields, RowSchema | None]]:
    if isinstance(envelope.key, dict):
        yield "key, from the Kafka key", envelope.key, envelope.key_schema
    if envelope.after is not None:
        yield "key, from the row", envelope.after, envelope.schema
    if envelope.before is not None:
        yield "key, from the row before", envelope.before, envelope.schema


def _judged(field: Field, place: str) -> Field:
    if field.code:
        return field._replace(said=f"{place}: {field.said}")
    if field.value is None:
        return field._replace(said=f"{place}: a part of the key is null", code="key.null")
    return field._replace(said=place)


# ---------------------------------------------------------------- types in words

_SHORT: Final = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "double precision": "double",
    "character varying": "varchar",
}


def shown_type(column: Column) -> str:
    """A column's type as short as SQL knows it.

    >>> shown_type(Column("a", "numeric", precision=18, scale=2)), shown_type(Column("b", "timestamp with time zone_array"))
    ('numeric(18,2)', 'timestamptz[]')
    """
    bare = column.type
    while bare.endswith("_array"):
        bare = bare.removesuffix("_array")
    short = _SHORT.get(bare, bare) + "[]" * ((len(column.type) - len(bare)) // len("_array"))
    if column.type == "numeric" and column.precision is not None:
        return f"{short}({column.precision},{column.scale or 0})"
    if column.policy is not None:
        return f"{short}({column.policy})"
    return f"{short}({column.length})" if column.length is not None else short


def written(source: SourceType | None) -> str:
    """A source type in a word or two.

    >>> written(SourceType("decimal", scale=2, precision=10)), written(SourceType("array", element=SourceType("int")))
    ('decimal(10,2)', 'int[]')
    """
    if source is None:
        return NOT_DECLARED
    if source.kind == "array":
        return f"{written(source.element)}[]"
    if source.scale is not None:
        return f"{source.kind}({source.precision},{source.scale})" if source.precision else f"{source.kind}(scale {source.scale})"
    return f"{source.kind}({source.length})" if source.length is not None else source.kind
