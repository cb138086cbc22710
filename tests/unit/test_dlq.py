"""Dead letters read back: what a letter says, what is filtered, how it looks; and that nothing in one can steer a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from ingest import cli
from ingest.errors import Reject, Stop
from ingest.flow.ports import Letter
from ingest.kafka.letters import Message, bare, message, smaller
from ingest.kafka.read_letters import ReadLetter, Wanted, letter_of, original
from ingest.model import Position, Record
from ingest.tools import dlq, dlq_text

SENT_MS = 1_700_000_000_000
RECORD = Record("orders", 3, 1042, 1_600_000_000_000, b"k", b'{"id":1}', (("trace", b"x"), ("empty", None), ("empty", b"")))
REJECT = Reject("type.not_a_number", "the text is no number", column="total")
CONNECT = (
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"0"),
    ("__connect.errors.offset", b"7"),
    ("__connect.errors.connector.name", b"sink"),
    ("__connect.errors.stage", b"KEY_CONVERTER"),
    ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
    ("__connect.errors.exception.message", b"no such field"),
)


def sent(record: Record = RECORD, reject: Reject = REJECT, stage: str = "map") -> Message:
    return message(Letter(record, reject, "doc.orders", stage), "group", "0")


def stored(letter: Message, offset: int = 0, sent_ms: int = SENT_MS) -> Record:
    return Record("group.dlq", 1, offset, sent_ms, letter.key, letter.value, letter.headers)


def read(letter: Message | None = None, **place: int) -> ReadLetter:
    return letter_of(stored(letter or sent(), **place))


@pytest.mark.parametrize("command", ["list", "show", "replay"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(cli.app, ["dlq", command, "--help"])
    assert 0 == result.exit_code
    assert "Example: ingest dlq " in result.stdout


# ---------------------------------------------------------------- one letter


def test_a_letter_says_what_was_sent() -> None:
    letter = read(offset=5)
    assert (Position("group.dlq", 1, 5), RECORD.at) == (letter.at, letter.source)
    assert ("type.not_a_number", "doc.orders", "total", "map", "group") == (
        letter.code,
        letter.table,
        letter.column,
        letter.stage,
        letter.sent_by,
    )
    assert "the text is no number" == letter.message


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        RECORD._replace(key=None),
        RECORD._replace(value=None),
        RECORD._replace(value=b""),
        RECORD._replace(key=None, value=None),
        RECORD._replace(headers=()),
        RECORD._replace(timestamp_ms=-1),
        RECORD._replace(headers=CONNECT),
    ],
    ids=["whole", "no key", "no value", "empty value", "neither", "no headers", "no time", "a letter itself"],
)
def test_the_record_comes_back_as_it_was_read(record: Record) -> None:
    back = original(read(sent(record)))
    assert back is not None
    assert record._replace(headers=tuple(record.headers)) == back


def test_a_letter_of_a_letter_is_about_the_letter() -> None:
    first = stored(sent(), offset=9)
    letter = letter_of(stored(sent(first)))
    assert first.at == letter.source
    back = original(letter)
    assert back is not None
    assert RECORD.at == letter_of(back).source


@pytest.mark.parametrize("cut", ["value", "both", "bare"])
def test_a_letter_that_left_something_behind_gives_no_record_back(cut: str) -> None:
    whole = sent()
    small = smaller(whole)
    assert small is not None
    letters = {"value": small, "both": smaller(small), "bare": bare(Letter(RECORD, REJECT, None, "map"), "group", "0")}
    letter = read(letters[cut])
    assert letter.source == RECORD.at
    assert original(letter) is None


def test_letters_of_kafka_connect_are_read_as_well() -> None:
    letter = letter_of(Record("group.dlq", 0, 0, SENT_MS, b"k", b"v", CONNECT))
    assert Position("orders", 0, 7) == letter.source
    assert ("connect.DataException", "key_converter", "no such field") == (letter.code, letter.stage, letter.message)
    assert (None, None, "sink") == (letter.table, letter.column, letter.sent_by)


@pytest.mark.parametrize(
    "headers",
    [(), (("x", None),), (("__connect.errors.topic", None),), (*CONNECT[:1], ("__connect.errors.partition", b"\xb2"))],
    ids=["none", "null", "null topic", "no number"],
)
def test_a_stray_record_is_a_letter_that_says_nothing(headers: Sequence[tuple[str, bytes | None]]) -> None:
    letter = letter_of(Record("group.dlq", 0, 0, SENT_MS, None, b"stray", headers))
    assert (None, "", "") == (letter.source, letter.code, letter.message)
    assert original(letter) is None
    assert "not told" in "\n".join(dlq_text.whole(letter))


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Wanted(), True),
        (Wanted(topic="orders"), True),
        (Wanted(topic="items"), False),
        (Wanted(table="orders"), True),
        (Wanted(table="doc.orders"), True),
        (Wanted(table="shop.orders"), False),
        (Wanted(code="type.not_a_number"), True),
        (Wanted(code="type.*"), True),
        (Wanted(code="type"), False),
        (Wanted(stage="map"), True),
        (Wanted(stage="TRANSFORMATION"), True),
        (Wanted(stage="write"), False),
        (Wanted(since_ms=SENT_MS, until_ms=SENT_MS + 1), True),
        (Wanted(since_ms=SENT_MS + 1), False),
        (Wanted(until_ms=SENT_MS), False),
    ],
    ids=str,
)
def test_filters(wanted: Wanted, passes: bool) -> None:
    assert passes == wanted.accepts(read())


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30m", 8_200_000),
        ("2d", 10_000_000 - 172_800_000),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-02", 86_400_000),
    ],
)
def test_moments(text: str, ms: int) -> None:
    assert ms == dlq.moment_ms(text, lambda: 10_000.0)


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "2024-13-01"])
def test_what_is_no_moment_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Stop, match="write an age such as 30m"):
        dlq.moment_ms(text, lambda: 0.0)


@pytest.mark.parametrize("text", ["", "3", "a:b", "orders:1", "orders:1:-2", "x:y:1:2", "1:2:3:4"])
def test_what_is_no_place_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Stop, match="PARTITION:OFFSET"):
        dlq.place_of(text)


# ---------------------------------------------------------------- how it looks


def test_the_newest_are_listed_oldest_first_and_the_others_counted() -> None:
    letters = [read(offset=offset, sent_ms=SENT_MS + after_ms) for offset, after_ms in enumerate([30, 10, 40, 0, 20])]
    lines, total = dlq.newest(iter(letters), 2)
    assert (["1:0", "1:2"], 5) == ([line.position for line in lines], total)
    lines, total = dlq.newest(iter(letters), 0)
    assert ["1:3", "1:1", "1:4", "1:0", "1:2"] == [line.position for line in lines]


def test_letters_of_the_same_moment_are_listed_by_place() -> None:
    lines, _ = dlq.newest((read(offset=offset) for offset in (2, 0, 1)), 10)
    assert ["1:0", "1:1", "1:2"] == [line.position for line in lines]


def test_a_line_names_both_places_and_the_reason() -> None:
    heading, line = dlq_text.as_lines([dlq_text.line_of(read(offset=12))])
    assert ["position", "source", "code", "table", "column", "time", "message"] == heading.split()
    assert ["1:12", "orders:3:1042", "type.not_a_number", "doc.orders", "total", "2023-11-14T22:13:20Z"] == line.split()[:6]
    assert line.endswith("the text is no number")


def test_on_a_terminal_lines_are_cut_and_in_a_pipe_they_are_whole() -> None:
    line = dlq_text.line_of(read(sent(reject=Reject("x.y", "z" * 300))))
    assert [60] == [len(each) for each in dlq_text.as_lines([line], 60)[1:]]
    assert dlq_text.as_lines([line])[1].endswith("z" * 300)


def test_sums_begin_with_the_most_frequent() -> None:
    letters = [read(), read(), read(sent(reject=Reject("month.missing")))]
    counts = dlq_text.counts_of(letters)
    assert [(2, "orders", "doc.orders", "type.not_a_number"), (1, "orders", "doc.orders", "month.missing")] == counts
    assert ["letters", "2", "1"] == [line.split()[0] for line in dlq_text.counts_as_lines(counts)]
    assert 2 == json.loads(dlq_text.counts_as_json(counts))[0]["letters"]


def test_no_letters_are_said_to_be_none() -> None:
    assert ("no letters", 0) == dlq.listed([], dlq.Asked())
    assert ("no letters", 0) == dlq.summed([], dlq.Asked())
    assert [] == json.loads(dlq.listed([], dlq.Asked(as_json=True)).text)


@pytest.mark.parametrize(
    ("value", "kind", "lines"),
    [
        (b'{"a":1.10,"a":[1e400,{}],"b":"\\u001b x"}', "JSON", ["{", '  "a": 1.10,', '  "a": [', "    1e400,", "    {}", "  ],"]),
        (b"[]", "JSON", ["[]"]),
        (b"12345678901234567890.10", "JSON", ["12345678901234567890.10"]),
        (b"plain text", "text", ["plain text"]),
        ("ä\u202eb\u0085".encode(), "text", ["ä\\u202eb\\x85"]),
        (b'{"a":', "text", ['{"a":']),
        (b"\x00\x00\x00\x00\x09rest", "binary, framed with schema 9", None),
        (b"\x1b[2J", "binary", None),
        (b"\xff", "binary", None),
        (b"[" * 100_000, "text", None),
    ],
    ids=["json", "empty list", "number", "text", "direction marks", "cut json", "avro", "escape", "latin", "deep"],
)
def test_bytes_are_shown_as_what_they_are(value: bytes, kind: str, lines: list[str] | None) -> None:
    found, shown = dlq_text.shown(value)
    assert kind == found
    if lines is not None:
        assert lines == shown[: len(lines)]


def test_nothing_in_a_letter_can_steer_a_terminal() -> None:
    evil = "\x1b]0;x\x07\x9b1m\u202e\r\n"
    headers = (("h" + evil, evil.encode()), ("raw", b"\xff\x1b"))
    record = Record("orders", 0, 1, 0, evil.encode(), f'{{"a": "{evil}"}}'.encode(), headers)
    letter = read(message(Letter(record, Reject("a.b", evil, column=evil), evil, evil), evil, "0"))
    shown = "\n".join([*dlq_text.whole(letter), *dlq_text.as_lines([dlq_text.line_of(letter)])])
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_binary_value_is_cut_and_says_how_to_get_it_all() -> None:
    kind, lines = dlq_text.shown(b"\x00" * 5_000)
    assert "binary, framed with schema 0" == kind
    assert 65 == len(lines)
    assert "… and 3976 bytes more" in lines[-1]


def test_a_page_ends_with_the_command_that_explains_the_letter() -> None:
    page = dlq.page(read(offset=12))
    assert page.endswith("ingest explain group.dlq:1:12")
    assert '  {\n    "id": 1\n  }' in page
    assert "source  orders[3]@1042, of 2020-09-13T12:26:40Z" in page
