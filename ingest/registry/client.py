"""The schema registry: one question, "which schema has this id", to one of several servers that know the same.

Blocks, keeps no schemas, makes one attempt per server and never waits: caching and repeating belong to the caller. Of ids that
are unknown it keeps since when, because a registry's replica may lag behind the producer.
One client serves one thread at a time. Credentials go into requests only, never into texts.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import urllib3
from urllib3.util import Url, parse_url

from ingest import tls
from ingest.errors import Reject, Retry, Stop
from ingest.registry import apicurio
from ingest.registry.dialects import Answer, Apicurio, Confluent, complete

ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json, */*;q=0.5"
UNKNOWN_CODES: Final = frozenset({40401, 40402, 40403})  # subject, version, schema
UNKNOWN: Final = "schema.unknown"
NOT_IMPLEMENTED = 501  # an answer that no waiting changes, such as Redpanda's to a format that it does not know
MISSED_AT_MOST = 10_000  # ids that are unknown; beyond that since when is forgotten
SIDE: Final = tls.Side(
    code="registry.tls",
    ca="INGEST_SCHEMA_REGISTRY_CA_FILE",
    cert="INGEST_SCHEMA_REGISTRY_CERT_FILE",
    key="INGEST_SCHEMA_REGISTRY_KEY_FILE",
    address="INGEST_SCHEMA_REGISTRY_URL",
    go_plain="write http:// in INGEST_SCHEMA_REGISTRY_URL",
    go_tls="write https:// in INGEST_SCHEMA_REGISTRY_URL",
)


class RegistryClient:
    """A Confluent Schema Registry, one that answers like it, or Apicurio Registry.

    urls: base addresses, tried in order beginning with the one that answered last; `user:password@` in them counts as username.
    token: sent as bearer token instead of a password. ca_file, cert_file, key_file: PEM, for TLS and mutual TLS; raises
    Stop("registry.tls") for one that cannot be used.
    ids: what numbers in records are, for Apicurio: content ids, global ids, or "auto", as framing and address tell.
    lag_s: for so long after the first request an unknown id is asked again and not refused.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        username: str | None = None,
        password: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout_s: float = 10,
        ids: apicurio.Ids = "auto",
        lag_s: float = 0,
    ) -> None:
        self._ids = ids
        self._lag_s = lag_s
        self._first_missed_s: dict[int | str, float] = {}
        self._servers = [_server(url, username, password, token) for url in urls]
        self._context = tls.client_context(SIDE, ca_file, cert_file, key_file)
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=timeout_s), retries=False, ssl_context=self._context)
        self._timeout_s = timeout_s

    def fetch(self, schema_id: int | str) -> tuple[str, str]:
        """Schema text and type ("AVRO", "JSON", "PROTOBUF"), with all that it refers to; see dialects.complete.

        schema_id: a number, a GUID, or Apicurio's `global:N`, `content:N` or `wide:N`.
        Blocks for up to timeout_s per server and request. Raises Reject("schema.unknown") when the registry has no such schema,
        Stop("registry.refused") when it does not let us in, Stop("registry.tls") for a certificate or a scheme that does not fit,
        Retry("registry.unreachable", "registry.busy", "registry.unexpected_answer" or "schema.not_yet_known") otherwise.
        """
        is_native = apicurio.path_of(schema_id, self._ids) is not None
        dialect = Apicurio(self._get, self._ids) if is_native else Confluent(self._get)
        try:
            found = complete(schema_id, dialect)
        except Reject as error:
            if error.code == UNKNOWN and self._may_come_late(schema_id):
                text = f"the registry does not know schema {schema_id} yet: it is asked again"
                raise Retry("schema.not_yet_known", text) from error
            raise
        self._first_missed_s.pop(schema_id, None)
        return found

    def latest_id(self, subject: str) -> int:
        """The number of a subject's newest schema. Raises as `fetch` does."""
        answer = self._get(f"/subjects/{quote(subject, safe='')}/versions/latest")
        number = answer.fields.get("id")
        if type(number) is not int:
            text = f"the registry tells no id for the newest schema of subject {subject}: check its address"
            raise Retry("registry.unexpected_answer", text)
        return number

    def close(self) -> None:
        self._pool.clear()

    def _may_come_late(self, schema_id: int | str) -> bool:
        if len(self._first_missed_s) >= MISSED_AT_MOST:
            self._first_missed_s.clear()
        now_s = monotonic()
        return now_s - self._first_missed_s.setdefault(schema_id, now_s) < self._lag_s

    def _get(self, path: str, *, native: bool = False) -> Answer:
        """The answer of the first server that has one. A server that knows nothing may lag behind another, so all are asked."""
        trouble: Retry | Reject = Retry(
            "registry.unreachable", "no schema registry is configured: set INGEST_SCHEMA_REGISTRY_URL"
        )
        for server in list(self._servers):
            try:
                answer = self._ask(server, path, native)
            except Reject as error:
                trouble = error
                continue
            except Retry as error:
                trouble = trouble if isinstance(trouble, Reject) else error
                continue
            self._servers.remove(server)
            self._servers.insert(0, server)
            return answer
        raise trouble

    def _ask(self, server: _Server, path: str, native: bool) -> Answer:
        base = server.native if native else server.base
        try:
            response = self._pool.request("GET", base + path, headers=dict(server.headers))
        except urllib3.exceptions.HTTPError as error:
            raise self._trouble(base, error) from error
        if response.status in (401, 403):
            raise Stop("registry.refused", f"{base} answered {response.status}: check the registry's user, password or token")
        if response.status == 429 or (response.status >= 500 and response.status != NOT_IMPLEMENTED):
            raise Retry(
                "registry.busy", f"{base} answered {response.status} for {path}: look at the registry's own log", overload=True
            )
        body = response.data.decode(errors="replace")
        fields = _json(body)
        if response.status == 404 and (fields.get("error_code") in UNKNOWN_CODES or apicurio.is_unknown(fields)):
            raise Reject(UNKNOWN, f"the registry knows nothing at {path}: check that these records belong to it")
        if response.status != 200:
            text = f"{base} answered {response.status} for {path}, which no registry does: check its address"
            raise Retry("registry.unexpected_answer", text)
        return Answer(body, fields, response.headers, server.native)

    def _trouble(self, base: str, error: Exception) -> Retry | Stop:
        """No waiting mends a certificate that does not fit, nor plain HTTP to a server that hangs up because it wants TLS."""
        stop = tls.stop_for(error, SIDE, base)
        if stop is None and isinstance(error, urllib3.exceptions.ProtocolError | urllib3.exceptions.SSLError):
            stop = self._misfit(base)
        text = f"{base} does not answer ({type(error).__name__}): check its address and state"
        return stop or Retry("registry.unreachable", text)

    def _misfit(self, base: str) -> Stop | None:
        """Why a server may have hung up on us, None if it says nothing."""
        at = parse_url(base)
        host, is_plain = (at.host or "").strip("[]"), at.scheme == "http"
        port = at.port or (80 if is_plain else 443)
        if is_plain:
            is_tls = tls.speaks_tls(host, port, self._timeout_s)
            return Stop(SIDE.code, f"{base} speaks TLS: {SIDE.go_tls}") if is_tls else None
        verdict = tls.verdict_on_us(self._context, host, port, self._timeout_s)
        return tls.stop_for(verdict, SIDE, base) if verdict else None


class _Server(NamedTuple):
    """base: the address without credentials, of the API like Confluent's. native: that of Apicurio's own."""

    base: str
    native: str
    headers: Mapping[str, str]


def _server(url: str, username: str | None, password: str | None, token: str | None) -> _Server:
    parsed = parse_url(url)
    bare = Url(parsed.scheme or "http", None, parsed.host, parsed.port, (parsed.path or "").rstrip("/")).url
    headers = {"Accept": ACCEPT}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    elif username is not None:
        headers["Authorization"] = _basic(f"{username}:{password or ''}")
    elif parsed.auth is not None:
        headers["Authorization"] = _basic(unquote(parsed.auth))
    return _Server(*apicurio.addresses(bare), headers)


def _basic(user_and_password: str) -> str:
    return "Basic " + b64encode(user_and_password.encode()).decode()


def _json(body: str) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
