"""Writes samples into one wide table as the worker would, a few hundred rows in a request, and reads back what CrateDB stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, cycle, product
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ingest.errors import Reject
from ingest.model import Change, Envelope, Fate, Op, Record, RowSchema, SourceType, Table
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from tests.crate_rig import Rig, batch
from tests.properties.samples import Sample

TYPED: Final = (
    '"n" NUMERIC(5, 2), "l" BIGINT, "s" SMALLINT, "r" REAL, "at" TIMESTAMP WITH TIME ZONE, "t" TEXT, "v" VARCHAR(3), '
    '"bt" BIT(4), "ip" IP, "u" UUID, "bo" BOOLEAN, "al" ARRAY(INTEGER), "in" OBJECT(STRICT) AS ("y" SMALLINT, "z" NUMERIC(4, 1))'
)
COLUMNS: Final = {
    "b": "BYTE",
    "s": "SMALLINT",
    "i": "INTEGER",
    "l": "BIGINT",
    "r": "REAL",
    "d": "DOUBLE PRECISION",
    "n52": "NUMERIC(5, 2)",
    "n182": "NUMERIC(18, 2)",
    "n200": "NUMERIC(20, 0)",
    "n3810": "NUMERIC(38, 10)",
    "n3838": "NUMERIC(38, 38)",
    "n380": "NUMERIC(38, 0)",
    "bo": "BOOLEAN",
    "t": "TEXT",
    "v5": "VARCHAR(5)",
    "c4": "CHAR(4)",
    "ts": "TIMESTAMP WITH TIME ZONE",
    "tz": "TIMESTAMP WITHOUT TIME ZONE",
    "u": "UUID",
    "ip": "IP",
    "b1": "BIT(1)",
    "b4": "BIT(4)",
    "o": "OBJECT(IGNORED)",
    "os": f"OBJECT(STRICT) AS ({TYPED})",
    "oi": f"OBJECT(IGNORED) AS ({TYPED})",
    "od": f"OBJECT(DYNAMIC) AS ({TYPED})",
    "fv": "FLOAT_VECTOR(3)",
    "gp": "GEO_POINT",
    "gs": "GEO_SHAPE",
    "al": "ARRAY(BIGINT)",
    "an": "ARRAY(NUMERIC(5, 2))",
    "at": "ARRAY(TEXT)",
    "ats": "ARRAY(TIMESTAMP WITH TIME ZONE)",
    "aa": "ARRAY(ARRAY(INTEGER))",
    "aos": f"ARRAY(OBJECT(STRICT) AS ({TYPED}))",
}
# JSON answers NUMERIC as a number, which would pass through a double here.
SHOWN: Final = {name: f'"{name}"::TEXT' for name in COLUMNS if name.startswith("n")} | {"an": '"an"::ARRAY(TEXT)'}


class Kept(NamedTuple):
    """A sample that a column took, and what CrateDB answers for it."""

    sample: Sample
    column: str
    stored: Any


class Outcome(NamedTuple):
    kept: list[Kept]
    refused: list[tuple[Sample, str, str]]
    failed: list[tuple[Sample, str, str]]


def drawn(strategy: st.SearchStrategy[Sample], number: int, *, turn: int = 0) -> list[Sample]:
    """The samples that Hypothesis makes in this turn, the same in each run of the same modules."""
    found: list[Sample] = []

    @seed(turn)
    @settings(max_examples=number, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(sample: Sample) -> None:
        found.append(sample)

    collect()
    return found


class Keeper:
    """Maps by the worker's mapper, writes by the worker's statements."""

    def __init__(self, rig: Rig, table: Table) -> None:
        self.rig, self.table = rig, table
        self.mapper = compile_mapper(table, None, settings=MappingRules())
        self.ids = count()
        self._schemas: dict[tuple[str, str], RowSchema] = {}

    def keep(self, samples: Sequence[Sample], columns: Sequence[str], edges: Sequence[Sample] = ()) -> Outcome:
        """Each sample for one of the columns in turn, each of the edges for all of them."""
        changes: list[Change] = []
        taken: list[tuple[Sample, str]] = []
        refused = []
        for sample, column in (*zip(samples, cycle(columns), strict=False), *product(edges, columns)):
            try:
                changes.append(self._map(sample, column))
                taken.append((sample, column))
            except Reject as reject:
                refused.append((sample, (reject.column or "").partition(".")[0], reject.code))
        fates = self.rig.store.write(batch(self.table, *changes)).outcomes if changes else []
        failed = [(*pair, each.text) for pair, each in zip(taken, fates, strict=True) if each.fate is not Fate.WRITTEN]
        stored = self._stored({change.key[0]: column for change, (_, column) in zip(changes, taken, strict=True)})
        kept = [Kept(*pair, stored.get(change.key[0])) for change, pair in zip(changes, taken, strict=True)]
        return Outcome(kept, refused, failed)

    def _map(self, sample: Sample, column: str) -> Change:
        number = next(self.ids)
        schema = self._schema(column, sample.source)
        envelope = Envelope(Op.INSERT, {"id": number}, {"id": number, column: sample.raw}, schema=schema, table=("t",))
        return self.mapper.map(envelope, Record("t", 0, number, 0, None, b""), 0)

    def _schema(self, column: str, source: SourceType | None) -> RowSchema | None:
        if source is None:
            return None
        return self._schemas.setdefault((column, repr(source)), RowSchema({"id": SourceType("int"), column: source}))

    def _stored(self, columns_by_id: dict[int, str]) -> dict[int, Any]:
        self.rig.sql(f"REFRESH TABLE {self.table.full_name}")
        found: dict[int, Any] = {}
        for column in set(columns_by_id.values()):
            shown = SHOWN.get(column, f'"{column}"')
            where = f"id >= {min(columns_by_id)} AND id <= {max(columns_by_id)}"
            rows = self.rig.sql(f"SELECT id, {shown} FROM {self.table.full_name} WHERE {where} LIMIT 10000").rows
            found |= {number: value for number, value in rows if columns_by_id.get(number) == column}
        return found
