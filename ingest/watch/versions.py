"""What this process is made of: the versions of ingest, of Python and of the clients. Pure but for reading installed metadata."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGE = "cratedb-ingest"
# Those whose version decides how bytes are read and written.
CLIENTS = ("kafka-python", "crate", "urllib3", "msgspec", "orjson", "fastavro", "cratedb-sqlparse", "prometheus-client")
NAMES = (PACKAGE, "Python", *CLIENTS)
NOT_INSTALLED = "(not installed as a package)"


@cache
def versions() -> Mapping[str, str]:
    """Name -> version, in the order of NAMES. Read once: it takes some milliseconds."""
    return (
        dict.fromkeys(NAMES, "") | {name: _version(name) for name in (PACKAGE, *CLIENTS)} | {"Python": platform.python_version()}
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
