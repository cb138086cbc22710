"""The log: one line an event, JSON or for people, nothing of a row in it, and not more lines than anybody reads."""

from __future__ import annotations

import ast
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingest.model import SUPERSEDED, WRITTEN, Fate, Outcome
from ingest.watch import logs, reference
from ingest.watch.events import ANYWHERE, EVENTS, FIELDS, HEAD
from ingest.watch.status import Board, Status
from ingest.watch.watch import Watch
from tests.unit.test_watch import Clock, a_result

ROOT = Path(__file__).parents[2]
BY_NAME = {event.name: event for event in EVENTS}


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """set_up changes the root logger, so what was there is put back."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    handlers, levels = list(root.handlers), (root.level, ours.level)
    libraries = {name: logging.getLogger(name).level for name in logs.LIBRARIES}
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# ---------------------------------------------------------------- lines


def test_elsewhere_than_on_a_terminal_a_line_is_a_json_object(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    Watch(Board()).batch(a_result([WRITTEN, Outcome(Fate.REJECTED, "x")]), "full", None)
    logging.getLogger("ingest.kafka.source").info("subscribed", extra={"topics": ("a",)})
    batch, subscribed = lines(stream)
    assert ("info", "batch", "doc.orders", 2, 1, 1, "orders[3]@100", "orders[3]@101") == tuple(
        batch[key] for key in ("level", "event", "table", "rows", "written", "rejected", "from", "to")
    )
    assert ["a"] == subscribed["topics"]


def test_fields_may_have_any_name(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    logs.emit(logging.getLogger("ingest.x"), "warning", "odd", {"name": "n", "module": "m", "level": "l"})
    (line,) = lines(stream)
    assert ("n", "m", "l", "warning") == (line["name"], line["module"], line["level_"], line["level"])


def test_on_a_terminal_a_line_is_for_people(stream: io.StringIO) -> None:
    logs.set_up(style="human", stream=stream)
    Watch(Board()).event("warning", "batch_retry", code="store.timeout", text="no answer")
    assert stream.getvalue().rstrip().endswith('warning batch_retry  code=store.timeout text="no answer"')


def test_lists_are_read_easily_by_people(stream: io.StringIO) -> None:
    logs.set_up(style="human", stream=stream)
    logging.getLogger("ingest.kafka.source").info("subscribed", extra={"topics": ("a", "b")})
    assert stream.getvalue().rstrip().endswith("subscribed  topics=a,b")


def test_a_sentence_is_plain_where_json_was_not_asked_for_by_name(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(stream=stream)
    logs.tell("ingest: no [x]", "error", "ended", code="x", text="no")
    assert ("", "ingest: no [x]\n") == (stream.getvalue(), capsys.readouterr().err)


def test_a_sentence_is_an_event_where_json_was_asked_for(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(style="json", stream=stream)
    logs.tell("ingest: no [x]", "error", "ended", code="x", text="no")
    (line,) = lines(stream)
    assert ("ended", "x", "no", "") == (line["event"], line["code"], line["text"], capsys.readouterr().err)


def test_new_dead_letters_are_told_once_by_code(stream: io.StringIO) -> None:
    """Records that cannot be read are in no batch, so no other line would tell of them."""
    logs.set_up(stream=stream)
    watch, letters = Watch(Board()), {"json.malformed": 3}
    watch.attach(lambda: Status(dead_letters=dict(letters)))
    watch.post()
    watch.post()
    letters |= {"json.malformed": 5, "type.overflow": 1}
    watch.post()
    told = [(line["event"], line["code"], line["records"], line["total"]) for line in lines(stream)]
    assert [("json.malformed", 3, 3), ("json.malformed", 2, 5), ("type.overflow", 1, 1)] == [each[1:] for each in told]


def test_a_trace_stands_in_its_line(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("ingest.x").exception("broken")
    assert "ValueError: boom" in lines(stream)[0]["trace"]


def test_libraries_are_quiet_and_never_repeat_themselves(stream: io.StringIO) -> None:
    logs.set_up(level="DEBUG", stream=stream)
    for _ in range(3):
        logging.getLogger("kafka.net").error("broker lost")
        logging.getLogger("urllib3.connectionpool").debug("payload")
        logging.getLogger("ingest.x").debug("ours")
    library, *ours = lines(stream)
    assert ("library", "broker lost", "kafka.net") == (library["event"], library["text"], library["logger"])
    assert ["ours"] * 3 == [line["event"] for line in ours]


def test_a_library_may_say_the_same_again_after_a_while() -> None:
    clock = Clock()
    quiet = logs.Quiet(clock)
    record = logging.makeLogRecord({"name": "kafka", "pathname": "x", "lineno": 1})
    said = [quiet.filter(record), quiet.filter(record)]
    clock.now_s += logs.REPEAT_S
    assert [True, False, True] == [*said, quiet.filter(record)]


def test_setting_up_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    logs.set_up(stream=stream)
    logging.getLogger("ingest.x").info("once")
    assert 1 == len(lines(stream))


def test_a_warning_of_python_is_a_line_like_others(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stream)
    assert "library" == line["event"]
    assert "soon gone" in line["text"]


# ---------------------------------------------------------------- how many


def test_a_storm_of_retries_is_a_few_lines_and_the_next_one_counts_the_rest() -> None:
    clock = Clock()
    storm = logs.Storm(clock)
    retry = [
        logging.makeLogRecord(
            {"name": "ingest.worker", "levelno": logging.WARNING, "msg": "batch_retry", "fields": {"code": "a"}}
        )
        for _ in range(102)
    ]
    passed = [storm.filter(record) for record in retry[:101]]
    assert logs.STORM_LINES == sum(passed)
    clock.now_s += logs.STORM_S
    assert storm.filter(retry[101])
    assert 101 - logs.STORM_LINES == logs.fields_of(retry[101])["suppressed"]


@pytest.mark.parametrize("other", [{"fields": {"code": "b"}}, {"msg": "kafka_retry"}], ids=["another code", "another event"])
def test_a_storm_hides_nothing_else(other: dict[str, Any]) -> None:
    storm = logs.Storm(Clock())
    said = {"name": "ingest.worker", "levelno": logging.WARNING, "msg": "batch_retry", "fields": {"code": "a"}}
    while storm.filter(logging.makeLogRecord(said)):
        pass
    assert storm.filter(logging.makeLogRecord(said | other))


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_batches_and_errors_are_never_left_out(level: int) -> None:
    storm = logs.Storm(Clock())
    assert all(storm.filter(logging.makeLogRecord({"name": "ingest.worker", "levelno": level, "msg": "x"})) for _ in range(50))


def test_a_batch_of_which_nothing_was_settled_leaves_the_word_to_its_retry(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    watch, again = Watch(Board()), Outcome(Fate.RETRY, "store.timeout")
    watch.batch(a_result([again, again]), "full", None)
    assert [] == lines(stream)
    watch.batch(a_result([again, WRITTEN]), "full", None)
    assert ["batch"] == [line["event"] for line in lines(stream)]


# ---------------------------------------------------------------- what is declared


class Said(NamedTuple):
    """A call that logs, as it stands in the source; fields that come from elsewhere are not among these."""

    where: str
    level: str
    event: str
    fields: frozenset[str]


def said_in(path: Path) -> Iterator[Said]:
    """The calls `….event(level, name, …)`, `log.level(name, extra={…})` and `logs.emit` and `logs.tell` of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno}"
        texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.func.attr in ("event", "emit", "tell") and len(texts) == 2:
            fields = frozenset(name for name in given if name) | keys_of(node.args[-1])
            yield Said(where, texts[0], texts[1], fields - ANYWHERE.keys())
        elif isinstance(node.func.value, ast.Name) and node.func.value.id == "log" and len(texts) == 1:
            yield Said(where, node.func.attr, texts[0], keys_of(given.get("extra")))


def keys_of(node: ast.expr | None) -> frozenset[str]:
    """The keys that a mapping names in the source."""
    keys = node.keys if isinstance(node, ast.Dict) else []
    return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))


SAID = [said for path in sorted((ROOT / "ingest").rglob("*.py")) if "practice" not in path.parts for said in said_in(path)]


def test_the_source_is_read_as_meant() -> None:
    assert {"assigned", "batch_retry", "subscribed", "stopped", "parked"} <= {said.event for said in SAID}


@pytest.mark.parametrize("said", SAID, ids=lambda said: f"{said.event} in {said.where}")
def test_every_line_that_may_be_logged_is_declared(said: Said) -> None:
    """In ingest/watch/events.py; then `make docs`."""
    event = BY_NAME.get(said.event)
    assert event is not None, f"{said.where} logs {said.event}, which is not declared"
    assert said.fields <= set(event.fields), said.where
    assert said.level in (event.level, "log"), said.where


def test_every_field_that_is_declared_is_explained() -> None:
    used = {name for event in EVENTS for name in event.fields}
    assert used == FIELDS.keys()
    assert not used & (HEAD.keys() | ANYWHERE.keys())


def test_no_event_is_declared_twice() -> None:
    assert len(EVENTS) == len(BY_NAME)


def test_the_fields_of_a_batch_are_those_declared(stream: io.StringIO) -> None:
    logs.set_up(stream=stream)
    fates = [Outcome(fate, "x") for fate in Fate]
    Watch(Board()).batch(a_result([*fates, SUPERSEDED]), "full", None)
    (line,) = lines(stream)
    assert set(BY_NAME["batch"].fields) == line.keys() - HEAD.keys()


def test_the_page_of_logs_is_what_the_declarations_say() -> None:
    """`make docs` writes it."""
    assert reference.logs_page() == (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
