"""Writer schemas that are known, by registry id, by topic and by fingerprint.

Filled from outside after a NeedSchema answer; never fetches anything itself. An id's meaning never changes, so a schema stays;
that a registry knows none is believed for a short time only. Belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from ingest.errors import Parked, Reject
from ingest.formats import framing
from ingest.formats.avro import AvroSchema
from ingest.formats.json_schema import JsonSchema
from ingest.formats.message import ValueSchema
from ingest.formats.protobuf import ProtobufSchema

SchemaId = int | str

# A schema may be registered after its first records came (a lagging replica, a restored registry); then they are found again.
UNKNOWN_FOR_S = 30.0
UNKNOWN: Final = "schema.unknown"


class WriterSchema(Protocol):
    """A compiled schema: reads the bytes that were written with it."""

    def read(self, body: bytes, start: int = 0) -> tuple[Any, ValueSchema | None]:
        """The value that fills body from start to its end, and what is declared of it. Raises Reject."""


class _Refused(NamedTuple):
    """Why records of an id cannot be read, and until when that is believed."""

    error: Reject | Parked
    until_s: float


class SchemaCache:
    """Compiled schemas.

    has_registry: False where none is set, so that eight bytes of a key are a number and no schema id.
    unknown_for_s: how long "schema.unknown" is believed. now_s: a clock; it is looked at for records that are refused.
    """

    def __init__(
        self, *, has_registry: bool = True, unknown_for_s: float = UNKNOWN_FOR_S, now_s: Callable[[], float] = monotonic
    ) -> None:
        self.has_registry = has_registry
        self._unknown_for_s = unknown_for_s
        self._now_s = now_s
        self._by_id: dict[SchemaId, WriterSchema | _Refused] = {}
        self._by_topic: dict[tuple[str, bool], AvroSchema] = {}

    def put(self, schema_id: SchemaId, text: str, schema_type: str = "AVRO") -> None:
        """Compile and keep. A schema that cannot be compiled is kept as the refusal of every record that names it."""
        try:
            self._by_id[schema_id] = _compiled(schema_id, text, schema_type)
        except (Reject, Parked) as refusal:
            self._by_id[schema_id] = _Refused(refusal, float("inf"))

    def put_failure(self, schema_id: SchemaId, refusal: Reject) -> None:
        """Records with this id are refused with this reason until `forget` or `put`, or for a while if it is unknown."""
        until_s = self._now_s() + self._unknown_for_s if refusal.code == UNKNOWN else float("inf")
        self._by_id[schema_id] = _Refused(refusal, until_s)

    def forget(self, schema_id: SchemaId) -> None:
        """The next record with this id asks for it again."""
        self._by_id.pop(schema_id, None)

    def get(self, schema_id: SchemaId) -> WriterSchema | None:
        """The compiled schema, None where it is to be asked for.

        Raises the Reject that was kept for it, and Parked (without a subject) where a package is missing that reads it.
        """
        found = self._by_id.get(schema_id)
        if isinstance(found, _Refused):
            if self._now_s() < found.until_s:
                raise type(found.error)(found.error.code, found.error.text)
            self.forget(schema_id)
            return None
        if found is None and isinstance(schema_id, str) and schema_id.startswith(framing.FINGERPRINT):
            text = "no schema file has the record's fingerprint: put the writer's .avsc into INGEST_SCHEMAS_DIR and start again"
            raise Reject(UNKNOWN, text)
        return found

    def put_topic(self, topic: str, text: str, for_key: bool = False) -> None:
        """The schema of a topic that has no registry; single objects of any topic are read with it too.

        Raises Reject when it cannot be compiled.
        """
        schema = self._by_topic[topic, for_key] = AvroSchema(text)
        self._by_id[framing.FINGERPRINT + schema.fingerprint] = schema

    def of_topic(self, topic: str, for_key: bool = False) -> WriterSchema | None:
        return self._by_topic.get((topic, for_key))


def _compiled(schema_id: SchemaId, text: str, schema_type: str) -> WriterSchema:
    if schema_type == "AVRO":
        return AvroSchema(text)
    if schema_type == "JSON":
        return JsonSchema(text)
    if schema_type == "PROTOBUF":
        return ProtobufSchema(text, by_index=not _is_apicurio(schema_id))
    raise Reject("schema.unsupported", f"schemas of type {schema_type} are not read: let the producer write Avro or JSON")


def _is_apicurio(schema_id: SchemaId) -> bool:
    return isinstance(schema_id, str) and schema_id.startswith((framing.GLOBAL, framing.CONTENT, framing.WIDE))
