"""Rows of Debezium's Cassandra connector: each column is a cell that says whether it was written.

The order of writes is Cassandra's, cell by cell, so a row has no version. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Reject
from ingest.formats.message import Message, need_row
from ingest.formats.positions import Source
from ingest.model import Envelope, Fields, Op, RowSchema

_RANGE: Final = ("_range_start", "_range_end")
_OPS: Final = {"c": Op.UPDATE, "i": Op.UPDATE, "r": Op.UPDATE, "u": Op.UPDATE, "d": Op.DELETE}


class CellReader:
    """Takes values out of cells, and types out of the types of cells."""

    def __init__(self) -> None:
        self._schemas: dict[RowSchema, RowSchema] = {}

    def read(self, message: Message, word: str, source: Source, value: Fields) -> Envelope:
        """The change of a row: an insert sets the cells that it names, as an update does.

        Raises Reject: debezium.op, row.missing, row.not_an_object, delete.without_key, cassandra.range_delete.
        """
        op = _OPS.get(word)
        if op is None:
            raise Reject("debezium.op", "the record has none of the operations c, i, r, u and d: check the topic's format")
        cells = need_row(value.get("after"), "after")
        if any(name in cells for name in _RANGE):
            raise Reject("cassandra.range_delete", "a delete of a range of rows names no key: delete these rows by hand")
        row = {name: cell["value"] for name, cell in cells.items() if _is_written(cell)}
        key = message.key
        if op is Op.DELETE and key.value is None and not row:
            raise Reject("delete.without_key", "a delete without key and 'after' names no row: check the topic's key converter")
        after, before = (None, row) if op is Op.DELETE else (row, None)
        schema = self._row_schema(message.row_schema("after"))
        return Envelope(op, key.value, after, before, source.name_of_table(), schema=schema, key_schema=key.schema, op_name=word)

    def _row_schema(self, cells: RowSchema | None) -> RowSchema | None:
        """The types of the values inside the cells; the same object for the same schema."""
        if cells is None:
            return None
        found = self._schemas.get(cells)
        if found is None:
            inner = {name: declared.fields or {} for name, declared in cells.fields.items()}
            types = {name: fields["value"] for name, fields in inner.items() if "value" in fields}
            found = self._schemas[cells] = RowSchema(types, cells.name)
        return found


def _is_written(cell: Any) -> bool:
    return isinstance(cell, Mapping) and bool(cell.get("set")) and "value" in cell
