"""Promise 4: in a table of level ordered any order and any repetition of the worker's requests ends in the same table.

For complete rows whose images name their month. Level arrival is here to show that the same harness notices when that fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from ingest.model import Level
from tests.crate_rig import Rig
from tests.integration.requests_rig import KEYS, MONTHS, Replays, Step, expected, history, measure

pytestmark = [pytest.mark.cratedb, pytest.mark.slow]

STEPS = st.lists(st.builds(Step, st.integers(0, KEYS - 1), st.sampled_from([*MONTHS, None])), min_size=6, max_size=16)
ORDERS = 3  # of the requests of each history
# The same examples in every run, so a failure comes again. It is printed whole: making it small would take minutes on a server.
QUIET = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def rig(crate_url: str) -> Iterator[Rig]:
    rig = Rig(crate_url, "t_commuting")
    yield rig
    rig.drop()


@pytest.fixture(scope="module")
def ordered(rig: Rig) -> Iterator[Replays]:
    replays = Replays(rig, Level.ORDERED)
    yield replays
    replays.close()


@pytest.fixture(scope="module")
def arrival(rig: Rig) -> Iterator[Replays]:
    replays = Replays(rig, Level.ARRIVAL)
    yield replays
    replays.close()


@QUIET
@given(data=st.data(), steps=STEPS)
def test_any_order_of_the_workers_requests_ends_in_the_same_table(
    ordered: Replays, data: st.DataObject, steps: list[Step]
) -> None:
    """The history is read twice, cut into other batches the second time, as after a restart: all these requests are mixed."""
    first_id = ordered.first_id()
    records, right = history(steps, first_id), expected(steps, first_id)
    requests = ordered.catch(records, batch_records=data.draw(st.integers(1, 6), "records per batch"))
    assert right == ordered.live(first_id)
    again = records[data.draw(st.integers(0, len(records)), "read again from") :]
    keeps = data.draw(st.booleans(), "mostly stale")
    requests += ordered.catch(again, batch_records=data.draw(st.integers(1, 6), "records per batch"), mostly_stale=keeps)
    assert right == ordered.live(first_id)
    everything = ordered.everything(first_id)

    note(f"requests: {requests}")
    for _ in range(ORDERS):
        repeated = data.draw(st.lists(st.sampled_from(range(len(requests))), max_size=5), "repeated") if requests else []
        ordered.replay(requests, data.draw(st.permutations([*range(len(requests)), *repeated]), "order"), first_id)
        assert right == ordered.live(first_id)
        assert everything == ordered.everything(first_id), "tombstones and versions too"


def test_level_arrival_is_right_in_order_and_shows_disorder(arrival: Replays) -> None:
    """`measure` asserts each history in order first. If no disorder showed, the test above would prove nothing."""
    figure = measure(arrival, "in any order, some twice", seed=1, orders=20)
    assert figure.different >= 1


def test_level_arrival_is_right_after_all_was_read_again(arrival: Replays) -> None:
    assert 0 == measure(arrival, "all again, in order", seed=1, orders=10, orders_per_history=2).different
