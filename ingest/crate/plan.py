"""A batch as an ordered list of requests: pure decisions about what is written where, and in which order.

Look-ups first, then `steps`: carries, writes and patches, refresh of the months that rows moved into, removals. Every entry
names its change, so that a later step can leave out what an earlier one did not write. Each shape of columns, each month that
does not exist yet and each row that must go alone gets a request of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ingest.crate.statements import VERSION, Action
from ingest.model import Batch, Change, Fate, Kind, Level, Outcome, Table, just_above, kafka_offset

COMBINATIONS = 10_000  # CrateDB answers at most that many keys from a key plan, which alone sees rows that are not refreshed yet
PLAIN_CHUNK = 5_000
KEY_PLANS = 3  # with more look-ups than these a REFRESH and one plain query per 5,000 keys is cheaper
STATEMENT_CHARS = 200_000  # CrateDB takes 262,144
EXACT_TYPES = frozenset({"byte", "smallint", "integer", "bigint", "text", "uuid", "boolean"})

ABSENT_KEY = Outcome(Fate.SUPERSEDED, "absent", "the row to delete is not there")
NO_VERSION = Outcome(Fate.REJECTED, "version.missing", "the change has no version, and its table keeps the newest only")
NOT_TEXT = Outcome(
    Fate.REJECTED, "store.not_encodable", "a part of the key is missing or no valid text: correct it at its source"
)
NO_MONTH = Outcome(Fate.REJECTED, "month.unknown", "the change names no month and the row it changes is not there")
MOVED_PATCH = Outcome(
    Fate.REJECTED, "month.patch_moves", "a partial update moves the row to another, generated month: send whole rows"
)


class Stored(NamedTuple):
    """A row that a look-up found. version: None where the table has none."""

    month: int | None
    is_live: bool = True
    version: str | None = None


class LookUp(NamedTuple):
    """One query for where keys are. months None: in all of them. is_plain: it sees only what is refreshed, so REFRESH first."""

    keys: Sequence[tuple[Any, ...]]
    months: tuple[int, ...] | None
    is_plain: bool = False


new = tuple.__new__  # for an Entry per row: its own constructor takes three times as long


class Entry(NamedTuple):
    """One row of a request: the change it comes from, by number, and the month it goes to."""

    change: int
    month: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """Rows that one statement serves. creates: the month whose partition it may bring into being, alone in its request."""

    action: Action
    columns: tuple[str, ...]
    entries: list[Entry]
    creates: int | None = None


@dataclass(slots=True)
class Step:
    """Requests in any order among themselves; then the months to refresh, each with the changes that moved a row into it."""

    requests: list[Request] = field(default_factory=list)
    refresh: dict[int, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """settled: outcomes that need no request."""

    steps: list[Step]
    settled: dict[int, Outcome]


Found = Mapping[tuple[Any, ...], Sequence[Stored]]


# ---------------------------------------------------------------- look-ups


def look_ups(batch: Batch, months: frozenset[int]) -> list[LookUp]:
    """What must be asked before this batch can be planned. months: the partitions that exist now."""
    keys = [change.key for change in batch.changes if change.look_up and is_text(change.key)]
    return key_look_ups(batch.table, keys, months) if keys else []


def key_look_ups(table: Table, keys: Sequence[tuple[Any, ...]], months: Iterable[int]) -> list[LookUp]:
    """Queries that find these keys in these months: key plans, which see every row, or plain ones where those would be many."""
    wanted = tuple(sorted(months))
    if not wanted and table.month_column is not None:
        return []
    if table.generated_month:  # CrateDB makes no key plan over a generated column
        return [LookUp(chunk, None, True) for chunk in chunks(keys, PLAIN_CHUNK if is_exact(table) else 1)]
    if not is_exact(table):
        return [LookUp([key], wanted) for key in keys]
    at_once = keys_at_once(table, len(wanted) or 1)
    if len(keys) > KEY_PLANS * at_once:
        return [LookUp(chunk, None, True) for chunk in chunks(keys, PLAIN_CHUNK)]
    return [LookUp(chunk, wanted) for chunk in chunks(keys, at_once)]


def version_look_ups(batch: Batch) -> list[LookUp]:
    """Queries that tell which versions a batch will meet; none where that would cost more than it saves."""
    table = batch.table
    if len(table.key) > 1 or table.generated_month or not is_exact(table):
        return []
    by_month: dict[int | None, list[tuple[Any, ...]]] = {}
    for change in batch.changes:
        if change.kind is not Kind.DELETE and is_text(change.key):
            by_month.setdefault(change.month, []).append(change.key)
    size = keys_at_once(table, 1)
    return [LookUp(c, None if m is None else (m,)) for m, keys in by_month.items() for c in chunks(keys, size)]


def keys_at_once(table: Table, months: int) -> int:
    """How many keys fit a key plan: in a product of IN lists n keys of p parts make n ** p combinations with each month."""
    return int((COMBINATIONS // months) ** (1 / len(table.key)) + 1e-9)


def is_exact(table: Table) -> bool:
    """Whether CrateDB answers key values in a form that can be recognised; else each key is asked for alone."""
    parts = [table.columns[name] for name in table.key]
    return all(part.type in EXACT_TYPES and (part.length is None or part.type == "text") for part in parts)


def chunks(keys: Sequence[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Slices of at most `size` keys whose literals leave room in a statement."""
    chunk: list[tuple[Any, ...]] = []
    chars = 0
    for key in keys:
        more = sum(len(str(part)) + 4 for part in key)
        if chunk and (len(chunk) == size or chars + more > STATEMENT_CHARS):
            yield chunk
            chunk, chars = [], 0
        chunk.append(key)
        chars += more
    if chunk:
        yield chunk


def is_text(key: Sequence[Any]) -> bool:
    """Whether the key can be written as literals; a lone surrogate would make the whole query unreadable."""
    try:
        return all(part is not None and str(part).encode() is not None for part in key)
    except UnicodeEncodeError:
        return False


def recognisable(table: Table, key: Sequence[Any]) -> tuple[str, ...]:
    """A key in the form that is the same for what was sent and what CrateDB answers.

    Numbers may travel as text, UUIDs come back in small letters, VARCHAR(n) drops blanks beyond n.
    """
    return tuple(recognisable_part(table, i, part) for i, part in enumerate(key))


def recognisable_part(table: Table, i: int, value: Any) -> str:
    column = table.columns[table.key[i]]
    text = str(value)
    if column.type in ("uuid", "boolean"):
        return text.lower()
    return text if column.length is None else text[: column.length]


# ---------------------------------------------------------------- steps


def steps(batch: Batch, found: Found, skip: Iterable[int] = ()) -> Plan:
    """The batch as steps. found: what the look-ups brought, by key. skip: changes whose own row is known to be stale.

    A stale row still vacates its other months: the guard there refuses only what must stay, so that any order ends the same.
    """
    return Planner(batch, found, frozenset(skip)).plan()


def stamped(changes: Sequence[Change], found: Found, table: Table) -> list[Change]:
    """The changes, with a version for each delete that has none: just above the one that is stored.

    A tombstone that is the only sign of a delete tells no position in its source. It deletes what is there; the change that
    wrote that row, read again, is stale afterwards.
    """
    if table.level is not Level.ORDERED:
        return list(changes)
    return [as_stored(change, found.get(change.key, ())) if change.version is None else change for change in changes]


def is_before(stored: Stored, change: Change) -> bool:
    """Whether the stored row was written by a record in front of the change's own; a key stays in its partition."""
    return kafka_offset(stored.version or "") < change.at.offset


def as_stored(change: Change, stored: Sequence[Stored]) -> Change:
    version = just_above(max((row.version or "" for row in stored if row.is_live and is_before(row, change)), default=""))
    values = [version if name == VERSION else value for name, value in zip(change.columns, change.row, strict=True)]
    return replace(change, row=values)


class Planner:
    """Sorts the changes of one batch into requests."""

    def __init__(self, batch: Batch, found: Found, skip: frozenset[int]) -> None:
        self.table, self.changes = batch.table, batch.changes
        self._found, self._skip = found, skip
        self._is_ordered = batch.table.level is Level.ORDERED
        self._settled: dict[int, Outcome] = {}
        self._carries = Sorter(self.table)
        self._writes = Sorter(self.table)
        self._removals = Sorter(self.table)
        self._moved: dict[int, list[int]] = {}

    def plan(self) -> Plan:
        add, skip, needs_version = self._writes.add, self._skip, self._is_ordered
        knows_month = self.table.month_column is None
        for i, change in enumerate(self.changes):
            is_plain = change.kind is Kind.WRITE and not (change.look_up or change.vacates or change.new_keys or i in skip)
            if is_plain and (knows_month or change.month is not None) and (change.version is not None or not needs_version):
                add(Action.WRITE, change.columns, new(Entry, (i, change.month)))  # as _write would, in a quarter of its time
            else:
                self._place(i, change)
        writes = Step(self._writes.requests(), self._moved)
        found = [Step(self._carries.requests()), writes, Step(self._removals.requests())]
        return Plan([step for step in found if step.requests or step.refresh], self._settled)

    def _place(self, i: int, change: Change) -> None:
        if self._is_ordered and change.version is None and change.kind is not Kind.DELETE:
            self._settled[i] = NO_VERSION
        elif change.look_up and not is_text(change.key):
            self._settled[i] = NOT_TEXT
        elif change.kind is Kind.DELETE:
            self._delete(i, change)
        else:
            self._write(i, change)

    def _write(self, i: int, change: Change) -> None:
        month = self._month_of(change)
        others = self._others(change, month) if change.vacates or change.look_up else ()
        is_patch = change.kind is Kind.PATCH and bool(change.columns)
        refused = self._refusal(month, moves_patch=is_patch and bool(others))
        if refused is not None:
            self._settled[i] = refused
            return
        if i not in self._skip:
            for old in others if is_patch else ():  # the columns that a patch lacks must not be lost with the row it moves
                self._carries.add_alone(Action.CARRY, change.columns, Entry(i, old))
            add = self._writes.add_alone if change.new_keys else self._writes.add
            add(Action.PATCH if is_patch else Action.WRITE, change.columns, Entry(i, month))
        if others and month is not None:
            self._moved.setdefault(month, []).append(i)
        for old in others:
            self._remove(i, change, old)

    def _refusal(self, month: int | None, *, moves_patch: bool) -> Outcome | None:
        if month is None and self.table.month_column is not None:
            return NO_MONTH
        return MOVED_PATCH if moves_patch and self.table.generated_month else None

    def _delete(self, i: int, change: Change) -> None:
        if self._is_ordered and change.version is None:
            self._delete_stored(i, change)
            return
        if self.table.month_column is None:
            self._remove(i, change, None)
            return
        months = {*change.vacates, *(stored.month for stored in self._stored(change)), change.month} - {None}
        if not months:
            self._settled[i] = ABSENT_KEY
        for month in sorted(month for month in months if month is not None):
            self._remove(i, change, month)

    def _delete_stored(self, i: int, change: Change) -> None:
        """A tombstone without a version: read again, it must not delete what came behind it, so Kafka's offset decides."""
        before = [stored for stored in self._stored(change) if stored.is_live and is_before(stored, change)]
        if not before:
            self._settled[i] = ABSENT_KEY
        for stored in before:
            self._remove(i, change, stored.month)

    def _remove(self, i: int, change: Change, month: int | None) -> None:
        self._removals.add(
            Action.TOMBSTONE if self._is_ordered else Action.DELETE, self._removal_columns(change), Entry(i, month)
        )

    def _removal_columns(self, change: Change) -> tuple[str, ...]:
        """A DELETE statement has no columns, whatever the shape of its changes."""
        return change.columns if self._is_ordered else ()

    def _month_of(self, change: Change) -> int | None:
        if change.month is not None or not change.look_up:
            return change.month
        live = [stored for stored in self._stored(change) if stored.is_live]
        return max(live, key=lambda stored: stored.version or "").month if live else None

    def _others(self, change: Change, month: int | None) -> list[int]:
        """The months, besides its own, in which the key must not be live."""
        found = (stored.month for stored in self._stored(change) if stored.is_live)
        return sorted({other for other in (*change.vacates, *found) if other is not None and other != month})

    def _stored(self, change: Change) -> Sequence[Stored]:
        return self._found.get(change.key, ()) if change.look_up else ()


class Sorter:
    """Entries on their way into requests: one per statement, and apart whatever may create a partition.

    A request that creates partitions may blame the wrong rows, unless that one partition is all it touches.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._months = table.months
        self._last: Request | None = None
        self._alone: list[Request] = []
        self._shared: dict[tuple[Action, tuple[str, ...], int | None], Request] = {}

    def add(self, action: Action, columns: tuple[str, ...], entry: Entry) -> None:
        creates = new_month(self._table, action, entry.month) if entry.month not in self._months else None
        last = self._last
        if last is not None and last.columns is columns and last.action is action and last.creates == creates:
            last.entries.append(entry)  # to find the request costs the hash of all names of columns, 0.3 us
            return
        request = self._shared.get((action, columns, creates))
        if request is None:
            request = self._shared[action, columns, creates] = Request(action, columns, [], creates)
        request.entries.append(entry)
        self._last = request

    def add_alone(self, action: Action, columns: tuple[str, ...], entry: Entry) -> None:
        """For a row that must be alone in its request; it goes before all shared ones."""
        self._alone.append(Request(action, columns, [entry], new_month(self._table, action, entry.month)))

    def requests(self) -> list[Request]:
        """Those for months that exist before those that create some."""
        return self._alone + sorted(self._shared.values(), key=lambda request: request.creates is not None)


def new_month(table: Table, action: Action, month: int | None) -> int | None:
    """The month, if this action would create its partition."""
    return month if month not in table.months and action in (Action.WRITE, Action.TOMBSTONE) else None


def merged(kind: Kind, earlier: Outcome | None, later: Outcome) -> Outcome:
    """The fate of a change after one more of its rows is known.

    The worst counts. Among good ones a row that was written or superseded keeps that name whatever became of the months it left;
    a delete was written if any of its rows was.
    """
    if earlier is None:
        return later
    if later.fate in GOOD and earlier.fate in GOOD:
        return later if kind is Kind.DELETE and later.fate is Fate.WRITTEN else earlier
    return max(earlier, later, key=lambda outcome: WORST.index(outcome.fate))


GOOD = frozenset({Fate.WRITTEN, Fate.SUPERSEDED})
WORST = (Fate.SUPERSEDED, Fate.WRITTEN, Fate.REJECTED, Fate.RETRY, Fate.PARK, Fate.STOP)
