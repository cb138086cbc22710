"""Who may import whom, where each third-party package is at home (docs/DESIGN.md, "The rooms"), and how long functions are."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ingest"

# Values that every room may use. The Protocols of flow.ports are what kafka and crate implement.
SHARED = ("ingest.model", "ingest.errors", "ingest.tls", "ingest.flow.ports")
# What a room may import besides SHARED and itself, by prefix.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "model": (),
    "errors": (),
    "tls": (),
    "environ": (),
    "memory": (),
    "settings": ("ingest.environ", "ingest.memory"),
    "kafka": (),
    "registry": (),
    "formats": (),
    "tables": (),
    "flow": (),
    "crate": (),
    "watch": (),
    "practice": (),
    "tools": ("ingest",),
    "demo": ("ingest",),
    "commands": ("ingest",),
    "cli": ("ingest",),
    "__main__": ("ingest.cli",),
    "__init__": (),
}
# Room -> the third-party packages that are at home there.
HOMES: Mapping[str, frozenset[str]] = {
    "settings": frozenset({"pydantic", "pydantic_settings"}),
    "kafka": frozenset({"kafka", "confluent_kafka", "crc32c", "lz4", "zstandard", "snappy", "cramjam"}),
    "practice": frozenset({"kafka", "crc32c", "orjson"}),
    "formats": frozenset({"msgspec", "orjson", "fastavro", "google"}),
    "tables": frozenset({"orjson"}),
    "registry": frozenset({"urllib3"}),
    "crate": frozenset({"urllib3", "crate", "cratedb_sqlparse", "orjson", "psycopg"}),
    "flow": frozenset({"tenacity", "orjson"}),
    "watch": frozenset({"prometheus_client"}),
    "cli": frozenset({"typer"}),
    "commands": frozenset({"typer"}),
    "demo": frozenset({"kafka", "fastavro", "orjson", "rich"}),
    "tools": frozenset({"typer"}),
}


def room_of(path: Path, package: Path) -> str:
    return path.relative_to(package).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file names, wherever in it; `from ingest import x` counts as ingest.x."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "ingest" else (module,)


def is_within(target: str, prefixes: tuple[str, ...]) -> bool:
    return any(target == prefix or target.startswith(f"{prefix}.") for prefix in prefixes)


def violations(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        for target in imports(path):
            if problem := violation(room, target):
                found.append(f"{path.relative_to(package)}: {problem}")
    return found


def violation(room: str, target: str) -> str | None:
    top = target.partition(".")[0]
    if not top:
        return f"{target} is relative: write it in full"
    if room not in ROOMS:
        return f"{room} is no room: name it in this test and in docs/DESIGN.md"
    if top == "ingest":
        is_fine = is_within(target, (*SHARED, f"ingest.{room}", *ROOMS[room]))
        return None if is_fine else f"{room} may not import {target}"
    if top in sys.stdlib_module_names or top in HOMES.get(room, ()):
        return None
    return f"{top} is not at home in {room}"


def test_rooms_import_only_what_stands_to_their_left_and_packages_live_at_home() -> None:
    assert [] == violations(PACKAGE)


@pytest.mark.parametrize(
    ("file", "line", "problem"),
    [
        ("flow/loop.py", "from ingest.kafka.source import KafkaSource", "flow may not import ingest.kafka.source"),
        ("flow/loop.py", "import ingest.crate.http", "flow may not import ingest.crate.http"),
        ("flow/loop.py", "from ingest import crate", "flow may not import ingest.crate"),
        ("flow/loop.py", "def f():\n    import kafka", "kafka is not at home in flow"),
        ("formats/json.py", "from ingest.tables.types import X", "formats may not import ingest.tables.types"),
        ("crate/http.py", "from ingest.flow.loop import Loop", "crate may not import ingest.flow.loop"),
        ("crate/http.py", "from ingest.settings import Settings", "crate may not import ingest.settings"),
        ("tables/mapper.py", "import fastavro", "fastavro is not at home in tables"),
        ("watch/http.py", "import urllib3", "urllib3 is not at home in watch"),
        ("model.py", "from ingest.flow.lanes import X", "model may not import ingest.flow.lanes"),
        ("tools/x.py", "import pydantic", "pydantic is not at home in tools"),
        ("kafka/x.py", "from .source import KafkaSource", ".source is relative: write it in full"),
        ("attic/x.py", "import os", "attic is no room: name it in this test and in docs/DESIGN.md"),
    ],
)
def test_a_wrong_import_is_found(file: str, line: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert [f"{file}: {problem}"] == violations(tmp_path)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("kafka/x.py", "from ingest.flow.ports import Source"),
        ("crate/x.py", "from ingest.model import Batch"),
        ("crate/x.py", "import urllib3.exceptions, ssl"),
        ("practice/broker/x.py", "from kafka.protocol.metadata import X"),
        ("tools/x.py", "from ingest.flow.loop import Loop"),
    ],
)
def test_a_right_import_is_not(file: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line + "\n")
    assert [] == violations(tmp_path)


# ---------------------------------------------------------------- sizes

MEDIAN_LINES, NINE_IN_TEN_LINES, MAX_FUNCTION_LINES, MAX_FILE_LINES = 8, 30, 40, 400


class Function(NamedTuple):
    where: str
    lines: int


def functions(package: Path) -> Iterator[Function]:
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield Function(f"{path.relative_to(package)}:{node.lineno} {node.name}", length(node))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring and decorators."""
    whole = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        whole -= (first.end_lineno or first.lineno) - first.lineno + 1
    return whole


def test_length_leaves_the_docstring_out() -> None:
    (node,) = ast.parse('def f(x):\n    """One.\n\n    Two.\n    """\n    return x\n').body
    assert isinstance(node, ast.FunctionDef)
    assert 2 == length(node)


def test_functions_are_short() -> None:
    lengths = sorted(function.lines for function in functions(PACKAGE))
    assert statistics.median(lengths) <= MEDIAN_LINES
    assert lengths[int(0.9 * len(lengths))] <= NINE_IN_TEN_LINES


def test_no_function_holds_two_ideas() -> None:
    assert [] == [function for function in functions(PACKAGE) if function.lines > MAX_FUNCTION_LINES]


def test_no_file_holds_two_ideas() -> None:
    sizes = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {} == {name: size for name, size in sizes.items() if size > MAX_FILE_LINES}
