"""Debezium's structured dates and times (`time.precision.mode=structured`) as the ISO texts that all other formats write.

A value is an object of its parts: year, month, day, hour, minute, second, nanos, offsetSeconds, specialValue. Which fields are
such objects stands in the row's schema, as one of the types below. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ingest.errors import Reject
from ingest.model import Fields, RowSchema, SourceType

# Told apart by identity: as values they equal the types of texts, which is what these fields are behind `to_texts`.
TYPES: Final = {
    "io.debezium.time.StructuredDate": SourceType("date_text"),
    "io.debezium.time.StructuredTime": SourceType("time_text"),
    "io.debezium.time.StructuredTimestamp": SourceType("ts_text"),
    "io.debezium.time.StructuredZonedTime": SourceType("time_text", zoned=True),
    "io.debezium.time.StructuredZonedTimestamp": SourceType("ts_text", zoned=True),
    "io.debezium.time.StructuredDuration": SourceType("interval_text"),
}
_SPECIAL: Final = {"POSITIVE_INFINITY": "infinity", "NEGATIVE_INFINITY": "-infinity"}
# Parts that are no numbers. An offset always stands beside a zone's name and is surer.
_NO_NUMBERS: Final = ("specialValue", "zoneId")

Write = Callable[[Fields], str]


class StructuredTimes:
    """Knows of each schema which fields are structured."""

    def __init__(self) -> None:
        self._fields: dict[RowSchema, tuple[tuple[str, Write], ...]] = {}

    def to_texts(self, schema: RowSchema | None, *rows: Fields | None) -> None:
        """Replace structured values in these rows. Raises Reject("structured.malformed") with the column."""
        if schema is None:
            return
        fields = self._fields.get(schema)
        if fields is None:
            fields = self._fields[schema] = _structured_fields(schema)
        for name, write in fields:
            for row in rows:
                if row is not None and row.get(name).__class__ is dict:
                    row[name] = _text(name, write, row[name])


def _structured_fields(schema: RowSchema) -> tuple[tuple[str, Write], ...]:
    return tuple((name, write) for name, declared in schema.fields.items() for known, write in _WRITERS if declared is known)


def _text(name: str, write: Write, parts: Fields) -> str:
    special = _SPECIAL.get(str(parts.get("specialValue")))
    if special is not None:
        return special
    try:
        return write({part: value or 0 for part, value in parts.items() if part not in _NO_NUMBERS})
    except (ValueError, TypeError) as error:
        raise Reject("structured.malformed", "a structured date or time has parts that are no numbers", column=name) from error


def _date(parts: Fields) -> str:
    return f"{parts.get('year', 0):04d}-{parts.get('month', 0):02d}-{parts.get('day', 0):02d}"


def _time(parts: Fields) -> str:
    hour, minute, second, nanos = (parts.get(word, 0) for word in ("hour", "minute", "second", "nanos"))
    return f"{hour:02d}:{minute:02d}:{second:02d}" + (f".{nanos:09d}" if nanos else "")


def _timestamp(parts: Fields) -> str:
    return f"{_date(parts)}T{_time(parts)}"


def _offset(parts: Fields) -> str:
    seconds = parts.get("offsetSeconds", 0)
    sign, minutes = ("-" if seconds < 0 else "+"), abs(seconds) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _duration(parts: Fields) -> str:
    year, month, day, hour, minute, second = (
        parts.get(word, parts.get(f"{word}s", 0)) for word in ("year", "month", "day", "hour", "minute", "second")
    )
    nanos = parts.get("nanos", 0)
    return f"P{year:d}Y{month:d}M{day:d}DT{hour:d}H{minute:d}M{second:d}" + (f".{nanos:09d}S" if nanos else "S")


_BY_NAME: Final[dict[str, Write]] = {
    "Date": _date,
    "Time": _time,
    "Timestamp": _timestamp,
    "ZonedTime": lambda parts: _time(parts) + _offset(parts),
    "ZonedTimestamp": lambda parts: _timestamp(parts) + _offset(parts),
    "Duration": _duration,
}
_WRITERS: Final = tuple((declared, _BY_NAME[name.rpartition("Structured")[2]]) for name, declared in TYPES.items())
