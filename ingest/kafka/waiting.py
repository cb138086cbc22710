"""Polls that cost no more, and wait no longer, than they must: reaches into kafka-python 3.0 as `client_seams` does.

Thread: said per function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.future import Future
from kafka.util import Timer

from ingest.model import Record

# As long as the loop's own polls are at most.
LATE_POLL_S = 0.2


def ask_no_more_than_needed(consumer: KafkaConsumer) -> None:
    """Each poll asks the client's thread whether it knows the coordinator, and waits for the answer, which takes two switches of
    threads and a fifth of what a poll costs; while we are connected to it, there is nothing to ask. Loop's thread.
    """
    coordinator, client = consumer._coordinator, consumer._client  # noqa: SLF001
    ask = coordinator.ensure_coordinator_ready

    def ensure(timeout_ms: int | None = None) -> bool:
        known = coordinator.coordinator_id
        return (known is not None and not client.is_disconnected(known)) or bool(ask(timeout_ms=timeout_ms))

    coordinator.ensure_coordinator_ready = ensure


def wait_while_a_heartbeat_is_late(consumer: KafkaConsumer) -> None:
    """Polls wait no longer than until the next heartbeat is due, so not at all while a broker that hangs owes us the answer to
    one: they spin, and each leaves a callback with the fetch that is out, 25 MB a second in all (seen with 3.0.12). Heartbeats go
    out from the client's own thread, whether a poll waits or not. Loop's thread.
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    due_s = coordinator.time_to_next_poll
    coordinator.time_to_next_poll = lambda: max(LATE_POLL_S, due_s())


class Bell:
    """Ends a poll that waits: the client knows only how to wait for Kafka, and what writers bring is not to wait for that.

    `poll` belongs to the loop's thread, `ring` to any. A ring that nobody waited for ends the next poll at once.
    """

    def __init__(self) -> None:
        self._is_rung = False
        self._hung: tuple[Any, Future] | None = None

    def ring(self) -> None:
        self._is_rung = True
        hung = self._hung
        if hung is None:
            return
        net, bell = hung

        def finish() -> None:
            if not bell.is_done:
                bell.success(None)

        if net._exception is None:  # noqa: SLF001  (a client that broke tells the next poll why)
            with suppress(RuntimeError):  # it was closed just now, so nobody waits
                net.call_soon_threadsafe(finish)

    def poll(self, consumer: KafkaConsumer, timeout_s: float) -> Mapping[TopicPartition, list[Record]]:
        """One round of the client's own poll, with the bell among the answers that it waits for."""
        fetcher, bell = consumer._fetcher, Future()  # noqa: SLF001
        self._hung = consumer._net, bell  # noqa: SLF001
        if self._is_rung:  # told after hanging it up, told before: one of the two is seen
            bell.success(None)
        fetcher._fetch_futures.append(bell)  # noqa: SLF001
        try:
            found: Mapping[TopicPartition, list[Record]] = consumer._poll_once(  # noqa: SLF001
                Timer(int(1000 * timeout_s)), consumer.config["max_poll_records"]
            )
            return found
        finally:
            self._hung, self._is_rung = None, False
            # A bell that stays would collect a callback at every poll.
            fetcher._fetch_futures = deque(each for each in fetcher._fetch_futures if each is not bell)  # noqa: SLF001
