"""What a TRUNCATE of the source does to its table, once everything in front of it is stored.

Level ordered: every row with a smaller version becomes a tombstone with the truncate's version, older tombstones too, so that a
change from before the truncate stays out whenever it comes again, and one from behind it is never touched. A reader of the view
sees rows vanish as the next refreshes come; it never sees one come back.
Level arrival: all rows are deleted, with their partitions; where it is read again, the records behind it write theirs again.
Called by the errand thread, with a client of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.crate.columns import described, wait_for_unsure
from ingest.crate.http import Answer, HttpClient
from ingest.crate.running import BLIND_WAIT_S
from ingest.crate.statements import DELETED, VERSION, month_sources, quoted, table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Parked, Retry
from ingest.flow.ports import Truncation, Unsure
from ingest.model import Fate, Level, Table


def empty(client: HttpClient, table: Table, truncation: Truncation, unsure: Unsure, *, blind_s: float = BLIND_WAIT_S) -> Table:
    """The table as it is afterwards; see flow.ports.Store."""
    wait_for_unsure(client, unsure, blind_s)
    name = table_name(table)
    is_ordered = table.level is Level.ORDERED and truncation.version is not None
    which, args = (f" WHERE {OLDER}", [truncation.version]) if is_ordered else ("", [])
    execute(client, table, f"REFRESH TABLE {name}")  # statements by query see refreshed rows only
    if is_ordered:
        execute(client, table, tombstones(table, truncation), [*args, *truncation.row])
    else:
        execute(client, table, f"DELETE FROM {name}")
    execute(client, table, f"REFRESH TABLE {name}")
    left = execute(client, table, f"SELECT count(*) FROM {name}{which}", args).rows[0][0]
    if left:  # CrateDB tells of a row that failed by its absence from the count alone
        raise Retry("table.not_empty", f"{left} rows of {table.full_name} from before the truncate are still there: trying again")
    return described(client, table.full_name)


# A row without a version is older than anything to the guard, so it is to the truncate.
OLDER = f"({quoted(VERSION)} < $1 OR {quoted(VERSION)} IS NULL)"


def tombstones(table: Table, truncation: Truncation) -> str:
    """The UPDATE that leaves the key and the truncate's own cdc_* values of each older row.

    Parameters: the version, then the values of the truncation.
    """
    fixed = {*table.key, table.month_column, *month_sources(table)}
    news = {name: "NULL" for name, column in table.columns.items() if column.nullable and not column.generated}
    news |= {name: f"${place}" for place, name in enumerate(truncation.columns, 2)} | {DELETED: "TRUE"}
    sets = ", ".join(f"{quoted(name)} = {new}" for name, new in news.items() if name not in fixed)
    return f"UPDATE {table_name(table)} SET {sets} WHERE {OLDER}"


def execute(client: HttpClient, table: Table, sql: str, args: Sequence[Any] | None = None) -> Answer:
    """Raises Retry, Parked or Stop."""
    answer = client.execute(sql, args)
    if answer.is_ok:
        return answer
    outcome = of_request(answer.status, answer.code, answer.message, is_settling=client.is_settling())
    if outcome.fate in (Fate.PARK, Fate.REJECTED):
        text = f"the source truncated {table.full_name}, and CrateDB refuses to empty it: {outcome.text}"
        raise Parked(outcome.code, text, subject=f"table:{table.full_name}")
    raise as_error(outcome, f"empty {table.full_name}")
