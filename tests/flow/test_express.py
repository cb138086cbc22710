"""The express way in the loop: learned from records, dropped with the mapper that it leads to, and where it mostly declines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from bench.streams import STREAMS
from ingest.flow.express import FIRST_AFTER, PATIENCE, Ways
from ingest.flow.ports import Express
from ingest.flow.state import Rules, State
from ingest.flow.tables import Tables
from ingest.formats import Decoder, SchemaCache
from ingest.model import Change, Column, Partition, Record, Table
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from tests.flow.twins import Clock, LogSource, Notes

NOW_MS = 1_793_000_000_000
STREAM = STREAMS["debezium json"]
P0 = Partition("orders", 0)
ORDERS = STREAM.table.full_name


@dataclass
class Road:
    """Both ways of one topic, as `intake` goes them, and how many records went the long one."""

    ways: Ways
    state: State
    decoder: Decoder
    notes: Notes
    long: int = 0
    changes: list[Change] = field(default_factory=list)

    def take(self, record: Record) -> Change:
        ticket = self.state.ledger.admit(self.state.ledger.page(P0), record, 500)
        found = self.ways.change(ticket, NOW_MS)
        if found is None:
            self.long += 1
            (envelope,) = self.decoder.decode(record)  # type: ignore[misc]
            target = self.state.tables.get(ORDERS)
            assert target is not None
            change = target.mapper.map(envelope, record, NOW_MS)
            self.ways.learn(ticket, envelope, ORDERS, target, change, NOW_MS)
            return change
        assert (ORDERS, ORDERS) == (found[0], ticket.table)
        return found[1]

    def take_many(self, start: int, stop: int) -> None:
        for n in range(start, stop):
            self.take(STREAM.record(n))

    def describe(self, table: Table) -> None:
        self.state.tables.learn({ORDERS: table}, 0.0)


def road() -> Road:
    decoder = Decoder(topic_format={}, schemas=SchemaCache())
    notes = Notes()
    state = State(Rules(), LogSource(Clock()), notes, Tables(mapper_of))
    state.ledger.open(P0, 0)
    state.tables.want(ORDERS, P0)
    found = Road(Ways(state, decoder), state, decoder, notes)
    found.describe(STREAM.table)
    return found


def mapper_of(table: Table) -> Mapper:
    return compile_mapper(table, STREAM.contract, settings=MappingRules())


def with_text(table: Table, name: str) -> Table:
    return replace(table, columns={**table.columns, name: Column(name, "text")})


def quantity_of(change: Change) -> Any:
    return change.row[change.columns.index("quantity")]


def deleted(n: int) -> Record:
    value: Any = (STREAM.record(n).value or b"").replace(b'"op":"c"', b'"op":"d"')
    return STREAM.record(n)._replace(value=value)


def test_after_some_records_the_others_go_express() -> None:
    found = road()
    found.take_many(0, 500)
    assert FIRST_AFTER == found.long


def test_a_table_described_anew_is_learned_anew() -> None:
    found = road()
    found.take_many(0, 200)
    assert 200 % 9 + 1 == quantity_of(found.take(STREAM.record(200)))
    found.describe(with_text(STREAM.table, "quantity"))
    assert str(201 % 9 + 1) == quantity_of(found.take(STREAM.record(201)))
    assert FIRST_AFTER + 1 == found.long
    found.take_many(202, 600)
    assert 2 * FIRST_AFTER >= found.long - 1
    assert str(600 % 9 + 1) == quantity_of(found.take(STREAM.record(600)))


def test_a_table_that_is_doubted_or_parked_is_left_to_the_long_way() -> None:
    found = road()
    found.take_many(0, 200)
    ticket = found.state.ledger.admit(found.state.ledger.page(P0), STREAM.record(200), 500)
    found.state.tables.doubt(ORDERS)
    assert found.ways.change(ticket, NOW_MS) is None


def test_a_way_that_declines_most_records_is_dropped_and_learned_again_later() -> None:
    found = road()
    found.take_many(0, 200)
    before = found.long
    for n in range(PATIENCE):
        found.take(deleted(200 + n))
    assert before + PATIENCE == found.long
    found.take(STREAM.record(900))  # the way is gone
    assert before + PATIENCE + 1 == found.long
    found.take_many(901, 901 + 4 * FIRST_AFTER)
    assert before + PATIENCE + 1 + 3 * FIRST_AFTER >= found.long


def test_a_few_records_that_it_declines_do_not_end_it() -> None:
    found = road()
    found.take_many(0, 200)
    before = found.long
    for n in range(300):
        found.take(deleted(n) if n % 3 == 0 else STREAM.record(n))
    assert before + 100 == found.long


@pytest.mark.parametrize("calls", [0, 1, 50])
def test_a_way_that_breaks_is_told_and_costs_nothing_else(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saves time and no more, so a bug in it must not end a worker, today and after each restart. calls: that it survives."""
    found = road()
    monkeypatch.setattr(found.decoder, "express", partial(breaking, found.decoder.express, calls))
    found.take_many(0, 300)
    ((name, told),) = found.notes.events
    assert ("express_failed", "orders") == (name, told["topic"])
    assert "ValueError in" in str(told["text"])
    assert "secret" not in str(told)
    assert 300 - max(0, calls - 1) == found.long
    assert 300 % 9 + 1 == quantity_of(found.take(STREAM.record(300)))


def breaking(write: Callable[..., Express | None], calls: int, *args: Any) -> Express | None:
    """An express way that breaks after so many calls; at none, while it is written."""
    if not calls:
        raise ValueError("secret")
    read, left = write(*args), iter(range(calls))

    def until_it_breaks(record: Record, now_ms: int) -> Change | None:
        if next(left, None) is None:
            raise ValueError("secret")
        return read(record, now_ms) if read else None

    return until_it_breaks
