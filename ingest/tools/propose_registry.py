"""A proposal from a subject of the schema registry, where no records are to be read. One thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Parked, Reject, Stop
from ingest.formats.detect import UNCLEAR, format_of
from ingest.formats.flattened import metadata_fields
from ingest.formats.message import ValueSchema
from ingest.formats.schemas import SchemaCache
from ingest.model import SourceType
from ingest.registry.client import RegistryClient
from ingest.settings import Settings
from ingest.tools import connect
from ingest.tools.propose_sample import PLAIN, Rows, Sample
from ingest.tools.propose_values import Field

VALUE, KEY = "-value", "-key"
# Fields that hold the row, in the order in which envelopes are asked for it; "" is the value itself.
ROW_PARTS: Final = ("after", "before", "record", "data")
ENVELOPE: Final = ".Envelope"
# Protobuf's schema tells its fields with the message that it reads: this is an empty first one.
EMPTY_MESSAGE: Final = b"\0"


def read_subject(settings: Settings, topic: str, subject: str, declared: str | None) -> Sample:
    """declared: the format, None to detect it. Raises Stop("propose.no_registry", "propose.no_subject", "propose.schema"), and
    what the registry raises."""
    client = connect.registry_client(settings)
    if client is None:
        raise Stop("propose.no_registry", f"subject {subject} is in a schema registry: set INGEST_SCHEMA_REGISTRY_URL")
    try:
        schema = _schema(client, subject)
        if schema is None:
            raise Stop("propose.no_subject", f"the schema registry has no subject {subject}")
        key = _schema(client, subject.removesuffix(VALUE) + KEY) if subject.endswith(VALUE) else None
    finally:
        client.close()
    return sample_of(topic, schema, key, declared)


def _schema(client: RegistryClient, subject: str) -> ValueSchema | None:
    """What its newest schema declares; None where there is no such subject."""
    try:
        schema_id = client.latest_id(subject)
    except Reject:
        return None
    try:
        schemas = SchemaCache()
        schemas.put(schema_id, *client.fetch(schema_id))
        found: Any = schemas.get(schema_id)
        declared = found.schema if hasattr(found, "schema") else found.read(EMPTY_MESSAGE)[1]
    except (Reject, Parked) as error:
        raise Stop("propose.schema", f"the schema of subject {subject} cannot be used: {error.text}") from error
    if not isinstance(declared, ValueSchema):
        raise Stop("propose.schema", f"the schema of subject {subject} declares no fields: propose from records")
    return declared


def sample_of(topic: str, schema: ValueSchema, key: ValueSchema | None, declared: str | None = None) -> Sample:
    """What a value's schema and a key's say. Raises Stop("propose.schema", "propose.format")."""
    whole = schema.type.fields
    if whole is None:
        raise Stop("propose.schema", f"the schema of topic {topic} is no record, so it has no columns")
    name = declared or format_of(_example(whole), schema.name)
    if name.startswith(UNCLEAR):
        raise Stop("propose.format", f"topic {topic} may be {name.removeprefix(UNCLEAR)}: say so with --format")
    rows = Rows(_table_in(schema.name), is_change_log=name != PLAIN, has_records=False)
    for field, source in _row(whole, name).items():
        rows.fields[field] = Field(field, [source])
    for field, source in (key.type.fields or {} if key is not None else {}).items():
        rows.key_fields[field] = Field(field, [source])
    return Sample(topic, name, [rows])


def _row(whole: Mapping[str, SourceType], name: str) -> Mapping[str, SourceType]:
    if name != PLAIN:
        for part in ROW_PARTS:
            inside = whole[part].fields if part in whole else None
            if inside is not None:
                return inside
    metadata = {field for field, _ in metadata_fields(dict.fromkeys(whole), "__")} if name == "flattened" else set()
    return {field: source for field, source in whole.items() if field not in metadata and field != "__crdb__"}


def _example(fields: Mapping[str, SourceType]) -> dict[str, Any]:
    """A value that has these fields, for the rules that tell formats by what they see."""
    values: dict[str, Any] = {}
    for name, source in fields.items():
        values[name] = _example(source.fields) if source.fields is not None else "c" if name in ("op", "__op") else None
    return values


def _table_in(name: str) -> str:
    """
    >>> _table_in("shop.public.orders.Envelope"), _table_in("com.shop.Order")
    ('orders', '')
    """
    return (
        name.removesuffix(ENVELOPE).rpartition(".")[2] if name.endswith(ENVELOPE) and "." in name.removesuffix(ENVELOPE) else ""
    )
