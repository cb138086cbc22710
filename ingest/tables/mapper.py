"""The mapper of a table: an envelope of the source becomes a change of the table, or is rejected with a reason.

`map` is the hot path: fields are matched with columns once per shape of record, so most records cost one comprehension over
compiled readings. Pure but for memory of shapes and of unknown fields; touched by the loop's thread.

What becomes what:
- INSERT is a WRITE of all columns, absent ones NULL. UPDATE with all columns is a WRITE, else a PATCH.
  DELETE has cdc_* columns only.
- An INSERT whose row lacks key columns is a PATCH (a part of a row, as CockroachDB's column families), unless it is an event
  without table and version, whose key stands beside it in Kafka.
- The month of a WRITE comes from its own image. A PATCH that does not name it, and a DELETE without a sure image, have it looked
  up. Where the contract says `mutable`, each INSERT and UPDATE without a sure image of before has its old months looked up:
  also a create, because a delete in between may have been compacted away, and snapshots say "create" in some connectors.
- A sure image is one that the format calls real, or any where the contract says before = "full".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from ingest.errors import Parked, Reject
from ingest.flow.ports import Make, Truncation, Wanted
from ingest.model import Change, Column, Envelope, Fields, Kind, Level, NewColumn, Op, Position, Record, RowSchema, Table
from ingest.tables.calendar_utc import month_of
from ingest.tables.checks import problems
from ingest.tables.contract import Contract
from ingest.tables.description import describe
from ingest.tables.express import Plan, express_of
from ingest.tables.keys import KeyMaker
from ingest.tables.months import MappingRules, MonthLimits, MonthSource, month_source, undecided
from ingest.tables.nested import has_new_keys
from ingest.tables.row_code import compile_system
from ingest.tables.shapes import Shape, ShapeMaker
from ingest.tables.types import TIMESTAMP_TYPES
from ingest.tables.unknown import UnknownFields
from ingest.tables.versions import Stamp, head_of, version_stamp

_new_position = tuple.__new__  # Position(*record[:3]) in 0.14 µs; record.at takes 0.3
# Looking up a member of an enum costs as much as a function call.
_INSERT, _UPDATE, _DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
_WRITE, _PATCH, _GONE = Kind.WRITE, Kind.PATCH, Kind.DELETE
# Producers of free-form JSON may have a new set of fields in every record; memory stays bounded.
_KNOWN_SHAPES: Final = 2_000
_KNOWN_FIELDS: Final = 100_000  # of all those shapes; 1 KB each at worst

_Place = tuple[int | None, tuple[int, ...], bool]
_NO_MONTH: Final[_Place] = (None, (), False)
_NOTHING: Final[Mapping[str, int]] = {}


def compile_mapper(table: Table, contract: Contract | None, *, settings: MappingRules) -> Mapper:
    """The mapper of a table. Raises Parked: contract.contradiction, month.undecided."""
    errors = [problem for problem in problems(contract, table) if problem.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: see `ingest check`)" if len(errors) > 1 else ""
        raise Parked("contract.contradiction", f"{errors[0]}{more}", subject=f"table:{table.full_name}")
    return Mapper(table, contract, settings, month_source(table, contract))


class Mapper:
    """See the module. All methods belong to the loop's thread."""

    def __init__(self, table: Table, contract: Contract | None, settings: MappingRules, month: MonthSource | None) -> None:
        said = contract or Contract(table.full_name)
        self.table: Final = table
        self.level: Final[Level] = table.level
        self.truncate: Final[str] = said.truncate
        self.version_kind: Final[str | None] = said.version.source if "cdc_version" in table.columns else "none"
        policy = said.unknown_fields or ("extra" if "cdc_extra" in table.columns else "ignore")
        keeps_extra = policy == "extra" or (policy == "add" and "cdc_extra" in table.columns)
        self._unknown = UnknownFields(policy, keeps_extra=keeps_extra, refuse=self._refuse_columns)
        self._contract = contract
        self._nulled: Counter[str] = Counter()
        self._maker = ShapeMaker(table, contract, month, keeps_extra=keeps_extra, tally=self._count_nulled)
        self._shapes: dict[tuple[RowSchema | None, tuple[str, ...]], Shape] = {}
        self._known_fields = 0
        self._keys = KeyMaker(table, contract, self._shape)
        self._month = month
        self._limits = MonthLimits(settings, said.partition.keep_months)
        self._stamp: Stamp = version_stamp(table, said.version, settings.epoch)
        self._delete_columns = self._maker.system
        self._system = compile_system(self._maker.system)
        self._columns_without_extra = tuple(name for name in self._maker.system if name != "cdc_extra")
        self._system_without_extra = compile_system(self._columns_without_extra)
        self._dynamic = _dynamic_objects(table)

    @property
    def keyed_by_position(self) -> bool:
        return self._keys.has_position

    # ---------------------------------------------------------------- the hot path

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        """The change that an envelope of this record means. Raises Reject for a row that can never be stored."""
        op, after = envelope.op, envelope.after
        if op is not _INSERT and op is not _UPDATE:
            return self._delete(envelope, record, now_ms)
        if after is None:
            raise Reject("row.missing", "the change has no row: check the source's settings")
        shape = self._shape(envelope.schema, after)
        extra = self._unknown.extra(shape, envelope, after) if shape.unknown or shape.extra else None
        key = self._keys.key(envelope, record, shape)
        version = self._stamp(envelope, record)
        if shape.complete or (op is _INSERT and (shape.key is not None or _is_event(envelope))):
            kind, columns, system = _WRITE, shape.write_columns, self._system
            row = shape.write.values(after)
        else:
            kind, columns = _PATCH, shape.patch_columns
            system = self._system if shape.extra else self._system_without_extra
            row = shape.patch.values(after)
        place = _NO_MONTH if self._month is None else self._place(self._month, envelope, shape, kind, key, row, now_ms)
        new_keys = self._dynamic is not None and self._dynamic(columns, row)
        row += system(envelope, record, now_ms, version, False, extra)
        month, vacates, look_up = place
        size_bytes = _size_bytes(key, columns, row)
        at = _new_position(Position, record[:3])
        return Change(kind, key, month, columns, row, at, version, vacates, look_up, size_bytes, envelope.source_ts_ms, new_keys)

    def _delete(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        if envelope.op is not _DELETE:
            text = "a truncate names no row: ask `truncate` before mapping"
            raise Parked("topic.truncate", text, subject=f"topic:{record.topic}")
        key = self._keys.key(envelope, record, None)
        version = self._stamp(envelope, record)
        month, look_up = self._place_of_deleted(envelope, key, now_ms)
        if version is None and self.level is Level.ORDERED:
            look_up = True  # a tombstone deletes the version that is stored, whichever that is
        row = self._system(envelope, record, now_ms, version, True, None)
        columns = self._delete_columns
        size_bytes = _size_bytes(key, columns, row)
        return Change(_GONE, key, month, columns, row, record.at, version, (), look_up, size_bytes, envelope.source_ts_ms)

    # ---------------------------------------------------------------- the express way

    def express(self, envelope: Envelope, record: Record) -> tuple[Wanted, Make] | None:
        """What `map` needs of all records like this one, and what it then makes of them; None where each needs `map` itself."""
        op, after = envelope.op, envelope.after
        if after is None or (op is not _INSERT and op is not _UPDATE):
            return None
        shape = self._shape(envelope.schema, after)
        is_whole = shape.complete or (op is _INSERT and (shape.key is not None or _is_event(envelope)))
        if not is_whole or shape.extra or (shape.unknown and self._unknown.policy != "ignore"):
            return None
        cells, head = self._keys.cells(envelope, shape), head_of(self._stamp(envelope, record), envelope, record)
        month_in_key = -1 if self._month is None else self._month.key_index
        if cells is None or head is None or not self._has_moment(shape, month_in_key):
            return None
        key = envelope.key if cells[1] and isinstance(envelope.key, dict) else None
        limits, counts, policies = self._limits, self._unknown.counts, self._maker.with_policy()
        plan = Plan(after, key, shape, cells[0], self._month, limits, month_in_key, *head, policies, self._dynamic, counts)
        return express_of(plan)

    def _has_moment(self, shape: Shape, month_in_key: int) -> bool:
        """Whether the month of a row is that of one of its values or of a part of its key, as they are written."""
        if self._month is None or month_in_key < 0:
            return self._month is None or shape.month_at >= 0
        return self.table.columns[self._month.name].type in TIMESTAMP_TYPES

    def _shape(self, schema: RowSchema | None, fields: Fields) -> Shape:
        known = (schema, tuple(fields))
        return self._shapes.get(known) or self._learn(known)

    def _learn(self, known: tuple[RowSchema | None, tuple[str, ...]]) -> Shape:
        self._known_fields += len(known[1])
        if len(self._shapes) >= _KNOWN_SHAPES or self._known_fields > _KNOWN_FIELDS:
            self._shapes.clear()
            self._known_fields = len(known[1])
        shape = self._shapes[known] = self._maker.make(*known)
        return shape

    # ---------------------------------------------------------------- fields without a column

    @property
    def month_from(self) -> str | None:
        """The column or field whose month a row is in, None in a table without months."""
        return None if self._month is None else self._month.name

    def _refuse_columns(self, columns: Sequence[NewColumn]) -> None:
        """Raise Parked("month.undecided") where these columns would make it unclear, or change, whose month a row is in."""
        added = {column.name: Column(column.name, column.type.lower()) for column in columns}
        wider = replace(self.table, columns={**self.table.columns, **added})
        if month_source(wider, self._contract) != self._month:
            raise undecided(wider)

    @property
    def unknown_policy(self) -> str:
        """What becomes of fields without a column: ignore, extra, reject or add."""
        return self._unknown.policy

    def stop_at_new_fields(self, passed: Collection[str] | None) -> None:
        """See tables.unknown: the worker's loop wants to be told of fields that are not among these."""
        self._unknown.stop_at(passed)

    def take_unknown_fields(self) -> Counter[str]:
        """Records that brought each field without a column since the last call, without reserved names (cdc_*)."""
        return self._unknown.take_counts()

    # ---------------------------------------------------------------- values that a policy made NULL

    def _count_nulled(self, column: str) -> None:
        self._nulled[column] += 1

    def take_nulled(self) -> Mapping[str, int]:
        """Values per column that `overflow` or `precision` of the contract made NULL since the last call.

        They count when they are mapped, so those of a record that is mapped again, or rejected for another column, count as well.
        """
        if not self._nulled:
            return _NOTHING
        taken, self._nulled = self._nulled, Counter()
        return taken

    # ---------------------------------------------------------------- truncates

    def truncation(self, envelope: Envelope, record: Record, now_ms: int) -> Truncation:
        """What a truncate leaves in each row that is older. Raises Reject where it has no place in the table's order."""
        if self.level is Level.ARRIVAL:
            return Truncation(None)
        version = self._stamp(envelope, record)
        if version is None:
            raise Reject("version.missing", "the truncate says no position in its source")
        values = self._system_without_extra(envelope, record, now_ms, version, True, None)
        return Truncation(version, self._columns_without_extra, tuple(values))

    # ---------------------------------------------------------------- months

    def _place(
        self, month: MonthSource, envelope: Envelope, shape: Shape, kind: Kind, key: tuple[Any, ...], row: list[Any], now_ms: int
    ) -> _Place:
        """The month of a write or patch, the month that it leaves, and whether others must be looked up."""
        if month.key_index >= 0:
            return self._limits.month(self._keys.moment_ms(key, month.key_index), now_ms), (), False
        before = envelope.before if envelope.before_real or month.before_full else None
        old = None if before is None else self._old_month(envelope, before, now_ms)
        if kind is _WRITE and shape.month_at >= 0:
            ms = row[shape.month_at]
        else:
            ms = None if shape.month is None else shape.month(envelope.after)
        if ms is None:
            if kind is _WRITE or shape.month is not None:
                raise Reject("month.missing", "the row has no value to take its month from", column=month.name)
            return (None, (), True) if old is None else (old, (), False)
        now_in = self._limits.month(ms, now_ms)
        if old is None:
            return now_in, (), month.mutable
        return now_in, () if old == now_in else (old,), False

    def _old_month(self, envelope: Envelope, before: Fields, now_ms: int) -> int | None:
        """The month that a sure image of before names; None if it names none, or one in which no row can be."""
        shape = self._shape(envelope.schema, before)
        ms = None if shape.month is None else shape.month(before)
        if ms is None:
            return None
        month = month_of(ms)
        return month if month in self.table.months or self._limits.allows(ms, now_ms) else None

    def _place_of_deleted(self, envelope: Envelope, key: tuple[Any, ...], now_ms: int) -> tuple[int | None, bool]:
        month = self._month
        if month is None:
            return None, False
        if month.key_index >= 0:
            return self._limits.month(self._keys.moment_ms(key, month.key_index), now_ms), False
        before = envelope.before if envelope.before_real or month.before_full else None
        old = None if before is None else self._old_month(envelope, before, now_ms)
        return old, old is None

    # ---------------------------------------------------------------- for people

    def describe(self) -> list[str]:
        """How this table is mapped and what does not hold, for `check` and the start log."""
        return describe(self.table, self._month, self.version_kind, self._unknown.policy)


# ---------------------------------------------------------------- small parts


def _is_event(envelope: Envelope) -> bool:
    """Nobody says that it changes a row of a table: it is whole, whatever stands in its Kafka key."""
    return not envelope.table and envelope.version is None


def _dynamic_objects(table: Table) -> Callable[[Sequence[str], Sequence[Any]], bool] | None:
    """Whether a row brings keys that a DYNAMIC object column does not know; None for a table without such columns."""
    known = {
        name: frozenset(column.keys)
        for name, column in table.columns.items()
        if column.type.startswith("object") and column.policy == "dynamic"
    }
    if not known:
        return None
    return lambda columns, row: any(
        name in known and has_new_keys(value, known[name]) for name, value in zip(columns, row, strict=False)
    )


def _size_bytes(key: tuple[Any, ...], columns: Sequence[str], row: list[Any]) -> int:
    """What the row takes as JSON; raises Reject for what JSON cannot say, before it can spoil a whole request."""
    try:
        return len(orjson.dumps((key, row)))
    except TypeError:
        for name, value in zip(columns, row, strict=True):
            _refuse_unsayable(name, value)
        raise Reject("text.surrogate", "the key holds half of a surrogate pair, which no UTF-8 can say") from None


def _refuse_unsayable(name: str, value: Any) -> None:
    try:
        orjson.dumps(value)
    except TypeError:
        raise Reject("text.surrogate", "the text holds half of a surrogate pair, which no UTF-8 can say", column=name) from None
