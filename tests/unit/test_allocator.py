"""Large blocks are kept apart from the heap, whatever was freed before; in a process of its own, for it cannot be undone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from ingest.tools.allocator import LARGE_BYTES

# How many bytes are mapped apart before and after a large block is taken, behind one of 20 MB that was freed.
MEASURE = """
import ctypes, sys
from ingest.tools.allocator import keep_large_blocks_apart

class Figures(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Figures
if sys.argv[1] == "told":
    assert keep_large_blocks_apart()
bytes(20_000_000)
before = libc.mallinfo2().hblkhd
block = bytes(int(sys.argv[2]))
print(libc.mallinfo2().hblkhd - before)
"""


def mapped_apart(mode: str, size_bytes: int) -> int:
    done = subprocess.run([sys.executable, "-c", MEASURE, mode, str(size_bytes)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_mapped_apart_also_after_a_larger_one_was_freed() -> None:
    assert mapped_apart("untold", 1_000_000) == 0  # what glibc does by itself
    assert mapped_apart("told", 1_000_000) >= 1_000_000
    assert mapped_apart("told", LARGE_BYTES // 2) == 0
