"""Real servers for tests: finds, starts and stops a Kafka broker and a CrateDB node.

The first that is there: an address in INGEST_TEST_KAFKA / INGEST_TEST_CRATE, a container engine, software on this machine
(Kafka from Maven Central, CrateDB from CRATEDB_HOME or the cache folder). What is not there is a `Missing`: how to get it.
A server that we start is a `Process`, see server_processes.
By hand: `python -m tests.servers kafka|cratedb|both` prints the addresses and runs until Ctrl-C.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.server_processes import (
    HOST,
    KAFKA_VERSION,
    UP_WITHIN_S,
    CrateServer,
    KafkaServer,
    free_ports,
    is_listening,
    is_soon,
    run,
)

LOG4J, LOG4J_VERSION = "org.apache.logging.log4j", "2.25.3"
CRATE_IMAGE = "crate:6.4"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ingest.tests</groupId><artifactId>broker-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>{LOG4J}</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J_VERSION}</version></dependency>
    <dependency><groupId>{LOG4J}</groupId><artifactId>log4j-core</artifactId><version>{LOG4J_VERSION}</version></dependency>
  </dependencies>
</project>
"""


class Missing(NamedTuple):
    """A server that this machine cannot run. how: a sentence on how to get it."""

    how: str


class Given:
    """A server that somebody else runs, at the address in an environment variable. It cannot be stopped from here."""

    def __init__(self, address: str) -> None:
        self.address, self.version = address, "given"

    def start(self) -> None: ...

    def remove(self) -> None: ...


class Container:
    """A server in a container. Untried where this was written: there is no engine."""

    def __init__(self, engine: Any, image: str, inner_port: int, port: int, address: str, command: str | None = None) -> None:
        self.version, self.address, self._port = image, address, port
        self._run = lambda: engine.containers.run(image, command, detach=True, remove=True, ports={inner_port: port})
        self._container: Any = None
        atexit.register(self.remove)

    def start(self) -> None:
        self._container = self._run()
        if not is_soon(lambda: is_listening(self._port)):
            raise RuntimeError(f"{self.version} did not start within {UP_WITHIN_S:.0f} s")

    def remove(self) -> None:
        if self._container is not None:
            self._container.remove(force=True)
            self._container = None


Server = KafkaServer | CrateServer | Given | Container


# ---------------------------------------------------------------- finding


def find_kafka() -> Server | Missing:
    """The first Kafka that is there, not started yet."""
    if address := os.environ.get("INGEST_TEST_KAFKA"):
        return Given(address)
    if engine := container_engine():
        # The image tells its clients to come to localhost:9092, so it must be that port outside as well.
        return Container(engine, f"apache/kafka:{KAFKA_VERSION}", 9092, 9092, "127.0.0.1:9092")
    jars = kafka_jars()
    return jars if isinstance(jars, Missing) else KafkaServer(jars)


def find_crate() -> Server | Missing:
    """The first CrateDB that is there, not started yet."""
    if address := os.environ.get("INGEST_TEST_CRATE"):
        return Given(address)
    if engine := container_engine():
        port = free_ports(1)[0]
        return Container(engine, CRATE_IMAGE, 4200, port, f"http://{HOST}:{port}", "crate -Cdiscovery.type=single-node")
    home = crate_home()
    return home if isinstance(home, Missing) else CrateServer(home)


def crate_home() -> Path | Missing:
    """The folder of an unpacked distribution."""
    home = Path(os.environ.get("CRATEDB_HOME") or cache_folder() / "cratedb")
    if (home / "bin/crate").exists():
        return home
    return Missing(f"unpack a CrateDB distribution to {home}, or set CRATEDB_HOME, or give its address in INGEST_TEST_CRATE")


def container_engine() -> Any:
    """The docker client of a running engine, None if none answers."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return None
    try:
        import docker

        engine = docker.from_env()
        engine.ping()
    except Exception:  # no package, no permission, no answer: each means that there is no engine for us
        return None
    return engine


def kafka_jars() -> Path | Missing:
    """The folder with a broker's jars, filled from Maven Central the first time."""
    folder = cache_folder() / "kafka" / KAFKA_VERSION
    if (folder / "complete").exists():
        return folder
    if not (shutil.which("java") and shutil.which("mvn")):
        return Missing("install Java 17 and Maven, or start a container engine, or give an address in INGEST_TEST_KAFKA")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(POM)
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    try:
        run(["mvn", "-B", "-q", "-f", str(folder / "pom.xml"), copy, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"])
    except RuntimeError as error:
        return Missing(f"Maven could not fetch the broker's jars, so give an address in INGEST_TEST_KAFKA ({error})")
    (folder / "complete").touch()
    return folder


# ---------------------------------------------------------------- small things


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ingest"


def main(names: Sequence[str]) -> int:
    """Start what is named and wait for Ctrl-C."""
    finders = {"kafka": [find_kafka], "cratedb": [find_crate], "both": [find_kafka, find_crate]}
    if len(names) != 1 or names[0] not in finders:
        sys.stderr.write("usage: python -m tests.servers kafka|cratedb|both\n")
        return 2
    for find in finders[names[0]]:
        server = find()
        if isinstance(server, Missing):
            sys.stderr.write(server.how + "\n")
            return 3
        server.start()
        sys.stdout.write(f"{server.address} {server.version}\n")
        sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    # Ended by SIGTERM we must still run what atexit holds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main(sys.argv[1:]))
