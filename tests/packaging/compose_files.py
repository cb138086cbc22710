"""The Compose files as values: read, laid over each other as Compose does it, variables filled in. Pure but for reading.

Knows as much of Compose's rules as these files use: mappings are merged, commands replaced, other lists appended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
BASE, POSTGRES, COCKROACH = (COMPOSE / f"{name}.yaml" for name in ("compose", "postgres", "cockroach"))
SETS = {
    "compose": (BASE,),
    "with postgres": (BASE, POSTGRES),
    "with cockroach": (BASE, COCKROACH),
    "all": (BASE, POSTGRES, COCKROACH),
}
# Compose replaces these lists where it appends others.
REPLACED = ("command", "entrypoint", "test")
# ${NAME}, ${NAME:-default}; $$ is a dollar.
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")


def read(path: Path) -> dict[str, Any]:
    """One file with its variables as they are where none is set."""
    text = VARIABLE.sub(lambda found: found[2] or "" if found[1] else "$", path.read_text())
    values: dict[str, Any] = YAML(typ="safe").load(text)
    return values


def project(*paths: Path) -> dict[str, Any]:
    """The files laid over each other, later ones over earlier ones."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = laid_over(merged, read(path))
    return merged


def services(*paths: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = project(*paths)["services"]
    return found


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """
    >>> laid_over({"a": {"x": 1}, "l": [1], "command": ["a"]}, {"a": {"y": 2}, "l": [2], "command": ["b"]})
    {'a': {'x': 1, 'y': 2}, 'l': [1, 2], 'command': ['b']}
    """
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = laid_over(old, value)
        elif isinstance(old, list) and name not in REPLACED:
            merged[name] = [*old, *value]
        else:
            merged[name] = value
    return merged
