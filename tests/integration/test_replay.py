"""`ingest replay` beside a real worker, on real servers and embedded ones: the same rows again, or the same rows elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ingest.kafka.peek import Bounds
from ingest.model import Partition
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.tools.replay import ReplayPlan, replay
from tests.integration.replay_rig import CONTRACT, Desk, changes, desk, wait_for
from tests.integration.worker_rig import Sent, debezium, key_of, row_of, site_at

__all__ = ["desk"]  # a fixture
WHOLE = "id, n, t, at, month, cdc_version, cdc_deleted"


def stored(desk: Desk, numbers: range = range(10)) -> str:
    """Rows that a worker wrote, with a change, a delete and a move to another month behind them; the topic."""
    site = desk.site
    site.make("orders")
    site.contract("orders", CONTRACT)
    topic, last = site.topic("orders"), row_of(3, at=1_772_323_200_000)
    site.send(
        [
            *changes(site, list(numbers)),
            Sent(topic, key_of(1), debezium("orders", 500, row_of(1, n=-1), "u")),
            Sent(topic, key_of(2), debezium("orders", 501, row_of(2), "d")),
            Sent(topic, key_of(3), debezium("orders", 502, last, "u")),
        ]
    )
    desk.run_worker()
    return topic


def test_into_the_same_table_it_changes_nothing_and_leaves_the_worker_its_offsets(desk: Desk) -> None:
    topic = stored(desk)
    before, committed = desk.rows(WHOLE), desk.site.committed()
    found = desk.ask("replay", "--topic", topic)
    assert (0, True) == (found.code, found.out.startswith("13 records: ")), found
    assert (before, committed, 13) == (desk.rows(WHOLE), desk.site.committed(), committed)


def test_a_row_that_went_missing_comes_back(desk: Desk) -> None:
    topic = stored(desk)
    before = desk.rows(WHOLE)
    desk.site.crate.rows("DELETE FROM orders WHERE id = 5")
    assert 0 == desk.ask("replay", "--topic", topic, "--from-offset", "4", "--to-offset", "0:7").code
    assert before == desk.rows(WHOLE)


def test_into_a_shadow_that_is_made_like_the_table_come_the_same_rows(desk: Desk) -> None:
    topic = stored(desk)
    before = desk.rows(WHOLE)
    arguments = ("replay", "--topic", topic, "--into", "shadow")
    dry = desk.ask(*arguments, "--dry-run")
    assert (2, True) == (dry.code, "there is no table" in dry.err)
    found = desk.ask(*arguments)
    name = desk.site.name
    assert (0, f"created {name}.shadow like {name}.orders\n") == (found.code, found.err)
    assert (before, before) == (desk.rows(WHOLE), desk.rows(WHOLE, "shadow"))
    assert desk.columns("orders") == desk.columns("shadow")
    assert 0 == desk.ask(*arguments, "--table", "orders").code  # it is there now
    assert before == desk.rows(WHOLE, "shadow")


def test_a_dry_run_writes_nothing_and_finds_what_would_be_refused(desk: Desk) -> None:
    topic = stored(desk)
    desk.site.send(changes(desk.site, [20], n="many"))
    desk.site.crate.rows("DELETE FROM orders")
    found = desk.ask("replay", "--topic", topic, "--dry-run")
    assert (4, True) == (
        found.code,
        found.out.startswith("14 records: 13 would be sent, 0 skipped, 1 refused; nothing was written"),
    )
    assert f"{topic}:0:13  type.not_a_number" in found.out
    assert [] == desk.rows("id")
    assert [] == desk.in_dlq()


def test_what_is_refused_is_told_and_not_dead_lettered(desk: Desk) -> None:
    topic = stored(desk)
    desk.site.send(changes(desk.site, [20], n="many"))
    found = desk.ask("replay", "--topic", topic, "--json")
    assert (4, 14, {"type.not_a_number": 1}) == (found.code, found.json["read"], found.json["codes"])
    assert [f"{topic}:0:13"] == [each["at"] for each in found.json["refused"]]
    assert [] == desk.in_dlq()


def test_with_a_group_it_goes_on_where_it_was_killed(desk: Desk) -> None:
    topic = stored(desk, range(60))
    desk.site.crate.rows("DELETE FROM orders")
    group = f"{desk.site.name}.again"
    arguments = ("replay", "--topic", topic, "--group", group)
    running = desk.start(*arguments, "--rate", "10/s")
    try:
        wait_for(lambda: desk.rows("id"))
        time.sleep(2)  # commits are made every second
    finally:
        running.kill()
        running.communicate()
    rest = desk.ask(*arguments, "--json")
    assert (0, True) == (rest.code, 0 < rest.json["read"] < 63), rest.out
    assert [n for n in range(60) if n != 2] == [row[0] for row in desk.rows("id, cdc_deleted") if not row[1]]
    done = desk.ask(*arguments, "--json")
    assert (0, 0) == (done.code, done.json["read"])


def test_ranges_by_time(desk: Desk) -> None:
    topic = stored(desk)
    time.sleep(1.1)
    middle = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    desk.site.send(changes(desk.site, [20, 21], lsn=900))
    assert 2 == desk.ask("replay", "--topic", topic, "--since", middle, "--dry-run", "--json").json["read"]
    assert 13 == desk.ask("replay", "--topic", topic, "--until", middle, "--dry-run", "--json").json["read"]
    assert 15 == desk.ask("replay", "--topic", topic, "--since", "1h", "--dry-run", "--json").json["read"]
    assert 0 == desk.ask("replay", "--topic", topic, "--since", "2100-01-01", "--dry-run", "--json").json["read"]


def test_only_one_table_of_a_topic_of_several(desk: Desk) -> None:
    site = desk.site
    site.make_topics("all")
    topic = site.topic("all")
    for table in ("orders", "items"):
        site.make_table(table)
        (site.schemas / f"{table}.toml").write_text(f'table = "{site.name}.{table}"\ntopics = ["{topic}"]\n{CONTRACT}')
    site.send([Sent(topic, key_of(n), debezium(table, 100 + n, row_of(n))) for n in range(4) for table in ("orders", "items")])
    unclear = desk.ask("replay", "--topic", topic, "--into", "shadow")
    assert (2, True) == (unclear.code, "name it with --table" in unclear.err)
    found = desk.ask("replay", "--topic", topic, "--table", "items", "--into", "shadow", "--json")
    assert (0, 4, {"other_table": 4}) == (found.code, found.json["written"], found.json["skips"])
    assert ([], [], 4) == (desk.rows("id"), desk.rows("id", "items"), len(desk.rows("id", "shadow")))


def test_a_table_of_level_arrival_is_replayed_into_a_shadow_but_not_into_itself(desk: Desk) -> None:
    site = desk.site
    site.make_topics("items")
    site.make_table("items", "id BIGINT PRIMARY KEY, n BIGINT, t TEXT")
    site.contract("items", 'format = "debezium"\n')
    topic = site.topic("items")
    site.send([Sent(topic, key_of(1), debezium("items", n, {"id": 1, "n": n})) for n in range(5)])
    desk.run_worker()
    refused = desk.ask("replay", "--topic", topic, "--to-offset", "2")
    assert (4, True) == (refused.code, "replay.unordered" in refused.out)
    assert [[1, 4]] == desk.rows("id, n", "items")
    assert 0 == desk.ask("replay", "--topic", topic, "--to-offset", "2", "--into", "shadow").code
    assert [[1, 1]] == desk.rows("id, n", "shadow")
    assert 0 == desk.ask("replay", "--topic", topic, "--unordered").code
    assert [[1, 4]] == desk.rows("id, n", "items")


def test_a_rate_is_kept(desk: Desk) -> None:
    """Never more than the rate allows for the time that has passed, however slow the machine is."""
    topic = stored(desk, range(60))
    seen = []
    plan = ReplayPlan({Partition(topic, 0): Bounds(0, 63)}, rate=30, is_dry=True)
    report = replay(desk.settings(), plan, lambda progress: seen.append((time.monotonic(), progress.read)))
    assert (63, True) == (report.books.read, report.is_fine)
    first_s = seen[0][0]
    assert all(read <= 15 + 30 * (at_s - first_s + 1) for at_s, read in seen), seen
    assert seen[-1][0] - first_s > 0.5


@pytest.fixture(scope="module")
def embedded_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    monkeypatch = pytest.MonkeyPatch()
    try:
        folder = tmp_path_factory.mktemp("site")
        with Broker(auto_create=False) as broker, Store() as store, site_at(broker.address, store.url, folder) as site:
            site.make("orders", partitions=2)
            site.contract("orders", CONTRACT)
            site.send(changes(site, [1, 2]))
            yield Desk(site, monkeypatch)
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name what is to be replayed with --topic"),
        (("--topic", "@x"), "does not exist, the nearest name is"),
        (("--topic", "@", "--since", "yesterday"), "yesterday is no time: write an age such as 30m"),
        (("--topic", "@", "--rate", "-1"), "-1 is no rate"),
        (("--topic", "@", "--from-offset", "first"), "--from-offset first is no offset"),
        (("--topic", "@", "--from-offset", "5:0"), "--from-offset 5:0 names a partition that is not there: they are 0 to 1"),
        (("--topic", "@", "--from-offset", "2", "--to-offset", "1"), "ends at 1, in front of its beginning at 2"),
        (("--topic", "@", "--from-offset", "2", "--since", "1h"), "--from-offset and --since both say where"),
        (("--topic", "@", "--into", "orders"), "is where the records go anyway"),
        (("--topic", "@", "--into", "ingest_x"), "ingest_x is no table for records"),
        (("--topic", "@", "--table", "nope", "--into", "x"), "CrateDB has no table"),
        (("--topic", "@", "--group", "$"), "is the group of the workers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_questions_are_one_sentence(
    embedded_site: Desk, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    site = embedded_site.site
    named = [part.replace("@", site.topic("orders")).replace("$", site.name) for part in arguments]
    found = Desk(site, monkeypatch).ask("replay", *named)
    assert (2, "", 1) == (found.code, found.out, len(found.err.splitlines())), found
    assert sentence in found.err
