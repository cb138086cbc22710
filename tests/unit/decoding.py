"""What the tests of the formats room share: a decoder for one format, values as bytes, and what came of a record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import IngestError
from ingest.formats import Decoder, SchemaCache
from ingest.model import Envelope, Record

TRAPS = Path(__file__).parents[1] / "cases" / "traps"
SOURCES = ("26-maxwell", "27-canal", "28-ticdc", "29-dms", "30-goldengate", "31-mongodb", "32-generic", "33-connect-json")


def decoder(format_name: str = "auto", **options: Any) -> Decoder:
    return Decoder(topic_format=lambda _: format_name, schemas=options.pop("schemas", SchemaCache()), **options)


def packed(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def one(decoded: Any) -> Envelope:
    (envelope,) = decoded
    assert isinstance(envelope, Envelope)
    return envelope


def code_of(made: Decoder, given: Record) -> str:
    with pytest.raises(IngestError) as caught:
        made.decode(given)
    return caught.value.code


def trap_records(name: str) -> Iterator[Record]:
    """The records of a file of traps, without their expectations."""
    case = json.loads((TRAPS / f"{name}.json").read_text())
    for offset, (given, _) in enumerate(case["records"]):
        yield Record(given["topic"], 0, offset, -1, part(given, "key"), part(given, "value"))


def part(given: dict[str, Any], name: str) -> bytes | None:
    if f"{name}_hex" in given:
        return bytes.fromhex(given[f"{name}_hex"])
    if f"{name}_text" in given:
        return str(given[f"{name}_text"]).encode()
    return packed(given[name]) if name in given else None
