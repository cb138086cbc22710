"""`ingest run`: builds the objects of one worker by hand, and runs its loop until it is told to stop or has caught up."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from types import FrameType

from ingest.crate.mark_book import CrateMarkBook
from ingest.errors import Retry, Stop
from ingest.flow.caught_up import CaughtUp
from ingest.flow.loop import Loop, World
from ingest.flow.regulator import wait_s
from ingest.flow.tables import Tables
from ingest.flow.watermarks import Watermarks
from ingest.flow.writers import ThreadCrew
from ingest.kafka.clients import reader
from ingest.kafka.dead_letters import KafkaDeadLetters
from ingest.model import Table
from ingest.settings import Settings
from ingest.tables.contract import Contract
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.routing import Router
from ingest.tools import connect
from ingest.tools.allocator import keep_large_blocks_apart
from ingest.tools.rooms import TopicFormats, by_table, contracts_of, decoder_of, schema_cache, taker
from ingest.tools.snapshot import Look
from ingest.tools.supervise import supervise
from ingest.watch import logs
from ingest.watch.http import HttpServer
from ingest.watch.status import Board
from ingest.watch.watch import Watch

FINE, GAVE_UP = 0, 4
SECOND_SIGNAL = 130
# A registry's replicas learn of a new schema a moment after its producer does.
REGISTRY_LAG_S = 3
# Objects that are made, and not freed, between two looks for cycles among the young ones.
GARBAGE_EVERY = 100_000


def run(settings: Settings, until_caught_up: bool) -> int:
    """Run one worker, or INGEST_WORKERS of them; the exit code. Raises Stop for what only a person can mend."""
    if settings.workers > 1:
        return supervise(settings, until_caught_up=until_caught_up)
    keep_large_blocks_apart()
    watch = Watch(Board(settings.health_s, settings.writer_stuck_s))
    loop = build(settings, watch)
    watch.attach(Look(loop))
    heed_signals(loop)
    collect_seldom()
    server = HttpServer(settings.http_host, settings.http_port, watch.board, watch.metrics) if settings.http_port else None
    try:
        start_patiently(loop, settings.give_up_s)
        loop.run(CaughtUp(settings.give_up_s) if until_caught_up else None)
    finally:
        print_books(loop)
        if server is not None:
            server.close()
    return parked_code(loop) if until_caught_up else FINE


def build(settings: Settings, watch: Watch) -> Loop:
    """All objects of a worker, none of them started."""
    contracts = contracts_of(settings)
    schemas = schema_cache(Path(settings.schemas_dir), bool(settings.schema_registry_url))
    formats = TopicFormats(contracts)
    stores = [connect.store(settings) for _ in range(settings.writers + 1)]
    source = reader(settings.kafka_client, connect.kafka_settings(settings))
    router = Router(contracts, default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
    world = World(
        source=source,
        crew=ThreadCrew(stores[1:], wake=source.wake),
        dead_letters=KafkaDeadLetters(connect.dead_letter_settings(settings)),
        errand_store=stores[0],
        decoder=decoder_of(settings, formats.of, schemas),
        router=router,
        tables=Tables(mapper_maker(contracts, settings, watch)),
        observer=watch,
        take_schema=taker(schemas),
        registry=connect.registry_client(settings, lag_s=REGISTRY_LAG_S),
        watermarks=Watermarks(source, mark_book(settings), lru_cache(router.told)) if settings.watermarks else None,
    )
    return Loop(world, connect.rules(settings))


def mark_book(settings: Settings) -> CrateMarkBook:
    """It has a thread and a client of its own; one request every few seconds."""
    return CrateMarkBook(connect.crate_client(settings), settings.crate_schema, settings.group_id)


def mapper_maker(contracts: Sequence[Contract], settings: Settings, watch: Watch) -> Callable[[Table], Mapper]:
    """Compiles the mapper of a table and tells the log how the table is kept and what does not hold."""
    known = by_table(contracts, settings)
    rules = connect.mapping_rules(settings)

    def make(table: Table) -> Mapper:
        mapper = compile_mapper(table, known.get(table.full_name), settings=rules)
        watch.event("info", "table", table=table.full_name, kept=table.level.value, says="; ".join(mapper.describe()))
        return mapper

    return make


def start_patiently(loop: Loop, give_up_s: float) -> None:
    """Wait for Kafka to answer at the start, at most give_up_s; the loop itself waits for CrateDB."""
    attempt, deadline_s = 0, monotonic() + give_up_s
    while not loop.stopping.is_set():
        try:
            loop.start()
        except Retry as error:
            attempt += 1
            if monotonic() >= deadline_s:
                loop.close()
                raise Stop("gave_up", f"{error.text} (tried for {give_up_s:.0f} s)") from error
            pause_s = min(wait_s(attempt), max(0.0, deadline_s - monotonic()))
            loop.world.observer.event("warning", "kafka_retry", code=error.code, text=error.text, wait_s=round(pause_s, 1))
            loop.world.observer.beat(loop.world.clock())  # alive, and not ready: /readyz says what for
            rest(loop.stopping, pause_s)
        else:
            return


def rest(stopping: Event, pause_s: float) -> None:
    """Wait until told to stop, at most pause_s. Event.wait holds the lock that the signal's handler needs."""
    end_s = monotonic() + pause_s
    while not stopping.is_set() and (left_s := end_s - monotonic()) > 0:
        sleep(min(left_s, 0.1))


def collect_seldom() -> None:
    """Spare what is made once, and look for cycles seldom: records make none, and with Python's own 700 the collector walked over
    the tens of thousands that are under way again and again, 12 us a record (docs/adr/0011-worker-cpu.md).
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_EVERY, 20, 50)


def heed_signals(loop: Loop) -> None:
    """The first SIGTERM or SIGINT asks the loop to stop; the second ends the process at once. Neither raises in the client."""

    def stop(_: int, __: FrameType | None) -> None:
        if loop.stopping.is_set():
            os._exit(SECOND_SIGNAL)
        loop.stopping.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)


def print_books(loop: Loop) -> None:
    """The books, as one line of JSON: the answer of `run`."""
    state = loop.state
    books = state.books
    answer = {
        **books.summary(state.ledger.unsettled_records),
        "is_balanced": books.is_balanced(state.ledger.unsettled_records),
        "skips": dict(books.skips),
        "codes": dict(books.codes),
        "retries": dict(books.retries),
        "incomplete": books.incomplete,
        "repeats": books.repeats,
        "ignored_fields": dict(books.ignored_fields),
        "nulled_values": counts_by_table(books.nulled_values),
        "tables": counts_by_table(books.records),
        "rows": counts_by_table(books.rows),
        "parked": [place.subject for place in state.parking],
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def counts_by_table(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    tables: dict[str, dict[str, int]] = {}
    for (table, what), n in sorted(counts.items()):
        tables.setdefault(table or "(none)", {})[what] = n
    return tables


def parked_code(loop: Loop) -> int:
    """0 when everything was read; 4, with a line per place, when something is parked."""
    for place in loop.state.parking:
        plain = f"{place.subject} is parked ({place.code}): {place.text}"
        logs.tell(plain, "error", "ended", code=place.code, text=plain)
    return GAVE_UP if len(loop.state.parking) else FINE
