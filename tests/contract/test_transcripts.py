"""The embedded store answers what the real CrateDB answered when the transcripts were recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.practice.store import Store
from tests.contract.transcripts.record import Conversation, shortened
from tests.contract.transcripts.themes import THEMES

RECORDED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("transcripts/*.json")}
# What stands in quotes and what has digits in it are values or names made up.
MADE_UP = re.compile(r"""`[^`]*`|'[^']*'|"[^"]*"|\w*\d[\w=]*""")
HEAD_CHARS = 60
PARSER_EXPECTS = " expecting "  # then comes a list of what would have been right


@pytest.fixture(scope="module")
def conversation() -> Iterator[Conversation]:
    with Store() as store:
        talk = Conversation(store.url)
        yield talk
        talk.close()


@pytest.mark.parametrize("theme", THEMES)
def test_the_embedded_store_answers_as_the_real_one_did(theme: str, conversation: Conversation) -> None:
    conversation.start_afresh()
    for number, (ask, recorded) in enumerate(zip(THEMES[theme], RECORDED[theme], strict=True)):
        answer = shortened(conversation.say(ask))
        where = f"{theme}, step {number}: {ask.stmt[:200]}"
        assert recorded["status"] == answer["status"], f"{where}: {answer['answer']}"
        assert essence(recorded["answer"], ask.stmt) == essence(answer["answer"], ask.stmt), where


@pytest.mark.parametrize("theme", THEMES)
def test_the_transcripts_hold_what_the_worker_sends_today(theme: str) -> None:
    """Where this fails the worker's statements have changed: record the transcripts again."""
    assert [step["request"] for step in RECORDED[theme]] == [json_like(shortened(ask.body())) for ask in THEMES[theme]]


def json_like(value: Any) -> Any:
    return json.loads(json.dumps(value))


def essence(answer: dict[str, Any], stmt: str) -> dict[str, Any]:
    """The answer without what may differ: the rest of messages, and the order of rows nobody ordered."""
    found = dict(answer)
    if "error" in found:
        found["error"] = headed(found["error"])
    if "results" in found:
        found["results"] = [{**one, "error": headed(one["error"])} if "error" in one else one for one in found["results"]]
    if "rows" in found and "ORDER BY" not in stmt:
        found["rows"] = sorted(found["rows"], key=repr)
    return found


def headed(error: dict[str, Any]) -> dict[str, Any]:
    """Code and recognisable head of the message."""
    return {"code": error["code"], "message": MADE_UP.sub("*", error["message"]).split(PARSER_EXPECTS)[0][:HEAD_CHARS]}
