"""PostgreSQL's own texts of containers: arrays `{a,b}`, hstore `"a"=>"1"` and sparse vectors `{1:0.5}/3`.

Some formats send columns as PostgreSQL prints them. Pure; touched by the loop's thread.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from ingest.errors import Reject

_MAX_DEPTH: Final = 6  # of arrays in PostgreSQL
# `[2:4]=` before an array whose indexes do not begin at 1; places in a list are all that a column keeps.
_BOUNDS: Final = re.compile(r"(?:\[-?\d+:-?\d+\])+=")
_ELEMENT: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^",{}\\\s](?:[^",{}\\]|\\.)*))\s*', re.DOTALL)
_PAIR: Final = re.compile(
    r'\s*"((?:[^"\\]|\\.)*)"\s*=>\s*(?:"((?:[^"\\]|\\.)*)"|(NULL))\s*(?:,(?=\s*")|$)', re.DOTALL | re.IGNORECASE
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SPARSE: Final = re.compile(r"\{([^{}]*)\}/(\d{1,9})", re.ASCII)


def is_array(text: str) -> bool:
    """Whether a text begins as PostgreSQL prints arrays."""
    return text.startswith("{") or _BOUNDS.match(text) is not None


def parse_array(text: str) -> list[Any]:
    """The elements of an array as texts, None where they are NULL, lists where they are arrays.

    Raises Reject("type.not_a_list").

    >>> parse_array('{1,NULL,"a,b",{"\\\\"",NULL}}')
    ['1', None, 'a,b', ['"', None]]
    """
    bounds = _BOUNDS.match(text)
    start = bounds.end() if bounds else 0
    if text[start : start + 1] != "{":
        _refuse()
    found, end = _elements(text, start + 1, 1)
    if text[end:].strip():
        _refuse()
    return found


def _elements(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    """The elements from `at`, just behind an opening brace, and the place behind its closing one."""
    found: list[Any] = []
    if depth > _MAX_DEPTH:
        _refuse()
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        element: Any
        if text[at : at + 1] == "{":
            element, at = _elements(text, at + 1, depth + 1)
        else:
            element, at = _scalar(text, at)
        found.append(element)
        sign, at = text[at : at + 1], at + 1
        if sign == "}":
            return found, at
        if sign != ",":
            _refuse()


def _scalar(text: str, at: int) -> tuple[str | None, int]:
    found = _ELEMENT.match(text, at)
    if found is None:
        _refuse()
    quoted, plain = found.groups()
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted), found.end()
    plain = plain.rstrip()
    return (None if plain.upper() == "NULL" else _ESCAPED.sub(r"\1", plain)), found.end()


def _refuse() -> NoReturn:
    raise Reject("type.not_a_list", "the text is no array as PostgreSQL prints it")


def parse_hstore(text: str) -> dict[str, str | None]:
    """The pairs of an hstore. Raises Reject("type.not_an_object").

    >>> parse_hstore('"a"=>"1", "b"=>NULL')
    {'a': '1', 'b': None}
    """
    pairs: dict[str, str | None] = {}
    text, at = text.strip(), 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise Reject("type.not_an_object", "the text is no hstore as PostgreSQL prints it")
        key, value, _ = found.groups()
        pairs[_ESCAPED.sub(r"\1", key)] = None if value is None else _ESCAPED.sub(r"\1", value)
        at = found.end()
    return pairs


def parse_sparse_vector(text: str) -> dict[str, Any]:
    """pgvector's `{index:number,...}/dimensions` as Debezium sends such vectors. Raises Reject("type.not_a_list")."""
    found = _SPARSE.fullmatch(text)
    entries = [entry.partition(":") for entry in found[1].split(",")] if found is not None and found[1] else []
    if found is None or any(not sign for _, sign, _ in entries):
        raise Reject("type.not_a_list", "the text is no sparse vector as pgvector prints it")
    return {"dimensions": int(found[2]), "vector": [[index.strip(), number.strip()] for index, _, number in entries]}
