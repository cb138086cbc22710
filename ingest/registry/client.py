"""The schema registry: one question, "which schema has this id", to one of several servers that know the same.

Blocks, keeps no schemas, makes one attempt per server and never waits: caching and repeating belong to the caller.
One client serves one thread at a time. Credentials go into requests only, never into texts.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

import urllib3
from urllib3.util import Url, parse_url

from ingest.errors import Reject, Retry, Stop
from ingest.registry.references import inline

ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"
UNKNOWN_CODES: Final = frozenset({40401, 40402, 40403})  # subject, version, schema
REFERENCES_AT_MOST = 200  # a registry that refers in circles must end


class RegistryClient:
    """A Confluent Schema Registry, or one that answers like it.

    urls: base addresses, tried in order beginning with the one that answered last; `user:password@` in them counts as username.
    token: sent as bearer token instead of a password. ca_file, cert_file, key_file: PEM, for TLS and mutual TLS.
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
    ) -> None:
        self._servers = [_server(url, username, password, token) for url in urls]
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=timeout_s), retries=False, ca_certs=ca_file, cert_file=cert_file, key_file=key_file
        )

    def fetch(self, schema_id: int | str) -> tuple[str, str]:
        """Schema text and type ("AVRO", "JSON", "PROTOBUF"); references of an Avro schema are written into its text.

        Blocks for up to timeout_s per server and request. Raises Reject("schema.unknown") when the registry has no such schema,
        Stop("registry.refused") when it does not let us in, Retry("registry.unreachable", "registry.busy" or
        "registry.unexpected_answer") otherwise.
        """
        kind = "ids" if isinstance(schema_id, int) else "guids"
        answer = self._get(f"/schemas/{kind}/{schema_id}")
        schema_type = str(answer.get("schemaType") or "AVRO")
        text = _text(answer)
        if schema_type != "AVRO" or not answer.get("references"):
            return text, schema_type
        try:
            return inline(text, self._referenced(answer)), schema_type
        except (ValueError, KeyError, TypeError) as error:
            raise Reject(
                "schema.malformed", f"schema {schema_id} or one it refers to is no Avro schema: mend the registry"
            ) from error

    def close(self) -> None:
        self._pool.clear()

    def _referenced(self, answer: Mapping[str, Any]) -> list[str]:
        """The texts of all schemas that this one refers to, directly or not."""
        waiting, texts = list(answer["references"]), []
        seen: set[tuple[str, int]] = set()
        while waiting and len(seen) < REFERENCES_AT_MOST:
            reference = waiting.pop()
            place = (str(reference["subject"]), int(reference["version"]))
            if place in seen:
                continue
            seen.add(place)
            found = self._get(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}")
            texts.append(_text(found))
            waiting += found.get("references") or []
        return texts

    def _get(self, path: str) -> Mapping[str, Any]:
        """The answer of the first server that has one."""
        trouble = Retry("registry.unreachable", "no schema registry is configured: set INGEST_SCHEMA_REGISTRY_URL")
        for server in list(self._servers):
            try:
                answer = self._ask(*server, path)
            except Retry as error:
                trouble = error
                continue
            self._servers.remove(server)
            self._servers.insert(0, server)
            return answer
        raise trouble

    def _ask(self, base: str, headers: Mapping[str, str], path: str) -> Mapping[str, Any]:
        try:
            response = self._pool.request("GET", base + path, headers=dict(headers))
        except urllib3.exceptions.HTTPError as error:
            raise Retry(
                "registry.unreachable", f"{base} does not answer ({type(error).__name__}): check its address and state"
            ) from error
        if response.status in (401, 403):
            raise Stop("registry.refused", f"{base} answered {response.status}: check the registry's user, password or token")
        if response.status == 429 or response.status >= 500:
            raise Retry(
                "registry.busy", f"{base} answered {response.status} for {path}: look at the registry's own log", overload=True
            )
        answer = _json(response.data)
        if response.status == 404 and answer.get("error_code") in UNKNOWN_CODES:
            raise Reject("schema.unknown", f"the registry knows nothing at {path}: check that these records belong to it")
        if response.status != 200:
            text = f"{base} answered {response.status} for {path}, which no registry does: check its address"
            raise Retry("registry.unexpected_answer", text)
        return answer


def _server(url: str, username: str | None, password: str | None, token: str | None) -> tuple[str, dict[str, str]]:
    """The address without credentials, and the headers that carry them."""
    parsed = parse_url(url)
    base = Url(parsed.scheme or "http", None, parsed.host, parsed.port, (parsed.path or "").rstrip("/")).url
    headers = {"Accept": ACCEPT}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    elif username is not None:
        headers["Authorization"] = _basic(f"{username}:{password or ''}")
    elif parsed.auth is not None:
        headers["Authorization"] = _basic(unquote(parsed.auth))
    return base, headers


def _basic(user_and_password: str) -> str:
    return "Basic " + b64encode(user_and_password.encode()).decode()


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _text(answer: Mapping[str, Any]) -> str:
    text = answer.get("schema")
    if not isinstance(text, str):
        raise Retry("registry.unexpected_answer", "the registry's answer has no schema in it: check its address")
    return text
