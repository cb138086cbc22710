"""Records that no table can hold, each of another kind, and the code with which the worker must refuse each.

Pure. Used by the thread that produces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

from ingest.demo.sensors import Sensors
from ingest.demo.shop import Order, envelope, image, key
from ingest.demo.stock import Stock, keyed
from ingest.demo.truth import Message, Topics, Truth

# Numbers that no good record has.
FIRST_BAD = 9_000_001
CENTURIES_MS = 300 * 365 * 86_400_000
LSN = 26_700_000


class Kind(NamedTuple):
    """what: in words, for the report. code: what the worker must say. make: the record, given a number and the time."""

    what: str
    code: str
    make: Callable[[int, int], Message]


class Spoiler:
    """Makes one record of each kind in turn."""

    def __init__(self, topics: Topics, truth: Truth, stock: Stock, sensors: Sensors) -> None:
        self._topics, self._truth, self._stock, self._sensors = topics, truth, stock, sensors
        self._number = FIRST_BAD
        self.kinds = (
            Kind("an order cut off in the middle", "json.malformed", self._cut_order),
            Kind("an order whose total is no number", "type.not_a_number", self._worded_order),
            Kind("an order without its number", "key.missing", self._nameless_order),
            Kind("an order to be delivered in 300 years", "month.out_of_bounds", self._late_order),
            Kind("a product with a negative price (CHECK)", "store.check_failed", self._cheap_product),
            Kind("more goods than the column can count", "type.overflow", self._endless_goods),
            Kind("a reading cut off in the middle", "avro.truncated", self._cut_reading),
            Kind("text where Avro should be", "avro.malformed", self._worded_reading),
        )

    def one_of_each(self, now_ms: int) -> Iterator[Message]:
        for kind in self.kinds:
            self._number += 1
            message = kind.make(self._number, now_ms)
            self._truth.letters[self._truth.last(message)] = kind.code
            yield message

    # ------------------------------------------------------------ orders

    def _order(self, number: int, after: object, now_ms: int) -> Message:
        return self._put(keyed(self._topics.orders, key(number), envelope("c", None, after, LSN, now_ms)))

    def _cut_order(self, number: int, now_ms: int) -> Message:
        whole = envelope("c", None, image(number, self._good_order(now_ms)), LSN, now_ms)
        return self._put(keyed(self._topics.orders, key(number), whole[:120]))

    def _worded_order(self, number: int, now_ms: int) -> Message:
        return self._order(number, image(number, self._good_order(now_ms)._replace(total="a lot")), now_ms)

    def _nameless_order(self, number: int, now_ms: int) -> Message:
        row = image(number, self._good_order(now_ms))
        del row["id"]
        return self._put(Message(self._topics.orders, 0, None, envelope("c", None, row, LSN, now_ms)))

    def _late_order(self, number: int, now_ms: int) -> Message:
        late = self._good_order(now_ms)._replace(delivery_ms=now_ms + CENTURIES_MS)
        return self._order(number, image(number, late), now_ms)

    def _good_order(self, now_ms: int) -> Order:
        return Order("zoe", "new", "10.00", now_ms)

    # ------------------------------------------------------------ stock and readings

    def _cheap_product(self, number: int, now_ms: int) -> Message:
        row = {"id": number, "name": "gift", "price": orjson.Fragment("-1.00")}
        return self._stock.change(self._topics.products, [number], row, None, now_ms)

    def _endless_goods(self, number: int, now_ms: int) -> Message:
        row = {"warehouse": "nowhere", "product_id": number, "quantity": 3_000_000_000}
        return self._stock.change(self._topics.inventory, ["nowhere", number], row, None, now_ms)

    def _cut_reading(self, _number: int, now_ms: int) -> Message:
        whole = self._sensors.written({"sensor": "s-99", "celsius": 1.5, "battery": 50, "at": now_ms})
        return self._put(Message(self._topics.sensors, 0, None, whole[:-4]))

    def _worded_reading(self, _number: int, _now_ms: int) -> Message:
        return self._put(Message(self._topics.sensors, 1, None, b'{"sensor": "s-99", "celsius": 1.5}'))

    def _put(self, message: Message) -> Message:
        self._truth.place(message)
        return message
