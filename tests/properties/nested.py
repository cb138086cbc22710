"""Vectors, arrays, points, shapes and objects: their samples, and when a stored value is the one that was meant."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from ingest.model import SourceType
from tests.properties import samples as s
from tests.properties.samples import REFUSED, Sample, Samples, as_is, of, spelled
from tests.properties.scalars import single

# ---------------------------------------------------------------- nested


def same_vector(_column: str, stored: list[float], meaning: list[float]) -> bool:
    return [single(number) for number in stored] == [single(number) for number in meaning]


singles: Final = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda f: f + 0.0)
triples: Final = st.lists(singles, min_size=3, max_size=3)
vectors: Final[Samples] = st.one_of(
    spelled(triples, *as_is(None, "array", "vector", "ext_json"), *as_is("json", "string", "array", raw=s.dumps)),
    spelled(triples, lambda v: Sample(of("vector"), "{" + ",".join(map(repr, v)) + "}", v)),
    spelled(
        triples,
        lambda v: Sample(of("sparse_vector"), {"dimensions": 3, "vector": [[n + 1, x] for n, x in enumerate(v) if x]}, v),
        lambda v: Sample(
            of("sparse_vector"), {"dimensions": 3, "vector": [{"key": n + 1, "value": x} for n, x in enumerate(v) if x]}, v
        ),
        lambda v: Sample(of("sparse_vector"), "{" + ",".join(f"{n + 1}:{x!r}" for n, x in enumerate(v) if x) + "}/3", v),
    ),
    spelled(st.lists(singles, max_size=5).filter(lambda v: len(v) != 3), lambda v: Sample(None, v, REFUSED)),
    spelled(
        st.sampled_from([[1, None, 2], [1, 1e39, 2], [1e-50, 1, 1], [1, "NaN", 2], "x", {"dimensions": 2}]),
        lambda v: Sample(None, v, REFUSED),
    ),
)

array_texts: Final = st.lists(st.one_of(st.none(), st.text('ab,{}"\\ é', max_size=5), st.just("NULL")), max_size=5)


def braces(values: list[Any]) -> str:
    """A list as PostgreSQL prints it."""

    def one(value: Any) -> str:
        if isinstance(value, list):
            return braces(value)
        return "NULL" if value is None else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "{" + ",".join(map(one, values)) + "}"


def listed(element: str) -> SourceType:
    return SourceType("array", element=SourceType(element))


small_integers: Final = st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), max_size=5)
# For each column a list of its own: samples say by their kind of list which column they fit, the others refuse them.
arrays: Final[Mapping[str, Samples]] = {
    "al": st.one_of(
        spelled(
            small_integers,
            *as_is(None, "ext_json"),
            *as_is("json", "string", raw=s.dumps),
            lambda v: Sample(listed("int"), braces(v), v),
        ),
        spelled(st.sampled_from([[1.5], [2**63], ["x"], 5, "{1,2}"]), lambda v: Sample(None, v, REFUSED)),
    ),
    "at": st.one_of(
        spelled(
            array_texts, *as_is(None), lambda v: Sample(listed("string"), v, v), lambda v: Sample(listed("string"), braces(v), v)
        ),
        spelled(st.lists(st.text("ab ", min_size=1), max_size=4), lambda v: Sample(of("enum_set"), ",".join(v), v)),
        spelled(st.lists(st.integers(-9, 9)), lambda v: Sample(of("vector"), v, [str(n) for n in v])),
    ),
    "an": spelled(
        st.lists(st.one_of(st.none(), st.integers(-99_999, 99_999)), max_size=4),
        lambda v: Sample(
            SourceType("array", element=of("decimal", scale=2)),
            [None if n is None else s.unscaled_octets(n) for n in v],
            [None if n is None else f"{Decimal(n).scaleb(-2):.2f}" for n in v],
        ),
    ),
    "ats": spelled(
        st.lists(st.one_of(st.none(), st.integers(-(10**15), 10**15)), max_size=4),
        lambda v: Sample(listed("ts_us"), v, [None if n is None else n // 1000 for n in v]),
    ),
    "aa": spelled(
        st.lists(st.one_of(st.none(), small_integers), max_size=4), *as_is(None, "ext_json"), *as_is("json", raw=s.dumps)
    ),
}


def same_list(_column: str, stored: Any, meaning: Any) -> bool:
    return bool(stored == meaning)


def is_point(_column: str, stored: list[float], meaning: list[float]) -> bool:
    return stored == meaning


def point_spellings() -> Samples:
    return spelled(
        s.positions,
        *as_is(None, "array", "ext_json"),
        *as_is("json", "string", "array", raw=s.dumps),
        lambda p: Sample(of("point"), {"x": p[0], "y": p[1], "srid": 4326}, p),
        lambda p: Sample(of("struct"), {"lon": p[0], "lat": p[1]}, p),
        lambda p: Sample(of("map"), {"longitude": p[0], "latitude": p[1]}, p),
    )


def one_point_as_geometry(shape: Callable[[list[float]], Any]) -> Samples:
    return spelled(
        s.positions,
        lambda p: Sample(of("geometry"), {"wkb": s.wkb(p), "srid": 4326}, shape(p)),
        lambda p: Sample(of("geometry"), {"wkb": b64encode(s.wkb(p, order=">")).decode(), "srid": None}, shape(p)),
        lambda p: Sample(of("bytes"), s.wkb(p, srid=4326), shape(p)),
        lambda p: Sample(None, s.wkb(p, srid=4326).hex().upper(), shape(p)),
        lambda p: Sample(of("string"), f"SRID=4326;POINT({p[0]!r} {p[1]!r})", shape(p)),
        lambda p: Sample(of("json"), json.dumps({"type": "Point", "coordinates": p}), shape(p)),
        *(
            lambda p, kind=kind: Sample(of(kind), {"type": "Point", "coordinates": p}, shape(p))
            for kind in (None, "geometry", "ext_json", "struct", "map", "point")
        ),  # type: ignore[misc]
    )


no_points: Final[Samples] = spelled(
    st.sampled_from(
        [
            [181, 0],
            [0, 91],
            [1],
            [1, 2, 3],
            ["1", "2"],
            "POINT Z (1 2 3)",
            "POINT EMPTY",
            {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
            {"x": 1, "y": 2, "srid": 3857},
            5,
        ]
    ),
    lambda raw: Sample(None, raw, REFUSED),
)
points: Final = st.one_of(point_spellings(), one_point_as_geometry(lambda p: p), no_points)

corners: Final = st.lists(st.floats(0.05, 6.2), min_size=3, max_size=7, unique_by=lambda angle: round(angle, 1))


def ring(angles: list[float], radius: float) -> list[list[float]]:
    """Corners on a circle in order, so that no two edges cross."""
    from math import cos, sin

    points = [[round(10 + radius * cos(angle), 6), round(20 + radius * sin(angle), 6)] for angle in sorted(angles)]
    return [*points, points[0]]


def wkt_ring(points: list[list[float]]) -> str:
    return "(" + ", ".join(f"{x!r} {y!r}" for x, y in points) + ")"


polygons: Final = st.builds(ring, corners, st.floats(0.5, 40))
lines: Final = st.lists(s.positions, min_size=2, max_size=6, unique_by=tuple)


def geojson(name: str, coordinates: Any) -> dict[str, Any]:
    return {"type": name, "coordinates": coordinates}


shapes: Final[Samples] = st.one_of(
    one_point_as_geometry(lambda p: geojson("Point", p)),
    spelled(
        polygons,
        lambda r: Sample(None, geojson("Polygon", [r]), geojson("Polygon", [r])),
        lambda r: Sample(None, geojson("Polygon", [r[:-1]]), geojson("Polygon", [r])),
        lambda r: Sample(of("string"), f"POLYGON ({wkt_ring(r)})", geojson("Polygon", [r])),
        lambda r: Sample(None, geojson("MultiPolygon", [[r]]), geojson("MultiPolygon", [[r]])),
    ),
    spelled(
        lines,
        lambda p: Sample(of("map"), geojson("LineString", p), geojson("LineString", p)),
        lambda p: Sample(None, f"linestring {wkt_ring(p)}", geojson("LineString", p)),
        lambda p: Sample(None, geojson("MultiPoint", p), geojson("MultiPoint", p)),
        lambda p: Sample(None, f"MULTILINESTRING ({wkt_ring(p)})", geojson("MultiLineString", [p])),
    ),
    spelled(
        st.sampled_from(
            [
                "rubbish",
                "POINT EMPTY",
                "GEOMETRYCOLLECTION (POINT (1 2))",
                "POINT Z (1 2 3)",
                "SRID=3857;POINT (1 2)",
                geojson("Point", []),
                geojson("LineString", [[0, 0]]),
                geojson("LineString", [[0, 0], [0, 0]]),
                geojson("Polygon", [[[0, 0], [1, 0], [2, 0], [0, 0]]]),
                geojson("MultiPoint", []),
                geojson("Point", [181, 0]),
                {"type": "GeometryCollection", "geometries": []},
                geojson("Circle", [1, 2]),
                7,
                b"\x01\x01",
            ]
        ),
        lambda raw: Sample(None, raw, REFUSED),
    ),
)


def same_shape(_column: str, stored: Any, meaning: Any) -> bool:
    return bool(stored == meaning)


# ---------------------------------------------------------------- objects

typed_objects: Final = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-99_999, 99_999).map(lambda n: Decimal(n).scaleb(-2)),
        "l": st.integers(-(2**63) + 1, 2**63 - 2),
        "s": st.integers(-(2**15), 2**15 - 1),
        "r": singles,
        "at": st.integers(-62_135_596_800_000, 253_402_300_799_999),
        "t": st.text(max_size=8),
        "v": st.text("ab ", max_size=3),
        "bt": st.text("01", min_size=4, max_size=4),
        "ip": st.ip_addresses(v=4).map(str),
        "u": st.uuids().map(str),
        "bo": st.booleans(),
        "al": small_integers,
        "in": st.fixed_dictionaries(
            {}, optional={"y": st.integers(-9, 9), "z": st.integers(-9_999, 9_999).map(lambda n: Decimal(n).scaleb(-1))}
        ),
    },
)


def as_stored(value: Any) -> Any:
    """How CrateDB's JSON shows a typed object: NUMERIC as a number, bits in quotes."""
    if isinstance(value, dict):
        return {
            name: f"B'{item}'" if name == "bt" else single(item) if name == "r" else as_stored(item)
            for name, item in value.items()
        }
    return float(value) if isinstance(value, Decimal) else value


def same_object(_column: str, stored: Any, meaning: Any) -> bool:
    return bool(shown(stored) == as_stored(meaning))


def shown(stored: Any) -> Any:
    if isinstance(stored, dict):
        return {name: single(item) if name == "r" and item is not None else shown(item) for name, item in stored.items()}
    return float(stored) if isinstance(stored, float) else stored


FIELDS: Final = {"n": of("decimal"), "at": of("ts_us"), "u": of("uuid")}


def declared(value: dict[str, Any]) -> Sample:
    """The same object from a source that declares its fields: microseconds, and UUIDs in upper case."""
    raw = {name: item * 1_000 + 7 if name == "at" else item.upper() if name == "u" else item for name, item in value.items()}
    return Sample(SourceType("struct", fields={name: kind for name, kind in FIELDS.items() if kind is not None}), raw, value)


SPOILS: Final = {
    "s": 4_294_967_297, "n": "12.345", "l": 2**64 - 1, "v": "abcd", "bt": "01", "at": "infinity", "al": [1.5], "in": {"x": 1},
    "ip": "10.0.0.0/8", "u": "x", "bo": 2,
}  # fmt: skip
spoiled: Final[Samples] = st.builds(
    lambda value, name: Sample(None, {**value, name: SPOILS[name]}, REFUSED), typed_objects, st.sampled_from(sorted(SPOILS))
)
dotted: Final = st.sampled_from(["a.b", "a[0]", "x\ty", "", "line\nbreak", "\r"])
free_objects: Final[Samples] = st.one_of(
    spelled(
        s.json_objects,
        *as_is(None, "map", "struct", "point", "geometry", "ext_json", "structured", "interval_parts", "hstore"),
        *as_is("json", "string", "hstore", raw=s.dumps),
    ),
    spelled(
        st.sampled_from(
            [
                '{"a": 1, "a": 2}',
                "[1]",
                "null",
                "5",
                "x",
                '{"a": NaN}',
                '{"a": 1e400}',
                '{"a": 18446744073709551616}',
                '{"a": 0.12345678901234567890123}',
            ]
        ),
        lambda raw: Sample(of("json"), raw, REFUSED),
    ),
    spelled(
        st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(max_size=5)), max_size=4),
        lambda v: Sample(
            of("hstore"), ", ".join(f"{quoted(key)}=>{'NULL' if item is None else quoted(item)}" for key, item in v.items()), v
        ),
    ),
    spelled(
        st.integers(1, 9),
        lambda n: Sample(
            of("sparse_vector"), {"dimensions": 9, "vector": [[n, 0.5]]}, {"dimensions": 9, "indices": [n], "values": [0.5]}
        ),
    ),
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def same_json(_column: str, stored: Any, meaning: Any) -> bool:
    return bool(stored == meaning)


refused_keys: Final[Samples] = st.builds(lambda value, key: Sample(None, {**value, key: 1}, REFUSED), typed_objects, dotted)
unknown_keys: Final[Samples] = spelled(typed_objects, lambda value: Sample(None, {**value, "unknown": 1}, REFUSED))
