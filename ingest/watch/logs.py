"""Logs: a stable event name plus fields, on stderr; for people on a terminal, one JSON object per line elsewhere.

Fields come through `extra`; positions, counts, codes and names of columns only, never values of rows. The libraries are kept
quiet: their debug lines hold whole payloads, and a broker that is away would fill the log with one error per reconnect.
Any thread may log; what is left out is decided by the one handler, which logging locks.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TextIO

ROOT = "ingest"
LIBRARIES = ("kafka", "crate", "urllib3", "asyncio")
# A library may say the same again after so long.
REPEAT_S = 30.0
# So many warnings of an event and code pass in STORM_S; a CrateDB that is overloaded would cost a line per lane and attempt.
STORM_LINES = 5
STORM_S = 10.0
# What every LogRecord has; the rest came through `extra`.
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "fields"}
DIM, YELLOW, RED, PLAIN = "\033[2m", "\033[33m", "\033[31m", "\033[0m"
COLOURS = {logging.DEBUG: DIM, logging.WARNING: YELLOW, logging.ERROR: RED, logging.CRITICAL: RED}


def set_up(level: str = "INFO", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send the logs of this process to stderr. style: auto, human or json. May be called again."""
    stream = stream or sys.stderr
    is_human = style == "human" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanFormatter(has_colours=stream.isatty()) if is_human else JsonFormatter(is_asked_for=style == "json"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level)
    handler.addFilter(Quiet())
    handler.addFilter(Storm())
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)  # even with DEBUG: see above


def emit(logger: logging.Logger, level: str, event: str, fields: Mapping[str, object]) -> None:
    """One line. A mapping of its own, because `extra` refuses fields called `name` or `module`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    if logger.isEnabledFor(number):
        logger.log(number, event, extra={"fields": fields})


def tell(plain: str, level: str, event: str, **fields: object) -> None:
    """A sentence for whoever started us. A line on stderr as it is; where JSON was asked for by name, nothing else may stand
    there, so that it is an event like others."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    if any(isinstance(each, JsonFormatter) and each.is_asked_for for each in formatters):
        emit(logging.getLogger(ROOT), level, event, fields)
    else:
        sys.stderr.write(f"{''.join(map(_harmless, plain))}\n")


def _harmless(sign: str) -> str:
    """A sign of a sentence as a terminal may have it.

    >>> "".join(map(_harmless, "a\\x1b[2J\\nb"))
    'a\\\\x1b[2J\\nb'
    """
    return sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1]


class Quiet(logging.Filter):
    """Lets what is ours pass, and what libraries say only once in REPEAT_S."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if is_ours(record):
            return True
        place, now_s = (record.pathname, record.lineno), self._clock()
        if now_s - self._said.get(place, float("-inf")) < REPEAT_S:
            return False
        self._said[place] = now_s
        return True


class Storm(logging.Filter):
    """Lets STORM_LINES warnings of an event and code pass in STORM_S; the next one that passes says how many did not."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or not is_ours(record):
            return True
        now_s, key = self._clock(), (record.getMessage(), str(fields_of(record).get("code", "")))
        said = self._said.setdefault(key, Said(now_s))
        if now_s - said.since_s >= STORM_S:
            said.since_s, said.lines = now_s, 0
        if said.lines >= STORM_LINES:
            said.suppressed += 1
            return False
        said.lines += 1
        if said.suppressed:
            record.suppressed, said.suppressed = said.suppressed, 0
        return True


@dataclass(slots=True)
class Said:
    """How often a warning was said since a moment, and how often it was not since the last time that it was."""

    since_s: float
    lines: int = 0
    suppressed: int = 0


def is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == ROOT


def event_of(record: logging.LogRecord) -> str:
    """Ours are stable names; a library's sentence is a field."""
    return record.getMessage() if is_ours(record) else "library"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What came through `extra`, in the order in which it was given."""
    given = {key: value for key, value in record.__dict__.items() if key not in STANDARD}
    said = {} if is_ours(record) else {"text": record.getMessage()}
    return said | dict(getattr(record, "fields", {})) | given


class JsonFormatter(logging.Formatter):
    """time, level, event, logger, then the fields; a field of one of these names gets `_` behind it.

    is_asked_for: by name, not only because stderr is no terminal.
    """

    def __init__(self, is_asked_for: bool = False) -> None:
        super().__init__()
        self.is_asked_for = is_asked_for

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _moment(record), "level": record.levelname.lower(), "event": event_of(record), "logger": record.name}
        line = head | {f"{key}_" if key in head else key: value for key, value in fields_of(record).items()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """`06:12:03 warning batch_retry  code=store.timeout wait_s=0.8`."""

    def __init__(self, has_colours: bool = False) -> None:
        super().__init__()
        self._has_colours = has_colours

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={_quoted(value)}" for key, value in fields_of(record).items())
        moment, level = datetime.fromtimestamp(record.created).astimezone(), record.levelname.lower()
        line = f"{moment:%H:%M:%S} {level:<7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        colour = COLOURS.get(record.levelno) if self._has_colours else None
        return f"{colour}{line}{PLAIN}" if colour else line


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(value: object) -> str:
    """Signs that command a terminal are spelled out: names of fields are whatever a stranger made up."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if not text or set(text) & set(' "=') or not text.isprintable():
        return json.dumps(text, ensure_ascii=not text.replace("\n", "").isprintable())
    return text
