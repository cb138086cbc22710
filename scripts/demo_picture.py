"""Plays the demo and writes what it showed to docs/demo.svg: python scripts/demo_picture.py [FILE]

Everything in the picture is from that run; nothing is drawn by hand.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from ingest.demo.look import Board
from ingest.demo.run import Options, run
from ingest.demo.screen import Screen

COLUMNS = 100
PICTURE = Path(__file__).parents[1] / "docs" / "demo.svg"
# rich names a font on a server of others; a picture in a repository must not ask anybody.
FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
FONT = re.compile(r"font-family: ?(Fira Code|arial)[^;]*;")


FIRST, BEHIND_LAST = "kill -9", "Try next"


class Still(Screen):
    """Only from the kill to the verdict, or the picture would be too long, and without the board while it moves."""

    def step(self, title: str) -> None:
        if title.startswith(FIRST):
            self.console.export_text(clear=True)
        self.console.record = self.console.record and not title.startswith(BEHIND_LAST)
        super().step(title)

    def board(self, board: Board) -> None:
        sys.stderr.write(f"\r{board.committed:,} of {board.end:,} ")


def main() -> int:
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", highlight=False,
        markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    code = run(Options(), Still(console))
    if code == 0:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
        path.write_text(without_fonts(console.export_svg(title="ingest demo, from the kill on")), encoding="utf-8")
    sys.stderr.write(f"\ncode {code}\n")
    return code


def without_fonts(svg: str) -> str:
    return FONT.sub("font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;", FONT_FACES.sub("", svg))


if __name__ == "__main__":
    sys.exit(main())
