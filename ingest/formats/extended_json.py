"""MongoDB's Extended JSON as plain values: version 1, and version 2 canonical and relaxed, mixed as they come.

ObjectIds, UUIDs and binary become text (base64), dates ISO text in UTC, numbers numbers, a timestamp its 64 bits as a number.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ingest.errors import Reject

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FINITE: Final = {"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "sNaN": "NaN"}
_MAX_DIGITS: Final = 64  # of a number as text: a long has 19, a Decimal128 34 and an exponent
DEEPEST: Final = 200  # BSON itself ends at 100


def plain(value: Any, depth: int = 0) -> Any:
    """The value without Extended JSON's wrappers. Raises Reject("mongodb.value" or "json.too_deep").

    >>> plain({"n": {"$numberLong": "5"}, "at": {"$date": {"$numberLong": "0"}}})
    {'n': 5, 'at': '1970-01-01T00:00:00.000Z'}
    """
    kind = value.__class__
    if kind is dict:
        if depth > DEEPEST:
            raise Reject("json.too_deep", "the document is nested too deeply to be read: send it as text")
        if 0 < len(value) <= 2:
            name = next(iter(value))
            if name[:1] == "$":
                return _unwrapped(value, name, depth)
        return {name: _known(part, depth) for name, part in value.items()}
    return _known(value, depth)


def _known(value: Any, depth: int) -> Any:
    kind = value.__class__
    if kind is dict:
        return plain(value, depth + 1)
    if kind is list:
        if depth > DEEPEST:
            raise Reject("json.too_deep", "the document is nested too deeply to be read: send it as text")
        return [_known(part, depth + 1) for part in value]
    return value


def _unwrapped(value: Mapping[str, Any], name: str, depth: int) -> Any:
    read = _WRAPPERS.get(name) if len(value) == 1 else _PAIRS.get(frozenset(value))
    if read is None:
        return {name: _known(part, depth) for name, part in value.items()}
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        text = f"a value of type {name} is none of Extended JSON's: check the connector's output format"
        raise Reject("mongodb.value", text) from error


def date_text(value: Any) -> str:
    """ISO text of a $date: text already, or milliseconds since the epoch in three spellings."""
    if value.__class__ is str:
        return str(value)
    ms = value["$numberLong"] if value.__class__ is dict else value
    number = _integer(ms)
    try:
        return (_EPOCH + timedelta(milliseconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return str(number)  # a year beyond 9999: the column's reading decides


def _integer(value: Any) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is not str or len(value) > _MAX_DIGITS:
        raise ValueError
    return int(value)


def _decimal(value: Any) -> Any:
    if value.__class__ is not str:
        return value
    if value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if len(value) > _MAX_DIGITS:
        raise ValueError
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise ValueError from error
    return number if number.is_finite() else str(number)


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError
    return str(value)


def _binary(value: Mapping[str, Any]) -> str:
    inner = value["$binary"]
    return _text(inner["base64"] if inner.__class__ is dict else inner)


def _timestamp(value: Mapping[str, Any]) -> int:
    seconds, increment = _integer(value["$timestamp"]["t"]), _integer(value["$timestamp"]["i"])
    return seconds << 32 | increment


def _regular_expression(pattern: Any, options: Any) -> str:
    return f"/{_text(pattern)}/{_text(options)}"


_Read = Callable[[Mapping[str, Any]], Any]
_WRAPPERS: Final[Mapping[str, _Read]] = {
    "$oid": lambda value: _text(value["$oid"]),
    "$date": lambda value: date_text(value["$date"]),
    "$numberLong": lambda value: _integer(value["$numberLong"]),
    "$numberInt": lambda value: _integer(value["$numberInt"]),
    "$numberDouble": lambda value: _decimal(value["$numberDouble"]),
    "$numberDecimal": lambda value: _decimal(value["$numberDecimal"]),
    "$binary": _binary,
    "$uuid": lambda value: _text(value["$uuid"]),
    "$timestamp": _timestamp,
    "$regularExpression": lambda value: _regular_expression(
        value["$regularExpression"]["pattern"], value["$regularExpression"]["options"]
    ),
    "$symbol": lambda value: _text(value["$symbol"]),
    "$code": lambda value: _text(value["$code"]),
    "$undefined": lambda _: None,
    "$minKey": lambda _: "$minKey",
    "$maxKey": lambda _: "$maxKey",
}
_PAIRS: Final[Mapping[frozenset[str], _Read]] = {
    frozenset({"$binary", "$type"}): _binary,
    frozenset({"$regex", "$options"}): lambda value: _regular_expression(value["$regex"], value["$options"]),
}
