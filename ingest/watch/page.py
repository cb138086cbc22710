"""The status page: one plain HTML page made from a status, for whoever is on call. Pure.

No script and nothing loaded from elsewhere: the page loads itself again. Every text goes through `escape`, for names of tables
and topics are other people's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from shlex import quote

from ingest.watch.status import Health, ParkedPlace, Status
from ingest.watch.versions import PACKAGE, versions

REFRESH_S = 5
# A worker may hold thousands of partitions; those that are furthest behind are the ones to see.
MOST_PARTITIONS = 10
ENDS = {"written": "written", "superseded": "superseded", "skipped": "skipped", "dead_lettered": "dead-lettered"}
STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5d6873;--line:#dfe4e8;--back:#fff;--card:#f5f7f8;--good:#16744a;--bad:#b3261e;
--badback:#fdf0ee;--some:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8eb;--soft:#98a3ad;--line:#343c44;--back:#14181c;--card:#1d2328;--good:#5cc795;
--bad:#ff8a80;--badback:#331a18;--some:#e2b04a}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1.25rem clamp(.9rem,3vw,2.5rem);max-width:76rem;color:var(--ink);
background:var(--back)}
header{display:flex;flex-wrap:wrap;gap:.3rem .8rem;align-items:baseline}
h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:1.8rem 0 .5rem}h2 .soft{font-weight:400;font-size:.9rem}
.state{font-weight:600;padding:.05rem .6rem;border-radius:1rem;border:1px solid currentcolor;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.some{color:var(--some)}.soft{color:var(--soft)}
p{margin:.5rem 0}.why{margin:.5rem 0;padding-left:1.2rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0 0;padding:0}
.card{background:var(--card);border-radius:.5rem;padding:.55rem .8rem;margin:0}
.card b{display:block;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}
.card small{color:var(--soft);display:block}
.place{background:var(--badback);border-left:4px solid var(--bad);border-radius:.3rem;padding:.6rem .9rem;margin:.5rem 0}
.place p{margin:.25rem 0}.place b,td:first-child,code{overflow-wrap:anywhere}td:first-child{min-width:8.5rem}
code{font:13px/1.5 ui-monospace,monospace;background:var(--card);border-radius:.3rem;padding:.1rem .35rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;min-width:60%}
th,td{padding:.3rem 1.4rem .3rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500;font-size:.88rem;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
footer{margin-top:2rem;padding-top:.7rem;border-top:1px solid var(--line);font-size:.85rem;color:var(--soft)}
@media(max-width:40rem){table{min-width:100%}th,td{padding-right:.8rem}.cards{grid-template-columns:1fr 1fr}}
"""


def page(status: Status, health: Health, url: str = "") -> str:
    """The whole page. url: where this worker is reached, for the commands that are shown."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>{_title(status, health)}</title><style>{STYLE}</style></head>'
        f"<body>{_header(status, health)}{_cards(status)}{_parked(status, url)}{_topics(status)}{_tables(status)}"
        f"{_reasons(status)}{_behind(status)}{_books(status)}{_footer(status)}</body></html>\n"
    )


# ---------------------------------------------------------------- parts, from top to bottom


def _title(status: Status, health: Health) -> str:
    sign = "" if _is_well(status, health) else f"({len(status.parked)} parked) " if status.parked else "(not ready) "
    return escape(f"{sign}{status.group or 'ingest'}")


def _header(status: Status, health: Health) -> str:
    if not (status.is_ready and health.is_well):
        state, look = "not ready", "bad"
    else:
        state, look = ("ready, but something is parked", "some") if status.parked else ("ready", "good")
    sentences = [*([] if health.is_well else [health.text]), *(each for each in status.reasons if " is parked (" not in each)]
    why = f'<ul class="why bad">{"".join(f"<li>{escape(each)}</li>" for each in sentences)}</ul>' if sentences else ""
    name = f'<h1>{escape(status.group or "ingest")}</h1><span class="state {look}">{state}</span>'
    return f'<header>{name}<span class="soft">one worker of this consumer group</span></header>{why}'


def _cards(status: Status) -> str:
    full = status.unsettled_bytes / status.limit_bytes if status.limit_bytes else 0
    cards = [
        ("read a second", _rate(status.rates.get("")), "in the last half minute", ""),
        ("lag", _number(status.lag_records), f"records, {_many(status.assigned, 'partition')}", ""),
        ("unsettled", _number(status.unsettled_records), f"records, {full:.0%} of memory", "some" if full > 0.9 else ""),
        ("requests", str(status.in_flight), f"in flight, {status.permits:.0f} of {status.max_permits} permitted", ""),
        ("dead letters", _number(status.total("dead_lettered")), "since the start", "some" if status.dead_letters else ""),
        _crate_card(status),
    ]
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _crate_card(status: Status) -> tuple[str, str, str, str]:
    if not status.max_permits:
        return "CrateDB", "–", "not asked yet", ""
    is_away = status.is_breaker_open
    return "CrateDB", "away" if is_away else "answers", "probed until it is back" if is_away else "", "bad" if is_away else ""


def _parked(status: Status, url: str) -> str:
    if not status.parked:
        return ""
    return '<h2 class="bad">Parked: waits for a person</h2>' + "".join(_place(place, url) for place in status.parked)


def _place(place: ParkedPlace, url: str) -> str:
    command = f"ingest unpark {quote(place.subject)}" + (f" --url {quote(url)}" if url else "")
    when = f'<span class="soft">{escape(place.code)}, since {_moment(place.since_ms)}</span>'
    done = f"<p>When that is done: <code>{escape(command)}</code></p>"
    return f'<div class="place"><p><b>{escape(place.subject)}</b> {when}</p><p>{escape(place.text)}</p>{done}</div>'


def _topics(status: Status) -> str:
    """By topic, and the partitions that are furthest behind."""
    by_topic: dict[str, list[int]] = {}
    for topic, number in status.lag:
        by_topic.setdefault(topic, []).append(number)
    rows = [_topic(status, topic, numbers) for topic, numbers in sorted(by_topic.items())]
    head = ("topic", "state", "#lag", "#partitions")
    return f"<h2>Topics</h2>{_table(head, rows, 'no partition is ours: not yet, or the others of the group have them all')}"


def _topic(status: Status, topic: str, numbers: Sequence[int]) -> Sequence[object]:
    lags = [status.lag[topic, number] for number in numbers]
    reasons = sorted({status.paused[topic, number] for number in numbers if (topic, number) in status.paused})
    known = [lag for lag in lags if lag is not None]
    return topic, ", ".join(map(_why_paused, reasons)) or "reading", sum(known) if known else _Number("?"), len(numbers)


def _why_paused(reason: str) -> str:
    words = {"parked": "parked", "pressure": "paused, memory is full", "waiting": "waits for a schema or a table"}
    return words.get(reason, reason)


def _behind(status: Status) -> str:
    lags = sorted(((lag, place) for place, lag in status.lag.items() if lag), reverse=True)
    if len(status.lag) < 2 or not lags:
        return ""
    rows = [(f"{topic}[{number}]", lag) for lag, (topic, number) in lags[:MOST_PARTITIONS]]
    more = f'<p class="soft">and {len(lags) - MOST_PARTITIONS:,} more, see /metrics</p>' if len(lags) > MOST_PARTITIONS else ""
    return f"<h2>Partitions behind</h2>{_table(('partition', '#lag'), rows)}{more}"


def _tables(status: Status) -> str:
    names = sorted({table for table, _ in status.records if table} | status.tables.keys())
    head = ("table", "level", "#a second", *(f"#{end}" for end in ENDS.values()))
    return f"<h2>Tables</h2>{_table(head, [_one_table(status, name) for name in names], 'no record has come yet')}"


def _one_table(status: Status, name: str) -> Sequence[object]:
    counts = (status.records.get((name, end), 0) for end in ENDS)
    return name, status.tables.get(name, "?"), _Number(_rate(status.rates.get(name))), *counts


def _reasons(status: Status) -> str:
    """Why records and rows did not go the straight way."""
    return (
        _counts(
            "Dead letters", "records that can never be stored; the dead-letter topic has each with its code", status.dead_letters
        )
        + _counts("Sent again", "rows that CrateDB did not take at first", status.retries)
        + _counts("Skipped", "records that are no rows, by rule", status.skipped)
    )


def _books(status: Status) -> str:
    parts = [f"{status.total(end):,} {word}" for end, word in ENDS.items()]
    parts += [f"{status.handed_back:,} handed back", f"{status.unsettled_records:,} unsettled"]
    return f"<h2>Books</h2><p>{status.read:,} read = {' + '.join(parts)}</p>"


def _footer(status: Status) -> str:
    made_of = dict(versions())
    ours = f"ingest {made_of.pop(PACKAGE)}"
    clients = ", ".join(f"{name} {version}" for name, version in made_of.items())
    times = f"As of {_moment(status.at_ms)}, started {_moment(status.started_ms)}. " if status.at_ms else ""
    return (
        f"<footer><p>{times}Counts are of this worker since its start; /metrics and /readyz say the same to machines.</p>"
        f"<p>{escape(ours)} ({escape(clients)})</p></footer>"
    )


# ---------------------------------------------------------------- pieces


class _Number(str):
    """A text that stands at the right, as numbers do."""


def _counts(title: str, note: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return f'<h2>{escape(title)} <span class="soft">{escape(note)}</span></h2>{_table(("reason", "#how many"), rows)}'


def _table(head: Sequence[str], rows: Collection[Sequence[object]], if_empty: str = "") -> str:
    """A head that begins with # is that of numbers."""
    if not rows:
        return f'<p class="soft">{escape(if_empty)}</p>'
    cells = "".join(f'<th class="n">{escape(each[1:])}</th>' if each[0] == "#" else f"<th>{escape(each)}</th>" for each in head)
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(map(_row, rows))}</table></div>'


def _row(values: Iterable[object]) -> str:
    return "<tr>" + "".join(_cell(value) for value in values) + "</tr>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return f'<td class="n">{escape(value)}</td>' if isinstance(value, _Number) else f"<td>{escape(str(value))}</td>"


def _card(name: str, value: str, note: str, look: str) -> str:
    return (
        f'<div class="card"><small>{escape(name)}</small><b class="{look}">{escape(value)}</b><small>{escape(note)}</small></div>'
    )


def _is_well(status: Status, health: Health) -> bool:
    return status.is_ready and health.is_well and not status.parked


def _number(value: int) -> str:
    return f"{value:,}"


def _rate(value: float | None) -> str:
    """Few digits: it changes all the time. None: not known yet."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
