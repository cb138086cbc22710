"""Rows of Debezium's MongoDB connector: documents as texts of Extended JSON, keys as a text inside the field `id`.

An update may carry the whole document, or only what changed; one that changes a part of a field is refused, for the rest is not
on the wire. Pure; used by the loop's thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ingest.errors import Reject
from ingest.formats import json, positions
from ingest.formats.documents import DOCUMENT
from ingest.formats.message import Key
from ingest.formats.positions import Source
from ingest.model import Envelope, Fields, Op

ID: Final = "_id"
WORDS: Final = ("c", "r", "u", "d")

# What a key's text looks like that no relational key looks like: a wrapped value, a quoted text, a number as JSON writes it.
_ID_TEXT: Final = re.compile(r'\s*(?:\{\s*"\$|"|-?(?:0|[1-9][0-9]{0,18})\s*\Z)')
_MODIFIERS: Final = frozenset({"$set", "$unset", "$v"})


def read(key: Key, word: str, source: Source, value: Mapping[str, Any]) -> Envelope:
    """The change of a document, under its `_id`.

    Raises Reject: debezium.op, row.missing, delete.without_key, mongodb.part_of_field, mongodb.patch, and those of Extended JSON.
    """
    if word not in WORDS:
        raise Reject("debezium.op", "the record has none of the operations c, r, u and d: check the topic's format")
    before = _image(value.get("before"))
    op, after = (Op.DELETE, None) if word == "d" else _row(word, value)
    found = key_of(key, after, before, _image(value.get("filter")))
    if found.value is None:
        raise Reject("delete.without_key", "a change without key and '_id' names no document: check the topic's key converter")
    table, version, ts_ms = source.name_of_table(), positions.of(source), source.changed_ms()
    is_real = before is not None  # only pre-images come as `before`
    return Envelope(op, found.value, after, before, table, version, ts_ms, is_real, DOCUMENT, found.schema, word)


def _row(word: str, value: Mapping[str, Any]) -> tuple[Op, Fields]:
    """A whole document is an insert, also in an update: a field that it lacks is gone."""
    after = _image(value.get("after"))
    if after is not None:
        return Op.INSERT, after
    described, patch = value.get("updateDescription"), value.get("patch")
    if word == "u" and described.__class__ is dict:
        return Op.UPDATE, _described(described)
    if word == "u" and patch is not None:
        return _patched(_document(patch))
    raise Reject("row.missing", "the change has neither 'after' nor a description of the update: check capture.mode")


def key_of(key: Key, *images: Fields | None) -> Key:
    """The key as the value of `_id`: from an image, or else from the text in the Kafka key."""
    for image in images:
        if image is not None and ID in image:
            return Key({ID: image[ID]}, DOCUMENT)
    return unwrapped(key)


def unwrapped(key: Key) -> Key:
    """The same key; where its only field is `id` and holds a text of Extended JSON, what that says.

    >>> unwrapped(Key({"id": '{"$oid": "5f8a"}'})).value, unwrapped(Key({"id": "007"})).value
    ({'_id': {'$oid': '5f8a'}}, {'id': '007'})
    """
    named = key.value
    if named.__class__ is not dict or len(named) != 1:
        return key
    name, text = next(iter(named.items()))
    if name not in ("id", ID) or text.__class__ is not str or not _ID_TEXT.match(text):
        return key
    try:
        return Key({ID: json.decode(text.encode())}, DOCUMENT)
    except Reject:
        return key  # a text that only begins like one


def _image(value: Any) -> Fields | None:
    return None if value is None else _document(value)


def _document(text: Any) -> Fields:
    """The document in a text of Extended JSON, or in an object that somebody parsed already."""
    value = json.decode(text.encode(errors="surrogatepass")) if text.__class__ is str else text
    if value.__class__ is not dict:
        raise Reject("row.not_an_object", "an image of the document is no object: check the topic's format")
    document: Fields = value
    return document


def _described(described: Fields) -> Fields:
    if described.get("truncatedArrays"):
        raise _part_of_field()
    return _whole_fields(_image(described.get("updatedFields")) or {}, described.get("removedFields") or ())


def _patched(document: Fields) -> tuple[Op, Fields]:
    """Before Debezium 2.0: an entry of the oplog, which is a whole document or says what to set and to remove."""
    if not any(name.startswith("$") for name in document):
        return Op.INSERT, document
    if not document.keys() <= _MODIFIERS:
        raise Reject("mongodb.patch", "the oplog's way to tell this update is not read: use Debezium from 2.0 on")
    return Op.UPDATE, _whole_fields(document.get("$set") or {}, document.get("$unset") or ())


def _whole_fields(changed: Any, removed: Any) -> Fields:
    """What an update did to fields of a document; it must not have touched a part of one only."""
    fields: Fields = {**changed, **dict.fromkeys(removed)}
    if any("." in name for name in fields):
        raise _part_of_field()
    return fields


def _part_of_field() -> Reject:
    return Reject(
        "mongodb.part_of_field",
        "the update changes a part of a field and does not tell the rest: set capture.mode=change_streams_update_full",
    )
