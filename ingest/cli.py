"""The console script: puts the commands of `ingest.commands` together."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.commands import looking, mending, replaying, serving

app = typer.Typer(
    name="ingest",
    help="Writes Kafka change-data-capture and event topics into CrateDB.",
    epilog="Settings are environment variables, see `ingest settings`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(serving.app)
app.add_typer(looking.app)
app.add_typer(replaying.app)
app.add_typer(mending.app)


def main() -> None:
    """The console script."""
    app(prog_name="ingest")


def versions() -> str:
    """The package, the interpreter and the clients."""
    from ingest.kafka.clients import librdkafka_version
    from ingest.watch.versions import versions as read

    optional = librdkafka_version()
    lines = [f"{name} {version}" for name, version in read().items()]
    return "\n".join([*lines, *([f"librdkafka {optional}"] if optional else [])])


def show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(versions())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Versions of ingest and its clients.")
    ] = False,
) -> None:
    """Writes Kafka change-data-capture and event topics into CrateDB."""
