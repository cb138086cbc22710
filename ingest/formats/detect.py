"""Which wire format a value is, on its evidence: an ordered table of rules, the first that holds decides.

Says `unread:<name>` for formats that are recognised but not read, so that their envelopes are never stored as rows.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeGuard

from ingest.formats import cockroach
from ingest.formats.flattened import metadata_fields
from ingest.model import Fields

Rule = Callable[[Fields, str], bool]  # value, name of its schema

UNREAD: Final = "unread:"


def format_of(value: Any, schema_name: str, prefix: str = "__") -> str:
    """The name of the format.

    >>> format_of({"after": {"id": 1}, "updated": "1.0000000002"}, "")
    'cockroach'
    """
    if value.__class__ is not dict:
        return "plain"
    for name, holds in RULES:
        if holds(value, schema_name):
            return name
    return "flattened" if _is_flattened(value, prefix) else "plain"


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
    return cockroach.is_wrapped(value) or (schema_name.endswith("_envelope") and _is_dict(value.get("record")))


def _is_maxwell(value: Fields, _: str) -> bool:
    return _has(value, "database", "table", "type") and (_is_dict(value.get("data")) or "def" in value)


def _is_generic(value: Fields, _: str) -> bool:
    if not (isinstance(value.get("table"), str) and isinstance(value.get("type"), str)):
        return False
    return _is_dict(value.get("primary_key")) or _is_dict(value.get("before")) or _is_dict(value.get("after"))


def _is_dms(value: Fields, _: str) -> bool:
    metadata = value.get("metadata")
    return _is_dict(metadata) and "record-type" in metadata and "operation" in metadata


def _is_ogg(value: Fields, _: str) -> bool:
    return value.get("op_type") in ("I", "U", "D", "T") and "table" in value and ("op_ts" in value or "pos" in value)


def _is_flattened(value: Fields, prefix: str) -> bool:
    names = {name for _, name in metadata_fields(value, prefix)}
    return not names.isdisjoint(_FLATTENED_EVIDENCE) or any(field.startswith(prefix + "source_") for field in value)


_FLATTENED_EVIDENCE: Final = frozenset({"op", "deleted", "lsn", "table"})

RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("debezium", _is_debezium),
    ("cockroach", lambda value, _: cockroach.is_enriched(value)),
    ("debezium", _is_like_debezium),
    (UNREAD + "canal", lambda value, _: _has(value, "isDdl", "es")),
    (UNREAD + "maxwell", _is_maxwell),
    (UNREAD + "generic", _is_generic),
    (UNREAD + "dms", _is_dms),
    (UNREAD + "ogg", _is_ogg),
    (UNREAD + "mongodb", lambda value, _: _has(value, "operationType", "ns")),
    (UNREAD + "cloudevents", lambda value, _: _has(value, "specversion", "id", "source", "type")),
    ("cockroach", _is_cockroach),
)
