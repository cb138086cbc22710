"""Metrics: every series that a worker shows, declared once; docs/metrics.md is made from the declarations.

Two kinds. Totals and levels are read from the posted status when Prometheus asks, so they cost the loop nothing. Histograms are
fed by the loop's thread, once per batch. The only home of prometheus_client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ingest.watch.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Series:
    """One metric that is read from the status. kind: counter or gauge; a counter's name ends in _total."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    read: Callable[[Status], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Shape:
    """One histogram that the loop feeds."""

    name: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...]


def _one(read: Callable[[Status], float]) -> Callable[[Status], Iterable[Sample]]:
    return lambda status: [((), float(read(status)))]


def _by(read: Callable[[Status], Any]) -> Callable[[Status], Iterable[Sample]]:
    """Samples of a mapping whose keys are a text or a tuple; what is not known has no sample."""

    def samples(status: Status) -> Iterator[Sample]:
        for key, value in read(status).items():
            if value is not None:
                yield (tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)), float(value)

    return samples


def _records(status: Status) -> Iterator[Sample]:
    yield from _by(lambda s: s.records)(status)
    yield ("", "handed_back"), float(status.handed_back)


def _parked(status: Status) -> Iterator[Sample]:
    return (((place.subject, place.code), 1.0) for place in status.parked)


SERIES: tuple[Series, ...] = (
    Series("ingest_records_read_total", "counter", (), "Records read from Kafka.", _one(lambda s: s.read)),
    Series(
        "ingest_records_total",
        "counter",
        ("table", "outcome"),
        "Records by how they ended: written, superseded, skipped, dead_lettered, handed_back. "
        "With ingest_unsettled_records they add up to ingest_records_read_total.",
        _records,
    ),
    Series(
        "ingest_rows_total",
        "counter",
        ("table", "outcome"),
        "Rows by CrateDB's answer: written, superseded, rejected, retry, park, stop.",
        _by(lambda s: s.rows),
    ),
    Series(
        "ingest_incomplete_rows_total",
        "counter",
        (),
        "Partial changes that found no row and were stored with the columns they had.",
        _one(lambda s: s.incomplete),
    ),
    Series(
        "ingest_skipped_records_total", "counter", ("reason",), "Records that are no rows, by rule.", _by(lambda s: s.skipped)
    ),
    Series(
        "ingest_dead_letters_total",
        "counter",
        ("code",),
        "Records that can never be stored, by reason.",
        _by(lambda s: s.dead_letters),
    ),
    Series(
        "ingest_dead_letter_backlog_bytes",
        "gauge",
        (),
        "Dead letters that the dead-letter topic has not acknowledged.",
        _one(lambda s: s.dead_letter_backlog_bytes),
    ),
    Series("ingest_retries_total", "counter", ("code",), "Rows that had to be sent again, by reason.", _by(lambda s: s.retries)),
    Series("ingest_commits_total", "counter", ("result",), "Offset commits: ok, failed.", _by(lambda s: s.commits)),
    Series("ingest_unsettled_records", "gauge", (), "Records read and not settled.", _one(lambda s: s.unsettled_records)),
    Series("ingest_unsettled_bytes", "gauge", (), "What they take in memory, about.", _one(lambda s: s.unsettled_bytes)),
    Series(
        "ingest_lag_records", "gauge", ("topic", "partition"), "Records between our position and the end.", _by(lambda s: s.lag)
    ),
    Series("ingest_assigned_partitions", "gauge", (), "Partitions that are ours.", _one(lambda s: s.assigned)),
    Series("ingest_lanes", "gauge", ("state",), "Lanes by state: out, waiting, resting, idle.", _by(lambda s: s.lanes)),
    Series(
        "ingest_permits", "gauge", (), "Requests that may be in flight; 0 while the breaker is open.", _one(lambda s: s.permits)
    ),
    Series("ingest_requests_in_flight", "gauge", (), "Batches that a writer has.", _one(lambda s: s.in_flight)),
    Series("ingest_breaker_open", "gauge", (), "1 while CrateDB is taken to be away.", _one(lambda s: s.is_breaker_open)),
    Series("ingest_parked", "gauge", ("subject", "code"), "1 for each table or topic that is parked.", _parked),
    Series("ingest_ready", "gauge", (), "1 while records flow.", _one(lambda s: s.is_ready)),
)

BATCH_ROWS = Shape("ingest_batch_rows", ("table",), "Rows per batch.", (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000))
BATCH_SECONDS = Shape(
    "ingest_batch_seconds",
    ("table",),
    "Seconds that a writer took for a batch.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 120.0),
)
FRESHNESS = Shape(
    "ingest_freshness_seconds",
    ("table",),
    "Stored time minus source time of a batch's newest row that tells one.",
    (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0),
)
SHAPES = (BATCH_ROWS, BATCH_SECONDS, FRESHNESS)


class Metrics:
    """The metrics of one worker, in a registry of its own. status: gives the latest snapshot, from any thread."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(FromStatus(status))
        self._rows = self._histogram(BATCH_ROWS)
        self._seconds = self._histogram(BATCH_SECONDS)
        self._freshness = self._histogram(FRESHNESS)

    def batch(self, table: str, rows: int, took_s: float, freshness_s: float | None) -> None:
        """A batch came back. Loop's thread."""
        self._rows.labels(table).observe(rows)
        self._seconds.labels(table).observe(took_s)
        if freshness_s is not None:
            self._freshness.labels(table).observe(max(0.0, freshness_s))

    def text(self) -> bytes:
        """What Prometheus reads. Any thread."""
        return generate_latest(self._registry)

    def _histogram(self, shape: Shape) -> Histogram:
        return Histogram(shape.name, shape.help, shape.labels, buckets=shape.buckets, registry=self._registry)


class FromStatus(Collector):
    """Reads SERIES from the snapshot whenever somebody asks."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        status = self._status()
        for series in SERIES:
            family = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
            metric = family(series.name, series.help, labels=series.labels)
            for labels, value in series.read(status):
                metric.add_metric(labels, value)
            yield metric


def as_markdown() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `make docs` from the declarations in `ingest/watch/metrics.py`; do not edit.",
        "",
        "Served at `/metrics` on `INGEST_HTTP_HOST`:`INGEST_HTTP_PORT`. Counters begin at 0 with each process. "
        "The table is empty for records that name none.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for each in SERIES:
        lines.append(f"| `{each.name}` | {each.kind} | {_labels(each.labels)} | {each.help} |")
    for shape in SHAPES:
        lines.append(f"| `{shape.name}` | histogram | {_labels(shape.labels)} | {shape.help} |")
    return "\n".join(lines) + "\n"


def _labels(labels: Iterable[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)
