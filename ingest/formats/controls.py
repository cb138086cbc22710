"""Records that are no rows, told by their shape alone: they reach a consumer through a regex or a prefix of topic names.

Pure.
"""

from __future__ import annotations

from typing import Final

from ingest.formats import positions, signals
from ingest.formats.message import Key
from ingest.model import Fields, Skip, SourceVersion

_TRANSACTION: Final = frozenset({"status", "id"})
_NOTIFICATION: Final = frozenset({"aggregate_type", "additional_data"})
RESOLVED: Final = Skip("resolved")
SCHEMA_CHANGE: Final = Skip("schema_change")
SNAPSHOT_MARK: Final = Skip("snapshot_mark")  # a snapshot begins or ends
INTERNAL: Final = Skip("internal_table")  # a row of the replication tool's own tables


def debezium(value: Fields, key: Key, topic: str) -> Skip | None:
    """Debezium's heartbeats, transaction marks, schema changes, notifications and signals."""
    if value.keys() >= _TRANSACTION and value["status"] in ("BEGIN", "END") and not value.keys().isdisjoint(COUNTS):
        return Skip("transaction")
    if "databaseName" in value and ("ddl" in value or "tableChanges" in value):
        return SCHEMA_CHANGE
    if value.keys() == {"ts_ms"} and (_names(key, "serverName") or topic.startswith("__debezium-heartbeat")):
        return Skip("heartbeat")
    if value.keys() >= _NOTIFICATION:
        return Skip("notification")
    return signals.SIGNAL if "data" in value and signals.is_message(value) else None


COUNTS: Final = frozenset({"event_count", "data_collections"})


def cockroach(value: Fields) -> Skip | None:
    """CockroachDB's resolved timestamps; a row that has a column of this name has other columns too."""
    if len(value) != 1:
        return None
    inner = value.get("__crdb__")
    return resolved(positions.hlc((inner if inner.__class__ is dict and len(inner) == 1 else value).get("resolved")))


def resolved(version: SourceVersion | None) -> Skip | None:
    """A resolved timestamp of CockroachDB (HLC) or TiCDC (TSO), None for what is none.

    >>> resolved(positions.hlc("1767225600123456789.0000000002")).resolved
    (1767225600123, '1767225600123456789.0000000002')
    """
    if version is None:
        return None
    if version.kind == "T":
        return RESOLVED._replace(resolved=(positions.tso_ms(version) or 0, version.text.lstrip("0")))
    wall, logical = version.text[:20].lstrip("0"), version.text[20:]
    return RESOLVED._replace(resolved=(positions.hlc_ms(version) or 0, f"{wall or 0}.{logical}"))


def _names(key: Key, name: str) -> bool:
    return isinstance(key.value, dict) and name in key.value
