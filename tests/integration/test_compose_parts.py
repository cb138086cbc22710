"""The services of compose/ as processes of this machine, with the commands and environments that the files give them.

What PostgreSQL, CockroachDB's changefeed and the demo say arrives in CrateDB by the very settings that Compose would use. Not run
here: the images themselves, CockroachDB and the schema registry; compose/README.md says so to people.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.oracle.crate import Crate
from tests.oracle.kafka_io import Progress, create_topics, read_letters
from tests.packaging.compose_files import BASE, COCKROACH, COMPOSE, POSTGRES, services
from tests.packaging.native import (
    Connect,
    CrateDB,
    Kafka,
    Postgres,
    connect_jars,
    our_command,
    our_environment,
    postgres_programs,
    version_of,
)
from tests.packaging.places import Places
from tests.server_processes import KAFKA_VERSION, free_ports
from tests.servers import Missing, crate_home, kafka_jars

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.cratedb]
ARRIVES_WITHIN_S = 60.0
ENDS_WITHIN_S = 150.0
JAN_MS, FEB_MS, MAR_MS = 1_767_225_600_000, 1_769_904_000_000, 1_772_323_200_000  # 2026
Rows = list[list[Any]]


class Project:
    """All services of all files, those of ours run by this Python from the folders that they would see."""

    def __init__(self, folder: Path) -> None:
        self.services = services(BASE, POSTGRES, COCKROACH)
        self.folder = folder
        self.places = Places(self.services, folder)

    def run_once(self, name: str) -> str:
        """A service that ends by itself; what it printed."""
        done = subprocess.run(**self._process(name), capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False)
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return str(done.stdout)

    @contextmanager
    def running(self, name: str) -> Iterator[list[dict[str, Any]]]:
        """All replicas of a worker, asked to stop at the end; they must then end well within the service's grace period.

        Yields a list that holds the books of each afterwards.
        """
        grace_s = float(self.services[name]["stop_grace_period"].removesuffix("s"))
        books: list[dict[str, Any]] = []
        processes = [self._start(name, number) for number in range(self.services[name]["deploy"].get("replicas", 1))]
        try:
            yield books
            for process in processes:
                process.send_signal(signal.SIGTERM)
            assert [0 for _ in processes] == [process.wait(grace_s) for process in processes], self.logs()
            books += [json.loads(path.read_text().splitlines()[-1]) for path in self.folder.glob(f"{name}-*.out")]
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in self.folder.glob("*worker-*.log"))

    def address(self, host: str, port: str) -> str:
        return f"127.0.0.1:{self.places.port(host, port)}"

    def _start(self, name: str, number: int) -> subprocess.Popen[bytes]:
        log = self.folder / f"{name}-{number}.log"
        with open(log, "ab") as stderr, open(log.with_suffix(".out"), "wb") as stdout:
            return subprocess.Popen(**self._process(name), stdout=stdout, stderr=stderr)

    def _process(self, name: str) -> dict[str, Any]:
        mounts = self.places.mounts(name)
        return {
            "args": our_command(self.services[name], name, self.places),
            "env": our_environment(name, self.places, free_ports(1)[0]),
            "cwd": mounts.get("/srv/ingest", self.folder),
        }


def there(found: Path | Missing) -> Path:
    if isinstance(found, Missing):
        pytest.skip(f"compose/ cannot be run: {found.how}")
    return found


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """Kafka and CrateDB as compose.yaml describes them."""
    # Not below pytest's folder: only root could enter it, and servers run as other users.
    folder = Path(tempfile.mkdtemp(prefix="ingest-compose-"))
    folder.chmod(0o755)
    made = Project(folder)
    assert KAFKA_VERSION == version_of(made.services["kafka"]["image"])
    jars, home = there(kafka_jars()), there(crate_home())
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for server in (Kafka(made.places, jars), CrateDB(made.services["cratedb"], made.places, home)):
            stack.callback(server.remove)
            server.start()
        yield made


@pytest.fixture(scope="module")
def postgres(project: Project) -> Iterator[Postgres]:
    """PostgreSQL with its tables, Kafka Connect, and the connector registered."""
    each = project.services
    programs, jars = there(postgres_programs()), there(connect_jars(version_of(each["connect"]["image"])))
    with ExitStack() as stack:
        server = Postgres(each["postgres"], project.places, programs)
        stack.callback(server.remove)
        server.prepare(each["postgres"]["healthcheck"]["test"])
        connect = Connect(project.places, jars)
        stack.callback(connect.remove)
        connect.start()
        register(project)
        yield server


def register(project: Project) -> None:
    """The service `connector`, with the database's address as it is here."""
    command = our_command(project.services["connector"], "connector", project.places)
    settings = json.loads((COMPOSE / "postgres/connector.json").read_text())
    settings["database.port"] = str(project.places.port(settings["database.hostname"], settings["database.port"]))
    settings["database.hostname"] = "127.0.0.1"
    here = project.folder / "connector.json"
    here.write_text(json.dumps(settings))
    assert str(COMPOSE / "postgres/connector.json") == command[-1]
    done = subprocess.run([*command[:-1], str(here)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def schema(project: Project, name: str) -> Iterator[Crate]:
    crate = Crate(f"http://{project.address('cratedb', '4200')}", name)
    try:
        yield crate
    finally:
        crate.close()


# ---------------------------------------------------------------- the demo


def test_the_demo_runs_on_real_servers_with_two_workers(project: Project) -> None:
    """Every record that its producer wrote is in the books of one of the workers, and every bad one among the dead letters."""
    project.run_once("demo-files")
    project.run_once("migrate")
    written = int(project.run_once("demo").partition(" records written")[0].replace(",", ""))
    kafka = project.address("kafka", "9092")
    with project.running("worker") as books, closing(Progress(kafka, "demo")) as progress:
        until(lambda: progress.committed() == written, project)
    read, handed_back, dead_lettered = (sum(each[n] for each in books) for n in ("read", "handed_back", "dead_lettered"))
    assert [(True, 0, [])] * 2 == [(each["is_balanced"], each["unsettled"], each["parked"]) for each in books]
    assert written == read - handed_back
    assert 0 < dead_lettered == len(read_letters(kafka, "demo.dlq"))
    with schema(project, "demo") as crate:
        for table in ("products_live", "inventory_live", "orders_live", "readings"):
            assert crate.rows(f"SELECT count(*) FROM demo.{table}")[0][0] > 0, table
    assert "exists already" in project.run_once("demo")


# ---------------------------------------------------------------- PostgreSQL


def test_what_is_written_in_postgresql_arrives_in_cratedb(project: Project, postgres: Postgres) -> None:
    """The rows that were there, then an insert, an update, a move to another month and a delete; a second start of the
    one-shots changes nothing."""
    project.run_once("postgres-migrate")
    with schema(project, "shop") as crate, project.running("postgres-worker"):
        orders = looker(crate, "SELECT id, status, total, created_at, month FROM shop.orders_live ORDER BY id")
        customers = looker(crate, "SELECT id, name, email FROM shop.customers_live ORDER BY id")
        arrives(project, customers, [[1, "Ada", "ada@example.org"], [2, "Grace", None]])
        arrives(
            project,
            orders,
            [
                [1001, "new", Decimal("19.99"), FEB_MS - 1, JAN_MS],
                [1002, "new", Decimal("1234567890123456.78"), FEB_MS, FEB_MS],
                [1003, "new", Decimal("0.10"), FEB_MS + 13 * 86_400_000 + 36_000_000, FEB_MS],
            ],
        )
        postgres.sql("INSERT INTO orders (id, customer_id, total, created_at) VALUES (1004, 2, 5, '2026-03-01 00:00:00Z')")
        postgres.sql("UPDATE orders SET status = 'paid', total = total + 0.01 WHERE id = 1001")
        postgres.sql("UPDATE orders SET created_at = '2026-03-02 00:00:00Z' WHERE id = 1002")
        postgres.sql("DELETE FROM orders WHERE id = 1003")
        postgres.sql("UPDATE customers SET email = 'grace@example.org' WHERE id = 2")
        register(project)
        assert "0 done" in project.run_once("postgres-migrate")
        arrives(project, customers, [[1, "Ada", "ada@example.org"], [2, "Grace", "grace@example.org"]])
        arrives(
            project,
            orders,
            [
                [1001, "paid", Decimal("20.00"), FEB_MS - 1, JAN_MS],
                [1002, "new", Decimal("1234567890123456.78"), MAR_MS + 86_400_000, MAR_MS],
                [1004, "new", Decimal("5.00"), MAR_MS, MAR_MS],
            ],
        )


# ---------------------------------------------------------------- CockroachDB, by what its changefeed sends


def test_what_a_changefeed_sends_arrives_in_cratedb(project: Project) -> None:
    """Messages as CockroachDB's documentation shows them for the options of changefeed.sql; the database is not run."""
    address = project.address("kafka", "9092")
    create_topics(address, ["inventory_items"], 3)
    project.run_once("cockroach-migrate")
    scooter = {
        "id": 1,
        "name": "scooter",
        "price": Decimal("249.90"),
        "tags": ["outdoor"],
        "updated_at": "2026-01-31T23:59:59.999Z",
    }
    hammer = {
        "id": 2,
        "name": "hammer",
        "price": Decimal("1234567890123456.78"),
        "tags": None,
        "updated_at": "2026-02-01T00:00:00Z",
    }
    with schema(project, "inventory") as crate, project.running("cockroach-worker"):
        items = looker(crate, "SELECT id, name, price, tags, updated_at FROM inventory.items_live ORDER BY id")
        send(address, [changed(1, scooter, None, 1), changed(2, hammer, None, 1), resolved(2)])
        first = [1, "scooter", Decimal("249.90"), ["outdoor"], FEB_MS - 1]
        arrives(project, items, [first, [2, "hammer", Decimal("1234567890123456.78"), None, FEB_MS]])
        send(address, [changed(1, {**scooter, "price": Decimal("199.90")}, scooter, 3), changed(2, None, hammer, 4), resolved(5)])
        arrives(project, items, [[1, "scooter", Decimal("199.90"), ["outdoor"], FEB_MS - 1]])


def changed(
    key: int, after: Mapping[str, Any] | None, before: Mapping[str, Any] | None, second: int
) -> tuple[bytes | None, bytes]:
    value = {"after": after, "before": before, "updated": f"17700000{second:02d}000000000.0000000000"}
    return json.dumps([key]).encode(), with_decimals(value)


def resolved(second: int) -> tuple[bytes | None, bytes]:
    return None, json.dumps({"resolved": f"17700000{second:02d}000000000.0000000000"}).encode()


def with_decimals(value: object) -> bytes:
    """JSON as CockroachDB writes it: a DECIMAL is a number with all its digits."""
    marked = json.dumps(value, default=lambda number: f"<{number}>")
    return marked.replace('"<', "").replace('>"', "").encode()


def send(address: str, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
    producer = KafkaProducer(bootstrap_servers=address)
    try:
        for future in [producer.send("inventory_items", value, key) for key, value in messages]:
            future.get(30)
    finally:
        producer.close()


# ---------------------------------------------------------------- looking


def looker(crate: Crate, select: str) -> Callable[[], Rows]:
    table = select.partition("FROM ")[2].partition("_live")[0]

    def look() -> Rows:
        crate.rows(f"REFRESH TABLE {table}")
        return crate.rows(select)

    return look


def arrives(project: Project, look: Callable[[], Rows], rows: Rows) -> None:
    deadline_s = time.monotonic() + ARRIVES_WITHIN_S
    while (found := look()) != rows and time.monotonic() < deadline_s:
        time.sleep(0.3)
    assert rows == found, project.logs()


def until(is_so: Callable[[], bool], project: Project) -> None:
    deadline_s = time.monotonic() + ARRIVES_WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline_s, project.logs()
        time.sleep(0.3)
