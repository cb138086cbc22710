"""Writing the demo's records into Kafka: first what has piled up, then as things happen, from a thread of its own.

The stream and its truth belong to whoever writes: the main thread first, the feed's thread while it runs, the main thread again.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event, Thread
from time import monotonic, time
from typing import Any

from ingest.demo import clients
from ingest.demo.site import Site
from ingest.demo.stream import Stream
from ingest.demo.truth import Message
from ingest.errors import Stop

FLUSH_S = 30.0
TICK_S = 0.05
# So many records are written between two looks at whether somebody wants us to end.
CHUNK = 500


def now_ms() -> int:
    return round(time() * 1000)


class Writer:
    """A producer whose every record is acknowledged. One thread at a time."""

    def __init__(self, site: Site) -> None:
        self._producer: Any = clients.producer(site)
        self._last: list[Any] = []

    def write(self, messages: Iterable[Message]) -> None:
        """Hand over; see `flush`."""
        for message in messages:
            sent = self._producer.send(message.topic, message.value, message.key, partition=message.partition)
            self._last.append(sent)

    def flush(self) -> None:
        """Wait until Kafka has everything. Raises Retry or Stop when it has not."""
        with clients.kafka_errors("writing the demo's records"):
            self._producer.flush(FLUSH_S)
            for sent in self._last:
                sent.get(FLUSH_S)
        self._last.clear()

    def close(self) -> None:
        self._producer.close(timeout=1)


class Feed(Thread):
    """Records as they happen: so many per second, and as many at once as `burst` says. Ends when told, and after its last one."""

    def __init__(self, writer: Writer, stream: Stream, rate: float) -> None:
        super().__init__(name="demo-feed", daemon=True)
        self._writer, self._stream, self._rate = writer, stream, rate
        self._ending = Event()
        self._burst = 0
        self._failure: BaseException | None = None

    def burst(self, records: int) -> None:
        """So many more, at once. Main thread."""
        self._burst = records

    @property
    def usual_lag(self) -> int:
        """Records that come in two seconds: workers commit once a second, so that many are always on their way."""
        return 100 + round(2 * self._rate)

    def abandon(self) -> None:
        """Stop; whatever is on its way may be lost."""
        self._ending.set()
        self.join(FLUSH_S)

    def finish(self) -> None:
        """Stop and wait until Kafka has everything. Raises what went wrong in the thread."""
        self._ending.set()
        self.join(FLUSH_S)
        if self.is_alive():
            raise Stop("demo.feed", f"Kafka has not taken the demo's records within {FLUSH_S:.0f} s: is it well?")
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        try:
            self._feed()
            self._writer.flush()
        except BaseException as failure:  # finish() raises it, in the main thread
            self._failure = failure

    def _feed(self) -> None:
        began_s, written = monotonic(), 0
        while not self._ending.wait(TICK_S):
            due = round((monotonic() - began_s) * self._rate) - written
            written += due
            burst, self._burst = self._burst, 0
            self._writer.write(self._stream.take(due + burst, now_ms()))
