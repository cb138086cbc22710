"""`ingest check`: its parts, deadlines and exit code, how findings look, and what is known of CrateDB's versions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingest import cli
from ingest.errors import Retry, Stop
from ingest.settings import Settings
from ingest.tools import check, findings
from ingest.tools.check_versions import BUGS, is_damaged, of_version, version_of
from ingest.tools.findings import Finding, fail, ok, shown, shown_as_json, summary, untold, warn

FOUND = [
    ok("settings", "48 settings"),
    warn("topic a.b.c", "is odd"),
    fail("doc.orders", "is read-only"),
    untold("disk", "how full"),
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)


def states(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.what, each.state.value) for each in found]


# ---------------------------------------------------------------- parts


def test_wrong_settings_are_all_shown_and_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_WRITERS", "0")
    result = CliRunner().invoke(cli.app, ["check"])
    assert 3 == result.exit_code
    assert ["settings", "settings", "0"] == [line.split()[0] for line in result.stdout.splitlines() if line]
    result = CliRunner().invoke(cli.app, ["check", "--json"])
    assert (3, {"FAIL"}) == (result.exit_code, {finding["state"] for finding in json.loads(result.stdout)})


def test_check_goes_on_when_servers_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Retry("x.unreachable", "nobody answers")

    monkeypatch.setattr(check.preflight, "look", away)
    monkeypatch.setattr(check.check_crate, "rows_of", away)
    found = check.findings_of({"INGEST_TOPICS": "a"})
    assert [("settings", "ok"), ("kafka", "FAIL"), ("cratedb", "FAIL")] == states(found)
    assert findings.has_failed(found)


def test_nothing_listens_anywhere() -> None:
    environ = {
        "INGEST_TOPICS": "a",
        "INGEST_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "INGEST_CRATE_URLS": "http://127.0.0.1:1",
        "INGEST_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    }
    found = check.findings_of(environ)
    assert [("settings", "ok"), ("kafka", "FAIL"), ("registry", "FAIL"), ("cratedb", "FAIL")] == states(found)
    assert all("\n" not in each.text and "Traceback" not in each.text for each in found)


def test_a_part_that_never_answers_is_left_after_its_time() -> None:
    stuck = threading.Event()

    def look() -> Iterator[Finding]:
        yield ok("kafka", "reachable")
        stuck.wait(30)

    found = list(check.bounded("kafka", look, 0.2))
    stuck.set()
    assert [("kafka", "ok"), ("kafka", "FAIL")] == states(found)
    assert "did not answer within" in found[1].text


def test_an_error_ends_a_part_with_a_sentence() -> None:
    def look() -> Iterator[Finding]:
        yield ok("cratedb", "answers")
        raise Stop("store.unauthorised", "refuses our credentials: check INGEST_CRATE_USER")

    assert [ok("cratedb", "answers"), fail("cratedb", "refuses our credentials: check INGEST_CRATE_USER")] == list(
        check.bounded("cratedb", look, 5)
    )


def test_a_bug_of_ours_is_told_as_such_and_without_a_traceback() -> None:
    def look() -> Iterator[Finding]:
        raise KeyError("secret value")
        yield

    (found,) = check.bounded("tables", look, 5)
    assert "?" == found.state.value
    assert "KeyError" in found.text
    assert "secret" not in found.text


def test_the_time_out_of_a_query_names_the_time_that_was_waited() -> None:
    def look() -> Iterator[Finding]:
        raise Retry("store.timeout", "did not answer within 75 s", unknown=True)
        yield

    (found,) = check.guarded("tables", look)
    assert "within 6 s" in found.text


@pytest.mark.parametrize(
    ("limit", "workers", "is_told"),
    [("600000000", 1, False), ("600000000", 2, True), ("max", 1, False), (None, 1, False)],
    ids=["fits", "two workers do not", "no limit", "no file"],
)
def test_memory_beyond_the_container_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, workers: int, is_told: bool
) -> None:
    path = tmp_path / "memory.max"
    if limit is not None:
        path.write_text(limit + "\n")
    measured = check.memory_limit_bytes(path)
    monkeypatch.setattr(check, "memory_limit_bytes", lambda: measured)
    found = list(check.of_settings(Settings.load({"INGEST_MEMORY_MB": "512", "INGEST_WORKERS": str(workers)})))
    assert is_told == any("more than the 600.0 MB" in each.text for each in found)


# ---------------------------------------------------------------- migrations


def plan_with(monkeypatch: pytest.MonkeyPatch, pending: int) -> None:
    from contextlib import contextmanager

    from ingest.crate.migrations import Report
    from ingest.crate.sql_files import Step

    @contextmanager
    def connected(_: Settings) -> Iterator[None]:
        yield

    steps = [Step(f"{n:04d}_x.sql", 1, "SELECT 1", "c") for n in range(3)]
    monkeypatch.setattr(check, "connected", connected)
    monkeypatch.setattr(check.migrations, "plan", lambda *_: Report(pending=steps[:pending], known=steps[pending:]))


@pytest.mark.parametrize(
    ("pending", "migrate", "state", "text"),
    [
        (0, "false", "ok", "3 statements in sql, all applied"),
        (2, "false", "WARN", "run `ingest migrate`"),
        (2, "true", "ok", "`ingest run` does it at its start"),
    ],
)
def test_files_that_were_not_applied_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pending: int, migrate: str, state: str, text: str
) -> None:
    plan_with(monkeypatch, pending)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sql").mkdir()
    (found,) = check.of_migrations(Settings.load({"INGEST_MIGRATE": migrate}))
    assert ("migrations", state) == (found.what, found.state.value)
    assert text in found.text


def test_a_missing_folder_fails_only_where_it_is_needed(tmp_path: Path) -> None:
    away = {"INGEST_SQL_DIR": str(tmp_path / "none")}
    assert [] == list(check.of_migrations(Settings.load(away)))
    (found,) = check.of_migrations(Settings.load({**away, "INGEST_MIGRATE": "true"}))
    assert "FAIL" == found.state.value


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("version", "state"), [("5.9.12", "FAIL"), ("5.10.0", "WARN"), ("6.4.2", "WARN"), ("6.4.3", None), ("7.0.0-SNAPSHOT", None)]
)
def test_versions_of_cratedb_with_known_errors_are_named(version: str, state: str | None) -> None:
    assert ([state] if state else []) == [finding.state.value for finding in of_version(version)]


@pytest.mark.parametrize(
    ("version", "text", "is_in"),
    [
        ("6.1.3", "5.5", True),
        ("6.1.4", "5.5", False),
        ("6.0.6", "5.5", False),
        ("5.10.9", "5.5", False),
        ("6.3.6", "SWAP", True),
        ("6.3.7", "SWAP", False),
        ("6.4.1", "SWAP", True),
        ("6.4.2", "SWAP", False),
        ("6.2.10", "primary key", True),
        ("6.2.11", "primary key", False),
        ("6.4.0", "primary key", False),
        ("5.10.10", "one row", True),
        ("5.10.11", "one row", False),
        ("6.0.0", "one row", False),
    ],
)
def test_each_line_of_releases_has_its_own_first_good_version(version: str, text: str, is_in: bool) -> None:
    (bug,) = [bug for bug in BUGS if text in bug.text]
    assert is_in == bug.is_in(version_of(version))


def test_only_old_tables_are_damaged() -> None:
    assert is_damaged("4.8.4", "6.0.5")
    assert not is_damaged("5.5.0", "6.0.5")
    assert not is_damaged("4.8.4", "6.4.3")


# ---------------------------------------------------------------- how it looks


def test_in_a_pipe_a_finding_is_one_plain_line() -> None:
    lines = shown([*FOUND, fail("a.very.long.name.of.a.table", "x " * 200)]).splitlines()
    assert 7 == len(lines)
    assert not any("\x1b" in line for line in lines)
    assert lines[0].startswith("settings")
    assert "1 ok, 1 to look at, 2 failed, 1 could not be told" == lines[-1]


def test_on_a_terminal_nothing_is_wider_than_it() -> None:
    long = fail("a.very.long.name.of.a.table.indeed", "what is wrong and what to do about it, " * 10)
    lines = shown([*FOUND, long], 100).splitlines()
    assert max(map(len, lines)) <= 100
    at = lines.index(long.what)
    assert lines[at + 1].startswith(" " * 26 + "FAIL  what is wrong")
    assert all(line.startswith(" " * 32) for line in lines[at + 2 : -2])


def test_colours_are_an_extra_that_changes_no_text() -> None:
    import re

    coloured = shown(FOUND, 100, is_coloured=True)
    assert "\x1b[1;31mFAIL\x1b[0m" in coloured
    assert shown(FOUND, 100) == re.sub(r"\x1b\[[0-9;]*m", "", coloured)


def test_json_holds_the_same_findings() -> None:
    assert [each._asdict() for each in FOUND] == json.loads(shown_as_json(FOUND))


def test_the_sum_is_silent_on_what_there_is_not() -> None:
    assert "1 ok, 0 to look at, 0 failed" == summary(FOUND[:1])
