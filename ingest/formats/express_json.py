"""Express readers of JSON: Debezium's envelopes, CockroachDB's wrapped ones and plain rows.

Typed decoders of msgspec hold every value against what the table needs and skip what nobody needs; names that stand twice are
found by counting colons. What each line refuses is what the long way might read otherwise. Pure; used by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from ingest.flow.ports import Express, Make, Wanted, WantedField
from ingest.formats import json, positions, signals
from ingest.formats.cockroach import PREVIOUS
from ingest.formats.express_code import PLACE, Beside, Code, decoder, object_type, tuple_of, write_key, write_values
from ingest.formats.unavailable import OPENING_BRACKET, Placeholder
from ingest.model import Envelope, Fields, Op

OPS: Final = {"c": Op.INSERT, "r": Op.INSERT, "u": Op.UPDATE}


class _Sample(msgspec.Struct, gc=False):
    """What tells one source from another, of a record that the long way has read."""

    source: positions.Usual


class Body:
    """How the JSON of a record's value is read.

    sample: a row that the long way has read. prefix: what stands before its payload, where that has its schema beside it.
    """

    def __init__(self, wanted: Wanted, make: Make, sample: Fields, prefix: bytes, key_prefix: bytes) -> None:
        self.wanted = wanted
        self.code = Code(make)
        self._fields = wanted.row
        self._sample = sample
        self._prefix, self._key_prefix = prefix, key_prefix

    def find_key_in_row(self) -> bool:
        """Read the row's fields of the key's names as the key wants them; False where not all are there, or the row's own
        columns want one of them otherwise."""
        key, row = {field.name: field for field in self.wanted.key or ()}, {field.name: field for field in self.wanted.row}
        wishes = {name: {row[name], field} - {WantedField(name, "unread")} for name, field in key.items() if name in row}
        if len(wishes) < len(key) or any(len(found) > 1 for found in wishes.values()):
            return False
        self._fields = tuple(next(iter(wishes.get(field.name, ())), field) for field in self.wanted.row)
        return True

    def begin(self) -> str | None:
        """Write the cut of the body and the reading of the key; the expression of its values."""
        self.cut()
        return write_key(self.code, self.wanted.key, self._key_prefix)

    def begin_beside_key(self, key: bytes | None) -> bool:
        """The same where the Kafka key is not what rows are known by, and only its names tell anything; key: the sample's."""
        self.cut()
        names = key_names(key, self._key_prefix)
        fields = None if names is None else [WantedField(name, "unread") for name in names]
        return write_key(self.code, fields, self._key_prefix) is not None

    def cut(self) -> None:
        """Write the cut of the body, so that it begins with an object."""
        code = self.code
        if self._prefix:
            code.known["prefix"] = self._prefix
            code.line("if not body.startswith(prefix) or body[-1] != 125: return None")
            code.line(f"body = body[{len(self._prefix)}:-1]")
        code.line("if body[0] != 123: return None")

    def row(self, text: str, variable: str, beside: Sequence[Beside] = ()) -> bool:
        """Write the reading of a row from the bytes in a variable; False where its values cannot be read so."""
        type_ = object_type(self._fields, is_key=False, beside=beside)
        if type_ is None:
            return False
        self.code.known["decode_row"] = decoder(type_)
        self.code.line(f"{variable} = decode_row({text})")
        return True

    def names(self, text: str, variable: str, count: str) -> None:
        """Write the refusal of texts with more names than these. Colons in the texts of the row, as in times of day, explain
        colons that stand behind no name, but not where they may be written as \\u003a."""
        clocks = [
            f"{variable}.f{place}"
            for place, field in enumerate(self._fields)
            if field.kind == "text" and ":" in str(self._sample.get(field.name))
        ]
        if not clocks:
            self.code.line(f"if {text}.count(b':') != {count} and not has_names({text}, {count}): return None")
            return
        self.code.line(f"colons = {count}")
        for clock in clocks:
            self.code.line(f"if {clock} is not None: colons += {clock}.count(':')")
        self.code.line(f"if ({text}.count(b':') != colons or 92 in {text}) and not has_names({text}, {count}): return None")

    def moment_of(self, variable: str) -> str:
        place = next((n for n, field in enumerate(self.wanted.row) if field.name == self.wanted.moment), None)
        return "None" if place is None else f"{variable}.f{place}"

    def refuse_placeholder(self, text: str, octets: Iterable[int], may_hold: Callable[[bytes], bool]) -> None:
        """Write the refusal of texts that may hold the placeholder, which they do only if they hold one of these octets."""
        self.code.known["may_hold"] = may_hold
        some = " or ".join(f"{octet} in {text}" for octet in octets)
        self.code.line(f"if ({some}) and may_hold({text}): return None")

    def end(self, key: str | None, word: str, version: str, ts_ms: str) -> Express:
        """key: None where it is what `find_key_in_row` found."""
        values = write_values(self.code, "r", self._fields)
        if key is None:
            key = tuple_of(values[field.name] for field in self.wanted.key or () if field.kind != "unread")
            self.code.line(f"if None in {key}: return None")
        row = [values[field.name] for field in self.wanted.row if field.kind != "unread"]
        self.code.line(f"return make({', '.join([PLACE, word, version, ts_ms, 'was', key, *row])})")
        return self.code.compiled()


def key_names(key: bytes | None, prefix: bytes) -> Sequence[str] | None:
    """The names in a Kafka key that is a JSON object; None for any other."""
    text = (key or b"")[len(prefix) : -1 if prefix else None]
    return list(json.decode(text)) if text[:1] == b"{" else None


# ---------------------------------------------------------------- Debezium


def debezium(body: Body, text: bytes, placeholder: Placeholder) -> Express | None:
    """Envelopes of the usual connectors; text: the sample's payload."""
    try:
        source = msgspec.json.decode(text, type=_Sample).source
    except json.BAD_INPUT:
        return None
    words = tuple(word for word, op in OPS.items() if op in body.wanted.ops)
    version = _version(source)
    if version is None or not words or len(body.wanted.row) == len(signals.COLUMNS):
        return None
    key = body.begin()
    code = body.code
    code.known |= {"decode": msgspec.json.Decoder(_debezium_type(source, words)).decode, "usual_binlog": positions.usual_binlog}
    code.line("seen = decode(body)")
    code.line("text = bytes(seen.after)")
    if key is None or not body.row("text", "r"):
        return None
    body.names("text", "r", str(len(body.wanted.row)))
    body.refuse_placeholder("text", (*placeholder.rare_bytes, OPENING_BRACKET), placeholder.may_be_in)
    code.line("word, source, was = seen.op, seen.source, None")
    code.line("if word == 'u':")
    code.line(" before = bytes(seen.before)")
    code.line(" if before != b'null':")
    code.lines += [f"  {line}" for line in image(body, "before")]
    if body.wanted.before_real:
        code.line(f"  was = {body.moment_of('image')}")
    return body.end(key, "word", version, "source.ts_ms")


def image(body: Body, text: str) -> list[str]:
    """The lines that read an image of before, which has the fields of the row."""
    count = len(body.wanted.row)
    return [
        f"image = decode_row({text})",
        f"if {text}.count(b':') != {count} and not has_names({text}, {count}): return None",
    ]


def _version(source: positions.Usual) -> str | None:
    """The expression of the version's text; None where the long way takes a closer look at the sample."""
    if source.lsn is not None:
        return "str(source.lsn).zfill(20)"
    return None if positions.usual_binlog(source) is None else "usual_binlog(source)[1]"


def _debezium_type(source: positions.Usual, words: tuple[str, ...]) -> type:
    """The envelope of one table of one connector, with what of the block `source` tells it from others held to the sample's."""
    has_lsn = source.lsn is not None
    pinned: list[Any] = [
        ("connector", Literal[source.connector]),
        ("table", Literal[source.table]),
        ("db", Literal[source.db]),
        ("schema", *((None, None) if source.schema is None else (Literal[source.schema],))),
        ("ts_ms", positions.Positive | None, None),
        ("lsn", positions.Unsigned if has_lsn else None, *(() if has_lsn else (None,))),
        ("file", str | None, None),
        ("pos", positions.Unsigned | None, None),
        ("row", positions.Unsigned | None, None),
    ]
    block = msgspec.defstruct("ExpressSource", sorted(pinned, key=len), gc=False)
    parts: list[Any] = [
        ("after", msgspec.Raw),
        ("source", block),
        ("op", Literal[words]),
        ("before", msgspec.Raw, json.NULL),
    ]
    return msgspec.defstruct("ExpressEnvelope", parts, gc=False)


# ---------------------------------------------------------------- rows without an envelope


def plain(envelope: Envelope, body: Body) -> Express | None:
    """A row is the whole value. Rows of one or two fields may be the wrapping of others."""
    if len(body.wanted.row) <= 2 or envelope.op is not Op.INSERT:
        return None
    key = body.begin()
    if key is None or not body.row("body", "r"):
        return None
    body.names("body", "r", str(len(body.wanted.row)))
    body.code.line("was = None")
    return body.end(key, repr(Op.INSERT.value), "None", "None")


# ---------------------------------------------------------------- CockroachDB


def cockroach(envelope: Envelope, body: Body, text: bytes) -> Express | None:
    """Wrapped envelopes with their time in `updated`, of rows that name the parts of their key; text: the sample's payload."""
    try:
        names: dict[str, Any] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except json.BAD_INPUT:
        return None
    if not {"after", "updated"} <= names.keys() <= {"after", "before", "updated", "mvcc_timestamp", "topic"}:
        return None
    if envelope.op is not Op.INSERT or any(field.name == PREVIOUS for field in body.wanted.row):
        return None
    is_array = body.wanted.key is None
    key, code = _cockroach_key(body) if is_array else body.begin(), body.code
    code.known["decode"] = msgspec.json.Decoder(_cockroach_type(names)).decode
    code.line("seen = decode(body)")
    code.line("text = bytes(seen.after)")
    if key is None or not body.row("text", "r"):
        return None
    if is_array:
        places = [f"r.f{n}" for n, field in enumerate(body.wanted.row) if field.name in body.wanted.key_fields]
        code.line("for part in decode_parts(raw_key):")
        code.line(f" if part not in ({', '.join(places)},): return None")
    _cockroach_rest(body, names)
    return body.end(key, repr(Op.INSERT.value), "version", "ts_ms")


def _cockroach_type(names: dict[str, Any]) -> type:
    """What stands in the sample must stand in the others. Parts that are looked at by nobody are held to be texts."""
    types: dict[str, Any] = {"after": msgspec.Raw, "before": msgspec.Raw, "updated": str, "mvcc_timestamp": str}
    if "topic" in names:
        types["topic"] = Literal[msgspec.json.decode(names["topic"], type=str)]
    return msgspec.defstruct("ExpressWrapped", [(name, types[name]) for name in names], gc=False, forbid_unknown_fields=True)


def _cockroach_key(body: Body) -> str | None:
    """Write the refusal of keys that are no list; its parts must stand in the row, else the row is only a part of one."""
    body.code.known["decode_parts"] = msgspec.json.Decoder(list[int | str]).decode
    body.code.line("if raw_key[0] != 91: return None")
    body.code.line("if body[0] != 123: return None")
    return "None"


def _cockroach_rest(body: Body, names: dict[str, Any]) -> None:
    """Write the looks at the image of before, at names that stand twice around the images, and at the time."""
    code = body.code
    code.line(f"was, names = None, {len(names) + len(body.wanted.row)}")
    if "before" in names:
        code.line("before = bytes(seen.before)")
        code.line("if before != b'null':")
        code.lines += [f" {line}" for line in image(body, "before")]
        code.line(f" was, names = {body.moment_of('image')}, names + {len(body.wanted.row)}")
    body.names("body", "r", "names")
    code.line("wall, _, logical = seen.updated.partition('.')")
    code.line("if not (wall.isdecimal() and logical.isdecimal() and seen.updated.isascii() and len(wall) < 21): return None")
    code.line("version, ts_ms = wall.rjust(20, '0') + logical.rjust(10, '0'), int(wall) // 1_000_000")
