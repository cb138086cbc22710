"""Applies the numbered files of `sql/` to CrateDB, once each, statement by statement, over the `crate` client.

CrateDB has no transactional DDL, so the table `ingest_migrations` remembers every statement by file, number and checksum, and the
row of `ingest_migration_lock` names who may apply them, with a lease, so that a killed process blocks nobody for long.
Used by the commands and by the start of `run`, before any writer thread lives.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crate.client import connect as crate_connect
from crate.client import exceptions as crate_errors

from ingest.crate.http import CONNECT_S, READ_S, Address, HttpClient, Tls
from ingest.crate.sql_files import DDL, Step, columns_of, read_steps
from ingest.errors import Retry, Stop

LEASE_MS = 120_000  # longer than any one statement of DDL takes; renewed before each
POLL_S = 0.5
LOCK = "migrate"
CREATE_BOOK = (
    "CREATE TABLE IF NOT EXISTS ingest_migrations (file TEXT, number INTEGER, checksum TEXT, applied_by TEXT, "
    "applied_at TIMESTAMP WITH TIME ZONE, PRIMARY KEY (file, number)) CLUSTERED INTO 1 SHARDS"
)
CREATE_LOCK = (
    "CREATE TABLE IF NOT EXISTS ingest_migration_lock (name TEXT PRIMARY KEY, owner TEXT, expires_at TIMESTAMP WITH TIME ZONE) "
    "CLUSTERED INTO 1 SHARDS"
)
NOW = "SELECT CURRENT_TIMESTAMP::bigint"
TAKE = "INSERT INTO ingest_migration_lock (name, owner, expires_at) VALUES (?, ?, ?)"
READ_LOCK = "SELECT owner, expires_at, _seq_no, _primary_term FROM ingest_migration_lock WHERE name = ?"
TAKE_OVER = "UPDATE ingest_migration_lock SET owner = ?, expires_at = ? WHERE name = ? AND _seq_no = ? AND _primary_term = ?"
RELEASE = "DELETE FROM ingest_migration_lock WHERE name = ? AND _seq_no = ? AND _primary_term = ?"
READ_BOOK = "SELECT file, number, checksum FROM ingest_migrations"
REMEMBER = (
    "INSERT INTO ingest_migrations (file, number, checksum, applied_by, applied_at) VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP) "
    "ON CONFLICT (file, number) DO NOTHING"
)
EXISTS = re.compile(r"AlreadyExists|already exists|already has a column named")
UNKNOWN = re.compile(r"RelationUnknown|SchemaUnknown")


@dataclass(slots=True)
class Report:
    """What a run did. found_done: statements whose work was there already, and that are remembered now."""

    applied: list[Step] = field(default_factory=list)
    found_done: list[Step] = field(default_factory=list)
    known: list[Step] = field(default_factory=list)
    pending: list[Step] = field(default_factory=list)


Progress = Callable[[str], None]


def connect(
    addresses: Sequence[Address], *, user: str | None = None, password: str | None = None, tls: Tls | None = None,
    schema: str | None = None,
) -> Any:  # fmt: skip
    """A connection of the `crate` client, with time-outs, without compression. schema: where unqualified names are.

    Raises what HttpClient does: the `crate` client tells a wrong certificate from a node that is away only in its own log.
    """
    first, tls = addresses[0], tls or Tls()
    with closing(HttpClient(addresses, user=user, password=password, tls=tls)) as client:
        client.execute("SELECT 1")
    with translated("connect to CrateDB"):
        return crate_connect(
            [str(address) for address in addresses],
            username=first.user if first.user is not None else user,
            password=first.password if first.user is not None else password,
            timeout=READ_S + CONNECT_S,
            schema=schema,
            verify_ssl_cert=tls.verify,
            ca_cert=tls.ca_file,
            cert_file=tls.cert_file,
            key_file=tls.key_file,
            compress=False,
        )


def plan(connection: Any, sql_dir: Path) -> Report:
    """What `migrate` would do, without doing it. Raises as `migrate` does."""
    return sorted_out(read_steps(sql_dir), read_book(connection.cursor()))


def migrate(connection: Any, sql_dir: Path, *, owner: str, on_progress: Progress = lambda _: None) -> Report:
    """Apply what is pending; of several processes that migrate at once one does it and the others wait for it.

    owner: unique to this process. on_progress gets a sentence per statement and while waiting.
    Raises Stop for an edited file, a statement that fails or clashes with what is there; Retry when CrateDB is not there.
    """
    steps = read_steps(sql_dir)
    cursor = connection.cursor()
    run(cursor, CREATE_BOOK)
    run(cursor, CREATE_LOCK)
    with locked(cursor, owner, on_progress):
        report = sorted_out(steps, read_book(cursor))
        for step in report.pending:
            renew(cursor, owner)
            (report.applied if apply(cursor, step, on_progress) else report.found_done).append(step)
            run(cursor, REMEMBER, [step.file, step.number, step.checksum, owner])
        report.pending = []
    return report


# ---------------------------------------------------------------- the book


def read_book(cursor: Any) -> dict[tuple[str, int], str]:
    """Checksums of the statements that were applied, by file and number; none where nobody ever migrated."""
    try:
        with translated("read ingest_migrations"):
            cursor.execute("REFRESH TABLE ingest_migrations")
            cursor.execute(READ_BOOK)
    except Stop as error:
        if UNKNOWN.search(str(error.__cause__)):
            return {}
        raise
    return {(file, number): checksum for file, number, checksum in cursor.fetchall()}


def sorted_out(steps: Sequence[Step], book: dict[tuple[str, int], str]) -> Report:
    """Known and pending statements. Raises Stop("migrate.edited") where a file no longer says what was applied."""
    report = Report()
    for step in steps:
        applied = book.get((step.file, step.number))
        if applied is not None and applied != step.checksum:
            raise edited(f"{step} was applied in another form")
        (report.pending if applied is None else report.known).append(step)
    last = {step.file: step.number for step in steps}
    for file, number in sorted(book):
        if file in last and number > last[file]:
            raise edited(f"{file} had a statement {number} when it was applied")
    return report


def edited(what: str) -> Stop:
    return Stop("migrate.edited", f"{what}: restore the file, and put the change into a new one with a higher number")


def apply(cursor: Any, step: Step, on_progress: Progress) -> bool:
    """Run one statement. False where its work turned out to be done already."""
    on_progress(f"{step}: {' '.join(step.sql.split())[:80]}")
    try:
        with translated(f"apply {step}"):
            cursor.execute(step.sql)
    except Stop as error:
        if not EXISTS.search(str(error.__cause__)):
            # What CrateDB says of a definition helps; of an INSERT or UPDATE it may quote values.
            said = f": {error.__cause__}" if step.kind in DDL else ""
            raise Stop("migrate.failed", f"{step} failed{said}; correct it and migrate again") from error
        if not is_there(cursor, step):
            raise clash(step) from error
        return False
    return True


def is_there(cursor: Any, step: Step) -> bool:
    """Whether the table that is there has all columns that the statement declares, with their types."""
    if not step.columns or step.relation is None:
        return False
    run(cursor, f"SHOW CREATE TABLE {step.relation}")
    there = columns_of(cursor.fetchone()[0])
    return all(there.get(name) == type_ for name, type_ in step.columns.items() if "[" not in name)


def clash(step: Step) -> Stop:
    text = f"{step} makes something that exists already in another form: drop or rename what is there, or correct the statement"
    return Stop("migrate.conflict", text + " (IF NOT EXISTS, OR REPLACE)")


# ---------------------------------------------------------------- the lock


@contextmanager
def locked(cursor: Any, owner: str, on_progress: Progress) -> Iterator[None]:
    while not take_lock(cursor, owner, on_progress):
        time.sleep(POLL_S)
    try:
        yield
    finally:
        release(cursor, owner)


def take_lock(cursor: Any, owner: str, on_progress: Progress) -> bool:
    """Whether the lock is ours now: it was free, its lease had ended, or an earlier try of ours went through unheard."""
    now_ms = server_now_ms(cursor)
    try:
        cursor.execute(TAKE, [LOCK, owner, now_ms + LEASE_MS])
        return True
    except crate_errors.IntegrityError:
        pass  # somebody has it: below we see who
    except crate_errors.Error as error:
        raise as_ours(error, "take the lock of migrations") from error
    held = read_lock(cursor)
    if held is None or held[0] == owner:
        return held is not None
    if held[1] > now_ms:
        on_progress(f"waiting for {held[0]}, which is migrating")
        return False
    run(cursor, TAKE_OVER, [owner, now_ms + LEASE_MS, LOCK, held[2], held[3]])
    return bool(cursor.rowcount == 1)


def renew(cursor: Any, owner: str) -> None:
    """Raises Stop when the lease ended and another process took over."""
    held = read_lock(cursor)
    if held is not None and held[0] == owner:
        run(cursor, TAKE_OVER, [owner, server_now_ms(cursor) + LEASE_MS, LOCK, held[2], held[3]])
        if cursor.rowcount == 1:
            return
    raise Stop(
        "migrate.lock_lost", "another process took over the migration after our lease ended: see its log, then migrate again"
    )


def release(cursor: Any, owner: str) -> None:
    held = read_lock(cursor)
    if held is not None and held[0] == owner:
        run(cursor, RELEASE, [LOCK, held[2], held[3]])


def read_lock(cursor: Any) -> tuple[str, int, int, int] | None:
    run(cursor, READ_LOCK, [LOCK])
    row = cursor.fetchone()
    return None if row is None else (row[0], row[1], row[2], row[3])


def server_now_ms(cursor: Any) -> int:
    """CrateDB's clock, the one that all processes share."""
    run(cursor, NOW)
    return int(cursor.fetchone()[0])


# ---------------------------------------------------------------- the seam


def run(cursor: Any, sql: str, args: Sequence[Any] = ()) -> None:
    with translated("run a statement of the migration's own"):
        cursor.execute(sql, args or None)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Errors of the `crate` client as ours, with them as the cause."""
    try:
        yield
    except crate_errors.Error as error:
        raise as_ours(error, doing) from error


def as_ours(error: Exception, doing: str) -> Retry | Stop:
    if isinstance(error, crate_errors.ConnectionError):
        return Retry("store.unreachable", f"cannot {doing}: no CrateDB node answers", unknown=True)
    return Stop("migrate.refused", f"cannot {doing}: CrateDB refuses it, see the cause")
