"""Where the record to explain comes from: a file, standard input, or a position in Kafka; and what stands in front of it there.

Reads only. One thread.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from time import time
from typing import Final, NamedTuple

from ingest.errors import Stop
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.read_letters import ReadLetter, letter_of, original
from ingest.model import Partition, Position, Record
from ingest.settings import Settings
from ingest.tools.connect import kafka_settings

# As `explain` is asked (orders:3:1042), or as logs and letters write it (orders[3]@1042).
POSITION: Final = re.compile(r"(?P<topic>[\w.-]+)(?::(?P<colon>\d{1,9}):|\[(?P<bracket>\d{1,9})\]@)(?P<offset>-?\d{1,18})")
HEADER_NAME: Final = re.compile(r"[^=]+=")
# A worker knows a topic's format, and the delete that a tombstone repeats, from the records it read before.
READ_BEFORE: Final = 20
# Kafka's own limit is 1 MB by default; far above any message, far below what would hurt.
FILE_MAX_BYTES: Final = 64 << 20


class Asked(NamedTuple):
    """What the command line says of the record.

    source: a file, "-", or a position; None where nothing was said. headers: NAME=VALUE. is_null: it has no value.
    """

    source: str | None = None
    topic: str | None = None
    key: str | None = None
    key_file: Path | None = None
    headers: Sequence[str] = ()
    is_null: bool = False


class Found(NamedTuple):
    """before: the records in front of it. letter: the dead letter that it was found in."""

    record: Record
    origin: str
    before: Sequence[Record] = ()
    letter: ReadLetter | None = None


def find(asked: Asked, settings: Settings, wall_s: Callable[[], float] = time) -> Found:
    """Raises Stop("explain.*") for what nobody can make a record of, and what Kafka's peek raises."""
    position = position_of(asked.source)
    if position is not None:
        _refuse_parts(asked)
        return in_kafka(position, settings)
    value, origin = value_of(asked)
    key = key_of(asked)
    return Found(Record(topic_of(asked, settings), 0, 0, int(wall_s() * 1000), key, value, headers_of(asked.headers)), origin)


def position_of(source: str | None) -> Position | None:
    """The position that the argument names; a file of that name goes first.

    >>> position_of("shop.orders:3:1042") == position_of("shop.orders[3]@1042") == ("shop.orders", 3, 1042)
    True
    """
    found = POSITION.fullmatch(source) if source is not None and not Path(source).exists() else None
    if found is None:
        return None
    return Position(found["topic"], int(found["colon"] or found["bracket"]), int(found["offset"]))


# ---------------------------------------------------------------- by hand


def value_of(asked: Asked) -> tuple[bytes | None, str]:
    """The value, and what it was read from."""
    if asked.is_null:
        if asked.source not in (None, "-"):
            raise Stop("explain.null_and_file", "--null says that there is no value: leave the file out")
        return None, "the command line"
    if asked.source in (None, "-"):
        if sys.stdin.isatty():
            raise Stop("explain.nothing", "there is no record: name a file or TOPIC:PARTITION:OFFSET, or pipe the value in")
        value, origin = sys.stdin.buffer.read(FILE_MAX_BYTES), "standard input"
    else:
        path = Path(str(asked.source))
        value, origin = read(path, "a file nor a position: write TOPIC:PARTITION:OFFSET for one"), str(path)
    if not value:
        raise Stop("explain.empty", f"{origin} is empty: write --null for a record without a value")
    return without_newline(value), origin


def read(path: Path, else_: str) -> bytes:
    if not path.exists():
        raise Stop("explain.no_file", f"{path} is neither {else_}")
    try:
        if path.is_file() and path.stat().st_size > FILE_MAX_BYTES:
            raise Stop("explain.file_size", f"{path} has more than {FILE_MAX_BYTES >> 20} MB: no record is that large")
        return path.read_bytes()
    except OSError as error:
        raise Stop("explain.file", f"{path} cannot be read: {error.strerror}") from error


def key_of(asked: Asked) -> bytes | None:
    if asked.key is not None and asked.key_file is not None:
        raise Stop("explain.two_keys", "--key and --key-file both give the key: leave one out")
    if asked.key_file is not None:
        return without_newline(read(asked.key_file, "a file nor a key: name a file, or give the key itself with --key"))
    return None if asked.key is None else asked.key.encode()


def without_newline(data: bytes) -> bytes:
    r"""A text without the newline that an editor put at its end; framed bytes are left alone, they may end so.

    >>> without_newline(b'{"id": 1}\n'), without_newline(b"\0\0\0\0\7\n")
    (b'{"id": 1}', b'\x00\x00\x00\x00\x07\n')
    """
    return data if data[:1] in (b"\0", b"\1") else data.removesuffix(b"\n").removesuffix(b"\r")


def topic_of(asked: Asked, settings: Settings) -> str:
    """The topic that the record is taken to stand in: its name decides on format, contract and table."""
    if asked.topic:
        return asked.topic
    named = [topic for topic in settings.topics if not topic.startswith("^")]
    if len(named) == 1 == len(settings.topics):
        return named[0]
    raise Stop("explain.no_topic", "the topic decides on contract and table: name it with --topic")


def headers_of(written: Sequence[str]) -> tuple[tuple[str, bytes | None], ...]:
    """
    >>> headers_of(["trace=1=2", "empty="])
    (('trace', b'1=2'), ('empty', b''))
    """
    wrong = next((text for text in written if not HEADER_NAME.match(text)), None)
    if wrong is not None:
        raise Stop("explain.header", f"--header {wrong} is not NAME=VALUE")
    return tuple((name, value.encode()) for name, _, value in (text.partition("=") for text in written))


# ---------------------------------------------------------------- in Kafka


def _refuse_parts(asked: Asked) -> None:
    given = {"--topic": asked.topic, "--key": asked.key, "--key-file": asked.key_file, "--header": asked.headers or None}
    names = [name for name, value in given.items() if value is not None] + (["--null"] if asked.is_null else [])
    if names:
        raise Stop("explain.parts", f"a record in Kafka brings its own topic, key, value and headers: leave {names[0]} out")


def in_kafka(position: Position, settings: Settings) -> Found:
    """The record at a position; a negative offset counts from the end, -1 is the last one."""
    partition = Partition(position.topic, position.partition)
    with Peek(kafka_settings(settings)) as peek:
        refuse_unknown(partition, peek.topics())
        bounds = peek.bounds([partition])[partition]
        offset = position.offset if position.offset >= 0 else bounds.end + position.offset
        refuse_outside(partition, offset, bounds)
        records = list(peek.records(partition, max(bounds.begin, offset - READ_BEFORE), min(offset + 1, bounds.end)))
        if not records or records[-1].offset != offset:
            raise Stop("explain.no_record", _hole(peek, partition, offset, bounds))
    return opened(records[-1], records[:-1], settings.dead_letter_topic)


def refuse_unknown(partition: Partition, counts: Mapping[str, int]) -> None:
    """Raises Stop("explain.no_position") for a topic or partition that does not exist, with the nearest name."""
    if partition.topic not in counts:
        near = get_close_matches(partition.topic, counts, n=1)
        hint = f", the nearest name is {near[0]}" if near else ""
        raise Stop("explain.no_position", f"topic {partition.topic} does not exist{hint}")
    count = counts[partition.topic]
    if partition.number >= count:
        last = f"its partitions are 0 to {count - 1}" if count > 1 else "its only partition is 0"
        raise Stop("explain.no_position", f"topic {partition.topic} has no partition {partition.number}: {last}")


def refuse_outside(partition: Partition, offset: int, bounds: Bounds) -> None:
    if bounds.begin == bounds.end:
        raise Stop("explain.no_position", f"{partition} is empty")
    if not bounds.begin <= offset < bounds.end:
        why = "retention has deleted it" if 0 <= offset < bounds.begin else "it was not written yet" if offset >= 0 else "none"
        held = f"the partition holds offsets {bounds.begin} to {bounds.end - 1}"
        raise Stop("explain.no_position", f"there is no record at offset {offset} of {partition} ({why}): {held}")


def _hole(peek: Peek, partition: Partition, offset: int, bounds: Bounds) -> str:
    after = next(iter(peek.records(partition, offset, bounds.end)), None)
    rest = "and none behind it" if after is None else f"the next one is at {after.offset}"
    return f"offset {offset} of {partition} holds no record (compacted, aborted, or a transaction's mark), {rest}"


def opened(record: Record, before: Sequence[Record], letter_topic: str) -> Found:
    """The record itself, or the one that it is the dead letter of."""
    letter = letter_of(record)
    if record.topic != letter_topic or letter.source is None:
        return Found(record, "Kafka", before)
    whole = original(letter)
    if whole is None:
        at = letter.source
        again = f"ingest explain {at.topic}:{at.partition}:{at.offset}"
        raise Stop("explain.letter_cut", f"this dead letter had to leave its value behind, it was too large: `{again}` has it")
    return Found(whole, "Kafka", (), letter)
