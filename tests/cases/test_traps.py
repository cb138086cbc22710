"""The traps of change-data-capture formats, one file each in `traps/`: records in, and what of the answer matters.

A record has `key` and `value` as JSON (written compactly), or `key_text` and `value_text` as they are, or `value_hex`; a missing
one is null. An expectation names only the words that it is about; `after` and `before` then hold values, decimals as texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from envelope_words import described, envelope_in_words

from ingest.formats import Decoder, SchemaCache
from ingest.model import Envelope, Record

TRAPS = sorted((Path(__file__).parent / "traps").glob("*.json"))


@pytest.mark.parametrize("trap", TRAPS, ids=lambda file: file.stem)
def test_a_trap_is_stepped_over(trap: Path) -> None:
    case = json.loads(trap.read_text())
    schemas = SchemaCache()
    for schema_id, schema in case.get("schemas", {}).items():
        schemas.put(int(schema_id), json.dumps(schema))
    decoder = Decoder(topic_format=case.get("formats", {}), schemas=schemas)
    for place, (given, expected) in enumerate(case["records"]):
        assert (place, expected) == (place, seen(decoder, record(place, given), expected))


def record(offset: int, given: Mapping[str, Any]) -> Record:
    headers = [(name, bytes.fromhex(value)) for name, value in given.get("headers", {}).items()]
    return Record(given.get("topic", "shop.public.orders"), 0, offset, -1, part(given, "key"), part(given, "value"), headers)


def part(given: Mapping[str, Any], name: str) -> bytes | None:
    if f"{name}_hex" in given:
        return bytes.fromhex(given[f"{name}_hex"])
    if f"{name}_text" in given:
        return str(given[f"{name}_text"]).encode()
    return json.dumps(given[name], separators=(",", ":")).encode() if name in given else None


def seen(decoder: Decoder, record: Record, expected: Any) -> Any:
    if not isinstance(expected, list) and not {"skipped", "rejected", "parked", "needs_schema"}.isdisjoint(expected):
        return described(decoder, record)
    decoded = decoder.decode(record)
    assert all(isinstance(envelope, Envelope) for envelope in decoded)
    if isinstance(expected, list):
        return [only(envelope, words) for envelope, words in zip(decoded, expected, strict=True)]
    (envelope,) = decoded
    return only(envelope, expected)


def only(envelope: Envelope, expected: Mapping[str, Any]) -> dict[str, Any]:
    words = envelope_in_words(envelope) | {"after": plain(envelope.after), "before": plain(envelope.before)}
    return {name: words.get(name) for name in expected}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Decimal) else value.hex() if isinstance(value, bytes) else value
