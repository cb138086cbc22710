"""`ingest why TABLE KEY`: what is stored of a row, and what became of each change of it.

Rows come first, because they are known at once; the topics are read behind that. Reads only: joins no group, commits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Final, NamedTuple

from ingest.errors import IngestError, Reject, Stop
from ingest.kafka.peek import Bounds, Peek, committed
from ingest.kafka.read_letters import letters, original
from ingest.model import Partition, Position, Table
from ingest.settings import Settings
from ingest.tables.calendar_utc import parse_moment_ms
from ingest.tools.connect import crate_client, kafka_settings
from ingest.tools.explain_record import refuse_unknown
from ingest.tools.rooms import Rooms
from ingest.tools.why_fates import Fate, Known, LetterSeen, fates, untold
from ingest.tools.why_key import Key, parse_key
from ingest.tools.why_rows import Stored, find_table, stored
from ingest.tools.why_scan import Finder, Scan, Seen, leading_topics, scan, spans_of

AGE: Final = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
UNIT_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LETTERS_KEPT: Final = 10_000


class Question(NamedTuple):
    """scan_from: earliest, an age (2d), a time, or an offset. limit: offsets per partition, the newest; 0 for all.

    topics: to read instead of those that lead to the table.
    """

    table: str
    key: str
    scan_from: str = "earliest"
    limit: int = 0
    topics: Sequence[str] = ()


@dataclass
class Answer:
    """changes: each with its fate, in the order of Kafka. trouble: what kept us from reading on; notes: sentences."""

    table: Table
    key: Key
    stored: Stored
    changes: Sequence[tuple[Seen, Fate]] = ()
    scan: Scan | None = None
    group_id: str = ""
    notes: Sequence[str] = ()
    trouble: IngestError | None = None


def why(settings: Settings, asked: Question, on_progress: Callable[[str], None], wall_s: Callable[[], float] = time) -> Answer:
    """Raises Stop("why.*") for a question without an answer, Retry when CrateDB does not answer; for Kafka see Answer.trouble."""
    now_ms = int(wall_s() * 1000)
    start_of(asked.scan_from, now_ms)  # a wrong one is told before anything is read
    rooms = Rooms(settings)
    try:
        answer = _stored(settings, rooms, asked)
        try:
            _scan(rooms, asked, answer, on_progress, now_ms)
        except IngestError as error:
            answer.trouble = error
        return answer
    finally:
        rooms.close()


def _stored(settings: Settings, rooms: Rooms, asked: Question) -> Answer:
    client = crate_client(settings)
    try:
        table = find_table(client, asked.table, settings.crate_schema)
        key = parse_key(asked.key, table, rooms.contract(table.full_name))
        return Answer(table, key, stored(client, table, key), group_id=settings.group_id)
    finally:
        client.close()


def _scan(rooms: Rooms, asked: Question, answer: Answer, on_progress: Callable[[str], None], now_ms: int) -> None:
    settings = rooms.settings
    finder = Finder(rooms, answer.table, answer.key, now_ms)
    with Peek(kafka_settings(settings)) as peek:
        topics = _topics(rooms, peek, asked, answer.table)
        partitions = [Partition(topic, number) for topic in topics for number in range(peek.topics()[topic])]
        group, trouble = _committed(settings, partitions)
        found = Known(answer.table, answer.stored, group, _letters(settings, peek, answer, now_ms))
        held = peek.bounds(partitions)
        spans = spans_of(held, _starts(peek, held, asked.scan_from, now_ms), asked.limit)
        answer.scan = scan(peek, finder, spans, on_progress)
    seen = sorted(answer.scan.seen, key=lambda each: (each.timestamp_ms, each.at))
    answer.changes = list(zip(seen, fates(seen, found), strict=True))
    answer.notes = [*trouble, *untold(found, answer.scan), *_elsewhere(found, answer.scan)]


def _topics(rooms: Rooms, peek: Peek, asked: Question, table: Table) -> Sequence[str]:
    for topic in asked.topics:
        refuse_unknown(Partition(topic, 0), peek.topics())
    return list(dict.fromkeys(asked.topics)) or leading_topics(rooms, list(peek.topics()), table)


def _committed(settings: Settings, partitions: Sequence[Partition]) -> tuple[Mapping[Partition, int] | None, list[str]]:
    """The group's offsets; None and a sentence where we may not ask."""
    try:
        return committed(kafka_settings(settings), partitions), []
    except IngestError as error:
        return None, [f"what group {settings.group_id} committed cannot be asked, so all is taken as read: {error.text}"]


def _letters(settings: Settings, peek: Peek, answer: Answer, now_ms: int) -> Mapping[Position, LetterSeen]:
    """The dead letters about this key, by the place of their record. Decoded in rooms of their own: letters know no order."""
    found: dict[Position, LetterSeen] = {}
    if settings.dead_letter_topic not in peek.topics():
        return found
    rooms = Rooms(settings)
    try:
        finder = Finder(rooms, answer.table, answer.key, now_ms)
        for letter in letters(peek, settings.dead_letter_topic):
            record = original(letter)
            if record is not None and len(found) < LETTERS_KEPT and any(True for _ in finder.look(record)):
                found[record.at] = LetterSeen(letter.at, letter.code)
    finally:
        rooms.close()
    return found


def _elsewhere(known: Known, scan: Scan) -> list[str]:
    """Letters about records of this key that were not met."""
    met = {seen.at for seen in scan.seen}
    left = sorted(at for at in known.letters if at not in met)
    return [
        f"{at} was dead-lettered ({known.letters[at].code}, letter {known.letters[at].at}), and was not read now" for at in left
    ]


# ---------------------------------------------------------------- where to begin


class Start(NamedTuple):
    """One of both, or neither for the beginning."""

    moment_ms: int | None = None
    offset: int | None = None


def start_of(text: str, now_ms: int) -> Start:
    """
    >>> start_of("earliest", 0), start_of("2h", 10_000_000), start_of("1042", 0)
    (Start(moment_ms=None, offset=None), Start(moment_ms=2800000, offset=None), Start(moment_ms=None, offset=1042))
    """
    text = text.strip()
    if text == "earliest":
        return Start()
    if text.isascii() and text.isdecimal():
        return Start(offset=int(text))
    age = AGE.fullmatch(text)
    if age is not None:
        return Start(max(0, now_ms - int(age[1]) * UNIT_MS[age[2]]))
    try:
        return Start(max(0, parse_moment_ms(text)))
    except Reject as error:
        known = "earliest, an age such as 2d, a time such as 2026-01-31T12:00:00Z, or an offset"
        raise Stop("why.scan_from", f"--scan-from {text} is none of: {known}") from error


def _starts(peek: Peek, held: Mapping[Partition, Bounds], text: str, now_ms: int) -> Mapping[Partition, int | None]:
    start = start_of(text, now_ms)
    if start.moment_ms is not None:
        return peek.offsets_at(list(held), start.moment_ms)
    return dict.fromkeys(held, start.offset) if start.offset is not None else {}
