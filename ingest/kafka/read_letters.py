"""Dead letters read back: what a letter says, the record that it is about, and the letters of a topic that pass a filter.

The reverse of `letters`. Letters of other tools are read as well, as far as they use Kafka Connect's header names.
`letter_of` and `original` are pure; `letters` and `letter_at` read through a Peek: no group, bounded, one thread. They pass over
receipts, which stand among the letters (kafka.receipts).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple

from ingest.errors import Stop
from ingest.kafka.letters import KEY_OMITTED, NULL_HEADER, NULL_VALUE, STAGES, VALUE_OMITTED
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.receipts import Receipts, is_receipt
from ingest.model import Partition, Position, Record

CONNECT = "__connect.errors."
# Everything from the last header of this name on was added by whoever sent the letter; ours and Connect's begin with it.
FIRST_ADDED = CONNECT + "topic"
OUR_STAGES: Mapping[str, str] = MappingProxyType({theirs: ours for ours, theirs in STAGES.items()})


class ReadLetter(NamedTuple):
    """One letter as it stands in the dead-letter topic.

    source: the record that it is about, None where its headers do not tell. code: ours, or `connect.` and the name of the error.
    stage: decode, map or write, else Connect's word. message: without code and column, never a value of a row.
    """

    record: Record
    source: Position | None
    code: str
    table: str | None
    column: str | None
    stage: str
    message: str
    sent_by: str

    @property
    def at(self) -> Position:
        return self.record.at

    @property
    def sent_ms(self) -> int:
        return self.record.timestamp_ms


class Wanted(NamedTuple):
    """Which letters. topic, partition: of the record that they are about. table: with or without schema. code: also `type.*`.

    stage: our word or Connect's. since_ms, until_ms: when they were sent, from the first up to, but not with, the second.
    """

    topic: str | None = None
    table: str | None = None
    code: str | None = None
    stage: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def accepts(self, letter: ReadLetter) -> bool:
        return (
            (self.topic is None or (letter.source is not None and letter.source.topic == self.topic))
            and (self.table is None or is_table(letter.table, self.table))
            and (self.code is None or fnmatchcase(letter.code, self.code))
            and (self.stage is None or letter.stage == OUR_STAGES.get(self.stage.upper(), self.stage.lower()))
            and (self.since_ms is None or letter.sent_ms >= self.since_ms)
            and (self.until_ms is None or letter.sent_ms < self.until_ms)
        )


EVERY = Wanted()


def is_table(name: str | None, asked: str) -> bool:
    """
    >>> is_table("doc.orders", "orders"), is_table("doc.orders", "doc.orders"), is_table(None, "orders")
    (True, True, False)
    """
    return name is not None and (name == asked or name.rpartition(".")[2] == asked)


# ---------------------------------------------------------------- one letter


def letter_of(record: Record) -> ReadLetter:
    """What the headers of a letter say; empty where they say nothing."""
    said = {name: _text(value) for name, value in record.headers[_first_added(record) :]}
    code = said.get("ingest.code") or _connect_code(said)
    column = said.get("ingest.column")
    message = said.get(CONNECT + "exception.message", "")
    stage = said.get(CONNECT + "stage", "")
    return ReadLetter(
        record=record,
        source=_source(said),
        code=code,
        table=said.get("ingest.table"),
        column=column,
        stage=OUR_STAGES.get(stage, stage.lower()),
        message=message.removeprefix(f"{code}, column {column}: ").removeprefix(f"{code}: "),
        sent_by=said.get(CONNECT + "connector.name", ""),
    )


def original(letter: ReadLetter) -> Record | None:
    """The record as it was read, with its own place, time, headers and bytes.

    None where the letter cannot give it back: its place is not told, or something was too large and had to be left behind.
    """
    record, source = letter.record, letter.source
    added = dict(record.headers[_first_added(record) :])
    if source is None or VALUE_OMITTED in added or KEY_OMITTED in added:
        return None
    own = record.headers[: _first_added(record)]
    headers = tuple((_text(value), None) if name == NULL_HEADER else (name, value) for name, value in own)
    value = None if NULL_VALUE in added else record.value
    time = _text(added.get("ingest.timestamp-ms"))
    return Record(*source, int(time) if _is_number(time) else record.timestamp_ms, record.key, value, headers)


def whole_at(peek: Peek, letter: ReadLetter) -> Record | None:
    """The record that a letter is about, read in its own topic: for a letter that had to leave something behind.

    None where it is there no longer, or another one stands at its place because the topic was made anew.
    """
    source = letter.source
    if source is None or source.partition >= peek.topics().get(source.topic, 0):
        return None
    partition = Partition(source.topic, source.partition)
    begin, end = peek.bounds([partition])[partition]
    if not begin <= source.offset < end:
        return None
    found = next(iter(peek.records(partition, source.offset, source.offset + 1)), None)
    return found if found is not None and _is_about(letter, found) else None


def _is_about(letter: ReadLetter, found: Record) -> bool:
    """Whether a record has the time, the sizes and what else the letter knows of its record."""
    added = dict(letter.record.headers[_first_added(letter.record) :])
    told = {
        "ingest.timestamp-ms": found.timestamp_ms,
        VALUE_OMITTED: len(found.value or b""),
        KEY_OMITTED: len(found.key or b""),
    }
    if any(name in added and _text(added[name]) != str(value) for name, value in told.items()):
        return False
    return KEY_OMITTED in added or letter.record.key == found.key


def _first_added(record: Record) -> int:
    """Where the headers of the letter begin behind those of the record; the record may have been a letter itself."""
    places = [place for place, (name, _) in enumerate(record.headers) if name == FIRST_ADDED]
    return places[-1] if places else len(record.headers)


def _source(said: Mapping[str, str]) -> Position | None:
    topic, partition, offset = (said.get(CONNECT + name, "") for name in ("topic", "partition", "offset"))
    return Position(topic, int(partition), int(offset)) if topic and _is_number(partition) and _is_number(offset) else None


def _connect_code(said: Mapping[str, str]) -> str:
    error = said.get(CONNECT + "exception.class.name") or said.get(CONNECT + "class.name")
    return f"connect.{error.rpartition('.')[2]}" if error else ""


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


# ---------------------------------------------------------------- the letters of a topic


def letters(peek: Peek, topic: str, wanted: Wanted = EVERY, receipts: Receipts | None = None) -> Iterator[ReadLetter]:
    """The letters that are wanted, by partition and offset, up to the ends seen at the start. Memory is that of one fetch.

    receipts: takes those in that are met; that of a letter stands behind it, so they are complete at the end.
    Raises Stop("dlq.topic_missing"), and what Peek raises.
    """
    for partition, bounds in spans(peek, topic, wanted).items():
        for letter in letters_in(peek, partition, bounds, receipts):
            if wanted.accepts(letter):
                yield letter


def letters_in(peek: Peek, partition: Partition, bounds: Bounds, receipts: Receipts | None = None) -> Iterator[ReadLetter]:
    """All letters of a part of one partition."""
    for record in peek.records(partition, bounds.begin, bounds.end):
        if not is_receipt(record):
            yield letter_of(record)
        elif receipts is not None:
            receipts.note(record)


def letter_at(peek: Peek, topic: str, partition: int, offset: int) -> ReadLetter:
    """The letter at this place of the dead-letter topic. Raises Stop("dlq.no_letter")."""
    held = peek.bounds([each for each in _partitions(peek, topic) if each.number == partition])
    for place, (begin, end) in held.items():
        if begin <= offset < end:
            for letter in letters_in(peek, place, Bounds(offset, offset + 1)):
                return letter
    raise Stop("dlq.no_letter", f"{topic} holds no letter at {partition}:{offset}: `ingest dlq list` shows where letters are")


def spans(peek: Peek, topic: str, wanted: Wanted = EVERY) -> dict[Partition, Bounds]:
    """What must be read of each partition to see all letters of the wanted time.

    All letters before the first one at `since` are older. No such thing can be said of `until`: Kafka Connect gives a letter the
    time of its record, so times go up and down.
    """
    held = peek.bounds(_partitions(peek, topic))
    if wanted.since_ms is None:
        return held
    first = peek.offsets_at(held, max(0, wanted.since_ms))
    return {each: Bounds(bounds.end if (at := first[each]) is None else at, bounds.end) for each, bounds in held.items()}


def _partitions(peek: Peek, topic: str) -> list[Partition]:
    count = peek.topics().get(topic)
    if count is None:
        raise Stop(
            "dlq.topic_missing",
            f"there is no topic {topic}: either no letter was ever sent, or INGEST_GROUP_ID or INGEST_DLQ_TOPIC names another",
        )
    return [Partition(topic, number) for number in range(count)]
