"""The part of `check` that looks at contracts and tables: contradictions, what holds and what does not, room for shards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ingest.crate.catalogue import describe, query
from ingest.crate.http import HttpClient
from ingest.errors import Parked
from ingest.model import Table
from ingest.settings import Settings
from ingest.tables.checks import problems
from ingest.tables.contract import Contract, Problem, load_contracts
from ingest.tables.mapper import compile_mapper
from ingest.tables.routing import Router, lower_case
from ingest.tools.connect import mapping_rules
from ingest.tools.findings import Finding, fail, ok, warn

ROOM = (
    "SELECT (SELECT count(*) FROM sys.shards), (SELECT count(*) FROM sys.nodes), settings['cluster']['max_shards_per_node'] "
    "FROM sys.cluster"
)
DOES_NOT_HOLD = "does not hold: "
# A year of new partitions, each with a copy, should fit without anybody looking.
MONTHS_AHEAD = 12


def of_tables(settings: Settings, client: HttpClient, topics: Sequence[str]) -> Iterator[Finding]:
    """topics: those that would be read, as far as Kafka told."""
    contracts, wrong = load_contracts(Path(settings.schemas_dir))
    yield from of_contracts(settings, contracts, wrong)
    router = Router(contracts, default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
    by_name = {_full_name(contract.table, settings): contract for contract in contracts}
    routed = list(_routes(router, topics))
    yield from (target for target in routed if isinstance(target, Finding))
    by_topic = [target for target in routed if isinstance(target, str)]
    names = dict.fromkeys([*by_name, *by_topic])
    found = describe(client, {*names, *(folded for name in names if (folded := lower_case(name)))})
    for name in names:
        yield from of_table(settings, name, _table(found, name), by_name.get(name))
    yield from of_room(client, [table for name in names if (table := _table(found, name)) is not None])


def of_contracts(settings: Settings, contracts: Collection[Contract], wrong: Sequence[Problem]) -> Iterator[Finding]:
    """What is wrong in the files by themselves."""
    if contracts or wrong:
        yield ok("contracts", f"{len(contracts)} usable in {settings.schemas_dir}")
    else:
        yield ok("contracts", f"none in {settings.schemas_dir}, tables are found by the topics' names")
    yield from (_as_finding("contracts", problem) for problem in wrong)


def of_table(settings: Settings, name: str, table: Table | None, contract: Contract | None) -> Iterator[Finding]:
    """What is wrong with a table, or how it is mapped and what that does not promise."""
    if table is None:
        yield _missing(name, contract)
        return
    contradictions = problems(contract, table)
    yield from (_as_finding(name, problem) for problem in contradictions)
    if any(problem.severity == "error" for problem in contradictions):
        return
    try:
        lines = compile_mapper(table, contract, settings=mapping_rules(settings)).describe()
    except Parked as error:
        yield fail(name, error.text)
        return
    yield ok(name, "; ".join(line for line in lines if not line.startswith(DOES_NOT_HOLD)))
    yield from (warn(name, line) for line in lines if line.startswith(DOES_NOT_HOLD))


def of_room(client: HttpClient, tables: Sequence[Table]) -> Iterator[Finding]:
    """Whether the partitions of the coming months fit under the cluster's limit of shards."""
    used, nodes, per_node = query(client, ROOM, [])[0]
    left = nodes * per_node - used
    wanted = 2 * MONTHS_AHEAD * sum(table.shards for table in tables if table.month_column is not None)
    text = f"{used} shards of {nodes * per_node}, the next {MONTHS_AHEAD} months need up to {wanted} more"
    if left <= 0:
        yield fail("shards", f"{text}: no partition can be created; drop old partitions, or raise cluster.max_shards_per_node")
    elif left < wanted:
        yield warn("shards", f"{text}: use fewer shards per table, drop old partitions, or raise cluster.max_shards_per_node")
    else:
        yield ok("shards", text)


def _routes(router: Router, topics: Sequence[str]) -> Iterator[str | Finding]:
    """The table of each topic, as far as its name tells; what the records say of their table is not known here."""
    for topic in topics:
        try:
            yield router.route(topic, ())
        except Parked as error:
            yield warn(f"topic {topic}", error.text)


def _table(found: Mapping[str, Table | None], name: str) -> Table | None:
    """The table of that name, or the one that CrateDB made of it where it was created without quotes."""
    folded = lower_case(name)
    return found.get(name) or (found.get(folded) if folded else None)


def _missing(name: str, contract: Contract | None) -> Finding:
    remedy = "create it with a file in INGEST_SQL_DIR and `ingest migrate`"
    if contract is not None:
        return fail(name, f"{contract.problem('table', '').file} names it, but CrateDB has no such table: {remedy}")
    return warn(name, f"CrateDB has no such table: {remedy}, or name another one in a contract (fine if the records name theirs)")


def _as_finding(what: str, problem: Problem) -> Finding:
    text = f"{problem.file}:{problem.line}: {problem.text}" if problem.file != what else problem.text
    return warn(what, text) if problem.severity == "warning" else fail(what, text)


def _full_name(table: str, settings: Settings) -> str:
    return table if "." in table else f"{settings.crate_schema}.{table}"
