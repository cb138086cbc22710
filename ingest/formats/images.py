"""Rows before and after a change, for formats that tell a changed key as one update: it becomes a delete and a write.

Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ingest.errors import Reject
from ingest.formats.message import need_row
from ingest.model import Envelope, Fields, Op

_ABSENT: Final = object()
INSERT, DELETE = Op.INSERT, Op.DELETE


def key_of(names: Sequence[str] | None, row: Fields | None) -> Fields | None:
    """The key of a row by the names of its parts; None where the row lacks one, or nobody told the names.

    >>> key_of(["id"], {"id": 4, "n": 1}), key_of(["id"], {"n": 1}), key_of(None, {"n": 1})
    ({'id': 4}, None, None)
    """
    if not names or row is None:
        return None
    try:
        return {name: row[name] for name in names}
    except KeyError:
        return None


def image(value: Any, part: str) -> Fields | None:
    """The object that a part of an envelope holds, None for null. Raises Reject("row.not_an_object")."""
    return None if value is None else need_row(value, part)


def without_key_change(update: Envelope, names: Sequence[str] | None) -> tuple[Envelope, ...]:
    """The update as it is; where its key changed, a delete of the old key and a write of the new one.

    names: of the parts of the key; both images are looked at, as far as they have them.
    """
    before, after = update.before, update.after
    if before is None or after is None or not names:
        return (update,)
    if not any(before.get(name, after.get(name)) != after.get(name, before.get(name)) for name in names):
        return (update,)
    return moved(update, before, names)


def moved(update: Envelope, before: Fields, names: Sequence[str] | None) -> tuple[Envelope, Envelope]:
    """An update of the key as its two halves. before: the row under its old key, as far as it is known."""
    old_key = key_of(names, {**(update.after or {}), **before})
    schema, version, ts_ms, word = update.schema, update.version, update.source_ts_ms, update.op_name
    table, real, key_schema = update.table, update.before_real, update.key_schema
    gone = Envelope(DELETE, old_key, None, before, table, version, ts_ms, real, schema, key_schema, word)
    return gone, Envelope(INSERT, update.key, update.after, None, table, version, ts_ms, False, schema, key_schema, word)


def only_its_key(remedy: str) -> Reject:
    """A change that was too large for its message."""
    return Reject("row.incomplete", f"the change was too large for its message and carries only its key: {remedy}")
