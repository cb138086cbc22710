"""What strangers may put into a topic: bounded time, bounded memory, no SQL of theirs, nothing that commands a terminal."""

from __future__ import annotations

import gc
import io
import json
import logging
import re
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from time import process_time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.crate.columns import alter
from ingest.crate.statements import Action, Form, Statements
from ingest.errors import NewFields, Parked, Reject
from ingest.flow.errands import SHOWN_COLUMNS, advice
from ingest.flow.ports import Letter
from ingest.kafka.letters import reasons
from ingest.model import Column, NewColumn, Record, Table
from ingest.tables.contract import Contract
from ingest.tables.mapper import Mapper, compile_mapper
from ingest.tables.months import MappingRules
from ingest.tables.new_columns import new_columns
from ingest.watch.logs import HumanFormatter, tell
from tests.unit.decoding import decoder

NOW_MS = 1_767_225_600_000
MANY = 30_000
TYPES: Mapping[str, Column] = {
    "text": Column("v", "text"),
    "varchar": Column("v", "character varying", length=16),
    "bigint": Column("v", "bigint"),
    "double": Column("v", "double precision"),
    "numeric": Column("v", "numeric", precision=18, scale=2),
    "boolean": Column("v", "boolean"),
    "timestamp": Column("v", "timestamp with time zone"),
    "object": Column("v", "object", policy="ignored"),
    "dynamic": Column("v", "object", policy="dynamic"),
    "texts": Column("v", "text_array"),
    "bigints": Column("v", "bigint_array"),
    "geo_point": Column("v", "geo_point"),
    "geo_shape": Column("v", "geo_shape"),
    "ip": Column("v", "ip"),
    "uuid": Column("v", "uuid"),
    "bit": Column("v", "bit", length=8),
    "vector": Column("v", "float_vector", length=4),
}


def text(sign: str, end: str = "", begin: str = "") -> str:
    return json.dumps(begin + sign * (MANY // len(sign)) + end)


# JSON values as bytes of a record. What looks like the beginning of something is what an expression may search for too long.
HOSTILE: Mapping[str, str] = {
    **{f"lists {depth} deep": "[" * depth + "]" * depth for depth in (99, 101, 300, 500, 900, 1_100, MANY)},
    **{f"objects {depth} deep": '{"a":' * depth + "1" + "}" * depth for depth in (99, 101, 300, 500, 900, 1_100, MANY // 3)},
    **{f"number {number}": number for number in ("1e999999999", "-1e999999999", "1e-999999999", "1e400", "1e-400", "-0.0e-0")},
    "integer of 200,000 digits": "1" * 200_000,
    "fraction of 200,000 digits": "1." + "1" * 200_000,
    "tiny fraction": "0." + "0" * 200_000 + "1",
    "text of digits": text("1"),
    "text of digits and a letter": text("1", "x"),
    "text of digits and dots": text("1."),
    "text of an exponent": '"1e999999"',
    "blanks": text(" ", "x"),
    "blanks behind a word": text(" ", "x", "POINT"),
    "brackets": text("("),
    "geometry": text("(", begin="GEOMETRYCOLLECTION "),
    "points": text("1 1,", begin="POLYGON (("),
    "braces": text("{"),
    "array": text("a,", "}", "{"),
    "quotes": text('"', "}", "{"),
    "pairs": text('"a"=>"b",'),
    "backslashes": text("\\", begin="\\x"),
    "colons": text("1:"),
    "dashes": text("1-"),
    "duration": text("9", "Y", "P"),
    "year": text("0", "-01-01T00:00:00Z"),
    "base64": text("QUJD"),
    "money": text("1,111", begin="$"),
    "lone surrogate": '"\\ud800"',
    "NUL": '"\\u0000"',
    "terminal": '"\\u001b[2J\\u0007"',
    "SQL": json.dumps("'); DROP TABLE victim; --"),
    "object of SQL": json.dumps({"a\"b'); DROP TABLE victim; --": 1}),
    "object of surrogates": '{"\\ud800":"\\udfff"}',
    "object without a name": '{"":{"":1}}',
    "object of 5,000": json.dumps({f"f{number}": number for number in range(5_000)}),
    "a name of 300 KB": json.dumps({"k" * 300_000: 1}),
    "20,000 numbers": json.dumps([1] * 20_000),
}
ENVELOPES: Mapping[str, str] = {
    "plain": '{"id":1,"x":2,"v":%s}',
    "debezium": '{"before":null,"after":{"id":1,"v":%s},"source":{"version":"3","connector":"postgresql","name":"s","ts_ms":1,'
    '"db":"s","schema":"p","table":"t","lsn":7},"op":"c","ts_ms":1}',
}


def table(*columns: Column) -> Table:
    cdc = (Column("id", "bigint"), *columns, Column("cdc_version", "text"), Column("cdc_deleted", "boolean"))
    return Table("doc", "t", {column.name: column for column in cdc}, ("id",))


def mapper(*columns: Column, policy: str | None = None) -> Mapper:
    return compile_mapper(table(*columns), Contract("doc.t", unknown_fields=policy), settings=MappingRules())


def record(value: str | bytes, offset: int = 0) -> Record:
    body = value.encode() if isinstance(value, str) else value
    return Record("t", 0, offset, NOW_MS, b'{"id":1}', body)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_is_mapped_or_rejected_in_time(name: str, envelope: str) -> None:
    """Time that grows with the square of a value's length would be many seconds; what is allowed grows with its length."""
    given_record = record(ENVELOPES[envelope] % HOSTILE[name])
    made = {type_: mapper(column) for type_, column in TYPES.items()} | {"extra": mapper(FREE)}
    began_s = process_time()
    for each in made.values():
        outcome(each, given_record)
    took_s = process_time() - began_s
    assert took_s < 200 * len(made) * msgspec_s(given_record) + 2.0


FREE = Column("cdc_extra", "object", policy="ignored")


def outcome(to: Mapper, given_record: Record) -> str:
    """Anything but a change or one of our own verdicts fails the test. What a verdict says is short."""
    said = "mapped"
    try:
        for envelope in decoder().decode(given_record):
            to.map(envelope, given_record, NOW_MS)  # type: ignore[arg-type]
    except (Reject, Parked, NewFields) as verdict:
        said = str(verdict)
    assert len(said) < 1_000
    return said


def msgspec_s(given_record: Record) -> float:
    """What it takes to look at the bytes once; most are refused early, so the long way counts as well."""
    began_s = process_time()
    for _ in range(10):
        try:
            msgspec.json.decode(given_record.value or b"")
        except (msgspec.DecodeError, ValueError, RecursionError):
            json.dumps((given_record.value or b"").decode())
    return (process_time() - began_s) / 10


# ---------------------------------------------------------------- memory


def kept_bytes(work: Callable[[], object]) -> int:
    """What is still held when it is done."""
    gc.collect()
    tracemalloc.start()
    try:
        keep = work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        del keep


@pytest.mark.parametrize("policy", ["ignore", "extra"])
def test_records_that_each_make_up_names_are_not_remembered(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.tables.mapper._KNOWN_FIELDS", 2_000)

    def after(records: int) -> int:
        return kept_bytes(lambda: made_up(policy, records))

    # Each record has 200 names of its own, so the tenth fills what may be remembered.
    few, many = after(12), after(60)
    assert many < 2 * few


def made_up(policy: str, records: int) -> Mapper:
    to = mapper(FREE, policy=policy)
    for offset in range(records):
        outcome(to, record(json.dumps({"id": 1} | {f"f{offset}_{number}": number for number in range(200)}), offset))
        to.take_unknown_fields()
    return to


def test_sets_of_names_that_nobody_asks_for_are_not_counted() -> None:
    to = mapper(FREE, policy="extra")
    for offset in range(50):
        outcome(to, record(json.dumps({"id": 1, f"f{offset}": 1}), offset))
    assert to.take_unknown_fields() == {}


# ---------------------------------------------------------------- names


NAMES = st.text(max_size=30) | st.sampled_from(
    ['a"b', 'a"); DROP TABLE victim; --', "a' OR 1=1 --", "/* */", "$1", "?", "a\\", '"', '""', "\0", "\ud800", "ЖЗ", "select"]
)
# What the texts are made of beside quoted names, parameters and literals; a stranger's word would be none of these.
WORDS = frozenset(
    re.findall(
        r"\w+",
        """INSERT INTO VALUES ON CONFLICT DO UPDATE SET CASE WHEN THEN CAST AS INTEGER TEXT ELSE END excluded NOTHING FALSE TRUE
        NULL WHERE AND IN DELETE FROM SELECT REFRESH TABLE PARTITION stale bigint ALTER ADD COLUMN BIGINT BOOLEAN NUMERIC INDEX
        OFF STORAGE WITH columnstore false""",
    )
)
TOKEN = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|\$?\d+|\w+|[^\w\s]|\s+', re.DOTALL)
SIGNS = frozenset("(),.=?<|:")


def strangers(sql: str) -> list[str]:
    """What stands in a statement outside of quotes and is none of ours."""
    found = [token for token in TOKEN.findall(sql) if token[0] not in "\"'" and not token.isspace()]
    assert "".join(TOKEN.findall(sql)) == sql
    return [token for token in found if token not in WORDS and token not in SIGNS and not token.lstrip("$").isdigit()]


@given(st.lists(NAMES, min_size=4, max_size=6, unique=True), st.sampled_from(Action), st.sampled_from(Form))
def test_no_name_leaves_its_quotes_in_any_statement(names: list[str], action: Action, form: Form) -> None:
    schema, name, key, *rest = names
    columns = {key: Column(key, "text"), **{each: Column(each, "text") for each in rest}}
    cdc = {"cdc_version": Column("cdc_version", "text"), "cdc_deleted": Column("cdc_deleted", "boolean")}
    made = Table(schema, name, {**columns, **cdc, "month": Column("month", "bigint")}, (key,), "month")
    statements = Statements(made)
    sql = statements.of(action, (*rest, "cdc_version"), form).sql
    assert strangers(sql) == []
    assert strangers(statements.look_up([(value,) for value in names], [0])) == []
    assert strangers(statements.refresh(0)) == []
    assert sql.count("?") - sum(token.count("?") for token in TOKEN.findall(sql) if token[0] == '"') <= len(columns) + 4


@given(st.dictionaries(NAMES, st.integers() | st.text() | st.booleans(), min_size=1, max_size=4))
def test_no_name_leaves_its_quotes_where_strangers_make_columns(fields: dict[str, Any]) -> None:
    columns = [column for column in new_columns(fields, None, fields) if column.type]
    assert strangers(alter(table(), columns)) == []


def test_every_identifier_of_the_write_path_is_quoted_by_one_function(pytestconfig: pytest.Config) -> None:
    """Besides it only NewColumn doubles quotes, because it stands left of the room that has that function."""
    rooms = pytestconfig.rootpath / "ingest"
    sources = [file for room in ("crate", "flow", "tables", "formats", "kafka") for file in (rooms / room).glob("*.py")]
    doubling = {file.relative_to(rooms).as_posix() for file in [*sources, rooms / "model.py"] if DOUBLED in file.read_text()}
    assert doubling == {"crate/statements.py", "model.py"}


DOUBLED = """replace('"', '""')"""


# ---------------------------------------------------------------- letters and logs


def test_a_name_of_a_megabyte_makes_no_letter_that_no_topic_takes() -> None:
    reject = Reject("field.unknown", "the record has a field without a column", column="k" * 1_000_000)
    headers = reasons(Letter(record(b"{}"), reject, "doc.t", "map"), "group", "0")
    assert sum(len(name) + len(value) for name, value in headers) < 2_000


def test_ten_thousand_fields_make_one_line_of_advice() -> None:
    lacking = [NewColumn(f"f{number}", "BIGINT") for number in range(10_000)]
    told = advice("doc.t", lacking)
    assert len(told) < 1_000
    assert told.endswith(f" (and {10_000 - SHOWN_COLUMNS} more)")


COMMANDS = ("\x1b[2J", "\x07", "\r", "\x9b31m", "\x7f", "\u202e", "\u2028", "\0")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_sign_that_commands_a_terminal_is_logged_for_people(command: str) -> None:
    line = logging.makeLogRecord({"name": "ingest", "msg": "fields_ignored", "columns": [f"a{command}b"], "levelno": 30})
    assert command not in HumanFormatter().format(line)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_sign_that_commands_a_terminal_is_in_a_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"table:doc.t is parked: column a{command}b", "error", "ended")
    assert command not in capsys.readouterr().err


@pytest.fixture(autouse=True)
def quiet() -> Iterator[io.StringIO]:
    """Nothing here may log a value by itself."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == ""
