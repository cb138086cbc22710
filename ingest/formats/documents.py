"""Documents of MongoDB: their fields are Extended JSON, whichever there are, and stay so until the tables room reads them.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ingest.formats.times import count_ms, text_ms
from ingest.model import RowSchema, SourceType

_EXTENDED: Final = SourceType("ext_json")


class _AnyName(Mapping[str, SourceType]):
    """The types of fields whose names nobody declares."""

    def __getitem__(self, name: str) -> SourceType:
        return _EXTENDED

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


DOCUMENT: Final = RowSchema(_AnyName())


def date_ms(value: Any) -> int | None:
    """Epoch milliseconds of a `{"$date": ..}` in each of its spellings, None for anything else.

    >>> [date_ms({"$date": value}) for value in ({"$numberLong": "5000"}, "1970-01-01T00:00:05Z", 5000, True)]
    [5000, 5000, 5000, None]
    """
    content = value.get("$date") if value.__class__ is dict else None
    if content.__class__ is dict:
        content = content.get("$numberLong")
        return count_ms(int(content)) if content.__class__ is str and content.isdecimal() and len(content) < 20 else None
    return text_ms(content) if content.__class__ is str else count_ms(content)
