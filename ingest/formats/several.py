"""Records with several values: a list of objects, or one object per line. Each value is read on its own. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ingest.model import Decoded, Envelope, NeedSchema, Skip

EMPTY: Final = Skip("empty")


def is_list(value: Any) -> bool:
    """Whether a value is a list of objects; a list of anything else is no rows."""
    return value.__class__ is list and all(part.__class__ is dict for part in value)


def lines(text: bytes) -> list[bytes]:
    """The lines of a text that has one object per line, [] for any other.

    >>> lines(b'{"id":1}\\n{"id":2}\\n'), lines(b'{"id":\\n 1}')
    ([b'{"id":1}', b'{"id":2}'], [])
    """
    found = [line for line in map(bytes.strip, text.split(b"\n")) if line]
    are_objects = all(line[:1] == b"{" and line[-1:] == b"}" for line in found)
    return found if len(found) > 1 and are_objects else []


def joined(parts: Iterable[Decoded]) -> Decoded:
    """What all parts of a record say; one that needs a schema holds back all. Of skipped ones only the first is told."""
    envelopes: list[Envelope] = []
    skipped = EMPTY
    for part in parts:
        if isinstance(part, NeedSchema):
            return part
        if isinstance(part, Skip):
            skipped = part if skipped is EMPTY else skipped
        else:
            envelopes.extend(part)
    for place, envelope in enumerate(envelopes):
        envelope.place = place
    return envelopes or skipped
