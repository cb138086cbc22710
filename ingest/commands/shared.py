"""What all commands share: settings and logs, one sentence and an exit code for every end.

stdout is the answer, stderr the log, the exit code the verdict: 0 fine, 1 bug, 2 usage or settings, 3 check failed, 4 gave up or
parked. Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from ingest.errors import IngestError

if TYPE_CHECKING:
    from ingest.settings import Settings

FINE, BUG, USAGE, CHECK_FAILED, GAVE_UP, INTERRUPTED = 0, 1, 2, 3, 4, 130
# Errors that the environment or the files of the deployment cause: starting again without a change would end the same way.
USAGE_CODES = re.compile(
    r"(settings|contracts?|schemas|http|purge|dlq|explain|why|propose|replay|verify|rebuild)\.|unpark\.unknown$|store\.address$|(store|kafka|registry)\.tls$|"
    r"kafka\.(client_missing|no_topics|topic_barred|topic_pattern|option_.*|config)$"
)
AGE = re.compile(r"(\d{1,6})\s*(h|d|w)")
SECONDS = {"h": 3_600, "d": 86_400, "w": 604_800}


@contextmanager
def answering() -> Iterator[None]:
    """Turn every end of a command into one sentence and an exit code."""
    try:
        yield
    except IngestError as error:
        say(error.text or str(error), error.code)
        show_trace_if_debugging()
        raise typer.Exit(exit_code(error)) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our answer has enough; without this the interpreter would complain while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FINE) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        show_trace()
        say(f"this is a bug of ingest ({type(error).__name__}); please report it with the lines above", "bug")
        raise typer.Exit(BUG) from error


def leave_when_told() -> None:
    """Until the loop listens for it, SIGTERM ends the process at once and well: nothing has begun that could be left undone."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(FINE))


def exit_code(error: IngestError) -> int:
    return USAGE if USAGE_CODES.match(error.code) else GAVE_UP


def say(text: str, code: str) -> None:
    """One line per sentence on stderr."""
    from ingest.watch import logs

    for line in text.splitlines():
        plain = f"ingest: {line}" + (f" [{code}]" if len(text.splitlines()) == 1 else "")
        logs.tell(plain, "error", "ended", code=code, text=line)


def progress(line: str) -> None:
    """What happens while it happens, on stderr."""
    typer.echo(line, err=True)


def migrated(line: str) -> None:
    """The same, of a worker: a line of its log."""
    from ingest.watch import logs

    logs.tell(line, "info", "migrated", text=line)


def silent(_: str) -> None:
    """Progress for nobody: stderr is no terminal."""


def show_trace_if_debugging() -> None:
    if os.environ.get("INGEST_LOG_LEVEL", "").upper() == "DEBUG":
        show_trace()


def show_trace() -> None:
    from ingest.watch import logs

    logs.tell(traceback.format_exc(), "error", "bug", trace=traceback.format_exc())


def load(needs: Iterable[str] = ()) -> Settings:
    """The settings of this process, and logs as they say."""
    from ingest.settings import Settings
    from ingest.watch import logs

    settings = Settings.load(os.environ, needs)
    logs.set_up(settings.log_level, settings.log_format)
    return settings


def age_s(text: str) -> int:
    """
    >>> age_s("30d"), age_s("12 h")
    (2592000, 43200)
    """
    found = AGE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter(f"{text} is no age: write a number and h, d or w, such as 30d", param_hint="--older-than")
    return int(found[1]) * SECONDS[found[2]]
