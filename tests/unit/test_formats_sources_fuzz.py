"""Whatever comes on a topic of any source ends in envelopes, a skip, a schema to be asked for, a dead letter or a parked topic.

Records of tests/cases/traps, mutated with a fixed seed; a failure prints the record.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from ingest.errors import Parked, Reject
from ingest.formats import FORMATS, Decoder, SchemaCache
from ingest.model import Envelope, NeedSchema, Record, Skip
from tests.unit.decoding import SOURCES, TRAPS, trap_records

TURNS = 700


NAMES = (
    *(
        "data",
        "old",
        "type",
        "table",
        "database",
        "before",
        "after",
        "metadata",
        "op_type",
        "pos",
        "es",
        "id",
        "mysqlType",
        "_tidb",
    ),
    *("sqlType", "pkNames", "primary_key", "operationType", "documentKey", "fullDocument", "clusterTime", "updateDescription"),
    *(
        "tableSchema",
        "commitTs",
        "payload",
        "schema",
        "primary_keys",
        "ts",
        "position",
        "before-image",
        "_id",
        "removedFields",
        "ns",
    ),
)
VALUES = (
    *(None, True, 0, -1, 2**64, 1.5, "", "x", "{", "null", "\\", "\0"),
    *([], [None], [[]], [1], {}, {"id": 1}, [{"id": "1"}], [{}, {"a": {}}]),
    *({"$date": {}}, {"$oid": 1}, {"location": "..", "value": "x"}, {"location": "UTC", "value": "2024-01-01"}, {"value": -1}),
    *("INSERT", "UPDATE", "DELETE", "update", "I", "U", "D", "T", "load", "truncate", "TRUNCATE", "enum('a')", "\ud800"),
)


def mutated(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """A value with something in it replaced, taken away, added or wrapped."""
    if depth > 6 or rng.random() < 0.08:
        return rng.choice(VALUES)
    if isinstance(value, dict) and value:
        changed = dict(value)
        name = rng.choice(list(changed))
        kind = rng.random()
        if kind < 0.12:
            del changed[name]
        elif kind < 0.2:
            changed[rng.choice(NAMES)] = rng.choice(VALUES)
        else:
            changed[name] = mutated(rng, changed[name], depth + 1)
        return changed
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        return [*value[:place], mutated(rng, value[place], depth + 1), *value[place + 1 :]]
    return rng.choice(VALUES)


def scratched(rng: random.Random, raw: bytes) -> bytes:
    """Bytes with a few cut, changed or doubled."""
    place = rng.randrange(len(raw) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return raw[:place]
    if kind == 1:
        return raw[:place] + bytes((rng.randrange(256),)) + raw[place + 1 :]
    if kind == 2:
        return raw[:place] + rng.choice((b"{", b"]", b"\0", b'"', b"\\u", b"\xff", b"null", b"1e9999")) + raw[place:]
    return raw[:place] + raw[max(0, place - 9) :]


def twisted(rng: random.Random, raw: bytes | None) -> bytes | None:
    if raw is None or rng.random() < 0.03:
        return rng.choice((None, b"", b"\0", raw))
    if raw.startswith(b"{") and rng.random() < 0.8:
        value = json.loads(raw)
        for _ in range(rng.randrange(1, 4)):
            value = mutated(rng, value)
        return json.dumps(value, separators=(",", ":")).encode()
    return scratched(rng, raw)


@pytest.mark.parametrize("source", SOURCES)
def test_whatever_comes_ends_in_a_word(source: str) -> None:
    rng = random.Random(f"{source} 20240501")
    case = json.loads((TRAPS / f"{source}.json").read_text())
    good = [record for record in trap_records(source) if record.value]
    ends = set()
    for turn in range(TURNS):
        record = rng.choice(good)
        record = record._replace(value=twisted(rng, record.value), key=twisted(rng, record.key) if turn % 3 == 0 else record.key)
        schemas = SchemaCache()
        for schema_id, schema in case.get("schemas", {}).items():
            schemas.put(int(schema_id), json.dumps(schema))
        declared = rng.choice((*FORMATS, *["auto"] * 12))
        decoder = Decoder(topic_format=lambda _, declared=declared: declared, schemas=schemas)
        for _ in range(2):
            ends.add(end_of(decoder, record, declared))
    assert {"envelopes", "Reject"} <= ends <= {"envelopes", "Reject", "Parked", "Skip", "NeedSchema"}


def end_of(decoder: Decoder, record: Record, declared: str) -> str:
    try:
        decoded = decoder.decode(record)
    except (Reject, Parked) as error:
        return type(error).__name__ if error.text else "an error without a sentence"
    except Exception as error:
        raise AssertionError(f"{declared}: {record.key!r} {record.value!r} ended in {error!r}") from error
    if isinstance(decoded, Skip | NeedSchema):
        return type(decoded).__name__
    assert decoded
    for envelope in decoded:
        assert isinstance(envelope, Envelope)
        assert envelope.after is None or isinstance(envelope.after, dict)
        assert envelope.before is None or isinstance(envelope.before, dict)
    return "envelopes"
