"""What an error of the Kafka client means for the worker: the one place where they are translated. Pure."""

from __future__ import annotations

from kafka import errors as client

from ingest.errors import IngestError, Retry, Stop
from ingest.kafka.client_seams import UnreadableBatch
from ingest.kafka.codecs import MissingCodec

# The first class that fits counts. {error} is the client's own name of the error.
_STOPS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (client.FencedInstanceIdError,),
        "kafka.fenced",
        "another member runs with the same INGEST_KAFKA_GROUP_INSTANCE_ID: give each worker its own",
    ),
    (
        (client.SaslAuthenticationFailedError, client.UnsupportedSaslMechanismError, client.IllegalSaslStateError),
        "kafka.not_authenticated",
        "the broker refuses the credentials ({error}): check INGEST_KAFKA_SASL_*",
    ),
    (
        (client.AuthorizationError,),
        "kafka.not_authorised",
        "the broker refuses what the worker needs ({error}): it must read its topics and group, and write the dead-letter topic",
    ),
    (
        (client.InconsistentGroupProtocolError,),
        "kafka.group_protocol",
        "other members assign partitions in another way: stop them all before starting ingest, or change INGEST_GROUP_ID",
    ),
    (
        (client.InvalidSessionTimeoutError, client.GroupMaxSizeReachedError, client.InvalidGroupIdError),
        "kafka.group_refused",
        "the broker refuses this member ({error}): check the session timeout, the group's name and its size limit",
    ),
    (
        (client.UnsupportedVersionError, client.IncompatibleBrokerVersion),
        "kafka.broker_version",
        "the broker is too old for what the worker needs ({error}): use Kafka 2.1 or later",
    ),
    ((client.KafkaConfigurationError,), "kafka.config", "the Kafka client refuses its settings: correct INGEST_KAFKA_*"),
)


def translate(error: Exception, doing: str) -> IngestError:
    """Retry for what passes by itself, Stop for all else; the caller chains the cause. doing: what was tried, in words."""
    if isinstance(error, IngestError):
        return error
    if isinstance(error, UnreadableBatch):
        return unreadable(error)
    if type(error) is client.KafkaError and "AuthorizationFailed" in str(error):
        # The idempotent producer tells so, as a mere text, that it was refused its number.
        error = client.ClusterAuthorizationFailedError()
    for classes, code, text in _STOPS:
        if isinstance(error, classes):
            return Stop(code, text.format(error=type(error).__name__))
    if getattr(error, "retriable", False):
        remedy = "is Kafka running, are INGEST_KAFKA_BOOTSTRAP_SERVERS and _SECURITY_PROTOCOL right?"
        return Retry("kafka.unreachable", f"no answer from Kafka while {doing} ({type(error).__name__}): {remedy}")
    return Stop("kafka.failed", f"the Kafka client failed while {doing} ({type(error).__name__}): the log has its traceback")


def unreadable(error: UnreadableBatch) -> Stop:
    """One sentence for a batch that cannot be unpacked. It names the batch, never what is in it."""
    where = f"the batch at offset {error.offset} of topic {error.topic}, partition {error.partition}"
    cause = error.__cause__
    if isinstance(cause, MissingCodec | client.UnsupportedCodecError):
        return Stop("kafka.codec_missing", f"{where} needs a codec that is not installed ({cause}): install its package")
    return Stop(
        "kafka.corrupt_batch",
        f"{where} cannot be unpacked ({type(cause).__name__}): repair it, or commit a later offset for the group to skip it",
    )
