"""The columns named cdc_*: filled by the worker because they exist, never from the record.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

from typing import Final

_TIMESTAMP: Final = ("timestamp with time zone", "timestamp without time zone")

SYSTEM_TYPES: Final[dict[str, tuple[str, ...]]] = {
    "cdc_version": ("text",),
    "cdc_deleted": ("boolean",),
    "cdc_source_ts": _TIMESTAMP,
    "cdc_ingested_at": _TIMESTAMP,
    "cdc_topic": ("text",),
    "cdc_partition": ("integer", "bigint", "smallint"),
    "cdc_offset": ("bigint",),
    "cdc_op": ("text",),
    "cdc_extra": ("object",),
}
SYSTEM_COLUMNS: Final = tuple(SYSTEM_TYPES)
# Where their values come from, as `row_code` writes it into a function of these names.
SYSTEM_ARGUMENTS: Final = "envelope, record, now_ms, version, deleted, extra"
SYSTEM_VALUES: Final = {
    "cdc_version": "version",
    "cdc_deleted": "deleted",
    "cdc_source_ts": "envelope.source_ts_ms",
    "cdc_ingested_at": "now_ms",
    "cdc_topic": "record.topic",
    "cdc_partition": "record.partition",
    "cdc_offset": "record.offset",
    "cdc_op": "envelope.op_name or envelope.op.value",
    "cdc_extra": "extra",
}
# The same in the function of `express`, for a row that is there; word: the source's own, or the operation's.
SYSTEM_EXPRESS: Final = SYSTEM_VALUES | {
    "cdc_deleted": "False",
    "cdc_source_ts": "ts_ms",
    "cdc_topic": "topic",
    "cdc_partition": "partition",
    "cdc_offset": "offset",
    "cdc_op": "word",
    "cdc_extra": "None",
}


def is_system(name: str) -> bool:
    """Whether the name is reserved: no field of a record ever goes into such a column."""
    return name.startswith("cdc_")
