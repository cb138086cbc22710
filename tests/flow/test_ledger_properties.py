"""The ledger against a model that is a list of records and whether each is settled: any order of all that may happen to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.flow.ledger import Ledger, Settled, Ticket
from ingest.model import Partition, Record

PARTITIONS = tuple(Partition("orders", number) for number in range(3))
HOWS = st.sampled_from(list(Settled))


@dataclass
class Told:
    """What was admitted: offset, bytes, rows that are open, and the ledger's ticket."""

    offset: int
    size_bytes: int
    rows_open: int
    ticket: Ticket


@dataclass
class Stay:
    """A stay of a partition. end: behind the last that was admitted. acknowledged: the last commit."""

    start: int
    told: list[Told] = field(default_factory=list)
    end: int = 0
    acknowledged: int = 0

    def next_offset(self) -> int:
        """Behind the settled records at the front; a gap is not passed before the record behind it is settled."""
        place = next((i for i, told in enumerate(self.told) if told.rows_open), len(self.told))
        return self.told[place - 1].offset + 1 if place else self.start


class LedgerMachine(RuleBasedStateMachine):
    """Three partitions that come and go, records of several rows, results in any order, also of stays that are over."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.stays: dict[Partition, Stay] = {}
        self.over: list[Ticket] = []

    @rule(partition=st.sampled_from(PARTITIONS), start=st.integers(0, 50))
    def open(self, partition: Partition, start: int) -> None:
        if partition not in self.stays:
            self.ledger.open(partition, start)
            self.stays[partition] = Stay(start, end=start, acknowledged=start)

    @rule(partition=st.sampled_from(PARTITIONS), gap=st.integers(0, 3), size_bytes=st.integers(0, 9), rows=st.integers(1, 3))
    def admit(self, partition: Partition, gap: int, size_bytes: int, rows: int) -> None:
        if (stay := self.stays.get(partition)) is not None:
            offset = stay.end + gap
            record = Record(partition.topic, partition.number, offset, 0, None, b"")
            ticket = self.ledger.admit(self.ledger.page(partition), record, size_bytes)
            ticket.rows_open = rows
            stay.told.append(Told(offset, size_bytes, rows, ticket))
            stay.end = offset + 1

    def unsettled(self) -> list[Told]:
        return [told for stay in self.stays.values() for told in stay.told if told.rows_open]

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data(), how=HOWS)
    def settle(self, data: st.DataObject, how: Settled) -> None:
        told = data.draw(st.sampled_from(self.unsettled()), label="told")
        told.rows_open -= 1
        assert self.ledger.settle(told.ticket, how) == (told.rows_open == 0)
        assert told.ticket.worst >= how

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data(), how=HOWS)
    def settle_run(self, data: st.DataObject, how: Settled) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.unsettled()), unique_by=id), label="told")
        for told in chosen:
            told.rows_open -= 1
        done = self.ledger.settle_run([told.ticket for told in chosen], how)
        assert done == [told.ticket for told in chosen if not told.rows_open]

    @precondition(lambda self: self.over)
    @rule(data=st.data(), how=HOWS)
    def a_result_comes_too_late(self, data: st.DataObject, how: Settled) -> None:
        ticket = data.draw(st.sampled_from(self.over), label="ticket")
        if ticket.rows_open:
            assert not self.ledger.settle(ticket, how)

    @rule(partition=st.sampled_from(PARTITIONS))
    def close(self, partition: Partition) -> None:
        if (stay := self.stays.pop(partition, None)) is not None:
            left = [told.ticket for told in stay.told if told.rows_open]
            assert self.ledger.close(partition) == (stay.next_offset(), left)
            self.over += left

    @rule(partition=st.sampled_from(PARTITIONS), data=st.data())
    def rewind(self, partition: Partition, data: st.DataObject) -> None:
        """Back to a record behind which nothing is settled."""
        stay = self.stays.get(partition)
        if stay is None:
            return
        last_settled = max((i for i, told in enumerate(stay.told) if not told.rows_open), default=-1)
        if last_settled + 1 < len(stay.told):
            place = data.draw(st.integers(last_settled + 1, len(stay.told) - 1), label="place")
            gone = stay.told[place:]
            assert self.ledger.rewind(gone[0].ticket) == len(gone)
            del stay.told[place:]
            stay.end = gone[0].offset

    @rule(partition=st.sampled_from(PARTITIONS))
    def commit(self, partition: Partition) -> None:
        stay = self.stays.get(partition)
        expected = {partition: stay.next_offset()} if stay is not None and stay.next_offset() > stay.acknowledged else {}
        offsets = self.ledger.committable([partition])
        assert offsets == expected
        if stay is not None and offsets:
            self.ledger.committed(offsets)
            stay.acknowledged = offsets[partition]

    @invariant()
    def nothing_is_committable_beyond_an_unsettled_record(self) -> None:
        for partition, offset in self.ledger.committable().items():
            assert not any(told.rows_open for told in self.stays[partition].told if told.offset < offset)

    @invariant()
    def the_books_are_those_of_the_model(self) -> None:
        assert self.ledger.unsettled_records == len(self.unsettled())
        assert set(self.ledger.partitions) == set(self.stays)
        held = {partition: self.held(stay) for partition, stay in self.stays.items()}
        assert {partition: self.ledger.held_in([partition]) for partition in self.stays} == held
        assert self.ledger.held_bytes == sum(held.values())

    def held(self, stay: Stay) -> int:
        """Bytes of what is not settled and of all behind it."""
        place = next((i for i, told in enumerate(stay.told) if told.rows_open), len(stay.told))
        return sum(told.size_bytes for told in stay.told[place:])


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40)
