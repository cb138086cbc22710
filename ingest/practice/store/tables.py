"""Tables, their partitions and rows, in memory. No SQL text; expressions come as compiled functions.

A row is a dict of its columns and of the system columns `_seq_no`, `_primary_term`, `_version` and `_id`.
Touched under the store's lock only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import Refusal, bad
from ingest.practice.store.types import DataType, fault

Row = dict[str, Any]
Key = tuple[Any, ...]
Computed = Callable[[Row], Any]

SYSTEM_TYPES = {
    "_seq_no": DataType("bigint"), "_primary_term": DataType("bigint"), "_version": DataType("bigint"), "_id": DataType("text"),
}  # fmt: skip


@dataclass(eq=False)
class Column:
    """One column. default, generated: compute its value from the row's others."""

    name: str
    type: DataType
    is_nullable: bool = True
    default: Computed | None = None
    default_text: str | None = None
    generated: Computed | None = None
    generated_text: str | None = None
    sources: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.fault = fault(self.type)


@dataclass(eq=False)
class Check:
    """A CHECK. holds: False only where the row breaks it."""

    name: str
    text: str
    holds: Callable[[Row], bool]


@dataclass(eq=False)
class Shard:
    """Counts what its rows' changes need: the sequence numbers."""

    next_seq_no: int = 0


@dataclass(eq=False)
class Partition:
    """The rows of one partition; an unpartitioned table has one, with no values."""

    values: Key
    shards: list[Shard]
    rows: dict[Key, Row] = field(default_factory=dict)


@dataclass(eq=False)
class Table:
    """A table. key: names of the primary key's columns, () where rows are told apart by nothing."""

    schema: str
    name: str
    columns: dict[str, Column]
    key: tuple[str, ...] = ()
    checks: list[Check] = field(default_factory=list)
    partitioned_by: tuple[str, ...] = ()
    clustered_by: str = ""
    shards: int = 4
    settings: dict[str, Any] = field(default_factory=dict)
    partitions: dict[Key, Partition] = field(default_factory=dict)
    last_id: int = 0

    def __post_init__(self) -> None:
        if not self.partitioned_by:
            self.create_partition(())

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    def is_set(self, setting: str) -> bool:
        return self.settings.get(setting) in (True, "true")

    def relation(self) -> s.Relation:
        return s.Relation(self.name, self.schema)

    def rows(self) -> Iterator[Row]:
        """All rows, by partition. Take a list of it before changing anything."""
        for partition in self.partitions.values():
            yield from partition.rows.values()

    def partition_values(self, row: Row) -> Key:
        return tuple(row.get(name) for name in self.partitioned_by)

    def create_partition(self, values: Key) -> Partition:
        partition = self.partitions[values] = Partition(values, [Shard() for _ in range(self.shards)])
        return partition

    def key_of(self, row: Row) -> Key:
        """The row's primary key, or a new one where the table has none. Raises Refusal for a NULL part."""
        if not self.key:
            self.last_id += 1
            return (self.last_id,)
        key = tuple(row.get(name) for name in self.key)
        if None in key:
            raise null_key()
        return key

    def shard_of(self, key: Key) -> int:
        """Which shard a key is in. CrateDB hashes another way: the spread is alike, not the place of a single row."""
        place = self.key.index(self.clustered_by) if self.clustered_by in self.key else None
        routing = key if place is None else key[place]
        return zlib.crc32(repr(routing).encode()) % self.shards if self.shards > 1 else 0

    def row_fault(self, row: Row) -> Refusal | None:
        """Why this row breaks a rule of the table: NOT NULL first, then CHECK."""
        for name, column in self.columns.items():
            if not column.is_nullable and row.get(name) is None:
                return bad(f'"{name}" must not be null')
        for check in self.checks:
            if not check.holds(row):
                values = ", ".join(str(row.get(name)) for name in self.columns)
                return bad(f"Failed CONSTRAINT {check.name} CHECK ({check.text}) for values: [{values}]")
        return None

    def value_fault(self, row: Row) -> Refusal | None:
        """Why a value of the row cannot be stored although it is of its column's type."""
        for name, column in self.columns.items():
            if column.fault is not None and (value := row.get(name)) is not None and (found := column.fault(value)):
                return found
        return None

    def store(self, partition: Partition, key: Key, row: Row) -> None:
        """Put a row in place of what was there, and count the change."""
        shard, old = partition.shards[self.shard_of(key)], partition.rows.get(key)
        row["_seq_no"], row["_primary_term"] = shard.next_seq_no, 1
        row["_version"], row["_id"] = (old["_version"] + 1 if old else 1), str(key[0]) if len(key) == 1 else repr(key)
        shard.next_seq_no += 1
        partition.rows[key] = row

    def remove(self, partition: Partition, key: Key) -> None:
        partition.shards[self.shard_of(key)].next_seq_no += 1
        del partition.rows[key]

    def visible(self, row: Row) -> Row:
        """The row without system columns, in the order of the table's."""
        return {name: row.get(name) for name in self.columns}


def null_key() -> Refusal:
    return bad("A primary key value must not be NULL")


@dataclass(eq=False)
class View:
    """A stored SELECT."""

    schema: str
    name: str
    select: s.Select
    text: str
