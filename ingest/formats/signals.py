"""Debezium's signals: rows of its signal table and records of its signal topic, which ask a connector to do something.

An incremental snapshot writes two of them around each of its chunks. They are nobody's rows. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ingest.model import Fields, Skip

SIGNAL: Final = Skip("signal")
COLUMNS: Final = frozenset({"id", "type", "data"})
# "log" is a signal too, but also a plausible word in a table of events; only the usual name of the table tells it.
_SNAPSHOTS: Final = ("execute", "stop", "pause", "resume")
_WORDS: Final = frozenset(
    {"snapshot-window-open", "snapshot-window-close", "schema-changes", "set-binlog-position"}
    | {f"{verb}-snapshot" for verb in _SNAPSHOTS}
)
_TABLES: Final = frozenset({"debezium_signal", "debezium_signals", "dbz_signal", "dbz_signals"})


def is_signal(row: Fields, table: Sequence[str]) -> bool:
    """Whether a row is one of the signal table. table: its name, as envelopes have it."""
    if row.keys() != COLUMNS:
        return False
    return _is_word(row["type"]) or (bool(table) and table[-1].lower() in _TABLES)


def is_message(value: Fields) -> bool:
    """Whether a record of its own is a signal, as the signal topic has them."""
    return value.keys() <= COLUMNS and "data" in value and _is_word(value.get("type"))


def _is_word(value: Any) -> bool:
    return value.__class__ is str and value in _WORDS
