"""The rig's own parts, on this machine alone: processes are ended as asked, the proxy cuts, the answer is understood."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .crate import write_contracts
from .ddl import statements
from .proxy import Proxy
from .tables import TABLES
from .worker import Worker, cpu_s, family, find_books, listener_on, rss_mb

POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('{"read": 1}', flush=True)
time.sleep(60)
"""


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that says everything again."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                while chunk := client.recv(100):
                    client.sendall(chunk)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def says(port: int, text: bytes = b"hello") -> bytes:
    """What comes back through a new connection, b"" when it is cut."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        try:
            client.sendall(text)
            return client.recv(100)
        except ConnectionError:
            return b""


def test_the_proxy_passes_on_cuts_and_is_mended(echo_port: int) -> None:
    proxy = Proxy("127.0.0.1", echo_port)
    heard = [says(proxy.port)]
    proxy.cut()
    heard.append(says(proxy.port))
    proxy.mend()
    heard.append(says(proxy.port))
    proxy.close()
    assert heard == [b"hello", b"", b"hello"]


def test_the_proxy_cuts_what_is_open(echo_port: int) -> None:
    proxy = Proxy("127.0.0.1", echo_port)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"x")
        assert client.recv(10) == b"x"
        proxy.cut()
        assert client.recv(10) == b""
    proxy.close()


def worker(tmp_path: Path, code: str) -> Worker:
    return Worker([sys.executable, "-c", code], {}, tmp_path / "worker.log")


def wait_until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_worker_that_is_asked_to_stop_ends_with_its_own_code(tmp_path: Path) -> None:
    polite = worker(tmp_path, POLITE)
    wait_until(polite.books)
    assert polite.stop() == 0
    assert polite.books() == {"read": 1}


def test_a_worker_that_is_killed_has_no_time_for_anything(tmp_path: Path) -> None:
    polite = worker(tmp_path, POLITE)
    wait_until(polite.books)
    polite.kill()
    assert polite.exit_code == -signal.SIGKILL


def test_the_last_words_of_a_worker_are_kept(tmp_path: Path) -> None:
    failing = worker(tmp_path, "raise SystemExit('no such table')")
    wait_until(lambda: failing.exit_code is not None)
    assert (failing.exit_code, failing.last_words()) == (1, "no such table")


@pytest.mark.parametrize(
    ("text", "books"),
    [
        ('{"read": 1, "written": 1}', {"read": 1, "written": 1}),
        ('caught up\n{"read": 2}\n', {"read": 2}),
        ('{\n "books": {"read": 3, "codes": {"x": 1}}\n}', {"read": 3}),
        ('{"other": 1}', {}),
        ("", {}),
    ],
    ids=["bare", "last line", "inside", "none", "nothing"],
)
def test_the_books_are_found_in_the_answer(text: str, books: dict[str, int]) -> None:
    assert find_books(text) == books


def test_a_process_can_be_found_by_its_port_and_measured(echo_port: int) -> None:
    assert listener_on(echo_port) == os.getpid()
    assert family(os.getpid())[0] == os.getpid()
    assert rss_mb(os.getpid()) > 5
    assert cpu_s(os.getpid()) > 0


def test_every_table_has_a_contract_of_its_own(tmp_path: Path) -> None:
    folder = write_contracts(tmp_path / "schemas", list(TABLES), schema="s", prefix="p")
    contracts = [tomllib.loads(file.read_text()) for file in sorted(folder.glob("*.toml"))]
    assert {contract["table"] for contract in contracts} == {f"s.{table}" for table in TABLES}


@pytest.mark.parametrize("table", TABLES)
def test_the_contract_says_what_the_oracle_means(table: str, tmp_path: Path) -> None:
    spec = TABLES[table]
    folder = write_contracts(tmp_path / "schemas", [table], schema="s", prefix="p")
    contract = tomllib.loads((folder / f"{table}.toml").read_text())
    assert contract["key"] == list(spec.key)
    assert contract["version"]["from"] == spec.version
    assert contract.get("partition", {}).get("from") == spec.month_from
    assert contract.get("partition", {}).get("mutable", False) == spec.mutable


def test_the_ddl_has_every_column_the_key_and_the_check() -> None:
    table, view = statements(TABLES["readings"])
    assert table == (
        "CREATE TABLE IF NOT EXISTS readings (sensor TEXT, ts TIMESTAMP WITH TIME ZONE, reading DOUBLE PRECISION, raw BIGINT, "
        "quality SMALLINT, unit VARCHAR(16), note TEXT, month TIMESTAMP WITH TIME ZONE, cdc_version TEXT, cdc_deleted BOOLEAN, "
        "cdc_source_ts TIMESTAMP WITH TIME ZONE, cdc_ingested_at TIMESTAMP WITH TIME ZONE, cdc_topic TEXT, "
        "cdc_partition INTEGER, cdc_offset BIGINT, cdc_op TEXT, CONSTRAINT readings_quality_not_negative CHECK (quality >= 0), "
        "PRIMARY KEY (sensor, ts, month)) CLUSTERED BY (sensor) INTO 2 SHARDS PARTITIONED BY (month) "
        "WITH (number_of_replicas = 0)"
    )
    assert view == "CREATE OR REPLACE VIEW readings_live AS SELECT * FROM readings WHERE cdc_deleted = false"
