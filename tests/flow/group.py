"""A whole group of workers in one thread: several loops over one log, one table and a network that keeps, delays and loses.

Who is stepped next, when a request lands, whether its answer comes, who crashes, freezes, joins or leaves: all from one seed.
Nothing here really waits; the clock is one number. At each commit the group looks whether every record before it is settled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.flow.lanes import BatchRules
from ingest.flow.ports import Commit
from ingest.flow.state import Rules
from ingest.flow.writers import Errand, Report, run_errand
from ingest.model import Batch, Fate, Outcome, Partition, Position, Record, Result
from tests.flow.twins import TABLE, Clock, Letters, LogSource, MemoryStore, Rig

SESSION_S = 5.0  # a member that nobody hears of for so long loses its partitions
TIMED_OUT = Outcome(Fate.RETRY, "store.timeout", unknown=True)
STILL_RUNNING = Outcome(Fate.RETRY, "store.still_running")
OVERLOADED = Outcome(Fate.RETRY, "store.overloaded", overload=True)


# ---------------------------------------------------------------- the network


@dataclass
class Flight:
    """A request under way. result: CrateDB's answer once it has landed. lands_s: infinite for one that got lost before."""

    batch: Batch
    lands_s: float
    answers_s: float
    has_answer: bool
    result: Result | None = None


class Network:
    """Between all workers and the one store. A request lands whatever became of its sender."""

    def __init__(self, clock: Clock, store: MemoryStore, rng: random.Random) -> None:
        self.clock, self.store, self.rng = clock, store, rng
        self.flights: list[Flight] = []
        self.is_calm = False

    def send(self, batch: Batch) -> Flight:
        now_s, dice = self.clock.now_s, 1.0 if self.is_calm else self.rng.random()
        lands_s = now_s + self.rng.choice([0.0, 0.02, 0.3])
        if dice < 0.04:  # given up by its sender, and landing later
            flight = Flight(batch, now_s + self.rng.choice([1.0, 8.0, 20.0]), now_s + 0.5, has_answer=False)
        elif dice < 0.07:  # lost on its way
            flight = Flight(batch, float("inf"), now_s + 0.5, has_answer=False)
        else:
            flight = Flight(batch, lands_s, lands_s + self.rng.choice([0.0, 0.1, 0.5]), has_answer=dice >= 0.10)
        self.flights.append(flight)
        return flight

    def land(self) -> None:
        """Whatever is due reaches the store."""
        for flight in [flight for flight in self.flights if flight.lands_s <= self.clock.now_s]:
            self.flights.remove(flight)
            flight.result = self._write(flight.batch)

    def _write(self, batch: Batch) -> Result:
        running = {flight.batch.tag for flight in self.flights if flight.lands_s != float("inf")}
        if running & set(batch.unsure):
            return Result(batch, [STILL_RUNNING] * len(batch.changes), unsure=batch.unsure)
        outcomes = [self._one(batch, i) for i in range(len(batch.changes))]
        return Result(batch, outcomes, statements=1)

    def _one(self, batch: Batch, i: int) -> Outcome:
        if not self.is_calm and self.rng.random() < 0.02:
            return OVERLOADED
        return self.store.apply(batch.table.full_name, batch.changes[i])


class Hands:
    """The crew of one worker, over the network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._flights: list[Flight] = []
        self._errands: list[Errand] = []

    def submit(self, batch: Batch) -> None:
        self._flights.append(self._network.send(batch))

    def ask(self, errand: Errand) -> None:
        self._errands.append(errand)

    def take(self, wait_s: float = 0.0) -> Sequence[Report]:
        """Answers in whatever order they come."""
        self._network.land()
        errands, self._errands = self._errands, []
        back = [flight for flight in self._flights if flight.answers_s <= self._network.clock.now_s]
        self._flights = [flight for flight in self._flights if flight not in back]
        self._network.rng.shuffle(back)
        return [*map(run_errand, errands), *map(answer_of, back)]

    def oldest_s(self, now_s: float) -> float:
        return 0.0

    def close(self, timeout_s: float) -> None:
        pass


def answer_of(flight: Flight) -> Result:
    if flight.has_answer and flight.result is not None:
        return flight.result
    return Result(flight.batch, [TIMED_OUT] * len(flight.batch.changes), statements=1, unsure=(flight.batch.tag,))


# ---------------------------------------------------------------- one member


class Member(LogSource):
    """The source of one worker. Only the owner of a partition may commit it, as Kafka fences all others."""

    def __init__(self, group: Group) -> None:
        super().__init__(group.clock, log=group.log, committed=group.committed, per_poll=group.rng.choice([1, 5, 50]))
        self.group = group
        self.frozen_until_s = 0.0
        self.is_fenced = False
        self.hands = Hands(group.network)
        self.rig = Rig(group.rules, source=self, store=group.store, letters=group.letters(), crew=self.hands)
        self.listener = self.rig.loop

    def poll(self, timeout_s: float) -> Sequence[Record]:
        if self.is_fenced:
            self.is_fenced = False
            self.lose(list(self.positions))
            self.group.rebalance()
        return super().poll(timeout_s)

    def _commit(self, offsets: Mapping[Partition, Commit]) -> None:
        if self.is_fenced or any(self.group.owner.get(partition) is not self for partition in offsets):
            self.error = "fenced"
            return
        for partition, commit in offsets.items():
            self.group.judge(partition, commit.offset)
        super()._commit(offsets)

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:
        self._commit(offsets)
        error, self.error = self.error, None
        return error is None

    def close(self, timeout_s: float) -> None:
        super().close(timeout_s)
        self.group.gone(self)


# ---------------------------------------------------------------- the group


@dataclass
class Group:
    """Records first (`put`), then `live` through as many events as you like, then `calm`.

    letters_at: positions of all letters that the dead-letter topic has. owner: of each partition, as the coordinator sees it.
    """

    seed: int
    partitions: int = 4
    rng: random.Random = field(init=False)
    log: dict[Partition, list[Record]] = field(default_factory=dict)
    committed: dict[Partition, Commit] = field(default_factory=dict)
    owner: dict[Partition, Member] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    mailboxes: list[Letters] = field(default_factory=list)
    crashes: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = Clock()
        self.store = MemoryStore()
        self.network = Network(self.clock, self.store, self.rng)
        self.log.update({Partition("t", n): [] for n in range(self.partitions)})
        batch = BatchRules(max_rows=self.rng.choice([1, 3, 20]), linger_s=self.rng.choice([0.0, 0.05]))
        self.rules = Rules(
            commit_every_s=0.03, batch=batch, dlq_max_ratio=1.0, stale_max_ratio=1.0, slots=self.rng.choice([1, 2, 3]),
            revoke_s=self.rng.choice([0.1, 1.0]), drain_s=3.0,
        )  # fmt: skip
        self.last_offset = dict.fromkeys(self.log, -1)

    def put(self, number: int, value: Mapping[str, Any] | bytes) -> Position:
        partition = Partition("t", number)
        offset = self.last_offset[partition] = self.last_offset[partition] + self.rng.choice(
            [1, 1, 1, 4]
        )  # gaps, as compaction leaves
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        record = Record("t", number, offset, 0, b"k", body)
        self.log[partition].append(record)
        return record.at

    def letters(self) -> Letters:
        self.mailboxes.append(Letters())
        return self.mailboxes[-1]

    @property
    def letters_at(self) -> set[Position]:
        return {letter.record.at for box in self.mailboxes for letter in box.letters if letter.record.at not in box.waiting}

    # ------------------------------------------------------------ what the coordinator does

    def join(self) -> None:
        self.members.append(Member(self))
        self.rebalance()

    def gone(self, member: Member) -> None:
        """It left or crashed. Its partitions are nobody's until the next rebalance."""
        if member in self.members:
            self.members.remove(member)
        self.owner = {partition: owner for partition, owner in self.owner.items() if owner is not member}

    def rebalance(self) -> None:
        """Share the partitions out anew; who must give one up drains it first, unless it is frozen: then it is fenced."""
        able = [member for member in self.members if member.frozen_until_s <= self.clock.now_s and not member.is_fenced]
        shares = {p: self.rng.choice(able) for p in self.log} if able else {}
        for member in self.members:
            member.is_fenced |= member not in able  # it missed this generation, and hears of that when it thaws
        for member in able:
            if leaving := [p for p in member.positions if shares[p] is not member]:
                member.revoke(leaving)
        self.owner = shares
        for member in able:
            if coming := [p for p, owner in shares.items() if owner is member and p not in member.positions]:
                member.assign(coming)

    def expel(self) -> None:
        """Fence whoever has been frozen for longer than its session."""
        for member in self.members:
            if member.frozen_until_s - self.clock.now_s > 0 and not member.is_fenced and self.rng.random() < 0.3:
                member.is_fenced = True
                self.owner = {p: owner for p, owner in self.owner.items() if owner is not member}
                self.rebalance()

    # ------------------------------------------------------------ life

    def live(self, events: int) -> None:
        """So many events, one after the other."""
        for _ in range(events):
            if not self.members:
                self.join()
            self.clock.now_s += self.rng.choice([0, 0, 0.02, 0.5])
            self._happen(self.rng.random())
            self.network.land()
            self._step(self.rng.choice(self.members) if self.members else None)

    def _happen(self, dice: float) -> None:
        member = self.rng.choice(self.members)
        if dice < 0.010:
            self.crashes += 1
            self.gone(member)
        elif dice < 0.020:
            member.frozen_until_s = self.clock.now_s + self.rng.choice([1.0, 3 * SESSION_S])
        elif dice < 0.035 and len(self.members) < 3:
            self.join()
        elif dice < 0.055:
            self.rebalance()
        elif dice < 0.060:
            member.rig.loop.drain()
        elif dice < 0.070:
            member.fail_commits += 1
        elif dice < 0.080:
            member.rig.letters.is_down = not member.rig.letters.is_down
        self.expel()

    def _step(self, member: Member | None) -> None:
        if member is not None and member in self.members and member.frozen_until_s <= self.clock.now_s:
            member.rig.steps(1)

    def calm(self, rounds: int = 3000) -> None:
        """Nothing fails any more; go on until everything is committed."""
        self.network.is_calm = True
        self.clock.now_s += 4 * SESSION_S
        for box in self.mailboxes:
            box.is_down = False
        if not self.members:
            self.join()
        self.rebalance()
        for _ in range(rounds):
            self.clock.now_s += 0.2
            for member in list(self.members):
                self._step(member)
            if self.is_done():
                return

    def is_done(self) -> bool:
        """Everything is committed, and no request of a worker that is no more can still come."""
        offsets = {p: commit.offset for p, commit in self.committed.items()}
        return self.ends() == offsets and all(flight.lands_s == float("inf") for flight in self.network.flights)

    def ends(self) -> dict[Partition, int]:
        return {p: records[-1].offset + 1 for p, records in self.log.items() if records}

    # ------------------------------------------------------------ what must hold

    def judge(self, partition: Partition, offset: int) -> None:
        """Every record before a committed offset is in the table, under a newer version of its row, or a dead letter."""
        before = self.committed.get(partition, Commit(0)).offset
        letters = self.letters_at
        for record in self.log[partition]:
            if before <= record.offset < offset:
                assert record.at in letters or self.is_stored(record), f"{record.at} is committed and not settled"

    def is_stored(self, record: Record) -> bool:
        try:
            row = json.loads(record.value or b"")
        except ValueError:
            return False
        if "skip" in row:
            return True
        found = self.store.rows.get((TABLE.full_name, (row["k"],), row["m"]))
        return found is not None and found[0] >= f"{row['n']:09d}{record.offset:09d}"

    def check_books(self, members: Collection[Member] | None = None) -> None:
        for member in members or self.members:
            member.rig.check_books()
