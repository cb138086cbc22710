"""Where a record says which registered schema wrote it: in a header, in its first bytes, or not at all.

Looks at no more than the first bytes. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ingest.errors import Reject

ID_BYTES = 5  # a zero and a big-endian number
GUID_BYTES = 17  # a one and a UUID

VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"

_FOREIGN: Final = (
    (b"\x03\x00", "AWS Glue"),
    (b"\x03\x05", "AWS Glue"),
    (b"\xc3\x01", "Avro single object"),
    (b"Obj\x01", "Avro object container"),
)
_APICURIO_HEADERS: Final = ("apicurio.value.globalId", "apicurio.value.contentId")
_FIRST_OF_TEXT: Final = frozenset(b'{["-0123456789tfn \t\r\n')


class Framed(NamedTuple):
    """schema_id: the registry's number or GUID. start: where the content begins."""

    schema_id: int | str
    start: int


def in_headers(headers: Sequence[tuple[str, bytes | None]], name: str) -> Framed | None:
    """The schema id that a header carries; the last one counts."""
    found = None
    for header, value in headers:
        if header == name and value:
            found = value
        elif header in _APICURIO_HEADERS:
            raise _unsupported("Apicurio's headers")
    return None if found is None else _frame(found)._replace(start=0)


def in_front(body: bytes) -> Framed | None:
    """The schema id before the content; None where the first byte says that there is none.

    Raises Reject("framing.truncated") for a cut one, Reject("framing.unsupported") for those of other registries.

    >>> in_front(bytes.fromhex("000000000702"))
    Framed(schema_id=7, start=5)
    """
    if body[0] in (0, 1):
        return _frame(body)
    for prefix, name in _FOREIGN:
        if body.startswith(prefix):
            raise _unsupported(name)
    return None


def is_text(body: bytes) -> bool:
    """Whether the first byte may begin a JSON text. Raises Reject("json.byte_order_mark")."""
    if body.startswith(b"\xef\xbb\xbf"):
        raise Reject("json.byte_order_mark", "JSON must not begin with a byte order mark: mend the producer")
    return body[0] in _FIRST_OF_TEXT


def _frame(head: bytes) -> Framed:
    length = ID_BYTES if head[0] == 0 else GUID_BYTES
    if head[0] not in (0, 1) or len(head) < length:
        raise Reject("framing.truncated", "the record ends inside its schema id: check the producer's serializer")
    if head[0] == 1:
        return Framed(str(UUID(bytes=head[1:GUID_BYTES])), GUID_BYTES)
    number = int.from_bytes(head[1:ID_BYTES], "big", signed=True)
    if number <= 0:  # ids start at 1; Apicurio's default is eight bytes long
        raise _unsupported("Apicurio's 8-byte id")
    return Framed(number, ID_BYTES)


def _unsupported(name: str) -> Reject:
    return Reject("framing.unsupported", f"the record is framed as {name}: let the producer use the Confluent wire format")
