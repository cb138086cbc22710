"""What `check` finds, one line each: what, ok or WARN or FAIL, and a sentence with the remedy in it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """OK: nothing to do. WARN: it works, but costs something. FAIL: something cannot work."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """what: the part that was looked at, such as `kafka` or a table's full name."""

    what: str
    state: State
    text: str


def ok(what: str, text: str) -> Finding:
    return Finding(what, State.OK, text)


def warn(what: str, text: str) -> Finding:
    return Finding(what, State.WARN, text)


def fail(what: str, text: str) -> Finding:
    return Finding(what, State.FAIL, text)


def has_failed(findings: Sequence[Finding]) -> bool:
    return any(finding.state is State.FAIL for finding in findings)


def shown(findings: Sequence[Finding]) -> str:
    """
    >>> print(shown([ok("kafka", "1 topic"), fail("doc.orders", "does not exist")]))
    kafka       ok    1 topic
    doc.orders  FAIL  does not exist
    """
    width = max((len(finding.what) for finding in findings), default=0)
    return "\n".join(f"{finding.what:<{width}}  {finding.state:<4}  {finding.text}" for finding in findings)


def shown_as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([finding._asdict() for finding in findings], indent=1)
