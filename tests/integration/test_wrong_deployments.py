"""Promise 7 on real servers: a wrong deployment costs the table or topic it concerns, is told in a sentence, loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.integration.worker_rig import ORDERED, Done, Running, Sent, Site, debezium, key_of, row_of, site_at, wait_until
from tests.servers import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS = 30
PASSWORD, WRONG_PASSWORD = "the-right-one", "not-the-right-one"
SOON = {"give_up_s": "3"}


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        yield made


def fill(site: Site, table: str, first: int = 1, rows: int = ROWS) -> None:
    numbers = range(first, first + rows)
    site.send([Sent(site.topic(table), key_of(number), debezium(table, number, row_of(number))) for number in numbers])


def all_rows(rows: int = ROWS) -> list[int]:
    return list(range(1, rows + 1))


@contextmanager
def user_of(site: Site, *grants: str) -> Iterator[dict[str, str]]:
    """A user of CrateDB with a password and these rights; the settings of a worker that is this user.

    Local users other than crate need a password unless a server's host-based authentication says otherwise.
    """
    site.crate.rows(f"CREATE USER {site.name} WITH (password = '{PASSWORD}')")
    try:
        for grant in grants:
            site.crate.rows(f"GRANT {grant} TO {site.name}")
        yield {"crate_user": site.name, "crate_password": PASSWORD}
    finally:
        site.crate.rows(f"DROP USER IF EXISTS {site.name}")


def logged(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def the_sentence(done: Done) -> str:
    """The only line on stderr that is for people."""
    (sentence,) = done.sentences
    return sentence


# ---------------------------------------------------------------- the whole worker is deployed wrongly


def test_a_wrong_password_ends_the_worker_and_says_which_setting_to_check(site: Site) -> None:
    site.make("orders")
    fill(site, "orders")
    with user_of(site, f"DQL, DML ON SCHEMA {site.name}") as user:
        done = site.run(**user | {"crate_password": WRONG_PASSWORD})
        assert (done.code, site.committed(), site.letters()) == (4, 0, {})
        assert "INGEST_CRATE_USER" in the_sentence(done)
        assert WRONG_PASSWORD not in done.log
        assert site.run(**user).code == 0
    assert site.column("orders") == all_rows()


def test_a_misspelt_topic_is_told_with_the_nearest_name(site: Site) -> None:
    site.make("orders")
    done = site.run(topics=site.topic("ordres"))
    assert done.code != 0
    assert f"{site.topic('ordres')} does not exist" in the_sentence(done)
    assert f"the nearest name is {site.topic('orders')}:" in the_sentence(done)


def test_a_crate_that_is_not_there_is_waited_for_and_then_given_up(site: Site) -> None:
    site.make("orders")
    fill(site, "orders")
    (port,) = free_ports(1)
    done = site.run(crate_urls=f"http://127.0.0.1:{port}", **SOON)
    assert (done.code, site.committed(), site.letters()) == (4, 0, {})
    assert "CrateDB" in the_sentence(done)
    assert "batch_retry" in done.log or "tables_retry" in done.log
    assert site.run().code == 0
    assert site.column("orders") == all_rows()


def test_migrations_wait_for_a_crate_that_is_not_there_for_as_long_as_they_say(site: Site) -> None:
    (port,) = free_ports(1)
    (site.folder / "0001_orders.sql").write_text("CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY);")
    began_s = monotonic()
    done = site.run(crate_urls=f"http://127.0.0.1:{port}", migrate="true", sql_dir=str(site.folder), topics="orders", **SOON)
    assert monotonic() - began_s > 3
    assert done.code == 4
    assert "tried for 3 s" in the_sentence(done)


def test_a_kafka_that_is_not_there_is_waited_for_and_then_given_up(site: Site) -> None:
    (port,) = free_ports(1)
    done = site.run(kafka_bootstrap_servers=f"127.0.0.1:{port}", topics="orders", **SOON)
    assert done.code == 4
    assert "Kafka" in the_sentence(done)
    assert "tried for 3 s" in the_sentence(done)
    retries = [line for line in logged(done.log) if line["event"] == "kafka_retry"]
    assert 2 <= len(retries) <= 30  # it is refused at once: without its waits it would try thousands of times


def test_a_worker_that_waits_for_kafka_ends_when_it_is_asked_to(site: Site) -> None:
    """Also in the middle of a long wait: here one of more than 8 s."""
    (port,) = free_ports(1)
    worker = site.start(kafka_bootstrap_servers=f"127.0.0.1:{port}", topics="orders")
    try:
        wait_until(lambda: waits_long(worker) or worker.has_ended, 300, lambda: worker.log)
    finally:
        asked_s = monotonic()
        done = worker.stop()
    assert monotonic() - asked_s < 6
    assert (done.code, done.answer["read"], done.sentences) == (0, 0, [])


def waits_long(worker: Running) -> bool:
    """Whether the wait that has just begun is a long one."""
    waits = [line["wait_s"] for line in logged(worker.log) if line["event"] == "kafka_retry"]
    return bool(waits) and waits[-1] > 8


# ---------------------------------------------------------------- one table is deployed wrongly


@dataclass(frozen=True)
class Wrong:
    """A table that cannot be written. columns: None for no table at all. says: what the sentence about it must hold."""

    code: str
    says: tuple[str, ...]
    columns: str | None = ORDERED
    contract: str = ""


UNDECIDED = ORDERED.replace("d DOUBLE PRECISION", "d TIMESTAMP WITH TIME ZONE")
WRONG = {
    "missing": Wrong("table.missing", ("does not exist", "ingest migrate"), columns=None),
    "contradicted": Wrong(
        "contract.contradiction",
        ("contradicted.toml:4", "no column mont", "month"),
        contract='[columns]\nmont = { from = "at" }\n',
    ),
    "undecided": Wrong("month.undecided", ("partition", "month"), columns=UNDECIDED),
    "forbidden": Wrong("table.missing", ("may not see it", "grant DQL and DML")),
}


@contextmanager
def wrongly_deployed(kafka: str, crate_url: str, folder: Path) -> Iterator[tuple[Site, dict[str, str]]]:
    """All wrong tables and one that is right, their topics filled, and a user who may not see `forbidden`."""
    with site_at(kafka, crate_url, folder) as site:
        site.make_topics(*WRONG, "orders")
        site.make_table("orders")
        for table, wrong in WRONG.items():
            if wrong.columns:
                site.make_table(table, wrong.columns)
            if wrong.contract:
                site.contract(table, wrong.contract)
        for table in (*WRONG, "orders"):
            fill(site, table)
        visible = [table for table, wrong in WRONG.items() if wrong.columns and table != "forbidden"]
        with user_of(site, *(f"DQL, DML ON TABLE {site.name}.{table}" for table in (*visible, "orders"))) as user:
            yield site, user


@pytest.fixture(scope="module")
def parked(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Done]]:
    """One run over all wrong tables."""
    with wrongly_deployed(kafka_address, crate_url, tmp_path_factory.mktemp("parked")) as (site, user):
        yield site, site.run(**user)


@pytest.mark.parametrize("table", WRONG)
def test_a_wrong_table_is_parked_with_a_sentence(table: str, parked: tuple[Site, Done]) -> None:
    site, done = parked
    begin = f"table:{site.name}.{table} is parked ({WRONG[table].code}): "
    (sentence,) = [line for line in done.sentences if line.startswith(begin)]
    assert [part for part in WRONG[table].says if part not in sentence] == []


def test_the_other_tables_go_on_beside_a_parked_one(parked: tuple[Site, Done]) -> None:
    site, done = parked
    assert site.column("orders") == all_rows()
    assert site.letters() == {}
    assert site.committed() == ROWS
    assert done.code == 4
    assert sorted(done.answer["parked"]) == sorted(f"table:{site.name}.{table}" for table in WRONG)
    assert (done.answer["is_balanced"], done.answer["written"]) == (True, ROWS)


def test_a_parked_table_goes_on_by_itself_once_it_is_mended(kafka_address: str, crate_url: str, tmp_path: Path) -> None:
    with wrongly_deployed(kafka_address, crate_url, tmp_path) as (site, user):
        worker = site.start(**user)
        try:
            wait_until(lambda: len(parked_now(worker)) == len(WRONG) or worker.has_ended, 60, lambda: worker.log)
            mend(site)
            for table in WRONG:
                wait_for_rows(site, worker, table, ROWS)
            wait_until(lambda: worker.readiness().get("ready") or worker.has_ended, 60, lambda: worker.log)
        finally:
            done = worker.stop()
        assert [site.column(table) for table in WRONG] == [all_rows()] * len(WRONG)
        assert (done.code, done.answer["is_balanced"], done.answer["parked"]) == (0, True, [])
        assert (site.letters(), site.committed()) == ({}, ROWS * (1 + len(WRONG)))


def parked_now(worker: Running) -> list[Any]:
    return list(worker.readiness().get("parked", ()))


def mend(site: Site) -> None:
    """What a person would do about each of WRONG."""
    site.make_table("missing")
    site.crate.rows("ALTER TABLE contradicted ADD COLUMN mont BIGINT")
    site.crate.rows("DROP TABLE undecided")
    site.make_table("undecided")
    for table in ("missing", "undecided", "forbidden"):
        site.crate.rows(f"GRANT DQL, DML ON TABLE {site.name}.{table} TO {site.name}")


@contextmanager
def half_forbidden(site: Site) -> Iterator[dict[str, str]]:
    """Two full topics, and a user who may write `orders` and only read `readable`."""
    site.make("orders", "readable")
    for table in ("orders", "readable"):
        fill(site, table)
    with user_of(site, f"DQL, DML ON TABLE {site.name}.orders", f"DQL ON TABLE {site.name}.readable") as user:
        yield user


def test_a_table_that_may_only_be_read_loses_nothing(site: Site) -> None:
    with half_forbidden(site) as user:
        done = site.run(**user)
        assert (done.code, site.letters(), site.column("readable")) == (4, {}, [])
        assert "privilege" in the_sentence(done)
        site.crate.rows(f"GRANT DML ON TABLE {site.name}.readable TO {site.name}")
        assert site.run(**user).code == 0
    assert (site.column("orders"), site.column("readable")) == (all_rows(), all_rows())
    assert site.letters() == {}


def test_a_table_that_may_only_be_read_stops_nothing_else(site: Site) -> None:
    with half_forbidden(site) as user:
        done = site.run(**user)
    assert done.answer["parked"] == [f"table:{site.name}.readable"]
    assert site.column("orders") == all_rows()


# ---------------------------------------------------------------- a table is blocked for a while


def block(site: Site, table: str, is_blocked: bool) -> None:
    site.crate.rows(f'ALTER TABLE {table} SET ("blocks.read_only" = {is_blocked})')


def wait_for_rows(site: Site, worker: Running, table: str, rows: int) -> None:
    wait_until(lambda: len(site.column(table)) >= rows or worker.has_ended, 60, lambda: worker.log)


def test_a_read_only_table_is_waited_for_while_others_are_written(site: Site) -> None:
    site.make("orders", "frozen")
    for table in ("orders", "frozen"):
        fill(site, table)
    worker = site.start()
    try:
        wait_for_rows(site, worker, "orders", ROWS)
        wait_for_rows(site, worker, "frozen", ROWS)
        block(site, "frozen", True)
        try:
            fill(site, "frozen", 1 + ROWS)
            wait_until(lambda: "store.blocked" in worker.log or worker.has_ended, 60, lambda: worker.log)
            fill(site, "orders", 1 + ROWS)
            wait_for_rows(site, worker, "orders", 2 * ROWS)
            while_blocked = site.column("orders")
        finally:
            block(site, "frozen", False)
        wait_for_rows(site, worker, "frozen", 2 * ROWS)
    finally:
        done = worker.stop()
    assert while_blocked == all_rows(2 * ROWS)
    assert site.column("frozen") == all_rows(2 * ROWS)
    assert (done.code, done.answer["is_balanced"], done.answer["written"]) == (0, True, 4 * ROWS)
    assert site.letters() == {}
    assert site.committed() == 4 * ROWS
