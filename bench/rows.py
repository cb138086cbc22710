"""The rows of the benchmark's tables and what happens to them: values and operations, the same for the same numbers.

A row is a pure function of its key, of the number of the record that wrote it last and of the day that it was created on, so
that the final state of a stream is three integers a key. Values only: no bytes, no servers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

FIRST_MS = 1_704_067_200_000  # 2024-01-01
DAY_MS = 86_400_000
DAYS_PER_MONTH = 30.4
STATUSES = ("new", "paid", "packed", "shipped", "returned")
# What a column is, for every format and for the DDL; `cents` are decimals of scale 2, `ms` are moments.
BASE = {
    "id": "long",
    "created_at": "ms",
    "customer_id": "long",
    "status": "text",
    "total": "cents",
    "quantity": "int",
    "note": "text",
    "email": "text",
    "is_gift": "bool",
    "discount": "double",
    "weight": "double",
    "updated_at": "ms",
}
MORE = ("text", "long", "double", "bool", "text", "ms", "int")  # kinds of the columns beyond those, in turn

Row = dict[str, Any]


class Stored(NamedTuple):
    """The last write of a key. n: the number of its record."""

    n: int
    day: int


class Event(NamedTuple):
    """One record. op: c, u, d, or t for the empty value behind a delete; after, before: the images that a source would send."""

    op: str
    key: int
    n: int
    after: Row | None = None
    before: Row | None = None


@dataclass(frozen=True)
class Shape:
    """Tables of so many columns (5 or more) over so many months. note_bytes: the length of the text column, 0 for about 45."""

    columns: int = 12
    months: int = 12
    note_bytes: int = 0

    @cached_property
    def kinds(self) -> dict[str, str]:
        base = dict(list(BASE.items())[: self.columns])
        return base | {f"more_{i:03}": MORE[i % len(MORE)] for i in range(self.columns - len(base))}

    @property
    def days(self) -> int:
        return max(1, int(self.months * DAYS_PER_MONTH))

    def row(self, key: int, stored: Stored) -> Row:
        """Moments in epoch milliseconds, decimals in cents."""
        created_ms = FIRST_MS + stored.day * DAY_MS + key % DAY_MS
        note = f"order number {key}, please leave it at the door"
        base = {
            "id": key,
            "created_at": created_ms,
            "customer_id": key * 31 % 100_003,
            "status": STATUSES[stored.n % 5],
            "total": key * 37 % 1_000_000,
            "quantity": stored.n % 1_000,
            "note": (note * (self.note_bytes // len(note) + 1))[: self.note_bytes] if self.note_bytes else note,
            "email": f"customer.{key * 31 % 100_003}@example.org",
            "is_gift": key % 7 == 0,
            "discount": key % 20 / 4,
            "weight": key % 500 / 8,
            "updated_at": created_ms + stored.n,
        }
        if self.columns == len(base):
            return base
        return {name: base[name] if name in base else self._more(kind, key, stored.n) for name, kind in self.kinds.items()}

    def _more(self, kind: str, key: int, n: int) -> Any:
        if kind == "text":
            return f"value {key % 1_000}"
        if kind == "bool":
            return key % 3 == 0
        if kind == "double":
            return key % 4_000 / 16
        return FIRST_MS + n if kind == "ms" else (key + n) % 1_000_000


class Mix(NamedTuple):
    """Parts of the records, the rest being deletes with their empty values. moves: updates that change the month."""

    inserts: float
    updates: float
    moves: float = 0.0


MIXES = {
    "insert": Mix(1.0, 0.0),
    "mixed": Mix(0.60, 0.35),
    "deletes": Mix(0.45, 0.15),
    "moves": Mix(0.60, 0.33, 0.02),
}


class Events:
    """A stream of so many records; `state` holds what is stored once it was iterated to its end.

    full: updates bring the whole image of before. tombstones: an empty value, a record of its own, follows each delete.
    """

    def __init__(
        self, shape: Shape, mix: Mix, count: int, *, full: bool = False, tombstones: bool = False, seed: int = 7
    ) -> None:
        self.state: dict[int, Stored] = {}
        self._shape, self._mix, self._count, self._full, self._tombstones = shape, mix, count, full, tombstones
        self._rnd = random.Random(seed)
        self._live: list[int] = []
        self._next_key = 0

    def __iter__(self) -> Iterator[Event]:
        n = 0
        while n < self._count:
            event = self._event(n)
            yield event
            n += 1
            if event.op == "d" and self._tombstones and n < self._count:
                yield Event("t", event.key, n)
                n += 1

    def _event(self, n: int) -> Event:
        what, mix = self._rnd.random(), self._mix
        if what < mix.inserts or not self._live:
            return self._insert(n)
        if what < mix.inserts + mix.updates + mix.moves:
            return self._update(n, is_move=what >= mix.inserts + mix.updates)
        return self._delete(n)

    def _insert(self, n: int) -> Event:
        key, self._next_key = self._next_key, self._next_key + 1
        self._live.append(key)
        self.state[key] = stored = Stored(n, key * 7919 % self._shape.days)
        return Event("c", key, n, self._shape.row(key, stored))

    def _update(self, n: int, *, is_move: bool) -> Event:
        key = self._rnd.choice(self._live)
        old = self.state[key]
        day = (old.day + self._shape.days // 2) % self._shape.days if is_move else old.day
        self.state[key] = stored = Stored(n, day)
        before = self._shape.row(key, old) if self._full else None
        return Event("u", key, n, self._shape.row(key, stored), before)

    def _delete(self, n: int) -> Event:
        at = self._rnd.randrange(len(self._live))
        self._live[at], self._live[-1] = self._live[-1], self._live[at]
        key = self._live.pop()
        return Event("d", key, n, None, self._shape.row(key, self.state.pop(key)))
