"""MongoDB's change streams as its Kafka source connector publishes them, and its whole documents.

Fields of the document are the columns, their values Extended JSON. An update without the whole document can set and
remove whole fields; one that changes a part of a field is refused. Pure; used by the loop's thread.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingest.errors import Reject
from ingest.formats import controls, json, positions
from ingest.formats.documents import DOCUMENT, date_ms
from ingest.formats.message import Key, Message, deleted_by_key
from ingest.model import Decoded, Envelope, Fields, Op, Skip, SourceVersion

INSERT, UPDATE, DELETE = Op.INSERT, Op.UPDATE, Op.DELETE
OPS: Final = {"insert": INSERT, "replace": INSERT, "update": UPDATE, "delete": DELETE}
DDL: Final = frozenset(
    {"create", "createIndexes", "drop", "dropDatabase", "dropIndexes", "modify", "rename"}
    | {"shardCollection", "refineCollectionShardKey", "reshardCollection"}
)
INVALIDATE: Final = Skip("invalidate")
WORDS: Final = frozenset(OPS) | DDL | {"invalidate"}


class _Clock(msgspec.Struct, gc=False):
    t: int
    i: int


class _ClusterTime(msgspec.Struct, gc=False):
    timestamp: _Clock = msgspec.field(name="$timestamp")


class _Namespace(msgspec.Struct, gc=False):
    db: str
    coll: str = ""


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """The usual form of an event with a whole document."""

    operation_type: str
    ns: _Namespace
    cluster_time: _ClusterTime | None = None
    wall_time: Any = None
    document_key: msgspec.Raw = json.NULL
    full_document: msgspec.Raw = json.NULL
    before: msgspec.Raw = msgspec.field(name="fullDocumentBeforeChange", default=json.NULL)


_decode = msgspec.json.Decoder(_Event).decode


class MongoChanges:
    """Change stream events, as objects, as JSON text inside JSON, and with their parts as JSON text (output.format=schema)."""

    def read_json(self, message: Message) -> Decoded | None:
        try:
            seen = _decode(message.body)
        except json.BAD_INPUT:
            return None  # another form of output, or broken: read() knows
        op, full, named = OPS.get(seen.operation_type), seen.full_document, seen.document_key
        if op is None or op is DELETE or full is json.NULL or named is json.NULL or seen.before is not json.NULL:
            return None
        after, key = json.decode_row(bytes(full)), json.decode_row(bytes(named))
        clock = None if seen.cluster_time is None else seen.cluster_time.timestamp
        version = None if clock is None else positions.cluster_time(clock.t, clock.i)
        if after is None or key is None or version is None:
            return None
        table = (seen.ns.db, seen.ns.coll) if seen.ns.coll else ()
        ts_ms = date_ms(seen.wall_time) or clock.t * 1000  # type: ignore[union-attr]
        return (Envelope(INSERT, key, after, None, table, version, ts_ms, False, DOCUMENT, DOCUMENT, seen.operation_type),)

    def read(self, message: Message) -> Decoded:
        value = document(message.value)
        if value is None:
            raise Reject("row.not_an_object", "the value is no change event: check the topic's format")
        word = _word(value)
        if word in DDL:
            return controls.SCHEMA_CHANGE
        if word == "invalidate":
            return INVALIDATE
        return _event(value)

    def read_tombstone(self, message: Message) -> Decoded:
        return _deleted(message.key)


class MongoDocuments:
    """Bare documents (publish.full.document.only); a null value under the document's key deletes it."""

    def read_json(self, message: Message) -> Decoded | None:
        value = json.decode(message.body)
        return _document(message, value) if value.__class__ is dict and len(value) > 2 else None

    def read(self, message: Message) -> Decoded:
        value = document(message.value)
        if value is None:
            raise Reject("row.not_an_object", "the value is no document, so it has no columns: let the connector send objects")
        return _document(message, value)

    def read_tombstone(self, message: Message) -> Decoded:
        return _deleted(message.key)


def document(value: Any) -> Fields | None:
    """A document that is an object, or the JSON text of one; None for anything else."""
    if value.__class__ is str:
        value = json.decode(value.encode(errors="surrogatepass"))
    return value if value.__class__ is dict else None


def _event(value: Fields) -> Decoded:
    word = _word(value)
    op = OPS.get(word)
    if op is None:
        raise Reject("mongodb.operation", "the record's 'operationType' is no change of a document: check the topic's format")
    named, full = _part(value, "documentKey"), _part(value, "fullDocument")
    version, ts_ms = _version(value), _when_ms(value)
    before = _part(value, "fullDocumentBeforeChange")
    if op is DELETE:
        after = None
    elif full is not None:
        op, after = INSERT, full  # whole, so a field that it lacks is gone
    elif op is UPDATE:
        after = _patch(_part(value, "updateDescription"), named)
    else:
        raise Reject("row.missing", "the change has no 'fullDocument', so there is nothing to write: check the connector")
    if named is None and full is not None and "_id" in full:
        named = {"_id": full["_id"]}
    if named is None and before is None:
        raise Reject("key.missing", "the change has no 'documentKey', so it names no document: check the connector")
    return (Envelope(op, named, after, before, _table(value), version, ts_ms, before is not None, DOCUMENT, DOCUMENT, word),)


def _word(value: Fields) -> str:
    word = value.get("operationType")
    return word if word.__class__ is str else ""


def _part(value: Fields, name: str) -> Fields | None:
    part = document(value.get(name))
    if part is None and value.get(name) is not None:
        raise Reject("row.not_an_object", f"'{name}' is no object: check the topic's format in its contract")
    return part


def _patch(description: Fields | None, named: Fields | None) -> Fields:
    """The columns that an update sets. Raises Reject("mongodb.part_of_field"): the rest of such a field is not on the wire."""
    if description is None:
        raise Reject("row.missing", "the update has neither 'fullDocument' nor 'updateDescription': check the connector")
    updated = document(description.get("updatedFields")) or {}
    removed = description.get("removedFields") or []
    removed = json.decode(removed.encode()) if removed.__class__ is str else removed
    if removed.__class__ is not list or not all(name.__class__ is str for name in removed):
        raise Reject("mongodb.operation", "'removedFields' is no list of names: check the topic's format")
    for path in (*updated, *removed):
        if "." in path:
            raise _part_of_field()
    if description.get("truncatedArrays"):
        raise _part_of_field()
    return {**(named or {}), **updated, **dict.fromkeys(removed)}


def _part_of_field() -> Reject:
    return Reject(
        "mongodb.part_of_field",
        "the update changes a part of a field and does not tell the rest: set change.stream.full.document=updateLookup",
    )


def _table(value: Fields) -> tuple[str, ...]:
    place = _part(value, "ns") or {}
    return tuple(place[name] for name in ("db", "coll") if place.get(name).__class__ is str) if place.get("coll") else ()


def _version(value: Fields) -> SourceVersion | None:
    """The cluster's clock. Documents that were copied at the start have none: they are older than every change."""
    clock = _part(value, "clusterTime")
    if clock is None:
        place = value.get("_id")
        return positions.SNAPSHOT if place.__class__ is dict and place.get("copyingData") is True else None
    inner = clock.get("$timestamp")
    return positions.cluster_time(inner.get("t"), inner.get("i")) if inner.__class__ is dict else None


def _when_ms(value: Fields) -> int | None:
    wall_ms = date_ms(value.get("wallTime"))
    if wall_ms is not None:
        return wall_ms
    clock = _version(value)
    return int(clock.text[:10]) * 1000 if clock is not None and clock.text else None


def _document(message: Message, value: Fields) -> Decoded:
    key = _document_key(message.key)
    if key is None and "_id" in value:
        key = {"_id": value["_id"]}
    return (Envelope(INSERT, key, value, schema=DOCUMENT, key_schema=DOCUMENT),)


def _document_key(key: Key) -> Fields | None:
    """The document's key out of the Kafka key, which by default is the place in the change stream instead."""
    value = key.value
    named = value.get("_id") if value.__class__ is dict else None
    if named is None or (named.__class__ is dict and "_data" in named):
        return None
    return {"_id": named}


def _deleted(key: Key) -> Decoded:
    named = _document_key(key)
    return Skip("tombstone") if named is None else deleted_by_key(Key(named, DOCUMENT))
