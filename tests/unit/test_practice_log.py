"""The practice broker's partitions: offsets, duplicates, refusals, retention."""

from __future__ import annotations

import doctest
import struct
from typing import Any

import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from ingest.practice.broker import codes
from ingest.practice.broker.codes import Code
from ingest.practice.broker.log import PartitionLog, Topics


def batch_of(*values: bytes, producer: int = -1, epoch: int = 0, sequence: int = -1, at_ms: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=producer,
        producer_epoch=epoch if producer >= 0 else -1,
        base_sequence=sequence,
        batch_size=1 << 20,
    )
    for place, value in enumerate(values):
        builder.append(place, at_ms, None, value, [])
    return bytes(builder.build())


def read_back(log: PartitionLog, offset: int = 0, max_bytes: int = 1 << 20) -> list[tuple[int, Any]]:
    records, found = log.read(offset, max_bytes), []
    while records:
        (length,) = struct.unpack_from(">i", records, 8)
        found += [(record.offset, record.value) for record in DefaultRecordBatch(records[: length + 12])]
        records = records[length + 12 :]
    return found


def test_records_get_offsets_in_order_of_arrival() -> None:
    log = PartitionLog()
    assert [0, 2] == [log.append(batch_of(*values)).base_offset for values in ((b"a", b"b"), (b"c",))]
    assert [(0, b"a"), (1, b"b"), (2, b"c")] == read_back(log)
    assert 3 == log.end


def test_reading_starts_with_the_batch_that_holds_the_offset_and_gives_one_at_least() -> None:
    log = PartitionLog()
    for values in ((b"a", b"b"), (b"c",), (b"d",)):
        log.append(batch_of(*values))
    assert [(0, b"a"), (1, b"b")] == read_back(log, 1, max_bytes=1)
    assert [(2, b"c"), (3, b"d")] == read_back(log, 2)


def test_a_batch_of_an_idempotent_producer_that_comes_again_is_not_stored_twice() -> None:
    log = PartitionLog()
    first, second = batch_of(b"a", producer=7, sequence=0), batch_of(b"b", b"c", producer=7, sequence=1)
    assert [0, 1, 0, 1] == [log.append(batch).base_offset for batch in (first, second, first, second)]
    assert 3 == log.end


@pytest.mark.parametrize(
    ("epoch", "sequence", "code"),
    [(0, 5, Code.OUT_OF_ORDER_SEQUENCE_NUMBER), (1, 0, Code.NONE), (1, 3, Code.OUT_OF_ORDER_SEQUENCE_NUMBER)],
    ids=["a gap", "a new epoch starts at zero", "a new epoch that does not"],
)
def test_sequences_of_an_idempotent_producer_have_no_gap(epoch: int, sequence: int, code: Code) -> None:
    log = PartitionLog()
    log.append(batch_of(b"a", producer=7, sequence=0))
    assert code is log.append(batch_of(b"b", producer=7, epoch=epoch, sequence=sequence)).code


def test_a_former_epoch_of_a_producer_is_fenced() -> None:
    log = PartitionLog()
    log.append(batch_of(b"a", producer=7, epoch=2, sequence=0))
    assert Code.INVALID_PRODUCER_EPOCH is log.append(batch_of(b"b", producer=7, epoch=1, sequence=0)).code


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda batch: batch[:-1], Code.CORRUPT_MESSAGE),
        (lambda batch: batch[:-1] + b"\xff", Code.CORRUPT_MESSAGE),
        (lambda batch: batch[:16] + b"\x01" + batch[17:], Code.UNSUPPORTED_FOR_MESSAGE_FORMAT),
        (lambda batch: b"", Code.CORRUPT_MESSAGE),
    ],
    ids=["ends early", "checksum", "old format", "empty"],
)
def test_what_is_no_sound_batch_is_refused_whole(spoil: Any, code: Code) -> None:
    log = PartitionLog()
    assert code is log.append(spoil(batch_of(b"abc"))).code
    assert 0 == log.end


def test_a_batch_above_the_limit_is_refused() -> None:
    assert Code.MESSAGE_TOO_LARGE is PartitionLog(max_message_bytes=100).append(batch_of(b"x" * 100)).code


def test_retention_moves_the_start_and_forgets_whole_batches() -> None:
    log = PartitionLog()
    for values in ((b"a", b"b"), (b"c", b"d"), (b"e",)):
        log.append(batch_of(*values))
    log.trim(3)
    assert (3, 5, 2) == (log.start, log.end, len(log.batches()))
    log.trim(99)
    assert (5, 5, 0) == (log.start, log.end, len(log.batches()))


def test_offsets_may_have_gaps() -> None:
    log = PartitionLog()
    log.append(batch_of(b"a"))
    log.skip(10)
    log.append(batch_of(b"b"))
    assert [(0, b"a"), (11, b"b")] == read_back(log)


def test_an_offset_is_found_by_time() -> None:
    log = PartitionLog()
    for at_ms in (100, 200, 300):
        log.append(batch_of(b"a", at_ms=at_ms))
    assert [(0, 100), (1, 200), (-1, -1)] == [log.offset_at(at_ms) for at_ms in (50, 150, 301)]


def test_topics_grow_and_are_made_once() -> None:
    topics = Topics(partitions=3, max_message_bytes=1000)
    assert 3 == len(topics.create("a"))
    assert topics.create("a", 9) is topics.partitions("a")
    topics.grow("a", 5)
    assert 5 == len(topics.partitions("a"))
    assert topics.find("a", 5) is topics.find("b", 0) is None


def test_the_examples_in_the_docstrings_run() -> None:
    assert 0 == doctest.testmod(codes).failed


def test_an_unknown_api_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="OFFSET_COMMIT"):
        codes.api_of("CommitOffset")
