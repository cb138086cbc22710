"""Commands that take records once more through the worker's rooms: dlq replay and replay."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.commands import looking
from ingest.commands.shared import FINE, GAVE_UP, answering, load, progress

app = typer.Typer()

Dry = Annotated[bool, typer.Option("--dry-run", help="Write nothing: only decode and map, and tell what would be refused.")]
Rate = Annotated[str | None, typer.Option("--rate", metavar="N/s", help="At most so many records per second, such as 50/s.")]
Unordered = Annotated[
    bool, typer.Option("--unordered", help="Also into tables of level arrival, where an old change overwrites a newer row.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@looking.dlq.command("replay")
def dlq_replay(
    place: Annotated[
        list[str] | None,
        typer.Argument(help="Only these: PARTITION:OFFSET of a letter, or TOPIC:PARTITION:OFFSET of its record."),
    ] = None,
    topic: looking.LetterTopic = None,
    table: looking.LetterTable = None,
    code: looking.LetterCode = None,
    stage: looking.LetterStage = None,
    since: looking.LetterSince = None,
    until: looking.LetterUntil = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed before.")] = False,
    unordered: Unordered = False,
    rate: Rate = None,
    dry_run: Dry = False,
    as_json: AsJson = False,
) -> None:
    """Take dead letters through the worker's rooms once more, after their cause was mended. Ends with 4 if some are left.

    Example: ingest dlq replay --table doc.orders --code 'type.*' --dry-run
    """
    with answering():
        values = load()
        from ingest.tools import replay_text, terminal
        from ingest.tools.dlq import Asked, choice
        from ingest.tools.dlq_replay import replay_letters
        from ingest.tools.replay import ReplayPlan
        from ingest.tools.replay_ask import rate_of

        chosen = choice(values, Asked(topic, table, code, stage, since, until), place or (), again=again)
        plan = ReplayPlan({}, rate=rate_of(rate), is_unordered=unordered, is_dry=dry_run)
        try:
            outcome = replay_letters(values, chosen, plan, lambda done: terminal.passing(replay_text.progress_line(done)))
        finally:
            terminal.passing("")
        typer.echo(replay_text.letters_as_json(outcome) if as_json else replay_text.of_letters(outcome, terminal.width()))
        raise typer.Exit(FINE if outcome.is_fine else GAVE_UP)


@app.command()
def replay(
    topic: Annotated[list[str] | None, typer.Option(help="What to replay; may be repeated.")] = None,
    from_offset: Annotated[
        list[str] | None, typer.Option(help="Where to begin, OFFSET or PARTITION:OFFSET; may be repeated. Else the beginning.")
    ] = None,
    to_offset: Annotated[
        list[str] | None, typer.Option(help="Where to end, before that offset, written likewise. Else the present end.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin with the first record since then: 30m, 2d, or a time such as 2024-05-31T12:00.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="End before the first record since then, written like --since.")] = None,
    table: Annotated[str | None, typer.Option(help="Only records for this table.")] = None,
    into: Annotated[
        str | None, typer.Option(help="Write them into this table instead, which is created like the other if need be.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Keep the progress in this group; the same command then goes on where it ended.")
    ] = None,
    unordered: Unordered = False,
    rate: Rate = None,
    dry_run: Dry = False,
    as_json: AsJson = False,
) -> None:
    """Take a range of topics through the worker's rooms once more; newer rows stay, running workers notice nothing.

    Whoever names a partition replays the named ones alone. Ends with 4 if something was refused or not reached.

    Example: ingest replay --topic orders --since 2d --into doc.orders_check
    """
    with answering():
        values = load()
        from ingest.tools import replay_text, terminal
        from ingest.tools.replay import replay as run_replay
        from ingest.tools.replay_ask import Asked, plan_of

        where = (topic or (), from_offset or (), to_offset or (), since, until)
        asked = Asked(*where, table, into, group, rate, unordered, dry_run)
        plan = plan_of(values, asked, progress)
        try:
            report = run_replay(values, plan, lambda done: terminal.passing(replay_text.progress_line(done)))
        finally:
            terminal.passing("")
        shown = replay_text.ranges_as_json(report, plan) if as_json else replay_text.of_ranges(report, plan, terminal.width())
        typer.echo(shown)
        raise typer.Exit(FINE if report.is_fine else GAVE_UP)
