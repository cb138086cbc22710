"""The KEY of `ingest why`: what people type, as the key that the write path uses. Pure.

Texts of errors name columns and types; what was typed is never repeated, it may be somebody's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from ingest.errors import Reject, Stop
from ingest.model import Table
from ingest.tables.contract import Contract
from ingest.tables.types import DEFAULT_RULE, TEXT_TYPES, reading
from ingest.tools.explain_fields import shown_type
from ingest.tools.explain_words import counted

Key = tuple[Any, ...]
BEGINS_JSON: Final = ("{", "[", '"')


def parse_key(text: str, table: Table, contract: Contract | None) -> Key:
    """The key in the order of Table.key. Raises Stop("why.no_key", "why.key" or "why.key_value").

    One column: the value itself. Several: `a=1,b=x`. Both also as JSON: {"a": 1, "b": "x"}, [1, "x"], "x".
    """
    if not table.key:
        raise Stop("why.no_key", f"{table.full_name} has no primary key beside its month, so no row of it can be named")
    named = named_parts(text, table)
    strange = [name for name in named if name not in table.key]
    if strange:
        raise Stop("why.key", f"{_stranger(strange[0], table)}: {form_of(table)}")
    missing = [name for name in table.key if name not in named]
    if missing:
        raise Stop("why.key", f"the key lacks {', '.join(missing)}: {form_of(table)}")
    return tuple(converted(named[name], name, table, contract) for name in table.key)


def form_of(table: Table) -> str:
    """How the key of this table is written.

    >>> from ingest.model import Column
    >>> form_of(Table("doc", "t", {"a": Column("a", "bigint"), "b": Column("b", "text")}, ("a", "b")))
    'the key of doc.t is a (bigint), b (text): write a=...,b=...'
    """
    columns = ", ".join(f"{name} ({shown_type(table.columns[name])})" for name in table.key)
    how = "write its value" if len(table.key) == 1 else f"write {','.join(f'{name}=...' for name in table.key)}"
    return f"the key of {table.full_name} is {columns}: {how}"


def named_parts(text: str, table: Table) -> Mapping[str, Any]:
    """The parts by the column's name, as far as the text tells them apart."""
    if text.lstrip().startswith(BEGINS_JSON):
        return _of_json(text, table)
    parts = _assignments(text, table)
    if parts is not None:
        return parts
    if len(table.key) > 1:
        raise Stop("why.key", f"the key has {len(table.key)} parts: {form_of(table)}")
    return {table.key[0]: text}


def _of_json(text: str, table: Table) -> Mapping[str, Any]:
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        if len(table.key) == 1 and table.columns[table.key[0]].type == "text":
            return {table.key[0]: text}  # a text may begin like JSON
        raise Stop("why.key", f"the key begins like JSON and is none: {form_of(table)}") from error
    if isinstance(found, dict):
        return found
    values = found if isinstance(found, list) else [found]
    if len(values) != len(table.key):
        raise Stop("why.key", f"{counted(len(values), 'value')} given: {form_of(table)}")
    return dict(zip(table.key, values, strict=True))


def _assignments(text: str, table: Table) -> Mapping[str, str] | None:
    """`a=1,b=x, y` split where a name and an equals sign begin, so that values may hold commas; None if it is no such text."""
    names = "|".join(re.escape(name) for name in sorted(table.columns, key=len, reverse=True))
    first = re.match(rf"\s*({names})\s*=", text)
    if first is None:
        if len(table.key) == 1 or "=" not in text:
            return None
        return {text.partition("=")[0].strip(): ""}
    parts = re.split(rf"(?:^|,)\s*({names})\s*=", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _stranger(name: str, table: Table) -> str:
    if name == table.month_column:
        return f"{name} is not part of KEY, all months are looked at"
    return f"{name} is no part of the key" if name in table.columns else "a part of the key is no column of the table"


def converted(value: Any, name: str, table: Table, contract: Contract | None) -> Any:
    """A part as the mapper makes it of a Kafka key without types."""
    column = table.columns[name]
    if value is None:
        raise Stop("why.key_value", f"{name} is null, and no part of a key is")
    if isinstance(value, str) and column.type not in TEXT_TYPES:
        value = value.strip()
    found = reading(None, column, contract.rule(name) if contract is not None else DEFAULT_RULE)
    try:
        return value if type(value) is found.passes else found.convert(value)
    except Reject as reject:
        # What stands behind the colon is advice for records.
        text = f"{name} is {shown_type(column)} and what is given does not fit: {reject.text.partition(': ')[0]}"
        raise Stop("why.key_value", text) from reject
