"""The pure rooms built by hand from settings, without loop and sockets: what `run`, `explain` and `why` have in common.

`Rooms` decodes, routes and maps one record at a time like a worker, but waits for the registry where a worker would hold the
record. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ingest.errors import Parked, Reject, Stop
from ingest.formats.decoder import FORMATS, WITH_PREFIX, Decoder
from ingest.formats.schemas import SchemaCache
from ingest.model import Envelope, NeedSchema, Record, Skip, Table
from ingest.settings import Settings
from ingest.tables.contract import Contract, load_contracts
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.routing import Router, topic_test
from ingest.tools import connect

# A key and a value name one schema each; a third question means that an answer did not help.
SCHEMAS_PER_RECORD = 3


def contracts_of(settings: Settings) -> list[Contract]:
    """The contracts in the schemas folder. Raises Stop("contracts.invalid") with a line per problem."""
    contracts, problems = load_contracts(Path(settings.schemas_dir))
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise Stop("contracts.invalid", "\n".join(errors))
    return contracts


def full_name(table: str, settings: Settings) -> str:
    return table if "." in table else f"{settings.crate_schema}.{table}"


def by_table(contracts: Sequence[Contract], settings: Settings) -> Mapping[str, Contract]:
    """Contracts by the full name of their table; a name without schema means INGEST_CRATE_SCHEMA, as it does to the router."""
    return {full_name(contract.table, settings): contract for contract in contracts}


class TopicFormats:
    """What the contracts say of a topic's format; "auto" where they say nothing."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self._declared = [(topic_test(contract), contract.format) for contract in contracts if contract.format != "auto"]

    def of(self, topic: str) -> str:
        return next((declared for is_named, declared in self._declared if is_named(topic)), "auto")


def taker(schemas: SchemaCache) -> Callable[[int | str, tuple[str, str] | Reject], None]:
    """Puts what the registry answered into the cache."""

    def take(schema_id: int | str, found: tuple[str, str] | Reject) -> None:
        if isinstance(found, Reject):
            schemas.put_failure(schema_id, found)
        else:
            schemas.put(schema_id, *found)

    return take


def schema_cache(folder: Path, has_registry: bool) -> SchemaCache:
    """A cache that knows the Avro files of the folder: `<topic>.avsc` for values, `<topic>-key.avsc` for keys."""
    schemas = SchemaCache(has_registry=has_registry)
    for path in sorted(folder.glob("*.avsc")):
        topic = path.stem
        try:
            schemas.put_topic(topic.removesuffix("-key"), path.read_text(), for_key=topic.endswith("-key"))
        except (Reject, ValueError) as error:
            raise Stop("schemas.invalid", f"{path.name} is no Avro schema that can be read: {error}") from error
    return schemas


def decoder_of(settings: Settings, topic_format: Callable[[str], str], schemas: SchemaCache) -> Decoder:
    """The decoder as the settings want it."""
    return Decoder(
        topic_format=topic_format,
        schemas=schemas,
        flattened_prefix=settings.flattened_prefix,
        unavailable_value=settings.unavailable_value,
    )


class Rooms:
    """Decoder, router and mappers of one environment. declared: the format of every topic, None as the contracts say."""

    def __init__(self, settings: Settings, declared: str | None = None) -> None:
        if declared not in (None, "auto", *FORMATS) and not str(declared).startswith(WITH_PREFIX):
            raise Stop("explain.format", f"there is no format {declared}: use auto, {', '.join(FORMATS)}")
        self.settings = settings
        self.contracts = contracts_of(settings)
        self.schemas = schema_cache(Path(settings.schemas_dir), bool(settings.schema_registry_url))
        formats = TopicFormats(self.contracts)
        self.format_of: Callable[[str], str] = formats.of if declared is None else lambda _topic: declared
        self.decoder = decoder_of(settings, self.format_of, self.schemas)
        self.router = Router(self.contracts, default_schema=settings.crate_schema, topic_prefix=settings.topic_prefix)
        self._by_table = by_table(self.contracts, settings)
        self._registry = connect.registry_client(settings)
        self._take = taker(self.schemas)

    def decode(self, record: Record) -> Sequence[Envelope] | Skip:
        """As the decoder does, with schemas fetched on the way.

        Raises Reject, Parked, and what the registry raises: Retry when it cannot answer, Stop when it refuses us.
        """
        for _ in range(SCHEMAS_PER_RECORD):
            decoded = self.decoder.decode(record)
            if not isinstance(decoded, NeedSchema):
                return decoded
            self.fetch(decoded.id)
        raise Reject("schema.unknown", "the record asks for schema after schema: check the registry")

    def fetch(self, schema_id: int | str) -> None:
        """Have the registry's answer in the cache."""
        if self._registry is None:
            missing = Reject("schema.no_registry", f"the record names schema {schema_id}: set INGEST_SCHEMA_REGISTRY_URL")
            self._take(schema_id, missing)
            return
        try:
            self._take(schema_id, self._registry.fetch(schema_id))
        except Reject as reject:
            self._take(schema_id, reject)

    def contract(self, table: str) -> Contract | None:
        return self._by_table.get(table)

    def mapper(self, table: Table) -> Mapper:
        """Raises Parked when table and contract contradict each other."""
        return compile_mapper(table, self.contract(table.full_name), settings=connect.mapping_rules(self.settings))

    def close(self) -> None:
        if self._registry is not None:
            self._registry.close()


def parks(error: Parked, record: Record) -> str:
    """What an error parks: its own subject, or the record's topic."""
    return error.subject or f"topic:{record.topic}"
