"""Three nodes of CrateDB with small heaps on this machine: which rows kill one by one, and start again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.server_processes import HOST, CrateServer

HEAP = "512m"
NODES = 3


def three_nodes(home: Path) -> list[CrateServer]:
    """Formed into a cluster, started."""
    options: list[dict[str, object]] = [{"node.name": f"n{number}"} for number in range(NODES)]
    nodes = [CrateServer(home, each, heap=HEAP) for each in options]
    shared = {
        "discovery.type": "zen",
        "discovery.seed_hosts": ",".join(f"{HOST}:{node.ports[2]}" for node in nodes),
        "cluster.initial_master_nodes": ",".join(str(each["node.name"]) for each in options),
        "gateway.expected_data_nodes": NODES,
        "gateway.recover_after_data_nodes": 2,
    }
    for each in options:
        each.update(shared)
    start(nodes)
    return nodes


def start(nodes: Iterable[CrateServer]) -> None:
    """All at once: a node that is alone has no master and does not count as up."""
    launched = list(nodes)
    for node in launched:
        node.launch()
    for node in launched:
        node.wait_until_up()
