"""The express way and the long way over the same bytes: the same change, or the express way declines.

python -m tests.unit.express_rig 200000 7            # so many mutated records of each stream, from this seed
python -m tests.unit.express_rig 200000 7 maxwell    # of streams whose name holds this
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench.streams import Stream
from ingest.errors import NewFields, Parked, Reject
from ingest.flow.ports import Express
from ingest.formats import Decoder, SchemaCache
from ingest.model import Change, Envelope, NeedSchema, Record, Skip, Table
from ingest.tables.contract import Contract
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from tests.unit.express_streams import ALL

NOW_MS = 1_793_000_000_000


class Ways(NamedTuple):
    """A record's two ways, and the record that the shorter one was learned from."""

    decoder: Decoder
    mapper: Mapper
    express: Express
    sample: Record

    def long(self, record: Record) -> Change | None:
        """What the long way makes of a record that is one row of the sample's table, None for all else."""
        try:
            decoded = self.decoder.decode(record)
            if isinstance(decoded, Skip | NeedSchema) or len(decoded) != 1 or decoded[0].table != envelope_of(self).table:
                return None
            return self.mapper.map(decoded[0], record, NOW_MS)
        except (Reject, Parked, NewFields):
            return None

    def check(self, record: Record) -> bool:
        """Whether the express way took the record; fails where it took it otherwise than the long way."""
        quick = self.express(record, NOW_MS)
        if quick is None:
            return False
        slow = self.long(record)
        assert quick == slow, (record, quick, slow)
        assert typed(quick) == typed(slow), (record, quick, slow)  # 1 == 1.0 == True and 0.0 == -0.0 elsewhere
        return True


def typed(change: Change | None) -> Any:
    assert change is not None
    return [repr(value) for value in (*change.key, *change.row, change.month, change.source_ts_ms)]


def learn(table: Table, contract: Contract | None, sample: Record, schemas: SchemaCache, declared: str = "auto") -> Ways | None:
    """The ways of records like this sample; None where only the long one leads there."""
    decoder = Decoder(topic_format=lambda _: declared, schemas=schemas)
    mapper = compile_mapper(table, contract, settings=MappingRules(-1200, 1200))
    for _ in range(2):  # the first may be wrapped, and teach the wrapper
        decoded = decoder.decode(sample)
    if isinstance(decoded, Skip | NeedSchema) or len(decoded) != 1:
        return None
    mapper.map(decoded[0], sample, NOW_MS)
    wanted = mapper.express(decoded[0], sample)
    express = None if wanted is None else decoder.express(sample, decoded[0], *wanted)
    return None if express is None else Ways(decoder, mapper, express, sample)


def schemas_of(stream: Stream) -> SchemaCache:
    schemas = SchemaCache()
    for schema_id, text in stream.schemas.items():
        schemas.put(schema_id, text, "AVRO")
    return schemas


def ways_of(name: str, contract: Contract | None = None, table: Table | None = None, n: int = 22) -> Ways:
    stream = ALL[name]
    ways = learn(table or stream.table, contract or stream.contract, stream.record(n), schemas_of(stream))
    assert ways is not None
    return ways


def envelope_of(ways: Ways) -> Envelope:
    decoded = ways.decoder.decode(ways.sample)
    assert not isinstance(decoded, Skip | NeedSchema)
    return decoded[0]


# ---------------------------------------------------------------- things that go wrong

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, 1.5, -0.0, 1e300),
    *(
        "",
        "x",
        "q:r",
        'he said "x": y',
        "\\u0041",
        "\0",
        "Zz",
        "[",
        "é",
        "\U0001f600",
        "AAAAAAAAALk=",
        "//8=",
        "AA==",
        "AA",
        "AB=",
    ),
    *("12.30", "NaN", "2024-02-30", "2024-03-05T10:31:12Z", "2025-01-01 00:00:00", "__debezium_unavailable_value"),
    *("false", "true", "insert", "Update", "bootstrap-insert", "delete", "bin.000007:9", "16/B374D848", "shop", ["id"]),
    *([], [1], {}, {"a": 1}, {"a": {"a": 1}}, "c", "u", "d", "r", "t", "m", 1_735_689_600_000, -62_135_596_800_001, 10**18),
)
# Names that mean something to one of the formats.
NAMES = (
    *("id", "x", "__crdb__", "payload", "schema", "before", "after", "op", "type", "data", "old", "reason", "position"),
    *("commit", "xoffset", "primary_key", "primary_key_columns", "ts", "_offset", "cdc_prev", "_id", "note"),
    *("__op", "__deleted", "__lsn", "__source_sequence", "__source_connector", "__source_scn", "__table", "__ts_ms", "__x"),
)
TOKENS = (
    *(b"-0", b"0", b"0.0", b"-0.0", b"0.00", b"1.10", b"1E5", b"1e-7", b"1e400", b"1e-400", b"0.1234567890123456789", b"1.0e0"),
    *(
        b"0.30000000000000004",
        b"100000000000000000000000",
        b"123456789012345.5",
        b"9007199254740993",
        b"5e-324",
        b"null",
        b"true",
    ),
    *(b'"\\ud800"', b'"\\u003a"', b'"a\\":1"', b'"\\"\\":"', b"01", b"+1", b"NaN", b'"\xff"', b'"\xc3\xa9"', b"[1]", b'{"id":1}'),
)
PIECES = (
    b"",
    b" ",
    b"\n",
    b"\t",
    b":",
    b'"',
    b"{",
    b"}",
    b",",
    b"[",
    b"\\",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"id" :7,',
    b'"id":7,',
    b" :",
)
HEADERS = (
    (("trace", b"x"),),
    (("__value_schema_id", b"x"),),
    (("__op", b"d"),),
    (("__source_lsn", b"5"), ("__deleted", b"true")),
    (("__debezium.context.taskId", b"0"),),
)
_VALUE = re.compile(rb'(?<=":)(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)')
_MEMBER = re.compile(rb'"\w+":(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)')


def mutated_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.93:
        changed, name = dict(value), rng.choice(list(value))
        kind = rng.random()
        if kind < 0.08:
            del changed[name]
        elif kind < 0.14:
            changed[rng.choice((*NAMES, *value))] = rng.choice(VALUES)
        elif kind < 0.2:
            changed = {part: changed[part] for part in rng.sample(list(changed), len(changed))}
        else:
            changed[name] = mutated_value(rng, value[name])
        return changed
    return rng.choice(VALUES)


def _structured(rng: random.Random, raw: bytes) -> bytes:
    value = json.loads(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if isinstance(value, dict) and "payload" in value and rng.random() < 0.9:
            value["payload"] = mutated_value(rng, value["payload"])
        else:
            value = mutated_value(rng, value)
    blanks = (",", ":") if rng.random() < 0.9 else rng.choice(((", ", ": "), (",", " :"), (" ,", " : "), (",", ":\n")))
    return json.dumps(value, separators=blanks, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")


def _retold(rng: random.Random, raw: bytes) -> bytes:
    """One value in another spelling."""
    found = list(_VALUE.finditer(raw))
    if not found:
        return raw
    place = rng.choice(found)
    return raw[: place.start()] + rng.choice(TOKENS) + raw[place.end() :]


def _doubled(rng: random.Random, raw: bytes) -> bytes:
    """One name a second time in its object, or in another; sometimes with a blank before its colon."""
    found = list(_MEMBER.finditer(raw))
    if not found:
        return raw
    member, there = rng.choice(found), rng.choice(found)
    text = member[0]
    if rng.random() < 0.5:
        text = text.replace(b'":', rng.choice((b'" :', b'"\n:', b'"  :')), 1)
    if rng.random() < 0.3:
        text = _VALUE.sub(lambda _: rng.choice(TOKENS), text)
    return raw[: there.start()] + text + b"," + raw[there.start() :]


def _scratched(rng: random.Random, raw: bytes) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(out) + 1)
        kind = rng.random()
        if kind < 0.4 and place < len(out):
            out[place] = rng.randrange(256) if rng.random() < 0.5 else out[place] ^ 1 << rng.randrange(8)
        elif kind < 0.7:
            out[place:place] = rng.choice(PIECES)
        elif kind < 0.9:
            del out[place : place + rng.choice((1, 1, 2, 5))]
        else:
            out = out[:place]
    return bytes(out)


def mutated(rng: random.Random, record: Record) -> Record:
    """The record with something wrong, or only odd, in its value or key."""
    value, key = record.value or b"", record.key or b""
    is_json = value[:1] == b"{"
    ways: tuple[Callable[[random.Random, bytes], bytes], ...] = (
        (_structured, _retold, _doubled, _scratched) if is_json else (_scratched,)
    )
    kind = rng.random()
    if kind < 0.85:
        value = rng.choice(ways)(rng, value)
    if kind > 0.75:
        key_ways = ways if is_json and key[:1] == b"{" else (_scratched,)
        key = rng.choice((*key_ways, lambda rng, _: rng.choice((b"", b"7", b"007", b"[7]", b'{"id":7}', b"null", b'"x"'))))(
            rng, key
        )
    headers = rng.choice(HEADERS) if rng.random() < 0.03 else ()
    return record._replace(value=value, key=key or None, headers=headers)


def records_of(name: str, rng: random.Random, count: int) -> Iterator[Record]:
    for _ in range(count):
        yield mutated(rng, ALL[name].record(rng.randrange(5_000)))


def main() -> None:
    count, seed, only = int(sys.argv[1]), (*sys.argv[2:], "1")[0], (*sys.argv[3:], "")[0]
    for name in [name for name in ALL if only in name]:
        rng, ways = random.Random(f"{name} {seed}"), ways_of(name)
        taken = sum(ways.check(record) for record in records_of(name, rng, count))
        sys.stdout.write(f"{name:<28} {count} mutated records, {taken} taken, each as by the long way\n")


if __name__ == "__main__":
    main()
