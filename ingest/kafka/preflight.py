"""What of Kafka can be seen before reading: the topics that a worker would read, and whether letters could be sent. For `check`.

Joins no group and commits nothing. Blocks for up to the client's bootstrap time-out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kafka import KafkaConsumer

from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.codecs import missing_packages
from ingest.kafka.options import KafkaSettings, consumer_options
from ingest.kafka.topics import wanted


class Seen(NamedTuple):
    """topics: those that would be read, with their number of partitions. missing: names that do not exist.

    has_dlq: whether the dead-letter topic exists. missing_codecs: packages without which some batches cannot be read.
    """

    topics: Mapping[str, int]
    missing: tuple[str, ...]
    has_dlq: bool
    missing_codecs: tuple[str, ...]


def look(settings: KafkaSettings) -> Seen:
    """Raises Retry when nobody answers, Stop for what only a person can mend."""
    topics = wanted(settings.topics, settings.dlq_topic)
    options = consumer_options(settings) | {"group_id": None, "group_instance_id": None}
    try:
        consumer = client_seams.construct(KafkaConsumer, options)
        try:
            existing = consumer.topics()
            read = _read(existing, topics.names, topics.pattern)
            counts = {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in read}
        finally:
            consumer.close(autocommit=False, timeout_ms=0)
    except Exception as error:
        raise translate(error, "asking for topics") from error
    missing = tuple(name for name in topics.names if name not in existing)
    return Seen(counts, missing, settings.dlq_topic in existing, tuple(missing_packages()))


def _read(existing: set[str], names: tuple[str, ...], pattern: str | None) -> list[str]:
    """
    >>> _read({"a", "b"}, (), "^a"), _read({"a", "b"}, ("b", "c"), None)
    (['a'], ['b'])
    """
    return sorted(topic for topic in existing if (re.match(pattern, topic) if pattern else topic in names))
