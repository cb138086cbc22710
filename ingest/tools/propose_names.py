"""Names that need no quotes in CrateDB, and how a name of the source becomes one. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Final

# What CrateDB 6.4 reserves (pg_catalog.pg_get_keywords, category R).
_RESERVED: Final = """
    add all alter and any array as asc between by called case cast column constraint costs create cross current_catalog
    current_date current_role current_time current_timestamp current_user default delete deny desc describe directory distinct
    drop else end escape except exists extract false first for from full function grant group having if in index inner input
    insert intersect into is join last left like limit match natural not null nulls object offset on or order outer persistent
    recursive reset returns revoke right select session_user set some stratify table then transient true try_cast unbounded
    union update user using when where with
"""
RESERVED: Final = frozenset(_RESERVED.split())
OWN_PREFIX: Final = "ingest_"
_PLAIN: Final = re.compile(r"[a-z][a-z0-9_]*")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_]+")
_NOT_IN_TABLES: Final = re.compile(r'[\\/*?"<>|,#.\s]+')
_LETTERS: Final = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d"})
# CrateDB takes no name above 255 bytes; room is left for a number behind it.
_LONGEST: Final = 200


def quoted(name: str) -> str:
    """
    >>> quoted("total"), quoted("order"), quoted("größe")
    ('total', '"order"', '"größe"')
    """
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def full(table: str) -> str:
    """A full name as SQL writes it."""
    return ".".join(quoted(part) for part in table.split(".", 1))


def column_name(field: str) -> str:
    """
    >>> [column_name(name) for name in ("createdAt", "CUSTOMER_ID", "_id", "order", "net.price €", "2fa", "cdc_op", "名前")]
    ['created_at', 'customer_id', 'id', 'order_', 'net_price', 'n2fa', 'source_cdc_op', '名前']
    """
    words = field if field.isupper() else _WORDS.sub("_", field)
    folded = unicodedata.normalize("NFKD", words.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
    name = _NOT_IN_NAMES.sub("_", folded).strip("_")[:_LONGEST]
    if not name:
        return re.sub(r"[.\[\t\n]+", "_", field).lstrip("_")[:_LONGEST] or "unnamed"
    if name.startswith("cdc_"):
        return f"source_{name}"
    if name[0].isdigit():
        return f"n{name}"
    return f"{name}_" if name in RESERVED else name


def column_names(fields: Sequence[str]) -> dict[str, str]:
    """The column of each field, each name once; a field that keeps its own name goes before one that would take it.

    >>> column_names(["_id", "id", "ID"])
    {'_id': 'id_2', 'id': 'id', 'ID': 'id_3'}
    """
    named = {field: field for field in fields if column_name(field) == field}
    taken = set(named)
    for field in fields:
        if field not in named:
            named[field] = free(column_name(field), taken)
            taken.add(named[field])
    return {field: named[field] for field in fields}


def free(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where it is taken."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def is_found(field: str, column: str, fields: Collection[str]) -> bool:
    """Whether the worker finds the field of a column by itself: by its name, or by its letters where only one field has them."""
    return field == column or (field.lower() == column and sum(each.lower() == column for each in fields) == 1)


def table_name(name: str, *, must_match: bool = False) -> str:
    """must_match: records name the table, and only the case of letters may differ.

    >>> table_name("Order-Items"), table_name("Order-Items", must_match=True), table_name("ingest_log"), table_name("_x")
    ('order_items', 'order-items', 'source_ingest_log', 'x')
    """
    lower = _NOT_IN_TABLES.sub("_", name.lower())
    if must_match:
        return lower
    folded = unicodedata.normalize("NFKD", lower.translate(_LETTERS)).encode("ascii", "ignore").decode()
    plain = _NOT_IN_NAMES.sub("_", folded).strip("_")[:_LONGEST] or lower.lstrip("_") or "events"
    plain = f"t{plain}" if plain[0].isdigit() else plain
    return f"source_{plain}" if plain.startswith(OWN_PREFIX) else plain


def singular(name: str) -> str:
    """
    >>> singular("orders"), singular("companies"), singular("stock")
    ('order', 'company', 'stock')
    """
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name
