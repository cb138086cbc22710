"""What is in CrateDB and in the dead-letter topic against what must be there. Pure; the differences are sentences.

The report shows values: the data is made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .log import Letter, Place
from .model import Expected, LiveRow
from .tables import TABLES, Key, Spec, Values

SHOWN = 20
VALUE_CHARS = 60
# Where the last change came from; told apart from the data, as a row may be right although these are not.
PROVENANCE = ("cdc_topic", "cdc_partition", "cdc_offset", "cdc_source_ts")


@dataclass
class Differences:
    """The first SHOWN of them as sentences, and how many there are of each kind."""

    shown: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, sentence: str) -> None:
        self.kinds[kind] += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{kind}: {sentence}")

    def extend(self, other: Differences) -> None:
        self.kinds.update(other.kinds)
        self.shown.extend(other.shown[: SHOWN - len(self.shown)])

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} x {kind}" for kind, count in self.kinds.most_common())
        return "\n".join([counts or "no differences", *("  " + line for line in self.shown)])


def compare_rows(table: str, must: Mapping[Key, LiveRow], rows: Iterable[Values]) -> Differences:
    """rows: of the live view, by column name, in any order; numbers that are no integers as Decimal."""
    spec = TABLES[table]
    found = Differences()
    seen: dict[Key, Values] = {}
    for row in rows:
        key = key_of(spec, row)
        if key in seen:
            found.add("key twice", f"{table} {key}: in months {seen[key].get('month')} and {row.get('month')}")
            continue
        seen[key] = row
        if key not in must:
            found.add("row too many", f"{table} {key}: last written by {origin(row)}, month {row.get('month')}")
            continue
        _compare_row(spec, key, must[key], row, found)
    for key in must.keys() - seen.keys():
        found.add("row missing", f"{table} {key}: last change at {must[key].at}, month {must[key].month}")
    return found


def _compare_row(spec: Spec, key: Key, must: LiveRow, row: Values, found: Differences) -> None:
    wrong = [name for name, kind in spec.columns if not equal(kind, must.values[name], row[name])]
    if spec.month_from is not None and must.month != row["month"]:
        wrong.append("month")
    for name in wrong:
        value = must.month if name == "month" else must.values[name]
        what = f"{spec.name} {key} {name}: must be {short(value)} as of {must.at}"
        found.add("wrong value", f"{what}, is {short(row[name])} as of {origin(row)}")
    said = (must.at.topic, must.at.partition, must.at.offset, must.source_ts_ms)
    if not wrong and tuple(row[name] for name in PROVENANCE) != said:
        found.add("wrong origin", f"{spec.name} {key}: must be {said}, is {tuple(row[name] for name in PROVENANCE)}")


def equal(kind: str, must: Any, value: Any) -> bool:
    """Whether CrateDB's answer is exactly that value.

    >>> equal("cents", Decimal("1.50"), Decimal("1.5")), equal("double", 5.0, Decimal("5.0")), equal("bigint", 1, None)
    (True, True, False)
    """
    if must is None or value is None:
        return must is value
    if kind == "double":
        return isinstance(value, (Decimal, int)) and float(value) == must
    if kind == "boolean":
        return value is must
    return bool(value == must)


def key_of(spec: Spec, row: Values) -> Key:
    return tuple(row[name] for name in spec.key)


def origin(row: Values) -> Place:
    return Place(row["cdc_topic"], row["cdc_partition"], row["cdc_offset"])


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_CHARS else f"{text[:VALUE_CHARS]}… ({len(text)} characters)"


def compare_letters(
    must: Mapping[Place, Letter], found: Sequence[tuple[Place, Letter]], names: Mapping[Place, str]
) -> Differences:
    """found: every letter in the topic with the place that its headers name. names: what each message is, for the report.

    The same letter twice is allowed: a crash between its acknowledgement and the commit makes one.
    """
    differences = Differences()
    places = {place for place, _ in found}
    for place in sorted(must.keys() - places):
        differences.add("letter missing", f"{place} ({names.get(place)})")
    for place, letter in found:
        if place not in must:
            differences.add("letter too many", f"{place} ({names.get(place, 'no such message')})")
        elif letter[:2] != must[place][:2]:
            differences.add("letter changed", f"{place} ({names.get(place)}): key or value differ from the original")
        elif not set(must[place].headers) <= set(letter.headers):
            differences.add("letter changed", f"{place} ({names.get(place)}): headers of the original are missing")
    return differences


def compare_books(must: Expected, books: Mapping[str, int], echoes: str) -> Differences:
    """books: the worker's own counts of one uninterrupted run. echoes: where tombstones behind deletes are counted,
    "skipped" or "stored" (written + superseded)."""
    wanted = {
        "read": must.read,
        "stored": must.stored + (must.echoes if echoes == "stored" else 0),
        "skipped": must.skipped + (must.echoes if echoes == "skipped" else 0),
        "dead_lettered": must.dead_lettered,
        "handed_back": 0,
        "unsettled": 0,
    }
    told = {**books, "stored": books.get("written", 0) + books.get("superseded", 0)}
    differences = Differences()
    for name, count in wanted.items():
        if told.get(name) != count:
            differences.add("books", f"{name}: must be {count}, is {told.get(name)}")
    return differences


def names_of(spec: Spec) -> Iterator[str]:
    """The columns that are read back."""
    yield from (name for name, _ in spec.columns)
    if spec.month_from is not None:
        yield "month"
    yield from PROVENANCE
