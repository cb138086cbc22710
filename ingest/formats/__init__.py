"""Bytes to Envelope, pure: one file per wire format; a missing schema is an answer (NeedSchema), fetched elsewhere."""

from ingest.formats.decoder import AUTO, FORMATS, Decoder
from ingest.formats.schemas import SchemaCache

__all__ = ["AUTO", "FORMATS", "Decoder", "SchemaCache"]
