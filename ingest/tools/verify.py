"""`ingest verify`: folds topics through the worker's own rooms and compares the result with the tables, key by key.

    answer = verify(settings, Asked(topics=["orders"]), on_progress)
    answer = compare(settings, Plan(spans, only, instead), on_progress)     # for rebuild: given ranges, other tables

The order of things makes sure that no row in flight raises an alarm: the group's offsets are read first, then the topics up to
these, then the tables, then what the topics got meanwhile. So every change that a table may show is known, and every change in
front of the group's offsets must show. What still differs is looked at once more by key, behind a REFRESH, after the
group has passed all that was read.

Both sides go to disk in buckets by key (verify_spill), so memory is bounded whatever the topics hold. Reads without a group.
Nothing is written but by `is_repair`. One thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingest.crate.http import HttpClient
from ingest.crate.writer import HttpStore
from ingest.errors import Stop
from ingest.kafka.members import members
from ingest.kafka.peek import Bounds, Peek, committed
from ingest.model import Level, Partition, Table
from ingest.settings import Settings
from ingest.tools.connect import crate_client, dead_letter_settings, kafka_settings
from ingest.tools.explain_record import refuse_unknown
from ingest.tools.replay import tell_formats
from ingest.tools.rooms import Rooms
from ingest.tools.verify_compare import Comparison, TableAnswer
from ingest.tools.verify_repair import Repairer
from ingest.tools.verify_scan import Letters, OnProgress, Scanned, Scanner, Targets, read_letters, read_tables
from ingest.tools.verify_spill import Spill, budget, on_disk, page
from ingest.tools.why import start_of
from ingest.tools.why_rows import find_table
from ingest.tools.why_scan import leading_topics, spans_of

LEAST_MB: Final = 128
# What the group may stand still before a comparison goes on without it.
STILL_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for. tables: instead of topics, those that lead there. until_end: also what the group has not read.

    scan_from: as in `ingest why`. limit: how many differing keys are named per table. memory_mb: None as INGEST_MEMORY_MB.
    """

    topics: Sequence[str] = ()
    tables: Sequence[str] = ()
    until_end: bool = False
    scan_from: str = "earliest"
    is_complete: bool = False
    is_repair: bool = False
    memory_mb: int | None = None
    limit: int = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared. spans: of each partition. read_to: what the group has read, {} where that does not matter.

    only, instead: see verify_scan.Targets.
    """

    spans: Mapping[Partition, Bounds]
    read_to: Mapping[Partition, int] = field(default_factory=dict)
    only: Collection[str] | None = None
    instead: Mapping[str, str] = field(default_factory=dict)
    is_complete: bool = False
    is_repair: bool = False
    limit: int = 1_000


@dataclass
class Answer:
    """What was found. spans: what was read. missing: records for tables that are not there, by table.

    repaired: keys that were brought to what the topics say; outcomes: what became of the writes.
    """

    tables: Sequence[TableAnswer] = ()
    spans: Mapping[Partition, Bounds] = field(default_factory=dict)
    scanned: Scanned = field(default_factory=Scanned)
    missing: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    is_repair: bool = False
    outcomes: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def differing(self) -> int:
        return sum(table.differing for table in self.tables)

    @property
    def repaired(self) -> int:
        return sum(table.repaired for table in self.tables)

    @property
    def is_equal(self) -> bool:
        """Whether nothing is left that differs."""
        return self.differing == self.repaired and not self.missing


def nobody(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def verify(settings: Settings, asked: Asked, on_progress: OnProgress = nobody, wall_s: Callable[[], float] = time.time) -> Answer:
    """Raises Stop("verify.*") for a question without an answer, and what Kafka and CrateDB raise when they do not answer."""
    settings = within(settings, asked.memory_mb)
    start_of(asked.scan_from, int(wall_s() * 1000))  # a wrong one is told before anything is read
    rooms = Rooms(settings)
    try:
        plan = plan_of(rooms, asked, int(wall_s() * 1000))
    finally:
        rooms.close()
    return compare(settings, plan, on_progress, wall_s)


def within(settings: Settings, memory_mb: int | None) -> Settings:
    """The settings with another bound of memory."""
    if memory_mb is None:
        return settings
    if memory_mb < LEAST_MB:
        raise Stop("verify.memory", f"--memory-mb {memory_mb} is too little: at least {LEAST_MB}")
    return settings.model_copy(update={"memory_mb": memory_mb})


# ---------------------------------------------------------------- what is compared


def plan_of(rooms: Rooms, asked: Asked, now_ms: int) -> Plan:
    """The ranges and tables of a question."""
    settings = rooms.settings
    tables = wanted_tables(settings, asked.tables)
    with Peek(kafka_settings(settings)) as peek:
        topics = topics_of(rooms, peek, asked.topics, tables)
        partitions = [Partition(topic, number) for topic in topics for number in range(peek.topics()[topic])]
        held = peek.bounds(partitions)
        read_to = committed(kafka_settings(settings), partitions)
        start = start_of(asked.scan_from, now_ms)
        starts = (
            peek.offsets_at(partitions, start.moment_ms) if start.moment_ms is not None else dict.fromkeys(held, start.offset)
        )
        begins = spans_of(held, {place: at for place, at in starts.items() if start != (None, None)}, 0)
    if not asked.until_end and not read_to:
        text = f"group {settings.group_id} has committed nothing in {', '.join(topics)}: say --until end to compare all of it"
        raise Stop("verify.nothing_read", text)
    spans = {
        place: Bounds(min(begin, end), end)
        for place, (begin, last) in begins.items()
        for end in [last if asked.until_end else max(held[place].begin, min(last, read_to.get(place, 0)))]
    }
    only = {table.full_name for table in tables} or None
    return Plan(spans, read_to, only, {}, asked.is_complete, asked.is_repair, asked.limit)


def wanted_tables(settings: Settings, names: Sequence[str]) -> list[Table]:
    if not names:
        return []
    client = crate_client(settings)
    try:
        return [find_table(client, name, settings.crate_schema) for name in names]
    finally:
        client.close()


def topics_of(rooms: Rooms, peek: Peek, named: Sequence[str], tables: Sequence[Table]) -> list[str]:
    for topic in named:
        refuse_unknown(Partition(topic, 0), peek.topics())
    leading = [topic for table in tables for topic in leading_topics(rooms, list(peek.topics()), table)] if not named else []
    found = list(dict.fromkeys([*named, *leading]))
    if not found:
        raise Stop("verify.nothing_asked", "name a topic, or a table with --table")
    return found


# ---------------------------------------------------------------- the comparison


def compare(settings: Settings, plan: Plan, on_progress: OnProgress = nobody, wall_s: Callable[[], float] = time.time) -> Answer:
    """The tables as the topics tell them in these ranges, and as they are."""
    with ExitStack() as stack:
        rooms = Rooms(settings)
        stack.callback(rooms.close)
        client = crate_client(settings)
        stack.callback(client.close)
        folder = stack.enter_context(on_disk())
        tell_formats(rooms, sorted({partition.topic for partition in plan.spans}))
        peek = stack.enter_context(Peek(kafka_settings(settings)))
        work = Work(settings, plan, rooms, client, peek, folder, on_progress)
        return work.run(int(wall_s() * 1000))


@dataclass
class Work:
    """One comparison from beginning to end; see the module."""

    settings: Settings
    plan: Plan
    rooms: Rooms
    client: HttpClient
    peek: Peek
    folder: Path
    on_progress: OnProgress

    def run(self, now_ms: int) -> Answer:
        budget_bytes = budget(self.settings.memory_mb)
        spill = Spill(self.folder, budget_bytes)
        targets = Targets(self.client, self.rooms, self.plan.only, self.plan.instead)
        for name in sorted(self.plan.only or ()):
            targets.of(name)
        scanner = Scanner(self.rooms, targets, spill, self._letters(), now_ms)
        scanner.scan(self.peek, self.plan.spans, self.on_progress)
        page_bytes = page(budget_bytes)
        read_tables(self.client, targets.found(), spill, page_bytes, self.on_progress)
        late = self._later()
        late_records = scanner.scan(self.peek, late, self.on_progress, is_late=True)
        spans = {place: Bounds(begin, late[place].end) for place, (begin, _) in self.plan.spans.items()}
        comparison = Comparison(self.client, targets.found(), spans, self.plan, page_bytes)
        comparison.wait = lambda: self._wait_for_group(late)
        with self._repairing(comparison, targets):
            comparison.run(spill, self.on_progress)
        answer = Answer(comparison.answers(), spans, scanner.seen, dict(targets.missing), late_records, self.plan.is_repair)
        answer.outcomes = dict(comparison.repairer.outcomes) if comparison.repairer is not None else {}
        return answer

    def _letters(self) -> Letters:
        return read_letters(self.peek, self.settings.dead_letter_topic, {partition.topic for partition in self.plan.spans})

    def _later(self) -> dict[Partition, Bounds]:
        """What came, or was not committed, while topics and tables were read."""
        held = self.peek.bounds(list(self.plan.spans))
        return {place: Bounds(end, max(end, held[place].end)) for place, (_, end) in self.plan.spans.items()}

    def _wait_for_group(self, late: Mapping[Partition, Bounds]) -> bool:
        """Until the group has read what came meanwhile; False when it stands still, as one without workers does."""
        wanted = {place: end for place, (begin, end) in late.items() if begin < end}
        if not wanted or not self.plan.read_to:
            return True
        before, since_s = -1, time.monotonic()
        while True:
            now = committed(kafka_settings(self.settings), list(wanted))
            if all(now.get(place, 0) >= end for place, end in wanted.items()):
                return True
            if sum(now.values()) > before:
                before, since_s = sum(now.values()), time.monotonic()
            if time.monotonic() - since_s > STILL_S or not members(dead_letter_settings(self.settings)):
                return False
            self.on_progress("waiting for the group", 0, 0)
            time.sleep(LOOK_AGAIN_S)

    @contextmanager
    def _repairing(self, comparison: Comparison, targets: Targets) -> Iterator[None]:
        if not self.plan.is_repair:
            yield
            return
        self._refuse_beside_workers(targets)
        store = HttpStore(crate_client(self.settings))
        settings = self.settings
        comparison.repairer = Repairer(store, settings.group_id, settings.batch_max_rows, settings.batch_max_bytes)
        try:
            yield
        finally:
            store.close()

    def _refuse_beside_workers(self, targets: Targets) -> None:
        """Without versions a write of ours could overwrite a newer one of a worker."""
        unguarded = [target.table.full_name for target in targets.found() if target.table.level is Level.ARRIVAL]
        if unguarded and (count := members(dead_letter_settings(self.settings))):
            text = (
                f"{', '.join(unguarded)} is of level arrival, where a repair could overwrite newer rows, and group "
                f"{self.settings.group_id} has {count} members: stop the workers first"
            )
            raise Stop("verify.workers_run", text)
