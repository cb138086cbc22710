"""Where a change stands in its database's own order, connector by connector, as texts that compare as positions do.

A position that cannot be compared safely is None; Kafka's order then decides. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from ingest.errors import Reject
from ingest.formats import json
from ingest.model import SourceVersion


class Source(msgspec.Struct, gc=False):
    """The fields of Debezium's `source` block that we use. Their types differ between releases, so they are looked at later."""

    connector: str | None = None
    db: str | None = None
    schema: str | None = None
    table: str | None = None
    keyspace: str | None = None
    collection: str | None = None
    ts_ms: Any = None
    ts_us: Any = None
    sequence: Any = None
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
    ord: Any = None
    shard: Any = None
    vgtid: Any = None
    mod_number: Any = None

    def name_of_table(self) -> tuple[str, ...]:
        """The table's name as the source tells it, outermost part first, () where it does not."""
        last = self.table or self.collection
        if self.db and self.schema and last:
            return (self.db, self.schema, last)
        return tuple(part for part in (self.db, self.schema or self.keyspace, last) if part) if last else ()

    def changed_ms(self) -> int | None:
        """When the change was made; old MySQL snapshots say 0, Cassandra's unit differs between releases."""
        value = self.ts_ms
        return value if value.__class__ is int and value > 0 and self.connector != "cassandra" else None


Positive = Annotated[int, msgspec.Meta(ge=1)]
Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class Usual(msgspec.Struct, gc=False):
    """The block of the connectors that write most records, as their current releases write it; Source reads any other."""

    connector: Literal["postgresql", "mysql", "mariadb"]
    table: Annotated[str, msgspec.Meta(min_length=1)]
    db: Annotated[str, msgspec.Meta(min_length=1)]
    schema: str | None = None
    ts_ms: Positive | None = None
    lsn: Unsigned | None = None
    file: str | None = None
    pos: Unsigned | None = None
    row: Unsigned | None = None


# A NamedTuple's own constructor costs twice as much.
_new: Final = tuple.__new__

_LSN_PARTS: Final = re.compile(r"([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,16})\Z")
_RS_ID: Final = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{1,8})\.([0-9a-fA-F]{1,8})\.([0-9a-fA-F]{1,4})\s*\Z")
_NO_LSN: Final = "00000000:00000000:0000"
_SQL_SERVER_DIGITS, _DB2_DIGITS = 4, 16  # of the last part of an LSN
_NO_RS_ID: Final = "00000000.00000000.0000"
_FILE_AND_POSITION: Final = re.compile(r"\S*?\.([0-9]{1,10})[:.]([0-9]{1,20})(?![0-9])", re.ASCII)
_LSN_TEXT: Final = re.compile(r"([0-9a-fA-F]{1,8})/([0-9a-fA-F]{1,8})(?:\.([0-9]{1,10})(?:\..*)?)?\Z", re.ASCII)
_AFTER_THE_LAST_ROW: Final = 10**10 - 1

# Rows of a snapshot that tells no position: below every position, in Kafka's order among themselves.
SNAPSHOT: Final = SourceVersion("A", "")


def of(source: Source) -> SourceVersion | None:
    """The position of a change.

    >>> of(Source(connector="mysql", file="mysql-bin.000999", pos=4, row=1))
    SourceVersion(kind='B', text='0000000999000000000000000000040000000001')
    """
    if source.connector is None:
        return _by_fields(source)
    compare = _BY_CONNECTOR.get(source.connector)
    return None if compare is None else compare(source)


def usual_binlog(source: Usual) -> SourceVersion | None:
    """The position of a change in MySQL or MariaDB; None where it takes a closer look."""
    return None if not source.file or source.pos is None else binlog(source)


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
    """PostgreSQL. Row locks serialise the writers of a key, so the record's own LSN is enough; snapshot rows share one.
    `sequence` is a JSON text of [LSN of the last commit, the same LSN], for records that have nothing else."""
    number = source.lsn
    if number.__class__ is not int or number < 0:
        number = number_of(number)
    if number is None:
        number = number_of(json_list(source.sequence)[-1])
    return None if number is None else SourceVersion("L", f"{number:020d}")


def binlog(source: Source | Usual) -> SourceVersion | None:
    """MySQL and MariaDB: file, position, row of the event. Files are compared by number: .1000000 follows .999999."""
    suffix = str(source.file).rpartition(".")[2] if source.file else ""
    position = number_of(source.pos)
    if not suffix.isdecimal() or position is None:
        return None
    return SourceVersion("B", f"{int(suffix):010d}{position:020d}{number_of(source.row) or 0:010d}")


def commit_lsn(source: Source) -> SourceVersion | None:
    """SQL Server: commit LSN, change LSN, number of the event. Snapshot rows have no change: they are lowest."""
    return _hexadecimal_lsn(source, _SQL_SERVER_DIGITS)


def db2_lsn(source: Source) -> SourceVersion | None:
    """Db2 and Db2 for z/OS: as SQL Server, with LSNs of 16 bytes."""
    return _hexadecimal_lsn(source, _DB2_DIGITS)


def decimal_lsn(source: Source) -> SourceVersion | None:
    """Informix: commit and change LSN are decimal texts of 64 bits; a snapshot row has no change, told as null or -1."""
    commit = number_of(source.commit_lsn)
    return None if commit is None else SourceVersion("S", f"{commit:020d}{number_of(source.change_lsn) or 0:020d}")


def scn(source: Source) -> SourceVersion | None:
    """Oracle: SCNs are decimal texts, compared as numbers; a snapshot row knows only its own."""
    change = number_of(source.scn)
    commit = number_of(source.commit_scn)
    commit = change if commit is None else commit
    if commit is None:
        return None
    match = _RS_ID.match(str(source.rs_id))
    rs_id = f"{match[1]:0>8}.{match[2]:0>8}.{match[3]:0>4}".lower() if match else _NO_RS_ID
    return SourceVersion("C", f"{commit:020d}{change or 0:020d}{rs_id}{number_of(source.ssn) or 0:010d}")


def commit_us(source: Source) -> SourceVersion | None:
    """Spanner: the commit time, then record and modification within the transaction. Writers of a row never share a time."""
    number = number_of(source.ts_us)
    if number is None and number_of(source.ts_ms) is not None:
        number = source.ts_ms * 1000  # before Debezium 2.6
    if number is None:
        return None
    return SourceVersion("G", f"{number:020d}{number_of(source.sequence) or 0:020d}{number_of(source.mod_number) or 0:010d}")


def source_cluster_time(source: Source) -> SourceVersion | None:
    """MongoDB by Debezium: seconds and a counter; the changes of one transaction share both and keep Kafka's order."""
    time_ms = number_of(source.ts_ms)
    return None if time_ms is None else cluster_time(time_ms // 1000, number_of(source.ord) or 0)


def tso(source: Source) -> SourceVersion | None:
    """TiCDC's Debezium protocol: the commit timestamp."""
    number = number_of(source.commit_ts)
    return None if number is None else SourceVersion("T", f"{number:020d}")


def tso_number(number: Any) -> SourceVersion | None:
    """TiDB's commit timestamp: milliseconds shifted by 18 bits, and a counter. Avro has it as a signed long."""
    if number.__class__ is int and 0 <= number < 2**64:
        return _new(SourceVersion, ("T", "%020d" % number))  # noqa: UP031 - the fastest
    return None


def tso_ms(version: SourceVersion | None) -> int | None:
    """Epoch milliseconds of TiDB's commit timestamp."""
    return None if version is None else int(version.text) >> 18


def maxwell(position: Any, xoffset: Any, is_last: bool) -> SourceVersion | None:
    """Maxwell: file, position of the event, row of the transaction; its last row says `commit` and no number.

    >>> maxwell("master.000006:800911", 3, False)
    SourceVersion(kind='B', text='0000000006000000000000008009110000000003')
    """
    if position.__class__ is not str:
        return None
    file, _, place = position.rpartition(":")
    number = file.rpartition(".")[2]
    if not ((number + place).isdecimal() and position.isascii() and 0 < len(number) <= 10 and 0 < len(place) <= 20):
        return None
    row = _AFTER_THE_LAST_ROW if is_last else min(number_of(xoffset) or 0, _AFTER_THE_LAST_ROW)
    # Digits are moved as text: that is three times as fast as making numbers of them.
    return _new(SourceVersion, ("B", number.rjust(10, "0") + place.rjust(20, "0") + str(row).rjust(10, "0")))


def trail(pos: Any) -> SourceVersion | None:
    """GoldenGate: file and address in the trail, as digits with zeros in front; releases differ in how many."""
    if pos.__class__ is int and 0 <= pos < 10**30:
        pos = str(pos)
    if pos.__class__ is str and pos.isdecimal() and pos.isascii() and len(pos) <= 30:
        return _new(SourceVersion, ("G", pos.rjust(30, "0")))
    return None


def cluster_time(seconds: Any, increment: Any) -> SourceVersion | None:
    """MongoDB: seconds and a counter within them. Changes of one transaction share it and keep Kafka's order."""
    if seconds.__class__ is not int or increment.__class__ is not int:
        return None
    if not (0 <= seconds < 2**32 and 0 <= increment < 2**32):
        return None
    return _new(SourceVersion, ("M", "%010d%010d" % (seconds, increment)))  # noqa: UP031 - the fastest


def stream_position(text: Any, transaction: Any, record: Any) -> SourceVersion | None:
    """AWS DMS: `stream-position` in the words of the source, where they are known; else number of transaction and record.

    >>> stream_position("00000002/7C007178.3.00000002/7C007178", 1139, 1)
    SourceVersion(kind='L', text='000000000106703384240000000003')
    """
    row = min(number_of(record) or 0, _AFTER_THE_LAST_ROW)
    if text.__class__ is str:
        found = _LSN_TEXT.match(text)
        if found is not None:
            high, low, place = found.groups()
            return _new(SourceVersion, ("L", "%020d%010d" % (int(high, 16) << 32 | int(low, 16), int(place or 0))))  # noqa: UP031
        found = _FILE_AND_POSITION.match(text)
        if found is not None:
            return SourceVersion("B", f"{int(found[1]):010d}{int(found[2]):020d}{row:010d}")
        commit = _lsn_text(text)
        if commit is not None:
            return SourceVersion("S", f"{commit}{_NO_LSN}{row:010d}")
    number = number_of(text)
    number = number_of(transaction) if number is None else number
    return None if number is None else SourceVersion("G", f"{number:030d}{row:010d}")


def free(value: Any) -> SourceVersion | None:
    """A position in nobody's own words: a number, `file:position` or `X/Y`; None for all that cannot be compared.

    >>> free("16/B374D848"), free("42"), free("3f333df6-90a4-4fda-8dd3-9485d27cee36")
    (SourceVersion(kind='L', text='00000000097500059720'), SourceVersion(kind='G', text='000000000000000000000000000042'), None)
    """
    number = number_of(value)
    if number is not None:
        return SourceVersion("G", f"{number:030d}") if number < 10**30 else None
    if value.__class__ is not str:
        return None
    found = _LSN_TEXT.match(value)
    if found is not None and found[3] is None:
        return SourceVersion("L", f"{int(found[1], 16) << 32 | int(found[2], 16):020d}")
    return maxwell(value, 0, is_last=False)


def _by_fields(source: Source) -> SourceVersion | None:
    """A source that does not name its connector: flattened rows, and blocks that a transformation shortened."""
    found = lsn(source) or _some_lsn(source) or scn(source) or binlog(source) or hlc(source.ts_hlc)
    return found or (None if source.ord is None else source_cluster_time(source))


def _some_lsn(source: Source) -> SourceVersion | None:
    """Db2 writes 16 digits where SQL Server writes 4."""
    is_long = len(str(source.commit_lsn).rpartition(":")[2]) > _SQL_SERVER_DIGITS
    return (db2_lsn if is_long else commit_lsn)(source) or decimal_lsn(source)


def _hexadecimal_lsn(source: Source, digits: int) -> SourceVersion | None:
    commit, change = _lsn_text(source.commit_lsn, digits), _lsn_text(source.change_lsn, digits)
    if commit is None:
        return None
    return SourceVersion("S", f"{commit}{change or _lsn_text('0:0:0', digits)}{number_of(source.event_serial_no) or 0:010d}")


def _lsn_text(value: Any, digits: int = _SQL_SERVER_DIGITS) -> str | None:
    match = _LSN_PARTS.match(value) if value.__class__ is str else None
    if match is None or len(match[3]) > digits:
        return None
    return f"{match[1]:0>8}:{match[2]:0>8}:{match[3]:0>{digits}}".lower()


def json_list(text: Any) -> Sequence[Any]:
    """The list in a JSON text, [None] where there is none."""
    try:
        value = json.decode_loosely(text.encode()) if text.__class__ is str else text
    except Reject:
        return (None,)
    return value if value.__class__ is list and value else (None,)


def number_of(value: Any) -> int | None:
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
    "db2": db2_lsn,
    "informix": decimal_lsn,
    "oracle": scn,
    "mongodb": source_cluster_time,
    "cockroachdb": _source_hlc,
    "spanner": commit_us,
    "TiCDC": tso,
}
