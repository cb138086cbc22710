"""What the writers of express readers share: the text of a function as it grows, and what its lines may call.

A reader is one function from (record, now_ms) to a change, written for records that look alike: it hands values straight to
`make` of the tables room, and returns None wherever the record could mean anything else to the long way.
Pure; used by the loop's thread.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from ingest.errors import Reject
from ingest.flow.ports import Express, Make, WantedField
from ingest.formats import framing, json
from ingest.formats.avro_reader import Malformed

# Whatever is wrong with a record, the long way says it better. LookupError: bytes that end too early, a word that is none of the
# expected. TypeError, AttributeError: a missing key, half of a surrogate pair, a number in far fewer bytes than the sample's.
DOUBTS: Final = (*json.BAD_INPUT, Reject, Malformed, LookupError, TypeError, AttributeError, struct.error)
EXACT_INTEGERS: Final = 2**53
# Numbers of up to 15 letters between these are one double's own text, and come back digit by digit.
SURE: Final = "1e-30 < {0} < 1e30 or -1e30 < {0} < -1e-30"
_SURE_LETTERS: Final = 15


class Code:
    """The text of one reader, and the names that it knows."""

    def __init__(self, make: Make) -> None:
        self.lines: list[str] = []
        self.known: dict[str, Any] = {
            "make": make,
            "doubts": DOUBTS,
            "are_silent": framing.are_silent,
            "has_names": json.has_names,
            "double": _double,
            "Decimal": Decimal,
        }

    def line(self, text: str) -> None:
        self.lines.append(text)

    def compiled(self) -> Express:
        """The function: the lines so far, with a refusal of headers that say anything in front."""
        head = (
            "def express(record, now_ms):",
            " topic, partition, offset, _, raw_key, body, headers, _ = record",
            " try:",
            "  if headers and not are_silent(headers): return None",
        )
        text = "\n".join((*head, *(f"  {line}" for line in self.lines), " except doubts: return None"))
        exec(compile(text, "<express>", "exec"), self.known)  # names of fields stand in it as literals, all else is ours
        express: Express = self.known["express"]
        return express


# ---------------------------------------------------------------- objects of JSON


class Beside(NamedTuple):
    """What stands beside the fields of a row: what it is called in a struct, its name in JSON and its type."""

    attribute: str
    name: str
    type: Any


def object_type(fields: Sequence[WantedField], *, is_key: bool, beside: Sequence[Beside] = ()) -> type | None:
    """A struct of all these fields and no others, named f0, f1, ..; None where JSON cannot write what is wanted, or a struct
    cannot have a field of such a name."""
    types = [_TYPES[field.kind](field) for field in fields]
    if None in types:
        return None
    members = [(f"f{place}", found if is_key and found is not Any else found | None) for place, found in enumerate(types)]
    members += [(part.attribute, part.type) for part in beside]
    names = {f"f{place}": field.name for place, field in enumerate(fields)} | {part.attribute: part.name for part in beside}
    try:
        return msgspec.defstruct("Express", members, rename=names, gc=False, forbid_unknown_fields=True)
    except ValueError:
        return None  # a quote, a backslash or a control character in a name


UNREAD: Final = bool | int | float | str  # a scalar that goes nowhere
_TYPES: Final[Mapping[str, Any]] = {
    "text": lambda _: str,
    "bool": lambda _: bool,
    "int": lambda field: Annotated[int, msgspec.Meta(ge=int(field.low), le=int(field.high))],
    "float": lambda _: Any,
    "bytes": lambda _: None,
    "octets": lambda _: bytes,
    "number": lambda _: Any,
    "scalar": lambda _: Any,
    "unread": lambda _: UNREAD,
}


def decoder(type_: type) -> Any:
    """Numbers that are no integers come as bytes, which nothing else does: their text says whether a double keeps them."""
    return msgspec.json.Decoder(type_, float_hook=str.encode).decode


PLACE: Final = "topic, partition, offset, now_ms"


def write_values(code: Code, variable: str, fields: Sequence[WantedField]) -> dict[str, str]:
    """Write what makes the wanted values of a struct of `object_type`; by field, the expressions that then hold them."""
    values = {}
    for place, field in enumerate(fields):
        if field.kind == "unread":
            continue
        if field.kind not in ("float", "number", "scalar"):
            values[field.name] = f"{variable}.f{place}"
            continue
        values[field.name] = name = f"{variable}{place}"
        code.line(f"{name} = {variable}.f{place}")
        _write_number(code, name, field.kind)
    return values


def _write_number(code: Code, name: str, kind: str) -> None:
    code.line(f"if {name}.__class__ is bytes:")
    if kind == "float":
        code.line(f" number = float({name})")
        code.line(f" {name} = number if len({name}) < {_SURE_LETTERS + 1} and ({SURE.format('number')}) else double({name})")
        code.line(f"elif {name} is not None:")
        code.line(f" if {name}.__class__ is not int or not -{EXACT_INTEGERS} <= {name} <= {EXACT_INTEGERS}: return None")
        code.line(f" {name} = float({name})")
        return
    code.line(f" {name} = Decimal({name}.decode())")
    if kind == "number":
        code.line(f"elif {name} is not None and {name}.__class__ is not int: return None")
    else:
        code.line(f"elif {name}.__class__ is dict or {name}.__class__ is list: return None")


def _double(text: bytes) -> float:
    """The double that is written as this text. Raises ValueError where it would be written otherwise."""
    number = float(text)
    if repr(number) == text.decode():
        return number
    raise ValueError("the text is not the shortest of its double")


def write_key(code: Code, fields: Sequence[WantedField] | None, prefix: bytes) -> str | None:
    """Write the reading of a Kafka key that is a JSON object; the expression of its values, None where it cannot be read so.

    fields: None for a key that is no object and not taken: only digits, or none at all.
    """
    if fields is None:
        code.line("if raw_key is not None and not raw_key.isdigit(): return None")
        return "None"
    # A field of these names may be the wrapping of another key.
    if not {"payload", "schema"}.isdisjoint(field.name for field in fields):
        return None
    code.known["key_prefix"] = prefix
    if prefix:
        code.line("if not raw_key.startswith(key_prefix) or raw_key[-1] != 125: return None")
        code.line(f"raw_key = raw_key[{len(prefix)}:-1]")
    else:
        code.line("if raw_key[0] != 123: return None")
    return write_key_object(code, "raw_key", "k", fields)


def write_key_object(code: Code, text: str, variable: str, fields: Sequence[WantedField]) -> str | None:
    """Write the reading of a key from the bytes in a variable, an object of these fields, none of which is null."""
    type_ = object_type(fields, is_key=True)
    if type_ is None:
        return None
    code.known[f"decode_{variable}"] = decoder(type_)
    code.line(f"{variable} = decode_{variable}({text})")
    code.line(f"if {text}.count(b':') != {len(fields)} and not has_names({text}, {len(fields)}): return None")
    values = write_values(code, variable, fields).values()
    if any(field.kind in ("float", "number", "scalar") for field in fields):
        code.line(f"if None in {tuple_of(values)}: return None")
    return tuple_of(values)


def tuple_of(values: Iterable[str]) -> str:
    """The expression of a tuple of these."""
    return "(" + "".join(f"{value}, " for value in values) + ")"
