"""Which fields tell rows apart: those of the Kafka key, a column that is unique, or an event's own place in Kafka. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ingest.errors import Stop
from ingest.model import Envelope, Fields, Op
from ingest.tools.explain_words import counted
from ingest.tools.propose_names import column_name, singular
from ingest.tools.propose_sample import Rows
from ingest.tools.propose_values import Field

POSITION: Final = ("cdc_topic", "cdc_partition", "cdc_offset")
# A column for keys that no field of the rows repeats.
KEY_FIELD: Final = "kafka_key"
SHOWN_FIELDS: Final = 4
GUESSED: Final = "the key is a guess, and a wrong one makes two rows one"
REPLACES: Final = "if a record replaces the older one of its Kafka key, these are rows: make {columns} the primary key"


class KeyChoice(NamedTuple):
    """fields: of the row or of the key, in key order; () where the place in Kafka is the key. reason: a sentence's end.

    is_unnamed: the wire has values without names, so the contract must name them. hints: what a person should look at.
    """

    fields: tuple[str, ...]
    reason: str
    is_unnamed: bool = False
    hints: tuple[str, ...] = ()

    @property
    def by_position(self) -> bool:
        return not self.fields


def choose_key(topic: str, rows: Rows, table: str, is_compacted: Callable[[], bool]) -> KeyChoice:
    """is_compacted: asked only where it matters. Raises Stop("propose.no_key")."""
    if not rows.has_records:
        return _of_schema(rows)
    keys = [envelope.key for envelope in rows.envelopes]
    if rows.is_change_log:
        found = _named(rows, keys) or _matched(rows, keys) or _guessed(rows, table)
        if found is None:
            of = f" of {rows.name}" if rows.name else ""
            text = f"changes{of} on topic {topic} have no key, and no column tells rows apart"
            raise Stop("propose.no_key", f"{text}: give the source's table a primary key (Debezium: message.key.columns)")
        return found
    if any(key is None for key in keys):
        return KeyChoice((), "the place in Kafka, as the events have no key", hints=_unique_hint(rows))
    found = _named(rows, keys) or _matched(rows, keys)
    if found is None:
        return KeyChoice((), "the place in Kafka, as the records have keys of several kinds")
    return found if _is_identity(rows, found, table, is_compacted) else _as_event(rows, found)


def _of_schema(rows: Rows) -> KeyChoice:
    if rows.key_fields:
        return KeyChoice(tuple(rows.key_fields), "from the schema of the Kafka key")
    guess = next((name for name in rows.fields if column_name(name) in ("id", "uuid")), None)
    if guess is not None:
        return KeyChoice((guess,), "by its name, as no schema of the key is known", hints=(GUESSED,))
    return KeyChoice((), "the place in Kafka, as no schema of the key is known")


# ---------------------------------------------------------------- keys on the wire


def _named(rows: Rows, keys: Sequence[Any]) -> KeyChoice | None:
    """Names that all keys have."""
    named = [key for key in keys if isinstance(key, dict)]
    names = [name for name in named[0] if all(name in key for key in named)] if named else []
    # A change without its key is a dead letter; an event without one is an event.
    whole = [name for name in names if rows.is_change_log or not rows.key_fields[name].values.nulls]
    if not whole or len(named) < len([key for key in keys if key is not None]):
        return None
    return KeyChoice(tuple(whole), "from the Kafka key")


def _matched(rows: Rows, keys: Sequence[Any]) -> KeyChoice | None:
    """Fields whose values stand in the keys, which are lists without names."""
    lists = [key for key in keys if isinstance(key, tuple)]
    lengths = {len(key) for key in lists}
    if len(lengths) != 1 or len(lists) < len([key for key in keys if key is not None]):
        return None
    names: list[str] = []
    unsure: list[str] = []
    for place in range(len(lists[0])):
        fits = [name for name in _fitting(rows, place) if name not in names]
        best = min(fits, key=_by_likeliness, default=None)
        names.append(best if best is not None else _add_key_field(rows, lists, place))
        if best is not None and len(fits) > 1:
            others = ", ".join(name for name in fits[:SHOWN_FIELDS] if name != best)
            unsure.append(f"{best} has the values of the Kafka key in all rows, but so has {others}: check the key")
    fields = "fields with the values" if len(names) > 1 else "field with the value"
    reason = f"the {fields} of the Kafka key, which has no names"
    return KeyChoice(tuple(names), "the Kafka key" if KEY_FIELD in names else reason, True, tuple(unsure))


def _fitting(rows: Rows, place: int) -> list[str]:
    """Fields that have the key's value in every row."""
    pairs = [(each.key[place], each.after) for each in rows.envelopes if isinstance(each.key, tuple) and each.after is not None]
    return [name for name in rows.fields if pairs and all(_is_same(value, row.get(name)) for value, row in pairs)]


def _is_same(one: Any, other: Any) -> bool:
    if one is None or other is None or isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other) or (isinstance(other, str | int | Decimal) and str(one) == str(other))


def _by_likeliness(name: str) -> int:
    plain = column_name(name)
    return 0 if plain in ("id", "uuid", "key") else 1 if plain.endswith(("_id", "_uuid", "_key", "_no")) else 2


def _add_key_field(rows: Rows, lists: Sequence[tuple[Any, ...]], place: int) -> str:
    name = KEY_FIELD if place == 0 or len(lists[0]) == 1 else f"{KEY_FIELD}_{place + 1}"
    added = rows.key_fields.setdefault(name, Field(name))
    for key in lists:
        added.values.add(key[place])
    return name


# ---------------------------------------------------------------- no keys on the wire


def _guessed(rows: Rows, table: str) -> KeyChoice | None:
    """A column with the name of a key that no two inserts share."""
    for name in (each for each in rows.fields if column_name(each) in ("id", "uuid", f"{singular(table)}_id", f"{table}_id")):
        inserted = [str(each.after.get(name)) for each in rows.envelopes if each.op is Op.INSERT and each.after is not None]
        if not rows.fields[name].values.nulls and len(set(inserted)) == len(inserted):
            return KeyChoice((name,), "by its name, as the records have no key; it is unique in the sample", hints=(GUESSED,))
    return None


# ---------------------------------------------------------------- rows or events


def _is_identity(rows: Rows, found: KeyChoice, table: str, is_compacted: Callable[[], bool]) -> bool:
    """Whether the key of a plain record names a row, or is only there to place events on partitions."""
    if rows.has_tombstones or len(set(_keys(rows))) == len(rows.envelopes):
        return True
    names = [column_name(name) for name in found.fields]
    return names in (["id"], ["uuid"], [f"{singular(table)}_id"]) or is_compacted()


def _as_event(rows: Rows, found: KeyChoice) -> KeyChoice:
    distinct = len(set(_keys(rows)))
    reason = f"the place in Kafka, as the events repeat their keys ({distinct:,} in {counted(len(rows.envelopes), 'record')})"
    hints = (REPLACES.format(columns=" and ".join(map(column_name, found.fields))), *_unique_hint(rows, found.fields))
    return KeyChoice((), reason, hints=hints)


def _keys(rows: Rows) -> Iterator[str]:
    return (repr(envelope.key) for envelope in rows.envelopes)


def _unique_hint(rows: Rows, without: Sequence[str] = ()) -> tuple[str, ...]:
    """A column that a reader may prefer to the place in Kafka."""
    names = [column_name(name) for name in _unique(rows) if name not in without]
    return (
        (f"{names[0]} is unique in the sample: as primary key it would keep one row of an event that is sent twice",)
        if names
        else ()
    )


def _unique(rows: Rows) -> list[str]:
    named = [name for name in rows.fields if _by_likeliness(name) < 2]
    return [name for name in named if not rows.fields[name].values.nulls and _is_unique(rows.envelopes, name)]


def _is_unique(envelopes: Sequence[Envelope], name: str) -> bool:
    images: list[Fields] = [envelope.after for envelope in envelopes if envelope.after is not None]
    return len(images) > 1 and len({str(image.get(name)) for image in images}) == len(images)
