"""The other way round: numbers, texts and the like that the worker refuses for a column go to CrateDB as they are, and CrateDB
wraps, cuts or rounds each of them, or refuses it with the whole request. So nothing is refused that could have been kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest

from tests.properties.cases import CASES
from tests.properties.keeper import SHOWN, Keeper, drawn
from tests.properties.samples import REFUSED, Sample

pytestmark = pytest.mark.cratedb

SAMPLES = 400
SENT_EACH = 25
# Rows whose values mean themselves to CrateDB too, without a reading of ours.
PLAIN_ROWS: Final = ("whole_numbers", "doubles", "reals", "numerics", "texts", "bit_strings", "moments_as_written", "addresses")
CODES: Final = ("type.overflow", "type.precision", "type.not_finite", "text.too_long", "type.wrong_length", "type.zero_date")
WORDS: Final = (None, "any", "int", "string", "year", "enum")


def naively(raw: Any) -> Any:
    """What a writer sends that looks at nothing: numbers as numbers where JSON libraries can, else as text."""
    if isinstance(raw, Decimal) or (isinstance(raw, int) and not -(2**63) <= raw < 2**64):
        return str(raw)
    return raw


def test_what_is_refused_would_not_have_come_back_equal(keeper: Keeper) -> None:
    wrongly_refused, tried = [], 0
    for name in PLAIN_ROWS:
        case = CASES[name][0]
        refused = keeper.keep(drawn(case.samples, SAMPLES), case.columns).refused
        for column in case.columns:
            chosen = [sample for sample, at, code in refused if at == column and code in CODES and is_plain(sample)][:SENT_EACH]
            tried += len(chosen)
            wrongly_refused += [(column, sample) for sample in chosen if comes_back(keeper, column, sample, case.same)]
    assert wrongly_refused[:5] == []
    assert tried > 200


def is_plain(sample: Sample) -> bool:
    """A float beyond 2**53 is refused for what it has lost before it came."""
    kind = sample.source.kind if sample.source is not None else None
    return kind in WORDS and not isinstance(sample.raw, float)


def comes_back(keeper: Keeper, column: str, sample: Sample, same: Any) -> bool:
    number = 10**9 + next(keeper.ids)
    name = keeper.table.full_name
    if not write(keeper, column, number, naively(sample.raw)):
        return False
    shown = SHOWN.get(column, f'"{column}"')
    stored = keeper.rig.sql(f"SELECT {shown} FROM {name} WHERE id = ?", [number]).rows[0][0]
    return sample.meaning is not REFUSED and bool(same(column, stored, sample.meaning))


def write(keeper: Keeper, column: str, number: int, value: Any) -> bool:
    """Whether CrateDB takes the value in a request of its own, of the kind that the worker sends."""
    insert = f'INSERT INTO {keeper.table.full_name} (id, "{column}") VALUES (?, ?)'
    answer = keeper.rig.client.execute(insert, bulk_args=[[number, value]])
    return answer.is_ok and answer.body["results"][0]["rowcount"] == 1


@pytest.mark.parametrize(
    "column, sent, stored",
    [
        ("l", 2**64 - 1, -1),
        ("s", 4_294_967_297, 1),
        ("i", 1.9, 1),
        ("n52", "12.345", "12.35"),
        ("r", 16_777_217, 16_777_216.0),
        ("r", 1e-50, 0.0),
        ("ts", 1_700_000_000.5, 1_700_000_000_500),
        ("ip", "::ffff:1.2.3.4", "1.2.3.4"),
        ("v5", "abcde   ", "abcde"),
        ("os", {"s": 4_294_967_297, "n": "12.345"}, {"s": 1, "n": 12.35}),
    ],
)
def test_cratedb_changes_these_values_without_a_word(keeper: Keeper, column: str, sent: Any, stored: Any) -> None:
    """Why the worker looks at every value. When one of these fails, CrateDB has mended it and the worker may be relaxed."""
    number = 10**9 + next(keeper.ids)
    name, shown = keeper.table.full_name, SHOWN.get(column, f'"{column}"')
    assert write(keeper, column, number, sent)
    assert keeper.rig.sql(f"SELECT {shown} FROM {name} WHERE id = ?", [number]).rows == [[stored]]
