"""The commands. Each loads its settings, calls one function of `ingest.tools`, and turns what comes back into an exit code.

stdout is the answer, stderr the log, the exit code the verdict: 0 fine, 1 bug, 2 usage or settings, 3 check failed, 4 gave up or
parked. Nothing heavy is imported before a command needs it, so that --help answers at once.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import IngestError

if TYPE_CHECKING:
    from ingest.settings import Settings

FINE, BUG, USAGE, CHECK_FAILED, GAVE_UP, INTERRUPTED = 0, 1, 2, 3, 4, 130
# Errors that the environment or the files of the deployment cause: starting again without a change would end the same way.
USAGE_CODES = re.compile(
    r"(settings|contracts?|schemas|http|purge)\.|unpark\.unknown$|store\.(address|tls)$|"
    r"kafka\.(no_topics|topic_barred|topic_pattern|option_.*|config)$"
)
PACKAGES = ("kafka-python", "crate", "urllib3", "msgspec", "orjson", "fastavro", "cratedb-sqlparse", "prometheus-client")
AGE = re.compile(r"(\d{1,6})\s*(h|d|w)")
SECONDS = {"h": 3_600, "d": 86_400, "w": 604_800}

app = typer.Typer(
    name="ingest",
    help="Writes Kafka change-data-capture and event topics into CrateDB.",
    epilog="Settings are environment variables, see `ingest settings`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """The console script."""
    app(prog_name="ingest")


# ---------------------------------------------------------------- what all commands share


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
        typer.echo(traceback.format_exc(), err=True)
        say(f"this is a bug of ingest ({type(error).__name__}); please report it with the lines above", "bug")
        raise typer.Exit(BUG) from error


def leave_when_told() -> None:
    """Until the loop listens for it, SIGTERM ends the process at once and well: nothing has begun that could be left undone."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(FINE))


def exit_code(error: IngestError) -> int:
    return USAGE if USAGE_CODES.match(error.code) else GAVE_UP


def say(text: str, code: str) -> None:
    """One line per sentence on stderr."""
    for line in text.splitlines():
        typer.echo(f"ingest: {line}" + (f" [{code}]" if len(text.splitlines()) == 1 else ""), err=True)


def progress(line: str) -> None:
    """What happens while it happens, on stderr."""
    typer.echo(line, err=True)


def show_trace_if_debugging() -> None:
    if os.environ.get("INGEST_LOG_LEVEL", "").upper() == "DEBUG":
        typer.echo(traceback.format_exc(), err=True)


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


def versions() -> str:
    """The package, the interpreter and the clients."""
    from importlib.metadata import PackageNotFoundError, version

    def line(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} (not installed as a package)"

    return "\n".join([line("cratedb-ingest"), f"Python {platform.python_version()}", *map(line, PACKAGES)])


def show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(versions())
        raise typer.Exit


# ---------------------------------------------------------------- the commands


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Versions of ingest and its clients.")
    ] = False,
) -> None:
    """Writes Kafka change-data-capture and event topics into CrateDB."""


@app.command()
def run(
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Read to the end offsets seen at the start, then end.")
    ] = False,
) -> None:
    """Read topics and write tables, until SIGTERM or Ctrl-C.

    Example: INGEST_TOPICS=orders ingest run
    """
    with answering():
        leave_when_told()
        settings = load(needs=("topics",))
        from ingest.tools.migrate import migrate_patiently
        from ingest.tools.run import run as run_worker

        for line in migrate_patiently(settings, on_progress=progress) if settings.migrate else ():
            progress(line)
        raise typer.Exit(run_worker(settings, until_caught_up))


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Apply the numbered SQL files that were not applied yet.

    Example: INGEST_SQL_DIR=sql ingest migrate --dry-run
    """
    with answering():
        settings = load()
        from ingest.tools.migrate import migrate as run_migrations

        for line in run_migrations(settings, is_dry=dry_run, on_progress=progress):
            typer.echo(line)


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of lines.")] = False,
) -> None:
    """Look at settings, Kafka, CrateDB, contracts and tables; one finding a line, with its remedy.

    Example: ingest check --json | jq '.[] | select(.state == "FAIL")'
    """
    with answering():
        from ingest.tools.check import findings_of
        from ingest.tools.findings import has_failed, shown, shown_as_json

        findings = findings_of(os.environ)
        typer.echo(shown_as_json(findings) if as_json else shown(findings))
        if has_failed(findings):
            raise typer.Exit(CHECK_FAILED)


@app.command()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of a table.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The reference page, without values.")] = False,
) -> None:
    """Show every setting: value, default, and where the value came from. Secrets are starred.

    Example: ingest settings | grep -v default$
    """
    with answering():
        from ingest.tools import settings as tool

        if as_markdown:
            typer.echo(tool.as_markdown(), nl=False)
            return
        values = load()
        typer.echo(tool.as_json(values) if as_json else tool.as_table(values))


@app.command()
def unpark(
    name: Annotated[str, typer.Argument(help="table:NAME, topic:NAME, or the bare name, as /parked shows it.")],
    url: Annotated[str | None, typer.Option(help="Address of the worker; by default that of INGEST_HTTP_HOST and _PORT.")] = None,
) -> None:
    """Let a parked table or topic of a running worker go on.

    Example: ingest unpark topic:orders --url http://worker-3:9464
    """
    with answering():
        from ingest.tools.unpark import default_url
        from ingest.tools.unpark import unpark as ask

        for subject in ask(url or default_url(load()), name):
            typer.echo(f"{subject} goes on")


@app.command()
def purge(
    table: Annotated[str, typer.Argument(help="A table with cdc_deleted, such as doc.orders.")],
    older_than: Annotated[
        str, typer.Option(help="Age of the tombstones, such as 30d: more than retention and dead letters' age.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Remove the tombstones of deleted rows that are older than a limit.

    Example: ingest purge doc.orders --older-than 30d --dry-run
    """
    with answering():
        limit_s = age_s(older_than)
        values = load()
        from ingest.tools.purge import purge as run_purge

        typer.echo(run_purge(values, table, limit_s, is_dry=dry_run))
