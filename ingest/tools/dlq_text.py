"""How dead letters look: lines of a list, sums, and one letter with all its bytes. Pure.

Bytes of records are shown to whoever asks for them, but never so that they could steer a terminal.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ingest.kafka.read_letters import ReadLetter, original
from ingest.kafka.receipts import Replayed
from ingest.model import Position

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
INDENT = "  "
HEX_BYTES = 1_024
HEX_LINE_BYTES = 16
# Magic byte and schema id of a Confluent frame.
FRAME_BYTES = 5


class Line(NamedTuple):
    """A letter in the list, without its bytes. replayed: when, "" if it was not."""

    position: str
    source: str
    code: str
    table: str
    column: str
    stage: str
    time: str
    message: str
    replayed: str = ""


def line_of(letter: ReadLetter) -> Line:
    return Line(
        position=short(letter.at),
        source=full(letter.source),
        code=letter.code,
        table=letter.table or "",
        column=letter.column or "",
        stage=letter.stage,
        time=moment(letter.sent_ms),
        message=letter.message,
    )


def with_receipt(line: Line, replayed: Replayed | None) -> Line:
    return line if replayed is None else line._replace(replayed=moment(replayed.at_ms))


def short(at: Position) -> str:
    """A place in the dead-letter topic, as `show` takes it."""
    return f"{at.partition}:{at.offset}"


def full(at: Position | None) -> str:
    """
    >>> full(Position("orders", 3, 1042))
    'orders:3:1042'
    """
    return "" if at is None else f"{at.topic}:{at.partition}:{at.offset}"


def moment(ms: int) -> str:
    """
    >>> moment(1704067200123), moment(-1)
    ('2024-01-01T00:00:00Z', '')
    """
    try:
        return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if ms >= 0 else ""
    except (OverflowError, ValueError):
        return f"{ms} ms"


# ---------------------------------------------------------------- the list


SHOWN = ("position", "source", "code", "table", "column", "time", "replayed", "message")


def as_lines(lines: Sequence[Line], width: int | None = None) -> list[str]:
    """A heading and a line per letter. width: of the terminal, at which messages are cut; None leaves them whole."""
    names = SHOWN if any(line.replayed for line in lines) else [name for name in SHOWN if name != "replayed"]
    rows = [names, *(tuple(plain(getattr(line, name)) or "-" for name in names) for line in lines)]
    return [each if width is None else cut(each, width) for each in columns(rows)]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells below each other, the last one as long as it is.

    >>> columns([("a", "b"), ("long", "c")])
    ['a     b', 'long  c']
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    padded = ([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]] for row in rows)
    return [INDENT.join(row).rstrip() for row in padded]


def cut(text: str, width: int) -> str:
    """
    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"


def as_json(lines: Iterable[Line]) -> str:
    return json.dumps([line._asdict() for line in lines], indent=1, ensure_ascii=False)


# ---------------------------------------------------------------- sums


class Count(NamedTuple):
    """How many letters are about one topic and table with one code."""

    letters: int
    topic: str
    table: str
    code: str


def counts_of(found: Iterable[ReadLetter]) -> list[Count]:
    """The most frequent first."""
    sums = Counter((letter.source.topic if letter.source else "", letter.table or "", letter.code) for letter in found)
    return [Count(number, *group) for group, number in sorted(sums.items(), key=lambda item: (-item[1], item[0]))]


def counts_as_lines(counts: Sequence[Count]) -> list[str]:
    rows = [Count._fields, *(tuple(plain(str(cell)) or "-" for cell in count) for count in counts)]
    return columns(rows)


def counts_as_json(counts: Sequence[Count]) -> str:
    return json.dumps([count._asdict() for count in counts], indent=1, ensure_ascii=False)


# ---------------------------------------------------------------- one letter


def whole(letter: ReadLetter, replayed: Replayed | None = None) -> Iterator[str]:
    """Everything that a letter holds, for people."""
    receipt = [] if replayed is None else [("replayed", f"{moment(replayed.at_ms)}, {plain(replayed.outcome)}")]
    yield from columns([*_facts(letter), *receipt])
    yield from ("", f"headers: {len(letter.record.headers)}")
    yield from (INDENT + row for row in columns([_header(*header) for header in letter.record.headers] or [("(none)",)]))
    yield from _body("key", letter.record.key)
    yield from _body("value", letter.record.value)


def _facts(letter: ReadLetter) -> Iterator[tuple[str, str]]:
    yield "letter", f"{letter.at}, sent {moment(letter.sent_ms) or 'at a time that Kafka does not know'}{_by(letter)}"
    record = original(letter)
    if record is not None:
        yield "source", f"{record.at}{_at(record.timestamp_ms)}"
    elif letter.source is not None:
        yield "source", f"{letter.source}; the letter is not whole, read the record there"
    else:
        yield "source", "not told: the letter was not made by ingest or Kafka Connect"
    yield "code", plain(letter.code) or "-"
    yield "reason", plain(letter.message) or "-"
    yield "table", plain(letter.table or "-") + (f", column {plain(letter.column)}" if letter.column else "")
    yield "stage", plain(letter.stage) or "-"


def _by(letter: ReadLetter) -> str:
    return f" by {plain(letter.sent_by)}" if letter.sent_by else ""


def _at(ms: int) -> str:
    return f", of {moment(ms)}" if ms >= 0 else ""


def _header(name: str, value: bytes | None) -> tuple[str, str]:
    text = None if value is None else text_of(value)
    if text is not None:
        return plain(name), plain(text)
    return plain(name), "(null)" if value is None else f"0x{value[:HEX_BYTES].hex()}"


def _body(name: str, data: bytes | None) -> Iterator[str]:
    yield ""
    if data is None:
        yield f"{name}: null"
        return
    kind, lines = shown(data)
    yield f"{name}: {len(data)} bytes, {kind}"
    yield from (INDENT + line for line in lines)


def shown(data: bytes) -> tuple[str, list[str]]:
    """What bytes look like: JSON with indents, other text as it is, all else as hexadecimal.

    >>> shown(b'{"a":1.10}')
    ('JSON', ['{', '  "a": 1.10', '}'])
    """
    text = text_of(data)
    if text is None:
        frame = f", framed with schema {int.from_bytes(data[1:FRAME_BYTES], 'big')}" if is_frame(data) else ""
        return f"binary{frame}", list(hexdump(data))
    kind = "JSON" if is_json(text) else "text"
    return kind, [plain(line) for line in (indented(text) if kind == "JSON" else text.split("\n"))]


def text_of(data: bytes) -> str | None:
    """None for what is no text: not UTF-8, or with control characters that no text has."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if any(character < " " and character not in "\t\n\r" for character in text) else text


def is_frame(data: bytes) -> bool:
    return len(data) > FRAME_BYTES and data[0] == 0


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def indented(text: str) -> list[str]:
    """JSON over several lines, every token as it is written: parsing would change numbers and drop repeated keys.

    >>> indented('{"a":[1.0,{}],"a":1e2}')
    ['{', '  "a": [', '    1.0,', '    {}', '  ],', '  "a": 1e2', '}']
    """
    lines, line, depth = [], "", 0
    tokens: list[Any] = TOKEN.findall(text)
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        line += token + (" " if token == ":" else "")
        depth += (token in "{[") - (after != "" and after in "}]")
        is_empty = token in "{[" and after in ("}", "]")
        if not is_empty and (token in "{[," or after in ("}", "]")):
            lines.append(line)
            line = INDENT * depth
    return [*lines, line]


def hexdump(data: bytes) -> Iterator[str]:
    """
    >>> list(hexdump(b"Ab\\x00"))
    ['00000000  41 62 00                                         |Ab.|']
    """
    for start in range(0, min(len(data), HEX_BYTES), HEX_LINE_BYTES):
        part = data[start : start + HEX_LINE_BYTES]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * HEX_LINE_BYTES - 1}}  |{letters}|"
    if len(data) > HEX_BYTES:
        yield f"… and {len(data) - HEX_BYTES} bytes more, `--value` writes all of a value as they are"


def plain(text: str) -> str:
    """The text with everything escaped that could steer a terminal.

    >>> plain("a\\x1b[1mb")
    'a\\\\x1b[1mb'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
