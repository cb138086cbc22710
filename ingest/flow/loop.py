"""The loop: read this file first.

One thread owns the consumer, the ledger, the lanes and the books; `step` is a table of contents in the order of the data
path. Writer threads make one attempt per batch and answer on a queue; everything else waits here, as a state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from time import monotonic, time

from ingest.errors import Parked, Stop
from ingest.flow.errands import Errands, TakeSchema
from ingest.flow.going_back import WENT_BACK
from ingest.flow.intake import Intake
from ingest.flow.lanes import LaneState
from ingest.flow.membership import Membership
from ingest.flow.ports import Commit, DeadLetters, Decoder, Observer, Registry, Router, Source, Store
from ingest.flow.pressure import Pressure
from ingest.flow.settling import SENSE_EVERY, STALE_STREAK, Settling
from ingest.flow.state import Rules, State
from ingest.flow.tables import Tables
from ingest.flow.watermarks import Watermarks
from ingest.flow.writers import Answer, Broken, Crew
from ingest.model import Batch, Partition, Record, Result

# How long poll may wait. A writer with an answer ends it, so this bounds only what nothing tells: dead letters, commits, waits
# that are over. A poll costs 0.7 ms: one each 10 ms was a third of the worker's CPU wherever CrateDB was the limit.
POLL_BUSY_S = 0.05
POLL_IDLE_S = 0.2
# How long stopping may wait for the last watermarks: whoever has the partitions next says the same a little later.
LAST_MARKS_S = 2.0
POLL_SHORT_S = 0.01


@dataclass(slots=True)
class World:
    """Everything outside that the loop talks to. errand_store is used by the crew's errand thread alone."""

    source: Source
    crew: Crew
    dead_letters: DeadLetters
    errand_store: Store
    decoder: Decoder
    router: Router
    tables: Tables
    observer: Observer
    take_schema: TakeSchema
    registry: Registry | None = None
    watermarks: Watermarks | None = None
    clock: Callable[[], float] = monotonic
    wall_ms: Callable[[], int] = field(default=lambda: int(time() * 1000))


class Loop:
    """The worker. `step` until told to stop, then `drain`; or `run`, which does both."""

    def __init__(self, world: World, rules: Rules) -> None:
        self.world = world
        self.rules = rules
        self.state = State(rules, world.source, world.observer, world.tables)
        self.settling = Settling(self.state, world.dead_letters)
        self.intake = Intake(self.state, world.decoder, world.router, self.settling.doubt)
        self.truncates = self.intake.truncates
        self.errands = Errands(
            self.state, world.crew, self.intake, self.settling.believe, world.errand_store, world.registry, world.take_schema
        )
        self.membership = Membership(self.state, self.pump, world.clock)
        self.pressure = Pressure(self.state)
        self.stopping = Event()
        self.in_flight = 0
        self.is_draining = False
        self._tags = count(1)
        self._trouble: Exception | None = None
        self._committing: dict[Partition, int] = {}
        self._commit_at_s = 0.0

    # ------------------------------------------------------------ one round

    def step(self) -> None:
        """One round, in the order of the data path."""
        records = self.poll()
        now_s = self.world.clock()
        self.intake.admit(records, now_s, self.world.wall_ms())
        self.pump(now_s)
        self.note_what_is_left_out()
        self.park_what_must()
        self.heed_operator()
        self.pressure.relieve(self.world.dead_letters.backlog_bytes, pause_all=self.is_draining)
        self.commit_if_due(now_s)
        if self.world.watermarks is not None:
            self.world.watermarks.step(self.state, now_s, self.world.wall_ms())
        self.world.observer.beat(now_s)

    def note_what_is_left_out(self) -> None:
        """What the owners of tables chose to lose is counted."""
        books, tables = self.state.books, self.state.tables
        books.ignored_fields.update(tables.take_ignored())
        books.nulled_values.update(tables.take_nulled())

    def poll(self) -> Sequence[Record]:
        """Records of the partitions that are not paused. A gap in the topic parks it."""
        try:
            records = self.world.source.poll(self.patience_s())
        except Parked as error:
            self.state.park(error, self.world.wall_ms())
            return []
        if self._trouble is not None:
            raise self._trouble
        return records

    def patience_s(self) -> float:
        """How long poll may wait: until a lane is ripe that may be sent, short while anything is unsettled, longer when all is
        quiet."""
        state = self.state
        if not (self.in_flight or state.ledger.unsettled_records):
            return POLL_IDLE_S
        if not state.regulator.room(self.in_flight):
            return POLL_BUSY_S
        wait_s = state.lanes.ripe_in_s(self.world.clock())
        return min(POLL_BUSY_S, max(POLL_SHORT_S, wait_s))

    def pump(self, now_s: float) -> None:
        """Submit what is due and settle what came back; also runs while partitions are drained."""
        self.submit_due(now_s)
        self.settle(now_s)
        self.errands.send(now_s)

    # ------------------------------------------------------------ out

    def submit_due(self, now_s: float) -> None:
        """Hand the ripe lanes' batches to the writers, as many as the regulator permits."""
        room = self.state.regulator.room(self.in_flight)
        if not room:
            return
        for lane, reason in self.state.lanes.due(now_s, self.is_flushing):
            if not room:
                return
            if self.submit(lane, reason, now_s):
                room -= 1

    def submit(self, lane: LaneState, reason: str, now_s: float) -> bool:
        """Send the lane's next batch; False when its table is not known (it is asked for again) or gets a column."""
        target = self.state.tables.get(lane.lane.table)
        if target is None or lane.lane.table in self.state.quiet:
            return False
        lanes = self.state.lanes.take(lane, reason, now_s)
        is_stale = lane.stale_streak >= STALE_STREAK and lane.sent % SENSE_EVERY != 0
        changes = [entry.survivor for each in lanes if each.out for entry in each.out.entries.values()]
        beside = tuple(each.lane for each in lanes[1:])
        slots = "".join(f":{each.slot}" for each in beside)
        tag = f"{self.rules.group_id} {lane.lane}{slots} {next(self._tags)}"
        unsure_for_s = now_s - lane.unsure_since_s
        self.world.crew.submit(Batch(lane.lane, target.table, changes, tag, lane.unsure, is_stale, reason, unsure_for_s, beside))
        self.in_flight += 1
        return True

    def is_flushing(self, lane: LaneState) -> bool:
        """Whether the lane's open batch should go without lingering: we stop, or its partitions leave."""
        if self.is_draining:
            return True
        leaving = self.membership.leaving
        return bool(leaving) and any(p.number % self.rules.slots == lane.lane.slot for p in leaving)

    # ------------------------------------------------------------ back

    def settle(self, now_s: float) -> None:
        """Settle results, answers of errands and acknowledged dead letters."""
        for report in self.world.crew.take():
            if isinstance(report, Result):
                self.in_flight -= 1
                self.settling.result(report, now_s)
                self.world.observer.batch(report, report.batch.reason, newest_source_ms(report))
            elif isinstance(report, Answer):
                self.errands.answered(report, now_s, self.world.wall_ms())
            elif isinstance(report, Broken):
                raise report.error
        self.settling.acknowledged()

    def park_what_must(self) -> None:
        """Park what this step found wanting. A table's unsettled rows are handed back: they cannot be written."""
        state = self.state
        errors, state.to_park = state.to_park, []
        for error in errors:
            state.park(error, self.world.wall_ms())
            kind, _, name = error.subject.partition(":")
            if kind == "table":
                state.hand_back(state.tables.feeders(name))
            elif error.code == WENT_BACK:
                state.go_back(name)

    def heed_operator(self) -> None:
        """Let go on what an operator unparked."""
        for request in self.world.observer.take_unpark_requests():
            self.state.unpark(self.state.parking.leave(request))
            self.state.tables.look_again()

    # ------------------------------------------------------------ commits

    def commit_if_due(self, now_s: float) -> None:
        """At most one commit in flight, at most one start every commit_every_s."""
        source = self.world.source
        if source.commit_in_flight:
            return
        self._finish_commit()
        if now_s < self._commit_at_s:
            return
        self._commit_at_s = now_s + self.rules.commit_every_s
        self._pass_over_gaps()
        self._committing = self.state.ledger.committable()
        if self._committing:
            source.commit(self.state.commits(self._committing))

    def _finish_commit(self) -> None:
        offsets, self._committing = self._committing, {}
        error = self.world.source.take_commit_error()
        if error is not None:
            self.world.observer.event("warning", "commit_failed", text=error, partitions=len(offsets))
        elif offsets:
            self.state.ledger.committed(offsets)
            self.world.observer.event("debug", "committed", partitions=len(offsets))

    def _pass_over_gaps(self) -> None:
        """Where nothing is unsettled, the client's position is safe: behind the last record there may be markers."""
        for page in self.state.ledger:
            position = None if page.tickets else self.world.source.position(page.partition)
            if position is not None:
                self.state.ledger.pass_over(page.partition, position)

    # ------------------------------------------------------------ membership (see flow.membership)

    def assigned(self, partitions: Mapping[Partition, Commit]) -> None:
        with self._trouble_kept():
            for partition in partitions:
                self.pressure.forget(partition)
            self.membership.assigned(partitions)

    async def revoked(self, partitions: Collection[Partition]) -> None:
        with self._trouble_kept():
            await self.membership.revoked(partitions)

    def lost(self, partitions: Collection[Partition]) -> None:
        with self._trouble_kept():
            self.membership.lost(partitions)

    @contextmanager
    def _trouble_kept(self) -> Iterator[None]:
        """Nothing may be raised inside the client's own thread: it would never join again. `poll` raises it instead."""
        try:
            yield
        except Exception as error:
            self._trouble = error

    # ------------------------------------------------------------ the life of it

    def start(self) -> None:
        """Join the group. Raises Retry when Kafka does not answer yet: call again."""
        self.world.source.start(self)

    def run(self, is_done: Callable[[Loop], bool] | None = None) -> None:
        """Step until `stopping` is set or is_done says so, then drain. Raises Stop after committing what is settled."""
        try:
            while not (self.stopping.is_set() or (is_done is not None and is_done(self))):
                self.step()
        finally:
            self.drain()

    def drain(self) -> None:
        """Flush, settle and commit within drain_s, leave the group, let the threads end."""
        self.is_draining = True
        deadline_s = self.world.clock() + self.rules.drain_s
        self.pressure.relieve(0, pause_all=True)
        try:
            while self.has_hope() and self.world.clock() < deadline_s:
                self.step()
        except Stop as error:
            self.world.observer.event("error", "drain_ended", code=error.code, text=error.text)
        try:
            self._commit_last(deadline_s)
        finally:
            self.close()

    def has_hope(self) -> bool:
        """Whether something unsettled can still be settled: not what waits for a schema, nor anything while CrateDB is away."""
        waiting = sum(len(tickets) for tickets in self.state.held.values())
        return self.state.ledger.unsettled_records > waiting and not self.state.regulator.is_open

    def _commit_last(self, deadline_s: float) -> None:
        while self.world.source.commit_in_flight and self.world.clock() < deadline_s:
            self.world.source.poll(POLL_SHORT_S)
        self._commit_at_s = 0.0
        self.commit_if_due(self.world.clock())
        while self.world.source.commit_in_flight and self.world.clock() < deadline_s:
            self.world.source.poll(POLL_SHORT_S)
        self._finish_commit()

    def close(self) -> None:
        """Leave the group and let go of everything; what is left unsettled is handed back."""
        self.membership.is_closing = True
        self.world.source.close(self.rules.revoke_s)
        for page in list(self.state.ledger):
            self.state.close(page.partition)
        if self.world.watermarks is not None:
            self.world.watermarks.finish(self.state, LAST_MARKS_S)
        self.world.dead_letters.close(self.rules.revoke_s)
        self.world.crew.close(1.0)
        self.world.observer.event("info", "stopped", **self.state.books.summary(self.state.ledger.unsettled_records))


def newest_source_ms(result: Result) -> int | None:
    """The newest source time among the rows of the batch, epoch ms; None if no row tells one."""
    return max([c.source_ts_ms for c in result.batch.changes if c.source_ts_ms is not None], default=None)
