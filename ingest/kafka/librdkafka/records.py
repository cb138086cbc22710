"""From librdkafka's messages to our records. Pure; a message is a record, or an error in its place in the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, Message

from ingest.kafka.librdkafka.errors import UNREADABLE
from ingest.model import Partition, Record


class Note(NamedTuple):
    """What librdkafka says instead of a record. partition: None where it is about the whole client."""

    partition: Partition | None
    offset: int
    error: KafkaError


class Sorted(NamedTuple):
    """runs: records of one partition each, as they came. Behind a batch that was skipped as unreadable nothing is taken."""

    runs: Sequence[list[Record]]
    notes: Sequence[Note]


def sort_out(messages: Sequence[Message]) -> Sorted:
    """Records and all else."""
    runs: list[list[Record]] = []
    notes: list[Note] = []
    new = tuple.__new__
    topic, number = "", -1
    add = list[Record]().append
    for message in messages:
        error = message.error()
        if error is not None:
            notes.append(_note(message, error))
            if error.code() in UNREADABLE:
                break
            continue
        if message.partition() != number or message.topic() != topic:
            topic, number = str(message.topic()), int(message.partition() or 0)
            runs.append([])
            add = runs[-1].append
        kind, ms = message.timestamp()
        epoch = message.leader_epoch()
        add(
            new(
                Record,
                (
                    topic,
                    number,
                    message.offset(),
                    ms if kind else -1,
                    message.key(),
                    message.value(),
                    message.headers() or (),
                    -1 if epoch is None else epoch,
                ),
            )
        )
    return Sorted(runs, notes)


def _note(message: Message, error: KafkaError) -> Note:
    topic, number, offset = message.topic(), message.partition(), message.offset()
    partition = Partition(topic, number) if topic and number is not None and number >= 0 else None
    return Note(partition, -1 if offset is None else offset, error)
