"""An embedded store for a first try without servers, and for tests: it answers CrateDB's `/_sql`.

Never a default of `ingest run`.

A small real SQL engine for the statements that the worker, its tools and a curious user send; anything else is refused with 4004
and says so. Start reading at `store`; a request goes server -> engine -> statements (parse) -> writes, changes, reads or ddl.
"""

from ingest.practice.store.errors import Refusal
from ingest.practice.store.store import Store

__all__ = ["Refusal", "Store"]
