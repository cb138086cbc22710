"""What `ingest replay` was asked for, as typed, and the plan that it means. Asks Kafka and CrateDB what there is; writes nothing,
but the table that `--into` names where it is not there yet. One thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from time import time
from typing import NamedTuple

from ingest.crate import catalogue
from ingest.crate.copies import create_like
from ingest.errors import Parked, Stop
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.topics import is_barred
from ingest.model import Partition, Table
from ingest.settings import Settings
from ingest.tables.routing import Router
from ingest.tools.connect import crate_client, kafka_settings
from ingest.tools.dlq import moment_ms
from ingest.tools.replay import ReplayPlan, refuse_table
from ingest.tools.rooms import contracts_of, full_name

OFFSET = re.compile(r"(?:(\d{1,9}):)?(\d{1,18})")
RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/s)?")


class Asked(NamedTuple):
    """As typed. from_offsets, to_offsets: `OFFSET` for all partitions, `PARTITION:OFFSET` for one, from it up to but not with."""

    topics: Sequence[str] = ()
    from_offsets: Sequence[str] = ()
    to_offsets: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    table: str | None = None
    into: str | None = None
    group: str | None = None
    rate: str | None = None
    is_unordered: bool = False
    is_dry: bool = False


def plan_of(
    settings: Settings, asked: Asked, on_progress: Callable[[str], None], wall_s: Callable[[], float] = time
) -> ReplayPlan:
    """Raises Stop("replay.*") for what cannot be meant."""
    rate = rate_of(asked.rate)
    with Peek(kafka_settings(settings)) as peek:
        ranges = ranges_of(peek, asked, settings.dead_letter_topic, wall_s)
    only = {full_name(asked.table, settings)} if asked.table else set()
    tables = redirection(settings, asked, only, on_progress) if asked.into else {}
    return ReplayPlan(
        ranges=ranges,
        tables=tables,
        only=frozenset(only | tables.keys()) or None,
        group=asked.group,
        rate=rate,
        is_unordered=asked.is_unordered,
        is_dry=asked.is_dry,
    )


def rate_of(text: str | None) -> float | None:
    """
    >>> rate_of("50/s"), rate_of("0.5"), rate_of(None)
    (50.0, 0.5, None)
    """
    if text is None:
        return None
    found = RATE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise Stop("replay.rate", f"{text} is no rate: write records per second, such as 50 or 50/s")
    return float(found[1])


# ---------------------------------------------------------------- ranges


def ranges_of(peek: Peek, asked: Asked, letter_topic: str, wall_s: Callable[[], float]) -> dict[Partition, Bounds]:
    """What to read of each partition; the whole topic where nothing is said."""
    moments = [None if text is None else moment_ms(text, wall_s, "replay.time") for text in (asked.since, asked.until)]
    if not asked.topics:
        raise Stop("replay.no_topic", "name what is to be replayed with --topic")
    _refuse_both(asked)
    held = peek.bounds([each for topic in asked.topics for each in _partitions(peek, topic, letter_topic)])
    begins = _offsets(asked.from_offsets, "--from-offset", held) | _at(peek, held, moments[0])
    ends = _offsets(asked.to_offsets, "--to-offset", held) | _at(peek, held, moments[1])
    named = _named(asked, held)
    return {place: _range(place, bounds, begins.get(place), ends.get(place)) for place, bounds in held.items() if place in named}


def _refuse_both(asked: Asked) -> None:
    for offsets, moment, names in (
        (asked.from_offsets, asked.since, "--from-offset and --since"),
        (asked.to_offsets, asked.until, "--to-offset and --until"),
    ):
        if offsets and moment is not None:
            raise Stop("replay.both", f"{names} both say where: leave one out")


def _partitions(peek: Peek, topic: str, letter_topic: str) -> list[Partition]:
    count = peek.topics().get(topic)
    if count is None:
        near = get_close_matches(topic, peek.topics(), n=1)
        hint = f", the nearest name is {near[0]}" if near else ""
        raise Stop("replay.no_topic", f"topic {topic} does not exist{hint}")
    if is_barred(topic, letter_topic):
        how = ": `ingest dlq replay` replays dead letters" if topic == letter_topic else ""
        raise Stop("replay.no_rows", f"topic {topic} holds no rows of a table{how}")
    return [Partition(topic, number) for number in range(count)]


def _offsets(texts: Sequence[str], option: str, held: Mapping[Partition, Bounds]) -> dict[Partition, int]:
    """Those that were typed, by partition."""
    found: dict[Partition, int] = {}
    for text in texts:
        parts = OFFSET.fullmatch(text.strip())
        if parts is None:
            raise Stop("replay.offset", f"{option} {text} is no offset: write OFFSET, or PARTITION:OFFSET for one partition")
        meant = [place for place in held if parts[1] is None or place.number == int(parts[1])]
        if not meant:
            raise Stop("replay.offset", f"{option} {text} names a partition that is not there: they are {_numbers(held)}")
        found |= dict.fromkeys(meant, int(parts[2]))
    return found


def _numbers(held: Mapping[Partition, Bounds]) -> str:
    last = max((place.number for place in held), default=0)
    return f"0 to {last}" if last else "only 0"


def _named(asked: Asked, held: Mapping[Partition, Bounds]) -> set[Partition]:
    """Whoever names partitions means these alone."""
    numbers = {int(text.partition(":")[0]) for text in (*asked.from_offsets, *asked.to_offsets) if ":" in text}
    return {place for place in held if not numbers or place.number in numbers}


def _at(peek: Peek, held: Mapping[Partition, Bounds], moment: int | None) -> dict[Partition, int]:
    """The first offset at or after the moment; the end where all records are older."""
    if moment is None:
        return {}
    found = peek.offsets_at(list(held), max(0, moment))
    return {place: held[place].end if at is None else at for place, at in found.items()}


def _range(place: Partition, held: Bounds, begin: int | None, end: int | None) -> Bounds:
    if begin is not None and begin < held.begin:
        gone = f"{place} begins at {held.begin} by now, what was in front of it is gone"
        raise Stop("replay.gone", f"{gone}: say --from-offset {place.number}:{held.begin}")
    first = held.begin if begin is None else min(begin, held.end)
    last = held.end if end is None else min(end, held.end)
    if begin is not None and end is not None and end < begin:
        raise Stop("replay.range", f"the range of {place} ends at {end}, in front of its beginning at {begin}")
    return Bounds(first, max(first, last))


# ---------------------------------------------------------------- another table


def redirection(settings: Settings, asked: Asked, only: set[str], on_progress: Callable[[str], None]) -> dict[str, str]:
    """Which table is replaced by the one of --into, which is made like it unless it is there."""
    source = min(only) if only else leading_table(settings, asked.topics)
    into = full_name(str(asked.into), settings)
    if into == source:
        raise Stop("replay.table", f"{into} is where the records go anyway: leave --into out, or name another table")
    refuse_table(into)
    client = crate_client(settings)
    try:
        found = catalogue.describe(client, [source, into])
        table = found[source]
        if not isinstance(table, Table):
            raise Stop("replay.table", f"CrateDB has no table {source}, whose records are to be replayed: name it with --table")
        if found[into] is None and asked.is_dry:
            raise Stop("replay.table", f"there is no table {into} yet: without --dry-run it is created like {source}")
        if found[into] is None:
            create_like(client, table, into)
            on_progress(f"created {into} like {source}")
    finally:
        client.close()
    return {source: into}


def leading_table(settings: Settings, topics: Sequence[str]) -> str:
    """The one table that the topics lead to."""
    router = Router(contracts_of(settings), default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
    try:
        found = {router.route(topic, ()) for topic in topics}
    except Parked as error:
        raise Stop("replay.table", f"which table --into stands for is not clear ({error.text}): name it with --table") from error
    if len(found) > 1:
        raise Stop(
            "replay.table", f"the topics lead to {', '.join(sorted(found))}: name the one that --into stands for with --table"
        )
    return min(found)
