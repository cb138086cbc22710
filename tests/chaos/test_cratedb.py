"""The rows of the fault matrix that break one node of CrateDB, or the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.chaos import proxy
from tests.chaos.conftest import Play
from tests.chaos.proxy import Answer, Exchange, Rule
from tests.chaos.retention import drop_month, some_month
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of, run
from tests.oracle import ddl
from tests.oracle.tables import TABLES

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS, row = rows_of("cratedb")
REJECTED = "EsRejectedExecutionException[rejected execution of a bulk on the WRITE pool]"


# ---------------------------------------------------------------- the process


@row(is_short=True)
def crate_killed(rig: Rig) -> None:
    """CrateDB is killed (SIGKILL) and started again 5 s later."""
    rig.crate_server.kill()
    time.sleep(5)
    rig.crate_server.start()


@row()
def crate_frozen_20_s(rig: Rig) -> None:
    """CrateDB is frozen (SIGSTOP) for 20 s: connections stay open and nobody answers."""
    frozen(rig, 20)


@row(rate=60)
def crate_frozen_90_s(rig: Rig) -> None:
    """CrateDB is frozen (SIGSTOP) for 90 s, longer than any answer is waited for (75 s)."""
    frozen(rig, 90)


def frozen(rig: Rig, seconds: float) -> None:
    rig.crate_server.suspend()
    try:
        time.sleep(seconds)
    finally:
        rig.crate_server.resume()


# ---------------------------------------------------------------- the way to it


def under(rig: Rig, rule: Rule, seconds: float) -> None:
    """The rule is in force for so long."""
    rig.proxy.rule = rule
    time.sleep(seconds)
    rig.proxy.rule = proxy.passing


@row()
def no_connection(rig: Rig) -> None:
    """Every request and connection is reset for 15 s; nothing reaches CrateDB."""
    rig.proxy.cut()
    under(rig, proxy.resetting, 15)


@row()
def cut_in_request(rig: Rig) -> None:
    """For 15 s, half of the connections are reset in the middle of a request."""
    under(rig, proxy.some(proxy.cut_in_request, 0.5, rig.rnd), 15)


@row()
def cut_in_answer(rig: Rig) -> None:
    """For 15 s, half of the connections are reset in the middle of CrateDB's answer: the rows are in."""
    under(rig, proxy.some(proxy.cut_in_answer, 0.5, rig.rnd), 15)


@row(is_short=True, rate=200, records=4_000)
def cut_anywhere(rig: Rig) -> None:
    """For 12 s, connections are reset: before a request, in it, before its answer, in its answer; half of them pass."""
    cuts = (proxy.resetting, proxy.cut_in_request, proxy.cut_before_answer, proxy.cut_in_answer)
    under(rig, lambda exchange: rig.rnd.choice((*cuts, *[proxy.passing] * 4))(exchange), 12)


@row()
def answers_delayed(rig: Rig) -> None:
    """For 12 s, answers come 0.1 to 4 s late."""
    under(rig, proxy.delayed(0.1, 4, rig.rnd), 12)


@row(rate=60)
def answers_delayed_70_s(rig: Rig) -> None:
    """For 80 s, answers come 0.1 to 70 s late, short delays as often as long ones."""

    def rule(exchange: Exchange) -> None:
        answer = exchange.forward()
        time.sleep(0.1 * 700 ** rig.rnd.random())
        exchange.answer(answer)

    under(rig, rule, 80)


@row(rate=60)
def answers_lost_for_good(rig: Rig) -> None:
    """For 15 s, nothing is answered: CrateDB has the rows, the connections hang until the worker gives up after 75 s."""

    def rule(exchange: Exchange) -> None:
        exchange.forward()
        time.sleep(85)
        exchange.reset()

    under(rig, rule, 15)


# ---------------------------------------------------------------- its answers


def error(status: int, code: int, message: str) -> Answer:
    return Answer(status, orjson.dumps({"error": {"message": message, "code": code}}))


SICK = {
    "500 with a code": error(500, 5000, "SQLParseException[something broke]"),
    "500 empty": Answer(500, b""),
    "500 html": Answer(500, b"<html>Internal Server Error</html>", (("Content-Type", "text/html"),)),
    "502 html": Answer(502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)),
    "503 empty": Answer(503, b""),
    "503 with a code": error(503, 5030, "NoMasterException[no master]"),
    "504 html": Answer(504, b"<html>Gateway Timeout</html>", (("Content-Type", "text/html"),)),
    "429 empty": Answer(429, b""),
    "rejected": error(500, 5000, REJECTED),
    "breaker": error(500, 5000, "CircuitBreakingException[[parent] Data too large, data for [transport] would be too large]"),
}


@row(is_short=True, rate=200, records=4_000)
def sick_answers(rig: Rig) -> None:
    """For 12 s, 7 of 10 requests are answered 429, 500, 502, 503 or 504, with CrateDB's body, another one or none."""
    answers = list(SICK.values())

    def rule(exchange: Exchange) -> None:
        if rig.rnd.random() < 0.7:
            return exchange.answer(rig.rnd.choice(answers))
        return proxy.passing(exchange)

    under(rig, rule, 12)


@row()
def sick_answers_after_the_fact(rig: Rig) -> None:
    """For 15 s, CrateDB does as it is told and half of its answers are replaced by 500 to 504, as a gateway may do."""
    answers = [SICK[name] for name in ("500 empty", "502 html", "503 empty", "504 html")]

    def rule(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.answer(rig.rnd.choice(answers) if rig.rnd.random() < 0.5 else answer)

    under(rig, rule, 15)


@row(is_short=True, rate=200, records=4_000)
def half_of_the_rows_rejected(rig: Rig) -> None:
    """For 15 s, half of the rows of each request are not written and answered as rejected (5000); the others are."""
    under(rig, rejecting(rig.rnd.random, REJECTED), 15)


@row()
def half_of_the_rows_fail_inside(rig: Rig) -> None:
    """For 40 s, half of the rows of each request fail inside CrateDB (5000) and it says no more: none may be dead-lettered."""
    under(rig, rejecting(rig.rnd.random, "NullPointerException[null]"), 40)


def rejecting(dice: Callable[[], float], message: str) -> Rule:
    """CrateDB gets half of the rows; of the others at most ten are explained, as it does itself."""

    def rule(exchange: Exchange) -> None:
        if not exchange.is_write:
            return proxy.passing(exchange)
        entries = exchange.told["bulk_args"]
        passes = [dice() < 0.5 for _ in entries]
        kept = [entry for entry, is_kept in zip(entries, passes, strict=True) if is_kept]
        answer = exchange.forward(orjson.dumps({**exchange.told, "bulk_args": kept}))
        results = proxy.results_of(answer)
        if results is None:
            return exchange.answer(answer)
        told, explained = iter(results), iter(range(10))
        merged = [next(told) if is_kept else failed(message, next(explained, None)) for is_kept in passes]
        return exchange.answer(answer._replace(body=orjson.dumps({"cols": [], "duration": 1.0, "results": merged})))

    return rule


def failed(message: str, number: int | None) -> dict[str, object]:
    return {"rowcount": -2} if number is None else {"rowcount": -2, "error": {"code": 5000, "message": message}}


# ---------------------------------------------------------------- blocks and limits


def blocked(rig: Rig, table: str, setting: str, seconds: float, months: bool = False) -> None:
    """A block on a table, or on one of its partitions, until it is lifted; the worker must have told of it."""
    place = f"{table} PARTITION (month = {some_month(rig, table)})" if months else table
    rig.crate.rows(f'ALTER TABLE {place} SET ("{setting}" = true)')
    time.sleep(seconds)
    rig.seen["said"] = rig.logged("store.blocked")
    rig.crate.rows(f'ALTER TABLE {place} RESET ("{setting}")')
    assert rig.seen["said"], "no row met the block"


@row()
def read_only_table(rig: Rig) -> None:
    """One table is read-only (`blocks.read_only`) for 15 s."""
    blocked(rig, "readings", "blocks.read_only", 15)


@row()
def read_only_partition(rig: Rig) -> None:
    """One partition of a table whose rows move between months is read-only (`blocks.write`) for 12 s."""
    blocked(rig, "invoices", "blocks.write", 12, months=True)


@row()
def flood_stage_table(rig: Rig) -> None:
    """One table is at flood stage (`blocks.read_only_allow_delete`) for 15 s."""
    blocked(rig, "readings", "blocks.read_only_allow_delete", 15)


@row()
def flood_stage_partition(rig: Rig) -> None:
    """One partition of a table whose rows move between months is at flood stage for 15 s."""
    blocked(rig, "invoices", "blocks.read_only_allow_delete", 15, months=True)


@row(is_audited=False, books="balanced")
def shard_limit(rig: Rig) -> None:
    """No room for another shard (`cluster.max_shards_per_node`) when a partition must be made again: parked, then unparked."""
    shards = int(rig.crate.rows("SELECT count(*) FROM sys.shards")[0][0])
    rig.crate.rows(f'SET GLOBAL TRANSIENT "cluster.max_shards_per_node" = {max(1, shards - 2)}')
    try:
        drop_month(rig, "invoices")  # of a table without partial updates: those need the row that is gone
        parked_until_mended(rig, "table:invoices", "store.shard_limit")
    finally:
        rig.crate.rows('RESET GLOBAL "cluster.max_shards_per_node"')
    rig.unpark(f"table:{rig.name}.invoices")


@row()
def breaker_trips(rig: Rig) -> None:
    """For 12 s, the memory breaker of queries has 1 kB: CrateDB refuses most writes and reads as it does with a full heap."""
    rig.crate.rows("""SET GLOBAL TRANSIENT "indices.breaker.query.limit" = '1kb'""")
    time.sleep(12)
    rig.seen["said"] = rig.logged("store.overloaded")
    rig.crate.rows('RESET GLOBAL "indices.breaker.query.limit"')
    assert rig.seen["said"], "no request met the breaker"


def parked_until_mended(rig: Rig, subject: str, code: str) -> None:
    """Wait until the table is parked, and look on for 5 s while the others go on."""
    rig.until(lambda: code in [each["code"] for each in rig.parked()], 90, f"{subject} is parked ({code})")
    rig.seen["parked"] = code
    before = rig.watch.total
    rig.until(lambda: rig.watch.total > before, 60, "the other tables go on beside the parked one")


# ---------------------------------------------------------------- people


def with_a_password(rig: Rig) -> dict[str, str]:
    """Local users other than crate need one."""
    rig.crate.rows(f"CREATE USER {rig.name} WITH (password = 'the-old-one')")
    rig.crate.rows(f"GRANT DQL, DML ON SCHEMA {rig.name} TO {rig.name}")
    return {"INGEST_CRATE_USER": rig.name, "INGEST_CRATE_PASSWORD": "the-old-one"}


@row(books="balanced", prepare=with_a_password)
def password_changed(rig: Rig) -> None:
    """Our user's password is changed: the worker ends with 4 and says so; with the new one it goes on."""
    rig.crate.rows(f"ALTER USER {rig.name} SET (password = 'the-new-one')")
    done = rig.worker.wait()
    rig.seen |= {"exit_code": done.code, "said": done.sentences[-1:]}
    assert done.code == 4
    assert "INGEST_CRATE_USER" in done.sentences[-1]
    rig.start_worker(INGEST_CRATE_PASSWORD="the-new-one")


@row(books="balanced", tables=("invoices", "customers"), is_audited=False, rate=100)
def table_dropped_and_made_again(rig: Rig) -> None:
    """A table is dropped under load, missed (parked), made again empty after 5 s, and its topic read again from 0."""
    rig.crate.rows("DROP TABLE invoices")
    rig.until(lambda: "table.missing" in [each["code"] for each in rig.parked()], 120, "the table is missed")
    rig.seen["parked"] = "table.missing"
    time.sleep(5)
    rig.crate.create(["invoices"])
    rig.until(lambda: not rig.parked(), 60, "the table goes on by itself")
    rig.until(lambda: rig.crate.counts("invoices")["rows"], 60, "rows arrive in the new table")
    rig.rewind(rig.topic("invoices"))


@row(books="balanced", tables=("invoices", "customers"), is_audited=False, rate=100)
def table_made_again_at_once(rig: Rig) -> None:
    """A table is dropped under load and made again at once with a wider type, so nobody misses it; its topic is read again."""
    table, view = ddl.statements(TABLES["invoices"])
    rig.crate.rows("DROP TABLE invoices")
    rig.crate.rows(table.replace("quantity INTEGER", "quantity BIGINT"))
    rig.crate.rows(view)
    rig.until(lambda: rig.crate.counts("invoices")["rows"], 60, "rows arrive in the new table")
    rig.until(lambda: rig.logged("table_reshaped"), 90, "the worker sees the new types")
    rig.rewind(rig.topic("invoices"))


@row(tables=("invoices", "customers"), books="balanced", rate=100)
def table_away_for_a_while(rig: Rig) -> None:
    """A table is renamed under load and gets its name back after 30 s: parked, back by itself, nothing lost."""
    rig.crate.rows("ALTER TABLE invoices RENAME TO invoices_away")
    rig.until(lambda: "table.missing" in [each["code"] for each in rig.parked()], 120, "the table is missed")
    rig.seen["parked"] = "table.missing"
    time.sleep(5)
    rig.crate.rows("ALTER TABLE invoices_away RENAME TO invoices")
    rig.until(lambda: not rig.parked(), 90, "the table goes on by itself")


@row(books="balanced", tables=("customers", "readings"), is_audited=False)
def column_dropped(rig: Rig) -> None:
    """A column is dropped under load and added again after 10 s; its topic is read again from 0."""
    rig.crate.rows("ALTER TABLE customers DROP COLUMN active")
    time.sleep(10)
    rig.seen["parked"] = [each["code"] for each in rig.parked()]
    rig.crate.rows("ALTER TABLE customers ADD COLUMN active BOOLEAN")
    rig.until(lambda: not rig.parked(), 90, "the table goes on by itself")
    rig.rewind(rig.topic("customers"))


@row(is_short=True, rate=400, is_audited=False)
def partition_dropped(rig: Rig) -> None:
    """Retention drops a partition every 1.5 s, eight times, while rows for it are in flight."""
    for _ in range(8):
        drop_month(rig, "invoices")
        time.sleep(1.5)


# ---------------------------------------------------------------- played


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, servers: Servers) -> None:
    play(scenario, servers)


def lies(rig: Rig) -> None:
    """For 4 s, somebody confirms writes in CrateDB's place that it never got."""

    def rule(exchange: Exchange) -> None:
        if not exchange.is_write:
            return proxy.passing(exchange)
        results = [{"rowcount": 1} for _ in exchange.told["bulk_args"]]
        return exchange.answer(Answer(200, orjson.dumps({"cols": [], "duration": 1.0, "results": results})))

    under(rig, rule, 4)


def test_the_judge_sees_what_a_lie_cost(servers: Servers, tmp_path: Path) -> None:
    """The frame itself: rows that are confirmed and not there must show, at the commit and in the end."""
    line = run(Scenario("lies", "frame", lies, seed=1, records=3_000), servers, tmp_path)
    assert not line["equal"]
    assert line["differences"]["committed too far"] > 0
    assert line["differences"]["row missing"] > 0
