"""Writer schemas that are known, by registry id and by topic.

Filled from outside after a NeedSchema answer; never fetches anything itself. Belongs to the loop's thread.
"""

from __future__ import annotations

from typing import Any, Protocol

from ingest.errors import Reject
from ingest.formats import json
from ingest.formats.avro import AvroSchema
from ingest.formats.message import ValueSchema

SchemaId = int | str


class WriterSchema(Protocol):
    """A compiled schema: reads the bytes that were written with it."""

    @property
    def schema(self) -> ValueSchema | None: ...

    def decode(self, body: bytes, start: int = 0) -> Any: ...


class JsonSchema:
    """What a JSON Schema serializer registered: the body is plain JSON, and the schema adds nothing that we use."""

    schema: ValueSchema | None = None

    def decode(self, body: bytes, start: int = 0) -> Any:
        return json.decode(body[start:])


class SchemaCache:
    """Compiled schemas. An id's meaning never changes, so what was put stays."""

    def __init__(self) -> None:
        self._by_id: dict[SchemaId, WriterSchema | Reject] = {}
        self._by_topic: dict[tuple[str, bool], AvroSchema] = {}

    def put(self, schema_id: SchemaId, text: str, schema_type: str = "AVRO") -> None:
        """Compile and keep. A schema that cannot be compiled is kept as the refusal of every record that names it."""
        try:
            self._by_id[schema_id] = _compiled(text, schema_type)
        except Reject as refusal:
            self._by_id[schema_id] = refusal

    def put_failure(self, schema_id: SchemaId, refusal: Reject) -> None:
        """Records with this id are refused with this reason until `forget` or `put`."""
        self._by_id[schema_id] = refusal

    def forget(self, schema_id: SchemaId) -> None:
        """The next record with this id asks for it again; a fresh id may have been unknown to a replica for a moment."""
        self._by_id.pop(schema_id, None)

    def get(self, schema_id: SchemaId) -> WriterSchema | None:
        """The compiled schema, None where it was not put yet. Raises the Reject that was kept for it."""
        found = self._by_id.get(schema_id)
        if isinstance(found, Reject):
            raise Reject(found.code, found.text)
        return found

    def put_topic(self, topic: str, text: str, for_key: bool = False) -> None:
        """The schema of a topic that has no registry. Raises Reject when it cannot be compiled."""
        self._by_topic[topic, for_key] = AvroSchema(text)

    def of_topic(self, topic: str, for_key: bool = False) -> WriterSchema | None:
        return self._by_topic.get((topic, for_key))


def _compiled(text: str, schema_type: str) -> WriterSchema:
    if schema_type == "AVRO":
        return AvroSchema(text)
    if schema_type == "JSON":
        return JsonSchema()
    raise Reject("schema.unsupported", f"schemas of type {schema_type} are not read: let the producer write Avro or JSON")
