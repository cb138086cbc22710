"""The books of the workers: the line that each prints as its last, or while it runs the same from its metrics page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from ingest.demo.children import LOOK_EVERY_S
from ingest.demo.look import Seat
from ingest.demo.patience import Patience
from ingest.errors import Stop

ENDS = ("written", "superseded", "skipped", "dead_lettered", "handed_back")
END_WITHIN_S = 30.0

Book = Mapping[str, Any]


def books_of(seats: Sequence[Seat], patience: Patience, *, are_running: bool) -> dict[int, Book]:
    """By the number of the worker; none of one that was killed. Without are_running the workers are asked to end."""
    alive = [seat for seat in seats if seat.killed_s is None]
    if are_running:
        return {seat.number: of_page(seat) for seat in alive}
    for seat in alive:
        seat.child.ask_to_end()
    return {seat.number: last_line(seat, patience) for seat in alive}


def last_line(seat: Seat, patience: Patience) -> Book:
    deadline_s = monotonic() + END_WITHIN_S
    while seat.child.code is None:
        if monotonic() > deadline_s:
            raise Stop("demo.worker", f"worker {seat.number} did not end within {END_WITHIN_S:.0f} s after SIGTERM")
        patience.pause(LOOK_EVERY_S)
    if seat.child.code != 0:
        raise Stop("demo.worker", f"worker {seat.number} ended with code {seat.child.code}: {seat.child.last_words()}")
    book: Book = json.loads(seat.child.said().splitlines()[-1])
    return book


def of_page(seat: Seat) -> Book:
    """Whether they balance is computed here: the page says each number by itself."""
    book = {end: seat.count("ingest_records_total", outcome=end) for end in ENDS}
    book["unsettled"] = seat.count("ingest_unsettled_records")
    read = seat.count("ingest_records_read_total")
    return {"read": read, **book, "is_balanced": read == sum(book.values()), "repeats": 0}
