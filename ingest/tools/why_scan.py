"""The changes of one key in its topics: which topics lead to the table, what is read of them, and the records that matter.

Every partition is read: producers other than Kafka's own place keys as they like. Memory is that of one fetch and of the newest
changes of the key. Reads without a group. One thread.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingest.crate.plan import recognisable
from ingest.errors import Parked, Reject, Stop
from ingest.formats.keys import KeyReader
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.topics import is_barred, wanted
from ingest.model import Change, Envelope, Fields, NeedSchema, Op, Partition, Position, Record, RowSchema, Skip, Table
from ingest.tables.contract import Contract
from ingest.tables.keys import KeyMaker
from ingest.tables.routing import Router, topic_test
from ingest.tables.shapes import Shape, ShapeMaker
from ingest.tools.rooms import Rooms, full_name
from ingest.tools.why_key import Key

# Of a hot key the newest count; older changes of the same key are only counted.
CHANGES_KEPT: Final = 1_000
KNOWN_SHAPES: Final = 2_000
PROGRESS_EVERY: Final = 100_000


class Seen(NamedTuple):
    """One record that concerns the key.

    what: "change", "rejected", "skipped", "parked" or "truncate". change: what it means, where it can be mapped.
    """

    at: Position
    timestamp_ms: int
    what: str
    op: str = ""
    change: Change | None = None
    code: str = ""
    text: str = ""


@dataclass
class Scan:
    """What was read. spans: what of each partition. held: what its log holds. total: changes of the key, also those not kept."""

    spans: Mapping[Partition, Bounds]
    held: Mapping[Partition, Bounds]
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    total: int = 0
    records: int = 0

    @property
    def behind(self) -> Mapping[Partition, int]:
        """Offsets that were not read though the log holds them, by partition."""
        return {
            place: span.begin - self.held[place].begin
            for place, span in self.spans.items()
            if span.begin > self.held[place].begin
        }


# ---------------------------------------------------------------- which topics


def leading_topics(rooms: Rooms, existing: Sequence[str], table: Table) -> list[str]:
    """The topics that lead to the table by a contract or by their own name, of those that this group reads.

    Raises Stop("why.no_topics").
    """
    settings = rooms.settings
    read = subscribed(existing, settings.topics, settings.dead_letter_topic)
    by_contract = [topic for topic in existing if _is_named(rooms, topic, table)]
    found = sorted({*by_contract, *(topic for topic in read if leads(rooms, topic, table))})
    if not found:
        of = "of INGEST_TOPICS" if settings.topics else "in Kafka"
        text = f"no topic {of} leads to {table.full_name} by a contract or by its name: name one with --topic"
        raise Stop("why.no_topics", text)
    return found


def subscribed(existing: Sequence[str], topics: Sequence[str], letters: str) -> list[str]:
    """What INGEST_TOPICS means; everything that may be read where it is not set."""
    if not topics:
        return [topic for topic in existing if not is_barred(topic, letters)]
    what = wanted(topics, letters)
    return [topic for topic in existing if (re.match(what.pattern, topic) if what.pattern else topic in what.names)]


def _is_named(rooms: Rooms, topic: str, table: Table) -> bool:
    return any(topic_test(contract)(topic) and _is_target(rooms, contract, table) for contract in rooms.contracts)


def _is_target(rooms: Rooms, contract: Contract, table: Table) -> bool:
    return full_name(contract.table, rooms.settings) == table.full_name


def leads(rooms: Rooms, topic: str, table: Table) -> bool:
    """By itself, whatever its records say of their table. Each topic is asked of a new router, which remembers no other."""
    settings = rooms.settings
    router = Router(rooms.contracts, default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
    with suppress(Parked):
        return router.route(topic, ()) == table.full_name
    return False


# ---------------------------------------------------------------- which records


class Finder:
    """Tells the records of one key, and what they mean. contract: of the table."""

    def __init__(self, rooms: Rooms, table: Table, key: Key, now_ms: int) -> None:
        contract = rooms.contract(table.full_name)
        self._rooms, self._table, self._now_ms = rooms, table, now_ms
        self._wanted = recognisable(table, key)
        self._mapper = rooms.mapper(table)
        self._maker = ShapeMaker(table, contract, None, keeps_extra=False)
        self._shapes: dict[tuple[RowSchema | None, tuple[str, ...]], Shape] = {}
        self._keys = KeyMaker(table, contract, self._shape)
        self._readers: dict[str, KeyReader] = {}

    def look(self, record: Record) -> Iterator[Seen]:
        """What a record has to do with the key; usually nothing. Raises what the registry raises."""
        try:
            decoded = self._rooms.decode(record)
        except (Reject, Parked) as error:
            if self._is_named(record):
                yield _refused(record, error)
            return
        if isinstance(decoded, Skip):
            if decoded.reason == "tombstone" and self._is_named(record):
                yield Seen(record.at, record.timestamp_ms, "skipped", "tombstone", code=decoded.reason)
            return
        for envelope in decoded:
            yield from self._of_envelope(envelope, record)

    def _of_envelope(self, envelope: Envelope, record: Record) -> Iterator[Seen]:
        word = envelope.op_name or envelope.op.value
        try:
            if self._rooms.router.route(record.topic, envelope.table) != self._table.full_name:
                return
            if envelope.op is Op.TRUNCATE:
                yield Seen(record.at, record.timestamp_ms, "truncate", word, code=self._mapper.truncate)
            elif self._has_key(envelope, record):
                change = self._mapper.map(envelope, record, self._now_ms)
                yield Seen(record.at, record.timestamp_ms, "change", word, change)
        except (Reject, Parked) as error:
            if self._has_key(envelope, record):
                yield _refused(record, error)._replace(op=word)

    def _has_key(self, envelope: Envelope, record: Record) -> bool:
        after = envelope.after
        with suppress(Reject):
            shape = None if after is None else self._shape(envelope.schema, after)
            return recognisable(self._table, self._keys.key(envelope, record, shape)) == self._wanted
        return False

    def _is_named(self, record: Record) -> bool:
        """Whether the Kafka key alone names the row: of records whose value says nothing."""
        reader = self._readers.get(record.topic)
        if reader is None:
            reader = self._readers[record.topic] = KeyReader(record.topic, self._rooms.schemas)
        with suppress(Reject, Parked):
            key = reader.read(record)
            if not isinstance(key, NeedSchema) and key.value is not None:
                return self._has_key(Envelope(Op.DELETE, key.value, key_schema=key.schema), record)
        return False

    def _shape(self, schema: RowSchema | None, fields: Fields) -> Shape:
        known = (schema, tuple(fields))
        if known not in self._shapes:
            if len(self._shapes) >= KNOWN_SHAPES:
                self._shapes.clear()
            self._shapes[known] = self._maker.make(*known)
        return self._shapes[known]


def _refused(record: Record, error: Reject | Parked) -> Seen:
    what = "rejected" if isinstance(error, Reject) else "parked"
    return Seen(record.at, record.timestamp_ms, what, code=error.code, text=error.text)


# ---------------------------------------------------------------- reading


def scan(peek: Peek, finder: Finder, spans: Mapping[Partition, Bounds], on_progress: Callable[[str], None]) -> Scan:
    """Read these spans, partition by partition."""
    result = Scan(spans, peek.bounds(list(spans)))
    for partition, (begin, end) in spans.items():
        for count, record in enumerate(peek.records(partition, begin, end)):
            if count % PROGRESS_EVERY == 0:
                on_progress(f"{partition}: {record.offset - begin:,} of {end - begin:,} offsets, {result.total:,} changes found")
            result.records += 1
            for seen in finder.look(record):
                result.total += 1
                result.seen.append(seen)
    return result


def spans_of(held: Mapping[Partition, Bounds], starts: Mapping[Partition, int | None], limit: int) -> dict[Partition, Bounds]:
    """What to read: from the start that was asked for (None: nothing is that young), and at most the newest `limit` offsets."""
    spans = {}
    for partition, (begin, end) in held.items():
        start = starts.get(partition, begin)
        first = end if start is None else min(max(start, begin), end)
        spans[partition] = Bounds(max(first, end - limit) if limit else first, end)
    return spans
