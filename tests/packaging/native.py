"""The services of the Compose files as processes of this machine: their own commands and environments, read out of the files.

Where an image turns its environment into a file of properties, the same is done here, by what its entry script does. What a
machine has not is a `Missing`. The servers die with this process; one thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.packaging.places import Places
from tests.server_processes import HOST, KAFKA_VERSION, CrateServer, Process, has_controller, is_listening, run
from tests.servers import LOG4J, LOG4J_VERSION, Missing, cache_folder

DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
CONNECT_PARTS = ("connect-runtime", "connect-json", "connect-transforms")
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>ingest.tests</groupId><artifactId>connect-jars</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>{dependencies}</dependencies></project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
# What Debezium's image sets where its environment says nothing: https://github.com/debezium/container-images
CONNECT_DEFAULTS = {"offset.flush.interval.ms": "60000", "offset.flush.timeout.ms": "5000"}
# Names of that image for properties that have no CONNECT_ before them.
CONNECT_NAMES = (
    "BOOTSTRAP_SERVERS", "GROUP_ID", "CONFIG_STORAGE_TOPIC", "OFFSET_STORAGE_TOPIC", "STATUS_STORAGE_TOPIC", "KEY_CONVERTER",
    "VALUE_CONVERTER",
)  # fmt: skip
# Logging in words of the JVM's command line, to need no file.
QUIET = "-Dlog4j2.level=WARN"


def version_of(image: str) -> str:
    return image.rpartition(":")[2]


def properties(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """
    >>> properties({"KAFKA_NODE_ID": "1", "CLUSTER_ID": "x"}, "KAFKA_")
    {'node.id': '1'}
    """
    named = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
    return {name.lower().replace("_", "."): value for name, value in named.items()}


def as_lines(settings: Mapping[str, object]) -> str:
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def become(user: str) -> list[str]:
    """PostgreSQL refuses to run as root. The death signal has to be asked for again, a change of user takes it away."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--pdeathsig", "TERM"] if os.geteuid() == 0 else []


class Kafka(Process):
    """The service `kafka`, from the jars in a folder."""

    def __init__(self, places: Places, jars: Path) -> None:
        environment = places.environment("kafka")
        self.address = f"{HOST}:{places.port('kafka', '9092')}"
        super().__init__("Kafka", KAFKA_VERSION, [places.port("kafka", "9092")], Path(tempfile.mkdtemp(prefix="ingest-kafka-")))
        heap = environment.pop("KAFKA_HEAP_OPTS").split()
        self._java = ["java", *heap, "-cp", f"{jars}/*", QUIET]
        self._settings = self.folder / "server.properties"
        self._settings.write_text(as_lines(properties(environment, "KAFKA_")))
        run([*self._java, "kafka.tools.StorageTool", "format", "-t", environment["CLUSTER_ID"], "-c", str(self._settings)])

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [*self._java, f"-Dkafka.logs.dir={self.folder}", "kafka.Kafka", str(self._settings)], {}

    def is_up(self) -> bool:
        return is_listening(self.ports[0]) and has_controller(self.address)


class CrateDB(CrateServer):
    """The service `cratedb`: its command's settings and its environment."""

    def __init__(self, service: Mapping[str, Any], places: Places, home: Path) -> None:
        program, *settings = service["command"]
        assert program == "crate", program
        super().__init__(home, dict(word.removeprefix("-C").split("=", 1) for word in settings))
        self._environment = service["environment"]
        places.put("cratedb", "4200", self.ports[0])

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        return command, {**environment, **self._environment}


class Postgres(Process):
    """The service `postgres`: as its image makes a database, with passwords, then its command and what it finds in initdb.d."""

    def __init__(self, service: Mapping[str, Any], places: Places, programs: Path) -> None:
        port, folder = places.port("postgres", "5432"), Path(tempfile.mkdtemp(prefix="ingest-postgres-"))
        super().__init__("PostgreSQL", programs.parent.name, [port], folder)
        self._programs, self._command, self._port = programs, service["command"], port
        self._environment = {name: str(value) for name, value in service["environment"].items()}
        self._init = [outside for inside, outside in places.mounts("postgres").items() if "initdb.d" in inside]
        self._as_user = become("postgres")
        self._make()

    def _make(self) -> None:
        data, password = self.folder / "data", self.folder / "password"
        password.write_text(self._environment["POSTGRES_PASSWORD"])
        if self._as_user:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        user = ["-U", self._environment["POSTGRES_USER"], "--auth=scram-sha-256", f"--pwfile={password}"]
        run([*self._as_user, str(self._programs / "initdb"), "-D", str(data), *user, "--encoding=UTF8", "--locale=C"])
        # As in the image: one line for every database, and none for physical replication.
        (data / "pg_hba.conf").write_text("local all all trust\nhost all all all scram-sha-256\n")

    def command(self) -> tuple[list[str], dict[str, str]]:
        program, *settings = self._command
        here = ["-D", f"{self.folder}/data", "-p", str(self._port), "-h", HOST, "-k", str(self.folder)]
        return [*self._as_user, str(self._programs / program), *settings, *here], {}

    def is_up(self) -> bool:
        """By the service's own health check, asked at the port that it has here."""
        return subprocess.run([*self._health, "--port", str(self._port)], capture_output=True, check=False).returncode == 0

    def prepare(self, health: Sequence[str]) -> None:
        """Start it, make its database and run what stands in initdb.d, as the image does at the first start."""
        self._health = [str(self._programs / health[1]), *health[2:]]
        self.start()
        self.sql(f"CREATE DATABASE {self._environment['POSTGRES_DB']}", database="postgres")
        for file in self._init:
            self._psql(["--file", str(file)], self._environment["POSTGRES_DB"])

    def sql(self, text: str, database: str = "") -> None:
        self._psql(["--command", text], database or self._environment["POSTGRES_DB"])

    def _psql(self, words: Sequence[str], database: str) -> None:
        place = ["-h", HOST, "-p", str(self._port), "-U", self._environment["POSTGRES_USER"], "-d", database]
        command = [str(self._programs / "psql"), "-X", "-v", "ON_ERROR_STOP=1", *place, *words]
        environment = {**os.environ, **self._environment, "PGPASSWORD": self._environment["POSTGRES_PASSWORD"]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class Connect(Process):
    """The service `connect`: Kafka Connect as a cluster of one, with the plugins of a folder."""

    def __init__(self, places: Places, jars: Path) -> None:
        self._environment = places.environment("connect")
        self.port = places.port("connect", "8083")
        super().__init__("Kafka Connect", KAFKA_VERSION, [self.port], Path(tempfile.mkdtemp(prefix="ingest-connect-")))
        settings = CONNECT_DEFAULTS | properties(self._environment, "CONNECT_")
        settings |= {name.lower().replace("_", "."): self._environment[name] for name in CONNECT_NAMES}
        settings |= {"plugin.path": str(jars / "plugins"), "listeners": f"http://{HOST}:{self.port}"}
        (self.folder / "connect.properties").write_text(as_lines(settings))
        self._java = ["java", *self._environment["HEAP_OPTS"].split(), "-cp", f"{jars}/libs/*", QUIET]

    def command(self) -> tuple[list[str], dict[str, str]]:
        started = [*self._java, "org.apache.kafka.connect.cli.ConnectDistributed", str(self.folder / "connect.properties")]
        return started, self._environment

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/connectors", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def our_command(service: Mapping[str, Any], name: str, places: Places) -> list[str]:
    """What the image runs for a service of ours, by this Python."""
    entrypoint = places.words(name, "entrypoint")
    assert entrypoint[:1] in ([], ["python"]), entrypoint
    return [sys.executable, *(entrypoint[1:] or ["-m", "ingest"]), *places.words(name, "command")]


def our_environment(name: str, places: Places, http_port: int) -> dict[str, str]:
    """This machine's environment without settings, the service's, and what the image sets for the loopback."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith("INGEST_")}
    return {**bare, **places.environment(name), "INGEST_HTTP_HOST": HOST, "INGEST_HTTP_PORT": str(http_port)}


# ---------------------------------------------------------------- finding


def postgres_programs() -> Path | Missing:
    """The folder of PostgreSQL's programs; Debian keeps one for each version, away from the PATH."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path(shutil.which("initdb") or "initdb").parent]
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql", "pg_isready")):
            return folder
    return Missing("install PostgreSQL (Debian: apt-get install postgresql)")


def connect_jars(debezium_version: str) -> Path | Missing:
    """A folder with Connect's jars in libs/ and Debezium's PostgreSQL connector in plugins/, filled from Maven Central once."""
    folder = cache_folder() / "connect" / f"{KAFKA_VERSION}-debezium-{debezium_version}"
    if (folder / "complete").exists():
        return folder
    if not (shutil.which("java") and shutil.which("mvn")):
        return Missing("install Java 17 and Maven")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [("org.apache.kafka", part, KAFKA_VERSION) for part in CONNECT_PARTS]
    parts += [(LOG4J, part, LOG4J_VERSION) for part in ("log4j-slf4j-impl", "log4j-core")]
    (folder / "pom.xml").write_text(POM.format(dependencies="".join(DEPENDENCY.format(*part) for part in parts)))
    maven = ["mvn", "-B", "-q", "-f", str(folder / "pom.xml")]
    plugin = f"io.debezium:debezium-connector-postgres:{debezium_version}:tar.gz:plugin"
    try:
        run([*maven, f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/libs"])
        run([*maven, f"{DEPENDENCY_PLUGIN}:copy", f"-Dartifact={plugin}", f"-DoutputDirectory={folder}"])
    except RuntimeError as error:
        return Missing(f"Maven could not fetch Kafka Connect and Debezium ({error})")
    with tarfile.open(next(folder.glob("*-plugin.tar.gz"))) as archive:
        archive.extractall(folder / "plugins", filter="data")
    (folder / "complete").touch()
    return folder
