"""Which client reads: kafka-python, or librdkafka where that is wanted and installed, and only then imported."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal, Protocol

from ingest.errors import Stop
from ingest.flow.ports import Offsets, Source
from ingest.kafka.options import KafkaSettings
from ingest.kafka.source import KafkaSource

Client = Literal["kafka-python", "librdkafka"]
# Before 2.13.2 a batch with an error in it moved the position.
LEAST = (2, 14)
INSTALL = "pip install 'cratedb-ingest[librdkafka]'"


class Reader(Source, Offsets, Protocol):
    """A source with all that a worker wants of one."""

    def wake(self) -> None:
        """End the poll that waits, or the next one. Any thread."""


def reader(client: Client, settings: KafkaSettings) -> Reader:
    """Not started. Raises Stop when the client is not there, or too old."""
    if client == "kafka-python":
        return KafkaSource(settings)
    check_librdkafka()
    from ingest.kafka.librdkafka.source import RdSource

    return RdSource(settings)


def check_librdkafka() -> None:
    """Raises Stop("kafka.client_missing") or Stop("kafka.client_version")."""
    if find_spec("confluent_kafka") is None:
        text = f"INGEST_KAFKA_CLIENT is librdkafka and its package is not installed: {INSTALL}, or set it to kafka-python"
        raise Stop("kafka.client_missing", text)
    found = version("confluent-kafka")
    if tuple(map(int, found.split(".")[:2])) < LEAST:
        raise Stop("kafka.client_version", f"confluent-kafka {found} is installed: {INSTALL}, which brings a later one")


def librdkafka_version() -> str | None:
    """Its own and that of its package; None where it is not installed."""
    if find_spec("confluent_kafka") is None:
        return None
    import confluent_kafka

    return f"{confluent_kafka.libversion()[0]} (confluent-kafka {confluent_kafka.version()})"
