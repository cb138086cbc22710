"""Intake: from a Kafka record to changes in lanes, a skip, a dead letter, or a place in the queue of what must wait.

A record that needs a schema or the description of a table holds back its partition, so that the order of a key holds.
Runs in the loop's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ingest.errors import NewFields, Parked, Reject
from ingest.flow.express import Ways
from ingest.flow.going_back import compares_no_more, partitions_added
from ingest.flow.ledger import Page, Settled, Ticket
from ingest.flow.ports import Decoder, Router
from ingest.flow.state import State
from ingest.flow.tables import Target
from ingest.flow.truncates import Truncates
from ingest.model import Change, Envelope, NeedSchema, Op, Partition, Record, Skip

Need = tuple[str, object]  # ("schema", id), ("table" or "fields", full name), ("truncate", position)
RejectRecord = Callable[[Ticket, Reject, str], None]


class Missing(Exception):
    """The record must wait for this need. Never leaves this module."""

    def __init__(self, need: Need) -> None:
        self.need = need


class Intake:
    """reject: called with the ticket, the reason and the stage ("decode" or "map") for a record that can never be stored."""

    def __init__(self, state: State, decoder: Decoder, router: Router, reject: RejectRecord) -> None:
        self._state = state
        self._decoder = decoder
        self._router = router
        self._reject = reject
        self._ways = Ways(state, decoder)
        self.truncates = Truncates(state)

    def admit(self, records: Sequence[Record], now_s: float, now_ms: int) -> None:
        """Take the records in; those of partitions that are handed back meanwhile are dropped, Kafka will give them again."""
        state = self._state
        overhead, ledger, books, held = state.rules.record_overhead_bytes, state.ledger, state.books, state.held
        handed_back = state.handed_back
        handed_back.clear()
        page: Page | None = None
        for record in records:
            if page is None or handed_back or not is_of(page, record):  # they come partition by partition
                page = self._page(record)
                if page is None:
                    continue
            value_bytes = len(record.value or b"")
            row_bytes = overhead if value_bytes < overhead else value_bytes  # a large text is there twice
            ticket = ledger.admit(page, record, row_bytes + value_bytes + len(record.key or b""))
            books.read += 1
            books.repeats += record.offset < page.known_until
            if held and (waiting := held.get(page.partition)) is not None:
                waiting.append(ticket)
            else:
                self._process(ticket, now_s, now_ms)

    def resume(self, need: Need, now_s: float, now_ms: int) -> None:
        """What was needed has come, or is known never to come: go on with the partitions that waited for it."""
        state = self._state
        for partition in [p for p, wanted in state.needs.items() if wanted == need]:
            del state.needs[partition]
            waiting = state.held.pop(partition)
            state.handed_back.discard(partition)
            while waiting and partition not in state.held and partition not in state.handed_back:
                self._process(waiting.popleft(), now_s, now_ms)
            if waiting and partition in state.held:
                state.held[partition].extend(waiting)

    def _page(self, record: Record) -> Page | None:
        """The stay that the record belongs to; None where its partition is not ours, or not any longer."""
        partition = Partition(record.topic, record.partition)
        ledger = self._state.ledger
        return None if partition in self._state.handed_back or partition not in ledger else ledger.page(partition)

    def _process(self, ticket: Ticket, now_s: float, now_ms: int) -> None:
        """Decode, route and map one record, and let it go where it belongs."""
        express = self._ways.change(ticket, now_ms) if not self._state.added else None
        if express is not None:
            self._add(ticket, [express], now_s)
            return
        stage = "decode"
        try:
            decoded = self._decoder.decode(ticket.record)
            if isinstance(decoded, Skip):
                if decoded.resolved is not None:
                    ticket.page.note_resolved(ticket.record.offset, decoded.resolved)
                self._skip(ticket, decoded.reason)
                return
            if isinstance(decoded, NeedSchema):
                raise Missing(("schema", decoded.id))
            stage = "map"
            self._add(ticket, self._changes(ticket, decoded, now_ms), now_s)
        except Missing as missing:
            self._hold(ticket, missing.need)
        except Reject as reject:
            self._reject(ticket, reject, stage)
        except Parked as error:
            self._state.park(named(error, ticket), now_ms)
            self._state.rewind(ticket)

    def _changes(self, ticket: Ticket, envelopes: Sequence[Envelope], now_ms: int) -> list[tuple[str, Change]]:
        """One change per row, with the full name of its table; a truncate that has been seen to gives none."""
        changes = []
        for envelope in envelopes:
            name = self._router.route(ticket.record.topic, envelope.table)
            target = self._target(name, ticket)
            ticket.table = name
            if envelope.op is Op.TRUNCATE:
                self._truncate(target, ticket, envelope if len(envelopes) == 1 else None, now_ms)
                continue
            try:
                change = target.mapper.map(envelope, ticket.record, now_ms)
            except NewFields as news:
                self._state.tables.newcomers.note(name, news.columns)
                raise Missing(("fields", name)) from None
            if self._state.added:
                self._look_at_added(ticket.page.partition, target, envelope, change)
            changes.append((name, change))
            if len(envelopes) == 1:
                self._ways.learn(ticket, envelope, name, target, change, now_ms)
        return changes

    def _look_at_added(self, partition: Partition, target: Target, envelope: Envelope, change: Change) -> None:
        """The first row of a partition that is new in its topic. Raises Parked where its versions do not compare with those that
        are stored: in the epoch in which that was found, and in those before."""
        state = self._state
        if partition not in state.added:
            return
        epoch, known = (change.version or "")[:2], state.added[partition]
        if compares_no_more(change, envelope) and not target.mapper.keyed_by_position and not (known and epoch > known):
            state.added[partition] = epoch
            state.ledger.commit_again(partition)
            raise partitions_added(partition, target.table.full_name)
        del state.added[partition]

    def _target(self, name: str, ticket: Ticket) -> Target:
        state, partition = self._state, ticket.page.partition
        parked = state.parking.error(f"table:{name}") if len(state.parking) else None
        target = state.tables.get(name)
        if target is None:
            state.tables.want(name, partition)
        elif partition not in target.feeders:
            target.feeders.add(partition)
        if parked is not None:
            raise parked
        if target is None:
            raise Missing(("table", name))
        return target

    def _truncate(self, target: Target, ticket: Ticket, envelope: Envelope | None, now_ms: int) -> None:
        """Let a truncate pass, or hold its partition until the table is empty. envelope: None where it is one of several rows."""
        if self.truncates.is_done(target, ticket.record.at):
            return
        self.truncates.begin(target, ticket, envelope, now_ms)
        raise Missing(("truncate", ticket.record.at))

    def _add(self, ticket: Ticket, changes: list[tuple[str, Change]], now_s: float) -> None:
        if not changes:
            self._skip(ticket, "truncate")
            return
        ticket.rows_open = len(changes)
        page = ticket.page
        for name, change in changes:
            change.ticket = ticket
            if (source_ms := change.source_ts_ms) is not None and source_ms > page.newest_ms:
                page.newest_ms = source_ms
            self._state.lanes.add(name, change, now_s)

    def _skip(self, ticket: Ticket, reason: str) -> None:
        state = self._state
        state.books.skips[reason] += 1
        if state.ledger.settle(ticket, Settled.SKIPPED):
            state.books.settled(ticket)

    def _hold(self, ticket: Ticket, need: Need) -> None:
        partition = ticket.page.partition
        self._state.held[partition] = deque([ticket])
        self._state.needs[partition] = need


def is_of(page: Page, record: Record) -> bool:
    topic, number = page.partition
    return page.is_open and record.partition == number and record.topic == topic


def named(error: Parked, ticket: Ticket) -> Parked:
    """The error with a subject: its own, or the record's topic."""
    return error if error.subject else Parked(error.code, error.text, subject=f"topic:{ticket.record.topic}")
