"""The rows of the fault matrix that break a broker, its topics, or the group."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from tests.chaos import judge
from tests.chaos.brokers import asked
from tests.chaos.conftest import Play
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of
from tests.integration.worker_rig import Done
from tests.oracle import kafka_io
from tests.oracle.log import Message
from tests.oracle.stream import PARTITIONS, stream

pytestmark = [
    *(pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow),
    # While a broker is away the client opens sockets that fail and leaves them to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, row = rows_of("kafka")
# A client asks only every five minutes which partitions a topic has.
LOOKS_OFTEN = {"INGEST_KAFKA_METADATA_MAX_AGE_MS": "1000"}
MORE = 300
# A few records a second until the fault, the rest behind it: on however slow a machine there are unread ones.
SLOWLY = 60.0


def admin(rig: Rig, ask: Any) -> Any:
    return asked(rig.kafka, ask)


# ---------------------------------------------------------------- the broker goes away


@row(is_short=True, books="balanced", rate=SLOWLY, records=3_000)
def broker_killed(rig: Rig) -> None:
    """The broker is killed (SIGKILL) and started again 5 s later."""
    rig.kafka_server.kill()
    time.sleep(5)
    rig.kafka_server.start()


@row(books="balanced", rate=SLOWLY)
def broker_stopped_60_s(rig: Rig) -> None:
    """The broker ends in good order and starts again 60 s later."""
    rig.kafka_server.stop()
    time.sleep(60)
    rig.kafka_server.start()


@row(books="balanced", rate=SLOWLY)
def broker_frozen_60_s(rig: Rig) -> None:
    """The broker is frozen (SIGSTOP) for 60 s: connections stay open, nobody answers, sessions pass."""
    rig.kafka_server.suspend()
    try:
        time.sleep(60)
    finally:
        rig.kafka_server.resume()


# ---------------------------------------------------------------- topics change


def more_customers(rig: Rig, topic: str, partitions: Iterable[int]) -> list[Message]:
    """Changes of other customers than the stream's, each key in one of the partitions."""
    places = tuple(partitions)
    made = stream(rig.scenario.seed + 10_000, MORE, rig.name, ("customers",), 1)
    return [each._replace(topic=topic, partition=places[crc32(each.key or b"") % len(places)]) for each in made]


@row(is_short=True, env=LOOKS_OFTEN, books="balanced")
def partitions_added(rig: Rig) -> None:
    """A topic gets two more partitions, which fill at once: parked, as its versions are offsets; then read from their start."""
    topic = rig.topic("customers")
    admin(rig, lambda client: client.create_partitions({topic: PARTITIONS + 2}))
    rig.load.add(more_customers(rig, topic, (PARTITIONS, PARTITIONS + 1)))
    rig.until(lambda: "topic.partitions_added" in [each["code"] for each in rig.parked()], 60, "the topic is parked")
    rig.unpark(f"topic:{topic}")
    new = [(topic, PARTITIONS), (topic, PARTITIONS + 1)]
    rig.until(lambda: all(rig.committed().get(each, 0) for each in new), 60, "the new partitions are read")


def with_an_old_topic(rig: Rig) -> dict[str, str]:
    """The table customers is fed by a second topic, which is full already."""
    old = f"{rig.name}.public.customers_old"
    rig.topics.append(old)
    admin(rig, lambda client: client.create_topics({old: {"num_partitions": 2, "replication_factor": 1}}))
    contract = rig.schemas / "customers.toml"
    contract.write_text(contract.read_text().replace("topics = [", f'topics = ["{old}", '))
    rig.load.add(more_customers(rig, old, (0, 1)))
    return {}


@row(env=LOOKS_OFTEN, prepare=with_an_old_topic, books="balanced")
def topic_deleted(rig: Rig) -> None:
    """One of the topics, read to its end, is deleted: the worker goes on with the others and does not make it again."""
    old = rig.topics[-1]
    ends = {where: end for where, end in rig.load.log.next_offset.items() if where[0] == old}
    rig.until(lambda: all(rig.committed().get(where) == end for where, end in ends.items()), 60, "the old topic is read")
    admin(rig, lambda client: client.delete_topics([old]))
    rig.load.forget(old)
    before = rig.watch.total
    time.sleep(15)
    assert rig.watch.total > before, "the other topics stand still"
    assert old not in admin(rig, lambda client: client.list_topics())
    rig.seen["parked"] = [each["code"] for each in rig.parked()]


# ---------------------------------------------------------------- records go away before they are read


@row(books="balanced", rate=SLOWLY, tables=("invoices", "customers"))
def retention_passed_us(rig: Rig) -> None:
    """Retention deletes unread records of two partitions: the topic is parked; ON_GAP=continue goes on; they are sent anew."""
    rig.stop_workers()
    rig.load.finish()
    topic, committed = rig.topic("invoices"), rig.committed()
    cuts = {number: middle(committed[topic, number], rig.load.log.next_offset[topic, number]) for number in (0, 1)}
    lost = [each for number, cut in cuts.items() for each in sent_between(rig, topic, number, committed[topic, number], cut)]
    admin(rig, lambda client: client.delete_records({TopicPartition(topic, number): cut for number, cut in cuts.items()}))
    unwrite(rig, {(topic, number): range(committed[topic, number], cut) for number, cut in cuts.items()})
    rig.start_worker()
    rig.until(lambda: "kafka.gap" in [each["code"] for each in rig.parked()], 60, "the topic is parked")
    others = {where: end for where, end in rig.load.log.next_offset.items() if where[0] != topic}
    rig.until(lambda: all(rig.committed().get(where) == end for where, end in others.items()), 90, "the others are read")
    assert all(rig.committed()[topic, number] == committed[topic, number] for number in cuts), "a silent jump"
    (place,) = rig.parked()
    rig.seen |= {"parked": place["code"], "said": place["text"], "lost_on_purpose": len(lost)}
    judge.check_commits(rig)
    rig.stop_workers()
    rig.start_worker(INGEST_ON_GAP="continue")
    rig.until(lambda: rig.workers[-1].log.count("gap_passed") >= len(cuts), 60, "the gaps are passed")
    rig.load.add(lost)


def middle(low: int, high: int) -> int:
    assert high - low > 20, "too few unread records for this row: raise `records`"
    return (low + high) // 2


def sent_between(rig: Rig, topic: str, partition: int, begin: int, end: int) -> list[Message]:
    """These messages of the stream once more: a seed always makes the same."""
    plan = rig.scenario
    made = stream(plan.seed, plan.records, rig.name, plan.tables, PARTITIONS)
    there = [each for each in made if (each.topic, each.partition) == (topic, partition)]
    return there[begin:end]


def unwrite(rig: Rig, gone: Mapping[tuple[str, int], range]) -> None:
    """The log without these records: nobody can read them any more."""
    log = rig.load.log
    log.sent = [sent for sent in log.sent if sent.at.offset not in gone.get(sent.at[:2], ())]
    log.letters = {place: letter for place, letter in log.letters.items() if place.offset not in gone.get(place[:2], ())}


# ---------------------------------------------------------------- the group


@row(books="balanced", records=14_000, rate=100)
def rebalanced_every_5_s(rig: Rig) -> None:
    """For 2 min a second worker comes and goes, 5 s each: two rebalances every 10 s."""
    began_s, joined = time.monotonic(), 0
    while time.monotonic() - began_s < 120:
        joiner = rig.start_worker()
        time.sleep(5)
        done = joiner.stop()
        # One that is told to leave while Python itself still starts cannot answer.
        assert done.code == 0 or not done.log, done.log[-3000:]
        joined += 1
        time.sleep(5)
    rig.seen |= {"joined": joined, "rebalances": rig.workers[0].log.count('"revoked"')}


@row(books="balanced", rate=SLOWLY, env={"INGEST_KAFKA_GROUP_INSTANCE_ID": "the-only-one"})
def static_member_fenced(rig: Rig) -> None:
    """A second worker is started with the same group.instance.id: the first ends with 4 and says so, the second goes on."""
    rig.start_worker()
    done = rig.workers[0].wait(90)
    ended_with(rig, done, "kafka.fenced", "INGEST_KAFKA_GROUP_INSTANCE_ID")


@row(books="balanced", rate=SLOWLY, workers=2)
def session_passed(rig: Rig) -> None:
    """One of two workers is frozen (SIGSTOP) for 20 s, twice its session: the other takes over, the frozen one comes back."""
    frozen(rig, 20)


@row(books="balanced", env={"INGEST_KAFKA_SESSION_TIMEOUT_MS": "60000", "INGEST_KAFKA_MAX_POLL_INTERVAL_MS": "12000",
                            "INGEST_REVOKE_S": "2"})  # fmt: skip
def poll_deadline_passed(rig: Rig) -> None:
    """The only worker is frozen for 20 s, longer than max.poll.interval (12 s), in the middle of its session (60 s)."""
    frozen(rig, 20)
    rig.until(lambda: '"lost"' in rig.workers[0].log, 60, "the worker sees that it was thrown out")


def frozen(rig: Rig, seconds: float) -> None:
    rig.workers[0].freeze()
    try:
        time.sleep(seconds)
    finally:
        rig.workers[0].thaw()


# ---------------------------------------------------------------- bytes that cannot be read


@row(books="balanced", rate=SLOWLY)
def corrupt_batch(rig: Rig) -> None:
    """A byte of an unread batch is flipped on the broker's disk: the worker ends with 4; the byte is mended, it goes on."""
    rig.stop_workers()
    rig.load.finish()
    topic, number = rig.topic("invoices"), 0
    rig.kafka_server.stop()
    segment = rig.kafka_server.folder / "data" / f"{topic}-{number}" / f"{0:020}.log"
    flip_last_byte(segment)
    rig.kafka_server.start()
    ended_with(rig, rig.start_worker().wait(120), "kafka.corrupt_batch", f"topic {topic}, partition {number}")
    assert rig.committed()[topic, number] < rig.load.log.next_offset[topic, number]
    judge.check_commits(rig)
    rig.kafka_server.stop()
    flip_last_byte(segment)
    rig.kafka_server.start()
    rig.start_worker()


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@row(books="balanced", rate=SLOWLY)
def codec_missing(rig: Rig) -> None:
    """A worker without the package for lz4, in which all batches are: it ends with 4 and commits nothing; one with it goes on."""
    rig.stop_workers()
    rig.load.finish()
    before = rig.committed()
    hidden = rig.folder / "hidden"
    hidden.mkdir()
    (hidden / "lz4.py").write_text('raise ImportError("hidden by a test")\n')
    ended_with(rig, rig.start_worker(PYTHONPATH=str(hidden)).wait(60), "kafka.codec_missing", "lz4")
    assert rig.committed() == before
    rig.start_worker()


def ended_with(rig: Rig, done: Done, code: str, says: str) -> None:
    """A worker gave up as it should: with 4, this code and a sentence that says what to do."""
    rig.seen |= {"exit_code": done.code, "said": done.sentences[-1:]}
    assert done.code == 4, done.log[-3000:]
    assert code in done.log, done.log[-3000:]
    assert says in "".join(done.sentences[-1:]), done.sentences


# ---------------------------------------------------------------- the dead-letter topic


def without_dead_letters(rig: Rig) -> dict[str, str]:
    """The stream's first third has no bad record, so the worker gets far enough for a fault without it."""
    admin(rig, lambda client: client.delete_topics([rig.dead_letters]))
    return {"INGEST_DLQ_CREATE": "false"}


@row(is_short=True, books="exact", prepare=without_dead_letters)
def dead_letter_topic_missing(rig: Rig) -> None:
    """There is no dead-letter topic and none may be made, until 8 s after the first letter: what waits is not committed."""
    rig.until(lambda: rig.logged("dlq.topic_missing"), 90, "a letter has nowhere to go")
    rig.seen["ready"] = told_in_time(rig)
    kafka_io.create_topics(rig.kafka, [rig.dead_letters], 1)


def told_in_time(rig: Rig) -> list[str]:
    """What /readyz says of it after 8 s."""
    time.sleep(8)
    return [each for each in rig.worker.readiness().get("reasons", ()) if "dead" in each]


@row(books="exact")
def dead_letter_topic_full(rig: Rig) -> None:
    """The dead-letter topic takes no message above 150 bytes for 8 s after the first refusal: letters wait, and arrive whole."""
    limited(rig, 150)
    rig.until(lambda: rig.logged("dlq.limit"), 90, "a letter is refused")
    rig.seen["ready"] = told_in_time(rig)
    judge.check_commits(rig)
    limited(rig, kafka_io.MOST_BYTES)


def limited(rig: Rig, most_bytes: int) -> None:
    option = ConfigResource(ConfigResourceType.TOPIC, rig.dead_letters, configs={"max.message.bytes": str(most_bytes)})
    admin(rig, lambda client: client.alter_configs([option]))


# ---------------------------------------------------------------- played


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, servers: Servers) -> None:
    play(scenario, servers)
