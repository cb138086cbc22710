"""Samples and traps with something broken in them, from a fixed seed: they end in envelopes, a skip, a schema to be asked for, a
dead letter or a parked topic; the shortcuts and the long way agree; and no error text holds a value.

A failure prints the record. The samples stay where they are, as in test_samples.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from envelope_words import described

from ingest.errors import Parked, Reject
from ingest.formats import FORMATS, Decoder, SchemaCache
from ingest.model import Envelope, NeedSchema, Record, Skip

SAMPLES = Path(os.environ.get("INGEST_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
TRAPS = Path(__file__).parent / "traps"
SOURCES = ("cockroachdb", "debezium", "plain")
TURNS = 250  # of each source and seed

SECRET = "s3cret"
NAMES = (
    "after",
    "before",
    "source",
    "op",
    "__op",
    "__crdb__",
    "key",
    "payload",
    "schema",
    "data",
    "specversion",
    "_id",
    "resolved",
)
VALUES = (
    *(None, True, 0, -1, 2**64, 1.5, "", SECRET, "{", "null", "\0", "\ud800", "d", "u", "t"),
    *([], [None], [1], {}, {"id": 1}, [{"id": 1}, {}], {"$oid": 1}, {"$date": SECRET}, {"resolved": "1.0000000002"}),
    *("__debezium_unavailable_value", ["__debezium_unavailable_value"], "mongodb", "cassandra", "vitess", "postgresql"),
)


def texts_of(source: str) -> list[bytes]:
    files = [file for file in sorted((SAMPLES / source).glob("*")) if "goldens" not in file.name]
    return [
        line for file in files for line in (file.read_bytes().splitlines() if file.suffix == ".ndjson" else [file.read_bytes()])
    ]


def texts_of_traps() -> list[bytes]:
    cases = [json.loads(file.read_text()) for file in sorted(TRAPS.glob("*.json"))]
    return [json.dumps(given["value"]).encode() for case in cases for given, _ in case["records"] if "value" in given]


def mutated(rng: random.Random, value: Any) -> Any:
    """A value with something in it replaced, taken away or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        changed, name = dict(value), rng.choice(list(value))
        kind = rng.random()
        if kind < 0.15:
            del changed[name]
        elif kind < 0.3:
            changed[rng.choice(NAMES)] = rng.choice(VALUES)
        else:
            changed[name] = mutated(rng, value[name])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], mutated(rng, value[place]), *value[place + 1 :]]
    return rng.choice(VALUES)


def scratched(rng: random.Random, raw: bytes) -> bytes:
    """Bytes with a piece cut, changed or doubled."""
    place = rng.randrange(len(raw) + 1)
    piece = rng.choice(
        (b"", b"{", b"]", b"\0", b'"', b"\\u", b"\xff", b"1e99999999999999999999", raw[place : place + 30] * 2, b"\n")
    )
    return raw[:place] + piece + raw[place + rng.randrange(3) :]


def tried(decoder: Decoder, record: Record) -> str | None:
    """The code of a refusal, None for any answer."""
    refusal: Reject | Parked | None = None
    try:
        decoded = decoder.decode(record)
    except (Reject, Parked) as error:
        refusal = error
    if refusal is None:
        assert isinstance(decoded, Skip | NeedSchema) or all(isinstance(envelope, Envelope) for envelope in decoded)
        return None
    assert SECRET not in str(refusal)
    return refusal.code


def given(topic: str, key: Any, body: bytes) -> Record:
    return Record(topic, 0, 5, -1, None if key is None else json.dumps(key, separators=(",", ":")).encode(), body)


KEYS = (None, {"id": 1}, {"id": '{"$oid": "5f8a"}'}, [1], "a", 7, {"schema": None, "payload": {"id": 1}})


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"SAMPLES: not run (no folder {SAMPLES.name}; set INGEST_SAMPLES)")
@pytest.mark.parametrize("source", [*SOURCES, "traps"])
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_was_broken_ends_in_an_answer_or_a_refusal(source, seed):
    rng = random.Random(f"{source}{seed}")
    texts = texts_of_traps() if source == "traps" else texts_of(source)
    decoders = [Decoder(topic_format=lambda _, name=name: name, schemas=SchemaCache()) for name in ("auto", *FORMATS)]
    for turn in range(TURNS):
        body = rng.choice(texts)
        if rng.random() < 0.7 and body[:1] == b"{":
            body = json.dumps(mutated(rng, json.loads(body)), separators=(",", ":")).encode()
        else:
            body = scratched(rng, body)
        record = given(f"t{turn % 40}", rng.choice(KEYS), body)
        for decoder in decoders:
            try:
                tried(decoder, record)
            except Exception as error:
                raise AssertionError(f"{source} {seed} {turn}: {record}") from error


def in_words_twice(value: Any, key: Any, first: Any) -> list[Any]:
    """What is made of a value by the shortcut, by the long way (blanks do not change it), and inside Kafka Connect's wrapper."""
    seen = []
    wrapped = {"schema": {"type": "struct", "name": "x.Envelope"}, "payload": value}
    for text in (json.dumps(value, separators=(",", ":")), json.dumps(value, indent=1), json.dumps(wrapped)):
        decoder = Decoder(topic_format={}, schemas=SchemaCache())
        tried(decoder, given("t", key, json.dumps(first, separators=(",", ":")).encode()))
        words = described(decoder, given("t", key, text.encode()))
        seen.append({name: word for name, word in words.items() if name != "types"} if isinstance(words, dict) else words)
    return seen


def test_the_shortcut_and_the_long_way_agree_about_broken_changes():
    rng = random.Random(11)
    usual = {"connector": "postgresql", "db": "d", "schema": "s", "table": "t", "lsn": 7, "ts_ms": 1000, "sequence": '["6","7"]'}
    binlog = {"connector": "mysql", "db": "d", "table": "t", "file": "b.000001", "pos": 4, "row": 0, "ts_ms": 1000}
    for _ in range(600):
        row = {"id": 1, "note": "12:30", "doc": '{"a": 1}', "tags": [1, {"x": None}], "n": 1.50}
        value = {
            "before": rng.choice((None, row)),
            "after": row,
            "source": rng.choice((usual, binlog)),
            "op": rng.choice("curd"),
            "ts_ms": 5,
        }
        broken = value
        for _ in range(rng.randint(0, 3)):
            broken = mutated(rng, broken)
        if isinstance(broken, dict) and len(broken) > 1:
            compact, spaced, wrapped = in_words_twice(broken, {"id": 1}, value)
            assert compact == spaced == wrapped, broken
