"""The wheel and the sdist: the same bytes of the same files, what is in them and what is not, and that they suffice elsewhere."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.compose_files import ROOT
from tests.packaging.conftest import build

PACKAGE = ROOT / "ingest"
# Every module but the entry point, which would run; and which packages were missing.
IMPORT_ALL = """
import importlib, json, pkgutil, ingest
names = [each.name for each in pkgutil.walk_packages(ingest.__path__, "ingest.") if each.name != "ingest.__main__"]
missing = set()
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing.add(error.name.split(".")[0])
print(json.dumps([ingest.__file__, len(names), sorted(missing)]))
"""
DATA = {"ingest/py.typed", "ingest/demo/sql/0001_stock.sql", "ingest/demo/schemas/sensors.avsc"}


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def sdist_of(folder: Path) -> Path:
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def names_in_wheel(folder: Path) -> list[str]:
    with zipfile.ZipFile(wheel_of(folder)) as archive:
        return archive.namelist()


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


# ---------------------------------------------------------------- the same bytes


def test_another_day_and_another_folder_give_the_same_bytes(distributions: Path, tmp_path: Path) -> None:
    """A copy of the checkout whose files are of another time and mode."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(PACKAGE, elsewhere / "ingest", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        shutil.copyfile(ROOT / name, elsewhere / name)
    for path in elsewhere.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)
    build(elsewhere, tmp_path)
    assert wheel_of(distributions).read_bytes() == wheel_of(tmp_path).read_bytes()
    assert sdist_of(distributions).read_bytes() == sdist_of(tmp_path).read_bytes()


def test_the_wheel_made_of_the_sdist_is_the_wheel(distributions: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist_of(distributions)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    build(source, tmp_path)
    assert wheel_of(distributions).read_bytes() == wheel_of(tmp_path).read_bytes()


def test_the_builds_tool_is_pinned_because_its_version_stands_in_the_wheel() -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", need) for need in system["requires"])
    assert set(system["requires"]) <= set((ROOT / "constraints.txt").read_text().splitlines())


# ---------------------------------------------------------------- what is in them


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(distributions: Path) -> None:
    package = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    in_wheel = {name for name in names_in_wheel(distributions) if ".dist-info/" not in name}
    assert package == in_wheel
    assert package >= DATA


def test_the_sdist_holds_no_tests_and_no_working_files(distributions: Path) -> None:
    with tarfile.open(sdist_of(distributions)) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    expected = {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "constraints.txt", "ingest", "pyproject.toml"}
    assert expected == tops - {".gitignore"}


def test_every_package_that_is_imported_is_declared() -> None:
    """That another package brings it along today is no promise."""
    declared = {name_of(need) for need in project()["dependencies"]}
    declared |= {name_of(need) for extra, needs in project()["optional-dependencies"].items() if extra != "dev" for need in needs}
    owners = packages_distributions()
    imported = {module for path in PACKAGE.rglob("*.py") for module in modules_in(path)}
    assert {} == {module: owners[module] for module in imported if not declared & {name_of(each) for each in owners[module]}}


def modules_in(path: Path) -> Iterator[str]:
    """The third-party modules that a file imports, by their first names."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from {name.split(".")[0] for name in names} - {"ingest", "__future__", *sys.stdlib_module_names}


def name_of(need: str) -> str:
    """
    >>> name_of("psycopg[binary]>=3.2"), name_of("prometheus_client")
    ('psycopg', 'prometheus-client')
    """
    return re.split(r"[\[<>=!~; ]", need)[0].lower().replace("_", "-")


# ---------------------------------------------------------------- somewhere else


@pytest.fixture(scope="module")
def elsewhere(registry: None, distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv far from the checkout with the wheel and what it asks for, without any extra, as pipx would make it."""
    folder = tmp_path_factory.mktemp("pipx")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--constraint"]
    subprocess.run([*install, str(ROOT / "constraints.txt"), str(wheel_of(distributions))], check=True)
    return folder


def run(venv: Path, program: str, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(venv), "PYTHONWARNINGS": "error::ImportWarning"}
    command = [str(venv / "bin" / program), *words]
    done = subprocess.run(command, cwd=venv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_wheel_runs_without_the_checkout(elsewhere: Path) -> None:
    assert f"cratedb-ingest {project()['version']}\n" in run(elsewhere, "ingest", "--version")
    assert "--produce-only" in run(elsewhere, "ingest", "demo", "--help")


@pytest.mark.slow
def test_every_module_can_be_imported_and_lacks_at_most_what_is_an_extra(elsewhere: Path) -> None:
    where, count, missing = json.loads(run(elsewhere, "python", "-c", IMPORT_ALL))
    assert Path(where).is_relative_to(elsewhere)
    assert count > 100
    extras = {name_of(need) for needs in project()["optional-dependencies"].values() for need in needs}
    owners = packages_distributions()
    assert [] == [module for module in missing if not extras & {name_of(each) for each in owners.get(module, ())}]


@pytest.mark.slow
def test_the_demos_files_come_out_of_an_installed_wheel(elsewhere: Path, tmp_path: Path) -> None:
    run(elsewhere, "ingest", "demo", "--export-dir", str(tmp_path))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written >= {"sql/0001_stock.sql", "sql/0002_orders.sql", "schemas/orders.toml"}
