"""The practice broker with kafka-python's own clients over real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, MessageSizeTooLargeError, NotLeaderForPartitionError
from kafka.structs import OffsetAndMetadata

from ingest.practice.broker import Broker, Code

WAIT_S = 10.0


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(partitions=2, max_message_bytes=200_000) as broker:
        yield broker


@pytest.fixture
def producer(broker: Broker) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=broker.address, retry_backoff_ms=20)
    yield producer
    producer.close()


@pytest.fixture
def consumer_of(broker: Broker) -> Iterator[Callable[..., KafkaConsumer]]:
    made: list[KafkaConsumer] = []

    def make(topic: str, group: str, **options: Any) -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=broker.address,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
            heartbeat_interval_ms=100,
            retry_backoff_ms=20,
            partition_assignment_strategy=[CooperativeStickyAssignor()],
            **options,
        )
        made.append(consumer)
        consumer.subscribe([topic])
        consumer.partitions_for_topic(topic)  # known before the first join, so that this assigns at once
        return consumer

    yield make
    for consumer in made:
        consumer.close()


def until(done: Callable[[], Any]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end_s, "it never happened"


def taken(consumer: KafkaConsumer, count: int) -> list[Any]:
    records: list[Any] = []
    until(lambda: records.extend(r for found in consumer.poll(100).values() for r in found) or len(records) >= count)
    return records


@pytest.mark.parametrize("codec", [None, "gzip", "lz4", "zstd", "snappy"])
def test_what_is_produced_is_consumed(broker: Broker, consumer_of: Any, codec: str | None) -> None:
    topic = f"codec-{codec}"
    producer = KafkaProducer(bootstrap_servers=broker.address, compression_type=codec)
    for number in range(20):
        producer.send(topic, key=b"k%d" % number, value=b"v%d" % number, headers=[("h", b"1")])
    producer.send(topic, key=b"gone", value=None)
    producer.close()
    records = taken(consumer_of(topic, f"g-{codec}"), 21)
    assert {(b"k%d" % n, b"v%d" % n) for n in range(20)} | {(b"gone", None)} == {(r.key, r.value) for r in records}
    assert [("h", b"1")] == next(r.headers for r in records if r.key == b"k0")


def test_a_fetch_that_waits_is_woken_by_a_record(broker: Broker, consumer_of: Any) -> None:
    broker.create_topic("woken", 1)
    consumer = consumer_of("woken", "g-woken", fetch_max_wait_ms=30_000, request_timeout_ms=40_000)
    until(lambda: consumer.poll(20) or consumer.assignment())
    consumer.poll(50)
    started_s = time.monotonic()
    broker.put("woken", b"here")
    assert b"here" == taken(consumer, 1)[0].value
    assert time.monotonic() - started_s < 15


def test_commits_come_back_with_their_metadata(broker: Broker, consumer_of: Any) -> None:
    broker.put("kept", b"a")
    consumer = consumer_of("kept", "g-kept")
    taken(consumer, 1)
    partition = TopicPartition("kept", 0)
    consumer.commit({partition: OffsetAndMetadata(1, "notes", 0)})
    assert OffsetAndMetadata(1, "notes", 0) == consumer.committed(partition, metadata=True)
    assert {("kept", 0): (1, 0, "notes")} == broker.committed("g-kept")


def test_two_members_share_and_one_takes_over(broker: Broker, consumer_of: Any) -> None:
    broker.create_topic("shared", 4)
    first = consumer_of("shared", "g-shared")
    until(lambda: first.poll(20) or len(first.assignment()) == 4)
    second = consumer_of("shared", "g-shared")
    until(lambda: (first.poll(20), second.poll(20)) and len(first.assignment()) == len(second.assignment()) == 2)
    second.close()
    until(lambda: first.poll(20) or len(first.assignment()) == 4)


def test_an_error_code_that_was_asked_for_is_met_and_overcome(broker: Broker, producer: KafkaProducer) -> None:
    broker.create_topic("failing", 1)
    broker.fail_next("produce", NotLeaderForPartitionError.errno, 2)
    assert 0 == producer.send("failing", b"a").get(WAIT_S).offset
    assert [1] == broker.end_offsets("failing")


def test_a_produce_that_was_cut_after_it_was_done_is_not_doubled(broker: Broker, producer: KafkaProducer) -> None:
    producer.send("cut", b"warm", partition=0).get(WAIT_S)
    broker.cut_next("produce", after=True)
    producer.send("cut", b"a", partition=0).get(WAIT_S)
    assert [b"warm", b"a"] == [record.value for record in broker.records("cut")]


def test_clients_come_back_after_their_connections_were_dropped(broker: Broker, producer: KafkaProducer) -> None:
    producer.send("dropped", b"a", partition=0).get(WAIT_S)
    broker.drop_connections()
    producer.send("dropped", b"b", partition=0).get(WAIT_S)
    assert [2, 0] == broker.end_offsets("dropped")


def test_a_door_that_is_shut_keeps_everybody_out_until_it_opens(broker: Broker, producer: KafkaProducer) -> None:
    producer.send("shut", b"a", partition=0).get(WAIT_S)
    broker.refuse(True)
    waiting = producer.send("shut", b"b", partition=0)
    time.sleep(0.1)
    assert not waiting.is_done
    broker.refuse(False)
    assert 1 == waiting.get(WAIT_S).offset


def test_a_record_above_the_limit_is_refused(broker: Broker, producer: KafkaProducer) -> None:
    with pytest.raises(MessageSizeTooLargeError):
        producer.send("large", b"x" * 300_000).get(WAIT_S)
    assert [0, 0] == broker.end_offsets("large")


def test_the_admin_client_makes_looks_at_and_removes(broker: Broker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    try:
        assert "ingest-practice" == admin.describe_cluster()["cluster_id"]
        admin.create_topics({"made": {"num_partitions": 3, "replication_factor": 1}})
        admin.create_partitions({"made": 5})
        assert 5 == len(broker.end_offsets("made"))
        for value in (b"a", b"b"):
            broker.put("made", value)
        admin.delete_records({TopicPartition("made", 0): 1})
        assert [b"b"] == [record.value for record in broker.records("made")]
        admin.delete_topics(["made"])
        assert [] == broker.end_offsets("made")
    finally:
        admin.close()


def test_groups_can_be_listed_and_described(broker: Broker, consumer_of: Any) -> None:
    broker.create_topic("seen", 2)
    consumer = consumer_of("seen", "g-seen")
    until(lambda: consumer.poll(20) or consumer.assignment())
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    try:
        assert "g-seen" in {group["group_id"] for group in admin.list_groups()}
        described = admin.describe_groups(["g-seen"])["g-seen"]
        assert ("Stable", 1) == (described["group_state"], len(described["members"]))
    finally:
        admin.close()


def test_a_position_before_the_start_is_out_of_range(broker: Broker, consumer_of: Any) -> None:
    for value in (b"a", b"b", b"c"):
        broker.put("trimmed", value)
    broker.trim("trimmed", 0, 2)
    assert [b"c"] == [record.value for record in taken(consumer_of("trimmed", "g-trimmed"), 1)]


def test_a_gap_in_the_offsets_is_stepped_over(broker: Broker, consumer_of: Any) -> None:
    broker.put("gaps", b"a")
    broker.leave_gap("gaps", 0, 5)
    broker.put("gaps", b"b", headers=[("h", None)], timestamp_ms=12)
    records = taken(consumer_of("gaps", "g-gaps"), 2)
    assert [(0, b"a"), (6, b"b")] == [(record.offset, record.value) for record in records]
    assert ([("h", None)], 12) == (records[1].headers, records[1].timestamp)


def test_an_unknown_topic_stays_unknown_where_topics_are_not_made_by_asking() -> None:
    with Broker(auto_create=False) as strict:
        producer = KafkaProducer(bootstrap_servers=strict.address, max_block_ms=300)
        with pytest.raises(KafkaError):
            producer.send("nowhere", b"a").get(WAIT_S)
        producer.close()
        with pytest.raises(KeyError, match="create the topic"):
            strict.trim("nowhere", 0, 1)


def test_a_broker_that_was_stopped_starts_again_with_what_it_had() -> None:
    broker = Broker(partitions=1).start()
    broker.put("kept", b"a")
    address = broker.address
    with pytest.raises(RuntimeError, match="stop it first"):
        broker.start()
    broker.stop()
    broker.stop()
    with pytest.raises(RuntimeError, match="start it first"):
        broker.end_offsets("kept")
    with broker:
        assert (address, [1]) == (broker.address, broker.end_offsets("kept"))


def test_a_taken_port_is_an_error_of_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken_already, pytest.raises(OSError, match="in use"):
        Broker(port=taken_already.getsockname()[1]).start()


def test_what_is_no_kafka_is_hung_up_on(broker: Broker) -> None:
    host, port = broker.address.split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"" == stranger.recv(100)


def test_a_put_that_the_log_refuses_says_why(broker: Broker) -> None:
    with pytest.raises(ValueError, match=Code.MESSAGE_TOO_LARGE.name):
        broker.put("large", b"x" * 300_000)
