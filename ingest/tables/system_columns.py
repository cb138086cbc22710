"""The columns named cdc_*: filled by the worker because they exist, never from the record.

Pure; touched by the loop's thread.
"""

from __future__ import annotations

from typing import Final

_TIMESTAMP: Final = ("timestamp with time zone", "timestamp without time zone")

# In the order in which `mapper` makes their values.
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


def is_system(name: str) -> bool:
    """Whether the name is reserved: no field of a record ever goes into such a column."""
    return name.startswith("cdc_")
