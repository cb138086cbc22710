"""What a wire format gets to read: one record with encoding and framing taken off, and the interface it implements.

Values and one Protocol; no bytes are looked at here. Used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from ingest.errors import Parked, Reject
from ingest.model import Decoded, Envelope, Fields, Op, Record, RowSchema, Skip, SourceType


# Structs of msgspec, because one of each is made for every record and they cost a third of a dataclass.
class Key(msgspec.Struct, frozen=True, gc=False):
    """A decoded Kafka key. like_cockroach: written as CockroachDB does, a JSON array or an Avro record with its marks.
    from_text: its fields were told from Java's text of a struct, so the row's own fields are surer. perhaps: what its bytes are
    where the row says that they are no such record."""

    value: Fields | tuple[Any, ...] | None
    schema: RowSchema | None = None
    like_cockroach: bool = False
    from_text: bool = False
    perhaps: int | None = None


NO_KEY = Key(None)


@dataclass(frozen=True, eq=False, slots=True)
class ValueSchema:
    """The declared type of a whole value.

    rows: the RowSchema of each field that is a record; under "" the value's own; under "value" that of a value that is none.
    by_cockroach: it bears the marks of CockroachDB. items: of a list of records, their schema.
    """

    name: str
    type: SourceType
    rows: Mapping[str, RowSchema] = field(default_factory=dict)
    by_cockroach: bool = False
    items: ValueSchema | None = None

    @classmethod
    def of(cls, name: str, declared: SourceType, names: Mapping[str, str], by_cockroach: bool = False) -> ValueSchema:
        """names: of the records that stand in the fields, where they have any."""
        if declared.fields is None:
            items = None if declared.element is None else cls.of(name, declared.element, {}, by_cockroach)
            return cls(name, declared, {"value": RowSchema({"value": declared}, name)}, by_cockroach, items)
        rows = {"": RowSchema(declared.fields, name)}
        for part, inner in declared.fields.items():
            if inner.fields is not None:
                rows[part] = RowSchema(inner.fields, names.get(part, ""))
        return cls(name, declared, rows, by_cockroach)


class Message(msgspec.Struct, gc=False):
    """body: the JSON text without Kafka Connect's wrapper, or the Avro bytes. value: body decoded, where that was needed."""

    record: Record
    key: Key
    body: bytes
    value: Any = None
    schema: ValueSchema | None = None

    def row_schema(self, part: str) -> RowSchema | None:
        return None if self.schema is None else self.schema.rows.get(part)


class Format(Protocol):
    """One wire format. Has no state that one record leaves to the next, so a topic may be read from any point again."""

    def read_json(self, message: Message) -> Decoded | None:
        """A shortcut from JSON text (message.body) for the shape that makes up the bulk; None where it is not that shape."""

    def read(self, message: Message) -> Decoded:
        """Any shape of this format, from message.value. Raises Reject for a value that is none of them."""

    def read_tombstone(self, message: Message) -> Decoded:
        """A record with a key and without a value."""


def deleted_by_key(key: Key) -> tuple[Envelope]:
    """What a tombstone says. It tells no version; op_name lets the rooms to the right tell it from a delete that does."""
    return (Envelope(Op.DELETE, key.value, key_schema=key.schema, op_name="tombstone"),)


class Echoes:
    """Tells a tombstone that only repeats the delete in front of it from one that is the only sign of a delete.

    Connectors send a tombstone behind each delete, next in its partition and under the same key, so that compaction can drop the
    key. After compaction, or where a connector sends nothing else, the tombstone stands alone.
    """

    def __init__(self) -> None:
        self._deleted: dict[tuple[str, int], bytes | None] = {}

    def deleted(self, record: Record) -> None:
        """This record says that its key is deleted."""
        self._deleted[record.topic, record.partition] = record.key

    def read(self, message: Message) -> Decoded:
        """A tombstone: Skip for an echo, else a delete by key."""
        record = message.record
        if self._deleted.pop((record.topic, record.partition), None) == record.key:
            return ECHO
        return deleted_by_key(message.key)


ECHO: Final = Skip("tombstone")


def ambiguous_tombstone(record: Record) -> Parked:
    """CockroachDB's envelope=row says a delete this way, its envelope=key_only says everything this way."""
    return Parked(
        "format.ambiguous",
        f"topic {record.topic} has a null value under a key like CockroachDB's: set format to 'cockroach:row' in the contract if "
        "the feed has envelope=row, where it is a delete; envelope=key_only does not say what happened to the row, so that feed "
        "needs envelope=wrapped; a topic of no changefeed is 'plain'",
        subject=f"topic:{record.topic}",
    )


def need_row(value: Any, part: str) -> Fields:
    """The object that must be there. Raises Reject("row.missing" or "row.not_an_object")."""
    if value is None:
        raise Reject("row.missing", f"the change has no '{part}', so there is nothing to write: check the source's settings")
    if value.__class__ is not dict:
        raise Reject("row.not_an_object", f"'{part}' is no object: check the topic's format in its contract")
    row: Fields = value
    return row
