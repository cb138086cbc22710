"""Own CPU per record from bytes to a request's body, stage by stage, beside what plain libraries cost for the same bytes.

The base is `msgspec.json.decode` and `orjson.dumps` of the same value; the budget of docs/DESIGN.md is two bases for decode, map,
ledger, fold and body together. `express` is the way of records that look alike, in the place of `decode` and `map`; `own` is what
such a record costs, or one on the long way where there is no other. All stages are measured in turn, round after round, in one
process; the figures are medians of the rounds, and the raw rounds are written below them.

    python bench/row_path.py --rounds 15 --records 2000
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.streams import STREAMS, Stream
from ingest.crate.http import Answer, encoded
from ingest.crate.writer import HttpStore
from ingest.flow.fold import Fold
from ingest.flow.ledger import Ledger, Settled
from ingest.formats.decoder import Decoder
from ingest.formats.schemas import SchemaCache
from ingest.model import Batch, Change, Lane, Partition, Table
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules

NOW_MS = 1_793_000_000_000
STAGES = ("base", "decode", "map", "express", "ledger", "fold", "body")
LONG = ("decode", "map")


class Case:
    """One stream with what each stage takes from the one before."""

    def __init__(self, stream: Stream, count: int) -> None:
        self.stream = stream
        self.records = [stream.record(n) for n in range(count)]
        self.texts = [stream.json_text(n) for n in range(count)]
        self.schemas = SchemaCache()
        for schema_id, text in stream.schemas.items():
            self.schemas.put(schema_id, text, "AVRO")
        self.table: Table = stream.table
        self.mapper: Mapper = compile_mapper(self.table, stream.contract, settings=MappingRules())
        self.decoder = Decoder(topic_format={}, schemas=self.schemas)
        self.envelopes = self.decode()
        self.changes = self.map()
        wanted = self.mapper.express(self.envelopes[20], self.records[20])
        self.way = None if wanted is None else self.decoder.express(self.records[20], self.envelopes[20], *wanted)
        if self.way is not None and self.express() != self.changes:
            raise SystemExit(f"{stream.name}: the express way gives other changes than the long one")
        self.store = HttpStore(Instant())  # type: ignore[arg-type]

    def base(self) -> None:
        for text in self.texts:
            orjson.dumps(msgspec.json.decode(text))

    def decode(self) -> list[Any]:
        decode = self.decoder.decode
        return [decode(record)[0] for record in self.records]  # type: ignore[index]

    def map(self) -> list[Change]:
        map_ = self.mapper.map
        return [map_(envelope, record, NOW_MS) for envelope, record in zip(self.envelopes, self.records, strict=True)]

    def express(self) -> list[Change | None]:
        return [] if self.way is None else [self.way(record, NOW_MS) for record in self.records]

    def ledger(self) -> None:
        ledger, partition = Ledger(), Partition("t", 0)
        ledger.open(partition, 0)
        page = ledger.page(partition)
        tickets = [ledger.admit(page, record, 500) for record in self.records]
        ledger.settle_run(tickets, Settled.WRITTEN)

    def fold(self) -> None:
        fold = Fold(0.0)
        for change in self.changes:
            fold.add(change)

    def body(self) -> None:
        self.store.write(Batch(Lane("t", 0), self.table, self.changes, "tag"))


class Instant:
    """In the place of the HTTP client: encodes the request and says that every row was written, as CrateDB would."""

    is_settling = False

    def execute(self, stmt: str, args: Any = None, bulk_args: Any = None, tag: str | None = None) -> Answer:
        encoded(stmt, args, bulk_args, tag)
        rows = bulk_args or ()
        return Answer(
            200, orjson.loads(b'{"cols":[],"duration":1.0,"results":[' + b",".join([b'{"rowcount":1}'] * len(rows)) + b"]}")
        )


def timed(work: Callable[[], object], count: int) -> float:
    """µs of CPU per record."""
    gc.collect()
    gc.disable()
    start = process_time()
    work()
    took = process_time() - start
    gc.enable()
    return took * 1e6 / count


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    raw: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        for stage in STAGES:
            took = 0.0 if stage == "express" and case.way is None else timed(getattr(case, stage), len(case.records))
            raw[stage].append(round(took, 3))
    return raw


def show(name: str, raw: dict[str, list[float]]) -> str:
    middle = {stage: statistics.median(values) for stage, values in raw.items()}
    has_express = any(raw["express"])
    rest = sum(middle[stage] for stage in ("ledger", "fold", "body"))
    own = rest + (middle["express"] if has_express else sum(middle[stage] for stage in LONG))
    cells = " ".join(f"{middle[stage]:>8.2f}" if stage != "express" or has_express else f"{'-':>8}" for stage in STAGES)
    return f"{name:<24}{cells} {own:>8.2f} {own / middle['base']:>8.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--only", default="", help="streams whose name holds this")
    options = parser.parse_args(arguments)
    print("µs of CPU per record, medians of", options.rounds, "rounds of", options.records, "records")
    print(f"{'':<24}" + " ".join(f"{stage:>8}" for stage in (*STAGES, "own", "own/base")))
    everything = {}
    for name, stream in STREAMS.items():
        if options.only in name:
            everything[name] = measure(Case(stream, options.records), options.rounds)
            print(show(name, everything[name]), flush=True)
    print(json.dumps(everything))


if __name__ == "__main__":
    main()
