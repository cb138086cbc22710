"""What the C library does with large blocks of memory; told once, before threads start. glibc only, elsewhere nothing happens.

Bodies, fetches and answers are large and live for a moment. glibc maps blocks of 128 KB apart, but the first of them to be freed
raises that limit to its own size, up to 32 MB, and from then on they are cut from the heap, between small blocks that live long.
So the heap grows although no more of it is in use: by 60 MB in the first hour at 60 records a second, and on (see bench/soak.py).
"""

from __future__ import annotations

import ctypes

# The names and numbers of malloc.h.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
LARGE_BYTES = 64 * 1024
# One for the loop's thread, one for all others, which hold the interpreter's lock anyway.
ARENAS = 2


def keep_large_blocks_apart() -> bool:
    """Blocks from LARGE_BYTES on go back to the system when they are freed; whether the C library understood that."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES) and mallopt(M_ARENA_MAX, ARENAS))
