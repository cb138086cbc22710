"""Rows that Debezium's ExtractNewRecordState took out of their envelope (ExtractNewDocumentState for MongoDB).

What was around the row stands beside its columns (`add.fields`: __op, __lsn, __source_ts_ms), in the record's headers
(`add.headers`, under the same names), or nowhere. Prefix and names are settings of the connector, so they are ours too.
Deletes are rows with `__deleted`, or null values.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, debezium_mongodb, json, positions, signals, vitess
from ingest.formats.message import Echoes, Key, Message, need_row
from ingest.formats.positions import Source
from ingest.formats.unavailable import Placeholder
from ingest.model import Decoded, Envelope, Fields, Op, Skip, SourceVersion

DEFAULT_PREFIX: Final = "__"
DELETED: Final = "__deleted"  # whatever the prefix of the others is

_SOURCE: Final = frozenset(Source.__struct_fields__)
_OTHERS: Final = """
    op deleted ts_ms ts_us ts_ns version name snapshot txId xmin origin_lsn origin server_id gtid thread query cluster begin_lsn
    redo_thread user_name row_id start_scn commit_ts_ms start_ts_ms lcr_position txSeq rs h lsid txnNumber stxnid tord wallTime
    change_stream_name project_id instance_id database_id server_transaction_id low_watermark read_at_timestamp
    number_records_in_transaction transaction_tag system_transaction value_capture_type partition_token
    is_last_record_in_transaction_in_partition number_of_partitions_in_transaction
"""
METADATA: Final = _SOURCE | set(_OTHERS.split())
_TRANSACTION: Final = frozenset({"id", "total_order", "data_collection_order", "transaction_rank", "transaction_epoch"})
_EVIDENCE: Final = frozenset({"op", "deleted", "lsn", "table"})
# Where no prefix tells metadata from columns, only names that no table uses for anything else are taken.
_WITHOUT_PREFIX: Final = frozenset({"op", "lsn", "commit_lsn", "change_lsn", "event_serial_no", "scn", "commit_scn"})
_PROCESSING_TIMES: Final = {"ts_ms": "", "ts_us": "", "ts_ns": ""}

Headers = Sequence[tuple[str, bytes | None]]
Plan = tuple[tuple[str, str], ...]  # field of the record, its name without prefix

# Tables of one topic, times their schema changes; beyond that the plans are made anew.
KNOWN_SHAPES = 256


class Flattened:
    """Rows with metadata under a prefix, which is the setting `add.fields.prefix`; behind a blank may follow `add.fields`, as it
    stands in the connector's configuration, for fields that it renames: `__ op:OPERATION,source.ts_ms:CHANGED`."""

    def __init__(self, placeholder: Placeholder, prefix: str = DEFAULT_PREFIX) -> None:
        self._placeholder = placeholder
        self.prefix = prefix
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._echoes = Echoes()

    def read_json(self, message: Message) -> Decoded | None:
        try:
            value = json.decode(message.body)
        except Reject:
            return None  # perhaps several values; the caller finds out
        if value.__class__ is not dict:
            return None
        plan = self._plan(value)
        return self._row(message, value, plan) if plan else None

    def read(self, message: Message) -> Decoded:
        row = need_row(message.value, "value")
        plan = self._plan(row)
        if not plan:
            skip = controls.debezium(row, message.key, message.record.topic) or _logical_message(row)
            if skip is not None:
                return skip
        return self._row(message, row, plan)

    def read_tombstone(self, message: Message) -> Decoded:
        """A delete that became a tombstone may still have its position in the headers."""
        message.key = debezium_mongodb.unwrapped(message.key)
        decoded, metadata = self._echoes.read(message), in_headers(message.record.headers, self.prefix)
        if isinstance(decoded, Skip) or not metadata:
            return decoded
        return (self._envelope(message, Op.DELETE, "d", metadata, None, None),)

    def _row(self, message: Message, row: Fields, plan: Plan) -> Decoded:
        metadata = in_headers(message.record.headers, self.prefix) if message.record.headers else {}
        for field, name in plan:
            metadata[name] = row.pop(field)
        word = str(metadata.get("op") or "").lower()
        if len(row) == len(signals.COLUMNS) and signals.is_signal(row, (str(metadata.get("table")),)):
            return signals.SIGNAL
        if word == "d" or str(metadata.get("deleted")).lower() == "true":
            self._echoes.deleted(message.record)
            return (self._envelope(message, Op.DELETE, word or "d", metadata, None, row),)
        op = Op.UPDATE if word == "u" else Op.INSERT
        if self._placeholder.may_be_anywhere_in(message.body) and self._placeholder.take_out(row):
            op = Op.UPDATE
        return (self._envelope(message, op, word, metadata, row, None),)

    def _envelope(
        self, message: Message, op: Op, word: str, metadata: Fields, after: Fields | None, before: Fields | None
    ) -> Envelope:
        key, schema, source = _key(message.key, after or before or {}), message.row_schema(""), _source(metadata)
        table, version, ts_ms = source.name_of_table(), _version(metadata, source), source.changed_ms()
        return Envelope(op, key.value, after, before, table, version, ts_ms, False, schema, key.schema, word)

    def _plan(self, row: Fields) -> Plan:
        """Which fields of a row are metadata; the same for every row of these fields."""
        shape = tuple(row)
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= KNOWN_SHAPES:
                self._plans.clear()
            plan = self._plans[shape] = metadata_fields(row, self.prefix)
        return plan


def metadata_fields(row: Fields, prefix: str) -> Plan:
    """The metadata fields of a row and their own names. A column that merely begins with the prefix is none.

    >>> metadata_fields({"id": 1, "__op": "c", "__source_ts_ms": 5, "__mine": 2}, "__")
    (('__op', 'op'), ('__source_ts_ms', 'ts_ms'))
    >>> metadata_fields({"id": 1, "__POS": 5}, "__ source.lsn:POS")
    (('__POS', 'lsn'),)
    """
    named = ((field, _metadata_name(field, prefix)) for field in row)
    return tuple((field, name) for field, name in named if name is not None)


def in_headers(headers: Headers, prefix: str) -> Fields:
    """What the headers of a record say of it, as texts; the last of a name counts.

    >>> in_headers([("__op", b"d"), ("__source_lsn", b"5"), ("__debezium.context.taskId", b"0")], "__")
    {'op': 'd', 'lsn': '5'}
    """
    found = {}
    for header, value in headers:
        name = _metadata_name(header, prefix if prefix.partition(" ")[0] else DEFAULT_PREFIX + prefix)
        if name is not None and value is not None:
            found[name] = _header_text(value)
    return found


def is_flattened(row: Fields, headers: Headers, prefix: str) -> bool:
    """Whether a row or its headers bear enough of the metadata that nobody else writes."""
    names = {name for _, name in metadata_fields(row, prefix)} | in_headers(headers, prefix).keys()
    prefix, _, added = prefix.partition(" ")
    if not prefix and not added:
        return DELETED in row or ("op" in names and any(field.startswith("source_") for field in row))
    return not names.isdisjoint(_EVIDENCE) or any(field.startswith(prefix + "source_") for field in row)


def _metadata_name(field: str, prefix: str) -> str | None:
    """A field's name without prefixes, "" for what tells nothing of the source, None for a column."""
    if field == DELETED:
        return "deleted"
    if " " in prefix:
        prefix, added = _added(prefix)
        if field in added or not prefix:
            return added.get(field)
    if not field.startswith(prefix):
        return None
    name = field[len(prefix) :]
    if name.startswith("transaction_"):
        inner = name.removeprefix("transaction_")
        return inner if inner in _TRANSACTION else name if name in _TRANSACTION else None
    inner = name.removeprefix("source_")
    if not prefix and inner == name and name not in _WITHOUT_PREFIX:
        return None
    if inner not in METADATA:
        return None
    # Without `source_` a time is when the connector saw the change: no version, and no time of the source.
    return _PROCESSING_TIMES.get(name, inner)


@lru_cache(maxsize=64)
def _added(setting: str) -> tuple[str, Mapping[str, str]]:
    """The prefix, and of each field that the connector adds its own name; "" for what is no metadata of ours."""
    prefix, _, added = setting.partition(" ")
    listed = (item.strip().replace(".", "_").partition(":") for item in added.split(","))
    named = {prefix + (new or field): field for field, _, new in listed}
    return prefix, {new: _metadata_name(DEFAULT_PREFIX + field, DEFAULT_PREFIX) or "" for new, field in named.items()}


def _header_text(value: bytes) -> str | None:
    """Kafka Connect writes a header as bare text, or as JSON by JsonConverter."""
    text = value.decode(errors="replace")
    if text[:1] not in ('"', "{", "n"):
        return text
    try:
        said = json.decode_loosely(value)
    except Reject:
        return text
    said = said.get("payload") if said.__class__ is dict else said
    return None if said is None else str(said)


def _key(key: Key, row: Fields) -> Key:
    """MongoDB's key stands as Extended JSON in `id`, while the document has its value in `_id`."""
    is_id = key.value.__class__ is dict and len(key.value) == 1 and "id" in key.value
    if is_id and debezium_mongodb.ID in row and "id" not in row:
        return debezium_mongodb.key_of(key, row)
    return key


def _source(metadata: Fields) -> Source:
    try:
        source = msgspec.convert({name: value for name, value in metadata.items() if name in _SOURCE}, Source)
    except msgspec.ValidationError as error:
        raise Reject("flattened.metadata", "a metadata field is no metadata: check add.fields.prefix") from error
    if source.ts_ms.__class__ is str and source.ts_ms.isdecimal():
        source.ts_ms = int(source.ts_ms)
    return source


def _version(metadata: Fields, source: Source) -> SourceVersion | None:
    is_vitess = source.vgtid is not None or "transaction_rank" in metadata
    return (vitess.position(source, metadata) if is_vitess else None) or positions.of(source)


def _logical_message(row: Fields) -> Skip | None:
    return Skip("logical_message") if row.get("op") == "m" and "message" in row else None
