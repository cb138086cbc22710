"""Whether a value that the worker sends and a value that CrateDB answers are the same: one comparison per column, chosen once.

CrateDB answers in its own spelling: UUIDs in small letters, NUMERIC with all its decimals, CHAR(n) filled up with blanks, points
rounded to its grid. What is not known here compares as it is. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from struct import error as too_large
from struct import pack, unpack
from typing import Any, Final

from ingest.model import Column
from ingest.tables.types import TEXT_TYPES

Same = Callable[[Any, Any], bool]
# CrateDB keeps 32 bits of each coordinate: 360 degrees / 2**32.
GRID_DEGREES: Final = 1e-7


def comparison(column: Column) -> Same:
    """Takes our value, then CrateDB's.

    >>> comparison(Column("n", "numeric", precision=18, scale=2))("12.3", "12.30"), comparison(Column("n", "bigint"))(7, 8)
    (True, False)
    """
    return or_null(_chosen(column))


def or_null(same: Same) -> Same:
    def compare(ours: Any, theirs: Any) -> bool:
        if ours is None or theirs is None:
            return ours is theirs
        return ours == theirs or same(ours, theirs)

    return compare


def _chosen(column: Column) -> Same:
    type_ = column.type
    if type_.endswith("_array"):
        return _arrays(or_null(_chosen(column._replace(type=type_.removesuffix("_array")))))
    if type_ in TEXT_TYPES:
        return lambda ours, theirs: in_length(str(ours), column) == in_length(theirs, column)
    if type_ == "object":
        return _objects(column)
    return SAME.get(type_, equal)


def equal(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs)


def in_length(text: str, column: Column) -> str:
    """Blanks beyond n are dropped on the way in; CHAR(n) shows as many as it has place for."""
    if column.type == "character":
        return text.rstrip(" ")
    return text if column.length is None else text[: column.length]


def _as_number(ours: Any, theirs: Any) -> bool:
    return exact(ours) is not None and exact(ours) == exact(theirs)


def exact(value: Any) -> Decimal | None:
    try:
        return Decimal(str(int(value)) if isinstance(value, bool) else str(value))
    except InvalidOperation:
        return None


def _as_real(ours: Any, theirs: Any) -> bool:
    return real(ours) == real(theirs)


def real(value: Any) -> float | None:
    """The nearest number of 24 bits."""
    try:
        return float(unpack("f", pack("f", float(value)))[0])
    except (ValueError, TypeError, too_large, OverflowError):
        return None


def _as_double(ours: Any, theirs: Any) -> bool:
    try:
        return float(ours) == float(theirs)
    except (ValueError, TypeError):
        return False


def _any_case(ours: Any, theirs: Any) -> bool:
    return str(ours).lower() == str(theirs).lower()


def _as_address(ours: Any, theirs: Any) -> bool:
    try:
        return ip_address(str(ours)) == ip_address(str(theirs))
    except ValueError:
        return False


def _as_bits(ours: Any, theirs: Any) -> bool:
    return str(ours).removeprefix("B").strip("'") == str(theirs).removeprefix("B").strip("'")


def _as_point(ours: Any, theirs: Any) -> bool:
    try:
        return all(abs(float(a) - float(b)) <= GRID_DEGREES for a, b in zip(ours, theirs, strict=True))
    except (ValueError, TypeError):
        return False


def _as_vector(ours: Any, theirs: Any) -> bool:
    try:
        return [real(each) for each in ours] == [real(each) for each in theirs]
    except TypeError:
        return False


SAME: Final[Mapping[str, Same]] = {
    **dict.fromkeys(("bigint", "integer", "smallint", "byte", "numeric"), _as_number),
    "double precision": _as_double,
    "real": _as_real,
    "uuid": _any_case,
    "ip": _as_address,
    "bit": _as_bits,
    "geo_point": _as_point,
    "float_vector": _as_vector,
}


def _arrays(same: Same) -> Same:
    def compare(ours: Any, theirs: Any) -> bool:
        if not isinstance(ours, list | tuple) or not isinstance(theirs, list) or len(ours) != len(theirs):
            return False
        return all(map(same, ours, theirs))

    return compare


def _objects(column: Column) -> Same:
    """Known sub-columns by their types, the rest as JSON. A key without a value is as good as none."""
    known = {child.name: or_null(_inside(child)) for child in column.children}

    def compare(ours: Any, theirs: Any) -> bool:
        if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
            return False
        return all(known.get(name, _loosely)(ours.get(name), theirs.get(name)) for name in {*ours, *theirs})

    return compare


def _inside(column: Column) -> Same:
    """Below an object CrateDB cannot be asked for NUMERIC as text, so its JSON number has the digits of a double."""
    return _as_double if column.type == "numeric" else _chosen(column)


def _loosely(ours: Any, theirs: Any) -> bool:
    """Without types: 1 and 1.0 are the same number, NULL in an object is as good as nothing."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return all(_loosely(ours.get(name), theirs.get(name)) for name in {*ours, *theirs})
    if isinstance(ours, list | tuple) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_loosely, ours, theirs))
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    return bool(ours == theirs)
