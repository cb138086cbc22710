"""Shapes: what is to be done with all records that have the same fields, worked out once.

A shape knows which field goes into which column and by which reading, so that mapping a record is one comprehension.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, Fields, RowSchema, SourceType, Table
from ingest.tables.contract import Contract
from ingest.tables.months import MOMENT, MonthSource
from ingest.tables.nested import json_cleaner, json_reader
from ingest.tables.reading import Convert, Reading, converted, inside
from ingest.tables.row_code import compile_values, null_refused
from ingest.tables.system_columns import SYSTEM_COLUMNS, is_system
from ingest.tables.types import DEFAULT_RULE, ColumnRule, Tally, beside, companion_of, reading, untold

# Writing the function of a shape costs as much as mapping a hundred records; producers of free-form JSON have shapes that never
# come again.
_USES_BEFORE_CODE: Final = 8


class Cells:
    """Some columns of a row and how to fill them from a record's fields. Columns without a field become None.

    values: the values of the columns, from a record with all the fields. Raises Reject with the column.
    """

    __slots__ = ("_uses_left", "fields", "names", "readings", "required", "values")

    def __init__(self, columns: Sequence[Column], fields: Sequence[str | None], readings: Sequence[Reading]) -> None:
        self.names = tuple(column.name for column in columns)
        self.fields = tuple(fields)
        self.readings = tuple(readings)
        # A table of level arrival may have NOT NULL columns; looked at here, because CrateDB would name no row.
        self.required = tuple(index for index, column in enumerate(columns) if not column.nullable)
        self._uses_left = _USES_BEFORE_CODE
        self.values: Callable[[Fields], list[Any]] = self._first_values

    def _first_values(self, record: Fields) -> list[Any]:
        self._uses_left -= 1
        if self._uses_left == 0:
            self.values = compile_values(self.names, self.fields, self.readings, self.required)
        row = [self._value(index, record) for index in range(len(self.names))]
        for index in self.required:
            if row[index] is None:
                raise inside(self.names[index], null_refused())
        return row

    def _value(self, index: int, record: Fields) -> Any:
        field = self.fields[index]
        value = None if field is None else record[field]
        return value if value is None else converted(value, self.readings[index], self.names[index])


_ABSENT: Final = Reading(type(None), lambda value: value)


@dataclass(frozen=True, slots=True)
class Shape:
    """What records with these fields are to a table.

    write: all columns of the table; patch: those that the record has; complete: they are the same, and the month is there.
    key: None if the record does not have all key columns. key_readings: field and reading of those that it has.
    month_at: where the month's moment stands in the row of `write`, -1 if it must be read by `month`.
    month: reads the moment from the record, None if the record does not have it.
    unknown: fields without a column. extra: they, and how to write them as JSON, where the table keeps them.
    """

    write: Cells
    write_columns: tuple[str, ...]
    patch: Cells
    patch_columns: tuple[str, ...]
    complete: bool
    key: Cells | None
    key_readings: Mapping[str, tuple[str, Reading]]
    month_at: int
    month: Convert | None
    extra: Sequence[tuple[str, Convert]]
    unknown: frozenset[str]


class ShapeMaker:
    """Makes the shapes of one table."""

    def __init__(
        self, table: Table, contract: Contract | None, month: MonthSource | None, *, keeps_extra: bool, tally: Tally = untold
    ) -> None:
        self._table = table
        self._contract = contract
        self._month = month
        self._keeps_extra = keeps_extra
        self._tally = tally
        # A null part of a key is told apart as key.null, so it is not looked at as NOT NULL.
        self._key = tuple(table.columns[name]._replace(nullable=True) for name in table.key if not is_system(name))
        self._data = tuple(column for column in table.columns.values() if self._is_data(column))
        # Columns beside others, for the texts of values that those cannot hold.
        companions = ((companion_of(column, self.rule(column.name)), column) for column in self._data)
        self._beside = {name: column for name, column in companions if name is not None and name in table.columns}
        self.system = tuple(name for name in SYSTEM_COLUMNS if name in table.columns and name not in table.key)
        self._silent = self._silent_names()

    @property
    def data(self) -> tuple[Column, ...]:
        """The columns that come from records, without the key."""
        return self._data

    def rule(self, column: str) -> ColumnRule:
        return self._contract.rule(column) if self._contract is not None else DEFAULT_RULE

    def with_policy(self) -> frozenset[str]:
        """The columns whose contract makes some values NULL, or keeps their text beside them."""
        columns = (column.name for column in self._data)
        return frozenset(name for name in columns if {self.rule(name).overflow, self.rule(name).precision} != {"reject"})

    def make(self, schema: RowSchema | None, names: Sequence[str]) -> Shape:
        types = schema.fields if schema is not None else {}
        fields = self._fields(names)
        readings = {
            column.name: self._reading(column, types.get(fields[column.name]))
            for column in (*self._key, *self._data)
            if column.name in fields
        }
        month_field = self._month_field(fields, names)
        unknown = self._unknown(names, {*fields.values(), month_field})
        write = self._cells([column for column in self._data if not self._is_left_out(column, fields)], fields, readings)
        patch = self._cells([column for column in self._data if column.name in fields], fields, readings)
        key_readings = {
            column.name: (fields[column.name], readings[column.name]) for column in self._key if column.name in fields
        }
        has_key = len(key_readings) == len(self._key)
        return Shape(
            write,
            write.names + self.system,
            patch,
            patch.names + tuple(name for name in self.system if name != "cdc_extra" or (self._keeps_extra and unknown)),
            all(column.name in fields for column in self._data) and (self._month_is_elsewhere() or month_field is not None),
            self._cells(self._key, fields, readings) if has_key else None,
            key_readings,
            self._month_at(write),
            self._month_reader(month_field, types),
            [(name, _extra_of(name, types)) for name in unknown] if self._keeps_extra else (),
            frozenset(unknown),
        )

    def _fields(self, names: Sequence[str]) -> dict[str, str]:
        """Which field goes into which column; a column beside another takes that one's field and no other."""
        own = [column.name for column in (*self._key, *self._data) if column.name not in self._beside]
        fields = match_fields({name: self.rule(name).source for name in own}, names)
        return fields | {name: fields[of.name] for name, of in self._beside.items() if of.name in fields}

    def _reading(self, column: Column, source: SourceType | None) -> Reading:
        of = self._beside.get(column.name)
        if of is not None:
            return beside(source, of, self.rule(of.name))
        return reading(source, column, self.rule(column.name), self._tally)

    def _is_data(self, column: Column) -> bool:
        name, table = column.name, self._table
        if is_system(name) or name in table.key or name == table.month_column or column.generated:
            return False
        return self.rule(name).source != ""

    def _silent_names(self) -> frozenset[str]:
        """Fields that are no news although they go nowhere: the column is filled by the worker, by CrateDB, or by nobody."""
        columns = [
            name
            for name, column in self._table.columns.items()
            if column.generated or name == self._table.month_column or self.rule(name).source == ""
        ]
        return frozenset(name.lower() for name in columns)

    def _unknown(self, names: Sequence[str], used: set[str | None]) -> list[str]:
        return [name for name in names if name not in used and name.lower() not in self._silent]

    def _is_left_out(self, column: Column, fields: Mapping[str, str]) -> bool:
        """NULL would be refused, and the column's default is better than a dead letter."""
        return column.name not in fields and column.has_default and not column.nullable

    def _cells(self, columns: Sequence[Column], fields: Mapping[str, str], readings: Mapping[str, Reading]) -> Cells:
        return Cells(columns, [fields.get(c.name) for c in columns], [readings.get(c.name, _ABSENT) for c in columns])

    def _month_is_elsewhere(self) -> bool:
        return self._month is None or self._month.key_index >= 0

    def _month_field(self, fields: Mapping[str, str], names: Sequence[str]) -> str | None:
        if self._month is None:
            return None
        name = self._month.name
        return fields.get(name) or match_fields({name: self.rule(name).source or None}, names).get(name)

    def _month_at(self, write: Cells) -> int:
        """The row's own value is a moment already where its column is a TIMESTAMP."""
        if self._month is None or self._month.name not in write.names:
            return -1
        column = self._table.columns[self._month.name]
        rule = self.rule(column.name)
        is_moment = column.type.startswith("timestamp") and (rule.overflow, rule.precision) == ("reject", "reject")
        return write.names.index(column.name) if is_moment else -1

    def _month_reader(self, field: str | None, types: Mapping[str, SourceType]) -> Convert | None:
        if field is None or self._month is None:
            return None
        name = self._month.name
        read = reading(types.get(field), MOMENT, DEFAULT_RULE._replace(type=self.rule(name).type)).convert

        def convert(record: Fields) -> int | None:
            value = record.get(field)
            try:
                return None if value is None else read(value)
            except Reject as reject:
                raise Reject(reject.code, reject.text, column=name) from None

        return convert


def match_fields(wanted: Mapping[str, str | None], names: Iterable[str]) -> dict[str, str]:
    """Which field goes into which column: by the contract's name, the same name, or the same letters if only one pair has them.

    wanted: column to the field's name in the contract, None for the column's own.

    >>> match_fields({"id": None, "total": "amount", "note": None}, ["ID", "amount", "Note", "NOTE"])
    {'total': 'amount', 'id': 'ID'}
    """
    present = set(names)
    found = {column: source or column for column, source in wanted.items() if (source or column) in present}
    free_fields = _by_letters(present.difference(found.values()))
    free_columns = _by_letters(column for column, source in wanted.items() if source is None and column not in found)
    for letters, columns in free_columns.items():
        fields = free_fields.get(letters, ())
        if len(columns) == 1 and len(fields) == 1:
            found[columns[0]] = fields[0]
    return found


def _by_letters(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.lower(), []).append(name)
    return found


_FREE_FORM = Column("cdc_extra", "object", policy="ignored")


def _extra_reader(source: SourceType | None) -> Convert:
    read, clean = json_reader(source), json_cleaner(_FREE_FORM, big_as_text=True)
    return lambda value: None if value is None else clean(read(value), 1)


# One for all that nobody declared: a record may have ten thousand such fields.
_UNDECLARED: Final = _extra_reader(None)


def _extra_of(name: str, types: Mapping[str, SourceType]) -> Convert:
    return _extra_reader(types[name]) if name in types else _UNDECLARED
