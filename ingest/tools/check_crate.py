"""The part of `check` that looks at CrateDB as a whole: addresses, versions, what our user may see, disks, room for shards.

Reads only, in one thread. What our user may not see is told as such: no query that is refused hides the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.crate.http import Address, HttpClient, parse_addresses
from ingest.errors import Retry, Stop
from ingest.model import Table
from ingest.settings import Settings
from ingest.tools.check_versions import BEST, of_version, version_of
from ingest.tools.check_words import counted, listed, size
from ingest.tools.connect import password_of, tls_of
from ingest.tools.findings import Finding, fail, ok, untold, warn

CONNECT_S, READ_S = 3.0, 6.0
# A year of new partitions should fit without anybody looking.
MONTHS_AHEAD = 12

USER = "SELECT current_user"
CLUSTER = "SELECT id FROM sys.cluster"
SETTINGS = "SELECT settings['cluster'] FROM sys.cluster"
NODES = "SELECT name, version['number'] FROM sys.nodes ORDER BY name"
DISKS = "SELECT name, fs['total']['size'], fs['total']['available'] FROM sys.nodes ORDER BY name"
SHARDS = "SELECT count(*) FROM sys.shards"
JOBS = "SELECT count(*) FROM sys.jobs"
UNMET = "SELECT severity, description FROM sys.checks WHERE passed = FALSE ORDER BY severity DESC"
BYTES: Mapping[str, int] = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}


@dataclass(slots=True)
class Cluster:
    """What is known of it. settings: those under `cluster`, empty where they may not be seen. used_shards: None likewise."""

    user: str
    names: Sequence[str] = ()
    versions: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None
    used_shards: int | None = None

    @property
    def nodes(self) -> int:
        return len(self.versions) or 1

    def setting(self, *path: str) -> Any:
        found: Any = self.settings or {}
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def client_of(settings: Settings, addresses: Sequence[Address] | None = None) -> HttpClient:
    """A client that gives up soon. Raises Stop as parse_addresses and the certificates do."""
    return HttpClient(
        addresses or parse_addresses(settings.crate_urls),
        user=settings.crate_user,
        password=password_of(settings),
        tls=tls_of(settings),
        connect_s=CONNECT_S,
        read_s=READ_S,
    )


def rows_of(client: HttpClient, stmt: str, args: Sequence[Any] = ()) -> list[list[Any]] | None:
    """The rows, None where CrateDB refuses the query: without a privilege it calls tables unknown that others see."""
    answer = client.execute(stmt, args)
    return answer.rows if answer.is_ok else None


# ---------------------------------------------------------------- addresses


def of_addresses(settings: Settings) -> Iterator[Finding]:
    """Each by itself, because a client that finds one of them goes on with that.

    Raises what it meets when none answers, Stop("store.clusters") where no answer could be trusted.
    """
    clusters: dict[str, str] = {}
    dead: list[tuple[Address, Retry]] = []
    addresses = parse_addresses(settings.crate_urls)
    for address in addresses:
        try:
            clusters[str(address)] = _cluster_at(settings, address)
        except Retry as error:
            dead.append((address, error))
    if not clusters:
        tried = ", ".join(str(address) for address, _ in dead)
        text = f"no CrateDB node answers at {tried}: is it running, is INGEST_CRATE_URLS right?"
        raise Retry("store.unreachable", text) from dead[0][1]
    yield ok("cratedb", f"{', '.join(clusters)} {'answers' if len(clusters) == 1 else 'answer'}")
    for address, _ in dead:
        yield warn("cratedb", f"{address} does not answer, {len(dead)} of {len(addresses)} addresses: start it, or take it out")
    if len(set(clusters.values()) - {""}) > 1:
        text = "the addresses in INGEST_CRATE_URLS belong to different clusters, rows would be spread over them: keep one"
        raise Stop("store.clusters", text)


def _cluster_at(settings: Settings, address: Address) -> str:
    """The id of its cluster, "" where we may not see it."""
    client = client_of(settings, [address])
    try:
        rows = rows_of(client, CLUSTER)
        return str(rows[0][0]) if rows else ""
    finally:
        client.close()


# ---------------------------------------------------------------- the cluster


def seen(client: HttpClient, settings: Settings) -> Cluster:
    user = rows_of(client, USER)
    found = Cluster(str(user[0][0]) if user else settings.crate_user)
    nodes = rows_of(client, NODES) or ()
    found.names, found.versions = [str(row[0]) for row in nodes], [str(row[1]) for row in nodes]
    options = rows_of(client, SETTINGS)
    found.settings = options[0][0] if options else None
    shards = rows_of(client, SHARDS)
    found.used_shards = int(shards[0][0]) if shards else None
    return found


def of_cluster(settings: Settings, client: HttpClient, cluster: Cluster) -> Iterator[Finding]:
    yield from of_sight(client, cluster)
    yield from of_nodes(settings, cluster)
    yield from of_disks(rows_of(client, DISKS), cluster)
    yield from of_allocation(cluster)
    yield from _unmet(client)


def of_sight(client: HttpClient, cluster: Cluster) -> Iterator[Finding]:
    """The worker asks sys.jobs whether a request whose answer was lost still runs."""
    if rows_of(client, JOBS) is None:
        grant = f"GRANT DQL ON SCHEMA sys TO {quoted(cluster.user)}"
        text = f"user {cluster.user} may not read sys.jobs, so after a time-out its rows wait for two minutes"
        yield fail("cratedb", f"{text}: {grant}")


def of_nodes(settings: Settings, cluster: Cluster) -> Iterator[Finding]:
    if not cluster.versions:
        yield untold("cratedb", f"user {cluster.user} may not see nodes and their versions")
        return
    distinct = sorted(set(cluster.versions), key=version_of)
    nodes = f"{counted(cluster.nodes, 'node')} ({listed(cluster.names)})"
    yield ok("cratedb", f"{nodes}, version {', '.join(distinct)}, as user {cluster.user}")
    if len(distinct) > 1:
        yield warn("cratedb", "its nodes run different versions: finish the upgrade")
    yield from of_version(distinct[0])
    if has_password(settings) and version_of(distinct[0]) >= BEST:
        text = "each request pays a password check of about 65 ms CPU there: let it trust the worker's address"
        yield warn("cratedb", f"{text}, or use a client certificate (INGEST_CRATE_CERT_FILE)")


def has_password(settings: Settings) -> bool:
    return settings.crate_password is not None or any(address.password for address in parse_addresses(settings.crate_urls))


def quoted(name: str) -> str:
    """
    >>> quoted("crate"), quoted("Me")
    ('crate', '"Me"')
    """
    return name if name.isidentifier() and name.islower() else '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------- disks


def of_disks(disks: Sequence[Sequence[Any]] | None, cluster: Cluster) -> Iterator[Finding]:
    """disks: name, size and available bytes of each node, None where not told."""
    marks = cluster.setting("routing", "allocation", "disk")
    known = [row for row in disks or () if isinstance(row[1], int) and isinstance(row[2], int) and row[1] > 0]
    if not known or not isinstance(marks, Mapping):
        yield untold("disk", "how full the disks are, and at which marks CrateDB stops writing")
        return
    above = [(node, mark) for node, mark in _above(known, marks) if mark]
    for name, mark in above:
        yield _full(name, mark, marks["watermark"][mark])
    if not above:
        free = ", ".join(f"{size(row[2])} of {size(row[1])}" for row in known[:3])
        yield ok("disk", f"free: {free}" + (f" and {len(known) - 3} more nodes" if len(known) > 3 else ""))
    if marks.get("threshold_enabled") is False:
        yield warn("disk", "the marks are off (disk.threshold_enabled = false): a full disk stops a node without a warning")


def _above(disks: Sequence[Sequence[Any]], marks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each node with the highest mark that its disk has passed, or ""."""
    for name, total, available in disks:
        passed = [
            mark for mark in ("flood_stage", "high", "low") if is_above(total, available, marks.get("watermark", {}).get(mark))
        ]
        yield str(name), passed[0] if passed else ""


def is_above(total: int, available: int, mark: object) -> bool:
    """Whether a disk is fuller than a mark, which is a part in use ("85%", "0.85") or bytes that must be free ("10gb").

    >>> is_above(100, 10, "85%"), is_above(100, 20, "0.85"), is_above(1 << 30, 1 << 20, "10mb"), is_above(9, 1, None)
    (True, False, True, False)
    """
    text = str(mark or "").strip().lower()
    digits = text.rstrip("%abcdefghijklmnopqrstuvwxyz")
    unit = text.removeprefix(digits)
    try:
        number = float(digits)
    except ValueError:
        return False
    if unit in BYTES:
        return available < number * BYTES[unit]
    return (total - available) / total > (number / 100 if unit == "%" else number)


def _full(name: str, mark: str, value: object) -> Finding:
    where = f"the disk of {name} is above the {mark.replace('_', ' ')} mark of {value}"
    if mark == "flood_stage":
        return fail("disk", f"{where}, so its tables are read-only: free some space")
    if mark == "high":
        return warn("disk", f"{where}, so its shards move away, if they can: free some space")
    return warn("disk", f"{where}, so no more copies of shards go there: free some space")


def of_allocation(cluster: Cluster) -> Iterator[Finding]:
    enabled = cluster.setting("routing", "allocation", "enable")
    if enabled in ("none", "primaries"):
        text = f"cluster.routing.allocation.enable is {enabled}, which is for the time of an upgrade: RESET GLOBAL it"
        yield fail("cratedb", f"new partitions get no shards: {text}") if enabled == "none" else warn("cratedb", text)


def _unmet(client: HttpClient) -> Iterator[Finding]:
    """What CrateDB itself finds wrong. A server without such checks has none to tell."""
    for _, description in rows_of(client, UNMET) or ():
        yield warn("cratedb", f"its own check: {description}")


# ---------------------------------------------------------------- shards


def of_room(cluster: Cluster, wanted: int) -> Finding:
    """Whether the partitions of the coming months fit under the cluster's limit of shards. wanted: shards that they need."""
    per_node = cluster.setting("max_shards_per_node")
    if cluster.used_shards is None or not isinstance(per_node, int):
        return untold("shards", f"whether {wanted:,} more fit: user {cluster.user} may not see sys.shards and sys.cluster")
    most = per_node * cluster.nodes
    left = most - cluster.used_shards
    text = f"{cluster.used_shards:,} shards of {most:,}, the next {MONTHS_AHEAD} months need up to {wanted:,} more"
    if left <= 0:
        return fail("shards", f"{text}: no partition can be created; drop old partitions, or raise cluster.max_shards_per_node")
    if left < wanted:
        return warn("shards", f"{text}: use fewer shards per table, drop old partitions, or raise cluster.max_shards_per_node")
    return ok("shards", text)


def shards_ahead(tables: Sequence[tuple[Table, int]]) -> int:
    """Shards of the coming months. tables: with the copies that each shard has."""
    return sum(MONTHS_AHEAD * table.shards * copies for table, copies in tables if table.month_column is not None)
