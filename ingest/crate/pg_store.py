"""`PgStore`: the Store whose rows travel over CrateDB's PostgreSQL interface (INGEST_WRITE_PATH=pg), everything else over HTTP.

What is planned, stated and judged is `HttpStore`'s; see crate.courier for which rows are asked for twice. One store per thread.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ingest.crate.http import HttpClient
from ingest.crate.pg_pipeline import PgPipeline
from ingest.crate.running import BLIND_WAIT_S
from ingest.crate.writer import MAX_ROWS, HttpStore


class PgStore(HttpStore):
    """CrateDB over both interfaces."""

    def __init__(
        self,
        client: HttpClient,
        pipeline: PgPipeline,
        *,
        clock: Callable[[], float] = monotonic,
        max_rows: int = MAX_ROWS,
        blind_s: float = BLIND_WAIT_S,
    ) -> None:
        super().__init__(client, clock=clock, max_rows=max_rows, blind_s=blind_s, pipeline=pipeline)
        self._rows_way = pipeline

    def probe(self) -> None:
        super().probe()
        self._rows_way.probe()

    def close(self) -> None:
        super().close()
        self._rows_way.close()
