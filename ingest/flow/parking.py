"""Parked tables and topics: who is, since when, why, and which partitions rest because of it.

Owned by the loop's thread. Parking a subject never ends the process: its partitions are paused and polled on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ingest.errors import Parked
from ingest.model import Partition

# These end by themselves as soon as the catalogue shows that their cause is gone.
MENDED_BY_CATALOGUE = ("table.", "month.", "contract.", "store.table", "store.column")


@dataclass(frozen=True, slots=True)
class Place:
    """One parked subject."""

    subject: str
    code: str
    text: str
    since_ms: int

    @property
    def kind(self) -> str:
        return self.subject.partition(":")[0]

    @property
    def name(self) -> str:
        return self.subject.partition(":")[2]


class Parking:
    """feeders: the partitions that feed a table."""

    def __init__(self, feeders: Callable[[str], Collection[Partition]]) -> None:
        self._feeders = feeders
        self._places: dict[str, Place] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, subject: str) -> bool:
        return subject in self._places

    def park(self, error: Parked, now_ms: int) -> Place | None:
        """The new place, None when the subject is parked for that reason already. A new reason takes the place of an old one:
        who mended the first must be told of the next."""
        old = self._places.get(error.subject)
        if old is not None and (old.code, old.text) == (error.code, error.text):
            return None
        place = Place(error.subject, error.code, error.text, now_ms)
        self._places[error.subject] = place
        return place

    def error(self, subject: str) -> Parked | None:
        """What parked the subject, as an error to raise again for a record that would go there."""
        place = self._places.get(subject)
        return Parked(place.code, place.text, subject=subject) if place else None

    def leave(self, request: str) -> list[Place]:
        """Take out the subject (`table:doc.orders`), or every subject of that bare name; what was taken out."""
        found = [place for place in self._places.values() if request in (place.subject, place.name)]
        for place in found:
            del self._places[place.subject]
        return found

    def mended_by_catalogue(self, table: str) -> bool:
        """Whether a changed description of the table ends its parking; then it is taken out."""
        place = self._places.get(f"table:{table}")
        if place is None or not place.code.startswith(MENDED_BY_CATALOGUE):
            return False
        del self._places[place.subject]
        return True

    def resting(self, partitions: Iterable[Partition]) -> set[Partition]:
        """Those of the partitions that rest because of something parked."""
        if not self._places:
            return set()
        fed = {p for place in self._places.values() if place.kind == "table" for p in self._feeders(place.name)}
        topics = {place.name for place in self._places.values() if place.kind == "topic"}
        return {p for p in partitions if p in fed or p.topic in topics}
