"""Sources that went back, on real servers: told and parked with what to do, and healed by what the sentence says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, OffsetAndMetadata, TopicPartition

from ingest.tools.unpark import unpark
from tests.integration.worker_rig import Done, Running, Sent, Site, debezium, key_of, row_of, site_at, wait_until
from tests.oracle import kafka_io

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

KEYS = 40
RECORDS = 1_500  # more than a window
EPOCH_2 = "version = { epoch = 2 }\n"
SHORT = {"kafka_metadata_max_age_ms": "1000"}


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        yield made


@contextmanager
def admin_of(site: Site) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=site.kafka)
    try:
        yield admin
    finally:
        admin.close()


def changes(site: Site, first_lsn: int, n: int, records: int = RECORDS, keys: int = KEYS) -> list[Sent]:
    """Every row says n, so that a table tells which history it is of."""
    topic = site.topic("orders")
    return [
        Sent(topic, key_of(i % keys), debezium("orders", first_lsn + i, row_of(i % keys, n=n, t=str(i)))) for i in range(records)
    ]


def committed(site: Site) -> int:
    with admin_of(site) as admin:
        offsets = admin.list_group_offsets(site.name)[site.name]
    found = offsets.get(TopicPartition(site.topic("orders"), 0))
    return -1 if found is None else int(found.offset)


def remake(site: Site) -> None:
    """The topic, under the same name."""
    topic = site.topic("orders")
    kafka_io.delete_topics(site.kafka, [topic])
    with admin_of(site) as admin:
        wait_until(lambda: topic not in admin.list_topics(), 60, lambda: f"{topic} is not deleted")
    deadline_s = time.monotonic() + 60
    while True:  # a name may be taken a moment longer than it is listed
        try:
            kafka_io.create_topics(site.kafka, [topic], 1)
        except Exception:
            assert time.monotonic() < deadline_s, f"{topic} cannot be made"
            time.sleep(0.5)
        else:
            return


def parked_with(done: Done, code: str) -> str:
    """The sentence of the one place that is parked."""
    assert 4 == done.code, done.log[-3000:]
    (sentence,) = [line for line in done.sentences if f"({code})" in line] or [done.log[-3000:]]
    return sentence


def ns(site: Site) -> set[Any]:
    return set(site.column("orders", "n"))


def texts(site: Site) -> list[Any]:
    return site.column("orders", "t")


def last_texts(records: int, keys: int = KEYS) -> list[str]:
    """What `t` says in the end, by id."""
    return [str(max(i for i in range(records) if i % keys == key)) for key in range(keys)]


def test_a_topic_that_was_made_anew_is_parked_and_a_higher_epoch_brings_all_of_it(site: Site) -> None:
    site.make("orders")
    site.send(changes(site, 100_000, n=1))
    assert 0 == site.run().code
    remake(site)
    site.send(changes(site, 1, n=2, records=RECORDS + 7))
    sentence = parked_with(site.run(), "topic.source_went_back")
    assert "raise `version.epoch` in the contracts" in sentence
    assert ({1}, 0) == (ns(site), committed(site))
    site.contract("orders", EPOCH_2)
    assert 0 == site.run().code
    assert ({2}, RECORDS + 7) == (ns(site), committed(site))
    assert last_texts(RECORDS + 7) == texts(site)


def test_a_source_that_was_restored_is_parked_and_a_higher_epoch_brings_what_it_said_since(site: Site) -> None:
    """The same topic goes on, with the positions of the backup."""
    site.make("orders")
    site.send(changes(site, 100_000, n=1))
    assert 0 == site.run().code
    site.send(changes(site, 1, n=2))
    parked_with(site.run(), "topic.source_went_back")
    assert ({1}, RECORDS) == (ns(site), committed(site))
    parked_with(site.run(), "topic.source_went_back")
    site.contract("orders", EPOCH_2)
    assert 0 == site.run().code
    assert ({2}, 2 * RECORDS) == (ns(site), committed(site))
    assert last_texts(RECORDS) == texts(site)


def wait_parked(worker: Running, code: str) -> None:
    wait_until(lambda: code in str(worker.readiness().get("reasons")), 90, lambda: worker.log[-5000:])


def test_a_topic_that_is_made_anew_under_a_running_worker_is_parked_and_healed_alike(site: Site) -> None:
    site.make("orders")
    site.send(changes(site, 100_000, n=1))
    worker = site.start(**SHORT)
    try:
        wait_until(lambda: committed(site) == RECORDS, 90, lambda: worker.log[-5000:])
        remake(site)
        site.send(changes(site, 1, n=2, records=2 * RECORDS))
        wait_until(lambda: worker.readiness().get("parked"), 120, lambda: worker.log[-5000:])
    finally:
        done = worker.stop()
    assert {1} == ns(site), done.log[-3000:]
    site.contract("orders", EPOCH_2)
    again = site.run(on_gap="continue")
    assert 0 == again.code, again.log[-3000:]
    assert last_texts(2 * RECORDS) == texts(site)
    assert {2} == ns(site)


def reset(site: Site, offset: int) -> None:
    with admin_of(site) as admin:
        admin.alter_group_offsets(site.name, {TopicPartition(site.topic("orders"), 0): OffsetAndMetadata(offset, "", -1)})


def test_offsets_from_0_are_a_replay_that_changes_nothing_and_passes_when_an_operator_says_so(site: Site) -> None:
    """Small batches, so that most rows that are read again are older than what is stored."""
    site.make("orders")
    site.send(changes(site, 1, n=1, records=6_000, keys=600))
    assert 0 == site.run().code
    before = texts(site)
    reset(site, 0)
    worker = site.start(batch_max_rows="200", batch_linger_ms="0")
    try:
        wait_until(lambda: worker.readiness().get("parked"), 90, lambda: worker.log[-5000:])
        wait_parked(worker, "topic.source_went_back")
        assert [f"topic:{site.topic('orders')}"] == unpark(worker.url, site.topic("orders"))
        wait_until(lambda: committed(site) == 6_000, 90, lambda: worker.log[-5000:])
        assert [] == worker.readiness()["parked"]
    finally:
        done = worker.stop()
    assert before == texts(site), done.log[-3000:]


def test_a_commit_beyond_the_end_is_parked_and_continue_begins_anew_and_commits_it(site: Site) -> None:
    """As after a log was lost and written anew: the commit of before would sooner or later pass for a place in it."""
    site.make("orders")
    site.send(changes(site, 1, n=1, records=50))
    assert 0 == site.run().code
    reset(site, 10_000)
    site.send(changes(site, 1_000, n=2, records=50))
    sentence = parked_with(site.run(), "kafka.gap")
    assert "deleted and created again" in sentence
    assert "version.epoch" in sentence
    assert {1} == ns(site)
    done = site.run(on_gap="continue")
    assert 0 == done.code, done.log[-3000:]
    assert ({2}, 100) == (ns(site), committed(site))


def test_partitions_that_were_added_are_parked_where_versions_are_offsets_and_a_higher_epoch_brings_them(site: Site) -> None:
    site.make("orders")
    site.contract("orders", 'version = { from = "offset" }\n')
    site.send(changes(site, 1, n=1, records=200))
    assert 0 == site.run().code
    with admin_of(site) as admin:
        admin.create_partitions({site.topic("orders"): 2})
    produce(site, partition=1, n=2)
    sentence = parked_with(site.run(), "topic.partitions_added")
    assert "raise `version.epoch`" in sentence
    assert {1} == ns(site)
    parked_with(site.run(), "topic.partitions_added")
    site.contract("orders", 'version = { from = "offset", epoch = 2 }\n')
    assert 0 == site.run().code
    assert {2} == ns(site)
    assert 0 == site.run().code


def test_partitions_that_were_added_do_not_matter_where_the_source_tells_versions(site: Site) -> None:
    site.make("orders")
    site.send(changes(site, 1, n=1, records=200))
    assert 0 == site.run().code
    with admin_of(site) as admin:
        admin.create_partitions({site.topic("orders"): 2})
    produce(site, partition=1, n=2)
    assert 0 == site.run().code
    assert {2} == ns(site)


def produce(site: Site, partition: int, n: int) -> None:
    """Each key once, with positions behind those of `changes`."""
    producer = KafkaProducer(bootstrap_servers=site.kafka)
    try:
        wait_until(
            lambda: len(producer.partitions_for(site.topic("orders"))) > partition, 60, lambda: "the partition is not there"
        )
        for sent in changes(site, 1_000_000, n, records=KEYS):
            producer.send(sent.topic, sent.value, sent.key, partition=partition)
        producer.flush(60)
    finally:
        producer.close()
