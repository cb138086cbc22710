"""What would be sent to CrateDB for one change: look-ups, steps and their statements, each with its arguments.

Built by the write path's own `plan` and `statements`. Look-ups are really asked, since the steps follow from their answer;
nothing is written, and no table is refreshed. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ingest.crate.plan import Entry, Found, LookUp, Request, Stored, is_text, key_look_ups, look_ups, stamped, steps
from ingest.crate.statements import Action, Form, Statements
from ingest.crate.writer import stored_of
from ingest.model import Batch, Change, Kind, Lane, Level, Outcome, Table

Ask = Callable[[str], Sequence[Sequence[Any]]]

PURPOSES: Final = {
    Action.WRITE: "insert the row, or update it if it is not newer",
    Action.PATCH: "update the columns that the record has (where no row is found, they are inserted)",
    Action.TOMBSTONE: "leave a tombstone, unless what stands there is newer",
    Action.DELETE: "delete the row",
    Action.CARRY: "copy the columns that the record lacks from the old month",
}
# Level arrival has no guard.
UNGUARDED: Final = {Action.WRITE: "insert the row, or update it"}


class Sent(NamedTuple):
    """One statement. purpose: in words. rows: what a look-up that was asked brought, None for all that was not asked."""

    purpose: str
    sql: str
    args: Sequence[Any] = ()
    rows: Sequence[Sequence[Any]] | None = None


class Sending(NamedTuple):
    """statements: in order. settled: the outcome of a change that needs no request. stored: the key's rows as they are now.

    change: as it would be sent, with a version for a delete that told none.
    """

    statements: Sequence[Sent]
    settled: Outcome | None
    stored: Sequence[Stored]
    change: Change


def sending(table: Table, change: Change, ask: Ask | None) -> Sending:
    """ask: runs a look-up and gives its rows; None where CrateDB is not asked, as if it held nothing of this key."""
    texts = Statements(table)
    batch = Batch(Lane(table.full_name, 0), table, [change], tag="explain")
    asked = [_asked(texts, look_up, ask) for look_up in look_ups(batch, table.months)]
    found = {change.key: [row for _, rows in asked for row in rows]}
    ready = stamped([change], found, table)
    plan = steps(batch, found)
    sent = [sent for sent, _ in asked]
    for step in plan.steps:
        sent += [sent for request in step.requests for sent in _sent(texts, request, ready)]
        sent += [Sent("let readers see the moved row before it leaves its old month", texts.refresh(m)) for m in step.refresh]
    return Sending(sent, plan.settled.get(0), stored(table, change, found, ask), ready[0])


def _asked(texts: Statements, look_up: LookUp, ask: Ask | None) -> tuple[Sent, list[Stored]]:
    sql = texts.look_up(look_up.keys, look_up.months)
    purpose = "look up where the key is" + (", after a REFRESH" if look_up.is_plain else "")
    if ask is None:
        return Sent(purpose, sql), []
    rows = ask(sql)
    return Sent(purpose, sql, rows=rows), _stored(texts.table, rows)


def _stored(table: Table, rows: Sequence[Sequence[Any]]) -> list[Stored]:
    return [stored_of(table, row[len(table.key) :]) for row in rows]


def stored(table: Table, change: Change, found: Found, ask: Ask | None) -> Sequence[Stored]:
    """The rows of the change's key in all months, asked for anew where the plan had no need to."""
    if change.look_up or ask is None or not is_text(change.key):
        return found.get(change.key, ())
    texts = Statements(table)
    asked = key_look_ups(table, [change.key], table.months)
    return [row for look_up in asked for row in _stored(table, ask(texts.look_up(look_up.keys, look_up.months)))]


def _sent(texts: Statements, request: Request, changes: Sequence[Change]) -> Iterator[Sent]:
    """The statement as it is sent first; a lane whose rows were mostly stale uses another form of the guard."""
    form = Form.REFUSE if texts.is_ordered else Form.PLAIN
    purpose = PURPOSES[request.action] if texts.is_ordered else UNGUARDED.get(request.action, PURPOSES[request.action])
    for entry in request.entries:
        change = changes[entry.change]
        if request.action is Action.CARRY:
            yield Sent(purpose, texts.of(Action.CARRY, (), Form.PLAIN).sql, [*change.key, entry.month, change.month])
        else:
            statement = texts.of(request.action, request.columns, form)
            yield Sent(_purpose(purpose, request, entry), statement.sql, statement.parameters(change, entry.month))


def _purpose(purpose: str, request: Request, entry: Entry) -> str:
    return f"{purpose}; this makes the month's partition" if request.creates is not None and entry.month is not None else purpose


# ---------------------------------------------------------------- what it would come to


def expected(table: Table, sending: Sending) -> str:
    """stored, superseded, repeated (this very change is there already) or absent (nothing to delete)."""
    change = sending.change
    if sending.settled is not None:
        return "absent" if sending.settled.code == "absent" else "rejected"
    version = dict(zip(change.columns, change.row, strict=True)).get("cdc_version")
    if table.level is not Level.ORDERED or version is None:
        return "stored"
    newest = max((row.version or "" for row in sending.stored if _meets(change, row)), default="")
    if newest > version:
        return "superseded"
    return "repeated" if newest == version else "stored"


def _meets(change: Change, row: Stored) -> bool:
    """Whether the change's own row is the one that is stored there; a delete meets all."""
    return change.kind is Kind.DELETE or change.month is None or row.month == change.month
