"""What the reader of an answer looks at: a terminal with a width and colours, or a pipe without. For the command's thread."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def width() -> int | None:
    """Columns of the terminal that shows the answer, None for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def is_coloured() -> bool:
    """Colours are for terminals whose owner has not set NO_COLOR to anything."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def looking(what: str) -> None:
    """What is looked at just now; "" wipes it."""
    passing(f"looking at {what} ..." if what else "")


def passing(line: str) -> None:
    """A line of stderr that the next one replaces; "" wipes it. Nothing for a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()


@contextmanager
def quiet() -> Iterator[None]:
    """No logs meanwhile, but with INGEST_LOG_LEVEL=DEBUG: the answer says what clients would log of servers that are away."""
    if os.environ.get("INGEST_LOG_LEVEL", "").upper() == "DEBUG":
        yield
        return
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
