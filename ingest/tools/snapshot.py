"""From the loop's state to the status that the outside world sees. Called in the loop's thread, about once a second.

Copies only, but for one question to Kafka: the client hears of a partition's end when it reads, so of one that rests (parked,
or waiting for CrateDB) the end must be asked for, or its lag would stand still while the topic grows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from time import time

from ingest.errors import Retry
from ingest.flow.lanes import LaneState
from ingest.flow.loop import Loop
from ingest.flow.pressure import Pressure
from ingest.model import Partition
from ingest.watch.status import ParkedPlace, Status

# The question blocks the loop for one request, some milliseconds; where nobody answers, for seconds.
ASK_ENDS_EVERY_S = 10.0
ASK_AGAIN_S = 60.0


class Look:
    """The status of a loop, whenever it is called. wall_s: seconds since the epoch."""

    def __init__(self, loop: Loop, wall_s: Callable[[], float] = time) -> None:
        self._loop = loop
        self._wall_s = wall_s
        self._started_ms = int(wall_s() * 1000)
        self._ends: Mapping[Partition, int] = {}
        self._ask_at_s = float("-inf")

    def __call__(self) -> Status:
        """Raises nothing: what Kafka does not answer now is asked again later."""
        self._ask_ends(paused(self._loop).keys())
        return status_of(self._loop, self._ends, self._started_ms, int(self._wall_s() * 1000))

    def _ask_ends(self, resting: Collection[Partition]) -> None:
        """The ends of what rests, asked now and then; not while we stop, nor of a Kafka that is away."""
        source, now_s = self._loop.world.source, self._loop.world.clock()
        if not resting:
            self._ends = {}
            return
        if now_s < self._ask_at_s or self._loop.is_draining or not source.is_healthy()[0]:
            return
        try:
            self._ends = source.end_offsets(resting)
            self._ask_at_s = now_s + ASK_ENDS_EVERY_S
        except Retry:
            self._ask_at_s = now_s + ASK_AGAIN_S


def status_of(loop: Loop, ends: Mapping[Partition, int] | None = None, started_ms: int = 0, at_ms: int = 0) -> Status:
    """Copies only: nothing in it changes when the loop goes on. ends: of partitions that rest, as far as asked for."""
    state, books, now_s = loop.state, loop.state.books, loop.world.clock()
    partitions, resting = list(state.ledger.partitions), paused(loop)
    asked = {partition: end for partition, end in (ends or {}).items() if partition in resting}
    trouble = list(troubles(loop))
    return Status(
        group=loop.rules.group_id,
        at_ms=at_ms,
        started_ms=started_ms,
        is_ready=not trouble and not rests_wholly(loop),
        reasons=(*trouble, *(f"{place.subject} is parked ({place.code})" for place in state.parking), *rests(loop.pressure)),
        assigned=len(partitions),
        parked=tuple(ParkedPlace(place.subject, place.code, place.text, place.since_ms) for place in state.parking),
        tables=levels(loop),
        read=books.read,
        handed_back=books.handed_back,
        unsettled_records=state.ledger.unsettled_records,
        unsettled_bytes=state.ledger.held_bytes,
        limit_bytes=loop.rules.high_bytes,
        records=dict(books.records),
        rows=dict(books.rows),
        incomplete=books.incomplete,
        skipped=dict(books.skips),
        dead_letters=dict(books.codes),
        dead_letter_backlog_bytes=loop.world.dead_letters.backlog_bytes,
        retries=dict(books.retries),
        ignored_fields=dict(books.ignored_fields),
        nulled_values=dict(books.nulled_values),
        lag={(partition.topic, partition.number): lag(loop, partition, asked) for partition in partitions},
        paused={(partition.topic, partition.number): reason for partition, reason in resting.items()},
        lanes=Counter(lane_state(lane, now_s) for lane in state.lanes),
        permits=state.regulator.permits,
        max_permits=state.regulator.max_permits,
        in_flight=loop.in_flight,
        is_breaker_open=state.regulator.is_open,
        oldest_request_s=loop.world.crew.oldest_s(now_s),
    )


def troubles(loop: Loop) -> Iterator[str]:
    """Sentences about what keeps records of all tables from flowing."""
    is_healthy, text = loop.world.source.is_healthy()
    if not is_healthy:
        yield text
    if loop.state.regulator.is_open:
        yield f"CrateDB is away ({loop.state.regulator.reason})"
    if loop.is_draining:
        yield "stopping"
    for sentence in (loop.errands.waiting_for(), loop.world.dead_letters.trouble()):
        if sentence:
            yield sentence


def rests(pressure: Pressure) -> Iterator[str]:
    """Sentences about what rests for want of memory: no trouble by itself, a worker that catches up does so as well."""
    if pressure.is_full:
        yield "INGEST_MEMORY_MB is used up, so all partitions rest until CrateDB has taken more"
    for table in sorted(pressure.full_tables):
        yield f"table:{table} holds its share of INGEST_MEMORY_MB, so what feeds it rests until CrateDB has taken more"


def rests_wholly(loop: Loop) -> bool:
    """Whether every partition that is ours rests because of something parked. A member without partitions stands by."""
    partitions = set(loop.state.ledger.partitions)
    return bool(partitions) and loop.state.parking.resting(partitions) == partitions


def levels(loop: Loop) -> dict[str, str]:
    """The tables that records went to and whose description is known, with what each can promise."""
    names = {table for table, _ in loop.state.books.records} | {state.lane.table for state in loop.state.lanes}
    found = ((name, loop.state.tables.get(name)) for name in sorted(names))
    return {name: target.table.level.value for name, target in found if target is not None}


def lag(loop: Loop, partition: Partition, ends: Mapping[Partition, int]) -> int | None:
    """Records between what was read and the end: as heard while reading, or as asked for."""
    source = loop.world.source
    if partition not in ends:
        return source.lag(partition)
    position = source.position(partition)
    return None if position is None else max(0, ends[partition] - position)


def paused(loop: Loop) -> dict[Partition, str]:
    """Our partitions that are not read now. parked: something is; pressure: memory is full; waiting: for a schema or a table."""
    state, pressure = loop.state, loop.pressure
    mine = set(state.ledger.partitions)
    full = mine if pressure.is_full else {p for table in pressure.full_tables for p in state.tables.feeders(table)} & mine
    reasons = dict.fromkeys(full, "pressure") | dict.fromkeys(mine & state.held.keys(), "waiting")
    return reasons | dict.fromkeys(state.parking.resting(mine), "parked")


def lane_state(lane: LaneState, now_s: float) -> str:
    """out: a writer has its batch. resting: it waits before it sends again. waiting: it has rows. idle: it has none."""
    if lane.out is not None:
        return "out"
    if lane.is_idle:
        return "idle"
    return "resting" if now_s < lane.resting_until_s else "waiting"
