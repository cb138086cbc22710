"""Promise 7, the hard way: one table is read-only for a minute under load, and the others keep their pace.

The worker has so little memory that the read-only table reaches its share of it; what is measured is compared with itself only.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.pace_rig import Plan, measure
from tests.integration.worker_rig import site_at

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

# Of the pace before: over the whole minute, and in its slowest ten seconds.
PACE_KEPT, WORST_PACE_KEPT = 0.7, 0.4


def test_a_table_that_is_read_only_for_a_minute_leaves_the_others_their_pace(
    kafka_address: str, crate_url: str, tmp_path: Path
) -> None:
    plan = Plan()
    with site_at(kafka_address, crate_url, tmp_path) as site:
        readings = measure(site, plan)
        letters, committed = site.letters(), site.committed()
    for table, (kept, worst) in readings.ratios().items():
        assert kept >= PACE_KEPT, (table, kept)
        assert worst >= WORST_PACE_KEPT, (table, worst)
    first, *_, last = readings.of("blocked")[1:]
    assert last.stored["frozen"] == first.stored["frozen"]
    # It came to its share of the memory and was paused there, before all partitions would have been.
    assert any(reason.startswith(f"table:{site.name}.frozen holds its share") for reason in last.reasons), last.reasons
    assert not [reason for look in readings.looks for reason in look.reasons if "all partitions rest" in reason]
    end, total = readings.end, readings.looks[-1].offered * len(plan.tables)
    assert end is not None
    assert (end.code, end.answer["is_balanced"], end.answer["unsettled"], end.answer["parked"]) == (0, True, 0, [])
    assert end.answer["read"] == end.answer["written"] == committed >= total
    assert letters == {}
    events = [json.loads(line)["event"] for line in end.log.splitlines() if line.startswith("{")]
    assert "store.blocked" in end.log
    assert (events.count("assigned"), events.count("lost")) == (1, 0)
