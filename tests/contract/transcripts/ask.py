"""One request of a transcript. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SCHEMA = "transcripts"
JAN, FEB, MAR = 1704067200000, 1706745600000, 1709251200000
LONG_TEXT = "x" * 32_767  # one byte more than Lucene takes in one term


class Ask(NamedTuple):
    """A statement with at most one of args and bulk."""

    stmt: str
    args: Sequence[Any] | None = None
    bulk: Sequence[Sequence[Any]] | None = None

    def body(self) -> dict[str, Any]:
        """The request as it goes over the wire."""
        body: dict[str, Any] = {"stmt": self.stmt}
        if self.args is not None:
            body["args"] = self.args
        if self.bulk is not None:
            body["bulk_args"] = self.bulk
        return body
