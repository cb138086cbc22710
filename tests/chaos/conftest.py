"""Servers of the chaos rows, always our own because rows kill them; what a row is called on the command line; the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests import conftest as reporting
from tests.chaos import results, scenario
from tests.chaos.rig import Servers
from tests.chaos.scenario import Scenario
from tests.server_processes import CrateServer, KafkaServer
from tests.servers import Missing, crate_home, kafka_jars

Play = Callable[[Scenario, Servers], None]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: a row of the fault matrix")
    config.addinivalue_line("markers", "short: a row that `make chaos-short` and `make test` run as well")


def lacks(what: str, missing: Missing) -> NoReturn:
    """Skip, and say so in the last lines."""
    reporting.missing[what] = f"{missing.how}; an address will not do for rows that kill it"
    pytest.skip(f"no {what} that a test may kill: {reporting.missing[what]}")


@pytest.fixture(scope="session")
def chaos_kafka() -> Iterator[KafkaServer]:
    """A broker that rows may stop, kill and freeze, and leave running."""
    jars = kafka_jars()
    if isinstance(jars, Missing):
        lacks("KAFKA", jars)
    server = KafkaServer(jars)
    reporting.versions["KAFKA"] = server.version
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def cratedb_home() -> Path:
    """The distribution from which nodes are started."""
    home = crate_home()
    if isinstance(home, Missing):
        lacks("CRATEDB", home)
    return home


@pytest.fixture(scope="session")
def chaos_crate(cratedb_home: Path) -> Iterator[CrateServer]:
    """A node that rows may stop, kill and freeze, and leave running."""
    server = CrateServer(cratedb_home)
    reporting.versions["CRATEDB"] = server.version
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def servers(chaos_kafka: KafkaServer, chaos_crate: CrateServer) -> Servers:
    """One broker, one node."""
    return Servers(chaos_kafka, [chaos_crate])


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """play(scenario, servers): live through the row, keep its line, fail if anything is not as it must be."""

    def one(row: Scenario, servers: Servers) -> None:
        try:
            line = scenario.run(row, servers, tmp_path)
        except BaseException as error:
            results.keep(results.broken(row.name, row.of, f"{type(error).__name__}: {error}"))
            raise
        results.keep(line)
        assert line["equal"], "\n".join([str(line["differences"]), *line["first_differences"]])

    return one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if results.lines:
        terminalreporter.section("fault matrix")
        for line in results.table(results.lines):
            terminalreporter.write_line(line)
