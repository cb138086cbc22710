"""The part of `check` that looks at contracts and tables: contradictions, what holds and what does not, where topics lead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from ingest.crate.catalogue import describe, name_of
from ingest.crate.http import HttpClient
from ingest.errors import IngestError, Parked, Retry, Stop
from ingest.kafka.preflight import Seen, TopicSeen
from ingest.model import Level, Record, Table
from ingest.settings import Settings
from ingest.tables.checks import problems
from ingest.tables.contract import Contract, Problem, load_contracts
from ingest.tables.mapper import compile_mapper
from ingest.tables.routing import Router, lower_case, topic_test
from ingest.tools import check_records
from ingest.tools.check_crate import Cluster, of_room, shards_ahead
from ingest.tools.check_kafka import ENDLESS, kept_ms
from ingest.tools.check_records import Tried
from ingest.tools.check_storage import closed_or_blocked, kept_of, of_kept, of_privileges, shape
from ingest.tools.check_words import DAY_MS, duration, listed
from ingest.tools.connect import mapping_rules
from ingest.tools.findings import Finding, fail, ok, warn
from ingest.tools.rooms import Rooms, by_table

DOES_NOT_HOLD = "does not hold: "
UNREACHED = frozenset({"store.unreachable", "store.timeout", "store.reset", "store.unauthorised", "store.tls"})
# A month is never longer, so a topic that keeps records for longer than `keep` has some that are expired.
MONTH_MS = 31 * DAY_MS


@dataclass(slots=True)
class Leads:
    """Which topics lead to which table, and what the newest records of each topic say.

    rooms: None where the contracts or schema files cannot be used. tried: by topic. astray: what is wrong with the way there.
    sure: tables that records name, beside those that only the name of a topic suggests.
    """

    rooms: Rooms | None = None
    tried: dict[str, list[Tried]] = field(default_factory=dict)
    topics: dict[str, list[str]] = field(default_factory=dict)
    astray: list[Finding] = field(default_factory=list)
    sure: set[str] = field(default_factory=set)

    def add(self, table: str, topic: str) -> None:
        known = self.topics.setdefault(table, [])
        if topic not in known:
            known.append(topic)


def of_tables(
    settings: Settings, client: HttpClient, cluster: Cluster, seen: Seen, records: Mapping[str, Sequence[Record]]
) -> Iterator[Finding]:
    """seen, records: as far as Kafka told."""
    contracts, wrong = load_contracts(Path(settings.schemas_dir))
    yield from of_contracts(settings, contracts, wrong)
    yield from (finding for contract in contracts for finding in of_topics(contract, seen))
    leads = leads_of(settings, contracts, seen.topics, records)
    yield from leads.astray
    said = by_table(contracts, settings)
    tables, refused = described(client, [*dict.fromkeys([*said, *leads.topics])])
    present = list({table.full_name: table for table in tables.values() if table is not None}.values())
    kept = kept_of(client, [*present, *(stub(name) for name in refused)])
    for name, error in refused.items():
        yield from list(closed_or_blocked(stub(name), kept[name_of(name)])) or [fail(name, error.text)]
    for name, table in tables.items():
        yield from of_table(settings, name, table, said.get(name), cluster.user, is_sure=name in leads.sure)
        if table is not None:
            here, topics = kept[table.schema, table.name], leads.topics.get(name, [])
            yield _at_rest(seen, topics, table, shape(table, here, cluster.nodes))
            yield from of_way(said.get(name), [seen.topics[topic] for topic in topics if topic in seen.topics], table)
            yield from of_kept(settings, cluster, table, here, _now_ms())
    yield from of_privileges(client, cluster, present)
    yield from of_records(leads, tables)
    yield of_room(cluster, shards_ahead([(each, kept[each.schema, each.name].copies(cluster.nodes)) for each in present]))


def described(client: HttpClient, names: Sequence[str]) -> tuple[dict[str, Table | None], dict[str, IngestError]]:
    """The tables of these names, and why some of them cannot be described: SHOW CREATE TABLE is refused for a blocked one."""
    try:
        return _described(client, names), {}
    except (Retry, Stop) as error:
        if error.code in UNREACHED:
            raise
    tables: dict[str, Table | None] = {}
    refused: dict[str, IngestError] = {}
    for name in names:
        try:
            tables |= _described(client, [name])
        except (Retry, Stop) as error:
            refused[name] = error
    return tables, refused


def _described(client: HttpClient, names: Sequence[str]) -> dict[str, Table | None]:
    """A table that was created without quotes has its name in lower case."""
    both = {*names, *(folded for name in names if (folded := lower_case(name)))}
    try:
        found = describe(client, both)
    except Retry as error:
        if error.code != "store.starting":
            raise
        found = {}  # it shows no table at all, so each of ours is told as missing
    return {name: found.get(name) or found.get(lower_case(name) or "") for name in names}


def stub(name: str) -> Table:
    """A table of which only the name is known."""
    schema, table = name_of(name)
    return Table(schema, table, {}, ())


# ---------------------------------------------------------------- contracts


def of_contracts(settings: Settings, contracts: Collection[Contract], wrong: Sequence[Problem]) -> Iterator[Finding]:
    """What is wrong in the files by themselves."""
    if contracts or wrong:
        yield ok("contracts", f"{len(contracts)} usable in {settings.schemas_dir}")
    else:
        yield ok("contracts", f"none in {settings.schemas_dir}, tables are found by the topics' names")
    yield from (_as_finding("contracts", problem) for problem in wrong)


def of_topics(contract: Contract, seen: Seen) -> Iterator[Finding]:
    """Topics that a contract names and nobody reads."""
    if not seen.topics:
        return
    for topic in contract.topics:
        is_named = topic_test(Contract(contract.table, (topic,)))
        if not any(is_named(each) for each in seen.topics):
            how = "exists, but is not in INGEST_TOPICS" if topic in seen.existing else "is none of the topics that are read"
            yield _as_finding("contracts", contract.problem("topics", f"topic {topic} {how}: correct one of the two", "warning"))


# ---------------------------------------------------------------- ways


def leads_of(
    settings: Settings, contracts: Sequence[Contract], topics: Collection[str], records: Mapping[str, Sequence[Record]]
) -> Leads:
    """Where topics lead: by their records where there are some, else by their names."""
    leads = Leads()
    router = Router(contracts, default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
    try:
        leads.rooms = Rooms(settings)
        router = leads.rooms.router
    except Stop as error:
        if error.code != "contracts.invalid":  # those are told line by line
            leads.astray.append(fail("schemas", error.text))
    for topic in sorted(topics):
        if leads.rooms is not None:
            leads.tried[topic] = check_records.read(leads.rooms, records.get(topic, ()))
        targets = [target for each in leads.tried.get(topic, ()) for target in each.targets]
        leads.sure.update(targets)
        for target in targets or _by_name(router, topic, leads):
            leads.add(target, topic)
    return leads


def _by_name(router: Router, topic: str, leads: Leads) -> list[str]:
    """As far as the topic's name tells; what is wrong with a record that was tried is told there."""
    try:
        return [router.route(topic, ())]
    except Parked as error:
        if not leads.tried.get(topic):
            leads.astray.append(warn(f"topic {topic}", error.text))
        return []


def of_way(contract: Contract | None, topics: Sequence[TopicSeen], table: Table) -> Iterator[Finding]:
    """What topics keep and their table does not, and the other way round."""
    keep = contract.partition.keep_months if contract is not None else None
    for topic in topics:
        age_ms = kept_ms(topic)
        if keep is not None and age_ms is not None and (age_ms == ENDLESS or age_ms > keep * MONTH_MS):
            text = (
                f"keeps records for longer than keep = {keep} months: read from the beginning, the older ones become dead letters"
            )
            yield warn(table.full_name, f"topic {topic.name} {text}")
        if contract is not None and contract.by_position and "compact" in topic.policies:
            text = "is compacted, so of the events with one Kafka key only the last stays: set cleanup.policy=delete"
            yield warn(table.full_name, f"topic {topic.name} {text}")


def of_records(leads: Leads, tables: Mapping[str, Table | None]) -> Iterator[Finding]:
    """Whether the newest records would be written."""
    if leads.rooms is None:
        return
    try:
        for topic, tried in leads.tried.items():
            check_records.map_all(tried, tables, leads.rooms, _now_ms())
            yield from check_records.of_topic(leads.rooms, topic, tried, tables)
    finally:
        leads.rooms.close()


# ---------------------------------------------------------------- one table


def of_table(
    settings: Settings, name: str, table: Table | None, contract: Contract | None, user: str = "", *, is_sure: bool = False
) -> Iterator[Finding]:
    """What is wrong with a table, or how it is mapped and what that does not promise."""
    if table is None:
        yield _missing(name, contract, user, is_sure)
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
    said = f"contract: {contract.file}" if contract is not None and contract.file else "contract: none"
    yield ok(name, "; ".join([*(line for line in lines if not line.startswith(DOES_NOT_HOLD)), said]))
    yield from (warn(name, line) for line in lines if line.startswith(DOES_NOT_HOLD))


def _at_rest(seen: Seen, topics: Sequence[str], table: Table, shape_: str) -> Finding:
    """How it is stored and where its rows come from; for tombstones, from what age on they may go."""
    if not topics and seen.topics:
        return warn(table.full_name, f"no topic leads to it: correct `topics` in its contract, or INGEST_TOPICS; {shape_}")
    words = [shape_, *([f"from {listed(topics)}"] if topics else [])]
    if table.level is Level.ORDERED and (age := _purge_age(seen, topics)):
        words.append(age)
    return ok(table.full_name, "; ".join(words))


def _purge_age(seen: Seen, topics: Sequence[str]) -> str:
    """A tombstone must outlive every record and letter that could bring its row back."""
    letters = seen.letters.topic if seen.letters is not None else None
    ages = [kept_ms(topic) for topic in (*(seen.topics.get(each) for each in topics), letters)]
    told = [age for age in ages if age is not None]
    if len(told) < len(ages):
        return ""
    if ENDLESS in told:
        return "tombstones must stay, as records or letters are kept without end"
    return f"tombstones may go when they are older than {duration(max(told))}"


def _missing(name: str, contract: Contract | None, user: str, is_sure: bool) -> Finding:
    remedy = "create it with a file in INGEST_SQL_DIR and `ingest migrate`"
    if user and user != "crate":
        remedy += f", or if it is there, GRANT DQL, DML ON TABLE {name} TO {user}"
    if contract is not None:
        return fail(name, f"{contract.problem('table', '').file} names it, but CrateDB shows no such table: {remedy}")
    if is_sure:
        return fail(name, f"records lead to it, but CrateDB shows no such table: {remedy}")
    other = "name another one in a contract (fine if the records name theirs)"
    return warn(name, f"CrateDB shows no such table: {remedy}, or {other}")


def _as_finding(what: str, problem: Problem) -> Finding:
    text = f"{problem.file}:{problem.line}: {problem.text}" if problem.file != what else problem.text
    return warn(what, text) if problem.severity == "warning" else fail(what, text)


def _now_ms() -> int:
    return int(time() * 1000)
