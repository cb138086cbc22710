"""Rows over the PostgreSQL interface of a real CrateDB: all types go that way and arrive as over HTTP; connections that break."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="the extra pg is not installed")

from ingest.crate.http import parse_addresses
from ingest.crate.pg_pipeline import PgPipeline, pg_addresses
from ingest.crate.pg_store import PgStore
from ingest.errors import Retry, Stop
from ingest.model import Change, Fate, Kind, Result, Table
from tests.crate_rig import JAN, Rig, at, batch, codes, fates, pg_address, write
from tests.oracle.proxy import Proxy
from tests.properties.keeper import COLUMNS, SHOWN

pytestmark = pytest.mark.cratedb
WRITTEN, RETRY = Fate.WRITTEN, Fate.RETRY

# One value at the edge of each column of the property tests, as the mapper would make it.
EDGES: dict[str, list[Any]] = {
    "b": [127, -128], "s": [32767], "i": [-(2**31)], "l": [2**63 - 2, 2 - 2**63], "r": [0.1, 3.4028234663852886e38, 16777216],
    "d": [1.7976931348623157e308, 5e-324, -0.0, 1e16, 7], "n52": ["123.45"], "n182": ["1234567890123456.78"],
    "n200": ["12345678901234567890"], "n3810": ["1234567890123456789012345678.0123456789"], "n3838": ["0." + "0" * 37 + "1"],
    "n380": ["9" * 38], "bo": [True, False], "t": ["a\0b", "", "é🎉", "{1,2}", "null", "'"], "v5": ["abcde"], "c4": ["a"],
    "ts": [1704067200123, -62135596800000, 999999999999999, 0, 5, 2020], "tz": [-1, 1704067200123],
    "u": ["123e4567-e89b-12d3-a456-426614174000"], "ip": ["::1", "10.0.0.1"], "b1": ["1"], "b4": ["0101"],
    "o": [{"a": [1, 2.5, "x\0", None, {"c": None}], "f": 0.1, "": 1, "big": 2**62}, {}],
    "os": [{"n": "123.45", "l": 2**63 - 2, "at": 5, "bt": "0101", "al": [1], "in": {"y": 3, "z": "1.5"}}],
    "oi": [{"n": "123.45", "x": {"y": [[1], [2]]}}], "od": [{"t": "z", "l": 5}], "fv": [[0.1, 2, -3e10]],
    "gp": [[1.5, 2.25], [-180, 90], [13.377704000000001, 52.516262]],
    "gs": [{"type": "Point", "coordinates": [1.5, 2]}, {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}],
    "al": [[1, None, 2**63 - 2], []], "an": [["1.25", None]], "at": [["a", None, "", 'x,"y\\', "null", "a\0b"], []],
    "ats": [[1704067200123, None]], "aa": [[[1, 2], [3], []], []], "aos": [[{"n": "1.5", "t": "q\0"}, {"in": {"y": 3}}], []],
}  # fmt: skip


class Watched(PgPipeline):
    """Keeps what each bulk request answered."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.answers: list[list[int] | None] = []

    def bulk(self, *args: Any) -> list[int] | None:
        self.answers.append(super().bulk(*args))
        return self.answers[-1]


@pytest.fixture(scope="module")
def rig(crate_url: str) -> Iterator[Rig]:
    found = Rig(crate_url, f"t_pg_{os.getpid()}", "http")
    yield found
    found.drop()


def pipeline(rig: Rig, *addresses: str, **more: Any) -> Watched:
    own = addresses or (pg_address(rig.client, rig.url),)
    return Watched(pg_addresses(parse_addresses([rig.url]), own, user="crate"), **more)


def written(rig: Rig, way: PgPipeline, table: Table, *changes: Change, **more: Any) -> Result:
    """One batch whose rows take that way."""
    return PgStore(rig.client, way).write(batch(table, *changes, **more))


def way_to(rig: Rig) -> tuple[str, int]:
    host, _, port = pg_address(rig.client, rig.url).rpartition(":")
    return host, int(port)


# ---------------------------------------------------------------- types


@pytest.fixture(scope="module")
def wide(rig: Rig) -> Table:
    definitions = ", ".join(f'"{name}" {type_}' for name, type_ in COLUMNS.items())
    return rig.create(f"id BIGINT PRIMARY KEY, {definitions}", "CLUSTERED INTO 1 SHARDS")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", [Kind.WRITE, Kind.PATCH])
def test_each_type_takes_the_pipeline_and_arrives_as_over_http(rig: Rig, wide: Table, column: str, kind: Kind) -> None:
    values = [*EDGES[column], None]
    first = 1_000 * (1 + list(COLUMNS).index(column))

    def changes(start: int, kind: Kind) -> list[Change]:
        return [Change(kind, (start + i,), None, (column,), [value], at()) for i, value in enumerate(values)]

    assert {WRITTEN} == set(fates(rig.store.write(batch(wide, *changes(first, Kind.WRITE)))))
    written_first = [Change(Kind.WRITE, (first + 500 + i,), None, (), [], at()) for i in range(len(values))]
    assert kind is Kind.WRITE or {WRITTEN} == set(fates(rig.store.write(batch(wide, *written_first))))
    with closing(pipeline(rig)) as way:
        assert {WRITTEN} == set(fates(written(rig, way, wide, *changes(first + 500, kind))))
        assert [[1] * len(values)] == way.answers, "none of them took the way over HTTP"
    rig.sql(f"REFRESH TABLE {wide.full_name}")
    shown = SHOWN.get(column, f'"{column}"')
    http, pg = (
        rig.sql(f"SELECT {shown} FROM {wide.full_name} WHERE id >= ? AND id < ? ORDER BY id", [start, start + 500]).rows
        for start in (first, first + 500)
    )
    assert (repr(http), len(values)) == (repr(pg), len(pg))
    rig.sql(f"DELETE FROM {wide.full_name} WHERE id >= ? AND id < ?", [first, first + 1_000])
    rig.sql(f"REFRESH TABLE {wide.full_name}")


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize("way_out", ["of the request", "of the answer"])
def test_a_pipeline_cut_in_the_middle_leaves_its_rows_unknown_and_the_next_attempts_write_them(rig: Rig, way_out: str) -> None:
    table, proxy = rig.ordered(), Cutting(*way_to(rig))
    changes = [write(i, JAN, "05", "v" * 500) for i in range(1_000)]
    with closing(proxy), closing(pipeline(rig, f"127.0.0.1:{proxy.port}")) as way:
        way.probe()
        proxy.cut_after(way_out == "of the answer", 100_000 if way_out == "of the request" else 100)
        result = written(rig, way, table, *changes)
        assert ({RETRY}, {"store.reset"}, 1) == (set(fates(result)), set(codes(result)), len(result.unsure))
        assert all(outcome.unknown for outcome in result.outcomes)
        proxy.mend()
        for _ in range(100):
            result = written(rig, way, rig.describe(table.full_name), *changes, unsure=result.unsure)
            if {WRITTEN} == set(fates(result)):
                break
            time.sleep(0.1)
    assert {WRITTEN} == set(fates(result))
    assert [[1_000]] == rig.rows(table, "count(*)")


class Cutting(Proxy):
    """A proxy that cuts everything once so many bytes more have come from one side."""

    def __init__(self, host: str, port: int) -> None:
        self._left: dict[bool, int] = {}
        super().__init__(host, port)
        self._server_port = port

    def cut_after(self, from_server: bool, size_bytes: int) -> None:
        self._left = {from_server: size_bytes}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        is_server = source.getpeername()[1] == self._server_port
        super()._pump(Counted(source, lambda size: self._count(is_server, size)), sink)  # type: ignore[arg-type]

    def _count(self, is_server: bool, size_bytes: int) -> None:
        if is_server in self._left:
            self._left[is_server] -= size_bytes
            if self._left[is_server] < 0:
                self._left = {}
                self.cut()


class Counted:
    """A socket that tells how much came."""

    def __init__(self, inner: socket.socket, tell: Callable[[int], None]) -> None:
        self._inner, self._tell = inner, tell

    def recv(self, size: int) -> bytes:
        chunk = self._inner.recv(size)
        self._tell(len(chunk))
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_connection_that_was_closed_meanwhile_is_made_again_before_rows_are_sent(rig: Rig) -> None:
    table, proxy = rig.ordered(), Proxy(*way_to(rig))
    with closing(proxy), closing(pipeline(rig, f"127.0.0.1:{proxy.port}")) as way:
        assert [WRITTEN] == fates(written(rig, way, table, write(1, JAN, "05")))
        proxy.cut()
        proxy.mend()
        assert [WRITTEN] == fates(written(rig, way, table, write(2, JAN, "05")))


def test_a_node_that_never_answers_is_given_up_and_its_rows_are_unknown(rig: Rig) -> None:
    """It takes the connection as CrateDB would and then says nothing more."""
    table, proxy = rig.ordered(), Silent(*way_to(rig))
    with closing(proxy), closing(pipeline(rig, f"127.0.0.1:{proxy.port}", read_s=1.0)) as way:
        way.probe()
        proxy.is_silent.set()
        result = written(rig, way, table, write(1, JAN, "05"))
    assert (["store.timeout"], [True], 1) == (codes(result), [result.outcomes[0].unknown], len(result.unsure))


class Silent(Proxy):
    """A proxy that swallows what comes while it is silent."""

    def __init__(self, host: str, port: int) -> None:
        self.is_silent = threading.Event()
        super().__init__(host, port)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        super()._pump(Gate(source, self.is_silent), sink)  # type: ignore[arg-type]


class Gate:
    """A socket whose bytes are lost while the event is set."""

    def __init__(self, inner: socket.socket, is_silent: threading.Event) -> None:
        self._inner, self._is_silent = inner, is_silent

    def recv(self, size: int) -> bytes:
        while (chunk := self._inner.recv(size)) and self._is_silent.is_set():
            pass
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_node_that_is_not_there_is_passed_over_and_none_at_all_is_unreachable(rig: Rig) -> None:
    table = rig.ordered()
    with closing(pipeline(rig, "127.0.0.1:1", pg_address(rig.client, rig.url))) as way:
        for number in range(3):
            assert [WRITTEN] == fates(written(rig, way, table, write(number, JAN, "05")))
    with closing(pipeline(rig, "127.0.0.1:1")) as nowhere:
        result = written(rig, nowhere, table, write(9, JAN, "05"))
        assert (["store.unreachable"], (), [False]) == (codes(result), result.unsure, [result.outcomes[0].unknown])
        with pytest.raises(Retry, match="INGEST_CRATE_PG_ADDRESSES"):
            nowhere.probe()


def test_a_user_that_is_not_there_stops_the_worker(rig: Rig) -> None:
    addresses = pg_addresses(parse_addresses([rig.url]), [pg_address(rig.client, rig.url)], user="nobody_at_all", password="x")
    with closing(PgPipeline(addresses)) as way, pytest.raises(Stop, match="refuses our credentials"):
        way.probe()


def test_a_poison_row_costs_itself_and_the_next_batch_takes_the_pipeline_again(rig: Rig) -> None:
    table = rig.ordered()
    with closing(pipeline(rig)) as way:
        changes = [write(i if i != 7 else None, JAN, "05") for i in range(20)]
        result = written(rig, way, table, *changes)
        assert ["store.key_null"] == [code for code in codes(result) if code]
        assert [WRITTEN] * 19 == [fate for fate in fates(result) if fate is WRITTEN]
        table = rig.describe(table.full_name)
        assert [WRITTEN] * 2 == fates(written(rig, way, table, write(30, JAN, "05"), write(31, JAN, "05")))
        assert [None, [1, 1]] == way.answers


def test_a_running_request_is_seen_by_its_tag(rig: Rig) -> None:
    """What a lane with an unknown outcome waits for."""
    table, tags = rig.ordered(), set[str]()
    is_done = threading.Event()

    def look() -> None:
        with closing(Rig(rig.url, rig.schema, "http").client) as client:
            while not is_done.is_set():
                tags.update(str(row[0]) for row in client.execute("SELECT substr(stmt, 1, 60) FROM sys.jobs").rows)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        with closing(pipeline(rig)) as way:
            for turn in range(20):
                written(rig, way, table, *(write(i, JAN, f"{turn:02}", "v" * 500) for i in range(2_000)))
                if any(tag.startswith("/* ingest test") and table.name in tag for tag in tags):
                    break
    finally:
        is_done.set()
        watcher.join()
    assert any(tag.startswith(f"/* ingest test {table.full_name}/0 ") for tag in tags)
