"""What `ingest check` finds at CrateDB's PostgreSQL interface, where rows take that way. Reads only, one thread."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import Retry
from ingest.settings import Settings
from ingest.tools.check_crate import CONNECT_S, READ_S
from ingest.tools.connect import pg_addresses, pg_pipeline
from ingest.tools.findings import Finding, fail, ok, warn


def of_write_path(settings: Settings) -> Iterator[Finding]:
    """Each address by itself. Raises Stop where psycopg, credentials or TLS keep rows from that way."""
    if settings.write_path != "pg":
        return
    good, bad = [], []
    for address in pg_addresses(settings):
        pipeline = pg_pipeline(settings, [address], connect_s=CONNECT_S, read_s=READ_S)
        try:
            pipeline.probe()
        except Retry:
            bad.append(str(pipeline))
        else:
            good.append(str(pipeline))
        finally:
            pipeline.close()
    if not good:
        yield fail("cratedb", f"nobody answers at {', '.join(bad)}: set INGEST_CRATE_PG_ADDRESSES, or INGEST_WRITE_PATH=http")
        return
    yield ok("cratedb", f"{', '.join(good)} {'answers' if len(good) == 1 else 'answer'}")
    for silent in bad:
        yield warn(
            "cratedb", f"{silent} does not answer, {len(bad)} of {len(good) + len(bad)} addresses: start it, or take it out"
        )
