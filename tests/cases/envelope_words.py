"""What a decoder answers, in the short words of the expectation files."""

from __future__ import annotations

from typing import Any

from ingest.errors import IngestError, Parked
from ingest.formats import Decoder
from ingest.formats.documents import DOCUMENT
from ingest.model import Decoded, Envelope, NeedSchema, Record, RowSchema, Skip, SourceType


def described(decoder: Decoder, record: Record) -> Any:
    try:
        return in_words(decoder.decode(record))
    except Parked as error:
        return {"parked": error.code}
    except IngestError as error:
        return {"rejected": error.code}


def in_words(decoded: Decoded) -> Any:
    if isinstance(decoded, Skip):
        return {"skipped": decoded.reason}
    if isinstance(decoded, NeedSchema):
        return {"needs_schema": decoded.id}
    envelopes = [envelope_in_words(envelope) for envelope in decoded]
    return envelopes[0] if len(envelopes) == 1 else envelopes


def envelope_in_words(envelope: Envelope) -> dict[str, Any]:
    words = {
        "op": envelope.op.value,
        "key": list(envelope.key) if isinstance(envelope.key, tuple) else envelope.key,
        "table": ".".join(envelope.table),
        "version": None if envelope.version is None else " ".join(envelope.version),
        "source_ts_ms": envelope.source_ts_ms,
        "fields": None if envelope.after is None else " ".join(envelope.after),
        "before": None if envelope.before is None else " ".join(envelope.before),
        "before_real": envelope.before_real or None,
        "types": row_kinds(envelope.schema),
        "key_types": row_kinds(envelope.key_schema),
    }
    return {name: word for name, word in words.items() if word not in (None, "")}


def row_kinds(schema: RowSchema | None) -> Any:
    if schema is DOCUMENT:
        return "ext_json"
    return None if schema is None else {name: kinds(inner) for name, inner in schema.fields.items()}


def kinds(declared: SourceType) -> Any:
    if declared.fields is not None:
        return {name: kinds(inner) for name, inner in declared.fields.items()}
    if declared.element is not None:
        return [kinds(declared.element)]
    scale = "" if declared.scale is None else f"({declared.scale})"
    return declared.kind + scale + (" zoned" if declared.zoned else "")
