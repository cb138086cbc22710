"""Dead letters as a source: the records of some letters, at their own positions, as flow.ports.Source for the worker's loop.

To commit means to send receipts (kafka.receipts) for the letters whose records are settled, but for those that were refused
again, which stay as they are. Holds its letters in memory, so whoever makes one bounds them. Loop's thread only, but for
wake.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import Event
from typing import Any, NamedTuple, Protocol

from kafka import errors as client

from ingest.flow.ports import Commit, Rebalances
from ingest.kafka.client_errors import translate
from ingest.kafka.pace import Pace
from ingest.model import Partition, Position, Record

MOST_RECORDS = 2_000


class Held(NamedTuple):
    """The record of a letter, and where the letter stands."""

    record: Record
    letter: Position


class Sender(Protocol):
    """Sends the receipt of a letter; the future succeeds once it is safe. None: the letter gets none."""

    def __call__(self, held: Held) -> Any | None: ...


class Lot:
    """The letters about one partition, in order of offset. at: the next one to be read. sent: so many have their receipts."""

    def __init__(self, held: Sequence[Held]) -> None:
        self.held = held
        self.offsets = [each.record.offset for each in held]
        self.at = 0
        self.sent = 0

    @property
    def end(self) -> int:
        return self.offsets[-1] + 1

    def place(self, offset: int) -> int:
        """How many letters stand before this offset."""
        return bisect_left(self.offsets, offset)


class LetterSource:
    """letters: at most one about each record. send: see Sender. pace: shared by all sources of one command."""

    def __init__(self, letters: Iterable[Held], send: Sender, pace: Pace) -> None:
        lots: dict[Partition, list[Held]] = {}
        for held in sorted(letters, key=lambda each: each.record.at):
            lots.setdefault(Partition(held.record.topic, held.record.partition), []).append(held)
        self._lots = {partition: Lot(part) for partition, part in lots.items()}
        self._send = send
        self._pace = pace
        self._bell = Event()
        self._listener: Rebalances | None = None
        self._paused: set[Partition] = set()
        self._flying: list[Any] = []
        self._committing: Mapping[Partition, Commit] = {}
        self._problem: str | None = None  # of the commit under way
        self._trouble: str | None = None  # of the last one
        self.reached = {partition: lot.offsets[0] for partition, lot in self._lots.items()}

    def start(self, listener: Rebalances) -> None:
        self._listener = listener

    def close(self, timeout_s: float) -> None:
        """Nothing is open here; the sender of receipts belongs to whoever made it."""

    # ------------------------------------------------------------ reading

    def poll(self, timeout_s: float) -> Sequence[Record]:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.assigned({partition: Commit(lot.offsets[0]) for partition, lot in self._lots.items()})
        found: list[Record] = []
        room = self._pace.room(MOST_RECORDS)
        for partition, lot in self._lots.items():
            if partition not in self._paused and room > len(found):
                part = lot.held[lot.at : lot.at + room - len(found)]
                lot.at += len(part)
                found += (held.record for held in part)
        self._pace.took(len(found))
        if not found:
            self._bell.wait(timeout_s)
            self._bell.clear()
        return found

    def wake(self) -> None:
        """End the poll that waits, or the next one. Any thread."""
        self._bell.set()

    # ------------------------------------------------------------ receipts

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        self._committing = offsets
        try:
            for partition, commit in offsets.items():
                lot = self._lots[partition]
                futures = map(self._send, lot.held[lot.sent : lot.place(commit.offset)])
                self._flying += (future for future in futures if future is not None)
        except client.KafkaError as error:
            self._problem = self._sentence(error)

    @property
    def commit_in_flight(self) -> bool:
        return not all(future.is_done for future in self._flying)

    def take_commit_error(self) -> str | None:
        """Also what ends a commit: its receipts are safe, or will all be sent again."""
        flying, self._flying = self._flying, []
        offsets, self._committing = self._committing, {}
        failed = next((future.exception for future in flying if future.failed()), None)
        error = self._sentence(failed) if failed is not None else self._problem
        self._problem = None
        if offsets:
            self._trouble = error
        for partition, commit in offsets.items() if error is None else ():
            lot = self._lots[partition]
            lot.sent = max(lot.sent, lot.place(commit.offset))
            self.reached[partition] = commit.offset
        return error

    def _sentence(self, error: Exception) -> str:
        return f"receipts of replayed letters cannot be sent: {translate(error, 'writing to the dead-letter topic').text}"

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:  # noqa: ARG002
        """Nobody revokes a letter."""
        return False

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    # ------------------------------------------------------------ partitions

    def pause(self, partitions: Collection[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        self._paused.difference_update(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        lot = self._lots[partition]
        lot.at = lot.place(offset)

    def position(self, partition: Partition) -> int | None:
        lot = self._lots[partition]
        return lot.offsets[lot.at] if lot.at < len(lot.offsets) else lot.end

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {partition: self._lots[partition].end for partition in partitions}

    def lag(self, partition: Partition) -> int | None:
        lot = self._lots[partition]
        return len(lot.held) - lot.at

    def partition_count(self, topic: str) -> int | None:  # noqa: ARG002
        """Not known: what a letter says of a whole table, a truncate, is for a person to judge."""
        return None

    def is_healthy(self) -> tuple[bool, str]:
        return self._trouble is None, self._trouble or ""
