"""What the demo shows while it runs: numbered steps in plain words, and the board that moves.

On a terminal the board is redrawn in place; elsewhere it is one line every two seconds, without control codes. Main thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ingest.demo.look import Board, PartitionView, Seat

WIDEST = 100
INDENT = 3
BAR, SHORT_BAR = 18, 10
PLAIN_EVERY_S = 2.0
WORKER_STYLES = ("cyan", "magenta", "yellow", "blue")


def usual_console() -> Console:
    """stdout, without markup: positions such as orders[3] are no tags. Never wider than is good to read."""
    seen = Console()
    return Console(highlight=False, markup=False, emoji=False, width=min(WIDEST, seen.width) if seen.is_terminal else WIDEST)


class Screen:
    """console: where to. On one that is a terminal the board is redrawn in place."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._moves = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._began_s = monotonic()
        self._plain_at_s = 0.0
        self._steps = 0

    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return monotonic() - self._began_s

    def open(self, *sentences: str) -> None:
        """What is going to be seen."""
        self._print(Group(Text("ingest demo", style="bold cyan"), Text(" ".join(sentences))))

    def step(self, title: str) -> None:
        """A new step of the demo, numbered, with the seconds since the beginning."""
        self.rest()
        self._steps += 1
        line = Table.grid(expand=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        line.add_row(
            Text.assemble((f"{self._steps:<2} ", "bold cyan"), (title, "bold")),
            Text(f"{self.elapsed_s():.0f} s", style="dim"),
        )
        self._print(Group(Text(), line))

    def say(self, *sentences: str) -> None:
        """Plain words, one paragraph."""
        self.show(Text(" ".join(sentences)))

    def show(self, what: RenderableType) -> None:
        """Anything, indented under its step."""
        self._print(Padding(what, (0, 0, 0, INDENT), expand=False))

    def _print(self, what: RenderableType) -> None:
        """Where nobody looks at a terminal, lines have no blanks at their end."""
        if self.console.is_terminal:
            self.console.print(what)
            return
        with self.console.capture() as captured:
            self.console.print(what)
        self.console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
        self.console.file.flush()

    def verbatim(self, line: str, remark: str = "") -> None:
        """A line to be copied: never broken in two."""
        self.console.print(Text.assemble(" " * INDENT, (line, "bold cyan"), remark), soft_wrap=True)

    def note(self, text: str, style: str) -> None:
        self.show(Text(text, style=style))

    def board(self, board: Board) -> None:
        """The newest look at the work."""
        if self._moves:
            self._redraw(board)
        elif monotonic() >= self._plain_at_s:
            self._plain_at_s = monotonic() + PLAIN_EVERY_S
            self.show(Text(line_of(board)))

    def rest(self, last: Board | None = None) -> None:
        """The board stands still. last: print it where it stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if last is not None:
            self.show(Group(Text(), drawn(last, self.console.width)))

    def _redraw(self, board: Board) -> None:
        shown = Padding(drawn(board, self.console.width), (1, 0, 0, INDENT))
        if self._live is None:
            self._live = Live(shown, console=self.console, transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(shown, refresh=True)


# ---------------------------------------------------------------- the board


def line_of(board: Board) -> str:
    """The board in one line."""
    batches = sum(seat.count("ingest_batch_rows_count") for seat in board.seats)
    shared = "+".join(map(seat_word, board.seats))
    return (
        f"{board.at_s:3.0f} s  {board.committed:,} of {board.end:,} done, lag {board.lag:,}, {board.rate:,.0f}/s, "
        f"{batches} batches, {board.letters} dead letters, partitions {shared}"
    )


def seat_word(seat: Seat) -> str:
    """How many partitions a worker has; none if it was killed, whatever it said last."""
    return "0" if seat.killed_s is not None else str(seat.count("ingest_assigned_partitions"))


def drawn(board: Board, width: int) -> RenderableType:
    """The board as it stands. width: of the screen, for the length of the bars."""
    return Group(partitions_table(board, BAR if width >= WIDEST - 10 else SHORT_BAR), Text(), workers_table(board))


def plain_table(*columns: tuple[str, str], expand: bool = False) -> Table:
    """A table without lines. columns: heading and justification."""
    table = Table(box=None, pad_edge=False, expand=expand, header_style="dim", padding=(0, 2, 0, 0))
    for heading, justify in columns:
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True, overflow="ellipsis")
    return table


def partitions_table(board: Board, bar: int) -> Table:
    table = plain_table(
        ("topic, partition", ""), ("records", "right"), ("done", ""), ("lag", "right"), ("letters", "right"), ("read by", "")
    )
    for partition in board.partitions:
        table.add_row(*partition_row(partition, bar))
    total = f"{100 * board.committed // max(1, board.end)} %"
    table.add_row(
        Text("all", style="bold"),
        Text(f"{board.end:,}", style="bold"),
        Text(total, style="bold"),
        lag_text(board.lag, "bold"),
        letters_text(board.letters),
        Text(f"{board.rate:,.0f}/s", style="bold"),
    )
    return table


def partition_row(partition: PartitionView, width: int) -> Sequence[RenderableType]:
    bar = ProgressBar(max(1, partition.end), partition.committed, width, complete_style="green", finished_style="green")
    reader = partition.reader
    who = Text(f"worker {reader}", style=worker_style(reader)) if reader else Text("nobody", style="red")
    return (
        Text(f"{partition.topic} {partition.number}"), Text(f"{partition.end:,}"), bar, lag_text(partition.lag),
        letters_text(partition.letters), who,
    )  # fmt: skip


def lag_text(lag: int, style: str = "") -> Text:
    return Text(f"{lag:,}", style=f"{style} {'yellow' if lag else 'green'}")


def letters_text(letters: int) -> Text:
    return Text(str(letters or "-"), style="red" if letters else "dim")


def worker_style(number: int) -> str:
    return WORKER_STYLES[(number - 1) % len(WORKER_STYLES)]


def workers_table(board: Board) -> Table:
    table = plain_table(
        ("worker", ""), ("process", ""), ("records/s", "right"), ("read", "right"), ("batches", "right"), ("written", "right")
    )
    for seat in board.seats:
        table.add_row(
            Text(f"worker {seat.number}", style=worker_style(seat.number)), state_text(seat), Text(f"{seat.rate():,.0f}"),
            Text(f"{seat.count('ingest_records_read_total'):,}"), Text(f"{seat.count('ingest_batch_rows_count'):,}"),
            Text(f"{seat.count('ingest_rows_total', outcome='written'):,}"),
        )  # fmt: skip
    return table


def state_text(seat: Seat) -> Text:
    if seat.killed_s is not None:
        return Text(f"killed at {seat.killed_s:.0f} s", style="bold red")
    return Text(str(seat.child.pid))
