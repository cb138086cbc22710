"""The promises on real servers, in small: the real worker reads a seeded stream, and a model that shares no code with it judges.

The same with half a million records, and with more trouble: bench/acceptance.py.
"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.cratedb,
    pytest.mark.slow,
]

# Small batches make a run long enough to be disturbed.
SMALL_BATCHES = {"INGEST_BATCH_MAX_ROWS": "100"}


def assert_equal(kafka_address: str, crate_url: str, **plan: Any) -> Any:
    """Run the plan and fail with its whole report; the numbers if all is as it must be."""
    from tests.oracle.rig import Plan, run

    report = run(Plan(kafka_address, crate_url, **plan))
    assert report.is_equal, f"\n{report}"
    return report.numbers


@pytest.mark.parametrize("seed", [1, 2])
def test_tables_dead_letters_and_books_are_what_the_model_says(seed: int, kafka_address: str, crate_url: str) -> None:
    assert_equal(kafka_address, crate_url, records=20_000, seed=seed)


def test_a_killed_worker_loses_nothing_and_changes_nothing(kafka_address: str, crate_url: str) -> None:
    numbers = assert_equal(kafka_address, crate_url, records=40_000, seed=3, kills=3, env=SMALL_BATCHES)
    assert numbers["kills"] == 3


def test_a_second_worker_may_come_and_go(kafka_address: str, crate_url: str) -> None:
    numbers = assert_equal(kafka_address, crate_url, records=60_000, seed=4, joiners=2, env=SMALL_BATCHES)
    assert numbers["joiners"] == 2


def test_a_crate_that_is_away_costs_time_only(kafka_address: str, crate_url: str) -> None:
    numbers = assert_equal(kafka_address, crate_url, records=20_000, seed=5, crate_outage_s=10.0)
    assert numbers["outages"] == 1
