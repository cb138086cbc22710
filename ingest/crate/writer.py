"""`HttpStore`: the Store that the loop's writer threads use, over CrateDB's HTTP interface.

`write` reads like the design: wait for requests of unknown outcome, look up, plan, run the steps, answer. The decisions live in
`plan`, `statements` and `verdicts`, the talking in `courier`. One store per thread; it keeps nothing between batches but texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Any

from ingest.crate import catalogue, columns, truncation
from ingest.crate.courier import BrokenOff, Courier, Pipeline, as_outcome
from ingest.crate.http import HttpClient
from ingest.crate.plan import (
    GOOD,
    Entry,
    LookUp,
    Request,
    Step,
    Stored,
    look_ups,
    merged,
    recognisable,
    stamped,
    steps,
    version_look_ups,
)
from ingest.crate.running import BLIND_WAIT_S, HIDDEN_TEXT, RUNNING, still_running
from ingest.crate.statements import Action, Form, Statements
from ingest.crate.verdicts import as_error, of_request
from ingest.errors import IngestError, Reject
from ingest.flow.ports import Truncation, Unsure
from ingest.model import SUPERSEDED, Batch, Fate, NewColumn, Outcome, Result, Table

STILL_RUNNING = Outcome(Fate.RETRY, "store.still_running", "an earlier request for these rows has not ended yet")
HIDDEN = Outcome(Fate.RETRY, "store.jobs_hidden", HIDDEN_TEXT)
MAX_ROWS = 1_000_000  # no bound: the batch itself is bounded


class HttpStore:
    """CrateDB over HTTP. max_rows: the most rows that one request carries. blind_s: see crate.running.

    pipeline: see crate.courier.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        clock: Callable[[], float] = monotonic,
        max_rows: int = MAX_ROWS,
        blind_s: float = BLIND_WAIT_S,
        pipeline: Pipeline | None = None,
    ) -> None:
        self._client, self._clock, self._max_rows, self._blind_s = client, clock, max_rows, blind_s
        self._pipeline = pipeline
        self._statements: dict[str, Statements] = {}

    def write(self, batch: Batch) -> Result:
        """Apply the batch in one attempt and answer with one outcome per change; see flow.ports.Store."""
        started_s = self._clock()
        statements = self._statements_of(batch.table)
        attempt = Attempt(self._client, batch, statements, self._max_rows, self._blind_s, self._pipeline)
        attempt.run()
        result = attempt.result()
        result.took_s = self._clock() - started_s
        return result

    def describe(self, names: Collection[str]) -> Mapping[str, Table | IngestError | None]:
        return catalogue.look(self._client, names)

    def add_columns(self, name: str, wanted: Sequence[NewColumn], unsure: Unsure) -> Table:
        return columns.add_columns(self._client, name, wanted, unsure, blind_s=self._blind_s)

    def empty(self, table: Table, what: Truncation, unsure: Unsure) -> Table:
        return truncation.empty(self._client, table, what, unsure, blind_s=self._blind_s)

    def probe(self) -> None:
        answer = self._client.execute("SELECT 1")
        if not answer.is_ok:
            raise as_error(of_request(answer.status, answer.code, answer.message), "reach CrateDB")

    def close(self) -> None:
        self._client.close()

    def _statements_of(self, table: Table) -> Statements:
        kept = self._statements.get(table.full_name)
        if kept is None or kept.table is not table:
            kept = self._statements[table.full_name] = Statements(table)
        return kept


class Attempt:
    """One attempt at one batch."""

    def __init__(
        self,
        client: HttpClient,
        batch: Batch,
        statements: Statements,
        max_rows: int,
        blind_s: float,
        pipeline: Pipeline | None = None,
    ) -> None:
        self._client, self._batch, self._statements, self._blind_s = client, batch, statements, blind_s
        self._changes = list(batch.changes)
        self._versions_first = version_look_ups(batch) if batch.mostly_stale and statements.is_ordered else []
        self._courier = Courier(
            client, statements, self._changes, batch.tag, form=self._form(), max_rows=max_rows, pipeline=pipeline
        )
        self._outcomes: list[Outcome | None] = [None] * len(batch.changes)
        self._is_begun = False  # whether some of them may be known
        self._new_months: set[int] = set()
        self._still_running: list[str] = []

    def run(self) -> None:
        try:
            self._look_for_unsure()
            stale = self._find_stale()
            found = self._look_up()
            self._changes[:] = stamped(self._batch.changes, found, self._batch.table)
            plan = steps(self._batch, found, stale)
            self._is_begun = any(self._outcomes) or bool(plan.settled)
            for i, outcome in plan.settled.items():
                self._outcomes[i] = self._outcomes[i] or outcome
            for step in plan.steps:
                self._run_step(step)
        except BrokenOff as end:
            self._courier.broken = end.outcome
        except Reject as error:  # of a statement without rows: no row is to blame for it
            self._courier.broken = as_outcome(error)._replace(fate=Fate.PARK)
        except IngestError as error:
            self._courier.broken = as_outcome(error)

    def _form(self) -> Form:
        if not self._statements.is_ordered:
            return Form.PLAIN
        return Form.KEEP if self._batch.mostly_stale and not self._versions_first else Form.REFUSE

    def result(self) -> Result:
        outcomes = [outcome or self._courier.broken or STILL_RUNNING for outcome in self._outcomes]
        unsure = [*self._still_running, *([self._batch.tag] if self._courier.unsure else [])]
        return Result(
            self._batch,
            outcomes,
            statements=self._courier.sent,
            new_months=frozenset(self._new_months),
            unsure=tuple(unsure),
            codes=dict(Counter([outcome.code for outcome in outcomes if outcome.code])),
        )

    # ------------------------------------------------------------ before

    def _look_for_unsure(self) -> None:
        """Requests whose answer never came must have ended: they could write over what we are about to write."""
        if not self._batch.unsure:
            return
        self._still_running = list(self._batch.unsure)
        look = still_running(self._courier.ask(RUNNING), self._batch.unsure)
        if look.refusal is not None:
            raise BrokenOff(self._courier.refusal(look.refusal))
        if look.is_hidden and self._batch.unsure_for_s < self._blind_s:
            raise BrokenOff(HIDDEN)
        self._still_running = [] if look.is_hidden else look.running
        if self._still_running:
            raise BrokenOff(STILL_RUNNING)

    def _find_stale(self) -> set[int]:
        """In a stream that is mostly stale: the changes whose row is newer already, found by reading, not by refused writes."""
        stored: dict[tuple[Any, ...], Stored] = {}
        for look_up in self._versions_first:
            stored |= {(key, row.month): row for key, row in self._rows_of(look_up)}
        if not stored:
            return set()
        stale = set()
        for i, change in enumerate(self._batch.changes):
            row = stored.get((recognisable(self._batch.table, change.key), change.month))
            if row is not None and (row.version or "") > (change.version or ""):
                stale.add(i)
                self._outcomes[i] = SUPERSEDED
        return stale

    def _look_up(self) -> dict[tuple[Any, ...], list[Stored]]:
        """Where the keys that ask for it are now, by the key as the change has it."""
        changes = [change for change in self._batch.changes if change.look_up]
        if not changes:
            return {}
        is_split = self._batch.table.month_column is not None
        # Another worker may have made a month since the last look.
        months = catalogue.months(self._client, self._batch.table) if is_split else frozenset()
        wanted = {recognisable(self._batch.table, change.key): change.key for change in changes}
        found: dict[tuple[Any, ...], list[Stored]] = {}
        for look_up in look_ups(self._batch, months):
            for key, row in self._rows_of(look_up):
                asked = look_up.keys[0] if len(look_up.keys) == 1 else wanted.get(key)
                if asked is not None:
                    found.setdefault(tuple(asked), []).append(row)
        return found

    def _rows_of(self, look_up: LookUp) -> list[tuple[tuple[str, ...], Stored]]:
        """The rows of a look-up. A key that CrateDB refuses costs its own change, found by halving."""
        table, keys = self._batch.table, look_up.keys
        if look_up.is_plain:
            self._courier.run(self._statements.refresh())
        try:
            rows = self._courier.run(self._statements.look_up(keys, look_up.months)).rows
        except Reject as error:
            if len(keys) == 1:
                self._refuse_key(keys[0], as_outcome(error))
                return []
            half = len(keys) // 2
            return [row for part in (keys[:half], keys[half:]) for row in self._rows_of(look_up._replace(keys=part))]
        return [(recognisable(table, row[: len(table.key)]), stored_of(table, row[len(table.key) :])) for row in rows]

    def _refuse_key(self, key: tuple[Any, ...], outcome: Outcome) -> None:
        for i, change in enumerate(self._batch.changes):
            if change.key == key:
                self._outcomes[i] = outcome

    # ------------------------------------------------------------ steps

    def _run_step(self, step: Step) -> None:
        for request in step.requests:
            self._run_request(request)
        for month, changes in step.refresh.items():
            self._refresh(month, [i for i in changes if self._goes_on(i)])

    def _run_request(self, request: Request) -> None:
        entries = request.entries
        if self._is_begun:
            entries = [entry for entry in entries if self._goes_on(entry.change)]
        outcomes = self._courier.deliver(request, entries)
        for entry, outcome in zip(entries, outcomes, strict=True):
            self._note(entry.change, outcome)
        self._is_begun = True
        if request.creates is not None or request.action is Action.PATCH:
            self._note_months(entries, outcomes)

    def _note_months(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        known = self._batch.table.months
        pairs = zip(entries, outcomes, strict=True)
        written = {entry.month for entry, outcome in pairs if outcome.fate is Fate.WRITTEN}
        self._new_months |= {month for month in written if month is not None and month not in known}

    def _note(self, i: int, outcome: Outcome) -> None:
        earlier = self._outcomes[i]
        self._outcomes[i] = outcome if earlier is None else merged(self._batch.changes[i].kind, earlier, outcome)

    def _goes_on(self, i: int) -> bool:
        """A change that CrateDB rejected, or that must be sent again, leaves its later steps undone."""
        outcome = self._outcomes[i]
        return outcome is None or outcome.fate in GOOD

    def _refresh(self, month: int, moved: Sequence[int]) -> None:
        """Let readers see the moved rows in their new month before they vanish from the old one."""
        if not any(outcome and outcome.fate is Fate.WRITTEN for outcome in (self._outcomes[i] for i in moved)):
            return
        try:
            self._courier.run(self._statements.refresh(month))
        except BrokenOff as end:
            # Not raised: the months behind this one have rows that moved as well, and their old halves must not count as done.
            outcome = end.outcome._replace(fate=max_retry(end.outcome.fate))
            self._courier.broken = outcome
            for i in moved:
                self._note(i, outcome)


def max_retry(fate: Fate) -> Fate:
    """A refresh rejects no row: what is not for a person to mend is tried again."""
    return fate if fate in (Fate.PARK, Fate.STOP) else Fate.RETRY


def stored_of(table: Table, row: Sequence[Any]) -> Stored:
    """What stands behind the key in the row of a look-up: [month][, cdc_deleted, cdc_version]."""
    rest = list(row)
    month = rest.pop(0) if table.month_column is not None else None
    return Stored(month, rest[0] is not True, rest[1]) if rest else Stored(month)
