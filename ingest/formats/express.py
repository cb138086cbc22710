"""Which records have an express way, and the writing of it: from a record that the long way has read to a reader of all that look
like it. The rules that it keeps are the long way's; where it is not sure it declines, and the long way reads the record as ever.

Pure; used by the loop's thread.
"""

from __future__ import annotations

from ingest.flow.ports import Express, Make, Wanted
from ingest.formats import express_avro, express_json
from ingest.formats.avro import AvroSchema
from ingest.formats.cockroach import Cockroach
from ingest.formats.connect import Wrapper
from ingest.formats.debezium import Debezium
from ingest.formats.express_flattened import flattened
from ingest.formats.express_generic import generic
from ingest.formats.express_maxwell import maxwell
from ingest.formats.flattened import Flattened
from ingest.formats.framing import ID_BYTES
from ingest.formats.generic import Generic
from ingest.formats.keys import KeyReader
from ingest.formats.maxwell import Maxwell
from ingest.formats.message import Format
from ingest.formats.plain import DetectedPlain, Plain, is_never_suspect
from ingest.formats.schemas import SchemaCache
from ingest.formats.unavailable import Placeholder
from ingest.model import Envelope, Record


class Expresses:
    """Writes the express ways of one decoder."""

    def __init__(self, placeholder: Placeholder, schemas: SchemaCache) -> None:
        self._placeholder = placeholder
        self._schemas = schemas

    def of_json(
        self, format_: Format, record: Record, envelope: Envelope, wanted: Wanted, make: Make, wrapper: Wrapper, keys: KeyReader
    ) -> Express | None:
        """Of records whose values are JSON objects, with or without their schema."""
        value = record.value or b""
        prefix = wrapper.prefix_of(value)
        key_prefix = keys.prefix_of(record.key or b"")
        if key_prefix is None:
            return None
        text = value[len(prefix) : -1] if prefix else value
        body = express_json.Body(wanted, make, envelope.after or {}, prefix, key_prefix)
        if isinstance(format_, Debezium):
            return express_json.debezium(body, text, self._placeholder)
        if isinstance(format_, Cockroach):
            return None if prefix else express_json.cockroach(envelope, body, text)
        if isinstance(format_, Flattened):
            return flattened(body, text, format_, self._placeholder)
        if isinstance(format_, Maxwell):
            return maxwell(envelope, body, text, record.key, format_)
        if isinstance(format_, Generic):
            return generic(envelope, body, text, record.key)
        return express_json.plain(envelope, body) if _is_plain(format_, wanted) else None

    def of_avro(self, format_: Format, record: Record, wanted: Wanted, make: Make, keys: KeyReader) -> Express | None:
        """Of records that a Confluent id of four bytes stands in front of."""
        value, key_prefix = record.value or b"", keys.prefix_of(record.key or b"")
        schema = self._schemas.get(int.from_bytes(value[1:ID_BYTES], "big"))
        if key_prefix is None or not isinstance(schema, AvroSchema) or not isinstance(format_, Debezium):
            return None
        return express_avro.debezium(schema, value, wanted, make, key_prefix, self._placeholder)


def _is_plain(format_: Format, wanted: Wanted) -> bool:
    if not isinstance(format_, Plain):
        return False
    # A topic that was found to be plain is still watched for envelopes and control records.
    return not isinstance(format_, DetectedPlain) or is_never_suspect(frozenset(field.name for field in wanted.row))
