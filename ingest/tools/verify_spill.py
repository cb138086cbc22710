"""Things on disk in buckets by the hash of their key, so that topics and tables larger than memory are compared part by part.

The files are in a folder of our own that nobody else may read, and go with it. What is in them is written and read by this
process alone, hence pickle; zlib makes them about a quarter as large. One thread.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC, EROFS
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, NamedTuple

from ingest.errors import Stop
from ingest.memory import BASE_MB, MB

FULL: Final = (ENOSPC, EDQUOT, EFBIG, EROFS)

FAN_OUT: Final = 64
SUB_FAN_OUT: Final = 16
# Buckets of buckets: 64 * 16 ** 3 parts are enough for everything but one key with a million changes, which folds well.
MOST_DEPTH: Final = 3
HEAD_BYTES: Final = 4
# An item's Python objects take several times what its bytes on disk are before they are compressed.
OBJECTS_RATIO: Final = 6

# Of the memory beyond the interpreter's: what one part of the keys may take, and a page of a table. The rest is for fetches.
PART_SHARE, PAGE_SHARE = 3, 16
LEAST_PART_BYTES: Final = 4 * MB
MOST_PAGE_BYTES: Final = 16 * MB

Key = tuple[str, ...]


def budget(memory_mb: int) -> int:
    """What the items of one part may take as Python objects."""
    return max(LEAST_PART_BYTES, (memory_mb - BASE_MB) * MB // PART_SHARE)


def page(budget_bytes: int) -> int:
    """What a page of a table may take as JSON."""
    return min(MOST_PAGE_BYTES, budget_bytes // PAGE_SHARE)


@contextmanager
def on_disk() -> Iterator[Path]:
    """A folder for what does not fit into memory; a full disk is a sentence."""
    try:
        with TemporaryDirectory(prefix="ingest-verify-") as name:
            yield Path(name)
    except OSError as error:
        if error.errno not in FULL:
            raise
        text = f"the temporary folder cannot be written ({error.strerror}): make room there, or set TMPDIR to a larger disk"
        raise Stop("verify.disk", text) from error


class Item(NamedTuple):
    """table: its number. key: in the form that both sides share. what: a change of a topic, or a stored row."""

    table: int
    key: Key
    what: Any


def key_hash(table: int, key: Key) -> int:
    """64 bits that are the same in every process, for the same key of the same table."""
    return int.from_bytes(blake2b("\x1f".join((str(table), *key)).encode("utf-8", "surrogatepass"), digest_size=8).digest())


class Bucket:
    """One file of items, in the order in which they came. raw_bytes: what they take before they are compressed."""

    def __init__(self, path: Path, buffer_bytes: int) -> None:
        self._path, self._buffer_bytes = path, buffer_bytes
        self._buffer: list[Item] = []
        self._waiting_bytes = 0
        self._file: BinaryIO | None = None
        self.raw_bytes = 0
        self.items = 0

    def add(self, item: Item, size_bytes: int) -> None:
        self._buffer.append(item)
        self._waiting_bytes += size_bytes
        self.items += 1
        if self._waiting_bytes >= self._buffer_bytes:
            self.settle()

    def read(self) -> Iterator[Item]:
        """Everything that was added, in order, block by block."""
        self.settle()
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            while head := file.read(HEAD_BYTES):
                yield from pickle.loads(zlib.decompress(file.read(int.from_bytes(head))))

    def settle(self) -> None:
        """Have everything on disk, so that its size is known."""
        if not self._buffer:
            return
        if self._file is None:
            self._file = self._path.open("wb")
        raw = pickle.dumps(self._buffer, pickle.HIGHEST_PROTOCOL)
        packed = zlib.compress(raw, 1)
        self._file.write(len(packed).to_bytes(HEAD_BYTES) + packed)
        self._file.flush()
        self.raw_bytes += len(raw)
        self._buffer, self._waiting_bytes = [], 0

    def drop(self) -> None:
        self._buffer = []
        if self._file is not None:
            self._file.close()
            self._file = None
        with suppress(FileNotFoundError):
            self._path.unlink()


class Part(NamedTuple):
    """What the topics and what the tables say of the same keys. Small enough for memory."""

    told: Bucket
    stored: Bucket

    @property
    def raw_bytes(self) -> int:
        return self.told.raw_bytes + self.stored.raw_bytes


class Spill:
    """Both sides, in buckets. budget_bytes: of the items of one part as Python objects."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder, self._most_raw_bytes = folder, budget_bytes // OBJECTS_RATIO
        self._buffer_bytes = max(2_000, budget_bytes // (16 * FAN_OUT))
        self._parts = self._made("part", FAN_OUT)

    def tell(self, item: Item, size_bytes: int) -> None:
        """A change that a topic tells."""
        self._parts[key_hash(item.table, item.key) % FAN_OUT].told.add(item, size_bytes)

    def store(self, item: Item, size_bytes: int) -> None:
        """A row that a table holds."""
        self._parts[key_hash(item.table, item.key) % FAN_OUT].stored.add(item, size_bytes)

    def parts(self) -> Iterator[tuple[float, Part]]:
        """Each key in one part, each part within the budget, with the share of all keys that is done behind it.

        A part is gone when the next one is asked for."""
        for number, part in enumerate(self._parts, 1):
            for small in self._small_enough(part, f"split{number}", FAN_OUT, 1):
                yield number / FAN_OUT, small

    def _small_enough(self, part: Part, name: str, seen: int, depth: int) -> Iterator[Part]:
        for bucket in part:
            bucket.settle()
        if part.raw_bytes <= self._most_raw_bytes or depth > MOST_DEPTH:
            yield part
            drop(part)
            return
        smaller = self._made(name, SUB_FAN_OUT)
        for bucket, side in ((part.told, "told"), (part.stored, "stored")):
            for item in bucket.read():
                getattr(smaller[key_hash(item.table, item.key) // seen % SUB_FAN_OUT], side).add(item, size_of(bucket))
        drop(part)
        for number, each in enumerate(smaller):
            yield from self._small_enough(each, f"{name}.{number}", seen * SUB_FAN_OUT, depth + 1)

    def _made(self, name: str, count: int) -> list[Part]:
        return [
            Part(*(Bucket(self._folder / f"{name}.{number}.{side}", self._buffer_bytes) for side in ("told", "stored")))
            for number in range(count)
        ]


def size_of(bucket: Bucket) -> int:
    return max(1, bucket.raw_bytes // max(1, bucket.items))


def drop(part: Part) -> None:
    part.told.drop()
    part.stored.drop()
