"""The lines of a run: appended to a file as each row ends, and shown as a table at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "INGEST_TEST_CHAOS_RESULTS"
COLUMNS = ("of", "row", "fault s", "write s", "caught up s", "sent", "repeats", "stale", "lost", "verdict")
Line = Mapping[str, Any]
lines: list[Line] = []


def keep(line: Line) -> None:
    """Remember it for the table, and write it where INGEST_TEST_CHAOS_RESULTS says, if it is set."""
    whole = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **line}
    lines.append(whole)
    if file := os.environ.get(FILE):
        with Path(file).open("a") as out:
            out.write(json.dumps(whole, default=str) + "\n")


def broken(row: str, of: str, error: str) -> Line:
    """The line of a row that did not come to its end."""
    return {"row": row, "of": of, "equal": False, "differences": {"broken": 1}, "first_differences": [error[:2000]]}


def table(rows: Sequence[Line]) -> list[str]:
    """
    >>> print("\\n".join(table([{"of": "cratedb", "row": "killed", "fault_s": 5.0, "equal": True, "lost": 0}])))
    of       row     fault s  write s  caught up s  sent  repeats  stale  lost  verdict
    cratedb  killed  5.0      -        -            -     -        -      0     equal
    """
    names = ("of", "row", "fault_s", "first_write_s", "caught_up_s", "rows_sent", "repeats", "stale", "lost")
    cells = [[*(text(row.get(name)) for name in names), "equal" if row.get("equal") else "NOT EQUAL"] for row in rows]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip() for each in (COLUMNS, *cells)]


def text(value: Any) -> str:
    return "-" if value is None else str(value)
