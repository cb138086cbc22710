"""MySQL's names, numbers and JDBC's codes of types, and what they mean; and the values that Canal writes in its own way.

For formats that send every value as text; text that is the exact value stays text. Pure.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import SourceType

_INT, _STRING, _BYTES = SourceType("int"), SourceType("string"), SourceType("bytes")
_FLOAT, _DOUBLE, _DECIMAL = SourceType("float32"), SourceType("float64"), SourceType("decimal")
_DATE, _TIME, _MOMENT = SourceType("date_text"), SourceType("time_text"), SourceType("ts_text")

# BIT comes as a decimal number. TINYINT(1) is a number too: it may hold 2 to 127.
_WORDS: Final = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "serial", "bit", "bool", "boolean"), _INT),
    **dict.fromkeys(("decimal", "numeric", "dec", "fixed"), _DECIMAL),
    **dict.fromkeys(("float", "real"), _FLOAT),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "vector"), _STRING),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), _BYTES),
    **dict.fromkeys(("geometry", "point", "linestring", "polygon", "multipoint"), SourceType("geometry")),
    **dict.fromkeys(("multilinestring", "multipolygon", "geometrycollection", "geomcollection"), SourceType("geometry")),
    "double": _DOUBLE,
    "date": _DATE,
    "time": _TIME,
    "datetime": _MOMENT,
    "timestamp": _MOMENT,
    "year": SourceType("year"),
    "json": SourceType("json"),
    "enum": SourceType("enum"),
    "set": SourceType("enum_set"),
}
_JDBC: Final = {
    **dict.fromkeys((-7, -6, 5, 4, -5), _INT),
    **dict.fromkeys((2, 3), _DECIMAL),
    **dict.fromkeys((1, 12, -1, 2005, -15, -9, -16), _STRING),
    **dict.fromkeys((-2, -3, -4, 2004), _BYTES),
    **dict.fromkeys((6, 8), _DOUBLE),
    7: _FLOAT,
    91: _DATE,
    92: _TIME,
    93: _MOMENT,
}
_WHOLE_NUMBER_CODES: Final = frozenset({-7, -6, 5, 4, -5})
_WORD: Final = re.compile(r"\s*([a-z]+)\s*(?:\(\s*(\d{1,5})\s*(?:,\s*(\d{1,3})\s*)?\))?", re.IGNORECASE | re.ASCII)
_LABEL: Final = re.compile(r"'((?:[^'\\]|''|\\.)*)'")
_SRID_BYTES = 4  # in front of the WKB of a geometry
_LONGEST_NUMBER = 32  # digits of an integer, or of a double with its exponent

Convert = Callable[[str], Any]


class MySqlType(NamedTuple):
    """What a type means, and how its text becomes such a value; None where the text is the value."""

    declared: SourceType
    convert: Convert | None = None


def by_word(text: str, jdbc_code: Any = None) -> MySqlType | None:
    """The meaning of `varchar(255)`, `bigint(20) unsigned` or `enum('a','b')`, in Canal's JSON; None for an unknown one.

    jdbc_code: what `sqlType` says of the same column; it tells the number of a label from the label.
    """
    found = _WORD.match(text)
    declared = None if found is None else _WORDS.get(found[1].lower())
    if found is None or declared is None:
        return None
    word = found[1].lower()
    if word in ("enum", "set"):
        labels = [_unquoted(label) for label in _LABEL.findall(text)]
        return MySqlType(declared, _labelled(word, labels, jdbc_code) if labels else None)
    if declared is _DECIMAL and found[2]:
        declared = SourceType("decimal", precision=int(found[2]), scale=int(found[3] or 0))
    return MySqlType(declared, _CONVERSIONS.get(declared.kind))


def by_code(code: Any) -> MySqlType | None:
    """The meaning of a JDBC code where no word tells more; None for one that says nothing."""
    declared = _JDBC.get(code) if code.__class__ is int else None
    if declared is None:
        return None
    return MySqlType(declared, _CONVERSIONS.get(declared.kind))


def octets(text: str) -> bytes:
    """Bytes that stand as one character each. Raises Reject("canal.binary")."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Reject("canal.binary", "a binary column holds characters that are no bytes: check the source's encoding") from error


def base64_text(raw: bytes) -> str:
    """Bytes as the formats have them that write all values as text."""
    return b64encode(raw).decode("ascii")


def geometry(text: str) -> dict[str, Any]:
    """MySQL's own form of a geometry: its reference system and WKB."""
    raw = octets(text)
    return {"srid": int.from_bytes(raw[:_SRID_BYTES], "little"), "wkb": raw[_SRID_BYTES:]}


def _whole(text: str) -> Any:
    """The integer that prints as this text again; any other text is left to the column, which says what is wrong with it."""
    if len(text) > _LONGEST_NUMBER:
        return text
    try:
        number = int(text)
    except ValueError:
        return text
    return number if str(number) == text else text


def _fraction(text: str) -> Any:
    """As _whole, for floating point numbers: a decimal is read in a quarter of the time that a text takes later."""
    if len(text) > _LONGEST_NUMBER:
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() and str(number) == text else text


_CONVERSIONS: Final[dict[str, Convert]] = {
    "bytes": octets,
    "geometry": geometry,
    "int": _whole,
    "year": _whole,
    "float32": _fraction,
    "float64": _fraction,
}


def _unquoted(label: str) -> str:
    return re.sub(r"\\(.)", r"\1", label.replace("''", "'"))


def _labelled(word: str, labels: Sequence[str], jdbc_code: Any) -> Convert:
    """The binlog has the number of a label, or a sum of powers of two for a set. Some writers look the label up already."""
    surely_numbers = jdbc_code in _WHOLE_NUMBER_CODES
    of_number = _label_of if word == "enum" else _labels_of
    known = frozenset(labels)

    def convert(text: str) -> str:
        is_number = text.isascii() and text.isdecimal() and len(text) <= 20
        if not is_number or (not surely_numbers and text in known):
            return text
        return of_number(labels, int(text))

    return convert


def _label_of(labels: Sequence[str], number: int) -> str:
    """0 is MySQL's empty word for a value that was none of them."""
    if number > len(labels):
        raise _no_label()
    return labels[number - 1] if number else ""


def _labels_of(labels: Sequence[str], number: int) -> str:
    if number >> len(labels):
        raise _no_label()
    return ",".join(label for place, label in enumerate(labels) if number >> place & 1)


def _no_label() -> Reject:
    return Reject("canal.enum", "an ENUM or SET has a number beyond its declared labels: check the source's table definition")
