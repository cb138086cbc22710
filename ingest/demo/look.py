"""Looking at the work while it is done: offsets from the broker, the rest from the workers' own metrics pages.

Touched by the main thread alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import socket
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka import TopicPartition
from kafka.errors import CoordinatorNotAvailableError

from ingest.demo import clients, metrics
from ingest.demo.children import Child
from ingest.demo.metrics import Buckets, Page
from ingest.demo.site import GROUP, LETTERS, Site
from ingest.demo.stock import PARTITIONS
from ingest.model import Position

FRESHNESS = "ingest_freshness_seconds"
# Workers post new numbers every second, so a rate over less would jump.
RATE_OVER_S = 2.0
ORIGIN = "__connect.errors."


class Letter(NamedTuple):
    """A dead letter: where its record stood, the reason's code and the sentence."""

    at: Position
    code: str
    text: str


class PartitionView(NamedTuple):
    """One partition. reader: the number of the worker that has it now, 0 for none."""

    topic: str
    number: int
    end: int
    committed: int
    letters: int
    reader: int

    @property
    def lag(self) -> int:
        return self.end - self.committed


@dataclass
class Seat:
    """A worker process and what it said last; it stays when the process is gone."""

    number: int
    child: Child
    port: int
    page: Page = field(default_factory=dict)
    killed_s: float | None = None
    history: list[tuple[float, int]] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        return self.child.code is None

    def count(self, name: str, **labels: str) -> int:
        return metrics.total(self.page, name, **labels)

    @property
    def settled(self) -> int:
        return self.count("ingest_records_total") - self.count("ingest_records_total", outcome="handed_back")

    def rate(self) -> float:
        """Records settled per second, lately."""
        if len(self.history) < 2 or not self.is_alive:
            return 0.0
        (first_s, first), (last_s, last) = self.history[0], self.history[-1]
        return (last - first) / (last_s - first_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Board(NamedTuple):
    """What is seen at one moment, seconds after the beginning."""

    at_s: float
    partitions: list[PartitionView]
    seats: list[Seat]

    @property
    def end(self) -> int:
        return sum(partition.end for partition in self.partitions)

    @property
    def committed(self) -> int:
        return sum(partition.committed for partition in self.partitions)

    @property
    def lag(self) -> int:
        return self.end - self.committed

    @property
    def letters(self) -> int:
        return sum(partition.letters for partition in self.partitions)

    @property
    def readers(self) -> set[int]:
        return {partition.reader for partition in self.partitions}

    @property
    def rate(self) -> float:
        return sum(seat.rate() for seat in self.seats)

    def freshness(self) -> Buckets:
        """Of all batches so far, also those of workers that are gone."""
        found: Buckets = Counter()
        for seat in self.seats:
            found.update(metrics.buckets(seat.page, FRESHNESS))
        return found


class Lookout:
    """Asks broker and workers. elapsed_s: seconds since the demo began. letters: all dead letters so far, by arrival."""

    def __init__(self, site: Site, seats: list[Seat], elapsed_s: Callable[[], float]) -> None:
        self._site = site
        self._seats = seats
        self._partitions = [TopicPartition(topic, number) for topic in site.topics for number in range(PARTITIONS)]
        self._consumer: Any = clients.consumer(site)
        self._admin: Any = clients.admin(site)
        self._consumer.assign([TopicPartition(LETTERS, 0)])
        self._consumer.seek(TopicPartition(LETTERS, 0), 0)
        self._elapsed_s = elapsed_s
        self.letters: list[Letter] = []

    def board(self) -> Board:
        """Look at everything once."""
        now_s = monotonic()
        for seat in self._seats:
            self._visit(seat, now_s)
        self._collect_letters()
        with clients.kafka_errors("asking for offsets"):
            ends = self._consumer.end_offsets(self._partitions)
            committed = self._committed()
        readers = self._readers()
        counts = Counter((letter.at.topic, letter.at.partition) for letter in self.letters)
        views = [
            PartitionView(at.topic, at.partition, ends[at], committed.get(at, 0), counts[at], readers.get(at, 0))
            for at in self._partitions
        ]
        return Board(self._elapsed_s(), views, self._seats)

    def all_letters(self) -> list[Letter]:
        """Every letter that the topic has now."""
        at = TopicPartition(LETTERS, 0)
        end = self._consumer.end_offsets([at])[at]
        while self._consumer.position(at) < end:
            self._collect_letters(wait_ms=200)
        return self.letters

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close(autocommit=False, timeout_ms=0)
        self._admin.close()

    def _visit(self, seat: Seat, now_s: float) -> None:
        page = metrics.scrape(seat.port) if seat.is_alive else None
        if page is not None:
            seat.page = page
            seat.history.append((now_s, seat.settled))
            while len(seat.history) > 2 and now_s - seat.history[0][0] > RATE_OVER_S:
                del seat.history[0]

    def _collect_letters(self, wait_ms: int = 0) -> None:
        with clients.kafka_errors("reading the dead letters"):
            for records in self._consumer.poll(timeout_ms=wait_ms).values():
                self.letters.extend(map(as_letter, records))

    def _committed(self) -> dict[TopicPartition, int]:
        try:
            offsets = self._admin.list_group_offsets(GROUP)[GROUP]
        except CoordinatorNotAvailableError:
            return {}  # a new Kafka first makes its topic of groups
        return {at: max(0, found.offset) for at, found in offsets.items()}

    def _readers(self) -> dict[tuple[str, int], int]:
        """Who has which partition: a worker tells the lag of those that are its own."""
        return {
            (sample.labels["topic"], int(sample.labels["partition"])): seat.number
            for seat in self._seats
            if seat.is_alive
            for sample in seat.page.get("ingest_lag_records", ())
        }


def as_letter(record: Any) -> Letter:
    headers = {name: value.decode() for name, value in record.headers}
    at = Position(headers[ORIGIN + "topic"], int(headers[ORIGIN + "partition"]), int(headers[ORIGIN + "offset"]))
    return Letter(at, headers["ingest.code"], headers[ORIGIN + "exception.message"])
