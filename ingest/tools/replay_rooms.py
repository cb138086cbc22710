"""What a replay puts around the worker's rooms: letters that go nowhere, other tables, only some tables, a store not told.

Each is the room it stands for in everything else. What only concerns a letter's replay is in dlq_replay. Loop's thread, but for
DryStore, which belongs to the thread of the store that it holds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ingest.errors import IngestError, Parked, Reject
from ingest.flow.ports import Decoder, Letter, Mapper, Router, Store, Truncation, Unsure
from ingest.model import (
    WRITTEN,
    Batch,
    Change,
    Decoded,
    Envelope,
    Level,
    NeedSchema,
    NewColumn,
    Position,
    Record,
    Result,
    Skip,
    Table,
)
from ingest.watch import logs

log = logging.getLogger("ingest.replay")

# So many refused records are told one by one; all are counted.
REFUSALS_KEPT: Final = 1_000
OTHER_TABLE: Final = "other_table"
UNORDERED: Final = (
    "table {table} has not both cdc_version and cdc_deleted, so an old change would overwrite a newer row: add the columns, or "
    "say --unordered if these records are the newest of their keys"
)


class Refusal(NamedTuple):
    """A record that can still not be stored, and why now."""

    at: Position
    code: str
    text: str
    table: str = ""
    column: str = ""


class KeptLetters:
    """flow.ports.DeadLetters that sends nothing: what is refused in a replay stays where it is, and is told."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.codes: Counter[str] = Counter()
        self.refused: set[Position] = set()
        self._acknowledged: list[Position] = []

    def send(self, letter: Letter) -> None:
        at, reject = letter.record.at, letter.reject
        self._acknowledged.append(at)
        if at in self.refused:
            return
        self.refused.add(at)
        self.codes[reject.code] += 1
        if len(self.refusals) < REFUSALS_KEPT:
            self.refusals.append(Refusal(at, reject.code, reject.text, letter.table or "", reject.column or ""))

    def take_acknowledged(self) -> Sequence[Position]:
        taken, self._acknowledged = self._acknowledged, []
        return taken

    @property
    def backlog_bytes(self) -> int:
        return 0

    def trouble(self) -> str | None:
        return None

    def close(self, timeout_s: float) -> None:
        """Nothing is open."""


class Observer:
    """flow.ports.Observer: what goes wrong is a line of the log, the rest is for INGEST_LOG_LEVEL=DEBUG."""

    def batch(self, result: Result, reason: str, newest_source_ms: int | None) -> None:
        """Progress is told by whoever replays."""

    def event(self, level: str, name: str, **fields: object) -> None:
        logs.emit(log, "debug" if level == "info" else level, name, fields)

    def beat(self, now_s: float) -> None:
        """Nobody asks whether a command is alive."""

    def take_unpark_requests(self) -> Sequence[str]:
        return ()


class Redirected:
    """A router whose tables may be others. tables: full names, by the full name of the table that a record is for."""

    def __init__(self, router: Router, tables: Mapping[str, str]) -> None:
        self._router = router
        self._tables = tables

    def route(self, topic: str, envelope_table: tuple[str, ...]) -> str:
        name = self._router.route(topic, envelope_table)
        return self._tables.get(name, name)


class OnlyTables:
    """A decoder that skips rows for other tables than these. router: the one that knows, not redirected."""

    def __init__(self, decoder: Decoder, router: Router, only: Collection[str]) -> None:
        self._decoder, self._router, self._only = decoder, router, only

    def decode(self, record: Record) -> Decoded:
        decoded = self._decoder.decode(record)
        if isinstance(decoded, Skip | NeedSchema):
            return decoded
        kept = [envelope for envelope in decoded if self._router.route(record.topic, envelope.table) in self._only]
        return kept or Skip(OTHER_TABLE)

    def express(self, *_: Any) -> None:
        """None: records that look alike may be for other tables."""


class Unguarded:
    """The mapper of a table of level arrival into which old changes must not go unasked. Refuses every one."""

    def __init__(self, mapper: Mapper, table: Table) -> None:
        self._mapper = mapper
        self._refusal = UNORDERED.format(table=table.full_name)

    @property
    def truncate(self) -> str:
        return self._mapper.truncate

    @property
    def month_from(self) -> str | None:
        return self._mapper.month_from

    @property
    def unknown_policy(self) -> str:
        return self._mapper.unknown_policy

    @property
    def keyed_by_position(self) -> bool:
        return self._mapper.keyed_by_position

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:  # noqa: ARG002
        raise Reject("replay.unordered", self._refusal)

    def express(self, *_: Any) -> None:
        """None: each is refused by `map`."""

    def truncation(self, envelope: Envelope, record: Record, now_ms: int) -> Truncation:  # noqa: ARG002
        raise Reject("replay.unordered", self._refusal)

    def stop_at_new_fields(self, passed: Collection[str] | None) -> None:
        self._mapper.stop_at_new_fields(passed)

    def take_unknown_fields(self) -> Mapping[str, int]:
        return self._mapper.take_unknown_fields()

    def take_nulled(self) -> Mapping[str, int]:
        return self._mapper.take_nulled()


def guarded(make: Callable[[Table], Mapper], free: Collection[str]) -> Callable[[Table], Mapper]:
    """Makes mappers that refuse old changes for tables of level arrival, but for those that are free."""

    def made(table: Table) -> Mapper:
        mapper = make(table)
        return mapper if table.level is Level.ORDERED or table.full_name in free else Unguarded(mapper, table)

    return made


class DryStore:
    """A store that is asked and never told: every row counts as written, no column is added, no table emptied."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, batch: Batch) -> Result:
        return Result(batch, [WRITTEN] * len(batch.changes))

    def describe(self, names: Collection[str]) -> Mapping[str, Table | IngestError | None]:
        return self._store.describe(names)

    def add_columns(self, name: str, columns: Sequence[NewColumn], unsure: Unsure) -> Table:  # noqa: ARG002
        found = self._store.describe([name])[name]
        if isinstance(found, Table):
            return found
        raise found or Parked("table.missing", f"table {name} does not exist", subject=f"table:{name}")

    def empty(self, table: Table, truncation: Truncation, unsure: Unsure) -> Table:  # noqa: ARG002
        return table

    def probe(self) -> None:
        self._store.probe()

    def close(self) -> None:
        self._store.close()
