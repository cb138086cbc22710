"""How INGEST_MEMORY_MB is shared out: the one place where fetch sizes, marks and buffers are derived. Pure."""

from __future__ import annotations

from typing import NamedTuple

MB = 1_000_000
# The interpreter with all packages imported is 62 MB (measured); threads, sockets and mappers take the rest.
BASE_MB = 100
# What of the rest may be counted in unsettled bytes; the remainder is what the allocator keeps of freed memory.
COUNTED_RATIO = 0.6
# Below this a single batch per lane would already pause every partition.
MIN_HIGH_BYTES = 16 * MB


class Memory(NamedTuple):
    """Shares in bytes. high_bytes, low_bytes: marks of unsettled bytes at which all partitions pause and resume."""

    fetch_max_bytes: int
    max_partition_fetch_bytes: int
    dead_letter_bytes: int
    high_bytes: int
    low_bytes: int

    @property
    def is_enough(self) -> bool:
        return self.high_bytes >= MIN_HIGH_BYTES


def memory(memory_mb: int, writers: int, batch_max_bytes: int) -> Memory:
    """The shares of one worker process.

    Beside the unsettled records there are: two fetches (one read, one under way), dead letters, and per writer one request
    body with its answer.

    >>> memory(512, 4, 4_000_000).high_bytes // MB
    181
    >>> memory(128, 4, 4_000_000).is_enough
    False
    """
    free = max(0, memory_mb - BASE_MB) * MB
    fetch = max(MB, min(32 * MB, free // 16))
    letters = max(MB, min(64 * MB, free // 16))
    bodies = 2 * writers * batch_max_bytes
    high = int(COUNTED_RATIO * (free - 2 * fetch - letters - bodies))
    return Memory(fetch, max(MB // 2, min(4 * MB, fetch // 4)), letters, high, high // 2)


def least_mb(memory_mb: int, writers: int, batch_max_bytes: int) -> int:
    """The smallest INGEST_MEMORY_MB from memory_mb upwards that is enough for these."""
    while not memory(memory_mb, writers, batch_max_bytes).is_enough:
        memory_mb += 1
    return memory_mb
