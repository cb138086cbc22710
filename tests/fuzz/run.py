"""Fuzzing of decoders and mappers: `python -m tests.fuzz.run --inputs 1000000 --seed 1` prints a table and writes bench/results/.

Each input is a record, made from the seed and its number alone, given to a decoder whose topic is declared as one format or is to
be found out; what comes of it is mapped into a table. It must end in envelopes (and changes), a skip, a refusal, a question for
a schema or a parked topic, within `LONGEST_S`, without a value of the record in any error text; and rows must be those that
`oracle` reads from the same bytes.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final, NamedTuple

from ingest.errors import IngestError, Parked, Reject
from ingest.flow.ports import Express
from ingest.formats import Decoder
from ingest.model import Change, Envelope, NeedSchema, Op, Record, Skip
from ingest.tables.shapes import match_fields
from tests.fuzz import oracle, tables
from tests.fuzz.corpus import ALL_FORMATS, Corpus, load
from tests.fuzz.mutations import KINDS, SECRET, SECRET_NUMBER
from tests.fuzz.tables import Target

RESULTS: Final = Path(__file__).parents[2] / "bench" / "results"
LONGEST_S: Final = 5.0
NOW_MS: Final = 1_700_000_000_000
CHUNK: Final = 2_000  # inputs that share a decoder, and so what it remembers of topics
TOPICS: Final = 25
PRIMED: Final = 25  # records of a chunk whose topics have an express way where there is one
ENDS: Final = ("rows", "skip", "refused", "schema", "parked")
FAILURES_KEPT: Final = 20


@dataclass
class Tally:
    """What came of inputs. ends: by format, kind of input and end. rows, cells: held against the oracle. failures: to look at."""

    ends: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: int = 0
    cells: int = 0
    changes: int = 0
    express: int = 0
    unmapped: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    failures: list[str] = field(default_factory=list)
    failed: int = 0

    def add(self, other: Tally) -> None:
        self.ends.update(other.ends)
        self.rows += other.rows
        self.cells += other.cells
        self.changes += other.changes
        self.express += other.express
        self.unmapped += other.unmapped
        self.failed += other.failed
        self.slowest_s, self.slowest = max((self.slowest_s, self.slowest), (other.slowest_s, other.slowest))
        self.failures = (self.failures + other.failures)[:FAILURES_KEPT]

    def fail(self, text: str) -> None:
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(text)


class Primed(NamedTuple):
    """A topic that has an express way from its records to changes of one table."""

    format: str
    base: int
    topic: str
    target: Target
    table: tuple[str, ...]
    read: Express


class Wrong(Exception):
    """An input ended in something that it must not end in."""


class TooLong(BaseException):
    """An input took longer than LONGEST_S. No Exception, so that nothing on the way takes it for one of its own."""


class Fuzzer:
    """One process's part. Every chunk is the same whoever runs it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._corpus: Corpus = load()
        self._targets = tables.targets(self._corpus, seed)
        self._places = list(self._targets)

    def chunk(self, number: int, inputs: int) -> Tally:
        rng, tally = random.Random(f"{self._seed} {number}"), Tally()
        decoders = {name: Decoder(topic_format=partial(_same, name), schemas=self._corpus.cache()) for name in ALL_FORMATS}
        primed = list(self._primed(rng, decoders))
        kinds = list(KINDS)
        for place in range(inputs):
            name, kind = ALL_FORMATS[place % len(ALL_FORMATS)], kinds[place // len(ALL_FORMATS) % len(kinds)]
            base, topic, way = self._place_of_seed(rng, name), f"{name}-{rng.randrange(TOPICS)}", None
            target = self._target(rng, base)
            if primed and rng.random() < 0.25:
                way = rng.choice(primed)
                name, base, topic, target = way.format, way.base, way.topic, way.target
            seed = KINDS[kind](rng, self._corpus.seeds[base], self._corpus)
            record = Record(topic, rng.randrange(2), place, -1, seed.key, seed.value, seed.headers)
            where = f"seed {self._seed} {number} {place}"
            self._one(decoders[name], target, record, name, kind, tally, where, way)
        return tally

    def _primed(self, rng: random.Random, decoders: Mapping[str, Decoder]) -> Iterator[Primed]:
        """Topics with an express way, learned as the worker learns it."""
        for base in rng.sample(self._places, min(PRIMED, len(self._places))):
            seed, target = self._corpus.seeds[base], rng.choice(self._targets[base])
            for name in dict.fromkeys(("auto", seed.format or "auto")):
                topic = f"{name}.{base}"
                record = Record(topic, 0, 1, -1, seed.key, seed.value, seed.headers)
                found = primed(decoders[name], target, record)
                if found is not None:
                    yield Primed(name, base, topic, target, *found)

    def _place_of_seed(self, rng: random.Random, name: str) -> int:
        """A record that the format reads, mostly."""
        own = self._corpus.by_format.get(name)
        return rng.choice(own) if own and rng.random() < 0.7 else rng.randrange(len(self._corpus.seeds))

    def _target(self, rng: random.Random, base: int) -> Target:
        """A table that was made for the record, mostly."""
        own = self._targets.get(base)
        return rng.choice(own if own and rng.random() < 0.85 else self._targets[rng.choice(self._places)])

    def _one(
        self, decoder: Decoder, target: Target, record: Record, name: str, kind: str, tally: Tally, where: str, way: Primed | None
    ) -> None:
        begun_s = thread_time()
        try:
            with at_most(LONGEST_S):
                fast = None if way is None else way.read(record, NOW_MS)
                end = self._ends(decoder, target, record, tally, way, fast)
            tally.ends[name, kind, end] += 1
        except (Exception, TooLong) as error:
            tally.fail(f"{where} [{name}, {kind}] {type(error).__name__}: {error}\n  {record}")
            tally.ends[name, kind, "failed"] += 1
        took_s = thread_time() - begun_s
        if took_s > tally.slowest_s:
            tally.slowest_s, tally.slowest = took_s, where

    def _ends(
        self, decoder: Decoder, target: Target, record: Record, tally: Tally, way: Primed | None, fast: Change | None
    ) -> str:
        try:
            decoded = decoder.decode(record)
        except (Reject, Parked) as error:
            _refuse_values(error)
            _refuse_express(fast, error.code)
            return "parked" if isinstance(error, Parked) else "refused"
        if isinstance(decoded, Skip | NeedSchema):
            _refuse_express(fast, str(decoded))
            return "skip" if isinstance(decoded, Skip) else "schema"
        if not all(isinstance(envelope, Envelope) for envelope in decoded):
            raise Wrong("the decoder answered something else")
        self._judge(decoder.format_of(record.topic) or "", record, decoded, tally)
        changes = [self._map(target, envelope, record, tally) for envelope in decoded]
        if fast is not None and way is not None:
            if changes != [fast] or decoded[0].table != way.table:
                raise Wrong(f"the express way makes {fast}, the long way {changes}")
            tally.express += 1
            fast = None
        return "rows"

    def _judge(self, name: str, record: Record, decoded: Sequence[Envelope], tally: Tally) -> None:
        for envelope in decoded:
            if odd := oracle.strangers(name, record, envelope):
                raise Wrong(f"not in the record: {odd}")
        try:
            expected = oracle.rows_of(name, record, self._corpus.avro)
        except oracle.NoOpinion:
            return
        except oracle.NoRow:
            raise Wrong("by the rules there is no row") from None
        if len(expected) != len(decoded):
            raise Wrong(f"by the rules there are {len(expected)} rows, not {len(decoded)}")
        key = oracle.key_of(name, record)
        for row, envelope in zip(expected, decoded, strict=True):
            if not oracle.is_given(row, envelope):
                raise Wrong(f"by the rules the row is {row}, not {envelope}")
            if key is not None and key != envelope.key:
                raise Wrong(f"by the rules the key is {key}, not {envelope.key}")
            tally.rows += 1

    def _map(self, target: Target, envelope: Envelope, record: Record, tally: Tally) -> Change | None:
        try:
            change = target.mapper.map(envelope, record, NOW_MS)
        except (Reject, Parked) as error:
            _refuse_values(error)
            if isinstance(error, Parked) and envelope.op is not Op.TRUNCATE:
                raise Wrong("a row parked its topic in the mapper") from error
            tally.unmapped += 1
            return None
        tally.changes += 1
        if envelope.after is not None:
            tally.cells += cells_held(target, envelope, change)
        return change


def primed(decoder: Decoder, target: Target, record: Record) -> tuple[tuple[str, ...], Express] | None:
    """The source's name of the table and the express way, where a record like this one has one."""
    try:
        decoded = decoder.decode(record)
        if isinstance(decoded, Skip | NeedSchema) or len(decoded) != 1:
            return None
        change = target.mapper.map(decoded[0], record, NOW_MS)
    except (Reject, Parked):
        return None
    wanted = target.mapper.express(decoded[0], record)
    read = None if wanted is None else decoder.express(record, decoded[0], *wanted)
    return None if read is None or read(record, NOW_MS) != change else (decoded[0].table, read)


def _refuse_express(fast: Change | None, answer: str) -> None:
    if fast is not None:
        raise Wrong(f"the express way makes {fast}, the long way answers {answer}")


def cells_held(target: Target, envelope: Envelope, change: Change) -> int:
    """How many values of a change could be held against the record's; raises Wrong for one that is another."""
    row, columns, held = envelope.after or {}, target.mapper.table.columns, 0
    fields = match_fields(dict.fromkeys(columns), row)
    types = envelope.schema.fields if envelope.schema is not None else {}
    for name, sent in zip(change.columns, change.row, strict=True):
        if name not in fields or name.startswith("cdc_") or name in target.contract.columns or name.endswith("_text"):
            continue
        right = oracle.cell_is_right(types.get(fields[name]), columns[name], row[fields[name]], sent)
        if right is False:
            raise Wrong(f"column {name} ({columns[name].type}) gets {sent!r} of {row[fields[name]]!r}")
        held += right is True
    return held


def _refuse_values(error: IngestError) -> None:
    said = str(error)
    if SECRET in said or str(SECRET_NUMBER) in said:
        raise Wrong(f"the error holds a value: {said}")


def _same(name: str, _topic: str) -> str:
    return name


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TooLong inside after so many seconds. Main thread only."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(*_: object) -> None:
    raise TooLong


# ---------------------------------------------------------------- many processes

_fuzzer: Fuzzer | None = None


def _start(seed: int) -> None:
    global _fuzzer
    _fuzzer = Fuzzer(seed)


def _chunk(number: int) -> Tally:
    assert _fuzzer is not None
    return _fuzzer.chunk(number, CHUNK)


def fuzzed(inputs: int, seed: int, processes: int) -> Iterator[Tally]:
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(seed,)) as pool:
        yield from pool.map(_chunk, range(-(-inputs // CHUNK)))


# ---------------------------------------------------------------- for people


def shown(tally: Tally) -> str:
    """A line per format: inputs of each kind; then how they ended."""
    kinds = list(KINDS)
    lines = [_line("format", kinds, ["in all"])]
    for name in ALL_FORMATS:
        counts = [_sum(tally, name, kind) for kind in kinds]
        lines.append(_line(name, counts, [sum(counts)]))
    lines += ["", _line("format", ENDS, ["failed"])]
    lines += [
        _line(name, [_sum(tally, name, end=end) for end in ENDS], [_sum(tally, name, end="failed")]) for name in ALL_FORMATS
    ]
    total = sum(tally.ends.values())
    lines += ["", f"{total} inputs, {tally.failed} failed, the slowest took {1000 * tally.slowest_s:.0f} ms ({tally.slowest})"]
    lines.append(
        f"{tally.rows} rows and {tally.cells} values equal what the rules give for the same bytes; {tally.changes} changes"
    )
    lines.append(f"{tally.express} changes of the express way equal those of the long way")
    return "\n".join([*lines, *tally.failures])


def _sum(tally: Tally, name: str, kind: str | None = None, end: str | None = None) -> int:
    return sum(
        count for (of, how, came), count in tally.ends.items() if of == name and kind in (None, how) and end in (None, came)
    )


def _line(name: str, cells: Iterable[Any], last: Iterable[Any]) -> str:
    return f"{name:18}" + "".join(f"{cell!s:>19}" for cell in (*cells, *last))


def as_json(tally: Tally, seed: int, has_samples: bool, took_s: float) -> dict[str, Any]:
    formats = {
        name: {
            "inputs": {kind: _sum(tally, name, kind) for kind in KINDS},
            "ends": {end: _sum(tally, name, end=end) for end in (*ENDS, "failed")},
        }
        for name in ALL_FORMATS
    }
    return {
        "what": "fuzzing of decoders and mappers",
        "command": f"python -m tests.fuzz.run --inputs {sum(tally.ends.values())} --seed {seed}",
        "seed": seed,
        "python": platform.python_version(),
        "with_samples": has_samples,
        "inputs": sum(tally.ends.values()),
        "failed": tally.failed,
        "rows_held_against_the_rules": tally.rows,
        "values_held_against_the_rules": tally.cells,
        "changes": tally.changes,
        "express_changes_held_against_the_long_way": tally.express,
        "rows_refused_by_their_table": tally.unmapped,
        "slowest_ms": round(1000 * tally.slowest_s),
        "took_s": round(took_s),
        "formats": formats,
        "failures": tally.failures,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the figures in bench/results/")
    asked = parser.parse_args(arguments)
    begun, tally = perf_counter(), Tally()
    for part in fuzzed(asked.inputs, asked.seed, asked.processes):
        tally.add(part)
    sys.stdout.write(shown(tally) + "\n")
    if asked.write:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        found = as_json(tally, asked.seed, load().has_samples, perf_counter() - begun)
        (RESULTS / f"fuzz-{stamp}-seed{asked.seed}.json").write_text(json.dumps(found, indent=1) + "\n")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
