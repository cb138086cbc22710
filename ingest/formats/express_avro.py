"""Express readers of Debezium's envelopes in Avro: one function for one writer schema and one table, without dictionaries.

What nobody wants is stepped over, but as the long way would read it: a text must be UTF-8, a branch must exist. What the sample
says of its database and table must stand in the same bytes in the others. Numbers whose sample takes five bytes or more are read
two bytes at a time, from tables. Pure; used by the loop's thread.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from ingest.flow.ports import Express, Make, Wanted, WantedField
from ingest.formats import positions, signals
from ingest.formats.avro import AvroSchema
from ingest.formats.avro_reader import compile_reader, varint
from ingest.formats.express_code import PLACE, Code, write_key
from ingest.formats.express_json import OPS
from ingest.formats.framing import ID_BYTES
from ingest.formats.unavailable import OPENING_BRACKET, Placeholder

_ENVELOPE: Final = frozenset({"before", "after", "source", "op", "ts_ms", "ts_us", "ts_ns", "transaction"})
# Parts of the block `source` that are the same in all records of a table, in one phase of a connector.
_PINNED: Final = frozenset({"version", "connector", "name", "snapshot", "db", "schema", "table"})
_READ: Final = {"ts_ms": "int", "lsn": "int", "file": "text", "pos": "int", "row": "int"}
_WHOLE: Final = (-(2**63), 2**63 - 1)
_NUMBERS: Final = frozenset({"float", "number", "scalar"})
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"text", "scalar"}),
    "int": frozenset({"int", "scalar"}),
    "long": frozenset({"int", "scalar"}),
    "float": _NUMBERS,
    "double": _NUMBERS,
    "boolean": frozenset({"bool", "scalar"}),
    "bytes": frozenset({"octets", "bytes", "scalar"}),
}
_FIXED: Final = {"float": (struct.Struct("<f"), 4), "double": (struct.Struct("<d"), 8)}
_SHORT_BYTES: Final = 4  # of a number that is read byte by byte


class _Unwritten(Exception):
    """The schema has what these readers do not read. Never leaves this module."""


def debezium(
    schema: AvroSchema, value: bytes, wanted: Wanted, make: Make, key_prefix: bytes, placeholder: Placeholder
) -> Express | None:
    """The reader of records like this sample, which the long way has read."""
    sample = schema.decode(value, ID_BYTES)
    try:
        source = msgspec.convert(sample["source"], positions.Usual)
    except (msgspec.ValidationError, TypeError, LookupError):
        return None
    if len(wanted.row) == len(signals.COLUMNS) or not sample.keys() <= _ENVELOPE or wanted.key is None:
        return None
    code = Code(make)
    key = write_key(code, wanted.key, key_prefix)
    reader = _Reader(code, wanted, sample, source)
    try:
        return None if key is None else reader.write(schema.parsed, value[:ID_BYTES], key, placeholder)
    except (_Unwritten, LookupError):
        return None


class _Reader:
    """The lines that read one record, in the order of its schema."""

    def __init__(self, code: Code, wanted: Wanted, sample: Mapping[str, Any], source: positions.Usual) -> None:
        self._code = code
        self._wanted = wanted
        self._sample = sample
        self._source = source
        self._values: list[str] = []
        self._texts: list[str] = []
        self._named: dict[str, Any] = {}
        self._depth = 0
        self._run = b""
        self._count = 0
        code.known |= {"varint": varint, "continued": _continued(), "last": _last(), "usual_binlog": positions.usual_binlog}

    def write(self, node: Any, prefix: bytes, key: str, placeholder: Placeholder) -> Express:
        known = self._code.known
        known |= {"prefix": prefix, "Usual": positions.Usual, "uuid": placeholder.uuid}
        known |= {"words": {ord(word): word for word, op in OPS.items() if op in self._wanted.ops}}
        self._line("if not body.startswith(prefix): return None")
        self._line(f"p = {len(prefix)}")
        _collect(node, self._named)
        for field in node["fields"]:
            self._part(field["name"], field["type"])
        self._line("if p != len(body): return None")
        self._refuse_placeholder(placeholder)
        was = "None"
        if self._wanted.before_real and self._wanted.moment is not None and "before" in self._sample:
            self._line(f"was = image[{self._wanted.moment!r}] if word == 'u' and image is not None else None")
            was = "was"
        version = self._version()
        ts_ms = "ts_ms if ts_ms is not None and ts_ms > 0 else None" if "ts_ms" in self._sample["source"] else "None"
        self._line(f"return make({', '.join([PLACE, 'word', version, ts_ms, was, key, *self._values])})")
        return self._code.compiled()

    def _refuse_placeholder(self, placeholder: Placeholder) -> None:
        """Among scalars it is its own text or octets, its base64, or a UUID where the record may have lists."""
        (rare, rare_encoded), (text, raw, encoded) = placeholder.rare_bytes, placeholder.traces
        self._code.known |= {"placeholder": text, "encoded": encoded, "raw": raw}
        held = f"({rare} in body and placeholder in body) or ({rare_encoded} in body and encoded in body)"
        if raw != text:
            held += " or raw in body"
        self._line(f"if {held}: return None")
        may_hold_lists = f"({OPENING_BRACKET} in body or {placeholder.high_byte} in body)"
        if self._texts:
            self._line(f"if {may_hold_lists} and uuid in ({', '.join(self._texts)},): return None")

    def _version(self) -> str:
        if self._source.connector == "postgresql":
            if self._source.lsn is None:
                raise _Unwritten
            self._line("if lsn is None or lsn < 0: return None")
            return "str(lsn).zfill(20)"
        if positions.usual_binlog(self._source) is None:
            raise _Unwritten
        row = "row" if "row" in self._sample["source"] else "None"
        return f"usual_binlog(Usual('mysql', 't', 'd', None, None, None, file, pos, {row}))[1]"

    def _part(self, name: str, node: Any) -> None:
        if name == "before":
            self._before(node)
        elif name == "after":
            self._after(self._only_branch(node))
        elif name == "source":
            self._source_block(self._only_branch(node))
        elif name == "op":
            if node != "string":
                raise _Unwritten
            self._line("if body[p] != 2: return None")
            self._line("word = words[body[p + 1]]; p += 2")
        else:
            self._skip(node, self._sample[name])

    def _before(self, node: Any) -> None:
        if not isinstance(node, list) or "null" not in node:
            raise _Unwritten
        self._code.known["before"] = compile_reader(node)
        self._line(f"if body[p] == {2 * node.index('null')}: image = None; p += 1")
        self._line("else: image, p = before(body, p)")

    def _only_branch(self, node: Any) -> Any:
        """The record of a union with null, or the record itself; write that it is there."""
        if isinstance(node, list):
            (number,) = (number for number, branch in enumerate(node) if branch != "null")
            self._line(f"if body[p] != {2 * number}: return None")
            self._line("p += 1")
            node = node[number]
        found = self._resolved(node)
        if not isinstance(found, dict) or found["type"] != "record":
            raise _Unwritten
        return found

    def _after(self, node: Any) -> None:
        wanted = {field.name: field for field in self._wanted.row}
        if wanted.keys() != {field["name"] for field in node["fields"]}:
            raise _Unwritten
        for field in node["fields"]:
            sample, want = self._sample["after"][field["name"]], wanted[field["name"]]
            if want.kind == "unread":
                self._skip(field["type"], sample)
            else:
                self._values.append(self._value(field["type"], want, sample))

    def _source_block(self, node: Any) -> None:
        samples = self._sample["source"]
        for field in node["fields"]:
            name, type_ = field["name"], field["type"]
            sample = samples[name]
            if name in _PINNED:
                self._run += _written(type_, sample)
                continue
            self._end_run()
            if name in _READ:
                variable = self._value(type_, WantedField(name, _READ[name], *_WHOLE), sample)
                self._line(f"{name} = {variable}")
            else:
                self._skip(type_, sample)
        self._end_run()

    def _end_run(self) -> None:
        """Write that the next bytes are the sample's."""
        if self._run:
            self._line(f"if not body.startswith({self._run!r}, p): return None")
            self._line(f"p += {len(self._run)}")
            self._run = b""

    # ---------------------------------------------------------------- values

    def _value(self, node: Any, want: WantedField, sample: Any) -> str:
        """Write what reads a value; the variable that then holds it."""
        self._count += 1
        name = f"v{self._count}"
        self._nullable(node, f"{name} = None", lambda branch: self._scalar(branch, name, want, sample))
        return name

    def _nullable(self, node: Any, if_null: str, write: Any) -> None:
        if not isinstance(node, list):
            write(self._resolved(node))
            return
        if len(node) != 2 or "null" not in node:
            raise _Unwritten
        null = node.index("null")
        self._line("n = body[p]; p += 1")
        self._line(f"if n == {2 - 2 * null}:")
        self._depth += 1
        write(self._resolved(node[1 - null]))
        self._depth -= 1
        self._line(f"elif n == {2 * null}: {if_null}")
        self._line("else: return None")

    def _scalar(self, node: Any, name: str, want: WantedField, sample: Any) -> None:
        word = _word(node)
        if want.kind not in _KINDS.get(word, ()):
            raise _Unwritten
        if word in ("int", "long"):
            self._number(_varint_bytes(sample))
            self._line(f"{name} = (n >> 1) ^ -(n & 1)")
        elif word in ("string", "bytes"):
            self._number(1)
            self._line("if n & 1: return None")
            self._line("q = p + (n >> 1)")
            self._line(f"{name} = body[p:q]{'.decode()' if word == 'string' else ''}; p = q")
            self._texts.append(name)
        elif word == "boolean":
            self._line("n = body[p]; p += 1")
            self._line("if n > 1: return None")
            self._line(f"{name} = n == 1")
        else:
            layout, width = _FIXED[word]
            self._code.known[f"{word}_of"] = layout.unpack_from
            self._line(f"({name},) = {word}_of(body, p); p += {width}")
        if want.kind in ("int", "float") and (want.low, want.high) != _WHOLE:
            self._line(f"if not {want.low!r} <= {name} <= {want.high!r}: return None")

    def _skip(self, node: Any, sample: Any) -> None:
        """Write what steps over a value that nobody wants."""
        self._nullable(node, "pass", lambda branch: self._skip_branch(branch, sample))

    def _skip_branch(self, node: Any, sample: Any) -> None:
        word = _word(node)
        if word in ("int", "long"):
            self._line("q = p")
            self._line("while body[p] > 127: p += 1")
            self._line("p += 1")
            self._line("if p - q > 9: return None")
        elif word in ("string", "bytes"):
            self._number(1)
            self._line("if n & 1: return None")
            self._line("q = p + (n >> 1)")
            if word == "string":
                self._line("if not body[p:q].isascii(): body[p:q].decode()")
            self._line("p = q")
        elif word == "boolean":
            self._line("if body[p] > 1: return None")
            self._line("p += 1")
        elif word in _FIXED:
            self._line(f"p += {_FIXED[word][1]}")
        elif word == "null":
            self._line("pass")
        elif sample is None:
            self._line("return None")
        else:
            raise _Unwritten

    def _number(self, length: int) -> None:
        """Write what reads a varint into n, not yet un-zigzagged; length: the sample's, which most others have too."""
        if length <= _SHORT_BYTES or length > 9:
            self._short_number()
            return
        halves = [f"h{place}" for place in range(length // 2)]
        self._code.known[f"pairs{length}"] = struct.Struct("<" + "H" * (length // 2) + "B" * (length % 2)).unpack_from
        if length % 2:
            self._line(f"{', '.join(halves)}, c = pairs{length}(body, p)")
            self._line(f"n = continued[{halves[-1]}] if c < 128 else None")
        else:
            self._line(f"{', '.join(halves)} = pairs{length}(body, p)")
            self._line(f"n = last[{halves[-1]}]")
        self._line("if n is None:")
        self._line(" n = body[p]; p += 1")
        self._line(" if n > 127: n, p = varint(body, p, n)")
        terms = [
            f"(continued[{half}] << {14 * place})" if place else f"continued[{half}]" for place, half in enumerate(halves[:-1])
        ]
        terms.append(f"(n << {14 * (len(halves) - 1)})")
        terms += [f"(c << {14 * len(halves)})"] if length % 2 else []
        self._line(f"else: n = {' + '.join(terms)}; p += {length}")

    def _short_number(self) -> None:
        self._line("n = body[p]; p += 1")
        self._line("if n > 127:")
        self._line(" c = body[p]; p += 1")
        self._line(" n += (c << 7) - 128")
        self._line(" if c > 127:")
        self._line("  c = body[p]; p += 1")
        self._line("  n += (c << 14) - 16384")
        self._line("  if c > 127: n, p = varint(body, p - 2, body[p - 3])")

    def _resolved(self, node: Any) -> Any:
        return self._named.get(node, node) if isinstance(node, str) else node

    def _line(self, text: str) -> None:
        self._code.line(" " * self._depth + text)


# ---------------------------------------------------------------- small parts


def _word(node: Any) -> str:
    while isinstance(node, dict):
        node = node["type"]
    return node if isinstance(node, str) else ""


def _collect(node: Any, named: dict[str, Any]) -> None:
    """The definitions of named types anywhere in a schema, by their names."""
    for part in node if isinstance(node, list) else [node]:
        if isinstance(part, dict):
            if "name" in part:
                named[part["name"]] = part
            for inner in ("type", "items", "values"):
                if isinstance(part.get(inner), list | dict):
                    _collect(part[inner], named)
            for field in part.get("fields", ()):
                _collect(field["type"], named)


def _written(node: Any, value: Any) -> bytes:
    """The bytes of a text, or of null, as this type has them."""
    lead = b""
    if isinstance(node, list):
        (number,) = (n for n, branch in enumerate(node) if (branch == "null") is (value is None))
        lead, node = bytes([2 * number]), node[number]
    if value is None and lead:
        return lead
    if _word(node) != "string":
        raise _Unwritten
    octets: bytes = value.encode()
    return lead + _unsigned(2 * len(octets)) + octets


def _unsigned(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varint_bytes(sample: Any) -> int:
    if type(sample) is not int:
        return 1
    return len(_unsigned((sample << 1) ^ (sample >> 63)))


@cache
def _continued() -> list[int | None]:
    """Two bytes of a varint that goes on behind them, as a little-endian number, to their 14 bits."""
    return [pair & 127 | pair >> 1 & 0x3F80 if pair & 0x8080 == 0x8080 else None for pair in range(65_536)]


@cache
def _last() -> list[int | None]:
    """The same of the two bytes that end one."""
    return [pair & 127 | pair >> 1 & 0x3F80 if pair & 0x8080 == 0x80 else None for pair in range(65_536)]
