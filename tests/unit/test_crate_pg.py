"""Rows over the PostgreSQL interface, a pipeline and a client from scripts: what is believed, and what is asked over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

pytest.importorskip("psycopg", reason="the extra pg is not installed")

from ingest.crate.http import Answer, parse_address
from ingest.crate.pg_pipeline import pg_addresses, refuse_for_good
from ingest.crate.pg_session import OutOfStep, PgAddress, counts
from ingest.crate.pg_values import as_json, as_texts, parameters, wire_of, wires
from ingest.crate.statements import Action, Form, Statement, Statements
from ingest.crate.writer import HttpStore
from ingest.errors import Retry, Stop
from ingest.model import Batch, Change, Fate, Lane, Result, Table
from tests.crate_rig import FEB, JAN, codes, fates, write
from tests.unit.test_crate_writer import ORDERED, Rows, Script, all_good, refused, rows_of

MAR = 1709251200000
Counts = list[int] | None


class Pipe:
    """A pipeline that answers by a function of the rows and keeps them."""

    def __init__(self, reply: Callable[[Sequence[Sequence[Any]]], Counts | Exception]) -> None:
        self._reply = reply
        self.sent: list[Sequence[Sequence[Any]]] = []

    def bulk(self, _: Table, __: Statement, ___: Sequence[str], rows: Sequence[Sequence[Any]], ____: str) -> Counts:
        self.sent.append(rows)
        reply = self._reply(rows)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def is_settling(self) -> bool:
        return False


def attempt(script: Script, pipe: Pipe, *changes: Change) -> Result:
    store = HttpStore(script, clock=lambda: 0.0, pipeline=pipe)  # type: ignore[arg-type]
    return store.write(Batch(Lane("doc.t", 0), ORDERED, list(changes), "tag"))


def asked(script: Script) -> list[list[Any]]:
    """The first value of every row in each request over HTTP."""
    return [[row[0] for row in rows] for _, rows in script.sent if rows is not None]


def writes(count: int, month: int = JAN) -> list[Change]:
    return [write(i, month, "05") for i in range(count)]


def test_rows_that_the_pipeline_wrote_are_not_sent_again() -> None:
    script = Script(all_good)
    result = attempt(script, pipe := Pipe(lambda rows: [1] * len(rows)), *writes(5))
    assert ([Fate.WRITTEN] * 5, [], 1, 1) == (fates(result), script.sent, len(pipe.sent), result.statements)


def test_a_row_that_failed_gets_the_reason_that_http_tells_and_its_neighbours_stay_written() -> None:
    stale = Answer(
        200,
        {"results": [{"rowcount": -2, "error": {"code": 4000, "message": "X[Cannot cast value `stale 09` to type `integer`"}}]},
    )
    script = Script(lambda *_: stale)
    result = attempt(script, Pipe(lambda _: [1, -3, 1]), *writes(3))
    assert ([Fate.WRITTEN, Fate.SUPERSEDED, Fate.WRITTEN], [[1]]) == (fates(result), asked(script))


def test_a_request_that_the_pipeline_refuses_goes_over_http_and_is_bisected_there() -> None:
    def reply(stmt: str, rows: Rows) -> Answer | Exception:
        return (
            refused(400, 4000, "SQLParseException[Cannot cast value `x`")
            if any(r[0] == 2 for r in rows or ())
            else all_good(stmt, rows)
        )

    result = attempt(Script(reply), pipe := Pipe(lambda _: None), *writes(4))
    assert (["", "", "store.type_refused", ""], 1) == (codes(result), len(pipe.sent))


def test_a_failed_row_of_several_months_that_is_in_after_all_makes_all_of_them_doubtful() -> None:
    """Beside a partition that somebody dropped, CrateDB calls the wrong row failed: the one that failed is called written."""
    script = Script(all_good)
    result = attempt(script, Pipe(lambda _: [1, -3]), write(1, JAN, "05"), write(2, FEB, "05"))
    assert ([Fate.WRITTEN] * 2, [[2], [1, 2]]) == (fates(result), asked(script))


def test_a_row_that_is_rejected_beside_others_makes_all_of_them_doubtful_once() -> None:
    def reply(stmt: str, rows: Rows) -> Answer:
        bad = {"rowcount": -2, "error": {"code": 4000, "message": "X[Failed CONSTRAINT c"}}
        return Answer(200, {"results": [bad if row[0] == 1 else {"rowcount": 1} for row in rows or ()]})

    script = Script(reply)
    result = attempt(script, Pipe(lambda _: [1, -3, 1]), *writes(3))
    assert (["", "store.check_failed", ""], [[1], [0, 1, 2]]) == (codes(result), asked(script))


def test_nothing_is_believed_of_a_request_that_may_have_made_a_partition_and_failed_in_part() -> None:
    script = Script(all_good)
    result = attempt(script, Pipe(lambda _: [1, -3, 1]), *writes(3, MAR))
    assert ([Fate.WRITTEN] * 3, [[0, 1, 2]]) == (fates(result), asked(script))


def test_a_new_month_of_which_every_row_was_written_is_believed_and_told() -> None:
    result = attempt(Script(all_good), Pipe(lambda rows: [1] * len(rows)), *writes(3, MAR))
    assert ([Fate.WRITTEN] * 3, frozenset({MAR})) == (fates(result), result.new_months)


def test_a_broken_pipeline_leaves_its_rows_unknown_and_nothing_goes_over_http() -> None:
    script = Script(all_good)
    result = attempt(script, Pipe(lambda _: Retry("store.reset", "cut", unknown=True)), *writes(3))
    assert ([Fate.RETRY] * 3, ("tag",), []) == (fates(result), result.unsure, script.sent)
    assert all(outcome.unknown for outcome in result.outcomes)


def test_a_pipeline_that_refuses_our_credentials_stops_everything() -> None:
    assert [Fate.STOP] * 2 == fates(attempt(Script(all_good), Pipe(lambda _: Stop("store.unauthorised", "no")), *writes(2)))


def test_stale_rows_without_a_reason_are_asked_with_the_case_form_over_http() -> None:
    def reply(stmt: str, rows: Rows) -> Answer:
        return rows_of(*(-2 for _ in rows or ())) if "stale" in stmt else rows_of(*(1 for _ in rows or ()))

    script = Script(reply)
    result = attempt(script, Pipe(lambda _: [1, -3, -3]), *writes(3))
    assert ([Fate.WRITTEN, Fate.SUPERSEDED, Fate.SUPERSEDED], [[1, 2], [1, 2]]) == (fates(result), asked(script))


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("tags", [[b"/* 1"], [b"/* 1", None], [b"/* 1", b"INSERT"], [b"/* 1"] * 3], ids=str)
def test_answers_that_do_not_match_what_was_asked_are_not_believed(tags: list[bytes | None]) -> None:
    with pytest.raises(OutOfStep):
        counts(tags, 2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ('FATAL:  password authentication failed for user "x"', "store.unauthorised"),
        ("fe_sendauth: no password supplied", "store.unauthorised"),
        ("server does not support SSL, but SSL was required", "store.tls"),
        ("SSL error: certificate verify failed", "store.tls"),
        ('server certificate for "a" does not match host name "b"', "store.tls"),
    ],
)
def test_what_no_waiting_mends_stops_and_the_rest_may_pass(words: str, code: str) -> None:
    address = PgAddress("db", 5432, "crate", "secret")
    with pytest.raises(Stop) as stop:
        refuse_for_good(address, words)
    assert (code, True, False) == (stop.value.code, "db:5432" in stop.value.text, "secret" in repr(address) + stop.value.text)
    refuse_for_good(address, "Connection refused")


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("type_", "value"),
    [("text", "\ud800"), ("bigint", 2**64), ("text_array", "no list"), ("real", "1.5"), ("float_vector", ["1"])],
    ids=lambda value: value if isinstance(value, str) and value.isprintable() else "",
)
def test_a_value_that_does_not_fit_its_wire_sends_the_request_over_http(type_: str, value: Any) -> None:
    wire = wire_of(type_)
    assert wire is not None
    assert parameters([wire], [[None], [value]]) is None
    brought = parameters([wire], [[None]])
    assert brought is not None
    assert [(None,)] == brought.rows


def test_a_nul_travels_with_its_length() -> None:
    wire = wire_of("text")
    assert wire is not None
    brought = parameters([wire], [["a\0b"]])
    assert brought is not None
    assert ([(b"a\0b",)], [1]) == (brought.rows, brought.forms)


@pytest.mark.parametrize("action", [Action.WRITE, Action.PATCH, Action.TOMBSTONE, Action.DELETE])
def test_every_parameter_of_every_statement_has_its_column(action: Action) -> None:
    columns = ("v", "cdc_version", "cdc_deleted")
    statement = Statements(ORDERED).of(action, columns, Form.REFUSE)
    found = wires(ORDERED, statement, columns)
    assert found is not None
    assert len(found) == statement.width == len(statement.parameters(write(1, JAN, "05"), JAN))


# ---------------------------------------------------------------- addresses


def test_addresses_take_user_and_tls_from_those_of_http() -> None:
    urls = [parse_address("https://ann:s@db1:4200"), parse_address("https://db2")]
    by_default = pg_addresses(urls, [], user="bob", password="t")
    assert [("db1", 5432, "ann", "s", True), ("db2", 5432, "bob", "t", True)] == [tuple(address) for address in by_default]
    assert [("a", 1, "ann", "s", True), ("::1", 5432, "ann", "s", True)] == [
        tuple(a) for a in pg_addresses(urls, ["a:1", "[::1]"])
    ]


@pytest.mark.parametrize("text", ["a:b", "http://a:1", "ann:s@db:1", ":1"])
def test_an_address_that_cannot_be_read_is_told_without_repeating_it(text: str) -> None:
    with pytest.raises(Stop, match="INGEST_CRATE_PG_ADDRESSES") as stop:
        pg_addresses([parse_address("http://a")], [text])
    assert text not in stop.value.text


@pytest.mark.parametrize(
    "values",
    [
        (),
        (None,),
        (1, None, -(2**63)),
        (1.5, 1e300, -0.0, None),
        (True, False),
        ("a,b", None, ""),
        (1, "1", None),
        ([1, "a,b"], None),
    ],
)
def test_a_column_is_written_as_its_values_are_one_by_one(values: tuple[Any, ...]) -> None:
    def alone(value: Any) -> bytes | None:
        return None if value is None else value.encode() if isinstance(value, str) else orjson.dumps(value)

    assert [alone(value) for value in values] == as_texts(values)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what is resident")
@pytest.mark.parametrize("encode", [as_texts, as_json])
def test_what_is_written_holds_no_more_memory_than_it_has_bytes(encode: Callable[[Any], list[bytes | None]]) -> None:
    """What orjson returns holds a kilobyte and more, however short it is."""

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    before_mb = resident_mb()
    kept = [encode([number + 0.5, [number]]) for number in range(20_000)]
    assert resident_mb() - before_mb < 25
    assert len(kept) == 20_000
