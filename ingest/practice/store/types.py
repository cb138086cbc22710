"""Column types: their names, and how a value becomes one of the type, or is refused, as CrateDB does it.

`caster(type)` makes one function per type, chosen once and called per value; `fault(type)` finds what only shows when a row is
written (text too long, the two ends of BIGINT). Pure.
"""

from __future__ import annotations

import ipaddress
import math
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

import orjson

from ingest.practice.store.errors import Refusal, bad, not_castable

Cast = Callable[[Any], Any]
MAX_TERM_BYTES = 32_766  # Lucene's limit for one indexed term
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
REAL_MAX = 3.4028235677973366e38  # from here a number rounds to infinity: refused as a number, taken as a text
TRUE_WORDS, FALSE_WORDS = {"t", "true", "yes", "on", "1", "y"}, {"f", "false", "no", "off", "0", "n"}
BITS = {"byte": 8, "smallint": 16, "integer": 32, "bigint": 64}
PRECISIONS = {"byte": 8, "smallint": 16, "integer": 32, "bigint": 64, "real": 24, "double precision": 53}
INTEGER = re.compile(r"[+-]?\d+")
FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|NaN|[+-]?Infinity")
MOMENT = re.compile(
    r"(?P<date>[+-]?\d{4,9}-\d{2}-\d{2})(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2})?)(?P<fraction>\.\d{1,9})?)?"
    r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?"
)
POINT = re.compile(r"POINT\s*\(\s*(\S+)\s+(\S+)\s*\)", re.IGNORECASE)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DataType:
    """name: CrateDB's word in the catalogue. fields: of an object. element: of an array."""

    name: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    element: DataType | None = None
    fields: Mapping[str, DataType] = field(default_factory=dict)
    policy: str = ""

    def __hash__(self) -> int:
        return hash((self.name, self.length, self.precision, self.scale))

    @property
    def is_text(self) -> bool:
        return self.name in ("text", "character")

    @property
    def catalogue_name(self) -> str:
        return f"{self.element.catalogue_name}_array" if self.element else self.name

    @property
    def said(self) -> str:
        """The name as error messages give it."""
        if self.element:
            return f"{self.element.said}_array"
        if self.name == "numeric" and self.precision is not None:
            return f"numeric({self.precision},{self.scale or 0})"
        return self.name

    @property
    def ddl(self) -> str:
        """The type as SHOW CREATE TABLE writes it."""
        if self.element:
            return f"ARRAY({self.element.ddl})"
        if self.name == "numeric" and self.precision is not None:
            return f"NUMERIC({self.precision}, {self.scale})" if self.scale else f"NUMERIC({self.precision})"
        if self.name == "object":
            return f"OBJECT({self.policy.upper()})"
        word = "VARCHAR" if self.name == "text" and self.length else self.name.upper()
        return f"{word}({self.length})" if self.length else word


TEXT, INT, BIGINT, DOUBLE, BOOLEAN = (DataType(name) for name in ("text", "integer", "bigint", "double precision", "boolean"))
NUMERIC, OBJECT = DataType("numeric"), DataType("object", policy="dynamic")
TIMESTAMP = DataType("timestamp with time zone")


def caster(type_: DataType) -> Cast:
    """A function that makes a value one of the type; None stays None. It raises Refusal 4000."""
    if type_.element:
        convert = array_caster(type_.element)
    elif type_.name in BITS:
        convert = integer_caster(type_.name)
    elif type_.name == "numeric":
        convert = numeric_caster(type_)
    elif type_.name == "object" and type_.fields:
        convert = object_caster(type_)
    elif type_.name == "text" and type_.length:
        convert = varchar_caster(type_.length)
    else:
        convert = CASTS[type_.name]
    said = type_.said

    def cast(value: Any) -> Any:
        if value is None:
            return None
        try:
            return convert(value)
        except Refusal as refusal:
            raise (not_castable(value, said) if type_.element else refusal) from None
        except (ValueError, TypeError, OverflowError, InvalidOperation):
            raise not_castable(value, said) from None

    return cast


# ---------------------------------------------------------------- numbers, booleans, text


def to_boolean(value: Any) -> bool:
    if isinstance(value, bool | int | float | Decimal):
        return bool(value)
    word = value.lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError


def integer_caster(name: str) -> Cast:
    bits = BITS[name]
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def convert(value: Any) -> int:
        if type(value) is int:
            number = value if low <= value <= high else narrowed(value, bits)
        elif isinstance(value, str):
            if not INTEGER.fullmatch(value):
                raise ValueError
            number = int(value)
        elif isinstance(value, float | Decimal):
            number = int(value)
        else:
            raise TypeError
        if not low <= number <= high:
            raise ValueError
        return number

    return convert


def narrowed(value: int, bits: int) -> int:
    """CrateDB takes the low 64 bits of a JSON integer, and the low 32 of those for the two smallest types."""
    width = 32 if bits < 32 else 64
    return (value + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))


def to_double(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str) and not FLOAT.fullmatch(value):
        raise ValueError
    return float(value)


def to_real(value: Any) -> float:
    number = to_double(value)
    if not math.isfinite(number):
        return number
    if isinstance(value, str) and abs(number) > REAL_MAX:
        return math.copysign(math.inf, number)
    packed = struct.pack(">f", number)
    for digits in range(6, 10):  # nine digits tell any two 32-bit floats apart; the fewest that do are shown
        shown = float(f"{number:.{digits}g}")
        if struct.pack(">f", shown) == packed:
            return shown
    return number


def numeric_caster(type_: DataType) -> Cast:
    def convert(value: Any) -> Decimal:
        if isinstance(value, bool):
            raise TypeError
        number = Decimal(narrowed(value, 64)) if isinstance(value, int) else Decimal(str(value))
        if not number.is_finite():
            raise ValueError
        if type_.precision is None:
            return number
        with localcontext(prec=80):
            number = number.quantize(Decimal(1).scaleb(-(type_.scale or 0)), ROUND_HALF_UP)
        if len(number.as_tuple().digits) > type_.precision:
            raise ValueError
        return number

    return convert


def to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, dict):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, list):
        raise TypeError
    return str(value)


def varchar_caster(length: int) -> Cast:
    """Surplus blanks are dropped; surplus letters show only when the row is written."""

    def convert(value: Any) -> str:
        text = to_text(value)
        return text if len(text) <= length or text[length:].strip() else text[:length]

    return convert


# ---------------------------------------------------------------- times


def to_timestamp(value: Any) -> int:
    return moment_ms(value, keeps_zone=True)


def to_local_timestamp(value: Any) -> int:
    return moment_ms(value, keeps_zone=False)


def moment_ms(value: Any, *, keeps_zone: bool) -> int:
    """Epoch ms. A float is read as seconds, as CrateDB does."""
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int):
        return narrowed(value, 64)
    if isinstance(value, float):
        return int(value * 1000)
    if INTEGER.fullmatch(value):
        return int(value)
    found = MOMENT.fullmatch(value)
    if found is None:
        raise ValueError
    text = f"{found['date'].lstrip('+')}T{found['time'] or '00:00'}"
    local = datetime.fromisoformat(text).replace(tzinfo=zone_of(found["zone"]) if keeps_zone else UTC)
    fraction_ms = int(((found["fraction"] or ".0")[1:] + "00")[:3])
    return (local - EPOCH) // timedelta(milliseconds=1) + fraction_ms


def zone_of(text: str | None) -> timezone:
    if text in (None, "Z"):
        return UTC
    digits = text.replace(":", "")[1:].ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


# ---------------------------------------------------------------- everything else


def to_object(value: Any) -> dict[str, Any]:
    found = orjson.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise TypeError
    return found


def object_caster(type_: DataType) -> Cast:
    casts = {name: caster(part) for name, part in type_.fields.items()}

    def convert(value: Any) -> dict[str, Any]:
        return {name: casts[name](part) if name in casts else part for name, part in to_object(value).items()}

    return convert


def array_caster(element: DataType) -> Cast:
    cast = caster(element)

    def convert(value: Any) -> list[Any]:
        if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
            value = [None if part == "NULL" else part.strip('"') for part in value[1:-1].split(",") if part]
        if not isinstance(value, list):
            raise TypeError
        return [cast(part) for part in value]

    return convert


def to_point(value: Any) -> list[float]:
    if isinstance(value, str) and (found := POINT.fullmatch(value)):
        value = [float(found[1]), float(found[2])]
    lon, lat = value
    if isinstance(lon, str) or isinstance(lat, str) or not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError
    return [float(lon), float(lat)]


def to_shape(value: Any) -> Any:
    if not isinstance(value, dict | str):
        raise TypeError
    return value


def to_ip(value: Any) -> str:
    return str(ipaddress.ip_address(value))


def to_bits(value: Any) -> str:
    if set(value) - {"0", "1"}:
        raise ValueError
    return f"B'{value}'"


def to_vector(value: Any) -> list[float]:
    if not all(isinstance(part, int | float) for part in value):
        raise TypeError
    return [to_real(part) for part in value]


CASTS: dict[str, Cast] = {
    "boolean": to_boolean,
    "real": to_real,
    "double precision": to_double,
    "text": to_text,
    "character": to_text,
    "timestamp with time zone": to_timestamp,
    "timestamp without time zone": to_local_timestamp,
    "object": to_object,
    "geo_point": to_point,
    "geo_shape": to_shape,
    "ip": to_ip,
    "uuid": lambda value: str(uuid.UUID(value)),
    "bit": to_bits,
    "float_vector": to_vector,
}

# ---------------------------------------------------------------- what shows only when a row is written


def fault(type_: DataType) -> Callable[[Any], Refusal | None] | None:
    """A function that tells why a value of the type cannot be stored, None where that cannot happen."""
    if type_.name == "bigint":
        return lambda value: (
            bad(f"Value {value} exceeds allowed range for column of type bigint") if value in (LONG_MIN, LONG_MAX) else None
        )
    if type_.is_text:
        return lambda value: text_fault(value, type_.length, type_.name)
    if type_.name == "bit":
        said = f"does not match type bit({type_.length})"
        return lambda value: bad(f"bit string length {len(value) - 3} {said}") if len(value) - 3 != type_.length else None
    if type_.name == "float_vector":
        text = "The number of vector dimensions does not match the field type"
        return lambda value: bad(text) if len(value) != type_.length else None
    return None


def text_fault(text: str, length: int | None, name: str) -> Refusal | None:
    if length and len(text.encode("utf-16-le", "surrogatepass")) // 2 > length:
        return bad(f"'{text}' is too long for the {name} type of length: {length}")
    if len(text) * 4 > MAX_TERM_BYTES and (size_bytes := len(text.encode("utf-8", "surrogatepass"))) > MAX_TERM_BYTES:
        limit = f"(whose UTF8 encoding is longer than the max length {MAX_TERM_BYTES})"
        told = f'Document contains at least one immense term in field="1" {limit}'
        return bad(f"{told}, original message: bytes can be at most {MAX_TERM_BYTES} in length; got {size_bytes}")
    return None
