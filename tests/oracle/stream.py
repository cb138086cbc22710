"""The stream: every table's source, taken in turns, with bad messages among the good.

Deterministic: the same seed, number and tables make the same bytes. Made on the fly, so memory holds the sources' rows only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from .log import Message
from .poison import Poison
from .source import WEIGHTS, Source
from .tables import TABLES

PARTITIONS = 6
STEPS = 1000  # drawn at once: one call of choices() per step costs more than the step


def topic_of(table: str, prefix: str) -> str:
    """
    >>> topic_of("orders", "run1")
    'run1.public.orders'
    """
    return f"{prefix}.public.{table}" if TABLES[table].shape != "cockroach" else f"{prefix}_{table}"


def stream(
    seed: int, records: int, prefix: str, tables: Sequence[str] = tuple(TABLES), partitions: int = PARTITIONS
) -> Iterator[Message]:
    """At least `records` messages (a step in progress is finished), for topics that are empty."""
    rnd = random.Random(f"{seed}/turns")
    feeds = [_feed(seed, table, prefix, partitions) for table in tables]
    weights = [TABLES[table].weight for table in tables]
    made = 0
    while made < records:
        for feed in rnd.choices(feeds, weights, k=STEPS):
            for message in feed():
                made += 1
                yield message
            if made >= records:
                return


def _feed(seed: int, table: str, prefix: str, partitions: int) -> Callable[[], Iterator[Message]]:
    """A function that makes the next few messages of a table."""
    rnd = random.Random(f"{seed}/{table}")
    source = Source(TABLES[table], topic_of(table, prefix), rnd, partitions)
    poison = Poison(source)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    acts = {name: getattr(poison if hasattr(poison, name) else source, name) for name in names}
    plan: list[str] = []

    def step() -> Iterator[Message]:
        if not plan:
            plan.extend(rnd.choices(names, weights, k=STEPS))
        acts[plan.pop()]()
        for message in source.take():
            poison.quota.saw(message.partition)
            yield message

    return step
