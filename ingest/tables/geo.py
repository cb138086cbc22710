"""Readings for GEO_POINT and GEO_SHAPE: GeoJSON, WKT, WKB, Debezium's points and geometries, pairs of numbers.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.geometry import check_srid, checked, from_wkb, from_wkt, position
from ingest.tables.nested import parse_json
from ingest.tables.reading import UNDECLARED, Reading, calling, kind_of

_KINDS: Final = frozenset({UNDECLARED, "point", "geometry", "string", "json", "struct", "map", "array", "bytes"})
_NAMED_PAIRS: Final = (("x", "y"), ("lon", "lat"), ("lng", "lat"), ("longitude", "latitude"))
# PostGIS prints geometries as hexadecimal WKB; the first byte tells the order of the others.
_HEX_WKB: Final = re.compile(r"0[01](?:[0-9A-Fa-f]{2})+")


def geo_point(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for GEO_POINT, always [longitude, latitude]."""
    return calling(_point) if kind_of(source) in _KINDS else None


def geo_shape(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for GEO_SHAPE, always GeoJSON."""
    return calling(_shape) if kind_of(source) in _KINDS - {"array"} else None


def _point(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return position(value)
    if isinstance(value, Mapping):
        for lon, lat in _NAMED_PAIRS:
            if lon in value and lat in value:
                check_srid(value.get("srid"))
                return position([value[lon], value[lat]])
    if type(value) is str and value.lstrip()[:1] == "[":
        return position(parse_json(value))
    shape = _geometry(value)
    if shape.get("type") != "Point":
        raise Reject("type.not_a_point", "the value is no point")
    return position(shape.get("coordinates"))


def _shape(value: Any) -> dict[str, Any]:
    return checked(_geometry(value))


def _geometry(value: Any) -> Mapping[str, Any]:
    """The value as GeoJSON, whose content is looked at by its caller."""
    if isinstance(value, bytes):
        return from_wkb(value)
    if type(value) is str:
        return _geometry_of_text(value)
    if not isinstance(value, Mapping):
        raise Reject("type.not_a_shape", "the value is neither GeoJSON nor WKT nor WKB")
    if "wkb" not in value:
        return value
    check_srid(value.get("srid"))
    return from_wkb(_octets(value["wkb"]))


def _geometry_of_text(text: str) -> Mapping[str, Any]:
    if text.lstrip()[:1] == "{":
        found = parse_json(text)
        assert isinstance(found, Mapping)  # it begins with a brace
        return found
    return from_wkb(bytes.fromhex(text)) if _HEX_WKB.fullmatch(text) else from_wkt(text)


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError, TypeError):
        raise Reject("type.not_a_shape", "the geometry is not base64") from None
