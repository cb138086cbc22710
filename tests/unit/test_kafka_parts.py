"""The pure parts of the Kafka room: topics, options, starting points, gaps, letters, commits, translated errors."""

from __future__ import annotations

import re
import socket
from types import SimpleNamespace

import pytest
from kafka import errors as client
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from ingest.errors import Reject, Retry, Stop
from ingest.flow.ports import Letter
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.commits import CommitUnderWay
from ingest.kafka.gaps import Gap, parked
from ingest.kafka.letters import bare, message, smaller
from ingest.kafka.options import DeadLetterSettings, KafkaSettings, admin_options, consumer_options, producer_options
from ingest.kafka.starts import STARTED, is_new_topic
from ingest.kafka.topics import Wanted, check_names, is_barred, wanted
from ingest.model import Partition, Record

# ---------------------------------------------------------------- topics


def test_names_are_subscribed_as_names_once_each() -> None:
    assert wanted(["orders", "items", "orders"], "w.dlq") == Wanted(("orders", "items"))


@pytest.mark.parametrize(
    ("topic", "is_read"),
    [
        ("shop.public.orders", True),
        ("shop.public.orders.dlq", True),
        ("plain", True),
        ("plainer", False),
        ("shop", False),
        ("shop.heartbeat", False),
        ("shop.heartbeats", False),
        ("shop.heartbeat.orders", False),
        ("shop.heartbeater", True),
        ("shop.dlq", False),
        ("__shop.orders", False),
    ],
)
def test_a_pattern_reads_rows_and_nothing_else(topic: str, is_read: bool) -> None:
    pattern = wanted(["plain", "^shop[.]", "^__shop", "^.*heart"], "shop.dlq").pattern
    assert pattern is not None
    assert (re.match(pattern, topic) is not None) == is_read


@pytest.mark.parametrize("topic", ["__consumer_offsets", "__debezium-heartbeat.shop", "w.dlq", "shop.heartbeat", "heartbeats"])
def test_a_name_that_holds_no_rows_is_refused(topic: str) -> None:
    assert is_barred(topic, "w.dlq")
    with pytest.raises(Stop, match=r"kafka\.topic_barred"):
        wanted([topic], "w.dlq")


@pytest.mark.parametrize(("topics", "code"), [([], "kafka.no_topics"), (["^("], "kafka.topic_pattern")])
def test_topics_that_cannot_be_subscribed_are_told(topics: list[str], code: str) -> None:
    with pytest.raises(Stop, match=code):
        wanted(topics, None)


def test_missing_topics_are_named_with_a_neighbour() -> None:
    check_names(["orders"], ["orders", "items"])
    with pytest.raises(
        Stop, match=r"topic ordrs \(and 1 more\) does not exist, the nearest name is orders: correct INGEST_TOPICS"
    ):
        check_names(["ordrs", "zzz"], ["orders", "items"])


# ---------------------------------------------------------------- options

SETTINGS = KafkaSettings(("a:1", "b:2"), "workers", ("orders",))


def test_the_client_is_told_what_the_promises_need() -> None:
    told = consumer_options(SETTINGS)
    assert (told["enable_auto_commit"], told["auto_offset_reset"], told["isolation_level"]) == (False, "none", "read_committed")
    assert [each.name for each in told["partition_assignment_strategy"]] == ["cooperative-sticky"]
    assert told["bootstrap_servers"] == ["a:1", "b:2"]
    assert "value_deserializer" not in told


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("enable_auto_commit", True, "refused"), ("isolation_level", "x", "refused"), ("sals", 1, "unknown")],
)
def test_options_that_would_break_a_promise_or_mean_nothing_are_refused(name: str, value: object, code: str) -> None:
    with pytest.raises(Stop, match=rf"kafka\.option_{code}.*INGEST_KAFKA_{name.upper()}"):
        consumer_options(KafkaSettings(("a:1",), "g", ("t",), client_options={name: value}))


def test_each_face_of_the_client_hears_only_what_it_knows() -> None:
    options = {"security_protocol": "SASL_SSL", "fetch_min_bytes": 5, "acks": 0, "compression_type": "lz4", "client_id": "mine"}
    letters = DeadLetterSettings(("a:1",), "workers", "workers.dlq", client_options=options)
    assert consumer_options(KafkaSettings(("a:1",), "g", ("t",), client_options=options))["fetch_min_bytes"] == 5
    assert (
        producer_options(letters).items() >= {"security_protocol": "SASL_SSL", "compression_type": "lz4", "acks": "all"}.items()
    )
    assert "fetch_min_bytes" not in producer_options(letters)
    assert "compression_type" not in admin_options(letters)
    assert admin_options(letters)["client_id"] == "ingest-dead-letters"


# ---------------------------------------------------------------- starts, gaps, commits


@pytest.mark.parametrize(
    ("metadata", "is_new"),
    [([], True), ([STARTED, STARTED], True), ([STARTED, ""], False), (["window=3"], False)],
    ids=["no commit", "others have just started", "something is settled", "with metadata"],
)
def test_a_topic_is_new_until_something_of_it_is_settled(metadata: list[str], is_new: bool) -> None:
    assert is_new_topic(metadata) == is_new


@pytest.mark.parametrize(
    ("gap", "code", "what"),
    [
        (Gap(Partition("t", 2), 10, 25, 90), "kafka.gap", "retention deleted 15 offsets"),
        (Gap(Partition("t", 2), 100, 0, 90), "kafka.gap", "deleted and created again"),
        (Gap(Partition("t", 2), 50, 0, 90, is_truncated=True), "kafka.truncated", "rolled back"),
    ],
    ids=["retention", "new topic", "truncation"],
)
def test_a_gap_parks_its_topic_with_numbers_and_advice(gap: Gap, code: str, what: str) -> None:
    error = parked(gap)
    assert (error.code, error.subject) == (code, "topic:t")
    assert what in error.text
    assert f"t[2] was read up to offset {gap.position} and its log holds {gap.begin} to {gap.end}" in error.text


def test_a_commit_is_over_when_it_is_answered_or_late() -> None:
    answered, refused, late = CommitUnderWay(10), CommitUnderWay(10), CommitUnderWay(10)
    assert not answered.is_over(9)
    answered.answer({}, None)
    refused.answer({}, client.CommitFailedError())
    assert [each.is_over(9) for each in (answered, refused, late)] == [True, True, False]
    assert late.is_over(10)
    assert [each.take_error() for each in (answered, refused, late)] == [None, "CommitFailedError", "no answer in time"]
    assert refused.take_error() is None


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.FencedInstanceIdError(), "kafka.fenced"),
        (client.SaslAuthenticationFailedError(), "kafka.not_authenticated"),
        (client.TopicAuthorizationFailedError({"t"}), "kafka.not_authorised"),
        (client.GroupAuthorizationFailedError("g"), "kafka.not_authorised"),
        (client.InconsistentGroupProtocolError(), "kafka.group_protocol"),
        (client.InvalidSessionTimeoutError(), "kafka.group_refused"),
        (client.UnsupportedVersionError(), "kafka.broker_version"),
        (client.KafkaConfigurationError("x"), "kafka.config"),
        (ValueError("a value of a row"), "kafka.failed"),
    ],
)
def test_what_a_person_must_mend_stops_the_process(error: Exception, code: str) -> None:
    meaning = translate(error, "reading")
    assert isinstance(meaning, Stop)
    assert meaning.code == code
    assert "a value of a row" not in str(meaning)


@pytest.mark.parametrize("error", [client.KafkaTimeoutError(), client.KafkaConnectionError(), client.NodeNotReadyError("1")])
def test_what_passes_by_itself_is_tried_again(error: Exception) -> None:
    meaning = translate(error, "reading")
    assert isinstance(meaning, Retry)
    assert meaning.code == "kafka.unreachable"


# ---------------------------------------------------------------- letters

RECORD = Record("t", 1, 2, 3, b"key", b"value", [("h", b"x")])
LETTER = Letter(RECORD, Reject("type.range", "too large"), None, "write")


def test_a_letter_shrinks_step_by_step_to_its_reasons() -> None:
    whole = message(LETTER, "g", "0")
    without_value = smaller(whole)
    assert without_value is not None
    without_key = smaller(without_value)
    assert without_key is not None
    assert [(each.key, each.value) for each in (whole, without_value, without_key)] == [
        (b"key", b"value"),
        (b"key", None),
        (None, b""),
    ]
    assert smaller(without_key) is None
    assert (
        dict(without_key.headers).items()
        >= {"ingest.value-omitted-bytes": b"5", "ingest.key-omitted-bytes": b"3", "h": b"x"}.items()
    )
    assert "h" not in dict(bare(LETTER, "g", "0").headers)


def test_reasons_leave_out_what_is_not_known() -> None:
    headers = dict(message(LETTER, "g", "0").headers)
    assert headers["__connect.errors.stage"] == b"TASK_PUT"
    assert {"ingest.table", "ingest.column"}.isdisjoint(headers)


def test_a_transport_closed_while_it_waited_is_an_error_of_the_connection_and_no_bug() -> None:
    from kafka.errors import KafkaConnectionError

    received, error = client_seams._receive(SimpleNamespace(_sock=None))
    assert (received, type(error)) == (b"", KafkaConnectionError)


def test_a_refusal_that_the_producer_wraps_in_a_text_is_told_as_one() -> None:
    wrapped = client.KafkaError("Unexpected error in InitProducerIdResponse: [Error 31] ClusterAuthorizationFailedError")
    assert translate(wrapped, "sending dead letters").code == "kafka.not_authorised"
    assert translate(client.KafkaError("something else"), "sending dead letters").code == "kafka.failed"


def test_a_commit_that_we_may_not_make_is_told_apart_from_one_that_fails() -> None:
    refused, failed = CommitUnderWay(10), CommitUnderWay(10)
    refused.answer({}, client.GroupAuthorizationFailedError("g"))
    failed.answer({}, client.CommitFailedError())
    assert isinstance(refused.refusal, client.GroupAuthorizationFailedError)
    assert failed.refusal is None
    assert (refused.take_error(), failed.take_error()) == ("GroupAuthorizationFailedError", "CommitFailedError")


def test_a_client_that_is_closed_leaves_no_socket_that_had_something_to_send() -> None:
    """As when it is closed right behind a question: kafka-python would forget the socket, open."""
    client_seams.close_what_fails()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        net = NetworkSelector()
        transport = KafkaTCPTransport(net, ours)
        transport.set_protocol(SimpleNamespace(_sensors=None, connection_lost=lambda _: None))
        transport.write(b"a question")
        transport.close()
        net.close()
        assert -1 == ours.fileno()
