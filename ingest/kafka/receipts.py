"""Receipts: records in the dead-letter topic that say which letters were replayed. Letters themselves are never changed.

A receipt's key names the record that its letters are about, its headers say when it was replayed, how that ended, and up to which
offset of each partition of the topic letters about it are covered. So every copy of a letter that was there is covered, and one
that is sent later, about the same record, is not. A receipt stands in the partition of its letter, behind it, so that retention
takes the letter first. docs/adr/0012 has the reasons. All is pure but `ReceiptSender`, which belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kafka import KafkaProducer

from ingest.kafka import client_seams
from ingest.kafka.letters import Message
from ingest.kafka.options import DeadLetterSettings, producer_options
from ingest.model import Partition, Position, Record

REPLAYED_AT: Final = "ingest.replayed-at"
OUTCOME: Final = "ingest.outcome"
COVERED: Final = "ingest.letters-until"
STORED, SKIPPED = "stored", "skipped"
# Every letter has this header, also one about a record that was a receipt itself.
OF_LETTERS: Final = "__connect.errors.topic"


class Replayed(NamedTuple):
    """That something was replayed: when its replay began, epoch ms, and how it ended (stored or skipped)."""

    at_ms: int
    outcome: str


class Replay(NamedTuple):
    """One run of `dlq replay`: when it began, and the ends of the dead-letter topic's partitions then."""

    began_ms: int
    ends: Mapping[int, int]


def receipt(about: Position, replay: Replay, outcome: str) -> Message:
    """
    >>> receipt(Position("orders", 3, 1042), Replay(1700000000000, {0: 7}), STORED).headers[2]
    ('ingest.letters-until', b'0:7')
    """
    covered = ",".join(f"{partition}:{end}" for partition, end in replay.ends.items())
    texts = {REPLAYED_AT: str(replay.began_ms), OUTCOME: outcome, COVERED: covered}
    return Message(
        f"{about.topic}:{about.partition}:{about.offset}".encode(),
        None,
        tuple((name, text.encode()) for name, text in texts.items()),
    )


def is_receipt(record: Record) -> bool:
    """Whether a record of the dead-letter topic is a receipt and no letter."""
    if record.value is not None or record.key is None:
        return False
    names = [name for name, _ in record.headers]
    return REPLAYED_AT in names and OF_LETTERS not in names


class Receipts:
    """What is known to have been replayed. About 100 bytes of memory for each record."""

    def __init__(self) -> None:
        self._runs: list[tuple[Replayed, Mapping[int, int]]] = []
        self._known: dict[tuple[bytes, ...], int] = {}
        self._by_source: dict[Partition, dict[int, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_source.values()))

    def note(self, record: Record) -> None:
        """Take a receipt in. One that cannot be read, because somebody else wrote it, covers nothing."""
        source = _source(record.key or b"")
        run = self._run(record)
        if source is None or run is None:
            return
        partition, offset = source
        offsets = self._by_source.setdefault(partition, {})
        old = offsets.get(offset)
        if old is None or self._runs[old][0].at_ms <= self._runs[run][0].at_ms:
            offsets[offset] = run

    def of(self, source: Position | None, letter: Position) -> Replayed | None:
        """What became of the letter at this place of the dead-letter topic, which is about the record at `source`."""
        if source is None:
            return None
        run = self._by_source.get(Partition(source.topic, source.partition), {}).get(source.offset)
        if run is None:
            return None
        replayed, covered = self._runs[run]
        return replayed if letter.offset < covered.get(letter.partition, 0) else None

    def _run(self, record: Record) -> int | None:
        told = tuple(record.header(name) or b"" for name in (REPLAYED_AT, OUTCOME, COVERED))
        if told not in self._known:
            try:
                covered = dict(_pair(part) for part in told[2].decode().split(",") if part)
                self._runs.append((Replayed(int(told[0]), told[1].decode()), covered))
            except ValueError:
                return None
            self._known[told] = len(self._runs) - 1
        return self._known[told]


def _source(key: bytes) -> tuple[Partition, int] | None:
    topic, _, rest = key.decode("utf-8", "replace").partition(":")
    try:
        number, offset = _pair(rest)
    except ValueError:
        return None
    return (Partition(topic, number), offset) if topic else None


def _pair(text: str) -> tuple[int, int]:
    first, _, second = text.partition(":")
    return int(first), int(second)


class ReceiptSender:
    """Writes receipts, acknowledged by all replicas in sync. settings: of the dead-letter topic, which must be there."""

    def __init__(self, settings: DeadLetterSettings) -> None:
        self._topic = settings.topic
        self._producer: Any = client_seams.construct(KafkaProducer, producer_options(settings))
        client_seams.forbid_creation(self._producer)

    def send(self, about: Position, letter: Position, replay: Replay, outcome: str) -> Any:
        """A future that succeeds once the receipt is there. Raises the client's errors, after some seconds without a broker."""
        message = receipt(about, replay, outcome)
        return self._producer.send(
            self._topic, value=None, key=message.key, headers=list(message.headers), partition=letter.partition
        )

    def close(self) -> None:
        self._producer.close(timeout=5)
