"""What flow.ports.DeadLetters promises, over a real broker and the embedded one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.flow.ports import Letter
from ingest.kafka.dead_letters import KafkaDeadLetters
from ingest.kafka.options import DeadLetterSettings
from ingest.model import Position, Record
from tests.kafka_rig import BrokerRig, until

Open = Callable[..., KafkaDeadLetters]


@pytest.fixture
def dead_letters(broker: BrokerRig) -> Iterator[Open]:
    """dead_letters(topic, **settings), closed at the end of the test."""
    with ExitStack() as stack:

        def make(topic: str, **changes: Any) -> KafkaDeadLetters:
            settings = DeadLetterSettings(bootstrap_servers=(broker.address,), group_id="orders-worker", topic=topic)
            letters = KafkaDeadLetters(replace(settings, **changes))
            stack.callback(letters.close, 2.0)
            return letters

        yield make


def letter(number: int = 7, **changes: Any) -> Letter:
    record = Record(
        "orders", 3, number, 1_700_000_000_123, b"\x00k", b"\xffv", [("trace", b"\x01"), ("empty", None), ("trace", b"\x02")]
    )
    return Letter(record._replace(**changes), Reject("type.range", "number above bigint", column="total"), "doc.orders", "map")


def sent(letters: KafkaDeadLetters, count: int) -> list[Position]:
    """Wait until so many are acknowledged."""
    found: list[Position] = []

    def enough() -> bool:
        found.extend(letters.take_acknowledged())
        return len(found) >= count

    until(enough)
    return found


def test_a_letter_carries_the_record_unchanged_and_says_why(broker: BrokerRig, dead_letters: Open) -> None:
    topic = broker.topic()
    letters = dead_letters(topic)
    letters.send(letter())
    assert sent(letters, 1) == [Position("orders", 3, 7)]
    found = broker.read(topic, 1)[0]
    assert (found.key, found.value) == (b"\x00k", b"\xffv")
    assert found.headers[:3] == [("trace", b"\x01"), ("ingest.null-header", b"empty"), ("trace", b"\x02")]
    assert dict(found.headers[3:]) == {
        "__connect.errors.topic": b"orders",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"7",
        "__connect.errors.connector.name": b"orders-worker",
        "__connect.errors.task.id": b"0",
        "__connect.errors.stage": b"TRANSFORMATION",
        "__connect.errors.class.name": b"ingest.errors.Reject",
        "__connect.errors.exception.message": b"type.range, column total: number above bigint",
        "ingest.code": b"type.range",
        "ingest.table": b"doc.orders",
        "ingest.column": b"total",
        "ingest.at": b"orders[3]@7",
        "ingest.timestamp-ms": b"1700000000123",
    }
    assert abs(found.timestamp / 1000 - time.time()) < 60
    assert letters.backlog_bytes == 0
    assert letters.trouble() is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [(b"k", None, (b"k", None)), (None, b"v", (None, b"v")), (b"", b"", (b"", b"")), (None, None, (None, b""))],
    ids=["tombstone", "no key", "empty", "nothing at all"],
)
def test_nulls_stay_nulls_as_far_as_a_producer_can_send_them(
    broker: BrokerRig, dead_letters: Open, key: bytes | None, value: bytes | None, expected: tuple[bytes | None, bytes | None]
) -> None:
    topic = broker.topic()
    letters = dead_letters(topic)
    letters.send(letter(key=key, value=value))
    sent(letters, 1)
    found = broker.read(topic, 1)[0]
    assert (found.key, found.value) == expected
    assert ("ingest.null-value" in dict(found.headers)) == (key is None and value is None)


def test_many_letters_are_acknowledged_once_each(broker: BrokerRig, dead_letters: Open) -> None:
    topic = broker.topic(3)
    letters = dead_letters(topic, in_flight_bytes=20_000)
    for number in range(1_000):
        letters.send(letter(number))
    found = sent(letters, 1_000)
    assert sorted(position.offset for position in found) == list(range(1_000))
    assert letters.backlog_bytes == 0


def test_a_letter_above_the_limit_goes_without_its_value_and_its_neighbours_whole(broker: BrokerRig, dead_letters: Open) -> None:
    topic = broker.topic(max_message_bytes=1_000_000)
    letters = dead_letters(topic)
    letters.send(letter(1))
    letters.send(letter(2, value=b"x" * 1_500_000))
    letters.send(letter(3, key=b"y" * 1_500_000, value=b"x" * 1_500_000))
    letters.send(letter(4, headers=[("h", b"z" * 1_500_000)]))
    letters.send(letter(5))
    assert sorted(position.offset for position in sent(letters, 5)) == [1, 2, 3, 4, 5]
    found = {dict(record.headers)["ingest.at"]: record for record in broker.read(topic, 5)}
    marks = {at: {name: text for name, text in record.headers if "omitted" in name} for at, record in found.items()}
    assert marks == {
        b"orders[3]@1": {},
        b"orders[3]@2": {"ingest.value-omitted-bytes": b"1500000"},
        b"orders[3]@3": {"ingest.value-omitted-bytes": b"1500000", "ingest.key-omitted-bytes": b"1500000"},
        b"orders[3]@4": {"ingest.value-omitted-bytes": b"2", "ingest.key-omitted-bytes": b"2"},
        b"orders[3]@5": {},
    }
    assert (found[b"orders[3]@2"].key, found[b"orders[3]@2"].value) == (b"\x00k", None)


def test_a_missing_topic_is_created_when_it_may_be(broker: BrokerRig, dead_letters: Open) -> None:
    topic = f"{broker.topic()}.dlq"
    letters = dead_letters(topic, partitions=2)
    letters.send(letter())
    sent(letters, 1)
    assert len(broker.admin(lambda admin: admin.describe_topics([topic]))[0]["partitions"]) == 2


def test_a_missing_topic_is_told_and_letters_wait_for_it(broker: BrokerRig, dead_letters: Open) -> None:
    topic = f"{broker.topic()}.dlq"
    letters = dead_letters(topic, may_create=False)
    letters.send(letter())
    until(letters.trouble)
    assert letters.trouble() == f"the dead-letter topic {topic} does not exist: create it"
    assert letters.take_acknowledged() == []
    assert letters.backlog_bytes > 0
    assert topic not in broker.topics()
    broker.admin(lambda admin: admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}))
    assert sent(letters, 1) == [Position("orders", 3, 7)]
    assert letters.trouble() is None


def test_closing_lets_queued_letters_go_out(broker: BrokerRig, dead_letters: Open) -> None:
    topic = broker.topic()
    letters = dead_letters(topic)
    for number in range(200):
        letters.send(letter(number))
    letters.close(20.0)
    assert len(letters.take_acknowledged()) == 200
    assert len(broker.read(topic, 200)) == 200


def test_closing_does_not_wait_longer_than_it_may(dead_letters: Open) -> None:
    letters = dead_letters("nowhere", bootstrap_servers=("127.0.0.1:1",))
    letters.send(letter())
    started = time.monotonic()
    letters.close(1.0)
    assert time.monotonic() - started < 30  # a letter may take two minutes
    assert letters.take_acknowledged() == []
