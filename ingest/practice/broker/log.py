"""Partitions as lists of record batches, and the topics made of them.

Holds bytes in memory and knows record batches of format 2 by their header alone. No sockets, no clock, no groups.
Touched by the broker's loop thread only.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from typing import NamedTuple

from crc32c import crc32c

from ingest.practice.broker.codes import Code

# The fields of Header, in their order on the wire.
HEADER = struct.Struct(">qiibIhiqqqhii")
LENGTH_END, EPOCH_END, CRC_FROM, MAGIC = 12, 16, 21, 2
BASE_OFFSET = struct.Struct(">q")
LEADER_EPOCH = (0).to_bytes(4, "big")

# Kafka remembers this many batches per idempotent producer, so that a batch sent again is recognised.
REMEMBERED_BATCHES = 5
SEQUENCES = 1 << 31


class Header(NamedTuple):
    """The fixed front of a record batch."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    last_ms: int
    producer: int
    producer_epoch: int
    sequence: int
    records: int


class Appended(NamedTuple):
    """Where a produce request's records went, or why they did not."""

    code: Code
    base_offset: int = -1


class _Stored(NamedTuple):
    base_offset: int
    last_ms: int
    data: bytes


class _Sent(NamedTuple):
    epoch: int
    first: int
    last: int
    base_offset: int


class PartitionLog:
    """The record batches of one partition. Offsets run from `start` to `end`; `end` is the next one to be given."""

    def __init__(self, *, max_message_bytes: int = 1_048_588) -> None:
        self.start = 0
        self.end = 0
        self.max_message_bytes = max_message_bytes
        self._batches: list[_Stored] = []
        self._sent: dict[int, deque[_Sent]] = {}

    def append(self, records: bytes) -> Appended:
        """Store all batches of one produce request; nothing is stored when one of them is refused."""
        try:
            batches = list(_split(records))
        except struct.error:
            return Appended(Code.CORRUPT_MESSAGE)
        for header, data in batches:
            if code := self._fault_of(header, data):
                return Appended(code)
        base_offsets = [self._append_one(header, data) for header, data in batches]
        return Appended(Code.NONE, base_offsets[0]) if base_offsets else Appended(Code.CORRUPT_MESSAGE)

    def _fault_of(self, header: Header, data: bytes) -> Code:
        if header.magic != MAGIC:
            return Code.UNSUPPORTED_FOR_MESSAGE_FORMAT
        if len(data) > self.max_message_bytes:
            return Code.MESSAGE_TOO_LARGE
        if crc32c(data[CRC_FROM:]) != header.crc:
            return Code.CORRUPT_MESSAGE
        return self._sequence_fault(header)

    def _sequence_fault(self, header: Header) -> Code:
        last = self._last_sent(header.producer)
        if last is None or self._first_offset_of(header) is not None:
            return Code.NONE
        if header.producer_epoch < last.epoch:
            return Code.INVALID_PRODUCER_EPOCH
        expected = 0 if header.producer_epoch > last.epoch else (last.last + 1) % SEQUENCES
        return Code.NONE if header.sequence == expected else Code.OUT_OF_ORDER_SEQUENCE_NUMBER

    def _last_sent(self, producer: int) -> _Sent | None:
        sent = self._sent.get(producer)
        return sent[-1] if sent else None

    def _first_offset_of(self, header: Header) -> int | None:
        """The base offset that this batch of an idempotent producer got when it came the first time."""
        for sent in self._sent.get(header.producer, ()):
            if (sent.epoch, sent.first) == (header.producer_epoch, header.sequence):
                return sent.base_offset
        return None

    def _append_one(self, header: Header, data: bytes) -> int:
        if (known := self._first_offset_of(header)) is not None:
            return known
        base_offset = self.end
        # The checksum starts after these fields, so they may be written over.
        stamped = BASE_OFFSET.pack(base_offset) + data[BASE_OFFSET.size : LENGTH_END] + LEADER_EPOCH + data[EPOCH_END:]
        self._batches.append(_Stored(base_offset, header.last_ms, stamped))
        self.end += header.last_offset_delta + 1
        self._remember(header, base_offset)
        return base_offset

    def _remember(self, header: Header, base_offset: int) -> None:
        if header.producer < 0:
            return
        last = (header.sequence + header.last_offset_delta) % SEQUENCES
        sent = self._sent.setdefault(header.producer, deque(maxlen=REMEMBERED_BATCHES))
        sent.append(_Sent(header.producer_epoch, header.sequence, last, base_offset))

    def read(self, offset: int, max_bytes: int) -> bytes:
        """Whole batches from the one that holds `offset`: at least one, then as many as fit in max_bytes."""
        at = max(0, bisect_right(self._batches, offset, key=lambda batch: batch.base_offset) - 1)
        found: list[bytes] = []
        size_bytes = 0
        for batch in self._batches[at:]:
            size_bytes += len(batch.data)
            if found and size_bytes > max_bytes:
                break
            found.append(batch.data)
        return b"".join(found)

    def offset_at(self, timestamp_ms: int) -> tuple[int, int]:
        """Offset and time of the first batch whose last record is not older than timestamp_ms; (-1, -1) if none."""
        for batch in self._batches:
            if batch.last_ms >= timestamp_ms:
                return batch.base_offset, batch.last_ms
        return -1, -1

    def trim(self, before_offset: int) -> None:
        """Forget what lies before an offset, as retention does."""
        self.start = max(self.start, min(before_offset, self.end))
        keep = bisect_right(self._batches, self.start, key=lambda batch: batch.base_offset) - 1
        del self._batches[: max(0, keep)]
        if self.start == self.end:
            self._batches.clear()

    def skip(self, offsets: int) -> None:
        """Leave a gap of that many offsets, as transactions and compaction do."""
        self.end += offsets

    def batches(self) -> list[bytes]:
        """What is stored, batch by batch."""
        return [batch.data for batch in self._batches]


def _split(records: bytes) -> list[tuple[Header, bytes]]:
    """The batches of a produce request; struct.error where the bytes end early."""
    found: list[tuple[Header, bytes]] = []
    at = 0
    while at < len(records):
        header = Header(*HEADER.unpack_from(records, at))
        after = at + LENGTH_END + header.length
        if after > len(records) or header.length < HEADER.size - LENGTH_END:
            raise struct.error("record batch ends early")
        found.append((header, records[at:after]))
        at = after
    return found


class Topics:
    """All topics of the broker, by name."""

    def __init__(self, *, partitions: int, max_message_bytes: int) -> None:
        self._default_partitions = partitions
        self._max_message_bytes = max_message_bytes
        self._logs: dict[str, list[PartitionLog]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._logs

    def names(self) -> list[str]:
        return list(self._logs)

    def partitions(self, name: str) -> list[PartitionLog]:
        """The partitions of a topic in order of their numbers, [] for an unknown one."""
        return self._logs.get(name, [])

    def find(self, name: str, number: int) -> PartitionLog | None:
        logs = self.partitions(name)
        return logs[number] if 0 <= number < len(logs) else None

    def create(self, name: str, partitions: int = -1) -> list[PartitionLog]:
        """The topic, made with that many partitions (-1: the broker's default) if there is none yet."""
        if name not in self._logs:
            self._logs[name] = []
            self.grow(name, partitions if partitions > 0 else self._default_partitions)
        return self._logs[name]

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions up to that count."""
        logs = self._logs[name]
        logs.extend(PartitionLog(max_message_bytes=self._max_message_bytes) for _ in range(partitions - len(logs)))

    def delete(self, name: str) -> None:
        self._logs.pop(name, None)
