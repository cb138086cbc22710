"""The oracle's tables: their columns, where their changes come from, and what their messages may leave out.

Values only. `ddl` makes CrateDB's tables of them; the contracts in `schemas/` say the same to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

# The stream's own calendar. Fixed, so that a seed makes the same bytes in every year.
FIRST_YEAR, FIRST_MONTH = 2024, 7
YEAR_9999_MS = 253_382_688_000_000  # 9999-06-15T12:00:00Z

Values = dict[str, Any]
Key = tuple[Any, ...]


class Column(NamedTuple):
    """kind: bigint, integer, smallint, double, boolean, text, uuid, word (VARCHAR(16)), cents (NUMERIC(18,2)),
    wide (NUMERIC(30,4)), ts_ms (a JSON integer but for CockroachDB), ts_iso (text), json (OBJECT(IGNORED)), texts (ARRAY(TEXT)).
    """

    name: str
    kind: str


@dataclass(frozen=True)
class Spec:
    """One table and the source that feeds it.

    shape: debezium, flattened or cockroach. month_from: the column that names the month, None for an unpartitioned table.
    mutable: the month of a key may change. before: "full" (images are real), "key" (they are invented), "none".
    deletes: of a flattened topic, "rewrite" (a row marked __deleted, then a tombstone) or "tombstone" (nothing but that).
    version: what orders the changes of a key, the position in the source or the offset in Kafka.
    left_out: columns that an update may carry as unavailable.
    long_text, number, checked, short, big: columns for values that cannot be stored (text over 32,766 bytes, "abc" or 2**63,
    a CHECK, too long for its VARCHAR, NaN).
    """

    name: str
    shape: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    month_from: str | None
    months: int
    mutable: bool
    before: str
    version: str
    left_out: tuple[str, ...]
    number: str
    checked: str
    short: str
    double: str
    deletes: str = ""
    long_text: str = "note"
    weight: int = 1

    @property
    def kinds(self) -> dict[str, str]:
        return {column.name: column.kind for column in self.columns}


ORDER_COLUMNS = (
    Column("id", "bigint"),
    Column("customer", "text"),
    Column("status", "word"),
    Column("amount", "cents"),
    Column("quantity", "integer"),
    Column("serial_no", "bigint"),
    Column("score", "double"),
    Column("flag", "boolean"),
    Column("created_at", "ts_ms"),
    Column("updated_at", "ts_iso"),
    Column("note", "text"),
    Column("attributes", "json"),
    Column("tags", "texts"),
)
CUSTOMER_COLUMNS = (
    Column("id", "uuid"),
    Column("name", "text"),
    Column("country", "word"),
    Column("balance", "wide"),
    Column("visits", "integer"),
    Column("score", "double"),
    Column("active", "boolean"),
    Column("since", "ts_ms"),
    Column("note", "text"),
)
READING_COLUMNS = (
    Column("sensor", "text"),
    Column("ts", "ts_ms"),
    Column("reading", "double"),
    Column("raw", "bigint"),
    Column("quality", "smallint"),
    Column("unit", "word"),
    Column("note", "text"),
)


def order_like(name: str, shape: str, before: str, months: int, left_out: tuple[str, ...], weight: int) -> Spec:
    """A table whose rows move between months."""
    return Spec(
        name, shape, ORDER_COLUMNS, ("id",), "created_at", months, True, before, "source", left_out,
        number="serial_no", checked="amount", short="status", double="score", weight=weight,
    )  # fmt: skip


TABLES: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        order_like("orders", "debezium", "full", 24, (), 6),
        order_like("shipments", "debezium", "key", 12, ("note", "attributes", "tags"), 3),
        order_like("invoices", "cockroach", "full", 6, (), 3),
        Spec(
            "customers", "flattened", CUSTOMER_COLUMNS, ("id",), None, 24, False, "none", "offset", ("note",),
            number="visits", checked="visits", short="country", double="score", deletes="tombstone", weight=3,
        ),
        Spec(
            "readings", "flattened", READING_COLUMNS, ("sensor", "ts"), "ts", 6, False, "none", "source", ("note",),
            number="raw", checked="quality", short="unit", double="reading", deletes="rewrite", weight=5,
        ),
    )
}  # fmt: skip


def month_start_ms(index: int) -> int:
    """The first moment of the stream's month number `index`.

    >>> month_start_ms(0), month_start_ms(6) - month_start_ms(5)
    (1719792000000, 2678400000)
    """
    years, month = divmod(FIRST_MONTH - 1 + index, 12)
    return int(datetime(FIRST_YEAR + years, month + 1, 1, tzinfo=UTC).timestamp()) * 1000


def month_of(ms: int) -> int:
    """The month that an instant is in, as epoch ms of its first moment.

    >>> month_of(month_start_ms(3) + 1) == month_start_ms(3)
    True
    """
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
