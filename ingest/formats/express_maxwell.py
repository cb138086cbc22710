"""Express readers of Maxwell's rows: inserts, bootstrap's inserts and updates of one table.

The key is made of the row's own fields; `old` is read as on the long way, because no two updates name the same columns in it.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ingest.flow.ports import Express
from ingest.formats import json, positions
from ingest.formats.express_json import Body
from ingest.formats.maxwell import OPS, SNAPSHOT, Head, Maxwell
from ingest.model import Envelope, Op

_UPDATE: Final = "update"
_TS_MS: Final = "None if seen.ts is None else seen.ts * 1000"
_VERSION: Final = "position_of(seen.position, seen.xoffset, seen.commit is True)[1]"


def maxwell(envelope: Envelope, body: Body, text: bytes, key: bytes | None, format_: Maxwell) -> Express | None:
    """text: the sample's payload. key: its Kafka key."""
    try:
        head = msgspec.json.decode(text, type=Head)
    except json.BAD_INPUT:
        return None
    if not _has_key_in_row(head, body):
        return None
    is_placed, code = envelope.version not in (None, positions.SNAPSHOT), body.code
    type_ = _type(head, _words(envelope, body, format_), is_placed=is_placed)
    code.known |= {"decode": msgspec.json.Decoder(type_).decode, "position_of": positions.maxwell}
    code.known["key_columns"] = head.primary_key_columns
    has_key = body.begin_beside_key(key)
    code.line("seen = decode(body)")
    code.line("if seen.primary_key_columns != key_columns: return None")
    code.line("text = bytes(seen.data)")
    if not has_key or not body.row("text", "r"):
        return None
    body.names("text", "r", str(len(body.wanted.row)))
    _write_old(body)
    return body.end("None" if body.wanted.key is None else None, "seen.type", _VERSION if is_placed else "None", _TS_MS)


def _has_key_in_row(head: Head, body: Body) -> bool:
    """Whether the key is made of columns of the row, which the Kafka key may name in other letters."""
    row, key = body.wanted.row, {field.name for field in body.wanted.key or ()}
    if head.primary_key_columns and set(head.primary_key_columns) != key:
        return False
    return len({field.name.lower() for field in row}) == len(row) and body.find_key_in_row()


def _words(envelope: Envelope, body: Body, format_: Maxwell) -> tuple[str, ...]:
    """The operations of records that have a position if the sample has one. Rows of a bootstrap have a version without one."""
    if envelope.version == positions.SNAPSHOT:
        return (SNAPSHOT,)
    words = [word for word, op in OPS.items() if op is Op.INSERT and (envelope.version is not None or word != SNAPSHOT)]
    return (*words, _UPDATE) if format_.update in body.wanted.ops and not format_.minimal else tuple(words)


def _type(head: Head, words: tuple[str, ...], *, is_placed: bool) -> type:
    """What stands around the rows of one table. A record that was not sent whole has a `reason`."""
    parts: list[Any] = [
        ("database", Literal[head.database], *(() if head.database else ("",))),
        ("table", Literal[head.table]),
        ("type", Literal[words]),
        ("data", msgspec.Raw),
        ("position", *((str,) if is_placed else (None, None))),
        ("ts", positions.Positive | None, None),
        ("xoffset", positions.Unsigned | None, None),
        ("commit", bool | None, None),
        ("primary_key_columns", list[str] | None, None),
        ("reason", None, None),
        ("old", msgspec.Raw, json.NULL),
    ]
    return msgspec.defstruct("ExpressMaxwell", sorted(parts, key=len), gc=False)


def _write_old(body: Body) -> None:
    """Write the look at the former values of an update, which is a real image of before. One of the key takes the long way."""
    wanted, code = body.wanted, body.code
    names = {field.name for field in wanted.row} - {field.name for field in wanted.key or ()}
    code.known |= {"decode_exactly": json.decode_exactly, "names": frozenset(names)}
    code.line("was, old_text = None, bytes(seen.old)")
    code.line("if old_text != b'null':")
    code.line(" old = decode_exactly(old_text)")
    code.line(" if seen.type != 'update' or not old.keys() <= names: return None")
    code.line(" if old_text.count(b':') != len(old) and not has_names(old_text, len(old)): return None")
    if wanted.moment is not None:
        code.line(f" if old: was = old.get({wanted.moment!r}, {body.moment_of('r')})")
