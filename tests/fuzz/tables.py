"""Tables for the fuzzer: for each record of the corpus some with columns named as its fields, of types that fit or do not."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ingest.errors import Parked, Reject
from ingest.formats import Decoder
from ingest.model import Column, Envelope, NeedSchema, Record, Skip, Table
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.types import ColumnRule
from tests.fuzz.corpus import Corpus

TYPES: Final = (
    *(Column("", "bigint"), Column("", "integer"), Column("", "smallint"), Column("", "text"), Column("", "boolean")),
    *(Column("", "numeric", precision=18, scale=2), Column("", "double precision"), Column("", "real"), Column("", "uuid")),
    *(Column("", "timestamp with time zone"), Column("", "timestamp without time zone"), Column("", "ip")),
    *(Column("", "bit", length=4), Column("", "object", policy="ignored"), Column("", "object", policy="dynamic")),
    *(Column("", "text_array"), Column("", "bigint_array"), Column("", "geo_point"), Column("", "geo_shape")),
    *(Column("", "float_vector", length=3), Column("", "varchar", length=8), Column("", "double precision_array_array")),
)
ORDERED: Final = (
    *(Column("cdc_version", "text"), Column("cdc_deleted", "boolean"), Column("cdc_source_ts", "timestamp with time zone")),
    *(Column("cdc_op", "text"), Column("cdc_offset", "bigint"), Column("cdc_extra", "object", policy="ignored")),
)
POLICIES: Final = ("reject", "null", "text")
MONTHS: Final = MappingRules(-1200, 1200)


class Target(NamedTuple):
    """A table, its contract, and what maps records into it."""

    mapper: Mapper
    contract: Contract


def targets(corpus: Corpus, seed: int, tables_each: int = 2) -> dict[int, list[Target]]:
    """For the place of each record in the corpus; the same for the same corpus and seed."""
    rng = random.Random(f"tables {seed}")
    made: dict[int, list[Target]] = {}
    schemas = corpus.cache()
    for place, one in enumerate(corpus.seeds):
        decoder = Decoder(topic_format={"t": one.format} if one.format else {}, schemas=schemas)
        try:
            decoded = decoder.decode(Record("t", 0, 0, -1, one.key, one.value, one.headers))
        except (Reject, Parked):
            continue
        if isinstance(decoded, Skip | NeedSchema) or not decoded:
            continue
        found = [target(rng, f"t{place}_{number}", decoded[0]) for number in range(tables_each)]
        made[place] = [one for one in found if one is not None]
    return {place: found for place, found in made.items() if found}


def target(rng: random.Random, name: str, envelope: Envelope) -> Target | None:
    row = envelope.after or envelope.before or {}
    named = [field for field in row if field and len(field) < 100]
    if not named:
        return None
    keys = [field for field in envelope.key if field in row] if isinstance(envelope.key, dict) else []
    keys = keys or [named[0]]
    columns = {field: _column(rng, field, row[field], is_key=field in keys) for field in named}
    moment = next((field for field, column in columns.items() if column.type.startswith("timestamp")), None)
    if rng.random() < 0.6:
        columns |= {column.name: column for column in ORDERED}
    partition, month = PartitionRule(), None
    if moment is not None and moment not in keys and rng.random() < 0.5:
        month, partition = "month", PartitionRule("month", moment, mutable=rng.random() < 0.5)
        columns[month] = Column(month, "timestamp with time zone")
    rules = {field: _rule(rng, columns, field) for field in named if field not in keys and rng.random() < 0.2}
    contract = Contract(f"doc.{name}", partition=partition, columns=rules)
    try:
        return Target(compile_mapper(Table("doc", name, columns, tuple(keys), month), contract, settings=MONTHS), contract)
    except Parked:
        return None


def _column(rng: random.Random, name: str, value: Any, *, is_key: bool) -> Column:
    if is_key or rng.random() < 0.5:
        return _natural(value)._replace(name=name)
    return rng.choice(TYPES)._replace(name=name)


def _natural(value: Any) -> Column:
    """The column that somebody would make who saw this value."""
    if isinstance(value, bool):
        return Column("", "boolean")
    if isinstance(value, int):
        return Column("", "bigint" if abs(value) < 2**62 else "numeric", precision=20, scale=0)
    if isinstance(value, Decimal):
        return Column("", "numeric", precision=30, scale=10)
    if isinstance(value, dict):
        return Column("", "object", policy="ignored")
    return Column("", "text_array") if isinstance(value, list) else Column("", "text")


def _rule(rng: random.Random, columns: dict[str, Column], name: str) -> ColumnRule:
    """A policy; where it is `text` and its column is missing, the column is added."""
    overflow, precision = rng.choice(POLICIES), rng.choice(POLICIES)
    if "text" in (overflow, precision) and f"{name}_text" not in columns:
        columns[f"{name}_text"] = Column(f"{name}_text", "text")
    return ColumnRule(overflow=overflow, precision=precision)
