"""The judge: are the tables, the dead letters, the offsets and the books what the producer knows they must be?

Reads the tables as anybody would, over SQL. Each finding is a sentence; no finding, no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ingest.crate.catalogue import query
from ingest.crate.http import HttpClient
from ingest.demo.look import Board, Letter
from ingest.demo.truth import INVENTORY, ORDERS, PRODUCTS, READINGS, TABLES, Key, Row, Truth


class Reading(NamedTuple):
    """How the rows of a table are read: what readers see, its key columns first. keys: how many columns the key has."""

    sql: str
    keys: int


READINGS_OF: dict[str, Reading] = {
    PRODUCTS: Reading("SELECT id, name, price::TEXT FROM demo.products_live", 1),
    INVENTORY: Reading("SELECT warehouse, product_id, quantity FROM demo.inventory_live", 2),
    ORDERS: Reading("SELECT id, customer, status, total::TEXT, delivery_at, month FROM demo.orders_live", 1),
    READINGS: Reading("SELECT cdc_topic, cdc_partition, cdc_offset, sensor, celsius, battery, at, month FROM demo.readings", 3),
}


class Verdict(NamedTuple):
    """rows: how many each table has. differences: sentences, [] where all is as it must be."""

    rows: Mapping[str, int]
    differences: Sequence[str]


def judge(
    client: HttpClient, truth: Truth, letters: Sequence[Letter], board: Board, books: Sequence[Mapping[str, Any]]
) -> Verdict:
    found = {table: read(client, table) for table in TABLES}
    differences = [
        *(line for table in TABLES for line in rows_differ(table, truth.rows[table], found[table])),
        *letters_differ(truth, letters),
        *offsets_differ(truth, board),
        *books_differ(books),
    ]
    return Verdict({table: len(rows) for table, rows in found.items()}, differences)


def read(client: HttpClient, table: str) -> list[tuple[Key, Row]]:
    """The rows that a reader sees, after a refresh, so that none is missed."""
    sql, keys = READINGS_OF[table]
    query(client, f"REFRESH TABLE {table}", [])
    return [(tuple(row[:keys]), tuple(row[keys:])) for row in query(client, sql, [])]


def rows_differ(table: str, expected: Mapping[Key, Row], found: Sequence[tuple[Key, Row]]) -> Iterator[str]:
    """
    >>> list(rows_differ("t", {(1,): ("a",), (2,): ("b",)}, [((1,), ("x",)), ((3,), ("c",)), ((3,), ("c",))]))
    ['t: 1 row missing', 't: 2 rows that should not be there', 't: 1 row with other values']
    """
    counts = Counter(key for key, _ in found)
    missing = sum(key not in counts for key in expected)
    extra = sum(n - (key in expected) for key, n in counts.items())
    wrong = sum(key in expected and expected[key] != row for key, row in found)
    for n, what in ((missing, "missing"), (extra, "that should not be there"), (wrong, "with other values")):
        if n:
            yield f"{table}: {n} {'row' if n == 1 else 'rows'} {what}"


def letters_differ(truth: Truth, letters: Sequence[Letter]) -> Iterator[str]:
    """A letter may come twice after a crash, which its headers show; none may be missing, or be for a good record."""
    found = {letter.at: letter.code for letter in letters}
    for at, code in truth.letters.items():
        if at not in found:
            yield f"dead letters: none for the bad record at {at} ({code})"
        elif found[at] != code:
            yield f"dead letters: {at} was refused as {found[at]}, not as {code}"
    yield from (
        f"dead letters: a good record at {at} was refused ({code})" for at, code in found.items() if at not in truth.letters
    )


def offsets_differ(truth: Truth, board: Board) -> Iterator[str]:
    for partition in board.partitions:
        written = truth.written[partition.topic, partition.number]
        if not written == partition.end == partition.committed:
            where = f"{partition.topic}[{partition.number}]"
            yield f"{where}: {written} records written, {partition.end} there, {partition.committed} committed"


def books_differ(books: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for number, book in enumerate(books, 1):
        if not book.get("is_balanced"):
            yield f"the books of surviving worker {number} do not balance"
        if book.get("unsettled"):
            yield f"surviving worker {number} ended with {book['unsettled']} unsettled records"
