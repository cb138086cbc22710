"""Which column says the month of a row: one that all rows have, that lies in the allowed months, and that rather does not change.

Pure; one thread.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ingest.errors import Reject
from ingest.model import Envelope, Op, SourceType
from ingest.tables.calendar_utc import month_of
from ingest.tables.declared_columns import Choice
from ingest.tables.months import MOMENT, MappingRules, MonthLimits
from ingest.tables.reading import Convert
from ingest.tables.types import ColumnRule, parse_type, reading
from ingest.tools.propose_sample import Rows

_WHEN: Final = r"(?:_?(?:at|on|ts|time|date|timestamp|datetime|dt|utc|ms|us|ns))*"
MADE: Final = re.compile(
    rf"(?:row_|record_)?(?:created|creation|create|made|inserted|registered|registration|ordered|order|placed|issued|posted|purchased|"
    rf"purchase|joined|signup|signed_up|opened|booked|booking|submitted){_WHEN}"
)
HAPPENED: Final = re.compile(
    r"(?:event_?|occurred_?|happened_?|recorded_?|measured_?|observed_?|logged_?|received_?|sent_?|captured_?)?"
    r"(?:ts|time|timestamp|at|date|datetime|time_stamp|day)(?:_(?:ms|us|ns|utc))?"
)
CHANGES: Final = re.compile(
    r"(?:^|_)(?:updated|update|modified|changed|last|deleted|expires|expiry|due|valid|until|next|birthday|dob)"
)
# So many updates must agree before their images of before are taken for real.
UPDATES_NEEDED: Final = 3


class Candidate(NamedTuple):
    """A column that holds moments. rank: 0 when the row was made, 1 when something happened, 2 anything else, 3 what changes."""

    column: str
    field: str
    rank: int
    read: Convert


class MonthChoice(NamedTuple):
    """column: None where the table is not partitioned. share: of the rows, how many are in the fullest month."""

    column: str | None
    reason: str
    mutable: bool = False
    share: float = 1.0


def choose_month(
    rows: Rows, choices: Mapping[str, Choice], names: Mapping[str, str], key: Sequence[str], rules: MappingRules, now_ms: int
) -> MonthChoice:
    """choices: of each field. names: its column. key: fields of the primary key, () for events whose place is their key."""
    found = sorted(_candidates(rows, choices, names), key=lambda each: (each.field not in key, each.rank))
    limits = MonthLimits(rules, None)
    why_not: list[str] = []
    for each in found:
        months, refusal = _months(rows, each, limits, now_ms)
        refusal = refusal or _refusal(each, rows, key)
        if refusal:
            why_not.append(f"{each.column} {refusal}")
            continue
        moves = each.field not in key and _moves(rows, each)
        mutable = bool(key) and each.field not in key and rows.has_records and (moves or each.rank > 0)
        return MonthChoice(each.column, _reason(each, key, moves, mutable), mutable, _share(months))
    return MonthChoice(None, "; ".join(why_not) or "no column holds moments")


def _candidates(rows: Rows, choices: Mapping[str, Choice], names: Mapping[str, str]) -> Iterable[Candidate]:
    for field, choice in choices.items():
        if choice.is_moment:
            declared = rows.fields.get(field) or rows.key_fields[field]
            yield Candidate(names[field], field, rank_of(names[field]), moment_reader(declared.declared, choice))


def rank_of(column: str) -> int:
    """
    >>> [rank_of(name) for name in ("created_at", "order_date", "ts", "event_time", "shipped_at", "updated_at")]
    [0, 0, 1, 1, 2, 3]
    """
    if MADE.fullmatch(column):
        return 0
    if HAPPENED.fullmatch(column):
        return 1
    return 3 if CHANGES.search(column) else 2


def moment_reader(declared: Sequence[SourceType], choice: Choice) -> Convert:
    """Reads a moment as the worker will."""
    source = declared[-1] if declared else None
    return reading(source, MOMENT, ColumnRule(type=parse_type(choice.read_as) if choice.read_as else None)).convert


def _months(rows: Rows, candidate: Candidate, limits: MonthLimits, now_ms: int) -> tuple[list[int], str]:
    """The month of each row, and why the column cannot be the one that says it."""
    months: list[int] = []
    for value in _values(rows, candidate.field):
        if value is None:
            return months, "is NULL in some rows"
        try:
            months.append(limits.month(candidate.read(value), now_ms))
        except Reject as reject:
            is_far = reject.code == "month.out_of_bounds"
            return months, "lies outside INGEST_MONTH_MIN and _MAX in some rows" if is_far else "is no moment in some rows"
    return months, ""


def _values(rows: Rows, field: str) -> list[Any]:
    """Of a key field that rows lack, those of the keys."""
    if field in rows.fields:
        return [image.get(field) for image in rows.images]
    return [envelope.key.get(field) for envelope in rows.envelopes if isinstance(envelope.key, dict)]


def _refusal(candidate: Candidate, rows: Rows, key: Sequence[str]) -> str:
    """A row whose month changes is looked up with each change; that is too dear for a column of which it is the purpose."""
    if candidate.field in key or not (key and (rows.is_change_log or rows.has_tombstones)):
        return "is no time at which something happened" if candidate.rank == 3 and candidate.field not in key else ""
    return {2: "may change, and then its row would move to another month", 3: "changes with its row"}.get(candidate.rank, "")


def _moves(rows: Rows, candidate: Candidate) -> bool:
    """Whether a key of the sample is seen in two months."""
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for envelope in rows.envelopes:
        for image in (envelope.after, envelope.before if envelope.op is Op.UPDATE else None):
            month = _month_in(image, candidate)
            if month is not None and envelope.key is not None:
                seen[repr(envelope.key)].add(month)
    return any(len(months) > 1 for months in seen.values())


def _month_in(image: Mapping[str, Any] | None, candidate: Candidate) -> int | None:
    value = None if image is None else image.get(candidate.field)
    try:
        return None if value is None else month_of(candidate.read(value))
    except Reject:
        return None


def _reason(candidate: Candidate, key: Sequence[str], moves: bool, mutable: bool) -> str:
    if candidate.field in key:
        return "part of the key, so it never changes"
    if moves:
        return "moves to another month in the sample"
    if mutable:
        return "it may change: if it cannot, mutable = false saves look-ups"
    return "when the row was made, so it should never change" if key and candidate.rank == 0 else "when it happened"


def _share(months: Sequence[int]) -> float:
    return max(months.count(month) for month in set(months)) / len(months) if months else 1.0


# ---------------------------------------------------------------- images of before


def has_full_images(rows: Rows) -> bool:
    """Whether updates bring the whole old row: each column that is never NULL after is never NULL before.

    PostgreSQL sends no image, or one of the key alone, unless REPLICA IDENTITY is FULL.
    """
    updates = [each for each in rows.envelopes if each.op is Op.UPDATE and each.after is not None and not each.before_real]
    if len(updates) < UPDATES_NEEDED:
        return False
    always = [name for name, field in rows.fields.items() if not field.values.nulls]
    return len(always) > 1 and all(_is_full(each, always) for each in updates)


def _is_full(envelope: Envelope, always: Sequence[str]) -> bool:
    return envelope.before is not None and all(envelope.before.get(name) is not None for name in always)
