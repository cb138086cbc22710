"""Bytes of a fetch answer -> records, without the client's one object and seven calls per record.

Pure: bytes in, model.Record out; batches of format 2 only, the others are the client's own business (see client_seams).
Runs in the thread that polls. Checked against the client's decoder at every start, see `agrees_with_client`.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import crc32c
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from ingest.kafka.codecs import CODEC_MASK, decompress
from ingest.model import Record

# Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and last timestamp, producer id and epoch,
# base sequence, number of records. The length counts from behind itself, the CRC covers what follows it.
_HEADER = Struct(">qiibIhiqqqhii")
_HEAD = Struct(">qiib")
_LENGTH_FROM = 12
_CRC_FROM = 21
_CONTROL_KIND = Struct(">hh")

LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20


class CorruptBatch(Exception):
    """The bytes of a batch contradict its checksum or themselves."""


class BatchHead(NamedTuple):
    """The header of a batch that is complete in its buffer, and where its records are."""

    base_offset: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    last_ms: int
    producer_id: int
    records: int
    start: int
    end: int

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL)


def read_head(data: bytes, at: int) -> BatchHead | None:
    """The header of the batch that begins at `at`; None at the end, also where the broker cut the last batch short."""
    if len(data) - at < _HEAD.size:
        return None
    base_offset, length, epoch, magic = _HEAD.unpack_from(data, at)
    end = at + _LENGTH_FROM + length
    if end > len(data):
        return None
    if magic != 2:
        return BatchHead(base_offset, epoch, magic, 0, 0, 0, -1, -1, -1, 0, at, end)
    if end - at < _HEADER.size:
        raise CorruptBatch("it is shorter than its own header")
    _, _, _, _, crc, attributes, delta, first_ms, last_ms, producer_id, _, _, count = _HEADER.unpack_from(data, at)
    return BatchHead(base_offset, epoch, magic, crc, attributes, delta, first_ms, last_ms, producer_id, count, at, end)


def check_crc(data: bytes, head: BatchHead) -> None:
    """Raises CorruptBatch when the checksum of the batch is not the one that its header tells."""
    if crc32c.crc32c(memoryview(data)[head.start + _CRC_FROM : head.end]) != head.crc:
        raise CorruptBatch("its checksum is wrong")


def is_abort_marker(data: bytes, head: BatchHead) -> bool:
    """Whether a control batch ends its transaction by aborting it."""
    record = records_of("", 0, data, head)[0]
    _, kind = _CONTROL_KIND.unpack_from(record.key or b"\0\0\0\1")
    return bool(kind == 0)


def records_of(topic: str, partition: int, data: bytes, head: BatchHead) -> list[Record]:
    """The records of a batch, in order. Raises CorruptBatch or MissingCodec."""
    codec = head.attributes & CODEC_MASK
    start = head.start + _HEADER.size
    payload = decompress(data[start : head.end], codec) if codec else data
    try:
        records, end = _unpack(topic, partition, payload, 0 if codec else start, head)
    except IndexError as error:
        raise CorruptBatch("a record reaches beyond its end") from error
    if end != (len(payload) if codec else head.end):
        raise CorruptBatch("its records are shorter or longer than its header says")
    return records


def _unpack(topic: str, partition: int, data: bytes, at: int, head: BatchHead) -> tuple[list[Record], int]:
    """The records, and where the last ends. Varints of one and two bytes are read in line: 1.0 us a record instead of 1.4."""
    base, first_ms, epoch, records = head.base_offset, head.first_ms, head.leader_epoch, list[Record]()
    fixed_ms = head.last_ms if head.attributes & LOG_APPEND_TIME else None
    new, add = tuple.__new__, records.append
    none: Sequence[tuple[str, bytes | None]] = ()
    for _ in range(head.records):
        while data[at] > 127:  # the record's length is told again by its parts
            at += 1
        at += 2  # its last byte, and the attributes, which format 2 does not use
        if (n := data[at]) < 128:
            at += 1
        elif (more := data[at + 1]) < 128:
            n, at = n + (more << 7) - 128, at + 2
        else:
            n, at = _varint(data, at)
        ms = first_ms + (n >> 1 ^ -(n & 1)) if fixed_ms is None else fixed_ms
        if (n := data[at]) < 128:
            at += 1
        elif (more := data[at + 1]) < 128:
            n, at = n + (more << 7) - 128, at + 2
        else:
            n, at = _varint(data, at)
        offset = base + (n >> 1)
        if (n := data[at]) < 128:
            at += 1
        else:
            n, at = _varint(data, at)
        key = None if n & 1 else data[at : (at := at + (n >> 1))]
        if (n := data[at]) < 128:
            at += 1
        elif (more := data[at + 1]) < 128:
            n, at = n + (more << 7) - 128, at + 2
        else:
            n, at = _varint(data, at)
        value = None if n & 1 else data[at : (at := at + (n >> 1))]
        headers, at = _headers(data, at) if data[at] else (none, at + 1)
        add(new(Record, (topic, partition, offset, ms, key, value, headers, epoch)))
    return records, at


def agrees_with_client() -> bool:
    """Whether this decoder and the client's make the same of a batch with every kind of field; asked once at start."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    long, headers = b"x" * 20_000, [("a", b"1"), ("b", None), ("ü" * 70, b"")]
    rows = [(b"k", b"v", []), (None, None, headers), (b"", b"", []), (b"k" * 64, long, headers), (long, b"y" * 64, [])]
    for number, (key, value, tags) in enumerate(rows * 30):
        builder.append(number, timestamp=1_700_000_000_000 - 40_000 * (number % 3), key=key, value=value, headers=tags)
    data = bytes(builder.build())
    theirs = [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in MemoryRecords(data).next_batch()]
    head = read_head(data, 0)
    if head is None:
        return False
    check_crc(data, head)
    return [(r.offset, r.timestamp_ms, r.key, r.value, list(r.headers)) for r in records_of("", 0, data, head)] == theirs


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned number at `at`, and where the next field begins."""
    number = shift = 0
    while (byte := data[at]) > 127:
        number |= (byte & 127) << shift
        shift += 7
        at += 1
    return number | byte << shift, at + 1


def _blob(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them; -1 is null."""
    size, at = _varint(data, at)
    end = at + (size >> 1)
    return (None, at) if size & 1 else (data[at:end], end)


def _headers(data: bytes, at: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, at = _varint(data, at)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count >> 1):
        name, at = _blob(data, at)
        value, at = _blob(data, at)
        # A producer may write any bytes as a name; one bad record must not stop its partition.
        headers.append(((name or b"").decode("utf-8", "backslashreplace"), value))
    return headers, at
