"""Replaying ranges of topics through the worker's own rooms, into the same tables or others: for `ingest replay` and `rebuild`.

    plan = ReplayPlan(ranges={Partition("orders", 0): Bounds(0, 1042)}, tables={"doc.orders": "doc.orders_new"})
    report = replay(settings, plan, on_progress)

ranges: offsets of each partition, from `begin` up to, not with, `end`. tables: full names of the tables that are written instead,
by the full name of the table that a record is for, whose contract they share. Each record has its own topic, partition, offset
and timestamp, so its cdc_version is the one that it always had and the guard keeps newer rows. The worker's group is never
touched. Nothing is dead-lettered: what is refused is told in the report. Returns when everything is settled, or rests because it
is parked, or a signal came (`report.unreached` tells); raises Stop("gave_up") when nothing moves for INGEST_GIVE_UP_S, and what a
worker raises. The caller's thread runs the loop; writers have their own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from threading import current_thread, main_thread
from time import monotonic
from typing import NamedTuple, Protocol

from ingest.errors import Parked, Reject, Stop
from ingest.flow.books import Books
from ingest.flow.caught_up import CaughtUp
from ingest.flow.loop import Loop, World
from ingest.flow.parking import Place
from ingest.flow.ports import Decoder, Mapper, Registry, Source, Store
from ingest.flow.state import Rules
from ingest.flow.tables import Tables
from ingest.flow.writers import ThreadCrew
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.ranges import RangeSource
from ingest.model import Partition, Table
from ingest.settings import Settings
from ingest.tables.mapper import compile_mapper
from ingest.tables.routing import Router
from ingest.tools import connect
from ingest.tools.replay_rooms import DryStore, KeptLetters, Observer, OnlyTables, Redirected, Refusal, guarded
from ingest.tools.rooms import Rooms, taker
from ingest.tools.run import REGISTRY_LAG_S, heed_signals, start_patiently

PROGRESS_EVERY_S = 0.5
# A format is told by the first record that is a row; in front of it may stand as many control records or broken ones.
FORMAT_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to replay, and how.

    only: full names of tables (before `tables`) whose records are replayed, None for all; others count as skipped, "other_table".
    group: where progress is committed, so that the same plan goes on where it ended; None: nowhere. rate: records per second.
    is_unordered: old changes may go into tables of level arrival that are not in `tables`, where they overwrite newer rows.
    is_dry: nothing is written.
    """

    ranges: Mapping[Partition, Bounds]
    tables: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] | None = None
    group: str | None = None
    rate: float | None = None
    is_unordered: bool = False
    is_dry: bool = False


class Progress(NamedTuple):
    """How far a replay is. done, total: offsets (or letters). refused: records that could still not be stored."""

    done: int
    total: int
    read: int
    refused: int
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a replay.

    books: every record by how it ended; "dead_lettered" are the refused ones, of which no letter was sent. refusals: the first
    of those, all of them counted by code in `codes`. reached: the offset before which all is settled, by partition; unreached:
    what is left of the ranges, because something is parked or a signal came. was_stopped: a signal did.
    """

    books: Books = field(default_factory=Books)
    codes: Mapping[str, int] = field(default_factory=dict)
    refusals: Sequence[Refusal] = ()
    parked: Sequence[Place] = ()
    reached: Mapping[Partition, int] = field(default_factory=dict)
    unreached: Mapping[Partition, Bounds] = field(default_factory=dict)
    was_stopped: bool = False

    @property
    def refused(self) -> int:
        return sum(self.codes.values())

    @property
    def is_fine(self) -> bool:
        """Whether everything that was to be replayed is stored, superseded or skipped."""
        return not (self.refused or self.unreached)


OnProgress = Callable[[Progress], None]


def nobody(_: Progress) -> None:
    """Progress that nobody looks at."""


def replay(settings: Settings, plan: ReplayPlan, on_progress: OnProgress = nobody) -> Report:
    """See the module."""
    refuse_wrong(plan, settings)
    wanted = {partition: bounds for partition, bounds in plan.ranges.items() if bounds.begin < bounds.end}
    if not wanted:
        return Report(reached={partition: bounds.end for partition, bounds in plan.ranges.items()})
    rooms = Rooms(settings)
    try:
        tell_formats(rooms, sorted({partition.topic for partition in wanted}))
        source = RangeSource(connect.kafka_settings(settings), wanted, group=plan.group, rate=plan.rate)
        total = sum(bounds.end - bounds.begin for bounds in wanted.values())
        return run_through(rooms, source, plan, Watching(total, on_progress, settings.give_up_s, partial(offsets_done, plan)))
    finally:
        rooms.close()


def refuse_wrong(plan: ReplayPlan, settings: Settings) -> None:
    """Raises Stop for a plan that would touch the workers' group or a table that nobody may write."""
    if plan.group == settings.group_id:
        raise Stop("replay.group", f"{plan.group} is the group of the workers: a replay needs another one, or none")
    for name in plan.tables.values():
        refuse_table(name)


def refuse_table(full_name: str) -> None:
    """Raises Stop for a table of the system or of ingest."""
    schema, _, table = full_name.rpartition(".")
    try:
        Router((), default_schema=schema, topic_prefix="").route(full_name, (table,))
    except Parked as error:
        raise Stop("replay.table", f"{full_name} is no table for records: name another one") from error


def tell_formats(rooms: Rooms, topics: Sequence[str]) -> list[str]:
    """Let the decoder see what the worker saw first of each topic, so that it reads the range as the worker does.

    Returns the topics that hold no record which tells their format. Raises what Peek and the registry raise.
    """
    untold = []
    with Peek(connect.kafka_settings(rooms.settings)) as peek:
        for topic in topics:
            partitions = [Partition(topic, number) for number in range(peek.topics().get(topic, 0))]
            if rooms.format_of(topic) == "auto" and not any(_tells(rooms, peek, partition) for partition in partitions):
                untold.append(topic)
    return untold


def _tells(rooms: Rooms, peek: Peek, partition: Partition) -> bool:
    begin, end = peek.bounds([partition])[partition]
    for record in peek.records(partition, begin, min(end, begin + FORMAT_SAMPLE)):
        try:
            rooms.decode(record)
        except (Reject, Parked):
            continue
        if rooms.decoder.format_of(partition.topic) is not None:
            return True
    return False


# ---------------------------------------------------------------- the loop


class Finite(Source, Protocol):
    """A source that ends. reached: the offset before which all is settled, by partition. wake: ends a poll that waits."""

    @property
    def reached(self) -> Mapping[Partition, int]: ...

    def wake(self) -> None: ...


class Watching:
    """Tells how far the loop is and whether it is done, once per step, in its thread. done_of: how much of total is done."""

    def __init__(self, total: int, on_progress: OnProgress, give_up_s: float, done_of: Callable[[Loop], int]) -> None:
        self._total = total
        self._tell = on_progress
        self._caught_up = CaughtUp(give_up_s)
        self._done_of = done_of
        self._tell_at_s = 0.0

    def __call__(self, loop: Loop) -> bool:
        now_s = monotonic()
        if now_s >= self._tell_at_s:
            self._tell_at_s = now_s + PROGRESS_EVERY_S
            self.tell(loop)
        return self._caught_up(loop)

    def tell(self, loop: Loop) -> None:
        regulator, books = loop.state.regulator, loop.state.books
        waits_for = regulator.reason if regulator.is_open else loop.errands.waiting_for()
        self._tell(Progress(self._done_of(loop), self._total, books.read, books.codes.total(), waits_for or ""))


def offsets_done(plan: ReplayPlan, loop: Loop) -> int:
    return sum(page.next_offset - plan.ranges[page.partition].begin for page in loop.state.ledger)


def run_through(
    rooms: Rooms,
    source: Finite,
    plan: ReplayPlan,
    is_done: Watching,
    letters: KeptLetters | None = None,
    dress: Callable[[World], World] = lambda world: world,
) -> Report:
    """Everything that the source gives, once, through the rooms of a worker. dress: may put something around them.

    Raises what a worker raises.
    """
    letters = letters or KeptLetters()
    registry = connect.registry_client(rooms.settings, lag_s=REGISTRY_LAG_S)
    loop = Loop(dress(world_of(rooms, source, plan, letters, registry)), rules_of(rooms.settings, plan))
    try:
        with heeding_signals(loop):
            start_patiently(loop, rooms.settings.give_up_s)
            loop.run(is_done)
    finally:
        if registry is not None:
            registry.close()
    ends = source.end_offsets(list(source.reached))
    return Report(
        books=loop.state.books,
        codes=letters.codes,
        refusals=letters.refusals,
        parked=tuple(loop.state.parking),
        reached=dict(source.reached),
        unreached={place: Bounds(at, ends[place]) for place, at in source.reached.items() if at < ends[place]},
        was_stopped=loop.stopping.is_set(),
    )


@contextmanager
def heeding_signals(loop: Loop) -> Iterator[None]:
    """SIGTERM and SIGINT ask the loop to stop, only as long as it runs. Python has signals in the main thread alone."""
    if current_thread() is not main_thread():
        yield
        return
    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(name) for name in names]
    heed_signals(loop)
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def world_of(rooms: Rooms, source: Finite, plan: ReplayPlan, letters: KeptLetters, registry: Registry | None) -> World:
    """The worker's objects, with what the plan puts around them."""
    settings = rooms.settings
    stores: list[Store] = [connect.store(settings) for _ in range(settings.writers + 1)]
    if plan.is_dry:
        stores = [DryStore(store) for store in stores]
    decoder: Decoder = rooms.decoder if plan.only is None else OnlyTables(rooms.decoder, rooms.router, plan.only)
    make = mapper_maker(rooms, plan.tables)
    return World(
        source=source,
        crew=ThreadCrew(stores[1:], wake=source.wake),
        dead_letters=letters,
        errand_store=stores[0],
        decoder=decoder,
        router=Redirected(rooms.router, plan.tables),
        tables=Tables(make if plan.is_unordered else guarded(make, set(plan.tables.values()))),
        observer=Observer(),
        take_schema=taker(rooms.schemas),
        registry=registry,
    )


def mapper_maker(rooms: Rooms, tables: Mapping[str, str]) -> Callable[[Table], Mapper]:
    """Compiles mappers; a table that stands for another one has the contract of that."""
    stands_for = {shadow: table for table, shadow in tables.items()}
    rules = connect.mapping_rules(rooms.settings)

    def make(table: Table) -> Mapper:
        contract = rooms.contract(stands_for.get(table.full_name, table.full_name))
        return compile_mapper(table, contract, settings=rules)

    return make


def rules_of(settings: Settings, plan: ReplayPlan) -> Rules:
    """A worker's, but that neither refused nor stale records park their topic: both are what a replay is about."""
    group = plan.group or f"{settings.group_id}.replay"
    return replace(connect.rules(settings), group_id=group, dlq_max_ratio=1.0, stale_max_ratio=1.0)
