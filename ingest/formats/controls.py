"""Records that are no rows, told by their shape alone: they reach a consumer through a regex or a prefix of topic names.

Pure.
"""

from __future__ import annotations

from typing import Any, Final

from ingest.formats import positions, signals
from ingest.formats.message import Key
from ingest.model import Fields, Skip

_TRANSACTION: Final = frozenset({"status", "id"})
_NOTIFICATION: Final = frozenset({"aggregate_type", "additional_data"})
RESOLVED: Final = Skip("resolved")
SCHEMA_CHANGE: Final = Skip("schema_change")
SNAPSHOT_MARK: Final = Skip("snapshot_mark")  # a snapshot begins or ends
INTERNAL: Final = Skip("internal_table")  # a row of the replication tool's own tables


def debezium(value: Fields, key: Key, topic: str) -> Skip | None:
    """Debezium's heartbeats, transaction marks, schema changes, notifications and signals."""
    if value.keys() >= _TRANSACTION and value["status"] in ("BEGIN", "END") and not value.keys().isdisjoint(_COUNTS):
        return Skip("transaction")
    if "databaseName" in value and ("ddl" in value or "tableChanges" in value):
        return SCHEMA_CHANGE
    if value.keys() == {"ts_ms"} and (_names(key, "serverName") or topic.startswith("__debezium-heartbeat")):
        return Skip("heartbeat")
    if value.keys() >= _NOTIFICATION:
        return Skip("notification")
    return signals.SIGNAL if "data" in value and signals.is_message(value) else None


_COUNTS: Final = frozenset({"event_count", "data_collections"})


def cockroach(value: Fields) -> Skip | None:
    """CockroachDB's resolved timestamps; a row that has a column of this name has other columns too."""
    if _is_resolved(value):
        return RESOLVED
    inner = value.get("__crdb__")
    return RESOLVED if len(value) == 1 and inner.__class__ is dict and _is_resolved(inner) else None


def _is_resolved(value: Any) -> bool:
    return len(value) == 1 and positions.hlc(value.get("resolved")) is not None


def _names(key: Key, name: str) -> bool:
    return isinstance(key.value, dict) and name in key.value
