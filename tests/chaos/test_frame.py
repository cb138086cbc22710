"""The frame's own parts, without servers: the proxy's rules, the tally, the commit check, and the references to other tests."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.chaos import matrix, proxy, test_cratedb
from tests.chaos.elsewhere import ELSEWHERE, Elsewhere
from tests.chaos.judge import Stored, is_settled, newest_of
from tests.oracle.log import Change, Fate, Kind, Place, Sent

ROOT = Path(__file__).resolve().parents[2]
INSERT = (
    '/* ingest g t/0 1 */ INSERT INTO "s"."t" ("id", "month", "cdc_offset", "cdc_topic", "cdc_partition", "cdc_deleted") '
    'VALUES (?, ?, ?, ?, ?, FALSE) ON CONFLICT ("id", "month") DO UPDATE SET "cdc_offset" = excluded."cdc_offset"'
)


class Behind:
    """A server in CrateDB's place, which writes every row; bodies: what arrived whole."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        behind = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    return
                behind.bodies.append(json.loads(body))
                answer = json.dumps({"results": [{"rowcount": 1} for _ in behind.bodies[-1].get("bulk_args", ())]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def behind() -> Iterator[Behind]:
    made = Behind()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def way(behind: Behind) -> Iterator[proxy.Proxy]:
    made = proxy.Proxy("127.0.0.1", behind.server.server_port)
    yield made
    made.close()


def post(way: proxy.Proxy, rows: int = 4) -> tuple[int, bytes] | None:
    """The answer, None when the connection broke."""
    body = {"stmt": INSERT, "bulk_args": [[i, 0, 100 + i, "t", 0] for i in range(rows)]}
    pool = urllib3.PoolManager(retries=False, timeout=5)
    try:
        answer = pool.request("POST", f"{way.url}/_sql", json=body)
    except urllib3.exceptions.HTTPError:
        return None
    finally:
        pool.clear()
    return answer.status, answer.data


@pytest.mark.parametrize(
    "rule, is_answered, arrives",
    [
        (proxy.passing, True, True),
        (proxy.resetting, False, False),
        (proxy.cut_in_request, False, False),
        (proxy.cut_before_answer, False, True),
        (proxy.cut_in_answer, False, True),
        (proxy.answering(proxy.Answer(503, b"")), True, False),
    ],
)
def test_a_rule_does_what_its_name_says(
    rule: proxy.Rule, is_answered: bool, arrives: bool, way: proxy.Proxy, behind: Behind
) -> None:
    way.rule = rule
    assert (post(way) is not None) == is_answered
    assert bool(behind.bodies) == arrives


def test_the_tally_knows_rows_that_were_sent_before(way: proxy.Proxy) -> None:
    post(way, 4)
    post(way, 6)
    assert dict(way.tally.rows) == {"sent": 10, "repeats": 4, "written": 10, "unanswered": 0}


def test_the_tally_counts_rows_whose_answer_was_lost_on_this_side_as_written(way: proxy.Proxy) -> None:
    way.rule = proxy.cut_before_answer
    post(way, 3)
    assert way.tally.rows["written"] == 3


def test_half_of_the_rows_are_kept_from_crate_and_told_as_failed(way: proxy.Proxy, behind: Behind) -> None:
    draws = iter([0.0, 0.9] * 12)
    way.rule = test_cratedb.rejecting(lambda: next(draws), "EsRejectedExecutionException[x]")
    answer = post(way, 24)
    assert answer is not None
    results = json.loads(answer[1])["results"]
    assert [result["rowcount"] for result in results] == [1, -2] * 12
    assert sum("error" in result for result in results) == 10  # CrateDB explains no more than that
    assert [entry[0] for entry in behind.bodies[0]["bulk_args"]] == list(range(0, 24, 2))


# ---------------------------------------------------------------- the commit check


def sent(offset: int, kind: Kind, fate: Fate = Fate.KEPT) -> Sent:
    return Sent(Place("t", 0, offset), "", fate, Change("orders", (1,), 10 * offset, kind, {}, None))


def test_the_newest_change_of_a_key_is_told_by_its_source() -> None:
    late = sent(1, Kind.WRITE)._replace(at=Place("t", 0, 9))
    assert newest_of([sent(2, Kind.WRITE), late, sent(3, Kind.WRITE, Fate.DEAD)]) == {("orders", (1,)): sent(2, Kind.WRITE)}


@pytest.mark.parametrize(
    "kind, stored, is_well",
    [
        (Kind.WRITE, Stored((20, 2), (20, 2)), True),
        (Kind.WRITE, Stored((30, 3), None), True),
        (Kind.WRITE, Stored((10, 1), (10, 1)), False),
        (Kind.WRITE, None, False),
        (Kind.DELETE, None, True),
        (Kind.DELETE, Stored((20, 2), None), True),
        (Kind.DELETE, Stored((30, 3), (30, 3)), True),
        (Kind.DELETE, Stored((10, 1), (10, 1)), False),
        (Kind.DELETE, Stored((20, 2), (10, 1)), False),
    ],
)
def test_a_commit_is_right_only_when_the_change_is_stored(kind: Kind, stored: Stored | None, is_well: bool) -> None:
    assert is_settled(sent(2, kind), stored) == is_well


# ---------------------------------------------------------------- references


@pytest.mark.parametrize("other", ELSEWHERE, ids=lambda other: other.test.rpartition("::")[2])
def test_a_test_that_the_matrix_refers_to_exists(other: Elsewhere) -> None:
    file, _, name = other.test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


# ---------------------------------------------------------------- the page


def test_the_newest_line_of_a_row_that_came_to_its_end_is_shown(tmp_path: Path) -> None:
    ended = {"of": "cratedb", "row": "killed", "fault": "It is killed.", "equal": True, "lost": 0}
    (tmp_path / "chaos-1.jsonl").write_text(json.dumps({**ended, "caught_up_s": 1.0}) + "\n")
    broken = {"of": "cratedb", "row": "killed", "equal": False}
    (tmp_path / "chaos-2.jsonl").write_text(json.dumps({**ended, "caught_up_s": 2.0}) + "\n" + json.dumps(broken) + "\n")
    assert [line["caught_up_s"] for line in matrix.newest(tmp_path.glob("*"))] == [2.0]


def test_the_matrix_takes_the_place_of_the_one_before() -> None:
    page = matrix.put(f"above\n{matrix.BEGIN}\nold\n{matrix.END}\nbelow\n", "new\n")
    assert page == f"above\n{matrix.BEGIN}\nnew\n{matrix.END}\nbelow\n"
    with pytest.raises(ValueError, match="no lines"):
        matrix.put("a page without marks", "new\n")
