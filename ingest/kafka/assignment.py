"""Which partitions are ours, between what the client tells and what the loop has been told.

The client calls the listener on its own thread while the loop's thread waits inside poll or close. The listener must not block,
so a new partition is first held back, paused, until `announce` has its starting point: in the loop's thread, inside poll.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener

from ingest.flow.ports import Commit, Rebalances
from ingest.kafka.asking import as_theirs
from ingest.model import Partition


class Assignment(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """The rebalance listener. held_back: assigned, but its starting point is not known yet. told: the loop knows it is ours."""

    def __init__(self, consumer: KafkaConsumer, listener: Rebalances) -> None:
        self._consumer = consumer
        self._listener = listener
        self.held_back: set[TopicPartition] = set()
        self.told: set[TopicPartition] = set()

    @property
    def is_settled(self) -> bool:
        """Whether there is something to read and nothing held back."""
        return bool(self.told) and not self.held_back

    def announce(self, starts: Mapping[Partition, Commit]) -> None:
        """These may be read from there on. The loop may pause or move them at once, so it is told last."""
        theirs = as_theirs(starts)
        for partition, start in zip(theirs, starts.values(), strict=True):
            self._consumer.seek(partition, start.offset)
        self._consumer.resume(*theirs)
        self.held_back.difference_update(theirs)
        self.told.update(theirs)
        self._listener.assigned(starts)

    def begin_anew(self, starts: Mapping[Partition, Commit]) -> None:
        """These are ours still, but what the loop knows of them is of logs that are gone."""
        self._listener.lost(list(starts))
        self.announce(starts)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Without a position of its own the client would look for one, and fail where there is no commit."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
        self._consumer.pause(*assigned)
        self.held_back.update(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if going := self._let_go(revoked):
            await self._listener.revoked(going)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        if going := self._let_go(lost):
            self._listener.lost(going)

    def _let_go(self, partitions: Collection[TopicPartition]) -> list[Partition]:
        """Forget them; those that the loop was told of."""
        going = [Partition(*partition) for partition in sorted(self.told.intersection(partitions))]
        self.held_back.difference_update(partitions)
        self.told.difference_update(partitions)
        return going
