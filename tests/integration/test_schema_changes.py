"""The schema changes in mid-stream, on real servers, while the worker runs: at the source, or by hand in CrateDB.

Nothing is lost, nothing has to be started again, and what cannot be stored is a dead letter that names its column.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.integration.test_avro import KEY, KEY_ID, framed
from tests.integration.worker_rig import (
    DAY_MS,
    JAN_MS,
    ORDERED,
    Done,
    Running,
    Sent,
    Site,
    StubRegistry,
    debezium,
    key_of,
    row_of,
    site_at,
    source_of,
    wait_until,
)

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ARRIVAL = "id BIGINT, n BIGINT, d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id)"
ADD, IGNORE = 'unknown_fields = "add"\n', 'unknown_fields = "ignore"\n'
WITHIN_S = 60.0
PASSWORD = "the-right-one"


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        yield made


@contextmanager
def working(site: Site, **env: str) -> Iterator[Running]:
    """A worker that runs while the test goes on, and ends by itself at its end."""
    worker = site.start(**{"batch_linger_ms": "20", **env})
    try:
        yield worker
        ended = worker.stop()
        assert (0, True) == (ended.code, ended.answer["is_balanced"]), ended.log
    finally:
        if not worker.has_ended:
            worker.kill()


def send(site: Site, table: str, *rows: Mapping[str, Any], lsn: int = 0, op: str = "c") -> None:
    """Changes of these rows in their order; lsn: of the first."""
    site.send([Sent(site.topic(table), key_of(row["id"]), debezium(table, lsn + i, row, op)) for i, row in enumerate(rows)])


def wait_for(site: Site, worker: Running, table: str, ids: list[int]) -> None:
    """Until the live rows of the table are these."""
    wait_while(worker, lambda: site.column(table) == ids, lambda: f"{site.column(table)} is not {ids}")


def wait_while(worker: Running, is_so: Callable[[], object], or_else: Callable[[], str] = str) -> None:
    """Until it is so, while the worker runs."""
    wait_until(lambda: worker.has_ended or is_so(), WITHIN_S, lambda: f"{or_else()}\n{worker.log[-6000:]}")
    assert not worker.has_ended, worker.log[-6000:]


def types_of(site: Site, table: str) -> dict[str, str]:
    asked = (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ? "
        "AND column_details['path'] = []"
    )
    return {str(row[0]): str(row[1]) for row in site.crate.rows(asked, [site.name, table])}


def events(log: str, name: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


def parked(worker: Running) -> list[str]:
    return [reason for reason in worker.readiness().get("reasons", []) if "is parked" in reason]


def wait_parked(worker: Running, code: str) -> None:
    wait_while(worker, lambda: any(code in reason for reason in parked(worker)))


def unpark(worker: Running, site: Site, table: str) -> None:
    asked = urllib.request.Request(f"{worker.url}/unpark?name=table:{site.name}.{table}", method="POST")
    urllib.request.urlopen(asked, timeout=10).close()


# ---------------------------------------------------------------- unknown_fields = "add"


def test_a_field_without_a_column_gets_one_and_no_value_of_it_is_lost(site: Site) -> None:
    site.make("orders")
    site.contract("orders", ADD)
    with working(site) as worker:
        send(site, "orders", *(row_of(i) for i in range(1, 21)))
        wait_for(site, worker, "orders", list(range(1, 21)))
        new = {"whole": 7, "broken": 1.5, "yes": True, "word": "ä", "doc": {"a.b": [1, "x"]}, "many": [1, 2], "none": None}
        send(site, "orders", *(row_of(i, **new) for i in range(11, 31)), lsn=100, op="u")
        wait_for(site, worker, "orders", list(range(1, 31)))
        wait_while(worker, lambda: site.column("orders", "whole") == [None] * 10 + [7] * 20)
        (added,) = events(worker.log, "columns_added")
    types = types_of(site, "orders")
    assert ["bigint", "double precision", "boolean", "text", "object", "bigint_array"] == [
        types[name] for name in ("whole", "broken", "yes", "word", "doc", "many")
    ]
    assert "none" not in types
    assert sorted(new)[:2] == added["columns"][:2]
    assert [[1.5, True, "ä", {"a.b": [1, "x"]}, [1, 2]]] * 20 == [
        [float(row[0]), *row[1:]]
        for row in site.crate.rows("SELECT broken, yes, word, doc, many FROM orders WHERE id > 10 ORDER BY id")
    ]
    assert {} == site.letters()


def test_an_avro_schema_that_changes_brings_its_types_with_it(site: Site) -> None:
    """The same topic under a new schema id: `n` became a long, `t` may be null, and there are fields that were not there."""
    site.make("orders")
    site.contract("orders", ADD + 'partition = { from = "at" }\n')
    moment = {"type": "long", "connect.name": "io.debezium.time.Timestamp"}
    old = [("id", "long"), ("n", "int"), ("t", "string"), ("at", moment)]
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
    instant = {"type": "long", "logicalType": "timestamp-micros"}
    new = [
        ("id", "long"),
        ("n", "long"),
        ("t", ["null", "string"]),
        ("at", moment),
        ("price", ["null", decimal]),
        ("paid", instant),
    ]
    schemas = {KEY_ID: KEY, 11: record_of(old), 12: record_of(new)}
    with StubRegistry(schemas) as registry, working(site, **registry.settings()) as worker:
        rows = [
            {"id": 1, "n": 5, "t": "old", "at": JAN_MS},
            {"id": 2, "n": 2**40, "t": None, "at": JAN_MS, "price": None, "paid": 7_999},
        ]
        rows.append({**rows[1], "id": 3, "price": Decimal("10000000.25")})
        keys = [framed(KEY_ID, KEY, {"id": row["id"]}) for row in rows]
        values = [framed(i, schemas[i], row) for i, row in zip((11, 12, 12), rows, strict=True)]
        site.send([Sent(site.topic("orders"), key, value) for key, value in zip(keys, values, strict=True)])
        wait_for(site, worker, "orders", [1, 2, 3])
    types = types_of(site, "orders")
    assert ("numeric", "timestamp with time zone") == (types["price"], types["paid"])
    assert [[5, "old", None, None], [2**40, None, None, 7], [2**40, None, Decimal("10000000.25"), 7]] == site.crate.rows(
        "SELECT n, t, price, paid FROM orders ORDER BY id"
    )
    assert {} == site.letters()


def record_of(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": "Order", "fields": [{"name": name, "type": type_} for name, type_ in fields]}


def test_two_workers_that_meet_new_fields_at_once_add_each_once_and_lose_no_value(site: Site) -> None:
    """CrateDB wipes values of a new column around its ALTER (knowledge of section 12), so every row is written in each round."""
    keys, fields = 200, 6
    site.make("orders", partitions=4)
    site.contract("orders", ADD)
    with working(site) as one, working(site):
        for lsn, field in enumerate(range(fields + 1), 1):
            send_spread(site, "orders", keys, lsn, {f"f{i}": 1000 * i for i in range(1, field + 1)})
        wait_while(one, lambda: f"f{fields}" in types_of(site, "orders") and None not in site.column("orders", f"f{fields}"))
    for i in range(1, fields + 1):
        assert [1000 * i] * keys == site.column("orders", f"f{i}")
    assert {} == site.letters()


def send_spread(site: Site, table: str, keys: int, lsn: int, more: Mapping[str, Any]) -> None:
    """A change of each of the keys, over four partitions, always the same for a key."""
    producer = KafkaProducer(bootstrap_servers=site.kafka, linger_ms=5)
    try:
        for number in range(keys):
            value = debezium(table, lsn * 1000 + number, row_of(number, **more), "u")
            producer.send(site.topic(table), value, key_of(number), partition=number % 4)
        producer.flush(30)
    finally:
        producer.close()


def test_a_topic_that_makes_up_fields_parks_its_table_before_it_widens_it_for_ever(site: Site) -> None:
    site.make("orders")
    site.contract("orders", ADD)
    before = 8
    with working(site, add_columns_max="5") as worker:
        send(site, "orders", *(row_of(i, **{f"made_up_{i}": i}) for i in range(1, 8)))
        wait_parked(worker, "table.add_limit")
        assert before + 5 == len(types_of(site, "orders"))
        unpark(worker, site, "orders")
        wait_for(site, worker, "orders", list(range(1, 8)))
        assert [7] == [value for value in site.column("orders", "made_up_7") if value is not None]
    assert {} == site.letters()


def test_crates_own_limit_of_columns_parks_the_table_with_a_sentence(site: Site) -> None:
    site.make("orders")
    site.crate.rows('ALTER TABLE orders SET ("mapping.total_fields.limit" = 9)')
    site.contract("orders", ADD)
    with working(site) as worker:
        send(site, "orders", row_of(1, one=1), row_of(2, one=1, two=2))
        wait_parked(worker, "table.column_limit")
        site.crate.rows('ALTER TABLE orders SET ("mapping.total_fields.limit" = 1000)')
        unpark(worker, site, "orders")
        wait_for(site, worker, "orders", [1, 2])
    assert ([1, 1], [None, 2]) == (site.column("orders", "one"), site.column("orders", "two"))
    assert {} == site.letters()


def test_without_the_right_to_alter_the_table_waits_for_a_person(site: Site) -> None:
    site.make("orders")
    site.contract("orders", ADD)
    with user_of(site, f"DQL, DML ON SCHEMA {site.name}", "DQL ON SCHEMA sys") as user, working(site, **user) as worker:
        send(site, "orders", row_of(1), row_of(2, colour="red"))
        wait_parked(worker, "table.no_ddl")
        site.crate.rows("ALTER TABLE orders ADD COLUMN colour TEXT")
        wait_for(site, worker, "orders", [1, 2])
        assert [None, "red"] == site.column("orders", "colour")
        wait_while(worker, lambda: not parked(worker))
    assert {} == site.letters()


@contextmanager
def user_of(site: Site, *grants: str) -> Iterator[dict[str, str]]:
    """A user of CrateDB with these rights; the settings of a worker that is this user."""
    site.crate.rows(f"CREATE USER {site.name} WITH (password = '{PASSWORD}')")
    try:
        for grant in grants:
            site.crate.rows(f"GRANT {grant} TO {site.name}")
        yield {"crate_user": site.name, "crate_password": PASSWORD}
    finally:
        site.crate.rows(f"DROP USER IF EXISTS {site.name}")


@pytest.mark.parametrize("has_extra", [False, True], ids=["reject", "extra"])
def test_a_field_that_no_column_can_be_named_after_goes_where_the_rule_says(site: Site, has_extra: bool) -> None:
    site.make_topics("orders")
    site.make_table("orders", ORDERED.replace("PRIMARY KEY", "cdc_extra OBJECT(IGNORED), PRIMARY KEY") if has_extra else ORDERED)
    site.contract("orders", ADD)
    bad = {"_id": 1, "a.b": 2, "a[0]": 3, "x" * 300: 4, "": 5, "cdc_mine": 6}
    with working(site) as worker:
        send(site, "orders", row_of(1), *(row_of(2 + i, good=i, **{name: value}) for i, (name, value) in enumerate(bad.items())))
        send(site, "orders", row_of(9), lsn=100)
        wait_for(site, worker, "orders", [1, *(range(2, 8) if has_extra else ()), 9])
    letters = [letter for found in site.letters().values() for letter in found]
    assert ([] if has_extra else ["field.bad_name"] * 6) == [letter.text("ingest.code") for letter in letters]
    if has_extra:
        assert [{name: value} for name, value in bad.items()] == site.column("orders", "cdc_extra")[1:7]
    assert [] == [name for name in types_of(site, "orders") if name in bad]


# ---------------------------------------------------------------- unknown_fields = "ignore"


def test_an_ignored_field_is_told_once_with_the_alter_and_kept_from_when_its_column_is_there(site: Site) -> None:
    site.make("orders")
    with working(site) as worker:
        send(site, "orders", *(row_of(i, colour="red") for i in range(1, 11)))
        wait_for(site, worker, "orders", list(range(1, 11)))
        (told,) = events(worker.log, "fields_ignored")
        assert f'ALTER TABLE {site.name}.orders ADD COLUMN "colour" TEXT' in told["text"]
        # A field that was never met is looked for, so the column may come a moment before it.
        site.crate.rows("ALTER TABLE orders ADD COLUMN size BIGINT")
        send(site, "orders", *(row_of(i, size=i) for i in range(11, 21)), lsn=100)
        wait_for(site, worker, "orders", list(range(1, 21)))
        assert 1 == len(events(worker.log, "fields_ignored"))
    assert [None] * 10 + list(range(11, 21)) == site.column("orders", "size")
    assert {} == site.letters()


# ---------------------------------------------------------------- fields that go, or change


def test_a_field_that_goes_leaves_null_in_whole_rows_and_its_value_in_rows_that_are_patched(site: Site) -> None:
    site.make("orders")
    with working(site) as worker:
        send(site, "orders", row_of(1), row_of(2))
        wait_for(site, worker, "orders", [1, 2])
        without = {name: value for name, value in row_of(1).items() if name != "t"}
        send(site, "orders", {**without, "id": 3}, lsn=100)
        send(site, "orders", {**without, "id": 2, "n": 5}, lsn=101, op="u")
        wait_for(site, worker, "orders", [1, 2, 3])
        wait_while(worker, lambda: site.column("orders", "n") == [10, 5, 10])
    assert ["row 1", "row 2", None] == site.column("orders", "t")
    assert {} == site.letters()


def test_a_renamed_field_fills_the_column_of_its_new_name(site: Site) -> None:
    site.make("orders")
    site.contract("orders", ADD)
    with working(site) as worker:
        send(site, "orders", row_of(1))
        renamed = {("title" if name == "t" else name): value for name, value in row_of(2).items()}
        send(site, "orders", renamed, lsn=10)
        wait_for(site, worker, "orders", [1, 2])
    assert ([None, "row 2"], ["row 1", None]) == (site.column("orders", "title"), site.column("orders", "t"))


def test_a_widened_type_goes_where_the_column_has_room_and_to_the_dead_letters_where_not(site: Site) -> None:
    columns = "id BIGINT, n INTEGER, d DOUBLE PRECISION, t VARCHAR(8), at TIMESTAMP WITH TIME ZONE, p NUMERIC(6, 2), "
    site.make_topics("orders")
    site.make_table(
        "orders", f"{columns}month TIMESTAMP WITH TIME ZONE, cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)"
    )
    wider = [
        row_of(1, p="1.25"), row_of(2, p="1", n=2**40), row_of(3, p="1", t="nine letters"), row_of(4, p="12345.5"),
        row_of(5, p="1.255"), row_of(6, p=None, n=None, t=None, d=None), row_of(7, p="9999.99", n=2**31 - 1, t="8letters"),
    ]  # fmt: skip
    with working(site) as worker:
        send(site, "orders", *wider)
        wait_for(site, worker, "orders", [1, 6, 7])
        wait_while(worker, lambda: len(site.letters()) == 4)
    refused = sorted(letter.text("ingest.column") for found in site.letters().values() for letter in found)
    assert ["n", "p", "p", "t"] == refused


def test_a_null_for_a_column_that_must_not_be_null_is_one_dead_letter(site: Site) -> None:
    site.make_topics("orders")
    site.make_table("orders", ARRIVAL.replace("t TEXT", "t TEXT NOT NULL"))
    with working(site) as worker:
        send(site, "orders", row_of(1), row_of(2, t=None), row_of(3))
        wait_for(site, worker, "orders", [1, 3])
        wait_while(worker, lambda: len(site.letters()) == 1)
    ((letter,),) = site.letters().values()
    assert ("value.null", "t") == (letter.text("ingest.code"), letter.text("ingest.column"))


# ---------------------------------------------------------------- changes by hand


def test_a_column_that_is_dropped_by_hand_costs_nothing_but_itself(site: Site) -> None:
    site.make("orders")
    with working(site) as worker:
        send(site, "orders", *(row_of(i) for i in range(1, 11)))
        wait_for(site, worker, "orders", list(range(1, 11)))
        site.crate.rows("ALTER TABLE orders DROP COLUMN d")
        send(site, "orders", *(row_of(i) for i in range(11, 21)), lsn=100)
        wait_for(site, worker, "orders", list(range(1, 21)))
        assert [] == parked(worker)
    assert [10 * i for i in range(1, 21)] == site.column("orders", "n")
    assert {} == site.letters()


AGAIN = {
    "the mapper refuses": ("INTEGER", "TEXT", "3 pieces"),
    "CrateDB refuses": ("TEXT", "ARRAY(BIGINT)", [3, 4]),
}


@pytest.mark.parametrize(("old", "new", "value"), AGAIN.values(), ids=AGAIN)
def test_a_table_that_is_made_again_with_other_types_takes_what_fits_it_now(
    site: Site, old: str, new: str, value: object
) -> None:
    """The worker has mapped for the old types; what is refused for them is looked at again, not dead-lettered."""
    site.make_topics("orders")
    site.make_table("orders", ORDERED.replace("n BIGINT", f"n {old}"))
    with working(site) as worker:
        send(site, "orders", row_of(1))
        wait_for(site, worker, "orders", [1])
        site.crate.rows("DROP TABLE orders")
        site.make_table("orders", ORDERED.replace("n BIGINT", f"n {new}"))
        send(site, "orders", *(row_of(i, n=value) for i in range(2, 12)), lsn=100)
        wait_for(site, worker, "orders", list(range(2, 12)))
        assert 1 == len(events(worker.log, "table_reshaped"))
        assert [] == parked(worker)
    assert [value] * 10 == site.column("orders", "n")
    assert {} == site.letters()


def test_a_table_that_goes_for_a_while_holds_its_records_until_it_is_there_again(site: Site) -> None:
    site.make("orders", "stock")
    with working(site) as worker:
        send(site, "orders", row_of(1))
        wait_for(site, worker, "orders", [1])
        site.crate.rows("DROP TABLE orders")
        send(site, "orders", *(row_of(i) for i in range(2, 12)), lsn=100)
        send(site, "stock", row_of(1))
        wait_for(site, worker, "stock", [1])
        site.make_table("orders")
        wait_for(site, worker, "orders", list(range(2, 12)))
        assert [] == parked(worker)
    assert {} == site.letters()


def test_a_month_that_is_dropped_by_hand_comes_back_with_the_next_row_of_it_and_nobody_else_is_blamed(site: Site) -> None:
    """A request that makes a partition may name the wrong rows as failed (knowledge 1.3); here one in each request does fail."""
    site.make("orders")
    long, february = "x" * 33_000, 31 * DAY_MS
    with working(site, batch_linger_ms="1000") as worker:
        send(site, "orders", row_of(1, at=JAN_MS), row_of(2, at=JAN_MS + february), row_of(3, at=JAN_MS + 2 * february))
        wait_for(site, worker, "orders", [1, 2, 3])
        for month in (JAN_MS, JAN_MS + february):
            site.crate.rows(f"DELETE FROM orders WHERE month = {month}")
        months = [JAN_MS, JAN_MS + february, JAN_MS + 2 * february]
        rows = [row_of(i, at=months[i % 3], t=long if i == 20 else "short") for i in range(10, 40)]
        send(site, "orders", *rows, lsn=100)
        good = [i for i in range(10, 40) if i != 20]
        wait_for(site, worker, "orders", [3, *good])
        wait_while(worker, lambda: len(site.letters()) == 1)
    ((letter,),) = site.letters().values()
    assert (20, "store.text_too_long") == (json.loads(letter.value or b"")["after"]["id"], letter.text("ingest.code"))


def test_a_numeric_table_that_is_read_only_holds_up_no_other(site: Site) -> None:
    """CrateDB does not show the definition of such a table, without which its digits are not known."""
    site.make_topics("sums", "stock")
    site.make_table("stock")
    site.make_table("sums", ORDERED.replace("d DOUBLE PRECISION", "d NUMERIC(12, 2)"))
    site.crate.rows('ALTER TABLE sums SET ("blocks.read_only" = TRUE)')
    with working(site) as worker:
        send(site, "sums", row_of(1, d="1.25"))
        send(site, "stock", row_of(1))
        wait_for(site, worker, "stock", [1])
        wait_while(worker, lambda: "does not show the definition" in str(worker.readiness()))
        site.crate.rows('ALTER TABLE sums SET ("blocks.read_only" = FALSE)')
        wait_for(site, worker, "sums", [1])
        assert [] == parked(worker)
    assert {} == site.letters()


# ---------------------------------------------------------------- truncate = "empty"


def truncate(site: Site, table: str, lsn: int) -> Sent:
    source = source_of(table, lsn)
    return Sent(site.topic(table), None, json.dumps({"before": None, "after": None, "source": source, "op": "t"}).encode())


def with_truncate(site: Site, table: str) -> list[Sent]:
    """Rows 1 to 10, a truncate, rows 8 to 12."""
    rows = [Sent(site.topic(table), key_of(i), debezium(table, i, row_of(i))) for i in range(1, 11)]
    later = [Sent(site.topic(table), key_of(i), debezium(table, 100 + i, row_of(i, t="later"))) for i in range(8, 13)]
    return [*rows, truncate(site, table, 50), *later]


@pytest.mark.parametrize("columns", [ORDERED, ARRIVAL], ids=["ordered", "arrival"])
def test_a_truncate_empties_its_table_of_what_was_there_before_and_again_when_read_again(site: Site, columns: str) -> None:
    site.make_topics("orders")
    site.make_table("orders", columns)
    site.contract("orders", 'truncate = "empty"\n')
    site.send(with_truncate(site, "orders"))
    after = list(range(8, 13))
    with working(site) as worker:
        wait_for(site, worker, "orders", after)
        assert 1 == len(events(worker.log, "table_emptied"))
    assert ["later"] * 5 == site.column("orders", "t")
    # All of it again, by a group that has read nothing: the same in the end, and at level ordered nothing comes back meanwhile.
    again = site.start(group_id=f"{site.name}-again", batch_linger_ms="0")
    try:
        wait_until(lambda: events(again.log, "table_emptied"), 60, lambda: again.log)
        wait_for(site, again, "orders", after)
        assert 0 == again.stop().code
    finally:
        if not again.has_ended:
            again.kill()
    assert ["later"] * 5 == site.column("orders", "t")
    if columns == ORDERED:
        ((tombstones,),) = site.crate.rows(
            "SELECT count(*) FROM orders WHERE cdc_deleted AND n IS NULL AND cdc_version LIKE '01L%50%'"
        )
        assert 7 <= tombstones  # 1 to 7, and 8 to 10 where their later row is in another month
    assert {} == site.letters()


def test_a_truncate_of_a_topic_with_several_partitions_is_left_to_a_person(site: Site) -> None:
    site.make("orders", partitions=2)
    site.contract("orders", 'truncate = "empty"\n')
    site.send(with_truncate(site, "orders"))
    done: Done = site.run()
    assert 4 == done.code
    (line,) = events(done.log, "parked")
    assert "topic.truncate" == line["code"]
    assert "several partitions" in line["text"]
    assert list(range(1, 11)) == site.column("orders")
