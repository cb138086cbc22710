"""A table made like another one: the same columns, key, partitions and settings under another name, without rows."""

from __future__ import annotations

import re

from ingest.crate.http import Answer, HttpClient
from ingest.crate.statements import quoted, table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.model import Table

# The head of what SHOW CREATE TABLE answers.
HEAD = re.compile(r'CREATE TABLE(?: IF NOT EXISTS)? (?:"(?:[^"]|"")+"|\w+)\.(?:"(?:[^"]|"")+"|\w+) ')


def create_like(client: HttpClient, table: Table, full_name: str) -> None:
    """Make a table of this full name like `table`, unless there is one. Raises what CrateDB's refusals mean."""
    shown = _run(client, f"SHOW CREATE TABLE {table_name(table)}", f"read the definition of {table.full_name}")
    _run(client, renamed(str(shown.rows[0][0]), full_name), f"create {full_name} like {table.full_name}")


def renamed(show_create: str, full_name: str) -> str:
    """
    >>> renamed('CREATE TABLE IF NOT EXISTS "doc"."a" (' + chr(10) + '   "id" BIGINT)', "doc.b").split(chr(10))[0]
    'CREATE TABLE IF NOT EXISTS "doc"."b" ('
    """
    schema, _, name = full_name.partition(".")
    return HEAD.sub(lambda _: f"CREATE TABLE IF NOT EXISTS {quoted(schema)}.{quoted(name)} ", show_create, count=1)


def _run(client: HttpClient, statement: str, doing: str) -> Answer:
    answer = client.execute(statement)
    if not answer.is_ok:
        raise as_error(of_request(answer.status, answer.code, answer.message), doing)
    return answer
