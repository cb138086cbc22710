"""Rows that Debezium's ExtractNewRecordState took out of their envelope: `__op`, `__deleted`, `__lsn` stand beside the columns.

Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, debezium, json, positions
from ingest.formats.message import Echoes, Message, need_row
from ingest.formats.positions import Source
from ingest.formats.unavailable import Placeholder
from ingest.model import Decoded, Envelope, Fields, Op, Skip

_SOURCE: Final = frozenset(Source.__struct_fields__)
_OTHERS: Final = """
    op deleted ts_ms ts_us ts_ns version name snapshot sequence txId xmin origin_lsn server_id gtid thread query cluster shard
    vgtid redo_thread user_name row_id start_scn commit_ts_ms start_ts_ms collection id total_order data_collection_order
"""
METADATA: Final = _SOURCE | set(_OTHERS.split())
_PROCESSING_TIMES: Final = {"ts_ms": "", "ts_us": "", "ts_ns": ""}

Plan = tuple[tuple[str, str], ...]  # field of the record, its name without prefix

# Tables of one topic, times their schema changes; beyond that the plans are made anew.
KNOWN_SHAPES = 256


class Flattened:
    """Rows with metadata fields under a prefix."""

    def __init__(self, placeholder: Placeholder, prefix: str = "__") -> None:
        self._placeholder = placeholder
        self._prefix = prefix
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._echoes = Echoes()

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        return self._row(message, value) if value.__class__ is dict and self._plan(value) else None

    def read(self, message: Message) -> Decoded:
        return self._row(message, need_row(message.value, "value"))

    def read_tombstone(self, message: Message) -> Decoded:
        return self._echoes.read(message)

    def _row(self, message: Message, row: Fields) -> Decoded:
        metadata = {name: row.pop(field) for field, name in self._plan(row)}
        if not metadata:
            skip = controls.debezium(row, message.key, message.record.topic) or _logical_message(row)
            if skip is not None:
                return skip
        source = _source(metadata)
        word = str(metadata.get("op") or "").lower()
        if word == "d" or str(metadata.get("deleted")).lower() == "true":
            self._echoes.deleted(message.record)
            return (self._envelope(message, Op.DELETE, word or "d", source, None, row),)
        op = Op.UPDATE if word == "u" else Op.INSERT
        if self._placeholder.may_be_anywhere_in(message.body) and self._placeholder.take_out(row):
            op = Op.UPDATE
        return (self._envelope(message, op, word, source, row, None),)

    def _envelope(
        self, message: Message, op: Op, word: str, source: Source, after: Fields | None, before: Fields | None
    ) -> Envelope:
        key = message.key
        return Envelope(
            op,
            key.value,
            after,
            before,
            debezium.table(source),
            positions.of(source),
            debezium.source_ts_ms(source),
            schema=message.row_schema(""),
            key_schema=key.schema,
            op_name=word,
        )

    def _plan(self, row: Fields) -> Plan:
        """Which fields of a row are metadata; the same for every row of these fields."""
        shape = tuple(row)
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= KNOWN_SHAPES:
                self._plans.clear()
            plan = self._plans[shape] = metadata_fields(row, self._prefix)
        return plan


def metadata_fields(row: Fields, prefix: str) -> Plan:
    """The metadata fields of a row and their own names. A column that merely begins with the prefix is none.

    >>> metadata_fields({"id": 1, "__op": "c", "__source_ts_ms": 5, "__mine": 2}, "__")
    (('__op', 'op'), ('__source_ts_ms', 'ts_ms'))
    """
    plan = []
    for field in row:
        if field.startswith(prefix):
            name = field[len(prefix) :]
            if name.removeprefix("source_").removeprefix("transaction_") in METADATA:
                # Without `source_` a time is when the connector saw the change: no version, and no time of the source.
                plan.append((field, _PROCESSING_TIMES.get(name, name.removeprefix("source_"))))
    return tuple(plan)


def _source(metadata: dict[str, Any]) -> Source:
    try:
        return msgspec.convert({name: value for name, value in metadata.items() if name in _SOURCE}, Source)
    except msgspec.ValidationError as error:
        raise Reject("flattened.metadata", "a metadata field is no metadata: check add.fields.prefix") from error


def _logical_message(row: Fields) -> Skip | None:
    return Skip("logical_message") if row.get("op") == "m" and "message" in row else None
