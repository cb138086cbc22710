"""The part of `check` that tries the newest records: decoded, routed and mapped as a worker would, and nothing written.

A topic's name says only where its records may go; a record says it. Reads schemas from the registry. One thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.errors import IngestError, Parked, Reject
from ingest.model import Envelope, Op, Record, Skip, Table
from ingest.tables.mapper import Mapper
from ingest.tools.check_words import counted, listed
from ingest.tools.findings import Finding, fail, ok, warn
from ingest.tools.rooms import Rooms

READ, REJECTED, SKIPPED, STUCK = "read", "rejected", "skipped", "stuck"


@dataclass(slots=True)
class Tried:
    """What became of a record so far. targets: the table of each envelope. error: why it went no further."""

    record: Record
    envelopes: Sequence[Envelope] = ()
    targets: list[str] = field(default_factory=list)
    skip: str = ""
    error: IngestError | None = None

    @property
    def state(self) -> str:
        if isinstance(self.error, Reject):
            return REJECTED
        return STUCK if self.error is not None else SKIPPED if self.skip else READ


def read(rooms: Rooms, records: Iterable[Record]) -> list[Tried]:
    """Each record decoded and routed, in their order: a topic's format is found by its first row."""
    return [_read(rooms, record) for record in records]


def _read(rooms: Rooms, record: Record) -> Tried:
    tried = Tried(record)
    try:
        decoded = rooms.decode(record)
        if isinstance(decoded, Skip):
            tried.skip = decoded.reason
            return tried
        tried.envelopes = [envelope for envelope in decoded if envelope.op is not Op.TRUNCATE]
        tried.targets = [rooms.router.route(record.topic, envelope.table) for envelope in tried.envelopes]
    except IngestError as error:
        tried.error = error
    return tried


def map_all(tried: Iterable[Tried], tables: Mapping[str, Table | None], rooms: Rooms, now_ms: int) -> None:
    """Map what was read, for tables that exist and have a mapper; those that have none tell it themselves."""
    mappers: dict[str, Mapper | None] = {}
    for each in tried:
        if each.state != READ:
            continue
        for envelope, target in zip(each.envelopes, each.targets, strict=True):
            table = tables.get(target)
            if table is not None and target not in mappers:
                mappers[target] = _mapper(rooms, table)
            _map(each, envelope, mappers.get(target), now_ms)


def _mapper(rooms: Rooms, table: Table) -> Mapper | None:
    try:
        return rooms.mapper(table)
    except Parked:
        return None


def _map(tried: Tried, envelope: Envelope, mapper: Mapper | None, now_ms: int) -> None:
    try:
        if mapper is not None:
            mapper.map(envelope, tried.record, now_ms)
    except IngestError as error:
        tried.error = error


# ---------------------------------------------------------------- what it says


def of_topic(rooms: Rooms, topic: str, tried: Sequence[Tried], tables: Mapping[str, Table | None]) -> Iterator[Finding]:
    """One finding for what was read well, one for each reason of what was not."""
    what = f"topic {topic}"
    by_state = {state: [each for each in tried if each.state == state] for state in (READ, REJECTED, SKIPPED, STUCK)}
    good, rejected = by_state[READ], by_state[REJECTED]
    if good:
        targets = sorted({target for each in good for target in each.targets})
        format_ = rooms.decoder.format_of(topic) or "undecided"
        fit = "fit" if all(tables.get(target) is not None for target in targets) else "would go to"
        records = f"{counted(len(good), 'record')} at its end" if len(good) > 1 else "its newest record"
        yield ok(what, f"read as {format_}; {records} {fit if len(good) > 1 else fit.replace('fit', 'fits')} {listed(targets)}")
    if by_state[SKIPPED] and not good and not rejected:
        yield ok(what, f"its newest records are no rows ({listed({each.skip for each in by_state[SKIPPED]})})")
    for error, each in _one_per_code(rejected):
        text = f"would be a dead letter: {error}; `ingest explain {place(each.record)}` tells more"
        yield warn(what, f"{each.record.at} {text}") if good else fail(what, f"{each.record.at} {text}")
    for error, _ in _one_per_code(by_state[STUCK]):
        yield fail(what, error.text or error.code)


def place(record: Record) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"


def _one_per_code(tried: Iterable[Tried]) -> list[tuple[IngestError, Tried]]:
    found = {(each.error.code, each.error.column): (each.error, each) for each in tried if each.error is not None}
    return list(found.values())
