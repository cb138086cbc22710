"""`ingest check` against real servers and against the embedded ones: wrong things made on purpose, and what it says of each."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from ingest import cli
from ingest.practice.broker import Broker
from ingest.practice.store import Store
from ingest.tools.check import findings_of
from ingest.tools.findings import Finding
from tests.crate_rig import Rig
from tests.kafka_rig import BrokerRig
from tests.servers import CrateServer

ORDERS = (
    "id BIGINT, total NUMERIC(12, 2), created_at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE, "
    "cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)"
)
MONTHLY = "CLUSTERED BY (id) INTO 2 SHARDS PARTITIONED BY (month)"
ROW = {"id": 1, "total": "1.50", "created_at": "2026-01-05T00:00:00Z"}
SOURCE = {"connector": "postgresql", "version": "2.7", "name": "x", "db": "d", "schema": "public", "table": "orders"}


def envelope(**after: object) -> bytes:
    moment = {"ts_ms": 1704067200000}
    body = {"before": None, "after": ROW | after, "source": {**SOURCE, **moment, "lsn": 5, "txId": 1}, "op": "c", **moment}
    return json.dumps(body).encode()


class Site:
    """A topic, a schema with the table that it leads to, and the settings of a worker between them."""

    def __init__(self, broker: BrokerRig, crate_url: str, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.name = f"ck_{uuid.uuid4().hex[:8]}"
        self.crate = Rig(crate_url, self.name)
        self.topic = f"{self.name}.public.orders"
        (folder / "schemas").mkdir()
        (folder / "sql").mkdir()
        self.environ = {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "INGEST_CRATE_URLS": crate_url,
            "INGEST_CRATE_SCHEMA": self.name,
            "INGEST_GROUP_ID": self.name,
            "INGEST_TOPICS": self.topic,
            "INGEST_SCHEMAS_DIR": str(folder / "schemas"),
            "INGEST_SQL_DIR": str(folder / "sql"),
        }

    def make_topic(self, partitions: int = 2, name: str | None = None, **configs: object) -> None:
        options = {key.replace("_", "."): str(value) for key, value in configs.items()}
        shape = {"num_partitions": partitions, "replication_factor": 1, "configs": options}
        self.broker.admin(lambda admin: admin.create_topics({name or self.topic: shape}, wait_for_metadata=True))

    def put(self, value: bytes, partition: int = 0) -> None:
        producer = KafkaProducer(bootstrap_servers=[self.broker.address])
        try:
            producer.send(self.topic, value, b'{"id":1}', partition=partition).get(timeout=20)
        finally:
            producer.close()

    def make_table(self, columns: str = ORDERS, options: str = MONTHLY, name: str = "orders") -> str:
        full = f"{self.name}.{name}"
        self.crate.sql(f"CREATE TABLE {full} ({columns}) {options}")
        return full

    def make_all(self) -> str:
        self.make_topic()
        self.put(envelope())
        return self.make_table()

    def contract(self, text: str, file: str = "orders.toml") -> None:
        (self.folder / "schemas" / file).write_text(text)

    def check(self, **environ: str) -> list[Finding]:
        found = findings_of({**self.environ, **environ})
        if os.environ.get("SHOW_FINDINGS"):
            from ingest.tools.findings import shown

            sys.stderr.write(f"\n{shown([each for each in found if each.state.value != 'ok'])}\n")
        return found


def texts(found: list[Finding], state: str) -> list[str]:
    return [f"{each.what}: {each.text}" for each in found if each.state.value == state]


def failures(found: list[Finding]) -> str:
    return "\n".join(texts(found, "FAIL"))


def warnings(found: list[Finding]) -> str:
    return "\n".join(texts(found, "WARN"))


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(BrokerRig(kafka_address), crate_url, tmp_path)
    yield made
    made.crate.drop()


# ---------------------------------------------------------------- all is well


def test_a_right_deployment_has_no_failure_and_names_every_part(site: Site) -> None:
    site.make_all()
    found = site.check()
    assert "" == failures(found)
    assert [] == texts(found, "?")
    whats = list(dict.fromkeys(each.what for each in found))
    assert whats[:3] == ["settings", "kafka", "codecs"]
    for part in (
        f"topic {site.topic}",
        "group",
        "progress",
        "dead letters",
        "cratedb",
        "disk",
        "contracts",
        f"{site.name}.orders",
    ):
        assert part in whats
    assert whats[-1] == "shards"
    assert f"read as debezium; its newest record fits {site.name}.orders" in [each.text for each in found]


def test_check_changes_nothing(site: Site) -> None:
    site.make_all()
    before = site.broker.topics()
    site.check()
    assert before == site.broker.topics()
    assert {} == site.broker.committed(site.name, site.topic)
    assert 0 == site.crate.sql(f"SELECT count(*) FROM {site.name}.orders").rows[0][0]


def test_the_command_ends_with_three_and_its_json_holds_the_failure(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli.app, ["check", "--json"])
    assert 3 == result.exit_code
    assert "FAIL" in {each["state"] for each in json.loads(result.stdout)}
    assert "" == result.stderr
    site.make_all()
    result = CliRunner().invoke(cli.app, ["check"])
    assert (0, "") == (result.exit_code, result.stderr)
    assert result.stdout.splitlines()[-1].endswith(" 0 failed")


# ---------------------------------------------------------------- Kafka


def test_a_missing_topic(site: Site) -> None:
    site.make_table()
    assert f"topic {site.topic} does not exist" in failures(site.check())


def test_dead_letters_that_may_not_be_created(site: Site) -> None:
    site.make_all()
    assert f"topic {site.name}.dlq does not exist: create it" in failures(site.check(INGEST_DLQ_CREATE="false"))


def test_dead_letters_that_go_before_their_records(site: Site) -> None:
    site.make_all()
    site.make_topic(name=f"{site.name}.dlq", retention_ms=3_600_000, cleanup_policy="compact,delete", max_message_bytes=1000)
    said = warnings(site.check())
    assert "keeps letters for 60 minutes" in said
    assert "of two letters with one key the first is lost" in said
    assert "larger letters lose their value" in said


def test_topics_that_keep_little(site: Site) -> None:
    site.make_topic(retention_ms=3_600_000)
    site.make_table()
    assert "keeps records for 60 minutes only" in warnings(site.check())


def test_a_group_that_retention_has_overtaken(site: Site) -> None:
    from kafka import TopicPartition

    site.make_all()
    for _ in range(3):
        site.put(envelope())
    site.broker.commit(site.name, site.topic, 1)
    site.broker.admin(lambda admin: admin.delete_records({TopicPartition(site.topic, 0): 3}))
    assert "retention deleted 2 offsets of 1 partition before they were read" in failures(site.check())
    found = site.check(INGEST_ON_GAP="continue")
    assert "" == failures(found)
    assert "goes on behind them" in warnings(found)


def test_a_topic_that_was_created_again(site: Site) -> None:
    site.make_all()
    site.broker.commit(site.name, site.topic, 5)
    assert "partition 0 ends before what the group has read" in failures(site.check())


def test_how_far_behind_the_group_is(site: Site) -> None:
    site.make_all()
    site.put(envelope(), partition=1)
    site.broker.commit(site.name, site.topic, 1)
    assert f"1 record behind ({site.topic} 1)" in [each.text for each in site.check() if each.what == "progress"]


def test_other_members_with_another_way_to_assign(site: Site) -> None:
    from kafka import KafkaConsumer

    site.make_all()
    consumer = KafkaConsumer(site.topic, bootstrap_servers=[site.broker.address], group_id=site.name)
    try:
        for _ in range(50):
            consumer.poll(200)
            if consumer.assignment():
                break
        assert "of " + site.name + " assign partitions with range" in failures(site.check())
    finally:
        consumer.close(autocommit=False)


# ---------------------------------------------------------------- records


def test_records_that_would_be_dead_letters(site: Site) -> None:
    site.make_topic()
    site.make_table()
    site.put(envelope(total="abc"))
    said = failures(site.check())
    assert "[0]@0 would be a dead letter: type." in said
    assert "column total" in said
    assert "abc" not in said
    site.put(envelope(), partition=1)
    found = site.check()
    assert "" == failures(found)
    assert "would be a dead letter" in warnings(found)


def test_framed_records_without_a_registry(site: Site) -> None:
    site.make_topic()
    site.make_table()
    site.put(b"\x00\x00\x00\x00\x07abc")
    assert "the record names schema 7: set INGEST_SCHEMA_REGISTRY_URL" in failures(site.check())


def test_a_registry_that_is_away(site: Site) -> None:
    site.make_all()
    said = failures(site.check(INGEST_SCHEMA_REGISTRY_URL="http://127.0.0.1:1"))
    assert "registry: http://127.0.0.1:1 does not answer" in said


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('"blocks.read_only" = true', "is read-only: ALTER TABLE"),
        ('"blocks.write" = true', "is blocked for writing"),
        ('"blocks.read_only_allow_delete" = true', "is read-only because a disk is full"),
        ('"blocks.metadata" = true', "is blocked for changes, so no partition can be made"),
    ],
)
def test_a_blocked_table(site: Site, setting: str, words: str) -> None:
    table = site.make_all()
    site.crate.sql(f"ALTER TABLE {table} SET ({setting})")
    found = site.check()
    site.crate.sql(f"ALTER TABLE {table} RESET ({setting.split(' ')[0]})")
    assert f"{table}: {words}" in failures(found)


def test_a_closed_table_and_a_blocked_partition(site: Site) -> None:
    table = site.make_all()
    site.crate.sql(f"INSERT INTO {table} (id, month) VALUES (1, '2024-01-01'), (1, '2024-02-01')")
    site.crate.sql(f"ALTER TABLE {table} PARTITION (month = '2024-01-01') SET (\"blocks.write\" = true)")
    found = site.check()
    assert f"{table}: 1 partition closed or blocked for writing" in failures(found)
    assert "2 partitions 2024-01 to 2024-02" in "\n".join(texts(found, "ok"))
    site.crate.sql(f"ALTER TABLE {table} PARTITION (month = '2024-01-01') RESET (\"blocks.write\")")
    site.crate.sql(f"ALTER TABLE {table} CLOSE")
    assert f"{table}: is closed" in failures(site.check())
    site.crate.sql(f"ALTER TABLE {table} OPEN")


def test_settings_that_cost_something(site: Site) -> None:
    site.make_topic()
    table = site.make_table(options=f"{MONTHLY} WITH (\"translog.durability\" = 'ASYNC', refresh_interval = 0)")
    site.crate.sql(f'ALTER TABLE {table} SET ("mapping.total_fields.limit" = 6)')
    said = warnings(site.check())
    assert "translog.durability is ASYNC" in said
    assert "is never refreshed" in said
    assert "has 6 of 6 columns" in said


def test_many_small_shards_are_told_and_the_advice_is_for_months_to_come(site: Site) -> None:
    site.make_topic()
    table = site.make_table(options=MONTHLY)
    months = [f"2024-{month:02}-01" for month in range(1, 7)]
    for month in months:
        site.crate.sql(f"INSERT INTO {table} (id, month) VALUES (1, '{month}')")
    site.crate.sql(f"REFRESH TABLE {table}")
    (told,) = [line for line in warnings(site.check()).splitlines() if "6 months hold" in line]
    advice = re.search(r"ALTER TABLE .* SET \(number_of_shards = 1\)", told)
    assert advice, told
    site.crate.sql(advice[0])
    site.crate.sql(f"INSERT INTO {table} (id, month) VALUES (1, '2024-07-01')")
    shards = "SELECT count(DISTINCT id) FROM sys.shards WHERE table_name = ? GROUP BY partition_ident ORDER BY 1"
    assert [[1], *[[2]] * 6] == site.crate.sql(shards, [table.split(".")[-1]]).rows
    assert "6 months hold" not in warnings(site.check())


def test_the_advice_for_a_table_that_is_seldom_refreshed_is_one_that_it_takes(site: Site) -> None:
    site.make_topic()
    site.make_table(options=f"{MONTHLY} WITH (refresh_interval = 60000)")
    advice = re.search(r"ALTER TABLE .* RESET \(refresh_interval\)", warnings(site.check()))
    assert advice
    site.crate.sql(advice[0])
    assert "readers see new rows after" not in warnings(site.check())


def test_columns_of_the_wrong_kind(site: Site) -> None:
    site.make_topic()
    site.make_table(
        ORDERS.replace("cdc_version TEXT", "cdc_version BIGINT").replace("total NUMERIC(12, 2)", "total TEXT NOT NULL")
    )
    said = failures(site.check())
    assert f"cdc_version of {site.name}.orders is bigint: it must be text" in said
    assert f"total of {site.name}.orders is NOT NULL" in said


def test_partitions_that_are_no_months(site: Site) -> None:
    table = site.make_all()
    site.crate.sql(f"INSERT INTO {table} (id, month) VALUES (1, '2024-01-17')")
    assert "1 partition of month do not begin with a month" in warnings(site.check())


def test_a_contract_for_no_table_and_one_that_cannot_be_read(site: Site) -> None:
    site.make_all()
    site.contract(f'table = "{site.name}.nothing"\n', "nothing.toml")
    site.contract('tabel = "x"\n', "wrong.toml")
    said = failures(site.check())
    assert "nothing.toml names it, but CrateDB shows no such table" in said
    assert "wrong.toml:1: " in said


def test_a_contract_whose_topics_nobody_reads(site: Site) -> None:
    table = site.make_all()
    site.contract(f'table = "{table}"\ntopics = ["{site.topic}", "shop.nobody"]\npartition = {{ from = "created_at" }}\n')
    assert "orders.toml:2: topic shop.nobody is none of the topics that are read" in warnings(site.check())


def test_a_missing_table_that_records_lead_to(site: Site) -> None:
    site.make_topic()
    site.make_table(name="other")
    assert "" == failures(site.check())
    site.put(envelope())
    assert f"{site.name}.orders: records lead to it, but CrateDB shows no such table" in failures(site.check())


def test_files_that_were_not_applied(site: Site) -> None:
    site.make_all()
    (site.folder / "sql" / "0001_more.sql").write_text(f"CREATE TABLE {site.name}.more (id BIGINT PRIMARY KEY);\n")
    assert "1 statement of 0001_more.sql not applied yet: run `ingest migrate`" in warnings(site.check())
    assert "migrations" not in warnings(site.check(INGEST_MIGRATE="true"))


# ---------------------------------------------------------------- users


@pytest.fixture
def user(site: Site) -> Iterator[Callable[..., dict[str, str]]]:
    """user(grants...): the settings of a user with these privileges and no others."""
    name = f"u_{uuid.uuid4().hex[:8]}"
    site.crate.sql(f"CREATE USER {name} WITH (password = 'pw')")

    def granted(*grants: str) -> dict[str, str]:
        for grant in grants:
            site.crate.sql(f"GRANT {grant} TO {name}")
        return {"INGEST_CRATE_USER": name, "INGEST_CRATE_PASSWORD": "pw"}

    yield granted
    site.crate.sql(f"DROP USER {name}")


def test_a_user_without_any_privilege(site: Site, user: Callable[..., dict[str, str]]) -> None:
    site.make_all()
    said = failures(site.check(**user()))
    assert "may not read sys.jobs, so after a time-out its rows wait for two minutes: GRANT DQL ON SCHEMA sys TO u_" in said
    assert f"or if it is there, GRANT DQL, DML ON TABLE {site.name}.orders TO u_" in said


def test_a_user_who_may_only_read(site: Site, user: Callable[..., dict[str, str]]) -> None:
    table = site.make_all()
    environ = user("DQL ON SCHEMA sys", f"DQL ON TABLE {table}")
    said = failures(site.check(**environ))
    assert f'lacks DML: GRANT DML ON TABLE "{site.name}"."orders" TO u_' in said
    assert "sys.jobs" not in said
    user(f"DML ON TABLE {table}")
    assert "" == failures(site.check(**environ))
    assert "may make no table in" in failures(site.check(**environ, INGEST_MIGRATE="true"))
    user(f"DDL ON SCHEMA {site.name}")
    assert "" == failures(site.check(**environ, INGEST_MIGRATE="true"))


def test_a_wrong_password(site: Site) -> None:
    site.make_all()
    found = site.check(INGEST_CRATE_USER="nobody", INGEST_CRATE_PASSWORD="secret-word")
    assert "refuses our credentials" in failures(found)
    assert "secret-word" not in "".join(each.text for each in found)


# ---------------------------------------------------------------- a cluster of our own


@pytest.fixture
def own_site(kafka_address: str, own_crate: CrateServer, tmp_path: Path) -> Iterator[Site]:
    made = Site(BrokerRig(kafka_address), own_crate.address, tmp_path)
    yield made
    for setting in ("cluster.max_shards_per_node", "cluster.routing"):
        made.crate.sql(f"RESET GLOBAL {setting}")
    made.crate.drop()


def test_disks_above_the_marks(own_site: Site) -> None:
    own_site.make_all()
    marks = "cluster.routing.allocation.disk.watermark"
    for low, high, flood, words in (
        ("1%", "98%", "99%", "above the low mark of 1%, so no more copies"),
        ("1%", "2%", "99%", "above the high mark of 2%, so its shards move away"),
        ("1%", "2%", "3%", "above the flood stage mark of 3%, so its tables are read-only"),
    ):
        own_site.crate.sql(f"SET GLOBAL \"{marks}.flood_stage\" = '{flood}'")
        own_site.crate.sql(f"SET GLOBAL \"{marks}.high\" = '{high}'")
        own_site.crate.sql(f"SET GLOBAL \"{marks}.low\" = '{low}'")
        found = own_site.check()
        assert words in failures(found) + warnings(found)


def test_no_room_for_shards(own_site: Site) -> None:
    own_site.make_all()
    used = own_site.crate.sql("SELECT count(*) FROM sys.shards").rows[0][0]
    own_site.crate.sql(f"SET GLOBAL cluster.max_shards_per_node = {used + 5}")
    assert "the next 12 months need up to 24 more: use fewer shards" in warnings(own_site.check())
    own_site.crate.sql(f"INSERT INTO {own_site.name}.orders (id, month) VALUES (1, '2024-01-01'), (1, '2024-02-01')")
    own_site.crate.sql("SET GLOBAL cluster.max_shards_per_node = 1")
    assert "no partition can be created" in failures(own_site.check())


def test_allocation_that_somebody_forgot_to_switch_on_again(own_site: Site) -> None:
    own_site.make_all()
    own_site.crate.sql("SET GLOBAL cluster.routing.allocation.enable = 'none'")
    assert "new partitions get no shards" in failures(own_site.check())


def test_copies_that_have_no_node(own_site: Site) -> None:
    own_site.make_topic()
    table = own_site.make_table("id BIGINT PRIMARY KEY", "CLUSTERED INTO 1 SHARDS WITH (number_of_replicas = 1)")
    assert f"{table}: 1 table YELLOW" in warnings(own_site.check())


def test_one_of_two_addresses_is_away(own_site: Site, crate_url: str) -> None:
    own_site.make_all()
    own = own_site.crate.url
    assert "1 of 2 addresses" in warnings(own_site.check(INGEST_CRATE_URLS=f"{own},http://127.0.0.1:1"))
    if crate_url != own:
        found = own_site.check(INGEST_CRATE_URLS=f"{own},{crate_url}")
        assert "belong to different clusters" in failures(found)
        assert not any(each.what.endswith(".orders") and "topic" not in each.what for each in found)


# ---------------------------------------------------------------- the embedded ones


def test_against_the_embedded_servers_only_what_they_lack_is_untold(tmp_path: Path) -> None:
    with Broker() as broker, Store() as store:
        site = Site(BrokerRig(broker.address, "embedded"), store.url, tmp_path)
        site.make_all()
        found = site.check()
        assert "" == failures(found)
        assert {"kafka", "disk", "privileges"} >= {each.what for each in found if each.state.value == "?"}
        assert "1 node (ingest practice store)" in "".join(texts(found, "ok"))
        site.put(envelope(total="abc"))
        assert "would be a dead letter" in warnings(site.check()) + failures(site.check())
        site.crate.store.close()


def test_servers_that_accept_and_never_answer_end_in_time(tmp_path: Path) -> None:
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        environ = {
            "INGEST_TOPICS": "a",
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "INGEST_CRATE_URLS": f"http://127.0.0.1:{port}",
        }
        started_s = time.monotonic()
        found = findings_of(environ, part_s=10)
    assert ["kafka", "cratedb"] == [each.what for each in found if each.state.value == "FAIL"]
    assert time.monotonic() - started_s < 25
