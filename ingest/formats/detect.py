"""Which wire format a value is, on its evidence: an ordered table of rules, the first that holds decides.

Says `unclear:<name>` for what resembles a format without proof of it, so that envelopes are never stored as rows.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeGuard

from ingest.errors import Reject
from ingest.formats import canal, cloudevents, cockroach, generic, goldengate, json, maxwell, mongodb, ticdc_avro, ticdc_simple
from ingest.formats.flattened import DEFAULT_PREFIX, is_flattened
from ingest.model import Fields

Rule = Callable[[Fields, str], bool]  # value, name of its schema
Headers = Sequence[tuple[str, bytes | None]]

UNCLEAR: Final = "unclear:"


def format_of(value: Any, schema_name: str, prefix: str = DEFAULT_PREFIX, headers: Headers = ()) -> str:
    """The name of the format.

    >>> format_of({"after": {"id": 1}, "updated": "1.0000000002"}, "")
    'cockroach'
    """
    if headers and cloudevents.in_headers(headers):
        return "cloudevents"
    if value.__class__ is str and value.startswith("{"):
        value = _inside(value)
    if value.__class__ is not dict:
        return "plain"
    for name, holds in RULES:
        if holds(value, schema_name):
            return name
    return "flattened" if is_flattened(value, headers, prefix) else "plain"


def _inside(text: str) -> Any:
    """MongoDB's connector may write its events as JSON texts inside JSON."""
    try:
        found = json.decode_loosely(text.encode(errors="surrogatepass"))
    except Reject:
        return None
    return found if _is_dict(found) and (_is_mongodb(found, "") or _is_mongodb_document(found, "")) else None


def _has(value: Fields, *names: str) -> bool:
    return all(name in value for name in names)


def _is_dict(value: Any) -> TypeGuard[Fields]:
    return value.__class__ is dict


def _is_debezium(value: Fields, schema_name: str) -> bool:
    op, source = value.get("op"), value.get("source")
    if _is_dict(source) and "connector" in source:
        return isinstance(op, str)
    return op in ("c", "u", "d", "r", "t", "m") and schema_name.endswith(".Envelope")


def _is_like_debezium(value: Fields, _: str) -> bool:
    """Envelopes of other tools in Debezium's shape: at least one image must be an object, or both null with a source."""
    if value.get("op") not in ("c", "u", "d", "r", "t"):
        return False
    images = [value[name] for name in ("before", "after") if name in value]
    if not all(image is None or _is_dict(image) for image in images):
        return False
    return any(_is_dict(image) for image in images) or _is_dict(value.get("source"))


def _is_cockroach(value: Fields, schema_name: str) -> bool:
    """A row envelope needs its `__crdb__`; without one it is a plain row, which is stored the same way."""
    if cockroach.is_batch(value) or cockroach.is_capture(value) or _is_dict(value.get("__crdb__")):
        return True
    if cockroach.is_query(value):
        return True
    return cockroach.is_wrapped(value) or (schema_name.endswith("_envelope") and _is_dict(value.get("record")))


def _is_word(value: Any, words: Collection[str]) -> bool:
    return value.__class__ is str and value in words


def _is_maxwell(value: Fields, _: str) -> bool:
    if not (isinstance(value.get("database"), str) and _is_word(value.get("type"), maxwell.WORDS)):
        return False
    if value["type"] in maxwell.DDL:
        return "def" in value or "sql" in value
    return isinstance(value.get("table"), str) and (_is_dict(value.get("data")) or _is_dict(value.get("encrypted")))


def _is_like_maxwell(value: Fields, _: str) -> bool:
    return _has(value, "database", "table", "type") and (_is_dict(value.get("data")) or "def" in value)


def _is_canal(value: Fields, _: str) -> bool:
    if _has(value, "isDdl", "es"):
        return True
    return _is_like_canal(value, "") and ("mysqlType" in value or "pkNames" in value or _has(value, "database", "table"))


def _is_like_canal(value: Fields, _: str) -> bool:
    rows = value.get("data")
    return _is_word(value.get("type"), canal.WORDS) and isinstance(rows, list) and all(_is_dict(row) for row in rows)


def _is_ticdc_simple(value: Fields, _: str) -> bool:
    if (value.keys() == {"payload"} or _is_word(value.get("type"), ticdc_simple.WRAPPERS)) and _is_dict(value.get("payload")):
        return "buildTs" in value["payload"]
    return _is_word(value.get("type"), ticdc_simple.WORDS) and _has(value, "version", "buildTs")


def _is_generic(value: Fields, _: str) -> bool:
    return _is_like_generic(value, "") and value["type"].lower() in generic.OPS


def _is_like_generic(value: Fields, _: str) -> bool:
    if not (isinstance(value.get("table"), str) and isinstance(value.get("type"), str)):
        return False
    return _is_dict(value.get("primary_key")) or _is_dict(value.get("before")) or _is_dict(value.get("after"))


def _is_dms(value: Fields, _: str) -> bool:
    metadata = value.get("metadata")
    return _is_dict(metadata) and "record-type" in metadata and "operation" in metadata


def _is_like_dms(value: Fields, _: str) -> bool:
    metadata = value.get("metadata")
    return _is_dict(metadata) and "operation" in metadata and (_is_dict(value.get("data")) or _is_dict(value.get("control")))


def _is_goldengate(value: Fields, schema_name: str) -> bool:
    return _is_like_goldengate(value, schema_name) and ("op_ts" in value or "pos" in value)


def _is_like_goldengate(value: Fields, _: str) -> bool:
    return _is_word(value.get("op_type"), goldengate.OPS) and isinstance(value.get("table"), str)


def _is_mongodb(value: Fields, _: str) -> bool:
    """An invalidate names no collection."""
    if not _is_word(value.get("operationType"), mongodb.WORDS):
        return False
    return "ns" in value or "clusterTime" in value or "documentKey" in value


def _is_mongodb_document(value: Fields, _: str) -> bool:
    key = value.get("_id")
    return _is_dict(key) and key.keys() == {"$oid"}


RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("debezium", _is_debezium),
    ("cockroach", lambda value, _: cockroach.is_enriched(value)),
    ("debezium", _is_like_debezium),
    ("ticdc_simple", _is_ticdc_simple),
    ("canal", _is_canal),
    ("maxwell", _is_maxwell),
    ("generic", _is_generic),
    ("dms", _is_dms),
    ("goldengate", _is_goldengate),
    ("mongodb", _is_mongodb),
    ("mongodb:documents", _is_mongodb_document),
    ("ticdc_avro", lambda value, _: not ticdc_avro.EVIDENCE.isdisjoint(value)),
    ("cloudevents", lambda value, _: cloudevents.is_structured(value)),
    ("cockroach", _is_cockroach),
    (UNCLEAR + "canal", _is_like_canal),
    (UNCLEAR + "maxwell", _is_like_maxwell),
    (UNCLEAR + "generic", _is_like_generic),
    (UNCLEAR + "dms", _is_like_dms),
    (UNCLEAR + "goldengate", _is_like_goldengate),
)
