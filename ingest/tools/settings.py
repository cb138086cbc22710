"""`ingest settings`: every setting with its value and where it came from; as a table, as JSON, or as docs/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ingest.environ import KAFKA_OPTIONS, KAFKA_PREFIX, shown
from ingest.settings import Settings, allowed, env_name, is_secret

STARS = "***"
# The first setting of each group, in the order of declaration.
GROUPS = {
    "kafka_bootstrap_servers": "Kafka",
    "crate_urls": "CrateDB",
    "schema_registry_url": "Schema registry",
    "batch_max_rows": "Batches and memory",
    "revoke_s": "Time",
    "dlq_topic": "Dead letters and parking",
    "month_min": "Months",
    "http_host": "Watching",
}

INTRODUCTION = """# Settings

Made by `make docs` from the declarations in `ingest/settings.py`; do not edit.

All settings are environment variables; `ingest settings` shows the values in force. A wrong value, a missing one and a name that
does not exist are all reported at once, before anything starts. A variable that is set but empty counts as not set.
A secret can also be read from a file: set the name with `_FILE` behind it to the file's path.
"""

KAFKA_CHAPTER = """
## Options of the Kafka client

`INGEST_KAFKA_` and the name of an option of kafka-python in capitals, handed to consumer, producer and admin client as
far as each knows it. What the promises of `ingest` hang on (commits, isolation, assignment, acknowledgement) cannot be set.
"""


def as_table(settings: Settings) -> str:
    """Columns name, value, default, source."""
    rows = [("setting", "value", "default", "source"), *_rows(settings), *_kafka_rows(settings)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows)
    return "\n".join(lines)


def as_json(settings: Settings) -> str:
    keys = ("name", "value", "default", "source")
    rows = [*_rows(settings), *_kafka_rows(settings)]
    return json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1)


def _rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    for name, info in Settings.model_fields.items():
        value = getattr(settings, name)
        text = STARS if is_secret(info) and value is not None else as_text(value)
        yield env_name(name), text, as_text(info.default), settings.source_of(name)


def _kafka_rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    for name, value in settings.kafka_options.items():
        text = STARS if KAFKA_OPTIONS[name].is_secret else as_text(value)
        yield KAFKA_PREFIX + name.upper(), text, "(the client's)", settings.source_of(f"kafka_{name}")


def as_text(value: Any) -> str:
    """As it would be written into the environment; passwords inside addresses are starred.

    >>> as_text(("a", "http://ann:pw@b")), as_text(True), as_text(None), as_text(30.0)
    ('a,http://***@b', 'true', '', '30')
    """
    if isinstance(value, tuple):
        return ",".join(shown(str(part)) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else shown(str(value))


def as_markdown() -> str:
    """docs/settings.md: the declarations, not the values of this environment."""
    lines = [INTRODUCTION.rstrip()]
    for name, info in Settings.model_fields.items():
        if name in GROUPS:
            lines += ["", f"## {GROUPS[name]}", "", *_head(("setting", "default", "allowed", "meaning"))]
        default, secret = as_text(info.default), " A secret; also `_FILE`." if is_secret(info) else ""
        lines.append(
            _line(f"`{env_name(name)}`", f"`{default}`" if default else "", allowed(name), f"{info.description}{secret}")
        )
    lines += [KAFKA_CHAPTER.rstrip(), "", *_head(("setting", "allowed"))]
    for name, option in KAFKA_OPTIONS.items():
        secret = " (a secret; also `_FILE`)" if option.is_secret else ""
        lines.append(_line(f"`{KAFKA_PREFIX}{name.upper()}`", option.allowed + secret))
    return "\n".join(lines) + "\n"


def _head(cells: Sequence[str]) -> tuple[str, str]:
    return _line(*cells), "|" + "---|" * len(cells)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
