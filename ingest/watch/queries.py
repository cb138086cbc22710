"""The questions that people ask Prometheus about the workers, each with its query.

docs/metrics.md shows them; a test asks each of a real Prometheus and compares the answer with what it knows to be true.
They hold for any number of workers of one group. Declarations only.
"""

from __future__ import annotations

from typing import NamedTuple


class Query(NamedTuple):
    """name: for the test and for dashboards. question: what the answer tells."""

    name: str
    question: str
    promql: str


# A partition that changes hands may be shown by two workers for one scrape: count it once.
LAG = "max by (topic, partition) (ingest_lag_records)"
FRESHNESS = "ingest_freshness_seconds"
# Prometheus watches other processes as well; these are ours.
OURS = "and on (job, instance, worker) ingest_ready"


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, sum by (table, le) (rate({histogram}_bucket[5m])))"


def _mean(histogram: str) -> str:
    return f"sum by (table) (rate({histogram}_sum[5m])) / sum by (table) (rate({histogram}_count[5m]))"


QUERIES: tuple[Query, ...] = (
    Query("intake", "Records read per second.", "sum(rate(ingest_records_read_total[5m]))"),
    Query(
        "outcomes",
        "Records per second by table and how they ended.",
        "sum by (table, outcome) (rate(ingest_records_total[5m]))",
    ),
    Query(
        "error_ratio",
        "Which part of the records can never be stored.",
        'sum(rate(ingest_records_total{outcome="dead_lettered"}[5m])) / '
        'sum(rate(ingest_records_total{outcome!="handed_back"}[5m]))',
    ),
    Query(
        "dead_letters",
        "Why records were dead-lettered in the last hour.",
        "sum by (code) (increase(ingest_dead_letters_total[1h]))",
    ),
    Query("lag", "How far each topic is behind, in records.", f"sum by (topic) ({LAG})"),
    Query("lag_worst", "The five partitions that are furthest behind.", f"topk(5, {LAG} > 0)"),
    Query(
        "lag_seconds",
        "How long catching up takes at the present rate, if nothing new came; none while nothing is read.",
        f"sum({LAG}) / (sum(rate(ingest_records_read_total[5m])) > 0)",
    ),
    Query("freshness_p50", "Seconds from the source's commit to the row in CrateDB, half are faster.", _quantile(0.5, FRESHNESS)),
    Query("freshness_p99", "The same, 99 of 100 are faster.", _quantile(0.99, FRESHNESS)),
    Query("parked", "What is parked, and why.", "max by (subject, code) (ingest_parked)"),
    Query("paused", "Partitions that are not read now, by reason.", "sum by (reason) (ingest_paused_partitions)"),
    Query(
        "batch_seconds_p99",
        "Seconds that CrateDB takes for a batch, 99 of 100 are faster.",
        _quantile(0.99, "ingest_batch_seconds"),
    ),
    Query("batch_seconds", "The same, on average.", _mean("ingest_batch_seconds")),
    Query("batch_rows", "Rows per batch, on average.", _mean("ingest_batch_rows")),
    Query("retries", "Rows per second that had to be sent again, by reason.", "sum by (code) (rate(ingest_retries_total[5m]))"),
    Query(
        "permits",
        "Which part of the requests that we may make CrateDB lets us make; 0: it is away.",
        "sum(ingest_permits) / sum(ingest_permits_limit)",
    ),
    Query("in_flight", "Requests in flight.", "sum(ingest_requests_in_flight)"),
    Query("memory", "Memory of each worker, in bytes.", f"process_resident_memory_bytes {OURS}"),
    Query("cpu", "CPU of each worker; near 1, the worker is the limit.", f"rate(process_cpu_seconds_total[5m]) {OURS}"),
    Query(
        "pressure",
        "How full each worker's memory for unsettled records is; at 1 it stops reading.",
        "ingest_unsettled_bytes / ingest_unsettled_limit_bytes",
    ),
    Query("partitions", "Partitions of each worker.", "ingest_assigned_partitions"),
    Query("commits", "Commits per second by result.", "sum by (result) (rate(ingest_commits_total[5m]))"),
    Query(
        "rebalances",
        "How often partitions came or went in the last hour.",
        "sum by (event) (increase(ingest_rebalances_total[1h]))",
    ),
    Query("not_ready", "The workers in which no records flow.", "ingest_ready == 0"),
    Query("versions", "Workers by version.", "count by (version) (ingest_build_info)"),
    Query(
        "books",
        "Records of each worker that are not accounted for: 0 at every moment.",
        "ingest_records_read_total - ingest_unsettled_records - sum without (table, outcome) (ingest_records_total)",
    ),
)
