"""The Dockerfile without an engine: what it copies is there, what it runs runs here, what it starts says its health and ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ingest.practice.broker import Broker
from ingest.practice.store import Store
from tests.packaging import dockerfile
from tests.packaging.compose_files import ROOT
from tests.server_processes import free_ports

ARGUMENTS, (BUILD, FINAL) = dockerfile.read()
WITHIN_S = 30.0


# ---------------------------------------------------------------- what it says


def test_both_stages_have_the_same_python_of_a_version_that_the_package_supports() -> None:
    """A venv works in one place with one interpreter only."""
    assert BUILD.image == FINAL.image == ARGUMENTS["PYTHON_IMAGE"]
    assert re.fullmatch(r"python:3[.]1[1-9][\w.-]*-slim-\w+", FINAL.image)
    assert [("build", ["/opt/ingest"], "/opt/ingest")] == list(FINAL.copies())


def test_what_is_copied_exists_and_enters_the_build() -> None:
    sources = [source for stage, sources, _ in BUILD.copies() for source in sources if stage is None]
    assert [] == [source for source in sources if not (ROOT / source).exists() or dockerfile.ignored(source)]


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "tests/conftest.py", "ingest/__pycache__/cli.pyc", "compose/x"]
)
def test_nothing_else_enters_the_build(path: str) -> None:
    assert dockerfile.ignored(path)


def test_the_worker_is_not_root_and_is_told_apart_by_a_number() -> None:
    user, group = map(int, FINAL.last("USER").split(":"))
    assert min(user, group) >= 1000
    assert f"--uid {user}" in FINAL.last("RUN")
    assert ("USER", FINAL.last("USER")) == next(step for step in reversed(FINAL.steps) if step[0] in ("USER", "RUN", "COPY"))


def test_the_worker_is_process_one_and_hears_the_signal_that_is_sent() -> None:
    """In the JSON form there is no shell in between."""
    assert (["ingest"], ["run"]) == (FINAL.words("ENTRYPOINT"), FINAL.words("CMD"))
    assert "SIGTERM" == FINAL.last("STOPSIGNAL")


def test_no_secret_and_no_address_is_built_in() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert [] == re.findall(r"(?i)password|token|index-url|https?://", text)


# ---------------------------------------------------------------- what it makes


@pytest.mark.slow
def test_the_installed_worker_names_its_version_and_those_of_its_clients(image: Path, tmp_path: Path) -> None:
    told = run(image, tmp_path, "--version").stdout
    assert re.search(r"^cratedb-ingest \d", told, re.MULTILINE)
    assert "not installed" not in told


@pytest.mark.slow
def test_the_installed_packages_are_the_pinned_ones(image: Path) -> None:
    listed = subprocess.run(
        [str(image / "opt/ingest/bin/pip"), "list", "--format", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    installed = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in listed.splitlines())}
    not_pinned = set(installed) - set(pinned) - {"cratedb-ingest", "pip", "setuptools"}
    assert set() == not_pinned
    assert [] == [name for name in set(installed) & set(pinned) if installed[name] != pinned[name]]


@pytest.mark.slow
def test_the_image_has_the_extra_pg(image: Path) -> None:
    subprocess.run([str(image / "opt/ingest/bin/python"), "-c", "import psycopg, psycopg_binary"], check=True)


# ---------------------------------------------------------------- what it runs


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """The embedded broker and store, with a topic; what a worker must be told of them."""
    with Broker() as broker, Store() as store:
        broker.create_topic("orders")
        yield {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "INGEST_CRATE_URLS": store.url,
            "INGEST_TOPICS": "orders",
            "INGEST_GROUP_ID": "image",
        }


@pytest.mark.slow
def test_the_health_check_tells_a_worker_that_is_well_from_one_that_hangs_or_is_gone(
    image: Path, servers: dict[str, str], tmp_path: Path
) -> None:
    port = free_ports(1)[0]
    with worker(image, {**servers, "INGEST_HTTP_PORT": str(port)}, tmp_path) as process:
        until(lambda: 0 == health(image, port))
        process.send_signal(signal.SIGSTOP)
        assert 1 == health(image, port)
        process.send_signal(signal.SIGCONT)
        until(lambda: 0 == health(image, port))
    assert 1 == health(image, port)


@pytest.mark.slow
def test_the_health_check_heeds_the_status(image: Path) -> None:
    """A loop that stands still answers 503; a proxy in the environment is not asked."""
    with server_of(503) as ill, server_of(200) as well:
        assert (1, 0) == (health(image, ill), health(image, well))
        assert 0 == health(image, well, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")


@pytest.mark.slow
def test_as_process_one_the_worker_ends_well_when_it_is_told_to(image: Path, servers: dict[str, str], tmp_path: Path) -> None:
    """The kernel gives process 1 no signal that it has no handler for; so this is run in a process namespace of its own."""
    namespace = ["unshare", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("PROCESS 1: not tried, no process namespace can be made here (run as root)")
    port = free_ports(1)[0]
    with worker(image, {**servers, "INGEST_HTTP_PORT": str(port)}, tmp_path, namespace) as process:
        until(lambda: 0 == health(image, port))
        first = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        assert "1" == re.findall(r"^NSpid:.*\s(\d+)$", Path(f"/proc/{first}/status").read_text(), re.MULTILINE)[0]
        os.kill(first, signal.SIGTERM)
        assert 0 == process.wait(WITHIN_S)


def run(image: Path, work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(image / "opt/ingest/bin" / FINAL.words("ENTRYPOINT")[0])
    return subprocess.run([program, *words], cwd=work, env=environment(image), capture_output=True, text=True, check=True)


def environment(image: Path) -> dict[str, str]:
    """What the image sets, on the loopback, and nothing of this machine's but the PATH behind its own."""
    values = {name: dockerfile.moved(value, image) for name, value in FINAL.environment.items()}
    return {**values, "PATH": values["PATH"].replace("$PATH", os.environ["PATH"]), "INGEST_HTTP_HOST": "127.0.0.1"}


@contextmanager
def worker(
    image: Path, settings: dict[str, str], work: Path, before: list[str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*(before or []), str(image / "opt/ingest/bin/ingest"), *FINAL.words("CMD")]
    with open(work / "worker.log", "ab") as log:
        process = subprocess.Popen(command, env={**environment(image), **settings}, cwd=work, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def health(image: Path, port: int, **more: str) -> int:
    """The exit code of the HEALTHCHECK: 0 or 1, all others are reserved."""
    values = {**environment(image), "INGEST_HTTP_PORT": str(port), **more}
    words = FINAL.words("HEALTHCHECK")
    return subprocess.run(words, env=values, capture_output=True, check=False, timeout=5).returncode


@contextmanager
def server_of(status: int) -> Iterator[int]:
    """A server that gives each request this answer; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=f"answers-{status}", daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
