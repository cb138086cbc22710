"""The Compose files hold together: by Compose's own schema, and by what they say of each other, the image and the settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingest.crate.sql_files import read_steps
from ingest.settings import Settings
from ingest.tables.contract import load_contracts
from tests.packaging.compose_files import BASE, COCKROACH, COMPOSE, POSTGRES, ROOT, SETS, project, read, services

EACH_FILE = pytest.mark.parametrize("path", [BASE, POSTGRES, COCKROACH], ids=lambda path: path.name)
EACH_SET = pytest.mark.parametrize("paths", SETS.values(), ids=SETS)
OURS = "cratedb-ingest:local"
UNIT_S = {"s": 1, "m": 60}


ALL = services(*SETS["all"])
WORKERS = {name: each for name, each in ALL.items() if each["image"] == OURS and each["command"] == ["run"]}
EACH_SERVICE = pytest.mark.parametrize("service", ALL.values(), ids=ALL)
EACH_WORKER = pytest.mark.parametrize("service", WORKERS.values(), ids=WORKERS)


# ---------------------------------------------------------------- by Compose's rules


@EACH_FILE
def test_a_file_fits_the_schema_of_the_compose_specification(path: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


@EACH_SET
def test_what_a_service_waits_for_is_there_and_can_become_so(paths: tuple[Path, ...]) -> None:
    all_services = services(*paths)
    for name, service in all_services.items():
        for other, waits in service.get("depends_on", {}).items():
            assert other in all_services, f"{name} waits for {other}"
            if waits["condition"] == "service_completed_successfully":
                assert "no" == all_services[other]["restart"], f"{name} waits for the end of {other}, which is started again"
            elif not is_ours(all_services[other]):
                assert "test" in all_services[other]["healthcheck"], f"{name} waits for the health of {other}"


@EACH_SET
def test_nobody_waits_in_a_circle(paths: tuple[Path, ...]) -> None:
    waiting = {name: set(service.get("depends_on", {})) for name, service in services(*paths).items()}
    while ready := {name for name, others in waiting.items() if not others & set(waiting)}:
        waiting = {name: others for name, others in waiting.items() if name not in ready}
    assert {} == waiting


@EACH_SET
def test_named_volumes_are_declared_and_used(paths: tuple[Path, ...]) -> None:
    used = {source for service in services(*paths).values() for source, _ in mounts(service) if not source.startswith(".")}
    assert set(project(*paths)["volumes"]) == used


@EACH_SERVICE
def test_what_is_mounted_exists(service: dict[str, Any]) -> None:
    for source, _ in mounts(service):
        assert not source.startswith(".") or (COMPOSE / source).exists(), source


@EACH_SERVICE
def test_an_image_has_a_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w./-]+:v?(\d+([.]\d+)+\S*|local)", service["image"])


@EACH_SET
def test_published_ports_meet_neither_each_other_nor_the_network(paths: tuple[Path, ...]) -> None:
    ports = [port for service in services(*paths).values() for port in service.get("ports", ())]
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]
    fixed = [host for _, host, _ in (port.split(":") for port in ports) if host]
    assert len(set(fixed)) == len(fixed)


# ---------------------------------------------------------------- the workers


@EACH_SERVICE
def test_every_setting_is_one_that_the_worker_knows_and_takes(service: dict[str, Any]) -> None:
    ours = {name: value for name, value in service.get("environment", {}).items() if name.startswith("INGEST_")}
    assert bool(ours) <= is_ours(service)
    Settings.load(ours, needs=("topics",) if service.get("command") == ["run"] else ())


@EACH_WORKER
def test_a_worker_has_the_time_to_stop(service: dict[str, Any]) -> None:
    settings = Settings.load(service["environment"])
    assert settings.drain_s + settings.revoke_s < seconds(service["stop_grace_period"])


@EACH_WORKER
def test_a_worker_has_more_memory_than_it_will_use(service: dict[str, Any]) -> None:
    limit = service["deploy"]["resources"]["limits"]["memory"]
    assert Settings.load(service["environment"]).memory_mb < int(limit.removesuffix("M"))


@EACH_WORKER
def test_workers_can_be_scaled(service: dict[str, Any]) -> None:
    """A name or a port of its own can be given to one container only."""
    assert "container_name" not in service
    assert ["127.0.0.1::9464"] == service["ports"]


@EACH_WORKER
def test_a_worker_waits_for_its_servers_and_tables(service: dict[str, Any]) -> None:
    conditions = {name: waits["condition"] for name, waits in service["depends_on"].items()}
    assert conditions.items() >= {"kafka": "service_healthy", "cratedb": "service_healthy"}.items()
    assert any(name.endswith("migrate") and conditions[name] == "service_completed_successfully" for name in conditions)


def test_one_group_reads_a_topic_once() -> None:
    settings = [Settings.load(each["environment"]) for each in WORKERS.values()]
    assert len(settings) == len({each.group_id for each in settings}) == len({each.crate_schema for each in settings})


@EACH_FILE
def test_our_image_is_built_from_this_repository_and_runs_without_rights(path: Path) -> None:
    ours = [service for service in services(path).values() if is_ours(service)]
    assert ours
    for service in ours:
        assert (COMPOSE / service["build"]["context"]).resolve() == ROOT
        assert service["read_only"] is True
        assert ["ALL"] == service["cap_drop"]


@EACH_FILE
def test_what_runs_once_is_not_asked_for_its_health_and_hears_a_signal(path: Path) -> None:
    """As process 1 without a handler it would ignore SIGTERM, and the image's HEALTHCHECK asks a worker."""
    once = [service for service in services(path).values() if service.get("restart") == "no"]
    assert once
    for service in once:
        assert service["init"] is True
        assert not is_ours(service) or service["healthcheck"] == {"disable": True}


# ---------------------------------------------------------------- what stands beside the files


@pytest.mark.parametrize("folder", ["postgres", "cockroach"])
def test_contracts_and_sql_can_be_read(folder: str) -> None:
    contracts, problems = load_contracts(COMPOSE / folder / "schemas")
    assert [] == problems
    tables = {step.relation for step in read_steps(COMPOSE / folder / "sql") if step.columns}
    assert tables == {contract.table for contract in contracts}


def test_prometheus_asks_every_worker() -> None:
    jobs = read(COMPOSE / "prometheus.yaml")["scrape_configs"]
    found = {(name, each["port"]) for job in jobs for each in job["dns_sd_configs"] for name in each["names"]}
    assert {(name, 9464) for name in WORKERS} == found


CHANGEFEEDS = {"none yet": ("0", True), "one that runs": ("1", False)}


@pytest.mark.parametrize(("alive", "is_made"), CHANGEFEEDS.values(), ids=CHANGEFEEDS)
def test_a_second_start_makes_no_second_changefeed(alive: str, is_made: bool, tmp_path: Path) -> None:
    """changefeed.sh with a stand-in for `cockroach` that notes its arguments: no CockroachDB was there where this was written."""
    stand_in, notes = tmp_path / "cockroach", tmp_path / "notes"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {notes}\ncase "$*" in *--execute*) printf "count\\n{alive}\\n";; esac\n')
    stand_in.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = COMPOSE / "cockroach" / "changefeed.sh"
    subprocess.run(["bash", str(script), "cockroachdb:26257"], env=environ, check=True, capture_output=True)
    asked = notes.read_text().splitlines()
    assert all("--host cockroachdb:26257" in line for line in asked)
    assert ["tables.sql" in asked[0], is_made] == [True, "changefeed.sql" in asked[-1]]


def is_ours(service: dict[str, Any]) -> bool:
    return bool(service.get("image") == OURS)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each volume."""
    return [(source, target) for source, target, *_ in (volume.split(":") for volume in service.get("volumes", ()))]


def seconds(text: str) -> int:
    """
    >>> seconds("45s")
    45
    """
    return int(text[:-1]) * UNIT_S[text[-1]]
