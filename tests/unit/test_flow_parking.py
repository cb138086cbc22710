"""What is parked, and why: the reason that is shown is the one that holds now."""

from __future__ import annotations

from ingest.errors import Parked
from ingest.flow.parking import Parking

SUBJECT = "table:doc.orders"


def test_the_same_reason_is_told_once_and_a_new_one_takes_its_place() -> None:
    parking = Parking(lambda _: ())
    first = Parked("contract.contradiction", "no column", subject=SUBJECT)
    assert parking.park(first, now_ms=1) is not None
    assert parking.park(first, now_ms=2) is None
    told = parking.park(Parked("month.undecided", "whose month?", subject=SUBJECT), now_ms=3)
    assert told == next(iter(parking))
    assert (len(parking), told.code, told.since_ms) == (1, "month.undecided", 3)
