"""The fault matrix as Markdown, of the newest line of each row in bench/results/chaos-*.jsonl.

python -m tests.chaos.matrix                         prints it
python -m tests.chaos.matrix docs/reliability.md     puts it between the page's two marks
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.elsewhere import ELSEWHERE

KEPT_IN = Path(__file__).resolve().parents[2] / "bench" / "results"
BEGIN, END = "<!-- fault matrix: made by python -m tests.chaos.matrix -->", "<!-- end of the fault matrix -->"
HEAD = (
    "| row | what is broken | fault s | first write s | caught up s | rows sent | repeats | stale | lost | verdict |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
NUMBERS = ("fault_s", "first_write_s", "caught_up_s", "rows_sent", "repeats", "stale", "lost")
Line = Mapping[str, Any]


def newest(files: Iterable[Path]) -> list[Line]:
    """Of each row its last line that came to an end, in the order of servers and names."""
    found: dict[tuple[str, str], Line] = {}
    for file in sorted(files):
        for line in map(json.loads, file.read_text().splitlines()):
            if "fault" in line:
                found[line["of"], line["row"]] = line
    return [found[which] for which in sorted(found)]


def markdown(lines: Sequence[Line]) -> Iterator[str]:
    """A table for each server, then what is tested elsewhere."""
    for of in dict.fromkeys(line["of"] for line in lines):
        yield from ("", f"### {of}", "", *HEAD)
        yield from (cells(line) for line in lines if line["of"] == of)
    yield from ("", "### Held by other tests", "", "| of | what is broken | test |", "|---|---|---|")
    yield from (f"| {other.of} | {other.fault} | `{other.test}` |" for other in ELSEWHERE)
    yield ""


def cells(line: Line) -> str:
    """
    >>> cells({"row": "a", "fault": "It breaks.", "fault_s": 5.0, "lost": 0, "equal": True})
    '| `a` | It breaks. | 5.0 | - | - | - | - | - | 0 | equal |'
    """
    numbers = ["-" if line.get(name) is None else str(line[name]) for name in NUMBERS]
    return f"| `{line['row']}` | {line['fault']} | {' | '.join(numbers)} | {'equal' if line['equal'] else '**not equal**'} |"


def put(page: str, text: str) -> str:
    """The page with the text between its marks, in place of what stood there. Raises ValueError where it has none."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page has no lines {BEGIN} and {END}: write them where the matrix shall stand")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def main(pages: Sequence[str]) -> None:
    text = "\n".join(markdown(newest(KEPT_IN.glob("chaos-*.jsonl")))) + "\n"
    for name in pages:
        page = Path(name)
        page.write_text(put(page.read_text(), text))
    if not pages:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
