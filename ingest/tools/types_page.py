"""docs/types.md, made from `ingest.tables.type_rules`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.tables.type_rules import COLUMNS, ROWS, TypeRow
from ingest.tables.types import KINDS

PROPERTIES = "tests/properties/test_types_on_cratedb.py"
HEAD = f"""\
# Types

Made by `make docs` from the declarations in `ingest/tables/type_rules.py`; do not edit.

Each value arrives exactly as its row says, or its record is a dead letter whose code stands here and whose column is named (a
sub-column of an object by its path, `address.home.no`). Nothing is rounded, cut, wrapped or shifted by a zone without a word.

- **The source's type** comes from the schema of the record (Kafka Connect, Avro, Protobuf, JSON Schema); where nothing
  declares it, it is `any`: the value's own type and the column decide. `columns.NAME.type` in the contract gives back what was
  lost.
- **The column's own resolution is its owner's rule**: TIMESTAMP holds milliseconds, REAL and FLOAT_VECTOR 24 bits of a floating
  point number. A second column with `from` in the contract keeps all digits beside it.
- **`overflow`** in the contract is about real values that the column has no place for: `type.overflow`, `type.not_finite`,
  `type.zero_date`, and in an OBJECT also keys and roots that it refuses. **`precision`** is about `type.precision`: more digits
  than the column has. Both are `reject` where nobody says more, `null`, or `text`: NULL in the column, and the exact text in the
  column `NAME_text` beside it, which is NULL for all other values. OBJECT(IGNORED) and TEXT hold such texts themselves. In an
  array `null` is about single elements, `text` about the whole list. Values made NULL are counted.

Every row is a property test on a real CrateDB under its name, `{PROPERTIES}`:
hundreds of values of these source types are mapped and written as the worker does it, and what comes back is compared with what
was meant. `tests/properties/test_refusals_on_cratedb.py` shows the other half: what is refused as too large or too fine would
have been changed or refused by CrateDB itself.
"""


def as_markdown() -> str:
    return "\n".join([HEAD, *_rows(), "## Where each source type may go", "", *_kinds(), ""])


def _rows() -> Iterator[str]:
    for column in COLUMNS:
        yield f"## {column}"
        yield ""
        yield from _table(("source", "what arrives", "what is refused", "property"), map(_cells, _of(column)))
        yield ""


def _of(column: str) -> list[TypeRow]:
    return [row for row in ROWS if column in row.columns]


def _cells(row: TypeRow) -> tuple[str, ...]:
    return _names(row.kinds), row.rule, row.refused, f"`{row.name}`"


def _kinds() -> Iterator[str]:
    pairs = {pair for row in ROWS for pair in row.pairs()}
    kinds = ((f"`{kind}`", "; ".join(column for column in COLUMNS if (kind, column) in pairs)) for kind in KINDS)
    yield from _table(("source", "columns"), kinds)


def _names(kinds: Iterable[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in kinds)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
