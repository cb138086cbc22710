"""From the wire to the change: one JSON file per case, read by the decoder and the mapper as the worker would.

A case has a `table`, a `contract` (lines of TOML) or none, and `records`: what is on the wire, and the change in words or
the rejection. Months are written as "2024-03"; the clock stands at 2024-03-15.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.formats import Decoder, SchemaCache
from ingest.model import Change, Column, Envelope, Record, Skip, Table
from ingest.tables.calendar_utc import MS_PER_DAY, date_of, days_of
from ingest.tables.contract import Contract, load_contracts
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules

NOW_MS = days_of(2024, 3, 15) * MS_PER_DAY
CASES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_a_record_becomes_its_change(file: Path, tmp_path: Path) -> None:
    case = json.loads(file.read_text())
    mapper = compile_mapper(table(case["table"]), contract(case.get("contract"), tmp_path), settings=MappingRules())
    decoder = Decoder(topic_format=case.get("formats", {}), schemas=SchemaCache())
    for offset, (given, expected) in enumerate(case["records"]):
        assert (offset, expected) == (offset, answer(decoder, mapper, record(offset, given), expected))


def table(words: Mapping[str, Any]) -> Table:
    columns = {}
    for name, said in words["columns"].items():
        columns[name] = Column(
            name, **({"type": said} if isinstance(said, str) else {**said, "keys": tuple(said.get("keys", ()))})
        )
    return Table("doc", "orders", columns, tuple(words["key"]), words.get("month_column"))


def contract(lines: list[str] | None, folder: Path) -> Contract | None:
    if lines is None:
        return None
    (folder / "case.toml").write_text("\n".join(lines))
    (found,), problems = load_contracts(folder)
    assert [] == problems
    return found


def record(offset: int, given: Mapping[str, Any]) -> Record:
    key, value = (json.dumps(given[part]).encode() if part in given else None for part in ("key", "value"))
    return Record(given.get("topic", "shop.public.orders"), 0, offset, -1, key, value)


def answer(decoder: Decoder, mapper: Mapper, record: Record, expected: Mapping[str, Any]) -> dict[str, Any]:
    decoded = decoder.decode(record)
    if isinstance(decoded, Skip):
        return {"skipped": decoded.reason}
    assert isinstance(decoded, (list, tuple))
    (envelope,) = decoded
    assert isinstance(envelope, Envelope)
    try:
        words = in_words(mapper.map(envelope, record, NOW_MS))
    except Reject as reject:
        words = {"rejected": reject.code, "column": reject.column}
    return {name: words.get(name) for name in expected}


def in_words(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "key": list(change.key),
        "month": month_in_words(change.month),
        "vacates": [month_in_words(month) for month in change.vacates],
        "look_up": change.look_up,
        "row": dict(zip(change.columns, change.row, strict=True)),
        "version": change.version,
    }


def month_in_words(month: int | None) -> str | None:
    return None if month is None else "{:04d}-{:02d}".format(*date_of(month // MS_PER_DAY)[:2])
