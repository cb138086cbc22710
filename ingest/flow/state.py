"""What the loop owns, in one place; the parts of the loop share it and nobody else touches it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from ingest.errors import Parked
from ingest.flow.books import Books
from ingest.flow.going_back import GREW, WENT_BACK, Ages, source_went_back
from ingest.flow.lanes import BatchRules, Lanes
from ingest.flow.ledger import Ledger, Ticket
from ingest.flow.parking import Parking, Place
from ingest.flow.ports import ADDED, Commit, Observer, Source
from ingest.flow.regulator import Regulator
from ingest.flow.second_look import SecondLook
from ingest.flow.tables import Tables
from ingest.flow.windows import Window, from_metadata, is_over, to_metadata
from ingest.model import Partition


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of the loop, in seconds, bytes, rows and ratios; see docs/settings.md for their meaning.

    high_bytes, low_bytes: marks of held bytes at which all partitions pause and resume.
    table_share: the part of high_bytes that a table may fill while it is the only one; see flow.pressure for more of them.
    """

    group_id: str = "ingest"
    batch: BatchRules = field(default_factory=BatchRules)
    writers: int = 4
    slots: int = 4
    high_bytes: int = 64_000_000
    low_bytes: int = 32_000_000
    table_share: float = 2 / 3
    commit_every_s: float = 1.0
    revoke_s: float = 10.0
    drain_s: float = 30.0
    give_up_s: float = 300.0
    dlq_max_ratio: float = 0.1
    dlq_window: int = 1_000
    stale_max_ratio: float = 0.99
    add_columns_max: int = 100
    # What Python keeps per record besides its bytes (record, ticket, change, row, fold entry), measured at 12 columns.
    record_overhead_bytes: int = 2_500


@dataclass(slots=True)
class Watched:
    """The windows of one partition. high_water: records before it were read once already, so stale ones prove nothing.

    old_from: the offset at which the run of old records began that is under way, see flow.going_back.
    """

    rejects: Window
    stale: Window
    high_water: int
    counted: int = 0
    old_from: int | None = None


@dataclass(slots=True)
class State:
    """Everything that the loop's thread owns.

    held: tickets that wait, by partition, in order; needs: for what.
    handed_back: partitions that were handed back during this poll. to_park: what will be parked at the end of this step.
    quiet: tables whose lanes send nothing, because a column is being added. second_look: rejections that are not believed yet.
    added: partitions that are new in a topic which the group has read before, until it is known that this does no harm; each with
    the epoch in which it does, as far as known.
    """

    rules: Rules
    source: Source
    observer: Observer
    tables: Tables
    ledger: Ledger = field(default_factory=Ledger)
    books: Books = field(default_factory=Books)
    held: dict[Partition, deque[Ticket]] = field(default_factory=dict)
    needs: dict[Partition, tuple[str, object]] = field(default_factory=dict)
    watched: dict[Partition, Watched] = field(default_factory=dict)
    handed_back: set[Partition] = field(default_factory=set)
    to_park: list[Parked] = field(default_factory=list)
    quiet: set[str] = field(default_factory=set)
    added: dict[Partition, str] = field(default_factory=dict)
    second_look: SecondLook = field(default_factory=SecondLook)
    lanes: Lanes = field(init=False)
    regulator: Regulator = field(init=False)
    parking: Parking = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.rules.batch, self.rules.slots)
        self.regulator = Regulator(self.rules.writers)
        self.parking = Parking(self.tables.feeders)

    # ------------------------------------------------------------ stays of partitions

    def open(self, partition: Partition, start: int, metadata: str) -> None:
        """Begin a stay that reads from start."""
        self.ledger.open(partition, start)
        self.added.pop(partition, None)
        if metadata.startswith(ADDED):
            self.added[partition] = metadata.removeprefix(ADDED).strip()
        watched = self.watched[partition] = Watched(*from_metadata(metadata, self.rules.dlq_window))
        self.ledger.page(partition).known_until = watched.high_water

    def close(self, partition: Partition) -> int:
        """End a stay: forget what is not settled. The lowest offset that is not safe."""
        unsafe, left = self.ledger.close(partition)
        self.books.handed_back += len(left)
        self.held.pop(partition, None)
        self.needs.pop(partition, None)
        return unsafe

    def hand_back(self, partitions: Collection[Partition]) -> None:
        """Forget what these partitions have unsettled; Kafka will give it again when they are read on."""
        for partition in [p for p in partitions if p in self.ledger]:
            self._count_read(partition.topic)
            self.watched[partition].counted = 0  # the new page counts from nothing
            old = self.ledger.page(partition)
            unsafe = self.close(partition)
            self.ledger.open(partition, unsafe)
            page = self.ledger.page(partition)
            page.committed, page.known_until = old.committed, max(old.known_until, old.admitted)
            self.source.seek(partition, unsafe)
            self.handed_back.add(partition)
        self.lanes.forget(partitions)

    def rewind(self, ticket: Ticket) -> None:
        """Hand back this record and those behind it in its partition; what stands in front of it is settled as usual."""
        partition = ticket.page.partition
        self.books.handed_back += self.ledger.rewind(ticket)
        self.held.pop(partition, None)
        self.needs.pop(partition, None)
        self.source.seek(partition, ticket.record.offset)
        self.handed_back.add(partition)

    # ------------------------------------------------------------ parking

    def park(self, error: Parked, now_ms: int) -> None:
        """Park the error's subject: what feeds it rests from now on."""
        place = self.parking.park(error, now_ms)
        if place is not None:
            self.observer.event("error", "parked", subject=place.subject, code=place.code, text=place.text)

    def unpark(self, places: Collection[Place]) -> None:
        """These go on: with fresh windows, so that what parked them before does not park them at once again."""
        for place in places:
            self.observer.event("info", "unparked", subject=place.subject, code=place.code)
            if place.kind == "table":
                self.tables.newcomers.begin_anew(place.name)
            for partition, watched in self.watched.items():
                if place.kind == "topic" and partition.topic == place.name:
                    watched.rejects.clear()
                    watched.stale.clear()
                    if place.code == GREW:
                        self.added.pop(partition, None)
                    if place.code == WENT_BACK:
                        watched.high_water = max(watched.high_water, self._end_of(partition))

    def _end_of(self, partition: Partition) -> int:
        """Where the partition ends, as far as heard without asking; at least where it was read to."""
        position, lag = self.source.position(partition), self.source.lag(partition)
        return max((position or 0) + (lag or 0), self.ledger.page(partition).known_until)

    # ------------------------------------------------------------ windows

    def rejected(self, ticket: Ticket) -> None:
        """Mark a record as rejected; too many of them park their topic."""
        partition = ticket.page.partition
        rules, topic = self.rules, partition.topic
        self._count_read(topic)
        watched = self.watched[partition]
        watched.rejects.mark(watched.rejects.seen - watched.counted + ticket.number)
        windows = (w.rejects for p, w in self.watched.items() if p.topic == topic)
        if is_over(windows, rules.dlq_window, rules.dlq_max_ratio):
            self.to_park.append(too_many_rejects(topic, rules))

    def _count_read(self, topic: str) -> None:
        """Bring the windows of a topic up to what was read: records are judged among those read with them, settled or not."""
        for partition, watched in self.watched.items():
            if partition.topic == topic:
                read = self.ledger.page(partition).read
                watched.rejects.add(good=max(0, read - watched.counted))
                watched.counted = read

    def fresh(self, partition: Partition, records: int) -> None:
        """Count records that are newer than what is stored."""
        watched = self.watched[partition]
        watched.stale.add(records)
        watched.old_from = None

    def aged(self, partition: Partition, seen: Ages) -> None:
        """Count records of a batch in which some are older than what is stored; a window of nearly only these parks the topic."""
        watched, rules = self.watched[partition], self.rules
        watched.stale.add(seen.fresh, len(seen.old))
        watched.old_from = seen.began(watched.old_from)
        windows = (w.stale for p, w in self.watched.items() if p.topic == partition.topic)
        if seen.old and is_over(windows, rules.dlq_window, rules.stale_max_ratio):
            self.to_park.append(source_went_back(partition.topic, rules.dlq_window))

    def go_back(self, topic: str) -> None:
        """To where the run of old records began, also in Kafka: whoever reads on, in whatever epoch, reads all of them again."""
        going = {p: w for p, w in self.watched.items() if p.topic == topic and w.old_from is not None and p in self.ledger}
        self.hand_back(going)
        for partition, watched in going.items():
            self.ledger.go_back(partition, watched.old_from or 0)
            self.source.seek(partition, self.ledger.page(partition).next_offset)
            watched.old_from = None

    # ------------------------------------------------------------ commits

    def commits(self, offsets: dict[Partition, int]) -> dict[Partition, Commit]:
        """Offsets with what is remembered beside them."""
        found = {}
        for partition, offset in offsets.items():
            self._count_read(partition.topic)
            watched, page = self.watched[partition], self.ledger.page(partition)
            high_water = max(watched.high_water, page.admitted)
            metadata = to_metadata(watched.rejects, watched.stale, high_water)
            found[partition] = Commit(offset, f"{ADDED} {self.added[partition]}" if partition in self.added else metadata)
        return found


def too_many_rejects(topic: str, rules: Rules) -> Parked:
    return Parked(
        "topic.too_many_rejects",
        f"more than {rules.dlq_max_ratio:.0%} of the last {rules.dlq_window} records of topic {topic} were rejected: look at the "
        "dead letters' reasons, mend the table, contract or source, then `ingest unpark`",
        subject=f"topic:{topic}",
    )
