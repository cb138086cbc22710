"""Kafka as the judge sees it: topics, the stream written into them, the dead letters, how far a group has come.

kafka-python only, and none of the worker's code around it. Blocking, one thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from .log import Letter, Log, Message, Place

MOST_BYTES = 10_485_760
FLUSH_S = 120.0
ORIGIN = "__connect.errors."


def create_topics(address: str, topics: Sequence[str], partitions: int) -> None:
    """The topics, empty. Raises KafkaError if one exists already."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        settings = {"num_partitions": partitions, "replication_factor": 1, "configs": {"max.message.bytes": str(MOST_BYTES)}}
        admin.create_topics(dict.fromkeys(topics, settings))
    finally:
        admin.close()


def delete_topics(address: str, topics: Sequence[str]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        there = set(admin.list_topics())
        admin.delete_topics([topic for topic in topics if topic in there])
    finally:
        admin.close()


def produce(address: str, messages: Iterable[Message], log: Log) -> float:
    """Write the messages and note them in the log; the seconds it took.

    Raises RuntimeError if one stands elsewhere than noted.
    """
    began_s = time.monotonic()
    producer = KafkaProducer(
        bootstrap_servers=address, compression_type="lz4", linger_ms=50, batch_size=262_144, max_request_size=MOST_BYTES,
    )  # fmt: skip
    last: dict[tuple[str, int], Any] = {}
    try:
        for message in log.note(messages):
            last[message.topic, message.partition] = producer.send(
                message.topic, message.value, message.key, list(message.headers), message.partition
            )
        producer.flush(FLUSH_S)
    finally:
        producer.close()
    for where, future in last.items():
        if future.get(FLUSH_S).offset != log.next_offset[where] - 1:
            raise RuntimeError(f"{where[0]}[{where[1]}] was not empty or lost a message: offsets are not those of the log")
    return time.monotonic() - began_s


def read_letters(address: str, topic: str) -> list[tuple[Place, Letter]]:
    """Every dead letter with the place that its headers name; none when there is no such topic."""
    consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, max_partition_fetch_bytes=2 * MOST_BYTES)
    letters: list[tuple[Place, Letter]] = []
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for at in partitions:
            consumer.seek(at, 0)
        while any(consumer.position(at) < end for at, end in ends.items()):
            for records in consumer.poll(timeout_ms=1000).values():
                letters.extend(map(as_letter, records))
    finally:
        consumer.close()
    return letters


def as_letter(record: Any) -> tuple[Place, Letter]:
    headers = dict(record.headers)
    place = Place(
        headers[ORIGIN + "topic"].decode(), int(headers[ORIGIN + "partition"]), int(headers[ORIGIN + "offset"])
    )  # fmt: skip
    return place, Letter(record.key, record.value, tuple(record.headers))


class Progress:
    """How many records a group has committed."""

    def __init__(self, address: str, group: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=address)
        self._group = group

    def committed(self) -> int:
        try:
            offsets: Mapping[Any, Any] = self._admin.list_group_offsets(self._group)[self._group]
        except KafkaError as error:
            if not error.retriable:
                raise
            return 0  # a new broker first makes its offsets topic
        return sum(max(0, each.offset) for each in offsets.values())

    def close(self) -> None:
        self._admin.close()
