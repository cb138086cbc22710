"""Replaying without servers: receipts, which letters and ranges are meant, what is put around the rooms, how it is told."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from ingest.crate import copies
from ingest.errors import Parked, Reject, Stop
from ingest.flow.ports import Letter
from ingest.kafka import pace as pace_module
from ingest.kafka import receipts as receipts_module
from ingest.kafka import survey as survey_module
from ingest.kafka.letters import message, smaller
from ingest.kafka.pace import Pace
from ingest.kafka.peek import Bounds, Peek
from ingest.kafka.read_letters import ReadLetter, Wanted, letter_of, letters, whole_at
from ingest.kafka.receipts import SKIPPED, STORED, Receipts, Replay, is_receipt, receipt
from ingest.kafka.survey import Choice, Survey, lots, survey
from ingest.model import Column, Decoded, Envelope, NeedSchema, Op, Partition, Position, Record, Skip, Table
from ingest.tools import dlq, dlq_text, replay_ask, replay_text
from ingest.tools.dlq_replay import Left, LetterDecoder, LetterRouter, Outcome
from ingest.tools.replay import ReplayPlan, Report, refuse_table
from ingest.tools.replay_ask import Asked, ranges_of, rate_of
from ingest.tools.replay_rooms import KeptLetters, OnlyTables, Redirected, Unguarded, guarded
from tests.flow.twins import TABLE, TwinMapper

DLQ = "g.dlq"
NOW_S = 1_700_000_000.0


class FakePeek:
    """A Peek over lists of records."""

    def __init__(self, *logs: Sequence[Record], begins: Mapping[Partition, int] | None = None) -> None:
        self.logs = {Partition(log[0].topic, log[0].partition): list(log) for log in logs}
        self._begins = begins or {}

    def topics(self) -> Mapping[str, int]:
        return {topic: 1 + max(p.number for p in self.logs if p.topic == topic) for topic in {p.topic for p in self.logs}}

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        return {each: Bounds(self._begins.get(each, 0), self.logs[each][-1].offset + 1) for each in partitions}

    def offsets_at(self, partitions: Sequence[Partition], moment_ms: int) -> dict[Partition, int | None]:
        return {
            each: next((record.offset for record in self.logs[each] if record.timestamp_ms >= moment_ms), None)
            for each in partitions
        }

    def records(self, partition: Partition, begin: int, end: int) -> Iterator[Record]:
        yield from (record for record in self.logs[partition] if begin <= record.offset < end)


def peek(*logs: Sequence[Record], **begins: Any) -> Peek:
    return FakePeek(*logs, **begins)  # type: ignore[return-value]


def record(offset: int, topic: str = "orders", value: bytes | None = b"{}", **more: Any) -> Record:
    return Record(topic, 0, offset, 1_000 + offset, b"k", value, **more)


def letter(about: Record, at: int, code: str = "a.b", table: str | None = "doc.orders", partition: int = 0) -> Record:
    sent = message(Letter(about, Reject(code, "words"), table, "map"), "g", "0")
    return Record(DLQ, partition, at, 2_000 + at, sent.key, sent.value, sent.headers)


def receipt_at(offset: int, about: Position, ends: Mapping[int, int], outcome: str = STORED, began_ms: int = 5_000) -> Record:
    sent = receipt(about, Replay(began_ms, ends), outcome)
    return Record(DLQ, 0, offset, 9_000, sent.key, sent.value, sent.headers)


@pytest.mark.parametrize(
    "module",
    [copies, dlq, dlq_text, pace_module, receipts_module, replay_ask, replay_text, survey_module],
    ids=lambda m: m.__name__,
)
def test_the_examples_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert (0, True) == (result.failed, result.attempted > 0)


# ---------------------------------------------------------------- receipts


def test_a_receipt_covers_every_copy_that_was_there_and_none_that_comes_later() -> None:
    receipts = Receipts()
    receipts.note(receipt_at(9, record(7).at, {0: 5, 1: 3}))
    about = record(7).at
    assert (5_000, STORED) == receipts.of(about, Position(DLQ, 0, 4))
    assert (5_000, STORED) == receipts.of(about, Position(DLQ, 1, 2))
    assert receipts.of(about, Position(DLQ, 0, 5)) is None
    assert receipts.of(about, Position(DLQ, 1, 3)) is None
    assert receipts.of(about, Position(DLQ, 2, 0)) is None  # the topic had no such partition then
    assert receipts.of(record(8).at, Position(DLQ, 0, 4)) is None
    assert receipts.of(None, Position(DLQ, 0, 4)) is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_receipts_the_later_replay_counts(order: tuple[int, int]) -> None:
    both = [receipt_at(1, record(7).at, {0: 5}, began_ms=1), receipt_at(2, record(7).at, {0: 8}, SKIPPED, began_ms=2)]
    receipts = Receipts()
    for each in order:
        receipts.note(both[each])
    assert (2, SKIPPED) == receipts.of(record(7).at, Position(DLQ, 0, 6))
    assert 1 == len(receipts)


@pytest.mark.parametrize(
    "broken",
    [
        receipt_at(1, record(7).at, {0: 5})._replace(key=b"orders:0"),
        receipt_at(1, record(7).at, {0: 5})._replace(key=b"\xff:0:x"),
        receipt_at(1, record(7).at, {0: 5})._replace(headers=(("ingest.replayed-at", b"soon"),)),
        receipt_at(1, record(7).at, {0: 5})._replace(headers=(("ingest.replayed-at", b"1"), ("ingest.letters-until", b"all"))),
    ],
)
def test_a_receipt_of_somebody_else_covers_nothing(broken: Record) -> None:
    receipts = Receipts()
    receipts.note(broken)
    assert is_receipt(broken)
    assert receipts.of(record(7).at, Position(DLQ, 0, 0)) is None


def test_letters_are_no_receipts_also_those_about_a_receipt() -> None:
    mine = receipt_at(1, record(7).at, {0: 5})
    assert is_receipt(mine)
    assert not is_receipt(letter(mine, 3))
    assert not is_receipt(letter(record(7, value=None), 3))
    assert [0, 2] == [each.at.offset for each in letters(peek([letter(record(1), 0), mine, letter(record(2), 2)]), DLQ)]


# ---------------------------------------------------------------- which letters


def chosen(found: Survey) -> dict[int, list[int]]:
    return {place.number: offsets for place, offsets in found.chosen.items()}


def test_one_letter_about_each_record_is_chosen_and_none_that_was_replayed() -> None:
    log = [
        letter(record(1), 0),
        letter(record(2), 1),
        letter(record(1), 2),
        letter(record(3), 3),
        receipt_at(4, record(3).at, {0: 4}),
        letter(record(4), 5),
        receipt_at(6, record(4).at, {0: 5}),  # the letter was sent after that replay had begun
        Record(DLQ, 0, 7, 0, None, b"stray"),
    ]
    found = survey(peek(log), DLQ, Choice())
    assert ({0: [1, 2, 5]}, 1, 1, {0: 8}) == (chosen(found), found.before, found.stray_letters, found.ends)
    assert {0: [1, 2, 3, 5]} == chosen(survey(peek(log), DLQ, Choice(again=True)))


def test_places_choose_letters_and_records() -> None:
    log = [letter(record(n + 10), n) for n in range(5)]
    places = frozenset({Position(DLQ, 0, 1), record(13).at})
    assert {0: [1, 3]} == chosen(survey(peek(log), DLQ, Choice(places=places)))
    with pytest.raises(Stop, match=r"no letter at or about g.dlq\[0\]@9"):
        survey(peek(log), DLQ, Choice(places=frozenset({Position(DLQ, 0, 9)})))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Wanted(topic="order"), "no letter has the topic order, the nearest is orders"),
        (Wanted(table="order"), "no letter has the table order, the nearest is doc.orders"),
        (Wanted(code="typ.overflow"), "no letter has the code typ.overflow, the nearest is type.overflow"),
        (Wanted(code="zzz"), "no letter has the code zzz, `ingest dlq list --counts` shows what there is"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(wanted: Wanted, sentence: str) -> None:
    with pytest.raises(Stop) as stop:
        survey(peek([letter(record(1), 0, "type.overflow")]), DLQ, Choice(wanted))
    assert ("dlq.unknown", sentence) == (stop.value.code, stop.value.text)


def test_names_that_exist_but_not_together_are_no_letters() -> None:
    log = [letter(record(1), 0, "a.b", "doc.x"), letter(record(2), 1, "c.d", "doc.y")]
    assert 0 == survey(peek(log), DLQ, Choice(Wanted(table="x", code="c.*"))).letters


def test_too_many_letters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.kafka.survey.LETTERS_MAX", 2)
    with pytest.raises(Stop, match="narrow with --topic"):
        survey(peek([letter(record(n), n) for n in range(3)]), DLQ, Choice())


def test_lots_fit_into_memory_and_hold_everything_once() -> None:
    logs = [[letter(record(10 * p + n, value=b"x" * 100), n, partition=p) for n in range(7)] for p in range(3)]
    found = survey(peek(*logs), DLQ, Choice())
    for most_bytes, most_letters in ((10_000, 5), (300, 100), (1, 1), (10_000, 1_000)):
        parts = list(lots(peek(*logs), found, most_bytes, most_letters))
        assert sorted(each.at for part in parts for each in part) == sorted(each.at for log in logs for each in log)
        assert all(len(part) <= most_letters for part in parts)
        assert all(sum(len(each.record.value or b"") for each in part[:-1]) < most_bytes for part in parts)


def test_letters_that_retention_took_meanwhile_are_passed_over() -> None:
    log = [letter(record(n), n) for n in range(6)]
    found = survey(peek(log), DLQ, Choice())
    left = list(lots(peek([log[1], log[4], log[5]]), found, 10_000, 2))
    assert [1, 4, 5] == [each.at.offset for part in left for each in part]


# ---------------------------------------------------------------- letters that are not whole


def cut_letter(about: Record) -> ReadLetter:
    whole = message(Letter(about, Reject("a.b"), None, "map"), "g", "0")
    small = smaller(whole)
    assert small is not None
    return letter_of(Record(DLQ, 0, 0, 0, small.key, small.value, small.headers))


def test_what_was_too_large_is_read_where_it_stands() -> None:
    about = record(3, value=b"x" * 50, headers=(("h", b"1"),))
    assert about == whole_at(peek([record(2), about]), cut_letter(about))


@pytest.mark.parametrize(
    "there",
    [
        [record(2)],
        [record(2), record(4)],
        [record(3, value=b"y" * 49)],
        [record(3, value=b"x" * 50)._replace(timestamp_ms=5)],
        [record(3, value=b"x" * 50)._replace(key=b"other")],
        [record(3, topic="another", value=b"x" * 50)],
    ],
    ids=["not yet", "compacted", "another size", "another time", "another key", "no topic"],
)
def test_another_record_at_its_place_is_not_taken_for_it(there: list[Record]) -> None:
    assert whole_at(peek(there), cut_letter(record(3, value=b"x" * 50))) is None


def test_what_retention_took_is_gone() -> None:
    about = record(3, value=b"x")
    assert whole_at(peek([about, record(4)], begins={Partition("orders", 0): 4}), cut_letter(about)) is None


# ---------------------------------------------------------------- ranges


def two_partitions() -> Peek:
    return peek(
        [record(n) for n in range(5, 15)],
        [record(n)._replace(partition=1) for n in range(20)],
        begins={Partition("orders", 0): 5},
    )


@pytest.mark.parametrize(
    ("asked", "ranges"),
    [
        ({}, {0: (5, 15), 1: (0, 20)}),
        ({"from_offsets": ["7"]}, {0: (7, 15), 1: (7, 20)}),
        ({"from_offsets": ["1:3"]}, {1: (3, 20)}),
        ({"from_offsets": ["0:6"], "to_offsets": ["1:3"]}, {0: (6, 15), 1: (0, 3)}),
        ({"to_offsets": ["8", "0:6"]}, {0: (5, 6)}),
        ({"from_offsets": ["99"]}, {0: (15, 15), 1: (20, 20)}),
        ({"since": "1970-01-01T00:00:01.010"}, {0: (10, 15), 1: (10, 20)}),
        ({"until": "1970-01-01T00:00:01.010"}, {0: (5, 10), 1: (0, 10)}),
        ({"since": "1970-01-01T00:00:01.016"}, {0: (15, 15), 1: (16, 20)}),
    ],
    ids=str,
)
def test_ranges(asked: dict[str, Any], ranges: dict[int, tuple[int, int]]) -> None:
    found = ranges_of(two_partitions(), Asked(["orders"], **asked), DLQ, lambda: NOW_S)
    assert ranges == {place.number: tuple(bounds) for place, bounds in found.items()}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked([]), "replay.no_topic"),
        (Asked(["ordres"]), "replay.no_topic"),
        (Asked(["orders"], ["x"]), "replay.offset"),
        (Asked(["orders"], ["-1"]), "replay.offset"),
        (Asked(["orders"], [], ["2:1"]), "replay.offset"),
        (Asked(["orders"], ["1:5"], ["1:4"]), "replay.range"),
        (Asked(["orders"], ["0:4"]), "replay.gone"),
        (Asked(["orders"], ["0:6"], since="1h"), "replay.both"),
        (Asked(["orders"], [], ["0:6"], until="1h"), "replay.both"),
        (Asked(["orders"], since="never"), "replay.time"),
    ],
    ids=str,
)
def test_ranges_that_cannot_be_meant(asked: Asked, code: str) -> None:
    with pytest.raises(Stop) as stop:
        ranges_of(two_partitions(), asked, DLQ, lambda: NOW_S)
    assert code == stop.value.code
    assert stop.value.text


def test_letters_are_not_replayed_as_a_topic() -> None:
    with pytest.raises(Stop, match="`ingest dlq replay` replays dead letters"):
        ranges_of(peek([letter(record(1), 0)]), Asked([DLQ]), DLQ, lambda: NOW_S)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "0/s", "1/m", "1e3", "1" * 12])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(Stop, match="is no rate"):
        rate_of(text)


def test_a_pace_never_gives_more_than_its_rate_allows() -> None:
    now_s = [0.0]
    pace, taken = Pace(40, lambda: now_s[0]), 0
    for step in range(2_000):
        now_s[0] += 0.003 if step % 50 else 3.0  # now and then the loop is busy with something else
        room = pace.room(2_000)
        pace.took(room)
        taken += room
        assert taken <= 1 + 40 * now_s[0]
        assert room <= 20
    assert taken > 1_960 * 0.003 * 40 * 0.9


# ---------------------------------------------------------------- around the rooms


class Routes:
    def route(self, topic: str, envelope_table: tuple[str, ...]) -> str:
        if topic == "undecided":
            raise Parked("routing.undecided", "two answers", subject="topic:undecided")
        return f"doc.{envelope_table[-1]}"


class Answers:
    """A decoder that answers as it is told."""

    def __init__(self, answer: Decoded | Exception) -> None:
        self._answer = answer

    def decode(self, record: Record) -> Decoded:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def express(self, *_: Any) -> None:
        return None


def rows(*tables: str) -> list[Envelope]:
    return [Envelope(Op.INSERT, after={}, table=(table,)) for table in tables]


def test_a_table_may_stand_for_another() -> None:
    router = Redirected(Routes(), {"doc.a": "doc.a_new"})
    assert ("doc.a_new", "doc.b") == (router.route("t", ("a",)), router.route("t", ("b",)))


def test_only_rows_of_the_wanted_tables_remain() -> None:
    def decoded(answer: Decoded) -> Decoded:
        return OnlyTables(Answers(answer), Routes(), {"doc.a"}).decode(record(1))

    found = decoded(rows("a", "b", "a"))
    assert isinstance(found, list)
    assert [("a",), ("a",)] == [envelope.table for envelope in found]
    assert Skip("other_table") == decoded(rows("b"))
    assert Skip("heartbeat") == decoded(Skip("heartbeat"))
    assert NeedSchema(7) == decoded(NeedSchema(7))


def test_what_would_park_a_topic_leaves_only_the_letter() -> None:
    skipped: set[Position] = set()
    with pytest.raises(Reject, match=r"format\.ambiguous"):
        LetterDecoder(Answers(Parked("format.ambiguous", "x")), (), skipped).decode(record(1))
    with pytest.raises(Reject, match=r"replay\.format_untold.*topic orders holds no record"):
        LetterDecoder(Answers(rows("a")), {"orders"}, skipped).decode(record(1))
    with pytest.raises(Reject, match=r"routing\.undecided"):
        LetterRouter(Routes()).route("undecided", ())
    LetterDecoder(Answers(Skip("tombstone")), (), skipped).decode(record(5))
    assert {record(5).at} == skipped


def test_old_changes_do_not_go_into_tables_of_level_arrival_unasked() -> None:
    arrival = Table("doc", "t", {"id": Column("id", "bigint")}, ("id",))
    make = guarded(lambda _: TwinMapper(), {"doc.free"})
    assert isinstance(make(arrival), Unguarded)
    with pytest.raises(Reject, match=r"replay\.unordered.*say --unordered"):
        make(arrival).map(rows("t")[0], record(1), 0)
    with pytest.raises(Reject, match=r"replay\.unordered"):
        make(arrival).truncation(rows("t")[0], record(1), 0)
    assert isinstance(make(TABLE), TwinMapper)
    assert isinstance(make(Table("doc", "free", {}, ())), TwinMapper)


@pytest.mark.parametrize("name", ["sys.x", "doc.ingest_migrations", "information_schema.tables"])
def test_tables_that_are_not_for_records_are_refused(name: str) -> None:
    with pytest.raises(Stop, match="is no table for records"):
        refuse_table(name)


def test_a_refusal_is_counted_once_and_acknowledged() -> None:
    kept = KeptLetters()
    for _ in range(2):
        kept.send(Letter(record(1), Reject("a.b", "words", column="c"), "doc.t", "map"))
    kept.send(Letter(record(2), Reject("a.b"), None, "decode"))
    assert ({"a.b": 2}, 2, {record(1).at, record(2).at}) == (dict(kept.codes), len(kept.refusals), kept.refused)
    assert [record(1).at, record(1).at, record(2).at] == list(kept.take_acknowledged())
    assert [] == list(kept.take_acknowledged())


# ---------------------------------------------------------------- how it is told


def test_the_sums_of_letters_add_up() -> None:
    outcome = Outcome(letters=10, stored=3, superseded=2, skipped=1)
    outcome.codes["a.b"] += 2
    assert (6, 2, False) == (outcome.done, outcome.waiting, outcome.is_fine)
    assert "10 letters: 3 stored, 2 superseded by newer rows, 1 skipped, 2 left, 2 not reached" == replay_text.sums(outcome)
    assert {"letters": 10, "left": 2, "not_reached": 2}.items() <= json.loads(replay_text.letters_as_json(outcome)).items()


def test_what_is_left_is_told_in_a_table_that_steers_no_terminal() -> None:
    outcome = Outcome(letters=300, before=3)
    outcome.codes["a.b"] += 300
    outcome.leave(*(Left(Position(DLQ, 0, n), record(n).at, "a.b", "w\x1b[1m") for n in range(300)))
    told = replay_text.of_letters(outcome)
    assert "3 were replayed before and left alone: --again" in told
    assert "0:7     orders:0:7   a.b" in told
    assert told.endswith("and 200 more: --json tells them, or narrow with --code")
    assert "\x1b" not in told
    assert all(len(line) <= 40 for line in replay_text.of_letters(outcome, 40).splitlines()[2:102])


def test_only_so_many_left_letters_are_kept_and_all_are_counted() -> None:
    outcome = Outcome()
    for _ in range(3):
        outcome.leave(*(Left(Position(DLQ, 0, n), None, "a.b", "") for n in range(600)))
    assert 1_000 == len(outcome.left)


def test_a_report_of_ranges_says_what_was_not_reached() -> None:
    report = Report(unreached={Partition("orders", 0): Bounds(7, 9)}, codes={"a.b": 1})
    told = replay_text.of_ranges(report, ReplayPlan({}))
    assert told.splitlines()[0] == "0 records: 0 stored, 0 superseded by newer rows, 0 skipped, 1 refused"
    assert "orders[0]: offsets 7 to 8 were not replayed" in told
    assert not report.is_fine
