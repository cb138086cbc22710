"""Bytes in the spellings that sources give them, read as bytes: base64, hexadecimal, PostgreSQL's escapes, one letter per byte.

CrateDB has no column type for bytes; whatever the spelling, `texts` writes them as base64, so that one value has one text.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Any, Final

from ingest.errors import Reject

_ESCAPE: Final = re.compile(r"\\(\\|[0-3][0-7]{2})")
_ESCAPED: Final = re.compile(r"(?:[^\\]|\\(?:\\|[0-3][0-7]{2}))*", re.DOTALL)
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def from_base64(value: Any) -> bytes:
    """Raises Reject("type.not_bytes"), as all readers here."""
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError, TypeError):
        raise Reject("type.not_bytes", "the value is not base64") from None


def from_base64url(value: Any) -> bytes:
    """Base64 with `-` and `_`, with its padding or without."""
    bare = value.rstrip("=") if type(value) is str and _URL_SAFE.fullmatch(value) else "?"
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except Base64Error:
        raise Reject("type.not_bytes", "the value is not base64 for URLs") from None


def from_hex(value: Any) -> bytes:
    """Hexadecimal digits, also behind PostgreSQL's backslash and x, or 0x."""
    try:
        return bytes.fromhex(value.removeprefix("\\x").removeprefix("0x"))
    except (ValueError, TypeError, AttributeError):
        raise Reject("type.not_bytes", "the value is not hexadecimal") from None


def from_escape(value: Any) -> bytes:
    """PostgreSQL's `bytea_output = escape`: ASCII as it is, `\\\\` for a backslash, `\\ooo` for other bytes.

    >>> from_escape("a\\\\000\\\\\\\\")
    b'a\\x00\\\\'
    """
    if type(value) is not str or not value.isascii() or not _ESCAPED.fullmatch(value):
        raise Reject("type.not_bytes", "the value is no bytea in PostgreSQL's escape format")
    plain = _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1], 8)), value)
    return plain.encode("latin-1")


def from_latin1(value: Any) -> bytes:
    """Canal's spelling: the letter of each byte in ISO 8859-1."""
    try:
        return bytes(value.encode("latin-1"))
    except (UnicodeEncodeError, AttributeError):
        raise Reject("type.not_bytes", "the value is no text of one letter per byte") from None


def _as_it_is(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise Reject("type.not_bytes", "the value is not bytes")
    return value


READERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "bytes": _as_it_is,
    "bytes_base64": from_base64,
    "bytes_base64url": from_base64url,
    "bytes_hex": from_hex,
    "bytes_escape": from_escape,
    "bytes_latin1": from_latin1,
}
