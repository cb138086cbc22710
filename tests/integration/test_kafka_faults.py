"""The Kafka room against a real broker that is stopped, frozen, damaged or unfriendly, and clients that are not alone."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition, codec
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaConnectionError

from ingest.errors import Retry, Stop
from ingest.flow.ports import Commit
from ingest.kafka import client_seams
from ingest.kafka.clients import Client
from ingest.kafka.dead_letters import KafkaDeadLetters
from ingest.kafka.options import DeadLetterSettings
from ingest.model import Partition
from tests.contract.test_dead_letters_contract import letter, sent
from tests.kafka_rig import BrokerRig, Member, settings_for, until
from tests.oracle.worker import ROOT
from tests.servers import KafkaServer

pytestmark = pytest.mark.kafka

Join = Callable[..., Member]
# Far above what it takes and below the client's own limits of half a minute and more: it tells a hang from a busy machine.
SOON_S = 25
# For what reaches into the inside of this client, or is survived by it alone. All else runs with each client.
only_kafka_python = pytest.mark.parametrize("client", ["kafka-python"])


@pytest.fixture
def rig(own_kafka: KafkaServer) -> BrokerRig:
    """One test that fails must not take the broker from the others."""
    own_kafka.be_up()
    return BrokerRig(own_kafka.address)


@pytest.fixture
def join(own_kafka: KafkaServer, client: Client) -> Iterator[Join]:
    """A member of a new group, not started yet."""
    with ExitStack() as stack:

        def make(topics: Any, group: str | None = None, address: str = own_kafka.address, **changes: Any) -> Member:
            each = Member(settings_for(address, topics, group, **changes), client=client)
            stack.callback(each.close)
            return each

        yield make


# ---------------------------------------------------------------- a broker that goes away


def test_a_broker_that_was_away_costs_time_and_no_record(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    rig.fill(topic, 100)
    reader = join(topic).start()
    until(lambda: len(reader.records) == 100, reader)
    assert reader.commit({Partition(topic, 0): Commit(100)}) is None  # it may be thrown out meanwhile, and start from there
    own_kafka.kill()
    for _ in range(30):
        started = time.monotonic()
        assert reader.poll(0.2) == []
        assert time.monotonic() - started < SOON_S
    until(lambda: not reader.source.is_healthy()[0], reader)
    with pytest.raises(Retry):
        reader.source.end_offsets([Partition(topic, 0)])
    own_kafka.start()
    rig.fill(topic, 100)
    until(lambda: len(reader.records) >= 200, reader)
    assert [record.offset for record in reader.records] == list(range(200))
    until(lambda: reader.source.is_healthy()[0], reader)
    assert reader.commit({Partition(topic, 0): Commit(200)}) is None


@only_kafka_python
def test_a_broker_that_is_away_costs_no_sockets(
    own_kafka: KafkaServer, rig: BrokerRig, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client leaves one behind at each failed attempt, and exceptions; a worker's collector would find them after hours."""
    monkeypatch.setattr(client_seams, "FAILURES_SWEPT", 4)
    topic = rig.topic()
    reader = join(topic).start()
    rig.fill(topic, 10)
    until(lambda: len(reader.records) == 10, reader)
    connections = reader.source._consumer._client
    own_kafka.kill()
    with only_swept():
        sockets, failures = alive(socket.socket), alive(KafkaConnectionError)
        until(lambda: connections.swept >= 24, reader, within_s=300)
        assert alive(socket.socket) <= sockets + 3  # those that are being connected now
        assert alive(KafkaConnectionError) <= failures + 16  # those since it was last swept; without sweeping there are 40


@contextmanager
def only_swept() -> Iterator[None]:
    """No collection but by `sweep`; and no log, because pytest keeps its records, and they hold what is to be freed."""
    gc.collect()
    gc.disable()
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


def alive(kind: type) -> int:
    """Objects of it in this process; of sockets the open ones."""
    return sum(isinstance(each, kind) and (kind is not socket.socket or each.fileno() >= 0) for each in gc.get_objects())


def test_polls_wait_while_a_frozen_broker_owes_us_the_answer_to_a_heartbeat(
    own_kafka: KafkaServer, rig: BrokerRig, join: Join
) -> None:
    """Those that do not wait spin, and each leaves something with the fetch that is out: 25 MB a second."""
    topic = rig.topic()
    rig.fill(topic, 10)
    reader = join(topic, request_timeout_ms=60_000).start()
    until(lambda: len(reader.records) == 10, reader)
    own_kafka.suspend()
    try:
        until(lambda: not reader.source.is_healthy()[0], reader)  # three heartbeats are missing
        began_s, polls = time.monotonic(), 0
        while time.monotonic() - began_s < 3:
            assert reader.poll(0.2) == []
            polls += 1
    finally:
        own_kafka.resume()
    assert polls < 100


def test_a_frozen_broker_is_told_and_a_commit_fails_in_time(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    rig.fill(topic, 10)
    reader = join(topic, request_timeout_ms=4_000).start()
    until(lambda: len(reader.records) == 10, reader)
    own_kafka.suspend()
    try:
        error = reader.commit({Partition(topic, 0): Commit(10)})
        assert error is not None
        until(lambda: not reader.source.is_healthy()[0], reader)
    finally:
        own_kafka.resume()
    until(lambda: reader.source.is_healthy()[0], reader)
    until(lambda: reader.commit({Partition(topic, 0): Commit(10)}) is None, reader)
    assert rig.committed(reader.settings.group_id, topic)[0].offset == 10


def test_starting_without_a_broker_is_tried_again_later(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    reader = join(topic, bootstrap_timeout_ms=2_000)
    own_kafka.suspend()
    try:
        with pytest.raises(Retry, match=r"kafka\.unreachable"):
            reader.start()
    finally:
        own_kafka.resume()
    own_kafka.stop()
    with pytest.raises(Retry, match=r"kafka\.unreachable"):
        reader.start()
    own_kafka.start()
    reader.start()
    until(lambda: reader.held, reader)


def test_closing_does_not_wait_for_a_broker_that_is_gone(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    rig.fill(topic, 10)
    reader = join(topic).start()
    until(lambda: len(reader.records) == 10, reader)
    own_kafka.suspend()
    try:
        started = time.monotonic()
        reader.source.close(2.0)
        assert time.monotonic() - started < SOON_S
    finally:
        own_kafka.resume()
    assert reader.commit_answers == [False]


def test_dead_letters_wait_for_the_broker_and_lose_none(own_kafka: KafkaServer, rig: BrokerRig) -> None:
    topic = rig.topic()
    settings = DeadLetterSettings((own_kafka.address,), "g", topic, request_timeout_ms=3_000, trouble_after_s=2.0)
    letters = KafkaDeadLetters(settings)
    letters.send(letter(0))
    sent(letters, 1)
    own_kafka.kill()
    for number in range(1, 500):
        letters.send(letter(number))
    until(letters.trouble)
    assert "dead letters have been waiting for" in (letters.trouble() or "")
    own_kafka.start()
    found = sent(letters, 499)
    assert sorted(position.offset for position in found) == list(range(1, 500))
    until(lambda: letters.trouble() is None)
    assert {dict(record.headers)["ingest.at"] for record in rig.read(topic, 500)} == {b"orders[3]@%d" % n for n in range(500)}
    letters.close(5.0)


# ---------------------------------------------------------------- bytes that cannot be unpacked


def damaged(own_kafka: KafkaServer, rig: BrokerRig) -> str:
    """A topic of two batches of ten records, the second one with a flipped bit on the broker's disk."""
    topic = rig.topic()
    rig.fill(topic, 10)
    rig.fill(topic, 10)
    own_kafka.stop()
    segment = own_kafka.folder / "data" / f"{topic}-0" / "00000000000000000000.log"
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    own_kafka.start()
    return topic


@only_kafka_python
def test_a_corrupt_batch_stops_at_once_and_for_good(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = damaged(own_kafka, rig)
    reader = join(topic).start()
    started = time.monotonic()
    with pytest.raises(
        Stop, match=rf"kafka\.corrupt_batch: the batch at offset 10 of topic {topic}, partition 0 cannot be unpacked"
    ):
        until(lambda: False, reader)
    assert time.monotonic() - started < SOON_S
    with pytest.raises(Stop, match=r"kafka\.corrupt_batch"):
        reader.poll()
    assert [record.offset for record in reader.records] == list(range(10))
    assert reader.source.is_healthy()[0] is False


READ_ON = """
import sys
from tests.kafka_rig import Member, settings_for, until
member = Member(settings_for(*sys.argv[1:]), client="librdkafka").start()
until(lambda: len(member.records) > 10, member)
"""


def test_a_corrupt_batch_ends_a_process_with_librdkafka_and_is_not_passed(own_kafka: KafkaServer, rig: BrokerRig) -> None:
    """By abort() as a rule, see librdkafka.options; a version that is mended says what is wrong."""
    pytest.importorskip("confluent_kafka")
    topic = damaged(own_kafka, rig)
    command = [sys.executable, "-c", READ_ON, own_kafka.address, topic, f"g-{topic}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGABRT or "kafka.corrupt_batch" in done.stderr, done
    assert done.returncode != 0


@only_kafka_python
def test_a_missing_codec_stops_at_once(rig: BrokerRig, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = rig.topic()
    rig.fill(topic, 500, compression_type="zstd")
    reader = join(topic).start()
    monkeypatch.setattr(codec, "zstd", None)
    with pytest.raises(Stop, match=rf"kafka\.codec_missing: the batch at offset 0 of topic {topic}, partition 0 needs a codec"):
        until(lambda: False, reader)


# ---------------------------------------------------------------- others in the group, other rights


def test_a_second_member_with_the_same_static_name_ends_the_first(rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    first = join(topic, f"fenced-{topic}", group_instance_id="one").start()
    until(lambda: first.held, first)
    second = join(topic, f"fenced-{topic}", group_instance_id="one").start()
    until(lambda: second.held, second)
    first.source.commit({Partition(topic, 0): Commit(0)})
    with pytest.raises(Stop, match=r"kafka\.fenced: another member runs with the same INGEST_KAFKA_GROUP_INSTANCE_ID"):
        until(lambda: False, first)


def test_a_group_that_assigns_in_another_way_is_told(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    other = KafkaConsumer(
        topic, bootstrap_servers=[own_kafka.address], group_id="eager", partition_assignment_strategy=[RangePartitionAssignor]
    )
    try:
        while not other.assignment():
            other.poll(100)
        with pytest.raises(Stop, match=r"kafka\.group_protocol: other members assign partitions in another way"):
            until(lambda: False, join(topic, "eager").start())
    finally:
        other.close()


def patiently(start: Callable[[], Member]) -> Member:
    """A start that a busy machine could not answer in time is made again, as the worker does."""
    for _ in range(5):
        try:
            return start()
        except Retry:
            continue
    return start()


def test_a_wrong_password_stops_and_the_right_one_reads(own_kafka: KafkaServer, rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    rig.fill(topic, 3)
    user = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "tester"}
    wrong = join(topic, address=own_kafka.sasl_address, client_options={**user, "sasl_plain_password": "wrong"})
    with pytest.raises(Stop, match=r"kafka\.not_authenticated: the broker refuses the credentials"):
        patiently(wrong.start)
    right = patiently(join(topic, address=own_kafka.sasl_address, client_options={**user, "sasl_plain_password": "right"}).start)
    until(lambda: len(right.records) == 3, right)


# ---------------------------------------------------------------- topics that change


def test_a_topic_that_is_deleted_while_it_is_read_stays_deleted(rig: BrokerRig, join: Join) -> None:
    """The test's broker creates every topic that a client asks for in the client's usual way."""
    topic, other = rig.topic(), rig.topic()
    options = {"metadata_max_age_ms": 300, "heartbeat_interval_ms": 500}
    reader = join([topic, other], client_options=options).start()
    until(lambda: len(reader.held) == 2, reader)
    rig.admin(lambda admin: admin.delete_topics([topic]))
    ends_s = time.monotonic() + 4
    while time.monotonic() < ends_s:
        reader.poll()
    assert topic not in rig.topics()
    rig.fill(other, 5)
    until(lambda: len(reader.records) == 5, reader)


def test_a_leader_that_polls_briefly_finishes_joining_after_partitions_were_added(rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    options = {"metadata_max_age_ms": 300, "heartbeat_interval_ms": 500}
    reader = join(topic, client_options=options).start()
    until(lambda: reader.held, reader)
    for partitions in range(2, 7):
        rig.admin(lambda admin, count=partitions: admin.create_partitions({topic: count}))
        rig.put(topic, [(partitions - 1, None, b"x", [])])
        ends_s = time.monotonic() + 15
        while len(reader.held) < partitions:
            assert time.monotonic() < ends_s, reader.events
            reader.poll(0.001)
    until(lambda: len(reader.records) == 5, reader)
    assert reader.kinds() == ["assigned"] * 6


def test_positions_and_commits_name_the_epoch_that_wrote_the_record(rig: BrokerRig, join: Join) -> None:
    topic = rig.topic()
    rig.fill(topic, 3)
    reader = join(topic).start()
    until(lambda: len(reader.records) == 3, reader)
    assert {record.leader_epoch for record in reader.records} == {0}
    assert reader.commit({Partition(topic, 0): Commit(3, "", 0)}) is None
    assert rig.committed(reader.settings.group_id, topic)[0].leader_epoch == 0
    assert TopicPartition(topic, 0) == Partition(topic, 0)
