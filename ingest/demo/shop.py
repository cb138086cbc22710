"""The orders of a shop as Debezium tells them: created, paid, postponed (also to another month), delivered, cancelled.

Pure but for its own memory of the rows. Used by the thread that produces.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import orjson

from ingest.demo.stock import keyed
from ingest.demo.truth import ORDERS, Message, Topics, Truth, month_of
from ingest.model import Position

DAY_MS = 86_400_000
CUSTOMERS = ("ada", "bo", "cleo", "dan", "eve", "finn", "gil", "hana")
# Deliveries are planned for so many days from now: four or five months, so as many partitions.
FIRST_DAY, LAST_DAY = -35, 75
FIRST_LSN, LSN_STEP = 26_800_000, 64
# The order whose life the report tells.
SHOWN_ORDER = 1


class Event(NamedTuple):
    """One moment in the life of the order that the report tells. op: Debezium's letter."""

    at: Position
    op: str
    status: str
    delivery_ms: int


class Order(NamedTuple):
    """An order but for its number."""

    customer: str
    status: str
    total: str
    delivery_ms: int

    @property
    def stored(self) -> tuple[Any, ...]:
        """What its row must hold beside its number."""
        return (self.customer, self.status, self.total, self.delivery_ms, month_of(self.delivery_ms))


class Shop:
    """Orders that come and go. life: of the order SHOWN_ORDER."""

    def __init__(self, topics: Topics, truth: Truth, random: Random, today_ms: int) -> None:
        self._topic = topics.orders
        self._truth = truth
        self._random = random
        self._today_ms = today_ms - today_ms % DAY_MS
        self._open: dict[int, Order] = {}
        self._numbers: list[int] = []
        self._last = SHOWN_ORDER
        self._lsn = FIRST_LSN
        self.life: list[Event] = []

    def step(self, now_ms: int) -> Iterator[Message]:
        """The next change of an order; behind a delete comes Kafka's own tombstone, as Debezium writes it."""
        luck = self._random.random()
        if luck < 0.5 or len(self._numbers) < 2:
            yield self._create(now_ms)
        elif luck < 0.9:
            yield self._update(self._pick(), now_ms)
        else:
            yield from self._cancel(self._pick(), now_ms)

    # ------------------------------------------------------------ the order whose life is told

    def open_shown(self, now_ms: int) -> Iterator[Message]:
        """Its first three days: created for a delivery in this month, paid, postponed to the next month."""
        first = Order("ada", "new", "129.90", month_of(now_ms) + 14 * DAY_MS)
        yield self._change("c", SHOWN_ORDER, None, first, now_ms)
        paid = first._replace(status="paid")
        yield self._change("u", SHOWN_ORDER, first, paid, now_ms)
        yield self._change("u", SHOWN_ORDER, paid, self._next_month(paid), now_ms)

    def close_shown(self, now_ms: int) -> Iterator[Message]:
        """Its end: cancelled."""
        last = self._open[SHOWN_ORDER]
        yield self._change("d", SHOWN_ORDER, last, None, now_ms)
        yield self._tombstone(SHOWN_ORDER)

    def _next_month(self, order: Order) -> Order:
        return order._replace(status="postponed", delivery_ms=month_of(order.delivery_ms) + 40 * DAY_MS)

    # ------------------------------------------------------------ all others

    def _create(self, now_ms: int) -> Message:
        self._last += 1
        self._numbers.append(self._last)
        total = f"{self._random.randint(500, 500_000) / 100:.2f}"
        return self._change("c", self._last, None, Order(self._random.choice(CUSTOMERS), "new", total, self._day()), now_ms)

    def _update(self, number: int, now_ms: int) -> Message:
        old = self._open[number]
        if self._random.random() < 0.4:
            new = old._replace(status="postponed", delivery_ms=self._day())
        else:
            new = old._replace(status="paid" if old.status == "new" else "delivered")
        return self._change("u", number, old, new, now_ms)

    def _cancel(self, number: int, now_ms: int) -> Iterator[Message]:
        self._numbers.remove(number)
        yield self._change("d", number, self._open[number], None, now_ms)
        yield self._tombstone(number)

    def _pick(self) -> int:
        """One of the last five hundred: old orders rest."""
        return self._random.choice(self._numbers[-500:])

    def _day(self) -> int:
        return self._today_ms + self._random.randint(FIRST_DAY, LAST_DAY) * DAY_MS + 10 * 3_600_000

    def _change(self, op: str, number: int, before: Order | None, after: Order | None, now_ms: int) -> Message:
        if after is None:
            del self._open[number], self._truth.rows[ORDERS][(number,)]
        else:
            self._open[number] = after
            self._truth.rows[ORDERS][(number,)] = after.stored
        self._lsn += LSN_STEP
        images = before and image(number, before), after and image(number, after)
        message = keyed(self._topic, key(number), envelope(op, *images, self._lsn, now_ms))
        at = self._truth.place(message)
        known = after or before
        if number == SHOWN_ORDER and known:
            self.life.append(Event(at, op, known.status, known.delivery_ms))
        return message

    def _tombstone(self, number: int) -> Message:
        message = keyed(self._topic, key(number), None)
        self._truth.place(message)
        self._truth.rowless += 1
        return message


def key(number: int) -> bytes:
    return orjson.dumps({"id": number})


def image(number: int, order: Order) -> dict[str, object]:
    """A row as PostgreSQL's connector writes it: decimals and moments as texts."""
    delivery = datetime.fromtimestamp(order.delivery_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"id": number, "customer": order.customer, "status": order.status, "total": order.total, "delivery_at": delivery}


def envelope(op: str, before: object, after: object, lsn: int, now_ms: int) -> bytes:
    source = {
        "version": "3.6.1.Final", "connector": "postgresql", "name": "shop", "ts_ms": now_ms, "snapshot": "false",
        "db": "shop", "schema": "public", "table": "orders", "txId": lsn // LSN_STEP, "lsn": lsn,
    }  # fmt: skip
    return orjson.dumps({"before": before, "after": after, "source": source, "op": op, "ts_ms": now_ms})
