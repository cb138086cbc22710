"""Serialized Protobuf files linked into descriptors, with those files that registries take for granted.

Pure; used by the loop's thread, and only where the extra `protobuf` is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from ingest.errors import Reject

_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")
_OURS: Final = (
    *(any_pb2, api_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2),
    *(source_context_pb2, struct_pb2, timestamp_pb2, type_pb2, wrappers_pb2),
)
# Files of others that no reference names: package, message, and its fields by number. Their options are not read.
_NUMBER, _UNSIGNED, _BYTES = 5, 13, 12  # int32, uint32 and bytes, as FieldDescriptorProto counts types
_THEIRS: Final[Mapping[str, tuple[str, str, tuple[tuple[str, int], ...]]]] = {
    "confluent/meta.proto": ("confluent", "Meta", ()),
    "confluent/type/decimal.proto": (
        "confluent.type",
        "Decimal",
        (("value", _BYTES), ("precision", _UNSIGNED), ("scale", _NUMBER)),
    ),
    "google/type/date.proto": ("google.type", "Date", (("year", _NUMBER), ("month", _NUMBER), ("day", _NUMBER))),
    "google/type/timeofday.proto": (
        "google.type",
        "TimeOfDay",
        (("hours", _NUMBER), ("minutes", _NUMBER), ("seconds", _NUMBER), ("nanos", _NUMBER)),
    ),
}


def is_serialized(bundle: Mapping[str, Any]) -> bool:
    """Whether nothing in a bundle is source text."""
    return "set" in bundle or all(_BASE64.fullmatch(file) for file in bundle["files"].values())


def file_of(root: str, files: Mapping[str, bytes] | bytes) -> FileDescriptor:
    """The descriptor of the file `root`.

    files: FileDescriptorProtos by name, or one FileDescriptorSet. Raises Reject("schema.malformed") for a file that imports one
    that is not there, and what the package raises for bytes that are none.
    """
    protos = _of_set(files) if isinstance(files, bytes) else [_named(name, file) for name, file in files.items()]
    linking = _Linking({proto.name: proto for proto in protos})
    linking.add(root)
    return linking.pool.FindFileByName(root)


class _Linking:
    """Adds files to a pool of their own, imported ones first: schemas of different ids may define the same names."""

    def __init__(self, protos: Mapping[str, Any]) -> None:
        self.pool = DescriptorPool()
        self._waiting = {module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb for module in _OURS}
        self._waiting |= {name: _made(name).SerializeToString() for name in _THEIRS}
        self._waiting |= {name: proto.SerializeToString() for name, proto in protos.items()}

    def add(self, name: str) -> None:
        """Add a file that is not there yet, behind those that it imports."""
        file = self._waiting.pop(name, None)
        if file is None:
            return
        for imported in _imports(file):
            self.add(imported)
        self.pool.AddSerializedFile(file)


def _imports(file: bytes) -> Iterable[str]:
    return tuple(descriptor_pb2.FileDescriptorProto.FromString(file).dependency)


def _of_set(serialized: bytes) -> Iterable[Any]:
    return tuple(descriptor_pb2.FileDescriptorSet.FromString(serialized).file)


def _named(name: str, serialized: bytes) -> Any:
    """A file under the name by which others import it; the registry may call it something else."""
    file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    if not (file.message_type or file.enum_type or file.dependency or file.extension or file.service):
        raise Reject("schema.malformed", "a file of the Protobuf schema is empty: check the registry")
    file.name = name
    return file


def _made(name: str) -> Any:
    package, message, fields = _THEIRS[name]
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    made = file.message_type.add(name=message)
    for number, (field, kind) in enumerate(fields, 1):
        made.field.add(name=field, number=number, type=kind, label=1)
    return file
