"""TiCDC's Avro rows: the columns, and beside them what its extension says (`_tidb_op`, `_tidb_commit_ts`).

A delete is a null value and tells no version. Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

from ingest.errors import Reject
from ingest.formats import json, positions
from ingest.formats.message import Message, deleted_by_key, need_row
from ingest.model import Decoded, Envelope, Fields, Op

OPS: Final = {"c": Op.INSERT, "u": Op.INSERT}  # both have all columns
OP, COMMIT_TS, PHYSICAL_TIME = "_tidb_op", "_tidb_commit_ts", "_tidb_commit_physical_time"
EVIDENCE: Final = frozenset({OP, COMMIT_TS, PHYSICAL_TIME})
_METADATA: Final = ("_tidb_row_level_checksum", "_tidb_checksum_version", "_tidb_corrupted")


class TicdcAvro:
    """Rows with TiCDC's extension."""

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        return _row(message, value) if value.__class__ is dict else None

    def read(self, message: Message) -> Decoded:
        return _row(message, need_row(message.value, "value"))

    def read_tombstone(self, message: Message) -> Decoded:
        return deleted_by_key(message.key)


def _row(message: Message, row: Fields) -> Decoded:
    word: Any = row.pop(OP, None)
    version = positions.tso_number(row.pop(COMMIT_TS, None))
    physical_ms = row.pop(PHYSICAL_TIME, None)
    if row.get("_tidb_corrupted") is True:
        raise Reject("ticdc.corrupted", "TiCDC found that the row's checksum is wrong: look at the changefeed")
    for name in _METADATA:
        row.pop(name, None)
    op = Op.INSERT if word is None else OPS.get(word) if word.__class__ is str else None
    if op is None:
        raise Reject("ticdc.op", "'_tidb_op' is neither c nor u: check the topic's format")
    ts_ms = positions.tso_ms(version) or (physical_ms if physical_ms.__class__ is int else None)
    key, schema = message.key, message.row_schema("")
    return (Envelope(op, key.value, row, None, (), version, ts_ms, False, schema, key.schema, word or ""),)
