"""`ingest dlq replay` behind a real worker, on real servers and embedded ones: what was mended is stored, and newer rows stay."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ingest.errors import Reject
from ingest.flow.ports import Letter
from ingest.kafka.dead_letters import KafkaDeadLetters
from ingest.model import Record
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.tools.connect import dead_letter_settings
from tests.integration.replay_rig import CONTRACT, REAL, Desk, changes, desk, make_topic, put, wait_for
from tests.integration.worker_rig import ORDERED, Sent, debezium, key_of, row_of, site_at
from tests.oracle import kafka_io

__all__ = ["desk"]  # a fixture


def refused_for_a_field(desk: Desk, numbers: range) -> None:
    """Letters of records with a field that the table has no column for."""
    desk.site.make("orders")
    desk.site.contract("orders", f'{CONTRACT}unknown_fields = "reject"\n')
    desk.site.send(changes(desk.site, [1, 2]) + changes(desk.site, numbers, extra="news"))
    desk.run_worker()
    assert len(numbers) == desk.letters()


def test_once_the_column_is_there_the_rows_are_and_newer_ones_stay(desk: Desk) -> None:
    refused_for_a_field(desk, range(3, 8))
    desk.site.send(changes(desk.site, [4], lsn=900, n=-4))  # a newer change of one of them fits the table
    desk.run_worker()

    before = desk.in_dlq()
    tried = desk.ask("dlq", "replay")
    assert 4 == tried.code
    assert tried.out.startswith("5 letters: 0 stored, 0 superseded by newer rows, 0 skipped, 5 left\n")
    assert "field.unknown" in tried.out
    assert before == desk.in_dlq()  # what is refused again is not dead-lettered again

    desk.site.crate.rows("ALTER TABLE orders ADD COLUMN extra TEXT")
    dry = desk.ask("dlq", "replay", "--dry-run")
    assert (0, True) == (dry.code, dry.out.startswith("5 letters: 5 would be sent, 0 skipped, 0 left; nothing was written"))
    assert (before, 3) == (desk.in_dlq(), len(desk.rows("id")))

    mended = desk.ask("dlq", "replay")
    assert (0, "5 letters: 4 stored, 1 superseded by newer rows, 0 skipped, 0 left\n") == (mended.code, mended.out)
    rows = desk.rows("id, n, extra, cdc_version")
    assert [[1, 10, None], [2, 20, None], [3, 30, "news"], [4, -4, None], *([n, 10 * n, "news"] for n in (5, 6, 7))] == [
        row[:3] for row in rows
    ]
    # The version is that of the record's own place: change 3 has LSN 103, and was the third record of its topic.
    assert rows[2][3].endswith(f"{103:020d}{2:019d}")
    assert [f"{desk.site.topic('orders')}:0:{offset}" for offset in range(2, 7)] == desk.receipts()


def test_a_replayed_letter_is_listed_as_such_and_not_replayed_again_by_accident(desk: Desk) -> None:
    refused_for_a_field(desk, range(3, 6))
    desk.site.contract("orders", CONTRACT)
    source = f"{desk.site.topic('orders')}:0:3"
    first = desk.ask("dlq", "replay", source)
    assert (0, "1 letter: 1 stored, 0 superseded by newer rows, 0 skipped, 0 left\n") == (first.code, first.out)
    listed = {each["source"]: each["replayed"] for each in desk.ask("dlq", "list", "--json").json}
    assert (3, [source]) == (len(listed), [each for each, replayed in listed.items() if replayed])
    assert "replayed" in desk.ask("dlq", "list").out.splitlines()[0].split()
    assert ", stored\n" in desk.ask("dlq", "show", source).out
    assert 2 == len(desk.ask("dlq", "list", "--left", "--json").json)
    assert "2        " in desk.ask("dlq", "list", "--left", "--counts").out

    rest = desk.ask("dlq", "replay", "--json").json
    assert (2, 1, 2) == (rest["letters"], rest["replayed_before"], rest["stored"])
    nothing = desk.ask("dlq", "replay")
    assert (0, "no letters to replay\n3 were replayed before and left alone: --again replays them once more\n") == (
        nothing.code,
        nothing.out,
    )
    again = desk.ask("dlq", "replay", "--again", "--json").json
    assert (3, 3) == (again["letters"], again["stored"] + again["superseded"])
    assert 3 == len(desk.rows("id")) - 2


def test_what_a_worker_refuses_once_more_later_is_a_new_letter(desk: Desk) -> None:
    """The receipt covers the copies that were there, not what comes after it."""
    refused_for_a_field(desk, range(3, 4))
    desk.run_worker(group_id=f"{desk.site.name}b", dlq_topic=f"{desk.site.name}.dlq")  # a second letter about the same record
    assert 2 == desk.letters()
    desk.site.contract("orders", CONTRACT)
    found = desk.ask("dlq", "replay", "--json").json
    assert (1, 1) == (found["letters"], found["stored"])
    assert [] == desk.ask("dlq", "list", "--left", "--json").json

    desk.site.contract("orders", f'{CONTRACT}unknown_fields = "reject"\n')
    desk.run_worker(group_id=f"{desk.site.name}c", dlq_topic=f"{desk.site.name}.dlq")
    assert 1 == len(desk.ask("dlq", "list", "--left", "--json").json)
    assert 1 == desk.ask("dlq", "replay", "--dry-run", "--json").json["letters"]


def test_a_column_that_was_too_narrow(desk: Desk) -> None:
    site = desk.site
    site.make_topics("orders")
    site.make_table("orders", ORDERED.replace("n BIGINT", "n INTEGER"))
    site.contract("orders", CONTRACT)
    site.send(changes(site, [1, 2, 3]) + changes(site, [4, 5], n=3_000_000_000))
    desk.run_worker()
    assert 2 == desk.letters()
    site.crate.rows("DROP TABLE orders")
    site.make_table("orders")  # wider
    replayed = desk.ask("replay", "--topic", site.topic("orders"))
    assert (0, "5 records: 5 stored, 0 superseded by newer rows, 0 skipped, 0 refused\n") == (replayed.code, replayed.out)
    letters = desk.ask("dlq", "replay", "--code", "type.*", "--json")
    assert (0, 2) == (letters.code, letters.json["stored"] + letters.json["superseded"])
    assert [[4, 3_000_000_000], [5, 3_000_000_000]] == desk.rows("id, n")[3:]


def test_a_contract_that_was_wrong(desk: Desk) -> None:
    """The month was taken from a field that is no time in some of the records."""
    site = desk.site
    site.make("orders")
    site.contract("orders", CONTRACT.replace('"at"', '"made"'))
    site.send(changes(site, [1], made=1_767_225_600_000) + changes(site, [2, 3], made=None))
    desk.run_worker()
    assert 2 == desk.letters()
    site.contract("orders", CONTRACT)
    found = desk.ask("dlq", "replay", "--table", "orders", "--since", "1h")
    assert (0, True) == (found.code, found.out.startswith("2 letters: 2 stored"))
    assert [[1], [2], [3]] == desk.rows("id")


def test_filters_choose(desk: Desk) -> None:
    site = desk.site
    site.make("orders", "items")
    for table in ("orders", "items"):
        site.contract(table, f'{CONTRACT}unknown_fields = "reject"\n')
    site.send(changes(site, [1, 2], extra=1) + changes(site, [3], n="many") + changes(site, [4, 5, 6], table="items", extra=1))
    desk.run_worker()
    counts = {
        ("--table", "orders"): 3,
        ("--topic", site.topic("items")): 3,
        ("--code", "field.*"): 5,
        ("--code", "type.not_a_number"): 1,
        ("--table", "items", "--code", "type.*"): 0,
        ("--since", "1h"): 6,
        ("--until", "1h"): 0,
        ("--stage", "decode"): 0,
        (f"{site.topic('items')}:0:1", f"{site.topic('orders')}:0:2"): 2,
    }
    for arguments, letters in counts.items():
        assert letters == desk.ask("dlq", "replay", "--dry-run", "--json", *arguments).json["letters"], arguments


def test_a_table_of_level_arrival_is_refused_without_unordered(desk: Desk) -> None:
    site = desk.site
    site.make("orders")
    site.make_topics("items")
    site.make_table("items", "id BIGINT PRIMARY KEY, n BIGINT, t TEXT")
    site.contract("orders", f'{CONTRACT}unknown_fields = "reject"\n')
    site.contract("items", 'format = "debezium"\nunknown_fields = "reject"\n')
    site.send(
        [*changes(site, [1], extra=1), Sent(site.topic("items"), key_of(1), debezium("items", 1, {"id": 1, "n": 1, "x": 1}))]
    )
    desk.run_worker()
    assert 2 == desk.letters()
    for table, rest in (("orders", f"{CONTRACT}"), ("items", 'format = "debezium"\n')):
        site.contract(table, rest)
    found = desk.ask("dlq", "replay")
    assert (4, True) == (found.code, found.out.startswith("2 letters: 1 stored, 0 superseded by newer rows, 0 skipped, 1 left\n"))
    assert "replay.unordered" in found.out
    assert "has not both cdc_version and cdc_deleted, so an old change would overwrite a newer row" in found.out
    assert [] == desk.rows("id", "items")
    allowed = desk.ask("dlq", "replay", "--unordered")
    assert (0, True) == (allowed.code, allowed.out.startswith("1 letter: 1 stored"))
    assert [[1, 1]] == desk.rows("id, n", "items")


def test_killed_in_the_middle_and_run_again_nothing_is_missing_and_nothing_twice(desk: Desk) -> None:
    refused_for_a_field(desk, range(3, 83))
    desk.site.contract("orders", CONTRACT)
    running = desk.start("dlq", "replay", "--rate", "10/s")
    try:
        wait_for(lambda: len(desk.receipts()) >= 5)
    finally:
        running.kill()
        running.communicate()
    done = len(desk.receipts())
    assert 5 <= done < 80
    rest = desk.ask("dlq", "replay", "--json")
    assert (0, 80 - done, done) == (rest.code, rest.json["letters"], rest.json["replayed_before"])
    assert [[n] for n in range(1, 83)] == desk.rows("id")
    assert sorted(f"{desk.site.topic('orders')}:0:{offset}" for offset in range(2, 82)) == desk.receipts()


def test_told_to_stop_it_ends_well_and_says_what_is_left(desk: Desk) -> None:
    refused_for_a_field(desk, range(3, 83))
    desk.site.contract("orders", CONTRACT)
    running = desk.start("dlq", "replay", "--rate", "10/s", "--json")
    try:
        wait_for(lambda: len(desk.receipts()) >= 3)
    finally:
        running.terminate()
        out, err = running.communicate(timeout=60)
    assert 4 == running.returncode, err
    said = json.loads(out)
    assert 80 == said["letters"] == said["stored"] + said["not_reached"]
    assert said["stored"] == len(desk.receipts()) == len(desk.rows("id")) - 2


@pytest.mark.parametrize("desk", [REAL], indirect=True)  # the embedded broker has one limit for all topics
def test_a_record_too_large_for_its_letter_is_read_where_it_stands(desk: Desk) -> None:
    site = desk.site
    site.make("orders")
    site.contract("orders", f'{CONTRACT}unknown_fields = "reject"\n')
    make_topic(site.kafka, f"{site.name}.dlq", **{"max.message.bytes": "3000"})
    site.send(changes(site, [1, 2], extra="x" * 5_000))
    desk.run_worker()
    assert [None, None] == [record.value for record in desk.in_dlq()]
    site.contract("orders", CONTRACT)
    assert 0 == desk.ask("dlq", "replay", f"{site.topic('orders')}:0:0").code
    assert [[1]] == desk.rows("id")

    kafka_io.delete_topics(site.kafka, [site.topic("orders")])
    gone = desk.ask("dlq", "replay", "--json")
    assert (4, {"replay.gone": 1}) == (gone.code, gone.json["codes"])
    assert [[1]] == desk.rows("id")


def test_what_nobody_can_place_or_route_stays_and_the_others_go(desk: Desk) -> None:
    refused_for_a_field(desk, range(3, 5))
    desk.site.contract("orders", CONTRACT)
    put(desk.site.kafka, f"{desk.site.name}.dlq", b"stray")
    found = desk.ask("dlq", "replay", "--json")
    assert (4, 2, {"replay.no_source": 1}) == (found.code, found.json["stored"], found.json["codes"])


def test_a_missing_table_is_told_and_what_waits_for_it_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    refused_for_a_field(desk, range(3, 5))
    desk.site.contract("orders", CONTRACT)
    desk.site.crate.rows("DROP TABLE orders")
    monkeypatch.setattr("ingest.flow.tables.MISSING_GRACE_S", 0.5)
    found = desk.ask("dlq", "replay")
    assert 4 == found.code
    assert "0 left, 2 not reached" in found.out
    assert f"table:{desk.site.name}.orders is parked (table.missing): " in found.out
    desk.site.make_table("orders")
    assert 0 == desk.ask("dlq", "replay").code
    assert [[3], [4]] == desk.rows("id")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--topic", "orderz"), "no letter has the topic orderz"),
        (("--table", "order"), "no letter has the table order, the nearest is"),
        (("--code", "field.unknwon"), "no letter has the code field.unknwon, the nearest is field.unknown"),
        (("--since", "soon"), "soon is no time: write an age such as 30m"),
        (("--rate", "fast"), "fast is no rate: write records per second"),
        (("--rate", "0"), "0 is no rate"),
        (("nowhere",), "nowhere is no place"),
        (("7:7",), "holds no letter at or about"),
        (("orders:0:4711",), "holds no letter at or about orders[0]@4711"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_questions_are_one_sentence(letters_once: Desk, arguments: tuple[str, ...], sentence: str) -> None:
    found = letters_once.ask("dlq", "replay", *arguments)
    assert (2, "", 1) == (found.code, found.out, len(found.err.splitlines())), found
    assert sentence in found.err


@pytest.fixture(scope="module")
def embedded_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    monkeypatch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("site")
    try:
        with Broker(auto_create=False) as broker, Store() as store, site_at(broker.address, store.url, folder) as site:
            desk = Desk(site, monkeypatch)
            refused_for_a_field(desk, range(3, 5))
            yield desk
    finally:
        monkeypatch.undo()


@pytest.fixture
def letters_once(embedded_site: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A site with two letters, which nobody changes."""
    return Desk(embedded_site.site, monkeypatch)


def test_without_a_dead_letter_topic_there_is_nothing_to_replay(letters_once: Desk) -> None:
    found = letters_once.ask("dlq", "replay", dlq_topic="nobody.dlq")
    assert (2, True) == (found.code, "there is no topic nobody.dlq" in found.err)


def test_a_topic_whose_format_nobody_tells_is_left_alone(letters_once: Desk) -> None:
    """A lone letter must not decide how its topic is read: without a contract and without records nobody knows."""
    site = letters_once.site
    empty = f"{site.name}.empty"
    sender = KafkaDeadLetters(dead_letter_settings(letters_once.settings(dlq_topic=f"{site.name}.other.dlq")))
    sender.send(
        Letter(Record(empty, 0, 5, 0, b"k", json.dumps(row_of(5)).encode()), Reject("x.y", "z"), f"{site.name}.orders", "map")
    )
    sender.close(20)
    found = letters_once.ask("dlq", "replay", "--json", dlq_topic=f"{site.name}.other.dlq")
    assert (4, {"replay.format_untold": 1}) == (found.code, found.json["codes"])
    assert "set format in a contract" in found.json["letters_left"][0]["text"]
