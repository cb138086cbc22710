"""Each connector and envelope in each of its shapes means what its rules say."""

from __future__ import annotations

from typing import Any

import pytest
from envelope_words import described, envelope_in_words
from shapes import Case, cases

from ingest.formats import Decoder, SchemaCache
from ingest.model import Record


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_change_means_the_same_in_each_of_its_shapes(case: Case) -> None:
    schemas = SchemaCache()
    for schema_id, text in case.schemas.items():
        schemas.put(schema_id, text)
    decoder = Decoder(topic_format={"orders": case.format}, schemas=schemas)
    for place in range(2):  # the first record tells the format, the second goes the short way
        assert case.means == meant(decoder, Record("orders", 0, place, -1, case.key, case.value), case.means)


def meant(decoder: Decoder, record: Record, expected: Any) -> dict[str, Any]:
    if not {"skipped", "rejected", "parked"}.isdisjoint(expected):
        said: dict[str, Any] = described(decoder, record)
        return said
    (envelope,) = decoder.decode(record)
    words = envelope_in_words(envelope) | {"after": envelope.after, "before": envelope.before}
    return {name: words.get(name) for name in expected}


def test_no_two_cases_have_one_name() -> None:
    names = [case.name for case in cases()]
    assert sorted(set(names)) == sorted(names)
