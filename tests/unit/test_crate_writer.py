"""One attempt at a batch, against answers from a script: what is sent again, what is given up, what is never claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ingest.crate.http import Answer
from ingest.crate.writer import HttpStore
from ingest.errors import Retry, Stop
from ingest.model import Batch, Change, Column, Fate, Kind, Lane, Result, Table
from tests.crate_rig import FEB, JAN, codes, delete, fates, patch, plain, write

ORDERED = Table(
    "doc",
    "t",
    {
        "id": Column("id", "bigint"),
        "month": Column("month", "timestamp with time zone"),
        "v": Column("v", "text"),
        "cdc_version": Column("cdc_version", "text"),
        "cdc_deleted": Column("cdc_deleted", "boolean"),
    },
    ("id",),
    "month",
    frozenset({JAN, FEB}),
    ("id", "month"),
)
Reply = Answer | Exception
Rows = list[list[Any]] | None


class Script:
    """A client that answers by a function of (statement, rows) and keeps both."""

    def __init__(self, reply: Callable[[str, Rows], Reply], settling: bool = False) -> None:
        self._reply, self._settling = reply, settling
        self.sent: list[tuple[str, Rows]] = []

    def execute(self, stmt: str, args: Any = None, bulk_args: Rows = None, tag: str | None = None) -> Answer:
        self.sent.append((stmt, bulk_args))
        reply = self._reply(stmt, bulk_args)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def is_settling(self) -> bool:
        return self._settling


def refused(status: int, code: int, message: str = "") -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


def rows_of(*results: int) -> Answer:
    return Answer(200, {"results": [{"rowcount": n} for n in results]})


def all_good(_: str, rows: Rows) -> Reply:
    return rows_of(*(1 for _ in rows)) if rows is not None else Answer(200, {"rows": [], "rowcount": 1})


def attempt(script: Script, *changes: Change, table: Table = ORDERED, **more: Any) -> Result:
    store = HttpStore(script, clock=lambda: 0.0, max_rows=more.pop("max_rows", 1_000))  # type: ignore[arg-type]
    return store.write(Batch(Lane("doc.t", 0), table, list(changes), "tag", **more))


def writes(count: int) -> list[Change]:
    return [write(i, JAN, "05") for i in range(count)]


def test_a_batch_is_cut_into_requests_of_max_rows() -> None:
    script = Script(all_good)
    assert [Fate.WRITTEN] * 10 == fates(attempt(script, *writes(10), max_rows=4))
    assert [4, 4, 2] == [len(rows or ()) for _, rows in script.sent]


def test_a_time_out_leaves_the_outcome_of_its_rows_unknown_and_sends_no_more() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        return Retry("store.timeout", "slow", unknown=True) if len(script.sent) == 2 else all_good(stmt, rows)

    script = Script(reply)
    result = attempt(script, *writes(10), max_rows=4)
    assert (["", *[""] * 3, *["store.timeout"] * 6], ("tag",), 2) == (codes(result), result.unsure, result.statements)
    assert [False] * 4 + [True] * 4 + [False] * 2 == [outcome.unknown for outcome in result.outcomes]


def test_a_moved_row_whose_second_half_was_not_sent_must_be_sent_again() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        return Retry("store.reset", "cut", unknown=True) if "REFRESH" in stmt else all_good(stmt, rows)

    result = attempt(Script(reply), write(1, FEB, "06", vacates=(JAN,)), write(2, JAN, "06"))
    assert [Fate.RETRY, Fate.WRITTEN] == fates(result)


def test_refused_credentials_stop_everything() -> None:
    result = attempt(Script(lambda *_: Stop("store.unauthorised", "no")), *writes(3))
    assert [Fate.STOP] * 3 == fates(result)


def test_a_busy_server_is_told_as_overload() -> None:
    result = attempt(Script(lambda *_: refused(500, 5000, "CircuitBreakingException[x]")), *writes(3))
    assert [(Fate.RETRY, True)] * 3 == [(outcome.fate, outcome.overload) for outcome in result.outcomes]
    assert 1 == result.statements


def test_a_row_that_breaks_the_server_is_found_and_its_neighbours_are_written() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        return refused(500, 5000, "NullPointerException[]") if any(row[0] == 70 for row in rows or ()) else all_good(stmt, rows)

    result = attempt(Script(reply), *writes(100))
    assert {70: "store.server_error"} == {i: code for i, code in enumerate(codes(result)) if code}


def test_a_server_that_fails_at_everything_is_not_asked_about_every_row() -> None:
    result = attempt(Script(lambda *_: refused(500, 5000, "NullPointerException[]")), *writes(1_000), max_rows=5_000)
    assert ([Fate.RETRY] * 1_000, True) == (fates(result), result.statements < 40)


def test_a_batch_of_bad_rows_is_taken_apart_in_more_than_one_attempt() -> None:
    result = attempt(
        Script(lambda *_: refused(400, 4000, "SQLParseException[Cannot cast value `x` to type `bigint`]")), *writes(900)
    )
    settled = [fate for fate in fates(result) if fate is Fate.REJECTED]
    assert (200, True) == (result.statements, 50 < len(settled) < 900)
    assert {"store.type_refused", "store.unfinished"} == set(codes(result))


def test_a_request_that_is_too_large_is_halved_and_a_row_that_is_too_large_rejected() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        return Answer(413) if rows and (len(rows) > 4 or any(row[0] == 9 for row in rows)) else all_good(stmt, rows)

    result = attempt(Script(reply), *writes(10))
    assert {9: "store.too_large"} == {i: code for i, code in enumerate(codes(result)) if code}


def test_an_answer_for_fewer_rows_settles_none() -> None:
    result = attempt(Script(lambda *_: rows_of(1, 1)), *writes(3))
    assert [(Fate.RETRY, "store.answer_short")] * 3 == [outcome[:2] for outcome in result.outcomes]


def test_a_200_without_results_is_no_confirmation() -> None:
    assert [Fate.RETRY] * 2 == fates(attempt(Script(lambda *_: Answer(200, {"rowcount": 2})), *writes(2)))


def test_a_partition_that_vanished_is_no_confirmation() -> None:
    assert [Fate.RETRY] == fates(attempt(Script(lambda *_: rows_of(0)), write(1, JAN, "05")))


def test_verdicts_of_a_request_that_may_create_a_partition_are_believed_at_the_second_sending() -> None:
    """The first answer blames the wrong row, as CrateDB does."""
    too_long = {
        "rowcount": -2,
        "error": {"code": 4000, "message": "SQLParseException['x' is too long for the text type of length: 3]"},
    }
    answers = [[{"rowcount": 1}, too_long], [too_long, {"rowcount": 1}]]
    script = Script(lambda *_: Answer(200, {"results": answers[len(script.sent) - 1]}))
    result = attempt(script, write(1, JAN, "05"), write(2, JAN, "05"), table=replace(ORDERED, months=frozenset()))
    assert (["store.text_too_long", ""], frozenset({JAN})) == (codes(result), result.new_months)


TOO_LONG = {
    "rowcount": -2,
    "error": {"code": 4000, "message": "SQLParseException['x' is too long for the text type of length: 3]"},
}
GONE = {"rowcount": -2, "error": {"code": 4040, "message": "IndexNotFoundException[no such index]"}}
MONTHS = [JAN, FEB, FEB + 28 * 86_400_000, FEB + 59 * 86_400_000]


def comes_and_goes(bad: int, *, until: int = 1_000) -> Script:
    """A CrateDB whose months somebody drops all the time, until so many requests: it blames the row behind the bad one, but
    where all are of one month."""

    def reply(_: str, rows: Rows) -> Reply:
        keys = [row[0] for row in rows or ()]
        is_mixed = len({row[1] for row in rows or ()}) > 1 and len(script.sent) <= until
        blamed = (keys.index(bad) + is_mixed) % len(keys) if bad in keys else None
        return Answer(200, {"results": [TOO_LONG if i == blamed else {"rowcount": 1} for i in range(len(keys))]})

    script = Script(reply)
    return script


def over_months(count: int) -> list[Change]:
    return [write(i, MONTHS[i % 4], "05") for i in range(count)]


@pytest.mark.parametrize("bad", range(12))
def test_a_bad_row_is_told_from_its_neighbours_however_often_months_are_dropped(bad: int) -> None:
    """Somebody may drop a month before each request; the answers to requests over several months then blame the wrong row."""
    result = attempt(comes_and_goes(bad), *over_months(12), table=replace(ORDERED, months=frozenset(MONTHS)))
    assert {bad: "store.text_too_long"} == {i: code for i, code in enumerate(codes(result)) if code}


def test_a_verdict_over_one_month_is_believed_at_once() -> None:
    script = comes_and_goes(1)
    assert (["", "store.text_too_long", ""], 1) == (codes(attempt(script, *writes(3))), len(script.sent))


def test_when_a_month_goes_under_its_own_request_no_row_of_it_is_settled() -> None:
    """The rows that were skipped shift the results of those behind them."""
    script = Script(lambda *_: Answer(200, {"results": [{"rowcount": 1}, GONE, TOO_LONG]}))
    assert ["store.shard_missing"] * 3 == codes(attempt(script, *writes(3)))


def test_what_was_not_asked_again_is_not_settled_by_the_first_answer() -> None:
    """The first answer names a wrong row, and the server goes away before it can be asked again."""

    def reply(stmt: str, rows: Rows) -> Reply:
        return Retry("store.timeout", "slow", unknown=True) if len(script.sent) == 3 else bad.execute(stmt, None, rows)

    bad = comes_and_goes(0)
    script = Script(reply)
    result = attempt(script, *over_months(8), table=replace(ORDERED, months=frozenset(MONTHS)))
    assert {Fate.RETRY, Fate.WRITTEN, Fate.REJECTED} >= set(fates(result))
    assert Fate.RETRY in fates(result)
    assert [Fate.REJECTED] != fates(result)[1:2]
    assert fates(result)[0] is not Fate.WRITTEN


def test_a_sys_jobs_that_is_hidden_costs_a_wait_and_blames_no_table() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        return refused(404, 4045) if "sys.jobs" in stmt else all_good(stmt, rows)

    early = attempt(Script(reply), *writes(1), unsure=("a",), unsure_for_s=119.0)
    assert (["store.jobs_hidden"], [Fate.RETRY], ("a",)) == (codes(early), fates(early), early.unsure)
    late = attempt(Script(reply), *writes(1), unsure=("a",), unsure_for_s=121.0)
    assert ([Fate.WRITTEN], ()) == (fates(late), late.unsure)


def test_rows_that_a_busy_shard_left_unexplained_are_not_called_stale() -> None:
    busy = {"rowcount": -2, "error": {"code": 5000, "message": "EsRejectedExecutionException[x]"}}
    answers = [[busy, {"rowcount": -2}], [{"rowcount": 1}]]
    script = Script(lambda *_: Answer(200, {"results": answers[len(script.sent) - 1]}))
    assert ["store.overloaded", "store.untold"] == codes(attempt(script, *writes(2)))


def test_a_row_that_stays_unexplained_is_sent_again_later() -> None:
    result = attempt(Script(lambda _, rows: rows_of(*(-2 for _ in rows or ()))), *writes(3))
    assert [(Fate.RETRY, "store.unexplained")] * 3 == [outcome[:2] for outcome in result.outcomes]


def test_a_batch_waits_while_an_earlier_request_of_its_lane_still_runs() -> None:
    def reply(stmt: str, rows: Rows) -> Reply:
        heads = [["/* ingest g t/0 1 */ INSERT"], ["/* ingest g t/0 10 */ INSERT"]]
        return Answer(200, {"rows": heads, "rowcount": 2}) if "sys.jobs" in stmt else all_good(stmt, rows)

    script = Script(reply)
    result = attempt(script, *writes(2), unsure=("g t/0 1", "g t/0 9"))
    assert (["store.still_running"] * 2, ("g t/0 1",), 1) == (codes(result), result.unsure, len(script.sent))


def test_a_question_about_earlier_requests_that_fails_leaves_them_unsure() -> None:
    result = attempt(Script(lambda *_: Retry("store.unreachable", "gone")), *writes(1), unsure=("a", "b"))
    assert ([Fate.RETRY], ("a", "b")) == (fates(result), result.unsure)


def test_a_blocked_table_costs_one_request() -> None:
    result = attempt(Script(lambda *_: refused(400, 4007)), *writes(50), max_rows=10)
    assert (["store.blocked"] * 50, 1) == (codes(result), result.statements)


def test_a_missing_table_is_waited_for_while_a_node_may_be_starting() -> None:
    assert [Fate.RETRY] == fates(attempt(Script(lambda *_: refused(404, 4041), settling=True), *writes(1)))
    assert [Fate.PARK] == fates(attempt(Script(lambda *_: refused(404, 4041)), *writes(1)))


def test_a_row_that_was_not_copied_keeps_its_old_month() -> None:
    """INSERT from a query answers 0 for a failing row; the look-up then still finds it."""

    def reply(stmt: str, rows: Rows) -> Reply:
        if stmt.startswith("INSERT") and "(SELECT" in stmt:
            return Answer(200, {"rows": [], "rowcount": 0})
        return Answer(200, {"rows": [[1, JAN, False, "04"]]}) if stmt.startswith("SELECT") else all_good(stmt, rows)

    script = Script(reply)
    result = attempt(script, patch(1, FEB, "05", vacates=(JAN,)))
    assert (["store.carry_failed"], [Fate.RETRY]) == (codes(result), fates(result))
    assert not any('UPDATE "doc"' in stmt for stmt, _ in script.sent)


def test_the_column_limit_parks_and_blames_no_row() -> None:
    message = "IllegalArgumentException[Limit of total columns [1000] in table [doc.t] exceeded]"
    assert ["table.column_limit"] * 4 == codes(attempt(Script(lambda *_: refused(400, 4000, message)), *writes(4)))


def test_deletes_go_by_key_when_there_are_no_versions() -> None:
    table = replace(ORDERED, columns={name: ORDERED.columns[name] for name in ("id", "month", "v")})
    script = Script(all_good)
    attempt(script, plain(Kind.DELETE, 1, JAN), plain(Kind.DELETE, 2, FEB), table=table)
    assert [('DELETE FROM "doc"."t" WHERE "id" = $1 AND "month" = $2', [[1, JAN], [2, FEB]])] == script.sent


def test_a_delete_that_finds_nothing_is_superseded_without_a_write() -> None:
    script = Script(lambda stmt, rows: Answer(200, {"rows": [["doc", "t", {"month": JAN}]] if "partitions" in stmt else []}))
    assert (["absent"], 2) == (codes(attempt(script, delete(1, None, "05", look_up=True))), len(script.sent))
