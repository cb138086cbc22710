"""What the loop needs of the outside world, as Protocols of its own.

Each has a real and an in-memory implementation, and one contract test runs over both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ingest.errors import IngestError, Reject
from ingest.model import (
    Batch,
    Change,
    Decoded,
    Envelope,
    NewColumn,
    Op,
    Partition,
    Position,
    Record,
    Resolved,
    Result,
    Table,
)

# Begins the metadata of commits in a partition that was added to a topic which the group has read before, until it is known that
# this does no harm; see flow.going_back.
ADDED = "ingest.added"


class Commit(NamedTuple):
    """Where reading should start again: the next offset, and up to 4,000 bytes of text kept beside it."""

    offset: int
    metadata: str = ""
    leader_epoch: int = -1


class Rebalances(Protocol):
    """What the source tells about its partitions, always while the loop's thread waits inside `poll` or `close`."""

    def assigned(self, partitions: Mapping[Partition, Commit]) -> None:
        """These are ours from now on, with the offset and metadata that reading starts from."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """These go: drain them and commit them with `await source.commit_now(...)`. Must not block and must not raise."""

    def lost(self, partitions: Collection[Partition]) -> None:
        """These are gone already: forget them, commit nothing."""


class Source(Protocol):
    """Kafka as the loop sees it. All methods belong to the loop's thread, but for commit_now and sleep (see there)."""

    def start(self, listener: Rebalances) -> None:
        """Subscribe. Raises Stop when the topics or the broker make that impossible, Retry when nobody answers yet."""

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Records of unpaused partitions, in order within each partition; [] after at most timeout_s.

        Raises Stop for what only a person can mend (corrupt batch, missing codec, fenced, not authorised),
        Parked for a partition whose position is gone (retention passed it).
        """

    def commit(self, offsets: Mapping[Partition, Commit]) -> None:
        """Start committing. At most one commit is in flight: call only when `commit_in_flight` is False."""

    @property
    def commit_in_flight(self) -> bool:
        """Whether the last commit is still unanswered; reading it after the answer raises nothing, see `take_commit_error`."""

    def take_commit_error(self) -> str | None:
        """Why the last commit failed, once; None if it did not. A failed commit is simply made again later."""

    async def commit_now(self, offsets: Mapping[Partition, Commit], timeout_s: float) -> bool:
        """Commit from inside Rebalances.revoked and wait for the answer; True when acknowledged."""

    async def sleep(self, seconds: float) -> None:
        """Wait inside Rebalances.revoked without stopping heartbeats."""

    def pause(self, partitions: Collection[Partition]) -> None: ...

    def resume(self, partitions: Collection[Partition]) -> None: ...

    def seek(self, partition: Partition, offset: int) -> None:
        """The next poll of the partition starts at offset; what was buffered of it is dropped."""

    def position(self, partition: Partition) -> int | None:
        """The next offset that poll would return, None if not known. Does not block."""

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset after the last record of each. Blocks for one request; raises Retry when nobody answers."""

    def lag(self, partition: Partition) -> int | None:
        """Records between position and the end as last heard, without a request; None if not known."""

    def partition_count(self, topic: str) -> int | None:
        """How many partitions the topic has, None if not known. Does not block."""

    def is_healthy(self) -> tuple[bool, str]:
        """Whether the group membership is alive, and if not, a sentence."""

    def close(self, timeout_s: float) -> None:
        """Leave the group (calls revoked first, unless lost). Never commits by itself."""


class Letter(NamedTuple):
    """A record that can never be stored, and why."""

    record: Record
    reject: Reject
    table: str | None
    stage: str  # decode, map or write


class DeadLetters(Protocol):
    """The dead-letter topic. `send` is called by the loop; acknowledgements come back through `take_acknowledged`."""

    def send(self, letter: Letter) -> None:
        """Queue a letter; never blocks. It is sent, and sent again, until acknowledged."""

    def take_acknowledged(self) -> Sequence[Position]:
        """Positions whose letters the dead-letter topic acknowledged since the last call."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes queued and not acknowledged."""

    def trouble(self) -> str | None:
        """A sentence when letters have been waiting for long, None when all is well."""

    def close(self, timeout_s: float) -> None: ...


class Unsure(NamedTuple):
    """Requests of ours whose answer never came: their tags, and the seconds since the last of them was given up."""

    tags: tuple[str, ...] = ()
    for_s: float = 0.0


class Truncation(NamedTuple):
    """What a TRUNCATE of the source leaves in each row of a table of level ordered that is older: the cdc_* columns and values.

    version: None in a table of level arrival, whose rows are deleted.
    """

    version: str | None
    columns: tuple[str, ...] = ()
    row: tuple[Any, ...] = ()


class Store(Protocol):
    """CrateDB as a writer thread sees it: one Store per thread."""

    def write(self, batch: Batch) -> Result:
        """Apply the batch in one attempt and answer with one outcome per change. Blocks; never raises for what a row,
        a table or the server does: those are outcomes."""

    def describe(self, names: Collection[str]) -> Mapping[str, Table | IngestError | None]:
        """The tables of these full names as the catalogue shows them now, None for one that does not exist; Retry or Parked for
        one with trouble of its own. Raises Retry when the catalogue cannot be read, Stop when it refuses us."""

    def add_columns(self, name: str, columns: Sequence[NewColumn], unsure: Unsure) -> Table:
        """The table of that full name once it has these columns; those that it has already stay as they are.

        No batch of ours for the table may be out. Raises Retry also while a request may still write without the new columns,
        Parked when the table cannot have them."""

    def empty(self, table: Table, truncation: Truncation, unsure: Unsure) -> Table:
        """The table once no row in it is older than this truncate; again is the same. No batch of ours for it may be out.

        Raises Retry, Parked."""

    def probe(self) -> None:
        """One cheap request. Raises Retry when CrateDB is not well, Stop when it refuses us."""

    def close(self) -> None: ...


class Registry(Protocol):
    """Schemas by id, asked off the loop's thread."""

    def fetch(self, schema_id: int | str) -> tuple[str, str]:
        """Schema text and type ("AVRO", "JSON", "PROTOBUF"), references resolved into the text's own form.
        Blocks. Raises Reject("schema.unknown") when the registry says there is none, Retry when it cannot answer."""


class WantedField(NamedTuple):
    """A field and what a table needs of its values on the express way; a record with any other value takes the long way.

    kind, None beside all of them: text (str), bool, int (from low to high), float (a number that is exactly that double), bytes,
    octets (bytes, behind base64 in JSON), number (as the long way gives it), scalar (none of bytes, lists and objects),
    unread (a scalar that goes nowhere).
    """

    name: str
    kind: str
    low: float = 0
    high: float = 0


class Wanted(NamedTuple):
    """What a table wants of all records that look like one it has seen.

    row: all fields of the row, in its order. key: likewise of the envelope's key by name, wherever the format takes it from; None
    where the key is made of the row's key_fields.
    ops: what may be done. moment: the field of a real image of before that names the month; before_real: the contract calls all
    images real.
    """

    row: tuple[WantedField, ...]
    key: tuple[WantedField, ...] | None
    key_fields: tuple[str, ...]
    ops: frozenset[Op]
    moment: str | None
    before_real: bool


# From (topic, partition, offset, now_ms, op_name or op, text of the version, source_ts_ms, moment of before, key, *row) to the
# change; None or Reject where only the long way knows. key: a tuple, no value None; unread fields are left out of both.
Make = Callable[..., Change | None]
# What the long way would make of a record; None where only that can tell. Raises nothing.
Express = Callable[[Record, int], Change | None]


class Decoder(Protocol):
    """The formats room: bytes to envelopes."""

    def decode(self, record: Record) -> Decoded:
        """Raises Reject for a record that cannot be read, Parked for a topic whose format cannot be decided."""

    def express(self, record: Record, envelope: Envelope, wanted: Wanted, make: Make) -> Express | None:
        """The express way of records like this one, which was decoded to this one envelope; None where there is none."""


class Mapper(Protocol):
    """The tables room: envelopes to changes of one table."""

    @property
    def truncate(self) -> str:
        """What the table's owner wants at a truncate: "park", "skip" or "empty"."""

    @property
    def month_from(self) -> str | None:
        """The column or field whose month a row is in, None in a table without months."""

    @property
    def unknown_policy(self) -> str:
        """What becomes of fields without a column: "ignore", "extra", "reject" or "add"."""

    @property
    def keyed_by_position(self) -> bool:
        """Whether each record is a row of its own, because its place in Kafka is in the key."""

    def map(self, envelope: Envelope, record: Record, now_ms: int) -> Change:
        """Raises Reject for a row that can never be stored, NewFields for one with fields that nobody was told of."""

    def express(self, envelope: Envelope, record: Record) -> tuple[Wanted, Make] | None:
        """What `map` needs of all records like this one, and what it then makes of them; None where each needs `map` itself."""

    def truncation(self, envelope: Envelope, record: Record, now_ms: int) -> Truncation:
        """What a truncate means. Raises Reject where it has no place in the table's order."""

    def stop_at_new_fields(self, passed: Collection[str] | None) -> None:
        """Raise NewFields for a field without a column that is not among these; None: for none."""

    def take_unknown_fields(self) -> Mapping[str, int]:
        """Records that brought each field without a column since the last call."""

    def take_nulled(self) -> Mapping[str, int]:
        """Values per column that the contract's policies made NULL since the last call."""


class Router(Protocol):
    """Which table a record goes to."""

    def route(self, topic: str, envelope_table: tuple[str, ...]) -> str:
        """The full name of the target table. Raises Parked when it is not decided."""


class Mark(NamedTuple):
    """How far one partition is stored, for the table `ingest_watermarks`. Of one stay of the partition with one worker.

    stay: a number that no other stay has in this process. committed: as Kafka has acknowledged it.
    partitions: of the topic, None if not known. tables: full names of those that it feeds, as far as seen; is_told: all of them,
    because contracts say so. source_ms: newest source time before committed; resolved: likewise, the newest.
    caught_up_ms: everything that the partition held at that moment, by our clock, lies before committed.
    """

    partition: Partition
    stay: int
    committed: int
    partitions: int | None = None
    tables: tuple[str, ...] = ()
    is_told: bool = False
    source_ms: int | None = None
    resolved: Resolved | None = None
    caught_up_ms: int | None = None


class Doubt(NamedTuple):
    """A stay of a partition of which it is not known whether the group's offset went back before it."""

    partition: Partition
    stay: int


class Offsets(Protocol):
    """What Kafka knows of offsets, asked by the loop's thread beside its reading."""

    def ask_ends(self, partitions: Collection[Partition]) -> None:
        """Ask for the offset after the last record of each; does not block. An older question is forgotten."""

    def take_ends(self) -> Mapping[Partition, int] | None:
        """The answer, once; None while there is none. What could not be told is left out."""

    def committed(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """What the group has committed; those without a commit are left out. Blocks for one request; raises Retry."""


class MarkBook(Protocol):
    """Where marks are kept. All methods are called by the loop's thread and none blocks; the writing happens elsewhere."""

    def keep(self, marks: Sequence[Mark]) -> None:
        """Write these, and what could not be written before; a partition's newer mark takes the place of its older one."""

    def doubtful(self) -> Collection[Doubt]:
        """Stays that began before what is kept of their partition; it waits until Kafka has said what that means."""

    def settle_doubt(self, committed: Mapping[Doubt, int | None]) -> None:
        """What the group has committed of each partition, asked of Kafka after its stay became doubtful; None: nothing."""

    def close(self, timeout_s: float) -> None:
        """Write what is left, within timeout_s."""


class Observer(Protocol):
    """What watches the loop. Every method is called by the loop's thread and must not block."""

    def batch(self, result: Result, reason: str, newest_source_ms: int | None) -> None:
        """A batch came back."""

    def event(self, level: str, name: str, **fields: object) -> None:
        """Something worth a line in the log: level is "info", "warning" or "error"."""

    def beat(self, now_s: float) -> None:
        """The loop is alive; called in every step."""

    def take_unpark_requests(self) -> Sequence[str]:
        """Subjects (`topic:NAME`, `table:NAME`) or bare names that an operator wants to go on."""
