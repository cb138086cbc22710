"""Avro on real servers: Debezium's changes through a registry with a password, a registry that is late, and none at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest

from tests.integration.worker_rig import (
    ORDERED,
    Sent,
    Site,
    StubRegistry,
    registry_settings,
    row_of,
    site_at,
    source_of,
    wait_until,
)
from tests.servers import free_ports

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

KEY_ID, VALUE_ID = 1, 2
KEY = {"type": "record", "name": "Key", "namespace": "shop", "fields": [{"name": "id", "type": "long"}]}
MOMENT = {"type": "long", "connect.version": 1, "connect.name": "io.debezium.time.Timestamp"}
# Connect's Decimal of scale 2, as decimal.handling.mode = precise sends it.
PRICE = {
    "type": "bytes",
    "scale": 2,
    "precision": 18,
    "connect.version": 1,
    "connect.parameters": {"scale": "2", "connect.decimal.precision": "18"},
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "logicalType": "decimal",
}
ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "n", "type": ["null", "long"], "default": None},
        {"name": "d", "type": "double"},
        {"name": "t", "type": ["null", "string"], "default": None},
        {"name": "at", "type": MOMENT},
        {"name": "price", "type": PRICE},
    ],
}
SOURCE = {
    "type": "record",
    "name": "Source",
    "namespace": "io.debezium.connector.postgresql",
    "fields": [
        *({"name": name, "type": "string"} for name in ("version", "connector", "name", "db", "schema", "table")),
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": [{"type": "string", "connect.default": "false"}, "null"], "default": "false"},
        {"name": "txId", "type": ["null", "long"], "default": None},
        {"name": "lsn", "type": ["null", "long"], "default": None},
    ],
}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop",
    "fields": [
        {"name": "before", "type": ["null", ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": SOURCE},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
    "connect.name": "shop.Envelope",
}
COLUMNS = ORDERED.replace("t TEXT", "t TEXT, price NUMERIC(18, 2)")
ROWS = 20


def written(schema: Any, value: Any, prefix: bytes = b"") -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return prefix + out.getvalue()


def framed(schema_id: int, schema: Any, value: Any) -> bytes:
    return written(schema, value, b"\0" + schema_id.to_bytes(4, "big"))


def row(number: int, **changes: Any) -> dict[str, Any]:
    return row_of(number, price=(1_000 + number).to_bytes(2, "big"), **changes)


def changed(site: Site, lsn: int, op: str, number: int, **changes: Any) -> Sent:
    """One change as Debezium's Avro converter writes it. After a delete comes a tombstone: see `deleted`."""
    images = {"before": row(number), "after": None} if op == "d" else {"before": None, "after": row(number, **changes)}
    envelope = {**images, "source": source_of("orders", lsn), "op": op, "ts_ms": 1}
    return Sent(site.topic("orders"), key(number), framed(VALUE_ID, ENVELOPE, envelope))


def key(number: int) -> bytes:
    return framed(KEY_ID, KEY, {"id": number})


def life(site: Site) -> list[Sent]:
    """Ids 1 to 20 are made; the even ones are changed; every third goes, with a tombstone behind it."""
    made = [changed(site, 100 + number, "c", number) for number in range(1, ROWS + 1)]
    updated = [changed(site, 200 + number, "u", number, t="changed", n=None) for number in range(2, ROWS + 1, 2)]
    gone = [changed(site, 300 + number, "d", number) for number in range(3, ROWS + 1, 3)]
    return [*made, *updated, *(message for each in gone for message in (each, each._replace(value=None)))]


def left() -> list[int]:
    return [number for number in range(1, ROWS + 1) if number % 3]


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as made:
        made.make_topics("orders")
        made.make_table("orders", COLUMNS)
        yield made


def assert_lived(site: Site) -> None:
    assert site.column("orders") == left()
    assert site.column("orders", "t") == [f"row {number}" if number % 2 else "changed" for number in left()]
    assert site.column("orders", "n") == [10 * number if number % 2 else None for number in left()]
    assert site.column("orders", "price::TEXT") == [f"{(1_000 + number) / 100:.2f}" for number in left()]
    assert site.column("orders", "at") == [row(number)["at"] for number in left()]
    assert site.letters() == {}


def test_inserts_updates_and_deletes_end_in_the_right_rows(site: Site) -> None:
    site.send(life(site))
    with StubRegistry({KEY_ID: KEY, VALUE_ID: ENVELOPE}) as registry:
        done = site.run(**registry.settings())
    assert (done.code, done.answer["is_balanced"], done.answer["read"]) == (0, True, len(life(site)))
    assert_lived(site)
    assert sorted(registry.asked) == [f"/schemas/ids/{KEY_ID}", f"/schemas/ids/{VALUE_ID}"]


def test_a_registry_that_comes_late_is_waited_for(site: Site) -> None:
    site.send(life(site))
    (port,) = free_ports(1)
    worker = site.start("--until-caught-up", **registry_settings(f"http://127.0.0.1:{port}"))
    try:
        wait_until(lambda: any("schema" in reason for reason in worker.readiness().get("reasons", ())), 30, lambda: worker.log)
        assert worker.readiness()["ready"] is False
        assert not worker.has_ended
        with StubRegistry({KEY_ID: KEY, VALUE_ID: ENVELOPE}, port):
            done = worker.wait()
    finally:
        worker.stop()
    assert (done.code, done.answer["is_balanced"], done.answer["dead_lettered"]) == (0, True, 0)
    assert "registry.unreachable" in {line.get("code") for line in logged(done.log, "schema_retry")}
    assert_lived(site)


def test_a_registry_that_never_comes_is_named_at_the_end(site: Site) -> None:
    site.send(life(site))
    (port,) = free_ports(1)
    done = site.run(give_up_s="3", **registry_settings(f"http://127.0.0.1:{port}"))
    assert done.code == 4
    (sentence,) = done.sentences
    assert f"schema {KEY_ID} of the registry" in sentence
    assert (site.letters(), site.committed()) == ({}, 0)


def test_a_registry_that_refuses_us_ends_the_worker_with_one_sentence(site: Site) -> None:
    site.send(life(site))
    with StubRegistry({KEY_ID: KEY, VALUE_ID: ENVELOPE}) as registry:
        done = site.run(**registry_settings(registry.url, password="wrong-one"))
    (sentence,) = done.sentences
    assert "registry.refused" in sentence
    assert "wrong-one" not in done.log
    assert (done.code, site.letters(), site.committed()) == (4, {}, 0)


def test_a_schema_file_needs_no_registry(site: Site) -> None:
    """Avro without any prefix: `<topic>.avsc` and `<topic>-key.avsc` in the schemas folder say how to read it."""
    topic = site.topic("orders")
    (site.schemas / f"{topic}.avsc").write_bytes(orjson.dumps(ENVELOPE))
    (site.schemas / f"{topic}-key.avsc").write_bytes(orjson.dumps(KEY))
    framing = len(framed(KEY_ID, KEY, {"id": 1})) - len(written(KEY, {"id": 1}))
    site.send([m._replace(key=m.key[framing:] if m.key else None, value=m.value and m.value[framing:]) for m in life(site)])
    done = site.run()
    assert (done.code, done.answer["is_balanced"], done.answer["read"]) == (0, True, len(life(site)))
    assert_lived(site)


def logged(log: str, event: str) -> list[dict[str, Any]]:
    """The fields of each line of that event."""
    lines = [orjson.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]
