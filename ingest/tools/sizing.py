"""How large shards should be. Facts and figures: docs/tables.md."""

from __future__ import annotations

from typing import Final

# CrateDB's guide says 5 to 50 GB a shard; a table may grow to twice of what we expect.
SHARD_BYTES: Final = 30 * 10**9
# Below this one shard takes a whole month: each that a batch touches costs CrateDB a sync and refreshes, however little is in it.
SMALL_MONTH_BYTES: Final = 10**9
