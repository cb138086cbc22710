"""Small words that `explain` and `why` share: moments, months, versions, values, and lines of 80 columns. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ingest.model import OFFSET_DIGITS

WIDTH: Final = 80
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
KINDS: Final = {
    "L": "LSN",
    "B": "binlog position",
    "H": "HLC",
    "T": "TSO",
    "S": "commit LSN",
    "C": "SCN",
    "M": "cluster time",
    "G": "number",
    "A": "as it arrived in Kafka",
}


def moment(ms: int | None) -> str:
    """
    >>> moment(1767225600123), moment(-1)
    ('2026-01-01 00:00:00.123 UTC', 'no time')
    """
    if ms is None or ms < 0:
        return "no time"
    try:
        return (EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    except OverflowError:
        return f"{ms} ms since 1970"


def month(ms: int | None) -> str:
    """
    >>> month(1767225600000), month(None)
    ('2026-01', 'unknown')
    """
    if ms is None:
        return "unknown"
    try:
        return (EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m")
    except OverflowError:
        return f"{ms} ms since 1970"


def version(text: str | None) -> str:
    """The parts of a cdc_version.

    >>> version("01L" + "26843832".zfill(20) + "1042".zfill(19)), version("01A" + "7".zfill(19))
    ('epoch 01, LSN 26843832, Kafka offset 1042', 'epoch 01, as it arrived in Kafka, Kafka offset 7')
    >>> version("01L" + "26843832".zfill(20) + "T")
    'epoch 01, LSN 26843832, of a tombstone just above it'
    """
    if text is None:
        return "none"
    if text[2:3] not in KINDS or not text[:2].isdecimal():
        return "not made by ingest"
    rest, tail = _cut_tail(text[3:])
    return f"epoch {text[:2]}, {source_position(text[2], rest)}{tail}"


def source_position(kind: str, digits: str) -> str:
    """
    >>> source_position("L", "26843832".zfill(20)), source_position("A", "")
    ('LSN 26843832', 'as it arrived in Kafka')
    """
    return KINDS.get(kind, kind) + (f" {digits.lstrip('0') or '0'}" if digits else "")


def _cut_tail(rest: str) -> tuple[str, str]:
    if rest.endswith("T"):
        return rest[:-1], ", of a tombstone just above it"
    offset = rest[-OFFSET_DIGITS:]
    if len(offset) < OFFSET_DIGITS or not offset.isdecimal():
        return rest, ""
    return rest[:-OFFSET_DIGITS], f", Kafka offset {int(offset)}"


def value(found: Any) -> str:
    """A value as JSON, numbers as they are.

    >>> value({"a": Decimal("1.50"), "b": None}), value(b"\\x01")
    ('{"a": 1.50, "b": null}', '0x01')
    """
    if isinstance(found, Decimal):
        return str(found)
    if isinstance(found, bytes):
        return "0x" + found.hex()
    if isinstance(found, dict):
        return "{" + ", ".join(f"{value(str(name))}: {value(part)}" for name, part in found.items()) + "}"
    if isinstance(found, (list, tuple)):
        return "[" + ", ".join(map(value, found)) + "]"
    return json.dumps(found, ensure_ascii=False, default=str)


def plain(found: Any) -> Any:
    """A value for `--json`: what JSON has no type for as text, and lone surrogates escaped."""
    if isinstance(found, dict):
        return {str(name): plain(part) for name, part in found.items()}
    if isinstance(found, (list, tuple, set, frozenset)):
        return [plain(part) for part in found]
    if isinstance(found, bytes):
        return "0x" + found.hex()
    return str(found) if isinstance(found, Decimal) else found


def as_json(answer: Any) -> str:
    """Indented; ASCII only, so that no value can end a line or command a terminal."""
    return json.dumps(plain(answer), indent=1, default=str)


def printable(text: str) -> str:
    r"""The text without characters that a terminal would obey.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def short(text: str, width: int) -> str:
    """
    >>> short("abcdef", 4), short("abcd", 4)
    ('abc…', 'abcd')
    """
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def labelled(label: str, lines: Sequence[str], indent: int = 10) -> Iterator[str]:
    """Paragraphs of 80 columns beside a label."""
    for number, line in enumerate(lines):
        first = f"{label:<{indent}}" if not number else " " * indent
        yield from wrapped(line, first, " " * indent)


def wrapped(text: str, first: str, rest: str, most: int | None = None) -> Iterator[str]:
    """Lines of 80 columns. most: lines at most, the last one then ends with an ellipsis."""
    lines = textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, replace_whitespace=False
    )
    if most and len(lines) > most:
        lines[most - 1 :] = [short(lines[most - 1] + " …", WIDTH)]
    yield from lines or [first]


def counted(n: int, noun: str) -> str:
    """
    >>> counted(1, "byte"), counted(2_000, "byte")
    ('1 byte', '2,000 bytes')
    """
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Aligned columns, each as wide as it needs up to its width; the last takes what is left of 80 columns."""
    whole = [head, *rows]
    size = [min(limit, max(len(printable(row[i])) for row in whole)) for i, limit in enumerate(widths)]
    for row in whole:
        cells = [f"{short(printable(cell), size[i]):<{size[i]}}" for i, cell in enumerate(row[: len(size)])]
        start = "  " + "  ".join(cells) + "  "
        yield (start + short(printable(row[-1]), WIDTH - len(start))).rstrip()
