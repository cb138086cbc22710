"""Geometries as GeoJSON: read from well-known binary and text, and looked at before CrateDB does.

CrateDB drops heights, rewrites collections and refuses a whole request for one empty point, so what leaves here has longitude
and latitude alone, is no collection, and its rings are closed. Whether rings cross is left to CrateDB, which answers per row.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from ingest.errors import Reject
from ingest.tables.numbers import exact_number, prints_again

_CODES: Final = {1: "Point", 2: "LineString", 3: "Polygon", 4: "MultiPoint", 5: "MultiLineString", 6: "MultiPolygon"}
# How many lists stand around a position.
_DEPTHS: Final = {"Point": 0, "LineString": 1, "Polygon": 2, "MultiPoint": 1, "MultiLineString": 2, "MultiPolygon": 3}
_MAX_DEPTH: Final = max(_DEPTHS.values())
_NAMES: Final = {name.upper(): name for name in _DEPTHS}
_LON_LAT_SRIDS: Final = (None, 0, 4326)
_EWKB_Z, _EWKB_M, _EWKB_SRID = 0x8000_0000, 0x4000_0000, 0x2000_0000
# Blanks are taken for good (`*+`): two runs that could share them would try every cut of a long one.
_WKT: Final = re.compile(
    r"\s*+(?:SRID=(\d{1,6});\s*+)?([A-Z]+)\s*+(?:(Z|M|ZM)\s*+)?(\(.*\)|EMPTY)\s*", re.ASCII | re.IGNORECASE | re.DOTALL
)
_WKT_TOKEN: Final = re.compile(r"\s*([(),]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*", re.ASCII)
_HEIGHTS: Final = "the geometry has heights or measures, which the column does not keep: use OBJECT or TEXT"

# ---------------------------------------------------------------- looked at


def position(value: Any) -> list[float]:
    """Longitude and latitude. Raises Reject: type.not_a_point, type.overflow, type.precision."""
    if not isinstance(value, (list, tuple)) or len(value) < 2:
        raise Reject("type.not_a_point", "the value is no pair of longitude and latitude")
    if any(type(part) not in (int, float, Decimal) for part in value):
        raise Reject("type.not_a_point", "longitude and latitude must be numbers")
    if len(value) > 2:
        raise Reject("type.precision", _HEIGHTS)
    lon, lat = (part if type(part) is float else _nearest(part) for part in value)
    if not (-180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0):
        raise Reject("type.overflow", "longitude or latitude is out of range: is it [longitude, latitude]?")
    return [lon, lat]


def _nearest(part: Any) -> float:
    number = exact_number(part)
    if number.adjusted() > 3:
        raise Reject("type.overflow", "longitude or latitude is out of range: is it [longitude, latitude]?")
    nearest = float(number)
    if not prints_again(nearest, number):
        raise Reject("type.precision", "longitude or latitude has more digits than a double: use TEXT")
    return nearest


def checked(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A GeoJSON geometry that the column takes, without its other members. Raises Reject."""
    name = shape.get("type")
    if name == "GeometryCollection":
        raise Reject("type.not_a_shape", "the column would rewrite a collection of geometries: use OBJECT or TEXT")
    if name not in _DEPTHS:
        raise Reject("type.not_a_shape", "the object is no GeoJSON geometry")
    check_srid(_srid_of(shape.get("crs")))
    return {"type": name, "coordinates": _coordinates(shape.get("coordinates"), _DEPTHS[name], name)}


def _coordinates(value: Any, depth: int, name: str) -> list[Any]:
    if depth == 0:
        return position(value)
    if not isinstance(value, (list, tuple)) or not value:
        raise Reject("type.not_a_shape", "the geometry is empty, or its coordinates are no lists")
    found = [_coordinates(item, depth - 1, name) for item in value]
    if depth == 1 and name.endswith("LineString") and all(point == found[0] for point in found):
        raise Reject("type.not_a_shape", "a line needs two different points")
    return _ring(found) if depth == 1 and name.endswith("Polygon") else found


def _ring(points: list[list[float]]) -> list[list[float]]:
    """A closed ring; closing it does not change what it surrounds."""
    ring = points if points[0] == points[-1] else [*points, points[0]]
    pairs = list(pairwise(ring))
    # Measured from its first corner, so that a small ring far out does not drown in rounding.
    (x0, y0), area = ring[0], 0.0
    for (x1, y1), (x2, y2) in pairs:
        area += (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if len(ring) < 4 or not area or any(one == other for one, other in pairs):
        raise Reject("type.not_a_shape", "a ring needs three different corners, none twice in a row, and an area")
    return ring


def check_srid(srid: Any) -> None:
    if srid not in _LON_LAT_SRIDS:
        raise Reject("type.not_a_shape", "the geometry is not in longitude and latitude (SRID 4326): use OBJECT or TEXT")


def _srid_of(crs: Any) -> Any:
    """The number in GeoJSON's old `crs` member, None where it means longitude and latitude."""
    if crs is None:
        return None
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    return None if isinstance(name, str) and name.rpartition(":")[2] in ("4326", "CRS84") else "unknown"


# ---------------------------------------------------------------- well-known text


def from_wkt(text: str) -> dict[str, Any]:
    """GeoJSON of well-known text, also of PostGIS's `SRID=4326;POINT(1 2)`; not checked yet.

    >>> from_wkt("POINT (1 2.5)")
    {'type': 'Point', 'coordinates': [Decimal('1'), Decimal('2.5')]}
    """
    found = _WKT.fullmatch(text)
    name = _NAMES.get(found[2].upper()) if found is not None else None
    if found is None or name is None:
        raise Reject("type.not_a_shape", "the text is neither GeoJSON nor the well-known text of one geometry")
    check_srid(int(found[1]) if found[1] else None)
    if found[3]:
        raise Reject("type.precision", _HEIGHTS)
    tokens = _tokens(found[4])
    content, end = _group(tokens, 1, 1)
    if end != len(tokens):
        raise _no_wkt()
    return {"type": name, "coordinates": _unfolded(name, content)}


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _WKT_TOKEN.match(text, at)
        if found is None:
            raise _no_wkt()
        tokens.append(found[1])
        at = found.end()
    return tokens


def _group(tokens: list[str], at: int, depth: int) -> tuple[list[Any], int]:
    """What stands between brackets from `at`: positions and groups, and the place behind the closing bracket."""
    items: list[Any] = []
    while True:
        if tokens[at : at + 1] == ["("]:
            if depth > _MAX_DEPTH:
                raise _no_wkt()
            item, at = _group(tokens, at + 1, depth + 1)
        else:
            item = []
            while at < len(tokens) and tokens[at] not in "(),":
                item.append(exact_number(tokens[at]))
                at += 1
        items.append(item)
        sign, at = tokens[at] if at < len(tokens) else "", at + 1
        if sign == ")":
            return items, at
        if sign != ",":
            raise _no_wkt()


def _unfolded(name: str, content: list[Any]) -> Any:
    """A point is its one position; the points of a MULTIPOINT may stand in brackets of their own."""
    if name == "Point":
        return content[0] if len(content) == 1 else content
    if name == "MultiPoint":
        return [item[0] if len(item) == 1 and isinstance(item[0], list) else item for item in content]
    return content


def _no_wkt() -> Reject:
    return Reject("type.not_a_shape", "the text is no well-known text")


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

    def position(self) -> list[float]:
        values = struct.unpack_from(f"{self._order}2d", self._octets, self._at)
        self._at += 16
        return list(values)

    def expect_end(self) -> None:
        if self._at != len(self._octets):
            raise Reject("type.not_a_shape", "bytes are left after the geometry")


def from_wkb(octets: bytes) -> dict[str, Any]:
    """GeoJSON of well-known binary, also of PostGIS's extended form; not checked yet."""
    wkb = _Wkb(octets)
    try:
        shape = _geometry(wkb, _CODES)
    except (struct.error, IndexError):
        raise Reject("type.not_a_shape", "the geometry ends too early") from None
    wkb.expect_end()
    return shape


def _geometry(wkb: _Wkb, allowed: Container[int]) -> dict[str, Any]:
    wkb.byte_order()
    code = wkb.number()
    if code & _EWKB_SRID:
        check_srid(wkb.number())
    kind = code & 0xFFFF
    if code & (_EWKB_Z | _EWKB_M) or kind >= 1_000:
        raise Reject("type.precision", _HEIGHTS)
    if kind not in allowed:
        raise Reject("type.not_a_shape", "the geometry is a collection or of a kind that GeoJSON does not know: use TEXT")
    return {"type": _CODES[kind], "coordinates": _coordinates_in(wkb, kind)}


def _coordinates_in(wkb: _Wkb, kind: int) -> list[Any]:
    if kind == 1:
        return wkb.position()
    if kind == 2:
        return [wkb.position() for _ in range(wkb.number())]
    if kind == 3:
        return [_coordinates_in(wkb, 2) for _ in range(wkb.number())]
    return [_geometry(wkb, (kind - 3,))["coordinates"] for _ in range(wkb.number())]
