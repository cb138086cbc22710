"""Commits and their answers. Loop's thread, in which librdkafka calls `on_commit` as well, inside poll.

The package lets one call of a consumer run at a time, whatever the thread, and a commit that waits for its answer is one of long.
So nothing waits but inside a rebalance, where no poll can bring the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ingest.flow.ports import Commit
from ingest.kafka.librdkafka.errors import as_client, see_each, told_as_client
from ingest.model import Partition

Places = frozenset[tuple[str, int, int]]
# Called with what went wrong, in the words of kafka-python, or None.
Then = Callable[[Exception | None], None]


class Commits:
    """The answer to a commit names what was committed, and that is how it is known: an older one may still be on its way."""

    def __init__(self) -> None:
        self._then: Then | None = None
        self._places: Places = frozenset()

    def start(self, consumer: Consumer, offsets: Mapping[Partition, Commit], then: Then) -> None:
        """The answer comes with a later poll, for `then`."""
        theirs = as_theirs(offsets)
        self._then, self._places = then, _places(theirs)
        try:
            consumer.commit(offsets=theirs, asynchronous=True)
        except KafkaException as error:
            then(as_client(error.args[0]))

    def on_commit(self, error: KafkaError | None, answered: Collection[TopicPartition]) -> None:
        then = self._then
        if then is None or (answered and _places(answered) != self._places):
            return
        self._then = None
        failed = error or next((each.error for each in answered if each.error is not None), None)
        then(as_client(failed) if failed is not None else None)


def commit_here(consumer: Consumer, offsets: Mapping[Partition, Commit]) -> None:
    """Commit and wait: for a request, or for a session where no coordinator is known. Raises as kafka-python."""
    with told_as_client():
        see_each(consumer.commit(offsets=as_theirs(offsets), asynchronous=False))


def commit_failure(consumer: Consumer, offsets: Mapping[Partition, Commit]) -> Exception | None:
    """Commit and wait within a rebalance; why it failed, None if it did not."""
    try:
        commit_here(consumer, offsets)
    except Exception as error:
        return error
    return None


def as_theirs(offsets: Mapping[Partition, Commit]) -> list[TopicPartition]:
    """The package ends a text with a zero octet, as C does, and Kafka keeps it; kafka.asking takes it off."""
    return [
        TopicPartition(*at, to.offset, to.metadata, to.leader_epoch)
        if to.metadata
        else TopicPartition(*at, to.offset, leader_epoch=to.leader_epoch)
        for at, to in offsets.items()
    ]


def _places(partitions: Collection[TopicPartition]) -> Places:
    return frozenset((each.topic, each.partition, each.offset) for each in partitions)
