"""The SQL files, contracts and the Avro schema of the demo: data files of this package, copied to where the workers read them."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PACKAGE = "ingest.demo"
AVRO = "sensors.avsc"
# How the contracts begin their list of topics.
TOPICS = 'topics    = ["'


def avro_text() -> str:
    """The schema of the sensors' readings."""
    return (files(PACKAGE) / "schemas" / AVRO).read_text(encoding="utf-8")


def export(folder: Path, prefix: str) -> list[Path]:
    """Write sql/ and schemas/ into a folder; what was written. prefix: of the topics, which contracts and Avro schemas name."""
    written = []
    for part in ("sql", "schemas"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in data_files(part):
            path = folder / part / (prefix + file.name if file.name == AVRO else file.name)
            path.write_text(file.read_text(encoding="utf-8").replace(TOPICS, TOPICS + prefix), encoding="utf-8")
            written.append(path)
    return written


def data_files(part: str) -> list[Traversable]:
    """The files of one folder, in the order of their names."""
    found = (file for file in (files(PACKAGE) / part).iterdir() if file.name.endswith((".sql", ".toml", ".avsc")))
    return sorted(found, key=lambda file: file.name)
