"""`--keep`: everything stays as it is until Ctrl-C, with the addresses and commands for a look around."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from ingest.demo import report
from ingest.demo.look import Seat
from ingest.demo.patience import Patience
from ingest.demo.screen import Screen
from ingest.demo.shop import SHOWN_ORDER, Event
from ingest.demo.site import Site
from ingest.demo.truth import ORDERS

A_WHILE_S = 3_600.0
QUESTION = '{"stmt": "SELECT status, count(*) FROM demo.orders_live GROUP BY status"}'


def stay(site: Site, screen: Screen, seats: Sequence[Seat], first: Event, patience: Patience) -> None:
    """Print and wait. first: of the life of the order that is told."""
    alive = next(seat for seat in seats if seat.killed_s is None)
    env, order = write_env(site, alive.port), f"{first.at.topic}:{first.at.partition}:{first.at.offset}"
    screen.step("Look around: everything runs until Ctrl-C")
    screen.say("In another terminal, in the folder that you are in now:")
    lines = [
        (f". {env}", "the settings of the demo's workers"),
        ("ingest dlq list --counts", "the dead letters by reason; `dlq list` and `dlq show` for more"),
        (f"ingest explain {order}", "how a record is decoded, mapped and written, step by step"),
        (f"ingest why {ORDERS} {SHOWN_ORDER}", "what is stored of an order, and what became of each change"),
        (f"curl -s http://127.0.0.1:{alive.port}/metrics", "for Prometheus; the same address without a path is a page for you"),
    ]
    report.commands(screen, lines)
    screen.verbatim(f"curl -s {site.crate}/_sql -H 'Content-Type: application/json' -d '{QUESTION}'")
    if not site.is_ours:
        screen.say(f"Topics and tables stay. To remove them: ingest demo --clean --kafka {site.kafka} --crate {site.crate}")
    try:
        while True:
            patience.pause(A_WHILE_S)
    except KeyboardInterrupt:
        screen.console.print()


def write_env(site: Site, port: int) -> Path:
    """A file for `. FILE` that sets what the demo's workers are told. No passwords are in it: they are in the caller's own."""
    said = {**site.said(), "INGEST_HTTP_PORT": str(port)}
    path = site.folder / "env"
    path.write_text("".join(f"export {name}={quote(text)}\n" for name, text in said.items()), encoding="utf-8")
    return path
