"""`ingest propose`: what it prints is applied as printed, on a real CrateDB, and the topic that was sampled drains into it.

Each kind of topic says for itself what its rows are; what is read back must be just that.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingest.errors import Stop
from ingest.settings import Settings
from ingest.tools.propose import Asked, propose
from tests.integration import test_avro as avro
from tests.integration.test_registry_kinds import Registry
from tests.integration.worker_rig import DAY_MS, JAN_MS, Sent, Site, debezium, key_of, site_at, source_of
from tests.unit import test_propose as samples

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

FILE = re.compile(
    r"^==> (?P<path>\S+)(?: \(exists already\))? <==\n(?P<text>.*?)(?=^==> |^next: |^note: )", re.MULTILINE | re.DOTALL
)
ROWS = 12
Row = dict[str, Any]


@pytest.fixture
def site(kafka_address: str, crate_url: str, tmp_path: Path) -> Iterator[Site]:
    with site_at(kafka_address, crate_url, tmp_path) as found:
        yield found


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def ingest(site: Site, *arguments: str, **env: str) -> Ran:
    """A command with the site's settings."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    settings |= {name: value for name, value in site._environment(0, env).items() if name != "INGEST_HTTP_PORT"}
    settings["INGEST_SQL_DIR"] = str(site.folder / "sql")
    done = subprocess.run(
        [sys.executable, "-m", "ingest", *arguments], env=settings, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def apply(site: Site, printed: str) -> None:
    """Put the printed files where they say, and migrate."""
    files = list(FILE.finditer(printed))
    assert files, printed
    (site.folder / "sql").mkdir(exist_ok=True)
    for each in files:
        Path(each["path"]).write_text(each["text"].rstrip("\n") + "\n")
    migrated = ingest(site, "migrate")
    assert 0 == migrated.code, (migrated.err, printed)


def plain(value: Any) -> Any:
    """Numbers by what they are worth, as JSON does not tell 1 from 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def in_order(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({name: plain(value) for name, value in row.items()} for row in rows), key=repr)


def stored(site: Site, table: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    site.crate.rows(f'REFRESH TABLE "{table}"')
    views = site.crate.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", [site.name, f"{table}_live"]
    )
    selected = ", ".join(f'"{name}"' for name in columns)
    found = site.crate.rows(f'SELECT {selected} FROM "{views[0][0] if views else table}" LIMIT 10000')
    return in_order([dict(zip(columns, row, strict=True)) for row in found])


# ---------------------------------------------------------------- kinds of topics


@dataclass
class Kind:
    """messages: of the topic. rows: by table, what must stand in it. words: that the proposal must have. schemas: by id."""

    messages: Callable[[str], list[Sent]]
    rows: dict[str, list[Row]]
    words: tuple[str, ...] = ()
    schemas: dict[int, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def made_ms(number: int) -> int:
    """Over three months."""
    return JAN_MS + number * 7 * DAY_MS + 1_234


def iso(ms: int, fraction: str = "") -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction


def base64_of(unscaled: int) -> str:
    return b64encode(unscaled.to_bytes(8, "big", signed=True)).decode()


def life(change: Callable[[int, str, int, str], list[Sent]]) -> list[Sent]:
    """Rows 0 to ROWS-1 are made, the even ones changed, the last one deleted. change: lsn, op, number, note."""
    sent = [each for number in range(ROWS) for each in change(100 + number, "c", number, "new")]
    sent += [each for number in range(0, ROWS, 2) for each in change(200 + number, "u", number, "changed")]
    return [*sent, *change(300, "d", ROWS - 1, "new")]


def lived(row: Callable[[int, str], Row]) -> list[Row]:
    return [row(number, "new" if number % 2 else "changed") for number in range(ROWS - 1)]


# ---- Debezium, whose JSON has lost the types


def bare_row(number: int, note: str) -> Row:
    return {
        "id": number, "note": note, "qty": number * 3, "weight": number + 0.25, "is_paid": number % 2 == 0,
        "created_at": made_ms(number) * 1000 + 567, "birth_date": 19_000 + number,
        "address": {"zip": str(number), "lines": [1, "b"]},
        "updated_at": f"{iso(made_ms(number))}.123456Z", "nothing": None, "tags": ["a", "b"][: number % 3],
    }  # fmt: skip


def bare_stored(number: int, note: str) -> Row:
    updated_ms = made_ms(number) // 1000 * 1000 + 123
    changes = {"created_at": made_ms(number), "birth_date": (19_000 + number) * DAY_MS, "updated_at": updated_ms}
    return {**bare_row(number, note), **changes}


def bare(topic: str) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        key = key_of(number)
        found = [Sent(topic, key, debezium("orders", lsn, bare_row(number, note), op))]
        return [*found, Sent(topic, key, None)] if op == "d" else found

    return life(change)


DEBEZIUM_BARE = Kind(
    bare,
    {"orders": lived(bare_stored)},
    ('created_at = { type = "ts_us" }', 'from = "created_at"', "nothing TEXT,", "only NULL was seen", "birth_date = { type"),
)


# ---- Debezium with the schema in each record

CONNECT_DECIMAL = {
    "type": "bytes",
    "optional": True,
    "name": "org.apache.kafka.connect.data.Decimal",
    "version": 1,
    "parameters": {"scale": "2", "connect.decimal.precision": "12"},
    "field": "total",
}
CONNECT_ROW = [
    {"type": "int64", "optional": False, "field": "id"},
    {"type": "string", "optional": True, "field": "note"},
    CONNECT_DECIMAL,
    {"type": "int64", "optional": False, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "created_at"},
    {"type": "string", "optional": True, "name": "io.debezium.time.ZonedTimestamp", "version": 1, "field": "paid_at"},
    {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "due"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTime", "version": 1, "field": "opens"},
    {"type": "string", "optional": True, "name": "io.debezium.data.Json", "version": 1, "field": "doc"},
    {"type": "string", "optional": True, "name": "io.debezium.data.Uuid", "version": 1, "field": "ref"},
    {"type": "array", "items": {"type": "int32", "optional": True}, "optional": True, "field": "sizes"},
    {
        "type": "bytes",
        "optional": True,
        "name": "io.debezium.data.Bits",
        "version": 1,
        "parameters": {"length": "4"},
        "field": "bits",
    },
]
UUID = "11111111-2222-3333-4444-55555555555"


def typed(topic: str) -> list[Sent]:
    struct = {"type": "struct", "name": "shop.public.orders.Value", "optional": True}
    schema = {
        "type": "struct",
        "name": "shop.public.orders.Envelope",
        "optional": False,
        "fields": [
            {**struct, "field": "before", "fields": CONNECT_ROW},
            {**struct, "field": "after", "fields": CONNECT_ROW},
            {"type": "struct", "field": "source", "fields": [], "optional": False},
            {"type": "string", "field": "op", "optional": False},
        ],
    }
    key_schema = {"type": "struct", "name": "shop.public.orders.Key", "fields": CONNECT_ROW[:1], "optional": False}

    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        row = {
            "id": number, "note": note, "total": base64_of(100 * number + 5), "created_at": made_ms(number) * 1000,
            "paid_at": f"{iso(made_ms(number))}Z", "due": 20_000 + number, "opens": 3_600_000_000 * number,
            "ref": f"{UUID}{number % 10}",
            "doc": json.dumps({"n": number}), "sizes": [number, None], "bits": b64encode(bytes([number])).decode(),
        }  # fmt: skip
        payload = json.loads(debezium("orders", lsn, row, op))
        key = {"schema": key_schema, "payload": {"id": number}}
        value = {"schema": schema, "payload": payload}
        return [Sent(topic, json.dumps(key).encode(), json.dumps(value).encode())]

    return life(change)


def typed_stored(number: int, note: str) -> Row:
    return {
        "id": number, "note": note, "total": Decimal(100 * number + 5) / 100, "created_at": made_ms(number),
        "paid_at": made_ms(number) // 1000 * 1000, "due": (20_000 + number) * DAY_MS, "opens": f"{number:02d}:00:00",
        "doc": {"n": number}, "ref": f"{UUID}{number % 10}", "sizes": [number, None], "bits": f"B'{number:04b}'",
    }  # fmt: skip


DEBEZIUM_TYPED = Kind(
    typed, {"orders": lived(typed_stored)}, ("total NUMERIC(12, 2),", "doc OBJECT(IGNORED)", "bits BIT(4),", "-- a time of day")
)


# ---- Debezium in Avro


def in_avro(topic: str) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        row = avro.row(number, t=note, at=made_ms(number))
        images = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
        envelope = {**images, "source": source_of("orders", lsn), "op": op, "ts_ms": 1}
        return [Sent(topic, avro.key(number), avro.framed(avro.VALUE_ID, avro.ENVELOPE, envelope))]

    return life(change)


def avro_stored(number: int, note: str) -> Row:
    row = avro.row(number, t=note, at=made_ms(number))
    return {**row, "price": Decimal(1_000 + number) / 100}


DEBEZIUM_AVRO = Kind(
    in_avro,
    {"orders": lived(avro_stored)},
    ("price NUMERIC(18, 2)", 'format    = "debezium"'),
    {avro.KEY_ID: avro.KEY, avro.VALUE_ID: avro.ENVELOPE},
)


# ---- flattened rows, with and without a position


def flattened(topic: str, metadata: Callable[[int, str], Row]) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        row = {"id": number, "note": note, "created_at": made_ms(number), **metadata(lsn, op)}
        return [Sent(topic, key_of(number), json.dumps(row).encode())]

    return life(change)


def flat_stored(number: int, note: str) -> Row:
    return {"id": number, "note": note, "created_at": made_ms(number)}


FLATTENED = Kind(
    lambda topic: flattened(
        topic,
        lambda lsn, op: {
            "__op": op, "__table": "orders", "__lsn": lsn, "__source_connector": "postgresql",
            "__deleted": str(op == "d").lower(),
        },
    ),
    {"orders": lived(flat_stored)},
    ('format    = "flattened"',),
)  # fmt: skip
FLATTENED_WITHOUT_POSITION = Kind(
    lambda topic: flattened(topic, lambda _lsn, op: {"__table": "orders", "__deleted": str(op == "d").lower()}),
    {"orders": lived(flat_stored)},
    ('version   = { from = "offset" }',),
)


# ---- CockroachDB


def changefeed(topic: str) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        made = iso(made_ms(number))
        row = f'{{"warehouse": "w{number % 3}", "product": {number}, "note": "{note}", "price": {number}.50, "made": "{made}"}}'
        updated = f'"updated": "{(JAN_MS + lsn) * 1_000_000}.0000000000"'
        value = f'{{"after": {"null" if op == "d" else row}, {updated}}}'
        return [Sent(topic, json.dumps([f"w{number % 3}", number]).encode(), value.encode())]

    return [*life(change), Sent(topic, None, b'{"resolved": "1767225700000000000.0000000000"}')]


def cockroach_stored(number: int, note: str) -> Row:
    made = made_ms(number) // 1000 * 1000
    return {
        "warehouse": f"w{number % 3}",
        "product": number,
        "note": note,
        "price": Decimal(number) + Decimal("0.5"),
        "made": made,
    }


COCKROACH = Kind(
    changefeed, {"orders": lived(cockroach_stored)}, ('key       = ["warehouse", "product"]', "price NUMERIC(18, 4)")
)


# ---- Maxwell


def maxwell(topic: str) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        row = {"id": number, "note": note, "created": iso(made_ms(number)).replace("T", " ")}
        word = {"c": "insert", "u": "update", "d": "delete"}[op]
        value = {
            "database": "shop",
            "table": "orders",
            "type": word,
            "ts": JAN_MS // 1000 + lsn,
            "xid": lsn,
            "commit": True,
            "data": row,
        }
        value |= {"position": f"mysql-bin.000007:{lsn}", **({"old": {"note": "new"}} if op == "u" else {})}
        key = {"database": "shop", "table": "orders", "pk.id": number}
        return [Sent(topic, json.dumps(key).encode(), json.dumps(value).encode())]

    return life(change)


def maxwell_stored(number: int, note: str) -> Row:
    return {"id": number, "note": note, "created": made_ms(number) // 1000 * 1000}


MAXWELL = Kind(maxwell, {"orders": lived(maxwell_stored)}, ('format    = "maxwell"', "created TIMESTAMP WITHOUT TIME ZONE"))


# ---- rows and events without an envelope


def event(number: int) -> Row:
    return {"sensor": f"s{number % 3}", "celsius": 20 + number / 8, "eventTime": made_ms(number), "ok": True}


def event_stored(number: int) -> Row:
    return {"sensor": f"s{number % 3}", "celsius": 20 + number / 8, "event_time": made_ms(number), "ok": True}


EVENTS = Kind(
    lambda topic: [Sent(topic, None, json.dumps(event(number)).encode()) for number in range(ROWS)],
    {"orders": [event_stored(number) for number in range(ROWS)]},
    ('key       = "position"', 'event_time = { from = "eventTime" }'),
)
EVENTS_WITH_A_REPEATED_KEY = Kind(
    lambda topic: [Sent(topic, f"s{number % 3}".encode(), json.dumps(event(number)).encode()) for number in range(ROWS)],
    {"orders": [event_stored(number) for number in range(ROWS)]},
    ('key       = "position"', "3 in 12 records", "make sensor the primary key"),
)


def customers(topic: str) -> list[Sent]:
    rows = [{"customer_no": number, "name": f"n{number}", "since": "2026-02-03"} for number in range(ROWS)]
    sent = [Sent(topic, str(number).encode(), json.dumps(row).encode()) for number, row in enumerate(rows)]
    return [*sent, Sent(topic, b"3", json.dumps({**rows[3], "name": "later"}).encode()), Sent(topic, b"4", None)]


FEB_3_MS = JAN_MS + 33 * DAY_MS
ROWS_WITH_A_KEY = Kind(
    customers,
    {
        "orders": [
            {"customer_no": number, "name": "later" if number == 3 else f"n{number}", "since": FEB_3_MS}
            for number in range(ROWS)
            if number != 4
        ]
    },
    ("PRIMARY KEY (customer_no)", "not partitioned"),
)


# ---- names and values that are in the way

LONG = "x" * 40_000
DIGITS = "123456789012345678901234567890"


def awkward(number: int) -> str:
    row = {
        "_id": f"a{number}", "createdAt": iso(made_ms(number)) + "Z", "order": number, "select": "s", "Größe": 1.5,
        "net.price": None, "2fa": True, "cdc_op": "mine", "month": number % 12, "ID": number * 2, "with space": "w",
        "名前": "n", "a-b": [1, 2],
        "long": LONG if number == 3 else "short", "mixed": [number, "x", True][number % 3], "big": "BIG", "_": [],
        "lists": [[1], [2]],
        "ratio": "NaN" if number == 2 else number / 4, "nested": {"a.b": 1, "": [1, "x"]},
    }  # fmt: skip
    return json.dumps(row).replace('"BIG"', DIGITS if number == 1 else str(number))


def awkward_stored(number: int) -> Row:
    mixed = [str(number), "x", "true"][number % 3]
    return {
        "id": f"a{number}", "created_at": made_ms(number) // 1000 * 1000, "order_": number, "select_": "s", "grosse": 1.5,
        "net_price": None, "n2fa": True, "source_cdc_op": "mine", "month": number % 12, "id_2": number * 2, "with_space": "w",
        "名前": "n", "a_b": [1, 2], "long": LONG if number == 3 else "short", "mixed": mixed, "unnamed": [], "lists": "[[1],[2]]",
        "big": int(DIGITS) if number == 1 else number, "ratio": None if number == 2 else number / 4,
        "nested": {"a.b": 1, "": [1, "x"]},
    }  # fmt: skip


AWKWARD = Kind(
    lambda topic: [Sent(topic, json.dumps({"_id": f"a{number}"}).encode(), awkward(number).encode()) for number in range(ROWS)],
    {"orders": [awkward_stored(number) for number in range(ROWS)]},
    (
        "long TEXT INDEX OFF STORAGE WITH (columnstore = FALSE)",
        "PARTITIONED BY (partition_month)",
        'ratio         = { overflow = "null" }',
        "big NUMERIC(38, 0)",
    ),
)


# ---- a topic of several tables


def two_tables(topic: str) -> list[Sent]:
    def change(lsn: int, op: str, number: int, note: str) -> list[Sent]:
        orders = debezium("orders", lsn, {"id": number, "note": note}, op)
        lines = debezium("Order-Lines", lsn, {"order_id": number, "line": 1, "sku": note}, op)
        return [
            Sent(topic, key_of(number), orders),
            Sent(topic, json.dumps({"order_id": number, "line": 1}).encode(), lines),
        ]

    return life(change)


TWO_TABLES = Kind(
    two_tables,
    {
        "orders": lived(lambda number, note: {"id": number, "note": note}),
        "order-lines": lived(lambda number, note: {"order_id": number, "line": 1, "sku": note}),
    },
    ('"order-lines"', "PRIMARY KEY (order_id, line)"),
)

KINDS: Mapping[str, Kind] = {
    "debezium-bare": DEBEZIUM_BARE,
    "debezium-with-schema": DEBEZIUM_TYPED,
    "debezium-avro": DEBEZIUM_AVRO,
    "flattened": FLATTENED,
    "flattened-without-position": FLATTENED_WITHOUT_POSITION,
    "cockroach": COCKROACH,
    "maxwell": MAXWELL,
    "events": EVENTS,
    "events-with-a-repeated-key": EVENTS_WITH_A_REPEATED_KEY,
    "rows-with-a-key": ROWS_WITH_A_KEY,
    "awkward": AWKWARD,
    "two-tables": TWO_TABLES,
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_printed_is_a_table_into_which_the_topic_drains(name: str, site: Site) -> None:
    kind = KINDS[name]
    site.make_topics("orders")
    site.send(kind.messages(site.topic("orders")))
    with Registry() as registry:
        registry.answers |= {f"/schemas/ids/{number}": {"schema": json.dumps(schema)} for number, schema in kind.schemas.items()}
        env = {"schema_registry_url": registry.url} if kind.schemas else {}
        proposed = ingest(site, "propose", site.topic("orders"), *kind.flags, **env)
        assert 0 == proposed.code, proposed.err
        for words in kind.words:
            assert words in proposed.out, proposed.out
        assert "would be dead letters" not in proposed.out
        apply(site, proposed.out)
        checked = ingest(site, "check", "--json", **env)
        assert [] == [each for each in json.loads(checked.out) if each["state"] == "FAIL"], proposed.out
        done = site.run(**env)
    assert 0 == done.code, (done.log, proposed.out)
    assert {} == site.letters()
    for table, rows in kind.rows.items():
        assert in_order(rows) == stored(site, table, list(rows[0])), proposed.out


# ---------------------------------------------------------------- what the sources' own projects show


@pytest.mark.skipif(
    not samples.SAMPLES.is_dir(), reason=f"SAMPLES: not run (no folder {samples.SAMPLES.name}; set INGEST_SAMPLES)"
)
def test_every_sample_of_every_source_drains_into_the_table_that_is_proposed_for_it(site: Site) -> None:
    """Each on a topic of its own; what has no rows has one sentence instead."""
    found = [(f"s{n}", *each.values) for n, each in enumerate(samples.expectations())]
    given = {name: json.loads(expectation.read_text()) for name, _, expectation in found}
    site.make_topics(*given)
    sent = [(name, each) for name, sample, _ in found for each in samples.records_in(sample, given[name])]
    site.send([Sent(site.topic(name), each.key, each.value) for name, each in sent])
    drained = [name for name in given if "schema" not in given[name] and is_proposed(site, site.topic(name), name, given[name])]
    assert len(drained) > 50
    migrated = ingest(site, "migrate")
    assert 0 == migrated.code, migrated.err
    done = site.run(topics=",".join(map(site.topic, drained)))
    assert 0 == done.code, done.log
    assert {} == site.letters()
    assert done.answer["written"] > 100


NO_TABLE = {"propose.no_rows", "propose.no_key", "propose.unreadable", "propose.table"}


def is_proposed(site: Site, topic: str, table: str, given: Mapping[str, Any]) -> bool:
    """Several tables on one topic keep their names, for records tell them."""
    values = Settings.load(site._environment(0, {}) | {"INGEST_SQL_DIR": str(site.folder / "sql")}, ())
    asked = Asked(topic, table=f"{site.name}.{table}", declared=given.get("format"), write=True)
    code = refusal(values, asked)
    if code == "propose.several_tables":
        code = refusal(values, asked._replace(table=None))
    assert code is None or code in NO_TABLE
    return code is None


def refusal(values: Settings, asked: Asked) -> str | None:
    try:
        propose(values, asked)
    except Stop as stop:
        return stop.code
    return None


# ---------------------------------------------------------------- files and errors


def test_written_files_follow_the_last_number_and_are_overwritten_only_by_force(site: Site) -> None:
    site.make_topics("orders")
    topic = site.topic("orders")
    site.send(bare(topic))
    (site.folder / "sql").mkdir()
    (site.folder / "sql" / "0041_other.sql").write_text("CREATE TABLE IF NOT EXISTS other (a INTEGER);\n")
    written = ingest(site, "propose", topic, "--write")
    sql, contract = site.folder / "sql" / "0042_orders.sql", site.schemas / "orders.toml"
    assert (0, [f"wrote {sql}", f"wrote {contract}"]) == (written.code, written.out.splitlines()[:2])
    assert 0 == ingest(site, "migrate").code
    again = ingest(site, "propose", topic, "--write")
    assert 2 == again.code
    assert f"{sql} and {contract} exist already" in again.err
    contract.write_text("broken = ")
    sql.write_text("broken")
    broken = ingest(site, "propose", topic)
    assert (2, True) == (broken.code, "orders.toml:1" in broken.err)
    contract.write_text(f'table = "{site.name}.orders"\n')
    forced = ingest(site, "propose", topic, "--write", "--force")
    assert 0 == forced.code, forced.err
    assert sql.read_text().startswith("-- ")
    assert sorted(path.name for path in sql.parent.iterdir()) == ["0041_other.sql", "0042_orders.sql"]


def test_a_subject_of_the_registry_makes_the_same_columns_as_its_records(site: Site) -> None:
    site.make_topics("orders")
    topic = site.topic("orders")
    site.send(in_avro(topic))
    with Registry() as registry:
        registry.answers |= {
            f"/subjects/{topic}-key/versions/latest": {"id": 1, "version": 1},
            f"/subjects/{topic}-value/versions/latest": {"id": 2, "version": 1},
            "/schemas/ids/1": {"schema": json.dumps(avro.KEY)},
            "/schemas/ids/2": {"schema": json.dumps(avro.ENVELOPE)},
        }
        env = {"schema_registry_url": registry.url}
        by_schema = ingest(site, "propose", topic, "--subject", f"{topic}-value", "--json", **env)
        by_records = ingest(site, "propose", topic, "--json", **env)
        missing = ingest(site, "propose", topic, "--subject", "nothing-value", **env)
    seen, sampled = (json.loads(each.out)["tables"][0] for each in (by_schema, by_records))
    assert seen["columns"] == sampled["columns"]
    assert seen["key"] == sampled["key"] == ["id"]
    assert (2, "ingest: the schema registry has no subject nothing-value [propose.no_subject]") == (
        missing.code,
        missing.err.strip(),
    )


def test_each_wrong_question_gets_one_sentence(site: Site) -> None:
    site.make_topics("orders", "empty", "broken", "keyless", "avro", "codes")
    topic = site.topic("orders")
    site.send(
        [
            *bare(topic),
            *(Sent(site.topic("broken"), None, b'{"broken') for _ in range(3)),
            *(Sent(site.topic("keyless"), None, debezium("keyless", n, {"a": 1})) for n in range(3)),
            *avro.life(site)[:1],
            Sent(site.topic("avro"), avro.key(1), avro.framed(avro.VALUE_ID, avro.ENVELOPE, json_free_envelope())),
            *(Sent(site.topic("codes"), b'["a"]', None) for _ in range(2)),
        ]
    )
    asked: dict[str, tuple[int, str]] = {
        topic[:-1]: (2, f"does not exist, the nearest name is {topic}"),
        site.topic("empty"): (2, "is empty"),
        site.topic("broken"): (2, "none of the records that were read can be read"),
        site.topic("keyless"): (2, "have no key, and no column tells rows apart"),
        site.topic("avro"): (2, "set INGEST_SCHEMA_REGISTRY_URL"),
        site.topic("codes"): (2, "null value under a key like CockroachDB's"),
    }
    for name, (code, words) in asked.items():
        told = ingest(site, "propose", name)
        assert (code, "", 1) == (told.code, told.out, len(told.err.splitlines())), (name, told)
        assert words in told.err
    away = ingest(site, "propose", site.topic("avro"), schema_registry_url="http://127.0.0.1:9")
    assert (4, 1) == (away.code, len(away.err.splitlines()))
    assert "http://127.0.0.1:9 does not answer" in away.err
    unasked = ingest(site, "propose", topic, "--from", "yesterday")
    assert (2, True) == (unasked.code, "--from yesterday is none of" in unasked.err)


def json_free_envelope() -> dict[str, Any]:
    return {"before": None, "after": avro.row(1), "source": source_of("avro", 1), "op": "c", "ts_ms": 1}
