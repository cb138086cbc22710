"""The image's first stage played on this machine, and the distributions, each made once a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging import dockerfile
from tests.packaging.compose_files import ROOT

# Small, pure, and among the pinned packages.
PROBE = "idna==3.20"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A package registry that answers: without one nothing can be installed anywhere."""
    folder = tmp_path_factory.mktemp("probe")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet", "-d", str(folder), PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"INSTALLING: not tried, no package registry gives {PROBE}")


@pytest.fixture(scope="session")
def image(registry: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the first stage of the Dockerfile was played: opt/ingest is what the image gets."""
    build, _ = dockerfile.read()[1]
    return dockerfile.play(build, tmp_path_factory.mktemp("image"), sys.executable)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def build(source: Path, folder: Path) -> None:
    """By the backend that pyproject.toml names, as it is installed beside the tests: no network."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
