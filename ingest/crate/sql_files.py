"""The numbered files of `sql/`: split into statements, each with a checksum that comments and blanks do not change.

Reads files and parses them, talks to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cratedb_sqlparse import sqlparse

from ingest.errors import Stop

FILE_NAME = re.compile(r"\d{4}_[\w.-]+\.sql")
PIECES = re.compile(r"""(?P<kept>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<dropped>--[^\n]*|/\*.*?\*/|\s+)|(?P<other>.)""", re.DOTALL)
DDL = frozenset({"create", "alter", "drop"})
ALIASES = {
    "int": "integer", "int4": "integer", "int2": "smallint", "int8": "bigint", "short": "smallint", "long": "bigint",
    "string": "text", "varchar": "text", "float": "real", "double": "doubleprecision", "bool": "boolean", "decimal": "numeric",
    "timestamptz": "timestampwithtimezone", "timestamp": "timestampwithouttimezone", "character": "char", "byte": "char",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a file. number: from 1, within the file. relation: as written, None where it concerns none.

    columns: what a CREATE TABLE or ADD COLUMN declares, names and types in one form.
    """

    file: str
    number: int
    sql: str
    checksum: str
    kind: str = ""
    relation: str | None = None
    columns: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file}, statement {self.number}"


def read_steps(sql_dir: Path) -> list[Step]:
    """All statements, in the order of file names. Raises Stop for a folder, name or statement that is not readable."""
    if not sql_dir.is_dir():
        raise Stop("migrate.no_folder", f"there is no folder {sql_dir}: name the one with the numbered files in INGEST_SQL_DIR")
    files = sorted(sql_dir.glob("*.sql"))
    strange = [file.name for file in files if not FILE_NAME.fullmatch(file.name)]
    if strange:
        raise Stop("migrate.file_name", f"{strange[0]} has no number: name files like 0007_add_paid_at.sql")
    return [step for file in files for step in split(file.name, file.read_text(encoding="utf-8"))]


def split(file: str, text: str) -> Iterator[Step]:
    """The statements of one file."""
    for number, statement in enumerate(sqlparse(text) if condensed(text) else [], 1):
        if statement.exception is not None:
            where = str(statement.exception).partition("[")[2].partition(" ")[2].partition(" ")[0]
            raise Stop("migrate.syntax", f"{file}, statement {number} is no SQL that CrateDB knows, near {where}: correct it")
        sql = statement.query
        yield Step(
            file, number, sql, checksum(sql), kind_of(statement), relation_of(statement.ctx), declared_columns(statement.ctx)
        )


def checksum(sql: str) -> str:
    """The same for statements that differ in comments, blanks and line ends only."""
    return sha256(condensed(sql).encode()).hexdigest()


def condensed(sql: str) -> str:
    """The statement without comments and blanks, but for those inside quotes.

    >>> condensed("SELECT 'a  -- b' /* c */ ; -- d")
    "SELECT'a  -- b';"
    """
    return "".join(piece["kept"] or piece["other"] or "" for piece in PIECES.finditer(sql))


def kind_of(statement: Any) -> str:
    return str(statement.type or "").lower()


def relation_of(tree: Any) -> str | None:
    names = find(tree, ("QnameContext",))
    first = next(names, None)
    return None if first is None else str(first.getText())


def declared_columns(tree: Any) -> dict[str, str]:
    """Columns of a CREATE TABLE or ADD COLUMN by name, with their types; sub-columns by their written path."""
    columns = {}
    for definition in find(tree, ("ColumnDefinitionContext", "AddColumnDefinitionContext")):
        parts = [part for part in definition.children if type(part).__name__ != "TerminalNodeImpl"]
        type_ = parts[1].getText() if len(parts) > 1 and type(parts[1]).__name__.endswith("DataTypeContext") else ""
        columns[identifier(parts[0].getText())] = plain_type(type_)
    return columns


def columns_of(create_table: str) -> dict[str, str]:
    """What a CREATE TABLE statement declares."""
    return declared_columns(sqlparse(create_table)[0].ctx)


def find(tree: Any, contexts: tuple[str, ...]) -> Iterator[Any]:
    """The outermost nodes of these kinds."""
    if type(tree).__name__ in contexts:
        yield tree
        return
    for child in getattr(tree, "children", None) or ():
        yield from find(child, contexts)


def identifier(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written.lower()


def plain_type(written: str) -> str:
    """A type in one spelling. Of an object only that it is one, since its parts may grow.

    >>> plain_type("ARRAY(INT)"), plain_type("TIMESTAMP WITH TIME ZONE".replace(" ", "")), plain_type("OBJECT(IGNORED)")
    ('array(integer)', 'timestampwithtimezone', 'object')
    """
    text = written.lower()
    if text.startswith("object"):
        return "object"
    return re.sub(r"[a-z]\w*", lambda word: ALIASES.get(word[0], word[0]), text)
