"""The demo's records in the order in which they are written: three sources side by side, and now and then something spoiled.

Pure but for the clock that it is given. Used by the thread that produces.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from ingest.demo.sensors import Sensors
from ingest.demo.shop import Shop
from ingest.demo.spoiled import Spoiler
from ingest.demo.stock import Stock
from ingest.demo.truth import Message, Topics, Truth

SEED = 7


class Stream:
    """All that is written, and what must come of it (`truth`). today_ms: what deliveries are planned from."""

    def __init__(self, topics: Topics, today_ms: int) -> None:
        self.truth = Truth()
        random = Random(SEED)
        stock = Stock(topics, self.truth, random)
        self._sensors = Sensors(topics, self.truth, random)
        self.shop = Shop(topics, self.truth, random, today_ms)
        self.spoiler = Spoiler(topics, self.truth, stock, self._sensors)
        self._random = random
        self._sources = (self.shop, self.shop, stock, self._sensors)

    def beginning(self, now_ms: int) -> Iterator[Message]:
        """The first good records of each topic, the first part of the told order's life, and something spoiled."""
        yield from self.take(200, now_ms)
        yield from self.shop.open_shown(now_ms)
        yield from self.spoiler.one_of_each(now_ms)

    def ending(self, now_ms: int) -> Iterator[Message]:
        """The told order is cancelled, and once more something spoiled."""
        yield from self.shop.close_shown(now_ms)
        yield from self.spoiler.one_of_each(now_ms)

    def take(self, count: int, now_ms: int) -> Iterator[Message]:
        """About count records: a change that takes two of them is not torn."""
        until = self.truth.records + count
        while self.truth.records < until:
            yield from self._random.choice(self._sources).step(now_ms)
