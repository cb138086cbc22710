"""Arithmetic as CrateDB does it: integers stay integers, a float among exact numbers makes a float. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ingest.practice.store.errors import bad


def divided(x: Any, y: Any) -> Any:
    if y == 0:
        raise bad("/ by zero")
    if isinstance(x, int) and isinstance(y, int):
        return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    return exact(operator.truediv, x, y)


def remainder(x: Any, y: Any) -> Any:
    return x - y * divided(x, y) if isinstance(x, int) and isinstance(y, int) else exact(operator.mod, x, y)


def exact(action: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """A float among exact numbers makes the answer a float."""
    if isinstance(x, float) or isinstance(y, float):
        return action(float(x), float(y))
    return action(x, y) if isinstance(x, int) and isinstance(y, int) else action(Decimal(x), Decimal(y))


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: exact(operator.add, x, y),
    "-": lambda x, y: exact(operator.sub, x, y),
    "*": lambda x, y: exact(operator.mul, x, y),
    "/": divided,
    "%": remainder,
}
