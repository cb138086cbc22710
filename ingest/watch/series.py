"""Every series that a worker shows, declared once: what Prometheus is told, docs/metrics.md and the tests are made from it.

Pure: a series says how it is read from a status. Labels are bounded: by the tables and partitions that the worker has, and by
codes, outcomes and reasons that are written in its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.model import Fate
from ingest.watch.status import Status
from ingest.watch.versions import NAMES, PACKAGE, versions

Sample = tuple[tuple[str, ...], float]

ENDS = ("written", "superseded", "skipped", "dead_lettered", "handed_back")
REASONS = ("parked", "pressure", "waiting")


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


# ---------------------------------------------------------------- readers


def one(read: Callable[[Status], float]) -> Callable[[Status], Iterable[Sample]]:
    return lambda status: [((), float(read(status)))]


def by(read: Callable[[Status], Mapping[Any, float | None]], *begin: str) -> Callable[[Status], Iterable[Sample]]:
    """Samples of a mapping whose keys are a text or a tuple; what is not known has no sample. begin: keys that are shown from the
    start, at 0: Prometheus sees no increase in a counter that appears with its first count."""

    def samples(status: Status) -> Iterator[Sample]:
        shown: dict[Any, float | None] = {**dict.fromkeys(begin, 0.0), **read(status)}
        for key, value in shown.items():
            if value is not None:
                yield (tuple(map(str, key)) if isinstance(key, tuple) else (str(key),)), float(value)

    return samples


def _records(status: Status) -> Iterator[Sample]:
    """All ends of all tables that are known, and of records that name none."""
    counts = dict.fromkeys(((table, end) for table in ("", *status.tables) for end in ENDS), 0) | dict(status.records)
    counts["", "handed_back"] = status.handed_back
    return (((table, end), float(n)) for (table, end), n in counts.items())


def _rows(status: Status) -> Iterator[Sample]:
    counts = dict.fromkeys(((table, fate.value) for table in status.tables for fate in Fate), 0) | dict(status.rows)
    return (((table, fate), float(n)) for (table, fate), n in counts.items())


def _paused(status: Status) -> Iterator[Sample]:
    why = list(status.paused.values())
    return (((reason,), float(why.count(reason))) for reason in REASONS)


def _parked(status: Status) -> Iterator[Sample]:
    return (((place.subject, place.code), 1.0) for place in status.parked)


def _versions(_: Status) -> Iterator[Sample]:
    yield tuple(versions().values()), 1.0


# ---------------------------------------------------------------- declarations

SERIES: tuple[Series, ...] = (
    Series(
        "ingest_records_read_total",
        "counter",
        (),
        "Records read from Kafka. Its rate is the intake: 0 while ingest_lag_records is not means that something holds it up.",
        one(lambda s: s.read),
    ),
    Series(
        "ingest_records_total",
        "counter",
        ("table", "outcome"),
        "Records by how they ended: written, superseded, skipped, dead_lettered, handed_back. With ingest_unsettled_records they "
        "add up to ingest_records_read_total at every moment; if not, report a bug.",
        _records,
    ),
    Series(
        "ingest_rows_total",
        "counter",
        ("table", "outcome"),
        "Rows by CrateDB's answer: written, superseded, rejected, retry, park, stop. Many retry: look at ingest_retries_total.",
        _rows,
    ),
    Series(
        "ingest_ignored_fields_total",
        "counter",
        ("table",),
        "Fields of records that have no column and were left out. The log says once for each which ALTER TABLE would keep it.",
        by(lambda s: {**dict.fromkeys(s.tables, 0), **s.ignored_fields}),
    ),
    Series(
        "ingest_nulled_values_total",
        "counter",
        ("table", "column"),
        "Values without a place in their column that became NULL because the contract says so (`overflow`, `precision`).",
        by(lambda s: s.nulled_values),
    ),
    Series(
        "ingest_incomplete_rows_total",
        "counter",
        (),
        "Partial changes that found no row and were stored with the columns they had. If it grows, a first load is missing.",
        one(lambda s: s.incomplete),
    ),
    Series(
        "ingest_skipped_records_total",
        "counter",
        ("reason",),
        "Records that are no rows, by rule: heartbeats, resolved timestamps and the like. Nothing to do.",
        by(lambda s: s.skipped),
    ),
    Series(
        "ingest_dead_letters_total",
        "counter",
        ("code",),
        "Records that can never be stored, by reason. Each stands in the dead-letter topic with the same code: look there.",
        by(lambda s: s.dead_letters),
    ),
    Series(
        "ingest_dead_letter_backlog_bytes",
        "gauge",
        (),
        "Dead letters that the dead-letter topic has not acknowledged. If it stays, see whether that topic can be written to.",
        one(lambda s: s.dead_letter_backlog_bytes),
    ),
    Series(
        "ingest_retries_total",
        "counter",
        ("code",),
        "Rows that had to be sent again, by reason. Costs time, never data; the code says whether CrateDB is away, full or slow.",
        by(lambda s: s.retries),
    ),
    Series(
        "ingest_commits_total",
        "counter",
        ("result",),
        "Offset commits: ok, failed. A failed one is made again; only failures without a success between them need a look.",
        by(lambda s: s.commits, "ok", "failed"),
    ),
    Series(
        "ingest_rebalances_total",
        "counter",
        ("event",),
        "Times that partitions came or went: assigned, revoked, lost. If lost grows, the worker is too slow for its session.",
        by(lambda s: s.rebalances, "assigned", "revoked", "lost"),
    ),
    Series(
        "ingest_unsettled_records",
        "gauge",
        (),
        "Records read and not settled. Normally some batches' worth.",
        one(lambda s: s.unsettled_records),
    ),
    Series(
        "ingest_unsettled_bytes",
        "gauge",
        (),
        "What they, and the settled ones behind them, take in memory. At ingest_unsettled_limit_bytes reading pauses until "
        "CrateDB has caught up.",
        one(lambda s: s.unsettled_bytes),
    ),
    Series(
        "ingest_unsettled_limit_bytes",
        "gauge",
        (),
        "Unsettled bytes at which reading pauses; comes from INGEST_MEMORY_MB.",
        one(lambda s: s.limit_bytes),
    ),
    Series(
        "ingest_lag_records",
        "gauge",
        ("topic", "partition"),
        "Records between what was read and the partition's end, also of partitions that rest. Only the worker that holds a "
        "partition shows it; no sample where the end is not known yet.",
        by(lambda s: s.lag),
    ),
    Series(
        "ingest_assigned_partitions",
        "gauge",
        (),
        "Partitions that are ours. 0 for long: more workers than partitions.",
        one(lambda s: s.assigned),
    ),
    Series(
        "ingest_paused_partitions",
        "gauge",
        ("reason",),
        "Partitions that are ours and not read now: parked (see ingest_parked), pressure (memory is full, CrateDB is slow), "
        "waiting (for a schema or a table).",
        _paused,
    ),
    Series(
        "ingest_lanes",
        "gauge",
        ("state",),
        "Lanes (table and slot) by state: out (a writer has its batch), waiting (to go), resting (before going again), idle.",
        by(lambda s: s.lanes, "out", "waiting", "resting", "idle"),
    ),
    Series(
        "ingest_permits",
        "gauge",
        (),
        "Requests that may be in flight. Below ingest_permits_limit: CrateDB showed overload; 0: the breaker is open.",
        one(lambda s: s.permits),
    ),
    Series(
        "ingest_permits_limit",
        "gauge",
        (),
        "Requests that may be in flight at best: INGEST_WRITERS.",
        one(lambda s: s.max_permits),
    ),
    Series(
        "ingest_requests_in_flight",
        "gauge",
        (),
        "Batches that a writer has. Always at ingest_permits: the writers are the limit.",
        one(lambda s: s.in_flight),
    ),
    Series(
        "ingest_oldest_request_seconds",
        "gauge",
        (),
        "How long the longest-running request has been out. /healthz fails when it takes longer than CrateDB may.",
        one(lambda s: s.oldest_request_s),
    ),
    Series(
        "ingest_breaker_open",
        "gauge",
        (),
        "1 while CrateDB is taken to be away: nothing is sent but probes. Mend CrateDB; the worker goes on by itself.",
        one(lambda s: s.is_breaker_open),
    ),
    Series(
        "ingest_parked",
        "gauge",
        ("subject", "code"),
        "1 for each table or topic that is parked: it waits for a person. /parked says what to do, then `ingest unpark`.",
        _parked,
    ),
    Series("ingest_ready", "gauge", (), "1 while records flow; if 0, /readyz says why not.", one(lambda s: s.is_ready)),
    Series(
        "ingest_worker_info",
        "gauge",
        ("group",),
        "1, with the consumer group. To join with the others where several groups are watched.",
        lambda s: [((s.group,), 1.0)],
    ),
    Series(
        "ingest_build_info",
        "gauge",
        tuple("version" if name == PACKAGE else name.lower().replace("-", "_") for name in NAMES),
        "1, with the versions of ingest, Python and the clients. More than one of them during a roll-out only.",
        _versions,
    ),
)

LOOP_SILENT = (
    "ingest_loop_silent_seconds",
    "Seconds since the loop last moved; all other series stand still with it. /healthz fails above INGEST_HEALTH_S.",
)
BATCH_ROWS = Shape(
    "ingest_batch_rows",
    ("table",),
    "Rows per batch. Small batches at a high lag: raise INGEST_BATCH_LINGER_MS; at INGEST_BATCH_MAX_ROWS: CrateDB is the limit.",
    (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000),
)
BATCH_SECONDS = Shape(
    "ingest_batch_seconds",
    ("table",),
    "Seconds that a writer took for a batch, answers that must be retried included. CrateDB's speed as the worker sees it.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 120.0),
)
FRESHNESS = Shape(
    "ingest_freshness_seconds",
    ("table",),
    "Stored time minus source time, of the oldest and of the newest written row of each batch whose rows tell a source time: how "
    "old a change is when CrateDB has it. A source's clock that is ahead counts as 0.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0),
)
SHAPES = (BATCH_ROWS, BATCH_SECONDS, FRESHNESS)
# What prometheus_client tells of a process, where there is a /proc.
PROCESS: Mapping[str, str] = {
    "process_resident_memory_bytes": "Memory of the process. Should stay below INGEST_MEMORY_MB, whatever the lag.",
    "process_virtual_memory_bytes": "Its address space; says little.",
    "process_cpu_seconds_total": "CPU time. A rate near 1 means that the loop is the limit: add workers.",
    "process_open_fds": "Open files and sockets.",
    "process_max_fds": "How many it may open.",
    "process_start_time_seconds": "When it started, seconds since the epoch; changes at each restart.",
}


def sample_names() -> frozenset[str]:
    """Every name that a sample may have, for whoever checks a query."""
    histograms = (f"{shape.name}_{end}" for shape in SHAPES for end in ("bucket", "sum", "count"))
    return frozenset([*(series.name for series in SERIES), LOOP_SILENT[0], *PROCESS, *histograms])
