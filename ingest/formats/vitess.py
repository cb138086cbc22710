"""Where a change stands in the order of Vitess: by ordered transaction metadata, else by the GTIDs of the row's shard. Pure."""

from __future__ import annotations

from typing import Any

from ingest.formats import positions
from ingest.formats.positions import Source
from ingest.model import SourceVersion


def position(source: Source, transaction: Any) -> SourceVersion | None:
    """transaction: the envelope's block of that name, or what stands for it."""
    return transaction_order(transaction) or shard_gtid(source)


def transaction_order(transaction: Any) -> SourceVersion | None:
    """Vitess with ordered transaction metadata: epoch, rank (up to 30 digits), order within the transaction. Its GTIDs alone
    compare only within one shard."""
    if transaction.__class__ is not dict:
        return None
    parts = [positions.number_of(transaction.get(f"transaction_{name}")) for name in ("epoch", "rank")]
    order = positions.number_of(transaction.get("total_order"))
    if None in parts or order is None:
        return None
    return SourceVersion("G", f"{parts[0]:010d}{parts[1]:030d}{order:020d}")


def shard_gtid(source: Source) -> SourceVersion | None:
    """Vitess without ordered transaction metadata: how many transactions the row's own shard had seen.

    A set of GTIDs only grows, and so does its count: comparable within a shard, which is where a row stays until resharding.
    """
    for part in positions.json_list(source.vgtid):
        if part.__class__ is dict and part.get("shard") == source.shard and part.get("shard") is not None:
            count = _transactions(str(part.get("gtid")))
            return None if count is None else SourceVersion("V", f"{count:020d}")
    return None


def _transactions(gtid: str) -> int | None:
    """How many transactions are in a GTID set, None for a text that is none.

    >>> _transactions("MariaDB/0-54610504-47"), _transactions("MySQL56/uu-id:1-3:5,other:1-10")
    (47, 14)
    """
    flavour, _, content = gtid.partition("/")
    if flavour == "MariaDB":
        return positions.number_of(content.rpartition("-")[2]) if "," not in content else None
    spans = [span.partition("-") for member in content.split(",") for span in member.split(":")[1:]]
    ends = [(positions.number_of(first), positions.number_of(last or first)) for first, _, last in spans]
    counts = [last - first + 1 for first, last in ends if first is not None and last is not None]
    return sum(counts) if flavour == "MySQL56" and counts and len(counts) == len(spans) else None
