"""TLS for tests: an authority of our own, servers that show its certificates, a registry behind TLS, a site that trusts it.

Certificates are made anew in each run, in a folder that any user may read, because CrateDB runs as another one.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import trustme
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from tests.integration.worker_rig import Site, registry_handler
from tests.oracle.crate import Crate
from tests.oracle.worker import ROOT
from tests.server_processes import CrateServer, KafkaServer

SECRET = "of-the-stores"
COMMAND_WITHIN_S = 60.0
# The server's certificate is for this address alone, so that `localhost` leads to the same place under a name it does not have.
SERVER_NAME, OTHER_NAME = "127.0.0.1", "localhost"
# A user of CrateDB, and the common name of our certificate.
CERTIFIED = "certified"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class Pair(NamedTuple):
    """A certificate and its key, as paths of PEM files."""

    cert: str
    key: str


class Pki:
    """An authority and what it issued, and a stranger's authority that no server trusts."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self._folder = folder
        ours, strange = trustme.CA(), trustme.CA()
        self.ca_file, self.other_ca_file = self._write("ca.pem", ours.cert_pem), self._write("other-ca.pem", strange.cert_pem)
        server = ours.issue_cert(SERVER_NAME)
        self.server = self._pair("server", server)
        self.client = self._pair("client", ours.issue_cert("worker@example.org", common_name=CERTIFIED))
        self.stranger = self._pair("stranger", strange.issue_cert("worker@example.org", common_name=CERTIFIED))
        self.keystore, self.truststore = self._stores(server, ours)

    def client_context(self) -> ssl.SSLContext:
        """What trusts our authority."""
        return ssl.create_default_context(cafile=self.ca_file)

    def server_context(self, *, wants_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server)
        if wants_certificate:
            context.load_verify_locations(self.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _pair(self, name: str, leaf: trustme.LeafCert) -> Pair:
        return Pair(self._write(f"{name}.crt", *leaf.cert_chain_pems), self._write(f"{name}.key", leaf.private_key_pem))

    def _stores(self, leaf: trustme.LeafCert, ca: trustme.CA) -> tuple[str, str]:
        """What the two Java servers read: our server's certificate with its key, and the authority that they trust."""
        key, lock = load_pem_private_key(leaf.private_key_pem.bytes(), None), BestAvailableEncryption(SECRET.encode())
        cert = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
        trusted = pkcs12.PKCS12Certificate(authority, b"ca")
        assert isinstance(key, EllipticCurvePrivateKey)
        keystore = pkcs12.serialize_key_and_certificates(b"server", key, cert, [authority], lock)
        truststore = pkcs12.serialize_java_truststore([trusted], lock)
        return self._put("keystore.p12", keystore), self._put("truststore.p12", truststore)

    def _write(self, name: str, *parts: trustme.Blob) -> str:
        return self._put(name, b"".join(part.bytes() for part in parts))

    def _put(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        path.chmod(0o644)
        return str(path)


# ---------------------------------------------------------------- servers


def tls_kafka(jars: Path, pki: Pki) -> KafkaServer:
    """Listener TLS wants a certificate of the client, listener SASL_TLS a password: user tester, password right.

    With SCRAM the users are those that `add_scram_user` has added.
    """
    login = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_tester="right";'
    scram = {f"listener.name.sasl_tls.{name.lower()}.sasl.jaas.config": SCRAM_LOGIN for name in SCRAM}
    properties = {
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": pki.keystore,
        "ssl.keystore.password": SECRET,
        "ssl.truststore.type": "PKCS12",
        "ssl.truststore.location": pki.truststore,
        "ssl.truststore.password": SECRET,
        "listener.name.tls.ssl.client.auth": "required",
        "listener.name.sasl_tls.sasl.enabled.mechanisms": ",".join(["PLAIN", *SCRAM]),
        "listener.name.sasl_tls.plain.sasl.jaas.config": login,
        **scram,
    }
    lines = "".join(f"{name}={value}\n" for name, value in properties.items())
    return KafkaServer(jars, {"TLS": "SSL", "SASL_TLS": "SASL_SSL"}, lines)


def add_scram_user(address: str, name: str, password: str) -> None:
    """Known to a broker under each mechanism of SCRAM. address: where it asks nothing of an administrator."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        for kind in SCRAM:  # a request may name a user once
            answer = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(name, kind, password)])
            assert answer == {name: None}, answer
    finally:
        admin.close()


def tls_crate(home: Path, pki: Pki) -> CrateServer:
    """HTTPS only. User CERTIFIED must show a certificate of that name, crate is trusted, all others have passwords."""
    options = {
        "ssl.http.enabled": "true",
        "ssl.keystore_filepath": pki.keystore,
        "ssl.keystore_password": SECRET,
        "ssl.keystore_key_password": SECRET,
        "ssl.truststore_filepath": pki.truststore,
        "ssl.truststore_password": SECRET,
        "auth.host_based.config.1.user": CERTIFIED,
        "auth.host_based.config.1.method": "cert",
    }
    return CrateServer(home, options, pki.client_context())


class TlsRegistry:
    """A schema registry behind TLS that knows some schemas and wants this Authorization header of everybody."""

    def __init__(self, schemas: Mapping[int, Any], context: ssl.SSLContext, authorization: str) -> None:
        texts = {f"/schemas/ids/{number}": json.dumps({"schema": json.dumps(schema)}) for number, schema in schemas.items()}
        self.asked: list[str] = []
        self._server = TlsServer(context, registry_handler(texts, authorization, self.asked))
        self.url = f"https://{SERVER_NAME}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tls-registry", daemon=True).start()

    def __enter__(self) -> TlsRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class TlsServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, answering: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((SERVER_NAME, 0), answering)
        self._context = context

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        """The handshake itself is left to the thread of the request: a client that hangs in it holds up nobody else."""
        plain, address = super().get_request()
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: object) -> None:
        """Quiet: refused handshakes are what these tests make."""


class Breaking:
    """A server that does its part of the handshake, takes a request, and answers with bytes that are no TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._listener, self._context = socket.create_server((SERVER_NAME, 0)), context
        self.url = f"https://{SERVER_NAME}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="breaking-server")

    def __enter__(self) -> Breaking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        """One connection with a request on it; the client's look at why it broke meets a closed door."""
        plain, _ = self._listener.accept()
        self._listener.close()
        with plain, self._context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(1000)
            os.write(secure.fileno(), b"this is no TLS record")


# ---------------------------------------------------------------- the worker beside them


class TrustingCrate(Crate):
    """The judge's own way to a CrateDB behind TLS."""

    def __init__(self, url: str, schema: str, ca_file: str) -> None:
        super().__init__(url, schema)
        self._http = urllib3.PoolManager(timeout=60.0, retries=False, ca_certs=ca_file, headers={"Default-Schema": schema})


class Said(NamedTuple):
    """What a command that has ended said. log: its stderr."""

    code: int
    answer: str
    log: str

    @property
    def sentences(self) -> list[str]:
        """The lines for people, each once: of stderr what is not JSON, of the answer of `check` what failed."""
        log = [line for line in self.log.splitlines() if line and not line.startswith("{")]
        failed = [line.partition("  FAIL  ")[2] for line in self.answer.splitlines() if "  FAIL  " in line]
        return list(dict.fromkeys(log + failed))


@dataclass
class TlsSite(Site):
    """A site whose CrateDB is behind TLS; a worker trusts it unless a test says otherwise."""

    ca_file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.crate.close()
        self.crate = TrustingCrate(self.crate_url, self.name, self.ca_file)
        self.sql = self.folder / "sql"
        self.sql.mkdir()
        (self.sql / "0001_side.sql").write_text("CREATE TABLE IF NOT EXISTS side (id BIGINT PRIMARY KEY);")

    def commands(self, lines: Sequence[str], **env: str) -> dict[str, Said]:
        """Commands side by side, such as `run --until-caught-up`, each under its first word."""
        begun = {line.split()[0]: self._begin(line, env) for line in lines}
        return {word: ended(process) for word, process in begun.items()}

    def _begin(self, line: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ingest", *line.split()]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=self.environment(env), stdout=pipe, stderr=pipe, text=True)

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """That of this process with the settings of a worker."""
        settings = {"crate_ca_file": self.ca_file, "sql_dir": str(self.sql), **env}
        return {**os.environ, **self._environment(0, settings)}


def ended(process: subprocess.Popen[str]) -> Said:
    """Wait until it has ended by itself; a negative code tells that it had to be killed."""
    try:
        answer, log = process.communicate(timeout=COMMAND_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        answer, log = process.communicate()
    return Said(process.returncode, answer, log)
