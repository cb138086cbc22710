"""The stage: servers of the demo's own or yours, its topics, and taking all of it down again.

On real servers nothing is touched that was there before: where a topic or table has a name of the demo's, it does not begin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from kafka.errors import CoordinatorNotAvailableError

from ingest.crate.catalogue import query
from ingest.crate.http import HttpClient
from ingest.demo import clients
from ingest.demo.children import LOOK_EVERY_S, Child, Children
from ingest.demo.patience import Patience
from ingest.demo.site import GROUP, LETTERS, RELATIONS, SCHEMA, Site
from ingest.demo.stock import PARTITIONS
from ingest.errors import Retry, Stop

START_WITHIN_S = 20.0
CLEAN_WITHIN_S = 20.0
# The client's words for: it was deleted, there was none.
GROUP_IS_GONE = ("OK", "NoError", "GroupIdNotFoundError")
RELATIONS_THERE = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name"


def own_servers(children: Children, folder: Path, patience: Patience) -> Site:
    """Start a broker and a store in processes of their own; raises Stop when one does not come up."""
    started = [start_server(children, what) for what in ("broker", "store")]
    kafka, crate = (address_of(child, patience) for child in started)
    return Site(kafka, crate, is_ours=True, folder=folder, environ=os.environ)


def start_server(children: Children, what: str) -> Child:
    env = {name: text for name, text in os.environ.items() if not name.startswith("INGEST_")}
    return children.start(what, [sys.executable, "-m", "ingest.demo.serve", what], env)


def address_of(server: Child, patience: Patience) -> str:
    deadline_s = monotonic() + START_WITHIN_S
    while not server.said().endswith("\n"):
        if server.code is not None or monotonic() > deadline_s:
            raise Stop("demo.server", f"the demo's own {server.name} did not start: {server.last_words()}")
        patience.pause(LOOK_EVERY_S)
    return server.said().strip()


# ---------------------------------------------------------------- topics


def make_topics(site: Site) -> None:
    """The demo's topics and the one for dead letters, all empty."""
    replicas = 1 if site.is_ours else -1
    shapes = {topic: {"num_partitions": PARTITIONS, "replication_factor": replicas} for topic in site.topics}
    shapes[LETTERS] = {"num_partitions": 1, "replication_factor": replicas}
    with clients.administering(site, "making the demo's topics") as admin:
        admin.create_topics(shapes, wait_for_metadata=True)


def topics_there(site: Site) -> list[str]:
    """Which of the demo's topics exist."""
    with clients.administering(site, "asking for topics") as admin:
        existing = set(admin.list_topics())
    return [topic for topic in (*site.topics, LETTERS) if topic in existing]


# ---------------------------------------------------------------- what is there already, and taking it down


def refuse_what_is_there(site: Site) -> None:
    """Raises Stop for topics or tables of the demo's names: they are an earlier demo's, or somebody's."""
    with clients.crate(site) as client:
        found = [*(f"topic {name}" for name in topics_there(site)), *relations_there(client)]
    if found:
        more = f" and {len(found) - 1} more of the demo's names exist" if len(found) > 1 else " exists"
        text = f"{found[0]}{more} already: if an earlier demo left that, `ingest demo --clean` with these addresses removes it"
        raise Stop("demo.not_empty", text)


def relations_there(client: HttpClient) -> list[str]:
    """The demo's views and tables that exist, as a DROP names them."""
    there = {f"{SCHEMA}.{row[0]}" for row in query(client, RELATIONS_THERE, [SCHEMA])}
    return [f"{kind.lower()} {name}" for name, kind in RELATIONS.items() if name in there]


def clean(site: Site) -> list[str]:
    """Remove the demo's topics, group, views and tables, as far as they are there; what was removed."""
    topics = remove_topics(site)
    with clients.crate(site) as client:
        relations = relations_there(client)
        for relation in relations:
            query(client, f"DROP {relation}", [])
    return [*topics, *relations]


def remove_topics(site: Site) -> list[str]:
    """The topics and the group. Not to be broken off: it waits with deadlines of its own."""
    with clients.administering(site, "removing the demo's topics") as admin:
        topics = [topic for topic in (*site.topics, LETTERS) if topic in set(admin.list_topics())]
        if topics:
            admin.delete_topics(topics)
        is_gone = wait_until(lambda: not set(admin.list_topics()) & set(topics))
        is_forgotten = wait_until(lambda: has_no_group(admin))
    if not (is_gone and is_forgotten):
        raise Retry("demo.clean", f"Kafka did not let go of the demo's topics or group within {CLEAN_WITHIN_S:.0f} s: try again")
    return [f"topic {topic}" for topic in topics]


def has_no_group(admin: Any) -> bool:
    """Delete the group if there is one; False while it has members, as it has for some seconds after a worker was killed."""
    try:
        return admin.delete_groups([GROUP]).get(GROUP) in GROUP_IS_GONE
    except CoordinatorNotAvailableError:
        return False  # a new Kafka first makes its topic of groups


def wait_until(is_so: Callable[[], bool]) -> bool:
    """False if it is not so within CLEAN_WITHIN_S."""
    deadline_s = monotonic() + CLEAN_WITHIN_S
    while not (so := is_so()) and monotonic() < deadline_s:
        sleep(0.2)
    return so
