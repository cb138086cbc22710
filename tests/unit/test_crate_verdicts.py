"""Every code of CrateDB, and every message that says more than its code, with the fate it means."""

from __future__ import annotations

import re

import pytest

from ingest.crate.statements import Action
from ingest.crate.verdicts import ABSENT, BARE, CODES, VANISHED, as_error, of_error, of_request, of_row
from ingest.errors import Retry, Stop
from ingest.model import SUPERSEDED, WRITTEN, Fate, Outcome

FATES = {
    Fate.REJECTED: {40000, 4000, 4003, 4004, 4008},
    Fate.STOP: {4010, 40410},
    Fate.PARK: {4001, 4002, 4005, 4006, 4011, 40010, 40011, 40013, 4041, 4042, 4043, 4044, 4045, 4047, 4048, 4049},
    Fate.SUPERSEDED: {40411},
    Fate.RETRY: {
        4007, 40012, 4031, 4032, 4033, 4034, 4035, 4036, 4037, 4040, 4046, 4091, 4092, 4093, 4094, 4095, 4096, 4097, 4098, 4099,
        40910, 4290, 5000, 5001, 5002, 5003, 5004, 5005, 5006, 5030, 5031, 5032, 5033, 5034, 5035,
    },
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_fate(code: int) -> None:
    outcome = of_error(code, "")
    assert code in FATES[outcome.fate]
    assert re.fullmatch(r"(store|table)\.[a-z_]+|absent", outcome.code)
    assert outcome.text


def test_every_code_of_the_list_is_in_the_table() -> None:
    assert set().union(*FATES.values()) == set(CODES)


def test_an_unknown_code_is_the_servers_trouble() -> None:
    assert Fate.RETRY is of_error(4999, "").fate


STALE = "SQLParseException[Cannot cast value `stale 01L000` to type `integer`]"


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (4000, STALE, ("superseded", "stale", None, False)),
        (5000, "EsRejectedExecutionException[rejected execution of ...]", ("retry", "store.overloaded", None, True)),
        (5000, "RemoteTransportException: EsRejectedExecutionException[..]", ("retry", "store.overloaded", None, True)),
        (5000, "CircuitBreakingException[Allocating 2mb failed]", ("retry", "store.overloaded", None, True)),
        (4000, "SQLParseException[Validation Failed: 1: this action would add [2] total shards, but this cluster currently has "
               "[42]/[42] maximum shards open;]", ("park", "store.shard_limit", None, False)),
        (4000, "IllegalArgumentException[Limit of total columns [1000] in table [doc.t] exceeded]",
         ("park", "table.column_limit", None, False)),
        (4000, "SQLParseException['aaaa' is too long for the text type of length: 3]",
         ("rejected", "store.text_too_long", None, False)),
        (4000, 'IllegalArgumentException[Document contains at least one immense term in field="2" ...]',
         ("rejected", "store.text_too_long", None, False)),
        (4000, 'SQLParseException["nn" must not be null]', ("rejected", "store.null_refused", "nn", False)),
        (4000, 'SQLParseException["gone" must not be null]', ("rejected", "store.null_refused", None, False)),
        (4000, "SQLParseException[A primary key value must not be NULL]", ("rejected", "store.key_null", None, False)),
        (4000, "SQLParseException[Failed CONSTRAINT nm CHECK (\"ch\" <> 'x') for values: [1, secret]]",
         ("rejected", "store.check_failed", None, False)),
        (4000, "SQLParseException[Value -9223372036854775808 exceeds allowed range for column of type bigint]",
         ("rejected", "store.out_of_range", None, False)),
        (4000, "SQLParseException[Cannot cast value `zz` to type `integer`]", ("rejected", "store.type_refused", None, False)),
        (4000, "SQLParseException[Cannot cast object element `x` with value `q` to type `integer`]",
         ("rejected", "store.type_refused", None, False)),
        (4000, "SQLParseException[Cannot add column `y` to strict object `o`]", ("rejected", "store.value_refused", "o", False)),
        (4003, "ColumnValidationException[Validation failed for nn: Updating a column which is ...]",
         ("rejected", "store.value_refused", "nn", False)),
        (5000, "ClassCastException[class java.lang.String cannot be cast]", ("rejected", "store.value_refused", None, False)),
        (5000, "can not write type [class java.math.BigInteger]", ("rejected", "store.value_refused", None, False)),
        (5000, "NullPointerException[x]", ("retry", "store.server_error", None, False)),
        (4000, "something new", ("rejected", "store.value_refused", None, False)),
    ],
)  # fmt: skip
def test_a_message_may_say_more_than_its_code(code: int, message: str, expected: tuple[str, str, str | None, bool]) -> None:
    outcome = of_error(code, message, {"nn", "o"})
    assert expected == (outcome.fate, outcome.code, outcome.column, outcome.overload)


def test_nothing_of_a_message_but_a_known_column_is_passed_on() -> None:
    message = 'SQLParseException["secret" must not be null] EsRejectedExecutionException secret'
    assert "secret" not in repr(of_error(4000, message, {"nn"}))


@pytest.mark.parametrize("word", ["EsRejectedExecutionException", "maximum shards open", "immense terms", "stale 1"])
def test_a_value_that_sounds_like_trouble_does_not_deceive(word: str) -> None:
    outcome = of_error(4000, f"SQLParseException[Cannot cast value `{word}` to type `bigint`]")
    assert Fate.REJECTED is outcome.fate


def test_a_whole_request_is_never_stale() -> None:
    """The guard fails single rows; a request refused for these words met them in somebody's data."""
    assert ("rejected", "store.type_refused") == of_request(400, 4000, STALE)[:2]


ERROR = {"rowcount": -2, "error": {"code": 40411, "message": "DocumentMissingException[..]"}}


@pytest.mark.parametrize(
    ("action", "entry", "expected"),
    [
        (Action.WRITE, {"rowcount": 1}, WRITTEN),
        (Action.WRITE, {"rowcount": 0}, VANISHED),
        (Action.TOMBSTONE, {"rowcount": 0}, VANISHED),
        (Action.WRITE, {"rowcount": -2}, BARE),
        (Action.WRITE, ERROR, VANISHED),
        (Action.PATCH, {"rowcount": 0}, ABSENT),
        (Action.PATCH, ERROR, ABSENT),
        (Action.DELETE, {"rowcount": 0}, ABSENT),
        (Action.DELETE, ERROR, ABSENT),
        (Action.DELETE, {"rowcount": -2}, BARE),
        (Action.WRITE, {"rowcount": -2, "error": {"code": 4000, "message": STALE}}, SUPERSEDED),
        (Action.WRITE, {}, BARE),
    ],
)
def test_an_entry_of_a_bulk_answer_has_its_outcome(action: Action, entry: dict[str, object], expected: Outcome) -> None:
    assert expected is of_row(action, entry)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (413, ("rejected", "store.too_large", False, False)),
        (429, ("retry", "store.overloaded", True, False)),
        (401, ("stop", "store.unauthorised", False, False)),
        (502, ("retry", "store.strange_answer", False, True)),
        (200, ("retry", "store.strange_answer", False, False)),
    ],
)
def test_an_answer_without_a_code_is_judged_by_its_status(status: int, expected: tuple[str, str, bool, bool]) -> None:
    outcome = of_request(status, None, "")
    assert expected == (outcome.fate, outcome.code, outcome.overload, outcome.unknown)


@pytest.mark.parametrize("code", [4041, 4045])
def test_a_table_unknown_to_a_node_that_starts_is_waited_for(code: int) -> None:
    assert ("retry", "store.starting") == of_request(404, code, "", is_settling=True)[:2]
    assert ("park", "table.missing") == of_request(404, code, "")[:2]


def test_a_refused_query_of_our_own_is_ours_to_mend_or_to_repeat() -> None:
    assert isinstance(as_error(of_error(5002, ""), "read the catalogue"), Retry)
    assert isinstance(as_error(of_error(4000, ""), "read the catalogue"), Stop)
    assert isinstance(as_error(of_error(4011, ""), "read the catalogue"), Stop)


def test_texts_tell_no_code_of_ours_twice_with_different_fates() -> None:
    fates: dict[str, set[Fate]] = {}
    for rule in CODES.values():
        fates.setdefault(rule.code, set()).add(rule.fate)
    assert [] == [code for code, found in fates.items() if len(found) > 1]
