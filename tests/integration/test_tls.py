"""TLS with an authority of our own on real servers: what fits works, what does not is told in one sentence, and nothing is lost.

A broker and a CrateDB that want TLS are started for this module, whatever INGEST_TEST_KAFKA and INGEST_TEST_CRATE say.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import orjson
import pytest

from ingest.crate.http import HttpClient, Tls, parse_addresses
from ingest.errors import Retry
from ingest.kafka.clients import Client
from tests.conftest import real_server
from tests.integration.test_avro import COLUMNS, ENVELOPE, KEY, KEY_ID, VALUE_ID, assert_lived, life
from tests.integration.worker_rig import Done, Sent, StubRegistry, debezium, key_of, row_of
from tests.server_processes import CrateServer, KafkaServer
from tests.servers import Missing, crate_home, kafka_jars
from tests.tls_rig import (
    CERTIFIED,
    OTHER_NAME,
    SCRAM,
    SERVER_NAME,
    Breaking,
    Pair,
    Pki,
    TlsRegistry,
    TlsSite,
    add_scram_user,
    tls_crate,
    tls_kafka,
)

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS = 20
USAGE, CHECK_FAILED, GAVE_UP = 2, 3, 4
PASSWORD = "the-right-one"
RUN, CHECK, MIGRATE = "run --until-caught-up", "check", "migrate"
Settings = dict[str, str]
SOON = {"give_up_s": "3"}
SOONER = {"give_up_s": "1", "kafka_bootstrap_timeout_ms": "1500"}


@dataclass
class World:
    """The certificates and the servers that show them."""

    pki: Pki
    kafka: KafkaServer
    crate: CrateServer

    def kafka_tls(self, pair: Pair | None = None) -> Settings:
        """What a worker must be told of the listener that wants a certificate."""
        shown = {"kafka_ssl_certfile": pair.cert, "kafka_ssl_keyfile": pair.key} if pair else {}
        address = {"kafka_bootstrap_servers": self.kafka.addresses["TLS"], "kafka_security_protocol": "SSL"}
        return {**address, "kafka_ssl_cafile": self.pki.ca_file, **shown}

    def kafka_sasl(self, password: str = "right", mechanism: str = "PLAIN") -> Settings:
        """What a worker must be told of the listener that wants a password."""
        return {
            "kafka_bootstrap_servers": self.kafka.addresses["SASL_TLS"],
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ssl_cafile": self.pki.ca_file,
            "kafka_sasl_mechanism": mechanism,
            "kafka_sasl_plain_username": "tester",
            "kafka_sasl_plain_password": password,
        }


class Wrong(NamedTuple):
    """A deployment that does not fit. says: what the sentence about it must hold. code: of `run`."""

    settings: Callable[[World], Settings]
    says: tuple[str, ...]
    code: int = USAGE


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pki]:
    with TemporaryDirectory(prefix="ingest-pki-") as folder:  # pytest's own folders are closed to CrateDB's user
        yield Pki(Path(folder))


@pytest.fixture(scope="module")
def world(pki: Pki) -> Iterator[World]:
    def kafka() -> KafkaServer | Missing:
        jars = kafka_jars()
        return jars if isinstance(jars, Missing) else tls_kafka(jars, pki)

    def crate() -> CrateServer | Missing:
        home = crate_home()
        return home if isinstance(home, Missing) else tls_crate(home, pki)

    for broker in real_server("KAFKA", kafka):
        for node in real_server("CRATEDB", crate):
            assert isinstance(broker, KafkaServer)
            assert isinstance(node, CrateServer)
            add_scram_user(broker.address, "tester", "right")
            yield World(pki, broker, node)


def site_of(world: World, folder: Path) -> Iterator[TlsSite]:
    site = TlsSite(world.kafka.address, world.crate.address, folder, ca_file=world.pki.ca_file)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def site(world: World, tmp_path: Path) -> Iterator[TlsSite]:
    yield from site_of(world, tmp_path)


@pytest.fixture(scope="module")
def unreached(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    """A full topic of which no worker ever gets to commit anything."""
    for site in site_of(world, tmp_path_factory.mktemp("unreached")):
        site.make("orders")
        fill(site)
        site.crate.rows(f"CREATE USER {site.name} WITH (password = '{PASSWORD}')")
        yield site
        site.crate.rows(f"DROP USER {site.name}")


def fill(site: TlsSite) -> None:
    numbers = range(1, ROWS + 1)
    site.send([Sent(site.topic("orders"), key_of(number), debezium("orders", number, row_of(number))) for number in numbers])


def assert_stored(site: TlsSite, done: Done) -> None:
    assert (done.code, done.answer["is_balanced"], done.answer["written"]) == (0, True, ROWS), done.log
    assert site.column("orders") == list(range(1, ROWS + 1))
    assert (site.letters(), site.committed()) == ({}, ROWS)


def assert_refused(site: TlsSite, wrong: Wrong, settings: Settings, *commands: str) -> None:
    """Each command ends with its code and one sentence that says it all, and nothing is committed or put aside."""
    said = site.commands(commands, **{**SOON, **settings})
    for word, code in {"run": wrong.code, "check": CHECK_FAILED, "migrate": wrong.code}.items():
        if word in said:
            assert "Traceback" not in said[word].log
            assert len(said[word].sentences) == 1, said[word].answer + said[word].log
            (sentence,) = said[word].sentences
            assert [part for part in wrong.says if part not in sentence] == [], sentence
            assert said[word].code == code
    assert (site.committed(), site.letters(), site.column("orders")) == (0, {}, [])


# ---------------------------------------------------------------- CrateDB


def test_rows_arrive_over_https_once_the_authority_is_named(site: TlsSite) -> None:
    site.make("orders")
    fill(site)
    assert_stored(site, site.run(crate_ca_file=site.ca_file))
    said = site.commands([CHECK, MIGRATE])
    assert [(word, each.code) for word, each in said.items()] == [("check", 0), ("migrate", 0)], said
    assert site.crate.rows("SELECT count(*) FROM side") == [[0]]


UNKNOWN = ("the certificate of https://127.0.0.1:", "is not signed by an authority that we know", "set INGEST_CRATE_CA_FILE")
WRONG_CRATE = {
    "no authority": Wrong(lambda world: {"crate_ca_file": ""}, UNKNOWN),
    "another authority": Wrong(lambda world: {"crate_ca_file": world.pki.other_ca_file}, UNKNOWN),
    "another host name": Wrong(
        lambda world: {"crate_urls": world.crate.address.replace(SERVER_NAME, OTHER_NAME)},
        ("the certificate of https://localhost:", "made for other names", "INGEST_CRATE_URLS"),
    ),
    "http to a TLS port": Wrong(
        lambda world: {"crate_urls": world.crate.address.replace("https", "http")},
        ("http://127.0.0.1:", "speaks TLS", "write https:// in INGEST_CRATE_URLS"),
    ),
    "a stranger's certificate": Wrong(
        lambda world: {"crate_cert_file": world.pki.stranger.cert, "crate_key_file": world.pki.stranger.key},
        ("https://127.0.0.1:", "does not accept our certificate", "INGEST_CRATE_CERT_FILE"),
    ),
    "a key of another certificate": Wrong(
        lambda world: {"crate_cert_file": world.pki.client.cert, "crate_key_file": world.pki.server.key},
        ("INGEST_CRATE_CERT_FILE and INGEST_CRATE_KEY_FILE do not belong together",),
    ),
    "no certificate where one is asked for": Wrong(
        lambda world: {"crate_user": CERTIFIED},
        ("https://127.0.0.1:", "refuses our credentials", "INGEST_CRATE_USER", "_CERT_FILE"),
        GAVE_UP,
    ),
}


@pytest.mark.parametrize("name", WRONG_CRATE)
def test_a_crate_that_does_not_fit_is_told_in_a_sentence(name: str, world: World, unreached: TlsSite) -> None:
    wrong = WRONG_CRATE[name]
    assert_refused(unreached, wrong, wrong.settings(world), RUN, CHECK, MIGRATE)


def test_a_wrong_password_over_https_is_told_in_a_sentence(unreached: TlsSite) -> None:
    settings = {"crate_user": unreached.name, "crate_password": "not-the-right-one"}
    wrong = Wrong(lambda _: settings, ("https://127.0.0.1:", "refuses our credentials", "INGEST_CRATE_USER"), GAVE_UP)
    assert_refused(unreached, wrong, settings, RUN, CHECK, MIGRATE)


def test_https_to_a_plain_port_is_told_in_a_sentence(unreached: TlsSite, crate_url: str) -> None:
    wrong = Wrong(lambda _: {}, ("https://", "does not speak TLS", "write http:// in INGEST_CRATE_URLS"))
    assert_refused(unreached, wrong, {"crate_urls": crate_url.replace("http:", "https:")}, RUN, CHECK, MIGRATE)


def test_what_breaks_after_the_handshake_may_have_been_applied_and_goes_to_no_other_node(pki: Pki) -> None:
    with Breaking(pki.server_context()) as first, socket.create_server((SERVER_NAME, 0)) as second:
        second.settimeout(0.2)
        urls = [first.url, f"https://{SERVER_NAME}:{second.getsockname()[1]}"]
        with closing(HttpClient(parse_addresses(urls), user="crate", tls=Tls(pki.ca_file))) as client:
            with pytest.raises(Retry) as caught:
                client.execute("SELECT 1")
            assert (caught.value.code, caught.value.unknown) == ("store.reset", True)
        with pytest.raises(TimeoutError):
            second.accept()


def test_without_verification_rows_arrive_and_a_warning_says_what_that_means(site: TlsSite) -> None:
    site.make("orders")
    fill(site)
    done = site.run(crate_ca_file="", crate_verify="false")
    assert_stored(site, done)
    (warning,) = [orjson.loads(line) for line in done.log.splitlines() if "INGEST_CRATE_VERIFY" in line]
    assert (warning["level"], warning["event"]) == ("warning", "certificate_unchecked")
    assert done.sentences == []


@pytest.mark.parametrize("method", ["certificate", "password"])
def test_a_user_of_crate_is_known_over_https(method: str, site: TlsSite, world: World) -> None:
    site.make("orders")
    fill(site)
    user = CERTIFIED if method == "certificate" else site.name
    site.crate.rows(f"CREATE USER {user}" + (f" WITH (password = '{PASSWORD}')" if method == "password" else ""))
    try:
        site.crate.rows(f"GRANT DQL, DML ON SCHEMA {site.name} TO {user}")
        pair = {"crate_cert_file": world.pki.client.cert, "crate_key_file": world.pki.client.key}
        proof = pair if method == "certificate" else {"crate_password": PASSWORD}
        assert_stored(site, site.run(crate_ca_file=site.ca_file, crate_user=user, **proof))
    finally:
        site.crate.rows(f"DROP USER {user}")


# ---------------------------------------------------------------- Kafka


@pytest.mark.parametrize("way", ["certificate", "PLAIN", *SCRAM])
def test_records_and_letters_travel_over_tls(way: str, client: Client, site: TlsSite, world: World) -> None:
    site.make("orders")
    fill(site)
    (bad,) = site.send([Sent(site.topic("orders"), b"bad", b"{this is no JSON")])
    known_by = world.kafka_tls(world.pki.client) if way == "certificate" else world.kafka_sasl(mechanism=way)
    settings = {"kafka_client": client, **known_by}
    done = site.run(crate_ca_file=site.ca_file, dlq_max_ratio="1", **settings)
    assert (done.code, done.answer["is_balanced"], done.answer["written"]) == (0, True, ROWS), done.log
    assert site.column("orders") == list(range(1, ROWS + 1))
    ((letter,),) = [letters for place, letters in site.letters().items() if place == (site.topic("orders"), bad)]
    assert (letter.key, letter.value) == (b"bad", b"{this is no JSON")
    assert site.committed() == ROWS + 1
    assert site.commands([CHECK], **settings)["check"].code == 0


WRONG_KAFKA = {
    "no authority": Wrong(
        lambda world: world.kafka_tls(world.pki.client) | {"kafka_ssl_cafile": ""},
        ("the certificate of 127.0.0.1:", "is not signed by an authority that we know", "set INGEST_KAFKA_SSL_CAFILE"),
    ),
    "another authority": Wrong(
        lambda world: world.kafka_sasl() | {"kafka_ssl_cafile": world.pki.other_ca_file},
        ("the certificate of 127.0.0.1:", "is not signed by an authority that we know", "set INGEST_KAFKA_SSL_CAFILE"),
    ),
    "another host name": Wrong(
        lambda world: {
            **world.kafka_sasl(),
            "kafka_bootstrap_servers": world.kafka.addresses["SASL_TLS"].replace(SERVER_NAME, OTHER_NAME),
        },
        ("the certificate of localhost:", "made for other names", "INGEST_KAFKA_BOOTSTRAP_SERVERS"),
    ),
    "no certificate where one is asked for": Wrong(
        lambda world: world.kafka_tls(),
        ("127.0.0.1:", "does not accept our certificate, or wants one", "INGEST_KAFKA_SSL_CERTFILE"),
    ),
    "a stranger's certificate": Wrong(
        lambda world: world.kafka_tls(world.pki.stranger), ("does not accept our certificate", "INGEST_KAFKA_SSL_CERTFILE")
    ),
    "a wrong password": Wrong(
        lambda world: world.kafka_sasl("wrong"), ("refuses the credentials", "INGEST_KAFKA_SASL_*"), GAVE_UP
    ),
    "a wrong password of SCRAM": Wrong(
        lambda world: world.kafka_sasl("wrong", SCRAM[-1]), ("refuses the credentials", "INGEST_KAFKA_SASL_*"), GAVE_UP
    ),
    "plain text to a TLS port": Wrong(
        lambda world: {"kafka_bootstrap_servers": world.kafka.addresses["TLS"], **SOONER},
        ("127.0.0.1:", "speaks TLS", "set INGEST_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL"),
    ),
    # A plain listener only hangs up, as a broker does that starts behind a proxy: that is waited for.
    "TLS to a plain port": Wrong(
        lambda world: world.kafka_tls() | {"kafka_bootstrap_servers": world.kafka.address, **SOONER},
        ("answer", "is Kafka running", "INGEST_KAFKA_BOOTSTRAP_SERVERS"),
        GAVE_UP,
    ),
    "an authority that would not be used": Wrong(
        lambda world: world.kafka_tls() | {"kafka_security_protocol": "PLAINTEXT"},
        ("INGEST_KAFKA_SSL_CAFILE has no effect with PLAINTEXT", "nothing would be encrypted"),
    ),
    "a key of another certificate": Wrong(
        lambda world: world.kafka_tls(Pair(world.pki.client.cert, world.pki.server.key)),
        ("INGEST_KAFKA_SSL_CERTFILE and INGEST_KAFKA_SSL_KEYFILE do not belong together",),
    ),
}


@pytest.mark.parametrize("name", WRONG_KAFKA)
def test_a_kafka_that_does_not_fit_is_told_in_a_sentence(name: str, client: Client, world: World, unreached: TlsSite) -> None:
    wrong = WRONG_KAFKA[name]
    assert_refused(unreached, wrong, {"kafka_client": client, **wrong.settings(world)}, RUN, CHECK)


# ---------------------------------------------------------------- the schema registry

BASIC = {"schema_registry_user": StubRegistry.USER, "schema_registry_password": StubRegistry.PASSWORD}
HEADERS = {
    "basic": "Basic " + b64encode(f"{StubRegistry.USER}:{StubRegistry.PASSWORD}".encode()).decode(),
    "bearer": "Bearer of-a-token",
}


def registry(world: World, authorization: str, *, wants_certificate: bool = False) -> TlsRegistry:
    context = world.pki.server_context(wants_certificate=wants_certificate)
    return TlsRegistry({KEY_ID: KEY, VALUE_ID: ENVELOPE}, context, authorization)


def avro(site: TlsSite) -> int:
    """A topic of Avro records and its table; how many records."""
    site.make_topics("orders")
    site.make_table("orders", COLUMNS)
    return len(site.send(life(site)))


@pytest.mark.parametrize(
    ("way", "settings", "wants_certificate"),
    [("basic", BASIC, True), ("basic", BASIC, False), ("bearer", {"schema_registry_token": "of-a-token"}, False)],
)
def test_avro_is_read_through_a_registry_behind_tls(
    way: str, settings: Settings, wants_certificate: bool, site: TlsSite, world: World
) -> None:
    rows, pair = avro(site), world.pki.client
    shown = {"schema_registry_cert_file": pair.cert, "schema_registry_key_file": pair.key} if wants_certificate else {}
    with registry(world, HEADERS[way], wants_certificate=wants_certificate) as behind:
        trust = {"schema_registry_url": behind.url, "schema_registry_ca_file": world.pki.ca_file}
        done = site.run(crate_ca_file=site.ca_file, **trust, **settings, **shown)
    assert (done.code, done.answer["is_balanced"], done.answer["read"]) == (0, True, rows), done.log
    assert_lived(site)


WRONG_REGISTRY = {
    "no authority": Wrong(
        lambda _: {}, ("the certificate of https://127.0.0.1:", "not signed by", "set INGEST_SCHEMA_REGISTRY_CA_FILE")
    ),
    "another authority": Wrong(
        lambda world: {"schema_registry_ca_file": world.pki.other_ca_file},
        ("the certificate of https://127.0.0.1:", "not signed by", "set INGEST_SCHEMA_REGISTRY_CA_FILE"),
    ),
    "no certificate where one is asked for": Wrong(
        lambda world: {"schema_registry_ca_file": world.pki.ca_file},
        ("https://127.0.0.1:", "does not accept our certificate, or wants one", "INGEST_SCHEMA_REGISTRY_CERT_FILE"),
    ),
}


@pytest.fixture(scope="module")
def undecoded(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    """A topic of Avro records whose schemas no worker ever gets."""
    for site in site_of(world, tmp_path_factory.mktemp("undecoded")):
        avro(site)
        yield site


@pytest.mark.parametrize("name", WRONG_REGISTRY)
def test_a_registry_that_does_not_fit_is_told_in_a_sentence(name: str, world: World, undecoded: TlsSite) -> None:
    wrong = WRONG_REGISTRY[name]
    with registry(world, HEADERS["basic"], wants_certificate=name.startswith("no certificate")) as behind:
        settings = {"schema_registry_url": behind.url, **BASIC, **wrong.settings(world)}
        assert_refused(undecoded, wrong, settings, RUN, CHECK)
        assert behind.asked == []


def test_http_to_a_registry_behind_tls_is_told_in_a_sentence(world: World, undecoded: TlsSite) -> None:
    wrong = Wrong(lambda _: {}, ("http://127.0.0.1:", "speaks TLS", "write https:// in INGEST_SCHEMA_REGISTRY_URL"))
    with registry(world, HEADERS["basic"]) as behind:
        assert_refused(undecoded, wrong, {"schema_registry_url": behind.url.replace("https", "http"), **BASIC}, RUN, CHECK)
