"""The judge is judged: the stream is what it says it is, the model is right where a person can see it, compare notices a lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest

from . import compare, poison
from .log import Change, Fate, Kind, Letter, Log, Message, Place, Sent
from .model import Expected, LiveRow, expected
from .stream import stream
from .tables import TABLES, Spec, Values, month_of, month_start_ms

RECORDS = 20_000


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(stream(seed=1, records=RECORDS, prefix="t"))


@pytest.fixture(scope="module")
def log(messages: list[Message]) -> Log:
    return logged(messages)


@pytest.fixture(scope="module")
def must(log: Log) -> Expected:
    return expected(log)


def logged(messages: Iterable[Message]) -> Log:
    log = Log()
    for _ in log.note(messages):
        pass
    return log


# ---------------------------------------------------------------- the stream


def test_the_same_seed_makes_the_same_bytes(messages: list[Message]) -> None:
    assert messages == list(stream(seed=1, records=RECORDS, prefix="t"))


def test_another_seed_makes_another_stream(messages: list[Message]) -> None:
    assert messages[:200] != list(stream(seed=2, records=200, prefix="t"))[:200]


def test_a_table_alone_is_told_the_same_as_among_others(messages: list[Message]) -> None:
    alone = list(stream(seed=1, records=2_000, prefix="t", tables=["orders"]))
    assert alone[:1_500] == [m for m in messages if m.topic == "t.public.orders"][:1_500]


GOOD = {"snapshot", "insert", "update", "delete", "reinsert", "duplicate", "forged", "extra field"}
ALWAYS = {f"{how}{kind}" for how in ("bad ", "bad over good, ") for kind in (*poison.EARLY, *poison.LATE)} | GOOD
ALSO = {
    "orders": {"move", "key change, old", "key change, new", "tombstone"},
    "shipments": {"move", "key change, old", "key change, new", "tombstone", "patch"},
    "invoices": {"move", "resolved"},
    "customers": {"patch"},
    "readings": {"patch", "tombstone"},
}


@pytest.mark.parametrize("table", TABLES)
def test_each_kind_of_message_occurs_in(table: str) -> None:
    wanted = ALWAYS | ALSO[table]
    if TABLES[table].month_from is None:
        wanted = {what for what in wanted if "year 9999" not in what}
    (counts,) = logged(stream(seed=3, records=20_000, prefix="t", tables=[table])).counts().values()
    assert wanted - counts.keys() == set()


def test_every_fate_has_its_messages_and_only_good_ones_say_a_change(messages: list[Message]) -> None:
    assert {m.fate for m in messages} == set(Fate)
    assert {m.fate for m in messages if m.change is not None} == {Fate.KEPT}
    assert all(m.change is not None for m in messages if m.fate is Fate.KEPT)


def test_a_key_that_ended_badly_over_good_changes_is_never_touched_again(messages: list[Message]) -> None:
    ended: set[tuple[str, bytes | None]] = set()
    for message in messages:
        if message.key is not None:
            assert (message.topic, message.key) not in ended, message.what
        if message.what.removeprefix("bad over good, ") in poison.LATE:
            ended.add((message.topic, message.key))
    assert len(ended) > 10


def test_a_late_fault_stands_over_good_changes_that_stay(messages: list[Message], must: Expected) -> None:
    late = {f"bad over good, {kind}" for kind in poison.LATE}
    bad = [m for m in messages if m.what in late and m.topic == "t.public.orders"]
    ids = {(orjson.loads(m.key or b"")["id"],) for m in bad}
    assert len(ids) > 5
    assert ids <= must.rows["orders"].keys()


def test_duplicates_are_earlier_messages_byte_for_byte_and_some_are_out_of_order(messages: list[Message]) -> None:
    seen: set[tuple[Any, ...]] = set()
    newest: dict[tuple[str, bytes | None], int] = {}
    out_of_order = 0
    for m in messages:
        said = (m.topic, m.partition, m.key, m.value, m.headers)
        version = m.change.version if m.change else 0
        if m.what == "duplicate":
            assert said in seen
            out_of_order += version < newest[m.topic, m.key]
        seen.add(said)
        if m.change:
            newest[m.topic, m.key] = max(version, newest.get((m.topic, m.key), 0))
    assert out_of_order > 50


def test_no_key_has_both_a_patch_and_a_duplicate(messages: list[Message]) -> None:
    patched = {(m.topic, m.key) for m in messages if m.what == "patch"}
    repeated = {(m.topic, m.key) for m in messages if m.what == "duplicate"}
    assert len(patched) > 50
    assert patched & repeated == set()


def test_all_changes_of_a_key_are_in_one_partition(messages: list[Message]) -> None:
    partitions: dict[tuple[str, bytes], set[int]] = {}
    for m in messages:
        if m.key is not None:
            partitions.setdefault((m.topic, m.key), set()).add(m.partition)
    assert {len(found) for found in partitions.values()} == {1}
    assert {m.partition for m in messages} == set(range(6))


def test_bad_messages_stay_far_below_the_ratio_that_parks_a_topic_and_come_in_crowds(messages: list[Message]) -> None:
    by_partition: dict[tuple[str, int], list[bool]] = {}
    for m in messages:
        by_partition.setdefault((m.topic, m.partition), []).append(m.fate is Fate.DEAD)
    worst = max(sum(bad[i : i + 200]) for bad in by_partition.values() for i in range(len(bad)))
    assert poison.MOST_IN_WINDOW <= worst <= poison.MOST_IN_WINDOW + 1
    crowds = sum(all(m.fate is Fate.DEAD for m in messages[i : i + 3]) for i in range(len(messages)))
    assert crowds >= 1


def test_a_delete_under_default_identity_invents_its_before_image(messages: list[Message]) -> None:
    deletes = [orjson.loads(m.value or b"") for m in messages if m.topic == "t.public.shipments" and m.what == "delete"]
    invented = [d["before"] for d in deletes if d["before"] and "created_at" in d["before"]]
    assert invented
    assert {image["created_at"] for image in invented} == {0}
    assert any(d["before"] is None for d in deletes)


def test_a_message_without_key_has_none_anywhere(messages: list[Message]) -> None:
    keyless = [orjson.loads(m.value or b"") for m in messages if m.what.endswith("no key")]
    images = [value.get(part) for value in keyless for part in ("before", "after") if "after" in value]
    assert keyless
    assert all("id" not in image for image in images if image)


def test_moves_go_to_and_fro_within_a_few_messages(messages: list[Message]) -> None:
    last: dict[bytes | None, int] = {}
    near = 0
    for i, m in enumerate(messages):
        if m.what == "move":
            near += i - last.get(m.key, -1000) < 20
            last[m.key] = i
    assert near > 50


def test_cockroach_decimals_are_number_tokens_with_all_digits(messages: list[Message]) -> None:
    rows = [m for m in messages if m.topic == "t_invoices" and m.change and m.change.values.get("amount")]
    assert rows
    for m in rows[:500]:
        assert m.change is not None
        assert b'"amount":' + format(m.change.values["amount"], "f").encode() + b"," in (m.value or b"")


# ---------------------------------------------------------------- the model

CUSTOMER = dict.fromkeys((name for name, _ in TABLES["customers"].columns), None)


def row(**values: Any) -> Values:
    return {**dict.fromkeys(name for name, _ in TABLES["orders"].columns), "id": 1, "created_at": month_start_ms(0), **values}


def said(*changes: tuple[int, Kind, Values]) -> Log:
    """A log of changes of order 1: version, kind, values; offsets in that order."""
    made = [Sent(Place("t", 0, i), "", Fate.KEPT, Change("orders", (1,), v, k, x, i)) for i, (v, k, x) in enumerate(changes)]
    return Log(sent=made)


def outcome(*changes: tuple[int, Kind, Values]) -> LiveRow | None:
    return expected(said(*changes)).rows["orders"].get((1,))


W, P, D = Kind.WRITE, Kind.PATCH, Kind.DELETE


@pytest.mark.parametrize(
    ("changes", "note", "offset"),
    [
        ([(1, W, row(note="a"))], "a", 0),
        ([(1, W, row(note="a")), (2, W, row(note="b"))], "b", 1),
        ([(2, W, row(note="b")), (1, W, row(note="a"))], "b", 0),
        ([(2, W, row(note="b")), (2, W, row(note="b"))], "b", 1),
        ([(1, W, row(note="a")), (2, P, {"id": 1, "quantity": 5})], "a", 1),
        ([(1, W, row(note="a")), (2, D, {}), (3, W, row(note=None))], None, 2),
        ([(1, W, row(note="a")), (3, W, row(note="c")), (2, D, {})], "c", 1),
    ],
    ids=["alone", "newer last", "older last", "same again", "patch keeps", "reinserted", "old delete"],
)
def test_the_newest_change_of_a_key_wins(changes: list[tuple[int, Kind, Values]], note: str | None, offset: int) -> None:
    found = outcome(*changes)
    assert found is not None
    assert (found.values["note"], found.at.offset) == (note, offset)


def test_a_deleted_key_is_gone_also_when_an_older_change_comes_later() -> None:
    assert outcome((1, W, row()), (3, D, {}), (2, W, row(note="late"))) is None


def test_a_row_is_in_the_month_of_its_newest_image() -> None:
    found = outcome((1, W, row()), (2, W, row(created_at=month_start_ms(5) + 7)))
    assert found is not None
    assert found.month == month_start_ms(5)


def test_without_versions_the_later_offset_wins() -> None:
    sent = [Sent(Place("t", 0, i), "", Fate.KEPT, Change("customers", ("k",), 0, W, {**CUSTOMER, "name": name}, i))
            for i, name in enumerate("ab")]  # fmt: skip
    assert expected(Log(sent=sent)).rows["customers"][("k",)].values["name"] == "b"


def test_the_model_ends_where_the_sources_ended(messages: list[Message]) -> None:
    """Two roads to one answer: the model folds what was said, the source knows what it has."""
    last: dict[str, dict[bytes | None, Any]] = {}
    for m in messages:
        if m.topic.endswith(("orders", "shipments")) and m.change and m.what != "duplicate":
            last.setdefault(m.change.table, {})[m.key] = orjson.loads(m.value or b"")["after"]
    for table, keys in last.items():
        alive = {after["id"]: after["created_at"] for after in keys.values() if after is not None}
        rows = expected(logged(messages)).rows[table]
        assert {key[0]: live.values["created_at"] for key, live in rows.items()} == alive


def test_the_counts_of_the_model_add_up(must: Expected, log: Log) -> None:
    assert len(log.sent) == must.read == must.stored + must.skipped + must.echoes + must.dead_lettered
    assert min(must.stored, must.skipped, must.echoes, must.dead_lettered) > 20


# ---------------------------------------------------------------- compare


def as_read(spec: Spec, must: Expected) -> Iterator[Values]:
    """The rows as CrateDB would answer with them."""
    for live in must.rows[spec.name].values():
        answer = {name: Decimal(repr(v)) if isinstance(v, float) else v for name, v in live.values.items()}
        answer |= dict(zip(compare.PROVENANCE, (*live.at, live.source_ts_ms), strict=True))
        yield {**answer, "month": live.month} if spec.month_from else answer


@pytest.fixture
def answer(must: Expected) -> list[Values]:
    return list(as_read(TABLES["orders"], must))


def kinds(must: Expected, answer: list[Values], table: str = "orders") -> Counter[str]:
    return compare.compare_rows(table, must.rows[table], answer).kinds


@pytest.mark.parametrize("table", TABLES)
def test_what_must_be_there_is_no_difference_in(table: str, must: Expected) -> None:
    assert kinds(must, list(as_read(TABLES[table], must)), table) == {}


def test_a_dropped_row_is_noticed(must: Expected, answer: list[Values]) -> None:
    assert kinds(must, answer[1:]) == {"row missing": 1}


def test_a_row_too_many_is_noticed(must: Expected, answer: list[Values]) -> None:
    assert kinds(must, [*answer, {**answer[0], "id": -5}]) == {"row too many": 1}


def test_a_key_in_two_months_is_noticed(must: Expected, answer: list[Values]) -> None:
    assert kinds(must, [*answer, {**answer[0], "month": 0}]) == {"key twice": 1}


@pytest.mark.parametrize("name", [*(c.name for c in TABLES["orders"].columns if c.name != "id"), "month", *compare.PROVENANCE])
def test_a_value_altered_is_noticed_in(name: str, must: Expected, answer: list[Values]) -> None:
    i = next(i for i, found in enumerate(answer) if found[name] is not None)
    answer[i] = {**answer[i], name: altered(answer[i][name])}
    assert kinds(must, answer) == {"wrong origin" if name in compare.PROVENANCE else "wrong value": 1}


def altered(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return {**value, "size": -1}
    more: dict[type, Any] = {Decimal: Decimal("0.01"), int: 1, str: "x", list: ["x"]}
    return value + more[type(value)]


def test_a_null_is_not_an_empty_text_and_true_is_not_1() -> None:
    assert [compare.equal("text", None, ""), compare.equal("boolean", True, 1)] == [False, False]


def test_the_report_is_readable_and_short(must: Expected, answer: list[Values]) -> None:
    report = str(compare.compare_rows("orders", must.rows["orders"], answer[500:]))
    assert report.startswith("500 x row missing\n  row missing: orders (")
    assert len(report.splitlines()) == 1 + compare.SHOWN


AT = Place("t", 0, 7)
LETTER = Letter(b"k", b"v", (("h", b"1"),))


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([], "letter missing"),
        ([(AT, LETTER), (Place("t", 0, 8), LETTER)], "letter too many"),
        ([(AT, LETTER._replace(value=b"w"))], "letter changed"),
        ([(AT, LETTER._replace(headers=()))], "letter changed"),
    ],
)
def test_dead_letters_that_are_not_as_they_must_be_are_noticed(found: list[tuple[Place, Letter]], kind: str) -> None:
    assert compare.compare_letters({AT: LETTER}, found, {}).kinds == {kind: 1}


def test_a_letter_that_came_twice_is_no_difference() -> None:
    twice = [(AT, LETTER._replace(headers=(*LETTER.headers, ("ingest.code", b"x"))))] * 2
    assert not compare.compare_letters({AT: LETTER}, twice, {})


def test_books_that_do_not_fit_are_noticed() -> None:
    must = Expected(read=10, stored=6, skipped=1, echoes=2, letters={AT: LETTER})
    books = {"read": 10, "written": 4, "superseded": 2, "skipped": 3, "dead_lettered": 1, "handed_back": 0, "unsettled": 0}
    assert not compare.compare_books(must, books, echoes="skipped")
    assert compare.compare_books(must, books, echoes="stored").kinds == {"books": 2}


def test_an_instant_before_1970_is_in_the_month_before() -> None:
    assert month_of(-1) == -2_678_400_000
