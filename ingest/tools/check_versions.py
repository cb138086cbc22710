"""What is known to be wrong in versions of CrateDB, as far as a writer meets it. A table and its reading; pure.

The numbers are those of CrateDB's release notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ingest.tools.findings import Finding, fail, warn

Version = tuple[int, ...]
LEAST: Version = (5, 10)
BEST: Version = (6, 4, 3)
# Tables made before this were damaged by some of the versions after it.
OLD_TABLES: Version = (5, 5)


class Bug(NamedTuple):
    """since: the first version that has it. mended: the first without it, one per line of releases."""

    text: str
    since: Version
    mended: tuple[Version, ...]

    def is_in(self, version: Version) -> bool:
        if not self.since <= version < max(self.mended):
            return False
        return not any(version[:2] == mended[:2] and version >= mended for mended in self.mended)


OLD_TABLES_LOSE_DATA = Bug("tables made before 5.5 lose data", (6, 0, 0), ((6, 0, 6), (6, 1, 4)))
BUGS = (
    OLD_TABLES_LOSE_DATA,
    Bug("writes during a SWAP TABLE may go to the wrong table", (5, 10), ((6, 3, 7), (6, 4, 2))),
    Bug("inserts by primary key may fail inside", (6, 0, 0), ((6, 0, 8), (6, 1, 6), (6, 2, 11), (6, 3, 5))),
    Bug("inserts fail while partitions are dropped", (6, 0, 0), ((6, 2, 4),)),
    Bug("bulk requests are slower", (6, 0, 0), ((6, 2, 8), (6, 3, 2))),
    Bug("upserts count their memory wrongly", (5, 10), ((5, 10, 5),)),
    Bug("a batch of one row is answered in another form", (5, 10), ((5, 10, 11),)),
    Bug("one shard that is away fails a whole request", (5, 10), (BEST,)),
)


def version_of(text: str) -> Version:
    """
    >>> version_of("6.4.3"), version_of("7.0.0-SNAPSHOT")
    ((6, 4, 3), (7, 0, 0))
    """
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def of_version(text: str) -> Iterator[Finding]:
    """
    >>> [finding.state.value for finding in of_version("5.9.3")], list(of_version("6.4.3"))
    (['FAIL'], [])
    """
    version = version_of(text)
    if version < LEAST:
        yield fail("cratedb", f"version {text} does not tell why a row failed: upgrade to 5.10 at least, better to 6.4.3")
        return
    known = [bug.text for bug in BUGS if bug.is_in(version)]
    if known:
        yield warn("cratedb", f"version {text} has known errors, upgrade to 6.4.3: {'; '.join(known)}")


def is_damaged(created: str, version: str) -> bool:
    """Whether a table made by one version loses data under another.

    >>> is_damaged("5.4.8", "6.1.2"), is_damaged("5.5.0", "6.1.2"), is_damaged("5.4.8", "6.4.3")
    (True, False, False)
    """
    return version_of(created) < OLD_TABLES and OLD_TABLES_LOSE_DATA.is_in(version_of(version))
