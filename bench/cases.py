"""Which contenders meet over which streams, in the short and in the long benchmark. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.contenders import CONTENDERS, Contender
from bench.rows import Shape
from bench.workload import Workload

MAIN = Workload("12 columns, debezium json, 60/35/5")
WITH_SCHEMA = Workload("12 columns, debezium json with schema, 60/35/5", format="debezium-schema")
OTHERS = (
    Workload("40 columns, debezium json, 60/35/5", shape=Shape(columns=40)),
    Workload("12 columns, avro, 60/35/5", format="avro"),
    Workload("12 columns, cockroach wrapped, 60/35/5", format="cockroach"),
    Workload("12 columns, plain events", format="plain", mix="insert"),
    Workload("12 columns, debezium json, insert only", mix="insert"),
    Workload("12 columns, debezium json, delete heavy", mix="deletes"),
    Workload("12 columns, debezium json, 24 months", shape=Shape(months=24)),
    Workload("12 columns, debezium json, 2 % moves", mix="moves"),
)
MOST = ("ceiling", "worker", "worker x2", "worker, librdkafka", "worker, pg", "naive consumer")
PINNED = ("ceiling", "worker", "worker, librdkafka", "naive consumer")
SINK = ("ceiling", "worker", "worker, no months", "naive consumer", "JDBC sink")
PAIR = ("ceiling", "worker")


@dataclass(frozen=True)
class Case:
    workload: Workload
    contenders: Sequence[Contender]
    pinned: bool = False

    def narrowed(self, names: str, records: int | None) -> Case:
        """With some of the contenders, separated by semicolons, and another number of records."""
        chosen = [each for each in self.contenders if not names or each.name in names.split(";")]
        workload = replace(self.workload, records=records) if records else self.workload
        return Case(workload, chosen, self.pinned)


def named(names: Sequence[str]) -> list[Contender]:
    by_name = {each.name: each for each in CONTENDERS}
    return [by_name[name] for name in names]


def quick() -> list[Case]:
    """A quarter of an hour on two quiet cores."""
    return [
        Case(replace(MAIN, records=50_000), named(PINNED), pinned=True),
        Case(replace(MAIN, records=50_000), named(MOST)),
        Case(replace(WITH_SCHEMA, records=30_000), named(SINK)),
        *(Case(replace(workload, records=20_000), named(PAIR)) for workload in OTHERS),
    ]


def full() -> list[Case]:
    """Everything, hours."""
    return list(everything())


def everything() -> Iterator[Case]:
    for pinned in (True, False):
        for workload in (MAIN, WITH_SCHEMA, *OTHERS):
            yield Case(replace(workload, records=300_000), CONTENDERS, pinned)
