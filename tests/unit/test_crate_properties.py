"""Verdicts and bisection as properties: nothing is claimed that CrateDB did not do, and no good row is blamed.

The CrateDB here is a model of one shard with the traits that make its answers hard to read: it explains ten rows at most, fails
a whole request for one row that it cannot convert, and answers 1 for a stale row where the statement keeps the stored one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest.crate.http import Answer
from ingest.crate.statements import Action
from ingest.crate.verdicts import CODES, of_request, of_row
from ingest.crate.writer import HttpStore
from ingest.model import Batch, Change, Fate, Lane, Result
from tests.crate_rig import JAN, write
from tests.unit.test_crate_writer import ORDERED, Rows, refused

EXPLAINED = 10
STORED, OURS = "07", "05"
# What is wrong with a row, and how it must end when nothing else goes wrong.
ENDS = {
    "good": {Fate.WRITTEN},
    "stale": {Fate.SUPERSEDED},
    "too long": {Fate.REJECTED},
    "not convertible": {Fate.REJECTED},
    "breaks the server": {Fate.RETRY},
    "busy once": {Fate.WRITTEN},
}
# What the answer to a row says of it where its request was let in.
ROW_SAYS = {
    "stale": (4000, "SQLParseException[Cannot cast value `stale 07` to type `integer`]"),
    "too long": (4000, "SQLParseException['x' is too long for the text type of length: 3]"),
    "busy once": (5000, "EsRejectedExecutionException[queue is full]"),
}
UNFINISHED = ("store.unfinished", "store.unexplained", "store.untold", "store.server_error")


class ModelShard:
    """Answers the statements of one batch as a shard does. trait: by key. stored: key -> version."""

    def __init__(self, traits: Sequence[str]) -> None:
        self.traits = traits
        self.stored = {key: STORED for key, trait in enumerate(traits) if trait == "stale"}
        self.calls: Counter[int] = Counter()

    def is_settling(self) -> bool:
        return False

    def execute(self, stmt: str, args: Any = None, bulk_args: Rows = None, tag: str | None = None) -> Answer:
        keys = [row[0] for row in bulk_args or ()]
        traits = [self.traits[key] for key in keys]
        if "not convertible" in traits:
            return refused(400, 4000, "SQLParseException[Cannot cast value `x` to type `bigint`]")
        if "breaks the server" in traits:
            return refused(500, 5000, "NullPointerException[]")
        explained = 0
        results: list[dict[str, Any]] = []
        for key in keys:
            error = self.error_of(key, is_refusing="'stale '" in stmt)
            explained += error is not None
            if error is None:
                self.stored[key] = max(self.stored.get(key, OURS), OURS)
            results.append({"rowcount": 1} if error is None else entry(error if explained <= EXPLAINED else None))
        return Answer(200, {"results": results})

    def error_of(self, key: int, *, is_refusing: bool) -> tuple[int, str] | None:
        trait = self.traits[key]
        self.calls[key] += 1
        if trait == "stale" and not is_refusing:
            return None
        if trait == "busy once" and self.calls[key] > 1:
            return None
        return ROW_SAYS.get(trait)


def entry(error: tuple[int, str] | None) -> dict[str, Any]:
    return {"rowcount": -2} | ({"error": {"code": error[0], "message": error[1]}} if error else {})


def attempt(shard: ModelShard, changes: Sequence[Change], max_rows: int, *, mostly_stale: bool = False) -> Result:
    store = HttpStore(shard, clock=lambda: 0.0, max_rows=max_rows)  # type: ignore[arg-type]
    return store.write(Batch(Lane("doc.t", 0), ORDERED, list(changes), "tag", mostly_stale=mostly_stale))


def check(shard: ModelShard, key: int, fate: Fate, *, mostly_stale: bool) -> None:
    """Nothing is claimed that the shard did not do, nothing rejected that it would have taken."""
    trait = shard.traits[key]
    if fate is Fate.WRITTEN:
        assert shard.stored.get(key) == OURS or (mostly_stale and trait == "stale")
    assert fate is not Fate.REJECTED or trait in ("too long", "not convertible")
    assert fate is not Fate.SUPERSEDED or trait == "stale"


# Streams with few kinds of bad rows, so that often more than ten of one request fail row by row and some stay unexplained.
TRAITS = st.tuples(st.sets(st.sampled_from(sorted(ENDS)), min_size=1, max_size=3), st.sampled_from([1, 12, 30])).flatmap(
    lambda drawn: st.lists(st.sampled_from(sorted(drawn[0])), min_size=drawn[1], max_size=60)
)


@given(TRAITS, st.sampled_from([3, 17, 1000]), st.booleans())
def test_bisection_finds_each_bad_row_and_claims_nothing_else(traits: list[str], max_rows: int, mostly_stale: bool) -> None:
    shard = ModelShard(traits)
    left = {key: write(key, JAN, OURS) for key in range(len(traits))}
    ended: dict[int, Fate] = {}
    for _ in range(4 + 4 * len(traits)):
        result = attempt(shard, list(left.values()), max_rows, mostly_stale=mostly_stale)
        for key, outcome in zip(list(left), result.outcomes, strict=True):
            check(shard, key, outcome.fate, mostly_stale=mostly_stale)
            if outcome.fate is Fate.RETRY:
                assert outcome.code in (*UNFINISHED, "store.overloaded")
            else:
                ended[key] = outcome.fate
                del left[key]
        if not left:
            break
    stubborn = {key for key, trait in enumerate(traits) if trait == "breaks the server"}
    if not stubborn:
        assert not left
    for key, fate in ended.items():
        ends = ENDS[traits[key]] | ({Fate.WRITTEN} if mostly_stale and traits[key] == "stale" else set())
        assert fate in ends, traits[key]


@given(TRAITS)
def test_a_row_that_breaks_the_server_stays_and_all_others_end(traits: list[str]) -> None:
    """Given a few attempts, for a server that fails at one of them is not asked about every single row at once."""
    shard = ModelShard(["breaks the server", *traits[:20]])
    left = [write(key, JAN, OURS) for key in range(len(shard.traits))]
    for _ in range(60):
        outcomes = attempt(shard, left, 1000).outcomes
        again = [change for change, outcome in zip(left, outcomes, strict=True) if outcome.fate is Fate.RETRY]
        left = again[1:] + again[:1]  # as lanes do, which put what failed behind the rest
    assert {change.key[0] for change in left} == {k for k, trait in enumerate(shard.traits) if trait == "breaks the server"}


TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from([said for _, said in ROW_SAYS.values()]).flatmap(
        lambda said: st.tuples(st.text(max_size=10), st.just(said)).map("".join)
    ),
)
NUMBERS = st.one_of(st.sampled_from(sorted(CODES)), st.integers(0, 99_999))


@given(st.sampled_from(sorted(Action, key=str)), NUMBERS, TEXTS, st.one_of(st.none(), st.integers(-3, 3)))
def test_no_error_of_a_row_confirms_it_and_none_is_quoted(action: Action, code: int, message: str, rowcount: int | None) -> None:
    outcome = of_row(action, {"rowcount": rowcount, "error": {"code": code, "message": message}})
    assert outcome.fate is not Fate.WRITTEN
    assert outcome.column is None
    if len(message) > 20:
        assert message not in outcome.text
    if code not in CODES:
        assert outcome.fate is Fate.RETRY


@given(st.sampled_from(sorted(Action, key=str)), st.integers(-5, 5))
def test_only_a_count_of_one_confirms_a_row(action: Action, rowcount: int) -> None:
    assert (of_row(action, {"rowcount": rowcount}).fate is Fate.WRITTEN) == (rowcount == 1)


@given(st.integers(100, 599), st.one_of(st.none(), NUMBERS), TEXTS)
def test_a_refused_request_writes_nothing_and_makes_no_row_stale(status: int, code: int | None, message: str) -> None:
    outcome = of_request(status, code, message)
    assert outcome.fate in (Fate.RETRY, Fate.REJECTED, Fate.PARK, Fate.STOP) or code == 40411
    assert outcome.code != "stale"
