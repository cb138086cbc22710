"""What is asked of CrateDB for the transcripts, by theme. A theme starts in an empty schema.

`record` sends it to a real CrateDB, `test_transcripts` to the embedded store.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.contract.transcripts import fault_asks, table_asks, worker_asks
from tests.contract.transcripts.ask import Ask

THEMES: dict[str, Sequence[Ask]] = {
    "upserts": worker_asks.UPSERTS,
    "months": worker_asks.BY_MONTH,
    "arrival": worker_asks.ARRIVALS,
    "values": fault_asks.VALUES,
    "faults": fault_asks.FAULTS,
    "new_month": fault_asks.NEW_MONTH,
    "catalogue": table_asks.CATALOGUE,
    "curious": table_asks.CURIOUS,
    "changes": table_asks.CHANGES,
    "locks": table_asks.LOCKS,
}
