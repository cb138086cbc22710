"""The two sides of a comparison, brought to disk: what the topics tell, through the worker's rooms, and what the tables hold.

Reads only. One thread; memory is that of one fetch, one page and the buffers of the spill.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ingest.crate import catalogue
from ingest.crate.http import HttpClient
from ingest.crate.pages import Reader
from ingest.crate.plan import recognisable
from ingest.errors import Parked, Reject, Stop
from ingest.flow.ports import Mapper
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.read_letters import letters
from ingest.model import Envelope, Level, Op, Partition, Position, Record, Skip, Table
from ingest.tables.mapper import compile_mapper
from ingest.tables.routing import lower_case
from ingest.tools import connect
from ingest.tools.rooms import Rooms
from ingest.tools.verify_fold import Told, Truncated
from ingest.tools.verify_spill import Item, Spill

PROGRESS_EVERY: Final = 5_000
# What a change takes beside its row: key, place, columns' names shared.
OVERHEAD_BYTES: Final = 150

# What is done now, how much of it, and how much that will be in all (0: not known).
OnProgress = Callable[[str, int, int], None]


class Letters:
    """The places of dead-lettered records: eight bytes each, because there may be many."""

    def __init__(self, places: Iterable[Position] = ()) -> None:
        self._offsets: dict[Partition, array[int]] = {}
        for topic, number, offset in places:
            self._offsets.setdefault(Partition(topic, number), array("q")).append(offset)
        for partition, offsets in self._offsets.items():
            self._offsets[partition] = array("q", sorted(offsets))

    def __contains__(self, at: Position) -> bool:
        offsets = self._offsets.get(Partition(at.topic, at.partition))
        if not offsets:
            return False
        place = bisect_left(offsets, at.offset)
        return place < len(offsets) and offsets[place] == at.offset


def read_letters(peek: Peek, topic: str, about: Collection[str]) -> Letters:
    """The letters about records of these topics; none where there is no dead-letter topic."""
    if topic not in peek.topics():
        return Letters()
    return Letters(letter.source for letter in letters(peek, topic) if letter.source is not None and letter.source.topic in about)


@dataclass
class Target:
    """A table that is compared. name: where records are routed to; table: where they are looked for."""

    number: int
    name: str
    table: Table
    mapper: Mapper
    truncates: list[Truncated] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    lettered: int = 0
    told: int = 0


class Targets:
    """The tables by the name that records are routed to. only: those that are wanted, None for all.

    instead: tables to look at instead of those that records are for, whose contracts they share.
    """

    def __init__(self, client: HttpClient, rooms: Rooms, only: Collection[str] | None, instead: Mapping[str, str]) -> None:
        self._client, self._rooms, self._only, self._instead = client, rooms, only, instead
        self._known: dict[str, Target | None] = {}
        self.missing: Counter[str] = Counter()

    def found(self) -> list[Target]:
        return [target for target in self._known.values() if target is not None]

    def of(self, name: str) -> Target | None:
        """None for a table that is not wanted, and for one that is not there, which is counted."""
        if name not in self._known:
            self._known[name] = self._find(name) if self._only is None or name in self._only else None
        found = self._known[name]
        if found is None and (self._only is None or name in self._only):
            self.missing[name] += 1
        return found

    def _find(self, name: str) -> Target | None:
        wanted = self._instead.get(name, name)
        names = [wanted, *filter(None, [lower_case(wanted)])]
        described = catalogue.describe(self._client, names)
        table = next((found for each in names if (found := described[each]) is not None), None)
        if table is None:
            return None
        if not table.key:
            raise Stop("verify.no_key", f"{table.full_name} has no primary key beside its month, so no row of it can be told")
        mapper = compile_mapper(table, self._rooms.contract(name), settings=connect.mapping_rules(self._rooms.settings))
        return Target(len(self._known), name, table, mapper)


@dataclass
class Scanned:
    """records: read. rejected, parked: those that no table could be told of, by code. skipped: no rows, by reason."""

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    parked: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


class Scanner:
    """Reads topics into the spill."""

    def __init__(self, rooms: Rooms, targets: Targets, spill: Spill, known: Letters, now_ms: int) -> None:
        self._rooms, self._targets, self._spill, self._letters, self._now_ms = rooms, targets, spill, known, now_ms
        self._is_late = False
        self.seen = Scanned()

    def scan(self, peek: Peek, spans: Mapping[Partition, Bounds], on_progress: OnProgress, *, is_late: bool = False) -> int:
        """Read these spans; is_late: of records that the group had not committed. Returns how many records."""
        self._is_late = is_late
        before, behind, total = self.seen.records, 0, sum(end - begin for begin, end in spans.values())
        for partition, (begin, end) in spans.items():
            for record in peek.records(partition, begin, end):
                if self.seen.records % PROGRESS_EVERY == 0:
                    on_progress(f"reading {partition}", behind + record.offset - begin, total)
                self.seen.records += 1
                self._take(record)
            behind += end - begin
        return self.seen.records - before

    def _take(self, record: Record) -> None:
        try:
            decoded = self._rooms.decode(record)
        except Reject as error:
            self.seen.rejected[error.code] += 1
            return
        except Parked as error:
            self.seen.parked[error.code] += 1
            return
        if isinstance(decoded, Skip):
            self.seen.skipped[decoded.reason] += 1
            return
        for envelope in decoded:
            self._take_row(envelope, record)

    def _take_row(self, envelope: Envelope, record: Record) -> None:
        try:
            target = self._targets.of(self._rooms.router.route(record.topic, envelope.table))
        except Parked as error:
            self.seen.parked[error.code] += 1
            return
        if target is None:
            return
        try:
            if envelope.op is Op.TRUNCATE:
                self._take_truncate(target, envelope, record)
            else:
                self._tell(target, envelope, record)
        except Reject as error:
            target.rejected[error.code] += 1

    def _tell(self, target: Target, envelope: Envelope, record: Record) -> None:
        change = target.mapper.map(envelope, record, self._now_ms)
        is_lettered = change.at in self._letters
        target.lettered += is_lettered
        target.told += 1
        item = Item(target.number, recognisable(target.table, change.key), Told(change, self._is_late, is_lettered))
        self._spill.tell(item, change.size_bytes + OVERHEAD_BYTES)

    def _take_truncate(self, target: Target, envelope: Envelope, record: Record) -> None:
        if target.mapper.truncate != "empty":
            self.seen.skipped["truncate"] += 1
            return
        version, columns, row = target.mapper.truncation(envelope, record, self._now_ms)
        target.truncates.append(Truncated(record.at, version if target.table.level is Level.ORDERED else None, columns, row))


def read_tables(client: HttpClient, targets: Sequence[Target], spill: Spill, page_bytes: int, on_progress: OnProgress) -> None:
    """All rows of these tables, as they are now, into the spill."""
    for target in targets:
        reader = Reader(client, target.table, page_bytes)
        reader.refresh()
        total, done = reader.count(), 0
        for page in reader.all():
            for row in page:
                spill.store(Item(target.number, recognisable(target.table, row.key), row), reader.row_bytes + OVERHEAD_BYTES)
            done += len(page)
            on_progress(f"reading {target.table.full_name}", done, total)
