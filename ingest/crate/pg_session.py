"""One connection to CrateDB's PostgreSQL interface, always in libpq's pipeline mode: a bulk request in, one count per row out.

A bulk request is one Parse, a Bind and an Execute for each row, and one Sync. CrateDB puts the rows aside until the Sync and
runs them as one bulk, as it runs `bulk_args`; a row that failed is told by -3 in its command tag and by nothing else. A Sync for
each row would make each a request of its own, and after an error CrateDB's answers would be out of step with what was asked.
Nothing runs of a request whose Sync did not arrive. A session belongs to one thread and is to be closed after anything raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq

from ingest.crate.http import Tls
from ingest.crate.pg_values import Parameters

DEFAULT_PORT: Final = 5432
UNNAMED: Final = b""  # the next Parse replaces it, so nothing is left behind
FAILED: Final = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE})


class PgAddress(NamedTuple):
    """Where a node listens for PostgreSQL clients, and who we are there. is_secure: whether we insist on TLS."""

    host: str
    port: int
    user: str
    password: str | None = None
    is_secure: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port} (PostgreSQL)"

    def __repr__(self) -> str:
        return f"PgAddress({self})"


class Refused(Exception):
    """CrateDB refused the request as a whole and has done with it. Its words may hold values of rows, so they are not kept."""


class OutOfStep(Exception):
    """The answers do not match what was asked, so none of them is believed."""


class Session:
    """Raises psycopg.OperationalError where no connection can be made."""

    def __init__(self, address: PgAddress, tls: Tls, connect_s: float) -> None:
        self._connection = psycopg.Connection.connect(autocommit=True, **options(address, tls, connect_s))
        self._pg = self._connection.pgconn
        self._pg.nonblocking = 1  # a server that waits for us to read while we wait for it to read would be stuck
        self._pg.enter_pipeline_mode()

    def is_alive(self) -> bool:
        """Whether the connection was not closed meanwhile, as far as can be told without asking."""
        with suppress(psycopg.OperationalError):
            self._pg.consume_input()
            return self._pg.status == pq.ConnStatus.OK
        return False

    def bulk(self, stmt: str, parameters: Parameters, read_s: float) -> list[int]:
        """How many rows each entry wrote, -3 where it failed.

        Raises Refused, and where it may have been applied TimeoutError, OutOfStep or psycopg.OperationalError.
        """
        self._pg.send_prepare(UNNAMED, stmt.encode(), parameters.oids)
        for row in parameters.rows:
            self._pg.send_query_prepared(UNNAMED, row, parameters.forms)
        self._pg.pipeline_sync()
        tags: list[bytes | None] = []
        is_refused = False
        for result in self._results(read_s):
            is_refused |= result.status in FAILED
            tags.append(result.command_status)
        if is_refused:
            raise Refused
        return counts(tags[1:], len(parameters.rows))

    def close(self) -> None:
        self._connection.close()

    def _results(self, read_s: float) -> Iterator[pq.abc.PGresult]:
        """All results before the Sync's, sending what is not sent yet."""
        pg = self._pg
        with DefaultSelector() as selector:
            selector.register(pg.socket, EVENT_READ)
            while True:
                selector.modify(pg.socket, EVENT_READ | EVENT_WRITE if pg.flush() else EVENT_READ)
                if not selector.select(read_s):
                    raise TimeoutError
                pg.consume_input()
                while not pg.is_busy():
                    result = pg.get_result()
                    if result is None:  # stands behind the results of each statement, and for ever in a broken connection
                        if pg.status != pq.ConnStatus.OK:
                            raise OutOfStep
                    elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                        return
                    else:
                        yield result


def counts(tags: list[bytes | None], rows: int) -> list[int]:
    """The numbers at the end of command tags. Their first word is no help: it is `/*` for a statement behind a comment.

    >>> counts([b"/* 1", b"INSERT 0 -3"], 2)
    [1, -3]
    """
    if len(tags) != rows:
        raise OutOfStep
    try:
        known = {tag: int((tag or b"").rpartition(b" ")[2]) for tag in set(tags)}
    except ValueError as error:
        raise OutOfStep from error
    return [known[tag] for tag in tags]


def options(address: PgAddress, tls: Tls, connect_s: float) -> Mapping[str, Any]:
    """libpq's parameters. Without TLS none is tried, with it nothing else is."""
    plain = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password or None,
        "dbname": "doc",
        "application_name": "ingest",
        "connect_timeout": max(2, round(connect_s)),  # libpq waits two seconds at least
        "gssencmode": "disable",
        "keepalives_idle": 30,
    }
    if not address.is_secure:
        return plain | {"sslmode": "disable"}
    secure = {
        "sslmode": "verify-full" if tls.verify else "require",
        "sslrootcert": (tls.ca_file or "system") if tls.verify else None,
        "sslcert": tls.cert_file,
        "sslkey": tls.key_file,
        "sslcertmode": "allow" if tls.cert_file else "disable",
    }
    return plain | secure
