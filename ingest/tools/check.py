"""`ingest check`: settings, Kafka, registry, CrateDB, migrations, contracts, tables and records, before the worker meets them.

Reads only: joins no group, commits nothing, changes no table. Each part has a thread and a deadline of its own, so one that
cannot tell, or never answers, does not keep the others from telling.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from ingest.crate import migrations
from ingest.crate.http import HttpClient
from ingest.errors import IngestError, Reject, Retry, Stop
from ingest.kafka import preflight
from ingest.kafka.preflight import Seen
from ingest.memory import MB
from ingest.model import Record
from ingest.settings import Settings
from ingest.tools import check_crate
from ingest.tools.check_crate import Cluster
from ingest.tools.check_kafka import of_kafka
from ingest.tools.check_pg import of_write_path
from ingest.tools.check_storage import of_schema_privilege
from ingest.tools.check_tables import of_tables
from ingest.tools.check_words import counted, listed, size
from ingest.tools.connect import dead_letter_settings, kafka_settings, registry_client
from ingest.tools.findings import Finding, fail, ok, untold, warn
from ingest.tools.migrate import connected

log = logging.getLogger(__name__)

# A part asks a handful of questions, each with a time-out of some seconds; longer than this nobody waits for it.
PART_S = 20.0
# Topics whose newest records are tried: each costs some round trips.
TRIED_TOPICS = 20
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
Look = Callable[[], Iterable[Finding]]
Progress = Callable[[str], None]


@dataclass(slots=True)
class Notes:
    """What one part leaves to the next. cluster: None as long as CrateDB does not answer."""

    seen: Seen = field(default_factory=Seen)
    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    cluster: Cluster | None = None


def findings_of(environ: Mapping[str, str], on_progress: Progress = lambda _: None, part_s: float = PART_S) -> list[Finding]:
    """All findings, in the order of the data path. Wrong settings are the only ones then: nothing else can be reached."""
    try:
        settings = Settings.load(environ, needs=("topics",))
    except Stop as error:
        return [fail("settings", line) for line in error.text.splitlines()]
    found = list(of_settings(settings))
    notes = Notes()
    for what, look in parts(settings, notes):
        on_progress(what)
        found += bounded(what, look, part_s)
    return found


def parts(settings: Settings, notes: Notes) -> list[tuple[str, Look]]:
    """In order. The later ones use what the earlier ones noted; what needs CrateDB is silent where that failed."""
    return [
        ("kafka", lambda: _of_kafka(settings, notes)),
        ("records", lambda: _fetch_records(settings, notes)),
        ("registry", lambda: of_registry(settings)),
        ("cratedb", lambda: _of_crate(settings, notes)),
        ("migrations", lambda: of_migrations(settings) if notes.cluster else ()),
        ("tables", lambda: _of_tables(settings, notes)),
    ]


def bounded(what: str, look: Look, limit_s: float) -> Iterator[Finding]:
    """The findings of a part, and as the last one what kept it from looking further: an error, a bug of ours, or the time."""
    found: SimpleQueue[Finding | None] = SimpleQueue()

    def run() -> None:
        for finding in guarded(what, look):
            found.put(finding)
        found.put(None)

    Thread(target=run, name=f"check-{what}", daemon=True).start()
    deadline_s = monotonic() + limit_s
    while True:
        try:
            finding = found.get(timeout=max(0.0, deadline_s - monotonic()))
        except Empty:
            yield fail(what, f"did not answer within {limit_s:.0f} s, so the rest of it is not told")
            return
        if finding is None:
            return
        yield finding


def guarded(what: str, look: Look) -> Iterator[Finding]:
    """The findings, and as the last one what kept us from looking further."""
    try:
        yield from look()
    except IngestError as error:
        yield fail(what, _sentence(error))
    except Exception as error:
        log.debug("check_failed", exc_info=error)
        text = f"this part failed inside ({type(error).__name__}): please report it; INGEST_LOG_LEVEL=DEBUG shows where"
        yield untold(what, text)


def _sentence(error: IngestError) -> str:
    if error.code == "store.timeout":  # the client speaks of the worker's own time-out
        return f"CrateDB did not answer a query of its catalogue within {check_crate.READ_S:.0f} s: look at its load"
    return error.text or error.code


# ---------------------------------------------------------------- settings


def of_settings(settings: Settings) -> Iterator[Finding]:
    names = [*Settings.model_fields, *(f"kafka_{name}" for name in settings.kafka_options)]
    changed = [name for name in names if settings.source_of(name) != "default"]
    yield ok("settings", f"{len(names)} settings, {len(changed)} differ from default")
    limit_bytes = memory_limit_bytes()
    needed_bytes = settings.workers * settings.memory_mb * MB
    if limit_bytes is not None and needed_bytes > limit_bytes:
        what = f"INGEST_MEMORY_MB={settings.memory_mb}" + (f" times {settings.workers} workers" if settings.workers > 1 else "")
        yield warn("settings", f"{what} is more than the {size(limit_bytes)} that this machine or container has: lower it")


def memory_limit_bytes(cgroup: Path = CGROUP_LIMIT) -> int | None:
    """What this process may use at most, None where nobody says."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    try:
        return min(physical, int(cgroup.read_text()))
    except (ValueError, OSError):  # "max", or no such file
        return physical


# ---------------------------------------------------------------- the parts


def _of_kafka(settings: Settings, notes: Notes) -> Iterator[Finding]:
    try:
        notes.seen = preflight.look(kafka_settings(settings), dead_letter_settings(settings))
    except Retry as error:
        servers = ", ".join(settings.kafka_bootstrap_servers)
        text = f"no broker answers at {servers}: is Kafka running, is INGEST_KAFKA_BOOTSTRAP_SERVERS right?"
        raise Retry(error.code, text) from error
    yield from of_kafka(settings, notes.seen)


def _fetch_records(settings: Settings, notes: Notes) -> Iterator[Finding]:
    """Nothing to say but what is left out; the records are judged with their tables."""
    readable = [
        topic for topic in notes.seen.topics.values() if not topic.leaderless and topic.may("READ") and not topic.is_empty
    ]
    empty = [topic.name for topic in notes.seen.topics.values() if topic.ends and topic.is_empty]
    if empty:
        yield untold("records", f"what the records of {listed(empty)} are like: there are none yet")
    if len(readable) > TRIED_TOPICS:
        left = len(readable) - TRIED_TOPICS
        yield untold("records", f"what the records of {counted(left, 'topic')} are like: only {TRIED_TOPICS} topics are tried")
    if readable:
        notes.records = preflight.newest_records(kafka_settings(settings), readable[:TRIED_TOPICS])


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
    yield ok("registry", "answers, and lets us in")


def _of_crate(settings: Settings, notes: Notes) -> Iterator[Finding]:
    yield from check_crate.of_addresses(settings)
    yield from of_write_path(settings)
    yield from _with_client(settings, lambda client: _of_cluster(settings, client, notes))


def _of_cluster(settings: Settings, client: HttpClient, notes: Notes) -> Iterator[Finding]:
    cluster = notes.cluster = check_crate.seen(client, settings)
    yield from check_crate.of_cluster(settings, client, cluster)
    if settings.migrate:
        yield from of_schema_privilege(client, cluster, settings.crate_schema)


def of_migrations(settings: Settings) -> Iterator[Finding]:
    """Files that were not applied yet, and those that were edited since."""
    folder = Path(settings.sql_dir)
    if not folder.is_dir():
        if settings.migrate:
            yield fail("migrations", f"there is no folder {folder}: correct INGEST_SQL_DIR, or start where it is")
        return
    with connected(settings) as connection:
        report = migrations.plan(connection, folder)
    yield _of_pending(settings, sorted({step.file for step in report.pending}), len(report.pending), len(report.known))


def _of_pending(settings: Settings, files: Collection[str], pending: int, known: int) -> Finding:
    if not pending:
        return ok("migrations", f"{counted(known, 'statement')} in {settings.sql_dir}, all applied")
    text = f"{counted(pending, 'statement')} of {listed(files)} not applied yet"
    if settings.migrate:
        return ok("migrations", f"{text}: `ingest run` does it at its start")
    return warn("migrations", f"{text}: run `ingest migrate`, or set INGEST_MIGRATE=true")


def _of_tables(settings: Settings, notes: Notes) -> Iterator[Finding]:
    cluster = notes.cluster
    if cluster is None:
        return iter(())
    return _with_client(settings, lambda client: of_tables(settings, client, cluster, notes.seen, notes.records))


def _with_client(settings: Settings, look: Callable[[HttpClient], Iterable[Finding]]) -> Iterator[Finding]:
    client = check_crate.client_of(settings)
    try:
        yield from look(client)
    finally:
        client.close()
