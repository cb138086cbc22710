"""Twins of the outside world for flow tests: a log, a store, a dead-letter topic and a clock, all scripted by hand.

A record's value is JSON: {"k": key, "v": value or null for a delete, "n": version, "m": month, "was": [months left]}.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.errors import IngestError, NewFields, Parked, Reject
from ingest.flow.loop import Loop, World
from ingest.flow.ports import Commit, Express, Letter, Make, Rebalances, Truncation, Unsure, Wanted
from ingest.flow.state import Rules
from ingest.flow.tables import Tables
from ingest.flow.writers import Crew, InlineCrew
from ingest.model import (
    SUPERSEDED,
    WRITTEN,
    Batch,
    Change,
    Column,
    Decoded,
    Envelope,
    Fate,
    Kind,
    NeedSchema,
    NewColumn,
    Op,
    Outcome,
    Partition,
    Position,
    Record,
    Result,
    Skip,
    Table,
)

TABLE = Table(
    "doc",
    "t",
    {n: Column(n, "text") for n in ("id", "v", "month", "cdc_version", "cdc_deleted")},
    ("id",),
    "month",
    frozenset({1, 2, 3}),
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def run_to_end(coroutine: Coroutine[Any, Any, None]) -> None:
    """Drive a coroutine whose awaits never really wait."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        return


@dataclass
class LogSource:
    """A Kafka of lists. committed survives; `position`s are those of the one member that there is."""

    clock: Clock
    log: dict[Partition, list[Record]] = field(default_factory=dict)
    committed: dict[Partition, Commit] = field(default_factory=dict)
    positions: dict[Partition, int] = field(default_factory=dict)
    paused: set[Partition] = field(default_factory=set)
    per_poll: int = 50
    fail_commits: int = 0
    may_go_back: bool = False
    partitions_of: dict[str, int] = field(default_factory=dict)
    polls: int = 0
    to_raise: list[Exception] = field(default_factory=list)
    listener: Rebalances | None = None
    error: str | None = None

    def put(self, topic: str, number: int, value: Mapping[str, Any] | bytes | None, key: bytes = b"k") -> Position:
        records = self.log.setdefault(Partition(topic, number), [])
        offset = records[-1].offset + 1 if records else 0
        body = json.dumps(value).encode() if isinstance(value, dict) else value
        records.append(Record(topic, number, offset, 0, key, body))  # type: ignore[arg-type]
        return records[-1].at

    def start(self, listener: Rebalances) -> None:
        self.listener = listener
        self.assign(self.log)

    def assign(self, partitions: Collection[Partition]) -> None:
        assert self.listener is not None
        starts = {p: self.committed.get(p, Commit(0)) for p in partitions}
        for partition, start in starts.items():
            self.positions[partition] = start.offset
            self.paused.discard(partition)
        self.listener.assigned(starts)

    def revoke(self, partitions: Collection[Partition]) -> None:
        assert self.listener is not None
        run_to_end(self.listener.revoked(partitions))
        for partition in partitions:
            self.positions.pop(partition, None)

    def lose(self, partitions: Collection[Partition]) -> None:
        assert self.listener is not None
        self.listener.lost(partitions)
        for partition in partitions:
            self.positions.pop(partition, None)

    def poll(self, timeout_s: float) -> Sequence[Record]:
        self.polls += 1
        assert self.polls < 20_000, "the loop does not come to an end"
        self.clock.now_s += 0.01
        if self.to_raise:
            raise self.to_raise.pop(0)
        found: list[Record] = []
        for partition, position in list(self.positions.items()):
            if partition not in self.paused:
                new = [r for r in self.log[partition] if r.offset >= position][: self.per_poll]
                if new:
                    self.positions[partition] = new[-1].offset + 1
                found += new
        return found

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        if self.fail_commits:
            self.fail_commits -= 1
            self.error = "scripted"
        else:
            self._commit(offsets)

    def _commit(self, offsets: Mapping[Partition, Commit]) -> None:
        for partition, commit in offsets.items():
            before = self.committed.get(partition, Commit(0)).offset
            assert commit.offset >= before or self.may_go_back, "a commit went backwards"
            self.committed[partition] = commit

    commit_in_flight = False

    def take_commit_error(self) -> str | None:
        error, self.error = self.error, None
        return error

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:
        self._commit(offsets)
        return True

    async def sleep(self, seconds: float) -> None:
        self.clock.now_s += seconds

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        self.paused -= set(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        self.positions[partition] = offset

    def position(self, partition: Partition) -> int | None:
        return self.positions.get(partition)

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return {p: self.log[p][-1].offset + 1 if self.log[p] else 0 for p in partitions}

    def lag(self, partition: Partition) -> int | None:
        return None

    def partition_count(self, topic: str) -> int | None:
        return self.partitions_of.get(topic) or sum(p.topic == topic for p in self.log) or None

    def is_healthy(self) -> tuple[bool, str]:
        return True, ""

    def close(self, timeout_s: float) -> None:
        if self.positions:
            self.revoke(list(self.positions))


Fault = Callable[[Batch], Result | None]


@dataclass
class MemoryStore:
    """A CrateDB of one dict: (table, key, month) -> (version, is deleted, value).

    faults: each answers one batch, or None to let it pass.
    alters: (table, names of columns asked for, tags to wait for), as they came.
    refusals: each is raised instead of adding columns or emptying, None lets it pass.
    """

    rows: dict[tuple[str, Any, int | None], tuple[str, bool, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    tables: dict[str, Table | IngestError] = field(default_factory=lambda: {TABLE.full_name: TABLE})
    alters: list[tuple[str, list[str], tuple[str, ...]]] = field(default_factory=list)
    refusals: list[IngestError | None] = field(default_factory=list)
    described: int = 0
    probes_to_fail: int = 0
    batches: list[Batch] = field(default_factory=list)

    def write(self, batch: Batch) -> Result:
        self.batches.append(batch)
        answer = self.faults.pop(0)(batch) if self.faults else None
        return answer or Result(batch, [self.apply(batch.table.full_name, change) for change in batch.changes], statements=1)

    def apply(self, table: str, change: Change) -> Outcome:
        values = dict(zip(change.columns, change.row, strict=True))
        if values.get("v") == "poison":
            return Outcome(Fate.REJECTED, "store.value_refused")
        version = change.version or ""
        months = [change.month] if not change.look_up else [m for t, k, m in self.rows if (t, k) == (table, change.key)]
        written = (
            self._put(table, change.key, change.month, version, change.kind is Kind.DELETE, values.get("v"))
            if change.month
            else True
        )
        if not written:
            return SUPERSEDED
        for month in {*change.vacates, *months} - {change.month}:
            self._put(table, change.key, month, version, True, None)
        return WRITTEN

    def _put(self, table: str, key: Any, month: int | None, version: str, deleted: bool, value: Any) -> bool:
        old = self.rows.get((table, key, month))
        if old is not None and old[0] > version:
            return False
        self.rows[table, key, month] = (version, deleted, value)
        return True

    def live(self) -> dict[Any, tuple[int | None, Any]]:
        """Key to month and value; a key that stands twice fails."""
        live: dict[Any, tuple[int | None, Any]] = {}
        for (_, key, month), (_, deleted, value) in self.rows.items():
            if not deleted:
                assert key not in live, f"{key} is in two months"
                live[key] = (month, value)
        return live

    def describe(self, names: Collection[str]) -> Mapping[str, Table | IngestError | None]:
        self.described += 1
        return {name: self.tables.get(name) for name in names}

    def add_columns(self, name: str, columns: Sequence[NewColumn], unsure: Unsure) -> Table:
        self.alters.append((name, [column.name for column in columns], unsure.tags))
        self._refuse()
        table = self.tables[name]
        assert isinstance(table, Table)
        added = {c.name: Column(c.name, c.type) for c in columns if c.name not in table.columns}
        table = self.tables[name] = replace(table, columns={**table.columns, **added})
        return table

    def empty(self, table: Table, truncation: Truncation, unsure: Unsure) -> Table:
        self._refuse()
        for place, (version, *_) in list(self.rows.items()):
            if place[0] == table.full_name and version < (truncation.version or ""):
                self.rows[place] = (truncation.version or "", True, None)
        return table

    def _refuse(self) -> None:
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal

    def probe(self) -> None:
        if self.probes_to_fail:
            self.probes_to_fail -= 1
            from ingest.errors import Retry

            raise Retry("store.unreachable", "scripted")

    def close(self) -> None:
        pass


@dataclass
class Letters:
    """A dead-letter topic that acknowledges at once, unless `is_down`."""

    letters: list[Letter] = field(default_factory=list)
    waiting: list[Position] = field(default_factory=list)
    is_down: bool = False

    def send(self, letter: Letter) -> None:
        self.letters.append(letter)
        self.waiting.append(letter.record.at)

    def take_acknowledged(self) -> Sequence[Position]:
        if self.is_down:
            return []
        done, self.waiting = self.waiting, []
        return done

    backlog_bytes = 0

    def trouble(self) -> str | None:
        return None

    def close(self, timeout_s: float) -> None:
        pass


@dataclass
class Notes:
    """An observer that keeps what it was told. unpark: what an operator wants."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    unpark: list[str] = field(default_factory=list)

    def batch(self, result: Result, reason: str, newest_source_ms: int | None) -> None:
        pass

    def event(self, level: str, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def beat(self, now_s: float) -> None:
        pass

    def take_unpark_requests(self) -> Sequence[str]:
        requests, self.unpark = self.unpark, []
        return requests

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@dataclass
class TwinDecoder:
    """JSON to envelopes; {"schema": id} needs that schema, {"skip": reason} is a control record, {"resolved": ms} another,
    {"rows": [...]} several rows."""

    known: set[Any] = field(default_factory=set)

    def decode(self, record: Record) -> Decoded:
        try:
            value = json.loads(record.value or b"")
        except ValueError:
            raise Reject("json.malformed") from None
        if "skip" in value:
            return Skip(value["skip"])
        if "resolved" in value:
            return Skip("resolved", (value["resolved"], str(value["resolved"])))
        if "schema" in value and value["schema"] not in self.known:
            return NeedSchema(value["schema"])
        return [Envelope(Op.TRUNCATE if row.get("truncate") else Op.INSERT, after=row) for row in value.get("rows", [value])]

    def express(self, record: Record, envelope: Envelope, wanted: Wanted, make: Make) -> Express | None:
        def express(record: Record, now_ms: int) -> Change | None:
            try:
                return make(record, json.loads(record.value or b""), now_ms)
            except ValueError:
                return None

        return express


@dataclass
class TwinMapper:
    """Fields f1, f2, .. want columns; see Rig for how it learns of the table."""

    truncate: str = "park"
    unknown_policy: str = "ignore"
    columns: Collection[str] = ()
    passed: Collection[str] | None = ()
    month_from: str | None = None
    keyed_by_position: bool = False
    nulled: Counter[str] = field(default_factory=Counter)

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        row = envelope.after or {}
        if row.get("v") == "too large":
            self.nulled["v"] += 1
        lacking = [name for name in row if name.startswith("f") and name not in self.columns]
        if self.passed is not None and (new := [name for name in lacking if name not in self.passed]):
            raise NewFields([NewColumn(name, "BIGINT") for name in new])
        if row.get("v") == "unmappable":
            raise Reject("type.overflow", column="v")
        kind = Kind.DELETE if row.get("v") is None and not row.get("patch") else Kind.PATCH if row.get("patch") else Kind.WRITE
        columns = ("v",) if kind is not Kind.DELETE else ()
        return Change(
            kind,
            (row["k"],),
            row.get("m", 1),
            columns,
            [row.get("v")] if columns else [],
            record.at,
            version=f"{row['n']:09d}{record.offset:09d}",
            vacates=tuple(row.get("was", ())),
            look_up=bool(row.get("look_up")),
            size_bytes=50,
        )

    def express(self, envelope: Envelope, record: Record) -> tuple[Wanted, Make] | None:
        """Rows that are written and need nothing else; the other ways of the twins' records are the long way's."""

        def make(record: Record, row: Any, now_ms: int) -> Change | None:
            is_plain = row.keys() <= {"k", "v", "n", "m"} and row.get("v") not in (None, "unmappable", "too large")
            return self.map(Envelope(Op.INSERT, after=row), record, now_ms) if is_plain else None

        return Wanted((), None, (), frozenset({Op.INSERT}), None, False), make

    def truncation(self, envelope: Envelope, record: Record, now_ms: int) -> Truncation:
        row = envelope.after or {}
        return Truncation(f"{row['n']:09d}{record.offset:09d}")

    def stop_at_new_fields(self, passed: Collection[str] | None) -> None:
        self.passed = None if passed is None else set(passed)

    def take_unknown_fields(self) -> Mapping[str, int]:
        return {}

    def take_nulled(self) -> Mapping[str, int]:
        taken, self.nulled = self.nulled, Counter()
        return taken


class TwinRouter:
    def route(self, topic: str, envelope_table: tuple[str, ...]) -> str:
        if topic.startswith("undecided"):
            raise Parked("routing.undecided", "scripted", subject=f"topic:{topic}")
        return "doc.t" if topic == "t" else f"doc.{topic}"


class Rig:
    """A loop over twins; over those of others where several workers share them."""

    def __init__(
        self,
        rules: Rules | None = None,
        mapper: TwinMapper | None = None,
        source: LogSource | None = None,
        store: MemoryStore | None = None,
        letters: Letters | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.source = source or LogSource(Clock())
        self.clock = self.source.clock
        self.store = store or MemoryStore()
        self.letters = letters or Letters()
        self.notes = Notes()
        self.decoder = TwinDecoder()
        self.schemas: dict[Any, Any] = {}
        self.mapper = mapper or TwinMapper()
        world = World(
            self.source,
            crew or InlineCrew(self.store),
            self.letters,
            self.store,
            self.decoder,
            TwinRouter(),
            Tables(self.compile),
            self.notes,
            self.take_schema,
            registry=self,
            clock=self.clock,
            wall_ms=lambda: int(self.clock.now_s * 1000),
        )
        self.loop = Loop(world, rules or Rules(commit_every_s=0.05))

    def compile(self, table: Table) -> TwinMapper:
        self.mapper.columns = table.columns
        return self.mapper

    def fetch(self, schema_id: Any) -> tuple[str, str]:
        found = self.schemas[schema_id]
        if isinstance(found, Exception):
            raise found
        return "schema", "AVRO"

    def take_schema(self, schema_id: Any, found: Any) -> None:
        self.decoder.known.add(schema_id)

    def start(self) -> Rig:
        self.source.start(self.loop)
        return self

    def steps(self, n: int = 60) -> Rig:
        """n rounds; the books must balance after each."""
        for _ in range(n):
            self.loop.step()
            self.check_books()
        return self

    def check_books(self) -> None:
        books, unsettled = self.loop.state.books, self.loop.state.ledger.unsettled_records
        assert books.is_balanced(unsettled), books.summary(unsettled)

    def committed(self) -> dict[str, int]:
        return {str(p): c.offset for p, c in self.source.committed.items()}


def unknown_outcome(store: MemoryStore, applied: float, rng: random.Random) -> Fault:
    """The request timed out; a part of its rows was applied all the same."""

    def fault(batch: Batch) -> Result:
        for change in batch.changes:
            if rng.random() < applied:
                store.apply(batch.table.full_name, change)
        return Result(
            batch, [Outcome(Fate.RETRY, "store.timeout", unknown=True)] * len(batch.changes), statements=1, unsure=(batch.tag,)
        )

    return fault


def some_retry(store: MemoryStore, rng: random.Random) -> Fault:
    """Half of the rows are turned away for now."""

    def fault(batch: Batch) -> Result:
        busy = Outcome(Fate.RETRY, "store.overloaded", overload=True)
        return Result(
            batch, [busy if rng.random() < 0.5 else store.apply(batch.table.full_name, c) for c in batch.changes], statements=1
        )

    return fault
