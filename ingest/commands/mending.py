"""Commands that prove tables against topics, and make them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingest.commands.shared import CHECK_FAILED, answering, load, progress

app = typer.Typer()


@app.command()
def verify(
    topics: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC...]", help="Topics to compare with their tables.")] = None,
    table: Annotated[list[str] | None, typer.Option(help="A table, and all topics that lead to it; may be repeated.")] = None,
    until: Annotated[str, typer.Option(help="committed: what the group has read; end: all that the topics hold.")] = "committed",
    scan_from: Annotated[
        str, typer.Option(help="Where to begin in the topics: earliest, an age (2d), a time, or an offset.")
    ] = "earliest",
    complete: Annotated[
        bool, typer.Option("--complete", help="The topics tell every row: what only the table has is a difference.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what is missing or older, remove ghosts; newer rows stay.")
    ] = False,
    memory_mb: Annotated[int | None, typer.Option(help="Resident memory, in MB; by default INGEST_MEMORY_MB.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many differing keys are named per table, at most.")] = 1_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Fold topics and compare them with their tables, month by month and key by key. Ends with 3 where they differ.

    Example: ingest verify shop.public.orders --repair
    """
    with answering():
        if until not in ("committed", "end"):
            raise typer.BadParameter(f"{until} is neither committed nor end", param_hint="--until")
        values = load()
        from ingest.tools.verify import Asked
        from ingest.tools.verify import verify as run_verify
        from ingest.tools.verify_bar import Bar
        from ingest.tools.verify_text import shown, shown_as_json

        asked = Asked(topics or (), table or (), until == "end", scan_from, complete, repair, memory_mb, limit)
        bar = Bar()
        try:
            answer = run_verify(values, asked, bar)
        finally:
            bar.wipe()
        typer.echo(shown_as_json(answer) if as_json else shown(answer))
        if not answer.is_equal:
            raise typer.Exit(CHECK_FAILED)


@app.command()
def rebuild(
    table: Annotated[str, typer.Argument(help="A table, such as doc.orders.")],
    ddl: Annotated[
        Path | None, typer.Option(help="An SQL file with the table's new CREATE TABLE; by default the new one is like the old.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Go on though the old table has rows that no topic tells any more.")
    ] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Drop the old table that an earlier rebuild kept.")] = False,
    memory_mb: Annotated[int | None, typer.Option(help="Resident memory, in MB; by default INGEST_MEMORY_MB.")] = None,
) -> None:
    """Make a table anew from its topics, prove it and swap it in. After a kill the same command goes on. Workers must be stopped.

    Example: ingest rebuild doc.orders --ddl sql/0012_orders_by_month.sql
    """
    with answering():
        values = load()
        from ingest.tools.rebuild import Asked
        from ingest.tools.rebuild import rebuild as run_rebuild
        from ingest.tools.verify_bar import Bar
        from ingest.tools.verify_text import shown

        bar = Bar()
        try:
            answer = run_rebuild(values, Asked(table, ddl, dry_run, leave_behind, drop_old, memory_mb), progress, bar)
        finally:
            bar.wipe()
        if answer is not None:
            typer.echo(shown(answer))
            raise typer.Exit(CHECK_FAILED)
