"""Readings for TEXT, VARCHAR(n), CHARACTER(n), UUID and IP: any source type has one exact text.

VARCHAR(n) is measured here in UTF-16 units as CrateDB counts them, because CrateDB drops surplus blanks without a word.
The 32,766 bytes of an indexed TEXT are left to CrateDB, which answers per row: the catalogue does not tell what is indexed.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import IPv6Address, ip_address, ip_interface
from math import isfinite, isinf, isnan
from typing import Any, Final
from uuid import UUID

import orjson

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.bits import bits_reader
from ingest.tables.calendar_utc import date_text
from ingest.tables.clocks import clock_text_reader, interval_text_reader
from ingest.tables.moments import day_count, moment_text_reader
from ingest.tables.numbers import EXACT_KINDS, decimal_reader, digits_around_point
from ingest.tables.octets import READERS as OCTETS
from ingest.tables.reading import UNDECLARED, Convert, Never, Reading, calling, kind_of
from ingest.tables.structured import interval_parts_text, structured_text

INDEXED_TEXT_MAX_BYTES: Final = 32_766
_MAX_PLAIN_DIGITS: Final = 400
_AS_IS: Final = frozenset(
    {UNDECLARED, "string", "xml", "enum", "enum_set", "json", "date_text", "time_text", "ts_text", "interval_text"}
)
# What plain_text knows by the value's own type: numbers, booleans and containers.
_NATIVE: Final = frozenset({"bool", "int", "year", "float32", "float64", "ts_s"})
_CONTAINERS: Final = frozenset({"point", "geometry", "vector", "sparse_vector", "array", "map", "struct", "hstore", "ext_json"})
_UUID: Final = re.compile(r"(?:urn:uuid:)?(\{)?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}(?(1)\})", re.IGNORECASE)

# ---------------------------------------------------------------- the text of any value


def text_reader(source: SourceType | None) -> Convert:
    """Reads the raw value of this source type as its one text."""
    kind = kind_of(source)
    if source is None or kind in _AS_IS or kind in _NATIVE or kind in _CONTAINERS:
        return plain_text
    return (
        moment_text_reader(source)
        or clock_text_reader(kind)
        or interval_text_reader(kind)
        or _octets_text_reader(kind)
        or _number_text_reader(source)
        or _OTHER_TEXTS.get(kind, plain_text)
    )


def _number_text_reader(source: SourceType) -> Convert | None:
    if source.kind.startswith("bits"):
        return bits_reader(source)
    if source.kind in EXACT_KINDS:
        read = decimal_reader(source)
        return lambda value: value if _is_special(value) else decimal_text(read(value))
    return None


def _octets_text_reader(kind: str) -> Convert | None:
    """bytes of any spelling become base64, so that one value has one text."""
    read = OCTETS.get(kind)
    return None if read is None else lambda value: b64encode(read(value)).decode("ascii")


def plain_text(value: Any) -> str:
    """The text of a value that nobody declared: numbers with their own digits, containers as JSON."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if kind is float:
        return _float_text(value)
    if kind is Decimal:
        return decimal_text(value)
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    return json_text(value)


def _float_text(value: float) -> str:
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def decimal_text(number: Decimal) -> str:
    """All digits without an exponent: `12.30`."""
    if not number.is_finite():
        return "NaN" if number.is_nan() else "Infinity" if number > 0 else "-Infinity"
    whole, fraction = digits_around_point(number)
    if number and max(whole, fraction) > _MAX_PLAIN_DIGITS:
        raise Reject("type.overflow", "the number has more digits than a column should hold")
    return format(number, "f") if number or abs(number.adjusted()) <= _MAX_PLAIN_DIGITS else "0"


def json_text(value: Any) -> str:
    """The JSON text of a container, numbers digit for digit."""
    try:
        octets = orjson.dumps(value, default=_json_default)
    except TypeError:  # orjson takes integers of 64 bits only
        try:
            octets = orjson.dumps(_spelled_out(value), default=_json_default)
        except (TypeError, RecursionError):
            raise Reject("type.not_json", "the value holds something that JSON cannot say") from None
    if b"null" in octets and _has_no_number(value):  # which orjson writes as null
        raise Reject("type.not_finite", "NaN and Infinity are no values of JSON")
    return octets.decode()


def _spelled_out(value: Any) -> Any:
    """The same content with its large integers as they are to be written."""
    if isinstance(value, Mapping):
        return {name: _spelled_out(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled_out(item) for item in value]
    return orjson.Fragment(str(value)) if type(value) is int and value.bit_length() > 63 else value


def _has_no_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_no_number, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_no_number, value))
    return type(value) is float and not isfinite(value)


def _json_default(value: Any) -> Any:
    if type(value) is Decimal and value.is_finite():
        return orjson.Fragment(str(value).encode("ascii"))
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def _is_special(value: Any) -> bool:
    return type(value) is str and value.lower().lstrip("+-") in ("nan", "infinity", "positive_infinity", "negative_infinity")


def _days_text(value: Any) -> str:
    return date_text(day_count(value))


_OTHER_TEXTS: Final[dict[str, Convert]] = {
    "date_days": _days_text,
    "uuid": lambda value: canonical_uuid(value),
    "structured": structured_text,
    "interval_parts": interval_parts_text,
}


# ---------------------------------------------------------------- columns of text


def text(source: SourceType | None, column: Column) -> Reading:
    """Readings for TEXT, VARCHAR(n) and CHARACTER(n)."""
    read = text_reader(source)
    if column.length is None:
        return Reading(str if kind_of(source) in _AS_IS else Never, read)
    return calling(_limited(read, column.length))


def _limited(read: Convert, length: int) -> Convert:
    sure = length // 2  # a character takes two UTF-16 units at most

    def convert(value: Any) -> str:
        text = read(value)
        if len(text) > sure and utf16_units(text) > length:
            raise Reject("text.too_long", "the text is longer than the column; shorten = true in the contract would cut it")
        return text  # type: ignore[no-any-return]

    return convert


def utf16_units(text: str) -> int:
    """The length of a text as CrateDB counts it: characters beyond U+FFFF count twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(source: SourceType | None, column: Column) -> Reading:
    """The reading of a text column whose owner wants long text cut: to n UTF-16 units, or to what an index can take."""
    read = text_reader(source)
    if column.length is None:
        return calling(lambda value: _cut_bytes(read(value)))
    length = column.length
    return calling(lambda value: _cut_units(read(value), length))


def _cut_units(text: str, length: int) -> str:
    if len(text) <= length and utf16_units(text) <= length:
        return text
    cut = text.encode("utf-16-le", "surrogatepass")[: 2 * length].decode("utf-16-le", "surrogatepass")
    return cut[:-1] if "\ud800" <= cut[-1:] <= "\udbff" else cut  # the first half of a pair must not stand alone


def _cut_bytes(text: str) -> str:
    if len(text) <= INDEXED_TEXT_MAX_BYTES // 4:
        return text
    try:
        return text.encode()[:INDEXED_TEXT_MAX_BYTES].decode("utf-8", "ignore")
    except UnicodeEncodeError:
        raise Reject("text.surrogate", "the text holds half of a surrogate pair, which no UTF-8 can say") from None


# ---------------------------------------------------------------- UUID and IP


def uuid(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for UUID columns, and the text that they compare by."""
    return calling(canonical_uuid) if kind_of(source) in (UNDECLARED, "uuid", "string") else None


def canonical_uuid(value: Any) -> str:
    """Lower case with dashes, because a key in mixed case would be another key. 16 bytes are a UUID as well."""
    if type(value) is str and _UUID.fullmatch(value):
        return str(UUID(value))
    if isinstance(value, bytes) and len(value) == 16:
        return str(UUID(bytes=value))
    raise Reject("type.not_a_uuid", "the value is no UUID")


def ip(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for IP columns: a host address; a network needs a TEXT column."""
    return calling(_ip_text) if kind_of(source) in (UNDECLARED, "string") else None


def _ip_text(value: Any) -> str:
    if type(value) is not str:
        raise Reject("type.not_an_ip", "the value is no text of an address")
    try:
        address = ip_address(value) if "/" not in value else _host(value)
    except ValueError:
        raise Reject("type.not_an_ip", "the value is no address") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise Reject("type.overflow", "the address has a zone, which IP does not keep: use TEXT")
        if address.ipv4_mapped is not None:
            raise Reject("type.overflow", "the column would make an IPv4 address of this IPv6 address: use TEXT")
    return str(address)


def _host(text: str) -> Any:
    """The address before a mask that covers all of it."""
    interface = ip_interface(text)
    if interface.network.prefixlen != interface.max_prefixlen:
        raise Reject("type.overflow", "the value is a network, not an address: use TEXT")
    return interface.ip
