"""Express readers of the generic envelope: inserts and updates of one table, in the usual spellings of the words.

The key is made of `primary_key`, or of the Kafka key where the sample has none. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal

import msgspec

from ingest.errors import Reject
from ingest.flow.ports import Express
from ingest.formats import json, positions
from ingest.formats.express_code import write_key_object
from ingest.formats.express_json import Body, image
from ingest.formats.generic import OPS, Parts
from ingest.formats.times import guessed_ms
from ingest.model import Envelope, Op

_COUNT: Final = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


def generic(envelope: Envelope, body: Body, text: bytes, key: bytes | None) -> Express | None:
    """text: the sample's payload. key: its Kafka key."""
    try:
        sample = msgspec.json.decode(text, type=Parts)
        is_named = bool(json.decode_row(bytes(sample.primary_key)))
    except (*json.BAD_INPUT, Reject):
        return None
    if is_named and not body.find_key_in_row():
        return None
    code, version = body.code, _version(envelope, sample)
    words = _words(body, is_named=is_named)
    code.known |= {"decode": msgspec.json.Decoder(_type(sample, words, version, is_named=is_named)).decode}
    code.known |= {"updates": frozenset(words) & _spelled(Op.UPDATE), "guessed_ms": guessed_ms, "free": positions.free}
    said = body.begin_beside_key(key) if is_named else body.begin()
    code.line("seen = decode(body)")
    code.line("text = bytes(seen.after)")
    if not said or not body.row("text", "r"):
        return None
    body.names("text", "r", str(len(body.wanted.row)))
    named = _write_named(body) if is_named else str(said)
    _write_before(body, is_named=is_named)
    return None if named is None else body.end(named, "seen.type", _write_version(body, version), "guessed_ms(seen.ts)")


def _spelled(wanted: Op) -> frozenset[str]:
    """The words of an operation as people write them."""
    words = [word for word, op in OPS.items() if op is wanted]
    return frozenset(spelled for word in words for spelled in (word, word.upper(), word.capitalize()))


def _words(body: Body, *, is_named: bool) -> tuple[str, ...]:
    """Updates only where a changed key can be told: two numbers that are no integers may be the same double."""
    kinds = {field.kind for field in body.wanted.key or ()} if is_named else set()
    updates = _spelled(Op.UPDATE) if Op.UPDATE in body.wanted.ops and kinds <= {"int", "text"} else frozenset()
    return tuple(sorted(_spelled(Op.INSERT) | updates))


def _version(envelope: Envelope, sample: Parts) -> str | None:
    """The kind of the position: "" for a count, None where there is none."""
    if envelope.version is None:
        return None
    return "" if sample.offset.__class__ is int else envelope.version.kind


def _type(sample: Parts, words: Collection[str], version: str | None, *, is_named: bool) -> type:
    """What stands around the rows of one table."""
    offset: tuple[Any, ...] = (None, None) if version is None else (str if version else _COUNT,)
    parts: list[Any] = [
        ("type", Literal[tuple(words)]),
        ("table", Literal[sample.table]),
        ("database", *((None, None) if sample.database is None else (Literal[sample.database],))),
        ("schema", *((None, None) if sample.schema is None else (Literal[sample.schema],))),
        ("ts", int | str | None, None),
        ("offset", *offset),
        ("primary_key", *((msgspec.Raw,) if is_named else (None, None))),
        ("before", msgspec.Raw, json.NULL),
        ("after", msgspec.Raw),
    ]
    return msgspec.defstruct("ExpressGeneric", sorted(parts, key=len), rename={"offset": "_offset"}, gc=False)


def _write_named(body: Body) -> str | None:
    body.code.line("named = bytes(seen.primary_key)")
    return write_key_object(body.code, "named", "n", body.wanted.key or ())


def _write_before(body: Body, *, is_named: bool) -> None:
    """Write the look at the image of before: one that comes with an insert, or with another key, takes the long way."""
    wanted, code = body.wanted, body.code
    code.line("was, before = None, bytes(seen.before)")
    code.line("if before != b'null':")
    code.line(" if seen.type not in updates: return None")
    code.lines += [f" {line}" for line in image(body, "before")]
    names = {field.name for field in wanted.key or ()} if is_named else set()
    for place, field in enumerate(wanted.row):
        if field.name in names:
            code.line(f" if image.f{place} != r.f{place}: return None")
    if wanted.before_real:
        code.line(f" was = {body.moment_of('image')}")


def _write_version(body: Body, version: str | None) -> str:
    if not version:
        return "None" if version is None else "str(seen.offset).zfill(30)"
    body.code.line("kind, version = free(seen.offset)")
    body.code.line(f"if kind != {version!r}: return None")
    return "version"
