"""The Compose network on one machine: each host:port of it becomes a port on the loopback, each mount a folder.

Pure bookkeeping; used by the thread of the test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.packaging.compose_files import COMPOSE
from tests.server_processes import HOST, free_ports


class Places:
    """services: of the project. folder: for what Compose keeps in named volumes."""

    def __init__(self, services: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        self._services, self._folder = services, folder
        self._ports: dict[tuple[str, str], int] = {}
        names = "|".join(sorted(services, key=len, reverse=True))
        self._address = re.compile(rf"(?<![\w.-])({names}|localhost)?:(\d{{2,5}})(?!\d)")

    def port(self, host: str, port: str) -> int:
        """Where it listens here, chosen when first asked for."""
        return self._ports.setdefault((host, port), free_ports(1)[0])

    def put(self, host: str, port: str, here: int) -> None:
        self._ports[host, port] = here

    def here(self, text: str, service: str) -> str:
        """A text of the files as it must be on this machine: addresses, and paths in the service's container."""
        text = self._address.sub(lambda found: f"{HOST}:{self.port(self._host(found[1], service), found[2])}", text)
        for inside, outside in self.mounts(service).items():
            text = re.sub(rf"^{re.escape(inside)}(?=/|$)", str(outside), text)
        return text

    def _host(self, written: str | None, service: str) -> str:
        """To itself a container is localhost, and a listener without a host is its own."""
        return service if written in (None, "localhost") else str(written)

    def mounts(self, service: str) -> dict[str, Path]:
        """Path in the container -> folder on this machine."""
        volumes = [volume.split(":") for volume in self._services[service].get("volumes", ())]
        return {target: self._outside(source) for source, target, *_ in volumes}

    def _outside(self, source: str) -> Path:
        if source.startswith("."):
            return (COMPOSE / source).resolve()
        folder = self._folder / source
        folder.mkdir(exist_ok=True)
        return folder

    def environment(self, service: str) -> dict[str, str]:
        return {name: self.here(str(value), service) for name, value in self._services[service].get("environment", {}).items()}

    def words(self, service: str, part: str) -> list[str]:
        """The service's "command" or "entrypoint", empty where it has none."""
        return [self.here(word, service) for word in self._services[service].get(part, ())]
