"""What the demo's producer knows must be in the tables and among the dead letters once everything is written.

Shares no code with the worker, which it judges. Written by the thread that produces, read when that has ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ingest.model import Position

Key = tuple[Any, ...]
Row = tuple[Any, ...]

PRODUCTS, INVENTORY, ORDERS, READINGS = TABLES = ("demo.products", "demo.inventory", "demo.orders", "demo.readings")


class Message(NamedTuple):
    """A record to be written."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class Topics(NamedTuple):
    """The demo's topics, by their full names."""

    products: str
    inventory: str
    orders: str
    sensors: str

    @classmethod
    def named(cls, prefix: str) -> Topics:
        """
        >>> Topics.named("demo_").sensors
        'demo_sensors'
        """
        return cls(*(prefix + name for name in ("inventory_products", "inventory_inventory", "shop.public.orders", "sensors")))


@dataclass
class Truth:
    """rows: table -> key -> the other columns, of rows that readers must see. letters: where a bad record stands -> its code.

    written: records by topic and partition. rowless: records that are no change of a row (markers of progress, tombstones).
    """

    rows: dict[str, dict[Key, Row]] = field(default_factory=lambda: {table: {} for table in TABLES})
    letters: dict[Position, str] = field(default_factory=dict)
    written: Counter[tuple[str, int]] = field(default_factory=Counter)
    rowless: int = 0

    @property
    def records(self) -> int:
        return self.written.total()

    def place(self, message: Message) -> Position:
        """Count a message that is to be written; where it will stand in topics that were empty."""
        offset = self.written[message.topic, message.partition]
        self.written[message.topic, message.partition] += 1
        return Position(message.topic, message.partition, offset)

    def last(self, message: Message) -> Position:
        """Where a message stands that was the last to be placed in its partition."""
        return Position(message.topic, message.partition, self.written[message.topic, message.partition] - 1)


def month_of(moment_ms: int) -> int:
    """The first millisecond of a moment's month.

    >>> month_of(1_767_571_200_123), month_of(1_767_225_600_000)
    (1767225600000, 1767225600000)
    """
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    return round(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp() * 1000)
