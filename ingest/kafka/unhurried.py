"""Questions to Kafka that the loop's thread asks without waiting, where the client's public face would wait for the answer.

Behind that face of kafka-python 3.0, like client_seams, which checks the version. Loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.protocol.consumer import OffsetSpec

from ingest.model import Partition


class Ends:
    """Where partitions end: asked now, answered some milliseconds later. The newest question counts."""

    def __init__(self) -> None:
        self._future: Any = None

    def ask(self, consumer: KafkaConsumer, partitions: Collection[TopicPartition]) -> None:
        wanted = dict.fromkeys(partitions, OffsetSpec.LATEST)
        send = consumer._fetcher._send_list_offsets_requests  # noqa: SLF001
        self._future = consumer._manager.call_soon(send, wanted)  # noqa: SLF001

    def take(self) -> Mapping[Partition, int] | None:
        """The answer, once; None while there is none. Partitions that could not be asked for are left out."""
        if self._future is None or not self._future.is_done:
            return None
        answer, self._future = self._future, None
        found = answer.value[0] if answer.succeeded() else {}
        return {Partition(*partition): end.offset for partition, end in found.items()}


def partition_count(consumer: KafkaConsumer, topic: str) -> int | None:
    """As last heard, None if not known; the public call asks for the metadata of all topics where one is gone."""
    return len(consumer._cluster.partitions_for_topic(topic) or ()) or None  # noqa: SLF001
