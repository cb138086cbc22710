"""Sources that went back in time: which records were taken for old ones, and from where they must be read again.

A change that is older than what is stored is superseded, and rightly, unless its source was rebuilt and counts anew. That shows
only after many of them, when they are settled. So it is remembered where such a run of old records began; when the topic is
parked, the group goes back to there, and with a higher epoch all of it counts. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.errors import Parked
from ingest.flow.fold import Folded
from ingest.flow.ledger import Page
from ingest.model import Change, Envelope, Partition

WENT_BACK, GREW = "topic.source_went_back", "topic.partitions_added"
BY_OFFSET = "A"  # the kind of a version that is Kafka's offset; see tables.versions


@dataclass(slots=True)
class Ages:
    """Of a batch's records of one page: how many are fresh, how many old, the newest offset of the former, all of the latter."""

    fresh: int = 0
    newest_fresh: int = -1
    old: list[int] = field(default_factory=list)

    def began(self, before: int | None) -> int | None:
        """Where the run of old records began that is under way behind this batch, None if none is. before: in front of it.

        A few fresh ones belong to a run: a source that was restored also has keys that nobody knows.

        >>> Ages(0, -1, [7, 8]).began(3), Ages(1, 8, [7, 9]).began(3), Ages(5, 8, [7, 9]).began(3), Ages(5, 9, [7]).began(3)
        (3, 3, 9, None)
        """
        if len(self.old) > self.fresh:
            return min(self.old if before is None else [before, *self.old])
        return min((offset for offset in self.old if offset > self.newest_fresh), default=None)


def ages(entries: Sequence[Folded], is_old: Sequence[bool], high_water: Mapping[Page, int]) -> dict[Page, Ages]:
    """By page, of records that nobody has read before: a change older than what is stored was folded from older ones still.

    high_water: the pages that count, and the offset before which their records were read once already.
    """
    found: dict[Page, Ages] = {}
    for entry, old in zip(entries, is_old, strict=True):
        page = entry.newest.ticket.page
        offsets = [change.at.offset for change in entry.members if change.at.offset >= high_water.get(page, 1 << 63)]
        if not offsets:
            continue
        seen = found.setdefault(page, Ages())
        if old:
            seen.old += offsets
        else:
            seen.fresh += len(offsets)
            seen.newest_fresh = max(seen.newest_fresh, *offsets)
    return found


def source_went_back(topic: str, window: int) -> Parked:
    return Parked(
        WENT_BACK,
        f"nearly all of the last {window} records of topic {topic} are older than what is stored, so the group has gone back to "
        "where that began: if the source was rebuilt or restored, or the topic made anew, raise `version.epoch` in the contracts "
        "of its tables and start again; if these are old records read again, `ingest unpark` lets them pass",
        subject=f"topic:{topic}",
    )


def compares_no_more(change: Change, envelope: Envelope) -> bool:
    """Whether the change comes with no other version than Kafka's offset, which compares within one partition only.

    Rows of a snapshot that tells no position are below all others anyway.
    """
    kind = envelope.version.kind if envelope.version is not None else ""
    return change.version is not None and change.version[2:3] == BY_OFFSET != kind


def partitions_added(partition: Partition, table: str) -> Parked:
    """The worker remembers the epoch with its commit, so that a higher one lets the partition pass by itself."""
    topic = partition.topic
    return Parked(
        GREW,
        f"{partition} was added to topic {topic}: keys of {table} have moved there, and its versions, which are Kafka's offsets, "
        "begin below those that are stored: raise `version.epoch` in the contract and start again, or `ingest unpark` if no key "
        "moved",
        subject=f"topic:{topic}",
    )
