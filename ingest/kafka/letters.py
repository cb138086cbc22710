"""A dead letter as a Kafka message: the record's bytes unchanged, and headers that say where it came from and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ingest.flow.ports import Letter

# The client's producer refuses a null header value, so such a header is renamed to this and its name becomes the value.
NULL_HEADER = "ingest.null-header"
# Its producer also refuses a message without key and value; such a letter has an empty value and this header.
NULL_VALUE = "ingest.null-value"
# How many bytes the value (or key) had that the letter had to leave behind.
VALUE_OMITTED = "ingest.value-omitted-bytes"
KEY_OMITTED = "ingest.key-omitted-bytes"

# Kafka Connect's names of the stages, so that tools made for its dead letters understand ours.
STAGES: Mapping[str, str] = MappingProxyType({"decode": "VALUE_CONVERTER", "map": "TRANSFORMATION", "write": "TASK_PUT"})

Header = tuple[str, bytes]


class Message(NamedTuple):
    """What is sent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def size_bytes(self) -> int:
        return len(self.key or b"") + len(self.value or b"") + sum(len(name) + len(value) for name, value in self.headers)


def message(letter: Letter, group_id: str, task_id: str) -> Message:
    """The letter with everything that the record had."""
    record = letter.record
    kept = [(NULL_HEADER, name.encode()) if value is None else (name, value) for name, value in record.headers]
    return _sendable(Message(record.key, record.value, (*kept, *reasons(letter, group_id, task_id))))


def _sendable(letter: Message) -> Message:
    if letter.key is None and letter.value is None:
        return letter._replace(value=b"", headers=(*letter.headers, (NULL_VALUE, b"")))
    return letter


def smaller(whole: Message) -> Message | None:
    """The message without what makes it too large: first its value, then its key; None if neither is left."""
    if whole.value:
        mark = (VALUE_OMITTED, str(len(whole.value)).encode())
        return _sendable(Message(whole.key, None, (*whole.headers, mark)))
    if whole.key:
        mark = (KEY_OMITTED, str(len(whole.key)).encode())
        return _sendable(Message(None, None, (*whole.headers, mark)))
    return None


def bare(letter: Letter, group_id: str, task_id: str) -> Message:
    """The reasons alone: for a record whose own headers are above the broker's limit."""
    record = letter.record
    marks = ((VALUE_OMITTED, str(len(record.value or b"")).encode()), (KEY_OMITTED, str(len(record.key or b"")).encode()))
    return _sendable(Message(None, None, (*reasons(letter, group_id, task_id), *marks)))


def reasons(letter: Letter, group_id: str, task_id: str) -> tuple[Header, ...]:
    """Where the record stood and why it was rejected: Kafka Connect's header names, then our own. Never a value of a row.

    __connect.errors.task.id: the worker process, by the name of its static member or else by host and process number.
    ingest.at: the position in one word. ingest.timestamp-ms: the record's own time; the letter has the time of its sending,
    or retention would delete the letter of an old record at once.
    """
    record, reject = letter.record, letter.reject
    texts = {
        "__connect.errors.topic": record.topic,
        "__connect.errors.partition": str(record.partition),
        "__connect.errors.offset": str(record.offset),
        "__connect.errors.connector.name": group_id,
        "__connect.errors.task.id": task_id,
        "__connect.errors.stage": STAGES.get(letter.stage, letter.stage),
        "__connect.errors.class.name": f"{type(reject).__module__}.{type(reject).__qualname__}",
        "__connect.errors.exception.message": str(reject),
        "ingest.code": reject.code,
        "ingest.table": letter.table,
        "ingest.column": reject.column,
        "ingest.at": str(record.at),
        "ingest.timestamp-ms": str(record.timestamp_ms),
    }
    return tuple((name, text.encode("utf-8", "backslashreplace")) for name, text in texts.items() if text is not None)


def size_bytes(letter: Letter) -> int:
    """About what a letter takes in memory and on the wire."""
    record = letter.record
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + 600
