"""Months that are dropped under load, and what the model may not ask for any more then.

Runs in the row's thread; the judge asks what is excused.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.rig import Rig
from tests.oracle.log import Fate, Sent
from tests.oracle.model import month_in, order


def some_month(rig: Rig, table: str) -> int:
    months = "SELECT values FROM information_schema.table_partitions WHERE table_schema = ? AND table_name = ?"
    found = sorted(row[0]["month"] for row in rig.crate.rows(months, [rig.name, table]))
    return int(rig.rnd.choice(found))


def drop_month(rig: Rig, table: str) -> None:
    """What was offered for the month before the drop may be gone, whatever comes behind must be there. With its tombstones the
    month forgets which rows it had no longer: an old change that comes once more is seen again."""
    month = some_month(rig, table)
    rig.crate.rows(f"DELETE FROM {table} WHERE month = {month}")
    ends, was_gone, was_ghost = dict(rig.load.log.next_offset), rig.is_gone, rig.is_ghost

    def is_of_it(sent: Sent) -> bool:
        change = sent.change
        return change is not None and change.table == table and bool(change.values) and month_in(table, change.values) == month

    def is_early(sent: Sent) -> bool:
        return sent.at.offset < ends.get(sent.at[:2], 0)

    rig.is_gone = lambda sent: was_gone(sent) or (is_of_it(sent) and is_early(sent))
    rig.is_ghost = lambda sent: was_ghost(sent) or (is_of_it(sent) and any(map(is_early, newer(rig, sent))))


def newer(rig: Rig, sent: Sent) -> Iterator[Sent]:
    """The later changes of its key."""
    assert sent.change is not None
    for each in list(rig.load.log.sent):
        is_same = each.change is not None and each.change[:2] == sent.change[:2]
        if is_same and each.fate is Fate.KEPT and order(each) > order(sent):
            yield each
