"""What librdkafka's errors are called in kafka-python, whose names the sentences of `client_errors` are made for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from kafka import errors as client

# Errors of librdkafka's own, below zero; the broker's have the same numbers everywhere.
_OWN: dict[int, type[Exception]] = {
    KafkaError._ALL_BROKERS_DOWN: client.KafkaConnectionError,  # noqa: SLF001  (its way of naming its own)
    KafkaError._ASSIGNMENT_LOST: client.CommitFailedError,  # noqa: SLF001
    KafkaError._AUTHENTICATION: client.SaslAuthenticationFailedError,  # noqa: SLF001
    KafkaError._INVALID_ARG: client.KafkaConfigurationError,  # noqa: SLF001
    KafkaError._MAX_POLL_EXCEEDED: client.CommitFailedError,  # noqa: SLF001
    KafkaError._RESOLVE: client.KafkaConnectionError,  # noqa: SLF001
    KafkaError._SSL: client.KafkaConnectionError,  # noqa: SLF001
    KafkaError._TIMED_OUT: client.KafkaTimeoutError,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE: client.KafkaTimeoutError,  # noqa: SLF001
    KafkaError._TRANSPORT: client.KafkaConnectionError,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: client.UnknownTopicOrPartitionError,  # noqa: SLF001
    KafkaError._UNKNOWN_TOPIC: client.UnknownTopicOrPartitionError,  # noqa: SLF001
    KafkaError._UNSUPPORTED_FEATURE: client.UnsupportedVersionError,  # noqa: SLF001
    KafkaError._WAIT_COORD: client.KafkaTimeoutError,  # noqa: SLF001
}
# A batch of which these are said was skipped: whoever goes on reading has lost it.
UNREADABLE = frozenset(
    {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._UNDERFLOW, KafkaError._NOT_IMPLEMENTED}  # noqa: SLF001
)
# What happens in the life of a member and shows itself elsewhere: as a loss of partitions, as ill health.
PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
END_OF_PARTITION: int = KafkaError._PARTITION_EOF  # noqa: SLF001
OUT_OF_RANGE: int = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001
REFUSED_LOGIN: int = KafkaError._AUTHENTICATION  # noqa: SLF001
REFUSED_TLS: int = KafkaError._SSL  # noqa: SLF001
NOT_FETCHED_YET = frozenset({KafkaError._STATE, KafkaError._PREV_IN_PROGRESS})  # noqa: SLF001
# In the text of an error of OUT_OF_RANGE whose partition was truncated.
TRUNCATED = KafkaError(KafkaError._LOG_TRUNCATION).str()  # noqa: SLF001
# In the text of an error that ends a client, whose code says no more than that it does.
FENCED = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()


def as_client(error: KafkaError) -> Exception:
    """The error as kafka-python would have raised it.

    >>> as_client(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    TopicAuthorizationFailedError('TOPIC_AUTHORIZATION_FAILED')
    """
    code = error.code()
    if code == KafkaError._FATAL and FENCED in error.str():  # noqa: SLF001
        code = KafkaError.FENCED_INSTANCE_ID
    if code in _OWN:
        return _OWN[code]()
    found: type[Exception] = client.for_code(code) if code > 0 else client.KafkaError
    return found(error.name())


def code_of(error: KafkaException) -> int:
    return int(error.args[0].code())


@contextmanager
def told_as_client() -> Iterator[None]:
    """Raises what librdkafka raises as kafka-python would."""
    try:
        yield
    except KafkaException as error:
        raise as_client(error.args[0]) from error


def see_each(answers: Collection[TopicPartition] | None) -> Collection[TopicPartition]:
    """Raises, as kafka-python would, what an answer says of one of its partitions."""
    for answer in answers or ():
        if answer.error is not None:
            raise as_client(answer.error)
    return answers or ()
