"""Several workers under one command: starts, deaths, ends and signals, with children that are a line of Python each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.settings import Settings
from ingest.tools import supervise
from ingest.tools.connect import dead_letter_settings
from ingest.tools.supervise import Supervisor

ENVIRON = {"INGEST_TOPICS": "orders", "INGEST_WORKERS": "2", "INGEST_HTTP_PORT": "0", "PATH": "/usr/bin:/bin"}
# A child notes that it was started, which one it is by its static name, and does what the test says.
CHILD = """
import os, pathlib, signal, sys, time
number = os.environ["INGEST_KAFKA_GROUP_INSTANCE_ID"][-1]
notes = pathlib.Path({folder!r}) / number
notes.write_text(notes.read_text() + "x" if notes.exists() else "x")
starts = len(notes.read_text())
"""
WAIT = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(20); sys.exit(9)\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "RESTART_BASE_S", 0.05)
    monkeypatch.setattr(supervise, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def supervisor(folder: Path, does: str, *, until_caught_up: bool = False, **environ: str) -> Supervisor:
    environ = {**ENVIRON, "INGEST_KAFKA_GROUP_INSTANCE_ID": "w", **environ}
    command = [sys.executable, "-c", CHILD.format(folder=str(folder)) + does]
    return Supervisor(Settings.load(environ), command, environ, until_caught_up=until_caught_up)


def starts(folder: Path) -> list[int]:
    return [len((folder / str(number)).read_text()) for number in range(2)]


def test_children_that_end_well_are_done(tmp_path: Path) -> None:
    assert 0 == supervisor(tmp_path, "sys.exit(0)").run()
    assert [1, 1] == starts(tmp_path)


def test_a_child_that_dies_is_started_again_and_its_neighbour_is_not(tmp_path: Path) -> None:
    dies = "if number == '1' and starts < 3: os.kill(os.getpid(), signal.SIGKILL)\n"
    assert 0 == supervisor(tmp_path, dies).run()
    assert [1, 3] == starts(tmp_path)


def test_waits_grow_while_a_child_dies_young_and_begin_again_once_it_was_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = supervisor(tmp_path, "")
    waits = []
    for lived_s in (0.0, 1.0, 2.0, 61.0, 1.0, *[0.0] * 12):
        (child, _) = made._children
        child.started_s = time.monotonic() - lived_s
        made._start_later(child)
        assert child.due_s is not None
        waits.append(round((child.due_s - time.monotonic()) / 0.05))
    assert [1, 2, 4, 1, 2, 4, 8] == waits[:7]
    assert round(30 / 0.05) == waits[-1]


def test_a_child_that_ends_for_good_ends_all_with_its_code_and_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert 4 == supervisor(tmp_path, "if number == '0':\n    time.sleep(0.3); sys.exit(4)\n" + WAIT).run()
    assert [1, 1] == starts(tmp_path)
    assert "ingest: worker 0 ended with code 4, its reason stands above; so the others are stopped\n" in capfd.readouterr().err


def test_until_caught_up_a_child_that_ends_for_good_leaves_the_others_to_their_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ends = "if number == '0': sys.exit(4)\ntime.sleep(0.3); (notes.parent / 'done').touch()\n"
    assert 4 == supervisor(tmp_path, ends, until_caught_up=True).run()
    assert (tmp_path / "done").exists()
    assert "worker 0 ended with code 4" in capfd.readouterr().err


def test_a_signal_is_handed_on_also_to_a_child_that_has_no_handler_yet(tmp_path: Path) -> None:
    made = supervisor(tmp_path, "time.sleep(20)")
    made._signals.append(signal.SIGTERM)  # it came while the first child was started
    began_s = time.monotonic()
    assert 0 == made.run()
    assert time.monotonic() - began_s < 10


def test_a_child_that_waits_to_be_started_again_is_not_once_all_are_stopped(tmp_path: Path) -> None:
    made = supervisor(tmp_path, "sys.exit(1)")
    for child in made._children:
        made._start(child)
        assert child.process is not None
        child.process.wait()
        made._tend(child)
    made._stop(signal.SIGTERM)
    assert 1 == made.run()
    assert [1, 1] == starts(tmp_path)


def test_each_child_is_one_worker_with_a_port_and_a_static_name_of_its_own(tmp_path: Path) -> None:
    made = supervisor(tmp_path, "", INGEST_HTTP_PORT="9464", INGEST_HTTP_HOST="0.0.0.0", INGEST_MIGRATE="true")
    told = [made._environ_of(number) for number in range(2)]
    assert ["9465", "9466"] == [each["INGEST_HTTP_PORT"] for each in told]
    assert ["w-0", "w-1"] == [each["INGEST_KAFKA_GROUP_INSTANCE_ID"] for each in told]
    assert {("1", "false", "127.0.0.1")} == {
        (each["INGEST_WORKERS"], each["INGEST_MIGRATE"], each["INGEST_HTTP_HOST"]) for each in told
    }


def test_a_letter_names_the_process_that_sent_it() -> None:
    def task_id(**environ: str) -> str:
        return dead_letter_settings(Settings.load({**ENVIRON, **environ})).task_id

    assert f"{socket.gethostname()}-{os.getpid()}" == task_id()
    assert "w-1" == task_id(INGEST_KAFKA_GROUP_INSTANCE_ID="w-1")


def test_a_worker_ends_when_the_process_that_started_it_is_gone() -> None:
    """By the pipe that is its stdin: closed here, as a killed parent's is."""
    waits = "import time; from ingest.tools import child; child.cli.main = lambda: time.sleep(20); child.main()"
    with subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert -signal.SIGTERM == process.wait(15)
