"""What goes into cdc_version: a text whose order is the order of changes.

    epoch, 2 digits | kind, 1 letter | source position, fixed width per kind | Kafka offset, 19 digits
    01                L                00000000000026843832                    0000000000000001042

The epoch comes from the contract, for a source that was rebuilt. Kind A, for "as it arrived", has no source position; it compares
only within one topic and partition. A tombstone that is the only sign of a delete says no position: it has no version here and
deletes what is stored, with a version just above that. Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ingest.errors import Reject
from ingest.model import Envelope, Level, Record, Table
from ingest.tables.contract import VersionRule

ARRIVAL_KIND: Final = "A"
TOMBSTONE: Final = "tombstone"

Stamp = Callable[[Envelope, Record], str | None]


def version_stamp(table: Table, rule: VersionRule, default_epoch: int) -> Stamp:
    """Makes the versions of a table's changes, None for a table without cdc_version.

    The stamp raises Reject("version.missing") where the table is ordered and the change has no place in an order:
    always with "none", without a source position with "source". Where nobody chose, changes that name no source table
    (plain events) are ordered by Kafka.
    """
    if "cdc_version" not in table.columns or rule.source == "none":
        return _none if table.level is Level.ARRIVAL else _missing
    epoch = f"{default_epoch if rule.epoch is None else rule.epoch:02d}"
    if rule.source == "offset":
        return lambda _envelope, record: f"{epoch}{ARRIVAL_KIND}{record.offset:019d}"
    return _by_source(epoch, without=_missing if table.level is Level.ORDERED else _none, chosen=rule.source is not None)


def head_of(version: str | None, envelope: Envelope, record: Record) -> tuple[str | None, bool] | None:
    """What stands before the source's position in a stamp's version of this change, and whether a position stands there; the head
    is None where there is no version. None where the version does not consist of these.
    """
    if version is None:
        return None, False
    offset, source = f"{record.offset:019d}", envelope.version
    head, kind = version[:3], version[2:3]
    if version == f"{head}{offset}":
        return head, False
    return (head, True) if source is not None and kind == source.kind and version == f"{head}{source.text}{offset}" else None


def _by_source(epoch: str, *, without: Stamp, chosen: bool) -> Stamp:
    def stamp(envelope: Envelope, record: Record) -> str | None:
        version = envelope.version
        if version is not None:
            kind, text = version
            return f"{epoch}{kind}{text}{record.offset:019d}"
        if envelope.op_name == TOMBSTONE:
            return None
        if not (chosen or envelope.table):
            return f"{epoch}{ARRIVAL_KIND}{record.offset:019d}"
        return without(envelope, record)

    return stamp


def _none(_envelope: Envelope, _record: Record) -> None:
    return None


def _missing(_envelope: Envelope, _record: Record) -> None:
    raise Reject(
        "version.missing",
        'the change says no position in its source: let the source send one, or set version.from = "offset" in the contract',
    )
