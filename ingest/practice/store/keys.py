"""What a WHERE says about the primary key: equality of all its parts, or a few values for each of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

from ingest.practice.store import syntax as s
from ingest.practice.store.expressions import Compiler, Evaluate, Scope, chain
from ingest.practice.store.tables import Key, Row, Table

MAX_COMBINATIONS = 10_000  # beyond that CrateDB makes no key look-up of it either
# Optimistic concurrency: these may stand beside the key, and only these.
SYSTEM_PARTS = ("_seq_no", "_primary_term")


class KeyTest(NamedTuple):
    """A WHERE that names exactly one row. system: values that its system columns must have."""

    parts: Sequence[Evaluate]
    system: dict[str, Evaluate]

    def key(self, params: Sequence[Any]) -> Key:
        scope = Scope({}, {}, params)
        return tuple(part(scope) for part in self.parts)

    def fits(self, row: Row, params: Sequence[Any]) -> bool:
        """Whether nobody changed the row since its numbers were read."""
        scope = Scope({}, {}, params)
        return all(row[name] == value(scope) for name, value in self.system.items())


def key_test(table: Table, where: s.Expression | None, compiler: Compiler) -> KeyTest | None:
    """The one row that a WHERE names, None where it is anything else than equality of all parts of the key."""
    if where is None or not table.key:
        return None
    found: dict[str, Evaluate] = {}
    for test in chain(where, "and"):
        named = equality(test)
        if named is None or named[0] in found:
            return None
        name, value = named
        if name not in table.key and name not in SYSTEM_PARTS:
            return None
        type_ = compiler.columns[name] if name in table.key else None
        found[name] = compiler.compile(value, type_).of
    if any(name not in found for name in table.key):
        return None
    return KeyTest([found[name] for name in table.key], {name: found[name] for name in SYSTEM_PARTS if name in found})


def equality(test: s.Expression) -> tuple[str, s.Expression] | None:
    """Column and value of `column = value`, where the value needs no row."""
    match test:
        case s.Binary("=", s.Name(name), value) | s.Binary("=", value, s.Name(name)) if not names_in(value):
            return name, value
        case _:
            return None


def candidates(table: Table, where: s.Expression | None, compiler: Compiler) -> list[list[Evaluate]] | None:
    """For each part of the key the values that a WHERE leaves, None where it leaves any part open."""
    if where is None or not table.key:
        return None
    found: dict[str, list[Evaluate]] = {}
    for test in chain(where, "and"):
        match test:
            case s.In(s.Name(name), items) if name in table.key and not any(map(names_in, items)):
                found.setdefault(name, [compiler.compile(item, compiler.columns[name]).of for item in items])
            case _:
                if (named := equality(test)) and named[0] in table.key:
                    found.setdefault(named[0], [compiler.compile(named[1], compiler.columns[named[0]]).of])
    if any(name not in found for name in table.key) or prod(map(len, found.values())) > MAX_COMBINATIONS:
        return None
    return [found[name] for name in table.key]


def rows_at(table: Table, parts: Sequence[Sequence[Evaluate]], params: Sequence[Any]) -> Iterator[Row]:
    """The rows at all combinations of values, each once."""
    scope = Scope({}, {}, params)
    values = [dict.fromkeys(part(scope) for part in alternatives) for alternatives in parts]
    for key in product(*values):
        partition = table.partitions.get(partition_of(table, key))
        row = partition.rows.get(key) if partition else None
        if row is not None:
            yield row


def partition_of(table: Table, key: Key) -> Key:
    """The partition of a key; its columns are always part of the key."""
    return tuple(key[table.key.index(name)] for name in table.partitioned_by)


def names_in(expression: Any) -> set[str]:
    """All columns that an expression mentions.

    >>> sorted(names_in(s.Binary("+", s.Name("a"), s.Call("abs", (s.Name("b"),)))))
    ['a', 'b']
    """
    if isinstance(expression, s.Name):
        return {expression.name}
    if isinstance(expression, tuple):
        return set().union(*map(names_in, expression))
    if is_dataclass(expression) and isinstance(expression, s.Expression):
        return set().union(*(names_in(getattr(expression, part.name)) for part in fields(expression)))
    return set()
