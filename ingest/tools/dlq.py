"""`ingest dlq list` and `ingest dlq show`: what stands in the dead-letter topic, and what of it was replayed.

Reads only, without a group. What letters say is read by kafka.read_letters, how they look is decided by dlq_text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from time import time
from typing import NamedTuple

from ingest.errors import Stop
from ingest.kafka.peek import Peek
from ingest.kafka.read_letters import EVERY, ReadLetter, Wanted, letter_at, letters
from ingest.kafka.receipts import Receipts, Replayed
from ingest.kafka.survey import Choice
from ingest.model import Position
from ingest.settings import Settings
from ingest.tools import dlq_text
from ingest.tools.connect import kafka_settings
from ingest.tools.dlq_text import Line

AGE = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)")
UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# `3:1042` in the dead-letter topic, `orders:3:1042` or `orders[3]@1042` in the topic that the letter is about.
PLACE = re.compile(r"(?:(?P<topic>[A-Za-z0-9._-]+):)?(?P<partition>\d{1,9}):(?P<offset>\d{1,18})")
PRINTED = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)\[(?P<partition>\d{1,9})\]@(?P<offset>\d{1,18})")


class Asked(NamedTuple):
    """What `list` was asked for, as typed. left: only what was not replayed."""

    topic: str | None = None
    table: str | None = None
    code: str | None = None
    stage: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    counts: bool = False
    as_json: bool = False
    left: bool = False

    def wanted(self, now_s: Callable[[], float]) -> Wanted:
        since, until = (None if text is None else moment_ms(text, now_s) for text in (self.since, self.until))
        return Wanted(self.topic, self.table, self.code, self.stage, since, until)


class Answer(NamedTuple):
    """left_out: letters that passed the filter and are older than those shown."""

    text: str
    left_out: int = 0


def listing(settings: Settings, asked: Asked, width: int | None = None, wall_s: Callable[[], float] = time) -> Answer:
    """The list or the sums. width: of the terminal, None for a pipe. Raises Stop and Retry as read_letters does."""
    wanted = asked.wanted(wall_s)
    with Peek(kafka_settings(settings)) as peek:
        receipts, topic = Receipts(), settings.dead_letter_topic
        found: Iterable[ReadLetter] = letters(peek, topic, wanted, receipts)
        if asked.left:
            exhaust(found)
            found = (each for each in letters(peek, topic, wanted) if receipts.of(each.source, each.at) is None)
        return summed(found, asked) if asked.counts else listed(found, asked, width, receipts)


def exhaust(found: Iterable[ReadLetter]) -> None:
    """Read all of it, for what is learnt on the way."""
    for _ in found:
        pass


def listed(found: Iterable[ReadLetter], asked: Asked, width: int | None = None, receipts: Receipts | None = None) -> Answer:
    lines, total = newest(found, asked.limit, receipts)
    if asked.as_json:
        return Answer(dlq_text.as_json(lines), total - len(lines))
    return Answer("\n".join(dlq_text.as_lines(lines, width)) if lines else "no letters", total - len(lines))


def summed(found: Iterable[ReadLetter], asked: Asked) -> Answer:
    counts = dlq_text.counts_of(found)
    if asked.as_json:
        return Answer(dlq_text.counts_as_json(counts))
    return Answer("\n".join(dlq_text.counts_as_lines(counts)) if counts else "no letters")


def newest(found: Iterable[ReadLetter], limit: int, receipts: Receipts | None = None) -> tuple[list[Line], int]:
    """The lines of the newest letters, the newest last, and how many letters there are. limit: 0 for all.

    receipts: complete once the letters are read; they say which of them were replayed.

    Only lines are kept, so a long topic of large letters takes no more memory than its list.
    """
    total = 0

    def counted() -> Iterator[tuple[int, Position, Line, Position | None]]:
        nonlocal total
        for letter in found:
            total += 1
            yield letter.sent_ms, letter.at, dlq_text.line_of(letter), letter.source

    kept = nlargest(limit, counted()) if limit else sorted(counted(), reverse=True)
    known = receipts or Receipts()
    return [dlq_text.with_receipt(line, known.of(source, at)) for _, at, line, source in reversed(kept)], total


def show_letter(settings: Settings, place: str) -> ReadLetter:
    """The letter at a place, or the newest about the record at a place. Raises Stop("dlq.place", "dlq.no_letter")."""
    topic, partition, offset = place_of(place)
    letter_topic = settings.dead_letter_topic
    with Peek(kafka_settings(settings)) as peek:
        if topic is None or topic == letter_topic:
            return letter_at(peek, letter_topic, partition, offset)
        about = Position(topic, partition, offset)
        found = [letter for letter in letters(peek, letter_topic, EVERY._replace(topic=topic)) if letter.source == about]
    if not found:
        raise Stop("dlq.no_letter", f"{letter_topic} holds no letter about {about}: `ingest dlq list` shows which it holds")
    return max(found, key=lambda letter: letter.sent_ms)


def receipt_of(settings: Settings, letter: ReadLetter) -> Replayed | None:
    """When and how the letter was replayed, None if it was not."""
    receipts, topic = Receipts(), settings.dead_letter_topic
    with Peek(kafka_settings(settings)) as peek:
        exhaust(letters(peek, topic, EVERY._replace(since_ms=letter.sent_ms), receipts))
    return receipts.of(letter.source, letter.at)


def page(letter: ReadLetter, replayed: Replayed | None = None) -> str:
    """All of a letter, and what to type to learn more."""
    explain = f"to see how the record is read and mapped: ingest explain {dlq_text.full(letter.at)}"
    return "\n".join([*dlq_text.whole(letter, replayed), "", explain])


def choice(settings: Settings, asked: Asked, places: Sequence[str], *, again: bool, wall_s: Callable[[], float] = time) -> Choice:
    """Which letters `replay` means. Raises Stop("dlq.place", "dlq.time")."""
    found = (place_of(text) for text in places)
    at = frozenset(Position(topic or settings.dead_letter_topic, partition, offset) for topic, partition, offset in found)
    return Choice(asked.wanted(wall_s), at, again)


def place_of(text: str) -> tuple[str | None, int, int]:
    """
    >>> place_of("0:12"), place_of("orders:3:1042"), place_of("orders[3]@1042")
    ((None, 0, 12), ('orders', 3, 1042), ('orders', 3, 1042))
    """
    found = PLACE.fullmatch(text.strip()) or PRINTED.fullmatch(text.strip())
    if found is None:
        raise Stop(
            "dlq.place", f"{text} is no place: write PARTITION:OFFSET of the letter, or TOPIC:PARTITION:OFFSET of its record"
        )
    return found["topic"], int(found["partition"]), int(found["offset"])


def moment_ms(text: str, now_s: Callable[[], float], code: str = "dlq.time") -> int:
    """A moment written as an age (30m, 1h, 2d) or in ISO form; UTC where no offset is written. code: of the Stop for any other.

    >>> moment_ms("1h", lambda: 7200.0), moment_ms("1970-01-01T01:00", lambda: 0.0)
    (3600000, 3600000)
    """
    age = AGE.fullmatch(text.strip())
    if age is not None:
        return int(now_s() * 1000) - int(age[1]) * UNIT_MS[age[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Stop(code, f"{text} is no time: write an age such as 30m, 1h or 2d, or 2024-05-31T12:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
