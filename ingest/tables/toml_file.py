"""One TOML file whose mistakes are collected instead of raised, each with its line.

tomllib tells no lines, so a line is found by searching the path's names in the text. Reads a file; touched by the loop's thread.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

Path_ = tuple[str, ...]
_COMMENT = re.compile(r"^([ \t]*)#.*$", re.MULTILINE)
_SYNTAX_LINE = re.compile(r"at line (\d+)")


class Problem(NamedTuple):
    """What is wrong, where. severity: "error" (the contract is not used) or "warning"."""

    file: str
    line: int
    text: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.text}"


class TomlFile:
    """Typed looks at a parsed file. A value of the wrong type is a problem and counts as absent."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._text = _COMMENT.sub(lambda found: found[1], text)
        self._content: dict[str, Any] = {}
        try:
            self._content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = _SYNTAX_LINE.search(str(error))
            at = int(line[1]) if line else self._text.count("\n") + 1
            self.problems.append(Problem(name, at, f"this is not TOML: {error}"))

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        try:
            return cls(str(path), path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            file = cls(str(path), "")
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            file.problems.append(Problem(str(path), 1, f"the file cannot be read: {reason}"))
            return file

    def get(self, path: Path_) -> Any:
        """The value at a path, None if there is none."""
        value: Any = self._content
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def text(self, path: Path_) -> str | None:
        value: str | None = self._typed(path, str, "a text")
        return value

    def flag(self, path: Path_) -> bool:
        return self._typed(path, bool, "true or false") or False

    def words(self, path: Path_, what: str) -> Path_:
        value = self.get(path)
        if value is None:
            return ()
        if not isinstance(value, list) or not value or any(type(word) is not str or not word for word in value):
            self.problem(path, f"{path[-1]} is {what}")
            return ()
        return tuple(value)

    def choice(self, path: Path_, choices: Collection[str]) -> str | None:
        value = self.text(path)
        if value is not None and value not in choices:
            self.problem(path, f"{path[-1]} = {value!r} is none of {', '.join(choices)}{self.nearest(value, choices)}")
            return None
        return value

    def expect_keys(self, path: Path_, known: Collection[str] | None) -> None:
        """The value at a path is a table with no other keys than these (any keys, where known is None)."""
        value = self.get(path) if path else self._content
        if value is None:
            return
        if not isinstance(value, dict):
            self.problem(path, f"{path[-1]} is a table of keys and values")
            return
        for key in value:
            if known is not None and key not in known:
                self.problem((*path, key), f"the key {key!r} means nothing here{self.nearest(key, known)}")

    def problem(self, path: Path_, text: str) -> None:
        self.problems.append(Problem(self.name, self.line(path), text))

    def line(self, path: Path_) -> int:
        """The line in which the key at this path is written, as far as its names can be found."""
        at = 0
        for depth, name in enumerate(path):
            start = r"^\s*\[?\s*" if depth == 0 else r"(?<![\w-])"
            found = re.compile(rf"{start}([\"']?{re.escape(name)}[\"']?)(?![\w-])", re.MULTILINE).search(self._text, at)
            if depth == 0 and len(path) > 1:  # [columns.total] goes before columns = {...} and before another [columns.x]
                header = rf"^\s*\[?\s*({re.escape(name)}\s*\.)\s*[\"']?{re.escape(path[1])}(?![\w-])"
                found = re.compile(header, re.MULTILINE).search(self._text) or found
            if found is None:
                break
            at = found.start(1)
        return self._text.count("\n", 0, at) + 1

    def lines(self) -> Mapping[str, int]:
        """The lines of all keys, by dotted path."""
        return {".".join(path): self.line(path) for path in _paths(self._content)}

    @staticmethod
    def nearest(word: str, known: Collection[str]) -> str:
        """`: did you mean "partition"?`, or nothing."""
        near = get_close_matches(word, known, n=1)
        return f": did you mean {near[0]!r}?" if near else ""

    def _typed(self, path: Path_, kind: type, what: str) -> Any:
        value = self.get(path)
        if value is None or type(value) is kind:
            return value
        self.problem(path, f"{path[-1]} is {what}")
        return None


def _paths(content: Mapping[str, Any], above: Path_ = ()) -> list[Path_]:
    found: list[Path_] = []
    for name, value in content.items():
        found.append((*above, name))
        if isinstance(value, dict):
            found += _paths(value, (*above, name))
    return found
