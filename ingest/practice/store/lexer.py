"""SQL text into tokens. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from ingest.practice.store.errors import Refusal, unparsable

PATTERN = re.compile(
    r"""
      (?P<skip>\s+ | --[^\n]* | /\*.*?\*/)
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<param>\?|\$\d+)
    | (?P<word>[A-Za-z_][A-Za-z_0-9$]*)
    | (?P<mark>::|\|\||<=|>=|<>|!=|[-+*/%=<>(),.;:\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """kind: string, quoted, number, param, word (folded to lower case), mark or end. text: without quotes."""

    kind: str
    text: str
    at: int
    raw: str


def tokens_of(sql: str) -> list[Token]:
    """All tokens, the last of kind `end`.

    >>> [token.text for token in tokens_of('SELECT "A" || ''b'' -- no')]
    ['select', 'A', '||', 'b', '']
    """
    found, at = [], 0
    while at < len(sql):
        match = PATTERN.match(sql, at)
        if match is None:
            raise at_fault(sql, at, f"extraneous input '{sql[at]}'")
        kind, raw = str(match.lastgroup), match.group()
        if kind != "skip":
            found.append(Token(kind, _text(kind, raw), at, raw))
        at = match.end()
    found.append(Token("end", "", at, "<EOF>"))
    return found


def _text(kind: str, raw: str) -> str:
    if kind == "string":
        return raw[1:-1].replace("''", "'")
    if kind == "quoted":
        return raw[1:-1].replace('""', '"')
    return raw.lower() if kind == "word" else raw


def at_fault(sql: str, at: int, text: str) -> Refusal:
    """A syntax error at that place."""
    before = sql[:at]
    return unparsable(text, before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1)
