"""Messages that can never be stored, of every kind that the worker must tell from a sick server.

`EARLY` faults are seen by whoever reads the message, so its key lives on. `LATE` ones may be known to CrateDB alone: then what
becomes of a record depends on whether a newer one of its key was folded over it, so they are the last of their key.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from . import values as v
from .log import Fate
from .source import Source
from .tables import Key, Values
from .wire import NULL

EARLY = ("broken json", "no key", "nan token", "2**63", "abc", "year 9999")
LATE = ("long text", "check", "varchar")

# The worker parks a topic with more than 5 % of bad records; the crowds of this stream stay clear of that in every partition.
WINDOW, MOST_IN_WINDOW = 200, 6


class Quota:
    """How many bad messages the last WINDOW of a partition hold. Counts in messages made, not in time."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._bad: dict[int, deque[int]] = {}

    def saw(self, partition: int) -> None:
        self._seen[partition] = self._seen.get(partition, 0) + 1

    def allows(self, partition: int) -> bool:
        """Whether one more is bearable; if so it is counted."""
        seen = self._seen.get(partition, 0)
        bad = self._bad.setdefault(partition, deque())
        while bad and bad[0] <= seen - WINDOW:
            bad.popleft()
        if seen < WINDOW // 2 or len(bad) >= MOST_IN_WINDOW:
            return False
        bad.append(seen)
        return True


class Poison:
    """Puts bad messages among the good ones of a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._spec = source.spec
        self.quota = Quota()
        self._decks: dict[tuple[str, ...], list[str]] = {}

    def bad(self) -> None:
        """One on its own: an early fault on a key that lives on, or a late one on a key that nothing else has."""
        kind = self._pick(EARLY + LATE)
        source = self._source
        if kind in LATE or source.rnd.random() < 0.3:
            key, row = source.new_row()
            source.retire(key)
            self._send(kind, "c", key, row.wire, NULL)
        else:
            key = source.any_key()
            self._send(kind, "u", key, source.changed(source.rows[key], 2).wire, source.before(key))

    def crowd(self) -> None:
        for _ in range(3 + int(self._source.rnd.random() * 6)):
            self.bad()

    def bad_over_good(self) -> None:
        """The last change of a key is bad, right behind good ones, and would often have moved the row to another month."""
        source = self._source
        key = source.any_key()
        source.update_key(key, "update")
        kind = self._pick(LATE + LATE + EARLY)
        set_to = source.elsewhere(key) if source.rnd.random() < 0.5 else {}
        bad = source.changed(source.rows[key], 2, **set_to)
        if self._send(kind, "u", key, bad.wire, source.before(key), "bad over good, "):
            source.retire(key)

    def _pick(self, kinds: tuple[str, ...]) -> str:
        """Each kind once before any comes again, so that short streams have them all."""
        deck = self._decks.setdefault(kinds, [])
        if not deck:
            deck.extend(kind for kind in kinds if kind != "year 9999" or self._spec.month_from)
            self._source.rnd.shuffle(deck)
        return deck.pop()

    def _send(self, kind: str, op: str, key: Key, wire: Values, before: bytes, prefix: str = "bad ") -> bool:
        source = self._source
        row = dict(wire)
        key, key_bytes = self._spoil(kind, key, row)
        made = source.wire.change(op, NULL if key_bytes is None else before, orjson.dumps(row), source.tick())
        value = made[: len(made) // 2] if kind == "broken json" else made
        partition = int(source.rnd.random() * source.partitions) if key_bytes is None else None
        message = source.emit(prefix + kind, key_bytes, value, Fate.DEAD, partition=partition)
        if self.quota.allows(message.partition):
            return True
        source.out.pop()
        return False

    def _spoil(self, kind: str, key: Key, row: Values) -> tuple[Key, bytes | None]:
        """Make the row bad in place; the key that the message then has."""
        spec, rnd = self._spec, self._source.rnd
        if kind == "no key":
            row.pop(spec.key[0])
            return key, None
        bad: dict[str, dict[str, Any]] = {
            "nan token": {spec.double: orjson.Fragment(b"NaN")},
            "2**63": {spec.number: 2**63 if rnd.random() < 0.5 else orjson.Fragment(b"-9223372036854775809")},
            "abc": {spec.number: "abc"},
            "long text": {spec.long_text: "x" * (v.LONGEST_TEXT_BYTES + 1 + int(rnd.random() * 5000))},
            "check": {spec.checked: -1 if spec.kinds[spec.checked] != "cents" else "-0.01"},
            "varchar": {spec.short: "seventeen letters"},
        }
        row.update(bad.get(kind, {}))
        if kind == "year 9999":
            row[spec.month_from or ""] = v.year_9999(spec)
            if spec.month_from in spec.key:
                key = tuple(row[name] for name in spec.key)
        return key, self._source.wire.key(key)
