"""What a worker's /metrics page says, read as Prometheus reads it. Pure but for `scrape`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple
from urllib.request import urlopen

SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SCRAPE_S = 2.0


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float


Page = dict[str, list[Sample]]


def scrape(port: int) -> Page | None:
    """The page of a worker on this machine; None while it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SCRAPE_S) as answer:
            return parsed(answer.read().decode())
    except OSError:
        return None


def parsed(text: str) -> Page:
    """
    >>> parsed('# HELP x\\nx{a="b",c="d"} 2.0\\n')
    {'x': [Sample(labels={'a': 'b', 'c': 'd'}, value=2.0)]}
    """
    page: Page = {}
    for found in SAMPLE.finditer(text):
        sample = Sample(dict(LABEL.findall(found["labels"] or "")), float(found["value"]))
        page.setdefault(found["name"], []).append(sample)
    return page


def total(page: Page, name: str, **labels: str) -> int:
    """The sum of a metric's samples that have these labels.

    >>> total(parsed('x{a="1"} 2.0\\nx{a="2"} 3.0\\n'), "x", a="2")
    3
    """
    samples = page.get(name, ())
    return round(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))


Buckets = Counter[float]


def buckets(page: Page, name: str) -> Buckets:
    """How many observations of a histogram were at most so large, whatever their labels."""
    found: Buckets = Counter()
    for sample in page.get(f"{name}_bucket", ()):
        found[float(sample.labels["le"])] += round(sample.value)
    return found


def within(counts: Buckets, part: float) -> float | None:
    """The smallest bound that holds this part of the observations, None if there are none.

    >>> within(Counter({0.1: 5, 0.5: 9, float("inf"): 10}), 0.5), within(Counter({0.1: 5, float("inf"): 10}), 0.99)
    (0.1, inf)
    """
    all_of_them = max(counts.values(), default=0)
    return min((bound for bound, n in counts.items() if n >= part * all_of_them), default=None) if all_of_them else None
