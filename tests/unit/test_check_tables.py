"""The part of `check` that looks at tables and CrateDB: what fails, what only costs something, and what each line says to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.crate.http import Answer
from ingest.errors import IngestError, Retry
from ingest.kafka.preflight import LettersSeen, Seen, TopicSeen
from ingest.model import Column, Record, Table
from ingest.settings import Settings
from ingest.tables.calendar_utc import month_of
from ingest.tables.contract import Contract, PartitionRule
from ingest.tools import check_crate, check_storage, check_tables
from ingest.tools.check_crate import Cluster
from ingest.tools.check_storage import Kept
from ingest.tools.findings import Finding

SETTINGS = Settings.load({})
TWO_ADDRESSES = Settings.load({"INGEST_CRATE_URLS": "http://a:4200,http://b:4200"})
COLUMNS = {
    "id": Column("id", "bigint", nullable=False),
    "total": Column("total", "numeric", precision=18, scale=2),
    "created_at": Column("created_at", "timestamp with time zone"),
    "month": Column("month", "timestamp with time zone", nullable=False),
    "cdc_version": Column("cdc_version", "text"),
    "cdc_deleted": Column("cdc_deleted", "boolean"),
}
ORDERS = Table("doc", "orders", COLUMNS, ("id",), "month", primary_key=("id", "month"), shards=3)
JAN_2024, DAY_MS = 1704067200000, 86_400_000
MONTHS_2023 = [month_of(JAN_2024 - 365 * DAY_MS + n * 31 * DAY_MS) for n in range(12)]
NOW_MS = JAN_2024 + 5 * DAY_MS
MARKS = {"low": "85%", "high": "90%", "flood_stage": "95%"}


def cluster(disk: dict[str, Any] | None = None, nodes: int = 1, used: int | None = 0, **allocation: Any) -> Cluster:
    routing = {"allocation": {"disk": disk or {"threshold_enabled": True, "watermark": MARKS}, **allocation}}
    settings = {"routing": routing, "max_shards_per_node": 1_000}
    return Cluster("crate", [f"node-{n}" for n in range(nodes)], ["6.4.3"] * nodes, settings, used)


def raise_(error: Exception) -> str:
    raise error


def states(findings: Iterable[Finding]) -> list[str]:
    return [finding.state.value for finding in findings]


def look(table: Table | None, contract: Contract | None = None, **more: Any) -> list[Finding]:
    return list(check_tables.of_table(SETTINGS, "doc.orders", table, contract, **more))


class Client:
    """Answers each statement that has some words in it; refuses all others, as a server does to a user without privileges."""

    def __init__(self, answers: dict[str, list[list[Any]]]) -> None:
        self.answers = answers

    def execute(self, stmt: str, args: object = None) -> Answer:
        for words, rows in self.answers.items():
            if words in stmt:
                return Answer(200, {"cols": [], "rows": rows})
        return Answer(404, {"error": {"message": "SchemaUnknownException[Schema 'sys' unknown]", "code": 4045}})

    def is_settling(self) -> bool:
        return False


def client(**answers: list[list[Any]]) -> Any:
    return Client(answers)


# ---------------------------------------------------------------- tables and contracts


def test_a_good_table_says_how_it_is_kept_and_what_does_not_hold() -> None:
    kept, *limits = look(ORDERS)
    assert "level: ordered" in kept.text
    assert "key: id" in kept.text
    assert "month: month from created_at" in kept.text
    assert "contract: none" in kept.text
    assert ["WARN"] * len(limits) == states(limits)
    assert all(limit.text.startswith("does not hold: ") for limit in limits)


def test_not_null_in_a_table_with_tombstones_fails() -> None:
    columns = {**COLUMNS, "total": COLUMNS["total"]._replace(nullable=False)}
    (finding,) = look(replace(ORDERS, columns=columns))
    assert "FAIL" == finding.state.value
    assert "total of doc.orders is NOT NULL" in finding.text


def test_a_system_column_of_the_wrong_type_fails() -> None:
    columns = {**COLUMNS, "cdc_version": Column("cdc_version", "bigint")}
    (finding,) = look(replace(ORDERS, columns=columns))
    assert ("FAIL", "cdc_version of doc.orders is bigint: it must be text") == (finding.state.value, finding.text)


def test_a_generated_month_is_a_warning() -> None:
    columns = {**COLUMNS, "month": COLUMNS["month"]._replace(generated=True, keys=("created_at",))}
    findings = look(replace(ORDERS, columns=columns, generated_month=True))
    assert any(finding.state.value == "WARN" and "is generated" in finding.text for finding in findings)
    assert "FAIL" not in states(findings)


def test_a_month_that_nobody_can_find_fails_with_the_remedy() -> None:
    columns = {name: column for name, column in COLUMNS.items() if name != "created_at"}
    (finding,) = look(replace(ORDERS, columns=columns))
    assert "FAIL" == finding.state.value
    assert "month" in finding.text


def test_contradictions_are_all_shown_with_file_and_line() -> None:
    contract = Contract(
        "doc.orders",
        key=("order_id",),
        partition=PartitionRule("monht", "created_at"),
        file="schemas/orders.toml",
        lines={"key": 3, "partition": 4},
    )
    found = look(ORDERS, contract)
    assert ["FAIL", "FAIL"] == states(found)
    assert ["schemas/orders.toml:3: ", "schemas/orders.toml:4: "] == [finding.text[:23] for finding in found]


def test_a_missing_table_fails_if_a_contract_or_a_record_names_it_and_is_a_warning_else() -> None:
    assert ["WARN"] == states(look(None))
    assert ["FAIL"] == states(look(None, is_sure=True))
    (finding,) = look(None, Contract("doc.orders", file="schemas/orders.toml"))
    assert "FAIL" == finding.state.value
    assert "`ingest migrate`" in finding.text


def test_a_table_that_a_user_may_not_see_looks_like_a_missing_one() -> None:
    (finding,) = look(None, is_sure=True, user="worker")
    assert "GRANT DQL, DML ON TABLE doc.orders TO worker" in finding.text


@pytest.mark.parametrize(
    ("existing", "words"),
    [(frozenset({"orders", "gone"}), "exists, but is not in INGEST_TOPICS"), (frozenset({"orders"}), "is none of the topics")],
)
def test_topics_of_a_contract_that_nobody_reads_are_told(existing: frozenset[str], words: str) -> None:
    contract = Contract("doc.orders", ("^ord", "gone"), file="schemas/orders.toml", lines={"topics": 2})
    seen = Seen(topics={"orders": TopicSeen("orders", 1)}, existing=existing)
    (finding,) = check_tables.of_topics(contract, seen)
    assert "WARN" == finding.state.value
    assert finding.text.startswith("schemas/orders.toml:2: topic gone ")
    assert words in finding.text


# ---------------------------------------------------------------- ways


def topic(name: str = "orders", policy: str = "delete", retention_ms: int = 7 * DAY_MS) -> TopicSeen:
    return TopicSeen(name, 1, config={"cleanup.policy": policy, "retention.ms": str(retention_ms)})


@pytest.mark.parametrize(
    ("contract", "topic", "words"),
    [
        (Contract("t", partition=PartitionRule(keep_months=1)), topic(retention_ms=-1), "longer than keep = 1 months"),
        (Contract("t", partition=PartitionRule(keep_months=1)), topic(retention_ms=40 * DAY_MS), "become dead letters"),
        (Contract("t", partition=PartitionRule(keep_months=1)), topic(retention_ms=30 * DAY_MS), None),
        (Contract("t", by_position=True), topic(policy="compact"), "only the last stays"),
        (Contract("t", by_position=True), topic(), None),
        (Contract("t"), topic(policy="compact"), None),
        (None, topic(retention_ms=-1), None),
    ],
)
def test_what_a_topic_keeps_against_what_its_table_keeps(contract: Contract | None, topic: TopicSeen, words: str | None) -> None:
    found = list(check_tables.of_way(contract, [topic], ORDERS))
    assert (words is not None) == bool(found)
    assert words is None or words in found[0].text


@pytest.mark.parametrize(
    ("letters", "words"),
    [
        (topic("dlq", retention_ms=14 * DAY_MS), "tombstones may go when they are older than 14 days"),
        (topic("dlq", retention_ms=-1), "tombstones must stay"),
        (TopicSeen("dlq", 1), ""),
    ],
)
def test_tombstones_outlive_records_and_letters(letters: TopicSeen, words: str) -> None:
    seen = Seen(topics={"orders": topic()}, letters=LettersSeen(letters, exists=True))
    finding = check_tables._at_rest(seen, ["orders"], ORDERS, "6 columns")
    assert words in finding.text
    assert bool(words) == ("tombstones" in finding.text)


def test_a_table_that_no_topic_leads_to_is_told() -> None:
    finding = check_tables._at_rest(Seen(topics={"items": topic("items")}), [], ORDERS, "6 columns")
    assert ("WARN", True) == (finding.state.value, "no topic leads to it" in finding.text)


# ---------------------------------------------------------------- everything of the tables together


def records(*values: object) -> list[Record]:
    return [Record("orders", 0, n, NOW_MS, b"1", json.dumps(value).encode()) for n, value in enumerate(values)]


def of_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: dict[str, Table], *values: object) -> list[Finding]:
    settings = Settings.load({"INGEST_TOPICS": "orders", "INGEST_SCHEMAS_DIR": str(tmp_path)})
    monkeypatch.setattr(check_tables, "describe", lambda _, names: {name: found.get(name) for name in names})
    seen = Seen(topics={"orders": topic()}, existing=frozenset({"orders"}))
    may = {"has_table_privilege": [[True, True]]}
    tries = {"orders": records(*values)} if values else {}
    return list(check_tables.of_tables(settings, Client(may), cluster(), seen, tries))  # type: ignore[arg-type]


GOOD = {"id": 1, "total": "1.50", "created_at": "2024-01-05T00:00:00Z"}
EVENTS = replace(ORDERS, columns={name: each for name, each in COLUMNS.items() if not name.startswith("cdc_")})


def test_the_newest_records_are_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = of_tables(monkeypatch, tmp_path, {"doc.orders": EVENTS}, GOOD, GOOD)
    assert "FAIL" not in states(found)
    assert "read as plain; 2 records at its end fit doc.orders" in [each.text for each in found]


def test_one_bad_record_among_good_ones_is_a_warning_and_alone_it_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = {**GOOD, "total": "no number"}
    for values, state in (((GOOD, bad), "WARN"), ((bad, bad), "FAIL")):
        found = of_tables(monkeypatch, tmp_path, {"doc.orders": EVENTS}, *values)
        (finding,) = [each for each in found if "would be a dead letter" in each.text]
        assert state == finding.state.value
        assert "column total" in finding.text
        assert "`ingest explain orders:0:1`" in finding.text
        assert "no number" not in finding.text.replace("is no number", "")


def test_without_a_contract_and_a_table_records_have_nowhere_to_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "FAIL" in states(of_tables(monkeypatch, tmp_path, {}, GOOD))
    assert "FAIL" not in states(of_tables(monkeypatch, tmp_path, {}))


def test_wrong_contracts_keep_records_from_being_tried_but_not_tables_from_being_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "orders.toml").write_text("tabel = 1\n")
    found = of_tables(monkeypatch, tmp_path, {"doc.orders": EVENTS}, GOOD)
    assert "FAIL" in [each.state.value for each in found if each.what == "contracts"]
    assert "doc.orders" in [each.what for each in found]
    assert not any("read as" in each.text for each in found)


def test_a_catalogue_that_shows_no_table_at_all_is_told_table_by_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_: object) -> dict[str, Table]:
        raise Retry("store.starting", "shows no table at all")

    monkeypatch.setattr(check_tables, "describe", empty)
    assert ({"doc.orders": None}, {}) == check_tables.described(client(), ["doc.orders"])


# ---------------------------------------------------------------- how tables are kept


def of_kept(kept: Kept, table: Table = ORDERS, nodes: int = 1) -> list[Finding]:
    return list(check_storage.of_kept(SETTINGS, cluster(nodes=nodes), table, kept, NOW_MS))


def blocked(block: str) -> Kept:
    return Kept(settings={"blocks": {block: True}})


@pytest.mark.parametrize(
    ("kept", "state", "words"),
    [
        (Kept(is_closed=True), "FAIL", 'ALTER TABLE "doc"."orders" OPEN'),
        (blocked("read_only"), "FAIL", 'ALTER TABLE "doc"."orders" SET ("blocks.read_only" = false)'),
        (blocked("write"), "FAIL", '"blocks.write" = false'),
        (blocked("read_only_allow_delete"), "FAIL", "after freeing some space"),
        (blocked("metadata"), "FAIL", "no partition can be made"),
        (Kept(shut=2), "FAIL", "2 partitions closed or blocked"),
        (Kept(health={"RED": 1}), "FAIL", "1 partition RED"),
        (Kept(health={"YELLOW": 3}), "WARN", "3 partitions YELLOW"),
        (Kept(settings={"translog": {"durability": "ASYNC"}}), "WARN", "\"translog.durability\" = 'REQUEST'"),
        (Kept(settings={"refresh_interval": 0}), "WARN", "never refreshed"),
        (Kept(settings={"refresh_interval": -1}), "WARN", "never refreshed"),
        (Kept(settings={"refresh_interval": 60_000}), "WARN", 'after 60 s: ALTER TABLE "doc"."orders" RESET (refresh_interval)'),
        (Kept(settings={"mapping": {"total_fields": {"limit": 6}}}), "WARN", "has 6 of 6 columns"),
        (Kept(settings={"refresh_interval": 1_000, "translog": {"durability": "REQUEST"}, "blocks": {}}), None, ""),
    ],
)
def test_how_a_table_is_kept(kept: Kept, state: str | None, words: str) -> None:
    found = of_kept(kept)
    assert ([state] if state else []) == states(found)
    assert state is None or words in found[0].text


def test_a_table_without_copies_is_told_where_there_are_nodes_for_them() -> None:
    assert [] == of_kept(Kept("0"))
    assert ["WARN"] == states(of_kept(Kept("0"), nodes=3))
    assert [] == of_kept(Kept("0-1"), nodes=3)


def test_a_table_of_an_old_version_under_a_bad_one_fails() -> None:
    bad = Cluster("crate", ["n"], ["6.1.2"], {}, 0)
    (finding,) = check_storage.of_kept(SETTINGS, bad, ORDERS, Kept(created="5.3.1"), NOW_MS)
    assert ("FAIL", True) == (finding.state.value, "upgrade to 6.4.3 at once" in finding.text)


def test_partitions_that_are_no_months_and_those_of_a_wrong_clock_are_told() -> None:
    odd = replace(ORDERS, months=frozenset({JAN_2024, JAN_2024 + DAY_MS}))
    assert "1 partition of month do not begin with a month" in of_kept(Kept(), odd)[0].text
    future = replace(ORDERS, months=frozenset({JAN_2024, 4102444800000}))
    assert "1 partition up to 2100-01 lie beyond INGEST_MONTH_MAX=12" in of_kept(Kept(), future)[0].text


def test_what_the_catalogue_says_is_put_to_its_table() -> None:
    answers = {
        "information_schema.tables": [["doc", "orders", "1", False, "6.4.3", {"refresh_interval": 500}]],
        "table_partitions": [
            ["doc", "orders", True, {}],
            ["doc", "orders", False, {"blocks": {"write": True}}],
            ["doc", "orders", False, {"blocks": {"write": False}}],
        ],
        "sys.health": [["doc", "orders", "RED", 2]],
        "sys.shards": [["doc", "orders", 4_096]],
    }
    kept = check_storage.kept_of(Client(answers), [ORDERS])["doc", "orders"]  # type: ignore[arg-type]
    assert ("1", "6.4.3", 2, {"RED": 2}, 500, 4_096) == (
        kept.replicas,
        kept.created,
        kept.shut,
        kept.health,
        kept.setting("refresh_interval"),
        kept.size_bytes,
    )


@pytest.mark.parametrize(
    ("months", "shards", "size_bytes", "is_told"),
    [(6, 2, 6 * 10**9 - 1, True), (6, 2, 6 * 10**9, False), (5, 2, 1, False), (6, 1, 1, False), (6, 2, None, False)],
)
def test_small_months_of_several_shards_are_told(months: int, shards: int, size_bytes: int | None, is_told: bool) -> None:
    table = replace(ORDERS, months=frozenset(MONTHS_2023[:months]), shards=shards)
    found = of_kept(Kept(size_bytes=size_bytes), table)
    assert (["WARN"] if is_told else []) == states(found)
    assert not is_told or "hold 1,000.0 MB on average in 2 shards each" in found[0].text


def test_a_table_in_words() -> None:
    months = replace(ORDERS, months=frozenset({JAN_2024, JAN_2024 + 31 * DAY_MS}))
    words = check_storage.shape(months, Kept("1", settings={"refresh_interval": 500}), nodes=2)
    assert "2 partitions 2024-01 to 2024-02; 3 shards a partition, 2 copies; refreshed every 0.5 s" in words
    assert words.startswith("6 columns (2 timestamp, 1 bigint, 1 numeric(18,2), 1 text, 1 more)")


# ---------------------------------------------------------------- privileges


@pytest.mark.parametrize(
    ("may", "lacks"), [([True, True], None), ([True, False], "DML"), ([False, True], "DQL"), ([False, False], "DQL, DML")]
)
def test_missing_privileges_fail_with_the_grant(may: list[bool], lacks: str | None) -> None:
    found = list(check_storage.of_privileges(client(has_table_privilege=[may]), replace(cluster(), user="Me"), [ORDERS]))
    expected = [] if lacks is None else [f'user Me lacks {lacks}: GRANT {lacks} ON TABLE "doc"."orders" TO "Me"']
    assert expected == [each.text for each in found]


def test_privileges_that_cannot_be_asked_are_untold_once() -> None:
    assert ["?"] == states(check_storage.of_privileges(client(), cluster(), [ORDERS, ORDERS]))


def test_migrations_need_the_right_to_make_tables() -> None:
    found = list(check_storage.of_schema_privilege(client(has_schema_privilege=[[False]]), cluster(), "Shop"))
    assert ["FAIL"] == states(found)
    assert 'GRANT DDL, DQL, DML ON SCHEMA "Shop" TO crate' in found[0].text
    assert [] == list(check_storage.of_schema_privilege(client(has_schema_privilege=[[True]]), cluster(), "doc"))


def test_a_user_who_may_not_read_sys_is_told_what_that_costs() -> None:
    found = list(check_crate.of_cluster(SETTINGS, client(), Cluster("worker")))
    assert ["FAIL", "?", "?"] == states(found)
    assert found[0].text.endswith("GRANT DQL ON SCHEMA sys TO worker")


# ---------------------------------------------------------------- the cluster


@pytest.mark.parametrize(
    ("available", "disk", "state", "words"),
    [
        (50, None, "ok", "free: 50 bytes of 100 bytes"),
        (12, None, "WARN", "above the low mark of 85%"),
        (8, None, "WARN", "above the high mark of 90%"),
        (3, None, "FAIL", "above the flood stage mark of 95%, so its tables are read-only"),
        (50, {"watermark": {"low": "60b"}}, "WARN", "above the low mark of 60b"),
        (50, {"watermark": {"low": 0.3}}, "WARN", "above the low mark of 0.3"),
    ],
)
def test_disks_against_the_marks(available: int, disk: dict[str, Any] | None, state: str, words: str) -> None:
    (finding,) = check_crate.of_disks([["n1", 100, available]], cluster(disk))
    assert state == finding.state.value
    assert words in finding.text


def test_marks_that_are_switched_off_are_told() -> None:
    found = list(check_crate.of_disks([["n1", 100, 50]], cluster({"threshold_enabled": False, "watermark": MARKS})))
    assert ["ok", "WARN"] == states(found)


@pytest.mark.parametrize("disks", [None, [], [["n1", None, None]]], ids=["refused", "none", "null"])
def test_disks_that_cannot_be_seen_are_untold(disks: list[list[Any]] | None) -> None:
    assert ["?"] == states(check_crate.of_disks(disks, cluster()))


@pytest.mark.parametrize(("enable", "state"), [("all", []), ("none", ["FAIL"]), ("primaries", ["WARN"])])
def test_allocation_that_is_switched_off_is_told(enable: str, state: list[str]) -> None:
    assert state == states(check_crate.of_allocation(cluster(enable=enable)))


@pytest.mark.parametrize(
    ("used", "state"), [(0, "ok"), (980, "WARN"), (1_000, "FAIL"), (1_200, "FAIL")], ids=["room", "tight", "full", "over"]
)
def test_room_for_the_shards_of_the_coming_months(used: int, state: str) -> None:
    wanted = check_crate.shards_ahead([(ORDERS, 1), (replace(ORDERS, month_column=None), 1)])
    finding = check_crate.of_room(cluster(used=used), wanted)
    assert state == finding.state.value
    assert "the next 12 months need up to 36 more" in finding.text


def test_copies_need_room_as_well() -> None:
    assert 72 == check_crate.shards_ahead([(ORDERS, 2)])


def test_room_that_cannot_be_seen_is_untold() -> None:
    assert "?" == check_crate.of_room(Cluster("worker"), 12).state.value


def test_mixed_versions_are_told() -> None:
    mixed = Cluster("crate", ["a", "b"], ["6.4.3", "6.4.2"], {}, 0)
    found = list(check_crate.of_nodes(SETTINGS, mixed))
    assert ["ok", "WARN", "WARN"] == states(found)
    assert "finish the upgrade" in found[1].text


def test_a_password_has_its_price() -> None:
    with_password = Settings.load({"INGEST_CRATE_PASSWORD": "x"})
    assert any("password check" in each.text for each in check_crate.of_nodes(with_password, cluster()))
    assert not any("password check" in each.text for each in check_crate.of_nodes(SETTINGS, cluster()))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["x", "x"], ["ok"]),
        (["x", None], ["ok", "WARN"]),
        (["", "x"], ["ok"]),
    ],
    ids=["both", "one away", "one is blind"],
)
def test_every_address_is_asked(monkeypatch: pytest.MonkeyPatch, answers: list[str | None], expected: list[str]) -> None:
    given: Iterator[str | None] = iter(answers)

    def ask(*_: object) -> str:
        answer = next(given)
        if answer is None:
            raise Retry("store.unreachable", "no node answers")
        return answer

    monkeypatch.setattr(check_crate, "_cluster_at", ask)
    assert expected == states(check_crate.of_addresses(TWO_ADDRESSES))


@pytest.mark.parametrize(
    ("answer", "code"),
    [(lambda address: str(address), "store.clusters"), (lambda _: raise_(Retry("store.unreachable")), "store.unreachable")],
    ids=["two clusters", "none answers"],
)
def test_addresses_that_lead_nowhere_or_astray_end_the_part(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[object], str], code: str
) -> None:
    monkeypatch.setattr(check_crate, "_cluster_at", lambda _, address: answer(address))
    with pytest.raises(IngestError) as stop:
        list(check_crate.of_addresses(TWO_ADDRESSES))
    assert code == stop.value.code
