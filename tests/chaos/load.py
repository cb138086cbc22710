"""The records of a row: the seeded stream of `tests.oracle`, offered evenly from a thread of its own, noted in a `Log`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from kafka import KafkaProducer

from tests.oracle.kafka_io import MOST_BYTES
from tests.oracle.log import Log, Message
from tests.oracle.stream import PARTITIONS, stream

TICK_S = 0.05
ACKED_WITHIN_S = 300.0


class Load:
    """Offers the stream at `rate` records a second, all that is left at once after `finish`.

    Its producer is idempotent and patient, so a broker that goes away costs no record and makes none twice.
    """

    def __init__(self, kafka: str, prefix: str, tables: Sequence[str], seed: int, records: int, rate: float) -> None:
        self.log = Log()
        self._kafka, self._rate = kafka, rate
        self._messages: Iterator[Message] = stream(seed, records, prefix, tables, PARTITIONS)
        self._hurry, self._abort = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._last: dict[tuple[str, int], Any] = {}
        self.trouble: BaseException | None = None

    def written_by(self, write: Callable[[Message], Message]) -> None:
        """Before the start: each message of the stream as another producer writes it."""
        self._messages = map(write, self._messages)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether all of the stream was offered."""
        return not self._thread.is_alive()

    def finish(self) -> None:
        """Until every record is in Kafka, where the log says that it is."""
        self._hurry.set()
        self._thread.join(ACKED_WITHIN_S)
        if self.trouble is not None or self._thread.is_alive():
            raise RuntimeError("the load could not be written") from self.trouble
        self._check()

    def add(self, messages: Iterable[Message]) -> None:
        """More records, in Kafka when this returns: for partitions that the stream does not write to, or behind `finish`."""
        producer = KafkaProducer(bootstrap_servers=self._kafka, linger_ms=5, max_request_size=MOST_BYTES)
        try:
            for message in self.log.note(messages):
                self._last[message.topic, message.partition] = producer.send(
                    message.topic, message.value, message.key, list(message.headers), message.partition
                )
            producer.flush(ACKED_WITHIN_S)
        finally:
            producer.close()

    def forget(self, topic: str) -> None:
        """The topic is gone: nothing of it can be committed any more."""
        for where in [where for where in self.log.next_offset if where[0] == topic]:
            del self.log.next_offset[where], self._last[where]

    def close(self) -> None:
        """However far it has come."""
        self._abort.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._kafka, compression_type="lz4", linger_ms=5, max_request_size=MOST_BYTES,
            delivery_timeout_ms=int(ACKED_WITHIN_S * 1000), max_block_ms=int(ACKED_WITHIN_S * 1000), enable_idempotence=True,
        )  # fmt: skip
        try:
            self._offer(producer)
            if not self._abort.is_set():
                producer.flush(ACKED_WITHIN_S)
        except Exception as error:
            self.trouble = error
        finally:
            producer.close(timeout=5)

    def _offer(self, producer: KafkaProducer) -> None:
        began_s, sent = time.monotonic(), 0
        while not self._abort.is_set():
            hurries = self._hurry.wait(TICK_S)
            due = 1000 if hurries else int((time.monotonic() - began_s) * self._rate) - sent
            messages = list(self.log.note(islice(self._messages, max(0, due))))
            for message in messages:
                self._last[message.topic, message.partition] = producer.send(
                    message.topic, message.value, message.key, list(message.headers), message.partition
                )
            sent += len(messages)
            if due > len(messages) >= 0 and due > 0:
                return

    def _check(self) -> None:
        for where, future in self._last.items():
            if future.get(ACKED_WITHIN_S).offset != self.log.next_offset[where] - 1:
                raise RuntimeError(f"{where[0]}[{where[1]}] has records that the log does not know: offsets are not those noted")
