"""One conversation with CrateDB's `/_sql`: node addresses, credentials, time-outs, and what a broken connection means.

Knows no table, no row and no verdict. Bodies are plain orjson, never compressed (on a LAN gzip costs thirty times the
encoding), and nothing is ever sent twice here: only a node that was never reached is passed over.
Trouble with TLS that no waiting mends is a Stop. Each client belongs to one thread.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from time import monotonic
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import orjson
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout, disable_warnings, make_headers
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, InsecureRequestWarning, NewConnectionError, ReadTimeoutError

from ingest import tls as secure
from ingest.errors import Reject, Retry, Stop

log = logging.getLogger(__name__)

CONNECT_S = 5.0
READ_S = 75.0  # above CrateDB's own 60 s (bulk.request_timeout), or its answer to a stuck shard is never heard
NODE_REST_S = 30.0
SETTLE_S = 60.0  # a node that starts calls every table unknown for some seconds: 15 s were seen
DEFAULT_PORT = 4200
UNSAFE_IN_TAG = re.compile(r"[^A-Za-z0-9_.:/@ -]")
# The answer to a bulk request of which every row was written, but for its number of rows.
ALL_WRITTEN = re.compile(rb'\{"cols":\[\],"duration":[0-9.eE+-]+,"results":\[')
ROW_WRITTEN = b'{"rowcount":1}'
WRITTEN_RESULT: Final[dict[str, Any]] = {"rowcount": 1}
SIDE: Final = secure.Side(
    code="store.tls",
    ca="INGEST_CRATE_CA_FILE",
    cert="INGEST_CRATE_CERT_FILE",
    key="INGEST_CRATE_KEY_FILE",
    address="INGEST_CRATE_URLS",
    go_plain="write http:// in INGEST_CRATE_URLS",
    go_tls="write https:// in INGEST_CRATE_URLS",
)


class Address(NamedTuple):
    """Where a node listens, and who we are there."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({self})"


def parse_address(url: str) -> Address:
    """The address in a URL; the scheme defaults to http, the port to 4200.

    >>> parse_address("https://ann:p%40ss@db1")[1:]
    ('db1', 4200, 'ann', 'p@ss')
    """
    text = url.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/"):
        raise Stop(
            "store.address", "a CrateDB address is not readable: write it as http://host:4200 or https://user:password@host:4200"
        )
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Address(parts.scheme, host, port or DEFAULT_PORT, user, password)


def parse_addresses(urls: Sequence[str]) -> list[Address]:
    if not urls:
        raise Stop("store.address", "no CrateDB address is given: set INGEST_CRATE_URLS, for example http://localhost:4200")
    return [parse_address(url) for url in urls]


class Tls(NamedTuple):
    """Files for https: our own authority, and a client certificate with its key. None means what the system has."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Raises Stop("store.tls") for a file that cannot be used."""
        context = secure.client_context(SIDE, self.ca_file, self.cert_file, self.key_file)
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            say_unverified()
        return context


@cache
def say_unverified() -> None:
    """Once a process, in our own words; urllib3 would say so in a line of code, and in words that name no setting."""
    disable_warnings(InsecureRequestWarning)
    text = "anybody on the way can pose as CrateDB: INGEST_CRATE_VERIFY is false, set INGEST_CRATE_CA_FILE instead"
    log.warning("certificate_unchecked", extra={"text": text})


@dataclass(frozen=True, slots=True)
class Answer:
    """What CrateDB said. body: the JSON object, None where the answer was no JSON (a proxy, 413, 429)."""

    status: int
    body: dict[str, Any] | None = None

    @property
    def is_ok(self) -> bool:
        return self.status == 200 and self.body is not None and "error" not in self.body

    @property
    def code(self) -> int | None:
        return self._error.get("code")

    @property
    def message(self) -> str:
        """CrateDB's own words. They may hold values of rows: read them, never show them."""
        return str(self._error.get("message", ""))

    @property
    def rows(self) -> list[list[Any]]:
        rows: list[list[Any]] = (self.body or {}).get("rows", [])
        return rows

    @property
    def rowcount(self) -> int:
        return int((self.body or {}).get("rowcount", -1))

    @property
    def results(self) -> list[dict[str, Any]] | None:
        """One entry per entry of bulk_args, None where the answer is not one to a bulk request."""
        return (self.body or {}).get("results")

    @property
    def _error(self) -> dict[str, Any]:
        error = (self.body or {}).get("error")
        return error if isinstance(error, dict) else {}


class Connection(HTTPSConnection):
    """A connection whose failed handshake is told from trouble after it: only then was the request surely not applied."""

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:  # ssl.SSLError is one
            raise NewConnectionError(self, "the TLS handshake failed") from error


class SecurePool(HTTPSConnectionPool):
    ConnectionCls = Connection


@dataclass(slots=True)
class Node:
    """One address with its kept-alive connection."""

    address: Address
    pool: HTTPConnectionPool
    headers: dict[str, str]
    context: ssl.SSLContext | None = None
    has_answered: bool = False
    rests_until_s: float = field(default=float("-inf"))


def tag_comment(tag: str) -> str:
    """The comment that marks a statement as ours; what could end a comment is replaced.

    >>> tag_comment("shop doc.orders/3 17*/")
    '/* ingest shop doc.orders/3 17_/ */'
    """
    return f"/* ingest {UNSAFE_IN_TAG.sub('_', tag)} */"


def encoded(stmt: str, args: Sequence[Any] | None, bulk_args: Sequence[Sequence[Any]] | None, tag: str | None) -> bytes:
    """The body of a request. Raises Reject("store.not_encodable") for a value that JSON cannot carry (a lone surrogate)."""
    body: dict[str, Any] = {"stmt": f"{tag_comment(tag)} {stmt}" if tag is not None else stmt}
    if bulk_args is not None:
        body["bulk_args"] = bulk_args  # never beside "args": CrateDB would take the path of a single statement
    elif args is not None:
        body["args"] = args
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise Reject("store.not_encodable", "a value cannot be written as JSON: correct it at its source") from error


class HttpClient:
    """Statements to CrateDB, one at a time, to its nodes in turn; a node that failed rests for 30 s.

    user, password: for addresses that bring none of their own. Without any, CrateDB must trust us.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        user: str | None = None,
        password: str | None = None,
        tls: Tls | None = None,
        connect_s: float = CONNECT_S,
        read_s: float = READ_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._timeout = Timeout(connect=connect_s, read=read_s)
        self._clock = clock
        self._nodes = [self._node(address, user, password, tls or Tls()) for address in addresses]
        self._turn = 0
        self._settled_at_s = clock() + SETTLE_S

    def execute(
        self,
        stmt: str,
        args: Sequence[Any] | None = None,
        bulk_args: Sequence[Sequence[Any]] | None = None,
        tag: str | None = None,
    ) -> Answer:
        """CrateDB's answer to one statement, good or bad.

        Raises Retry("store.unreachable") when no node was reached, Retry("store.timeout" or "store.reset", unknown=True) when it
        may have been applied, Stop("store.unauthorised") when the credentials are refused, Stop("store.tls") for a certificate or
        a scheme that does not fit, Reject for what JSON cannot carry.
        """
        body = encoded(stmt, args, bulk_args, tag)
        cause: Exception | None = None
        for node in list(self._in_turn()):
            try:
                return self._post(node, body)
            except (NewConnectionError, ConnectTimeoutError) as error:
                refuse_bad_certificate(node.address, error)
                cause = error
                self._rest(node)
        raise Retry("store.unreachable", f"no CrateDB node answers at {self}: is it running, is the address right?") from cause

    def is_settling(self) -> bool:
        """Whether CrateDB may have started less than a minute ago, so that a table it calls unknown may exist."""
        return self._clock() < self._settled_at_s

    def close(self) -> None:
        for node in self._nodes:
            node.pool.close()

    def __str__(self) -> str:
        return ", ".join(str(node.address) for node in self._nodes)

    def _post(self, node: Node, body: bytes) -> Answer:
        try:
            response = node.pool.urlopen(
                "POST", "/_sql", body=body, headers=node.headers, retries=False, redirect=False, timeout=self._timeout
            )
        except (NewConnectionError, ConnectTimeoutError):
            raise
        except ReadTimeoutError as error:
            self._rest(node)
            raise Retry("store.timeout", f"{node.address} did not answer within {READ_S:.0f} s", unknown=True) from error
        except HTTPError as error:
            self._rest(node)
            refuse_bad_certificate(node.address, error, has_begun=True)
            if not node.has_answered:
                refuse_misfit(node)
            raise Retry("store.reset", f"the connection to {node.address} broke before the answer", unknown=True) from error
        node.has_answered = True
        return answer_of(response, node.address)

    def _in_turn(self) -> Iterator[Node]:
        """All nodes, the next in turn first, those that rest last."""
        now_s = self._clock()
        start = self._turn
        self._turn = (start + 1) % len(self._nodes)
        ordered = self._nodes[start:] + self._nodes[:start]
        yield from sorted(ordered, key=lambda node: max(node.rests_until_s, now_s))

    def _rest(self, node: Node) -> None:
        now_s = self._clock()
        node.rests_until_s = now_s + NODE_REST_S
        self._settled_at_s = now_s + SETTLE_S

    @staticmethod
    def _node(address: Address, user: str | None, password: str | None, tls: Tls) -> Node:
        headers = {"Content-Type": "application/json", **make_headers(keep_alive=True, disable_cache=False)}
        name, secret = (address.user, address.password) if address.user is not None else (user, password)
        if name is not None:
            headers |= make_headers(basic_auth=f"{name}:{secret or ''}")
        if address.scheme == "https":
            context = tls.context()
            return Node(address, SecurePool(address.host, address.port, maxsize=1, ssl_context=context), headers, context)
        return Node(address, HTTPConnectionPool(address.host, address.port, maxsize=1), headers)


def all_written(data: bytes) -> int | None:
    """For how many rows the answer says that each was written; None where it says anything else, and must be read.

    >>> all_written(b'{"cols":[],"duration":1.5,"results":[{"rowcount":1},{"rowcount":1}]}')
    2
    >>> all_written(b'{"cols":[],"duration":1.5,"results":[{"rowcount":1},{"rowcount":-2}]}')
    """
    head = ALL_WRITTEN.match(data)
    rows = (len(data) - (head.end() if head else 0)) // (len(ROW_WRITTEN) + 1)
    return rows if head and data[head.end() :] == b",".join([ROW_WRITTEN] * rows) + b"]}" else None


def answer_of(response: Any, address: Address) -> Answer:
    data = response.data
    if response.status == 200 and (rows := all_written(data)):  # a tenth of what it takes to read thousands of small objects
        return Answer(200, {"results": [WRITTEN_RESULT] * rows})
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        body = None
    if response.status == 401 and not isinstance(body, dict):
        raise Stop(
            "store.unauthorised", f"{address} refuses our credentials: check INGEST_CRATE_USER and _PASSWORD or _CERT_FILE"
        )
    return Answer(response.status, body if isinstance(body, dict) else None)


def refuse_bad_certificate(address: Address, error: Exception, *, has_begun: bool = False) -> None:
    """A certificate that does not verify never will by waiting; other trouble of a handshake may pass."""
    if stop := secure.stop_for(error, SIDE, address, has_begun=has_begun):
        raise stop from error


def refuse_misfit(node: Node) -> None:
    """A server that wants TLS, or another certificate of ours, hangs up. One that has never answered is asked whether it did."""
    address, context = node.address, node.context
    if context is None:
        if secure.speaks_tls(address.host, address.port, CONNECT_S):
            raise Stop(SIDE.code, f"{address} speaks TLS: {SIDE.go_tls}")
    elif verdict := secure.verdict_on_us(context, address.host, address.port, CONNECT_S):
        refuse_bad_certificate(address, verdict)
