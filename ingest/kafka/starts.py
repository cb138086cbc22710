"""Where reading starts in a partition that has just become ours: the commit, or for lack of one the first-start policy.

START_FROM is for topics that the group has never seen. It is committed at once, so that the choice is made only once and that a
partition added later can be told from a new topic: in such a partition reading starts at the beginning.
Blocking requests; loop's thread, inside poll.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from ingest.errors import Stop
from ingest.flow.ports import ADDED, Commit
from ingest.kafka.asking import Questions
from ingest.kafka.options import StartFrom
from ingest.model import Partition

log = logging.getLogger(__name__)

# Metadata of a commit that says only where reading started. Two members that start at once must both see a new topic.
STARTED = "ingest.started"


def starting_points(questions: Questions, partitions: Collection[Partition], start_from: StartFrom) -> dict[Partition, Commit]:
    """Where to start in each. Raises Stop("kafka.no_offset") under the policy `refuse`, and the client's errors."""
    commits = questions.committed(partitions)
    starts = {partition: _as_commit(commits[partition]) for partition in partitions if partition in commits}
    bare = [partition for partition in partitions if partition not in commits]
    if bare:
        starts |= _first_starts(questions, bare, start_from)
    return starts


def is_new_topic(metadata: Iterable[str]) -> bool:
    """Whether the group has never settled anything in a topic, given the metadata of its commits there.

    >>> is_new_topic([]), is_new_topic(["ingest.started"]), is_new_topic(["ingest.started", ""])
    (True, True, False)
    """
    return all(text == STARTED for text in metadata)


def _first_starts(questions: Questions, bare: Collection[Partition], start_from: StartFrom) -> dict[Partition, Commit]:
    new = {topic for topic in {partition.topic for partition in bare} if _is_new(questions, topic)}
    if new and start_from == "refuse":
        raise Stop(
            "kafka.no_offset",
            f"this group has never read topic {min(new)} and INGEST_START_FROM is refuse: set it to earliest or latest",
        )
    at_end = [partition for partition in bare if partition.topic in new and start_from == "latest"]
    at_beginning = [partition for partition in bare if partition not in at_end]
    offsets = {**(questions.begins(at_beginning) if at_beginning else {}), **(questions.ends(at_end) if at_end else {})}
    said = {each: STARTED if each.topic in new else ADDED for each in offsets}
    questions.commit({each: Commit(offset, said[each]) for each, offset in offsets.items()})
    log.info("first_start", extra={"topics": sorted(new), "partitions": len(offsets), "start_from": start_from})
    return {each: Commit(offset, "" if said[each] == STARTED else ADDED) for each, offset in offsets.items()}


def _is_new(questions: Questions, topic: str) -> bool:
    return is_new_topic(commit.metadata for commit in questions.committed(questions.partitions_of(topic)).values())


def _as_commit(commit: Commit) -> Commit:
    return commit._replace(metadata="") if commit.metadata == STARTED else commit
