"""The values that travel through the rooms, left to right.

record -> envelope -> change -> batch -> outcome; and the description of a table, which comes back.
Values only: no clock, no I/O, no third-party package. Every room may import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

# ---------------------------------------------------------------- what Kafka gives


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Position(NamedTuple):
    """Where a record stands in Kafka. Prints as `orders[3]@1042`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Record(NamedTuple):
    """One Kafka record, bytes untouched. timestamp_ms: epoch milliseconds as Kafka stores it, -1 if none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    leader_epoch: int = -1

    @property
    def at(self) -> Position:
        return Position(self.topic, self.partition, self.offset)

    def header(self, name: str) -> bytes | None:
        """The last header of that name, None if there is none (or if its value is null)."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


# ---------------------------------------------------------------- what formats make of it


class Op(StrEnum):
    """What a source says happened to a row.

    INSERT: `after` is the whole row, a column that it lacks is NULL (creates, snapshot rows, upserts of whole rows).
    UPDATE: a column that `after` lacks keeps the value it has.
    """

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


class SourceType(NamedTuple):
    """The type of a field as the source declares it, where the format tells it.

    kind is one of the names below; it also says how the decoded value looks in Python, so that one converter reads it:

    bool, int, float32, float64, string, uuid, xml, enum: bool, int, float (or the texts NaN, Infinity, -Infinity), str
    uint64_wrapped: int that a source squeezed into a signed 64-bit field (add 2**64 when negative)
    bytes: bytes; bytes_base64, bytes_base64url: str; bytes_hex: str (also with a leading \\x)
    bytes_escape: str as PostgreSQL's bytea_output = escape; bytes_latin1: str of one letter per byte
    decimal: bytes (unscaled, big-endian, two's complement) with `scale`, or a number, or a text such as "12.30" or "NaN"
    decimal_base64: str of those bytes with `scale` (or a number); decimal_variable: mapping {scale, value: bytes | base64 text}
    money: str such as "-$1,234.56", or a number
    date_days: int; date_text: str; time_ms, time_us, time_ns: int since midnight; time_text: str
    ts_ms, ts_us, ts_ns: int since the epoch, `zoned` says whether it is an instant; ts_text: str with or without offset
    year: int; interval_text: str, ISO or as PostgreSQL prints it; interval_us, interval_ns: int
    structured: mapping of the parts of a date, time or timestamp, whose names are `fields`; interval_parts: of an interval
    json: str of JSON text; any: anything JSON can say; ext_json: MongoDB's Extended JSON, parsed or (of a document) as text
    hstore: mapping of texts, or str of JSON or of PostgreSQL's own text
    bits, bits_base64: little-endian bytes with `length` bits; bits_words: CockroachDB's list of longs
    enum_set: str joined by commas
    point, geometry: mapping; vector: list of numbers; sparse_vector: mapping, or str as pgvector prints it
    array: list of `element`, or str of JSON or as PostgreSQL prints it; map: mapping to `element`; struct: mapping with `fields`
    """

    kind: str
    scale: int | None = None
    length: int | None = None
    zoned: bool = False
    element: SourceType | None = None
    fields: Mapping[str, SourceType] | None = None
    precision: int | None = None


@dataclass(frozen=True, eq=False, slots=True)
class RowSchema:
    """The declared fields of a row. Compared by identity: a format hands out the same object for the same schema."""

    fields: Mapping[str, SourceType]
    name: str = ""


class SourceVersion(NamedTuple):
    """Where a change stands in its source's own order.

    kind: one capital letter (L LSN, B binlog position, H HLC, T TSO, S commit LSN text, C SCN, M cluster time,
    V number of transactions of a Vitess shard, G number).
    text: fixed width for its kind, so that comparing texts compares positions.
    """

    kind: str
    text: str


# A cdc_version ends with the Kafka offset, in so many digits; see tables.versions.
OFFSET_DIGITS = 19


def just_above(version: str) -> str:
    """A version above this one and above every repetition of the same change, but below every later change.

    For deletes that tell no version of their own. A repetition has the same source position and another Kafka offset, so the
    offset is replaced by a letter; kind A has no source position and keeps it.

    >>> just_above("01L" + "7".zfill(20) + "5".zfill(19)) > "01L" + "7".zfill(20) + "9" * 19
    True
    >>> just_above("01A" + "5".zfill(19)) < "01A" + "6".zfill(19)
    True
    """
    return (version if version[2:3] == "A" else version[:-OFFSET_DIGITS]) + "T"


def kafka_offset(version: str) -> int:
    """The Kafka offset of the change that a version stands for, -1 for a text that ends with none.

    >>> kafka_offset("01L" + "7".zfill(20) + "5".zfill(19)), kafka_offset("by hand")
    (5, -1)
    """
    digits = version[-OFFSET_DIGITS:]
    return int(digits) if len(digits) == OFFSET_DIGITS and digits.isdecimal() else -1


Fields = dict[str, Any]
# A source's word that no older change will follow in a partition: epoch ms, and its own text, of fixed width.
Resolved = tuple[int, str]


@dataclass(slots=True)
class Envelope:
    """One change of one row as the source tells it; a value of `formats`, read by `tables`.

    table: the source's own name of the table, outermost part first, () where the envelope does not tell it.
    key: by name where names are on the wire, else the values in key order; None where there is no key.
    before_real: the format itself guarantees that `before` holds real values (else the contract decides).
    schema, key_schema: declared types of after/before and of key, None where the format lost them.
    op_name: the source's own word for the operation ("c", "r", "bootstrap-insert").
    place: which of the rows of its record it is, from 0, where a record may hold many.
    """

    op: Op
    key: Fields | tuple[Any, ...] | None = None
    after: Fields | None = None
    before: Fields | None = None
    table: tuple[str, ...] = ()
    version: SourceVersion | None = None
    source_ts_ms: int | None = None
    before_real: bool = False
    schema: RowSchema | None = None
    key_schema: RowSchema | None = None
    op_name: str = ""
    place: int = 0


class Skip(NamedTuple):
    """A record that is no row: counted under `reason` ("resolved", "heartbeat", "transaction", ...)."""

    reason: str
    resolved: Resolved | None = None


class NeedSchema(NamedTuple):
    """The record cannot be read before this schema is known. id: the registry's number or GUID."""

    id: int | str


Decoded = Sequence[Envelope] | Skip | NeedSchema


# ---------------------------------------------------------------- the description of a table


class Column(NamedTuple):
    """One column of a CrateDB table, as the catalogue tells it, or a sub-column of an object.

    type: CrateDB's own word ("bigint", "text", "timestamp with time zone", "numeric", "object", "bigint_array", ...).
    length: of VARCHAR(n), CHAR(n), BIT(n), FLOAT_VECTOR(n). policy: of an object. keys: an object's known sub-columns, as dotted
    paths. children: those right below it.
    """

    name: str
    type: str
    nullable: bool = True
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    generated: bool = False
    has_default: bool = False
    policy: str | None = None
    keys: tuple[str, ...] = ()
    children: tuple[Column, ...] = ()


class Level(StrEnum):
    """What a table can promise. ORDERED: it has cdc_version and cdc_deleted. ARRIVAL: it has not both."""

    ORDERED = "ordered"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Table:
    """A target table: everything that statements and mappers need to know of it.

    key: the primary key without the partition column, in key order. month_column: the partition column, None if unpartitioned.
    months: partitions that the catalogue shows, epoch ms of the month's first moment. generated_month: CrateDB fills it.
    """

    schema: str
    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    month_column: str | None = None
    months: frozenset[int] = frozenset()
    primary_key: tuple[str, ...] = ()
    shards: int = 1
    generated_month: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def level(self) -> Level:
        return Level.ORDERED if "cdc_version" in self.columns and "cdc_deleted" in self.columns else Level.ARRIVAL


class NewColumn(NamedTuple):
    """A column that a table lacks: the name of a field, and the type that its values need as DDL has it, "" for a bad name."""

    name: str
    type: str

    @property
    def definition(self) -> str:
        """As ALTER TABLE ADD COLUMN takes it; the name is a stranger's."""
        name = self.name.replace('"', '""')
        return f'"{name}" {self.type}'


# ---------------------------------------------------------------- what tables make of an envelope


class Kind(StrEnum):
    """What must be done to a row. WRITE: a complete row. PATCH: some columns of a row. DELETE: the row goes."""

    WRITE = "write"
    PATCH = "patch"
    DELETE = "delete"


@dataclass(slots=True)
class Change:
    """One change of one row of one table, every value ready for JSON.

    columns, row: names and values side by side, without key and month columns, with the cdc_* columns that the table has.
      A DELETE carries the cdc_* columns only. `columns` is one shared tuple per shape.
    key: values in the order of Table.key. month: the month the row is in after this change, epoch ms;
      None in a table without months, and in a DELETE whose month is not known.
    vacates: other months in which this key may still be and must not be any longer.
    look_up: the months in which this key is must be asked of CrateDB first (DELETE: delete there; else vacate them but `month`).
    version: the text for cdc_version, None in a table of level arrival without versions.
    size_bytes: about what the row takes in a request.
    new_keys: the row brings keys that a dynamic object column of its table does not know yet, so it must go alone, first.
    at: the record it came from. ticket: the ledger's claim on that record, None until admitted.
    """

    kind: Kind
    key: tuple[Any, ...]
    month: int | None
    columns: tuple[str, ...]
    row: list[Any]
    at: Position
    version: str | None = None
    vacates: tuple[int, ...] = ()
    look_up: bool = False
    size_bytes: int = 0
    source_ts_ms: int | None = None
    new_keys: bool = False
    ticket: Any = None


class Lane(NamedTuple):
    """Table x slot: the unit in which one batch at most is out."""

    table: str
    slot: int

    def __str__(self) -> str:
        return f"{self.table}/{self.slot}"


@dataclass(slots=True)
class Batch:
    """Changes of a lane that go to the store together, at most one per key, in any order of keys.

    tag: stands in a comment at the head of each statement, so that a running request can be recognised in sys.jobs.
    beside: further lanes of the table, whose changes follow those of the first lane, in this order.
    unsure: tags of earlier requests of unknown outcome, which must have ended before; the last was given up unsure_for_s ago.
    mostly_stale: the lane's last batches were, so the CASE form of the guard is the better start.
    """

    lane: Lane
    table: Table
    changes: list[Change]
    tag: str
    unsure: tuple[str, ...] = ()
    mostly_stale: bool = False
    reason: str = ""
    unsure_for_s: float = 0.0
    beside: tuple[Lane, ...] = ()


class Fate(StrEnum):
    """What became of one change.

    WRITTEN: CrateDB confirmed this very row. SUPERSEDED: a newer version is there already.
    REJECTED: CrateDB refuses its content. RETRY: not settled, the same change must be sent again.
    PARK: its table cannot be written until somebody changes it. STOP: nothing can be written (credentials).
    """

    WRITTEN = "written"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    RETRY = "retry"
    PARK = "park"
    STOP = "stop"


class Outcome(NamedTuple):
    """The fate of one change, with a stable dotted code and a sentence without row values where it is not good.

    incomplete: a PATCH found no row and was stored as a new one, with the columns it had.
    overload, unknown: as in errors.Retry.
    """

    fate: Fate
    code: str = ""
    text: str = ""
    column: str | None = None
    incomplete: bool = False
    overload: bool = False
    unknown: bool = False


WRITTEN = Outcome(Fate.WRITTEN)
SUPERSEDED = Outcome(Fate.SUPERSEDED, "stale")


@dataclass(slots=True)
class Result:
    """The store's answer to a batch: outcomes[i] is the fate of batch.changes[i].

    new_months: months that this batch brought into being. statements, took_s: requests made and seconds they took.
    unsure: tags of requests that may still be running on the server.
    """

    batch: Batch
    outcomes: list[Outcome]
    took_s: float = 0.0
    statements: int = 0
    new_months: frozenset[int] = frozenset()
    unsure: tuple[str, ...] = ()
    codes: dict[str, int] = field(default_factory=dict)
