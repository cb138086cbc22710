"""Server processes of tests: a Kafka broker from jars, a CrateDB node from its distribution, started and ended as a test likes.

Each has free ports, its data in a temporary folder, and dies with this process. Which ones a machine has is found in `servers`.
"""

from __future__ import annotations

import atexit
import base64
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

KAFKA_VERSION = "4.3.1"
UP_WITHIN_S = 120.0
HOST = "127.0.0.1"
SERVER_PORTS = range(20_000, 32_000)
chance = random.SystemRandom()  # tests seed the common one, and would ask for the same ports again
LISTENERS = {"PLAINTEXT": "PLAINTEXT", "SASL": "SASL_PLAINTEXT"}  # name: protocol

# One node with everything that a cluster of one needs; new members are let in at once and topics must be made on purpose.
BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{control}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://{host}:{control}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
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


class Process(ABC):
    """A server process that we started. Started again it has the same ports and data."""

    def __init__(self, name: str, version: str, ports: Sequence[int], folder: Path) -> None:
        self.name, self.version, self.ports, self.folder = name, version, ports, folder
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command line and what is added to the environment."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it answers."""

    def start(self) -> None:
        """Run it and wait until it answers."""
        self.launch()
        self.wait_until_up()

    def launch(self) -> None:
        """Run it, without waiting."""
        command, extra = self.command()
        # A session of its own keeps a Ctrl-C for us alone; the death signal ends it even when we are killed.
        mortal = ["setpriv", "--pdeathsig", "TERM", *command] if shutil.which("setpriv") else command
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(mortal, stdout=log, stderr=log, env={**os.environ, **extra}, start_new_session=True)

    def wait_until_up(self) -> None:
        """Wait until one that was launched answers. Raises RuntimeError when it does not."""
        process = self._process
        if process is None or not is_soon(lambda: process.poll() is not None or self.is_up()) or process.poll() is not None:
            tail = (self.folder / "server.log").read_text(errors="replace")[-3000:]
            self._end(signal.SIGKILL)
            raise RuntimeError(f"{self.name} did not start:\n{tail}")

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Freeze it: connections stay open and nobody answers. Its last thread may halt a while after the signal."""
        self._signal(signal.SIGSTOP)
        if self._process is not None and not is_soon(partial(is_frozen, self._process.pid)):
            raise RuntimeError(f"{self.name} did not halt")

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def be_up(self) -> None:
        """Undo what a test that failed midway left: a process that is gone or frozen."""
        self.resume()
        if self._process is None:
            self.start()

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


class KafkaServer(Process):
    """One broker in KRaft mode, from the jars in a folder.

    listeners: more of them, as in LISTENERS; `addresses` says where each is. properties: lines of the broker's settings for them.
    """

    def __init__(self, jars: Path, listeners: Mapping[str, str] | None = None, properties: str = "") -> None:
        protocols = LISTENERS | dict(listeners or {})
        super().__init__("Kafka", KAFKA_VERSION, free_ports(len(protocols) + 1), Path(tempfile.mkdtemp(prefix="ingest-kafka-")))
        self.addresses = {name: f"{HOST}:{port}" for name, port in zip(protocols, self.ports, strict=False)}
        self.address, self.sasl_address = self.addresses["PLAINTEXT"], self.addresses["SASL"]  # user tester, password right
        self._java = ["java", "-Xmx1g", "-cp", f"{jars}/*", "-Dlog4j2.level=WARN"]
        self._settings = self.folder / "server.properties"
        places = {
            "listeners": ",".join(f"{name}://{address}" for name, address in self.addresses.items()),
            "protocols": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        }
        self._settings.write_text(BROKER.format(host=HOST, control=self.ports[-1], folder=self.folder, **places) + properties)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # One word, because an id may begin with a dash.
        run([*self._java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(self._settings)])

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [*self._java, f"-Dkafka.logs.dir={self.folder}", "kafka.Kafka", str(self._settings)], {}

    def is_up(self) -> bool:
        """Listening is not enough: the port opens before the broker has a controller."""
        return is_listening(self.ports[0]) and has_controller(self.address)


class CrateServer(Process):
    """One node from an unpacked distribution, run as a user that is not root.

    options: more settings of the node. trust: where these make it speak TLS, what we need to see that it answers.
    """

    def __init__(
        self,
        home: Path,
        options: Mapping[str, object] | None = None,
        trust: ssl.SSLContext | None = None,
        heap: str = "1g",
    ) -> None:
        super().__init__("CrateDB", crate_version(home), free_ports(3), Path(tempfile.mkdtemp(prefix="ingest-crate-")))
        self.address = f"{'https' if trust else 'http'}://{HOST}:{self.ports[0]}"
        self.psql_port = self.ports[1]
        self._home, self._options, self._trust, self._heap = home, options or {}, trust, heap
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
            **self._options,
        }
        user = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", "--pdeathsig", "TERM"]
        become = user if self._user else []
        environment = {"CRATE_HEAP_SIZE": self._heap, "CRATE_DISABLE_GC_LOGGING": "1", "HOME": str(self.folder)}
        if (self._home / "jdk").exists():
            environment["JAVA_HOME"] = str(self._home / "jdk")
        return [*become, str(self._home / "bin/crate"), *(f"-C{name}={value}" for name, value in options.items())], environment

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(self.address, timeout=2, context=self._trust) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


# ---------------------------------------------------------------- small things


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout)[-1000:]}")


def is_soon(is_so: Callable[[], bool]) -> bool:
    """Wait until it is so, at most UP_WITHIN_S; whether it became so."""
    deadline_s = time.monotonic() + UP_WITHIN_S
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def is_frozen(pid: int) -> bool:
    """Whether every thread of it halts (T in the third field, behind the name in brackets)."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now, all different.

    Below those that the kernel gives to outgoing connections: one of these would take the port of a server that is
    down for a while, and a client that tries it again and again would at last be connected to itself.
    """
    ports: list[int] = []
    while len(ports) < number:
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, chance.choice(SERVER_PORTS)))
            ports.append(probe.getsockname()[1])
    return ports


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def has_controller(address: str) -> bool:
    """Whether a broker can say who is in its cluster. Whatever it answers instead, the caller's deadline judges.

    address: also of several, separated by commas.
    """
    from kafka import KafkaAdminClient

    options = {"bootstrap_servers": address, "bootstrap_timeout_ms": 2_000, "request_timeout_ms": 2_000}
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
