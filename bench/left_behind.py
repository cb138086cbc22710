"""What a request leaves behind on CrateDB whose answer was given up, and whether its tag tells when it has ended.

A bulk insert of new rows is sent with the worker's own client and tag. Then either the client gives up waiting, or somebody KILLs
it. From that moment `sys.jobs` is looked at again and again: for how long the tag is shown, how many rows are stored that nobody
confirmed, and how many came after the tag was gone, which must be none, for the worker sends again as soon as it is gone.

    python -m bench.left_behind --crate http://127.0.0.1:4200 --trials 20
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ingest.crate.http import HttpClient, parse_addresses
from ingest.crate.running import RUNNING, still_running
from ingest.errors import IngestError

RESULTS = Path(__file__).parent / "results"
ROWS, SHARDS, MONTHS, WATCHED_S = 20_000, 4, 6, 3.0
TABLE = "left_behind.rows"
INSERT = f"INSERT INTO {TABLE} (id, month, v) VALUES (?, ?, ?) ON CONFLICT (id, month) DO UPDATE SET v = excluded.v"
MONTH_MS = 30 * 86_400_000


class Trial:
    """One request and its end. sender: a client that gives up early or not; looker: one that asks meanwhile."""

    def __init__(self, url: str, number: int, rnd: random.Random) -> None:
        self.tag = f"bench left_behind/{number} 1"
        self.first = number * ROWS
        self._rows = [[self.first + i, i % MONTHS * MONTH_MS, "x" * 60] for i in range(ROWS)]
        self._looker = HttpClient(parse_addresses([url]), user="crate")
        self._url, self._rnd = url, rnd
        self.confirmed = 0

    def given_up(self) -> str:
        """The client waits for a moment only."""
        return self._send(read_s=self._rnd.uniform(0.05, 0.6))

    def killed(self) -> str:
        """Somebody kills the statement when it has run for a moment."""
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(self._send(read_s=120.0)))
        thread.start()
        time.sleep(self._rnd.uniform(0.05, 0.6))
        for _ in range(200):
            jobs = self._looker.execute("SELECT id FROM sys.jobs WHERE stmt LIKE ?", [f"/* ingest {self.tag}%"]).rows
            for (job,) in jobs:
                self._looker.execute("KILL ?", [job])
            if jobs or not thread.is_alive():
                break
            time.sleep(0.005)
        thread.join()
        return answers[0]

    def watched(self, end: Callable[[], str]) -> dict[str, Any]:
        """The end, and what was seen from then on."""
        answer = end()
        ended_s = time.monotonic()
        while still_running(self._looker.execute(RUNNING), [self.tag]).running:
            time.sleep(0.005)
        shown_s, stored = time.monotonic() - ended_s, self._count()
        time.sleep(WATCHED_S)
        return {
            "answer": answer, "confirmed": self.confirmed, "tag_shown_s": round(shown_s, 3), "stored": stored,
            "came_behind_the_tag": self._count() - stored,
        }  # fmt: skip

    def close(self) -> None:
        self._looker.close()

    def _send(self, read_s: float) -> str:
        client = HttpClient(parse_addresses([self._url]), user="crate", read_s=read_s)
        try:
            answer = client.execute(INSERT, bulk_args=self._rows, tag=self.tag)
            self.confirmed = sum(result.get("rowcount") == 1 for result in answer.results or ())
            return str(answer.code or answer.status)
        except IngestError as error:
            return error.code
        finally:
            client.close()

    def _count(self) -> int:
        self._looker.execute(f"REFRESH TABLE {TABLE}")
        asked = f"SELECT count(*) FROM {TABLE} WHERE id >= ? AND id < ?"
        return int(self._looker.execute(asked, [self.first, self.first + ROWS]).rows[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description="What given-up and killed requests leave behind.")
    parser.add_argument("--crate", default="http://127.0.0.1:4200")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rnd, client = random.Random(options.seed), HttpClient(parse_addresses([options.crate]), user="crate")
    client.execute(f"DROP TABLE IF EXISTS {TABLE}")
    client.execute(
        f"CREATE TABLE {TABLE} (id BIGINT, month TIMESTAMP WITH TIME ZONE, v TEXT, PRIMARY KEY (id, month)) "
        f"CLUSTERED INTO {SHARDS} SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0)"
    )
    lines: list[dict[str, Any]] = []
    try:
        for number in range(2 * options.trials):
            trial = Trial(options.crate, number, rnd)
            kind = ("given up", "killed")[number % 2]
            lines.append({"kind": kind, **trial.watched(trial.given_up if kind == "given up" else trial.killed)})
            trial.close()
            sys.stdout.write(json.dumps(lines[-1]) + "\n")
            sys.stdout.flush()
    finally:
        with suppress(IngestError):
            client.execute(f"DROP TABLE IF EXISTS {TABLE}")
        client.close()
    tell(lines)
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    (RESULTS / f"left-behind-{at}.json").write_text("\n".join(map(json.dumps, lines)) + "\n")


def tell(lines: list[dict[str, Any]]) -> None:
    for kind in ("given up", "killed"):
        of = [line for line in lines if line["kind"] == kind and line["confirmed"] < ROWS]
        if of:
            shown, stored = [line["tag_shown_s"] for line in of], [line["stored"] - line["confirmed"] for line in of]
            behind = [line["came_behind_the_tag"] for line in of]
            sys.stdout.write(
                f"{kind}: {len(of)} requests of {ROWS} rows that were not all confirmed; stored without a confirmation: median "
                f"{statistics.median(stored):.0f}, most {max(stored)}; tag shown for: median {statistics.median(shown):.2f} s, "
                f"longest {max(shown):.2f} s; requests whose rows came behind the tag: {sum(n > 0 for n in behind)}\n"
            )


if __name__ == "__main__":
    main()
