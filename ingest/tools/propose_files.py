"""Where proposals go: the next free number in INGEST_SQL_DIR, and the contract's file in INGEST_SCHEMAS_DIR. One thread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ingest.errors import Stop

NUMBERED: Final = re.compile(r"(\d{4})_([\w.-]+)\.sql")
NOT_IN_FILES: Final = re.compile(r"[^\w.-]+")


class Files(NamedTuple):
    """The two files of a table. exists: those that are there already."""

    sql: Path
    contract: Path

    @property
    def existing(self) -> list[Path]:
        return [path for path in self if path.exists()]


def plan(tables: Sequence[str], sql_dir: Path, schemas_dir: Path) -> list[Files]:
    """Numbers follow the last one; a table that has a file already keeps it."""
    names = sorted(path.name for path in sql_dir.glob("*.sql"))
    known = {found[2]: found[1] for name in names if (found := NUMBERED.fullmatch(name))}
    last, planned = max((int(number) for number in known.values()), default=0), []
    for table in tables:
        stem = NOT_IN_FILES.sub("_", table.rpartition(".")[2])
        number = known.get(stem)
        if number is None:
            last += 1
            number = f"{last:04d}"
        planned.append(Files(sql_dir / f"{number}_{stem}.sql", schemas_dir / f"{stem}.toml"))
    return planned


def write(files: Sequence[tuple[Path, str]], *, force: bool) -> list[Path]:
    """All of them or none. Raises Stop("propose.exists" or "propose.not_written")."""
    existing = [path for path, _ in files if path.exists()]
    if existing and not force:
        there = " and ".join(map(str, existing))
        verb = "exists" if len(existing) == 1 else "exist"
        raise Stop("propose.exists", f"{there} {verb} already: compare without --write, or overwrite with --force")
    for path, text in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Stop("propose.not_written", f"{path} cannot be written: {error.strerror}") from error
    return [path for path, _ in files]
