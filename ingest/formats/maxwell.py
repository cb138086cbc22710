"""Maxwell's JSON: `data` is the row, `old` the former values of what changed.

An update's `data` may lack columns (binlog_row_image=MINIMAL), which then keep their values. Rows say no types.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, positions
from ingest.formats.images import image, key_of, without_key_change
from ingest.formats.message import Key, Message, deleted_by_key, need_row
from ingest.model import Decoded, Envelope, Fields, Op

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
OPS: Final = {"insert": INSERT, "bootstrap-insert": INSERT, "update": UPDATE, "delete": DELETE}
DDL: Final = frozenset(f"{what}-{how}" for what in ("table", "database") for how in ("create", "alter", "drop"))
MARKS: Final = frozenset({"bootstrap-start", "bootstrap-complete"})
WORDS: Final = frozenset(OPS) | DDL | MARKS

SNAPSHOT: Final = "bootstrap-insert"
KNOWN_SHAPES = 512
_OWN_TABLE: Final = frozenset({"is_complete", "inserted_rows", "table_name"})


class Head(msgspec.Struct, gc=False):
    """What stands around the row. Fields that are only looked at by some are of any type."""

    database: str = ""
    table: str = ""
    type: str = ""
    ts: Any = None
    xoffset: Any = None
    commit: Any = None
    position: Any = None
    primary_key_columns: list[str] | None = None
    reason: Any = None


class _Envelope(Head, gc=False):
    data: msgspec.Raw = json.NULL
    old: msgspec.Raw = json.NULL


_decode = msgspec.json.Decoder(_Envelope).decode


class Maxwell:
    """Maxwell's rows.

    whole: updates carry every column, so that an absent one is NULL (output_nulls=false). minimal: `old` does not name
    all that changed (binlog_row_image=MINIMAL), so nothing is known of the other columns' former values.
    """

    def __init__(self, *, whole: bool = False, minimal: bool = False) -> None:
        self.update: Final = INSERT if whole else UPDATE
        self.minimal: Final = minimal
        self._key_names: dict[tuple[tuple[str, ...], tuple[str, ...]], Sequence[str] | None] = {}

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # read() will say what is wrong with it
        op = OPS.get(seen.type)
        data = json.decode_row(bytes(seen.data))
        if op is None or not data or not seen.table or seen.reason is not None:
            return None
        old_text = bytes(seen.old)
        return self._change(message, seen, op, data, None if old_text == b"null" else json.decode_row(old_text))

    def read(self, message: Message) -> Decoded:
        value = need_row(message.value, "value")
        head = _head(value)
        if head.type in DDL:
            return controls.SCHEMA_CHANGE
        if head.type in MARKS:
            return controls.SNAPSHOT_MARK
        op = OPS.get(head.type)
        if op is None or not head.table:
            raise Reject("maxwell.type", "the record's 'type' or 'table' is none of Maxwell's: check the topic's format")
        if "encrypted" in value:
            raise Reject("maxwell.encrypted", "the row is encrypted, and the secret is not known here: set encrypt=none")
        if head.reason is not None:
            raise Reject("row.incomplete", "Maxwell could not send this row and tells only its key: see its 'reason'")
        return self._change(message, head, op, need_row(value.get("data"), "data"), image(value.get("old"), "old"))

    def read_tombstone(self, message: Message) -> Decoded:
        key = message.key.value
        return deleted_by_key(Key(_named_key(key) or key))

    def _change(self, message: Message, head: Head, op: Op, data: Fields, old: Fields | None) -> Decoded:
        if head.table == "bootstrap" and _OWN_TABLE <= data.keys():
            return controls.INTERNAL
        names = head.primary_key_columns or self._names_of_key(message.key.value, data)
        version = positions.maxwell(head.position, head.xoffset, head.commit is True)
        if version is None and head.type == SNAPSHOT:
            version = positions.SNAPSHOT
        after: Fields | None = data
        before: Fields | None = None
        real = False
        if op is DELETE:
            after, before, real = None, data, True
        elif op is UPDATE:
            op = self.update
            if old:
                before, real = ({**data, **old}, True) if not self.minimal else (old, False)
        ts_ms = head.ts * 1000 if head.ts.__class__ is int and head.ts > 0 else None
        table = (head.database, head.table) if head.database else (head.table,)
        key = key_of(names, data) or _named_key(message.key.value)
        change = Envelope(op, key, after, before, table, version, ts_ms, real, op_name=head.type)
        return without_key_change(change, names) if after is not None and before is not None else (change,)

    def _names_of_key(self, key: Any, row: Fields) -> Sequence[str] | None:
        """The columns of the primary key as the Kafka key names them; the same for all rows of a table."""
        if key.__class__ is not dict:
            return _key_names(_named_key(key), row)
        known = (tuple(key), tuple(row))
        try:
            return self._key_names[known]
        except KeyError:
            if len(self._key_names) >= KNOWN_SHAPES:
                self._key_names.clear()
            names = self._key_names[known] = _key_names(_named_key(key), row)
            return names


def _head(value: Fields) -> Head:
    try:
        return msgspec.convert({name: part for name, part in value.items() if part is not None}, Head)
    except msgspec.ValidationError as error:
        raise Reject("maxwell.type", "a field of the envelope is none of Maxwell's: check the topic's format") from error


def _named_key(key: Any) -> Fields | None:
    """The primary key out of Maxwell's Kafka key, `{"database", "table", "pk.id"}` or `["db", "table", [{"id": 4}]]`."""
    if key.__class__ is dict:
        return {name[3:]: value for name, value in key.items() if name.startswith("pk.")} or None
    if key.__class__ is tuple and len(key) == 3 and key[2].__class__ is list:
        return {name: value for part in key[2] if part.__class__ is dict for name, value in part.items()} or None
    return None


def _key_names(named: Fields | None, row: Fields) -> Sequence[str] | None:
    """The columns of the primary key. The Kafka key has them in lower case, whatever the table does."""
    if named is None or named.keys() <= row.keys():
        return None if named is None else list(named)
    letters = {name.lower(): name for name in row}
    names = [letters[name] for name in named if name in letters]
    return names if len(names) == len(named) else None
