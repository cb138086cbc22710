"""The worker's own requests, caught on their way to CrateDB and sent again in other orders; and a count of what that changes.

A short history of a few keys goes through the real decoder, mapper, lane and store; a client in between notes every write.
What the history must end in is told by the history alone (`expected`), never by what was caught. One thread.

    python -m tests.integration.requests_rig --crate http://127.0.0.1:4200 --seed 1 --orders 200
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ingest.crate.http import Answer, HttpClient, parse_addresses
from ingest.crate.plan import GOOD
from ingest.crate.purge import live_view
from ingest.crate.verdicts import DOCUMENT_MISSING
from ingest.crate.writer import HttpStore
from ingest.flow.lanes import BatchRules, LaneState
from ingest.formats import Decoder, SchemaCache
from ingest.model import Batch, Change, Lane, Level, NeedSchema, Record, Skip, Table
from ingest.tables.contract import Contract, PartitionRule
from ingest.tables.mapper import compile_mapper
from ingest.tables.months import MappingRules
from tests.crate_rig import FEB, JAN, MAR, Rig

MONTHS = (JAN, FEB, MAR)
NOW_MS = MAR + 1_000
TOPIC = "shop.public.orders"
SITE = "north"  # a second part of the key: only with one does a mostly stale batch start with the KEEP form of the guard
KEYS = 4
IDS_APART = 10
RESULTS = Path(__file__).parents[2] / "bench" / "results"
COLUMNS = "site TEXT, id BIGINT, month TIMESTAMP WITH TIME ZONE, created_at TIMESTAMP WITH TIME ZONE, v TEXT"
ORDERED = "cdc_version TEXT, cdc_deleted BOOLEAN, "
# Thousands of small requests: without a sync to disk after each, which changes nothing of what they do.
ASYNC = """"translog.durability" = 'ASYNC'"""
OPTIONS = f"PARTITIONED BY (month) CLUSTERED INTO 1 SHARDS WITH ({ASYNC})"

LiveRows = list[tuple[int, int, str]]  # id, month, v; sorted
Order = Sequence[int]


class Step(NamedTuple):
    """What happens to a key next: it is in this month from now on (inserted, updated or moved); None: it is deleted."""

    key: int
    month: int | None


class Caught(NamedTuple):
    """A write as it was sent."""

    stmt: str
    bulk_args: Sequence[Sequence[Any]]


# ---------------------------------------------------------------- a history, and what it must end in


def history(steps: Iterable[Step], first_id: int = 0) -> list[Record]:
    """The steps as a Debezium connector under REPLICA IDENTITY FULL tells them: whole rows, real images of before."""
    rows: dict[int, dict[str, Any]] = {}
    records: list[Record] = []
    for number, (key, month) in enumerate(steps):
        before, named = rows.pop(key, None), {"site": SITE, "id": first_id + key}
        if month is not None:
            rows[key] = {**named, "created_at": month + 5, "v": f"v{number}"}
        elif before is None:
            continue
        records.append(debezium(len(records), named, before, rows.get(key)))
    return records


def debezium(offset: int, key: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None) -> Record:
    op = "d" if after is None else "c" if before is None else "u"
    source = {"connector": "postgresql", "db": "shop", "schema": "public", "table": "orders", "lsn": 10_000 + offset * 8}
    value = {"before": before, "after": after, "source": {**source, "ts_ms": NOW_MS}, "op": op}
    return Record(TOPIC, 0, offset, -1, orjson.dumps(key), orjson.dumps(value))


def expected(steps: Iterable[Step], first_id: int = 0) -> LiveRows:
    """The last step of each key is its row."""
    last = {step.key: (number, step.month) for number, step in enumerate(steps)}
    return sorted((first_id + key, month, f"v{number}") for key, (number, month) in last.items() if month is not None)


def random_steps(rnd: random.Random, length: int) -> list[Step]:
    return [Step(rnd.randrange(KEYS), rnd.choice((*MONTHS, None))) for _ in range(length)]


# ---------------------------------------------------------------- the worker's path


class CatchingClient(HttpClient):
    """The real client, which also keeps every write that it sends."""

    def __init__(self, url: str) -> None:
        super().__init__(parse_addresses([url]), user="crate")
        self.caught: list[Caught] = []

    def execute(
        self,
        stmt: str,
        args: Sequence[Any] | None = None,
        bulk_args: Sequence[Sequence[Any]] | None = None,
        tag: str | None = None,
    ) -> Answer:
        if bulk_args is not None:
            self.caught.append(Caught(stmt, bulk_args))
        return super().execute(stmt, args, bulk_args, tag)


class WritePath:
    """Decoder, mapper, one lane and the store, joined as the worker joins them, without Kafka and without threads.

    images: the contract trusts images of before; else it says that months change, and CrateDB is asked for the old one.
    """

    def __init__(self, rig: Rig, table: Table, client: HttpClient, *, images: bool = True) -> None:
        partition = PartitionRule("month", "created_at", mutable=not images)
        contract = Contract(table.full_name, partition=partition, before_full=images)
        self._decoder = Decoder(topic_format={TOPIC: "debezium"}, schemas=SchemaCache())
        self._mapper = compile_mapper(table, contract, settings=MappingRules())
        self._lane = LaneState(Lane(table.full_name, 0), BatchRules())
        self._rig, self._table, self._store = rig, table, HttpStore(client)
        self._tags = count()

    def write(self, records: Sequence[Record], *, batch_records: int = 1, mostly_stale: bool = False) -> None:
        """Apply the records in order, so many to a batch."""
        self._table = self._rig.describe(self._table.full_name)  # it may have new months
        for start in range(0, len(records), batch_records):
            for record in records[start : start + batch_records]:
                for change in self._changes(record):
                    self._lane.add(change, 0.0)
            while not self._lane.is_idle:
                self._send(mostly_stale)

    def _changes(self, record: Record) -> Iterable[Change]:
        decoded = self._decoder.decode(record)
        assert not isinstance(decoded, (Skip, NeedSchema))
        return [self._mapper.map(envelope, record, NOW_MS) for envelope in decoded]

    def _send(self, mostly_stale: bool) -> None:
        lane = self._lane
        changes = [entry.survivor for entry in lane.take(0.0).entries.values()]
        tag = f"test {lane.lane} {next(self._tags)}"
        result = self._store.write(Batch(lane.lane, self._table, changes, tag, mostly_stale=mostly_stale))
        assert all(outcome.fate in GOOD for outcome in result.outcomes), result.codes
        lane.back()


class Replays:
    """One table, a client that catches, and the same requests again. Each history has four ids of its own."""

    def __init__(self, rig: Rig, level: Level) -> None:
        self._rig, self.level = rig, level
        system = ORDERED if level is Level.ORDERED else ""
        self.table = rig.create(f"{COLUMNS}, {system}PRIMARY KEY (site, id, month)", OPTIONS)
        self._view = self.table.full_name
        if level is Level.ORDERED:
            rig.sql(live_view(self.table))
            self._view += "_live"
        self._client = CatchingClient(rig.url)
        self._path = WritePath(rig, self.table, self._client)
        self._next_id = count(0, IDS_APART)

    def first_id(self) -> int:
        return next(self._next_id)

    def catch(self, records: Sequence[Record], *, batch_records: int, mostly_stale: bool = False) -> list[Caught]:
        """Apply the records as the worker does; the writes that this took."""
        start = len(self._client.caught)
        self._path.write(records, batch_records=batch_records, mostly_stale=mostly_stale)
        return self._client.caught[start:]

    def replay(self, requests: Sequence[Caught], order: Order, first_id: int) -> None:
        """The requests in this order, each index as often as it stands there, on rows that never were."""
        self._clear(first_id)
        for i in order:
            answer = self._client.execute(requests[i].stmt, None, requests[i].bulk_args)
            assert answer.is_ok, (requests[i].stmt, answer)
            assert all(self._is_settled(result) for result in answer.results or ()), answer.results

    def live(self, first_id: int) -> LiveRows:
        """What a user reads."""
        return self._rows(self._view, "id, month, v", first_id)

    def everything(self, first_id: int) -> list[tuple[Any, ...]]:
        """Every stored row with its version, tombstones too."""
        return self._rows(self.table.full_name, ", ".join(self.table.columns), first_id)

    def close(self) -> None:
        self._client.close()

    def _rows(self, name: str, columns: str, first_id: int) -> list[Any]:
        self._rig.sql(f"REFRESH TABLE {self.table.full_name}")
        stmt = f"SELECT {columns} FROM {name} WHERE id BETWEEN ? AND ?"
        return sorted((tuple(row) for row in self._rig.sql(stmt, [first_id, first_id + KEYS - 1]).rows), key=repr)

    def _clear(self, first_id: int) -> None:
        places = [[SITE, first_id + key, month] for key in range(KEYS) for month in MONTHS]
        stmt = f"DELETE FROM {self.table.full_name} WHERE site = $1 AND id = $2 AND month = $3"
        assert self._rig.client.execute(stmt, None, places).is_ok

    def _is_settled(self, result: Mapping[str, Any]) -> bool:
        """The row was written, was refused as stale, or (a DELETE of level arrival) is not there."""
        error: dict[str, Any] = result.get("error", {})
        if result["rowcount"] == 1:
            return True
        if self.level is Level.ARRIVAL:
            return bool(error.get("code") == DOCUMENT_MISSING)
        return "stale " in error.get("message", "")


# ---------------------------------------------------------------- how often disorder shows


def shuffled(rnd: random.Random, number: int) -> list[int]:
    """Every request once, a third of them twice, in any order."""
    order = [*range(number), *rnd.sample(range(number), number // 3)]
    rnd.shuffle(order)
    return order


def one_late(rnd: random.Random, number: int) -> list[int]:
    """All in order, then one of them once more: a request that timed out and reached CrateDB after its successors."""
    return [*range(number), rnd.randrange(number)]


def all_again(_rnd: random.Random, number: int) -> list[int]:
    """All in order, twice: a restart from an old offset."""
    return [*range(number)] * 2


DISORDERS: dict[str, Callable[[random.Random, int], Order]] = {
    "in any order, some twice": shuffled,
    "one again at the end": one_late,
    "all again, in order": all_again,
}


class Figure(NamedTuple):
    """Of so many orders of requests, how many ended in another live view than the history."""

    level: str
    disorder: str
    orders: int
    different: int
    requests: int


def measure(replays: Replays, disorder: str, *, seed: int, orders: int, orders_per_history: int = 10, steps: int = 24) -> Figure:
    rnd = random.Random(f"{seed}/{disorder}")
    different = sent = 0
    for _ in range(orders // orders_per_history):
        happened, first_id = random_steps(rnd, steps), replays.first_id()
        requests = replays.catch(history(happened, first_id), batch_records=rnd.randint(1, 6))
        right = expected(happened, first_id)
        assert replays.live(first_id) == right, (replays.level, happened)
        for _ in range(orders_per_history):
            order = DISORDERS[disorder](rnd, len(requests))
            replays.replay(requests, order, first_id)
            different += replays.live(first_id) != right
            sent += len(order)
    return Figure(replays.level, disorder, orders, different, sent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--crate", required=True, metavar="URL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--orders", type=int, default=200, help="of the requests, per level and disorder; a multiple of 10")
    parser.add_argument("--level", choices=[*Level], help="only this one")
    options = parser.parse_args()
    rig = Rig(options.crate, "t_commuting_figures")
    levels = [Level(options.level)] if options.level else [*Level]
    try:
        figures = [figure for level in levels for figure in figures_of(rig, level, options)]
    finally:
        rig.drop()
    raw = {
        "seed": options.seed,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": [f._asdict() for f in figures],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"commuting-seed{options.seed}.json").write_text(json.dumps(raw, indent=1) + "\n")
    return 1 if any(figure.different for figure in figures if figure.level == Level.ORDERED) else 0


def figures_of(rig: Rig, level: Level, options: argparse.Namespace) -> Iterable[Figure]:
    replays = Replays(rig, level)
    for disorder in DISORDERS:
        figure = measure(replays, disorder, seed=options.seed, orders=options.orders)
        sys.stdout.write(f"{level}: {disorder}: {figure.different} of {figure.orders} differ ({figure.requests} requests)\n")
        sys.stdout.flush()
        yield figure
    replays.close()


if __name__ == "__main__":
    sys.exit(main())
