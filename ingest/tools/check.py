"""`ingest check`: settings, Kafka, schema registry, CrateDB, contracts and tables, before the worker meets them.

Reads only: joins no group, commits nothing, changes no table. A part that cannot tell does not keep the others from telling.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from ingest.crate.catalogue import query
from ingest.crate.http import HttpClient, parse_addresses
from ingest.errors import IngestError, Reject, Stop
from ingest.kafka import preflight
from ingest.settings import Settings
from ingest.tools.check_tables import of_tables
from ingest.tools.connect import crate_client, kafka_settings, registry_client
from ingest.tools.findings import Finding, fail, ok, warn

LEAST_VERSION = (5, 10)
BEST_VERSION = (6, 4, 3)
NODES = "SELECT name, version['number'] FROM sys.nodes ORDER BY name"


def findings_of(environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order of the data path. Wrong settings are the only ones then: nothing else can be reached."""
    try:
        settings = Settings.load(environ, needs=("topics",))
    except Stop as error:
        return [fail("settings", line) for line in error.text.splitlines()]
    return [of_settings(settings), *_of_servers(settings)]


def of_settings(settings: Settings) -> Finding:
    names = [*Settings.model_fields, *(f"kafka_{name}" for name in settings.kafka_options)]
    changed = [name for name in names if settings.source_of(name) != "default"]
    return ok("settings", f"{len(names)} settings, {len(changed)} differ from default")


def _of_servers(settings: Settings) -> Iterator[Finding]:
    topics: list[str] = []
    yield from guarded("kafka", lambda: of_kafka(settings, topics))
    yield from guarded("registry", lambda: of_registry(settings))
    is_there = True
    for finding in guarded("cratedb", lambda: of_crate(settings)):
        is_there = is_there and finding.state != "FAIL"
        yield finding
    if is_there:
        yield from guarded("tables", lambda: _with_client(settings, lambda client: of_tables(settings, client, topics)))


def guarded(what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings, and as the last one what kept us from looking further."""
    try:
        yield from look()
    except IngestError as error:
        yield fail(what, error.text or error.code)


# ---------------------------------------------------------------- the servers


def of_kafka(settings: Settings, topics: list[str]) -> Iterator[Finding]:
    """Also fills in the topics that would be read."""
    seen = preflight.look(kafka_settings(settings))
    topics += seen.topics
    partitions = sum(seen.topics.values())
    yield ok("kafka", f"reachable, {counted(len(seen.topics), 'topic')}, {counted(partitions, 'partition')}")
    for name in seen.missing:
        yield fail("kafka", f"topic {name} does not exist: correct INGEST_TOPICS or create the topic")
    if not seen.topics and not seen.missing:
        yield warn("kafka", "no topic matches INGEST_TOPICS yet: correct it, or wait until one is created")
    for package in seen.missing_codecs:
        yield fail("kafka", f"{package} is not installed, so some batches could not be read: install it")
    yield from of_dead_letters(settings, seen.has_dlq)


def of_dead_letters(settings: Settings, is_there: bool) -> Iterator[Finding]:
    name = settings.dead_letter_topic
    if is_there:
        yield ok("dead letters", f"topic {name} exists")
    elif settings.dlq_create:
        yield ok("dead letters", f"topic {name} does not exist, it is created with the first letter")
    else:
        yield fail("dead letters", f"topic {name} does not exist: create it, or set INGEST_DLQ_CREATE=true")


def of_registry(settings: Settings) -> Iterator[Finding]:
    client = registry_client(settings)
    if client is None:
        return
    try:
        client.fetch(1)
    except Reject as error:
        if error.code != "schema.unknown":
            yield warn("registry", f"answers, but schema 1 cannot be read: {error.text}")
            return
    finally:
        client.close()
    yield ok("registry", "answers")


def of_crate(settings: Settings) -> Iterator[Finding]:
    yield from _with_client(settings, lambda client: _of_crate(settings, client))


def _of_crate(settings: Settings, client: HttpClient) -> Iterator[Finding]:
    versions = [str(row[1]) for row in query(client, NODES, [])]
    yield ok("cratedb", f"{client} answers, {counted(len(versions), 'node')}, version {', '.join(sorted(set(versions)))}")
    if len(set(versions)) > 1:
        yield warn("cratedb", "its nodes run different versions: finish the upgrade")
    oldest = min(versions, key=version_of)
    yield from of_version(oldest)
    if has_password(settings) and version_of(oldest) >= BEST_VERSION:
        yield warn(
            "cratedb",
            "each request pays a password check of about 65 ms CPU there: let it trust the worker's address, "
            "or use a client certificate (INGEST_CRATE_CERT_FILE)",
        )


def has_password(settings: Settings) -> bool:
    return settings.crate_password is not None or any(address.password for address in parse_addresses(settings.crate_urls))


def of_version(version: str) -> Iterator[Finding]:
    """
    >>> [finding.state.value for finding in of_version("5.9.3")], list(of_version("6.4.3"))
    (['FAIL'], [])
    """
    if version_of(version) < LEAST_VERSION:
        yield fail("cratedb", f"version {version} does not tell why a row failed: upgrade to 5.10 at least, better to 6.4.3")
    elif version_of(version) < BEST_VERSION:
        yield warn("cratedb", f"version {version} has errors in upserts and slower bulk requests: upgrade to 6.4.3")


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def counted(n: int, noun: str) -> str:
    """
    >>> counted(1, "topic"), counted(2, "topic")
    ('1 topic', '2 topics')
    """
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _with_client(settings: Settings, look: Callable[[HttpClient], Iterable[Finding]]) -> Iterator[Finding]:
    client = crate_client(settings)
    try:
        yield from look(client)
    finally:
        client.close()
