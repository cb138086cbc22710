"""`ingest unpark`: asks a running worker, over its own HTTP server, to let a parked table or topic go on."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from ingest.errors import Stop
from ingest.settings import Settings

TIMEOUT_S = 10.0
# The worker is a neighbour: a proxy of the environment has no business between us.
_opener = build_opener(ProxyHandler({}))


def default_url(settings: Settings) -> str:
    """Where the first worker of this environment listens. Raises Stop("settings.http_off") when it does not."""
    if not settings.http_port:
        raise Stop("settings.http_off", "INGEST_HTTP_PORT is 0, so this worker does not listen: name another one with --url")
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::", "") else settings.http_host
    return f"http://[{host}]:{settings.http_port}" if ":" in host else f"http://{host}:{settings.http_port}"


def unpark(base_url: str, name: str) -> list[str]:
    """The subjects that go on. Raises Stop("unpark.unknown") when nothing of that name is parked there, Stop("unpark.no_worker")
    when no worker answers."""
    url = f"{base_url.rstrip('/')}/unpark?name={quote(name, safe='')}"
    try:
        with _opener.open(Request(url, method="POST"), timeout=TIMEOUT_S) as response:
            return list(json.load(response)["unparking"])
    except HTTPError as error:
        raise _refusal(base_url, name, error) from error
    except (URLError, OSError, ValueError, KeyError) as error:
        raise Stop("unpark.no_worker", f"no worker answers at {base_url}: is it running, is --url right?") from error


def _refusal(base_url: str, name: str, error: HTTPError) -> Stop:
    with error:
        body = _json(error)
    if error.code != 404 or "parked" not in body:
        return Stop("unpark.no_worker", f"what answers at {base_url} is no worker (status {error.code}): is --url right?")
    parked = ", ".join(body["parked"]) or "nothing"
    return Stop("unpark.unknown", f"{name} is not parked at {base_url}; parked there: {parked}")


def _json(error: HTTPError) -> dict[str, Any]:
    try:
        body = json.load(error)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
