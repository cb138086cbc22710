"""What can go wrong, in three families named by what the worker must do.

`Reject`: this record can never be stored, so it is dead-lettered and the worker goes on.
`Retry`: the world is busy, the same call may work later.
`Stop`: the process as a whole cannot go on; it commits nothing more and exits.
What concerns one table or topic only is no error of these but the state `Parked`. `NewFields` is no failure: the record waits.
Codes are stable dotted words; texts never hold a value of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from ingest.model import NewColumn

# No column has a longer name, but a field may: as long as a record, and letters and logs tell it.
NAME_MAX_CHARS = 255


class IngestError(Exception):
    """Base of every failure that this package raises itself."""

    def __init__(self, code: str, text: str = "", *, column: str | None = None) -> None:
        if column is not None and len(column) > NAME_MAX_CHARS:
            column = f"{column[: NAME_MAX_CHARS - 1]}…"
        super().__init__(code, text, column)
        self.code = code
        self.text = text
        self.column = column

    def __str__(self) -> str:
        where = f", column {self.column}" if self.column else ""
        return f"{self.code}{where}: {self.text}" if self.text else f"{self.code}{where}"


class Reject(IngestError):
    """This record can never be stored: dead-letter it and go on."""


class Retry(IngestError):
    """The world is busy: the same call may work later.

    overload: the other side said that it has too much to do, so fewer requests should be in flight.
    unknown: the request may have been applied or may still be running (time-out, reset connection).
    """

    def __init__(self, code: str, text: str = "", *, overload: bool = False, unknown: bool = False) -> None:
        super().__init__(code, text)
        self.overload = overload
        self.unknown = unknown


class Stop(IngestError):
    """Misconfigured or broken as a whole: commit nothing more and exit."""


class Parked(IngestError):
    """One table or topic cannot go on until a person or a deployment changes something.

    subject: what is parked, `topic:NAME` or `table:NAME`. `text` says what happened and what to do.
    """

    def __init__(self, code: str, text: str = "", *, subject: str = "") -> None:
        super().__init__(code, text)
        self.subject = subject


class NewFields(IngestError):
    """A record brings fields without a column, and nobody has looked since whether the table has one now. Not raised for long:
    the record waits for that look, and where the contract says so for the columns to be added."""

    def __init__(self, columns: Sequence[NewColumn]) -> None:
        super().__init__("field.new", f"fields without a column: {', '.join(column.name for column in columns)}")
        self.columns = columns
