"""Why a record is read the way it is: what its first bytes and headers say, and what its fields say of the format. Pure.

Repeats no decision: the decoder decides, this finds the words. `EVIDENCE` stands side by side with `detect.RULES`; a test counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ingest.errors import Parked, Reject
from ingest.formats import connect, detect, framing, json
from ingest.formats.decoder import AUTO
from ingest.formats.flattened import metadata_fields
from ingest.formats.keys import BINARY_INTEGERS, KeyReader
from ingest.formats.message import ValueSchema
from ingest.formats.schemas import SchemaCache
from ingest.model import Fields, NeedSchema, Record

OPENING_BRACE: Final = ord("{")


class Evidence(NamedTuple):
    """what: a name or a few words. why: what it was told by."""

    what: str
    why: str


class Opened(NamedTuple):
    """What is inside the framing: the value without Connect's wrapper, and the name of its schema."""

    value: Any
    schema_name: str = ""


# ---------------------------------------------------------------- framing


def of_value(record: Record, schemas: SchemaCache) -> Evidence:
    """How the value is framed."""
    body = record.value
    if not body:
        return Evidence("none, a tombstone", "the value is null" if body is None else "the value has no bytes")
    try:
        return _of_value(record, body, schemas)
    except Reject as reject:
        return Evidence("not readable", reject.text)


def _of_value(record: Record, body: bytes, schemas: SchemaCache) -> Evidence:
    if (found := framing.in_headers(record.headers, framing.VALUE_HEADER)) is not None:
        return Evidence(_registered(found.schema_id, record, schemas), "a header names the schema")
    if _by_topic(record, schemas) is not None:
        return Evidence("Avro without framing", f"INGEST_SCHEMAS_DIR has {record.topic}.avsc")
    if (found := framing.in_front(body)) is not None:
        return Evidence(_registered(found.schema_id, record, schemas), f"its first {found.start} bytes name the schema")
    if not framing.is_text(body):
        return Evidence("unknown", f"its first byte 0x{body[0]:02x} begins neither JSON nor a schema id")
    body = body.removeprefix(framing.BYTE_ORDER_MARK)
    value = json.decode_loosely(body)
    if connect.is_wrapped(value):
        return Evidence("JSON in Kafka Connect's wrapper", "its two names are schema and payload")
    return Evidence("JSON", f"it begins with {body[:1].decode()!r}, and no header names a schema")


def _by_topic(record: Record, schemas: SchemaCache) -> tuple[Any, ValueSchema | None] | None:
    """The value by the schema file of its topic; None where there is none, or it does not fit."""
    schema = schemas.of_topic(record.topic)
    try:
        return None if schema is None else schema.read(record.value or b"")
    except Reject:
        return None


def _registered(schema_id: int | str, record: Record, schemas: SchemaCache) -> str:
    """What is known of a registered schema, once the decoder asked for it."""
    try:
        read = _by_id(record, schemas)
    except (Reject, Parked) as error:
        return f"schema {schema_id}, which cannot be used ({error.code})"
    if read is None:
        return f"schema {schema_id}"
    declared = read[1]
    return f"schema {schema_id}" + (f", {declared.name}" if declared is not None and declared.name else "")


def _by_id(record: Record, schemas: SchemaCache) -> tuple[Any, ValueSchema | None] | None:
    """The value by the schema that its header or its first bytes name; None where none does, or it was not fetched."""
    body = record.value or b""
    found = framing.in_headers(record.headers, framing.VALUE_HEADER) or framing.in_front(body)
    schema = None if found is None else schemas.get(found.schema_id)
    return None if found is None or schema is None else schema.read(found.lead + body, found.start)


def of_key(record: Record, schemas: SchemaCache) -> Evidence:
    """How the key is written."""
    raw = record.key
    if not raw:
        return Evidence("none", "the key is null" if raw is None else "the key has no bytes")
    if schemas.of_topic(record.topic, for_key=True) is not None:
        return Evidence("Avro without framing", f"INGEST_SCHEMAS_DIR has {record.topic}-key.avsc")
    try:
        found = framing.in_headers(record.headers, framing.KEY_HEADER)
        if found is not None:
            return Evidence(f"schema {found.schema_id}", "a header names the schema")
        found = framing.in_front(raw) if framing.is_framed_key(raw) else None
    except Reject as reject:
        return Evidence("not readable", reject.text)
    if found is not None:
        return Evidence(f"schema {found.schema_id}", f"its first {found.start} bytes name the schema")
    if raw[:1] in (b"{", b"[", b'"'):
        return Evidence(_json_key(raw), f"it begins with {raw[:1].decode()!r}")
    return _bare_key(raw)


def _json_key(raw: bytes) -> str:
    if raw[:1] == b"[":
        return "JSON array, as CockroachDB writes keys"
    if raw[:1] == b'"':
        return "JSON text"
    try:
        return "JSON in Kafka Connect's wrapper" if connect.is_wrapped(json.decode_loosely(raw)) else "JSON object"
    except Reject:
        return "not readable"


def _bare_key(raw: bytes) -> Evidence:
    is_binary = b"\0" in raw or not _is_utf8(raw)
    if is_binary:
        is_integer = len(raw) in BINARY_INTEGERS
        return Evidence("binary integer" if is_integer else "not readable", f"{len(raw)} bytes that are no text")
    if raw.startswith(b"Struct{"):
        return Evidence("Java's Struct", "it begins with Struct{")
    return Evidence("plain text", "it is neither JSON nor framed")


def _is_utf8(raw: bytes) -> bool:
    try:
        return raw.decode() is not None
    except UnicodeDecodeError:
        return False


def key_value(record: Record, schemas: SchemaCache) -> Any:
    """The key as the formats read it: names and values, values alone, or None; also for a key that cannot be read."""
    try:
        key = KeyReader(record.topic, schemas).read(record)
    except (Reject, Parked):
        return None
    return None if isinstance(key, NeedSchema) else key.value


# ---------------------------------------------------------------- format


def of_format(name: str | None, declared: str, by: str, record: Record, schemas: SchemaCache) -> Evidence:
    """Which format and why. name: the decoder's, None where the record did not tell. by: who declared it."""
    if declared != AUTO:
        return Evidence(declared, f"declared {by}")
    inside = opened(record, schemas)
    if name is None:
        return Evidence("not told yet", _untold(record, inside))
    if inside is None or detect.format_of(inside.value, inside.schema_name) != name:
        return Evidence(name, "told by the records in front of it in its topic")
    return Evidence(name, f"detected: {words_of(inside)}")


def _untold(record: Record, inside: Opened | None) -> str:
    if not record.value:
        return "a tombstone tells none; the topic's other records do, or format in a contract"
    if inside is None:
        return "the value cannot be read"
    found = detect.format_of(inside.value, inside.schema_name)
    if found.startswith(detect.UNCLEAR):
        return f"it looks like {found.partition(':')[2]}: {words_of(inside)}"
    return "a control record tells none"


def opened(record: Record, schemas: SchemaCache) -> Opened | None:
    """What the formats get to see of a value; None where there is none or it cannot be read."""
    try:
        return _opened(record, schemas) if record.value else None
    except (Reject, Parked):
        return None


def _opened(record: Record, schemas: SchemaCache) -> Opened | None:
    body = record.value or b""
    is_named = framing.in_headers(record.headers, framing.VALUE_HEADER) is not None
    read = (None if is_named else _by_topic(record, schemas)) or _by_id(record, schemas)
    if read is not None:
        return Opened(read[0], read[1].name if read[1] is not None else "")
    if not framing.is_text(body):
        return None
    value = json.decode_loosely(body.removeprefix(framing.BYTE_ORDER_MARK))
    if connect.is_wrapped(value):
        return Opened(value["payload"], str((value["schema"] or {}).get("name") or ""))
    return Opened(value["payload"] if connect.is_payload_alone(value) and "source" in value["payload"] else value)


def words_of(inside: Opened) -> str:
    """What in a value decided, in the words of the rule that held first."""
    value = inside.value
    if value.__class__ is not dict:
        return "the value is no object"
    for (_, holds), words in zip(detect.RULES, EVIDENCE, strict=True):
        if holds(value, inside.schema_name):
            return words(value, inside.schema_name)
    plan = metadata_fields(value, "__")
    if detect.format_of(value, inside.schema_name) == "flattened":
        return f"metadata beside the columns: {_listed([field for field, _ in plan] or [f for f in value if f.startswith('__')])}"
    return "an object whose fields are those of no envelope"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _debezium(value: Fields, schema_name: str) -> str:
    source = value.get("source")
    if source.__class__ is dict and "connector" in source:
        return f"op is {value.get('op')!r} and source.connector is {source['connector']!r}"
    return f"op is {value.get('op')!r} and its schema is called {schema_name}"


def _like_debezium(value: Fields, _: str) -> str:
    images = [name for name in ("before", "after") if value.get(name).__class__ is dict]
    return f"op is {value.get('op')!r} beside {' and '.join(images) or 'source'} as an object, which is Debezium's shape"


def _enriched(value: Fields, _: str) -> str:
    has_source = value.get("source").__class__ is dict
    return f"op is {value.get('op')!r} and " + ("source.origin is 'cockroachdb'" if has_source else "ts_ns stands without ts_ms")


def _cockroach(value: Fields, schema_name: str) -> str:
    if "__crdb__" in value:
        return "the row has __crdb__ beside its columns"
    if schema_name.endswith("_envelope"):
        return f"its schema is called {schema_name} and it has record"
    return f"all its fields are a changefeed's: {_listed(list(value))}"


def _names(*names: str) -> Callable[[Fields, str], str]:
    return lambda value, _: f"it has {_listed([name for name in names if name in value])}"


# In the order of detect.RULES.
EVIDENCE: Final[tuple[Callable[[Fields, str], str], ...]] = (
    _debezium,
    _enriched,
    _like_debezium,
    _names("version", "type", "commitTs", "buildTs", "payload"),
    _names("isDdl", "es", "mysqlType", "pkNames", "data", "type"),
    _names("database", "table", "type", "data", "def", "encrypted"),
    _names("table", "type", "primary_key", "before", "after"),
    _names("metadata"),
    _names("op_type", "table", "op_ts", "pos"),
    _names("operationType", "ns", "clusterTime", "documentKey"),
    lambda _value, _name: "its _id is an ObjectId of Extended JSON",
    _names("_tidb_op", "_tidb_commit_ts", "_tidb_commit_physical_time"),
    _names("specversion", "id", "source", "type"),
    _cockroach,
    _names("data", "type"),
    _names("database", "table", "type", "data", "def"),
    _names("table", "type", "primary_key", "before", "after"),
    _names("metadata", "data", "control"),
    _names("op_type", "table"),
)
