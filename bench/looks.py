"""One look at a worker from outside: what its metrics say, and what the kernel says of its process. Linux only (/proc)."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ingest.memory import MB

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
STATUS = re.compile(r"^(VmRSS|Threads):\s+(\d+)", re.MULTILINE)
OUTCOMES = ("written", "superseded", "dead_lettered")


class Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


class Usage(NamedTuple):
    """What a process has now. rss_mb: resident, in millions of bytes, as INGEST_MEMORY_MB counts. sockets: of its fds."""

    rss_mb: float
    threads: int
    fds: int
    sockets: int


def scraped(url: str, timeout_s: float = 2.0) -> list[Sample]:
    """Every sample at a worker's /metrics. Raises OSError while nobody answers."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=timeout_s) as answer:
        return list(parsed(answer.read().decode()))


def parsed(text: str) -> Iterator[Sample]:
    """
    >>> list(parsed('# HELP a b\\na_total{table="t",code="x"} 3.0\\nb 1'))
    [Sample(name='a_total', labels={'table': 't', 'code': 'x'}, value=3.0), Sample(name='b', labels={}, value=1.0)]
    """
    for name, labels, value in SAMPLE.findall(text):
        yield Sample(name, dict(LABEL.findall(labels)), float(value))


def total(samples: Sequence[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels.

    >>> total([Sample("a", {"t": "x"}, 1), Sample("a", {"t": "y"}, 2), Sample("b", {}, 4)], "a", t="y")
    2
    """
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def books(samples: Sequence[Sample]) -> dict[str, float]:
    """A worker's counts of records; off_books: those that are not accounted for, 0 at every moment."""
    read, unsettled = total(samples, "ingest_records_read_total"), total(samples, "ingest_unsettled_records")
    told = {outcome: total(samples, "ingest_records_total", outcome=outcome) for outcome in OUTCOMES}
    off = read - unsettled - total(samples, "ingest_records_total")
    return {"read": read, "unsettled": unsettled, **told, "off_books": off}


def usage(pid: int) -> Usage | None:
    """None once the process is gone."""
    with suppress(OSError):
        told = dict(STATUS.findall(Path(f"/proc/{pid}/status").read_text()))
        if "VmRSS" in told:  # a zombie has none
            links = [*links_of(pid)]
            sockets = sum(link.startswith("socket:") for link in links)
            return Usage(round(int(told["VmRSS"]) * 1024 / MB, 1), int(told["Threads"]), len(links), sockets)
    return None


def links_of(pid: int) -> Iterator[str]:
    """What each open file of a process leads to."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(link)
