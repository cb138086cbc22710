"""Where a record says which registered schema wrote it: in a header, in its first bytes, or not at all.

Confluent's two framings and its headers, both of Apicurio's and its headers, and Avro's single-object encoding are read; the
others are recognised and refused. Looks at no more than the first bytes. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ingest.errors import Reject

ID_BYTES = 5  # a zero and a big-endian number
WIDE_ID_BYTES = 9  # a zero and a number of eight bytes
GUID_BYTES = 17  # a one and a UUID
FINGERPRINT_BYTES = 10  # C3 01 and a CRC-64

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"

# Ids that are no Confluent number and no GUID are texts that say what they are. WIDE: eight bytes, and the wire does not say
# whether that is a global or a content id; the registry's client knows the settings.
GLOBAL, CONTENT, WIDE, FINGERPRINT = "global:", "content:", "wide:", "crc64:"

_SINGLE_OBJECT: Final = b"\xc3\x01"
_FOREIGN: Final = ((b"\x03\x00", "AWS Glue"), (b"\x03\x05", "AWS Glue"), (b"Obj\x01", "Avro object container"))
_FIRST_OF_TEXT: Final = frozenset(b'{["-0123456789tfn \t\r\n')


class Framed(NamedTuple):
    """schema_id: the registry's number or GUID, or a text that begins with one of the words above. start: where the content
    begins. lead: bytes of a header that belong in front of the content, such as the message indexes of Protobuf."""

    schema_id: int | str
    start: int
    lead: bytes = b""


def _apicurio_headers(side: str, message: str) -> dict[str, str]:
    ids = {f"apicurio.{side}.globalId": GLOBAL, f"apicurio.{side}.contentId": CONTENT}
    return ids | {f"apicurio.{side}.encoding": "encoding", f"apicurio.{side}.artifactId": "coordinates", message: "message"}


_APICURIO: Final[Mapping[str, Mapping[str, str]]] = {
    VALUE_HEADER: _apicurio_headers("value", "apicurio.protobuf.type"),
    KEY_HEADER: _apicurio_headers("key", "apicurio.protobuf.type.key"),
}
LONGEST_NAME_BYTES = 120  # of a Protobuf message, so that its length and the length of what names it are one byte each


_SCHEMA_HEADERS: Final = frozenset({VALUE_HEADER, KEY_HEADER}.union(*_APICURIO.values()))


def are_silent(headers: Sequence[tuple[str, bytes | None]]) -> bool:
    """Whether no header is about schemas, neither of the key nor of the value."""
    return _SCHEMA_HEADERS.isdisjoint([name for name, _ in headers])


def in_headers(headers: Sequence[tuple[str, bytes | None]], name: str) -> Framed | None:
    """The schema id that headers carry; of each the last one counts. name: VALUE_HEADER or KEY_HEADER.

    Raises Reject("framing.truncated" or "framing.unsupported").
    """
    found, apicurio, others = None, None, _APICURIO[name]
    for header, value in headers:
        if header == name and value:
            found = value
        elif header in others and value:
            apicurio = (apicurio or {}) | {others[header]: value}
    if found is not None:
        framed = _frame(found)
        return Framed(framed.schema_id, 0, found[framed.start :])
    return None if apicurio is None else _by_apicurio(apicurio)


def in_front(body: bytes) -> Framed | None:
    """The schema id before the content; None where the first byte says that there is none.

    Raises Reject("framing.truncated") for a cut one, Reject("framing.unsupported") for those that are not read.

    >>> in_front(bytes.fromhex("000000000702"))
    Framed(schema_id=7, start=5, lead=b'')
    """
    if body[0] in (0, 1):
        return _frame(body)
    if body.startswith(_SINGLE_OBJECT):
        if len(body) < FINGERPRINT_BYTES:
            raise _truncated()
        return Framed(FINGERPRINT + body[2:FINGERPRINT_BYTES].hex(), FINGERPRINT_BYTES)
    for prefix, name in _FOREIGN:
        if body.startswith(prefix):
            raise _unsupported(name)
    return None


def is_text(body: bytes) -> bool:
    """Whether the first byte may begin a JSON text, also behind a byte order mark."""
    return body[0] in _FIRST_OF_TEXT or body.startswith(BYTE_ORDER_MARK)


def is_framed_key(raw: bytes) -> bool:
    """Whether a key begins with a schema id and not with the zeros of IntegerSerializer or LongSerializer.

    A long is eight bytes; Apicurio's wide id alone is nine.
    """
    if raw[0] == 0:
        if raw[1:ID_BYTES] != b"\0\0\0\0":
            return len(raw) >= ID_BYTES
        return len(raw) > WIDE_ID_BYTES and raw[ID_BYTES:WIDE_ID_BYTES] != b"\0\0\0\0"
    return (raw[0] == 1 and len(raw) >= GUID_BYTES) or (raw.startswith(_SINGLE_OBJECT) and len(raw) >= FINGERPRINT_BYTES)


def _frame(head: bytes) -> Framed:
    length = ID_BYTES if head[0] == 0 else GUID_BYTES
    if head[0] not in (0, 1) or len(head) < length:
        raise _truncated()
    if head[0] == 1:
        return Framed(str(UUID(bytes=head[1:GUID_BYTES])), GUID_BYTES)
    number = int.from_bytes(head[1:ID_BYTES], "big", signed=True)
    return Framed(number, ID_BYTES) if number > 0 else _wide(head)


def _wide(head: bytes) -> Framed:
    """An id of eight bytes. Confluent's ids start at 1 and no registry has counted to 2**32, so four zeros tell the two apart."""
    number = int.from_bytes(head[1:WIDE_ID_BYTES], "big", signed=True)
    if len(head) >= 8 and _lengths_add_up(head):
        raise _unsupported("TiCDC's open protocol")
    if len(head) < WIDE_ID_BYTES or not 0 < number < 2**32:
        raise _unsupported("a schema id that no registry gives")
    return Framed(f"{WIDE}{number}", WIDE_ID_BYTES)


def _lengths_add_up(body: bytes) -> bool:
    """Whether the bytes are parts with their lengths in front, each of eight bytes, and nothing is left over."""
    place = 0
    while place < len(body):
        place += 8 + int.from_bytes(body[place : place + 8], "big")
    return place == len(body)


def _by_apicurio(found: Mapping[str, bytes]) -> Framed:
    if found.get("encoding") == b"JSON":
        raise _unsupported("Avro's own JSON encoding (apicurio.registry.avro.encoding=BINARY writes what is read)")
    for kind in (GLOBAL, CONTENT):
        number = int.from_bytes(found.get(kind, b""), "big")
        if len(found.get(kind, b"")) in (4, 8) and number:
            return Framed(f"{kind}{number}", 0, message_reference(found.get("message", b"")))
    if "coordinates" in found:
        raise _unsupported("Apicurio's artifact coordinates without an id")
    raise _truncated()


def message_reference(name: bytes) -> bytes:
    """How Apicurio's serializer says in front of the content which message of a Protobuf schema it is; b"" for no name.

    >>> message_reference(b"Order").hex(" ")
    '07 0a 05 4f 72 64 65 72'
    """
    if not 0 < len(name) <= LONGEST_NAME_BYTES:
        return b""
    return bytes((len(name) + 2, 0x0A, len(name))) + name


def _truncated() -> Reject:
    return Reject("framing.truncated", "the record ends inside its schema id: check the producer's serializer")


def _unsupported(name: str) -> Reject:
    return Reject("framing.unsupported", f"the record is framed as {name}: let the producer use the Confluent wire format")
