"""The command line: exit codes, one sentence per error, nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ingest import cli
from ingest.commands import shared
from ingest.errors import Retry, Stop
from ingest.tools import run as run_tool
from ingest.tools.unpark import default_url

ROOT = Path(__file__).parents[2]
HEAVY = (
    "kafka",
    "pydantic",
    "crate",
    "urllib3",
    "prometheus_client",
    "fastavro",
    "orjson",
    "msgspec",
    "cratedb_sqlparse",
    "rich",
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line_imports_nothing_heavy() -> None:
    script = f"import sys, ingest.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "[]" == found.stdout.strip()


def test_python_dash_m_is_the_console_script() -> None:
    found = subprocess.run([sys.executable, "-m", "ingest", "--version"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert re.search(r"^kafka-python \d", found.stdout, re.MULTILINE)
    assert re.search(r"^Python 3", found.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["run", "migrate", "check", "settings", "unpark", "purge", "replay"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    code, out, _ = invoke(command, "--help")
    assert 0 == code
    assert "Example: " in out


@pytest.mark.parametrize(
    "arguments",
    [("nope",), ("run", "--fast"), ("purge", "t"), ("purge", "t", "--older-than", "soon"), ("unpark",), ("migrate", "x")],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two(arguments: tuple[str, ...]) -> None:
    code, out, err = invoke(*arguments)
    assert (2, "") == (code, out)
    assert "Error: " in err


@pytest.mark.parametrize(
    "command", [("run",), ("migrate",), ("settings",), ("purge", "t", "--older-than", "30d"), ("unpark", "t")]
)
def test_wrong_settings_end_with_two_and_a_line_each(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TOPIC", "a")
    monkeypatch.setenv("INGEST_WRITERS", "0")
    code, out, err = invoke(*command)
    assert (2, "") == (code, out)
    assert "ingest: INGEST_TOPIC: there is no such setting; the nearest name is INGEST_TOPICS\n" in err
    assert "ingest: INGEST_WRITERS=0: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Stop("settings.invalid", "x"), 2),
        (Stop("contracts.invalid", "x"), 2),
        (Stop("store.address", "x"), 2),
        (Stop("http.port", "x"), 2),
        (Stop("kafka.option_unknown", "x"), 2),
        (Stop("purge.no_table", "x"), 2),
        (Stop("unpark.unknown", "x"), 2),
        (Stop("unpark.no_worker", "x"), 4),
        (Stop("kafka.not_authorised", "x"), 4),
        (Stop("store.unauthorised", "x"), 4),
        (Stop("gave_up", "x"), 4),
        (Retry("store.unreachable", "x"), 4),
    ],
    ids=lambda value: getattr(value, "code", str(value)),
)
def test_the_exit_code_says_whose_turn_it_is(error: Stop, code: int) -> None:
    assert code == shared.exit_code(error)


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> tuple[int, str, str]:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setenv("INGEST_TOPICS", "a")
    monkeypatch.setattr(run_tool, "run", fail)
    return invoke("run")


def test_an_error_is_one_sentence_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run_with(monkeypatch, Stop("kafka.fenced", "another member runs: give each its own name"))
    assert (4, "ingest: another member runs: give each its own name [kafka.fenced]\n") == (code, err)


def test_debug_shows_the_trace_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_LOG_LEVEL", "debug")
    _, _, err = run_with(monkeypatch, Stop("kafka.fenced", "another member runs"))
    assert "Traceback" in err


def test_a_bug_ends_with_one_and_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run_with(monkeypatch, KeyError("oops"))
    assert 1 == code
    assert "Traceback" in err
    assert "this is a bug of ingest (KeyError)" in err


def test_ctrl_c_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (130, "", "") == run_with(monkeypatch, KeyboardInterrupt())


@pytest.mark.parametrize("code", [0, 4])
def test_run_ends_with_the_code_of_the_worker(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setenv("INGEST_TOPICS", "a")
    monkeypatch.setattr(run_tool, "run", lambda _, until_caught_up: asked.append(until_caught_up) or code)  # type: ignore[func-returns-value]
    assert code == invoke("run", "--until-caught-up")[0]
    assert [True] == asked


def test_settings_answers_on_stdout() -> None:
    code, out, err = invoke("settings", "--json")
    assert (0, "") == (code, err)
    assert "INGEST_KAFKA_BOOTSTRAP_SERVERS" == json.loads(out)[0]["name"]
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == invoke("settings", "--markdown")[1]


def test_migrate_without_a_folder_says_which_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGEST_SQL_DIR", str(tmp_path / "none"))
    code, _, err = invoke("migrate")
    assert 2 == code
    assert "correct INGEST_SQL_DIR" in err


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:9464"),
        ({"INGEST_HTTP_HOST": "0.0.0.0", "INGEST_HTTP_PORT": "80"}, "http://127.0.0.1:80"),
        ({"INGEST_HTTP_HOST": "::1"}, "http://[::1]:9464"),
    ],
)
def test_unpark_finds_the_worker_of_this_environment(environ: dict[str, str], url: str) -> None:
    from ingest.settings import Settings

    assert url == default_url(Settings.load(environ))


def test_unpark_says_when_this_worker_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_HTTP_PORT", "0")
    code, _, err = invoke("unpark", "orders")
    assert 2 == code
    assert "--url" in err


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("1 w", 604_800)])
def test_ages(text: str, seconds: int) -> None:
    assert seconds == shared.age_s(text)


@pytest.mark.parametrize("text", ["30", "d", "0d", "-1d", "30 days", ""])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        shared.age_s(text)
