"""`ingest rebuild` on a real Kafka and a real CrateDB: with another definition, killed at each step, refused where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.crate import shadows
from ingest.errors import IngestError, Stop
from ingest.settings import Settings
from ingest.tools import rebuild as tool
from ingest.tools.verify import Asked as Wanted
from ingest.tools.verify import verify as run_verify
from tests.integration.test_verify import FEB_MS, call, change, fill, stored, verify
from tests.integration.worker_rig import JAN_MS, Sent, Site, key_of, site_at

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb]
NEW_DDL = """
-- by month, with a wider number
CREATE TABLE {schema}.{table} (
    id BIGINT, n NUMERIC(30, 2), d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE,
    cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)
) CLUSTERED INTO 1 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0);
"""
FLAT = (
    "id BIGINT, n NUMERIC(18, 2), d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, "
    "cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id)"
)


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as found:
        yield found


def tables(site: Site) -> set[str]:
    asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'"
    return {name for (name,) in site.crate.rows(asked, [site.name]) if not name.startswith("ingest_")}


def settings_of(site: Site) -> Settings:
    return Settings.load({name: value for name, value in site._environment(0, {}).items() if name != "INGEST_HTTP_PORT"})


def test_a_table_without_months_gets_them_and_a_wider_number(site: Site, tmp_path: Path) -> None:
    topic = site.topic("orders")
    site.make_topics("orders")
    site.make_table("orders", FLAT)
    site.crate.rows("CREATE VIEW orders_live AS SELECT id, n, d, t, at FROM orders WHERE cdc_deleted = FALSE")
    site.send([Sent(topic, key_of(n), change(n, 100 + n)) for n in range(30)])
    site.send([Sent(topic, key_of(n), change(n, 200 + n, "u", at=FEB_MS)) for n in range(5)])
    site.send([Sent(topic, key_of(7), change(7, 300, "d"))])
    assert 0 == site.run().code
    site.contract("orders", 'partition = { column = "month", from = "at", mutable = true }\n')
    ddl = tmp_path / "new.sql"
    ddl.write_text(NEW_DDL.format(schema=site.name, table="orders"))
    planned = call(site, "rebuild", "orders", "--ddl", str(ddl), "--dry-run")
    assert (0, {"orders"}) == (planned.returncode, tables(site)), planned.stderr
    done = call(site, "rebuild", "orders", "--ddl", str(ddl))
    assert (0, {"orders", "orders_old"}) == (done.returncode, tables(site)), done.stderr
    live = site.crate.rows("SELECT id, month FROM orders_live ORDER BY id LIMIT 100")
    assert [[n, FEB_MS if n < 5 else JAN_MS] for n in range(30) if n != 7] == live  # the view shows the new column as well
    site.crate.rows("INSERT INTO orders (id, month, n) VALUES (99, ?, 1e20)", [JAN_MS])
    site.crate.rows("REFRESH TABLE orders")
    site.crate.rows("DELETE FROM orders WHERE id = 99")
    # The worker goes on where it was, in the new table.
    site.send([Sent(topic, key_of(40), change(40, 400))])
    went_on = site.run()
    assert (0, 1) == (went_on.code, went_on.answer["read"]), went_on.answer
    code, answer = verify(site, topic, "--complete")
    assert (0, True) == (code, answer["equal"]), answer
    again = call(site, "rebuild", "orders", "--ddl", str(ddl))
    assert 2 == again.returncode
    assert "--drop-old" in again.stderr
    dropped = call(site, "rebuild", "orders", "--drop-old")
    assert (0, {"orders"}) == (dropped.returncode, tables(site)), dropped.stderr


# What a rebuild does, in this order. The first forgetting is of offsets from an earlier one.
STEPS = ["forget", "create", "replay", "compare", "swap", "keep_old", "unmark"]


class Killed(BaseException):
    """Stands for a kill: nothing catches it on its way."""


@pytest.mark.parametrize("step", STEPS)
def test_killed_behind_any_step_it_goes_on(site: Site, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, keys=12)
    before, settings = stored(site), settings_of(site)
    home: Any = shadows if hasattr(shadows, step) else tool
    real, calls = getattr(home, step), []

    def dying(*args: Any, **more: Any) -> Any:
        calls.append(step)
        real(*args, **more)
        raise Killed

    monkeypatch.setattr(home, step, dying)
    with pytest.raises(Killed):
        tool.rebuild(settings, tool.Asked("orders"), lambda _: None, lambda *_: None)
    assert [step] == calls
    monkeypatch.setattr(home, step, real)
    said: list[str] = []
    if {"orders", "orders_old"} != tables(site) or dict(shadows_of(site)):
        assert tool.rebuild(settings, tool.Asked("orders"), said.append, lambda *_: None) is None
    assert (before, {"orders", "orders_old"}, {}) == (stored(site), tables(site), dict(shadows_of(site))), said
    answer = run_verify(settings, Wanted([site.topic("orders")], is_complete=True))
    assert answer.is_equal, answer


def shadows_of(site: Site) -> Iterator[tuple[str, Any]]:
    """Marks that are left."""
    asked = (
        "SELECT table_name, settings['routing']['allocation']['exclude'] FROM information_schema.tables WHERE table_schema = ?"
    )
    return ((name, mark) for name, mark in site.crate.rows(asked, [site.name]) if mark)


def test_it_refuses_to_lose_rows_to_run_beside_workers_and_to_touch_a_strangers_table(site: Site) -> None:
    fill(site, keys=8)
    site.crate.rows("INSERT INTO orders (id, month, n, cdc_deleted) VALUES (4711, ?, 1, false)", [JAN_MS])
    site.crate.rows("REFRESH TABLE orders")
    lost = call(site, "rebuild", "orders")
    assert 2 == lost.returncode
    assert "has 1 key that the new table lacks" in lost.stderr
    running = site.start()
    try:
        wait_until_member(site)
        refused = call(site, "rebuild", "orders")
        assert 2 == refused.returncode
        assert "has 1 members" in refused.stderr
    finally:
        running.stop()
    assert 0 == call(site, "rebuild", "orders", "--leave-behind").returncode
    assert [] == site.crate.rows("SELECT id FROM orders WHERE id = 4711")
    assert [[4711]] == site.crate.rows("SELECT id FROM orders_old WHERE id = 4711")
    assert 0 == call(site, "rebuild", "orders", "--drop-old").returncode
    site.make_table("orders_new")
    site.crate.rows("INSERT INTO orders_new (id, month) VALUES (1, ?)", [JAN_MS])
    with pytest.raises(Stop, match="was not made by a rebuild"):
        tool.rebuild(settings_of(site), tool.Asked("orders"), lambda _: None, lambda *_: None)


def wait_until_member(site: Site) -> None:
    from ingest.kafka.members import members
    from ingest.tools.connect import dead_letter_settings
    from tests.integration.worker_rig import wait_until

    wait_until(lambda: members(dead_letter_settings(settings_of(site))), 60, lambda: "the worker did not join its group")


def test_a_new_table_that_is_not_what_the_topics_say_is_never_swapped_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, keys=8)
    before, real = stored(site), tool.replay

    def lossy(*args: Any, **more: Any) -> Any:
        report = real(*args, **more)
        site.crate.rows("REFRESH TABLE orders_new")
        site.crate.rows("DELETE FROM orders_new WHERE id = 3")
        return report

    monkeypatch.setattr(tool, "replay", lossy)
    answer = tool.rebuild(settings_of(site), tool.Asked("orders"), lambda _: None, lambda *_: None)
    assert answer is not None
    assert [(3,)] == [each.key for table in answer.tables for each in table.differences]
    assert (before, {"orders", "orders_new"}) == (stored(site), tables(site))
    with pytest.raises(IngestError, match="has not ended"):
        tool.rebuild(settings_of(site), tool.Asked("orders", drops_old=True), lambda _: None, lambda *_: None)
