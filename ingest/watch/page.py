"""The status page: one plain HTML page made from a status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from ingest.watch.status import Health, Status

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:70em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em}"
    "th,td{padding:.2em 1em .2em 0;text-align:left;border-bottom:1px solid #ddd}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00}"
)
ENDS = ("written", "superseded", "skipped", "dead_lettered")


def page(status: Status, health: Health) -> str:
    """The whole page; it loads itself again every five seconds."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>ingest {escape(status.group)}</title><style>{STYLE}</style></head><body><h1>ingest {escape(status.group)}</h1>"
        f"{_state(status, health)}{_parked(status)}<h2>Books</h2>{_books(status)}<h2>Tables</h2>{_tables(status)}"
        f"<h2>Partitions</h2>{_partitions(status)}</body></html>\n"
    )


def _state(status: Status, health: Health) -> str:
    words = [*([] if health.is_well else [health.text]), *status.reasons]
    state = "ready" if status.is_ready and health.is_well else "not ready"
    mark = "" if state == "ready" else ' class="bad"'
    unsettled_mb = status.unsettled_bytes / 1e6
    flow = f"{status.in_flight} requests in flight of {status.permits:.0f} permitted, {unsettled_mb:.1f} MB unsettled"
    return f"<p><b{mark}>{state}</b> {escape('; '.join(words))}</p><p>{flow}</p>"


def _parked(status: Status) -> str:
    if not status.parked:
        return ""
    rows = [(place.subject, _moment(place.since_ms), place.code, place.text) for place in status.parked]
    return "<h2 class=bad>Parked</h2>" + _table(("what", "since", "code", "what happened and what to do"), rows)


def _books(status: Status) -> str:
    head = ("read", "=", *ENDS, "handed_back", "unsettled")
    row = (status.read, "=", *(status.total(end) for end in ENDS), status.handed_back, status.unsettled_records)
    return _table(head, [row])


def _tables(status: Status) -> str:
    tables = sorted({table for table, _ in status.records})
    rows = [(table or "(none)", *(status.records.get((table, end), 0) for end in ENDS)) for table in tables]
    return _table(("table", *ENDS), rows)


def _partitions(status: Status) -> str:
    rows = [(topic, number, "?" if lag is None else lag) for (topic, number), lag in sorted(status.lag.items())]
    return _table(("topic", "partition", "lag"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    return f"<table><tr>{cells}</tr>{''.join(map(_row, rows))}</table>"


def _row(values: Sequence[object]) -> str:
    return "<tr>" + "".join(_cell(value) for value in values) + "</tr>"


def _cell(value: object) -> str:
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
