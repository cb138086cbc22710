"""The key of a row: by name from the Kafka key or from the row's images, by position where names are not on the wire.

Values by name go first: a Kafka key without names may be another column than the primary key (CockroachDB's key_column).
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ingest.errors import Reject
from ingest.model import Envelope, Fields, Record, RowSchema, Table
from ingest.tables.contract import Contract
from ingest.tables.months import MOMENT
from ingest.tables.reading import converted
from ingest.tables.shapes import Cells, Shape
from ingest.tables.system_columns import is_system
from ingest.tables.types import DEFAULT_RULE, TIMESTAMP_TYPES, reading

Key = tuple[Any, ...]
ShapeOf = Callable[[RowSchema | None, Fields], Shape]


class KeyMaker:
    """Makes the keys of one table, values in the order of Table.key."""

    def __init__(self, table: Table, contract: Contract | None, shape_of: ShapeOf) -> None:
        self._shape_of = shape_of
        self._by_position = contract is not None and contract.by_position
        self._columns = tuple(name for name in table.key if not is_system(name))
        order = contract.key if contract is not None and contract.key is not None else table.key
        self._places = {name: place for place, name in enumerate(name for name in order if not is_system(name))}
        self._key = table.key
        self.has_position = self._by_position or len(self._columns) < len(table.key)
        rules = {name: contract.rule(name) if contract is not None else DEFAULT_RULE for name in self._columns}
        self._unnamed = {name: reading(None, table.columns[name], rules[name]) for name in self._columns}
        self._moments = {
            name: reading(rules[name].type, MOMENT).convert
            for name in self._columns
            if table.columns[name].type not in TIMESTAMP_TYPES
        }

    def key(self, envelope: Envelope, record: Record, shape: Shape | None) -> Key:
        """The key of the row. shape: of `after`, None if there is none. Raises Reject: key.missing, key.null, type.*."""
        if self.has_position:
            return self._by_place(envelope, record, shape)
        raw = envelope.key
        # The usual way, written out: a call of `_named` costs 0.1 µs.
        named = self._shape_of(envelope.key_schema, raw).key if type(raw) is dict else None
        key = self._named(envelope, shape) if named is None else tuple(named.values(raw))  # type: ignore[arg-type]
        if None in key:
            raise self._null_in(key)
        return key

    def cells(self, envelope: Envelope, shape: Shape) -> tuple[Cells, bool] | None:
        """What reads the keys of records like this one, and whether from their Kafka keys and not from their rows; None where a
        key is gathered from several places or tells the record's own."""
        raw = envelope.key
        if self.has_position:
            return None
        found = self._shape_of(envelope.key_schema, raw).key if type(raw) is dict else shape.key
        return None if found is None else (found, type(raw) is dict)

    def _by_place(self, envelope: Envelope, record: Record, shape: Shape | None) -> Key:
        """The key of a table whose key says where in Kafka a record stands, alone or beside columns of the row."""
        if self._by_position and self._columns:
            return (_position(record, envelope.place),)
        if envelope.place:
            raise Reject(
                "key.not_unique",
                "a record holds several rows, which its offset cannot tell apart: give the table a key of one TEXT column",
            )
        key = self._named(envelope, shape) if self._columns else ()
        if None in key:
            raise self._null_in(key)
        return self._with_position(key, record)

    def _null_in(self, key: Key) -> Reject:
        return Reject("key.null", "a part of the key is null", column=self._columns[key.index(None)])

    def moment_ms(self, key: Key, index: int) -> int:
        """The moment that a part of the key names, for tables whose month follows from the key."""
        name, value = self._key[index], key[index]
        convert = self._moments.get(name)
        if convert is None:
            return int(value)
        try:
            return int(convert(value))
        except Reject as reject:
            raise Reject(reject.code, reject.text, column=name) from None

    def _named(self, envelope: Envelope, shape: Shape | None) -> Key:
        raw = envelope.key
        if type(raw) is dict:
            named = self._shape_of(envelope.key_schema, raw).key
            if named is not None:
                return tuple(named.values(raw))
        elif shape is not None and shape.key is not None and envelope.after is not None:
            return tuple(shape.key.values(envelope.after))
        return self._gathered(envelope)

    def _gathered(self, envelope: Envelope) -> Key:
        """Each part from the first place that has it."""
        places = list(self._named_places(envelope))
        return tuple(self._part(name, places, envelope.key) for name in self._columns)

    def _named_places(self, envelope: Envelope) -> Iterator[tuple[Shape, Fields]]:
        if isinstance(envelope.key, dict):
            yield self._shape_of(envelope.key_schema, envelope.key), envelope.key
        for image in (envelope.after, envelope.before):
            if image is not None:
                yield self._shape_of(envelope.schema, image), image

    def _part(self, name: str, places: list[tuple[Shape, Fields]], raw: Fields | Key | None) -> Any:
        for shape, fields in places:
            if name in shape.key_readings:
                field, found = shape.key_readings[name]
                return converted(fields[field], found, name)
        if isinstance(raw, tuple) and len(raw) == len(self._columns):
            return converted(raw[self._places[name]], self._unnamed[name], name)
        raise Reject("key.missing", "neither the Kafka key nor the row has this part of the key", column=name)

    def _with_position(self, named: Key, record: Record) -> Key:
        """The key with the parts that say where in Kafka the record stands."""
        parts = {"cdc_topic": record.topic, "cdc_partition": record.partition, "cdc_offset": record.offset}
        parts.update(zip(self._columns, named, strict=True))
        return tuple(parts[name] for name in self._key)


def _position(record: Record, place: int) -> str:
    """Where in Kafka a row stands; the second and later rows of a record say their number too."""
    return f"{record.topic}-{record.partition}-{record.offset}" + (f"-{place}" if place else "")
