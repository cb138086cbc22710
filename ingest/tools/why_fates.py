"""What became of each change of a key, told from what is stored, committed and dead-lettered now. Pure.

Told afterwards, so it is a conclusion: CrateDB keeps the newest version of a row, not its history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ingest.model import Change, Kind, Level, Partition, Position, Table, kafka_offset
from ingest.tools.why_rows import Stored, StoredRow
from ingest.tools.why_scan import Scan, Seen

STORED: Final = "stored"
SUPERSEDED: Final = "superseded"
REJECTED: Final = "would be rejected"
LETTER: Final = "dead-lettered"
SKIPPED: Final = "skipped"
PARKED: Final = "parks"
NOT_READ: Final = "not read yet"
MISSING: Final = "missing"
SETTLES: Final = (STORED, SUPERSEDED, MISSING)


class Fate(NamedTuple):
    """word: one of the above. why: the rest of the sentence."""

    word: str
    why: str = ""


class LetterSeen(NamedTuple):
    """A dead letter about this key: where it stands, and why it was sent."""

    at: Position
    code: str


class Known(NamedTuple):
    """What fates are told from. committed: the next offset of the group, where it has one; None where nobody could be asked."""

    table: Table
    stored: Stored
    committed: Mapping[Partition, int] | None
    letters: Mapping[Position, LetterSeen]

    @property
    def newest(self) -> str:
        return max((row.version or "" for row in self.stored.rows), default="")


def fates(seen: Sequence[Seen], known: Known) -> list[Fate]:
    """A fate for each, in the same order."""
    found = [fate(each, known) for each in seen]
    return found if known.table.level is Level.ORDERED else _by_arrival(seen, found, known)


def fate(seen: Seen, known: Known) -> Fate:
    letter = known.letters.get(seen.at)
    holder = None if seen.change is None else holder_of(seen.change, known.stored.rows)
    if holder is not None:
        again = f", after a dead letter ({letter.code})" if letter is not None else ""
        return Fate(STORED, f"as {'a tombstone' if holder.is_deleted else 'the row'}{again}")
    if letter is not None:
        return Fate(LETTER, f"{letter.code}, letter {letter.at}")
    if not is_read(seen.at, known.committed):
        return Fate(NOT_READ, _not_read(seen))
    if seen.change is None:
        return _without_change(seen)
    return _settled(seen.change, known)


def holder_of(change: Change, rows: Sequence[StoredRow]) -> StoredRow | None:
    """The row that this change wrote, the live one if it left a tombstone elsewhere as well."""
    mine = [row for row in rows if _wrote(change, row)]
    return min(mine, key=lambda row: row.is_deleted, default=None)


def _wrote(change: Change, row: StoredRow) -> bool:
    if change.version is not None:
        return row.version == change.version
    topic, partition, offset = row.place()
    if offset is None or offset != change.at.offset:
        return False
    return topic in (None, change.at.topic) and partition in (None, change.at.partition)


def is_read(at: Position, committed: Mapping[Partition, int] | None) -> bool:
    """Whether the group is behind it; taken for granted where nobody could be asked."""
    return committed is None or at.offset < committed.get(Partition(at.topic, at.partition), 0)


def _not_read(seen: Seen) -> str:
    if seen.what in ("rejected", "parked"):
        return f"and then {'rejected' if seen.what == 'rejected' else 'parked'} ({seen.code})"
    return "beyond what the group committed"


def _without_change(seen: Seen) -> Fate:
    if seen.what == "rejected":
        return Fate(REJECTED, f"{seen.code}, but no letter is there" if seen.code else "")
    if seen.what == "parked":
        return Fate(PARKED, seen.code)
    if seen.what == "truncate":
        passes = seen.code in ("skip", "empty")
        return Fate(SKIPPED, "a truncate names no row") if passes else Fate(PARKED, "topic.truncate")
    return Fate(SKIPPED, "a tombstone behind its delete" if seen.code == "tombstone" else seen.code)


def _settled(change: Change, known: Known) -> Fate:
    """The fate of a change that was read and is not what a row shows."""
    if change.version is None:
        return Fate(SUPERSEDED, "a delete without a version of its own: a later change stands, or nothing was there")
    if change.version < known.newest:
        return Fate(SUPERSEDED, "a newer version is stored")
    if not known.stored.rows:
        if change.kind is Kind.DELETE:
            return Fate(MISSING, "nothing of the key is stored: its tombstone was purged, or there was no row to delete")
        return Fate(
            MISSING, "read by the group, but nothing of the key is stored: a dropped partition or table, or another target"
        )
    return Fate(MISSING, "read by the group and newer than what is stored: it was changed by hand, or by another group")


def _by_arrival(seen: Sequence[Seen], found: Sequence[Fate], known: Known) -> list[Fate]:
    """Without versions the last change that was read stands, if it stands at all."""
    settled = [i for i, each in enumerate(seen) if each.change is not None and found[i].word in SETTLES]
    fates = [Fate(SUPERSEDED, "a later change came") if i in settled else each for i, each in enumerate(found)]
    if settled:
        last = settled[-1]
        change = seen[last].change
        is_gone = change is not None and change.kind is Kind.DELETE
        if is_gone == (not known.stored.rows):
            fates[last] = Fate(
                STORED, "the row is gone" if is_gone else "as the last change that was read; there are no versions"
            )
        elif known.stored.rows:
            fates[last] = Fate(MISSING, "the last change read is a delete, and a row is there: of another topic, or made by hand")
        else:
            fates[last] = Fate(MISSING, "the last change that was read is not there: deleted by hand, or a dropped partition")
    return fates


# ---------------------------------------------------------------- rows whose change was not seen


def untold(known: Known, scan: Scan) -> list[str]:
    """A sentence for each stored row that none of the changes wrote: why its change was not met."""
    changes = [each.change for each in scan.seen if each.change is not None]
    rows = [row for row in known.stored.rows if not any(_wrote(change, row) for change in changes)]
    return [sentence for row in rows if (sentence := _untold(row, scan))] if known.table.level is Level.ORDERED else []


def _untold(row: StoredRow, scan: Scan) -> str:
    topic, partition, offset = row.place()
    offset = kafka_offset(row.version or "") if offset is None else offset
    if row.version is None or offset < 0:
        return ""  # a tombstone just above another version tells no offset of its own
    places = [p for p in scan.held if topic in (None, p.topic) and partition in (None, p.number)]
    if not places:
        return f"the stored version was written by offset {offset} of {topic or 'another topic'}, which was not read"
    if all(offset < scan.held[place].begin for place in places):
        return f"the stored version was written by offset {offset}, which is behind retention"
    if any(scan.held[place].begin <= offset < scan.spans[place].begin for place in places):
        return f"the stored version was written by offset {offset}, which is before where the scan began"
    return f"the stored version was written by a change at offset {offset} that is not in these topics any more (compacted?)"
