"""Reading with librdkafka, the parts that need no broker: its words for our settings, its errors, what is kept of partitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka")

from confluent_kafka import Consumer, KafkaError, TopicPartition  # noqa: E402
from kafka import errors as client  # noqa: E402

from ingest.commands.shared import USAGE, exit_code  # noqa: E402
from ingest.errors import Stop  # noqa: E402
from ingest.flow.ports import Commit  # noqa: E402
from ingest.kafka import clients  # noqa: E402
from ingest.kafka.client_errors import translate  # noqa: E402
from ingest.kafka.librdkafka.commits import Commits, as_theirs  # noqa: E402
from ingest.kafka.librdkafka.errors import FENCED, as_client  # noqa: E402
from ingest.kafka.librdkafka.holding import Holding, finish  # noqa: E402
from ingest.kafka.librdkafka.options import librdkafka_options  # noqa: E402
from ingest.kafka.options import KafkaSettings  # noqa: E402
from ingest.model import Partition, Record  # noqa: E402

HERE, THERE = Partition("t", 0), Partition("t", 1)


def settings(**changes: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=("a:1", "b:2"), group_id="g", topics=("t",), **changes)


# ---------------------------------------------------------------- words


def test_the_settings_are_told_in_librdkafkas_words_and_it_takes_them() -> None:
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u"}
    told = librdkafka_options(settings(client_options={**options, "sasl_plain_password": "p", "metadata_max_age_ms": 500}))
    assert (told["sasl.mechanisms"], told["sasl.username"], told["sasl.password"]) == ("SCRAM-SHA-512", "u", "p")
    assert (told["bootstrap.servers"], told["topic.metadata.refresh.interval.ms"]) == ("a:1,b:2", 500)
    assert (told["enable.auto.commit"], told["auto.offset.reset"], told["isolation.level"]) == (False, "error", "read_committed")
    Consumer(told).close()


@pytest.mark.parametrize(
    "changes", [{}, {"fetch_max_bytes": 500_000, "max_partition_fetch_bytes": 1_000}, {"fetch_max_bytes": 1 << 30}]
)
def test_one_fetch_waits_in_the_queue_whatever_its_size(changes: dict[str, int]) -> None:
    told = librdkafka_options(settings(**changes))
    assert told["queued.max.messages.kbytes"] == told["fetch.max.bytes"] // 1024
    Consumer(told).close()


def test_no_session_is_longer_than_the_time_without_polls() -> None:
    told = librdkafka_options(settings(session_timeout_ms=45_000, max_poll_interval_ms=10_000))
    assert (told["session.timeout.ms"], told["max.poll.interval.ms"]) == (10_000, 10_000)
    Consumer(told).close()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"socks5_proxy": "socks5://p:1"}, "INGEST_KAFKA_SOCKS5_PROXY"),
        ({"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "GSSAPI"}, "INGEST_KAFKA_SASL_MECHANISM=GSSAPI"),
    ],
)
def test_what_librdkafka_cannot_do_is_told(options: dict[str, Any], name: str) -> None:
    with pytest.raises(Stop, match=f"librdkafka does not know {name}: set INGEST_KAFKA_CLIENT to kafka-python") as caught:
        librdkafka_options(settings(client_options=options))
    assert exit_code(caught.value) == USAGE


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda _: None)
    with pytest.raises(Stop, match=r"pip install 'cratedb-ingest\[librdkafka\]'") as caught:
        clients.reader("librdkafka", settings())
    assert exit_code(caught.value) == USAGE
    assert clients.librdkafka_version() is None


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (KafkaError.FENCED_INSTANCE_ID, "kafka.fenced"),
        (KafkaError._AUTHENTICATION, "kafka.not_authenticated"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "kafka.not_authorised"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "kafka.group_protocol"),
        (KafkaError._INVALID_ARG, "kafka.config"),
        (KafkaError._TRANSPORT, "kafka.unreachable"),
        (KafkaError._TIMED_OUT, "kafka.unreachable"),
        (KafkaError._APPLICATION, "kafka.failed"),
    ],
)
def test_errors_mean_what_they_mean_with_kafka_python(code: int, told: str) -> None:
    assert translate(as_client(KafkaError(code)), "reading").code == told


def test_who_was_fenced_is_told_so_although_librdkafka_only_says_that_it_is_fatal() -> None:
    text = f"Fatal error: {FENCED}: OffsetCommit failed: {FENCED}"
    assert translate(as_client(KafkaError(KafkaError._FATAL, text)), "reading").code == "kafka.fenced"
    assert translate(as_client(KafkaError(KafkaError._FATAL, "Fatal error: another")), "reading").code == "kafka.failed"


# ---------------------------------------------------------------- commits


def test_a_late_answer_to_another_commit_is_no_answer_to_this_one() -> None:
    commits, answers = Commits(), list[Exception | None]()
    commits.start(Recorder(), {HERE: Commit(7)}, answers.append)
    commits.on_commit(None, [TopicPartition("t", 0, 5)])
    assert answers == []
    commits.on_commit(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [TopicPartition("t", 0, 7)])
    assert [type(each) for each in answers] == [client.RebalanceInProgressError]


def test_empty_metadata_travels_as_none_at_all() -> None:
    (without, with_) = as_theirs({HERE: Commit(7), THERE: Commit(8, "m", 3)})
    assert (without.metadata, with_.metadata, with_.leader_epoch) == (None, "m", 3)


# ---------------------------------------------------------------- partitions


class Recorder:
    """A consumer that notes what it is told, and a listener that may seek."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[tuple[int, int]]]] = []
        self.heard: list[tuple[str, list[Partition]]] = []

    def __getattr__(self, name: str) -> Any:
        def note(partitions: Any = (), **options: Any) -> None:
            listed = partitions if isinstance(partitions, list | tuple) else [partitions]
            self.told.append((name, [(each.partition, each.offset) for each in listed]))

        return note

    def assigned(self, partitions: Mapping[Partition, Commit]) -> None:
        self.heard.append(("assigned", list(partitions)))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        self.heard.append(("revoked", list(partitions)))

    def lost(self, partitions: Collection[Partition]) -> None:
        self.heard.append(("lost", list(partitions)))


def holding_both(recorder: Recorder) -> Holding:
    held = Holding(recorder, recorder, lambda partitions: dict.fromkeys(partitions, Commit(10)))  # type: ignore[arg-type]
    held.on_assign(recorder, [TopicPartition(*HERE), TopicPartition(*THERE)])  # type: ignore[arg-type]
    held.settle_moves()
    return held


def run(partition: Partition, *offsets: int) -> list[Record]:
    return [Record(*partition, offset, 0, None, None) for offset in offsets]


def test_partitions_are_fetched_from_their_starting_points() -> None:
    recorder = Recorder()
    held = holding_both(recorder)
    assert recorder.told == [("incremental_assign", [(0, 10), (1, 10)])]
    assert [record.offset for record in held.accept([run(HERE, 10, 11), run(THERE, 12)])] == [10, 11, 12]
    assert held.next == {HERE: 12, THERE: 13}


def test_records_of_what_was_moved_since_they_were_asked_for_are_read_again() -> None:
    recorder = Recorder()
    held = holding_both(recorder)
    held.move(HERE, 3)
    assert [record.partition for record in held.accept([run(HERE, 10), run(THERE, 10)])] == [1]
    held.settle_moves()
    assert recorder.told[-1] == ("seek", [(0, 3)])
    assert [record.offset for record in held.accept([run(HERE, 3)])] == [3]


def test_records_from_before_a_loss_do_not_count_for_the_stay_behind_it() -> None:
    recorder = Recorder()
    held = holding_both(recorder)
    held.on_lost(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    held.on_assign(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    assert held.accept([run(HERE, 15, 16)]) == []
    held.settle_moves()
    assert recorder.told[-1] == ("seek", [(0, 10)])
    assert [kind for kind, _ in recorder.heard] == ["assigned", "lost", "assigned"]


def test_revoked_partitions_are_drained_before_they_go_and_nothing_of_them_comes_after() -> None:
    recorder = Recorder()
    held = holding_both(recorder)
    held.on_revoke(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    assert recorder.heard[-1] == ("revoked", [HERE])
    assert recorder.told[-1] == ("incremental_unassign", [(0, -1001)])
    assert held.accept([run(HERE, 10)]) == []


def test_what_comes_while_we_leave_is_left_to_others() -> None:
    recorder = Recorder()
    held = holding_both(recorder)
    held.is_closed = True
    held.release([HERE, THERE])
    held.on_assign(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    assert recorder.told[-1] == ("incremental_assign", [])
    held.on_revoke(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    assert [kind for kind, _ in recorder.heard] == ["assigned", "revoked"]
    assert held.told == held.held_back == set()


def test_what_a_listener_raises_is_kept_and_librdkafka_goes_on() -> None:
    recorder = Recorder()

    def refuse(_: Collection[Partition]) -> Mapping[Partition, Commit]:
        raise Stop("kafka.no_offset", "no")

    held = Holding(recorder, recorder, refuse)  # type: ignore[arg-type]
    held.on_assign(recorder, [TopicPartition(*HERE)])  # type: ignore[arg-type]
    assert recorder.told == [("incremental_assign", [])]
    assert (str(held.take_trouble()), held.held_back) == ("kafka.no_offset: no", {HERE})


def test_a_listener_that_awaits_something_else_is_told() -> None:
    class Forever:
        def __await__(self) -> Any:
            yield

    async def wait() -> None:
        await Forever()

    with pytest.raises(RuntimeError, match="awaited something"):
        finish(wait())
