"""Readings for TEXT, VARCHAR(n), CHARACTER(n), UUID and IP: any source type has one exact text.

VARCHAR(n) is measured here in UTF-16 units as CrateDB counts them, because CrateDB drops surplus blanks without a word.
The 32,766 bytes of an indexed TEXT are left to CrateDB, which answers per row: the catalogue does not tell what is indexed.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address, ip_interface
from math import isinf, isnan
from typing import Any, Final
from uuid import UUID

import orjson

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.bits import bits_reader
from ingest.tables.calendar_utc import date_text
from ingest.tables.clocks import clock_text_reader, interval_text_reader
from ingest.tables.moments import moment_text_reader
from ingest.tables.numbers import decimal_reader, digits_around_point, whole_number
from ingest.tables.reading import UNDECLARED, Convert, Never, Reading, calling, kind_of

INDEXED_TEXT_MAX_BYTES: Final = 32_766
_MAX_PLAIN_DIGITS: Final = 400
_AS_IS: Final = frozenset(
    {UNDECLARED, "string", "xml", "enum", "enum_set", "json", "date_text", "time_text", "ts_text", "interval_text"}
)
# What plain_text knows by the value's own type: numbers, booleans and containers.
_NATIVE: Final = frozenset({"bool", "int", "year", "float32", "float64", "ts_s"})
_CONTAINERS: Final = frozenset({"point", "geometry", "vector", "sparse_vector", "array", "map", "struct"})

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
        or {"date_days": _days_text, "uuid": canonical_uuid}.get(kind, plain_text)
    )


def _number_text_reader(source: SourceType) -> Convert | None:
    if source.kind.startswith("bits"):
        return bits_reader(source)
    if source.kind.startswith("decimal") or source.kind == "uint64_wrapped":
        read = decimal_reader(source)
        return lambda value: value if _is_special(value) else decimal_text(read(value))
    return None


def _octets_text_reader(kind: str) -> Convert | None:
    """bytes of any spelling become base64, so that one value has one text."""
    if kind == "bytes":
        return lambda value: b64encode(value).decode("ascii") if isinstance(value, bytes) else plain_text(value)
    if kind == "bytes_hex":
        return lambda value: b64encode(_from_hex(value)).decode("ascii")
    if kind == "bytes_base64":
        return lambda value: b64encode(_from_base64(value)).decode("ascii")
    return None


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
        return orjson.dumps(value, default=_json_default).decode()
    except TypeError:
        raise Reject("type.not_json", "the value holds something that JSON cannot say") from None


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
    return date_text(whole_number(value))


def _from_hex(value: Any) -> bytes:
    try:
        return bytes.fromhex(value.removeprefix("\\x"))
    except (ValueError, AttributeError):
        raise Reject("type.not_bytes", "the value is not hexadecimal") from None


def _from_base64(value: Any) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError, TypeError):
        raise Reject("type.not_bytes", "the value is not base64") from None


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
    """Lower case with dashes, because a key in mixed case would be another key."""
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise Reject("type.not_a_uuid", "the value is no UUID") from None


def ip(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for IP columns: a host address; a network needs a TEXT column."""
    return calling(_ip_text) if kind_of(source) in (UNDECLARED, "string") else None


def _ip_text(value: Any) -> str:
    if type(value) is not str:
        raise Reject("type.not_an_ip", "the value is no text of an address")
    try:
        if "/" not in value:
            return str(ip_address(value))
        address = ip_interface(value)
    except ValueError:
        raise Reject("type.not_an_ip", "the value is no address") from None
    if address.network.prefixlen != address.max_prefixlen:
        raise Reject("type.not_an_ip", "the value is a network, not an address: use TEXT")
    return str(address.ip)
