"""Debezium's placeholder for a large value that did not change and was not logged, in every shape it takes.

Such a column is left out of the change, so that the stored value stays. Pure.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import md5
from typing import Any, Final
from uuid import UUID

from ingest.model import Fields

DEFAULT: Final = "__debezium_unavailable_value"
OPENING_BRACKET: Final = ord("[")

# Characters by how seldom rows have them, about.
_SELDOM: Final = b"QZXJKVWYUFGBHPOzqjLMDxNRIkTSCvEAwyg=bfpmhu-dlcsrtnoaie"


class Placeholder:
    """Finds the placeholder and takes its columns out of a row.

    setting: the connector's `unavailable.value.placeholder`, a text or `hex:` and octets.
    """

    def __init__(self, setting: str = DEFAULT) -> None:
        raw = bytes.fromhex(setting[4:]) if setting.startswith("hex:") else setting.encode()
        text = raw.decode(errors="replace")
        # Java's UUID.nameUUIDFromBytes: an MD5 with the version and variant bits of a version 3 UUID.
        uuid = str(UUID(bytes=md5(raw, usedforsecurity=False).digest(), version=3))
        encoded = b64encode(raw).decode()
        self._scalars = {text, raw, encoded, uuid, json.dumps({text: text}, separators=(",", ":")), json.dumps({text: text})}
        self._codes = [code - 256 if code > 127 else code for code in raw]
        self._map = {text: text}
        codes = b",".join(b"%d" % code for code in self._codes)
        self._raw, self._encoded = raw, encoded.encode()
        escaped = json.dumps(text, ensure_ascii=False)[1:-1].encode()
        self._escaped = raw if escaped == raw else escaped
        # Looking for one byte costs a fifteenth of looking for a text, and most rows lack such a byte.
        self.rare_bytes = (_rarest(self._escaped), _rarest(self._encoded))
        # For those who look for it among scalars alone.
        self.traces, self.uuid = (self._escaped, self._raw, self._encoded), uuid
        self._traces_in_lists = (codes, uuid.encode())
        self._spaced, self._zigzag = codes.replace(b",", b", "), _zigzag(self._codes)
        self.high_byte = max(self._zigzag)  # texts of ASCII have none above 127

    def may_be_in(self, text: bytes) -> bool:
        """Whether the JSON text of a row, as converters write it, may hold the placeholder.

        Costs a third of looking at every value, for the many rows that hold none.
        """
        rare, rare_encoded = self.rare_bytes
        if (rare in text and self._escaped in text) or (rare_encoded in text and self._encoded in text):
            return True
        return OPENING_BRACKET in text and self.may_be_in_list(text)

    def may_be_in_list(self, text: bytes) -> bool:
        """The same of the shapes that it takes in lists."""
        codes, uuid = self._traces_in_lists
        return codes in text or uuid in text

    def may_be_anywhere_in(self, body: bytes) -> bool:
        """Whether an Avro record or a JSON text with blanks may hold the placeholder."""
        if self.may_be_in(body) or (OPENING_BRACKET in body and self._spaced in body):
            return True
        if self.high_byte in body and self._zigzag in body:
            return True
        return self._raw is not self._escaped and self._raw in body

    def take_out(self, row: Fields) -> bool:
        """Remove the columns whose whole value is the placeholder; whether there was any."""
        names = [name for name, value in row.items() if self._is(value)]
        for name in names:
            del row[name]
        return bool(names)

    def _is(self, value: Any) -> bool:
        kind = value.__class__
        if kind is str or kind is bytes:
            return value in self._scalars
        if kind is list:
            return value == self._codes or (len(value) == 1 and value[0].__class__ in (str, bytes) and value[0] in self._scalars)
        return kind is dict and value == self._map


def _rarest(trace: bytes) -> int:
    """A byte of a text that few other texts have.

    >>> chr(_rarest(b"__debezium_unavailable_value"))
    'z'
    """
    return next((byte for byte in _SELDOM if byte in trace), trace[0])


def _zigzag(codes: list[int]) -> bytes:
    """The codes as an Avro array of ints or longs has them."""
    out = bytearray()
    for code in codes:
        number = (code << 1) ^ (code >> 31)
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)
