"""A real Prometheus of a test: its own process on the loopback with a folder of its own, asked over its API. One thread."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers import free_ports

HOW_TO_GET_IT = "REAL PROMETHEUS: not run (apt-get install prometheus)"
READY_WITHIN_S = 30.0
SCRAPE_EVERY_S = 1

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_there() -> bool:
    """Whether both binaries of the package are."""
    return bool(shutil.which("prometheus") and shutil.which("promtool"))


def promtool(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)


class Sample(NamedTuple):
    """One element of an answer."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """One that runs. targets: `host:port` of what it scrapes, as the job `ingest`."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: Path) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        config = folder / "prometheus.yml"
        config.write_text(json.dumps(config_of(targets, rules)))  # JSON is YAML
        data, address = folder / "data", f"127.0.0.1:{port}"
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(["prometheus", *arguments, "--log.level=warn"], stdout=log, stderr=log, cwd=folder)

    def wait(self) -> None:
        deadline_s = time.monotonic() + READY_WITHIN_S
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s, self._log.read_text()
            time.sleep(0.1)

    def ask(self, promql: str) -> list[Sample]:
        """The answer to an instant query of a vector."""
        found = self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': promql})}")
        return [Sample(each["metric"], float(each["value"][1])) for each in found["result"]]

    def by(self, promql: str, *labels: str) -> dict[Any, float]:
        """The same by the values of labels: of one label the text, of several a tuple."""
        samples = self.ask(promql)
        keys = [tuple(sample.labels.get(label, "") for label in labels) for sample in samples]
        assert len(set(keys)) == len(keys), f"{promql} has more labels than {labels}: {samples}"
        return {key[0] if len(key) == 1 else key: sample.value for key, sample in zip(keys, samples, strict=True)}

    def get(self, path: str) -> Any:
        try:
            with _opener.open(self._url + path, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path}: {error.read().decode()}") from error

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _is_ready(self) -> bool:
        try:
            with _opener.open(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def config_of(targets: Sequence[str], rules: Path) -> Mapping[str, Any]:
    every = f"{SCRAPE_EVERY_S}s"
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "ingest", "static_configs": [{"targets": list(targets)}]}],
    }


@contextmanager
def running(folder: Path, targets: Sequence[str], rules: Path) -> Iterator[Prometheus]:
    prometheus = Prometheus(folder, targets, rules)
    try:
        prometheus.wait()
        yield prometheus
    finally:
        prometheus.stop()
