"""Decompression of record batches by Kafka's codec numbers, and whether each codec's package is installed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import MappingProxyType

from kafka import codec

# The number in the lowest three bits of a batch's attributes; 0 is "not compressed".
CODEC_MASK = 0x07
NAMES: Mapping[int, str] = MappingProxyType({1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"})

# kafka-python works without these packages, but stops at the first batch that needs one; without crc32c it computes checksums
# in Python, which makes reading about twenty times slower.
PACKAGES: Mapping[str, str] = MappingProxyType({"crc32c": "crc32c", "lz4": "lz4", "zstd": "zstandard", "snappy": "python-snappy"})
_MODULES: Mapping[str, str] = MappingProxyType({"crc32c": "crc32c", "lz4": "lz4", "zstd": "zstandard", "snappy": "snappy"})


class MissingCodec(Exception):
    """A batch is compressed with a codec whose package is not installed, or that is none of Kafka's."""


def missing_packages() -> list[str]:
    """Names of the packages to install before every batch can be read."""
    return [PACKAGES[name] for name, module in _MODULES.items() if find_spec(module) is None]


def decompress(payload: bytes, number: int) -> bytes:
    """The payload as it was before compression with the codec of that number. Raises MissingCodec."""
    decode: Callable[[bytes], bytes] | None = _DECODERS.get(number)
    if decode is None or not _IS_THERE[number]():
        raise MissingCodec(NAMES.get(number, f"number {number}"))
    return bytes(decode(payload))


_DECODERS: Mapping[int, Callable[[bytes], bytes]] = MappingProxyType(
    {1: codec.gzip_decode, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}
)
_IS_THERE: Mapping[int, Callable[[], bool]] = MappingProxyType(
    {1: codec.has_gzip, 2: codec.has_snappy, 3: codec.has_lz4, 4: codec.has_zstd}
)
