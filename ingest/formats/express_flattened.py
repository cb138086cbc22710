"""Express readers of rows that Debezium took out of their envelope: what was around a row stands beside its columns.

Which fields those are is the same in all records of a topic, as the connector's `add.fields` has them. Only positions of the
usual connectors are read, or rows that tell none; headers that tell something take the long way.
Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from ingest.errors import Reject
from ingest.flow.ports import Express
from ingest.formats import debezium_mongodb, framing, json, positions, signals
from ingest.formats.express_code import UNREAD, Beside
from ingest.formats.express_json import OPS, Body
from ingest.formats.flattened import Flattened, Headers, Plan, in_headers, metadata_fields
from ingest.formats.positions import Source
from ingest.formats.unavailable import OPENING_BRACKET, Placeholder
from ingest.model import Fields, Op

_PINNED: Final = frozenset({"connector", "db", "schema", "table"})
_READ: Final[Mapping[str, Any]] = {
    "deleted": Literal["false"] | None,
    "ts_ms": positions.Positive | None,
    "lsn": positions.Unsigned,
    "file": str,
    "pos": positions.Unsigned,
    "row": positions.Unsigned | None,
}
# A name that any source tells its positions or its tables by; a time in µs is a position for Spanner alone.
_TELLING: Final = (frozenset(Source.__struct_fields__) | {"transaction_rank"}) - _PINNED - {"ts_ms", "ts_us"}


def flattened(body: Body, text: bytes, format_: Flattened, placeholder: Placeholder) -> Express | None:
    """text: the sample's row with what stands beside it."""
    try:
        sample = json.decode(text)
    except Reject:
        return None  # one of several in its record
    plan = metadata_fields(sample, format_.prefix)
    said = {name: sample[field] for field, name in plan if name}
    version = _version(said)
    escaped, raw, _ = placeholder.traces
    if version is None or not plan or len(said) < sum(bool(name) for _, name in plan) or escaped != raw or _is_special(body):
        return None
    body.code.known |= {"are_silent": _silence(format_.prefix), "usual_binlog": positions.usual_binlog}
    key = body.begin()
    if key is None or not body.row("body", "r", _beside(body, plan, said)):
        return None
    body.names("body", "r", str(len(sample)))
    octets = (*placeholder.rare_bytes, OPENING_BRACKET, placeholder.high_byte)
    body.refuse_placeholder("body", octets, placeholder.may_be_anywhere_in)
    body.code.line("was = None")
    return body.end(key, "r.op" if "op" in said else repr(Op.INSERT.value), version, "r.ts_ms" if "ts_ms" in said else "None")


def _is_special(body: Body) -> bool:
    """Rows that may be signals, and those of MongoDB, whose key stands in `id`."""
    names = {field.name for field in body.wanted.row}
    return len(names) == len(signals.COLUMNS) or (debezium_mongodb.ID in names and "id" not in names)


def _version(said: Fields) -> str | None:
    """The expression of the version's text; None where the long way takes a closer look."""
    connector, telling = said.get("connector"), said.keys() & _TELLING
    if connector not in (None, "postgresql", "mysql", "mariadb"):
        return None
    if not telling:
        return "None"
    if "lsn" in telling and telling <= {"lsn", "sequence"} and connector in (None, "postgresql"):
        return "str(r.lsn).zfill(20)"
    return "usual_binlog(r)[1]" if telling == {"file", "pos", "row"} and connector != "postgresql" else None


def _beside(body: Body, plan: Plan, said: Fields) -> list[Beside]:
    """What stands beside the row: what tells one table from another is held to the sample's, and what nobody reads to scalars."""
    types: dict[str, Any] = {**_READ, **{name: Literal[said[name]] for name in said.keys() & _PINNED}}
    types["op"] = Literal[tuple(word for word, op in OPS.items() if op in body.wanted.ops)]
    return [
        Beside(name, field, types[name]) if name in types else Beside(f"m{place}", field, UNREAD | None)
        for place, (field, name) in enumerate(plan)
    ]


def _silence(prefix: str) -> Any:
    """Whether headers say nothing of a record: neither of its schemas nor what else could stand beside its row."""

    def are_silent(headers: Headers) -> bool:
        return framing.are_silent(headers) and not in_headers(headers, prefix)

    return are_silent
