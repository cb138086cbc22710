"""From the loop's state to the status that the outside world sees. Called in the loop's thread, about once a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ingest.flow.lanes import LaneState
from ingest.flow.loop import Loop
from ingest.watch.status import ParkedPlace, Status


def status_of(loop: Loop) -> Status:
    """Copies only: nothing in it changes when the loop goes on."""
    state, books, now_s = loop.state, loop.state.books, loop.world.clock()
    partitions = list(state.ledger.partitions)
    trouble = list(troubles(loop))
    return Status(
        group=loop.rules.group_id,
        is_ready=not trouble and not rests_wholly(loop),
        reasons=(*trouble, *(f"{place.subject} is parked ({place.code})" for place in state.parking)),
        assigned=len(partitions),
        parked=tuple(ParkedPlace(place.subject, place.code, place.text, place.since_ms) for place in state.parking),
        read=books.read,
        handed_back=books.handed_back,
        unsettled_records=state.ledger.unsettled_records,
        unsettled_bytes=state.ledger.unsettled_bytes,
        records=dict(books.records),
        rows=dict(books.rows),
        incomplete=books.incomplete,
        skipped=dict(books.skips),
        dead_letters=dict(books.codes),
        dead_letter_backlog_bytes=loop.world.dead_letters.backlog_bytes,
        retries=dict(books.retries),
        lag={(partition.topic, partition.number): loop.world.source.lag(partition) for partition in partitions},
        lanes=Counter(lane_state(lane, now_s) for lane in state.lanes),
        permits=state.regulator.permits,
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


def rests_wholly(loop: Loop) -> bool:
    """Whether every partition that is ours rests because of something parked. A member without partitions stands by."""
    partitions = set(loop.state.ledger.partitions)
    return bool(partitions) and loop.state.parking.resting(partitions) == partitions


def lane_state(lane: LaneState, now_s: float) -> str:
    """out: a writer has its batch. resting: it waits before it sends again. waiting: it has rows. idle: it has none."""
    if lane.out is not None:
        return "out"
    if lane.is_idle:
        return "idle"
    return "resting" if now_s < lane.resting_until_s else "waiting"
