"""What the fuzzer does to a record: seven kinds of input, each from one random number generator and so from its seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.fuzz.corpus import Corpus, Seed

# Texts of values that no error text may hold. Numbers and texts that stand nowhere else.
SECRET: Final = "s3cret"
SECRET_NUMBER: Final = 918273645546372819

NAMES: Final = (
    *("after", "before", "source", "op", "__op", "__deleted", "__lsn", "__crdb__", "key", "payload", "schema", "data", "old"),
    *("specversion", "_id", "resolved", "updated", "type", "table", "database", "metadata", "ns", "op_type", "ts_ms", "id"),
)
VALUES: Final = (
    *(None, True, False, 0, -1, 7, 2**31, 2**63 - 1, 2**63, 2**64, SECRET_NUMBER, 1.5, 1e308, 0.1),
    *("", SECRET, "{", "null", "\0", "d", "u", "t", "12.30", "NaN", "Infinity", "0000-00-00", "2024-02-29", "24:00:00"),
    *("2024-03-05T00:00:00.123456789Z", "infinity", "-1.50", "MDk=", "\\x00ff", "{1,2}", "1.0000000002", "0/16B3748"),
    *([], [None], [1], [[1], [2]], {}, {"id": 1}, [{"id": 1}, {}], {"$oid": 1}, {"$date": SECRET}, {"scale": 2, "value": "MDk="}),
    *({"resolved": "1.0000000002"}, {"a": {"b": [{"c": SECRET}]}}, "x" * 300, "\U0001f600", "BEGIN", "TRUNCATE"),
    *("__debezium_unavailable_value", ["__debezium_unavailable_value"], "mongodb", "cassandra", "vitess", "postgresql", "mysql"),
)
PIECES: Final = (
    b"",
    b"{",
    b"}",
    b"]",
    b"\0",
    b'"',
    b",",
    b":",
    b"\\u",
    b"\xff",
    b"1e99999999999999999999",
    b"-",
    b"9" * 40,
    b"\n",
    b"null",
)
HEADS: Final = (
    b"\0",
    b"\1",
    b"\0\0\0\0\x64",
    b"\0\0\0\0\0\0\0\0\7",
    b"\xc3\x01",
    b"Obj\x01",
    b"\x03\x00",
    b"{",
    b"[",
    b'"',
    b"\xef\xbb\xbf",
)
HEADERS: Final = (
    *("__value_schema_id", "__key_schema_id", "apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.encoding"),
    *("apicurio.key.globalId", "ce_specversion", "ce_id", "ce_source", "ce_type", "content-type", "__op", "__lsn", "__deleted"),
    *("__debezium.newkey", "__debezium.oldkey", "traceparent"),
)
HEADER_VALUES: Final = (
    *(
        None,
        b"",
        b"\0\0\0\0\x64",
        b"\0\0\0\0\0\0\0\x64",
        b"\1" + bytes(16),
        b"JSON",
        b"BINARY",
        b"1.0",
        b"d",
        b"c",
        b"true",
        b"5",
    ),
    *(
        b'{"id":1}',
        b'{"schema":null,"payload":"d"}',
        b"application/json",
        b"application/cloudevents+json",
        b"\xff\xfe",
        SECRET.encode(),
    ),
)

Mutation = Callable[[random.Random, Seed, Corpus], Seed]


def whole(_rng: random.Random, seed: Seed, _corpus: Corpus) -> Seed:
    return seed


def random_bytes(rng: random.Random, seed: Seed, _corpus: Corpus) -> Seed:
    """Bytes that mean nothing, often behind a beginning that means something."""
    body = rng.choice((b"", *HEADS)) + rng.randbytes(rng.randrange(60))
    key = rng.choice((seed.key, None, rng.randbytes(rng.randrange(12)), rng.choice(HEADS) + rng.randbytes(8)))
    return Seed(seed.format, key, body, seed.headers)


def truncated(rng: random.Random, seed: Seed, _corpus: Corpus) -> Seed:
    """The value or the key, cut anywhere."""
    if seed.key and rng.random() < 0.15:
        return seed._replace(key=seed.key[: rng.randrange(len(seed.key))])
    value = seed.value or b""
    return seed._replace(value=value[: rng.randrange(len(value) + 1)])


def scratched(rng: random.Random, seed: Seed, _corpus: Corpus) -> Seed:
    """A few bytes changed, cut out or put in."""
    if seed.key and rng.random() < 0.15:
        return seed._replace(key=_scratched(rng, seed.key))
    return seed._replace(value=_scratched(rng, seed.value or b"{}"))


def _scratched(rng: random.Random, raw: bytes) -> bytes:
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(raw) + 1)
        if rng.random() < 0.4 and place < len(raw):
            raw = raw[:place] + bytes((raw[place] ^ (1 << rng.randrange(8)),)) + raw[place + 1 :]
        else:
            piece = rng.choice((*PIECES, raw[place : place + 30] * 2))
            raw = raw[:place] + piece + raw[place + rng.randrange(3) :]
    return raw


def restructured(rng: random.Random, seed: Seed, corpus: Corpus) -> Seed:
    """JSON with a few of its values or names replaced, taken away or added; what is no JSON is scratched."""
    try:
        value = json.loads(seed.value or b"")
    except ValueError:
        return scratched(rng, seed, corpus)
    for _ in range(rng.randint(1, 3)):
        value = mutated(rng, value)
    return seed._replace(value=written(rng, value))


def written(rng: random.Random, value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":") if rng.random() < 0.7 else None, ensure_ascii=rng.random() < 0.5).encode(
        errors="surrogatepass"
    )


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


def mixed(rng: random.Random, seed: Seed, corpus: Corpus) -> Seed:
    """A record of another format, another one's key, or the value in a wrapping that is not its own."""
    other = rng.choice(corpus.seeds)
    value = other.value if rng.random() < 0.5 else seed.value
    key = other.key if rng.random() < 0.5 else seed.key
    headers = other.headers if rng.random() < 0.3 else seed.headers
    if rng.random() < 0.5 and value:
        value = _wrapped(rng, value, rng.choice(corpus.seeds).value or b"{}")
    return Seed(seed.format, key, value, headers)


def _wrapped(rng: random.Random, value: bytes, other: bytes) -> bytes:
    wrappings = (
        b"\0\0\0\0\x64" + value,
        rng.choice(HEADS) + value,
        b'{"schema":null,"payload":' + value + b"}",
        b'{"schema":{"type":"struct","name":"x.Envelope"},"payload":' + value + b"}",
        b"[" + value + b"," + other + b"]",
        value + b"\n" + other,
        b'{"payload":[' + value + b'],"length":1}',
        json.dumps(value.decode(errors="replace")).encode(),
        b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + value + b"}",
    )
    return rng.choice(wrappings)


def reheaded(rng: random.Random, seed: Seed, _corpus: Corpus) -> Seed:
    """Headers of schema services, of CloudEvents and of unwrapping, in front of what they do not belong to."""
    names = rng.sample(HEADERS, rng.randint(1, 3))
    return seed._replace(headers=(*seed.headers, *((name, rng.choice(HEADER_VALUES)) for name in names)))


KINDS: Final[Mapping[str, Mutation]] = {
    "as it is": whole,
    "random bytes": random_bytes,
    "truncated": truncated,
    "bytes mutated": scratched,
    "structure mutated": restructured,
    "formats mixed": mixed,
    "headers swapped": reheaded,
}
