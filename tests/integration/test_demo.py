"""`ingest demo` as a newcomer runs it: it ends well, says what it saw, and leaves nothing behind, whenever it is ended."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from ingest.demo import judge
from ingest.demo.run import Options, run
from ingest.demo.screen import Screen
from ingest.demo.truth import PRODUCTS
from tests.integration.worker_rig import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FEW = ("--records", "4000")
# A demo takes half a minute; these machines are busy.
WITHIN_S = 180.0


Play = Callable[..., "Show"]


class Show:
    """A demo that runs as a process, with a temporary folder of its own and a mark that all its children inherit.

    out: a file descriptor for its stdout, such as a terminal's.
    """

    def __init__(self, folder: Path, *arguments: str, out: int | None = None, **env: str) -> None:
        self._mark = f"DEMO_TEST_MARK={uuid.uuid4().hex}"
        self.temp = folder / "tmp"
        self.temp.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        name, value = self._mark.split("=")
        environ = {**without_settings(os.environ), name: value, "TMPDIR": str(self.temp), **env}
        with open(self._out, "wb") as file, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingest", "demo", *arguments], cwd=ROOT, env=environ, stdout=out or file, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def until(self, words: str) -> None:
        wait_until(lambda: words in self.out or self.process.poll() is not None, WITHIN_S, lambda: self.out + self.err)
        assert words in self.out, self.out + self.err

    def end(self) -> int:
        return self.process.wait(WITHIN_S)

    def left_behind(self) -> list[str]:
        """Processes of this demo that still run, and files in its temporary folder."""
        return [*(str(pid) for pid in processes_with(self._mark)), *map(str, self.temp.iterdir())]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in processes_with(self._mark):
            os.kill(pid, signal.SIGKILL)


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environ.items() if not name.startswith("INGEST_")}


def processes_with(mark: str) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                yield int(folder.name)
        except OSError:
            continue  # it has ended meanwhile, or is not ours


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    shows: list[Show] = []

    def start(*arguments: str, **options: Any) -> Show:
        shows.append(Show(tmp_path, *arguments, **options))
        return shows[-1]

    yield start
    for show in shows:
        show.close()


def test_a_demo_without_servers_ends_equal_in_plain_text_and_leaves_nothing(play: Play) -> None:
    show = play(*FEW)
    assert (0, "") == (show.end(), show.err)
    assert "\x1b" not in show.out
    assert [] == [line for line in show.out.splitlines() if line != line.rstrip()]
    assert "EQUAL: nothing is lost and nothing is double" in show.out
    assert "balanced" in show.out
    assert "killed at" in show.out
    assert len(re.findall(r"^ +(\d+) s  [\d,]+ of [\d,]+ done, lag", show.out, re.MULTILINE)) >= 4
    assert [] == show.left_behind()


def test_a_table_that_differs_ends_it_with_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is made to overlook a row."""
    sql = f"{judge.READINGS_OF[PRODUCTS].sql} WHERE id > 1"
    monkeypatch.setitem(judge.READINGS_OF, PRODUCTS, judge.Reading(sql, 1))
    console = Console(file=io.StringIO(), width=100)
    assert 1 == run(Options(records=2_000), Screen(console))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "demo.products: 1 row missing" in shown
    assert "NOT EQUAL" in shown


@pytest.mark.parametrize("words", ["1  Two small", "4  ingest check", "5  ingest run", "done, lag", "6  kill -9"])
def test_ctrl_c_at_any_moment_leaves_nothing_behind(play: Play, words: str) -> None:
    show = play(*FEW)
    show.until(words)
    show.process.send_signal(signal.SIGINT)
    asked_s = time.monotonic()
    assert (130, "") == (show.end(), show.err)
    assert time.monotonic() - asked_s < 20
    assert [] == show.left_behind()


def test_a_terminal_gets_its_cursor_back(play: Play) -> None:
    """The moving board hides it."""
    main, other = pty.openpty()
    show = play(*FEW, out=other, TERM="xterm")
    os.close(other)
    seen = b""
    while b"read by" not in seen:
        seen += os.read(main, 65_536)
    show.process.send_signal(signal.SIGINT)
    with suppress(OSError):  # how Linux says that the other side of a terminal is closed
        while more := os.read(main, 65_536):
            seen += more
    os.close(main)
    assert 130 == show.end()
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert "Ended. Nothing is left behind." in seen.decode()
    assert [] == show.left_behind()


def test_a_second_ctrl_c_does_not_break_off_the_tidying(play: Play) -> None:
    show = play(*FEW)
    show.until("done, lag")
    for _ in range(3):
        show.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert (130, "") == (show.end(), show.err)
    assert [] == show.left_behind()


def test_kept_servers_answer_until_ctrl_c(play: Play) -> None:
    show = play("--keep", *FEW)
    show.until("Look around")
    show.until("/metrics")
    (store,) = set(re.findall(r"CrateDB at\s+(http://\S+[0-9])", show.out))
    body = orjson.dumps({"stmt": "SELECT count(*) FROM demo.orders_live"})
    request = urllib.request.Request(f"{store}/_sql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert orjson.loads(answer.read())["rows"][0][0] > 100
    (page,) = re.findall(r"http://\S+/metrics", show.out)
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert b"ingest_records_read_total" in answer.read()
    show.process.send_signal(signal.SIGINT)
    assert (0, "") == (show.end(), show.err)
    assert [] == show.left_behind()


def test_settings_of_the_caller_do_not_reach_a_demo_of_its_own_servers(play: Play) -> None:
    show = play(*FEW, INGEST_TOPICS="of-mine", INGEST_NO_SUCH_SETTING="1", INGEST_KAFKA_SECURITY_PROTOCOL="SASL_SSL")
    show.until("5  ingest run")
    show.process.send_signal(signal.SIGINT)
    assert (130, "") == (show.end(), show.err)


def test_it_works_from_another_folder_with_its_files_from_the_package(play: Play, tmp_path: Path) -> None:
    show = play("--export-dir", str(tmp_path / "here"))
    assert (0, "") == (show.end(), show.err)
    names = sorted(str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*.*"))
    assert [
        "schemas/demo_sensors.avsc",
        "schemas/orders.toml",
        "schemas/readings.toml",
        "sql/0001_stock.sql",
        "sql/0002_orders.sql",
        "sql/0003_readings.sql",
    ] == names


@pytest.mark.kafka
@pytest.mark.cratedb
class TestOnRealServers:
    """Topics demo_*, schema and group demo: only one of these tests at a time."""

    @pytest.fixture
    def addresses(self, kafka_address: str, crate_url: str) -> tuple[str, ...]:
        return ("--kafka", kafka_address, "--crate", crate_url)

    @pytest.fixture(autouse=True)
    def clean(self, addresses: tuple[str, ...]) -> Iterator[None]:
        self._clean(addresses)
        yield
        self._clean(addresses)

    def _clean(self, addresses: tuple[str, ...]) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ingest", "demo", "--clean", *addresses],
            cwd=ROOT, env=without_settings(os.environ), capture_output=True, text=True, timeout=WITHIN_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_it_ends_equal_and_takes_everything_down(self, play: Play, addresses: tuple[str, ...]) -> None:
        show = play(*FEW, *addresses)
        assert (0, "") == (show.end(), show.err)
        assert "EQUAL: nothing is lost and nothing is double" in show.out
        assert [] == show.left_behind()
        assert "nothing of the demo was there\n" == self._clean(addresses)

    def test_ctrl_c_takes_everything_down_as_well(self, play: Play, addresses: tuple[str, ...]) -> None:
        show = play(*FEW, *addresses)
        show.until("done, lag")
        show.process.send_signal(signal.SIGINT)
        assert (130, "") == (show.end(), show.err)
        assert [] == show.left_behind()
        assert "nothing of the demo was there\n" == self._clean(addresses)

    def test_records_alone_are_written_once(self, play: Play, addresses: tuple[str, ...], tmp_path: Path) -> None:
        show = play("--produce-only", *FEW, *addresses)
        assert (0, "") == (show.end(), show.err)
        assert re.match(r"4,0\d\d records written to demo_inventory_products, ", show.out)
        (tmp_path / "again").mkdir()
        again = Show(tmp_path / "again", "--produce-only", *FEW, *addresses)
        assert 0 == again.end()
        assert "topic demo_inventory_products exists already, so nothing was written\n" == again.out

    def test_what_an_earlier_demo_left_is_not_touched(self, play: Play, addresses: tuple[str, ...], tmp_path: Path) -> None:
        show = play("--produce-only", *FEW, *addresses)
        assert 0 == show.end()
        (tmp_path / "second").mkdir()
        second = Show(tmp_path / "second", *FEW, *addresses)
        assert 4 == second.end()
        assert "`ingest demo --clean` with these addresses removes it" in second.err
        assert "removed topic demo_sensors" in self._clean(addresses)
