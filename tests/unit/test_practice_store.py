"""The practice store over HTTP: what it says of itself, and what it does when told to go wrong."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from urllib3 import HTTPConnectionPool, HTTPResponse, PoolManager
from urllib3.exceptions import HTTPError

from ingest.practice.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as store:
        store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, n NUMERIC(30, 10), d DOUBLE PRECISION)")
        yield store


@pytest.fixture
def http() -> Iterator[PoolManager]:
    pools = PoolManager(retries=False, timeout=5.0)
    yield pools
    pools.clear()


def post(http: PoolManager, store: Store, body: Any, path: str = "/_sql", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return http.request("POST", store.url + path, body=raw, headers=headers)


def sql(http: PoolManager, store: Store, stmt: str, **more: Any) -> Any:
    return post(http, store, {"stmt": stmt, **more}).json()


def test_it_says_what_it_is(store: Store, http: PoolManager) -> None:
    greeting = http.request("GET", store.url + "/").json()
    assert ("ingest practice store", True) == (greeting["name"], greeting["ok"])
    assert [["ingest practice store"]] == sql(http, store, "SELECT name FROM sys.nodes")["rows"]


def test_other_paths_are_forbidden(store: Store, http: PoolManager) -> None:
    assert [403, 403] == [post(http, store, b"", "/_bulk").status, http.request("GET", store.url + "/_sql").status]


def test_one_connection_serves_many_requests(store: Store) -> None:
    with HTTPConnectionPool("127.0.0.1", int(store.url.rsplit(":", 1)[1]), maxsize=1) as pool:
        for _ in range(5):
            pool.request("POST", "/_sql", body=b'{"stmt":"SELECT 1"}')
        assert 1 == pool.num_connections


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        {"statement": "SELECT 1"},
        {"stmt": "SELECT 1", "more": 1},
        {"stmt": "SELECT 1", "args": [], "bulk_args": []},
        {"stmt": "SELECT 1", "bulk_args": [[]]},
    ],
    ids=["no JSON", "no stmt", "unknown field", "args and bulk_args", "SELECT in bulk"],
)
def test_a_request_that_makes_no_sense_is_refused(store: Store, http: PoolManager, body: Any) -> None:
    answer = post(http, store, body)
    assert (400, True) == (answer.status, answer.json()["error"]["code"] in (4000, 4004))


def test_a_packed_body_is_unpacked(store: Store, http: PoolManager) -> None:
    packed = gzip.compress(b'{"stmt":"SELECT 1"}')
    assert [[1]] == post(http, store, packed, **{"Content-Encoding": "gzip"}).json()["rows"]


def test_numbers_keep_all_their_digits(store: Store, http: PoolManager) -> None:
    sql(http, store, "INSERT INTO t (id, n, d) VALUES (?, ?, ?)", args=[1, "12345678901234567890.0123456789", "NaN"])
    raw: HTTPResponse = post(http, store, {"stmt": "SELECT n, d FROM t"})
    assert b'[12345678901234567890.0123456789,"NaN"]' in raw.data


def test_the_default_schema_is_the_one_of_the_header(store: Store, http: PoolManager) -> None:
    post(http, store, {"stmt": "CREATE TABLE mine (id BIGINT)"}, **{"Default-Schema": "own"})
    assert "own.mine" in store.tables


def test_what_was_said_to_fail_fails_as_often_as_said(store: Store, http: PoolManager) -> None:
    store.fail_next(503, {"error": {"code": 5030, "message": "x"}}, 2, words="INSERT")
    insert = {"stmt": "INSERT INTO t (id) VALUES (1)"}
    assert 200 == post(http, store, {"stmt": "SELECT 1"}).status
    assert [503, 503, 200] == [post(http, store, insert).status for _ in range(3)]


def test_an_answer_may_be_no_json(store: Store, http: PoolManager) -> None:
    store.fail_next(429, b"")
    answer = post(http, store, {"stmt": "SELECT 1"})
    assert (429, b"") == (answer.status, answer.data)


@pytest.mark.parametrize(("after", "rows"), [(False, 0), (True, 1)], ids=["before", "after"])
def test_a_connection_is_cut_before_or_after_the_work(store: Store, http: PoolManager, after: bool, rows: int) -> None:
    store.cut_next(words="INSERT", after=after)
    with pytest.raises(HTTPError):
        post(http, store, {"stmt": "INSERT INTO t (id) VALUES (1)"})
    assert rows == len(store.tables["doc.t"])
    assert 200 == post(http, store, {"stmt": "SELECT 1"}).status


def test_a_statement_that_is_held_shows_among_the_jobs(store: Store, http: PoolManager) -> None:
    store.delay(lambda stmt: 0.3 if "INSERT" in stmt else 0.0)
    slow = threading.Thread(target=sql, args=(http, store, "/* ingest tag */ INSERT INTO t (id) VALUES (1)"))
    slow.start()
    time.sleep(0.1)
    running = "SELECT stmt FROM sys.jobs WHERE stmt LIKE '/* ingest %'"
    assert [["/* ingest tag */ INSERT INTO t (id) VALUES (1)"]] == sql(http, store, running)["rows"]
    slow.join()
    assert ([], 1) == (sql(http, store, running)["rows"], len(store.tables["doc.t"]))


def test_a_shut_door_and_dropped_connections_are_errors_until_it_opens(store: Store, http: PoolManager) -> None:
    sql(http, store, "SELECT 1")
    store.refuse(True)
    with pytest.raises(HTTPError):
        post(http, store, {"stmt": "SELECT 1"})
    store.delay(5)
    store.fail_next(500, b"")
    store.clear_faults()
    assert 200 == post(http, store, {"stmt": "SELECT 1"}).status
    with socket.create_connection(("127.0.0.1", int(store.url.rsplit(":", 1)[1])), timeout=5) as idle:
        time.sleep(0.05)
        store.drop_connections()
        assert b"" == idle.recv(10)


def test_a_store_that_was_stopped_starts_again_with_what_it_had(http: PoolManager) -> None:
    store = Store().start()
    url = store.url
    store.execute("CREATE TABLE kept (id BIGINT)")
    with pytest.raises(RuntimeError, match="stop it first"):
        store.start()
    store.stop()
    store.stop()
    with pytest.raises(HTTPError):
        http.request("GET", url)
    with store:
        assert (url, [[0]]) == (store.url, sql(http, store, "SELECT count(*) FROM kept")["rows"])


def test_clients_write_at_the_same_time_and_nothing_is_lost(store: Store, http: PoolManager) -> None:
    def write(first: int) -> None:
        for start in range(first, first + 500, 100):
            sql(http, store, "INSERT INTO t (id) VALUES (?)", bulk_args=[[i] for i in range(start, start + 100)])

    writers = [threading.Thread(target=write, args=(first,)) for first in range(0, 2000, 500)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert set(range(2000)) == {row["id"] for row in store.tables["doc.t"]}
