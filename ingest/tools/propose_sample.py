"""The sample that a proposal is made of: records of a topic, from all partitions and from both ends, decoded as a worker would.

Joins no group, commits nothing. Time is bounded: what was read until then is the sample. One thread.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from time import monotonic
from typing import Any, Final, NamedTuple

from ingest.errors import Parked, Reject, Stop
from ingest.kafka.peek import Bounds, Peek
from ingest.model import Envelope, Fields, Op, Partition, Record, Skip, SourceType
from ingest.tables.extended_json import unwrap
from ingest.tables.nested import parse_json
from ingest.tools.connect import kafka_settings
from ingest.tools.explain_words import counted
from ingest.tools.propose_values import Field
from ingest.tools.rooms import Rooms

AGE: Final = re.compile(r"(\d{1,6})\s*(m|h|d|w)")
UNIT_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
PLAIN: Final = "plain"
READ_WITHIN_S: Final = 60.0
PROGRESS_EVERY: Final = 200

Change = tuple[Record, Envelope]


class Volume(NamedTuple):
    """What the topic holds. records: offsets, so at most. span_ms: from the oldest to the newest record of the sample."""

    records: int = 0
    span_ms: int = 0


NO_VOLUME: Final = Volume()


@dataclass
class Rows:
    """What is known of one table. name: as records call it, "" where they do not. sources: its full names in the source.

    fields: of its rows. key_fields: of keys that have names. is_change_log: a database's changes, else events or bare rows.
    has_records: False where only a schema is known.
    """

    name: str
    sources: set[tuple[str, ...]] = field(default_factory=set)
    fields: dict[str, Field] = field(default_factory=dict)
    key_fields: dict[str, Field] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    is_change_log: bool = False
    has_records: bool = True

    @property
    def envelopes(self) -> list[Envelope]:
        return [envelope for _, envelope in self.changes]

    @property
    def images(self) -> list[Mapping[str, object]]:
        """The rows; those that were deleted where there are no others."""
        whole = [envelope.after for envelope in self.envelopes if envelope.after is not None]
        return list(whole or [envelope.before for envelope in self.envelopes if envelope.before is not None])

    @property
    def has_tombstones(self) -> bool:
        return any(each.op is Op.DELETE for each in self.envelopes)


@dataclass
class Sample:
    """format: the name of a wire format, or "auto" where a contract should not name one.

    rejected: reasons with the first record of each and how many there were. skipped: reasons of records that are no rows.
    """

    topic: str
    format: str = "auto"
    tables: list[Rows] = field(default_factory=list)
    read: int = 0
    volume: Volume = NO_VOLUME
    rejected: dict[str, tuple[Record, Reject, int]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- reading


class Wanted(NamedTuple):
    """begin: earliest (both ends of the topic), latest (its newest records), or an age such as 7d."""

    topic: str
    records: int = 1_000
    begin: str = "earliest"


def read(rooms: Rooms, wanted: Wanted, now_ms: int, on_progress: Callable[[str], None]) -> Sample:
    """Raises Stop("propose.no_topic", "propose.empty", "propose.from", "propose.format", "propose.unreadable" or
    "propose.no_rows"), and what the registry and Kafka raise."""
    start_ms = start_of(wanted.begin, now_ms)
    sample = Sample(wanted.topic)
    with Peek(kafka_settings(rooms.settings)) as peek:
        partitions = partitions_of(peek.topics(), wanted.topic)
        held = peek.bounds(partitions)
        starts = {} if start_ms is None else peek.offsets_at(partitions, start_ms)
        spans = spans_of(held, starts, wanted.records, only_newest=wanted.begin == "latest")
        if not spans:
            raise Stop("propose.empty", f"topic {wanted.topic} {_why_empty(held, wanted)}")
        decode_all(rooms, sample, _records(peek, spans, sample, wanted.records, on_progress))
    sample.volume = sample.volume._replace(records=sum(end - begin for begin, end in held.values()))
    return sample


def decode_all(rooms: Rooms, sample: Sample, records: Iterable[Record]) -> None:
    """Fill the sample with what these records say. Raises Stop, and what the registry raises."""
    decoded, times = Decoded(rooms), []
    for record in records:
        decoded.add(record, sample)
        times.append(record.timestamp_ms)
    sample.volume = Volume(sample.read, max(times, default=0) - min(times, default=0))
    is_change_log = rooms.decoder.format_of(sample.topic) not in (None, PLAIN)
    sample.tables = decoded.tables(is_change_log=is_change_log)
    sample.format = _format(rooms, sample)
    refuse_rowless(sample)


def start_of(text: str, now_ms: int) -> int | None:
    """
    >>> start_of("earliest", 0), start_of("2h", 10_000_000)
    (None, 2800000)
    """
    if text in ("earliest", "latest"):
        return None
    age = AGE.fullmatch(text.strip())
    if age is None:
        raise Stop("propose.from", f"--from {text} is none of: earliest, latest, or an age such as 7d")
    return max(0, now_ms - int(age[1]) * UNIT_MS[age[2]])


def partitions_of(existing: Mapping[str, int], topic: str) -> list[Partition]:
    if topic not in existing:
        near = get_close_matches(topic, existing, n=1)
        hint = f", the nearest name is {near[0]}" if near else ""
        raise Stop("propose.no_topic", f"topic {topic} does not exist{hint}")
    return [Partition(topic, number) for number in range(existing[topic])]


def spans_of(
    held: Mapping[Partition, Bounds], starts: Mapping[Partition, int | None], count: int, *, only_newest: bool
) -> list[tuple[Partition, Bounds]]:
    """What to read: of each partition its share, half of it from the beginning and half from the end.

    >>> spans_of({Partition("t", 0): Bounds(0, 100), Partition("t", 1): Bounds(5, 5)}, {}, 10, only_newest=False)
    [(Partition(topic='t', number=0), Bounds(begin=0, end=5)), (Partition(topic='t', number=0), Bounds(begin=95, end=100))]
    """
    whole = {}
    for partition, (begin, end) in held.items():
        start = starts.get(partition, begin)
        if start is not None and max(begin, start) < end:
            whole[partition] = Bounds(max(begin, start), end)
    share = max(1, -(-count // max(1, len(whole))))
    spans = []
    for partition, (begin, end) in whole.items():
        if end - begin <= share:
            spans.append((partition, Bounds(begin, end)))
        elif only_newest:
            spans.append((partition, Bounds(end - share, end)))
        else:
            older = -(-share // 2)
            spans += [(partition, Bounds(begin, begin + older)), (partition, Bounds(end - (share - older), end))]
    return [(partition, span) for partition, span in spans if span.begin < span.end]


def _why_empty(held: Mapping[Partition, Bounds], wanted: Wanted) -> str:
    if any(begin < end for begin, end in held.values()):
        return f"has no records since --from {wanted.begin}: choose an older age, or earliest"
    return "is empty: let its producer write some records first, or read a schema with --subject"


def _records(
    peek: Peek, spans: Sequence[tuple[Partition, Bounds]], sample: Sample, count: int, on_progress: Callable[[str], None]
) -> Iterator[Record]:
    """At most `count`, and no longer than READ_WITHIN_S."""
    ends_s = monotonic() + READ_WITHIN_S
    for partition, (begin, end) in spans:
        for record in peek.records(partition, begin, end):
            if sample.read == count:
                return
            if monotonic() > ends_s:
                sample.notes.append(f"reading ended after {READ_WITHIN_S:.0f} s with {counted(sample.read, 'record')}")
                return
            if sample.read % PROGRESS_EVERY == 0:
                on_progress(f"{partition}, {counted(sample.read, 'record')} so far")
            sample.read += 1
            yield record


# ---------------------------------------------------------------- decoding


class Decoded:
    """Records by the table that they tell."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._tables: dict[str, Rows] = {}
        self._untold: list[Change] = []

    def add(self, record: Record, sample: Sample) -> None:
        """Raises Parked, and what the registry raises."""
        try:
            decoded = self._rooms.decode(record)
        except Reject as reject:
            first, _, times = sample.rejected.get(reject.code, (record, reject, 0))
            sample.rejected[reject.code] = (first, reject, times + 1)
            return
        except Parked as error:
            raise Stop("propose.format", f"{error.text} (--format NAME tries one)") from error
        if isinstance(decoded, Skip):
            sample.skipped[decoded.reason] += 1
            return
        for envelope in decoded:
            if envelope.op is Op.TRUNCATE:
                sample.skipped["truncate"] += 1
            elif envelope.op is Op.DELETE and not envelope.table:
                self._untold.append((record, envelope))  # a tombstone names no table
            else:
                self._keep(record, envelope)

    def _keep(self, record: Record, envelope: Envelope) -> None:
        name = envelope.table[-1] if envelope.table else ""
        rows = self._tables.setdefault(name.lower(), Rows(name))
        rows.sources.add(envelope.table)
        rows.changes.append((record, envelope))

    def tables(self, *, is_change_log: bool) -> list[Rows]:
        """In the order of their names. Deletes without a table are the only table's, or nobody's."""
        if len(self._tables) == 1:
            next(iter(self._tables.values())).changes += self._untold
        found = [rows for _, rows in sorted(self._tables.items()) if rows.images]
        for rows in found:
            rows.is_change_log = is_change_log
            collect(rows)
        return found


def collect(rows: Rows) -> None:
    """The fields of rows and of keys, with their declared types and their values."""
    has_whole = any(envelope.after is not None for envelope in rows.envelopes)
    for envelope in rows.envelopes:
        declared = envelope.schema.fields if envelope.schema else {}
        _collect(rows.fields, (envelope.after if has_whole else envelope.before) or {}, declared)
        if isinstance(envelope.key, dict):
            _collect(rows.key_fields, envelope.key, envelope.key_schema.fields if envelope.key_schema else {})


def _collect(fields: dict[str, Field], image: Fields, declared: Mapping[str, SourceType]) -> None:
    for name, value in image.items():
        found, source = fields.setdefault(name, Field(name)), declared.get(name)
        found.declare(source)
        found.values.add(_inside(value, source.kind) if source is not None else value)


def _inside(value: Any, kind: str) -> Any:
    """What a text of JSON holds, and a document of MongoDB; the value itself where it is none."""
    try:
        if kind == "ext_json":
            return unwrap(value)
        return parse_json(value) if kind == "json" and type(value) is str else value
    except Reject:
        return value


def _format(rooms: Rooms, sample: Sample) -> str:
    """Plain rows between control records must be told apart by each record, which only "auto" does."""
    name = rooms.decoder.format_of(sample.topic) or "auto"
    return "auto" if name == PLAIN and set(sample.skipped) - {"tombstone"} else name


def refuse_rowless(sample: Sample) -> None:
    """Raises Stop where nothing was read that has columns."""
    if sample.tables:
        return
    if sample.rejected:
        record, reject, times = max(sample.rejected.values(), key=lambda each: each[2])
        which = "none of the records that were read" if times > 1 else "the only record that was read"
        verb = "can be read" if times > 1 else "cannot be read"
        place = f"{record.topic}:{record.partition}:{record.offset}"
        raise Stop("propose.unreadable", f"topic {sample.topic}: {which} {verb}: {reject.text} (see `ingest explain {place}`)")
    what = f"only {', '.join(sorted(sample.skipped))} records" if sample.skipped else "only deletes"
    text = f"topic {sample.topic} has {what} among the {sample.read:,} that were read: read more with --sample"
    raise Stop("propose.no_rows", text)
