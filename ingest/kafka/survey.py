"""Which letters of a dead-letter topic are to be replayed: one about each record, found in one pass that keeps places only.

`lots` then gives the letters themselves, in lots that fit into memory. Reads through a Peek: no group, one thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from operator import eq
from typing import Final, NamedTuple

from ingest.errors import Stop
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.read_letters import EVERY, ReadLetter, Wanted, is_table, letters_in, spans
from ingest.kafka.receipts import Receipts
from ingest.model import Partition, Position

# About 250 bytes of memory each.
LETTERS_MAX: Final = 1_000_000
NAMES_MAX: Final = 10_000
STRAYS_KEPT: Final = 1_000
LOT_LETTERS: Final = 20_000


class Choice(NamedTuple):
    """Which letters. places: of letters or of the records that they are about, all of them where there are none.

    again: also those that were replayed already.
    """

    wanted: Wanted = EVERY
    places: frozenset[Position] = frozenset()
    again: bool = False

    def accepts(self, letter: ReadLetter) -> bool:
        if self.places and not (letter.at in self.places or letter.source in self.places):
            return False
        return self.wanted.accepts(letter)


@dataclass(slots=True)
class Survey:
    """chosen: offsets of letters in each partition of the dead-letter topic, in order. ends: of all its partitions.

    topics: those that the letters are about. before: records that were chosen and replayed earlier. strays: letters that do not
    tell which record they are about, the first of stray_letters.
    """

    ends: Mapping[int, int] = field(default_factory=dict)
    chosen: Mapping[Partition, list[int]] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()
    before: int = 0
    strays: list[Position] = field(default_factory=list)
    stray_letters: int = 0

    @property
    def letters(self) -> int:
        return sum(map(len, self.chosen.values()))


def survey(peek: Peek, topic: str, choice: Choice) -> Survey:
    """Of several letters about a record the last one met, up to the ends seen at the start.

    Raises Stop: dlq.topic_missing, dlq.unknown (a name that no letter has), dlq.no_letter (a place without one), dlq.too_many.
    """
    found, names, receipts = Survey(), Names(), Receipts()
    places = set(choice.places)
    by_record: dict[Partition, dict[int, Position]] = {}
    for partition, bounds in spans(peek, topic, choice.wanted).items():
        for letter in letters_in(peek, partition, bounds, receipts):
            names.note(letter)
            if choice.accepts(letter):
                places -= {letter.at, letter.source}
                _take(letter, by_record, found)
        _refuse_too_many(by_record)
        found.ends = {**found.ends, partition.number: bounds.end}
    names.refuse_unknown(choice.wanted)
    if places:
        raise Stop("dlq.no_letter", f"{topic} holds no letter at or about {min(places)}: `ingest dlq list` shows which it holds")
    _choose(by_record, Receipts() if choice.again else receipts, found)
    return found


def _take(letter: ReadLetter, by_record: dict[Partition, dict[int, Position]], found: Survey) -> None:
    source = letter.source
    if source is not None:
        by_record.setdefault(Partition(source.topic, source.partition), {})[source.offset] = letter.at
        return
    found.stray_letters += 1
    if len(found.strays) < STRAYS_KEPT:
        found.strays.append(letter.at)


def _refuse_too_many(by_record: Mapping[Partition, Collection[int]]) -> None:
    if sum(map(len, by_record.values())) > LETTERS_MAX:
        how = "narrow with --topic, --table, --code, --since or --until, and replay one part after another"
        raise Stop("dlq.too_many", f"more than {LETTERS_MAX:,} letters pass: {how}")


def _choose(by_record: Mapping[Partition, Mapping[int, Position]], receipts: Receipts, found: Survey) -> None:
    """Leave out what was replayed, and order the rest by where it stands."""
    chosen: dict[Partition, list[int]] = {}
    topics = set()
    for (topic, number), letters in by_record.items():
        for offset, at in letters.items():
            if receipts.of(Position(topic, number, offset), at) is not None:
                found.before += 1
                continue
            chosen.setdefault(Partition(at.topic, at.partition), []).append(at.offset)
            topics.add(topic)
    found.chosen = {partition: sorted(chosen[partition]) for partition in sorted(chosen)}
    found.topics = frozenset(topics)


class Names:
    """What there is, for whoever asked for something that is not."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {"topic": set(), "table": set(), "code": set()}

    def note(self, letter: ReadLetter) -> None:
        topic = letter.source.topic if letter.source is not None else None
        for kind, name in (("topic", topic), ("table", letter.table), ("code", letter.code)):
            if name and len(self._seen[kind]) < NAMES_MAX:
                self._seen[kind].add(name)

    def refuse_unknown(self, wanted: Wanted) -> None:
        """Raises Stop("dlq.unknown") when no letter has the topic, table or code that was asked for, whatever else it has."""
        asked: tuple[tuple[str, str | None, Callable[[str, str], bool]], ...] = (
            ("topic", wanted.topic, eq),
            ("table", wanted.table, is_table),
            ("code", wanted.code, fnmatchcase),
        )
        for kind, name, is_meant in asked:
            seen = self._seen[kind]
            if name is not None and seen and not any(is_meant(each, name) for each in seen):
                raise Stop("dlq.unknown", f"no letter has the {kind} {name}, {nearest(name, seen)}")


def nearest(name: str, seen: Collection[str]) -> str:
    """
    >>> nearest("order", ["doc.orders", "doc.items"]), nearest("x", ["a"])
    ('the nearest is doc.orders', '`ingest dlq list --counts` shows what there is')
    """
    words = {each: each for each in seen} | {each.rpartition(".")[2]: each for each in seen}
    near = get_close_matches(name, words, n=1)
    return f"the nearest is {words[near[0]]}" if near else "`ingest dlq list --counts` shows what there is"


def lots(peek: Peek, found: Survey, most_bytes: int, most_letters: int = LOT_LETTERS) -> Iterator[list[ReadLetter]]:
    """The chosen letters, in lots of so many letters and bytes at most (and one letter more than the bytes allow)."""
    lot: list[ReadLetter] = []
    for partition, offsets in found.chosen.items():
        at = 0
        while at < len(offsets):
            # The peek is asked anew for each lot: between two of them hours may pass.
            asked, room_bytes = offsets[at : at + most_letters - len(lot)], most_bytes - _bytes_of(lot)
            part = _fill(peek, partition, asked, room_bytes)
            is_cut = _bytes_of(part) >= room_bytes
            at = bisect_right(offsets, part[-1].at.offset) if is_cut else at + len(asked)
            lot += part
            if len(lot) >= most_letters or _bytes_of(lot) >= most_bytes:
                yield lot
                lot = []
    if lot:
        yield lot


def _fill(peek: Peek, partition: Partition, offsets: Sequence[int], room_bytes: int) -> list[ReadLetter]:
    """The letters at these offsets, as many as there is room for; retention may have taken some meanwhile."""
    part: list[ReadLetter] = []
    wanted = set(offsets)
    for letter in letters_in(peek, partition, Bounds(offsets[0], offsets[-1] + 1)):
        if letter.at.offset in wanted:
            part.append(letter)
            room_bytes -= letter_bytes(letter)
            if room_bytes <= 0:
                break
    return part


def _bytes_of(lot: Iterable[ReadLetter]) -> int:
    return sum(map(letter_bytes, lot))


def letter_bytes(letter: ReadLetter) -> int:
    return len(letter.record.value or b"") + len(letter.record.key or b"")
