"""JSON bytes to Python values: exactly, or refused.

Integers keep every digit, other numbers become Decimal, and text that JSON or Unicode does not allow is rejected.
Knows nothing of envelopes. Pure; used by the loop's thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ingest.errors import Reject
from ingest.model import Fields

# What msgspec raises for bad input: DecodeError for form, ValueError for bad UTF-8, ArithmeticError from Decimal for an
# exponent beyond its limits, RecursionError for nesting deeper than the interpreter allows.
BAD_INPUT = (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError)

NULL = msgspec.Raw(b"null")

# Exactly, but of a name that stands twice the last counts, and the errors are the library's: BAD_INPUT.
decode_exactly = msgspec.json.Decoder(float_hook=Decimal).decode


def decode(text: bytes) -> Any:
    """The value of a JSON text; numbers are int or Decimal.

    Raises Reject("json.malformed", "json.number", "json.too_deep" or "json.duplicate_name").

    >>> decode(b'{"total": 26.30, "id": 123456789012345678901}')
    {'total': Decimal('26.30'), 'id': 123456789012345678901}
    """
    value = decode_loosely(text)
    if (value.__class__ is dict and not has_names(text, len(value))) or (value.__class__ is list and b"{" in text):
        refuse_duplicates(text, value)
    return value


def has_names(text: bytes, count: int) -> bool:
    """Whether the objects of a JSON text surely have no more names than these in all, so that none that has them stands twice.

    Each name is followed by a colon, and by a quote and a colon where no blank stands between them. Counting costs a tenth of
    decoding; only where it does not explain itself (nested values, texts that hold names, blanks) is a closer look needed.

    >>> has_names(b'{"id":1,"at":"12:30"}', 2), has_names(b'{"id":1,"id" :2}', 1)
    (True, False)
    """
    return text.count(b":") == count or (text.count(b'":') == count and b" :" not in text and not _has_odd_blank(text))


def _has_odd_blank(text: bytes) -> bool:
    """Looking for one byte costs a tenth of looking for two, and few texts have one of these."""
    return (b"\n" in text and b"\n:" in text) or (b"\t" in text and b"\t:" in text) or (b"\r" in text and b"\r:" in text)


def decode_loosely(text: bytes) -> Any:
    """As decode, but of a name that stands twice in an object the last counts."""
    try:
        return decode_exactly(text)
    except BAD_INPUT as error:
        raise refusal(error) from error


def decode_flat(text: bytes) -> Fields | None:
    """The object in a text that has nothing nested and nothing odd; None for any other, which `decode` reads or refuses."""
    try:
        value = decode_exactly(text)
    except BAD_INPUT:
        return None
    return value if value.__class__ is dict and text.count(b":") == len(value) > 0 else None


def decode_row(text: bytes) -> Fields | None:
    """The object that a part of an envelope holds, None for null. Raises Reject("row.not_an_object") for anything else."""
    try:
        return checked_row(text, decode_exactly(text))
    except BAD_INPUT as error:
        raise refusal(error) from error


def checked_row(text: bytes, value: Any) -> Fields | None:
    """The value of a text, if it is a row or null; the part of decode_row behind the decoding."""
    if value is None:
        return None
    if value.__class__ is not dict:
        raise Reject("row.not_an_object", "the image of the row is no JSON object: check the topic's format in its contract")
    if not has_names(text, len(value)):
        refuse_duplicates(text, value)
    row: Fields = value
    return row


def refusal(error: Exception) -> Reject:
    """Why a text was refused, in our words; a library's message could quote the record."""
    if isinstance(error, RecursionError):
        return Reject("json.too_deep", "the value is nested too deeply to be read: send it as text")
    if isinstance(error, ArithmeticError) or "out of range" in str(error):
        return Reject("json.number", "a number has more digits or a larger exponent than can be kept exactly: send it as text")
    return Reject("json.malformed", "the bytes are no valid JSON in UTF-8: check the producer's converter")


def refuse_duplicates(text: bytes, value: Any) -> None:
    """Raises Reject("json.duplicate_name") if an object in text, which is value, has a name twice."""
    try:
        if not has_names(text, _names(value)):
            json.loads(text, object_pairs_hook=_refuse_duplicate_names, parse_float=_unread, parse_int=_unread)
    except RecursionError as error:
        raise refusal(error) from error


def _names(value: Any) -> int:
    """How many names the objects inside value have in all."""
    if value.__class__ is dict:
        return len(value) + sum(_names(part) for part in value.values() if part.__class__ in (dict, list))
    if value.__class__ is list:
        return sum(_names(part) for part in value if part.__class__ in (dict, list))
    return 0


def _refuse_duplicate_names(pairs: Sequence[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Reject("json.duplicate_name", "an object has the same name twice, so its value is ambiguous: mend the producer")


def _unread(_: str) -> None:
    return None
