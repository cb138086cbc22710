"""Simulated groups of workers: crashes, zombies, rebalances, lost answers and late requests, by seed.

More seeds: `python -m tests.flow.test_group 5000 [FIRST]` (`make simulate`).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from time import monotonic

import pytest

from ingest.model import Position
from tests.flow.group import Group

KEYS = 25
RECORDS = 200
EVENTS = 250
Rows = dict[tuple[int], tuple[int, object]]


def fill(group: Group) -> tuple[Rows, set[Position]]:
    """Put inserts, updates, moves, deletes, old changes again, bad records and heartbeats; what must be live and lettered."""
    rng = random.Random(group.seed + 1)
    live: Rows = {}
    months: dict[int, int] = {}
    sent: dict[int, list[dict[str, object]]] = {}
    bad: set[Position] = set()
    refused: set[int] = set()
    for n in range(RECORDS):
        k, dice = rng.randrange(KEYS), rng.random()
        old, month = months.get(k), rng.randrange(1, 4)
        left = [old] if old not in (None, month) else []
        if k in refused:
            continue
        if dice < 0.03:
            bad.add(group.put(k % group.partitions, b"{broken"))
        elif dice < 0.05:
            refused.add(k)  # nothing comes behind it, or it may be superseded before CrateDB ever sees it
            bad.add(group.put(k % group.partitions, {"k": k, "v": "poison", "n": n, "m": month, "was": left}))
        elif dice < 0.08:
            group.put(k % group.partitions, {"skip": "heartbeat"})
        elif dice < 0.15 and k in sent:
            group.put(k % group.partitions, rng.choice(sent[k]))
        elif dice < 0.25 and old is not None:
            change: dict[str, object] = {"k": k, "v": None, "n": n, "m": old}
            sent[k].append(change)
            group.put(k % group.partitions, change)
            live.pop((k,), None)
        else:
            change = {"k": k, "v": f"v{n}", "n": n, "m": month, "was": left}
            sent.setdefault(k, []).append(change)
            group.put(k % group.partitions, change)
            live[k,], months[k] = (month, f"v{n}"), month
    return live, bad


def simulate(seed: int) -> Group:
    group = Group(seed)
    live, bad = fill(group)
    group.live(EVENTS)
    group.calm()
    assert live == group.store.live()
    assert bad == group.letters_at
    assert group.ends() == {partition: commit.offset for partition, commit in group.committed.items()}
    group.check_books()
    return group


@pytest.mark.parametrize("seed", range(40))
def test_fuzz_a_group_of_workers_ends_in_the_same_rows(seed: int) -> None:
    simulate(seed)


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: Sequence[str]) -> None:
    count, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    started_s, crashes = monotonic(), 0
    for seed in range(first, first + count):
        try:
            crashes += simulate(seed).crashes
        except BaseException:
            tell(f"seed {seed} fails")
            raise
    tell(f"{count} groups from seed {first}: all equal, {crashes} crashes, {monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
