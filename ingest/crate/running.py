"""Whether requests of ours still run on the server, asked of sys.jobs, where the comment at their head shows them.

A user without DQL on the schema sys is told that sys.jobs does not exist. That says nothing about any table: such a worker waits
for as long as CrateDB may take to give such a request up. Reads only; called by writer threads and by the errand thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ingest.crate.http import UNSAFE_IN_TAG, Answer, tag_comment

RUNNING = "SELECT substr(stmt, 1, 400) FROM sys.jobs WHERE stmt LIKE '/* ingest %'"
NOW = "SELECT CURRENT_TIMESTAMP::bigint"
OLDER = "SELECT count(*) FROM sys.jobs WHERE started < ? AND stmt LIKE ?"
# 60 s for each shard (bulk.request_timeout), 30 s for a new partition to come up (wait_for_active_shards), and some more.
BLIND_WAIT_S = 120.0
HIDDEN_CODES = frozenset({4011, 4041, 4045})
HIDDEN_TEXT = (
    "our CrateDB user may not read sys.jobs, so nobody can tell whether a request whose answer was lost still runs: waiting "
    "until it must have ended; GRANT DQL ON SCHEMA sys spares this wait"
)

Ask = Callable[[str, Collection[Any]], Answer]


class Look(NamedTuple):
    """What sys.jobs shows. running: those of the tags that still run. is_hidden: it shows us none. refusal: any other answer."""

    running: list[str]
    is_hidden: bool = False
    refusal: Answer | None = None


def still_running(answer: Answer, tags: Collection[str]) -> Look:
    """What the answer to RUNNING says about requests with these tags."""
    if answer.is_ok:
        heads = [str(row[0]) for row in answer.rows]
        return Look([tag for tag in tags if any(head.startswith(tag_comment(tag)) for head in heads)])
    is_hidden = answer.code in HIDDEN_CODES
    return Look(list(tags), is_hidden, None if is_hidden else answer)


def of_table(full_name: str) -> str:
    """The LIKE pattern of requests for a table, of whatever worker. It may match some others too: `_` stands for any letter."""
    return f"/* ingest % {UNSAFE_IN_TAG.sub('_', full_name)}/%"
