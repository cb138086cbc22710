"""The status page: what it says when all is well and when it is not, and that names of others never become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ingest.watch.page import MOST_PARTITIONS, page
from ingest.watch.rates import WINDOW_S, Rates
from ingest.watch.status import Board, Health, ParkedPlace, Status
from ingest.watch.watch import Watch

WELL = Health(True, "ok")
QUIET = Status(
    group="shop",
    at_ms=1_700_000_100_000,
    started_ms=1_700_000_000_000,
    is_ready=True,
    reasons=(),
    assigned=2,
    tables={"doc.orders": "ordered"},
    read=1_234,
    unsettled_records=3,
    unsettled_bytes=16_000_000,
    limit_bytes=64_000_000,
    records={("doc.orders", "written"): 1_200, ("doc.orders", "superseded"): 2, ("", "skipped"): 29},
    skipped={"resolved": 29},
    lag={("orders", 0): 7, ("orders", 1): None},
    permits=4.0,
    max_permits=4,
    in_flight=1,
    rates={"": 120.0, "doc.orders": 4.25},
)
PLACE = ParkedPlace("topic:orders", "topic.truncate", "the source truncated orders: empty the table by hand", 1_700_000_000_000)


class Tags(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""


def text_of(status: Status, health: Health = WELL, url: str = "") -> str:
    shown = Tags(page(status, health, url))
    assert [] == shown.open
    return shown.text


def rows_of(status: Status) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", page(status, WELL))
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_a_worker_that_is_well_shows_its_topics_tables_rates_and_books() -> None:
    text, rows = text_of(QUIET), rows_of(QUIET)
    assert ["orders", "reading", "7", "2"] in rows
    assert ["doc.orders", "ordered", "4.2", "1,200", "2", "0", "0"] in rows
    assert "1,234 read = 1,200 written + 2 superseded + 29 skipped + 0 dead-lettered + 0 handed back + 3 unsettled" in text
    assert "25% of memory" in text
    assert "read a second120" in text
    assert "As of 2023-11-14 22:15:00 UTC, started 2023-11-14 22:13:20 UTC" in text
    assert "kafka-python" in text
    assert "Parked" not in text


def test_what_is_parked_stands_with_its_reason_and_the_command_that_lets_it_go_on() -> None:
    text = text_of(replace(QUIET, parked=(PLACE,), paused={("orders", 0): "parked"}), url="http://127.0.0.1:9465")
    assert "ready, but something is parked" in text
    assert "empty the table by hand" in text
    assert "ingest unpark topic:orders --url http://127.0.0.1:9465" in text


def test_a_name_with_spaces_and_quotes_can_be_pasted_into_a_shell() -> None:
    place = PLACE._replace(subject="table:doc.it's mine")
    assert """ingest unpark 'table:doc.it'"'"'s mine'""" in text_of(replace(QUIET, parked=(place,)))


@pytest.mark.parametrize(
    ("status", "health", "told"),
    [
        (
            replace(QUIET, is_ready=False, reasons=("CrateDB is away (refused)",), is_breaker_open=True),
            WELL,
            "CrateDB is away (refused)",
        ),
        (QUIET, Health(False, "the loop has not moved for 61 s"), "the loop has not moved for 61 s"),
        (Status(group="shop"), WELL, "not started"),
    ],
    ids=["store away", "stuck", "starting"],
)
def test_why_it_is_not_ready_stands_at_the_top(status: Status, health: Health, told: str) -> None:
    assert re.match(rf"\(not ready\) shopshopnot ready.*?{re.escape(told)}", text_of(status, health))


def test_dead_letters_and_retries_stand_with_their_codes_the_most_frequent_first() -> None:
    rows = rows_of(replace(QUIET, dead_letters={"a.few": 2, "b.many": 1_311}, retries={"store.timeout": 4}))
    reasons = [row for row in rows if row[0] in ("a.few", "b.many", "store.timeout")]
    assert [["b.many", "1,311"], ["a.few", "2"], ["store.timeout", "4"]] == reasons


def test_of_thousands_of_partitions_only_the_worst_are_shown() -> None:
    status = replace(QUIET, lag={("orders", number): number for number in range(5_000)})
    rows = rows_of(status)
    behind = [row[0] for row in rows if row[0].startswith("orders[")]
    assert [f"orders[{number}]" for number in range(4_999, 4_999 - MOST_PARTITIONS, -1)] == behind
    assert f"and {4_999 - MOST_PARTITIONS:,} more" in text_of(status)
    assert len(page(status, WELL)) < 20_000


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


def test_names_of_others_never_become_markup() -> None:
    """Wherever a text of the status may come from outside, here is one that would like to be a script."""
    status = Status(
        group=EVIL,
        reasons=(EVIL,),
        parked=(ParkedPlace(f"topic:{EVIL}", EVIL, EVIL, 0),),
        tables={EVIL: EVIL},
        records={(EVIL, "written"): 1},
        skipped={EVIL: 1},
        dead_letters={EVIL: 1},
        retries={EVIL: 1},
        lag={(EVIL, 0): 1, (EVIL, 1): 2},
        paused={(EVIL, 0): EVIL},
    )
    shown = Tags(page(status, Health(False, EVIL), url=EVIL))
    assert not {"script", "img"} & set(shown.tags)
    assert {"charset", "name", "content", "http-equiv", "class", "lang"} >= shown.attributes
    assert 15 <= shown.text.count("<script>alert(1)</script>")


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert not re.search(r"https?:|src=|href=|@import|url\(", page(QUIET, WELL))


# ---------------------------------------------------------------- rates


def test_a_rate_is_that_of_the_last_half_minute() -> None:
    rates = Rates()
    for second in range(100):
        rates.note(float(second), {"a": 1_000 * second})
    for second in range(100, 100 + int(WINDOW_S) + 2):
        found = rates.note(float(second), {"a": 99_000})
    assert {"a": 0.0} == found


def test_the_posted_status_has_rates_by_table() -> None:
    wall_s, records = 50.0, 0
    board = Board()
    watch = Watch(board, wall_s=lambda: wall_s)
    watch.attach(lambda: Status(read=2 * records, records={("doc.t", "written"): records, ("", "skipped"): records}))
    watch.post()
    wall_s, records = 60.0, 100
    watch.post()
    assert {"": 20.0, "doc.t": 10.0} == board.status.rates
