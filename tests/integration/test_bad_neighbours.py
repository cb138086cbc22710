"""Topics that strangers fill with hostile content, beside one that is as it should be, on real servers.

One worker reads them all: the good rows are stored, each bad record costs itself, names become columns as they are, nothing of
theirs is run as SQL, logged, or kept in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.worker_rig import ORDERED, Done, Sent, Site, debezium, key_of, row_of, site_at
from tests.oracle.worker import rss_mb

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

GOOD = 200
MEMORY_MB = 256
# Stands in every value that a stranger sends.
SECRET = "jane.doe@example.org"
INJECTIONS = (
    "'); DROP TABLE victim; --",
    '"; DROP TABLE victim; --',
    'a" TEXT, ADD COLUMN "b',
    'x") VALUES (1); DELETE FROM victim; --',
    "*/ DROP TABLE victim /*",
    "$1",
    "?",
    "\\",
    "O'Brien",
    "select",
    "ünï çödé ЖЗ 表",
    "tab\there",
    "line\nbreak",
    "bell\x07 escape\x1b[2J",
    "right to left \u202e override",
    "no\x00thing",
    " ",
    "a.b",
    "a[0]",
    "_id",
    "cdc_version",
    "n" * 256,
    "n" * 100_000,
)
# Values as JSON, of fields that have no column and of those that have one.
VALUES = (
    json.dumps(SECRET + "'); DROP TABLE victim; --"),
    json.dumps(SECRET + "\x00\x07\x1b[2J"),
    f'"{SECRET}\\ud800"',
    f'["{SECRET}",{{"{INJECTIONS[0]}":1}}]',
    json.dumps(dict.fromkeys(INJECTIONS, SECRET)),
    "1e999999999",
    "-1e-999999999",
    "1" * 4_000,
    "1" * 100_000,
    "1." + "1" * 100_000,
    json.dumps("1" * 100_000 + SECRET),
    *("[" * depth + f'"{SECRET}"' + "]" * depth for depth in (90, 300, 900, 100_000)),
    *('{"a":' * depth + f'"{SECRET}"' + "}" * depth for depth in (90, 300, 900, 30_000)),
    json.dumps(SECRET * 50_000),
)
POLICIES = {"ignored": "ignore", "kept": "extra", "added": "add"}  # by table


def plain(fields: str, number: int = 1) -> bytes:
    return f'{{"id":{number},"x":1,{fields}}}'.encode(errors="surrogatepass")


def hostile(site: Site, table: str) -> Iterator[Sent]:
    """One record of each kind; names first, because with `add` these become columns until there is no room."""
    topic, number = site.topic(table), 0
    for name in INJECTIONS:
        number += 1
        yield Sent(topic, key_of(number), plain(f"{json.dumps(name)}:{json.dumps(SECRET)}", number))
    for value in VALUES:
        for name in ("t", "n", "d", "free"):
            number += 1
            yield Sent(topic, key_of(number), plain(f'"{name}":{value}', number))
    yield Sent(topic, json.dumps({"id": SECRET * 20_000}).encode(), plain('"t":1', 999))
    yield Sent(topic, b"\xff\x00" * 1_000, plain('"t":1', 998))
    yield Sent(topic, key_of(1), plain('"\\ud800":1'))
    yield Sent(topic, key_of(1), b"\x00" * 10_000)


def crowds(site: Site, table: str) -> Iterator[Sent]:
    """Records with thousands of names that no other has."""
    for number in range(30):
        names = ",".join(f'"made_up_{number}_{i}":"{SECRET}"' for i in range(3_000))
        yield Sent(site.topic(table), key_of(5_000 + number), plain(names, 5_000 + number))


@dataclass
class Told:
    """What is left when the worker has ended."""

    site: Site
    done: Done
    rss_mb: float
    sent: int


@pytest.fixture(scope="module")
def told(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with site_at(kafka_address, crate_url, tmp_path_factory.mktemp("neighbours")) as site:
        prepare(site)
        messages = [each for table in POLICIES for each in (*hostile(site, table), *crowds(site, table))]
        good = [Sent(site.topic("orders"), key_of(n), debezium("orders", n, row_of(n))) for n in range(1, GOOD + 1)]
        site.send([*messages[: len(messages) // 2], *good, *messages[len(messages) // 2 :]])
        worker = site.start("--until-caught-up", dlq_max_ratio="1", memory_mb=str(MEMORY_MB), writers="2", log_level="debug")
        most_mb = 0.0
        while not worker.has_ended:
            most_mb = max(most_mb, rss_mb(worker.pid))
        yield Told(site, worker.wait(), most_mb, len(messages) + GOOD)


def prepare(site: Site) -> None:
    free = ORDERED.replace("d DOUBLE PRECISION", "d DOUBLE PRECISION, free OBJECT(IGNORED)").replace(
        "at TIMESTAMP", "at_ TIMESTAMP"
    )
    free = free.replace("month TIMESTAMP WITH TIME ZONE, ", "").replace("(id, month)", "(id)")
    site.make("orders")
    site.make_topics(*POLICIES)
    for table, policy in POLICIES.items():
        site.make_table(
            table, free.replace("cdc_version", "cdc_extra OBJECT(IGNORED), cdc_version") if policy == "extra" else free
        )
        site.contract(table, f'unknown_fields = "{policy}"\n')
    site.crate.rows("CREATE TABLE victim (id INT PRIMARY KEY)")
    site.crate.rows("INSERT INTO victim (id) VALUES (1)")
    site.crate.rows("REFRESH TABLE victim")


def test_the_good_rows_beside_them_are_stored(told: Told) -> None:
    assert told.site.column("orders") == list(range(1, GOOD + 1))


def test_every_record_has_its_end_and_the_books_balance(told: Told) -> None:
    """Only the topic that would widen its table for ever is parked."""
    answer = told.done.answer
    assert answer["is_balanced"]
    assert answer["parked"] == [f"table:{told.site.name}.added"], told.done.log[-3000:]
    assert told.done.code == 4
    assert answer["written"] + answer["superseded"] + answer["dead_lettered"] + answer["handed_back"] == answer["read"]
    letters = told.site.letters()
    assert all(len(found) == 1 for found in letters.values())
    # Some of the parked topic were sent and then handed back with all else; they are sent again once it goes on.
    parked = sum(topic == told.site.topic("added") for topic, _ in letters)
    assert 0 < len(letters) - parked <= answer["dead_lettered"] <= len(letters)


def test_nothing_of_theirs_was_run(told: Told) -> None:
    crate = told.site.crate
    assert crate.rows("SELECT id FROM victim") == [[1]]
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name"
    found = [row[0] for row in crate.rows(tables, [told.site.name]) if not row[0].startswith("ingest_")]
    assert found == ["added", "ignored", "kept", "orders", "victim"]


def test_their_names_are_columns_letter_by_letter(told: Told) -> None:
    columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = 'added'"
    found = {row[0] for row in told.site.crate.rows(columns, [told.site.name])}
    ours = {"id", "n", "d", "free", "t", "at_", "cdc_version", "cdc_deleted", "x"}
    good = {name for name in INJECTIONS if is_taken(name)}
    assert good - found == set()
    assert found - ours - good == set()
    told.site.crate.rows("REFRESH TABLE added")
    (stored,) = told.site.crate.rows("""SELECT "O'Brien" FROM added WHERE "O'Brien" IS NOT NULL""")
    assert stored == [SECRET]


def is_taken(name: str) -> bool:
    """What CrateDB takes as a name and the worker lets pass."""
    is_path = any(sign in name for sign in ".[") or any(ord(sign) < 32 for sign in name)
    return not (is_path or name.startswith(("_", "cdc_")) or len(name.encode()) > 255)


def test_their_other_fields_are_kept_whole_where_the_table_keeps_them(told: Told) -> None:
    told.site.crate.rows("REFRESH TABLE kept")
    kept: list[dict[str, Any]] = [row[0] for row in told.site.crate.rows("SELECT cdc_extra FROM kept LIMIT 1000") if row[0]]
    names = {name for each in kept for name in each}
    assert set(INJECTIONS[:5]) <= names


def test_no_value_of_theirs_is_in_the_log_or_in_a_letters_reason(told: Told) -> None:
    assert SECRET not in told.done.log
    reasons = [letter.text("__connect.errors.exception.message") for found in told.site.letters().values() for letter in found]
    assert not [reason for reason in reasons if SECRET in reason]
    assert max(map(len, reasons)) < 1_000


def test_no_line_of_the_log_is_endless(told: Told) -> None:
    assert max(map(len, told.done.log.splitlines())) < 20_000


def test_memory_stays_within_its_setting(told: Told) -> None:
    assert told.rss_mb < MEMORY_MB
