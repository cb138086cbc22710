"""What an answer of CrateDB means for a row or a request: one table of every code, and the messages that say more than a code.

Pure. CrateDB's messages hold values of rows, so nothing of them is passed on but the name of a column that the table has.
`of_row` judges one entry of a bulk answer, `of_request` an answer that refused a whole request.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from ingest.crate.statements import Action
from ingest.errors import IngestError, Retry, Stop
from ingest.model import SUPERSEDED, WRITTEN, Fate, Outcome

# CrateDB explains at most 10 failing rows per shard and answers a bare -2 for the rest: what became of those must be asked again.
BARE = Outcome(Fate.RETRY, "store.unexplained", "CrateDB did not say why it refused the row")
# A PATCH or DELETE by key met no row: an answer for the writer to act on, not a fate of the change.
ABSENT = Outcome(Fate.SUPERSEDED, "absent", "the row is not there")
VANISHED = Outcome(Fate.RETRY, "store.partition_vanished", "the partition went away while the row was written")
TRUNCATED = Outcome(Fate.RETRY, "store.answer_short", "CrateDB answered for fewer rows than it was sent", unknown=True)


class Rule(NamedTuple):
    """What a code means: a fate, our own dotted code and sentence, and whether CrateDB has too much to do."""

    fate: Fate
    code: str
    text: str
    overload: bool = False

    def outcome(self, column: str | None = None) -> Outcome:
        return Outcome(self.fate, self.code, self.text, column, overload=self.overload)


REFUSED = Rule(Fate.REJECTED, "store.value_refused", "CrateDB refuses a value of the row")
BAD_KEY = Rule(Fate.REJECTED, "store.bad_name", "CrateDB refuses the name of a column or of a key inside an object")
UNSUPPORTED = Rule(Fate.REJECTED, "store.unsupported", "CrateDB does not support what the row or its table needs")
DUPLICATE = Rule(Fate.RETRY, "store.duplicate", "another request made the same row at the same moment")
CONFLICT = Rule(Fate.RETRY, "store.conflict", "another request changed the same row at the same moment")
GONE = Rule(Fate.SUPERSEDED, "absent", "the row is not there")
BLOCKED = Rule(Fate.RETRY, "store.blocked", "the table or partition is blocked, closed or out of disk: lift the block")
NODE_BLOCKED = Rule(Fate.RETRY, "store.blocked", "the node is read-only: lift the block")
SETUP = Rule(Fate.PARK, "table.setup", "the definition of the table refers to something that CrateDB does not know: correct it")
NO_TABLE = Rule(Fate.PARK, "table.missing", "CrateDB does not know the table: create it, for example with ingest migrate")
NO_COLUMN = Rule(Fate.PARK, "table.column_missing", "the table lost a column that the worker writes: add it, or start again")
NO_SHARD = Rule(Fate.RETRY, "store.shard_missing", "a shard or partition was not found: it is moving or was dropped")
NO_AUTH = Rule(Fate.STOP, "store.unauthorised", "CrateDB refuses our credentials: check INGEST_CRATE_USER and _PASSWORD")
# It concerns one table: the others go on. A grant changes no description, so an operator unparks.
NO_RIGHT = Rule(
    Fate.PARK,
    "store.forbidden",
    "our CrateDB user lacks a privilege: grant DQL and DML (DDL for migrations), then `ingest unpark`",
)
BUSY = Rule(Fate.RETRY, "store.overloaded", "CrateDB has too much to do", overload=True)
ILL = Rule(Fate.RETRY, "store.server_error", "CrateDB failed inside: see its log")
UNAVAILABLE = Rule(Fate.RETRY, "store.unavailable", "shards, nodes or the master of CrateDB are not available")
SLOW_MASTER = Rule(Fate.RETRY, "store.master_slow", "CrateDB's master took too long", overload=True)
KILLED = Rule(Fate.RETRY, "store.killed", "somebody killed the statement")
STARTING = Rule(Fate.RETRY, "store.starting", "CrateDB may still be starting, it does not know the table yet")
EXISTS = Rule(Fate.RETRY, "store.exists", "something of that name exists already")
SHARD_LIMIT = Rule(Fate.PARK, "store.shard_limit", "the cluster has no room for the shards of a new partition: raise the limit")
COLUMN_LIMIT = Rule(Fate.PARK, "table.column_limit", "the table has as many columns as it may: raise mapping.total_fields.limit")
TOO_LONG = Rule(Fate.REJECTED, "store.text_too_long", "a text is longer than its column takes")
NULL = Rule(Fate.REJECTED, "store.null_refused", "a column that must not be null has no value")
NULL_KEY = Rule(Fate.REJECTED, "store.key_null", "a part of the primary key is null")
CHECK = Rule(Fate.REJECTED, "store.check_failed", "the row breaks a CHECK of the table")
RANGE = Rule(Fate.REJECTED, "store.out_of_range", "a number lies outside the range of its column")
CAST = Rule(Fate.REJECTED, "store.type_refused", "a value does not fit the type of its column")
TOO_LARGE = Rule(Fate.REJECTED, "store.too_large", "the row is larger than CrateDB takes in one request")
STRANGE = Rule(Fate.RETRY, "store.strange_answer", "the answer is not one of CrateDB's: is there a proxy in between?")

CODES: dict[int, Rule] = {
    40000: REFUSED,
    4000: REFUSED,
    4001: SETUP,
    4002: SETUP,
    4003: REFUSED,
    4004: UNSUPPORTED,
    4005: SETUP,
    4006: SETUP,
    4007: BLOCKED,
    4008: BAD_KEY,
    40010: SETUP,
    40011: SETUP,
    40012: BLOCKED,
    40013: SETUP,
    4010: NO_AUTH,
    4011: NO_RIGHT,
    4031: NODE_BLOCKED,
    4032: BLOCKED,
    4033: BLOCKED,
    4034: BLOCKED,
    4035: BLOCKED,
    4036: BLOCKED,
    4037: BLOCKED,
    4040: NO_SHARD,
    4041: NO_TABLE,
    4042: SETUP,
    4043: NO_COLUMN,
    4044: SETUP,
    4045: NO_TABLE,
    4046: NO_SHARD,
    4047: SETUP,
    4048: SETUP,
    4049: SETUP,
    40410: NO_AUTH,
    40411: GONE,
    4091: DUPLICATE,
    4092: CONFLICT,
    4093: EXISTS,
    4094: EXISTS,
    4095: EXISTS,
    4096: EXISTS,
    4097: EXISTS,
    4098: EXISTS,
    4099: EXISTS,
    40910: EXISTS,
    4290: BUSY,
    5000: ILL,
    5001: UNAVAILABLE,
    5002: UNAVAILABLE,
    5003: UNAVAILABLE,
    5004: ILL,
    5005: KILLED,
    5006: ILL,
    5030: UNAVAILABLE,
    5031: UNAVAILABLE,
    5032: UNAVAILABLE,
    5033: UNAVAILABLE,
    5034: SLOW_MASTER,
    5035: UNAVAILABLE,
}


class Sign(NamedTuple):
    """Words in a message that say more than its code. column: the group that may name a column."""

    codes: tuple[int, ...]
    words: re.Pattern[str]
    rule: Rule | Outcome


DOCUMENT_MISSING = 40411


def sign(codes: tuple[int, ...], words: str, rule: Rule | Outcome) -> Sign:
    return Sign(codes, re.compile(words), rule)


BAD = (4000, 4003, 4004, 40000)
# Anchored at the start where a value of the row could hold the same words.
SIGNS = (
    sign((4000,), r"^\w+\[Cannot cast value `stale [^`]*` to type `integer`", SUPERSEDED),
    sign((4000, 5000), r"^(\w+[\[:]\s*)*EsRejectedExecutionException|^(\w+[\[:]\s*)*CircuitBreakingException", BUSY),
    sign((4000,), r"^\w+\[Validation Failed: .*maximum shards open", SHARD_LIMIT),
    sign((4000,), r"^\w+\[Limit of total (fields|columns) \[\d+\]", COLUMN_LIMIT),
    sign((4000,), r"is too long for the (text|character) type of length", TOO_LONG),
    sign((4000, 5000), r"immense term", TOO_LONG),
    sign(BAD, r"^\w+\[A primary key value must not be NULL", NULL_KEY),
    sign(BAD, r"^\w+\[Clustered by value must not be NULL", NULL_KEY),
    sign(BAD, r'^\w+\["?(?P<column>[^"\]]+)"? must not be null', NULL),
    sign(BAD, r"^\w+\[Failed CONSTRAINT", CHECK),
    sign(BAD, r"exceeds allowed range for column of type", RANGE),
    sign(BAD, r"^\w+\[Cannot cast object element", CAST),
    sign(BAD, r"^\w+\[Cannot cast value", CAST),
    sign(BAD, r"^\w+\[Cannot add column `.*` to strict object `(?P<column>[^`]+)`", REFUSED),
    sign((4003,), r"^\w+\[Validation failed for (?P<column>[^:]+):", REFUSED),
    sign((5000,), r"ClassCastException|can not write type", REFUSED),
)


def of_row(action: Action, entry: dict[str, Any], columns: Collection[str] = ()) -> Outcome:
    """The outcome of one entry of a bulk answer. BARE and ABSENT ask for more: the reason, or the insert of a patch.

    columns: of the table, so that a name in a message is known to be no value.
    """
    rowcount, error = entry.get("rowcount"), entry.get("error")
    if error is not None:
        code = int(error.get("code", 5000))
        return of_nothing(action) if code == DOCUMENT_MISSING else of_error(code, str(error.get("message", "")), columns)
    if rowcount == 1:
        return WRITTEN
    if rowcount == 0:
        return of_nothing(action)
    return BARE


def of_nothing(action: Action) -> Outcome:
    """40411 or rowcount 0: no row or no partition for a key, or a partition that vanished under an insert."""
    return ABSENT if action in (Action.PATCH, Action.DELETE) else VANISHED


def of_error(code: int, message: str, columns: Collection[str] = (), *, is_settling: bool = False) -> Outcome:
    """What a code and its message mean. An unknown code is the server's trouble, never the row's fault."""
    for codes, words, rule in SIGNS:
        found = words.search(message) if code in codes else None
        if found is not None:
            return rule if isinstance(rule, Outcome) else rule.outcome(known_column(found, columns))
    rule = CODES.get(code, ILL)
    return (STARTING if rule is NO_TABLE and is_settling else rule).outcome()


def of_request(
    status: int, code: int | None, message: str, columns: Collection[str] = (), *, is_settling: bool = False
) -> Outcome:
    """The outcome of every row of a refused request. REJECTED means that one row at least is at fault, not which."""
    if code is not None:
        found = of_error(code, message, columns, is_settling=is_settling)
        # The guard fails row by row; a whole request that stumbles over the words `stale ...` met them in somebody's data.
        return CAST.outcome() if found is SUPERSEDED else found
    if status == 413:
        return TOO_LARGE.outcome()
    if status == 429:
        return BUSY.outcome()
    if status in (401, 403):
        return NO_AUTH.outcome()
    return STRANGE.outcome()._replace(unknown=status >= 500)  # a gateway that gave up does not end the statement behind it


def as_error(outcome: Outcome, doing: str) -> IngestError:
    """The same verdict for a request of our own, which has no rows. doing: "read the catalogue"."""
    text = f"cannot {doing}: {outcome.text}"
    if outcome.fate is Fate.RETRY:
        return Retry(outcome.code, text, overload=outcome.overload, unknown=outcome.unknown)
    return Stop(outcome.code, text)


def known_column(found: re.Match[str], columns: Collection[str]) -> str | None:
    name = found.groupdict().get("column")
    return name if name in columns else None
