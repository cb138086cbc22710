"""Positions that are gone: what happened to a partition's log, told in numbers, and the parking of its topic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ingest.errors import Parked
from ingest.kafka.asking import Questions
from ingest.model import Partition


class Gap(NamedTuple):
    """A partition whose records at position are not there. begin, end: what its log holds now."""

    partition: Partition
    position: int
    begin: int
    end: int
    is_truncated: bool = False


def find_gaps(questions: Questions, positions: Mapping[Partition, int | None], *, is_truncated: bool) -> list[Gap]:
    """Ask what these logs hold now. Blocks; raises the client's errors. Loop's thread."""
    known = {partition: position for partition, position in positions.items() if position is not None}
    begins, ends = questions.begins(known), questions.ends(known)
    return [Gap(each, position, begins[each], ends[each], is_truncated) for each, position in known.items()]


def parked(gap: Gap) -> Parked:
    """The parking of the topic, with what was lost and what to do."""
    where = f"{gap.partition} was read up to offset {gap.position} and its log holds {gap.begin} to {gap.end}"
    advice = f"load the source anew if that matters, then restart with INGEST_ON_GAP=continue to read from {gap.begin}"
    if gap.position > gap.end and not gap.is_truncated:
        advice += "; if what it holds now is older than what is stored, raise `version.epoch` in the contracts first"
    return Parked(
        "kafka.truncated" if gap.is_truncated else "kafka.gap",
        f"{where}, so {what_happened(gap)}: {advice}",
        subject=f"topic:{gap.partition.topic}",
    )


def what_happened(gap: Gap) -> str:
    """The likely cause.

    >>> what_happened(Gap(Partition("t", 0), 10, 25, 90))
    'retention deleted 15 offsets before they were read'
    """
    if gap.is_truncated:
        return "records were rolled back after they were read"
    if gap.position < gap.begin:
        return f"retention deleted {gap.begin - gap.position} offsets before they were read"
    return "the topic was truncated, or deleted and created again"
