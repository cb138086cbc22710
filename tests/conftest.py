"""Fixtures for real servers, started once a run and only when a test asks; and the last lines that say what really ran."""

from __future__ import annotations

import itertools
import logging
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import hypothesis
import pytest

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("ingest", deadline=None)
hypothesis.settings.load_profile("ingest")

# kafka-python 3.0 reads its schemas with a function that Python 3.11 and 3.12 call deprecated (3.13 no longer does).
OLD_READ_TEXT = r"(read|open)_text is deprecated"
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", OLD_READ_TEXT, DeprecationWarning)
    import kafka  # noqa: F401

from ingest.kafka.client_seams import close_what_fails  # noqa: E402
from ingest.kafka.clients import Client  # noqa: E402
from tests.kafka_rig import BrokerRig, Member, settings_for  # noqa: E402
from tests.servers import CrateServer, KafkaServer, Missing, Server, find_crate, find_kafka  # noqa: E402

# The tests' own clients too, or what they leave while a broker is away fails whichever test it is found in.
close_what_fails()

# A test with one of these fixtures or markers uses the real server.
SERVERS = {"KAFKA": {"kafka_server", "own_kafka", "kafka"}, "CRATEDB": {"crate_server", "own_crate", "cratedb"}}
ran: Counter[str] = Counter()
versions: dict[str, str] = {}
missing: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", f"ignore:{OLD_READ_TEXT}:DeprecationWarning")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test calls in this process sets up logging for itself; the next test must not inherit it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def real_server(name: str, find: Callable[[], Server | Missing]) -> Iterator[Server]:
    found = find()
    if isinstance(found, Missing):
        missing[name] = found.how
        pytest.skip(f"no real {name}: {found.how}")
    versions[name] = found.version
    found.start()
    yield found
    found.remove()


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Server]:
    yield from real_server("KAFKA", find_kafka)


@pytest.fixture(scope="session")
def crate_server() -> Iterator[Server]:
    yield from real_server("CRATEDB", find_crate)


@pytest.fixture(scope="session")
def kafka_address(kafka_server: Server) -> str:
    """host:port of a real broker."""
    return kafka_server.address


@pytest.fixture(scope="session")
def crate_url(crate_server: Server) -> str:
    """http://host:port of a real CrateDB."""
    return crate_server.address


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[KafkaServer]:
    """A broker for the tests of one module, which may stop, kill and suspend it and leave it running."""
    found = find_kafka()
    if not isinstance(found, KafkaServer):
        pytest.skip(
            "a broker that a test may kill must be started by the test: unset INGEST_TEST_KAFKA, install Java 17 and Maven"
        )
    versions.setdefault("KAFKA", found.version)
    found.start()
    yield found
    found.remove()


@pytest.fixture(scope="module")
def own_crate() -> Iterator[CrateServer]:
    """A CrateDB for the tests of one module, which may stop, kill and suspend it and leave it running."""
    found = find_crate()
    if not isinstance(found, CrateServer):
        pytest.skip("a CrateDB that a test may kill must be started by the test: unset INGEST_TEST_CRATE, set CRATEDB_HOME")
    versions.setdefault("CRATEDB", found.version)
    found.start()
    yield found
    found.remove()


@pytest.fixture
def topic(kafka_address: str) -> Callable[..., str]:
    """topic(partitions=1, **configs): a new topic on the real broker, configs with _ for the dots of Kafka's names."""
    return topics_at(kafka_address)


def topics_at(address: str) -> Callable[..., str]:
    numbers = itertools.count(1)

    def create(partitions: int = 1, **configs: Any) -> str:
        from kafka import KafkaAdminClient

        name = f"t{next(numbers)}-{uuid.uuid4().hex[:8]}"
        options = {key.replace("_", "."): str(value) for key, value in configs.items()}
        admin = KafkaAdminClient(bootstrap_servers=[address])
        try:
            shape = {"num_partitions": partitions, "replication_factor": 1, "configs": options}
            admin.create_topics({name: shape}, wait_for_metadata=True)
        finally:
            admin.close()
        return name

    return create


# ---------------------------------------------------------------- the brokers of the Kafka room's contract tests


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[BrokerRig]:
    practice = pytest.importorskip("ingest.practice.broker")
    with practice.Broker() as broker:
        yield BrokerRig(broker.address, "embedded")


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.kafka), "embedded"])
def broker(request: pytest.FixtureRequest) -> BrokerRig:
    if request.param == "embedded":
        embedded: BrokerRig = request.getfixturevalue("embedded_broker")
        return embedded
    return BrokerRig(request.getfixturevalue("kafka_address"))


@pytest.fixture(params=["kafka-python", "librdkafka"])
def client(request: pytest.FixtureRequest) -> Client:
    """Which client a source is made of."""
    if request.param == "librdkafka":
        pytest.importorskip("confluent_kafka")
    chosen: Client = request.param
    return chosen


@pytest.fixture
def member(broker: BrokerRig, client: Client) -> Iterator[Callable[..., Member]]:
    """member(topics, group=None, **settings): a started one, closed at the end of the test."""
    with ExitStack() as stack:

        def join(topics: Any, group: str | None = None, *, commits_on_revoke: bool = True, **changes: Any) -> Member:
            each = Member(
                settings_for(broker.address, topics, group, **changes), commits_on_revoke=commits_on_revoke, client=client
            )
            stack.callback(each.close)
            return each.start()

        yield join


# ---------------------------------------------------------------- the last lines


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call" and not report.skipped:
        used = {*getattr(item, "fixturenames", ()), *(mark.name for mark in item.iter_markers())}
        ran.update(name for name, signs in SERVERS.items() if signs & used)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """One of several processes (-n 2) has ended: what it says of real servers counts with the rest."""
    said = getattr(node, "workeroutput", {}).get("servers")
    if said and not error:
        ran.update(said["ran"])
        versions.update(said["versions"])
        missing.update(said["missing"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers"] = {"ran": dict(ran), "versions": versions, "missing": missing}


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    for name in SERVERS:
        if ran[name]:
            reporter.write_line(f"REAL {name}: ran {ran[name]} tests ({versions.get(name, 'given')})")
        else:
            reporter.write_line(f"REAL {name}: not run ({missing.get(name, 'no test asked for it')})")
