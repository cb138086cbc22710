"""Shapes: what is to be done with all records that have the same fields, worked out once.

A shape knows which field goes into which column and by which reading, so that mapping a record is one comprehension.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Column, Fields, RowSchema, SourceType, Table
from ingest.tables.contract import Contract
from ingest.tables.months import MOMENT, MonthSource
from ingest.tables.nested import json_reader, object_cleaner
from ingest.tables.reading import Convert, Reading
from ingest.tables.system_columns import SYSTEM_COLUMNS, is_system
from ingest.tables.types import DEFAULT_RULE, ColumnRule, reading

_NULL: Final = type(None)
# Rows with many nullable columns have endless combinations of types; beyond these each is worked out anew.
_KNOWN_TYPES: Final = 256


class Cells:
    """Some columns of a row and how to fill them from a record's fields. Columns without a field become None."""

    __slots__ = ("_by_types", "_pull", "_readings", "names", "required")

    def __init__(self, columns: Sequence[Column], fields: Sequence[str | None], readings: Sequence[Reading]) -> None:
        self.names = tuple(column.name for column in columns)
        # A table of level arrival may have NOT NULL columns; looked at here, because CrateDB would name no row.
        self.required = tuple(index for index, column in enumerate(columns) if not column.nullable)
        self._readings = tuple(readings)
        self._pull = _puller(fields)
        # Most values go through as they are. Which do not follows from their types, and most rows repeat those.
        self._by_types: dict[tuple[type, ...], tuple[tuple[int, Convert], ...]] = {}

    def values(self, record: Fields) -> list[Any]:
        """The values of the columns. Raises Reject with the column."""
        row = list(self._pull(record))
        types = tuple(map(type, row))
        calls = self._by_types.get(types)
        if calls is None:
            calls = self._calls(types)
        try:
            for index, convert in calls:
                row[index] = convert(row[index])
        except Reject:
            raise self._first_reject(record) from None
        for index in self.required:
            if row[index] is None:
                raise Reject("value.null", "the column is NOT NULL and the record has no value for it", column=self.names[index])
        return row

    def _calls(self, types: tuple[type, ...]) -> tuple[tuple[int, Convert], ...]:
        """The columns whose values of these types must be converted."""
        calls = tuple(
            (index, found.convert)
            for index, (kind, found) in enumerate(zip(types, self._readings, strict=True))
            if kind is not found.passes and kind is not _NULL
        )
        if len(self._by_types) < _KNOWN_TYPES:
            self._by_types[types] = calls
        return calls

    def _first_reject(self, record: Fields) -> Reject:
        """The rejection of the first column that raises one, with the column's name."""
        for name, value, found in zip(self.names, self._pull(record), self._readings, strict=True):
            try:
                if value is not None:
                    found.convert(value)
            except Reject as reject:
                return Reject(reject.code, reject.text, column=name)
        raise AssertionError("a value was refused once and taken the second time")


def _puller(fields: Sequence[str | None]) -> Callable[[Fields], Sequence[Any]]:
    """Takes the fields out of a record, in one call of C where all are there."""
    if len(fields) > 1 and None not in fields:
        return itemgetter(*fields)
    return lambda record: list(map(record.get, fields))  # type: ignore[arg-type]


class Shape(NamedTuple):
    """What records with these fields are to a table.

    write: all columns of the table; patch: those that the record has; complete: they are the same, and the month is there.
    key: None if the record does not have all key columns. key_readings: field and reading of those that it has.
    single_key: field and reading of a key of one column, which is the usual one.
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
    single_key: tuple[str, Reading] | None
    key_readings: Mapping[str, tuple[str, Reading]]
    month_at: int
    month: Convert | None
    extra: Sequence[tuple[str, Convert]]
    unknown: frozenset[str]


class ShapeMaker:
    """Makes the shapes of one table."""

    def __init__(self, table: Table, contract: Contract | None, month: MonthSource | None, *, keeps_extra: bool) -> None:
        self._table = table
        self._contract = contract
        self._month = month
        self._keeps_extra = keeps_extra
        # A null part of a key is told apart as key.null, so it is not looked at as NOT NULL.
        self._key = tuple(table.columns[name]._replace(nullable=True) for name in table.key if not is_system(name))
        self._data = tuple(column for column in table.columns.values() if self._is_data(column))
        self.system = tuple(name for name in SYSTEM_COLUMNS if name in table.columns and name not in table.key)
        self._silent = self._silent_names()

    @property
    def data(self) -> tuple[Column, ...]:
        """The columns that come from records, without the key."""
        return self._data

    def rule(self, column: str) -> ColumnRule:
        return self._contract.rule(column) if self._contract is not None else DEFAULT_RULE

    def make(self, schema: RowSchema | None, names: Sequence[str]) -> Shape:
        types = schema.fields if schema is not None else {}
        fields = match_fields({column.name: self.rule(column.name).source for column in (*self._key, *self._data)}, names)
        readings = {
            column.name: reading(types.get(fields[column.name]), column, self.rule(column.name))
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
            next(iter(key_readings.values())) if has_key and len(key_readings) == 1 else None,
            key_readings,
            self._month_at(write),
            self._month_reader(month_field, types),
            [(name, _extra_reader(types.get(name))) for name in unknown] if self._keeps_extra else (),
            frozenset(unknown),
        )

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
        absent = Reading(_NULL, _never)
        return Cells(columns, [fields.get(c.name) for c in columns], [readings.get(c.name, absent) for c in columns])

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
        is_moment = column.type.startswith("timestamp") and self.rule(column.name).overflow == "reject"
        return write.names.index(column.name) if is_moment else -1

    def _month_reader(self, field: str | None, types: Mapping[str, SourceType]) -> Convert | None:
        if field is None or self._month is None:
            return None
        read = reading(types.get(field), MOMENT, self.rule(self._month.name)._replace(overflow="reject", shorten=False)).convert
        name = self._month.name

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


def _never(value: Any) -> Any:
    """Stands where no value is."""
    return value


_FREE_FORM = Column("cdc_extra", "object", policy="ignored")


def _extra_reader(source: SourceType | None) -> Convert:
    read, clean = json_reader(source), object_cleaner(_FREE_FORM, big_as_text=True)
    return lambda value: None if value is None else clean(read(value))
