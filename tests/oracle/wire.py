"""How a source writes a change into Kafka: key bytes, value bytes, headers. One class per shape.

Rows come in as JSON bytes already (a row is written once and stands in two images); nothing is decided here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import orjson

from .tables import Key, Spec

NULL = b"null"
UNAVAILABLE = "__debezium_unavailable_value"
Headers = tuple[tuple[str, bytes], ...]


class At(NamedTuple):
    """When a change happened at its source. position: LSN, or the HLC as one integer (wall ns * 10**10 + logical)."""

    position: int
    ts_ms: int


class Wire(Protocol):
    def key(self, key: Key) -> bytes: ...

    def change(self, op: str, before: bytes, after: bytes, at: At) -> bytes:
        """op: c, u, d or r. before, after: JSON text of a row, or `null`."""


class Debezium:
    """Envelope of the PostgreSQL connector, JsonConverter without schemas."""

    def __init__(self, spec: Spec) -> None:
        self._names = spec.key
        self._table = spec.name.encode()

    def key(self, key: Key) -> bytes:
        return orjson.dumps(dict(zip(self._names, key, strict=True)))

    def change(self, op: str, before: bytes, after: bytes, at: At) -> bytes:
        return (
            b'{"before":%b,"after":%b,"source":{"version":"3.6.1.Final","connector":"postgresql","name":"shop","ts_ms":%d,'
            b'"snapshot":"%b","db":"shop","sequence":"[\\"%d\\",\\"%d\\"]","ts_us":%d,"ts_ns":%d,"schema":"public","table":"%b",'
            b'"txId":%d,"lsn":%d,"xmin":null},"transaction":null,"op":"%b","ts_ms":%d,"ts_us":%d,"ts_ns":%d}'
        ) % (
            before, after, at.ts_ms, b"true" if op == "r" else b"false", at.position - 8, at.position, at.ts_ms * 1000,
            at.ts_ms * 1_000_000, self._table, at.position >> 4, at.position, op.encode(), at.ts_ms + 350,
            (at.ts_ms + 350) * 1000, (at.ts_ms + 350) * 1_000_000,
        )  # fmt: skip


class Flattened:
    """ExtractNewRecordState with add.fields=op,lsn,source.ts_ms; `rewrite` marks every row with __deleted."""

    def __init__(self, spec: Spec) -> None:
        self._names = spec.key
        self._marks = spec.deletes == "rewrite"

    def key(self, key: Key) -> bytes:
        return orjson.dumps(dict(zip(self._names, key, strict=True)))

    def change(self, op: str, before: bytes, after: bytes, at: At) -> bytes:
        row = before if op == "d" else after
        deleted = (b',"__deleted":"true"' if op == "d" else b',"__deleted":"false"') if self._marks else b""
        return b'%b%b,"__op":"%b","__lsn":%d,"__source_ts_ms":%d}' % (row[:-1], deleted, op.encode(), at.position, at.ts_ms)


class Cockroach:
    """Changefeed envelope=wrapped with updated, diff and resolved: a delete is an `after` of null."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def key(self, key: Key) -> bytes:
        return orjson.dumps(list(key))

    def change(self, op: str, before: bytes, after: bytes, at: At) -> bytes:
        return b'{"after":%b,"before":%b,"updated":"%b"}' % (after, before, hlc(at.position))


def hlc(position: int) -> bytes:
    """
    >>> hlc(1746045115619002000 * 10**10 + 7)
    b'1746045115619002000.0000000007'
    """
    return b"%d.%010d" % divmod(position, 10**10)


def resolved(position: int) -> bytes:
    return b'{"resolved":"%b"}' % hlc(position)


def wire_of(spec: Spec) -> Wire:
    shapes: dict[str, type[Debezium | Flattened | Cockroach]] = {
        "debezium": Debezium,
        "flattened": Flattened,
        "cockroach": Cockroach,
    }
    return shapes[spec.shape](spec)
