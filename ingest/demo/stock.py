"""The stock of a shop as CockroachDB's changefeeds tell it: wrapped envelopes with `diff` and `updated`, and `resolved` marks.

Pure but for its own memory of the rows. Used by the thread that produces.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from zlib import crc32

import orjson

from ingest.demo.truth import INVENTORY, PRODUCTS, Message, Topics, Truth

PARTITIONS = 2
NAMES = ("lamp", "desk", "chair", "shelf", "clock", "rug", "vase", "stool")
WAREHOUSES = ("berlin", "bregenz", "lisbon")
MOST_PRODUCTS = 200
RESOLVED_EVERY = 250


class Stock:
    """Products and how many of each are where."""

    def __init__(self, topics: Topics, truth: Truth, random: Random) -> None:
        self._topics = topics
        self._truth = truth
        self._random = random
        self._steps = 0
        self._last_ns = 0

    def step(self, now_ms: int) -> Iterator[Message]:
        """The next change, and now and then the marks that say how far the feeds have come."""
        self._steps += 1
        if self._steps % RESOLVED_EVERY == 0:
            yield from self._resolved(now_ms)
        products = self._truth.rows[PRODUCTS]
        if not products or (len(products) < MOST_PRODUCTS and self._random.random() < 0.3):
            yield self._new_product(now_ms)
        elif self._random.random() < 0.05:
            yield self._new_price(now_ms)
        else:
            yield self._moved_goods(now_ms)

    def _new_product(self, now_ms: int) -> Message:
        number = len(self._truth.rows[PRODUCTS]) + 1
        row = (f"{self._random.choice(NAMES)} {number}", self._price())
        return self._product(number, row, now_ms)

    def _new_price(self, now_ms: int) -> Message:
        number = self._random.randint(1, len(self._truth.rows[PRODUCTS]))
        name, _ = self._truth.rows[PRODUCTS][(number,)]
        return self._product(number, (name, self._price()), now_ms)

    def _product(self, number: int, row: tuple[str, str], now_ms: int) -> Message:
        rows = self._truth.rows[PRODUCTS]
        old = rows.get((number,))
        rows[(number,)] = row
        return self.change(self._topics.products, [number], product(number, row), old and product(number, old), now_ms)

    def _moved_goods(self, now_ms: int) -> Message:
        """Goods come in or go out; a product that no warehouse wants any more is taken off its list."""
        rows = self._truth.rows[INVENTORY]
        key = (self._random.choice(WAREHOUSES), self._random.randint(1, len(self._truth.rows[PRODUCTS])))
        old = rows.get(key)
        if old is not None and self._random.random() < 0.1:
            del rows[key]
            return self.change(self._topics.inventory, [*key], None, stocked(key, old), now_ms)
        new = rows[key] = (max(0, (old[0] if old else 0) + self._random.randint(-20, 50)),)
        return self.change(self._topics.inventory, [*key], stocked(key, new), old and stocked(key, old), now_ms)

    def change(self, topic: str, key: list[Any], after: object, before: object, now_ms: int) -> Message:
        """A change as the feed writes it. CockroachDB's clock is wall nanoseconds and a counter."""
        self._last_ns = max(self._last_ns + 1, now_ms * 1_000_000)
        value = {"after": after, "before": before, "updated": f"{self._last_ns}.0000000000"}
        message = keyed(topic, orjson.dumps(key), orjson.dumps(value))
        self._truth.place(message)
        return message

    def _resolved(self, now_ms: int) -> Iterator[Message]:
        for topic in (self._topics.products, self._topics.inventory):
            for partition in range(PARTITIONS):
                mark = Message(topic, partition, None, orjson.dumps({"resolved": f"{now_ms * 1_000_000}.0000000000"}))
                self._truth.place(mark)
                self._truth.rowless += 1
                yield mark

    def _price(self) -> str:
        return f"{self._random.randint(100, 99_999) / 100:.2f}"


def keyed(topic: str, key: bytes, value: bytes | None) -> Message:
    """A record in the partition that its key decides, so that the changes of a row stay in order."""
    return Message(topic, crc32(key) % PARTITIONS, key, value)


def product(number: int, row: tuple[str, str]) -> dict[str, object]:
    """Prices go as JSON numbers, as CockroachDB writes DECIMAL."""
    return {"id": number, "name": row[0], "price": orjson.Fragment(row[1])}


def stocked(key: tuple[str, int], row: tuple[int]) -> dict[str, object]:
    return {"warehouse": key[0], "product_id": key[1], "quantity": row[0]}
