"""The fast decoder against the client's own, and what it does with bytes that are not as they should be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition, codec
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatchBuilder

from ingest.errors import Stop
from ingest.kafka.client_errors import translate
from ingest.kafka.client_seams import FastRecords, GuardedRecords, UnreadableBatch, check_client, decoder
from ingest.kafka.codecs import missing_packages
from ingest.kafka.fast_decode import CorruptBatch, agrees_with_client, check_crc, read_head, records_of
from ingest.model import Record

HERE = TopicPartition("t", 3)
NO_PRODUCER = (-1, -1, -1)

Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
blobs = st.none() | st.binary(max_size=40) | st.sampled_from([63, 64, 127, 128, 8191, 8192, 70_000]).map(lambda size: b"x" * size)
rows = st.tuples(blobs, blobs, st.lists(st.tuples(st.text(max_size=70), st.none() | st.binary(max_size=70)), max_size=3))


def batch(
    some: list[Row], base: int = 0, *, kind: int = 0, transaction: bool = False, producer: int = -1, first_ms: int = 0
) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, kind, transaction, producer, -1 if producer < 0 else 0, -1 if producer < 0 else 0, 1 << 30
    )
    for number, (key, value, headers) in enumerate(some):
        builder.append(number, first_ms + number * 7 - 1_000 * (number % 2), key, value, headers)
    data = bytearray(builder.build())
    data[:8] = base.to_bytes(8, "big")
    return bytes(data)


def plain(count: int, base: int = 0, **options: Any) -> bytes:
    return batch([(None, b"%d" % (base + number), []) for number in range(count)], base, **options)


def fetched(data: bytes, start: int = 0, *, aborted: list[Any] | None = None, kind: Any = FastRecords) -> Any:
    return kind(start, HERE, MemoryRecords(data), isolation_level=IsolationLevel.READ_COMMITTED, aborted_transactions=aborted)


def drained(records: Any, step: int = 7) -> Iterator[Record]:
    """As the client's fetcher takes them."""
    while records:
        yield from records.take(step)


def as_client(data: bytes) -> list[Any]:
    found = MemoryRecords(data).next_batch()
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in found]


# ---------------------------------------------------------------- the same as the client


def test_the_decoder_that_is_used_is_the_fast_one() -> None:
    assert agrees_with_client()
    assert decoder() is FastRecords


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=80), st.sampled_from([0, 1, 2, 3, 4]), st.integers(0, 2**50), st.integers(0, 2**41))
def test_every_batch_is_decoded_as_the_client_decodes_it(some: list[Row], kind: int, base: int, first_ms: int) -> None:
    data = batch(some, base, kind=kind, first_ms=first_ms)
    head = read_head(data, 0)
    assert head is not None
    check_crc(data, head)
    found = records_of("t", 3, data, head)
    assert [(r.offset, r.timestamp_ms, r.key, r.value, list(r.headers)) for r in found] == as_client(data)


@pytest.mark.parametrize("kind", [FastRecords, GuardedRecords])
@pytest.mark.parametrize("start", [0, 1, 9, 10, 11, 25])
def test_reading_begins_inside_a_batch_and_ends_with_the_last(kind: Any, start: int) -> None:
    records = fetched(plain(10) + plain(10, 10, kind=4) + plain(6, 20), start, kind=kind)
    assert [record.value for record in drained(records)] == [b"%d" % number for number in range(start, 26)]
    assert records.next_fetch_offset == 26


def test_a_batch_that_the_broker_cut_short_is_left_for_the_next_fetch() -> None:
    records = fetched(plain(5) + plain(5, 5)[:-3])
    assert len(list(drained(records))) == 5
    assert records.next_fetch_offset == 5


def test_the_end_of_a_compacted_batch_is_passed() -> None:
    data = bytearray(plain(5))
    data[23:27] = (99).to_bytes(4, "big")  # the last offset stays when compaction takes the last records
    records = fetched(with_crc(data))
    assert len(list(drained(records))) == 5
    assert records.next_fetch_offset == 100


def test_log_append_time_is_the_time_of_the_whole_batch() -> None:
    data = bytearray(plain(3))
    data[22] |= 0x08
    data[35:43] = (1_234_567).to_bytes(8, "big")
    assert {record.timestamp_ms for record in drained(fetched(with_crc(data)))} == {1_234_567}


def test_header_names_that_are_no_text_do_not_stop_a_partition() -> None:
    data = with_crc(bytearray(batch([(None, b"v", [("ab", b"1")])]).replace(b"ab", b"\xffb")))
    assert next(drained(fetched(data))).headers == [("\\xffb", b"1")]


@pytest.mark.parametrize("kind", [FastRecords, GuardedRecords])
def test_aborted_transactions_and_markers_stay_unseen(kind: Any) -> None:
    data = plain(2, 0, transaction=True, producer=7) + plain(2, 2, transaction=True, producer=8)
    data += (
        marker(4, 7, abort=True)
        + marker(5, 8, abort=False)
        + plain(2, 6, transaction=True, producer=7)
        + marker(8, 7, abort=False)
    )
    records = fetched(data, aborted=[SimpleNamespace(producer_id=7, first_offset=0)], kind=kind)
    assert [record.offset for record in drained(records)] == [2, 3, 6, 7]
    assert records.next_fetch_offset == 9


@pytest.mark.parametrize("magic", [0, 1])
def test_the_formats_before_kafka_0_11_are_read_by_the_client(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    for number in range(9):
        builder.append(number, timestamp=1_000 + number, key=b"k", value=b"%d" % number)
    records = fetched(bytes(builder.build()), 2)
    assert [record.value for record in drained(records, 3)] == [b"%d" % number for number in range(2, 9)]
    assert records.next_fetch_offset == 9


# ---------------------------------------------------------------- bytes that are wrong


@pytest.mark.parametrize("kind", [FastRecords, GuardedRecords])
def test_a_corrupt_batch_is_told_once_its_good_neighbours_are_out_and_ends_the_piece(kind: Any) -> None:
    bad = bytearray(plain(5, 5))
    bad[-1] ^= 1
    records = fetched(plain(5) + bytes(bad), kind=kind)
    assert len(records.take(100)) == 5
    with pytest.raises(UnreadableBatch) as caught:
        records.take(100)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 3, 5)
    assert not records
    stop = translate(caught.value, "reading")
    assert isinstance(stop, Stop)
    assert stop.code == "kafka.corrupt_batch"
    assert stop.text.startswith("the batch at offset 5 of topic t, partition 3 cannot be unpacked")


@pytest.mark.parametrize("kind", [FastRecords, GuardedRecords])
def test_a_missing_codec_is_told_by_name(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    data = plain(200, kind=4)
    monkeypatch.setattr(codec, "zstd", None)
    records = fetched(data, kind=kind)
    with pytest.raises(UnreadableBatch) as caught:
        records.take(10)
    assert not records
    stop = translate(caught.value, "reading")
    assert isinstance(stop, Stop)
    assert stop.code == "kafka.codec_missing"
    assert "zstd" in stop.text


@settings(max_examples=300, deadline=None)
@given(st.integers(61, 400), st.integers(1, 255))
def test_no_damage_behind_a_right_checksum_gets_further_than_corrupt(at: int, flip: int) -> None:
    """A broken producer can write nonsense with a good checksum; the decoder must neither hang nor crash otherwise."""
    data = bytearray(batch([(b"key", os.urandom(20), [("h", b"v")])] * 10))
    data[at % len(data)] ^= flip
    head = read_head(bytes(data), 0)
    if head is None:
        return
    try:
        records_of("t", 3, bytes(data), head._replace(attributes=0))
    except CorruptBatch:
        return


def test_every_package_is_there_and_the_client_is_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_packages() == []
    check_client()
    monkeypatch.setattr("kafka.__version__", "3.1.0")
    with pytest.raises(Stop, match=r"kafka-python 3\.1\.0 is installed: install kafka-python>=3\.0\.12,<3\.1"):
        check_client()


# ---------------------------------------------------------------- helpers


def with_crc(data: bytearray) -> bytes:
    import crc32c

    data[17:21] = crc32c.crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def marker(offset: int, producer: int, *, abort: bool) -> bytes:
    key = b"\0\0" + (b"\0\0" if abort else b"\0\1")
    data = bytearray(batch([(key, b"\0\0\0\0\0\0", [])], offset, transaction=True, producer=producer))
    data[22] |= 0x20
    return with_crc(data)
