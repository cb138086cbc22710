"""What the generator says about each message it made, and where in Kafka the message stands.

Values, and the `Log` that numbers them. The model reads nothing but this.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from .tables import Key, Values
from .wire import Headers


class Fate(StrEnum):
    """What must become of a message. KEPT: written or superseded. ECHO: the tombstone behind a delete that said it all."""

    KEPT = "kept"
    ECHO = "echo"
    SKIPPED = "skipped"
    DEAD = "dead-lettered"


class Kind(StrEnum):
    """WRITE: a whole row. PATCH: a row less the columns that were unavailable. DELETE: no row."""

    WRITE = "write"
    PATCH = "patch"
    DELETE = "delete"


class Change(NamedTuple):
    """What a good message says. version: what orders the changes of a key, 0 where only the offset does."""

    table: str
    key: Key
    version: int
    kind: Kind
    values: Values
    source_ts_ms: int | None


class Message(NamedTuple):
    """One Kafka message and the generator's word on it. what: in a few words, "move", "bad check", ..."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    what: str
    fate: Fate
    change: Change | None


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Sent(NamedTuple):
    """A message that stands in Kafka, without its bytes."""

    at: Place
    what: str
    fate: Fate
    change: Change | None


class Letter(NamedTuple):
    """What must arrive in the dead-letter topic, byte for byte."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass
class Log:
    """Every message in the order it was made. Topics start empty, so the index in a partition is the offset."""

    sent: list[Sent] = field(default_factory=list)
    letters: dict[Place, Letter] = field(default_factory=dict)
    next_offset: Counter[tuple[str, int]] = field(default_factory=Counter)

    def note(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Pass the messages on, each written down first."""
        for message in messages:
            where = (message.topic, message.partition)
            at = Place(*where, self.next_offset[where])
            self.next_offset[where] += 1
            self.sent.append(Sent(at, message.what, message.fate, message.change))
            if message.fate is Fate.DEAD:
                self.letters[at] = Letter(message.key, message.value, message.headers)
            yield message

    def counts(self) -> dict[str, Counter[str]]:
        """topic -> what -> messages."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for sent in self.sent:
            found[sent.at.topic][sent.what] += 1
        return dict(found)
