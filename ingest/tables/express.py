"""The table's half of the express way: what it wants of a row's values, and a function that makes a change of them.

The way from bytes to a change through an envelope takes thirty calls, for any shape of record. Where the records of a topic look
alike, the formats room hands their values straight to a function written here for that one shape, which does what `Mapper.map`
would do, or returns None (or raises Reject) where only `map` knows.
Pure but for the tallies of the mapper; touched by the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

import orjson

from ingest.flow.ports import Make, Wanted, WantedField
from ingest.model import Change, Fields, Kind, Op, Position
from ingest.tables.calendar_utc import MS_PER_DAY, month_of
from ingest.tables.months import MonthLimits, MonthSource
from ingest.tables.reading import Never, Reading
from ingest.tables.row_code import function
from ingest.tables.shapes import Cells, Shape
from ingest.tables.system_columns import SYSTEM_EXPRESS

# Bounds of whole numbers that nothing but their own 64 bits limits.
_INT64: Final = (-(2**63), 2**63 - 1)
_BOTH: Final = frozenset({Op.INSERT, Op.UPDATE})
_KIND_OF_VALUE: Final = {bool: "bool", str: "text", bytes: "bytes", Decimal: "number", float: "number", type(None): "scalar"}

NewKeys = Callable[[Sequence[str], Sequence[Any]], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mapper knows of the records of one shape.

    row, key: a record of that shape; key is the envelope's, None where `key_cells` read from the row.
    head: what stands before a version's source position, or before its offset where it has none; None for no version.
    policies: columns whose contract makes values NULL. counted: fields without a column, and where they are counted.
    """

    row: Fields
    key: Fields | None
    shape: Shape
    key_cells: Cells
    month: MonthSource | None
    limits: MonthLimits
    month_in_key: int
    head: str | None
    is_by_source: bool
    policies: frozenset[str]
    dynamic: NewKeys | None
    unknown: Counter[frozenset[str]]


def express_of(plan: Plan) -> tuple[Wanted, Make] | None:
    """What the table wants and what makes its changes; None where a value needs more than is written out here."""
    write, keys = plan.shape.write, plan.key_cells
    of_row = [*_uses(write)] + ([] if plan.key is not None else [*_uses(keys)])
    row = _wanted(plan.row, of_row)
    key = None if plan.key is None else _wanted(plan.key, [*_uses(keys)])
    if row is None or (plan.key is not None and key is None):
        return None
    code = _Code(plan, row, key)
    if not code.write():
        return None
    moment = None if plan.shape.month_at < 0 else write.fields[plan.shape.month_at]
    ops = _BOTH if plan.shape.complete else frozenset({Op.INSERT})
    key_fields = tuple(str(field) for field in keys.fields) if key is None else ()
    before_real = plan.month is not None and plan.month.before_full
    wanted = Wanted(tuple(row.values()), None if key is None else tuple(key.values()), key_fields, ops, moment, before_real)
    return wanted, code.compiled()


# ---------------------------------------------------------------- what is wanted


class _Use(NamedTuple):
    """A column that takes a field."""

    field: str
    found: Reading


def _uses(cells: Cells) -> Iterable[_Use]:
    return (_Use(field, found) for field, found in zip(cells.fields, cells.readings, strict=True) if field is not None)


def _wanted(sample: Fields, uses: Sequence[_Use]) -> dict[str, WantedField] | None:
    """Each field of a record and what is wanted of it; None where it holds lists or objects that somebody takes."""
    by_field: dict[str, list[Reading]] = {}
    for field, found in uses:
        by_field.setdefault(field, []).append(found)
    wanted = {name: _field(name, value, by_field.get(name, ())) for name, value in sample.items()}
    return None if any(field is None for field in wanted.values()) else wanted  # type: ignore[return-value]


def _field(name: str, value: Any, readings: Sequence[Reading]) -> WantedField | None:
    if type(value) in (list, dict):
        return None
    if not readings:
        return WantedField(name, "unread")
    found = readings[0] if len(readings) == 1 else Reading(Never, readings[0].convert)
    quick, kind = found.quick, type(value)
    if quick is not None and quick.type is int and kind in (int, type(None)):
        return WantedField(name, "int", quick.low, quick.high)
    if quick is not None and quick.type is float and kind in (int, float, Decimal, type(None)):
        return WantedField(name, "float", quick.low, quick.high)
    if found.unscaled is not None and kind in (str, bytes, type(None)):
        return WantedField(name, "octets")
    if kind is type(None) and found.passes in (str, bool):
        kind = found.passes
    return WantedField(name, "int", *_INT64) if kind is int else WantedField(name, _KIND_OF_VALUE.get(kind, "scalar"))


# ---------------------------------------------------------------- the function


class _Tally:
    """Counts records with fields without a column; not the first, which is the sample that was counted already."""

    def __init__(self, counts: Counter[frozenset[str]], names: frozenset[str]) -> None:
        self._counts = counts
        self._names = names
        self._is_trial = True

    def __call__(self) -> None:
        if self._is_trial:
            self._is_trial = False
        else:
            self._counts[self._names] += 1


class _Code:
    """The text of one function as it grows, and the names that it knows.

    def make(topic, partition, offset, now_ms, word, version, ts_ms, was, key, r0, r1, r2):
        v1 = r1 if r1 is None else r1 // 1000
        ...
        return Change(WRITE, key, month, columns, row, new(Position, (topic, partition, offset)), ...)
    """

    def __init__(self, plan: Plan, row: dict[str, WantedField], key: dict[str, WantedField] | None) -> None:
        self._plan = plan
        self._row = {name: field for name, field in row.items() if field.kind != "unread"}
        self._row_names = {name: f"r{place}" for place, name in enumerate(self._row)}
        self._key = {name: field for name, field in (key or {}).items() if field.kind != "unread"}
        self._lines: list[str] = []
        self._known: dict[str, Any] = {
            "Change": Change,
            "WRITE": Kind.WRITE,
            "Position": Position,
            "new": tuple.__new__,  # a NamedTuple's own constructor costs twice as much
            "dumps": orjson.dumps,
            "limits": plan.limits,
            "days": plan.limits.allowed_days,
            "month_of": month_of,
            "columns": plan.shape.write_columns,
            "dynamic": plan.dynamic,
            "head": plan.head,
            "count_unknown": _Tally(plan.unknown, plan.shape.unknown),
        }

    def compiled(self) -> Make:
        arguments = ", ".join(["topic, partition, offset, now_ms, word, version, ts_ms, was, key", *self._row_names.values()])
        body = "\n".join(f"    {line}" for line in self._lines)
        return function(f"def make({arguments}):\n{body}", "make", self._known)  # type: ignore[no-any-return]

    def write(self) -> bool:
        """Write the body; False where a column's values need what is not written out here."""
        values = self._cells(self._plan.shape.write, "v", self._row_names, self._row)
        key = self._write_key()
        if values is None or key is None:
            return False
        self._write_month(values, key)
        self._write_version()
        system = [SYSTEM_EXPRESS[name] for name in self._plan.shape.write_columns[len(values) :]]
        self._line(f"row = [{', '.join([*values, *system])}]")
        self._write_end(len(values))
        return True

    def _line(self, text: str) -> None:
        self._lines.append(text)

    def _cells(
        self, cells: Cells, stem: str, variables: dict[str, str], wanted: dict[str, WantedField], *, is_key: bool = False
    ) -> list[str] | None:
        """Write what makes the values of these columns; the expressions that then hold them."""
        found = []
        for place, (field, reading) in enumerate(zip(cells.fields, cells.readings, strict=True)):
            if field is None:
                found.append("None")
                continue
            variable = self._value(f"{stem}{place}", variables[field], wanted[field], reading, cells.names[place])
            if variable is None:
                return None
            found.append(variable)
        # A null part of a key is always refused; in a Kafka key there is none.
        for place in range(len(found)) if is_key else cells.required:
            self._line(f"if {found[place]} is None: return None")
        return found

    def _value(self, name: str, given: str, wanted: WantedField, found: Reading, column: str) -> str | None:
        """Write what makes one column's value of a field's; the variable that then holds it."""
        kind, quick, unscaled = wanted.kind, found.quick, found.unscaled
        if (kind, found.passes) in (("text", str), ("bool", bool)):
            return given
        if quick is not None and kind == quick.type.__name__ and (wanted.low, wanted.high) == (quick.low, quick.high):
            if quick.ticks == 1:
                return given
            self._line(f"{name} = {given} if {given} is None else {given} // {quick.ticks}")
            return name
        if column in self._plan.policies:
            return None  # what a policy makes NULL is counted, and a record must not be counted on both ways
        if kind == "octets" and unscaled is not None:
            self._octets(name, given, unscaled.scale, unscaled.least, unscaled.limit)
            self._known[f"convert_{name}"] = unscaled.convert
            return name
        self._known[f"convert_{name}"] = found.convert
        passes = f"type({given}) is passes_{name}"
        self._known[f"passes_{name}"] = found.passes
        is_ready = f"{given} is None" if found.passes is Never else f"{given} is None or {passes}"
        self._line(f"{name} = {given} if {is_ready} else convert_{name}({given})")
        return name

    def _octets(self, name: str, given: str, scale: int, least: int, limit: int) -> None:
        """The first bit of a number below zero is set, so it reads as unsigned only where that bit is not."""
        self._known["number_of"] = int.from_bytes
        self._line(f"if {given} is None: {name} = None")
        self._line("else:")
        self._line(f"    number = number_of({given})")
        self._line(f"    if {least} <= number < {limit} and {given}[0] < 128:")
        self._line("        digits = str(number)")
        self._line(f"        {name} = digits[:-{scale}] + '.' + digits[-{scale}:]")
        self._line(f"    else: {name} = convert_{name}({given})")

    def _write_key(self) -> list[str] | None:
        """The variable `key`, a tuple in the order of the table's key; and what its parts are called."""
        cells, plan = self._plan.key_cells, self._plan
        if plan.key is None:
            parts = self._cells(cells, "k", self._row_names, self._row, is_key=True)
        else:
            names = {name: f"p{place}" for place, name in enumerate(self._key)}
            start = len(self._lines)
            parts = self._cells(cells, "k", names, self._key, is_key=True)
            if parts == list(names.values()) and self._plan.month_in_key < 0:
                del self._lines[start:]  # the key is as it comes, where null is none of its values
                return parts
            self._lines.insert(start, f"({', '.join(names.values())},) = key")
        if parts is not None:
            self._line(f"key = ({', '.join(parts)},)")
        return parts

    def _write_month(self, values: Sequence[str], key: Sequence[str]) -> None:
        """The variables `month` and `look_up`. A real image of before in another month takes the long way."""
        month, at = self._plan.month, self._plan.shape.month_at
        if month is None:
            self._line("month = None; look_up = False")
            return
        self._line(f"ms = {values[at] if self._plan.month_in_key < 0 else key[self._plan.month_in_key]}")
        self._line("if ms is None: return None")
        self._line(f"month = days.get(ms // {MS_PER_DAY}) if limits.since_ms <= now_ms < limits.until_ms else None")
        self._line("if month is None: month = limits.month(ms, now_ms)")
        self._line(f"look_up = {month.mutable and self._plan.month_in_key < 0}")
        if self._plan.month_in_key < 0:
            self._known["was_ms"] = self._plan.shape.write.readings[at].convert
            self._line("if was is not None:")
            self._line("    if month_of(was_ms(was)) != month: return None")
            self._line("    look_up = False")

    def _write_version(self) -> None:
        if self._plan.head is None:
            self._line("version = None")
        elif self._plan.is_by_source:
            self._line("version = head + version + str(offset).zfill(19)")
        else:
            self._line("version = head + str(offset).zfill(19)")

    def _write_end(self, count: int) -> None:
        """dynamic is told the columns that come from the record, as the long way has them."""
        new_keys = "False" if self._plan.dynamic is None else f"dynamic(columns, row[:{count}])"
        self._line("size_bytes = len(dumps((key, row)))")
        if self._plan.shape.unknown:
            self._line("count_unknown()")
        self._line("at = new(Position, (topic, partition, offset))")
        self._line(f"return Change(WRITE, key, month, columns, row, at, version, (), look_up, size_bytes, ts_ms, {new_keys})")
