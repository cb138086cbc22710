"""The pages of docs/ that are made from declarations; `make docs` writes them, a test fails when one is stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ingest.tools import settings, types_page
from ingest.watch import reference

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings.as_markdown,
    "metrics.md": reference.metrics_page,
    "logs.md": reference.logs_page,
    "types.md": types_page.as_markdown,
}


def write(folder: Path) -> None:
    for name, text in PAGES.items():
        (folder / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs")
