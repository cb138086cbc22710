"""Adds columns to a table while workers write to it, one statement for all of them.

CrateDB wipes a value of a new column when a request that began before the ALTER rewrites the row. No batch of ours is out when
this is called; requests whose answer was lost must have ended, and after the ALTER so must those that any worker had under way,
before a record with the new column may be written. Two workers that add the same column add it once.
Called by the errand thread, with a client of its own. Keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from time import sleep

from ingest.crate import catalogue
from ingest.crate.http import Answer, HttpClient
from ingest.crate.running import BLIND_WAIT_S, HIDDEN_TEXT, NOW, OLDER, RUNNING, of_table, still_running
from ingest.crate.statements import table_name
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import Parked, Retry
from ingest.flow.ports import Unsure
from ingest.model import Fate, NewColumn, Table

# Each round meets columns that another worker added since the last look, so a few are enough for a crowd.
ROUNDS = 5
# The errand thread has other things to do as well: after so long it is asked again.
ENDED_WITHIN_S = 5.0
STEP_S = 0.1
ALREADY_THERE = re.compile(r"already has a column named|Column `.*` already exists")
DDL_RIGHT = (
    "a field without a column needs ALTER TABLE, for which our CrateDB user has no privilege: grant DDL on the table and "
    "`ingest unpark`, add the column by hand, or choose another unknown_fields in the contract"
)


def add_columns(
    client: HttpClient, name: str, columns: Sequence[NewColumn], unsure: Unsure, *, blind_s: float = BLIND_WAIT_S
) -> Table:
    """The table with these columns; see flow.ports.Store."""
    wait_for_unsure(client, unsure, blind_s)
    for _ in range(ROUNDS):
        table = described(client, name)
        lacking = [column for column in columns if column.name not in table.columns]
        if not lacking:
            wait_for_older(client, name)
            return table
        add(client, table, lacking)
    raise Retry("store.columns_race", f"the columns of {name} change faster than they can be read: asking again")


def described(client: HttpClient, name: str) -> Table:
    """The table as it is now. Raises what keeps it from being read."""
    found = catalogue.look(client, [name])[name]
    if isinstance(found, Table):
        return found
    raise found or Retry("table.gone", f"table {name} does not exist any more: asking again")


def alter(table: Table, columns: Sequence[NewColumn]) -> str:
    """One statement for all columns: CrateDB adds all of them or none.

    >>> alter(Table("doc", "t", {}, ()), [NewColumn("a b", "BIGINT"), NewColumn("c", "TEXT")])
    'ALTER TABLE "doc"."t" ADD COLUMN "a b" BIGINT, ADD COLUMN "c" TEXT'
    """
    return f"ALTER TABLE {table_name(table)} {', '.join(f'ADD COLUMN {column.definition}' for column in columns)}"


def add(client: HttpClient, table: Table, columns: Sequence[NewColumn]) -> None:
    """Raises Retry, Parked or Stop; returns also when another worker was faster, so the caller must look."""
    answer = client.execute(alter(table, columns))
    if answer.is_ok or ALREADY_THERE.search(answer.message):
        return
    outcome = of_request(answer.status, answer.code, answer.message, is_settling=client.is_settling())
    subject, names = f"table:{table.full_name}", ", ".join(column.name for column in columns)
    if outcome.code == "store.forbidden":
        raise Parked("table.no_ddl", DDL_RIGHT, subject=subject)
    if outcome.fate is Fate.PARK:
        raise Parked(outcome.code, f"the fields {names} need columns: {outcome.text}", subject=subject)
    if outcome.fate is Fate.REJECTED:
        text = f"CrateDB refuses to add the columns {names}: add them by hand, or choose another unknown_fields in the contract"
        raise Parked("table.column_refused", text, subject=subject)
    raise as_error(outcome, f"add columns to {table.full_name}")


# ---------------------------------------------------------------- requests that are under way


def wait_for_unsure(client: HttpClient, unsure: Unsure, blind_s: float) -> None:
    """Raise Retry while a request whose answer was lost may still run."""
    if not unsure.tags:
        return
    look = still_running(client.execute(RUNNING), unsure.tags)
    refuse(look.refusal)
    if look.is_hidden and unsure.for_s < blind_s:
        raise Retry("store.jobs_hidden", HIDDEN_TEXT)
    if look.running and not look.is_hidden:
        raise Retry("store.still_running", "an earlier request for this table has not ended yet")


def wait_for_older(client: HttpClient, name: str, pause: Callable[[float], None] = sleep) -> None:
    """Wait for the requests to the table that any worker had under way at this moment. Raises Retry when they take long."""
    moment = client.execute(NOW)
    refuse(moment)
    for _ in range(int(ENDED_WITHIN_S / STEP_S)):
        answer = client.execute(OLDER, [moment.rows[0][0], of_table(name)])
        if still_running(answer, ()).is_hidden:
            return  # `check` says what that costs; our own requests have ended in any case
        refuse(answer)
        if answer.rows[0][0] == 0:
            return
        pause(STEP_S)
    raise Retry("store.still_running", f"requests to {name} from before its new columns have not ended yet")


def refuse(answer: Answer | None) -> None:
    if answer is not None and not answer.is_ok:
        raise as_error(of_request(answer.status, answer.code, answer.message), "see what runs in CrateDB")
