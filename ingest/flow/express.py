"""The express way from a record to a change, topic by topic: learned from records on the long way, dropped where it misses.

`formats` and `tables` each write one half of a function for records that look alike; here the halves are joined, tried on a
record whose change is known, and used for those that follow. What the function declines goes the long way, which alone says what
is wrong. A table that is described anew has a new mapper, which ends the ways to the old one. Runs in the loop's thread.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from ingest.flow.ledger import Ticket
from ingest.flow.ports import Decoder, Express, Mapper
from ingest.flow.state import State
from ingest.flow.tables import Target
from ingest.model import Change, Envelope

# Writing the function costs as much as a few hundred records on the long way.
FIRST_AFTER: Final = 64
MOST_BETWEEN: Final = 65_536
# A record that is declined costs a quarter more than the long way alone, one that is not a third of it: what declines more than
# every other record, over about so many, is dropped.
PATIENCE: Final = 64
GOES_ON: Final = "records of this topic are read the long way, with the same result"


@dataclass(slots=True)
class _Way:
    read: Express
    name: str
    mapper: Mapper
    credit: int = PATIENCE


@dataclass(slots=True)
class _Topic:
    """way: None while there is none. slow: records that went the long way. learn_at: how many before the next try. wait: between
    tries. is_barred: a way of it broke, so there will be none."""

    way: _Way | None = None
    slow: int = 0
    learn_at: int = FIRST_AFTER
    wait: int = FIRST_AFTER
    is_barred: bool = False


class Ways:
    """See the module."""

    def __init__(self, state: State, decoder: Decoder) -> None:
        self._state = state
        self._decoder = decoder
        self._topics: dict[str, _Topic] = {}

    def change(self, ticket: Ticket, now_ms: int) -> tuple[str, Change] | None:
        """The full name of the table and the change, as the long way would give them; None where it must be asked."""
        record = ticket.record
        topic = self._topics.get(record.topic)
        if topic is None or topic.way is None:
            return None
        way, state = topic.way, self._state
        target = state.tables.get(way.name)
        if target is None or target.mapper is not way.mapper:
            topic.way, topic.learn_at = None, topic.slow + FIRST_AFTER
            return None
        if len(state.parking):
            return None  # the long way knows whose turn it is
        try:
            change = way.read(record, now_ms)
        except Exception as error:
            self._bar(record.topic, topic, error)
            return None
        if change is None:
            self._missed(topic, way)
            return None
        if way.credit < PATIENCE:
            way.credit += 1
        partition = ticket.page.partition
        if partition not in target.feeders:
            target.feeders.add(partition)
        ticket.table = way.name
        return way.name, change

    def learn(self, ticket: Ticket, envelope: Envelope, name: str, target: Target, change: Change, now_ms: int) -> None:
        """This record became this change on the long way; from time to time that is reason to look for a shorter one."""
        record = ticket.record
        topic = self._topics.get(record.topic)
        if topic is None:
            topic = self._topics[record.topic] = _Topic()
        topic.slow += 1
        if topic.slow < topic.learn_at or topic.way is not None or topic.is_barred:
            return
        topic.learn_at, topic.wait = topic.slow + topic.wait, min(2 * topic.wait, MOST_BETWEEN)
        try:
            wanted = target.mapper.express(envelope, record)
            read = None if wanted is None else self._decoder.express(record, envelope, *wanted)
            if read is not None and read(record, now_ms) == change:
                topic.way = _Way(read, name, target.mapper)
        except Exception as error:
            self._bar(record.topic, topic, error)

    def _bar(self, name: str, topic: _Topic, error: Exception) -> None:
        """A short cut that breaks is a bug of ours, and no reason to end: the long way does all that it does."""
        topic.way, topic.is_barred = None, True
        where = traceback.extract_tb(error.__traceback__)[-1]  # its text may hold a row's values
        place = f"{type(error).__name__} in {where.name}, line {where.lineno} of {PurePath(where.filename).name}"
        self._state.observer.event("error", "express_failed", topic=name, text=f"{place}: please report it; {GOES_ON}")

    def _missed(self, topic: _Topic, way: _Way) -> None:
        way.credit -= 1
        if not way.credit:
            topic.way, topic.learn_at = None, topic.slow + topic.wait
