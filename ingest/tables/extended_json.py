"""MongoDB's Extended JSON, legacy and version 2, as plain values.

`{"$oid": ..}` and `{"$uuid": ..}` become text, `{"$date": ..}` ISO text with milliseconds, `{"$numberLong": ..}` and its like
numbers, `{"$numberDecimal": ..}` its own text, `{"$binary": ..}` base64 (a UUID where it says so), `{"$timestamp": {t, i}}` the
one number `t * 2**32 + i`. What has no plain value (`$regex`, `$minKey`, ..) stays as it is written.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from ingest.errors import Reject
from ingest.tables.calendar_utc import moment_text
from ingest.tables.numbers import exact_number, whole_number
from ingest.tables.octets import from_base64

_LEGACY_BINARY: Final = frozenset({"$binary", "$type"})
_UUID_SUBTYPES: Final = ("4", "04")
_MAX_DEPTH: Final = 100


def unwrap(value: Any, depth: int = 0) -> Any:
    """The plain value of Extended JSON that is parsed already. Raises Reject: type.not_extended_json, object.too_deep.

    >>> unwrap({"n": {"$numberLong": "5"}, "at": {"$date": 1456012800000}})
    {'n': 5, 'at': '2016-02-21T00:00:00Z'}
    """
    if isinstance(value, (dict, list)) and depth > _MAX_DEPTH:
        raise Reject("object.too_deep", "the document is nested deeper than CrateDB's limit of 100")
    if isinstance(value, list):
        return [unwrap(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if 0 < len(value) <= 2:
        wrapped = _WRAPPED.get(next(iter(value))) if len(value) == 1 else _binary if value.keys() == _LEGACY_BINARY else None
        if wrapped is not None:
            return wrapped(value)
    return {name: unwrap(item, depth + 1) for name, item in value.items()}


def _refused() -> Reject:
    return Reject("type.not_extended_json", "the value is no Extended JSON: its wrapper holds something else")


def _text(value: Mapping[str, Any], name: str) -> str:
    content = value[name]
    if type(content) is not str:
        raise _refused()
    return content


def _date(value: Mapping[str, Any]) -> str:
    content = unwrap(value["$date"])
    if type(content) is str:
        return content
    if type(content) is not int:
        raise _refused()
    return moment_text(content, 1_000, zoned=True)


def _double(value: Mapping[str, Any]) -> Any:
    """A double, or the word for one that JSON cannot say: its reader refuses that as not finite."""
    text = _text(value, "$numberDouble")
    return text if text in ("NaN", "Infinity", "-Infinity") else float(exact_number(text))


def _binary(value: Mapping[str, Any]) -> str:
    content = value["$binary"]
    two = isinstance(content, Mapping)
    octets = from_base64(content.get("base64") if two else content)
    subtype = str(content.get("subType") if two else value.get("$type"))
    return str(UUID(bytes=octets)) if subtype in _UUID_SUBTYPES and len(octets) == 16 else b64encode(octets).decode("ascii")


def _timestamp(value: Mapping[str, Any]) -> int:
    content = value["$timestamp"]
    seconds, count = (content.get("t"), content.get("i")) if isinstance(content, Mapping) else (None, None)
    if type(seconds) is not int or type(count) is not int or not (0 <= seconds < 2**32 and 0 <= count < 2**32):
        raise _refused()
    return seconds * 2**32 + count


_WRAPPED: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "$oid": lambda value: _text(value, "$oid"),
    "$uuid": lambda value: _text(value, "$uuid").lower(),
    "$symbol": lambda value: _text(value, "$symbol"),
    "$date": _date,
    "$numberInt": lambda value: whole_number(_text(value, "$numberInt")),
    "$numberLong": lambda value: whole_number(_text(value, "$numberLong")),
    "$numberDouble": _double,
    "$numberDecimal": lambda value: _text(value, "$numberDecimal"),
    "$binary": _binary,
    "$timestamp": _timestamp,
    "$undefined": lambda _value: None,
}
