"""What the Kafka client is told: our settings as plain values, and the client's own option names made from them.

The settings room builds these dataclasses; nothing here reads the environment, and of files only the certificates, so that one
that cannot be used is told at the start: the client itself would try to connect for ever.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from ingest import tls
from ingest.errors import Stop

StartFrom = Literal["earliest", "latest", "refuse"]
OnGap = Literal["park", "continue"]

# A reconnect that waits 30 s, the client's default, makes 8 s of delay out of a broker's 6 s restart.
RECONNECT_BACKOFF_MAX_MS = 5_000

# A broker's socket takes 100 MB; what is larger is cut without a try.
REQUEST_MAX_BYTES = 90_000_000

# Promises hang on these, so they cannot be passed through: offsets are committed by the ledger alone, nothing is decoded inside
# the client (it would spin on an error), aborted transactions stay unseen, revocation stays incremental.
OURS = frozenset(
    {
        "auto_offset_reset",
        "bootstrap_servers",
        "check_crcs",
        "consumer_timeout_ms",
        "enable_auto_commit",
        "enable_incremental_fetch_sessions",
        "group_id",
        "isolation_level",
        "kafka_client",
        "key_deserializer",
        "partition_assignment_strategy",
        "value_deserializer",
    }
)
SIDE: Final = tls.Side(
    code="kafka.tls",
    ca="INGEST_KAFKA_SSL_CAFILE",
    cert="INGEST_KAFKA_SSL_CERTFILE",
    key="INGEST_KAFKA_SSL_KEYFILE",
    address="INGEST_KAFKA_BOOTSTRAP_SERVERS",
    go_plain="set INGEST_KAFKA_SECURITY_PROTOCOL to PLAINTEXT or SASL_PLAINTEXT",
    go_tls="set INGEST_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL",
)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What every client of the brokers is told.

    client_options: kafka-python's own names (security_protocol, sasl_mechanism, ssl_cafile, ...) passed through.
    """

    bootstrap_servers: tuple[str, ...]
    group_id: str
    client_options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    client_id: str = field(default="ingest", kw_only=True)
    request_timeout_ms: int = field(default=30_000, kw_only=True)


@dataclass(frozen=True, slots=True)
class KafkaSettings(ClientSettings):
    """Everything that reading needs to know.

    topics: names, and patterns that begin with ^. start_from: for topics that this group has never seen.
    group_instance_id: makes the member static, so that a restart within the session moves no partition.
    """

    topics: tuple[str, ...]
    start_from: StartFrom = "earliest"
    on_gap: OnGap = "park"
    dlq_topic: str | None = None
    group_instance_id: str | None = None
    max_poll_records: int = 2_000
    max_partition_fetch_bytes: int = 4 << 20
    fetch_max_bytes: int = 32 << 20
    session_timeout_ms: int = 45_000
    max_poll_interval_ms: int = 120_000
    bootstrap_timeout_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetterSettings(ClientSettings):
    """Everything that writing dead letters needs to know.

    task_id: what a letter says of the process that sent it.
    may_create: whether a missing dead-letter topic is created; partitions and replicas: -1 leaves them to the broker.
    trouble_after_s: how long the oldest letter may wait before `trouble` says so. in_flight_bytes: with the producer at once.
    """

    topic: str
    task_id: str = "0"
    may_create: bool = True
    partitions: int = -1
    replicas: int = -1
    backlog_max_bytes: int = 64 << 20
    in_flight_bytes: int = 8 << 20
    trouble_after_s: float = 30.0


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments of KafkaConsumer. Raises Stop for an option that is not the user's to set or that nobody knows."""
    refused = sorted(OURS & settings.client_options.keys())
    if refused:
        name = refused[0]
        raise Stop("kafka.option_refused", f"the client option {name} is decided by ingest: remove INGEST_KAFKA_{name.upper()}")
    unknown = sorted(settings.client_options.keys() - known_options())
    if unknown:
        name = unknown[0]
        raise Stop(
            "kafka.option_unknown", f"the Kafka client has no option {name}: correct or remove INGEST_KAFKA_{name.upper()}"
        )
    return {
        "client_id": settings.client_id,
        "group_instance_id": settings.group_instance_id,
        "max_poll_records": settings.max_poll_records,
        "max_partition_fetch_bytes": settings.max_partition_fetch_bytes,
        "fetch_max_bytes": settings.fetch_max_bytes,
        "session_timeout_ms": settings.session_timeout_ms,
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "request_timeout_ms": settings.request_timeout_ms,
        "bootstrap_timeout_ms": settings.bootstrap_timeout_ms,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        **_of(KafkaConsumer, settings.client_options),
        **_tls(settings.client_options),
        "bootstrap_servers": list(settings.bootstrap_servers),
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "partition_assignment_strategy": [CooperativeStickyAssignor],
    }


def producer_options(settings: DeadLetterSettings) -> dict[str, Any]:
    """Keyword arguments of KafkaProducer: idempotent, acknowledged by all replicas in sync."""
    return {
        **_shared(KafkaProducer, settings),
        "acks": "all",
        "enable_idempotence": True,
        "max_block_ms": 5_000,
        # The broker judges a letter's size; the client's own limit of 1 MB would lose values that a larger topic accepts.
        "max_request_size": REQUEST_MAX_BYTES + 1_000_000,
    }


def admin_options(settings: DeadLetterSettings) -> dict[str, Any]:
    """Keyword arguments of KafkaAdminClient."""
    return _shared(KafkaAdminClient, settings)


def known_options() -> set[str]:
    """Every option name that one of the client's three faces knows."""
    return set(KafkaConsumer.DEFAULT_CONFIG) | set(KafkaProducer.DEFAULT_CONFIG) | set(KafkaAdminClient.DEFAULT_CONFIG)


def _shared(client: Any, settings: DeadLetterSettings) -> dict[str, Any]:
    return {
        "client_id": f"{settings.client_id}-dead-letters",
        "request_timeout_ms": settings.request_timeout_ms,
        "bootstrap_timeout_ms": 5_000,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        **_of(client, settings.client_options, but={"client_id", "acks", "enable_idempotence", "transactional_id"}),
        **_tls(settings.client_options),
        "bootstrap_servers": list(settings.bootstrap_servers),
    }


def _of(client: Any, options: Mapping[str, Any], but: set[str] | None = None) -> dict[str, Any]:
    """Those of the options that this face of the client knows: a fetch size means nothing to a producer."""
    return {name: value for name, value in options.items() if name in client.DEFAULT_CONFIG and name not in (but or ())}


def _tls(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the client needs beside the files. Raises Stop for files that cannot be used, or that nothing would use.

    The client (3.0.12) forgets `ssl_ciphers` and fails at each connection over `ssl_crlfile`, so with these goes a context of
    ours; without them it reads the files again at each connection, which sees renewed ones.
    """
    protocol = options.get("security_protocol", "PLAINTEXT")
    if protocol not in ("SSL", "SASL_SSL"):
        _refuse_idle(sorted(name for name in options if name.startswith("ssl_")), protocol)
        return {}
    context = tls_context(options)
    return {"ssl_context": context} if options.get("ssl_ciphers") or options.get("ssl_crlfile") else {}


def _refuse_idle(names: list[str], protocol: str) -> None:
    if names:
        text = f"INGEST_KAFKA_{names[0].upper()} has no effect with {protocol}, nothing would be encrypted: {SIDE.go_tls}"
        raise Stop("kafka.option_idle", text)


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """What these options mean to Python. Raises Stop for files that cannot be used."""
    files = (options.get(name) for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"))
    context = tls.client_context(SIDE, *files)
    context.check_hostname = options.get("ssl_check_hostname", True)
    if revoked := options.get("ssl_crlfile"):
        _read_revoked(context, revoked)
    if ciphers := options.get("ssl_ciphers"):
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as error:
            raise Stop(SIDE.code, "INGEST_KAFKA_SSL_CIPHERS names no cipher that OpenSSL knows: correct it") from error
    return context


def _read_revoked(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise Stop(SIDE.code, "INGEST_KAFKA_SSL_CRLFILE holds no revocation list that can be read: name a PEM file") from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
