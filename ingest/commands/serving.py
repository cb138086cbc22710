"""Commands that serve tables: run, migrate, check, settings, unpark, purge, and the demo."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ingest.commands.shared import CHECK_FAILED, age_s, answering, leave_when_told, load, migrated, progress

app = typer.Typer()


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
        if settings.migrate:
            from ingest.tools.migrate import migrate_patiently  # brings an SQL parser: a fifth of a second

            for line in migrate_patiently(settings, on_progress=migrated):
                migrated(line)
        from ingest.tools.run import run as run_worker

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
        from ingest.tools import terminal
        from ingest.tools.check import findings_of
        from ingest.tools.findings import has_failed, shown, shown_as_json

        with terminal.quiet():
            findings = findings_of(os.environ, on_progress=terminal.looking)
        terminal.looking("")
        text = shown(findings, terminal.width(), is_coloured=terminal.is_coloured())
        typer.echo(shown_as_json(findings) if as_json else text)
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


@app.command()
def demo(
    records: Annotated[int, typer.Option(help="How many records are written, about.")] = 30_000,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    kafka: Annotated[str | None, typer.Option(help="HOST:PORT of a broker of yours, instead of the demo's own.")] = None,
    crate: Annotated[str | None, typer.Option(help="URL of a CrateDB of yours, instead of the demo's own store.")] = None,
    produce_only: Annotated[
        bool, typer.Option("--produce-only", help="Only make the topics and write the records, for workers of yours.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what an earlier demo left on servers of yours, and end.")
    ] = False,
    export_dir: Annotated[str | None, typer.Option(help="Only write the demo's sql/ and schemas/ into this folder.")] = None,
) -> None:
    """Two real workers at work for half a minute, on servers of the demo's own: nothing else is needed.

    Example: ingest demo --kafka localhost:9092 --crate http://localhost:4200
    """
    with answering():
        from ingest.demo.run import Options
        from ingest.demo.run import run as run_demo

        raise typer.Exit(run_demo(Options(records, keep, kafka, crate, produce_only, clean, export_dir)))
