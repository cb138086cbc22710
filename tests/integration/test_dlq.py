"""`ingest dlq` against a real broker and the embedded one: letters that the worker's own sender wrote, and strays."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from ingest import cli
from ingest.commands import looking, shared
from ingest.errors import Reject, Stop
from ingest.flow.ports import Letter
from ingest.kafka.dead_letters import KafkaDeadLetters
from ingest.model import Record
from ingest.settings import Settings
from ingest.tools import dlq
from ingest.tools.connect import dead_letter_settings
from tests.kafka_rig import BrokerRig

NOW_MS = int(time.time() * 1000)
HOUR_MS = 3_600_000


class Site:
    """A group with its dead-letter topic of three partitions."""

    def __init__(self, broker: BrokerRig) -> None:
        self.broker, self.topic = broker, broker.topic(3)
        group = f"g-{uuid.uuid4().hex[:8]}"
        self.environ = {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "INGEST_GROUP_ID": group,
            "INGEST_DLQ_TOPIC": self.topic,
        }
        self.settings = Settings.load(self.environ)

    def send(self, *letters: Letter) -> None:
        """As a worker does."""
        sender = KafkaDeadLetters(dead_letter_settings(self.settings))
        for letter in letters:
            sender.send(letter)
        sender.close(20)
        assert len(letters) == len(sender.take_acknowledged())

    def put(self, value: bytes, sent_ms: int, partition: int = 0, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        producer = KafkaProducer(bootstrap_servers=[self.broker.address])
        try:
            producer.send(self.topic, value, None, list(headers), partition, sent_ms).get(timeout=20)
        finally:
            producer.close()

    def positions(self, **asked: object) -> list[str]:
        text = dlq.listing(self.settings, dlq.Asked(as_json=True, **asked)).text  # type: ignore[arg-type]
        return [each["source"] or each["position"] for each in json.loads(text)]


@pytest.fixture
def site(broker: BrokerRig) -> Site:
    return Site(broker)


def letter(offset: int, code: str = "type.not_a_number", topic: str = "orders", table: str | None = "doc.orders") -> Letter:
    record = Record(topic, 0, offset, NOW_MS, b'{"id":%d}' % offset, b'{"id":%d,"total":"x"}' % offset, (("trace", None),))
    return Letter(record, Reject(code, "the text is no number", column="total"), table, "map")


def test_letters_of_the_worker_are_listed_filtered_and_counted(site: Site) -> None:
    site.send(*map(letter, range(4)), letter(9, "month.missing", "items", "doc.items"))
    assert {"orders:0:0", "orders:0:1", "orders:0:2", "orders:0:3", "items:0:9"} == set(site.positions())
    assert ["items:0:9"] == site.positions(topic="items")
    assert ["items:0:9"] == site.positions(table="items")
    assert ["items:0:9"] == site.positions(code="month.*")
    assert [] == site.positions(stage="write")
    assert 2 == len(site.positions(limit=2))
    counts = json.loads(dlq.listing(site.settings, dlq.Asked(counts=True, as_json=True)).text)
    assert [(4, "orders"), (1, "items")] == [(each["letters"], each["topic"]) for each in counts]


def test_a_letter_is_found_by_its_place_and_by_its_record(site: Site) -> None:
    site.send(letter(7))
    found = dlq.show_letter(site.settings, "orders:0:7")
    assert b'{"id":7,"total":"x"}' == found.record.value
    at = found.at
    assert found == dlq.show_letter(site.settings, f"{at.partition}:{at.offset}")
    assert found == dlq.show_letter(site.settings, f"{site.topic}[{at.partition}]@{at.offset}")
    assert "type.not_a_number" in dlq.page(found)


def test_of_several_letters_about_a_record_the_newest_is_shown(site: Site) -> None:
    site.send(letter(7, "first.reason"))
    site.send(letter(7, "second.reason"))
    assert "second.reason" == dlq.show_letter(site.settings, "orders:0:7").code


@pytest.mark.parametrize("place", ["0:0", "0:99", "7:0", "orders:0:7"])
def test_a_place_without_a_letter_is_one_sentence(site: Site, place: str) -> None:
    with pytest.raises(Stop, match="holds no letter") as stop:
        dlq.show_letter(site.settings, place)
    assert 2 == shared.exit_code(stop.value)


def test_time_filters_hold_although_other_tools_send_old_times(site: Site) -> None:
    for hours in (3, 0, 2, 1):
        site.put(b"%d" % hours, NOW_MS - hours * HOUR_MS)
    assert ["0:3", "0:1"] == site.positions(since="100m")
    assert ["0:0", "0:2"] == site.positions(until="100m")
    assert ["0:2"] == site.positions(since="150m", until="100m")
    assert [] == site.positions(since="2100-01-01")
    assert 4 == len(site.positions(since="1970-01-01"))


def test_a_topic_of_thousands_of_letters_is_read_to_the_end_seen_at_the_start(site: Site) -> None:
    site.broker.put(site.topic, ((number % 3, None, b"x" * 200, []) for number in range(3_000)))
    answer = dlq.listing(site.settings, dlq.Asked(limit=10))
    assert (11, 2_990) == (len(answer.text.splitlines()), answer.left_out)


def test_a_missing_topic_is_one_sentence_and_usage(site: Site, monkeypatch: pytest.MonkeyPatch, broker: BrokerRig) -> None:
    for name, value in {**site.environ, "INGEST_DLQ_TOPIC": "nobody.dlq"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    result = CliRunner().invoke(cli.app, ["dlq", "list"])
    assert (2, "", 1) == (result.exit_code, result.stdout, len(result.stderr.splitlines()))
    assert "there is no topic nobody.dlq" in result.stderr
    assert "nobody.dlq" not in broker.topics()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("list",), "orders:0:7"),
        (("list", "--counts"), "1        orders  doc.orders  type.not_a_number"),
        (("list", "--since", "1h", "--code", "type.*", "--table", "orders", "--stage", "map"), "orders:0:7"),
        (("show", "orders:0:7"), '    "total": "x"'),
        (("show", "orders:0:7", "--value"), '{"id":7,"total":"x"}'),
        (("list", "--code", "nothing.*"), "no letters"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_command_line(site: Site, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], shown: str) -> None:
    site.send(letter(7))
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    result = CliRunner().invoke(cli.app, ["dlq", *arguments])
    assert (0, "") == (result.exit_code, result.stderr)
    assert shown in result.stdout


def test_a_raw_value_is_written_byte_for_byte(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    site.put(b"\x00\xff\r\n", NOW_MS)
    show: Callable[..., None] = looking.dlq_show
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ingest.watch.logs.set_up", lambda *_: None)
    show("0:0", value=True)
    assert b"\x00\xff\r\n" == capfdbinary.readouterr().out
