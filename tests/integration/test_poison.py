"""Promise 6 on real servers: one bad record costs one record, whatever is wrong with it and whoever finds out.

One run of the worker serves all kinds: each has a topic and a table where it is one in 101, and a pair where it is alone.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastavro
import pytest

from tests.integration.worker_rig import (
    ORDERED,
    Done,
    Letter,
    Sent,
    Site,
    StubRegistry,
    debezium,
    key_of,
    row_of,
    site_at,
)

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

GOOD = 100
BAD_ID = 51  # the bad record stands where a good one of this key would
OWN_HEADER = ("trace", b"\x00\xff")
KNOWN_SCHEMA, UNKNOWN_SCHEMA = 7, 999
AVRO_ROW = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "n", "type": "long"},
            {"name": "d", "type": "double"},
            {"name": "t", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
)


def avro(_: str, number: int) -> bytes:
    """A row behind Confluent's five bytes."""
    out = io.BytesIO(b"\0" + KNOWN_SCHEMA.to_bytes(4, "big"))
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, AVRO_ROW, row_of(number))
    return out.getvalue()


def change(table: str, number: int) -> bytes:
    """A row that can be stored, as a change of Debezium."""
    return debezium(table, 1_000 + number, row_of(number))


def with_field(**fields: Any) -> Callable[[str], bytes]:
    return lambda table: debezium(table, 1_000 + BAD_ID, row_of(BAD_ID, **fields))


def with_token(name: str, token: bytes) -> Callable[[str], bytes]:
    """A value that Python's JSON would write otherwise, or not at all."""
    return lambda table: with_field(**{name: "@@"})(table).replace(b'"@@"', token)


def without_id(table: str) -> bytes:
    row = row_of(BAD_ID)
    del row["id"]
    return debezium(table, 1_000 + BAD_ID, row)


@dataclass(frozen=True)
class Kind:
    """One kind of bad record. bad: its value, given the table. code, column, stage: what its letter must say."""

    code: str
    bad: Callable[[str], bytes]
    good: Callable[[str, int], bytes] = change
    column: str | None = None
    stage: str = "TRANSFORMATION"
    key: bytes | None = field(default_factory=lambda: key_of(BAD_ID))
    columns: str = ORDERED
    contract: str = ""


ARRIVAL = "id BIGINT, n BIGINT NOT NULL, d DOUBLE PRECISION, t TEXT, at TIMESTAMP WITH TIME ZONE, PRIMARY KEY (id)"
DECODE, WRITE = "VALUE_CONVERTER", "TASK_PUT"
KINDS: Mapping[str, Kind] = {
    "broken_json": Kind("json.malformed", lambda table: change(table, BAD_ID)[:-20], stage=DECODE),
    "truncated_avro": Kind("avro.truncated", lambda table: avro(table, BAD_ID)[:-3], avro, stage=DECODE),
    "unknown_schema": Kind(
        "schema.unknown",
        lambda table: b"\0" + UNKNOWN_SCHEMA.to_bytes(4, "big") + avro(table, BAD_ID)[5:],
        avro,
        stage=DECODE,
    ),
    "no_key": Kind("key.missing", without_id, key=None, column="id"),
    "two_to_the_63rd": Kind("type.overflow", with_field(n=2**63), column="n"),
    "ten_to_the_400th": Kind("type.overflow", with_token("d", b"1e400"), column="d"),
    "letters_for_a_number": Kind("type.not_a_number", with_field(n="abc"), column="n"),
    "nan_token": Kind("json.malformed", with_token("d", b"NaN"), stage=DECODE),
    "long_text": Kind("store.text_too_long", with_field(t="x" * 32_767), stage=WRITE),
    "not_null": Kind("value.null", with_field(n=None), columns=ARRIVAL, column="n"),
    "check": Kind(
        "store.check_failed", with_field(n=-1), columns=ORDERED.replace("n BIGINT", "n BIGINT CHECK (n >= 0)"), stage=WRITE
    ),
    "unknown_field": Kind(
        "field.unknown", with_field(colour="vermilion"), column="colour", contract='unknown_fields = "reject"\n'
    ),
    "year_9999": Kind("month.out_of_bounds", with_field(at="9999-12-01T00:00:00Z")),
}
# Fields called cdc_* are the worker's own: a record that has one is no worse than its neighbours.
CARRIES_OURS = "carries_cdc_version"
PLACES = [*KINDS, *(f"{name}_alone" for name in KINDS)]


def kind_of(place: str) -> Kind:
    return KINDS[place.removesuffix("_alone")]


@dataclass
class Outcome:
    """The one run that all tests here look at. bad_at: place -> offset of its bad record."""

    site: Site
    done: Done
    letters: Mapping[tuple[str, int], list[Letter]]
    bad_at: Mapping[str, int]


@pytest.fixture(scope="module")
def outcome(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    with site_at(kafka_address, crate_url, tmp_path_factory.mktemp("poison")) as site:
        bad_at = prepare(site)
        with StubRegistry({KNOWN_SCHEMA: AVRO_ROW}) as registry:
            done = site.run(dlq_max_ratio="1", **registry.settings())
        yield Outcome(site, done, site.letters(), bad_at)


def prepare(site: Site) -> dict[str, int]:
    """All topics, tables, contracts and messages; the offsets of the bad ones."""
    site.make_topics(*PLACES, CARRIES_OURS)
    site.make_table(CARRIES_OURS)
    for place in PLACES:
        kind = kind_of(place)
        site.make_table(place, kind.columns)
        if kind.contract:
            site.contract(place, kind.contract)
    bad_at = {place: 0 if place.endswith("_alone") else BAD_ID - 1 for place in PLACES}
    messages = [message for place in PLACES for message in messages_of(site, place)]
    offsets = site.send([*messages, *ours(site)])
    assert all(offsets[i] == bad_at[name_of(site, m)] for i, m in enumerate(messages) if m.headers)
    return bad_at


def messages_of(site: Site, place: str) -> Iterator[Sent]:
    """Ids 1 to 101, the bad record where 51 would be; or the bad record alone."""
    kind, topic = kind_of(place), site.topic(place)
    bad = Sent(topic, kind.key, kind.bad(place), (OWN_HEADER,))
    if place.endswith("_alone"):
        yield bad
        return
    for number in range(1, GOOD + 2):
        yield bad if number == BAD_ID else Sent(topic, key_of(number), kind.good(place, number))


def ours(site: Site) -> list[Sent]:
    """A record that would claim to be the newest for ever, and the change that follows it."""
    topic, table = site.topic(CARRIES_OURS), CARRIES_OURS
    claims = debezium(table, 1, row_of(1, cdc_version="zzz", cdc_deleted=True))
    return [Sent(topic, key_of(1), claims), Sent(topic, key_of(1), debezium(table, 2, row_of(1, t="newer"), "u"))]


def name_of(site: Site, message: Sent) -> str:
    return message.topic.removeprefix(f"{site.name}.")


@pytest.mark.parametrize("place", PLACES)
def test_a_bad_record_becomes_one_letter_that_says_why(place: str, outcome: Outcome) -> None:
    kind, topic, offset = kind_of(place), outcome.site.topic(place), outcome.bad_at[place]
    (letter,) = outcome.letters[topic, offset]
    assert letter.text("ingest.code") == kind.code
    assert letter.headers.get("ingest.column") == (kind.column.encode() if kind.column else None)
    assert letter.text("__connect.errors.stage") == kind.stage
    assert letter.text("ingest.at") == f"{topic}[0]@{offset}"


@pytest.mark.parametrize("place", PLACES)
def test_a_letter_has_the_bytes_of_its_record(place: str, outcome: Outcome) -> None:
    kind = kind_of(place)
    (letter,) = outcome.letters[outcome.site.topic(place), outcome.bad_at[place]]
    assert (letter.key, letter.value) == (kind.key, kind.bad(place))
    assert letter.headers[OWN_HEADER[0]] == OWN_HEADER[1]


@pytest.mark.parametrize("name", KINDS)
def test_the_neighbours_of_a_bad_record_are_stored(name: str, outcome: Outcome) -> None:
    rest = [number for number in range(1, GOOD + 2) if number != BAD_ID]
    assert outcome.site.column(name) == rest
    assert outcome.site.column(name, "t") == [f"row {number}" for number in rest]
    assert outcome.site.column(f"{name}_alone") == []


def test_a_record_that_carries_cdc_version_is_stored_and_does_not_stay_the_newest(outcome: Outcome) -> None:
    site = outcome.site
    assert site.column(CARRIES_OURS, "t") == ["newer"]
    assert site.column(CARRIES_OURS, "cdc_version") != ["zzz"]


def test_nothing_else_became_a_letter(outcome: Outcome) -> None:
    assert outcome.letters.keys() == {(outcome.site.topic(place), offset) for place, offset in outcome.bad_at.items()}


def test_the_books_balance_and_name_each_code(outcome: Outcome) -> None:
    answer, good = outcome.done.answer, GOOD * len(KINDS)
    assert outcome.done.code == 0
    assert answer["is_balanced"]
    assert answer["codes"] == Counter(kind_of(place).code for place in PLACES)
    assert answer["read"] == good + len(PLACES) + 2
    assert answer["dead_lettered"] == len(PLACES)
    assert answer["written"] + answer["superseded"] == good + 2
    assert answer["unsettled"] == answer["handed_back"] == answer["skipped"] == 0
    assert outcome.site.committed() == answer["read"]


def test_no_letter_and_no_log_line_tells_a_value(outcome: Outcome) -> None:
    told = [letter.text("__connect.errors.exception.message") for found in outcome.letters.values() for letter in found]
    for secret in ("abc", "9223372036854775808", "vermilion", "xxxx", "row 51"):
        assert not [text for text in told if secret in text], secret
        assert secret not in outcome.done.log
