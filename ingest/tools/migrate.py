"""`ingest migrate`, and the start of `ingest run` with INGEST_MIGRATE=true: applies the numbered SQL files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from ingest.crate import migrations
from ingest.crate.http import parse_addresses
from ingest.crate.migrations import Report
from ingest.crate.sql_files import Step
from ingest.errors import Retry, Stop
from ingest.flow.regulator import wait_s
from ingest.settings import Settings
from ingest.tools.connect import password_of, tls_of

Progress = Callable[[str], None]


def migrate(settings: Settings, *, is_dry: bool, on_progress: Progress) -> list[str]:
    """What was done, or with is_dry what would be, in lines. Raises Stop and Retry as crate.migrations does."""
    folder = Path(settings.sql_dir)
    if not folder.is_dir():
        raise Stop("settings.sql_dir", f"there is no folder {folder}: correct INGEST_SQL_DIR, or start where it is")
    with connected(settings) as connection:
        if is_dry:
            report = migrations.plan(connection, folder)
        else:
            report = migrations.migrate(connection, folder, owner=owner(), on_progress=on_progress)
    return lines_of(report) if report != Report() else [f"{folder} holds no file NNNN_name.sql: nothing to do"]


def migrate_patiently(settings: Settings, on_progress: Progress) -> list[str]:
    """The same, waiting for CrateDB for as long as INGEST_GIVE_UP_S says."""
    attempt, deadline_s = 0, monotonic() + settings.give_up_s
    while True:
        try:
            return migrate(settings, is_dry=False, on_progress=on_progress)
        except Retry as error:
            attempt += 1
            if monotonic() >= deadline_s:
                raise Stop("gave_up", f"{error.text} (tried for {settings.give_up_s:.0f} s)") from error
            sleep(min(wait_s(attempt), max(0.0, deadline_s - monotonic())))


def lines_of(report: Report) -> list[str]:
    """One line per statement that was or is to be done, and one that sums up."""
    lines = [
        *_each("applied", report.applied),
        *_each("was there already", report.found_done),
        *_each("would be applied", report.pending),
    ]
    done = len(report.applied) + len(report.found_done)
    summary = f"{len(report.pending)} to do" if report.pending else f"{done} done"
    return [*lines, f"{summary}, {len(report.known)} known before"]


def owner() -> str:
    """A name for the lock that no other process has."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"


@contextmanager
def connected(settings: Settings) -> Iterator[Any]:
    connection = migrations.connect(
        parse_addresses(settings.crate_urls),
        user=settings.crate_user,
        password=password_of(settings),
        tls=tls_of(settings),
        schema=settings.crate_schema,
    )
    try:
        yield connection
    finally:
        connection.close()


def _each(what: str, steps: Sequence[Step]) -> Iterator[str]:
    return (f"{step}: {what}" for step in steps)
