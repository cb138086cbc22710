"""Real servers for tests: finds, starts and stops a Kafka broker and a CrateDB node.

The first that is there: an address in INGEST_TEST_KAFKA / INGEST_TEST_CRATE, a container engine, software on this machine
(Kafka from Maven Central, CrateDB from CRATEDB_HOME or the cache folder). What is not there is a `Missing`: how to get it.
A server that we start has free ports, its data in a temporary folder, and dies with this process.
By hand: `python -m tests.servers kafka|cratedb|both` prints the addresses and runs until Ctrl-C.
"""

from __future__ import annotations

import atexit
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

KAFKA_VERSION = "4.3.1"
LOG4J, LOG4J_VERSION = "org.apache.logging.log4j", "2.25.3"
CRATE_IMAGE = "crate:6.4"
UP_WITHIN_S = 120.0
HOST = "127.0.0.1"

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

LOGGING = """status = WARN
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = OUT
"""

# One node with everything that a cluster of one needs; new members are let in at once and topics must be made on purpose.
BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{control}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},SASL://{host}:{sasl},CONTROLLER://{host}:{control}
advertised.listeners=PLAINTEXT://{host}:{port},SASL://{host}:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tester="right";
log.dirs={folder}/data
num.network.threads=2
num.io.threads=2
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=true
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=100
"""


class Missing(NamedTuple):
    """A server that this machine cannot run. how: a sentence on how to get it."""

    how: str


class Process:
    """A server process that we started. Started again it has the same ports and data."""

    def __init__(self, name: str, version: str, ports: Sequence[int], folder: Path) -> None:
        self.name, self.version, self.ports, self.folder = name, version, ports, folder
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command line and what is added to the environment."""
        raise NotImplementedError

    def is_up(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Run it and wait until it answers."""
        command, extra = self.command()
        # A session of its own keeps a Ctrl-C for us alone; the death signal ends it even when we are killed.
        mortal = ["setpriv", "--pdeathsig", "TERM", *command] if shutil.which("setpriv") else command
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(mortal, stdout=log, stderr=log, env={**os.environ, **extra}, start_new_session=True)
        self._wait_until_up(self._process)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Freeze it: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it and delete its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not self.is_up():
            if process.poll() is not None or time.monotonic() > deadline_s:
                tail = (self.folder / "server.log").read_text(errors="replace")[-3000:]
                self._end(signal.SIGKILL)
                raise RuntimeError(f"{self.name} did not start:\n{tail}")
            time.sleep(0.1)


class KafkaServer(Process):
    """One broker in KRaft mode, from the jars in a folder."""

    def __init__(self, jars: Path) -> None:
        super().__init__("Kafka", KAFKA_VERSION, free_ports(3), Path(tempfile.mkdtemp(prefix="ingest-kafka-")))
        port, control, sasl = self.ports
        self.address = f"{HOST}:{port}"
        self.sasl_address = f"{HOST}:{sasl}"  # user tester, password right
        self._java = ["java", "-Xmx1g", "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties"]
        (self.folder / "log4j2.properties").write_text(LOGGING)
        self._settings = self.folder / "server.properties"
        self._settings.write_text(BROKER.format(host=HOST, port=port, control=control, sasl=sasl, folder=self.folder))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        run([*self._java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._settings)])

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [*self._java, f"-Dkafka.logs.dir={self.folder}", "kafka.Kafka", str(self._settings)], {}

    def is_up(self) -> bool:
        """Listening is not enough: the port opens before the broker has a controller."""
        return is_listening(self.ports[0]) and has_controller(self.address)


class CrateServer(Process):
    """One node from an unpacked distribution, run as a user that is not root."""

    def __init__(self, home: Path) -> None:
        super().__init__("CrateDB", crate_version(home), free_ports(3), Path(tempfile.mkdtemp(prefix="ingest-crate-")))
        self.address = f"http://{HOST}:{self.ports[0]}"
        self.psql_port = self.ports[1]
        self._home = home
        self._user = as_user(home)
        if self._user:
            shutil.chown(self.folder, self._user, self._user)

    def command(self) -> tuple[list[str], dict[str, str]]:
        http, psql, transport = self.ports
        options = {
            "discovery.type": "single-node",
            "cluster.name": "ingest-tests",
            "network.host": HOST,
            "http.port": http,
            "psql.port": psql,
            "transport.tcp.port": transport,
            "path.data": self.folder / "data",
            "path.logs": self.folder / "logs",
            "udc.enabled": "false",
        }
        user = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", "--pdeathsig", "TERM"]
        become = user if self._user else []
        environment = {"CRATE_HEAP_SIZE": "1g", "CRATE_DISABLE_GC_LOGGING": "1", "HOME": str(self.folder)}
        if (self._home / "jdk").exists():
            environment["JAVA_HOME"] = str(self._home / "jdk")
        return [*become, str(self._home / "bin/crate"), *(f"-C{name}={value}" for name, value in options.items())], environment

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(self.address, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


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
        deadline_s = time.monotonic() + UP_WITHIN_S
        while not is_listening(self._port):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{self.version} did not start within {UP_WITHIN_S:.0f} s")
            time.sleep(0.2)

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
    home = Path(os.environ.get("CRATEDB_HOME") or cache_folder() / "cratedb")
    if (home / "bin/crate").exists():
        return CrateServer(home)
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


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout)[-1000:]}")


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind((HOST, 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def has_controller(address: str) -> bool:
    """Whether the broker can say who is in its cluster. Whatever it answers instead, the caller's deadline judges."""
    from kafka import KafkaAdminClient

    options = {"bootstrap_servers": [address], "bootstrap_timeout_ms": 2_000, "request_timeout_ms": 2_000}
    with suppress(Exception), closing(KafkaAdminClient(**options)) as admin:
        return bool(admin.describe_cluster()["brokers"])
    return False


def crate_version(home: Path) -> str:
    """From the name of the server's own jar: crate-server-6.4.3.jar."""
    names = [jar.stem for jar in home.glob("lib/crate-server-*.jar")]
    return names[0].rsplit("-", 1)[1] if names else "unknown version"


def as_user(home: Path) -> str | None:
    """CrateDB refuses to run as root, so root runs it as the owner of its folder. None: as who we are."""
    if os.geteuid() != 0:
        return None
    owner = home.owner()
    return owner if owner != "root" else "nobody"


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
