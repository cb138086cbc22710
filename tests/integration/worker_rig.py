"""What a test of the whole worker needs: topics, tables and contracts of its own, the worker as a process, its letters and log.

The servers are those of the fixtures `kafka_address` and `crate_url`; all that a `Site` makes has its name, so sites never meet.
One thread per site; the stub registry answers from threads of its own.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaProducer

from ingest.crate.http import HttpClient, parse_addresses
from tests.crate_rig import WRITE_PATH, pg_address
from tests.kafka_rig import KAFKA_CLIENT
from tests.oracle import kafka_io
from tests.oracle.crate import Crate
from tests.oracle.worker import COMMAND, Worker
from tests.servers import free_ports

Headers = tuple[tuple[str, bytes], ...]
JAN_MS, DAY_MS = 1_767_225_600_000, 86_400_000  # 2026-01-01
ORDERED = (
    "id BIGINT, n BIGINT, d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME ZONE, "
    "cdc_version TEXT, cdc_deleted BOOLEAN, PRIMARY KEY (id, month)"
)
ENDED_WITHIN_S = 120.0


class Sent(NamedTuple):
    """A message for one partition of a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Letter(NamedTuple):
    """A dead letter as a test looks at it; headers with each name once, the last one counting."""

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    def text(self, header: str) -> str:
        return self.headers[header].decode()


@dataclass
class Done:
    """A worker that has ended. answers: the lines that it printed on stdout, one per process. log: all of its stderr."""

    code: int
    answers: list[dict[str, Any]]
    log: str

    @property
    def answer(self) -> dict[str, Any]:
        """The last one, {} if there is none."""
        return self.answers[-1] if self.answers else {}

    @property
    def sentences(self) -> list[str]:
        """The lines of the log that are for people: what is not JSON."""
        return [line for line in self.log.splitlines() if line and not line.startswith("{")]


class Running:
    """A worker that runs. Its HTTP server is on when it was given a port."""

    def __init__(self, worker: Worker, log: Path, port: int) -> None:
        self._worker, self._log = worker, log
        self.pid, self.url = worker.pid, f"http://127.0.0.1:{port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self._worker.exit_code is not None

    def readiness(self) -> dict[str, Any]:
        """What /readyz says; {} while nobody listens."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.loads(error.read()))
        except OSError:
            return {}

    def kill(self) -> None:
        self._worker.kill()

    def stop(self) -> Done:
        return self._done(self._worker.stop())

    def wait(self, within_s: float = ENDED_WITHIN_S) -> Done:
        """Until it ends by itself; asked to stop, and the test failed, if it does not."""
        try:
            wait_until(lambda: self.has_ended, within_s, lambda: f"the worker still runs:\n{self._worker.last_words()}")
        finally:
            code = self._worker.stop()
        return self._done(code)

    def _done(self, code: int) -> Done:
        # A library may tell at length what a fault did to its connection.
        ours = [line for line in self.log.splitlines() if '"event": "library"' not in line]
        assert not any("Traceback" in line for line in ours), self.log
        lines = self._log.with_suffix(".out").read_text().splitlines()
        return Done(code, [json.loads(line) for line in lines], self.log)


@dataclass
class Site:
    """One schema of CrateDB, one consumer group and the topics `<name>.<table>`, which lead to the tables of that name."""

    kafka: str
    crate_url: str
    folder: Path
    name: str = field(default_factory=lambda: f"w{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.crate = Crate(self.crate_url, self.name)
        self.schemas = self.folder / "schemas"
        self.schemas.mkdir()
        self._topics: list[str] = []
        self._starts = 0

    # ------------------------------------------------------------ around the worker

    def topic(self, table: str) -> str:
        return f"{self.name}.{table}"

    def make_topics(self, *tables: str, partitions: int = 1) -> None:
        self._topics += map(self.topic, tables)
        kafka_io.create_topics(self.kafka, [self.topic(table) for table in tables], partitions)

    def make_table(self, table: str, columns: str = ORDERED) -> None:
        options = "PARTITIONED BY (month) " if "month" in columns else ""
        self.crate.rows(f"CREATE TABLE {table} ({columns}) CLUSTERED INTO 1 SHARDS {options}WITH (number_of_replicas = 0)")

    def make(self, *tables: str, partitions: int = 1) -> None:
        """Topics and tables of level ordered."""
        self.make_topics(*tables, partitions=partitions)
        for table in tables:
            self.make_table(table)

    def contract(self, table: str, text: str) -> None:
        named = f'table = "{self.name}.{table}"\ntopics = ["{self.topic(table)}"]\n'
        (self.schemas / f"{table}.toml").write_text(named + text)

    def send(self, messages: Sequence[Sent]) -> list[int]:
        """Write them all; the offset of each."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, linger_ms=20, max_request_size=kafka_io.MOST_BYTES)
        try:
            sent = [producer.send(m.topic, m.value, m.key, list(m.headers), partition=0) for m in messages]
            producer.flush(60)
            return [future.get(60).offset for future in sent]
        finally:
            producer.close()

    def letters(self) -> dict[tuple[str, int], list[Letter]]:
        """The dead letters by the topic and offset that their headers name."""
        found: dict[tuple[str, int], list[Letter]] = {}
        for place, letter in kafka_io.read_letters(self.kafka, f"{self.name}.dlq"):
            assert place.partition == 0, place
            found.setdefault((place.topic, place.offset), []).append(Letter(letter.key, letter.value, dict(letter.headers)))
        return found

    def column(self, table: str, name: str = "id") -> list[Any]:
        """The values of a column in the rows that are not deleted, in the order of the keys."""
        self.crate.rows(f"REFRESH TABLE {table}")
        alive = "WHERE cdc_deleted = FALSE " if self._is_ordered(table) else ""
        return [row[0] for row in self.crate.rows(f"SELECT {name} FROM {table} {alive}ORDER BY id LIMIT 100000")]

    def committed(self) -> int:
        progress = kafka_io.Progress(self.kafka, self.name)
        try:
            return progress.committed()
        finally:
            progress.close()

    def _is_ordered(self, table: str) -> bool:
        asked = "SELECT count(*) FROM information_schema.columns WHERE table_schema = ? AND table_name = ? AND column_name = ?"
        return bool(self.crate.rows(asked, [self.name, table, "cdc_deleted"])[0][0])

    def close(self) -> None:
        self.crate.drop()
        self.crate.close()
        kafka_io.delete_topics(self.kafka, [*self._topics, f"{self.name}.dlq"])

    # ------------------------------------------------------------ the worker

    def run(self, **env: str) -> Done:
        """The worker until it has caught up or gives up. env: settings without their prefix, in lower case."""
        return self.start("--until-caught-up", **env).wait()

    def start(self, *flags: str, **env: str) -> Running:
        self._starts += 1
        log, port = self.folder / f"worker-{self._starts}.log", int(env.get("http_port") or free_ports(1)[0])
        return Running(Worker([*COMMAND, *flags], self._environment(port, env), log), log, port)

    def _environment(self, port: int, env: Mapping[str, str]) -> dict[str, str]:
        settings = {
            "kafka_bootstrap_servers": self.kafka,
            "group_id": self.name,
            "topics": ",".join(self._topics),
            "crate_urls": self.crate_url,
            "crate_schema": self.name,
            "schemas_dir": str(self.schemas),
            "http_port": str(port),
            "kafka_client": KAFKA_CLIENT,
            **self._write_path(),
            **env,
        }
        return {f"INGEST_{name.upper()}": value for name, value in settings.items()}

    def _write_path(self) -> dict[str, str]:
        """INGEST_TEST_WRITE_PATH=pg sends the rows of all workers over the PostgreSQL interface."""
        if WRITE_PATH == "http":
            return {}
        client = HttpClient(parse_addresses([self.crate_url]), user="crate")
        try:
            return {"write_path": WRITE_PATH, "crate_pg_addresses": pg_address(client, self.crate_url)}
        finally:
            client.close()


@contextmanager
def site_at(kafka: str, crate_url: str, folder: Path) -> Iterator[Site]:
    site = Site(kafka, crate_url, folder)
    try:
        yield site
    finally:
        site.close()


def wait_until(is_so: Callable[[], object], within_s: float, or_else: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline_s, or_else()
        time.sleep(0.1)


# ---------------------------------------------------------------- messages


def row_of(number: int, **changes: Any) -> dict[str, Any]:
    """A row that fits ORDERED."""
    return {"id": number, "n": 10 * number, "d": number / 4, "t": f"row {number}", "at": JAN_MS + number % 28 * DAY_MS, **changes}


def key_of(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


def source_of(table: str, lsn: int) -> dict[str, Any]:
    """Debezium's `source` of a PostgreSQL database."""
    return {
        "version": "3.6.1.Final", "connector": "postgresql", "name": "shop", "ts_ms": JAN_MS + lsn, "snapshot": "false",
        "db": "shop", "schema": "public", "table": table, "txId": lsn >> 4, "lsn": lsn,
    }  # fmt: skip


def debezium(table: str, lsn: int, row: Mapping[str, Any], op: str = "c") -> bytes:
    """A change as Debezium's JSON converter writes it, without schemas."""
    images = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
    return json.dumps({**images, "source": source_of(table, lsn), "op": op, "ts_ms": JAN_MS + lsn + 50}).encode()


# ---------------------------------------------------------------- the registry


class StubRegistry:
    """A schema registry on the loopback that knows some schemas and asks for a password; 40403 for all other ids."""

    USER, PASSWORD = "reader", "to-the-registry"

    def __init__(self, schemas: Mapping[int, Any], port: int = 0) -> None:
        texts = {f"/schemas/ids/{number}": json.dumps({"schema": json.dumps(schema)}) for number, schema in schemas.items()}
        self.asked: list[str] = []
        authorization = "Basic " + b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), registry_handler(texts, authorization, self.asked))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="stub-registry", daemon=True)
        serve.start()

    def __enter__(self) -> StubRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def settings(self) -> dict[str, str]:
        return registry_settings(self.url)


def registry_settings(url: str, password: str = StubRegistry.PASSWORD) -> dict[str, str]:
    """What a worker must be told of a stub."""
    return {"schema_registry_url": url, "schema_registry_user": StubRegistry.USER, "schema_registry_password": password}


def registry_handler(texts: Mapping[str, str], authorization: str, asked: list[str]) -> type[BaseHTTPRequestHandler]:
    """Answers the paths in `texts` to who brings this authorization, and notes what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.headers.get("Authorization") != authorization:
                self._answer(401, '{"error_code": 401, "message": "Unauthorized"}')
            elif self.path in texts:
                self._answer(200, texts[self.path])
            else:
                self._answer(404, '{"error_code": 40403, "message": "Schema not found"}')

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler
