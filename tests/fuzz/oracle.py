"""What the published rules say of some bytes, worked out once more: json, fastavro and arithmetic, nothing of ingest.formats.

`rows_of` knows Debezium, CockroachDB, plain events and Avro of these; of the other formats `strangers` tells names and values in
a row that stand nowhere in the record. `cell_is_right` holds what a table gets against what the record said.
"""

from __future__ import annotations

import io
import json
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import md5
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from uuid import UUID

import fastavro

from ingest.model import Column, Envelope, Record, SourceType
from tests.fuzz.corpus import without_meanings

PLACEHOLDER: Final = "__debezium_unavailable_value"
_SPECIAL: Final = ("mongodb", "cassandra", "vitess")
_WRAPPED: Final = {"after", "before", "key", "topic", "updated", "mvcc_timestamp", "resolved"}
_JSON_NULL: Final = {"__crdb_json_null__": True}


class Row(NamedTuple):
    """op, after and before as the rules give them. table, version: None where the rules are not repeated here."""

    op: str
    after: dict[str, Any] | None
    before: dict[str, Any] | None = None
    table: tuple[str, ...] | None = None
    version: tuple[str, str] | None = None


class Twice(dict[str, Any]):
    """An object with a name that stands in it twice."""


class TooLarge:
    """A number that no Decimal holds. In a row it is refused; around one nobody may look at it."""


class NoRow(Exception):
    """By the rules these bytes are no row of this format."""


class NoOpinion(Exception):
    """Bytes that only the format's own code knows the rules of."""


# ---------------------------------------------------------------- reading bytes again


def parsed(text: bytes | str) -> Any:
    """What a JSON text says. Bytes that are no UTF-8 become letters that no row has; parts that nobody looks at may hold them."""
    if isinstance(text, bytes):
        text = text.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    try:
        return json.loads(text, parse_float=_number_of, parse_constant=_refuse, object_pairs_hook=_object)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise NoRow from error


def _number_of(digits: str) -> Any:
    try:
        return Decimal(digits)
    except InvalidOperation:
        return TooLarge()


def _refuse(_word: str) -> Any:
    raise ValueError("no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Twice(found)


def values_of(body: bytes, avro: Mapping[int, str]) -> list[Any]:
    """The values in a record: one, the objects of a list, or one object a line."""
    if body[:1] == b"\0":
        return [_from_avro(body, avro)]
    if body[:1] in (b"\1", b"\3", b"\xc3", b"O"):
        raise NoOpinion
    try:
        value = _unwrapped(parsed(body))
    except NoRow:
        lines = [line.strip() for line in body.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise
        return [value for line in lines for value in values_of(line, avro)]
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return value
    return [value]


def _unwrapped(value: Any) -> Any:
    """Without Kafka Connect's wrapper."""
    if not isinstance(value, dict):
        return value
    schema = value.get("schema", "")
    if value.keys() == {"schema", "payload"} and (
        schema is None or (isinstance(schema, dict) and isinstance(schema.get("type"), str))
    ):
        return value["payload"]
    if value.keys() == {"payload"} and isinstance(value["payload"], dict) and "source" in value["payload"]:
        return value["payload"]
    return value


def _from_avro(body: bytes, avro: Mapping[int, str]) -> Any:
    schema = avro.get(int.from_bytes(body[1:5], "big"))
    if schema is None:
        raise NoOpinion
    content = io.BytesIO(body[5:])
    try:
        value = fastavro.schemaless_reader(content, fastavro.parse_schema(without_meanings(json.loads(schema))), None)
    except Exception as error:  # fastavro raises nearly anything, and is laxer than we are elsewhere
        raise NoOpinion from error
    if content.tell() != len(body) - 5:
        raise NoRow
    return value


# ---------------------------------------------------------------- rows by the rules


def rows_of(format_name: str, record: Record, avro: Mapping[int, str]) -> list[Row]:
    """Raises NoRow and NoOpinion."""
    read = _RULES.get(format_name)
    if read is None or record.headers or not record.value:
        raise NoOpinion
    values = values_of(record.value, avro)
    for value in values:
        _refuse_controls(value)
    return [read(value, record) for value in values]


def _refuse_controls(value: Any) -> None:
    """Records that are no rows stand among rows; whether they were skipped rightly is not asked here."""
    if value is None:
        raise NoOpinion
    for part in (value, value.get("after")) if isinstance(value, dict) else ():
        if isinstance(part, dict) and (part.keys() == {"ts_ms"} or not _OF_CONTROLS.isdisjoint(part)):
            raise NoOpinion


_OF_CONTROLS: Final = frozenset({"databaseName", "status", "aggregate_type", "data"})


def _object_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NoRow
    return value


def _image_of(value: Any) -> dict[str, Any]:
    """A row, in which no name may stand twice; around rows only the last counts, as converters write some names twice."""
    if not isinstance(value, dict) or _is_spoilt(value):
        raise NoRow
    return value


def _is_spoilt(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value, Twice) or any(map(_is_spoilt, value.values()))
    return isinstance(value, TooLarge) or (isinstance(value, list) and any(map(_is_spoilt, value)))


def _debezium(value: Any, _record: Record) -> Row:
    source = _object_of(value).get("source")
    if source is not None and not isinstance(source, dict):
        raise NoRow
    word, about = str(value.get("op", "")).lower(), source or {}
    if about.get("connector") in _SPECIAL or word == "m":
        raise NoOpinion
    table = tuple(part for part in (about.get("db"), about.get("schema") or about.get("keyspace")) if part)
    last = about.get("table") or about.get("collection")
    name = (*table, last) if last else ()
    after = before = None
    if word in ("c", "r", "u"):
        whole = _image_of(value.get("after"))
        after = {name: part for name, part in whole.items() if not _is_placeholder(part)}
        op = "insert" if word != "u" and len(after) == len(whole) else "update"
    elif word in ("d", "t"):
        op = {"d": "delete", "t": "truncate"}[word]
    else:
        raise NoRow
    if word in ("u", "d") and value.get("before") is not None:
        before = _image_of(value["before"])
    return Row(op, after, before, name, _position(about))


def _position(source: Mapping[str, Any]) -> tuple[str, str] | None:
    lsn, file, place = source.get("lsn"), source.get("file"), source.get("pos")
    if source.get("connector") == "postgresql" and type(lsn) is int and lsn >= 0:
        return ("L", f"{lsn:020d}")
    if source.get("connector") in ("mysql", "mariadb") and isinstance(file, str) and type(place) is int and place >= 0:
        number, row = file.rpartition(".")[2], source.get("row")
        if re.fullmatch(r"[0-9]{1,10}", number) and type(row) is int and row >= 0:
            return ("B", f"{int(number):010d}{place:020d}{row:010d}")
    return None


def _is_placeholder(value: Any) -> bool:
    raw = PLACEHOLDER.encode()
    uuid = str(UUID(bytes=md5(raw, usedforsecurity=False).digest(), version=3))
    texts: list[Any] = [PLACEHOLDER, raw, b64encode(raw).decode(), uuid]
    texts += [json.dumps({PLACEHOLDER: PLACEHOLDER}), json.dumps({PLACEHOLDER: PLACEHOLDER}, separators=(",", ":"))]
    return value in (*texts, *([text] for text in texts), list(raw), {PLACEHOLDER: PLACEHOLDER})


def _cockroach(value: Any, _record: Record) -> Row:
    found = _object_of(value)
    is_wrapped = "after" in found and found.keys() <= _WRAPPED and "resolved" not in found
    origin = found.get("source")
    is_enriched = found.get("op") in ("c", "u", "d") and "after" in found and isinstance(origin, dict) and "ts_ms" not in found
    if not is_wrapped and not (is_enriched and origin.get("origin") == "cockroachdb"):  # type: ignore[union-attr]
        raise NoOpinion
    after, before = (None if found.get(part) is None else _nulls(_image_of(found[part])) for part in ("after", "before"))
    if after is not None and "cdc_prev" in after:
        raise NoOpinion
    return Row("delete" if after is None else "insert or update", after, before)


def _nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if part == _JSON_NULL else part for name, part in row.items()}


def _plain(value: Any, _record: Record) -> Row:
    if isinstance(value, str) and value.startswith("{"):
        try:
            inner = parsed(value)
        except NoRow:
            inner = None
        value = inner if isinstance(inner, dict) and not _is_spoilt(inner) else value
    if isinstance(value, list):
        raise NoRow
    return Row("insert", _image_of(value) if isinstance(value, dict) else {"value": value})


_RULES: Final = {"debezium": _debezium, "cockroach": _cockroach, "plain": _plain}


def is_given(row: Row, envelope: Envelope) -> bool:
    """Whether an envelope is this row."""
    return (
        envelope.op.value in row.op
        and same(row.after, envelope.after)
        and same(row.before, envelope.before)
        and (row.table is None or row.table == envelope.table)
        and (row.version is None or row.version == envelope.version)
    )


def key_of(format_name: str, record: Record) -> dict[str, Any] | None:
    """What a Kafka key in JSON says; None where that takes more than reading JSON, or does not decide."""
    raw = record.key
    if raw is None or format_name == "cockroach" or raw[:1] != b"{":
        return None
    try:
        value = parsed(raw)
    except NoRow:
        return None
    is_told = isinstance(value, dict) and "payload" not in value and not _is_spoilt(value)
    return value if is_told and value else None


# ---------------------------------------------------------------- what may stand in a row of any format

_OWN_NAMES: Final = re.compile(r"value|_?id|ce_.+|data", re.DOTALL)
_TOLD_BY_TEXT: Final = ("maxwell", "generic", "dms", "goldengate", "flattened", "debezium", "cockroach", "plain")


def strangers(format_name: str, record: Record, envelope: Envelope) -> list[str]:
    """Names in a row that stand nowhere in its record, and in some formats places of values that do not. JSON only."""
    try:
        names, leaves = _said(record)
    except (NoRow, NoOpinion):
        return []
    images = [image for image in (envelope.after, envelope.before) if image is not None]
    odd = [name for image in images for name in image if name not in names and not _OWN_NAMES.fullmatch(name)]
    is_extended = b"mongodb" in (record.value or b"") or b'"$' in (record.value or b"")
    if format_name.partition(":")[0] in _TOLD_BY_TEXT and envelope.schema is None and not is_extended:
        odd += [f"value of {name}" for image in images for name, part in image.items() if not _leaves(part) <= leaves]
    return odd


def _said(record: Record) -> tuple[set[str], set[str]]:
    if record.headers or (record.value or b"\0")[:1] not in (b"{", b"["):
        raise NoOpinion
    names: set[str] = set()
    leaves: set[str] = set()
    for raw in (record.value, record.key):
        texts = [raw] if raw else []
        while texts:
            text = texts.pop()
            try:
                value = parsed(text)
            except NoRow:
                if text is record.value:
                    raise
                continue
            names |= set(_names(value))
            found = _leaves(value)
            leaves |= found
            texts += [leaf[1:].encode(errors="surrogatepass") for leaf in found if leaf[:2] in ("s{", 's"', "s[")]
    said = {leaf[1:] for leaf in leaves if leaf[0] == "s"}  # names of removed fields stand as texts
    return names | said | {name.removeprefix("pk.") for name in names}, leaves


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _names(part)


def _leaves(value: Any) -> set[str]:
    """All scalars inside, each as a text with its kind."""
    if isinstance(value, (dict, list)):
        parts = value.values() if isinstance(value, dict) else value
        return set().union(*map(_leaves, parts)) if parts else set()
    if isinstance(value, str):
        return {"s" + value}
    return set() if value is None else {f"{value.__class__.__name__}{value}"}


def same(first: Any, second: Any) -> bool:
    """Equal and of the same kind; numbers digit for digit."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(part, second[name]) for name, part in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return first == second or (first != first and second != second)
    return type(first) is type(second) and first == second


# ---------------------------------------------------------------- what a table gets

_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?")
_TRUTHS: Final = {"true": True, "t": True, "1": True, "yes": True, "on": True, "y": True}
_LIES: Final = {"false": False, "f": False, "0": False, "no": False, "off": False, "n": False}
_BITS: Final = {"byte": 8, "smallint": 16, "integer": 32, "bigint": 64}
_OPEN: Final = ("any", "int", "string", "bool", "float64", "enum")


def cell_is_right(source: SourceType | None, column: Column, raw: Any, sent: Any) -> bool | None:
    """Whether a column's value is what its rule makes of the record's; None where this does not know the rule."""
    if raw is None or sent is None:
        return raw is None and sent is None
    kind = "any" if source is None else source.kind
    if kind not in _OPEN:
        return _declared(source, column, raw, sent)  # type: ignore[arg-type]
    if column.type in _BITS:
        number, bits = _number(raw), _BITS[column.type] - 1
        return type(sent) is int and number == sent and -(2**bits) <= sent < 2**bits
    read = _CELLS.get(column.type)
    return None if read is None else read(raw, sent)


def _declared(source: SourceType, column: Column, raw: Any, sent: Any) -> bool | None:
    if source.kind in ("decimal", "decimal_base64") and column.type == "numeric" and isinstance(raw, (bytes, str)):
        octets = raw if isinstance(raw, bytes) else b64decode(raw)
        return Decimal(sent) == Decimal(int.from_bytes(octets, "big", signed=True)).scaleb(-(source.scale or 0))
    if column.type.startswith("timestamp") and type(raw) is int:
        per_ms = {"ts_ms": 1, "ts_us": 1_000, "ts_ns": 1_000_000}.get(source.kind)
        if per_ms is not None:
            return sent == raw // per_ms
        return sent == raw * 86_400_000 if source.kind == "date_days" else None
    if source.kind == "uint64_wrapped" and column.type == "numeric" and type(raw) is int:
        return Decimal(sent) == raw % 2**64
    return None


def _number(raw: Any) -> Decimal | None:
    try:
        return Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
    except (InvalidOperation, TypeError, ValueError):
        return None


def _numeric(raw: Any, sent: Any) -> bool:
    return isinstance(sent, str) and _number(raw) == Decimal(sent)


def _double(raw: Any, sent: Any) -> bool:
    number = _number(raw)
    if number is None or not isinstance(sent, (int, float)):
        return False
    if isinstance(raw, float):
        return raw == sent
    digits = len("".join(map(str, number.as_tuple().digits)).rstrip("0")) or 1
    return Decimal(repr(sent)) == number or Decimal(f"{float(sent):.{digits}g}") == number


def _real(raw: Any, sent: Any) -> bool:
    number = _number(raw)
    return number is not None and _as_real(float(number)) == _as_real(float(sent)) and (sent != 0) == (number != 0)


def _as_real(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _boolean(raw: Any, sent: Any) -> bool:
    if isinstance(raw, str):
        return (_TRUTHS | _LIES).get(raw.lower()) is sent
    return type(raw) in (bool, int) and raw == sent and type(sent) is bool


def _text(raw: Any, sent: Any) -> bool:
    if isinstance(raw, str):
        return raw == sent
    if isinstance(raw, bool):
        return sent == ("true" if raw else "false")
    if isinstance(raw, (int, Decimal)):
        return Decimal(sent) == raw
    if isinstance(raw, float):
        return sent in ("NaN", "Infinity", "-Infinity") or float(sent) == raw
    if isinstance(raw, bytes):
        return b64decode(sent) == raw
    return _equal(raw, json.loads(sent, parse_float=Decimal))


def _timestamp(raw: Any, sent: Any) -> bool | None:
    if type(raw) is int:
        return type(sent) is int and raw == sent
    found = _ISO.fullmatch(raw) if isinstance(raw, str) and raw.isascii() else None
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{(offset or 'Z').replace('Z', '+00:00')}")
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):  # 24:00:00, the year 0
        return None
    return sent == (since.days * 86_400 + since.seconds) * 1_000 + int(((fraction or "0") + "00")[:3])


def _uuid(raw: Any, sent: Any) -> bool:
    return (UUID(bytes=raw) if isinstance(raw, bytes) else UUID(raw)) == UUID(sent)


def _ip(raw: Any, sent: Any) -> bool:
    return ip_address(raw.partition("/")[0]) == ip_address(sent)


def _object_cell(raw: Any, sent: Any) -> bool | None:
    if isinstance(raw, str):
        raw = parsed(raw)
    return _equal(raw, sent)


def _equal(raw: Any, sent: Any) -> bool:
    """The same JSON, where numbers may have become floats or texts that show the same digits, and bytes base64."""
    if isinstance(raw, dict):
        return isinstance(sent, dict) and raw.keys() == sent.keys() and all(_equal(raw[name], sent[name]) for name in raw)
    if isinstance(raw, list):
        return isinstance(sent, list) and len(raw) == len(sent) and all(map(_equal, raw, sent))
    if isinstance(raw, bool) or raw is None:
        return raw is sent
    if isinstance(raw, (int, float, Decimal)):
        return raw == sent or _double(raw, sent) or (isinstance(sent, str) and _number(raw) == _number(sent))
    return (b64decode(sent) if isinstance(raw, bytes) else sent) == raw


def _list_of(kind: str) -> Any:
    def read(raw: Any, sent: Any) -> bool | None:
        if isinstance(raw, str):
            return None
        parts = [cell_is_right(None, Column("", kind), *pair) for pair in zip(raw, sent, strict=True)]
        return False not in parts

    return read


_CELLS: Final[dict[str, Any]] = {
    "numeric": _numeric,
    "double precision": _double,
    "real": _real,
    "boolean": _boolean,
    "text": _text,
    "timestamp with time zone": _timestamp,
    "timestamp without time zone": _timestamp,
    "uuid": _uuid,
    "ip": _ip,
    "object": _object_cell,
    "text_array": _list_of("text"),
    "bigint_array": _list_of("bigint"),
}
