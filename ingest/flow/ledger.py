"""Offsets: which records are settled, and how far we may commit.

Bookkeeping only: no clock, no Kafka, no logging. Touched by the loop's thread alone (or by the client's thread while the
loop's waits in it). A page is one stay of a partition with us; whatever refers to a closed page settles nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import IntEnum

from ingest.model import Partition, Record, Resolved


class Settled(IntEnum):
    """How a record ended, best first: a record of several rows has the worst of their ends."""

    WRITTEN = 0
    SUPERSEDED = 1
    SKIPPED = 2
    DEAD_LETTERED = 3


class Ticket:
    """Our claim on one record: open until each of its rows is settled.

    rows_open: rows that are not settled; a record that is not mapped yet counts as one row.
    table: the full name of the table it goes to, as far as known; for the books. number: of the record on its page, from 1.
    """

    __slots__ = ("has_letter", "number", "page", "record", "rows_open", "size_bytes", "table", "worst")

    def __init__(self, page: Page, record: Record, size_bytes: int) -> None:
        self.page = page
        self.number = page.read
        self.record = record
        self.size_bytes = size_bytes
        self.rows_open = 1
        self.worst = Settled.WRITTEN
        self.table = ""
        self.has_letter = False


class Page:
    """One stay of one partition: its admitted records in order of offset. Offsets may have gaps.

    held_bytes: what its tickets keep in memory; a settled record is kept until all in front of it are settled too.
    newest_ms: newest source time among the changes of admitted records. resolved: what the source said, by offset; see
    flow.watermarks, which alone reads both.
    """

    __slots__ = (
        "admitted", "committed", "held_bytes", "is_open", "known_until", "newest_ms", "next_offset", "partition", "read",
        "resolved", "tickets", "unsettled",
    )  # fmt: skip

    def __init__(self, partition: Partition, start: int) -> None:
        self.partition = partition
        self.next_offset = start  # where reading starts again if all settled ones in front are committed
        self.admitted = start  # the offset after the last admitted record
        self.committed = start
        self.tickets: deque[Ticket] = deque()
        self.unsettled = 0
        self.held_bytes = 0
        self.read = 0  # records ever admitted
        self.known_until = 0  # records before this offset were read once already, by us or by an earlier owner
        self.newest_ms = 0
        self.resolved: deque[tuple[int, Resolved]] = deque()
        self.is_open = True

    def advance(self) -> int:
        """Move next_offset over the settled records at the front and forget them; the bytes that this sets free."""
        tickets, free_bytes = self.tickets, 0
        while tickets and not tickets[0].rows_open:
            ticket = tickets.popleft()
            self.next_offset = ticket.record.offset + 1
            free_bytes += ticket.size_bytes
        self.held_bytes -= free_bytes
        return free_bytes

    def note_resolved(self, offset: int, resolved: Resolved) -> None:
        """The record there says this. Of those that are committed only the last is kept."""
        said = self.resolved
        while len(said) > 1 and said[1][0] < self.committed:
            said.popleft()
        said.append((offset, resolved))


class Ledger:
    """The only judge of what may be committed. held_bytes: of all pages."""

    def __init__(self) -> None:
        self._pages: dict[Partition, Page] = {}
        self.unsettled_records = 0
        self.held_bytes = 0

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._pages

    def __iter__(self) -> Iterator[Page]:
        return iter(self._pages.values())

    @property
    def partitions(self) -> Collection[Partition]:
        return self._pages.keys()

    def page(self, partition: Partition) -> Page:
        return self._pages[partition]

    def open(self, partition: Partition, start: int) -> None:
        """Begin a stay of the partition; the first record that it will give has offset >= start."""
        self._pages[partition] = Page(partition, start)

    def close(self, partition: Partition) -> tuple[int, list[Ticket]]:
        """End the stay: the lowest offset that is not safe, and the tickets that were not settled."""
        page = self._pages.pop(partition)
        page.is_open = False
        left = [ticket for ticket in page.tickets if ticket.rows_open]
        self.unsettled_records -= len(left)
        self.held_bytes -= page.held_bytes
        return page.next_offset, left

    def admit(self, page: Page, record: Record, size_bytes: int) -> Ticket:
        """Our claim on the next record of an open page."""
        page.read += 1
        ticket = Ticket(page, record, size_bytes)
        page.tickets.append(ticket)
        page.admitted = record.offset + 1
        page.unsettled += 1
        page.held_bytes += size_bytes
        self.unsettled_records += 1
        self.held_bytes += size_bytes
        return ticket

    def settle(self, ticket: Ticket, how: Settled) -> bool:
        """Settle one row of the record. True when that was its last one and its page is still open.

        >>> ledger = Ledger(); orders = Partition("orders", 0); ledger.open(orders, 5)
        >>> ticket = ledger.admit(ledger.page(orders), Record("orders", 0, 5, 0, None, b"x"), 1)
        >>> ledger.settle(ticket, Settled.WRITTEN), ledger.committable()
        (True, {Partition(topic='orders', number=0): 6})
        """
        if how > ticket.worst:
            ticket.worst = how
        ticket.rows_open -= 1
        page = ticket.page
        if ticket.rows_open or not page.is_open:
            return False
        page.unsettled -= 1
        self.unsettled_records -= 1
        self.held_bytes -= page.advance()
        return True

    def settle_run(self, tickets: Iterable[Ticket], how: Settled) -> list[Ticket]:
        """As `settle`, for one row of each of these; those for which it would be True."""
        done, pages = [], set()
        for ticket in tickets:
            if how > ticket.worst:
                ticket.worst = how
            ticket.rows_open -= 1
            page = ticket.page
            if not ticket.rows_open and page.is_open:
                page.unsettled -= 1
                pages.add(page)
                done.append(ticket)
        self.unsettled_records -= len(done)
        self.held_bytes -= sum(page.advance() for page in pages)
        return done

    def rewind(self, ticket: Ticket) -> int:
        """Take back the admission of this record and of all behind it, none of which may be settled; how many they are."""
        page, dropped = ticket.page, 0
        while page.tickets and page.tickets[-1].record.offset >= ticket.record.offset:
            gone = page.tickets.pop()
            page.held_bytes -= gone.size_bytes
            self.held_bytes -= gone.size_bytes
            dropped += 1
        page.admitted = ticket.record.offset
        page.unsettled -= dropped
        self.unsettled_records -= dropped
        return dropped

    def pass_over(self, partition: Partition, position: int) -> None:
        """The client stands at `position` and gave us no more records: gaps at the end (markers, compaction) are safe too."""
        page = self._pages.get(partition)
        if page is not None and not page.tickets and position > page.next_offset:
            page.next_offset = page.admitted = position

    def go_back(self, partition: Partition, offset: int) -> None:
        """Let the partition, of which nothing is unsettled, be read from there on; commit that although more was committed."""
        page = self._pages[partition]
        if offset < page.next_offset:
            page.next_offset = page.admitted = offset
            self.commit_again(partition)

    def commit_again(self, partition: Partition) -> None:
        """Let what may be committed be so although it was already, because of what is said beside it."""
        self._pages[partition].committed = -1

    def committable(self, partitions: Collection[Partition] | None = None) -> dict[Partition, int]:
        """The next offset of each partition that advanced since it was last told to be committed."""
        pages = self._pages.values() if partitions is None else [self._pages[p] for p in partitions if p in self._pages]
        return {page.partition: page.next_offset for page in pages if page.next_offset > page.committed}

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """These offsets were acknowledged."""
        for partition, offset in offsets.items():
            page = self._pages.get(partition)
            if page is not None and page.committed < offset <= page.next_offset:  # beyond that: from before it went back
                page.committed = offset

    def held_in(self, partitions: Collection[Partition]) -> int:
        """Bytes that these partitions keep in memory."""
        return sum(self._pages[p].held_bytes for p in partitions if p in self._pages)

    def unsettled_in(self, partitions: Collection[Partition]) -> int:
        """Records of these partitions that are not settled."""
        return sum(self._pages[p].unsettled for p in partitions if p in self._pages)
