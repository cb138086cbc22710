"""What `check` finds, one line each: what was looked at, how it is, and a sentence with the remedy in it. Pure.

On a terminal lines are coloured and broken at its width; in a pipe a finding is one plain line.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class State(StrEnum):
    """OK: nothing to do. WARN: it works, but costs something. FAIL: something cannot work. UNTOLD: nobody could say."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"
    UNTOLD = "?"


class Finding(NamedTuple):
    """what: the part that was looked at, such as `kafka` or a table's full name."""

    what: str
    state: State
    text: str


GAP = "  "
STATE_WIDTH = 4
# Above this a name does not push all texts to the right, but only its own.
WHAT_WIDTH = 24
LEAST_TEXT_WIDTH = 40
COLOURS: Mapping[State, str] = MappingProxyType({State.OK: "32", State.WARN: "33", State.FAIL: "1;31", State.UNTOLD: "36"})
SUMMARY: Mapping[State, str] = MappingProxyType(
    {State.OK: "ok", State.WARN: "to look at", State.FAIL: "failed", State.UNTOLD: "could not be told"}
)


def ok(what: str, text: str) -> Finding:
    return Finding(what, State.OK, text)


def warn(what: str, text: str) -> Finding:
    return Finding(what, State.WARN, text)


def fail(what: str, text: str) -> Finding:
    return Finding(what, State.FAIL, text)


def untold(what: str, text: str) -> Finding:
    return Finding(what, State.UNTOLD, text)


def has_failed(findings: Sequence[Finding]) -> bool:
    return any(finding.state is State.FAIL for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """
    >>> summary([ok("a", ""), ok("b", ""), fail("c", "")])
    '2 ok, 0 to look at, 1 failed'
    """
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    return ", ".join(f"{n} {SUMMARY[state]}" for state, n in counts.items() if n or state is not State.UNTOLD)


def shown(findings: Sequence[Finding], width: int | None = None, *, is_coloured: bool = False) -> str:
    """Lines for people, and a last one that sums up. width: of the terminal, None where lines must stay whole.

    >>> print(shown([ok("kafka", "1 topic"), fail("doc.orders", "does not exist")]))
    kafka       ok    1 topic
    doc.orders  FAIL  does not exist
    <BLANKLINE>
    1 ok, 0 to look at, 1 failed
    """
    indent = min(WHAT_WIDTH, max((len(finding.what) for finding in findings), default=0))
    lines = [line for finding in findings for line in _lines(finding, indent, width, is_coloured)]
    return "\n".join([*lines, "", summary(findings)])


def _lines(finding: Finding, indent: int, width: int | None, is_coloured: bool) -> Iterator[str]:
    state = f"{finding.state:<{STATE_WIDTH}}"
    before = indent + len(GAP) + STATE_WIDTH + len(GAP)
    first, *others = _broken(finding.text, None if width is None else max(LEAST_TEXT_WIDTH, width - before))
    label = f"{finding.what:<{indent}}"
    if width is not None and len(finding.what) > indent:
        yield finding.what
        label = " " * indent
    head = f"{label}{GAP}{_coloured(state, finding.state) if is_coloured else state}{GAP}"
    yield head + first
    yield from (" " * before + line for line in others)


def _broken(text: str, width: int | None) -> list[str]:
    if width is None:
        return [" ".join(text.split("\n"))]
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]


def _coloured(text: str, state: State) -> str:
    return f"\x1b[{COLOURS[state]}m{text}\x1b[0m"


def shown_as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([finding._asdict() for finding in findings], indent=1, ensure_ascii=False)
