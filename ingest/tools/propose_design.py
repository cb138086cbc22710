"""A table for the rows of a sample: columns, key, month, versions, shards; tried out with the worker's own mapper.

What the mapper refuses is mended where the column can be: as TEXT, or with NULL for what its type cannot hold. Pure, one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ingest.errors import IngestError, Parked
from ingest.model import Column, Envelope, Table
from ingest.tables import declared_columns
from ingest.tables.contract import Contract, PartitionRule, VersionRule
from ingest.tables.declared_columns import Choice
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.texts import INDEXED_TEXT_MAX_BYTES
from ingest.tables.types import ColumnRule, parse_type
from ingest.tools import propose_guess
from ingest.tools.explain_words import counted
from ingest.tools.propose_key import POSITION, KeyChoice, choose_key
from ingest.tools.propose_month import MonthChoice, choose_month, has_full_images
from ingest.tools.propose_names import column_names, free, is_found
from ingest.tools.propose_sample import Rows, Sample, Volume
from ingest.tools.propose_values import CUT, Field
from ingest.tools.sizing import SHARD_BYTES, SMALL_MONTH_BYTES

ORDERED: Final = ("cdc_version", "cdc_deleted", "cdc_source_ts", "cdc_ingested_at")
SYSTEM_TYPES: Final = {
    "cdc_topic": "TEXT", "cdc_partition": "INTEGER", "cdc_offset": "BIGINT", "cdc_version": "TEXT", "cdc_deleted": "BOOLEAN",
    "cdc_source_ts": "TIMESTAMP WITH TIME ZONE", "cdc_ingested_at": "TIMESTAMP WITH TIME ZONE",
}  # fmt: skip
LEAST_SHARDS, LEAST_SHARDS_UNPARTITIONED, MOST_SHARDS = 2, 4, 32
DAY_MS: Final = 86_400_000
DAYS_PER_MONTH: Final = 30
# Half of what an index takes: the longest text is seldom in the sample.
WIDE_BYTES: Final = INDEXED_TEXT_MAX_BYTES // 2
ROUNDS: Final = 4
NOTHING_SEEN_BYTES: Final = 200


@dataclass(frozen=True)
class Draft:
    """A proposed table. names: of the columns by field, key first. choices: by field. version_from: of the contract, "" for none.

    remarks: what a person should look at. tried, refused: changes of the sample, and those that would be dead letters.
    """

    table: str
    sample: Sample
    rows: Rows
    names: Mapping[str, str]
    choices: Mapping[str, Choice]
    key: KeyChoice
    month: MonthChoice
    month_name: str = "month"
    before_full: bool = False
    version_from: str = ""
    shards: int = LEAST_SHARDS
    shards_reason: str = ""
    remarks: Sequence[str] = ()
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def is_ordered(self) -> bool:
        """An event whose place is its key never has a second version."""
        return not self.key.by_position

    @property
    def key_columns(self) -> tuple[str, ...]:
        return POSITION if self.key.by_position else tuple(self.names[name] for name in self.key.fields)

    @property
    def primary_key(self) -> tuple[str, ...]:
        return (*self.key_columns, *([self.month_name] if self.month.column else []))

    @property
    def system_columns(self) -> tuple[str, ...]:
        return ORDERED if self.is_ordered else (*POSITION, "cdc_ingested_at")

    def described(self) -> Table:
        """As the catalogue will show it."""
        schema, _, name = self.table.rpartition(".")
        columns = {self.names[each]: choice.column._replace(name=self.names[each]) for each, choice in self.choices.items()}
        if self.month.column:
            columns[self.month_name] = Column(self.month_name, "timestamp with time zone")
        columns |= {each: Column(each, SYSTEM_TYPES[each].lower()) for each in self.system_columns}
        month_column = self.month_name if self.month.column else None
        return Table(schema, name, columns, self.key_columns, month_column, primary_key=self.primary_key, shards=self.shards)

    def contract(self) -> Contract:
        """As the contract's file will be read."""
        partition = (
            PartitionRule(self.month_name, self.month.column, self.month.mutable) if self.month.column else PartitionRule()
        )
        return Contract(
            table=self.table,
            topics=(self.sample.topic,),
            format=self.sample.format,
            key=self.key_columns if self.key.is_unnamed else None,
            by_position=self.key.by_position,
            partition=partition,
            before_full=self.before_full,
            version=VersionRule(self.version_from or None),
            columns=self.rules(),
        )

    def rules(self) -> dict[str, ColumnRule]:
        """What the contract must say of columns."""
        found = {}
        for name, choice in self.choices.items():
            column = self.names[name]
            source = None if is_found(name, column, self.names) else name
            read_as = parse_type(choice.read_as) if choice.read_as else None
            rule = ColumnRule(source, read_as, choice.overflow or "reject")
            if rule != ColumnRule():
                found[column] = rule
        return found


def design(sample: Sample, rows: Rows, table: str, rules: MappingRules, now_ms: int, is_compacted: Callable[[], bool]) -> Draft:
    """Raises Stop("propose.no_key")."""
    key = choose_key(sample.topic, rows, table.rpartition(".")[2], is_compacted)
    fields = [*key.fields, *(name for name in rows.fields if name not in key.fields)]
    names = column_names(fields)
    choices = {name: _choice(rows, name, names[name], name in key.fields) for name in fields}
    draft = Draft(table, sample, rows, names, choices, key, MonthChoice(None, ""), _month_name(set(names.values())))
    for _ in range(ROUNDS):
        draft = _with_policies(draft, rules, now_ms)
        draft, better = _try_out(draft, rules, now_ms)
        if not better:
            break
        draft = replace(draft, choices={**draft.choices, **better})
    return replace(draft, remarks=_remarks(draft))


def _month_name(taken: set[str]) -> str:
    return free("partition_month", taken) if "month" in taken else "month"


# ---------------------------------------------------------------- columns


def _choice(rows: Rows, name: str, column: str, in_key: bool) -> Choice:
    found = rows.fields.get(name) or rows.key_fields[name]
    if in_key and not found.declared and name in rows.key_fields:
        found = Field(name, rows.key_fields[name].declared, found.values)
    lost_types = rows.is_change_log and not found.declared
    choice = propose_guess.choose(found, column, lost_types=lost_types)
    return _as_key(choice, found) if in_key else choice


def _as_key(choice: Choice, found: Field) -> Choice:
    """A key must come exactly as it is, or two rows would be one: what a column would cut becomes whole numbers or text."""
    kind = choice.column.type
    declared = found.declared[-1].kind if found.declared else ""
    fine = choice.read_as or (declared if declared in ("ts_us", "ts_ns") else "")
    if fine in ("ts_us", "ts_ns", "ts_s"):
        return declared_columns.bigint(f"epoch in {fine.removeprefix('ts_')}, whole as part of the key", fine)
    if kind.startswith("timestamp") and (declared == "ts_text" or found.values.texts[CUT]):
        return declared_columns.text("a moment, whole as part of the key")
    if kind in ("bigint", "integer", "boolean", "text") or kind.startswith("timestamp"):
        return choice._replace(overflow="")
    if kind == "numeric" and choice.column.scale == 0 and (choice.column.precision or 0) <= 18:
        return declared_columns.bigint()
    return declared_columns.text("exact as part of the key")


# ---------------------------------------------------------------- month, versions, shards


def _with_policies(draft: Draft, rules: MappingRules, now_ms: int) -> Draft:
    rows = draft.rows
    month = choose_month(rows, draft.choices, draft.names, draft.key.fields, rules, now_ms)
    before_full = bool(month.column) and draft.is_ordered and has_full_images(rows)
    version_from = _version_from(rows.envelopes) if draft.is_ordered else ""
    return replace(draft, month=month, before_full=before_full, version_from=version_from)


def _version_from(envelopes: Sequence[Envelope]) -> str:
    """Kafka's order where changes of a table say no position in their source, or only some do."""
    told = [each for each in envelopes if each.op_name != "tombstone"]
    without = [each for each in told if each.version is None]
    return "offset" if without and (len(without) < len(told) or any(each.table for each in without)) else ""


def shards_for(volume: Volume, month: MonthChoice, row_bytes: int) -> tuple[int, str]:
    """How many shards, and why.

    >>> shards_for(Volume(2_000_000_000, 10 * DAY_MS), MonthChoice("month", "", share=0.5), 200)
    (32, 'about 6,000,000,000 rows a month, 1.2 TB')
    >>> shards_for(Volume(2_000_000, 10 * DAY_MS), MonthChoice("month", "", share=0.5), 100)
    (1, 'about 6,000,000 rows a month, 600.0 MB')
    """
    if not volume.records:
        return LEAST_SHARDS if month.column else LEAST_SHARDS_UNPARTITIONED, "a volume that is not known"
    expected = volume.records * (month.share if month.column else 1)
    is_paced = bool(month.column) and volume.span_ms > DAY_MS  # less does not tell what a month brings
    if is_paced:
        expected = max(expected, volume.records * DAYS_PER_MONTH * DAY_MS / volume.span_ms)
    total_bytes = expected * row_bytes
    least = LEAST_SHARDS if month.column else LEAST_SHARDS_UNPARTITIONED
    if is_paced and total_bytes < SMALL_MONTH_BYTES:
        least = 1
    shards = min(MOST_SHARDS, max(least, -(-round(total_bytes) // SHARD_BYTES)))
    period = "rows a month" if month.column else "rows now"
    return shards, f"about {round(expected):,} {period}, {size(total_bytes)}"


def size(total_bytes: float) -> str:
    """
    >>> size(999), size(30_000_000_000)
    ('1 KB', '30.0 GB')
    """
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if total_bytes >= 10**power:
            return f"{total_bytes / 10**power:.1f} {unit}"
    return f"{max(1, round(total_bytes / 1000)):,} KB"


# ---------------------------------------------------------------- trying out


def _try_out(draft: Draft, rules: MappingRules, now_ms: int) -> tuple[Draft, dict[str, Choice]]:
    """The draft with what its changes would come to, and better choices for columns that refuse values."""
    try:
        mapper = compile_mapper(draft.described(), draft.contract(), settings=rules)
    except Parked as error:  # only a mistake of ours makes a contradiction; `check` would show it as well
        return replace(draft, refused=Counter({f"{error.code}: {error.text}": 1})), {}
    fields = {column: name for name, column in draft.names.items()}
    refused: Counter[str] = Counter()
    better: dict[str, Choice] = {}
    sizes: list[int] = []
    for record, envelope in draft.rows.changes:
        try:
            change = mapper.map(envelope, record, now_ms)
        except IngestError as error:
            refused[error.code + (f", column {error.column}" if error.column else "")] += 1
            name = fields.get(error.column or "")
            if name is not None and (mended := _mended(draft.choices[name], error.code, name in draft.key.fields)):
                better[name] = mended
            continue
        sizes.append(change.size_bytes)
        better |= _wider(draft, fields, zip(change.columns, change.row, strict=True))
    row_bytes = sum(sizes) // len(sizes) if sizes else NOTHING_SEEN_BYTES
    shards, reason = shards_for(_part_of(draft), draft.month, row_bytes)
    return replace(draft, refused=refused, shards=shards, shards_reason=reason), better


def _part_of(draft: Draft) -> Volume:
    """What of the topic is this table's."""
    all_changes = sum(len(rows.changes) for rows in draft.sample.tables)
    share = len(draft.rows.changes) / all_changes if all_changes else 1
    return draft.sample.volume._replace(records=round(draft.sample.volume.records * share))


def _wider(draft: Draft, fields: Mapping[str, str], row: object) -> dict[str, Choice]:
    """Columns of text that hold longer ones than an index should."""
    found = {}
    for column, value in row:  # type: ignore[attr-defined]
        name = fields.get(column)
        if type(value) is str and len(value) * 4 > WIDE_BYTES and name is not None and len(value.encode()) > WIDE_BYTES:
            choice = draft.choices[name]
            if choice.sql == "TEXT" and not choice.is_wide:
                found[name] = choice._replace(is_wide=True).noting(f"near or above an index's {INDEXED_TEXT_MAX_BYTES:,} bytes")
    return found


def _mended(choice: Choice, code: str, in_key: bool) -> Choice | None:
    """A column that takes what this one refuses; None where no column would."""
    kind = choice.column.type
    if kind == "text" or not code.startswith(("type.", "object.", "field.")):
        return None
    if in_key:
        return declared_columns.text("values of several kinds were seen")
    if code in ("type.not_finite", "type.zero_date") and choice.overflow != "null":
        what = {"type.zero_date": "zero dates"}.get(code, "NaN and infinity")
        return choice._replace(overflow="null").noting(f"{what} become NULL")
    if kind == "object" and code in ("type.overflow", "type.precision") and choice.overflow != "text":
        return choice._replace(overflow="text").noting("numbers beyond 64 bits become text")
    return declared_columns.text(f"not all values were of type {choice.sql}")


# ---------------------------------------------------------------- remarks


def _remarks(draft: Draft) -> list[str]:
    rows = draft.rows
    said = []
    if not rows.has_records:
        said.append("made from a schema alone, no value was looked at")
    if len(rows.sources) > 1:
        sources = ", ".join(sorted(".".join(each) for each in rows.sources))
        said.append(f"rows of {sources} meet in this table: their keys must differ")
    for why, times in draft.refused.most_common():
        said.append(f"{counted(times, 'change')} of the {len(rows.changes):,} in the sample would be dead letters ({why})")
    return [*said, *draft.key.hints]
