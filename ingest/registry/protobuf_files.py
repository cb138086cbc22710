"""The files of a Protobuf schema as one text that the formats room can compile: `{"root": name, "files": {name: base64}}`, each
file a serialized FileDescriptorProto as registries give it for `format=serialized`, or `{"root": name, "set": base64}`, a
FileDescriptorSet that protoc made of their source texts.

protoc (of grpcio-tools) runs as a process of its own, because it writes to files and to the process's stderr; where it is not
installed the source texts stay as they are. Runs in the errand thread.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from ingest.errors import Reject

ROOT: Final = "ingest_root.proto"
PROTOC_TIMEOUT_S = 30
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")

# What registries take for granted, so that no reference names it.
_DECIMAL: Final = (
    'syntax = "proto3"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }'
)
_DATE: Final = 'syntax = "proto3"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }'
_TIME: Final = (
    'syntax = "proto3"; package google.type; '
    "message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }"
)
_META: Final = (
    'syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto"; '
    "message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; } "
    + " ".join(
        f"extend google.protobuf.{options}Options {{ Meta {name}_meta = 1088; }}"
        for options, name in (
            ("File", "file"),
            ("Message", "message"),
            ("Field", "field"),
            ("Enum", "enum"),
            ("EnumValue", "enum_value"),
        )
    )
)
KNOWN: Final = {
    "confluent/meta.proto": _META,
    "confluent/type/decimal.proto": _DECIMAL,
    "google/type/date.proto": _DATE,
    "google/type/timeofday.proto": _TIME,
}


def bundle(root: str, others: Mapping[str, str]) -> str:
    """One text of all files. root, others: serialized or source texts; others by the name under which they are imported.

    Raises Reject("schema.malformed") for source texts that protoc refuses.
    """
    files = {ROOT: root, **others}
    if all(_BASE64.fullmatch(text) for text in files.values()) or find_spec("grpc_tools") is None:
        return json.dumps({"root": ROOT, "files": files})
    return json.dumps({"root": ROOT, "set": b64encode(_compiled({**KNOWN, **files})).decode()})


def _compiled(files: Mapping[str, str]) -> bytes:
    """The FileDescriptorSet of the source texts."""
    with TemporaryDirectory(prefix="ingest-protoc-") as folder:
        for name, text in files.items():
            path = Path(folder, _safe(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        made = Path(folder, "set.bin")
        done = subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_imports", f"--descriptor_set_out={made}", ROOT],
            capture_output=True,
            timeout=PROTOC_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise Reject("schema.malformed", "protoc does not compile the Protobuf schema or one it imports: mend the registry")
        return made.read_bytes()


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise Reject("schema.malformed", "a reference of the Protobuf schema has no usable file name: mend the registry")
    return name
