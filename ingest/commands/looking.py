"""Commands that look into topics, records, rows and dead letters; none changes Kafka or CrateDB (see commands.replaying)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ingest.commands.shared import answering, load, progress, silent

app = typer.Typer()
dlq = typer.Typer(
    name="dlq", help="Look into the dead-letter topic, and replay what is mended.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(dlq)

# Which letters: what `list` and `replay` have in common.
LetterTopic = Annotated[str | None, typer.Option("--topic", help="Only letters about records of this topic.")]
LetterTable = Annotated[str | None, typer.Option("--table", help="Only letters for this table, with or without its schema.")]
LetterCode = Annotated[str | None, typer.Option("--code", help="Only letters with this code, or with one like `type.*`.")]
LetterStage = Annotated[str | None, typer.Option("--stage", help="Only letters of this stage: decode, map or write.")]
LetterSince = Annotated[
    str | None, typer.Option("--since", help="Sent since then: 30m, 1h, 2d, or a time such as 2024-05-31T12:00.")
]
LetterUntil = Annotated[str | None, typer.Option("--until", help="Sent before then, written like --since.")]


@app.command()
def explain(
    record: Annotated[
        str | None, typer.Argument(metavar="[FILE|-|TOPIC:PARTITION:OFFSET]", help="A value, or where a record stands in Kafka.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="The topic that a file's record is taken to stand in.")] = None,
    key: Annotated[str | None, typer.Option(help="Its key, as text.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="A file with its key.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="One of its headers, NAME=VALUE; may be repeated.")] = None,
    null: Annotated[bool, typer.Option("--null", help="It has no value: a tombstone.")] = False,
    wire_format: Annotated[str | None, typer.Option("--format", help="Read it in this format, whatever contracts say.")] = None,
    no_crate: Annotated[bool, typer.Option("--no-crate", help="Ask no CrateDB; tables are those of INGEST_SQL_DIR.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show how one record would be decoded, mapped and written. Ends with 3 if it would be rejected.

    Example: ingest explain orders:3:1042
    """
    with answering():
        values = load()
        from ingest.tools.explain import explain as run_explain
        from ingest.tools.explain_record import Asked
        from ingest.tools.explain_text import shown, shown_as_json

        asked = Asked(record, topic, key, key_file, header or (), null)
        found = run_explain(values, asked, declared=wire_format, with_crate=not no_crate)
        typer.echo(shown_as_json(found) if as_json else shown(found))
        if found.trouble is not None:
            raise found.trouble
        raise typer.Exit(found.exit_code)


@app.command()
def why(
    table: Annotated[str, typer.Argument(help="A table, such as doc.orders.")],
    key: Annotated[str, typer.Argument(help="The key without the month: a value, a=1,b=x or JSON.")],
    scan_from: Annotated[
        str, typer.Option(help="Where to begin in the topics: earliest, an age (2d), a time, or an offset.")
    ] = "earliest",
    limit: Annotated[int, typer.Option(min=0, help="Read only so many of the newest offsets per partition; 0 for all.")] = 0,
    topic: Annotated[list[str] | None, typer.Option(help="Read this topic instead of those that lead to the table.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show what is stored of a row, and what became of each change of it.

    Example: ingest why doc.orders id=1042 --scan-from 7d
    """
    with answering():
        values = load()
        from ingest.tools.why import Question
        from ingest.tools.why import why as ask_why
        from ingest.tools.why_text import shown, shown_as_json

        answer = ask_why(values, Question(table, key, scan_from, limit, topic or ()), progress if sys.stderr.isatty() else silent)
        typer.echo(shown_as_json(answer) if as_json else shown(answer))
        if answer.trouble is not None:
            raise answer.trouble


@app.command()
def watermarks(
    table: Annotated[str | None, typer.Argument(help="A table, such as doc.orders; all of them by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of text.")] = False,
) -> None:
    """Show up to when tables are complete, which partition holds each back, and why it is not known where it is not.

    Example: ingest watermarks doc.orders
    """
    with answering():
        values = load()
        from ingest.tools import watermarks as tool

        found = tool.watermarks(values, table)
        typer.echo(tool.shown_as_json(found) if as_json else tool.shown(found))


@app.command()
def propose(
    topic: Annotated[str, typer.Argument(help="The topic that needs a table.")],
    sample: Annotated[int, typer.Option(min=1, help="Records to look at, from all partitions.")] = 1_000,
    begin: Annotated[
        str, typer.Option("--from", help="earliest (both ends of the topic), latest (its newest records), or an age such as 7d.")
    ] = "earliest",
    table: Annotated[str | None, typer.Option(help="A name for the table; one of them where the topic holds several.")] = None,
    subject: Annotated[str | None, typer.Option(help="Read this subject of the schema registry, and no records.")] = None,
    wire_format: Annotated[str | None, typer.Option("--format", help="Read it in this format, whatever contracts say.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the files to INGEST_SQL_DIR and INGEST_SCHEMAS_DIR.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Propose a table and its contract for a topic, from a sample of its records.

    Example: ingest propose shop.public.orders --write
    """
    with answering():
        values = load()
        from ingest.tools import terminal
        from ingest.tools.propose import Asked, shown, shown_as_json
        from ingest.tools.propose import propose as run_propose

        asked = Asked(topic, sample, begin, table, subject, wire_format, write, force)
        try:
            proposal = run_propose(values, asked, on_progress=terminal.looking)
        finally:
            terminal.looking("")
        typer.echo(shown_as_json(proposal) if as_json else shown(proposal))


# ---------------------------------------------------------------- dead letters


@dlq.command("list")
def dlq_list(
    topic: LetterTopic = None,
    table: LetterTable = None,
    code: LetterCode = None,
    stage: LetterStage = None,
    since: LetterSince = None,
    until: LetterUntil = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most, the newest; 0 for all.")] = 100,
    left: Annotated[bool, typer.Option("--left", help="Only those that were not replayed.")] = False,
    counts: Annotated[bool, typer.Option("--counts", help="Only how many there are by topic, table and code.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of lines.")] = False,
) -> None:
    """List dead letters, one a line: place, record, code, table, column, time, when it was replayed, reason.

    Example: ingest dlq list --since 1h --code 'type.*' --counts
    """
    with answering():
        values = load()
        from ingest.tools import terminal
        from ingest.tools.dlq import Asked, listing

        asked = Asked(topic, table, code, stage, since, until, limit, counts, as_json, left)
        answer = listing(values, asked, width=terminal.width())
        typer.echo(answer.text)
        if answer.left_out:
            progress(f"{answer.left_out} older letters are left out: raise --limit, or narrow with --until")


@dlq.command("show")
def dlq_show(
    place: Annotated[str, typer.Argument(help="PARTITION:OFFSET of the letter, or TOPIC:PARTITION:OFFSET of its record.")],
    value: Annotated[bool, typer.Option("--value", help="Only the bytes of the value, as they are.")] = False,
) -> None:
    """Show one dead letter: why it was sent, all headers, key and value.

    Example: ingest dlq show orders:3:1042
    """
    with answering():
        values = load()
        from ingest.tools.dlq import page, receipt_of, show_letter

        letter = show_letter(values, place)
        if value:
            sys.stdout.buffer.write(letter.record.value or b"")
            sys.stdout.buffer.flush()
        else:
            typer.echo(page(letter, receipt_of(values, letter)))
