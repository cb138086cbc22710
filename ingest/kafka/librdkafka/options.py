"""What librdkafka is told: our settings in its words. Reads of files only the certificates, as `kafka.options` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Stop
from ingest.kafka.options import KafkaSettings, consumer_options

# kafka-python's word -> librdkafka's, where the value means the same.
WORDS: Final[Mapping[str, str]] = {
    "client_dns_lookup": "client.dns.lookup",
    "client_id": "client.id",
    "client_rack": "client.rack",
    "connections_max_idle_ms": "connections.max.idle.ms",
    "fetch_max_bytes": "fetch.max.bytes",
    "fetch_max_wait_ms": "fetch.wait.max.ms",
    "fetch_min_bytes": "fetch.min.bytes",
    "group_instance_id": "group.instance.id",
    "heartbeat_interval_ms": "heartbeat.interval.ms",
    "max_in_flight_requests_per_connection": "max.in.flight.requests.per.connection",
    "max_partition_fetch_bytes": "max.partition.fetch.bytes",
    "max_poll_interval_ms": "max.poll.interval.ms",
    "metadata_max_age_ms": "topic.metadata.refresh.interval.ms",
    "receive_buffer_bytes": "socket.receive.buffer.bytes",
    "reconnect_backoff_max_ms": "reconnect.backoff.max.ms",
    "reconnect_backoff_ms": "reconnect.backoff.ms",
    "request_timeout_ms": "socket.timeout.ms",
    "retry_backoff_ms": "retry.backoff.ms",
    "sasl_mechanism": "sasl.mechanisms",
    "sasl_plain_password": "sasl.password",
    "sasl_plain_username": "sasl.username",
    "security_protocol": "security.protocol",
    "send_buffer_bytes": "socket.send.buffer.bytes",
    "session_timeout_ms": "session.timeout.ms",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
}
# Without these no connection would be the one that was asked for.
MISSING = ("proxy_url", "socks5_proxy", "sasl_kerberos_service_name", "sasl_kerberos_name", "sasl_kerberos_domain_name")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# librdkafka's upper limits, where ours are higher.
REQUEST_MAX_MS, REFRESH_MAX_MS = 300_000, 3_600_000
# A full queue is looked at again after so long; its own second would be a second without records each time.
QUEUE_LOOK_MS = 10
STATISTICS_MS = 2_000
# An answer to a fetch may hold one batch more than fetch.max.bytes, as large as the broker lets it be.
ANSWER_MAX_BYTES = 1_000_000_000
LARGEST_MESSAGE_BYTES = 1_000_000


def librdkafka_options(settings: KafkaSettings) -> dict[str, Any]:
    """The configuration of a consumer. Raises Stop as `consumer_options` does, and for what librdkafka has no word for."""
    ours = consumer_options(settings)
    _refuse(settings.client_options)
    told = {WORDS[name]: value for name, value in ours.items() if name in WORDS and value is not None}
    is_named = ours.get("ssl_check_hostname", True)
    return {
        **told,
        **_sizes(ours["fetch_max_bytes"]),
        **_times(ours),
        "ssl.endpoint.identification.algorithm": "https" if is_named else "none",
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "group.id": settings.group_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        # Where a checksum is wrong librdkafka (2.16.0) skips to the wrong place, takes what it finds there for messages and ends
        # the process by abort(): a FIXME in its rd_kafka_msgset_reader_v2 tells how, issue 689 of confluent-kafka-python has the
        # same assertion. Without the check damaged rows would be stored.
        "check.crcs": True,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        "enable.metrics.push": False,
        "statistics.interval.ms": STATISTICS_MS,
        "log_level": 0,
    }


def _refuse(options: Mapping[str, Any]) -> None:
    """Raises Stop for what this client cannot do."""
    name = next((each for each in MISSING if each in options), None)
    mechanism = options.get("sasl_mechanism", "PLAIN")
    if name is None and mechanism in MECHANISMS:
        return
    what = f"INGEST_KAFKA_{name.upper()}" if name else f"INGEST_KAFKA_SASL_MECHANISM={mechanism}"
    raise Stop(
        "kafka.option_unsupported", f"librdkafka does not know {what}: set INGEST_KAFKA_CLIENT to kafka-python, or remove it"
    )


def _sizes(fetch_max_bytes: int) -> dict[str, int]:
    """One fetch waits in the queue while another is under way, as the shares of memory have it."""
    return {
        "queued.max.messages.kbytes": max(1, fetch_max_bytes // 1024),
        "queued.min.messages": 10_000_000,  # bytes alone decide
        "fetch.queue.backoff.ms": QUEUE_LOOK_MS,
        "message.max.bytes": max(1_000, min(LARGEST_MESSAGE_BYTES, fetch_max_bytes)),  # must not be above fetch.max.bytes
        "receive.message.max.bytes": max(ANSWER_MAX_BYTES, fetch_max_bytes + 512),
    }


def _times(ours: Mapping[str, Any]) -> dict[str, int]:
    """Where librdkafka's limits are narrower than ours. Who does not poll for so long is out anyway, so no session is longer."""
    refresh_ms = min(REFRESH_MAX_MS, ours.get("metadata_max_age_ms", 300_000))
    return {
        "session.timeout.ms": min(ours["session_timeout_ms"], ours["max_poll_interval_ms"]),
        "socket.timeout.ms": min(REQUEST_MAX_MS, ours["request_timeout_ms"]),
        "topic.metadata.refresh.interval.ms": refresh_ms,
        "metadata.max.age.ms": max(3 * refresh_ms, 1),
        "topic.metadata.propagation.max.ms": min(30_000, ours["request_timeout_ms"]),
    }
