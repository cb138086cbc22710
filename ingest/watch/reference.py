"""docs/metrics.md and docs/logs.md, made from the declarations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.watch.events import ANYWHERE, EVENTS, FIELDS, HEAD
from ingest.watch.many import OWN_SERIES
from ingest.watch.queries import QUERIES
from ingest.watch.series import LOOP_SILENT, PROCESS, SERIES, SHAPES

METRICS_HEAD = """\
# Metrics

Made by `make docs` from the declarations in `ingest/watch/`; do not edit.

Served at `/metrics` on `INGEST_HTTP_HOST`:`INGEST_HTTP_PORT`, as Prometheus text or, where the scraper asks for it, OpenMetrics.
With `INGEST_WORKERS` above 1 that one address shows all of them, told apart by the label `worker`. Counters begin at 0 with each
process. The table is empty for records that name none. Labels are bounded by the tables and partitions that a worker has and by
the codes in its source.

```yaml
scrape_configs:
  - job_name: ingest
    static_configs:
      - targets: ["worker-1:9464", "worker-2:9464"]
```

Alert rules that use these series: [alerts.rules.yml](alerts.rules.yml).
"""
QUERIES_HEAD = """\
## Queries

Each was asked of a real Prometheus by the tests. They are for the workers of one group; where several groups are watched,
join their name in:
`sum by (group) (rate(ingest_records_read_total[5m]) * on (job, instance, worker) group_left (group) ingest_worker_info)`.
"""
LOGS_HEAD = """\
# Logs

Made by `make docs` from the declarations in `ingest/watch/events.py`; do not edit.

On stderr: for people on a terminal, one JSON object a line elsewhere (`INGEST_LOG_FORMAT`). A line is an event with fields; one
line per batch. The values of rows never stand in it. Info needs nothing done, a warning a look some time, an error somebody now.

Where JSON is asked for by name (`INGEST_LOG_FORMAT=json`) nothing but JSON stands there. Else the reason why a worker ends, if it
does not end well, is a sentence as its last line.

A warning that repeats is left out after its fifth line in ten seconds; the next one says how many were `suppressed`. Errors and
batches are never left out; `INGEST_LOG_LEVEL=WARNING` is for those who find a line per batch too many.
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    return "\n".join([METRICS_HEAD, *_head("metric", "kind", "labels", "meaning"), *_metrics(), "", QUERIES_HEAD, *_queries()])


def logs_page() -> str:
    """docs/logs.md."""
    heads = (_row(f"`{name}`", meaning) for name, meaning in HEAD.items())
    anywhere = (_row(f"`{name}`", f"{meaning} (where it applies)") for name, meaning in ANYWHERE.items())
    events = (_row(f"`{event.name}`", event.level, event.meaning, _names(event.fields)) for event in EVENTS)
    fields = (_row(f"`{name}`", FIELDS[name]) for name in sorted(FIELDS))
    return "\n".join(
        [
            *(LOGS_HEAD, *_head("in each line", "meaning"), *heads, *anywhere, "", "## Events", ""),
            *(
                *_head("event", "level", "meaning", "fields"),
                *events,
                "",
                "## Fields",
                "",
                *_head("field", "meaning"),
                *fields,
                "",
            ),
        ]
    )


def _metrics() -> Iterator[str]:
    for series in SERIES:
        yield _row(f"`{series.name}`", series.kind, _names(series.labels), series.help)
    yield _row(f"`{LOOP_SILENT[0]}`", "gauge", "", LOOP_SILENT[1])
    for shape in SHAPES:
        yield _row(f"`{shape.name}`", "histogram", _names(shape.labels), shape.help)
    for name, kind, meaning in OWN_SERIES:
        yield _row(f"`{name}`", kind, "`worker`", f"{meaning} With INGEST_WORKERS above 1 only.")
    for name, meaning in PROCESS.items():
        yield _row(f"`{name}`", "counter" if name.endswith("_total") else "gauge", "", meaning)


def _queries() -> Iterator[str]:
    for query in QUERIES:
        yield f"**{query.name}**: {query.question}\n\n```promql\n{query.promql}\n```\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _head(*cells: str) -> tuple[str, str]:
    return _row(*cells), "|" + "---|" * len(cells)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
