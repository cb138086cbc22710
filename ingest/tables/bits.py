"""Bit strings: Debezium's little-endian bytes, CockroachDB's signed words and texts of 0 and 1.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.reading import UNDECLARED, Reading, calling, kind_of

_WORD_BITS: Final = 64
# PostgreSQL declares an unbounded varbit with this length; its true length is not on the wire.
_UNBOUNDED: Final = 2_147_483_647


def bits_reader(source: SourceType | None) -> Callable[[Any], str]:
    """Reads the raw value of this source type as a text of 0 and 1, most significant bit first."""
    kind = kind_of(source)
    length = source.length if source is not None else None
    if kind == "bits_words":
        return _from_words
    if kind == "bits_base64":
        return lambda value: _from_octets(_octets(value), length)
    if kind == "bits":
        return lambda value: _from_octets(value, length) if isinstance(value, bytes) else _checked(value)
    return _checked


def bits_to_int(source: SourceType | None) -> Callable[[Any], int]:
    """Reads the raw value of this source type as an unsigned number."""
    read = bits_reader(source)
    return lambda value: value if type(value) is int else int(read(value) or "0", 2)


def bit(source: SourceType | None, column: Column) -> Reading | None:
    """Readings for BIT(n): exactly n bits, as CrateDB pads and cuts nothing."""
    kind = kind_of(source)
    if not kind.startswith("bits") and kind not in ("string", "int", "bool", UNDECLARED):
        return None
    read = bits_reader(source)
    length = column.length or 1

    def convert(value: Any) -> str:
        text = _of_number(value, length) if isinstance(value, int) else read(value)
        if len(text) != length:
            raise Reject("type.wrong_length", "the bit string has not the length of the column")
        return text

    return calling(convert)


def _of_number(value: int, length: int) -> str:
    if value < 0:
        raise Reject("type.not_bits", "a negative number is no bit string")
    return format(value, f"0{length}b")


def _checked(value: Any) -> str:
    if type(value) is bool:
        return "1" if value else "0"
    if type(value) is str and not value.strip("01"):
        return value
    raise Reject("type.not_bits", "the value is no text of 0 and 1")


def _octets(value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError, TypeError):
        raise Reject("type.not_bits", "the value is not base64") from None


def _from_octets(octets: bytes, length: int | None) -> str:
    width = length if length is not None and length != _UNBOUNDED else 8 * len(octets)
    number = int.from_bytes(octets, "little")
    if number.bit_length() > width:
        raise Reject("type.not_bits", "the value has more bits than the source declares")
    return format(number, f"0{width}b") if width else ""


def _from_words(value: Any) -> str:
    """[bits used in the last word, word, word, ...]: words are signed 64-bit numbers, most significant bit first."""
    if not isinstance(value, (list, tuple)) or not value or any(type(word) is not int for word in value):
        raise Reject("type.not_bits", "the value is no list of bit words")
    used, *words = value
    if not 0 <= used <= _WORD_BITS or any(not -(2**63) <= word < 2**63 for word in words):
        raise Reject("type.not_bits", "the value is no list of bit words")
    text = "".join(format(word % 2**_WORD_BITS, f"0{_WORD_BITS}b") for word in words)
    return text[: max(0, (len(words) - 1) * _WORD_BITS + used)] if words else ""
