"""Readings for GEO_POINT and GEO_SHAPE: GeoJSON, WKT, Debezium's points and geometries (WKB), pairs of numbers.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ingest.errors import Reject
from ingest.model import Column, SourceType
from ingest.tables.nested import object_cleaner, parse_json
from ingest.tables.reading import UNDECLARED, Reading, calling, kind_of

_KINDS: Final = frozenset({UNDECLARED, "point", "geometry", "string", "json", "struct", "map", "array", "bytes"})
_LON_LAT_SRIDS: Final = (None, 0, 4326)
_SHAPES: Final = {1: "Point", 2: "LineString", 3: "Polygon", 4: "MultiPoint", 5: "MultiLineString", 6: "MultiPolygon"}
_COLLECTION: Final = 7
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x8000_0000, 0x4000_0000, 0x2000_0000
_MAX_DEPTH: Final = 32
_FREE_FORM: Final = Column("", "object", policy="ignored")


def geo_point(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for GEO_POINT, always [longitude, latitude]."""
    return calling(_point) if kind_of(source) in _KINDS else None


def geo_shape(source: SourceType | None, _column: Column) -> Reading | None:
    """Readings for GEO_SHAPE: GeoJSON as a mapping, or WKT as it is."""
    return calling(_shape) if kind_of(source) in _KINDS else None


def _point(value: Any) -> list[float]:
    if type(value) is str:
        return _lon_lat(_wkt_point(value) if value.lstrip()[:5].upper() == "POINT" else _point_of_json(parse_json(value)))
    return _lon_lat(_point_of_json(value))


def _point_of_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return _point_of_json(from_wkb(value))
    if not isinstance(value, Mapping):
        return value
    _check_srid(value.get("srid"))
    for names in (("x", "y"), ("lon", "lat"), ("lng", "lat"), ("longitude", "latitude")):
        if names[0] in value and names[1] in value:
            return [value[names[0]], value[names[1]]]
    shape = _shape(value) if "wkb" in value else value
    return shape.get("coordinates") if shape.get("type") == "Point" else None


def _wkt_point(text: str) -> list[float]:
    words = text.strip()[5:].strip().removeprefix("(").removesuffix(")").split()
    try:
        return [float(word) for word in words]
    except ValueError:
        raise Reject("type.not_a_point", "the text is no WKT point") from None


def _lon_lat(pair: Any) -> list[float]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise Reject("type.not_a_point", "the value is no pair of longitude and latitude")
    if any(type(part) not in (int, float, Decimal) for part in pair):
        raise Reject("type.not_a_point", "longitude and latitude must be numbers")
    lon, lat = float(pair[0]), float(pair[1])
    if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
        raise Reject("type.overflow", "longitude or latitude is out of range: is it [longitude, latitude]?")
    return [lon, lat]


def _shape(value: Any) -> Any:
    if isinstance(value, bytes):
        return from_wkb(value)
    if type(value) is str:
        return _shape(parse_json(value)) if value.lstrip()[:1] == "{" else value
    if not isinstance(value, Mapping):
        raise Reject("type.not_a_shape", "the value is neither GeoJSON nor WKT nor WKB")
    if "wkb" in value:
        _check_srid(value.get("srid"))
        return from_wkb(_octets(value["wkb"]))
    if "type" not in value:
        raise Reject("type.not_a_shape", "the object is no GeoJSON")
    return object_cleaner(_FREE_FORM)(value)


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError, TypeError):
        raise Reject("type.not_a_shape", "the geometry is not base64") from None


def _check_srid(srid: Any) -> None:
    if srid not in _LON_LAT_SRIDS:
        raise Reject("type.not_a_shape", "the geometry is not in longitude and latitude (SRID 4326): use OBJECT or TEXT")


# ---------------------------------------------------------------- well-known binary


class _Wkb:
    """A cursor over well-known binary."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0
        self._order = "<"

    def byte_order(self) -> None:
        self._order = "<" if self._octets[self._at] else ">"
        self._at += 1

    def number(self) -> int:
        (value,) = struct.unpack_from(f"{self._order}I", self._octets, self._at)
        self._at += 4
        return int(value)

    def coordinates(self, dimensions: int) -> list[float]:
        values = struct.unpack_from(f"{self._order}{dimensions}d", self._octets, self._at)
        self._at += 8 * dimensions
        return list(values)


def from_wkb(octets: bytes) -> dict[str, Any]:
    """GeoJSON of well-known binary, also of PostGIS's extended form."""
    try:
        return _geometry(_Wkb(octets), 0)
    except (struct.error, IndexError):
        raise Reject("type.not_a_shape", "the geometry ends too early") from None


def _geometry(wkb: _Wkb, depth: int) -> dict[str, Any]:
    wkb.byte_order()
    code = wkb.number()
    if code & _EWKB_SRID:
        _check_srid(wkb.number())
    kind = code & 0xFFFF
    if code & _EWKB_M or kind >= 2_000:
        raise Reject("type.not_a_shape", "the geometry has measures, which GEO_SHAPE does not keep: use TEXT")
    dimensions = 3 if code & _EWKB_Z or kind >= 1_000 else 2
    kind %= 1_000
    if kind == _COLLECTION and depth < _MAX_DEPTH:
        return {"type": "GeometryCollection", "geometries": [_geometry(wkb, depth + 1) for _ in range(wkb.number())]}
    if kind not in _SHAPES:
        raise Reject("type.not_a_shape", "the geometry is of a kind that GeoJSON does not know")
    return {"type": _SHAPES[kind], "coordinates": _coordinates(wkb, kind, dimensions)}


def _coordinates(wkb: _Wkb, kind: int, dimensions: int) -> list[Any]:
    if kind == 1:
        return wkb.coordinates(dimensions)
    if kind == 2:
        return [wkb.coordinates(dimensions) for _ in range(wkb.number())]
    if kind == 3:
        return [_coordinates(wkb, 2, dimensions) for _ in range(wkb.number())]
    return [_geometry(wkb, _MAX_DEPTH)["coordinates"] for _ in range(wkb.number())]
