"""Brings requests to CrateDB until each of their rows has an outcome of its own, within one attempt.

Bisects a request that was refused as a whole, asks again for rows that CrateDB did not explain, believes a request that may
have created a partition only the second time, and inserts what a patch did not find. Never raises for what CrateDB does: once
something concerns more than single rows the attempt is broken off, and every row that is still open gets that reason.
Where there is a pipeline, rows take that first; those that it does not confirm are sent over HTTP, which tells the reason.
One thread per courier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, Protocol, TypeVar

from ingest.crate.http import WRITTEN_RESULT, Answer, HttpClient
from ingest.crate.plan import Entry, Request, new_month
from ingest.crate.statements import Action, Form, Statement, Statements
from ingest.crate.verdicts import ABSENT, BARE, TRUNCATED, of_request, of_row
from ingest.errors import IngestError, Reject, Retry, Stop
from ingest.model import SUPERSEDED, WRITTEN, Change, Fate, Outcome, Table

EXPLAIN_ROWS = 10  # CrateDB gives a reason for at most ten failing rows per shard
MAX_REQUESTS = 200  # in one attempt; at some 10 ms each a batch full of bad rows holds its writer for seconds, not minutes
BAD_FATES = (Fate.REJECTED, Fate.RETRY)
GOOD_FATES = frozenset({Fate.WRITTEN, Fate.SUPERSEDED})
VANISHING = ("store.shard_missing", "store.partition_vanished")
UNFINISHED = Outcome(Fate.RETRY, "store.unfinished", "the batch has more bad rows than one attempt takes apart")
UNTOLD = Outcome(Fate.RETRY, "store.untold", "CrateDB answered in a way that a written and a stale row share")
CARRY_FAILED = Outcome(Fate.RETRY, "store.carry_failed", "CrateDB did not copy a row to its new month")
T = TypeVar("T")


class Pipeline(Protocol):
    """Another way for rows, which tells of each whether it was written, and never why not."""

    def bulk(
        self, table: Table, statement: Statement, columns: Sequence[str], rows: Sequence[Sequence[Any]], tag: str
    ) -> list[int] | None:
        """How many rows each entry wrote, a negative number where it failed; None for a request that must go over HTTP.

        Raises Retry and Stop as HttpClient.execute does."""

    def is_settling(self) -> bool:
        """As HttpClient.is_settling."""


class BrokenOff(Exception):
    """The attempt ends here; outcome: why, for every row that is still open."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


@dataclass(slots=True)
class Load:
    """The rows of one statement on their way. outcomes: by place in entries, None while unknown.

    is_blamed: an answer named rows, among several, that failed.
    """

    action: Action
    columns: tuple[str, ...]
    entries: Sequence[Entry]
    outcomes: list[Outcome | None]
    is_blamed: bool = False

    def of(self, part: Sequence[int]) -> list[Outcome | None]:
        """The outcomes of these rows."""
        return [self.outcomes[i] for i in part]


def as_outcome(error: IngestError) -> Outcome:
    """An error of the connection as the fate of the rows it hit."""
    if isinstance(error, Retry):
        return Outcome(Fate.RETRY, error.code, error.text, overload=error.overload, unknown=error.unknown)
    return Outcome(Fate.REJECTED if isinstance(error, Reject) else Fate.STOP, error.code, error.text)


class Courier:
    """The requests of one attempt at a batch.

    broken: why it was broken off. sent: requests made. unsure: whether one of them may still be running.
    """

    def __init__(
        self,
        client: HttpClient,
        statements: Statements,
        changes: Sequence[Change],
        tag: str,
        *,
        form: Form,
        max_rows: int,
        pipeline: Pipeline | None = None,
    ) -> None:
        self._client, self._statements, self._changes, self._tag = client, statements, changes, tag
        self._pipeline = pipeline
        self._form, self._max_rows = form, max_rows
        self._faults_left = 2 * int(log2(len(changes) + 1)) + 4
        self.sent = 0
        self.broken: Outcome | None = None
        self.unsure = False

    def deliver(self, request: Request, entries: Sequence[Entry]) -> list[Outcome]:
        """One outcome per entry. entries: those of the request that are still to be sent."""
        load = Load(request.action, request.columns, entries, [None] * len(entries))
        try:
            for part in slices(range(len(entries)), self._max_rows):
                if request.action is Action.CARRY:
                    self._carry(load, part)
                else:
                    self._settle(load, part, request.creates)
        except BrokenOff as end:
            self.broken = end.outcome._replace(unknown=False)
        if load.outcomes.count(WRITTEN) == len(entries):
            return [WRITTEN] * len(entries)
        return [outcome if outcome not in (None, BARE) else self.broken or BARE for outcome in load.outcomes]

    def run(self, stmt: str) -> Answer:
        """A statement without rows. Raises Reject when CrateDB refuses its content, BrokenOff when it refuses it for more."""
        answer = self.ask(stmt)
        if answer.is_ok:
            return answer
        refused = self.refusal(answer)
        if refused.fate is Fate.REJECTED:
            raise Reject(refused.code, refused.text, column=refused.column)
        raise BrokenOff(refused)

    def ask(self, stmt: str) -> Answer:
        """CrateDB's answer to a statement without rows, good or bad. Raises BrokenOff when there is none."""
        return self._execute(stmt, None, None)

    # ------------------------------------------------------------ rows

    def _settle(self, load: Load, part: Sequence[int], creates: int | None) -> None:
        open_rows = part if self._pipeline is None else self._unconfirmed(load, part, self._pipeline)
        if not open_rows:
            return
        self._ask(load, part if creates is not None else open_rows, self._form)
        if creates is None and len(open_rows) < len(part) and self._is_blame_doubtful(load, open_rows):
            self._ask(load, part, self._form)
        if self._may_blame_others(load, part, creates):
            self._ask_again(load, part)
        self._doubt_vanished(load, part)
        self._explain(load, part)
        if load.action is Action.PATCH:
            self._insert_absent(load, [i for i in part if load.outcomes[i] is ABSENT])

    def _unconfirmed(self, load: Load, part: Sequence[int], pipeline: Pipeline) -> Sequence[int]:
        """The rows that the pipeline did not write. The others are noted as written."""
        statement, rows = self._request(load, part, self._form)
        try:
            counts = self._answer(lambda: pipeline.bulk(self._statements.table, statement, load.columns, rows, self._tag))
        except BrokenOff as end:
            self._fill(load, part, end.outcome)
            raise
        if counts is None:
            return part
        self._fill(load, part, WRITTEN)
        return [i for i, count in zip(part, counts, strict=True) if count != 1]

    @staticmethod
    def _is_blame_doubtful(load: Load, failed: Sequence[int]) -> bool:
        """Whether the pipeline may have called these rows failed in place of others, as CrateDB does around partitions that come
        or go. It calls as many failed as did fail, so if all of these are stale or absent they were the right ones."""
        found = (load.outcomes[i] for i in failed)
        return any(o is not BARE and o is not None and o.fate is not Fate.SUPERSEDED for o in found)

    def _may_blame_others(self, load: Load, part: Sequence[int], creates: int | None) -> bool:
        """Whether the request may have created a partition, and so have blamed the wrong rows: the one it was to create, or one
        that somebody dropped since the catalogue was read, which it can only have done beside rows of other months."""
        if creates is not None:
            return any(load.outcomes[i] is not WRITTEN for i in part)
        if not load.is_blamed or load.action not in (Action.WRITE, Action.TOMBSTONE):
            return False
        return len({load.entries[i].month for i in part}) > 1

    def _ask_again(self, load: Load, part: Sequence[int]) -> None:
        """Every partition exists by now, so this time the right rows are blamed. Somebody may have dropped another meanwhile, so
        a verdict that is final, or a partition that vanished, is believed only where all rows of its request are of one month."""
        months: dict[int | None, list[int]] = {}
        for i in part:
            months.setdefault(load.entries[i].month, []).append(i)
        is_doubtful = any(told and (told.fate is Fate.REJECTED or told.code in VANISHING) for told in load.of(part))
        if len(months) == 1 or not is_doubtful:
            self._ask(load, part, self._form)
            return
        for i in part:
            load.outcomes[i] = None
        self._ask_apart(load, list(months.values()))

    def _ask_apart(self, load: Load, months: Sequence[Sequence[int]]) -> None:
        """Each half of the months once more, halved again as long as one of its rows failed. Stale ones did not: whichever row
        is called stale in place of another one, both are settled."""
        middle = len(months) // 2
        for half in (months[:middle], months[middle:]):
            rows = [i for month in half for i in month]
            self._ask(load, rows, self._form)
            if len(half) > 1 and any(outcome is None or outcome.fate not in GOOD_FATES for outcome in load.of(rows)):
                self._ask_apart(load, half)

    def _doubt_vanished(self, load: Load, part: Sequence[int]) -> None:
        """Rows skipped for a partition that vanished shift the results behind them, so no other row of its month is settled."""
        months = [load.entries[i].month for i in part]
        vanished = {month: told for month, told in zip(months, load.of(part), strict=True) if told and told.code in VANISHING}
        vanished.pop(None, None)  # a table without partitions: its shards move, none goes
        for i, month in zip(part, months, strict=True):
            load.outcomes[i] = vanished.get(month, load.outcomes[i])

    def _ask(self, load: Load, part: Sequence[int], form: Form) -> None:
        """Send these rows once and note their outcomes, taking the request apart as long as it is refused as a whole."""
        try:
            statement, answer = self._send(load, part, form)
        except Reject as error:
            refused = as_outcome(error)
        else:
            if answer.is_ok and answer.results is not None:
                self._note(load, part, statement, answer.results)
                return
            refused = self.refusal(answer)
        if not self._is_worth_bisecting(refused):
            self._fill(load, part, refused)
            raise BrokenOff(refused)
        if len(part) == 1:
            load.outcomes[part[0]] = refused
            return
        middle = len(part) // 2
        self._ask(load, part[:middle], form)
        self._ask(load, part[middle:], form)

    def _note(self, load: Load, part: Sequence[int], statement: Statement, results: Sequence[dict[str, object]]) -> None:
        if len(results) != len(part):
            self._fill(load, part, TRUNCATED)
            return
        if results.count(WRITTEN_RESULT) == len(results):
            self._fill(load, part, WRITTEN)
            return
        columns, good = self._statements.table.columns, (0, 1) if statement.ignores_conflict else (1,)
        for i, result in zip(part, results, strict=True):
            load.outcomes[i] = WRITTEN if result.get("rowcount") in good else of_row(load.action, result, columns)
        found = (load.outcomes[i] for i in part)
        load.is_blamed |= len(part) > 1 and any(o is not BARE and o is not None and o.fate in BAD_FATES for o in found)

    def _is_worth_bisecting(self, refused: Outcome) -> bool:
        """A refused content: always. A failure inside CrateDB: a few times, it may be one row that breaks it."""
        if refused.code == "store.server_error":
            self._faults_left -= 1
            return self._faults_left >= 0
        return refused.fate is Fate.REJECTED

    def _explain(self, load: Load, part: Sequence[int]) -> None:
        """Ask again for rows that failed without a reason: all at once where a stale row then answers 1, then in small groups."""
        bare = [i for i in part if load.outcomes[i] is BARE]
        if bare and self._form is Form.REFUSE:
            bare = self._explain_stale(load, part, bare)
        form = Form.KEEP if self._form is Form.REFUSE else self._form
        for group in slices(bare, EXPLAIN_ROWS):
            self._ask(load, group, form)

    def _explain_stale(self, load: Load, part: Sequence[int], bare: list[int]) -> list[int]:
        """The bare rows that are neither stale nor, among patches, absent: they still need a reason."""
        # Next to a shard that was busy a bare row may have been its victim, and be written only now.
        is_sure = not any(outcome.fate is Fate.RETRY for i in part if (outcome := load.outcomes[i]) and outcome is not BARE)
        self._ask(load, bare, Form.KEEP)
        reasons = {load.outcomes[i] for i in bare} - {BARE, WRITTEN}
        for i in bare:
            if load.outcomes[i] is WRITTEN:
                load.outcomes[i] = SUPERSEDED if is_sure else UNTOLD
            elif load.outcomes[i] is BARE and load.action is Action.PATCH and reasons == {ABSENT}:
                load.outcomes[i] = ABSENT  # if one is there after all, its insert becomes the same update
        return [i for i in bare if load.outcomes[i] is BARE]

    def _insert_absent(self, load: Load, absent: Sequence[int]) -> None:
        """Patches without a row become rows of the columns they have, each new month in a request of its own."""
        by_month: dict[int | None, list[int]] = {}
        for i in absent:
            by_month.setdefault(new_month(self._statements.table, Action.WRITE, load.entries[i].month), []).append(i)
            load.outcomes[i] = None
        for creates, places in sorted(by_month.items(), key=lambda item: item[0] is not None):
            insert = Load(Action.WRITE, load.columns, [load.entries[i] for i in places], [None] * len(places))
            try:
                self._settle(insert, range(len(places)), creates)
            finally:
                for i, outcome in zip(places, insert.outcomes, strict=True):
                    load.outcomes[i] = outcome._replace(incomplete=True) if outcome is WRITTEN else outcome

    def _carry(self, load: Load, part: Sequence[int]) -> None:
        """Copy rows to the month that a patch moves them to, one statement each, and make sure that none was lost in silence."""
        statement = self._statements.of(Action.CARRY, (), Form.PLAIN)
        for i in part:
            change, old = self._changes[load.entries[i].change], load.entries[i].month
            try:
                answer = self._execute(statement.sql, [*change.key, old, change.month], None)
                load.outcomes[i] = self._carried(answer, change, old)
            except Reject as error:
                load.outcomes[i] = as_outcome(error)

    def _carried(self, answer: Answer, change: Change, old: int | None) -> Outcome:
        if not answer.is_ok:
            return self.refusal(answer)
        return WRITTEN if answer.rowcount == 1 or self._has_nothing_to_carry(change, old) else CARRY_FAILED

    def _has_nothing_to_carry(self, change: Change, old: int | None) -> bool:
        """INSERT from a query skips a failing row without a word; then the old row is there and nothing stands in for it."""
        months = [month for month in (old, change.month) if month is not None]
        rows = self.run(self._statements.look_up([change.key], months)).rows
        place = len(change.key)
        if self._statements.is_ordered:
            return not any(row[place] == old and row[place + 1] is False for row in rows)
        return {row[place] for row in rows} != {old}

    # ------------------------------------------------------------ requests

    def _send(self, load: Load, part: Sequence[int], form: Form) -> tuple[Statement, Answer]:
        statement, rows = self._request(load, part, form)
        try:
            return statement, self._execute(statement.sql, None, rows)
        except BrokenOff as end:
            self._fill(load, part, end.outcome)
            raise

    def _request(self, load: Load, part: Sequence[int], form: Form) -> tuple[Statement, list[list[Any]]]:
        statement = self._statements.of(load.action, load.columns, form)
        changes, entries = self._changes, load.entries
        return statement, statement.bulk_args([(changes[entry.change], entry.month) for entry in map(entries.__getitem__, part)])

    @staticmethod
    def _fill(load: Load, part: Sequence[int], outcome: Outcome) -> None:
        for i in part:
            load.outcomes[i] = outcome

    def _execute(self, stmt: str, args: Sequence[object] | None, rows: Sequence[Sequence[object]] | None) -> Answer:
        return self._answer(lambda: self._client.execute(stmt, args, rows, self._tag))

    def _answer(self, ask: Callable[[], T]) -> T:
        if self.broken is not None or self.sent >= MAX_REQUESTS:
            raise BrokenOff(self.broken or UNFINISHED)
        self.sent += 1
        try:
            return ask()
        except (Retry, Stop) as error:
            outcome = as_outcome(error)
            self.unsure = self.unsure or outcome.unknown
            raise BrokenOff(outcome) from error

    def refusal(self, answer: Answer) -> Outcome:
        settling = self._client.is_settling() or (self._pipeline is not None and self._pipeline.is_settling())
        refused = of_request(answer.status, answer.code, answer.message, self._statements.table.columns, is_settling=settling)
        self.unsure = self.unsure or refused.unknown
        return refused


def slices(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))
