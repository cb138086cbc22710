"""Bulk requests over CrateDB's PostgreSQL interface: its nodes in turn, and what a broken connection means for the rows.

Answers which rows CrateDB confirmed and nothing more; reasons are asked for over HTTP, see crate.courier. Nothing is sent twice
here: only a node that was never reached is passed over. Each pipeline belongs to one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from ingest.crate.http import CONNECT_S, NODE_REST_S, READ_S, SETTLE_S, SIDE, Address, Tls, say_unverified, tag_comment
from ingest.crate.pg_session import DEFAULT_PORT, OutOfStep, PgAddress, Refused, Session
from ingest.crate.pg_values import Parameters, Wire, parameters, wires
from ingest.crate.statements import Statement
from ingest.errors import Retry, Stop
from ingest.model import Table

# What libpq and CrateDB say when a connection cannot be made, and what a person can do about it. The first that is found counts.
UNAUTHORISED: Final = re.compile(r"authentication failed|no password supplied|auth\.host_based|must have the LOGIN")
TLS_TROUBLE: Final = (
    (r"server does not support SSL", "{} does not speak TLS: write http:// in INGEST_CRATE_URLS"),
    (r"does not match host name", "the certificate of {} is made for other names: use one of those in INGEST_CRATE_PG_ADDRESSES"),
    (r"certificate has expired", "the certificate of {} or of its authority has expired: renew it"),
    (
        r"certificate verify failed|self-signed|unable to get local issuer",
        "the certificate of {} is not signed by an authority that we know: set INGEST_CRATE_CA_FILE to the file of the right one",
    ),
    (
        r"(root )?certificate file|private key file|could not load|certificate present, but not private key",
        "INGEST_CRATE_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used for {}: PEM files, the key for its owner alone",
    ),
    (r"alert (bad|unknown|certificate)|certificate required", "{} does not accept our certificate, or wants one"),
)


def pg_addresses(
    urls: Sequence[Address], own: Sequence[str], *, user: str | None = None, password: str | None = None
) -> list[PgAddress]:
    """The addresses `own`, host:port, or else port 5432 of each host in urls; with TLS where the urls have it, as the same user.

    >>> pg_addresses([Address("https", "db1", 4200)], [], user="crate")
    [PgAddress(db1:5432 (PostgreSQL))]
    >>> pg_addresses([Address("http", "a", 4200)], ["b:1", "[::1]"])
    [PgAddress(b:1 (PostgreSQL)), PgAddress(::1:5432 (PostgreSQL))]
    """
    if not own:
        return [_address(url, url.host, DEFAULT_PORT, user, password) for url in urls]
    like = next((url for url in urls if url.scheme == "https"), urls[0])
    return [_address(like, *_place(text), user, password) for text in own]


def _place(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.path or parts.username is not None:
        raise Stop(
            "store.address", "an address in INGEST_CRATE_PG_ADDRESSES is not readable: write it as host:5432, without a user"
        )
    return host, port or DEFAULT_PORT


def _address(like: Address, host: str, port: int, user: str | None, password: str | None) -> PgAddress:
    name, secret = (like.user, like.password) if like.user is not None else (user, password)
    return PgAddress(host, port, name or "crate", secret, like.scheme == "https")


@dataclass(slots=True)
class Node:
    address: PgAddress
    session: Session | None = None
    rests_until_s: float = field(default=float("-inf"))


class PgPipeline:
    """See crate.courier.Pipeline."""

    def __init__(
        self,
        addresses: Sequence[PgAddress],
        *,
        tls: Tls | None = None,
        connect_s: float = CONNECT_S,
        read_s: float = READ_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._tls, self._connect_s, self._read_s, self._clock = tls or Tls(), connect_s, read_s, clock
        self._nodes = [Node(address) for address in addresses]
        self._turn = 0
        self._wires: dict[str, tuple[Table, dict[Statement, list[Wire] | None]]] = {}
        self._settled_at_s = clock() + SETTLE_S
        if any(address.is_secure for address in addresses) and not self._tls.verify:
            say_unverified()

    def bulk(
        self, table: Table, statement: Statement, columns: Sequence[str], rows: Sequence[Sequence[Any]], tag: str
    ) -> list[int] | None:
        """How many rows each entry wrote, a negative number where it failed; None where the request must go over HTTP.

        Raises Retry("store.unreachable") when no node was reached, Retry("store.timeout" or "store.reset", unknown=True) when it
        may have been applied, Stop("store.unauthorised" or "store.tls").
        """
        found = self._wires_of(table, statement, columns)
        brought = parameters(found, rows) if found is not None else None
        return self._sent(f"{tag_comment(tag)} {statement.sql}", brought) if brought is not None else None

    def probe(self) -> None:
        """One cheap request over a connection such as rows take. Raises as bulk does."""
        if self._sent("SELECT 1", Parameters([], [], [()])) != [1]:
            raise Retry("store.server_error", f"CrateDB failed inside at {self}: see its log")

    def is_settling(self) -> bool:
        """As HttpClient.is_settling."""
        return self._clock() < self._settled_at_s

    def close(self) -> None:
        for node in self._nodes:
            self._drop(node)

    def __str__(self) -> str:
        return ", ".join(str(node.address) for node in self._nodes)

    # ------------------------------------------------------------ inside

    def _wires_of(self, table: Table, statement: Statement, columns: Sequence[str]) -> list[Wire] | None:
        described, known = self._wires.get(table.full_name, (None, {}))
        if described is not table:
            known = {}
            self._wires[table.full_name] = table, known
        if statement not in known:
            known[statement] = wires(table, statement, columns)
        return known[statement]

    def _sent(self, stmt: str, brought: Parameters) -> list[int] | None:
        node, session = self._reached()
        try:
            return session.bulk(stmt, brought, self._read_s)
        except Refused:
            self._drop(node)  # behind an error CrateDB may send more answers than it was asked for
            return None
        except TimeoutError as error:
            self._give_up(node)
            raise Retry("store.timeout", f"{node.address} did not answer within {self._read_s:.0f} s", unknown=True) from error
        except (psycopg.Error, OutOfStep):
            self._give_up(node)
            # Not `from error`: its text may be CrateDB's last words, with values of rows.
            raise Retry("store.reset", f"the connection to {node.address} broke before the answer", unknown=True) from None

    def _reached(self) -> tuple[Node, Session]:
        """The next node with a connection that works."""
        for node in list(self._in_turn()):
            if node.session is not None and node.session.is_alive():
                return node, node.session
            self._drop(node)
            try:
                node.session = Session(node.address, self._tls, self._connect_s)
            except psycopg.Error as error:
                refuse_for_good(node.address, str(error))
                self._give_up(node)
            else:
                return node, node.session
        raise Retry("store.unreachable", f"no CrateDB node answers at {self}: is it running, is INGEST_CRATE_PG_ADDRESSES right?")

    def _in_turn(self) -> Iterator[Node]:
        """All nodes, the next in turn first, those that rest last."""
        now_s = self._clock()
        start = self._turn
        self._turn = (start + 1) % len(self._nodes)
        ordered = self._nodes[start:] + self._nodes[:start]
        yield from sorted(ordered, key=lambda node: max(node.rests_until_s, now_s))

    def _give_up(self, node: Node) -> None:
        self._drop(node)
        now_s = self._clock()
        node.rests_until_s = now_s + NODE_REST_S
        self._settled_at_s = now_s + SETTLE_S

    @staticmethod
    def _drop(node: Node) -> None:
        if node.session is not None:
            node.session.close()
            node.session = None


def refuse_for_good(address: PgAddress, words: str) -> None:
    """Raise Stop for what no waiting mends."""
    if UNAUTHORISED.search(words):
        text = f"{address} refuses our credentials: check INGEST_CRATE_USER, _PASSWORD, _CERT_FILE and auth.host_based"
        raise Stop("store.unauthorised", text)
    for sign, text in TLS_TROUBLE:
        if re.search(sign, words):
            raise Stop(SIDE.code, text.format(address))
