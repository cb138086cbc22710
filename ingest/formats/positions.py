"""Where a change stands in its database's own order, connector by connector, as texts that compare as positions do.

A position that cannot be compared safely is None; Kafka's order then decides. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ingest.model import SourceVersion


class Source(msgspec.Struct, gc=False):
    """The fields of Debezium's `source` block that we use. Their types differ between releases, so they are looked at later."""

    connector: str | None = None
    db: str | None = None
    schema: str | None = None
    table: str | None = None
    keyspace: str | None = None
    ts_ms: Any = None
    ts_us: Any = None
    lsn: Any = None
    file: Any = None
    pos: Any = None
    row: Any = None
    commit_lsn: Any = None
    change_lsn: Any = None
    event_serial_no: Any = None
    scn: Any = None
    commit_scn: Any = None
    rs_id: Any = None
    ssn: Any = None
    ts_hlc: Any = None
    commit_ts: Any = None


_LSN_PARTS: Final = re.compile(r"([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,4})\Z")
_RS_ID: Final = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{1,8})\.([0-9a-fA-F]{1,8})\.([0-9a-fA-F]{1,4})\s*\Z")
_NO_LSN: Final = "00000000:00000000:0000"
_NO_RS_ID: Final = "00000000.00000000.0000"


def of(source: Source) -> SourceVersion | None:
    """The position of a change.

    >>> of(Source(connector="mysql", file="mysql-bin.000999", pos=4, row=1))
    SourceVersion(kind='B', text='0000000999000000000000000000040000000001')
    """
    if source.connector is None:
        return _by_fields(source)
    compare = _BY_CONNECTOR.get(source.connector)
    return None if compare is None else compare(source)


def hlc(text: Any) -> SourceVersion | None:
    """CockroachDB's hybrid clock: nanoseconds, a point, a counter of ten digits; never read as a float.

    >>> hlc("1.0000000002")
    SourceVersion(kind='H', text='000000000000000000010000000002')
    """
    if text.__class__ is not str:
        return None
    wall, _, logical = text.partition(".")
    if not (wall and (wall + logical).isdecimal() and text.isascii()):
        return None
    return SourceVersion("H", wall.rjust(20, "0") + logical.rjust(10, "0"))


def hlc_ms(version: SourceVersion | None) -> int | None:
    """Epoch milliseconds of a hybrid clock's wall part."""
    return None if version is None else int(version.text[:20]) // 1_000_000


def lsn(source: Source) -> SourceVersion | None:
    """PostgreSQL. Row locks serialise the writers of a key, so the record's own LSN is enough; snapshot rows share one."""
    number = source.lsn
    if number.__class__ is not int or number < 0:
        number = _number(number)
    return None if number is None else SourceVersion("L", f"{number:020d}")


def binlog(source: Source) -> SourceVersion | None:
    """MySQL and MariaDB: file, position, row of the event. Files are compared by number: .1000000 follows .999999."""
    suffix = str(source.file).rpartition(".")[2] if source.file else ""
    position = _number(source.pos)
    if not suffix.isdecimal() or position is None:
        return None
    return SourceVersion("B", f"{int(suffix):010d}{position:020d}{_number(source.row) or 0:010d}")


def commit_lsn(source: Source) -> SourceVersion | None:
    """SQL Server and Db2: commit LSN, change LSN, number of the event. Snapshot rows have no change: they are lowest."""
    commit, change = _lsn_text(source.commit_lsn), _lsn_text(source.change_lsn)
    if commit is None:
        return None
    return SourceVersion("S", f"{commit}{change or _NO_LSN}{_number(source.event_serial_no) or 0:010d}")


def scn(source: Source) -> SourceVersion | None:
    """Oracle: SCNs are decimal texts, compared as numbers; a snapshot row knows only its own."""
    change = _number(source.scn)
    commit = _number(source.commit_scn)
    commit = change if commit is None else commit
    if commit is None:
        return None
    match = _RS_ID.match(str(source.rs_id))
    rs_id = f"{match[1]:0>8}.{match[2]:0>8}.{match[3]:0>4}".lower() if match else _NO_RS_ID
    return SourceVersion("C", f"{commit:020d}{change or 0:020d}{rs_id}{_number(source.ssn) or 0:010d}")


def commit_us(source: Source) -> SourceVersion | None:
    """Spanner: the commit time. Changes of one transaction share it and keep Kafka's order."""
    number = _number(source.ts_us)
    return None if number is None else SourceVersion("G", f"{number:020d}")


def tso(source: Source) -> SourceVersion | None:
    """TiCDC's Debezium protocol: the commit timestamp."""
    number = _number(source.commit_ts)
    return None if number is None else SourceVersion("T", f"{number:020d}")


def transaction_order(transaction: Any) -> SourceVersion | None:
    """Vitess with ordered transaction metadata: epoch, rank (up to 30 digits), order within the transaction. Its GTIDs alone
    compare only within one shard."""
    if transaction.__class__ is not dict:
        return None
    parts = [_number(transaction.get(f"transaction_{name}")) for name in ("epoch", "rank")]
    order = _number(transaction.get("total_order"))
    if None in parts or order is None:
        return None
    return SourceVersion("G", f"{parts[0]:010d}{parts[1]:030d}{order:020d}")


def _by_fields(source: Source) -> SourceVersion | None:
    """A source that does not name its connector: flattened rows, and blocks that a transformation shortened."""
    return lsn(source) or commit_lsn(source) or scn(source) or binlog(source) or hlc(source.ts_hlc)


def _lsn_text(value: Any) -> str | None:
    match = _LSN_PARTS.match(value) if value.__class__ is str else None
    return None if match is None else f"{match[1]:0>8}:{match[2]:0>8}:{match[3]:0>4}".lower()


def _number(value: Any) -> int | None:
    """A count that may have come as a text; None for anything that is not one, negative ones too: they would not sort."""
    if value.__class__ is int:
        return value if value >= 0 else None
    return int(value) if value.__class__ is str and value.isascii() and value.isdecimal() and len(value) <= 30 else None


def _source_hlc(source: Source) -> SourceVersion | None:
    return hlc(source.ts_hlc)


_BY_CONNECTOR: Final[dict[str, Callable[[Source], SourceVersion | None]]] = {
    "postgresql": lsn,
    "mysql": binlog,
    "mariadb": binlog,
    "sqlserver": commit_lsn,
    "db2": commit_lsn,
    "oracle": scn,
    "cockroachdb": _source_hlc,
    "spanner": commit_us,
    "TiCDC": tso,
}
