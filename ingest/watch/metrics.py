"""Metrics: what Prometheus gets when it asks. The only home of prometheus_client.

Totals and levels are read from the posted status when somebody asks, so they cost the loop nothing. Histograms are fed by the
loop's thread, once per batch. What there is stands in `series`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ingest.watch.series import LOOP_SILENT, SERIES, SHAPES, Shape
from ingest.watch.status import Status


class Exposition(NamedTuple):
    """What Prometheus gets, in the format that it asked for."""

    content_type: str
    body: bytes


class Metrics:
    """The metrics of one worker, in a registry of its own.

    status: gives the latest snapshot; silent_s: seconds since the loop last moved. Both are called by any thread.
    """

    def __init__(self, status: Callable[[], Status], silent_s: Callable[[], float] = lambda: 0.0) -> None:
        # Else each histogram comes with a gauge of when it was made, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(FromStatus(status, silent_s))
        ProcessCollector(registry=self._registry)
        self._rows, self._seconds, self._freshness = map(self._histogram, SHAPES)

    def expect(self, tables: Iterable[str]) -> None:
        """Show these tables' histograms from now on, at 0: see `series.by`. Loop's thread."""
        for table in tables:
            for histogram in (self._rows, self._seconds, self._freshness):
                histogram.labels(table)

    def batch(self, table: str, rows: int, took_s: float, freshness_s: Sequence[float]) -> None:
        """A batch came back. Loop's thread."""
        self._rows.labels(table).observe(rows)
        self._seconds.labels(table).observe(took_s)
        for each_s in freshness_s:
            self._freshness.labels(table).observe(max(0.0, each_s))

    def exposition(self, accept: str = "") -> Exposition:
        """What Prometheus reads; OpenMetrics where accept asks for it. Any thread."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        return Exposition(content_type, encode(self._registry))

    def _histogram(self, shape: Shape) -> Histogram:
        return Histogram(shape.name, shape.help, shape.labels, buckets=shape.buckets, registry=self._registry)


class FromStatus(Collector):
    """Reads SERIES from the snapshot whenever somebody asks: all samples of a scrape are of one moment."""

    def __init__(self, status: Callable[[], Status], silent_s: Callable[[], float]) -> None:
        self._status = status
        self._silent_s = silent_s

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        status = self._status()
        for series in SERIES:
            family = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
            metric = family(series.name, series.help, labels=series.labels)
            for labels, value in series.read(status):
                metric.add_metric(labels, value)
            yield metric
        yield GaugeMetricFamily(*LOOP_SILENT, value=self._silent_s())
