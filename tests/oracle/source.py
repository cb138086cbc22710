"""One table at its source: it lives through inserts, updates, moves and deletes, and writes each as Kafka messages.

Seeded and deterministic. Knows the source's own rows only; what a sink makes of the messages is the model's business.
Rules that keep the answer exact: a change that only CrateDB can refuse is the last of its key, and columns are left out only
where a whole row of the key stands before and no repeated message could have changed it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from . import values as v
from .log import Change, Fate, Kind, Message
from .tables import Key, Spec, Values, month_of, month_start_ms
from .wire import NULL, UNAVAILABLE, At, Headers, resolved, wire_of

SNAPSHOT_ROWS = 40
HOT_KEYS = 200
RECENT_MESSAGES = 3000
RESOLVED_EVERY = 400  # messages of a CockroachDB topic

WEIGHTS = {
    "insert": 30, "update": 38, "hot_update": 10, "patch": 5, "delete": 8, "reinsert": 4, "move": 6, "moves": 1,
    "key_change": 1, "duplicate": 3, "forged": 0.5, "extra": 0.5, "bad": 0.5, "bad_over_good": 0.4, "crowd": 0.03,
}  # fmt: skip


class Row(NamedTuple):
    """A row at the source: logical values, the same as its wire writes them, and that as JSON bytes."""

    values: Values
    wire: Values
    json: bytes


class Source:
    """The rows of one table and the topic that tells of them."""

    def __init__(self, spec: Spec, topic: str, rnd: random.Random, partitions: int) -> None:
        self.spec = spec
        self.topic = topic
        self.rnd = rnd
        self.partitions = partitions
        self.wire = wire_of(spec)
        self.out: list[Message] = []
        self.rows: dict[Key, Row] = {}
        self.live: list[Key] = []
        self.retired: set[Key] = set()  # a bad change was their last
        self._place: dict[Key, int] = {}  # of a live key in `live`
        self._gone: list[Key] = []
        # A patch that is folded with a repeated older row would take its columns from there: no key has both.
        self._patched: set[Key] = set()
        self._repeated: set[Key] = set()
        self._recent: deque[tuple[Message, Key]] = deque(maxlen=RECENT_MESSAGES)
        self._makers = v.makers(spec, rnd)
        self._encoders = v.encoders(spec)
        self._changeable = tuple(self._makers)
        self._next = 0
        self._made = 0
        self._at = At(0, 0)
        self.tick()

    # ------------------------------------------------------------ the life of a row

    def insert(self) -> None:
        snapshot = self._next < SNAPSHOT_ROWS
        self.write("snapshot" if snapshot else "insert", "r" if snapshot else "c", *self.new_row())

    def update(self) -> None:
        self.update_key(self.any_key(), "update")

    def hot_update(self) -> None:
        """The same key a few times in a row, as a counter would."""
        key = self.any_key()
        for _ in range(1 + int(self.rnd.random() * 3)):
            self.update_key(key, "update")

    def patch(self) -> None:
        """An update whose large columns the source did not log."""
        key = self.any_key()
        if not self.spec.left_out or key in self._repeated:
            return self.update()
        self._patched.add(key)
        row = self.changed(self.rows[key], 3, but=self.spec.left_out)
        hidden = self.rnd.sample(self.spec.left_out, 1 + int(self.rnd.random() * len(self.spec.left_out)))
        shown = dict(row.wire)
        for name in hidden:
            shown[name] = [UNAVAILABLE] if self.spec.kinds[name] == "texts" else UNAVAILABLE
        said = {name: value for name, value in row.values.items() if name not in hidden}
        self.tick()
        value = self.wire.change("u", self.before(key), orjson.dumps(shown), self._at)
        self._keep(key, row)
        self._good("patch", key, value, Kind.PATCH, said)
        return None

    def delete(self) -> None:
        key = self.any_key()
        self.tick()
        self._delete(key, "delete")

    def reinsert(self) -> None:
        """A key that was deleted comes back, mostly in another month."""
        if not self._gone:
            return self.insert()
        key = self._gone.pop(int(self.rnd.random() * len(self._gone)))
        if key in self.rows or key in self.retired:
            return self.insert()
        return self.write("reinsert", "c", key, self._row_of(key))

    def move(self) -> None:
        key = self.any_key()
        self.update_key(key, "move" if self.spec.mutable else "update", self.elsewhere(key))

    def moves(self) -> None:
        """A key goes to and fro, so that one batch holds several moves of it."""
        if not self.spec.mutable:
            return self.hot_update()
        key = self.any_key()
        column = self.spec.month_from or ""
        home = {column: self.rows[key].values[column]}
        for there in range(1 + int(self.rnd.random() * 4)):
            self.update_key(key, "move", home if there % 2 else self.elsewhere(key))
        return None

    def key_change(self) -> None:
        """Debezium tells it as a delete and a create at one position, usually in two partitions."""
        if self.spec.shape != "debezium":
            return self.update()
        old, (new, _) = self.any_key(), self.new_row()
        wire = {**self.rows[old].wire, **dict(zip(self.spec.key, new, strict=True))}
        values = {**self.rows[old].values, **dict(zip(self.spec.key, new, strict=True))}
        self.tick()
        self._delete(old, "key change, old", (("__debezium.newkey", self.wire.key(new)),))
        self._write_at(
            "key change, new", "c", new, Row(values, wire, orjson.dumps(wire)), (("__debezium.oldkey", self.wire.key(old)),)
        )
        return None

    def duplicate(self) -> None:
        """An earlier message again, byte for byte, often behind newer ones of its key."""
        if not self._recent:
            return
        message, key = self._recent[int(self.rnd.random() * len(self._recent))]
        if key in self.retired or key in self._patched:
            return
        self._repeated.add(key)
        self.out.append(message._replace(what="duplicate"))

    def forged(self) -> None:
        """A row that carries columns of the worker's own: no fault, they are not taken from it."""
        self.update_key(self.any_key(), "forged", extra={"cdc_version": "99Z999999", "cdc_deleted": True, "cdc_offset": -1})

    def extra(self) -> None:
        """A row with fields that the table has no column for."""
        self.update_key(self.any_key(), "extra field", extra={"not_in_the_table": {"a": [1]}, "neither": None})

    # ------------------------------------------------------------ parts, also for bad messages

    def new_row(self) -> tuple[Key, Row]:
        key = self._new_key()
        return key, self._row_of(key)

    def any_key(self) -> Key:
        """A live key, every second time one of the latest. Inserts one if there is none."""
        if not self.live:
            self.insert()
        r = self.rnd.random
        return self.live[-1 - int(r() * min(HOT_KEYS, len(self.live)))] if r() < 0.5 else self.live[int(r() * len(self.live))]

    def changed(self, row: Row, columns: int, **set_to: Any) -> Row:
        """The row with a few columns drawn anew. but: columns to leave alone; others by name: their new values."""
        but: Sequence[str] = set_to.pop("but", ())
        values, wire = dict(row.values), dict(row.wire)
        picked = [self._changeable[int(self.rnd.random() * len(self._changeable))] for _ in range(columns)]
        drawn = {name: self._makers[name]() for name in picked if name not in but}
        for name, value in {**drawn, **set_to}.items():
            values[name] = value
            wire[name] = None if value is None else self._encoders[name](value)
        return Row(values, wire, orjson.dumps(wire))

    def before(self, key: Key) -> bytes:
        """The before image of an update of that key."""
        row = self.rows.get(key)
        return row.json if row is not None and self.spec.before == "full" else NULL

    def write(self, what: str, op: str, key: Key, row: Row) -> None:
        if op != "r":
            self.tick()
        self._write_at(what, op, key, row)

    def emit(self, what: str, key: bytes | None, value: bytes | None, fate: Fate, change: Change | None = None,
             headers: Headers = (), partition: int | None = None) -> Message:  # fmt: skip
        number = crc32(key or b"") % self.partitions if partition is None else partition
        message = Message(self.topic, number, key, value, headers, what, fate, change)
        self.out.append(message)
        return message

    def take(self) -> Iterator[Message]:
        """What was made since the last call, with the control records that are due."""
        made, self.out = self.out, []
        for message in made:
            yield message
            self._made += 1
            if self.spec.shape == "cockroach" and self._made % RESOLVED_EVERY == 0:
                yield from self._resolved()

    def retire(self, key: Key) -> None:
        """The key is never touched again."""
        self.retired.add(key)
        self.rows.pop(key, None)
        self._unlist(key)

    def update_key(self, key: Key, what: str, set_to: Values | None = None, extra: Values | None = None) -> None:
        row = self.changed(self.rows[key], 1 + int(self.rnd.random() * 4), **(set_to or {}))
        shown = row._replace(json=orjson.dumps({**row.wire, **extra})) if extra else row
        self.tick()
        self._write_at(what, "u", key, row, shown=shown)

    def elsewhere(self, key: Key) -> Values:
        """A created_at in another month than now; nothing where the month is fixed."""
        column = self.spec.month_from
        if not self.spec.mutable or column is None:
            return {}
        now = month_of(self.rows[key].values[column])
        instant = self._instant()
        while month_of(instant) == now:
            instant = self._instant()
        return {column: instant}

    def tick(self) -> At:
        """The next moment of the source: its position and time."""
        r = self.rnd.random
        ts_ms = (self._at.ts_ms or month_start_ms(23)) + int(r() * 20)
        if self.spec.shape == "cockroach":
            wall = max(self._at.position // 10**10, ts_ms * 1_000_000) + int(r() * 1000)
            position = max(wall * 10**10 + int(r() * 3), self._at.position + 1)
            ts_ms = position // 10**16
        else:
            position = (self._at.position or 24_023_128) + 8 * (1 + int(r() * 16))
        self._at = At(position, ts_ms)
        return self._at

    # ------------------------------------------------------------ inside

    def _write_at(self, what: str, op: str, key: Key, row: Row, headers: Headers = (), shown: Row | None = None) -> None:
        value = self.wire.change(op, self.before(key), (shown or row).json, self._at)
        self._keep(key, row)
        self._good(what, key, value, Kind.WRITE, row.values, headers)

    def _delete(self, key: Key, what: str, headers: Headers = ()) -> None:
        row = self.rows.pop(key)
        self._unlist(key)
        self._gone.append(key)
        key_bytes = self.wire.key(key)
        if self.spec.deletes == "tombstone":
            self._good(what, key, None, Kind.DELETE, {})
            return
        self._good(what, key, self.wire.change("d", self._last_image(key, row), NULL, self._at), Kind.DELETE, {}, headers)
        if self.spec.shape != "cockroach":
            self.emit("tombstone", key_bytes, None, Fate.ECHO)

    def _last_image(self, key: Key, row: Row) -> bytes:
        """The before image of a delete."""
        if self.spec.before == "full":
            return row.json
        named = dict(zip(self.spec.key, key, strict=True))
        chance = self.rnd.random()
        if chance < 0.6 or self.spec.shape == "flattened":
            return orjson.dumps(v.invented_image(self.spec, named))
        return NULL if chance < 0.8 else orjson.dumps(named)

    def _good(self, what: str, key: Key, value: bytes | None, kind: Kind, said: Values, headers: Headers = ()) -> None:
        by_offset = self.spec.version == "offset"
        version = 0 if by_offset else self._at.position
        change = Change(self.spec.name, key, version, kind, said, None if value is None else self._at.ts_ms)
        message = self.emit(what, self.wire.key(key), value, Fate.KEPT, change, headers)
        # Where only the offset orders, a repeated delete would leave nothing for a later patch to complete.
        if not (by_offset and kind is not Kind.WRITE):
            self._recent.append((message, key))

    def _keep(self, key: Key, row: Row) -> None:
        if key not in self.rows:
            self._place[key] = len(self.live)
            self.live.append(key)
        self.rows[key] = row

    def _unlist(self, key: Key) -> None:
        place = self._place.pop(key, None)
        if place is None:
            return
        last = self.live.pop()
        if last != key:
            self.live[place] = last
            self._place[last] = place

    def _row_of(self, key: Key) -> Row:
        values: Values = dict.fromkeys(name for name, _ in self.spec.columns)
        values.update(zip(self.spec.key, key, strict=True))
        values.update({name: make() for name, make in self._makers.items()})
        if self.spec.month_from and self.spec.month_from not in self.spec.key:
            values[self.spec.month_from] = self._instant()
        wire = {name: None if value is None else self._encoders[name](value) for name, value in values.items()}
        return Row(values, wire, orjson.dumps(wire))

    def _new_key(self) -> Key:
        self._next += 1
        r = self.rnd.random
        if self.spec.name == "customers":
            digits = f"{self.rnd.getrandbits(128):032x}"
            return ("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])),)
        if self.spec.name == "readings":
            return (f"sensor-{int(r() * 300)}", month_start_ms(0) + self._next + int(r() * self._span_ms() / 1e6) * 1_000_000)
        return (self._next if r() < 0.99 else 2**60 + self._next,)

    def _span_ms(self) -> int:
        return month_start_ms(self.spec.months) - month_start_ms(0) - 10_000_000

    def _instant(self) -> int:
        return month_start_ms(0) + int(self.rnd.random() * self._span_ms())

    def _resolved(self) -> Iterator[Message]:
        """CockroachDB sends the mark to every partition, without a key."""
        for partition in range(self.partitions):
            yield Message(self.topic, partition, None, resolved(self._at.position), (), "resolved", Fate.SKIPPED, None)
