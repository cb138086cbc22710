"""What flow.ports.Source promises, over a real broker and the embedded one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition

from ingest.errors import Parked, Stop
from ingest.flow.ports import ADDED, Commit
from ingest.kafka.clients import Client
from ingest.model import Partition, Position
from tests.kafka_rig import BrokerRig, Member, until

# ---------------------------------------------------------------- records


def test_records_arrive_byte_for_byte_with_their_nulls_headers_and_positions(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    rows = [
        (b"k", b"v", []),
        (b"k", None, []),
        (None, b"", [("a", b"1"), ("a", b""), ("ü", b"\x00\xff")]),
        (b"\x00\xff" * 200, b"x" * 30_000, [("h", b"y" * 300)]),
    ]
    broker.put(topic, [(0, key, value, headers) for key, value, headers in rows])
    reader = member(topic)
    until(lambda: len(reader.records) == len(rows), reader)
    assert [(r.key, r.value, list(r.headers)) for r in reader.records] == rows
    assert [r.at for r in reader.records] == [Position(topic, 0, offset) for offset in range(len(rows))]
    assert all(abs(r.timestamp_ms / 1000 - time.time()) < 60 for r in reader.records)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_read(broker: BrokerRig, member: Any, codec: str) -> None:
    topic = broker.topic()
    broker.fill(topic, 500, compression_type=codec)
    reader = member(topic)
    until(lambda: len(reader.records) >= 500, reader)
    assert reader.values == [b"%d" % number for number in range(500)]


def test_polls_never_return_more_than_they_may_and_keep_the_order(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic(3)
    broker.fill(topic, 900, partitions=3)
    reader = member(topic, max_poll_records=7)
    sizes = []
    while len(reader.records) < 900:
        sizes.append(len(reader.poll()))
    assert max(sizes) == 7
    for number in range(3):
        offsets = [record.offset for record in reader.records if record.partition == number]
        assert offsets == list(range(300))


# ---------------------------------------------------------------- where reading starts


def test_a_new_group_reads_from_the_beginning_by_default(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 5)
    reader = member(topic)
    until(lambda: len(reader.records) == 5, reader)
    assert reader.starts == {Partition(topic, 0): Commit(0)}


def test_latest_holds_for_a_topic_that_the_group_has_never_seen_and_only_once(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 5)
    first = member(topic, start_from="latest")
    until(lambda: first.held, first)
    first.close()
    broker.put(topic, [(0, None, b"after", [])])
    second = member(topic, first.settings.group_id, start_from="latest")
    until(lambda: second.records, second)
    assert first.starts == {Partition(topic, 0): Commit(5)}
    assert second.values == [b"after"]


def test_refuse_stops_before_anything_is_read(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 1)
    reader = member(topic, start_from="refuse")
    with pytest.raises(Stop, match=f"kafka.no_offset: this group has never read topic {topic}"):
        until(lambda: False, reader)
    assert reader.records == []


def test_a_commit_is_where_the_next_member_starts_with_its_metadata(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 10)
    first = member(topic, commits_on_revoke=False)
    until(lambda: len(first.records) == 10, first)
    commit = Commit(4, "window=7", first.records[3].leader_epoch)
    assert first.commit({Partition(topic, 0): commit}) is None
    first.close()
    second = member(topic, first.settings.group_id)
    until(lambda: len(second.records) == 6, second)
    assert second.starts == {Partition(topic, 0): commit}
    assert second.records[0].offset == 4


def test_the_other_client_goes_on_from_a_commit_with_its_metadata(broker: BrokerRig, member: Any, client: Client) -> None:
    topic = broker.topic(60)
    other: Client = "librdkafka" if client == "kafka-python" else "kafka-python"
    commits = {Partition(topic, number): Commit(0, "m" * number) for number in range(60)}
    first = member(topic, commits_on_revoke=False)
    until(lambda: len(first.held) == 60, first)
    assert first.commit(commits) is None
    first.close()
    with closing(Member(first.settings, client=other)) as second:
        second.start()
        until(lambda: len(second.held) == 60, second)
        assert second.starts == commits


def test_a_commit_of_another_program_is_where_reading_starts_whatever_its_metadata(broker: BrokerRig, member: Any) -> None:
    """librdkafka reads on behind metadata without a zero octet, and most of that is no text."""
    topic = broker.topic(60)
    broker.commits("theirs", topic, {number: (7, "x" * number) for number in range(60)})
    reader = member(topic, "theirs")
    until(lambda: len(reader.held) == 60, reader)
    assert {each.offset for each in reader.starts.values()} == {7}


def test_a_partition_that_is_added_later_is_read_from_its_beginning(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 3)
    reader = member(topic, start_from="latest", client_options={"metadata_max_age_ms": 500, "heartbeat_interval_ms": 500})
    until(lambda: reader.held, reader)
    broker.put(topic, [(0, None, b"new", [])])
    until(lambda: reader.values == [b"new"], reader)
    assert reader.commit({Partition(topic, 0): Commit(4)}) is None
    broker.admin(lambda admin: admin.create_partitions({topic: 2}))
    broker.put(topic, [(1, None, b"added", [])])
    until(lambda: reader.values == [b"new", b"added"], reader)
    assert reader.starts[Partition(topic, 1)] == Commit(0, ADDED)


# ---------------------------------------------------------------- pause, seek, position


def test_a_paused_partition_is_silent_until_it_is_resumed(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic(2)
    reader = member(topic)
    until(lambda: len(reader.held) == 2, reader)
    reader.source.pause([Partition(topic, 0)])
    broker.fill(topic, 10, partitions=2)
    until(lambda: len(reader.records) == 5, reader)
    for _ in range(5):
        reader.poll()
    assert {record.partition for record in reader.records} == {1}
    reader.source.resume([Partition(topic, 0)])
    until(lambda: len(reader.records) == 10, reader)


def test_seek_drops_what_was_buffered_and_reads_again_from_there(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 100)
    reader = member(topic, max_poll_records=10)
    until(lambda: reader.records, reader)
    reader.records.clear()
    reader.source.seek(Partition(topic, 0), 3)
    assert reader.source.position(Partition(topic, 0)) == 3
    until(lambda: len(reader.records) >= 97, reader)
    assert [record.offset for record in reader.records] == list(range(3, 100))


def test_position_lag_and_end_offsets_meet_at_the_end(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 40)
    reader = member(topic, max_poll_records=10)
    here = Partition(topic, 0)
    until(lambda: reader.records, reader)
    assert reader.source.lag(here) == 40 - len(reader.records)
    until(lambda: len(reader.records) == 40, reader)
    assert reader.source.end_offsets([here]) == {here: 40}
    assert (reader.source.position(here), reader.source.lag(here)) == (40, 0)
    assert reader.source.position(Partition(topic, 9)) is None
    assert reader.source.lag(Partition(topic, 9)) is None


def test_partitions_that_are_not_ours_may_be_named_without_harm(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    reader = member(topic)
    until(lambda: reader.held, reader)
    elsewhere = [Partition("elsewhere", 0)]
    reader.source.pause(elsewhere)
    reader.source.resume(elsewhere)
    reader.source.seek(elsewhere[0], 5)
    assert reader.held == {Partition(topic, 0)}


# ---------------------------------------------------------------- membership


def test_two_members_share_the_partitions_without_a_record_twice_or_never(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic(6)
    broker.fill(topic, 3_000, partitions=6, batch_size=1_000)
    small = {"max_poll_records": 50, "max_partition_fetch_bytes": 1_000}
    first = member(topic, **small)
    until(lambda: len({record.partition for record in first.records}) == 6, first)
    second = member(topic, first.settings.group_id, **small)
    both = [first, second]
    stepping(both, lambda: sum(len(each.records) for each in both) >= 3_000 and len(second.held) == 3)
    for each in both:
        each.poll(0.3)
    counts = Counter(record.at for each in both for record in each.records)
    assert len(counts) == 3_000
    assert max(counts.values()) == 1
    assert first.commit_answers
    assert all(first.commit_answers)
    assert not first.held & second.held


def test_waiting_while_partitions_are_revoked_keeps_the_membership(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic(2)
    broker.fill(topic, 20, partitions=2)
    first = member(topic, session_timeout_ms=2_000)
    until(lambda: len(first.records) == 20, first)
    first.revoke_takes_s = 3.0
    second = member(topic, first.settings.group_id)
    stepping([first, second], lambda: len(first.held) == len(second.held) == 1)
    assert "lost" not in first.kinds()
    assert first.commit_answers == [True]
    assert first.slept[0] >= 2.9


def test_a_member_that_was_thrown_out_hears_lost_and_not_revoked_and_comes_back(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 10)
    reader = member(topic, max_poll_interval_ms=1_500, request_timeout_ms=5_000)
    until(lambda: len(reader.records) == 10, reader)
    time.sleep(2.5)  # what a loop does that has forgotten to poll
    until(lambda: len(reader.records) == 20, reader)
    assert reader.kinds() == ["assigned", "lost", "assigned"]
    assert [record.offset for record in reader.records] == [*range(10), *range(10)]


def test_a_static_member_is_back_without_a_rebalance_of_the_others(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic(2)
    group = f"static-{topic}"
    first = member(topic, group, group_instance_id="one")
    second = member(topic, group, group_instance_id="two")
    stepping([first, second], lambda: len(first.held) == len(second.held) == 1)
    held = set(second.held)
    heard = len(first.events)
    second.close()
    again = member(topic, group, group_instance_id="two")
    stepping([first, again], lambda: again.held)
    assert again.held == held
    assert len(first.events) == heard


def test_a_poll_that_waits_ends_when_it_is_woken_paused_or_not(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 1)
    # A due heartbeat ends a wait as well, so none must be.
    seldom = {"client_options": {"heartbeat_interval_ms": 100_000}, "session_timeout_ms": 300_000}
    reader = member(topic, **seldom)
    until(lambda: reader.records, reader)
    for _ in range(3):
        threading.Timer(0.3, reader.source.wake).start()
        began_s = time.monotonic()
        assert not reader.poll(60.0)
        assert time.monotonic() - began_s < 40
        reader.source.pause([Partition(topic, 0)])
    reader.source.wake()  # nobody waits yet
    began_s = time.monotonic()
    reader.poll(60.0)
    assert time.monotonic() - began_s < 40
    reader.source.resume([Partition(topic, 0)])
    broker.fill(topic, 1)
    until(lambda: len(reader.records) == 2, reader)


def test_closing_revokes_first_and_frees_the_partitions_at_once(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 10)
    first = member(topic, session_timeout_ms=60_000)  # without its leave the second would wait for this
    until(lambda: len(first.records) == 10, first)
    first.close()
    second = member(topic, first.settings.group_id)
    started = time.monotonic()
    until(lambda: second.held, second)
    assert first.kinds() == ["assigned", "revoked"]
    assert first.commit_answers == [True]
    assert second.starts[Partition(topic, 0)].offset == 10
    assert time.monotonic() - started < 30


def test_closing_commits_nothing_by_itself(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 10)
    reader = member(topic, commits_on_revoke=False)
    until(lambda: len(reader.records) == 10, reader)
    reader.close()
    assert broker.committed(reader.settings.group_id, topic)[0].offset == 0


def test_a_commit_is_answered_while_the_loop_polls(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 10)
    reader = member(topic)
    until(lambda: len(reader.records) == 10, reader)
    reader.source.commit({Partition(topic, 0): Commit(7, "m")})
    assert reader.source.commit_in_flight
    until(lambda: not reader.source.commit_in_flight, reader)
    assert reader.source.take_commit_error() is None
    committed = broker.committed(reader.settings.group_id, topic)[0]
    assert (committed.offset, committed.metadata.rstrip("\0")) == (7, "m")


def test_health_tells_a_member_from_one_that_is_still_joining(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    reader = member(topic)
    assert reader.source.is_healthy() == (False, f"joining group {reader.settings.group_id}")
    until(lambda: reader.held, reader)
    assert reader.source.is_healthy() == (True, "")


# ---------------------------------------------------------------- topics


def test_a_missing_topic_is_named_with_its_nearest_neighbour_and_not_created(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    typo = topic[:-1] + "_"
    with pytest.raises(Stop, match=f"topic {typo} does not exist, the nearest name is {topic}"):
        member([topic, typo])
    assert typo not in broker.topics()


def test_a_pattern_finds_later_topics_but_never_those_that_hold_no_rows(broker: BrokerRig, member: Any) -> None:
    stem = broker.topic()
    names = [f"{stem}.one", f"{stem}.dlq", f"{stem}.heartbeat", f"__{stem}", f"{stem}.two"]
    shape = {"num_partitions": 1, "replication_factor": 1}
    broker.admin(lambda admin: admin.create_topics(dict.fromkeys(names[:-1], shape)))
    for name in names[:-1]:
        broker.put(name, [(0, None, name.encode(), [])])
    options = {"metadata_max_age_ms": 500, "heartbeat_interval_ms": 500}
    reader = member(f"^(__)?{stem}[.]", dlq_topic=f"{stem}.dlq", client_options=options)
    until(lambda: reader.held, reader)
    broker.admin(lambda admin: admin.create_topics({names[-1]: shape}))
    broker.put(names[-1], [(0, None, b"late", [])])
    until(lambda: b"late" in reader.values, reader)
    assert {partition.topic for partition in reader.held} == {f"{stem}.one", f"{stem}.two"}


# ---------------------------------------------------------------- gaps


def test_a_position_that_retention_passed_parks_the_topic_and_no_other(broker: BrokerRig, member: Any) -> None:
    topic, other = broker.topic(), broker.topic()
    broker.fill(topic, 20)
    broker.commit(group := f"gap-{topic}", topic, 3)
    broker.admin(lambda admin: admin.delete_records({TopicPartition(topic, 0): 12}))
    reader = member([topic, other], group)
    with pytest.raises(Parked, match="retention deleted 9 offsets before they were read") as caught:
        until(lambda: False, reader)
    assert (caught.value.code, caught.value.subject) == ("kafka.gap", f"topic:{topic}")
    broker.fill(other, 5)
    until(lambda: len(reader.records) == 5, reader)
    assert {record.topic for record in reader.records} == {other}


def test_a_gap_is_jumped_over_when_that_is_wanted(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 20)
    broker.commit(group := f"gap-{topic}", topic, 3)
    broker.admin(lambda admin: admin.delete_records({TopicPartition(topic, 0): 12}))
    reader = member(topic, group, on_gap="continue")
    until(lambda: len(reader.records) == 8, reader)
    assert [record.offset for record in reader.records] == list(range(12, 20))


def test_a_position_beyond_the_end_parks_the_topic(broker: BrokerRig, member: Any) -> None:
    topic = broker.topic()
    broker.fill(topic, 5)
    broker.commit(group := f"gap-{topic}", topic, 1_000)
    reader = member(topic, group)
    with pytest.raises(Parked, match="truncated, or deleted and created again"):
        until(lambda: False, reader)


def test_transactions_leave_gaps_that_the_position_passes_and_aborted_rows_stay_unseen(broker: BrokerRig, member: Any) -> None:
    if broker.name == "embedded":
        pytest.skip("the embedded broker has no transactions")
    topic = broker.topic()
    producer = KafkaProducer(bootstrap_servers=[broker.address], transactional_id=f"x-{topic}")
    try:
        producer.init_transactions()
        for number, keep in enumerate([True, False, True, False]):
            producer.begin_transaction()
            for _ in range(3):
                producer.send(topic, b"%d" % number)
            producer.flush()
            producer.commit_transaction() if keep else producer.abort_transaction()
    finally:
        producer.close()
    reader = member(topic)
    here = Partition(topic, 0)
    until(lambda: len(reader.records) == 6, reader)
    until(lambda: reader.source.position(here) == reader.source.end_offsets([here])[here], reader)
    assert reader.values == [b"0"] * 3 + [b"2"] * 3
    assert [record.offset for record in reader.records] == [0, 1, 2, 8, 9, 10]


# ---------------------------------------------------------------- helpers


def stepping(members: list[Member], is_done: Any, within_s: float = 40.0) -> None:
    """Poll these members as processes of their own would: each in its thread, because a rebalance waits for all of them."""
    from concurrent.futures import ThreadPoolExecutor

    deadline_s = time.monotonic() + within_s
    with ThreadPoolExecutor(len(members)) as pool:
        while not is_done():
            assert time.monotonic() < deadline_s, [each.events for each in members]
            for future in [pool.submit(each.poll) for each in members]:
                future.result()
