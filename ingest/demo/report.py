"""What the demo shows at its end: tables, the life of one order, dead letters, books, freshness and the verdict.

Reads the tables over SQL and changes nothing. Main thread only.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from ingest.crate.catalogue import query
from ingest.crate.http import HttpClient
from ingest.demo import metrics
from ingest.demo.books import ENDS, Book
from ingest.demo.judge import Verdict
from ingest.demo.look import Letter
from ingest.demo.metrics import Buckets
from ingest.demo.screen import Screen, plain_table, worker_style
from ingest.demo.shop import SHOWN_ORDER, Event
from ingest.demo.truth import ORDERS, READINGS, TABLES, Truth

BY_MONTH = "SELECT month, count(*) FROM {} GROUP BY month ORDER BY month"
LIVE = {ORDERS: "demo.orders_live", READINGS: READINGS}
STORED = "SELECT month, status, cdc_deleted FROM demo.orders WHERE id = ? ORDER BY month"
OPS = {"c": "created", "u": "changed", "d": "deleted"}
NEXT = (
    ("ingest demo --keep", "the same, and everything stays for a look around"),
    ("ingest demo --export-dir try", "its SQL files and contracts, to begin your own with"),
    ("ingest check", "your own Kafka and CrateDB: set INGEST_TOPICS and the addresses first"),
)


def sources(screen: Screen, lines: Sequence[tuple[str, str, int]]) -> None:
    """Topics, what writes them, and how many records they have."""
    table = plain_table(("topic", ""), ("what writes it", ""), ("records", "right"))
    for topic, what, count in lines:
        table.add_row(topic, what, f"{count:,}")
    screen.show(table)


def tables(screen: Screen, client: HttpClient, verdict: Verdict) -> None:
    """How many rows each table has, and in which partitions."""
    screen.step("What is in the tables")
    table = plain_table(("table", ""), ("rows", "right"), ("partitions, one a month: rows", ""))
    for name in TABLES:
        rows = query(client, BY_MONTH.format(LIVE[name]), []) if name in LIVE else []
        months = "  ".join(f"{month_text(month)[:7]}: {n:,}" for month, n in rows) or "not partitioned"
        table.add_row(Text(name, style="bold"), f"{verdict.rows[name]:,}", Text(months))
    table.columns[2].no_wrap = False
    screen.show(table)


def life(screen: Screen, client: HttpClient, events: Sequence[Event]) -> None:
    """What happened to one order at its source, and what its table holds of it."""
    screen.step(f"The life of order {SHOWN_ORDER}")
    table = plain_table(("record in Kafka", ""), ("what happened", ""), ("status", ""), ("delivery", ""))
    for event in events:
        row = () if event.op == "d" else (event.status, month_text(event.delivery_ms)[:10])
        table.add_row(Text(str(event.at), style="dim"), what_happened(event), *row)
    screen.show(table)
    stored = "; ".join(
        f"{month_text(month)[:7]}: {'deleted' if deleted else status}"
        for month, status, deleted in query(client, STORED, [SHOWN_ORDER])
    )
    screen.say(
        f"In demo.orders by month: {stored}. A mark with the version of the change stays where the row was, so that no late or",
        "repeated record brings it back. Readers of the view demo.orders_live see none of it; `ingest purge` removes old marks.",
    )


def what_happened(event: Event) -> str:
    if event.op == "u":
        return "moved to another month" if event.status == "postponed" else "changed"
    return OPS[event.op]


def letters(screen: Screen, found: Sequence[Letter], topic: str, sent: Mapping[str, str]) -> None:
    """One letter of each reason, and what one of them says. sent: what the producer sent, in words, by the reason's code."""
    screen.step(f"Dead letters: {len(found)} records that no table can hold")
    table = plain_table(("reason", ""), ("record in Kafka", ""), ("what was sent", ""))
    table.columns[2].no_wrap = False
    first = {letter.code: letter for letter in reversed(found)}
    for letter in sorted(first.values(), key=lambda letter: list(sent).index(letter.code) if letter.code in sent else -1):
        table.add_row(Text(letter.code, style="red"), str(letter.at), sent.get(letter.code, ""))
    screen.show(table)
    example = first.get("month.out_of_bounds") or found[0]
    screen.say(
        f"Topic {topic} has their bytes unchanged and says why, such as: {example.text.partition(': ')[2]}.",
        "Their neighbours in the same batches were written.",
    )


def books(screen: Screen, by_worker: Mapping[int, Book]) -> None:
    """The line that each worker printed as its last, as an equation."""
    screen.step("The books: every record read, by how it ended")
    for number, book in by_worker.items():
        ends = [f"{book[end]:,} {end.replace('_', '-')}" for end in (*ENDS, "unsettled") if book[end]]
        balance = ("balanced", "bold green") if book["is_balanced"] else ("NOT BALANCED", "bold red")
        equation = f": {book['read']:,} read = " + " + ".join(ends)
        screen.show(Text.assemble((f"worker {number}", worker_style(number)), "  ", balance, equation))
    screen.say(
        "Superseded: a newer change of the same row was there already, or came in the same batch. Skipped: no change of a row.",
        "The killed worker left no books; what it had not committed is in those of the other.",
    )


def freshness(screen: Screen, calm: Buckets, all_of_it: Buckets) -> None:
    """Two windows: the seconds before the kill, and everything, backlog and kill included."""
    screen.step("Freshness: from the change at its source to the stored row")
    table = plain_table(("age of a change when it is stored", ""), ("p50", ""), ("p99", ""))
    for what, counts in (("while nothing was wrong", calm), ("with the backlog and the killed worker", all_of_it)):
        table.add_row(what, *(bound_text(metrics.within(counts, part)) for part in (0.5, 0.99)))
    screen.show(table)


def bound_text(bound_s: float | None) -> str:
    """
    >>> bound_text(0.25), bound_text(None), bound_text(float("inf"))
    ('within 0.25 s', 'not measured', 'more than a day')
    """
    if bound_s is None:
        return "not measured"
    return f"within {bound_s:g} s" if math.isfinite(bound_s) else "more than a day"


def verdict(screen: Screen, found: Verdict, truth: Truth) -> None:
    """The last word."""
    screen.step("Is it right?")
    for difference in found.differences:
        screen.note(difference, "red")
    if found.differences:
        screen.note("NOT EQUAL: see above", "bold red")
        return
    screen.note("EQUAL: nothing is lost and nothing is double", "bold green")
    screen.say(
        f"All {sum(found.rows.values()):,} rows are, value for value, what the producer of these {truth.records:,} records knows",
        f"they must be; its {len(truth.letters)} bad records are dead letters with the right reasons, and no good one is.",
    )


def month_text(moment_ms: int) -> str:
    """
    >>> month_text(1_767_225_600_000)
    '2026-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat()


def next_commands(screen: Screen) -> None:
    screen.step("Try next")
    commands(screen, NEXT)


def ingest_command() -> str:
    """How `ingest` is called from here: by its name, or by its path where the virtual environment is not activated."""
    if shutil.which("ingest"):
        return "ingest"
    path = Path(sys.executable).parent / "ingest"
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def commands(screen: Screen, lines: Sequence[tuple[str, str]]) -> None:
    """Commands and what they do, side by side where there is room; a command itself is never cut or broken."""
    called = [(re.sub(r"^ingest\b", ingest_command(), command), what) for command, what in lines]
    widest = max(len(command) for command, _ in called)
    has_room = all(widest + len(what) + 6 <= screen.console.width for _, what in called)
    for command, what in called:
        if has_room:
            screen.verbatim(f"{command:<{widest}}", f"   {what}")
        else:
            screen.verbatim(command)
            screen.note(f"  {what}", "dim")
